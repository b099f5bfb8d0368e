//! JSON as annotation tools really write it: Python prints numbers that are none as `NaN` and `Infinity`, which JSON
//! does not know. They are read as `null`, so that one such box does not make a whole list unreadable.

use super::SourceSpec;
use crate::error::IngestError;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Reads a list from a file.
///
/// # Errors
/// When the file cannot be read or is not of this form, with line and column.
pub(super) fn read<T: DeserializeOwned>(spec: &SourceSpec, path: &Path) -> Result<T, IngestError> {
    let file = File::open(path).map_err(IngestError::io("open", path))?;
    let lenient = Lenient::new(BufReader::with_capacity(1 << 18, file));
    serde_json::from_reader(BufReader::with_capacity(1 << 18, lenient)).map_err(|error| {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        spec.wrong(format!("{file} is not the expected JSON: {error}; fetch or make that file again"))
    })
}

/// Four numbers; what is not a number, missing or too many makes the box empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FourNumbers(pub Option<[f64; 4]>);

impl<'de> Deserialize<'de> for FourNumbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = FourNumbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of four numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FourNumbers, A::Error> {
                let (mut all, mut count, mut whole) = ([0.0; 4], 0, true);
                while let Some(value) = list.next_element::<serde_json::Value>()? {
                    match (all.get_mut(count), value.as_f64()) {
                        (Some(slot), Some(number)) => *slot = number,
                        _ => whole = false,
                    }
                    count += 1;
                }
                Ok(FourNumbers((whole && count == 4).then_some(all)))
            }

            fn visit_unit<E>(self) -> Result<FourNumbers, E> {
                Ok(FourNumbers(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<FourNumbers, E> {
                Ok(FourNumbers(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<FourNumbers, E> {
                Ok(FourNumbers(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<FourNumbers, E> {
                Ok(FourNumbers(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<FourNumbers, E> {
                Ok(FourNumbers(None))
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}

/// Passes JSON on with `NaN`, `Infinity` and `-Infinity` outside of texts replaced by `null`.
struct Lenient<R> {
    inner: io::Bytes<R>,
    in_text: bool,
    escaped: bool,
    /// Letters (and a sign) read but not yet passed on.
    word: Vec<u8>,
    /// Ready to be passed on.
    ready: Vec<u8>,
    given: usize,
    done: bool,
}

impl<R: BufRead> Lenient<R> {
    fn new(inner: R) -> Self {
        let (word, ready) = (Vec::new(), Vec::new());
        Self { inner: inner.bytes(), in_text: false, escaped: false, word, ready, given: 0, done: false }
    }

    fn end_word(&mut self) {
        match self.word.as_slice() {
            b"NaN" | b"Infinity" | b"-Infinity" | b"-NaN" => self.ready.extend_from_slice(b"null"),
            other => self.ready.extend_from_slice(other),
        }
        self.word.clear();
    }

    fn take(&mut self, byte: u8) {
        if self.in_text {
            (self.in_text, self.escaped) = (self.escaped || byte != b'"', !self.escaped && byte == b'\\');
            self.ready.push(byte);
        } else if (byte.is_ascii_alphabetic() || byte == b'-') && self.word.len() < 16 {
            self.word.push(byte);
        } else {
            self.end_word();
            self.in_text = byte == b'"';
            self.ready.push(byte);
        }
    }
}

impl<R: BufRead> Read for Lenient<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready.len() {
            (self.given, self.ready) = (0, std::mem::take(&mut self.ready));
            self.ready.clear();
            while self.ready.len() < buf.len() && !self.done {
                match self.inner.next().transpose()? {
                    Some(byte) => self.take(byte),
                    None => {
                        self.end_word();
                        self.done = true;
                    }
                }
            }
        }
        let waiting = self.ready.get(self.given..).unwrap_or_default();
        let count = waiting.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), waiting.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(text: &str) -> String {
        let mut out = String::new();
        Lenient::new(text.as_bytes()).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn numbers_that_are_none_become_null() {
        assert_eq!(passed("[NaN,-Infinity, Infinity]"), "[null,null, null]");
        assert_eq!(passed(r#"{"NaN \" NaN": -1.5e-3, "a\\":NaN}"#), r#"{"NaN \" NaN": -1.5e-3, "a\\":null}"#);
        assert_eq!(passed("[true,false,null,-2,1E5]"), "[true,false,null,-2,1E5]");
        assert_eq!(passed("NaN"), "null");
        let long = format!("[{}\"x\"]", "NaN,".repeat(100_000));
        assert_eq!(passed(&long), long.replace("NaN", "null"));
    }

    #[test]
    fn boxes_that_are_none_are_empty() {
        let read = |text: &str| serde_json::from_str::<FourNumbers>(text).unwrap().0;
        assert_eq!(read("[1,2.5,3,4]"), Some([1.0, 2.5, 3.0, 4.0]));
        for bad in
            ["[1,2,3]", "[1,2,3,4,5]", "[1,null,3,4]", "[\"1\",2,3,4]", "null", "7", "-7", "0.5", "\"box\"", "[]"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
