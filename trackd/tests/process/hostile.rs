//! Everything hostile at once, between two good inputs: each is left alone or fails with its reason, the good ones are
//! tracked, and nothing outside the folders is touched. The table stands in docs/operations.md, which is checked too.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers outside of test functions")]

use crate::support::{Daemon, bundled, json, names, picture, sequence};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// Kind, and what becomes of it: the code it fails with, or `ignored`.
const TABLE: [(&str, &str); 31] = [
    ("mp4 cut in half", "truncated-video"),
    ("mp4 whose index is gone", "undecodable-video"),
    ("mp4 with half its data zeroed", "truncated-video"),
    ("mp4 of random bytes behind a true header", "undecodable-video"),
    ("random bytes called mp4", "not-a-video"),
    ("empty file", "empty-video"),
    ("playlist (HLS) posing as mp4", "not-a-video"),
    ("gzip of something else", "bad-archive"),
    ("zip bomb", "bad-archive"),
    ("tar.gz bomb", "bad-archive"),
    ("tar.zst cut in half", "bad-archive"),
    ("zip whose entry leads out of it", "bad-archive"),
    ("tar with a link to /etc/passwd", "bad-archive"),
    ("tar with a device", "bad-archive"),
    ("archive in an archive", "bad-archive"),
    ("archive of two sequences", "bad-archive"),
    ("folder without pictures", "empty-video"),
    ("folder whose picture is a link", "link-inside"),
    ("folder whose ground truth is a link to /etc/passwd", "link-inside"),
    ("folder of pictures that is a link", "link-inside"),
    ("folder whose picture is a pipe", "not-a-file"),
    ("folder whose ground truth is a pipe", "not-a-file"),
    ("JPEG of 30000 x 30000", "frame-too-large"),
    ("PNG of 30000 x 30000", "frame-too-large"),
    ("frames of two sizes", "mixed-frame-sizes"),
    ("noise called jpg", "damaged-image"),
    ("init.json of 200 nested lists", "bad-init-json"),
    ("box of NaN", "bad-box"),
    ("link to a file", "ignored"),
    ("link to a folder", "ignored"),
    ("pipe", "ignored"),
];

fn noise(n: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..n.div_ceil(8)).flat_map(|_| next()).take(n).collect()
}

fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn odd_tar(kind: tar::EntryType, link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_path("0.jpg").unwrap();
    if !link.is_empty() {
        header.set_link_name_literal(link).unwrap();
    }
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, std::io::empty()).unwrap();
    builder.into_inner().unwrap()
}

fn zip_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A small JPEG whose header promises 30000 x 30000 pixels.
fn huge_jpeg() -> Vec<u8> {
    let mut bytes = picture(0);
    let start = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    bytes[start + 5..start + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    bytes
}

fn huge_png() -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [kind.as_slice(), data].concat();
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(&body);
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        bytes.extend(crc.sum().to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30, 8, 2, 0, 0, 0]);
    chunk(b"IDAT", &[0x78, 0x9c, 0x63, 0, 0]);
    chunk(b"IEND", &[]);
    bytes
}

fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts one hostile input into the inbox, its box beside it.
fn drop_in(inbox: &Path, kind: &str, name: &str, outside: &Path) {
    let video = fs::read(bundled("videos/coin.mp4")).unwrap();
    let at = inbox.join(name);
    let file = |bytes: &[u8]| {
        fs::write(inbox.join(format!("{name}.txt")), "40,30,30,30\n").unwrap();
        fs::write(&at, bytes).unwrap();
    };
    let folder = |fill: &dyn Fn(&Path)| {
        fs::create_dir(&at).unwrap();
        fs::write(at.join("init.json"), r#"{"targets":[{"region":[40,30,30,30]}]}"#).unwrap();
        fill(&at);
    };
    let zeros = vec![0; 100 << 20];
    match kind {
        "mp4 cut in half" => file(&video[..video.len() / 2]),
        "mp4 whose index is gone" => {
            let mut bytes = video.clone();
            let index = video.windows(4).position(|w| w == b"moov").unwrap();
            bytes[index..index + 4].copy_from_slice(b"free");
            file(&bytes);
        }
        "mp4 with half its data zeroed" => {
            let mut bytes = video.clone();
            let half = bytes.len() / 2;
            bytes[half..].fill(0);
            file(&bytes);
        }
        "mp4 of random bytes behind a true header" => {
            let mut bytes = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
            bytes.extend([0, 1, 0, 8]);
            bytes.extend(b"moov");
            bytes.extend(noise(1 << 16));
            file(&bytes);
        }
        "random bytes called mp4" => file(&noise(100_000)),
        "empty file" => file(b""),
        "playlist (HLS) posing as mp4" => {
            file(b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9.9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n");
        }
        "gzip of something else" => file(&gzip(&noise(3000))),
        "zip bomb" => file(&zip_of("0.jpg", &zeros)),
        "tar.gz bomb" => file(&gzip(&tar_of(&[("0.jpg", &zeros)]))),
        "tar.zst cut in half" => {
            let bytes =
                zstd::encode_all(tar_of(&[("0.jpg", &picture(0)), ("1.jpg", &noise(9000))]).as_slice(), 3).unwrap();
            file(&bytes[..bytes.len() / 2]);
        }
        "zip whose entry leads out of it" => file(&zip_of("../../escaped.jpg", &picture(0))),
        "tar with a link to /etc/passwd" => file(&odd_tar(tar::EntryType::Symlink, "/etc/passwd")),
        "tar with a device" => file(&odd_tar(tar::EntryType::Char, "")),
        "archive in an archive" => file(&tar_of(&[("more.zip", &zip_of("0.jpg", &picture(0)))])),
        "archive of two sequences" => file(&tar_of(&[("a/0.jpg", &picture(0)), ("b/0.jpg", &picture(1))])),
        "folder without pictures" => folder(&|at| fs::write(at.join("notes.md"), "x").unwrap()),
        "folder whose picture is a link" => folder(&|at| symlink(outside, at.join("0.jpg")).unwrap()),
        "folder whose ground truth is a link to /etc/passwd" => {
            sequence(&at, 3);
            fs::remove_file(at.join("groundtruth.txt")).unwrap();
            symlink("/etc/passwd", at.join("groundtruth.txt")).unwrap();
        }
        "folder of pictures that is a link" => folder(&|at| symlink("/usr/share", at.join("color")).unwrap()),
        "folder whose ground truth is a pipe" => {
            sequence(&at, 3);
            fs::remove_file(at.join("groundtruth.txt")).unwrap();
            pipe(&at.join("groundtruth.txt"));
            pipe(&at.join("list.txt"));
        }
        "folder whose picture is a pipe" => folder(&|at| pipe(&at.join("0.jpg"))),
        "JPEG of 30000 x 30000" => folder(&|at| fs::write(at.join("0.jpg"), huge_jpeg()).unwrap()),
        "PNG of 30000 x 30000" => folder(&|at| fs::write(at.join("0.png"), huge_png()).unwrap()),
        "frames of two sizes" => folder(&|at| {
            fs::write(at.join("0.jpg"), picture(0)).unwrap();
            let small = shards::image::Rgb::filled(80, 60, [9, 9, 9]);
            fs::write(at.join("1.jpg"), shards::jpeg::encode(&small, 90).unwrap()).unwrap();
        }),
        "noise called jpg" => folder(&|at| fs::write(at.join("0.jpg"), noise(5000)).unwrap()),
        "init.json of 200 nested lists" => folder(&|at| {
            fs::write(at.join("0.jpg"), picture(0)).unwrap();
            fs::write(at.join("init.json"), ["[".repeat(200), "]".repeat(200)].concat()).unwrap();
        }),
        "box of NaN" => {
            file(&video);
            fs::write(inbox.join(format!("{name}.txt")), "nan,nan,nan,nan\n").unwrap();
        }
        "link to a file" => symlink(outside, &at).unwrap(),
        "link to a folder" => symlink(outside.parent().unwrap(), &at).unwrap(),
        "pipe" => pipe(&at),
        other => panic!("{other}"),
    }
}

#[test]
fn nothing_hostile_does_harm() {
    let mut daemon = Daemon::new();
    let outside = daemon.root.path().join("secret");
    fs::write(&outside, "unharmed").unwrap();
    sequence(&daemon.inbox.join("first"), 5);
    for (i, (kind, _)) in TABLE.iter().enumerate() {
        drop_in(&daemon.inbox, kind, &format!("h{i:02}"), &outside);
    }
    // Names that bend terminals and pages, or are no text at all.
    let odd = [&b"esc\x1b[2J\nnew line"[..], b"<script>alert(1)<", b"\xff\xfe not text", b"%s%n$(id);'"];
    for name in odd {
        sequence(&daemon.inbox.join(OsStr::from_bytes(name)), 5);
    }
    sequence(&daemon.inbox.join("last"), 5);
    daemon.start();
    daemon.wait_done("last");
    let failing = TABLE.iter().filter(|(_, end)| *end != "ignored").count();
    daemon.wait("all failures", || daemon.count("failed") == failing as u64);
    std::thread::sleep(Duration::from_millis(1500));
    let mut found = BTreeMap::new();
    for name in names(&daemon.outbox.join("failed")) {
        let error = json(&daemon.outbox.join("failed").join(&name).join("error.json"));
        assert_eq!(error["attempts"], 1, "hostile input is not tried again: {error}");
        found.insert(name, error["code"].as_str().unwrap().to_owned());
    }
    let mut otherwise = Vec::new();
    for (i, (kind, end)) in TABLE.iter().enumerate() {
        let name = format!("h{i:02}");
        let code = found.remove(&name).unwrap_or_else(|| "ignored".to_owned());
        if code != *end {
            otherwise.push(format!("{kind}: {code} instead of {end}"));
            continue;
        }
        let place = if *end == "ignored" { daemon.inbox.clone() } else { daemon.outbox.join("failed").join(&name) };
        assert!(place.join(&name).symlink_metadata().is_ok(), "{kind}: the input is kept");
    }
    assert!(found.is_empty() && otherwise.is_empty(), "{otherwise:#?} {found:?}\n{}", daemon.log());
    assert_eq!(names(&daemon.outbox.join("done")).len(), 2 + odd.len());
    assert!(!daemon.log().contains('\x1b'), "control characters are shown, not sent");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "unharmed");
    assert_eq!(names(daemon.root.path()), ["in", "log", "out", "secret", "tiny.safetensors"], "nothing escaped");
}

#[test]
fn the_table_is_in_the_manual() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/operations.md");
    let manual = fs::read_to_string(manual).unwrap();
    for (kind, end) in TABLE {
        let end = if end == "ignored" { end.to_owned() } else { format!("`{end}`") };
        assert!(manual.contains(&format!("| {kind} | {end} |")), "{kind}");
    }
}
