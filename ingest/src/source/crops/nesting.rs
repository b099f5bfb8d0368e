//! How deep the values of a pickle nest, found out without building them.
//!
//! The unpickler and everything that later drops its values recurse into them, so a few bytes per level (`]` and `a`)
//! could exhaust any stack. This pass follows the stack of the pickle machine, keeping only the depth of each value.
//! A container may be fetched from the memo no second time: that is how values could be nested from the outside in,
//! and lists of names, which are all that is wanted here, never need it.

/// Depth allowed: list, tuple, dictionary, list, text and some room.
const MAX_DEPTH: u32 = 16;
/// Marks open at a time; the unpickler sets a table of four kilobytes aside for each.
const MAX_MARKS: usize = 64;
/// Values waiting on the stack: a list of a million items is pickled in batches of a thousand.
const MAX_STACK: usize = 1 << 24;

/// Checks a pickle.
///
/// # Errors
/// A sentence about the first thing that does not belong into plain nested data.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), containers: Vec::new() };
    while machine.step()? {}
    Ok(())
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Depth of each value: 0 for text and numbers.
    stack: Vec<u32>,
    marks: Vec<usize>,
    /// Per entry of the memo whether it is a container.
    containers: Vec<bool>,
}

impl Machine<'_> {
    /// Runs one instruction; false at the end.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.byte()?;
        match code {
            b'.' => return Ok(false),
            // Protocol, frame.
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            b'(' if self.marks.len() >= MAX_MARKS => return Err(format!("its marks nest more than {MAX_MARKS} deep")),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            // Numbers, true, false and none.
            b'I' | b'L' | b'F' => self.line()?,
            b'J' => self.leaf(4)?,
            b'K' => self.leaf(1)?,
            b'M' => self.leaf(2)?,
            b'G' => self.leaf(8)?,
            b'N' | 0x88 | 0x89 => self.leaf(0)?,
            0x8a => self.counted(1)?,
            0x8b => self.counted(4)?,
            // Text and bytes.
            b'S' | b'V' => self.line()?,
            b'U' | b'C' | 0x8c => self.counted(1)?,
            b'T' | b'X' | b'B' => self.counted(4)?,
            0x8d | 0x8e | 0x96 => self.counted(8)?,
            // Containers.
            b']' | b'}' | b')' | 0x8f => self.push(1)?,
            b'l' | b'd' | b't' | 0x91 => {
                let inner = self.since_mark()?;
                self.push(inner + 1)?;
            }
            0x85..=0x87 => {
                let mut inner = 0;
                for _ in 0x85..=code {
                    inner = self.pop()?.max(inner);
                }
                self.push(inner + 1)?;
            }
            b'a' => {
                let inner = self.pop()?;
                self.grow(inner)?;
            }
            b's' => {
                let inner = self.pop()?.max(self.pop()?);
                self.grow(inner)?;
            }
            b'e' | b'u' | 0x90 => {
                let inner = self.since_mark()?;
                self.grow(inner)?;
            }
            // Memo.
            b'p' => {
                let key = self.text_number()?;
                self.remember(key)?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.containers.len())?,
            b'g' => {
                let key = self.text_number()?;
                self.fetch(key)?;
            }
            b'h' => {
                let key = self.number(1)?;
                self.fetch(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.fetch(key)?;
            }
            other => {
                return Err(self.wrong(&format!("instruction {:?} has no place in a list of names", char::from(other))));
            }
        }
        Ok(true)
    }

    fn wrong(&self, what: &str) -> String {
        format!("{what} (byte {})", self.at.saturating_sub(1))
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or("it ends too early")?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.at = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or("it ends too early")?;
        Ok(())
    }

    /// A little-endian number of `width` bytes.
    fn number(&mut self, width: usize) -> Result<usize, String> {
        let mut value = 0u64;
        for place in 0..width {
            value |= u64::from(self.byte()?) << (8 * place);
        }
        usize::try_from(value).map_err(|error| error.to_string())
    }

    fn rest_of_line(&mut self) -> Result<&[u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("it ends too early")?;
        self.at += end + 1;
        Ok(rest.get(..end).unwrap_or_default())
    }

    fn text_number(&mut self) -> Result<usize, String> {
        let text = String::from_utf8_lossy(self.rest_of_line()?).into_owned();
        text.trim().parse().map_err(|_| self.wrong("a memo number is none"))
    }

    fn line(&mut self) -> Result<(), String> {
        self.rest_of_line()?;
        self.push(0)
    }

    fn leaf(&mut self, bytes: usize) -> Result<(), String> {
        self.skip(bytes)?;
        self.push(0)
    }

    fn counted(&mut self, width: usize) -> Result<(), String> {
        let count = self.number(width)?;
        self.leaf(count)
    }

    fn push(&mut self, depth: u32) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(&format!("values nest more than {MAX_DEPTH} deep")));
        }
        if self.stack.len() >= MAX_STACK {
            return Err(self.wrong("too many values wait on its stack"));
        }
        self.stack.push(depth);
        Ok(())
    }

    fn pop(&mut self) -> Result<u32, String> {
        self.stack.pop().ok_or_else(|| self.wrong("it takes a value from an empty stack"))
    }

    /// Takes everything above the last mark and gives the greatest depth of it.
    fn since_mark(&mut self) -> Result<u32, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        let mark = mark.ok_or_else(|| self.wrong("a mark is missing"))?;
        Ok(self.stack.drain(mark..).max().unwrap_or(0))
    }

    /// The container on top gets values of depth `inner`.
    fn grow(&mut self, inner: u32) -> Result<(), String> {
        let own = self.pop()?;
        self.push(own.max(inner + 1))
    }

    fn remember(&mut self, key: usize) -> Result<(), String> {
        // Every entry takes an instruction of its own, so there are never more than bytes.
        if key > self.bytes.len() {
            return Err(self.wrong("a memo number is too large"));
        }
        let top = self.stack.last().copied().ok_or_else(|| self.wrong("it remembers a value of an empty stack"))?;
        if self.containers.len() <= key {
            self.containers.resize(key + 1, true);
        }
        if let Some(slot) = self.containers.get_mut(key) {
            *slot = top > 0;
        }
        Ok(())
    }

    fn fetch(&mut self, key: usize) -> Result<(), String> {
        match self.containers.get(key) {
            Some(false) => self.push(0),
            _ => Err(self.wrong("it refers back to a list or to nothing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn millions_of_levels_are_refused_before_they_are_built() {
        let levels = 4_000_000;
        let lists = [b"\x80\x03".to_vec(), vec![b']'; levels], vec![b'a'; levels - 1], b".".to_vec()].concat();
        assert!(check(&lists).unwrap_err().contains("deep"));
        let tuples = [b"\x80\x03K\x01".to_vec(), vec![0x85; levels], b".".to_vec()].concat();
        assert!(check(&tuples).unwrap_err().contains("deep"));
        let marked = [vec![b'('; levels], vec![b'l'; levels], b".".to_vec()].concat();
        assert!(check(&marked).unwrap_err().contains("deep"));
        let dicts = [b"K\x01".repeat(levels / 4), b"}K\x01K\x02s".to_vec(), b".".to_vec()].concat();
        assert_eq!(check(&dicts), Ok(()));
        // From the outside in: each new list is put into the one remembered last.
        let mut inside = b"]q\x00".to_vec();
        for _ in 0..1000 {
            inside.extend(b"h\x00]q\x00a");
        }
        assert!(check(&[inside, b".".to_vec()].concat()).unwrap_err().contains("refers back"));
        assert!(check(b"]2a.").unwrap_err().contains("'2'"));
        assert!(check(b"cos\nsystem\n(S'true'\ntR.").unwrap_err().contains("'c'"));
    }

    #[test]
    fn every_protocol_of_python_passes() {
        // pickle.dumps([("v", {0: ["000000", "000001"], 1: ["000000"]})], protocol) for 0, 2 and 4.
        let zero = b"(lp0\n(Vv\np1\n(dp2\nI0\n(lp3\nV000000\np4\naV000001\np5\nasI1\n(lp6\ng4\nastp7\na.";
        let two = b"\x80\x02]q\x00X\x01\x00\x00\x00vq\x01}q\x02(K\x00]q\x03(X\x06\x00\x00\x00000000q\x04X\x06\x00\x00\x00000001q\x05eK\x01]q\x06h\x04au\x86q\x07a.";
        let four = b"\x80\x04\x95\x2d\x00\x00\x00\x00\x00\x00\x00]\x94\x8c\x01v\x94}\x94(K\x00]\x94(\x8c\x06000000\x94\x8c\x06000001\x94eK\x01]\x94h\x04au\x86\x94a.";
        for pickle in [&zero[..], two, four] {
            assert_eq!(check(pickle), Ok(()), "{}", String::from_utf8_lossy(pickle));
            for cut in 0..pickle.len() {
                assert!(check(&pickle[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(check(&bytes));
        }
    }
}
