//! Convolutions without padding on the processor: pixels are laid out beside one another piece by piece, and multiplied
//! with weights that were laid out once.

use super::kernel::{BLOCK, Kernel};
use rayon::prelude::*;

/// Rows of the sums that are done at a time, so that pixels stay in the second cache.
pub(super) const DEPTH: usize = 512;
/// Columns of the sums (pixels, or cells of the weights) that one thread does at a time, about.
pub(super) const PIECE: usize = 96;
/// Sums that are kept before they go to their planes: pictures of a batch are done in groups of about so many.
const GROUP: usize = 4 << 20;

/// Planes of one picture, or of several one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Planes {
    /// Channels of a picture.
    pub count: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `[pictures][count][height][width]`.
    pub data: Vec<f32>,
}

/// Pictures to be convolved, as in [`Planes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `[pictures][inputs][height][width]`.
    pub data: &'a [f32],
}

impl Planes {
    /// To be looked at.
    pub(crate) fn view(&self) -> View<'_> {
        View { height: self.height, width: self.width, data: &self.data }
    }
}

/// Weights laid out for a kernel.
#[derive(Debug, Clone)]
pub(crate) struct Conv {
    kernel: Kernel,
    inputs: usize,
    outputs: usize,
    side: usize,
    stride: usize,
    relu: bool,
    /// `[outputs / rows][inputs * side * side][rows]`, zeros behind the last output.
    panels: Vec<f32>,
    bias: Vec<f32>,
}

/// What a convolution needs while it runs; kept between frames.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    sums: Vec<f32>,
    phases: Vec<f32>,
}

/// A run of neighbouring pixels within a panel of a piece.
struct Span {
    panel: usize,
    column: usize,
    count: usize,
    /// Place in the sorted pictures of the upper left corner of the first one's window, in the first channel.
    from: usize,
}

/// Rows of `depth` numbers as panels of `rows` rows side by side, zeros behind the last row:
/// `[count / rows][depth][rows]`.
fn panels(values: &[f32], depth: usize, rows: usize) -> Vec<f32> {
    let depth = depth.max(1);
    let mut panels = vec![0.0; (values.len() / depth).div_ceil(rows) * rows * depth];
    panels.par_chunks_mut(rows * depth).zip(values.par_chunks(rows * depth)).for_each(|(panel, values)| {
        for (row, values) in values.chunks_exact(depth).enumerate() {
            for (place, value) in panel.iter_mut().skip(row).step_by(rows).zip(values) {
                *place = *value;
            }
        }
    });
    panels
}

impl Conv {
    /// `weights` are `[outputs][inputs][side][side]`; `bias` has a number per output.
    pub(crate) fn new(
        kernel: Kernel,
        [outputs, inputs, side]: [usize; 3],
        stride: usize,
        weights: &[f32],
        bias: &[f32],
    ) -> Self {
        let panels = panels(weights, inputs * side * side, kernel.rows);
        Self { kernel, inputs, outputs, side, stride, relu: false, panels, bias: bias.to_vec() }
    }

    /// Negative outputs become zero.
    pub(crate) fn relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// Number of output planes.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Convolves `x`, whose pictures have as many planes as this has inputs and are not smaller than the window, into `y`.
    pub(crate) fn run(&self, x: View<'_>, y: &mut Planes, scratch: &mut Scratch) {
        let (height, width) = ((x.height - self.side) / self.stride + 1, (x.width - self.side) / self.stride + 1);
        let pictures = x.data.len() / (self.inputs * x.height * x.width).max(1);
        let (pixels, outputs) = (height * width, self.outputs);
        (y.count, y.height, y.width) = (outputs, height, width);
        y.data.resize(pictures * outputs * pixels, 0.0);
        let piece = PIECE.div_ceil(self.kernel.columns) * self.kernel.columns;
        let padded = outputs.div_ceil(self.kernel.rows) * self.kernel.rows;
        let group = (GROUP / (padded * pixels).max(1)).max(1);
        let Scratch { sums, phases } = scratch;
        let x = if self.stride == 1 { x } else { sorted(x, self.stride, phases) };
        for (number, y) in y.data.chunks_mut((group * outputs * pixels).max(1)).enumerate() {
            let first = number * group * pixels;
            let end = first + y.len() / outputs.max(1);
            sums.resize((end - first).div_ceil(piece) * padded * piece, 0.0);
            sums.par_chunks_mut(padded * piece).enumerate().for_each_init(Vec::new, |laid, (index, sums)| {
                let first = first + index * piece;
                let spans = self.spans(x, (height, width), first..(first + piece).min(end));
                self.piece(x, &spans, piece, laid, sums);
            });
            let planes = y.par_chunks_mut(pixels.max(1)).enumerate();
            planes.for_each(|(plane, y)| self.collect(sums, (plane / outputs, plane % outputs), piece, padded, y));
        }
    }

    /// Plane `output` of a picture of the group, out of the pieces' sums.
    fn collect(&self, sums: &[f32], (picture, output): (usize, usize), piece: usize, padded: usize, plane: &mut [f32]) {
        let bias = self.bias.get(output).copied().unwrap_or_default();
        let mut at = picture * plane.len();
        let mut plane = plane;
        while !plane.is_empty() {
            let (number, offset) = (at / piece, at % piece);
            let (now, later) = plane.split_at_mut((piece - offset).min(plane.len()));
            let start = (number * padded + output) * piece + offset;
            let sums = sums.get(start..start + now.len()).unwrap_or_default();
            for (value, sum) in now.iter_mut().zip(sums) {
                let found = sum + bias;
                *value = if self.relu { found.max(0.0) } else { found };
            }
            at += now.len();
            plane = later;
        }
    }

    /// The runs of a piece: neighbours of a row of outputs lie beside one another in the (sorted) input.
    fn spans(&self, x: View<'_>, (height, width): (usize, usize), pixels: std::ops::Range<usize>) -> Vec<Span> {
        let columns = self.kernel.columns;
        let mut spans = Vec::new();
        let mut at = pixels.start;
        while at < pixels.end {
            let (picture, pixel) = (at / (height * width), at % (height * width));
            let (row, place) = (pixel / width, pixel % width);
            let (panel, column) = ((at - pixels.start) / columns, (at - pixels.start) % columns);
            let count = (width - place).min(columns - column).min(pixels.end - at);
            let from = picture * self.inputs * x.height * x.width + row * self.stride * x.width + place;
            spans.push(Span { panel, column, count, from });
            at += count;
        }
        spans
    }

    /// Adds up the sums of one piece, `[padded outputs][piece]`.
    fn piece(&self, x: View<'_>, spans: &[Span], piece: usize, laid: &mut Vec<f32>, sums: &mut [f32]) {
        let Kernel { rows, columns, .. } = self.kernel;
        let depth = self.inputs * self.side * self.side;
        let mut block = [0.0; BLOCK];
        for begin in (0..depth).step_by(DEPTH) {
            let end = (begin + DEPTH).min(depth);
            let long = end - begin;
            // Panels without a pixel are left out; the pixels behind the last one of a panel mean nothing.
            let panels = spans.last().map_or(0, |span| span.panel + 1);
            laid.resize(panels * long * columns, 0.0);
            for (k, row) in (begin..end).enumerate() {
                self.lay(x, row, spans, (k, long), laid);
            }
            for (weights, sums) in self.panels.chunks_exact(depth * rows).zip(sums.chunks_exact_mut(rows * piece)) {
                let weights = weights.get(begin * rows..end * rows).unwrap_or_default();
                for (j, pixels) in laid.chunks_exact(long * columns).enumerate() {
                    self.kernel.run(weights, pixels, &mut block);
                    for (sums, found) in sums.chunks_exact_mut(piece).zip(block.chunks_exact(columns)) {
                        let sums = sums.get_mut(j * columns..(j + 1) * columns).unwrap_or_default();
                        if begin == 0 {
                            sums.copy_from_slice(found);
                        } else {
                            sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
                        }
                    }
                }
            }
        }
    }

    /// Lays out what the window's cell `row` sees at every pixel of a piece: `[piece / columns][long][columns]`.
    fn lay(&self, x: View<'_>, row: usize, spans: &[Span], (k, long): (usize, usize), laid: &mut [f32]) {
        let columns = self.kernel.columns;
        let cells = self.side * self.side;
        let (channel, cell) = (row / cells, row % cells);
        // Where the window's column stands among those of its phase: see `sorted`.
        let column = cell % self.side;
        let column = column % self.stride * (x.width / self.stride) + column / self.stride;
        let start = (channel * x.height + cell / self.side) * x.width + column;
        for Span { panel, column, count, from } in spans {
            let to = (panel * long + k) * columns + column;
            let into = laid.get_mut(to..to + count).unwrap_or_default();
            let source = x.data.get(start + from..).unwrap_or_default();
            match (into.first_chunk_mut::<16>(), source.first_chunk::<16>()) {
                // Most runs fill a panel: a copy of a known length is a few instructions.
                (Some(into), Some(source)) if *count == 16 => *into = *source,
                _ => into.copy_from_slice(source.get(..*count).unwrap_or_default()),
            }
        }
    }
}

/// Rows sorted by phase: first the columns 0, stride, 2 stride, ..., then 1, stride + 1, ..., so that what windows see lies
/// beside one another. Rows grow to a multiple of the stride.
fn sorted<'a>(x: View<'_>, stride: usize, into: &'a mut Vec<f32>) -> View<'a> {
    let phase = x.width.div_ceil(stride);
    let rows = x.data.len() / x.width.max(1);
    into.resize(rows * phase * stride, 0.0);
    into.par_chunks_mut((phase * stride).max(1)).zip(x.data.par_chunks(x.width.max(1))).for_each(|(into, row)| {
        for (number, into) in into.chunks_exact_mut(phase.max(1)).enumerate() {
            into.iter_mut().zip(row.iter().skip(number).step_by(stride)).for_each(|(to, from)| *to = *from);
        }
    });
    View { height: x.height, width: phase * stride, data: into }
}

/// The largest of every 3 x 3 window, every second one.
pub(crate) fn pool(x: &Planes, y: &mut Planes) {
    let (height, width) = ((x.height - 3) / 2 + 1, (x.width - 3) / 2 + 1);
    (y.count, y.height, y.width) = (x.count, height, width);
    y.data.resize(x.data.len() / (x.height * x.width).max(1) * height * width, 0.0);
    let planes = y.data.par_chunks_mut(height * width).zip(x.data.par_chunks(x.height * x.width));
    planes.for_each_init(Vec::new, |highest, (y, plane)| {
        for (row, y) in y.chunks_exact_mut(width).enumerate() {
            let line = |i: usize| plane.get((2 * row + i) * x.width..(2 * row + i + 1) * x.width).unwrap_or_default();
            let larger = |a: f32, b: f32| if a > b { a } else { b };
            highest.clear();
            highest.extend(line(0).iter().zip(line(1)).zip(line(2)).map(|((a, b), c)| larger(larger(*a, *b), *c)));
            for (y, cells) in y.iter_mut().zip(highest.windows(3).step_by(2)) {
                *y = cells.iter().copied().fold(f32::NEG_INFINITY, larger);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn planes(count: usize, height: usize, width: usize, seed: u64) -> Planes {
        Planes { count, height, width, data: numbers(count * height * width, seed) }
    }

    /// As the definition says, in 64 bits.
    fn slowly(x: &Planes, shape: [usize; 3], stride: usize, weights: &[f32], bias: &[f32]) -> Vec<f64> {
        let [outputs, inputs, side] = shape;
        let (h, w) = ((x.height - side) / stride + 1, (x.width - side) / stride + 1);
        let mut y = Vec::new();
        for o in 0..outputs {
            for p in 0..h * w {
                let mut sum = f64::from(bias[o]);
                for c in 0..inputs {
                    for (cell, weight) in weights[(o * inputs + c) * side * side..][..side * side].iter().enumerate() {
                        let (row, column) = (p / w * stride + cell / side, p % w * stride + cell % side);
                        sum += f64::from(*weight) * f64::from(x.data[(c * x.height + row) * x.width + column]);
                    }
                }
                y.push(sum);
            }
        }
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn convolutions_are_what_they_are_by_definition(
            (outputs, inputs, side, stride) in (1usize..30, 1usize..70, 1usize..6, 1usize..3),
            (more_h, more_w) in (0usize..24, 0usize..24),
            seed in any::<u64>(),
        ) {
            let shape = [outputs, inputs, side];
            let x = planes(inputs, side + more_h, side + more_w, seed);
            let (weights, bias) = (numbers(outputs * inputs * side * side, seed ^ 77), numbers(outputs, seed ^ 99));
            let expected = slowly(&x, shape, stride, &weights, &bias);
            let (mut scratch, mut y) = (Scratch::default(), Planes::default());
            let mut fused: Option<Vec<f32>> = None;
            for kernel in Kernel::all() {
                let conv = Conv::new(kernel, shape, stride, &weights, &bias);
                conv.run(x.view(), &mut y, &mut scratch);
                prop_assert_eq!(y.data.len(), expected.len());
                for (found, expected) in y.data.iter().zip(&expected) {
                    prop_assert!((f64::from(*found) - expected).abs() < 1e-4, "{}: {found} {expected}", kernel.name);
                }
                if kernel.name != "portable" {
                    prop_assert_eq!(fused.get_or_insert_with(|| y.data.clone()), &y.data, "{}", kernel.name);
                }
                conv.relu().run(x.view(), &mut y, &mut scratch);
                prop_assert!(y.data.iter().all(|v| *v >= 0.0));
            }
        }
    }

    #[test]
    fn pools_are_what_they_are() {
        let (x, mut y) = (planes(3, 11, 8, 5), Planes::default());
        pool(&x, &mut y);
        assert_eq!((y.count, y.height, y.width), (3, 5, 3));
        let at = |c: usize, row: usize, column: usize| x.data[(c * 11 + row) * 8 + column];
        let largest = (4..7).flat_map(|r| (2..5).map(move |c| (r, c))).map(|(r, c)| at(1, r, c)).fold(-9.0, f32::max);
        assert_eq!(y.data[(5 + 2) * 3 + 1], largest);
    }
}
