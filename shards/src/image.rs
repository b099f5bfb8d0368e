//! An 8-bit RGB picture in memory, and what goes wrong with pictures.

/// Interleaved 8-bit RGB, row-major: pixel (x, y) is `data[3 * (y * width + x)..][..3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub data: Vec<u8>,
}

/// A rectangle of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Part {
    /// Does it have an area, and lie in a picture of this size?
    #[must_use]
    pub fn is_inside(&self, width: usize, height: usize) -> bool {
        let fits = |start: usize, len: usize, n: usize| len > 0 && start.checked_add(len).is_some_and(|end| end <= n);
        fits(self.x, self.width, width) && fits(self.y, self.height, height)
    }
}

/// The pixels of a part of a picture, where they lie in the picture's memory.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pixels: &'a [u8],
    stride: usize,
    part: Part,
}

impl<'a> Rows<'a> {
    /// `pixels` are interleaved 8-bit RGB, rows of `width` pixels.
    #[must_use]
    pub fn new(pixels: &'a [u8], width: usize, part: Part) -> Self {
        Self { pixels, stride: 3 * width, part }
    }

    /// Row `y` of the part, `3 * part.width` bytes; `None` below the last.
    #[must_use]
    pub fn get(&self, y: usize) -> Option<&'a [u8]> {
        let at = self.stride * (self.part.y + y) + 3 * self.part.x;
        if y < self.part.height { self.pixels.get(at..at + 3 * self.part.width) } else { None }
    }
}

/// Why a picture could not be read or made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// The bytes are neither JPEG nor PNG.
    #[error("not a JPEG or PNG image (first bytes {0:02x?})")]
    UnknownFormat(Vec<u8>),
    /// The decoder refused the bytes: truncated or damaged.
    #[error("damaged or truncated image: {0}")]
    Damaged(String),
    /// Larger than the limit allows.
    #[error("image of {width}x{height} pixels is above the limit of {limit} pixels")]
    TooLarge {
        /// Width found.
        width: usize,
        /// Height found.
        height: usize,
        /// Largest number of pixels.
        limit: usize,
    },
    /// Buffer and size do not agree, or a side is zero.
    #[error("image of {width}x{height} pixels cannot have {bytes} bytes")]
    Shape {
        /// Width given.
        width: usize,
        /// Height given.
        height: usize,
        /// Bytes given.
        bytes: usize,
    },
    /// The encoder failed.
    #[error("could not encode the image: {0}")]
    Encode(String),
}

impl Rgb {
    /// Wraps a buffer.
    ///
    /// # Errors
    /// [`ImageError::Shape`] when a side is zero or the buffer is not `3 * width * height` bytes long.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self, ImageError> {
        let want = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if width == 0 || height == 0 || want != Some(data.len()) {
            return Err(ImageError::Shape { width, height, bytes: data.len() });
        }
        Ok(Self { width, height, data })
    }

    /// A picture of one colour.
    #[must_use]
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, data: colour.repeat(width * height) }
    }

    /// The pixel at column `x`, row `y`; black outside.
    #[must_use]
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        if x >= self.width || y >= self.height {
            return [0; 3];
        }
        let at = 3 * (y * self.width + x);
        match self.data.get(at..at + 3) {
            Some(&[r, g, b]) => [r, g, b],
            _ => [0; 3],
        }
    }

    /// Mean of each channel over the whole picture.
    #[must_use]
    pub fn channel_mean(&self) -> [f64; 3] {
        // Sums of 16 pixels side by side, so that the loop becomes vector code; 257 bytes fit into 16 bits.
        let mut sums = [0u64; 48];
        let (blocks, rest) = self.data.as_chunks::<48>();
        for few in blocks.chunks(257) {
            let mut short = [0u16; 48];
            for block in few {
                for (sum, &value) in short.iter_mut().zip(block) {
                    *sum += u16::from(value);
                }
            }
            for (sum, short) in sums.iter_mut().zip(short) {
                *sum += u64::from(short);
            }
        }
        for (sum, &value) in sums.iter_mut().zip(rest) {
            *sum += u64::from(value);
        }
        let pixels = (self.width * self.height) as f64;
        let mut mean = [0.0; 3];
        for (i, sum) in sums.iter().enumerate() {
            mean[i % 3] += *sum as f64;
        }
        mean.map(|s| s / pixels)
    }

    /// Copies the part with left/top corner (`x`, `y`), `width` columns and `height` rows.
    ///
    /// # Errors
    /// [`ImageError::Shape`] when the part is empty or does not lie inside.
    pub fn part(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Self, ImageError> {
        let bad = || ImageError::Shape { width, height, bytes: self.data.len() };
        let inside = x.checked_add(width).is_some_and(|r| r <= self.width)
            && y.checked_add(height).is_some_and(|b| b <= self.height);
        if width == 0 || height == 0 || !inside {
            return Err(bad());
        }
        let mut data = Vec::with_capacity(3 * width * height);
        for row in y..y + height {
            let at = 3 * (row * self.width + x);
            data.extend_from_slice(self.data.get(at..at + 3 * width).ok_or_else(bad)?);
        }
        Ok(Self { width, height, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_parts() {
        let mut img = Rgb::filled(37, 21, [10, 20, 30]);
        img.data[0] = 255;
        let mean = img.channel_mean();
        assert!((mean[0] - (10.0 + 245.0 / 777.0)).abs() < 1e-9);
        assert!((mean[1] - 20.0).abs() < 1e-12 && (mean[2] - 30.0).abs() < 1e-12);
        let part = img.part(35, 20, 2, 1).unwrap();
        assert_eq!(part.data, [10, 20, 30, 10, 20, 30]);
        assert!(img.part(36, 0, 2, 1).is_err());
        assert!(Rgb::new(2, 2, vec![0; 11]).is_err());
        assert_eq!(img.pixel(99, 0), [0; 3]);
    }
}
