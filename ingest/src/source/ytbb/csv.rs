//! The detection lists of YouTube-BoundingBoxes, several million lines: read in blocks with polars, never as a whole.
//!
//! Every line is `youtube_id, timestamp_ms, class_id, class_name, object_id, object_presence, xmin, xmax, ymin, ymax`
//! (mind the order of the last four). There is no header; one is skipped if it is there.

use crate::error::IngestError;
use crate::source::SourceSpec;
use polars::prelude::{DataFrame, DataType, Field, PolarsError, PolarsResult, Schema};
use polars_io::SerReader;
use polars_io::csv::read::{CsvEncoding, CsvParseOptions, CsvReadOptions};
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes handed to polars at once.
const BLOCK: usize = 16 << 20;
/// Longest excerpt of a bad line in a message.
const EXCERPT: usize = 80;

const COLUMNS: [(&str, DataType); 11] = [
    ("youtube_id", DataType::String),
    ("timestamp_ms", DataType::Int64),
    ("class_id", DataType::Int64),
    ("class_name", DataType::String),
    ("object_id", DataType::Int64),
    ("object_presence", DataType::String),
    ("xmin", DataType::Float64),
    ("xmax", DataType::Float64),
    ("ymin", DataType::Float64),
    ("ymax", DataType::Float64),
    // A line with more fields than it should have shows here.
    ("rest", DataType::String),
];

/// A line that is what it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// Number of the line, from 1.
    pub line: u64,
    /// The video.
    pub id: &'a str,
    /// Time in the video, ms.
    pub ms: u32,
    /// Class, 0 to 999.
    pub class: u16,
    /// Name of the class.
    pub class_name: &'a str,
    /// Object of this class in this video, 0 to 999.
    pub object: u16,
    /// Whether the object is in the frame.
    pub present: bool,
    /// xmin, ymin, xmax, ymax as shares of the frame; whatever stands there when it is absent.
    pub bounds: [f64; 4],
}

/// A line that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong, with the line's beginning.
    pub detail: String,
}

/// Reads a list (plain, gzip or zstd) and hands every line to `visit` in order.
///
/// # Errors
/// When the file cannot be read or is not text with lines.
pub fn read(
    spec: &SourceSpec,
    path: &Path,
    visit: &mut dyn FnMut(Result<Row<'_>, BadLine>),
) -> Result<(), IngestError> {
    let io = |error| IngestError::Io { action: "read", path: path.to_owned(), source: error };
    let mut reader = open(path).map_err(io)?;
    let (mut block, mut lines_before) = (Vec::with_capacity(BLOCK + (64 << 10)), 0u64);
    loop {
        let fresh =
            reader.by_ref().take((BLOCK - block.len().min(BLOCK - 1)) as u64).read_to_end(&mut block).map_err(io)?;
        let end = if fresh == 0 { block.len() } else { memrchr(&block) };
        if block.is_empty() {
            return Ok(());
        }
        if end == 0 {
            if block.len() >= BLOCK {
                let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                return Err(spec.wrong(format!("{file} has no line end in {BLOCK} bytes; it is not the list")));
            }
            continue;
        }
        let rest = block.split_off(end);
        let lines = numbered(&mut block, lines_before);
        lines_before = lines.end;
        parse(std::mem::replace(&mut block, rest), &lines, visit).map_err(|error| {
            spec.wrong(format!(
                "polars cannot read {}: {error}",
                path.file_name().unwrap_or_default().to_string_lossy()
            ))
        })?;
    }
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(4).read_to_end(&mut head)?;
    let file = BufReader::with_capacity(1 << 18, File::open(path)?);
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::stream::read::Decoder::with_buffer(file)?)
    } else {
        Box::new(file)
    })
}

/// Length up to and with the last line end.
fn memrchr(block: &[u8]) -> usize {
    block.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Line numbers of a block's rows.
struct Lines {
    /// Number of the first line, minus one.
    before: u64,
    /// Number of the last line.
    end: u64,
    /// Each row's number, where some lines are no rows.
    own: Option<Vec<u64>>,
}

impl Lines {
    fn number(&self, row: usize) -> u64 {
        match &self.own {
            Some(own) => own.get(row).copied().unwrap_or(self.end),
            None => self.before + row as u64 + 1,
        }
    }

    fn rows(&self) -> usize {
        let all = usize::try_from(self.end - self.before).unwrap_or(usize::MAX);
        self.own.as_ref().map_or(all, Vec::len)
    }
}

/// Counts a block's lines; blank lines and a header are taken out of it.
fn numbered(block: &mut Vec<u8>, before: u64) -> Lines {
    if block.last() != Some(&b'\n') {
        block.push(b'\n');
    }
    let blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    let header = |line: &[u8]| line.starts_with(b"youtube_id,");
    let (mut count, mut odd) = (0u64, false);
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        count += 1;
        odd |= blank(line) || (before + count == 1 && header(line));
    }
    let mut own = None;
    if odd {
        let (mut kept, mut numbers) = (Vec::with_capacity(block.len()), Vec::new());
        for (number, line) in (before + 1..).zip(block.split_inclusive(|byte| *byte == b'\n')) {
            let no_row = blank(line) || (number == 1 && header(line));
            if !no_row {
                kept.extend_from_slice(line);
                numbers.push(number);
            }
        }
        *block = kept;
        own = Some(numbers);
    }
    Lines { before, end: before + count, own }
}

fn frame_of(block: Vec<u8>) -> PolarsResult<DataFrame> {
    let schema: Schema = COLUMNS.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype)).collect();
    let parse = CsvParseOptions {
        // Nothing in these lists is quoted; a stray quotation mark must not swallow lines.
        quote_char: None,
        encoding: CsvEncoding::LossyUtf8,
        truncate_ragged_lines: true,
        ..CsvParseOptions::default()
    };
    let options = CsvReadOptions {
        has_header: false,
        schema: Some(Arc::new(schema)),
        ignore_errors: true,
        raise_if_empty: false,
        parse_options: Arc::new(parse),
        ..CsvReadOptions::default()
    };
    options.into_reader_with_file_handle(Cursor::new(block)).finish()
}

fn parse(block: Vec<u8>, lines: &Lines, visit: &mut dyn FnMut(Result<Row<'_>, BadLine>)) -> PolarsResult<()> {
    if block.is_empty() {
        return Ok(());
    }
    // Kept for messages only; a block is small.
    let text = block.clone();
    let frame = frame_of(block)?;
    if frame.height() != lines.rows() {
        let message = format!("{} lines gave {} rows", lines.rows(), frame.height());
        return Err(PolarsError::ComputeError(message.into()));
    }
    let texts = |name: &str| frame.column(name)?.str().cloned();
    let whole = |name: &str| frame.column(name)?.i64().cloned();
    let real = |name: &str| frame.column(name)?.f64().cloned();
    let (id, class_name, presence, rest) =
        (texts("youtube_id")?, texts("class_name")?, texts("object_presence")?, texts("rest")?);
    let (ms, class, object) = (whole("timestamp_ms")?, whole("class_id")?, whole("object_id")?);
    let edges = [real("xmin")?, real("ymin")?, real("xmax")?, real("ymax")?];
    let [x0, y0, x1, y1] = &edges;
    let numbers = ms.iter().zip(class.iter()).zip(object.iter());
    let bounds = x0.iter().zip(y0.iter()).zip(x1.iter()).zip(y1.iter());
    let named = id.iter().zip(class_name.iter()).zip(presence.iter()).zip(rest.iter());
    for (row, ((named, numbers), bounds)) in named.zip(numbers).zip(bounds).enumerate() {
        let (((id, class_name), presence), rest) = named;
        let ((ms, class), object) = numbers;
        let (((x0, y0), x1), y1) = bounds;
        let line = lines.number(row);
        let small = |value: Option<i64>| value.and_then(|v| u16::try_from(v).ok()).filter(|v| *v < 1000);
        let what = match (plain(id), ms.and_then(|v| u32::try_from(v).ok()), small(class), small(object)) {
            _ if rest.is_some() => Err("it has more than ten fields"),
            (None, ..) => Err("its youtube_id is not letters, digits, '-' and '_'"),
            (_, None, ..) => Err("its timestamp is no time in milliseconds"),
            (_, _, None, _) => Err("its class_id is no number from 0 to 999"),
            (.., None) => Err("its object_id is no number from 0 to 999"),
            (Some(id), Some(ms), Some(class), Some(object)) => match (presence, [x0, y0, x1, y1]) {
                (Some("present"), [Some(x0), Some(y0), Some(x1), Some(y1)]) => {
                    Ok((id, ms, class, object, true, [x0, y0, x1, y1]))
                }
                (Some("present"), _) => Err("one of its coordinates is no number"),
                (Some("absent"), _) => Ok((id, ms, class, object, false, [-1.0; 4])),
                _ => Err("its object_presence is neither present nor absent"),
            },
        };
        let class_name = class_name.unwrap_or_default();
        visit(match what {
            Ok((id, ms, class, object, present, bounds)) => {
                Ok(Row { line, id, ms, class, class_name, object, present, bounds })
            }
            Err(why) => Err(BadLine { line, detail: format!("{why}: {:?}", excerpt(&text, row)) }),
        });
    }
    Ok(())
}

/// An id becomes part of a path.
fn plain(id: Option<&str>) -> Option<&str> {
    let good = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    id.filter(good)
}

fn excerpt(block: &[u8], row: usize) -> String {
    let line = block.split(|byte| *byte == b'\n').nth(row).unwrap_or_default();
    String::from_utf8_lossy(line.get(..EXCERPT).unwrap_or(line)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceKind;
    use proptest::prelude::*;
    use std::io::Write;

    type Line = (u64, String, u32, u16, String, u16, bool, [f64; 4]);

    fn lines(bytes: &[u8]) -> (Vec<Line>, Vec<BadLine>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.csv");
        std::fs::write(&path, bytes).unwrap();
        let spec = SourceSpec { kind: SourceKind::Ytbb, label: None, path: path.clone() };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        read(&spec, &path, &mut |line| match line {
            Ok(r) => {
                good.push((
                    r.line,
                    r.id.to_owned(),
                    r.ms,
                    r.class,
                    r.class_name.to_owned(),
                    r.object,
                    r.present,
                    r.bounds,
                ));
            }
            Err(line) => bad.push(line),
        })
        .unwrap();
        (good, bad)
    }

    const A: &str = "AAB6lO-XiKE,238000,0,person,0,present,0.482,0.54,0.37166667,0.61833334";

    #[test]
    fn lines_as_they_are_distributed() {
        let absent = "AAB6lO-XiKE,239000,0,person,0,absent,-1.0,-1.0,-1.0,-1.0";
        let (good, bad) = lines(format!("{A}\n{absent}\r\n").as_bytes());
        assert_eq!(bad, []);
        let first =
            (1, "AAB6lO-XiKE".into(), 238_000, 0, "person".into(), 0, true, [0.482, 0.371_666_67, 0.54, 0.618_333_34]);
        assert_eq!(good[0], first);
        assert_eq!((good[1].0, good[1].6), (2, false));
        let header = "youtube_id,timestamp_ms,class_id,class_name,object_id,object_presence,xmin,xmax,ymin,ymax";
        let (good, bad) = lines(format!("{header}\n\n{A}\n\n{A}").as_bytes());
        assert_eq!((good.iter().map(|l| l.0).collect::<Vec<_>>(), bad), (vec![3, 5], vec![]));
        assert_eq!(lines(b""), (vec![], vec![]));
        assert_eq!(lines(b"\n\n"), (vec![], vec![]));
    }

    #[test]
    fn broken_lines_are_named_and_the_rest_is_read() {
        let cases = [
            ("a,b", "timestamp"),
            ("../etc,1000,0,person,0,present,0,1,0,1", "youtube_id"),
            (",1000,0,person,0,present,0,1,0,1", "youtube_id"),
            ("id,-5,0,person,0,present,0,1,0,1", "timestamp"),
            ("id,1000,x,person,0,present,0,1,0,1", "class_id"),
            ("id,1000,1000,person,0,present,0,1,0,1", "class_id"),
            ("id,1000,0,person,,present,0,1,0,1", "object_id"),
            ("id,1000,0,person,0,maybe,0,1,0,1", "object_presence"),
            ("id,1000,0,person,0,present,0,one,0,1", "coordinates"),
            ("id,1000,0,person,0,present,0,1,0", "coordinates"),
            ("id,1000,0,person,0,present,0,1,0,1,extra", "more than ten"),
            ("\"id\",1000,0,\"person\n", "youtube_id"),
        ];
        let mut text = String::new();
        for (line, _) in cases {
            text += &format!("{A}\n{}\n", line.trim_end());
        }
        let (good, bad) = lines(text.as_bytes());
        assert_eq!((good.len(), bad.len()), (cases.len(), cases.len()));
        for (number, ((line, needle), bad)) in cases.iter().zip(&bad).enumerate() {
            assert_eq!(bad.line, 2 * number as u64 + 2, "{line}");
            assert!(bad.detail.contains(needle), "{line}: {}", bad.detail);
        }
        let (good, bad) = lines(b"\xff\xfe,1000,0,person,0,present,0,1,0,1\nid,1000,0,p\xe9,0,present,0,nan,0,1\n");
        assert_eq!((good.len(), bad.len()), (1, 1));
        assert!(good[0].7[2].is_nan());
    }

    #[test]
    fn many_blocks_and_packed_files_give_the_same_lines() {
        let mut text = String::new();
        let mut n = 0;
        while text.len() < 2 * BLOCK + BLOCK / 2 {
            text += &format!("id{},{},{},person,{},present,0.1,0.{},0.25,0.5\n", n % 991, n, n % 23, n % 7, 2 + n % 7);
            n += 1;
        }
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("a.csv");
        std::fs::write(&plain, &text).unwrap();
        let gz = dir.path().join("a.csv.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&gz).unwrap(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let zst = dir.path().join("a.csv.zst");
        std::fs::write(&zst, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
        let spec = SourceSpec { kind: SourceKind::Ytbb, label: None, path: plain.clone() };
        for path in [plain, gz, zst] {
            let mut next = 0;
            read(&spec, &path, &mut |row| {
                let row = row.unwrap();
                assert_eq!((row.line, row.ms), (u64::from(next) + 1, next));
                assert_eq!(row.bounds, [0.1, 0.25, f64::from(2 + next % 7) / 10.0, 0.5]);
                next += 1;
            })
            .unwrap();
            assert_eq!(next, n);
        }
    }

    #[test]
    fn a_file_without_lines_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, vec![b'x'; BLOCK + 10]).unwrap();
        let spec = SourceSpec { kind: SourceKind::Ytbb, label: None, path: path.clone() };
        let error = read(&spec, &path, &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("no line end"), "{error}");
    }

    proptest! {
        /// What polars reads is what splitting at commas gives.
        #[test]
        fn every_line_is_either_good_or_bad(fields in prop::collection::vec("[a-z0-9.,\"-]{0,60}", 1..30)) {
            let text = fields.join("\n");
            let (good, bad) = lines(text.as_bytes());
            let blank = text.lines().filter(|l| l.trim().is_empty()).count();
            prop_assert_eq!(good.len() + bad.len() + blank, text.lines().count());
        }
    }
}
