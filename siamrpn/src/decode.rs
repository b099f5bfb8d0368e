//! From raw outputs to scores and boxes, on the host.

use crate::net::Outputs;
use burn::tensor::{Tensor, TensorReadError};

/// Outputs of one search image, host side.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Probability of the target per anchor, `[N]`.
    pub scores: Vec<f32>,
    /// dx, dy, dw, dh per anchor, `[4, N]`, coordinate-major.
    pub deltas: Vec<f32>,
}

impl Response {
    /// Of the network's outputs for one image: `cls` is `[2, N]`, background first.
    pub(crate) fn new(cls: &[f32], deltas: Vec<f32>) -> Self {
        let (background, target) = cls.split_at(cls.len() / 2);
        let scores = background.iter().zip(target).map(|(b, t)| 1.0 / (1.0 + (b - t).exp())).collect();
        Self { scores, deltas }
    }
}

/// Reads the outputs of a batch of one or more search images, softmax applied: one [`Response`] per image.
///
/// # Errors
/// When the device cannot hand out the values.
pub fn responses(outputs: Outputs) -> Result<Vec<Response>, TensorReadError> {
    let [batch, _, _, _] = outputs.cls.dims();
    let read = |t: Tensor<4>| t.try_into_vec_as::<f32>();
    let (cls, reg) = (read(outputs.cls)?, read(outputs.reg)?);
    let (per_cls, per_reg) = (cls.len() / batch.max(1), reg.len() / batch.max(1));
    Ok(cls
        .chunks_exact(per_cls.max(1))
        .zip(reg.chunks_exact(per_reg.max(1)))
        .map(|(cls, reg)| Response::new(cls, reg.to_vec()))
        .collect())
}

/// The deltas of `target` against `anchor`, both centre form in the same pixels:
/// dx = (gx - ax) / aw, dy = (gy - ay) / ah, dw = ln(gw / aw), dh = ln(gh / ah).
#[must_use]
pub fn encode(anchor: [f64; 4], target: [f64; 4]) -> [f64; 4] {
    let [ax, ay, aw, ah] = anchor;
    let [gx, gy, gw, gh] = target;
    [(gx - ax) / aw, (gy - ay) / ah, (gw / aw).ln(), (gh / ah).ln()]
}

/// The box that `delta` means relative to `anchor`; the inverse of [`encode`].
#[must_use]
pub fn decode(anchor: [f64; 4], delta: [f64; 4]) -> [f64; 4] {
    let [ax, ay, aw, ah] = anchor;
    let [dx, dy, dw, dh] = delta;
    [ax + dx * aw, ay + dy * ah, aw * dw.exp(), ah * dh.exp()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use proptest::prelude::*;

    #[test]
    fn scores_are_the_softmax_of_the_two_classes() {
        let device = Device::flex();
        let cls = Tensor::from_data(
            TensorData::new(vec![0.0_f32, 2.0, 1.0, -1.0, 5.0, 5.0, 5.0, 95.0], [2, 4, 1, 1]),
            &device,
        );
        let reg = Tensor::from_data(TensorData::new((0..16).map(|v| v as f32).collect(), [2, 8, 1, 1]), &device);
        let all = responses(Outputs { cls, reg }).unwrap();
        let expected = [1.0 / (1.0 + (-1.0_f32).exp()), 1.0 / (1.0 + 3.0_f32.exp())];
        assert_eq!(all[0].scores, expected);
        assert_eq!(all[1].scores, [0.5, 1.0]);
        assert_eq!(all[1].deltas, (8..16).map(|v| v as f32).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            a in [-100.0..100.0_f64, -100.0..100.0, 1.0..200.0, 1.0..200.0],
            g in [-100.0..100.0_f64, -100.0..100.0, 1.0..200.0, 1.0..200.0],
        ) {
            let back = decode(a, encode(a, g));
            for (b, g) in back.iter().zip(g) {
                prop_assert!((b - g).abs() < 1e-9 * (1.0 + g.abs()));
            }
        }
    }
}
