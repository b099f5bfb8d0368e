//! The segments before the entropy-coded data.

use super::Foreign;

/// Order of the coefficients in the file: place in the block, row by row, of the k-th one.
pub(super) const NATURAL: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Which tables a component uses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tables {
    pub quant: usize,
    pub dc: usize,
    pub ac: usize,
}

/// A baseline 4:2:0 picture.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub width: usize,
    pub height: usize,
    /// Factors of the coefficients in the order of the file.
    pub quant: [[i32; 64]; 4],
    /// Huffman tables as they stand in the file: 16 counts, then the symbols.
    pub dc: [&'a [u8]; 2],
    pub ac: [&'a [u8]; 2],
    /// Of Y, Cb, Cr.
    pub tables: [Tables; 3],
    /// Number of the first component.
    pub first_id: u8,
    /// From the first entropy-coded byte to the end of the file.
    pub scan: &'a [u8],
}

impl Header<'_> {
    /// Macroblocks of 16 x 16 pixels across and down.
    pub(super) fn macroblocks(&self) -> (usize, usize) {
        (self.width.div_ceil(16), self.height.div_ceil(16))
    }
}

fn word(bytes: &[u8], at: usize) -> Result<usize, Foreign> {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => Ok(usize::from(high) << 8 | usize::from(low)),
        _ => Err(Foreign),
    }
}

/// Reads all segments up to the first scan.
pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, Foreign> {
    let mut header = Header {
        width: 0,
        height: 0,
        quant: [[0; 64]; 4],
        dc: [&[]; 2],
        ac: [&[]; 2],
        tables: [Tables::default(); 3],
        first_id: 0,
        scan: &[],
    };
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or(Foreign)?;
    loop {
        let &[0xff, marker, ..] = rest else { return Err(Foreign) };
        let length = word(rest, 2)?;
        let segment = rest.get(4..2 + length).ok_or(Foreign)?;
        rest = rest.get(2 + length..).ok_or(Foreign)?;
        match marker {
            0xdb => quant(segment, &mut header.quant)?,
            0xc4 => huffman(segment, &mut header)?,
            0xc0 => frame(segment, &mut header)?,
            0xda => {
                scan(segment, &mut header)?;
                header.scan = rest;
                return if header.width > 0 { Ok(header) } else { Err(Foreign) };
            }
            // Application data and comments. Adobe's segment may say that the colours are not YCbCr.
            0xee => return Err(Foreign),
            0xe0..=0xef | 0xfe => {}
            _ => return Err(Foreign),
        }
    }
}

fn quant(mut segment: &[u8], tables: &mut [[i32; 64]; 4]) -> Result<(), Foreign> {
    while let Some((&id, rest)) = segment.split_first() {
        // Tables of 16-bit factors have a set upper half.
        let table = tables.get_mut(usize::from(id)).ok_or(Foreign)?;
        let (factors, rest) = rest.split_at_checked(64).ok_or(Foreign)?;
        for (slot, factor) in table.iter_mut().zip(factors) {
            *slot = i32::from(*factor);
        }
        segment = rest;
    }
    Ok(())
}

fn huffman<'a>(mut segment: &'a [u8], header: &mut Header<'a>) -> Result<(), Foreign> {
    while let Some((&id, rest)) = segment.split_first() {
        let count: usize = rest.get(..16).ok_or(Foreign)?.iter().map(|&n| usize::from(n)).sum();
        let (table, rest) = rest.split_at_checked(16 + count).ok_or(Foreign)?;
        let tables = if id >> 4 == 0 { &mut header.dc } else { &mut header.ac };
        if id >> 4 > 1 {
            return Err(Foreign);
        }
        *tables.get_mut(usize::from(id & 15)).ok_or(Foreign)? = table;
        segment = rest;
    }
    Ok(())
}

fn frame(segment: &[u8], header: &mut Header<'_>) -> Result<(), Foreign> {
    let &[8, h1, h0, w1, w0, 3, id1, 0x22, q1, id2, 0x11, q2, id3, 0x11, q3] = segment else { return Err(Foreign) };
    // Components are numbered from 1 by the standard, from 0 by some encoders; letters mean other colours.
    if id1 > 1 || [id2, id3] != [id1 + 1, id1 + 2] {
        return Err(Foreign);
    }
    header.first_id = id1;
    header.height = usize::from(u16::from_be_bytes([h1, h0]));
    header.width = usize::from(u16::from_be_bytes([w1, w0]));
    // Chroma rows of fewer than three samples are a case of their own in other decoders.
    if header.width < 8 || header.height < 8 || [q1, q2, q3].iter().any(|q| *q > 3) {
        return Err(Foreign);
    }
    for (tables, q) in header.tables.iter_mut().zip([q1, q2, q3]) {
        tables.quant = usize::from(q);
    }
    Ok(())
}

fn scan(segment: &[u8], header: &mut Header<'_>) -> Result<(), Foreign> {
    let &[3, id1, t1, id2, t2, id3, t3, 0, 63, 0] = segment else { return Err(Foreign) };
    if [0, 1, 2].map(|i| header.first_id + i) != [id1, id2, id3] {
        return Err(Foreign);
    }
    for (tables, t) in header.tables.iter_mut().zip([t1, t2, t3]) {
        (tables.dc, tables.ac) = (usize::from(t >> 4), usize::from(t & 15));
        if tables.dc > 1 || tables.ac > 1 {
            return Err(Foreign);
        }
    }
    Ok(())
}
