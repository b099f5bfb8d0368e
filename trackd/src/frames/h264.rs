//! The program's own decoder for H.264 in mp4. It runs in a child process only: the codec is C code and the parser
//! trusts its input more than this program does.
//!
//! Frames go to standard output as PPM, turned upright as the file's display matrix says, messages to standard error.

use super::colour::{Colour, Planes};
use super::ppm;
use super::sniff::{Atom, atoms};
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;
use re_mp4::{Mp4, Sample, StsdBoxContent, Track, TrackKind};
use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Largest index that is read, bytes.
const MAX_INDEX: u64 = 256 << 20;
/// Largest coded frame that is read, bytes.
const MAX_SAMPLE: u64 = 64 << 20;
/// Damaged samples that are reported one by one.
const REPORTED: u64 = 5;

/// Why a file cannot be decoded here.
#[derive(Debug, thiserror::Error)]
pub enum H264Error {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// No readable mp4 structure.
    #[error("no readable mp4 index ({0}): the file is cut off, damaged, or no mp4 video")]
    Index(String),
    /// No picture track.
    #[error("the file has no video track")]
    NoVideo,
    /// Another codec.
    #[error("the built-in decoder reads H.264 only and this is {0}: install ffmpeg, or convert the video to H.264")]
    Codec(String),
    /// The codec refused to start.
    #[error("the built-in decoder does not start: {0}")]
    Decoder(String),
}

/// The video track of an mp4.
struct Video {
    samples: Vec<Sample>,
    /// SPS and PPS with start codes.
    parameters: Vec<u8>,
    /// Bytes of each unit's length field.
    length_size: usize,
    turn: Turn,
    colour: Colour,
}

/// How a picture is turned before it is shown, clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

/// Number of coded pictures the index states.
///
/// # Errors
/// [`H264Error`] when there is no readable index or no video track.
pub fn probe(path: &Path) -> Result<u64, H264Error> {
    let mp4 = read_index(&mut File::open(path)?)?;
    Ok(video_track(&mp4)?.samples.len() as u64)
}

/// Decodes every frame of `path` to `out`. A frame that cannot be decoded is reported and left out.
///
/// # Errors
/// [`H264Error`] when the file is no H.264 mp4 or `out` is closed.
pub fn decode(path: &Path, out: impl Write) -> Result<(), H264Error> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let video = read_video(&mut file)?;
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    let refused = |e: openh264::Error| H264Error::Decoder(e.to_string());
    let mut decoder = Decoder::with_api_config(OpenH264API::from_source(), config).map_err(refused)?;
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let mut damaged = 0u64;
    let mut report = |i: usize, what: String| {
        damaged += 1;
        if damaged <= REPORTED {
            eprintln!("frame {i} of {}: {what}", video.samples.len());
        }
    };
    for (i, sample) in video.samples.iter().enumerate() {
        if sample.size > MAX_SAMPLE || sample.offset.saturating_add(sample.size) > size {
            report(i, format!("its data lies past the end of the file ({size} bytes)"));
            continue;
        }
        let mut coded = vec![0; sample.size as usize];
        file.seek(SeekFrom::Start(sample.offset))?;
        file.read_exact(&mut coded)?;
        let mut stream = if sample.is_sync { video.parameters.clone() } else { Vec::new() };
        start_codes(&coded, video.length_size, &mut stream);
        match decoder.decode(&stream) {
            Ok(Some(picture)) => write(&picture, &video, &mut out)?,
            Ok(None) => {}
            Err(e) => report(i, e.to_string()),
        }
    }
    match decoder.flush_remaining() {
        Ok(pictures) => {
            for picture in &pictures {
                write(picture, &video, &mut out)?;
            }
        }
        Err(e) => eprintln!("the last frames could not be decoded: {e}"),
    }
    out.flush()?;
    Ok(())
}

/// Reads the boxes that describe the video and none of its data.
fn read_index(file: &mut File) -> Result<Mp4, H264Error> {
    let size = file.metadata()?.len();
    let all = atoms(file, size)?;
    let parse = |r: Result<Mp4, re_mp4::Error>| r.map_err(|e| H264Error::Index(e.to_string()));
    if all.iter().any(|a| &a.name == b"moof") {
        file.seek(SeekFrom::Start(0))?;
        return parse(Mp4::read(file, size));
    }
    let mut bytes = Vec::new();
    let mut copy = |atom: &Atom| -> Result<(), H264Error> {
        if atom.length > MAX_INDEX || atom.start.saturating_add(atom.length) > size {
            return Err(H264Error::Index(format!("a box of {} bytes", atom.length)));
        }
        file.seek(SeekFrom::Start(atom.start))?;
        file.take(atom.length).read_to_end(&mut bytes)?;
        Ok(())
    };
    let named = |name: &[u8; 4]| all.iter().find(|a| &a.name == name);
    let moov = named(b"moov").ok_or_else(|| H264Error::Index("no moov box".to_owned()))?;
    if let Some(ftyp) = named(b"ftyp") {
        copy(ftyp)?;
    } else {
        return Err(H264Error::Index("no ftyp box".to_owned()));
    }
    copy(moov)?;
    let length = bytes.len() as u64;
    parse(Mp4::read(Cursor::new(bytes), length))
}

fn video_track(mp4: &Mp4) -> Result<&Track, H264Error> {
    mp4.tracks().values().find(|t| t.kind == Some(TrackKind::Video)).ok_or(H264Error::NoVideo)
}

fn read_video(file: &mut File) -> Result<Video, H264Error> {
    let mp4 = read_index(file)?;
    let track = video_track(&mp4)?;
    let trak = track.trak(&mp4);
    let StsdBoxContent::Avc1(avc1) = &trak.mdia.minf.stbl.stsd.contents else {
        let codec = track.codec_string(&mp4).unwrap_or_else(|| "another codec".to_owned());
        return Err(H264Error::Codec(codec));
    };
    let mut parameters = Vec::new();
    for unit in avc1.avcc.sequence_parameter_sets.iter().chain(&avc1.avcc.picture_parameter_sets) {
        parameters.extend([0, 0, 0, 1]);
        parameters.extend(&unit.bytes);
    }
    let m = &trak.tkhd.matrix;
    Ok(Video {
        samples: track.samples.clone(),
        parameters,
        length_size: usize::from(avc1.avcc.length_size_minus_one & 3) + 1,
        turn: turn([m.a, m.b, m.c, m.d]),
        colour: avc1.avcc.sequence_parameter_sets.first().map_or_else(Colour::default, |s| Colour::of_sps(&s.bytes)),
    })
}

/// The turn of a display matrix (16.16 fixed point); anything that is no quarter turn is left as it is.
fn turn(matrix: [i32; 4]) -> Turn {
    match matrix.map(i32::signum) {
        [0, 1, -1, 0] => Turn::Quarter,
        [-1, 0, 0, -1] => Turn::Half,
        [0, -1, 1, 0] => Turn::ThreeQuarters,
        _ => Turn::None,
    }
}

/// Replaces the length before each unit by a start code; stops at a length that leads out of the sample.
fn start_codes(sample: &[u8], length_size: usize, out: &mut Vec<u8>) {
    let mut rest = sample;
    while let Some((length, tail)) = rest.split_at_checked(length_size) {
        let length = length.iter().fold(0usize, |sum, b| sum << 8 | usize::from(*b));
        let Some((unit, tail)) = tail.split_at_checked(length) else { return };
        if !unit.is_empty() {
            out.extend([0, 0, 0, 1]);
            out.extend(unit);
        }
        rest = tail;
    }
}

fn write(picture: &DecodedYUV<'_>, video: &Video, out: &mut impl Write) -> io::Result<()> {
    let (width, height) = picture.dimensions();
    let (y, u, v) = picture.strides();
    let planes = Planes { y: (picture.y(), y), u: (picture.u(), u), v: (picture.v(), v) };
    let rgb = video.colour.rgb(&planes, width, height);
    if video.turn == Turn::None {
        return ppm::write_frame(out, width, height, &rgb);
    }
    let (turned, width, height) = turned(&rgb, width, height, video.turn);
    ppm::write_frame(out, width, height, &turned)
}

fn turned(rgb: &[u8], width: usize, height: usize, turn: Turn) -> (Vec<u8>, usize, usize) {
    let (w, h) = if turn == Turn::Half || turn == Turn::None { (width, height) } else { (height, width) };
    let mut out = Vec::with_capacity(rgb.len());
    for y in 0..h {
        for x in 0..w {
            let (sx, sy) = match turn {
                Turn::None => (x, y),
                Turn::Quarter => (y, height - 1 - x),
                Turn::Half => (width - 1 - x, height - 1 - y),
                Turn::ThreeQuarters => (width - 1 - y, x),
            };
            let at = 3 * (sy * width + sx);
            out.extend(rgb.get(at..at + 3).unwrap_or(&[0, 0, 0]));
        }
    }
    (out, w, h)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_turned_upright() {
        // 3 x 2: 1 2 3 / 4 5 6
        let rgb: Vec<u8> = (1..=6).flat_map(|v| [v, v, v]).collect();
        let values = |turn| {
            let (out, w, h) = turned(&rgb, 3, 2, turn);
            (out.chunks(3).map(|p| p[0]).collect::<Vec<_>>(), w, h)
        };
        assert_eq!(values(Turn::None), (vec![1, 2, 3, 4, 5, 6], 3, 2));
        assert_eq!(values(Turn::Quarter), (vec![4, 1, 5, 2, 6, 3], 2, 3));
        assert_eq!(values(Turn::Half), (vec![6, 5, 4, 3, 2, 1], 3, 2));
        assert_eq!(values(Turn::ThreeQuarters), (vec![3, 6, 2, 5, 1, 4], 2, 3));
        let one = 1 << 16;
        assert_eq!(turn([one, 0, 0, one]), Turn::None);
        assert_eq!(turn([0, one, -one, 0]), Turn::Quarter);
        assert_eq!(turn([0, -one, one, 0]), Turn::ThreeQuarters);
    }

    #[test]
    fn lengths_become_start_codes_and_bad_lengths_end_the_sample() {
        let mut out = Vec::new();
        start_codes(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9], 4, &mut out);
        assert_eq!(out, [0, 0, 0, 1, 7, 8, 0, 0, 0, 1, 9]);
        out.clear();
        start_codes(&[0, 2, 7, 8, 0, 9, 1], 2, &mut out);
        assert_eq!(out, [0, 0, 0, 1, 7, 8]);
    }

    #[test]
    fn what_is_no_mp4_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        for bytes in [&b""[..], b"notes", b"\0\0\0\x10ftypisom\0\0\0\0", b"\0\0\0\x08ftyp\0\0\0\x09moov\0"] {
            std::fs::write(&path, bytes).unwrap();
            let e = probe(&path).unwrap_err().to_string();
            assert!(e.contains("cut off"), "{e}");
        }
    }
}
