//! A look at a pickle before it is unpickled: how deep its marks nest.
//!
//! The decoder sets a table aside for every open mark, four kilobytes for one byte of input; the corpus' list nests a
//! handful of them.

/// Marks that may be open at a time.
const MAX_OPEN: u32 = 64;

/// What follows an opcode.
enum Argument {
    /// So many bytes.
    Bytes(usize),
    /// So many lines.
    Lines(usize),
    /// A little-endian length of so many bytes, then that many bytes.
    Counted(usize),
}

fn argument(opcode: u8) -> Argument {
    use Argument::{Bytes, Counted, Lines};
    match opcode {
        b'F' | b'I' | b'L' | b'S' | b'V' | b'P' | b'g' | b'p' => Lines(1),
        b'c' | b'i' => Lines(2),
        b'K' | b'M' | b'J' | b'G' => Bytes(match opcode {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            _ => 8,
        }),
        b'h' | b'q' | 0x80 | 0x82 => Bytes(1),
        0x83 => Bytes(2),
        b'j' | b'r' | 0x84 => Bytes(4),
        0x95 => Bytes(8),
        b'U' | b'C' | 0x8a | 0x8c => Counted(1),
        b'X' | b'T' | b'B' | 0x8b => Counted(4),
        0x8d | 0x8e | 0x96 => Counted(8),
        _ => Bytes(0),
    }
}

/// Refuses bytes whose opcodes leave too many marks open at a time. Everything else is the decoder's business: an
/// opcode that is not known here takes no argument.
///
/// # Errors
/// A sentence.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let (mut at, mut open) = (0usize, 0u32);
    while let Some(&opcode) = bytes.get(at) {
        at += 1;
        match opcode {
            b'(' => open += 1,
            b'e' | b'u' | b't' | b'l' | b'd' | b'1' | b'o' | b'i' | 0x90 | 0x91 => open = open.saturating_sub(1),
            b'.' => return Ok(()),
            _ => {}
        }
        if open > MAX_OPEN {
            return Err(format!("it is not the expected pickle (it nests more than {MAX_OPEN} deep)"));
        }
        let rest = bytes.get(at..).unwrap_or_default();
        at = at.saturating_add(match argument(opcode) {
            Argument::Bytes(count) => count,
            Argument::Lines(count) => {
                let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                ends.map(|(end, _)| end + 1).nth(count - 1).unwrap_or(rest.len())
            }
            Argument::Counted(width) => {
                let digits = rest.get(..width).unwrap_or_default();
                let length = digits.iter().rev().fold(0u64, |sum, digit| sum << 8 | u64::from(*digit));
                width.saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_in_opcodes_not_in_text() {
        assert!(check(&[b'('; 64]).is_ok());
        assert!(check(&[b'('; 65]).unwrap_err().contains("64 deep"));
        // The text of a name is no opcode, whatever its kind of length.
        let text = [b'('; 200];
        for head in [&b"\x8c\xc8"[..], b"U\xc8", b"X\xc8\0\0\0", b"\x8d\xc8\0\0\0\0\0\0\0"] {
            assert!(check(&[head, &text, b"."].concat()).is_ok(), "{head:?}");
        }
        assert!(check(&[b"S'", &text[..], b"'\np0\n."].concat()).is_ok());
        assert!(check(&[b"S'a'\n", &text[..]].concat()).is_err());
        // Marks that are closed do not add up.
        assert!(check(&b"((lt".repeat(1000)).is_ok());
        assert!(check(b"X\xff\xff\xff\xff").is_ok());
    }
}
