//! What a convolution's inputs and weights have to do with its outputs' error.

use super::conv::{Conv, DEPTH, PIECE, Planes, Scratch, View};
use super::kernel::{BLOCK, Kernel};
use rayon::prelude::*;
use std::ops::Range;

/// Pixels that are laid out at a time.
const RUN: usize = 16;
/// Most columns of a kernel.
const MOST: usize = 16;

/// Sizes of a convolution of pictures of `height` x `width`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Output channels.
    pub outputs: usize,
    /// Input channels.
    pub inputs: usize,
    /// Side of the window.
    pub side: usize,
    /// Step of the window.
    pub stride: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
}

impl Sizes {
    /// Rows and columns of the output.
    pub(crate) fn output(&self) -> (usize, usize) {
        ((self.height - self.side) / self.stride + 1, (self.width - self.side) / self.stride + 1)
    }
}

/// The gradient of the inputs, `[pictures][inputs][height][width]`, from `weights`, `[outputs][inputs][side][side]`, and
/// the gradient of the outputs: a convolution of the latter, spread and padded, with the windows turned round.
pub(crate) fn of_inputs(kernel: Kernel, sizes: Sizes, weights: &[f32], outputs: &[f32]) -> Vec<f32> {
    let Sizes { outputs: count, inputs, side, stride, height, width } = sizes;
    let (rows, columns) = sizes.output();
    let cells = side * side;
    let mut turned = vec![0.0; weights.len()];
    turned.par_chunks_mut((count * cells).max(1)).enumerate().for_each(|(input, turned)| {
        for (output, turned) in turned.chunks_exact_mut(cells.max(1)).enumerate() {
            let start = (output * inputs + input) * cells;
            let window = weights.get(start..start + cells).unwrap_or_default();
            turned.iter_mut().zip(window.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    });
    let padded = (height + side - 1, width + side - 1);
    let mut spread = vec![0.0; outputs.len() / (rows * columns).max(1) * padded.0 * padded.1];
    let planes = spread.par_chunks_mut((padded.0 * padded.1).max(1)).zip(outputs.par_chunks((rows * columns).max(1)));
    planes.for_each(|(spread, plane)| {
        for (row, values) in plane.chunks_exact(columns.max(1)).enumerate() {
            let start = (row * stride + side - 1) * padded.1 + side - 1;
            let places = spread.get_mut(start..).unwrap_or_default().iter_mut().step_by(stride);
            places.zip(values).for_each(|(to, from)| *to = *from);
        }
    });
    let conv = Conv::new(kernel, [inputs, count, side], 1, &turned, &vec![0.0; inputs]);
    let mut found = Planes::default();
    conv.run(View { height: padded.0, width: padded.1, data: &spread }, &mut found, &mut Scratch::default());
    found.data
}

/// The gradient of the weights, `[outputs][inputs][side][side]`, from the inputs and the gradient of the outputs: for every
/// output and every cell of its window the sum, over all pixels of all pictures, of their products.
pub(crate) fn of_weights(kernel: Kernel, sizes: Sizes, inputs: &[f32], outputs: &[f32]) -> Vec<f32> {
    let Sizes { outputs: count, inputs: channels, side, .. } = sizes;
    let Kernel { rows, columns, .. } = kernel;
    let (high, wide) = sizes.output();
    let pixels = high * wide;
    let depth = channels * side * side;
    let piece = PIECE.div_ceil(columns) * columns;
    let padded = count.div_ceil(rows) * rows;
    // The outputs' errors side by side, pixel by pixel of all pictures: `[padded / rows][all][rows]`.
    let all = outputs.len() / count.max(1);
    let mut laid = vec![0.0; padded * all];
    laid.par_chunks_mut((rows * all).max(1)).enumerate().for_each(|(panel, laid)| {
        for (row, output) in (panel * rows..count.min((panel + 1) * rows)).enumerate() {
            let mut places = laid.iter_mut().skip(row).step_by(rows);
            for picture in outputs.chunks_exact((count * pixels).max(1)) {
                let errors = picture.get(output * pixels..(output + 1) * pixels).unwrap_or_default();
                errors.iter().zip(places.by_ref()).for_each(|(from, to)| *to = *from);
            }
        }
    });
    let mut sums = vec![0.0; depth.div_ceil(piece) * padded * piece];
    sums.par_chunks_mut(padded * piece).enumerate().for_each_init(Vec::new, |cells, (number, sums)| {
        let wanted = number * piece..((number + 1) * piece).min(depth);
        let used = wanted.len().div_ceil(columns);
        let mut block = [0.0; BLOCK];
        for begin in (0..all).step_by(DEPTH) {
            let end = (begin + DEPTH).min(all);
            let long = end - begin;
            cells.resize(used * long * columns, 0.0);
            for (panel, first) in cells.chunks_exact_mut(long * columns).zip(wanted.clone().step_by(columns)) {
                lay(sizes, inputs, first..(first + columns).min(depth), begin..end, columns, panel);
            }
            for (errors, sums) in laid.chunks_exact(all * rows).zip(sums.chunks_exact_mut(rows * piece)) {
                let errors = errors.get(begin * rows..end * rows).unwrap_or_default();
                for (j, cells) in cells.chunks_exact(long * columns).enumerate() {
                    kernel.run(errors, cells, &mut block);
                    for (sums, found) in sums.chunks_exact_mut(piece).zip(block.chunks_exact(columns)) {
                        let sums = sums.get_mut(j * columns..(j + 1) * columns).unwrap_or_default();
                        sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
                    }
                }
            }
        }
    });
    let mut found = vec![0.0; count * depth];
    found.par_chunks_mut(depth.max(1)).enumerate().for_each(|(output, found)| {
        for (found, sums) in found.chunks_mut(piece).zip(sums.chunks_exact(padded * piece)) {
            let start = output * piece;
            found.copy_from_slice(sums.get(start..start + found.len()).unwrap_or_default());
        }
    });
    found
}

/// What the window's cells `cells` (channel, row, column) see at the pixels `range` of all pictures: `[pixels][columns]`, with
/// anything behind the last cell.
fn lay(sizes: Sizes, pictures: &[f32], cells: Range<usize>, range: Range<usize>, columns: usize, into: &mut [f32]) {
    let Sizes { inputs, side, stride, height, width, .. } = sizes;
    let (high, wide) = sizes.output();
    let start = |cell: usize| {
        let (channel, cell) = (cell / (side * side), cell % (side * side));
        (channel * height + cell / side) * width + cell % side
    };
    // Runs of pixels are turned round in a block that stays in the first cache.
    let mut block = [[0.0f32; RUN]; MOST];
    let mut at = range.start;
    while at < range.end {
        let (picture, pixel) = (at / (high * wide), at % (high * wide));
        let count = (wide - pixel % wide).min(range.end - at).min(RUN);
        let from = picture * inputs * height * width + (pixel / wide * width + pixel % wide) * stride;
        for (row, cell) in block.iter_mut().zip(cells.clone()) {
            let source = pictures.get(start(cell) + from..).unwrap_or_default();
            match source.first_chunk::<RUN>() {
                Some(source) if stride == 1 => *row = *source,
                _ => row.iter_mut().zip(source.iter().step_by(stride)).for_each(|(to, from)| *to = *from),
            }
        }
        let first = (at - range.start) * columns;
        let rows = into.get_mut(first..first + count * columns).unwrap_or_default();
        for (pixel, into) in rows.chunks_exact_mut(columns).enumerate() {
            for (to, row) in into.iter_mut().zip(&block) {
                *to = row[pixel % RUN];
            }
        }
        at += count;
    }
}
