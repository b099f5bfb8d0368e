//! Correlation of every plane with a window of its own, forward and backward.

use super::conv::{Planes, View};
use rayon::prelude::*;

/// Correlates every plane of `x` with its own window of `kernels`, `[planes][side][side]`, into `y`.
pub(crate) fn depthwise(x: View<'_>, kernels: &[f32], side: usize, y: &mut Planes) {
    let (height, width) = (x.height - side + 1, x.width - side + 1);
    let cells = (side * side).max(1);
    (y.height, y.width) = (height, width);
    y.count = kernels.len() / cells;
    y.data.resize(y.count * height * width, 0.0);
    let planes = x.data.par_chunks((x.height * x.width).max(1)).zip(kernels.par_chunks(cells));
    y.data.par_chunks_mut((height * width).max(1)).zip(planes).for_each(|(y, (plane, kernel))| {
        for (row, y) in y.chunks_exact_mut(width).enumerate() {
            y.fill(0.0);
            for (cell, weight) in kernel.iter().enumerate() {
                let start = (row + cell / side) * x.width + cell % side;
                let source = plane.get(start..start + width).unwrap_or_default();
                for (y, value) in y.iter_mut().zip(source) {
                    *y += weight * value;
                }
            }
        }
    });
}

/// The gradients of the planes and of their windows, from the gradient of what [`depthwise`] gives.
pub(super) fn gradients(x: View<'_>, kernels: &[f32], side: usize, outputs: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (height, width) = (x.height - side + 1, x.width - side + 1);
    let (cells, pixels) = ((side * side).max(1), (x.height * x.width).max(1));
    let (mut of_x, mut of_kernels) = (vec![0.0; x.data.len()], vec![0.0; kernels.len()]);
    let seen =
        x.data.par_chunks(pixels).zip(kernels.par_chunks(cells)).zip(outputs.par_chunks((height * width).max(1)));
    let found = of_x.par_chunks_mut(pixels).zip(of_kernels.par_chunks_mut(cells));
    found.zip(seen).for_each(|((of_plane, of_kernel), ((plane, kernel), errors))| {
        for (row, errors) in errors.chunks_exact(width).enumerate() {
            for (cell, (weight, of_weight)) in kernel.iter().zip(of_kernel.iter_mut()).enumerate() {
                let start = (row + cell / side) * x.width + cell % side;
                let source = plane.get(start..start + width).unwrap_or_default();
                let into = of_plane.get_mut(start..start + width).unwrap_or_default();
                *of_weight += product(source, errors);
                for (into, error) in into.iter_mut().zip(errors) {
                    *into += weight * error;
                }
            }
        }
    });
    (of_x, of_kernels)
}

/// Sum of products, in eight parts that the processor adds side by side.
fn product(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut parts = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for (part, (a, b)) in parts.iter_mut().zip(a.iter().zip(b)) {
            *part += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    parts.iter().sum::<f32>() + rest
}
