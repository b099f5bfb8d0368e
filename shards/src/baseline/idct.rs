//! From coefficients to samples: the integer transform with 12 bits that libjpeg calls `islow`, in stb's and zune-jpeg's
//! rounding.

type Rows = [[i32; 8]; 8];

/// One pass over the columns, eight side by side: `round` is added and `shift` bits are dropped.
#[inline(always)]
fn pass(rows: &mut Rows, round: i32, shift: u32) {
    for i in 0..8 {
        let at = |row: usize| rows[row][i];
        let (p2, p3) = (at(2), at(6));
        let p1 = (p2.wrapping_add(p3)).wrapping_mul(2217);
        let t2 = p1.wrapping_add(p3.wrapping_mul(-7567));
        let t3 = p1.wrapping_add(p2.wrapping_mul(3135));
        let (p2, p3) = (at(0), at(4));
        let t0 = p2.wrapping_add(p3) << 12;
        let t1 = p2.wrapping_sub(p3) << 12;
        let x0 = t0.wrapping_add(t3).wrapping_add(round);
        let x3 = t0.wrapping_sub(t3).wrapping_add(round);
        let x1 = t1.wrapping_add(t2).wrapping_add(round);
        let x2 = t1.wrapping_sub(t2).wrapping_add(round);
        let (t0, t1, t2, t3) = (at(7), at(5), at(3), at(1));
        let (p3, p4) = (t0.wrapping_add(t2), t1.wrapping_add(t3));
        let (p1, p2) = (t0.wrapping_add(t3), t1.wrapping_add(t2));
        let p5 = p3.wrapping_add(p4).wrapping_mul(4816);
        let p1 = p5.wrapping_add(p1.wrapping_mul(-3685));
        let p2 = p5.wrapping_add(p2.wrapping_mul(-10497));
        let p3 = p3.wrapping_mul(-8034);
        let p4 = p4.wrapping_mul(-1597);
        let t3 = t3.wrapping_mul(6149).wrapping_add(p1.wrapping_add(p4));
        let t2 = t2.wrapping_mul(12586).wrapping_add(p2.wrapping_add(p3));
        let t1 = t1.wrapping_mul(8410).wrapping_add(p2.wrapping_add(p4));
        let t0 = t0.wrapping_mul(1223).wrapping_add(p1.wrapping_add(p3));
        for (row, value) in [
            x0.wrapping_add(t3),
            x1.wrapping_add(t2),
            x2.wrapping_add(t1),
            x3.wrapping_add(t0),
            x3.wrapping_sub(t0),
            x2.wrapping_sub(t1),
            x1.wrapping_sub(t2),
            x0.wrapping_sub(t3),
        ]
        .into_iter()
        .enumerate()
        {
            rows[row][i] = value >> shift;
        }
    }
}

#[inline(always)]
fn transpose(rows: &Rows) -> Rows {
    let mut out = [[0; 8]; 8];
    for (y, row) in rows.iter().enumerate() {
        for (x, value) in row.iter().enumerate() {
            out[x][y] = *value;
        }
    }
    out
}

/// Transforms a block into 8 rows of 8 samples, `stride` apart.
#[inline(always)]
pub(super) fn idct(block: &[i32; 64], out: &mut [u8], stride: usize) {
    if block[1..].iter().fold(0, |all, v| all | v) == 0 {
        let value = (block[0].wrapping_add(4 + 1024) >> 3).clamp(0, 255) as u8;
        return put(&[[value; 8]; 8], out, stride);
    }
    let mut rows: Rows = [[0; 8]; 8];
    for (row, from) in rows.iter_mut().zip(block.as_chunks::<8>().0) {
        *row = *from;
    }
    pass(&mut rows, 512, 10);
    let mut columns = transpose(&rows);
    pass(&mut columns, 512 + 65_536 + (128 << 17), 17);
    let rows = transpose(&columns);
    let mut samples = [[0; 8]; 8];
    for (line, row) in samples.iter_mut().zip(&rows) {
        for (sample, value) in line.iter_mut().zip(row) {
            *sample = (*value).clamp(0, 255) as u8;
        }
    }
    put(&samples, out, stride);
}

#[inline(always)]
fn put(rows: &[[u8; 8]; 8], out: &mut [u8], stride: usize) {
    for (line, row) in out.chunks_mut(stride).zip(rows) {
        if let Some(slot) = line.first_chunk_mut::<8>() {
            *slot = *row;
        }
    }
}
