//! What a file is, by its first bytes, and whether an mp4 is whole, by its outermost boxes. No decoder is involved.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// mp4, mov and relatives.
    IsoMedia,
    /// Another video container, by its usual name.
    Other(&'static str),
    /// tar, plain or in gzip or zstd, or zip.
    Archive,
    /// No bytes at all.
    Empty,
    /// No video this program knows.
    Unknown,
}

/// Looks at the first bytes of a regular file.
///
/// # Errors
/// When the file cannot be read.
pub fn container(path: &Path) -> io::Result<Container> {
    let mut head = Vec::with_capacity(400);
    File::open(path)?.take(400).read_to_end(&mut head)?;
    Ok(classify(&head))
}

fn classify(head: &[u8]) -> Container {
    let at = |offset: usize, what: &[u8]| head.get(offset..offset + what.len()) == Some(what);
    if head.is_empty() {
        Container::Empty
    } else if [&b"ftyp"[..], b"moov", b"mdat", b"wide"].iter().any(|b| at(4, b)) {
        Container::IsoMedia
    } else if at(0, b"RIFF") && at(8, b"AVI ") {
        Container::Other("avi")
    } else if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
        Container::Other("matroska")
    } else if at(0, b"OggS") {
        Container::Other("ogg")
    } else if at(0, b"DKIF") {
        Container::Other("ivf")
    } else if at(0, &[0, 0, 1, 0xba]) || at(0, &[0, 0, 1, 0xb3]) {
        Container::Other("mpeg")
    } else if at(0, &[0, 0, 0, 1]) || at(0, &[0, 0, 1]) {
        Container::Other("h264 or hevc stream")
    } else if at(0, &[0x47]) && at(188, &[0x47]) {
        Container::Other("mpegts")
    } else if at(257, b"ustar") || at(0, &[0x1f, 0x8b]) || at(0, &[0x28, 0xb5, 0x2f, 0xfd]) || at(0, b"PK\x03\x04") {
        Container::Archive
    } else {
        Container::Unknown
    }
}

/// One outermost box of an mp4: name, offset, length with its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atom {
    /// Four characters.
    pub name: [u8; 4],
    /// Offset in bytes.
    pub start: u64,
    /// Length in bytes as the file states it; may reach past the end of a truncated file.
    pub length: u64,
}

/// The outermost boxes of an mp4, as far as they can be followed.
///
/// # Errors
/// When the file cannot be read.
pub fn atoms(file: &mut (impl Read + Seek), size: u64) -> io::Result<Vec<Atom>> {
    let mut found = Vec::new();
    let mut start = 0u64;
    while start.saturating_add(8) <= size && found.len() < 10_000 {
        file.seek(SeekFrom::Start(start))?;
        let mut head = [0u8; 16];
        file.read_exact(&mut head[..8])?;
        let [a, b, c, d, name @ ..] = head;
        let name = [name[0], name[1], name[2], name[3]];
        let length = match u32::from_be_bytes([a, b, c, d]) {
            0 => size - start,
            1 if start + 16 <= size => {
                file.read_exact(&mut head[8..])?;
                let [.., a, b, c, d, e, f, g, h] = head;
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            length => u64::from(length),
        };
        if length < 8 {
            break;
        }
        found.push(Atom { name, start, length });
        start = start.saturating_add(length);
    }
    Ok(found)
}

/// Whether all boxes of an mp4 lie inside the file and its index (`moov`) is there. A file that is still being
/// copied, or was cut off, is not whole. Files of other kinds count as whole unless they are empty.
///
/// # Errors
/// When the file cannot be read.
pub fn whole(path: &Path) -> io::Result<bool> {
    match container(path)? {
        Container::Empty => Ok(false),
        Container::IsoMedia => {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            let atoms = atoms(&mut file, size)?;
            let end = atoms.last().map_or(0, |a| a.start.saturating_add(a.length));
            Ok(end == size && atoms.iter().any(|a| &a.name == b"moov"))
        }
        Container::Other(_) | Container::Archive | Container::Unknown => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(name: &[u8; 4], body: usize) -> Vec<u8> {
        let mut out = ((8 + body) as u32).to_be_bytes().to_vec();
        out.extend(name);
        out.resize(8 + body, 7);
        out
    }

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        let cases: [(&[u8], Container); 10] = [
            (b"", Container::Empty),
            (b"\0\0\0\x18ftypmp42", Container::IsoMedia),
            (b"RIFF\0\0\0\0AVI LIST", Container::Other("avi")),
            (&[0x1a, 0x45, 0xdf, 0xa3, 1], Container::Other("matroska")),
            (&[0, 0, 0, 1, 0x67], Container::Other("h264 or hevc stream")),
            (b"OggS", Container::Other("ogg")),
            (b"PK\x03\x04", Container::Archive),
            (&[0x1f, 0x8b, 8], Container::Archive),
            (b"%PDF-1.7", Container::Unknown),
            (b"x", Container::Unknown),
        ];
        for (bytes, kind) in cases {
            assert_eq!(classify(bytes), kind, "{bytes:?}");
        }
    }

    #[test]
    fn an_mp4_is_whole_only_with_its_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let bytes = [atom(b"ftyp", 8), atom(b"moov", 40), atom(b"mdat", 100)].concat();
        for cut in [0, 1, 60, 107, 120, bytes.len()] {
            std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
            assert_eq!(whole(&path).unwrap(), cut == 0, "{cut} bytes cut");
        }
        std::fs::write(&path, [atom(b"ftyp", 8), atom(b"mdat", 100)].concat()).unwrap();
        assert!(!whole(&path).unwrap(), "no index yet");
        std::fs::write(&path, "notes").unwrap();
        assert!(whole(&path).unwrap());
    }
}
