//! Archives made entry by entry, good ones and hostile ones.

use super::*;
use crate::frames::ppm::read_frame;
use shards::image::Rgb;
use shards::jpeg::encode;
use std::path::PathBuf;
use tar::{EntryType, Header};
use zip::write::SimpleFileOptions;

const TRUTH: &str = "1,2,3,4\n2,2,3,4\n3,2,3,4\n";

fn picture(shade: u8) -> Vec<u8> {
    encode(&Rgb::filled(24, 16, [shade, shade, shade]), 95).unwrap()
}

/// Twelve pictures out of order, an annotation, and things that are left out.
fn sequence() -> Vec<(String, Vec<u8>)> {
    let mut entries: Vec<(String, Vec<u8>)> =
        [3, 11, 0, 7, 1, 10, 2, 4, 9, 5, 6, 8].map(|i| (format!("./bag/color/{i}.jpg"), picture(i * 20))).into();
    entries.insert(2, ("bag/groundtruth.txt".into(), TRUTH.into()));
    entries.push(("bag/readme.md".into(), b"hello".to_vec()));
    entries.push(("__MACOSX/bag/._0.jpg".into(), b"litter".to_vec()));
    entries
}

fn tar_of(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// One entry of any kind and name, as no honest program writes it.
fn odd_tar(kind: EntryType, name: &[u8], link: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    if !link.is_empty() {
        header.set_link_name_literal(link).unwrap();
    }
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, io::empty()).unwrap();
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (i, (name, content)) in entries.iter().enumerate() {
        let method = if i % 2 == 0 { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
        writer.start_file(name.as_str(), SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn why(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    Listing::read(&path).unwrap_err().to_string()
}

#[test]
fn every_packing_gives_the_same_frames_in_order() {
    let tar = tar_of(&sequence());
    for (packing, bytes) in [
        ("tar", tar.clone()),
        ("gzip", gzip(&tar)),
        ("zstd", zstd::encode_all(tar.as_slice(), 3).unwrap()),
        ("zip", zip_of(&sequence())),
    ] {
        let (_folder, path) = file(&bytes);
        let listing = Listing::read(&path).unwrap();
        let truth = Some(("groundtruth.txt".to_owned(), TRUTH.to_owned()));
        assert_eq!(listing, Listing { frames: 12, truth, init: None }, "{packing}");
        let mut out = Vec::new();
        decode(&path, 1000, &mut out).unwrap();
        let mut stream = out.as_slice();
        for i in 0..12 {
            let frame = read_frame(&mut stream, 1000).unwrap().unwrap();
            assert_eq!((frame.width, frame.height), (24, 16));
            assert!(frame.pixel(5, 5)[0].abs_diff(i * 20) < 4, "{packing}, frame {i}");
        }
        assert!(read_frame(&mut stream, 1000).unwrap().is_none());
        let e = decode(&path, 100, io::sink()).unwrap_err().to_string();
        assert!(e.contains("bag/color/0.jpg"), "{packing}: {e}");
    }
}

#[test]
fn annotations_lie_beside_the_pictures() {
    let of = |entries: &[(&str, &str)]| {
        let mut all: Vec<(String, Vec<u8>)> =
            entries.iter().map(|(n, t)| ((*n).to_owned(), t.as_bytes().to_vec())).collect();
        all.push(("a/0.jpg".into(), picture(9)));
        let (_folder, path) = file(&tar_of(&all));
        let listing = Listing::read(&path).unwrap();
        (listing.init, listing.truth.map(|(_, text)| text))
    };
    assert_eq!(of(&[("a/init.json", "{}"), ("a/groundtruth_rect.txt", "1")]), (Some("{}".into()), Some("1".into())));
    assert_eq!(of(&[("init.json", "{}"), ("a/b/groundtruth.txt", "1")]), (None, None));
}

#[test]
fn what_leads_elsewhere_is_refused() {
    for (kind, name, link, reason) in [
        (EntryType::Symlink, &b"a.jpg"[..], "/etc/passwd", "a.jpg is a link"),
        (EntryType::Link, b"a.jpg", "/etc/passwd", "is a link"),
        (EntryType::Fifo, b"a.jpg", "", "is a device"),
        (EntryType::Char, b"a.jpg", "", "is a device"),
        (EntryType::new(b'Q'), b"a.jpg", "", "regular file"),
        (EntryType::Regular, b"/etc/cron.d/a.jpg", "", "absolute"),
        (EntryType::Regular, b"a/../../a.jpg", "", "leads out"),
        (EntryType::Regular, b"a\n\x1b[2J.jpg", "", "control characters"),
        (EntryType::Regular, b"a\xff.jpg", "", "UTF-8"),
        (EntryType::Regular, b"more.tar.gz", "", "archive itself"),
    ] {
        let bytes = odd_tar(kind, name, link);
        for bytes in [gzip(&bytes), bytes] {
            let e = why(&bytes);
            assert!(e.contains(reason) && !e.contains('\x1b'), "{name:?}: {e}");
        }
    }
    for (name, reason) in
        [("../a.jpg", "leads out"), ("/a.jpg", "absolute"), ("C:\\a.jpg", "absolute"), ("b.zip", "archive itself")]
    {
        let e = why(&zip_of(&[(name.to_owned(), picture(1))]));
        assert!(e.contains(reason), "{name}: {e}");
    }
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    writer.add_symlink("a.jpg", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let e = why(&writer.finish().unwrap().into_inner());
    assert!(e.contains("is a link"), "{e}");
}

#[test]
fn archives_of_something_else_say_so() {
    let one = |name: &str| (name.to_owned(), picture(1));
    let e = why(&tar_of(&[one("a/1.jpg"), one("b/1.jpg")]));
    assert!(e.contains("pictures in a and in b"), "{e}");
    let e = why(&tar_of(&[one("a/1.jpg"), one("./a//1.jpg")]));
    assert!(e.contains("there twice"), "{e}");
    let (_folder, path) = file(&tar_of(&[("notes.txt".into(), b"x".to_vec())]));
    assert_eq!(Listing::read(&path).unwrap().frames, 0);
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let zeros = vec![0; 100 << 20];
    let one = [("note.md".to_owned(), Vec::new()), ("a.jpg".to_owned(), zeros)];
    for bytes in [gzip(&tar_of(&one)), zstd::encode_all(tar_of(&one).as_slice(), 3).unwrap(), zip_of(&one)] {
        assert!(bytes.len() < 1 << 20);
        let e = why(&bytes);
        assert!(e.contains("100 times as large"), "{e}");
    }
    // A header that promises 8 EiB.
    let mut header = Header::new_gnu();
    header.set_size(1 << 62);
    header.set_path("a.jpg").unwrap();
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &[0; 1024]].concat();
    let e = why(&bytes);
    assert!(e.contains("middle of this entry") || e.contains("times as large"), "{e}");
}

#[test]
fn cut_off_anywhere_is_an_error_or_a_shorter_archive_never_a_panic() {
    let tar = tar_of(&sequence());
    for whole in [tar.clone(), gzip(&tar), zstd::encode_all(tar.as_slice(), 3).unwrap(), zip_of(&sequence())] {
        for cut in (0..whole.len()).step_by(97) {
            let (_folder, path) = file(&whole[..cut]);
            if let Ok(listing) = Listing::read(&path) {
                // A tar that ends between two entries is a tar; no frame of it may be half.
                let mut out = Vec::new();
                decode(&path, 1000, &mut out).unwrap();
                assert_eq!(out.len() as u64, listing.frames * (24 * 16 * 3 + 13));
            }
        }
        let mut flipped = whole.clone();
        for i in (0..whole.len()).step_by(131) {
            flipped[i] ^= 0x55;
            let (_folder, path) = file(&flipped);
            // Any answer will do, as long as there is one.
            drop(decode(&path, 1000, io::sink()));
            flipped[i] ^= 0x55;
        }
    }
}
