//! PPM (P6, 8 bits): the pipe format between a decoder child and this program. Every frame carries its own size.

use shards::image::Rgb;
use std::io::{self, BufRead, Read, Write};

/// Longest header accepted, comments included.
const MAX_HEADER: usize = 4096;

/// Why a PPM stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PpmError {
    /// The pipe broke.
    #[error("the decoder's pipe broke: {0}")]
    Io(#[from] io::Error),
    /// The header is no PPM header.
    #[error("the decoder sent no PPM picture: {0}")]
    Header(&'static str),
    /// A frame is larger than allowed.
    #[error("a frame of {width}x{height} px is larger than the limit of {max_pixels} pixels")]
    TooLarge {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Largest number of pixels.
        max_pixels: u64,
    },
    /// The stream ends inside a frame.
    #[error("the decoder stopped inside a frame")]
    Cut,
}

/// Reads the next frame; `None` at the end of the stream.
///
/// # Errors
/// [`PpmError`] when the stream is damaged, ends inside a frame, or a frame has more than `max_pixels` pixels.
pub fn read_frame(stream: &mut impl BufRead, max_pixels: u64) -> Result<Option<Rgb>, PpmError> {
    if stream.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut header = Header { stream, read: 0 };
    if (header.byte()?, header.byte()?) != (b'P', b'6') {
        return Err(PpmError::Header("it does not start with P6"));
    }
    let (width, height, depth) = (header.number()?, header.number()?, header.number()?);
    if depth != 255 {
        return Err(PpmError::Header("its depth is not 255"));
    }
    if width == 0 || height == 0 {
        return Err(PpmError::Header("it has no pixels"));
    }
    let pixels = (width as u64).saturating_mul(height as u64);
    if pixels > max_pixels {
        return Err(PpmError::TooLarge { width, height, max_pixels });
    }
    let bytes = width * height * 3;
    let mut data = Vec::with_capacity(bytes);
    header.stream.take(bytes as u64).read_to_end(&mut data)?;
    if data.len() != bytes {
        return Err(PpmError::Cut);
    }
    Rgb::new(width, height, data).map(Some).map_err(|_| PpmError::Header("its size does not fit its data"))
}

/// Writes one frame.
///
/// # Errors
/// When the pipe is closed.
pub fn write_frame(out: &mut impl Write, width: usize, height: usize, rgb: &[u8]) -> io::Result<()> {
    write!(out, "P6\n{width} {height}\n255\n")?;
    out.write_all(rgb)
}

struct Header<'a, R> {
    stream: &'a mut R,
    read: usize,
}

impl<R: BufRead> Header<'_, R> {
    fn byte(&mut self) -> Result<u8, PpmError> {
        self.read += 1;
        if self.read > MAX_HEADER {
            return Err(PpmError::Header("its header is too long"));
        }
        let mut byte = [0];
        match self.stream.read_exact(&mut byte) {
            Ok(()) => Ok(byte[0]),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(PpmError::Cut),
            Err(e) => Err(e.into()),
        }
    }

    /// The next number, and the one whitespace after it.
    fn number(&mut self) -> Result<usize, PpmError> {
        let mut byte = self.byte()?;
        while byte.is_ascii_whitespace() || byte == b'#' {
            if byte == b'#' {
                while self.byte()? != b'\n' {}
            }
            byte = self.byte()?;
        }
        let mut value = 0usize;
        let mut digits = 0;
        while byte.is_ascii_digit() && digits < 7 {
            value = value * 10 + usize::from(byte - b'0');
            digits += 1;
            byte = self.byte()?;
        }
        if digits == 0 || !byte.is_ascii_whitespace() {
            return Err(PpmError::Header("its header has no number where one is due"));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(frames: &[(usize, usize)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, (w, h)) in frames.iter().enumerate() {
            write_frame(&mut out, *w, *h, &vec![i as u8; w * h * 3]).unwrap();
        }
        out
    }

    #[test]
    fn frames_of_any_size_come_back() {
        let bytes = stream(&[(4, 3), (1, 7), (640, 2)]);
        let mut input = &bytes[..];
        for (i, size) in [(4, 3), (1, 7), (640, 2)].into_iter().enumerate() {
            let frame = read_frame(&mut input, 2000).unwrap().unwrap();
            assert_eq!((frame.width, frame.height), size);
            assert!(frame.data.iter().all(|v| usize::from(*v) == i));
        }
        assert!(read_frame(&mut input, 2000).unwrap().is_none());
    }

    #[test]
    fn comments_are_skipped_and_limits_hold() {
        let mut input = &b"P6 # made by hand\n# twice\n1 1\n255\nabc"[..];
        assert_eq!(read_frame(&mut input, 1).unwrap().unwrap().data, b"abc");
        assert!(matches!(read_frame(&mut &stream(&[(4, 3)])[..], 11), Err(PpmError::TooLarge { .. })));
        assert!(matches!(read_frame(&mut &b"P6 9999999 9999999 255 "[..], 1 << 40), Err(PpmError::TooLarge { .. })));
        assert!(matches!(read_frame(&mut &b"P5 1 1 255 abc"[..], 9), Err(PpmError::Header(_))));
        assert!(matches!(read_frame(&mut &b"P6 0 1 255 "[..], 9), Err(PpmError::Header(_))));
        assert!(matches!(read_frame(&mut &b"P6 1 1 65535 abcdef"[..], 9), Err(PpmError::Header(_))));
    }

    proptest! {
        #[test]
        fn a_cut_stream_is_never_a_frame(cut in 1usize..38) {
            let bytes = stream(&[(3, 3)]);
            prop_assert!(cut < bytes.len());
            let mut input = &bytes[..bytes.len() - cut];
            if !input.is_empty() {
                prop_assert!(read_frame(&mut input, 9).is_err());
            }
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_frame(&mut &noise[..], 1000);
        }
    }
}
