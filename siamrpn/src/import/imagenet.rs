//! torchvision's ImageNet AlexNet as a trunk.

use super::ImportError;
use crate::model::{ModelError, read_tensors};
use crate::net::{SiamRpn, identity};
use crate::params::{self, ReplaceError};
use burn::tensor::{Device, TensorData};
use schemas::model::{ChannelOrder, ModelConfig, TrunkConfig};
use std::collections::BTreeMap;
use std::path::Path;

/// A network whose trunk starts from the ImageNet AlexNet in `path` (safetensors: `conv1` to `conv5`, `weight` and
/// `bias`; metadata `mean` and `std` per RGB channel on 0 to 255), the rest random from `seed`.
///
/// The file's network sees normalised RGB, this one raw pixels in its own channel order: both are folded into conv1,
/// exactly, since no convolution is padded. Batch norms start as identities.
///
/// # Errors
/// [`ImportError`] when the file cannot be read or does not fit `cfg`; every tensor is matched.
pub fn from_imagenet_alexnet(
    path: &Path,
    cfg: &ModelConfig,
    seed: u64,
    device: &Device,
) -> Result<SiamRpn, ImportError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: name.clone(), source })?;
    from_imagenet_alexnet_bytes(&name, &bytes, cfg, seed, device)
}

/// [`from_imagenet_alexnet`] from the bytes of the file; `name` is for messages.
///
/// # Errors
/// As [`from_imagenet_alexnet`].
pub fn from_imagenet_alexnet_bytes(
    name: &str,
    bytes: &[u8],
    cfg: &ModelConfig,
    seed: u64,
    device: &Device,
) -> Result<SiamRpn, ImportError> {
    let (metadata, tensors) = read_tensors(name, bytes)?;
    if cfg.trunk.widths != TrunkConfig::NARROW {
        return Err(ImportError::Widths {
            path: name.to_owned(),
            expected: TrunkConfig::NARROW,
            found: cfg.trunk.widths,
        });
    }
    let triple = |key: &'static str| {
        let found = metadata.get(key).cloned();
        let value: Option<[f64; 3]> = found.as_deref().and_then(|v| serde_json::from_str(v).ok());
        value.filter(|v| v.iter().all(|x| x.is_finite())).ok_or(ImportError::Metadata {
            path: name.to_owned(),
            key,
            found,
        })
    };
    let (mean, std) = (triple("mean")?, triple("std")?);
    let mut net = SiamRpn::new(cfg, seed, device)?;
    let wanted: Vec<String> = (1..=5).flat_map(|i| [format!("conv{i}.weight"), format!("conv{i}.bias")]).collect();
    let fail = |source| ImportError::Tensors { path: name.to_owned(), source };
    let missing: Vec<String> = wanted.iter().filter(|n| !tensors.contains_key(*n)).cloned().collect();
    let unused: Vec<String> = tensors.keys().filter(|n| !wanted.contains(n)).cloned().collect();
    if !missing.is_empty() || !unused.is_empty() {
        return Err(fail(ReplaceError::Names { missing, unused }));
    }
    let mut values: BTreeMap<String, TensorData> =
        tensors.into_iter().map(|(name, data)| (format!("trunk.{name}"), data)).collect();
    fold_input(&mut values, mean, std, cfg.channels);
    for bn in net.trunk.norms_mut() {
        identity(bn);
    }
    params::update(net, values).map_err(fail)
}

/// Moves the normalisation and the channel order of the input into conv1: for normalised input
/// (p - mean) / std, weights become w / std and the bias loses the sum of w * mean / std.
fn fold_input(values: &mut BTreeMap<String, TensorData>, mean: [f64; 3], std: [f64; 3], channels: ChannelOrder) {
    let (Some(weight), Some(bias)) = (values.remove("trunk.conv1.weight"), values.remove("trunk.conv1.bias")) else {
        return;
    };
    let shape = weight.shape().to_vec();
    let (Ok(w), Ok(b)) = (weight.as_slice::<f32>(), bias.as_slice::<f32>()) else { return };
    let cells: usize = shape.iter().skip(2).product();
    let (mut folded, mut biases) = (Vec::with_capacity(w.len()), Vec::with_capacity(b.len()));
    for (filter, bias) in w.chunks_exact((3 * cells).max(1)).zip(b) {
        let mut bias = f64::from(*bias);
        let mut planes = [const { Vec::new() }; 3];
        for (((plane, from), mean), std) in planes.iter_mut().zip(filter.chunks_exact(cells.max(1))).zip(mean).zip(std)
        {
            bias -= from.iter().map(|w| f64::from(*w) * mean / std).sum::<f64>();
            #[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
            plane.extend(from.iter().map(|w| (f64::from(*w) / std) as f32));
        }
        if channels == ChannelOrder::Bgr {
            planes.reverse();
        }
        folded.extend(planes.into_iter().flatten());
        #[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
        biases.push(bias as f32);
    }
    let outputs = biases.len();
    values.insert("trunk.conv1.weight".to_owned(), TensorData::new(folded, shape));
    values.insert("trunk.conv1.bias".to_owned(), TensorData::new(biases, [outputs]));
}
