//! Entropy-coded bits to coefficients.

use super::Foreign;
use super::header::NATURAL;

/// Bits looked up at once.
const LOOK: u32 = 10;
/// In an entry: the extra bits are not part of what was looked up.
const PARTIAL: u32 = 1 << 7;
/// Run of the end-of-block symbol: leads beyond every block.
const END: u32 = 64;
/// Zeros behind the data, so that whole words can be read up to its end.
const SLACK: usize = 16;

/// Copies the entropy-coded bytes up to the end-of-image marker and drops the zero that follows each 0xff.
pub(super) fn unstuff(scan: &[u8], out: &mut Vec<u8>) -> Result<(), Foreign> {
    out.clear();
    let mut rest = scan;
    loop {
        let at = find_ff(rest).ok_or(Foreign)?;
        match rest.get(at + 1) {
            Some(0) => out.extend_from_slice(rest.get(..=at).unwrap_or_default()),
            Some(0xd9) => break out.extend_from_slice(rest.get(..at).unwrap_or_default()),
            // Restart markers, more scans, fill bytes.
            _ => return Err(Foreign),
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(&[0; SLACK]);
    Ok(())
}

/// Place of the first byte 0xff, eight bytes at a time.
fn find_ff(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let (words, tail) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        // The lowest set bit marks the lowest zero byte of the complement.
        let v = !u64::from_le_bytes(*word);
        let zero = v.wrapping_sub(LOW) & !v & (LOW << 7);
        if zero != 0 {
            return Some(8 * i + (zero.trailing_zeros() / 8) as usize);
        }
    }
    tail.iter().position(|b| *b == 0xff).map(|i| 8 * words.len() + i)
}

/// A reader of bits, highest first.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, from the top; below the `n` counted ones may stand true ones that are not counted.
    word: u64,
    n: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, word: 0, n: 0 }
    }

    /// At least 56 bits are there afterwards; zeros behind the end.
    #[inline(always)]
    fn refill(&mut self) {
        let next = match self.data.get(self.at..self.at + 8).and_then(|b| b.first_chunk::<8>()) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => 0,
        };
        self.word |= next >> self.n;
        self.at += ((63 - self.n) >> 3) as usize;
        self.n |= 56;
    }

    #[inline(always)]
    fn take(&mut self, count: u32) {
        self.word <<= count;
        self.n = self.n.wrapping_sub(count);
    }

    /// The next `count` bits (0 to 16) as the file's signed numbers: a leading 0 means negative.
    #[inline(always)]
    fn signed(&mut self, count: u32) -> i32 {
        let value = ((self.word >> 1) >> (63 - count)) as i32;
        self.take(count);
        extend(value, count)
    }

    /// Were more bits taken than there are?
    pub(super) fn check(&self) -> Result<(), Foreign> {
        let taken = 8 * self.at as u64 - u64::from(self.n);
        if taken > 8 * self.data.len().saturating_sub(SLACK) as u64 { Err(Foreign) } else { Ok(()) }
    }
}

#[inline(always)]
fn extend(value: i32, count: u32) -> i32 {
    if count > 0 && value < 1 << (count - 1) { value - (1 << count) + 1 } else { value }
}

/// Codes of any length: for those that are too long to be looked up.
#[derive(Debug, Default)]
struct Codes {
    /// The table as it stands in the file; an equal one need not be built again.
    source: Vec<u8>,
    /// First code behind those of each length, as a 16-bit number; index 1 to 16.
    limit: [u32; 17],
    /// What to add to a code of each length for its place among the symbols.
    offset: [i32; 17],
}

impl Codes {
    /// Calls `each(code, length, symbol)` for every code; false when the table is the one that is there already.
    fn set(&mut self, source: &[u8], mut each: impl FnMut(u32, u32, u8)) -> Result<bool, Foreign> {
        if source.is_empty() {
            return Err(Foreign);
        }
        if self.source == source {
            return Ok(false);
        }
        self.source.clear();
        let (counts, symbols) = source.split_at_checked(16).ok_or(Foreign)?;
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(counts) {
            let slot = length as usize;
            self.offset[slot] = place as i32 - code as i32;
            for _ in 0..count {
                each(code, length, *symbols.get(place).ok_or(Foreign)?);
                (code, place) = (code + 1, place + 1);
            }
            if code > 1 << length {
                return Err(Foreign);
            }
            self.limit[slot] = code << (16 - length);
            code <<= 1;
        }
        self.source.extend_from_slice(source);
        Ok(true)
    }

    /// Length and symbol of the code that 16 bits begin with.
    #[cold]
    #[inline(never)]
    fn find(&self, bits: u32) -> Result<(u32, u8), Foreign> {
        for length in 1..=16_u32 {
            let slot = length as usize;
            if bits < self.limit[slot] {
                let place = (bits >> (16 - length)) as i32 + self.offset[slot];
                let symbol = usize::try_from(place).ok().and_then(|p| self.source.get(16 + p)).ok_or(Foreign)?;
                return Ok((length, *symbol));
            }
        }
        Err(Foreign)
    }
}

/// Sizes of the differences of the first coefficients.
#[derive(Debug)]
pub(super) struct DcTable {
    codes: Codes,
    /// `length << 8 | size` by the next bits; 0 where the code is longer.
    look: Box<[u16; 1 << LOOK]>,
}

impl Default for DcTable {
    fn default() -> Self {
        Self { codes: Codes::default(), look: Box::new([0; 1 << LOOK]) }
    }
}

impl DcTable {
    pub(super) fn set(&mut self, source: &[u8]) -> Result<(), Foreign> {
        let mut look = [0_u16; 1 << LOOK];
        let built = self.codes.set(source, |code, length, symbol| {
            if length <= LOOK {
                let (start, count) = ((code << (LOOK - length)) as usize, 1 << (LOOK - length));
                if let Some(slots) = look.get_mut(start..start + count) {
                    slots.fill((length as u16) << 8 | u16::from(symbol));
                }
            }
        })?;
        if built {
            *self.look = look;
        }
        Ok(())
    }
}

/// Runs of zeros and the coefficients after them.
#[derive(Debug)]
pub(super) struct AcTable {
    codes: Codes,
    /// By the next bits: `value << 16 | run << 8 | length`, with [`PARTIAL`] `size << 16 | run << 8 | length`; 0 where
    /// the code is longer.
    look: Box<[u32; 1 << LOOK]>,
}

impl Default for AcTable {
    fn default() -> Self {
        Self { codes: Codes::default(), look: Box::new([0; 1 << LOOK]) }
    }
}

/// An entry whose extra bits are still to be read.
fn partial(length: u32, symbol: u8) -> u32 {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    match (size, run) {
        (0, 15) => 15 << 8 | length,
        (0, _) => END << 8 | length,
        _ => size << 16 | run << 8 | PARTIAL | length,
    }
}

impl AcTable {
    pub(super) fn set(&mut self, source: &[u8]) -> Result<(), Foreign> {
        let mut look = [0_u32; 1 << LOOK];
        let built = self.codes.set(source, |code, length, symbol| {
            if length > LOOK {
                return;
            }
            let entry = partial(length, symbol);
            let (start, free) = (code << (LOOK - length), LOOK - length);
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            for low in 0..1_u32 << free {
                let whole = entry & PARTIAL != 0 && size <= free;
                let value = || extend((low >> (free - size)) as i32, size);
                let entry = if whole { (value() as u32) << 16 | run << 8 | (length + size) } else { entry };
                if let Some(slot) = look.get_mut((start + low) as usize) {
                    *slot = entry;
                }
            }
        })?;
        if built {
            *self.look = look;
        }
        Ok(())
    }
}

/// The first coefficient of a block, not yet multiplied.
#[inline(always)]
fn first(bits: &mut Bits<'_>, dc: &DcTable, before: &mut i32) -> Result<(), Foreign> {
    bits.refill();
    let entry = dc.look[(bits.word >> (64 - LOOK)) as usize & ((1 << LOOK) - 1)];
    let (length, size) = match entry {
        0 => {
            let (length, symbol) = dc.codes.find((bits.word >> 48) as u32)?;
            (length, u32::from(symbol))
        }
        entry => (u32::from(entry >> 8), u32::from(entry & 255)),
    };
    if size > 11 {
        return Err(Foreign);
    }
    bits.take(length);
    *before = before.wrapping_add(bits.signed(size));
    Ok(())
}

/// Reads the other coefficients of a block and hands (place in file order, value) to `put`.
#[inline(always)]
fn others(bits: &mut Bits<'_>, ac: &AcTable, mut put: impl FnMut(usize, i32)) -> Result<(), Foreign> {
    let mut k = 1_u32;
    while k < 64 {
        // A code has at most 16 bits, a value 15.
        if bits.n < 31 {
            bits.refill();
        }
        let mut entry = ac.look[(bits.word >> (64 - LOOK)) as usize & ((1 << LOOK) - 1)];
        if entry == 0 {
            let (length, symbol) = ac.codes.find((bits.word >> 48) as u32)?;
            entry = partial(length, symbol);
        }
        bits.take(entry & 31);
        k += entry >> 8 & 255;
        let value = if entry & PARTIAL == 0 { entry as i32 >> 16 } else { bits.signed(entry >> 16) };
        if k > 63 {
            // The end-of-block symbol, or a run that leads too far.
            return if k >= END + 1 && entry >> 8 & 255 == END { Ok(()) } else { Err(Foreign) };
        }
        put(k as usize, value);
        k += 1;
    }
    Ok(())
}

/// Reads a block, multiplied, row by row.
#[inline(always)]
pub(super) fn block(
    bits: &mut Bits<'_>,
    dc: &DcTable,
    ac: &AcTable,
    quant: &[i32; 64],
    before: &mut i32,
    out: &mut [i32; 64],
) -> Result<(), Foreign> {
    *out = [0; 64];
    first(bits, dc, before)?;
    out[0] = before.wrapping_mul(quant[0]);
    others(bits, ac, |k, value| out[usize::from(NATURAL[k & 63] & 63)] = value * quant[k & 63])
}

/// Reads over a block.
#[inline(always)]
pub(super) fn skip(bits: &mut Bits<'_>, dc: &DcTable, ac: &AcTable, before: &mut i32) -> Result<(), Foreign> {
    first(bits, dc, before)?;
    others(bits, ac, |_, _| {})
}
