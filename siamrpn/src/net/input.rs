//! From decoded pictures to input tensors.

use crate::device::is_cpu;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use schemas::model::ChannelOrder;

/// Why a batch of pictures cannot become a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The buffer has the wrong length.
    #[error("a batch of {batch} RGB pictures of {side}x{side} px has {expected} bytes, found {found}")]
    Length {
        /// Pictures.
        batch: usize,
        /// Side in pixels.
        side: usize,
        /// Bytes they need.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

/// Square RGB pictures, interleaved and row-major one after the other, as network input: values 0 to 255 without any
/// normalisation, channels in the model's order.
///
/// # Shapes
/// - output: `[batch, 3, side, side]`
///
/// # Errors
/// [`InputError`] when `rgb` is not `batch * side * side * 3` bytes long.
pub fn input(
    rgb: &[u8],
    batch: usize,
    side: usize,
    channels: ChannelOrder,
    device: &Device,
) -> Result<Tensor<4>, InputError> {
    let plane = side * side;
    let expected = batch * plane * 3;
    if rgb.len() != expected {
        return Err(InputError::Length { batch, side, expected, found: rgb.len() });
    }
    if !is_cpu(device) {
        return Ok(unpacked(rgb, batch, side, channels, device));
    }
    let mut values = Vec::with_capacity(expected);
    if plane > 0 {
        for picture in rgb.chunks_exact(plane * 3) {
            planes(picture, channels, &mut values);
        }
    }
    Ok(Tensor::from_data(TensorData::new(values, [batch, 3, side, side]), device))
}

/// As [`input`], with the bytes sent to the device as they are (a quarter of what numbers would take) and put in order there.
fn unpacked(rgb: &[u8], batch: usize, side: usize, channels: ChannelOrder, device: &Device) -> Tensor<4> {
    let bytes = TensorData::new(rgb.to_vec(), [batch, side, side, 3]);
    let pictures: Tensor<4> = Tensor::<4, Int>::from_data(bytes, (device, DType::U8)).permute([0, 3, 1, 2]).float();
    match channels {
        ChannelOrder::Rgb => pictures,
        ChannelOrder::Bgr => pictures.flip([1]),
    }
}

/// Adds the three planes of one picture to `values`, in the model's order.
pub(crate) fn planes(rgb: &[u8], channels: ChannelOrder, values: &mut Vec<f32>) {
    let order = match channels {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    for c in order {
        values.extend(rgb.iter().skip(c).step_by(3).map(|v| f32::from(*v)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_in_the_models_order() {
        let rgb: Vec<u8> = (0..24).collect();
        let device = Device::flex();
        let out = input(&rgb, 2, 2, ChannelOrder::Rgb, &device).unwrap().into_data();
        let expected: Vec<f32> = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 15, 18, 21, 13, 16, 19, 22, 14, 17, 20, 23]
            .map(|v| v as f32)
            .to_vec();
        assert_eq!(out.as_slice::<f32>().unwrap(), expected);
        let bgr = input(&rgb, 2, 2, ChannelOrder::Bgr, &device).unwrap().into_data();
        assert_eq!(bgr.as_slice::<f32>().unwrap()[..4], [2.0, 5.0, 8.0, 11.0]);
        for channels in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            let sent = unpacked(&rgb, 2, 2, channels, &device).into_data();
            assert_eq!(sent, input(&rgb, 2, 2, channels, &device).unwrap().into_data());
        }
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let e = input(&[0; 11], 1, 2, ChannelOrder::Rgb, &Device::flex()).unwrap_err();
        assert_eq!(e, InputError::Length { batch: 1, side: 2, expected: 12, found: 11 });
    }
}
