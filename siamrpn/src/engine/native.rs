//! The network on the processor, without Burn: for tracking one picture at a time, which Burn's backend for processors does
//! at half the speed.

use super::{BurnEngine, Engine, EngineError, Session, square};
use crate::cpu::{Conv, Kernel, Planes, Scratch, depthwise, pool};
use crate::decode::Response;
use crate::net::{FoldedBranch, FoldedHead, FoldedWeights, Inference, planes};
use burn::tensor::{Tensor, TensorReadError};
use schemas::model::ChannelOrder;
use shards::image::Rgb;
use std::sync::Arc;

/// An engine of our own for processors. A target's template is computed by Burn, search pictures are computed here; the
/// outputs agree with Burn's but for the order of floating-point sums, and do not depend on the number of threads.
#[derive(Debug)]
pub struct Native {
    burn: BurnEngine,
    net: Arc<Net>,
}

#[derive(Debug)]
struct Net {
    kernel: Kernel,
    trunk: Vec<Conv>,
    head: Head,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value per model")]
enum Head {
    UpChannel { search: [Conv; 2], adjust: Conv },
    Depthwise { branches: [Branch; 2] },
}

#[derive(Debug)]
struct Branch {
    search: Conv,
    hidden: Conv,
    output: Conv,
}

fn layer(kernel: Kernel, weights: &FoldedWeights) -> Conv {
    let [outputs, inputs, side, _] = weights.shape;
    Conv::new(kernel, [outputs, inputs, side], weights.stride, &weights.weight, &weights.bias)
}

impl Native {
    /// An engine for the network of `burn`.
    ///
    /// # Errors
    /// When the weights cannot be read from the device.
    pub fn new(burn: BurnEngine) -> Result<Self, TensorReadError> {
        let kernel = Kernel::best();
        let layer = |weights: Result<FoldedWeights, TensorReadError>| weights.map(|w| layer(kernel, &w));
        let Inference { trunk, head } = &burn.net;
        let last = trunk.len() - 1;
        let trunk = trunk.iter().enumerate().map(|(i, folded)| {
            let conv = layer(folded.read())?;
            Ok(if i < last { conv.relu() } else { conv })
        });
        let trunk = trunk.collect::<Result<_, TensorReadError>>()?;
        let head = match head {
            FoldedHead::UpChannel { search_cls, search_reg, adjust, .. } => {
                let search = [layer(search_cls.read())?, layer(search_reg.read())?];
                Head::UpChannel { search, adjust: layer(adjust.read())? }
            }
            FoldedHead::Depthwise { cls, loc } => {
                let branch = |branch: &FoldedBranch| -> Result<Branch, TensorReadError> {
                    Ok(Branch {
                        search: layer(branch.search.read())?.relu(),
                        hidden: layer(branch.hidden.read())?.relu(),
                        output: layer(branch.output.read())?,
                    })
                };
                Head::Depthwise { branches: [branch(cls)?, branch(loc)?] }
            }
        };
        Ok(Self { burn, net: Arc::new(Net { kernel, trunk, head }) })
    }

    /// The instructions it uses: `avx2` or `portable`.
    #[must_use]
    pub fn instructions(&self) -> &'static str {
        self.net.kernel.name
    }
}

impl Engine for Native {
    fn start(&self, template: &Rgb) -> Result<Box<dyn Session>, EngineError> {
        let template = self.burn.template(template)?;
        let read = |tensor: Tensor<4>| -> Result<Kernels, TensorReadError> {
            let [_, planes, side, _] = tensor.dims();
            Ok((tensor.try_into_vec_as::<f32>()?, planes, side))
        };
        let (cls, reg) = (read(template.cls)?, read(template.reg)?);
        let correlate = match &self.net.head {
            Head::Depthwise { .. } => Correlate::Depthwise([(cls.0, cls.2), (reg.0, reg.2)]),
            Head::UpChannel { .. } => {
                // Kernels over all channels are the weights of a convolution.
                let conv = |(weights, planes, side): Kernels, inputs: usize| {
                    let outputs = planes / inputs.max(1);
                    Conv::new(self.net.kernel, [outputs, inputs, side], 1, &weights, &vec![0.0; outputs])
                };
                let inputs = self.net.trunk.last().map_or(1, Conv::outputs);
                Correlate::Full([conv(cls, inputs), conv(reg, inputs)])
            }
        };
        Ok(Box::new(NativeSession {
            net: Arc::clone(&self.net),
            correlate,
            side: self.burn.search,
            channels: self.burn.channels,
            planes: Default::default(),
            scratch: Scratch::default(),
        }))
    }
}

/// Numbers, planes and side of a template's kernels.
type Kernels = (Vec<f32>, usize, usize);

#[derive(Debug)]
enum Correlate {
    Full([Conv; 2]),
    Depthwise([(Vec<f32>, usize); 2]),
}

/// A target, and room for the planes of a frame.
#[derive(Debug)]
struct NativeSession {
    net: Arc<Net>,
    correlate: Correlate,
    side: usize,
    channels: ChannelOrder,
    planes: [Planes; 4],
    scratch: Scratch,
}

impl Session for NativeSession {
    fn search(&mut self, search: &Rgb) -> Result<Response, EngineError> {
        square(search, self.side)?;
        let Self { net, correlate, planes: [features, a, b, c], scratch, .. } = self;
        load(search, self.channels, a);
        for (i, conv) in net.trunk.iter().enumerate() {
            conv.run(a.view(), b, scratch);
            // The first two layers are followed by pooling.
            if i < 2 { pool(b, a) } else { std::mem::swap(a, b) }
        }
        std::mem::swap(a, features);
        let mut outputs: [Vec<f32>; 2] = Default::default();
        match (&net.head, correlate) {
            (Head::Depthwise { branches }, Correlate::Depthwise(kernels)) => {
                for ((branch, (kernels, side)), output) in branches.iter().zip(kernels).zip(&mut outputs) {
                    branch.search.run(features.view(), a, scratch);
                    depthwise(a.view(), kernels, *side, b);
                    branch.hidden.run(b.view(), a, scratch);
                    branch.output.run(a.view(), c, scratch);
                    output.clone_from(&c.data);
                }
            }
            (Head::UpChannel { search, adjust }, Correlate::Full(kernels)) => {
                for (i, ((conv, kernels), output)) in search.iter().zip(kernels).zip(&mut outputs).enumerate() {
                    conv.run(features.view(), a, scratch);
                    kernels.run(a.view(), b, scratch);
                    if i == 1 {
                        adjust.run(b.view(), c, scratch);
                        std::mem::swap(b, c);
                    }
                    output.clone_from(&b.data);
                }
            }
            // A session is made by its own engine.
            (Head::Depthwise { .. }, Correlate::Full(_)) | (Head::UpChannel { .. }, Correlate::Depthwise(_)) => {}
        }
        let [cls, reg] = outputs;
        Ok(Response::new(&cls, reg))
    }
}

/// The picture as planes in the model's order of colours.
fn load(picture: &Rgb, channels: ChannelOrder, into: &mut Planes) {
    (into.count, into.height, into.width) = (3, picture.height, picture.width);
    into.data.clear();
    planes(&picture.data, channels, &mut into.data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SiamRpn;
    use burn::tensor::Device;
    use schemas::model::{HeadKind, ModelConfig, TrunkConfig};

    #[test]
    fn it_agrees_with_burn() {
        for (head, search_px) in [(HeadKind::UpChannel, 255), (HeadKind::Depthwise, 271), (HeadKind::Depthwise, 287)] {
            let trunk = TrunkConfig { widths: [7, 12, 20, 9, 13] };
            let config = ModelConfig { head, search_px, trunk, ..ModelConfig::default() };
            let net = SiamRpn::new(&config, 3, &Device::flex()).unwrap();
            let burn = BurnEngine::new(&config, &net);
            let native = Native::new(burn.clone()).unwrap();
            let picture = |side: u32, seed: usize| {
                let mut picture = Rgb::filled(side as usize, side as usize, [0; 3]);
                picture.data.iter_mut().enumerate().for_each(|(i, v)| *v = (i * (7 + seed) % 251 + i / 900) as u8);
                picture
            };
            let template = picture(config.exemplar_px, 5);
            let (mut one, mut other) = (burn.start(&template).unwrap(), native.start(&template).unwrap());
            for seed in 0..3 {
                let search = picture(search_px, seed);
                let (a, b) = (one.search(&search).unwrap(), other.search(&search).unwrap());
                let away = |a: &[f32], b: &[f32]| {
                    assert_eq!(a.len(), b.len());
                    let size = a.iter().fold(1e-9f32, |m, v| m.max(v.abs()));
                    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / size
                };
                let found = (away(&a.scores, &b.scores), away(&a.deltas, &b.deltas));
                assert!(found.0 < 1e-5 && found.1 < 1e-4, "{head:?} {search_px}: {found:?}");
            }
            assert!(matches!(other.search(&picture(9, 1)), Err(EngineError::Side { .. })));
        }
    }
}
