//! Binary masks, run-length coded.

use serde::{Deserialize, Serialize};

use super::Rect;

/// A binary mask: a window of the image and alternating runs of zeros and ones, row by row, beginning
/// with zeros. Pixels after the last run are zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// Left column of the window, px.
    pub x: i32,
    /// Top row of the window, px.
    pub y: i32,
    /// Width of the window, px.
    pub width: u32,
    /// Height of the window, px.
    pub height: u32,
    /// Lengths of the runs: zeros, ones, zeros, ...
    pub rle: Vec<u32>,
}

impl Mask {
    /// A mask from rows of pixels (0 = outside) at the offset (x, y), px. Rows must have equal
    /// lengths; shorter ones count as filled up with zeros.
    pub fn from_rows(x: i32, y: i32, rows: &[Vec<u8>]) -> Self {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut rle = Vec::new();
        let (mut value, mut run) = (false, 0u32);
        for row in rows {
            for column in 0..width {
                let set = row.get(column).is_some_and(|pixel| *pixel != 0);
                if set != value {
                    rle.push(run);
                    (value, run) = (set, 0);
                }
                run += 1;
            }
        }
        if run > 0 {
            rle.push(run);
        }
        Mask {
            x,
            y,
            width: u32::try_from(width).unwrap_or(u32::MAX),
            height: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            rle,
        }
    }

    /// The set pixels as horizontal spans (row, first column, last column), inclusive, in image px,
    /// ordered by row. Runs beyond the window are cut off.
    pub fn spans(&self) -> Vec<(i64, i64, i64)> {
        let width = u64::from(self.width);
        let total = width * u64::from(self.height);
        let mut spans: Vec<(i64, i64, i64)> = Vec::new();
        let mut position = 0u64;
        for (index, run) in self.rle.iter().enumerate() {
            let end = (position + u64::from(*run)).min(total);
            if index % 2 == 1 {
                let mut start = position;
                while start < end {
                    let row = start / width;
                    let stop = end.min((row + 1) * width);
                    let y = i64::from(self.y) + row as i64;
                    let first = i64::from(self.x) + (start - row * width) as i64;
                    let last = i64::from(self.x) + (stop - 1 - row * width) as i64;
                    match spans.last_mut() {
                        Some((row, _, end)) if *row == y && *end + 1 == first => *end = last,
                        _ => spans.push((y, first, last)),
                    }
                    start = stop;
                }
            }
            position = end;
        }
        spans
    }

    /// The inclusive pixel bounds (left, top, right, bottom) of the set pixels, or `None` if there are none.
    pub fn pixel_bounds(&self) -> Option<[i64; 4]> {
        let spans = self.spans();
        let top = spans.first()?.0;
        let bottom = spans.last()?.0;
        let left = spans.iter().map(|span| span.1).min()?;
        let right = spans.iter().map(|span| span.2).max()?;
        Some([left, top, right, bottom])
    }

    /// The box around the set pixels, px, or `None` if there are none.
    pub fn bounding_rect(&self) -> Option<Rect> {
        let [left, top, right, bottom] = self.pixel_bounds()?;
        Some(Rect::new(left as f64, top as f64, (right - left + 1) as f64, (bottom - top + 1) as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Region;

    #[test]
    fn rows_and_runs_agree() {
        let mask = Mask::from_rows(3, 4, &[vec![1, 0], vec![0, 1]]);
        assert_eq!(Region::Mask(mask.clone()).to_string(), "m3,4,2,2,0,1,2,1");
        assert_eq!(mask.spans(), vec![(4, 3, 3), (5, 4, 4)]);
        assert_eq!(mask.bounding_rect().unwrap(), Rect::new(3.0, 4.0, 2.0, 2.0));
    }

    #[test]
    fn runs_past_the_window_are_cut_off() {
        let mask = Mask { x: 0, y: 0, width: 2, height: 1, rle: vec![1, 9] };
        assert_eq!(mask.spans(), vec![(0, 1, 1)]);
        let empty = Mask { x: 0, y: 0, width: 0, height: 0, rle: vec![0, 9] };
        assert!(empty.spans().is_empty() && empty.bounding_rect().is_none());
    }
}
