//! Model files: round trips, errors, imports.
#![expect(clippy::unwrap_used, reason = "test helpers outside of test functions")]

#[expect(dead_code, reason = "shared by several test programs")]
mod support;

use burn::tensor::{Device, Distribution, Tensor};
use schemas::model::{ChannelOrder, HeadKind, MODEL_FORMAT_KEY, ModelConfig, TrunkConfig};
use siamrpn::import::{ImportError, from_imagenet_alexnet_bytes};
use siamrpn::model::{Model, ModelError, save, to_bytes};
use siamrpn::net::{SiamRpn, input};
use siamrpn::{cost, params};
use std::collections::BTreeMap;
use support::{close, config};

fn bytes(head: HeadKind) -> (ModelConfig, SiamRpn, Vec<u8>) {
    let config = config(head);
    let net = SiamRpn::new(&config, 3, &Device::flex()).unwrap();
    let bytes = to_bytes(&config, &net, &BTreeMap::from([("run".to_owned(), "7".to_owned())]));
    (config, net, bytes)
}

fn load(bytes: &[u8]) -> Result<Model, ModelError> {
    Model::from_bytes("m.safetensors", bytes, &Device::flex())
}

/// The file with its header changed.
fn edit(bytes: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&bytes[8 + length..]);
    out
}

#[test]
fn models_survive_the_file_with_equal_bytes() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for head in [HeadKind::UpChannel, HeadKind::Depthwise] {
        let (config, net, bytes) = bytes(head);
        let path = dir.join("survive.safetensors");
        let extra = BTreeMap::from([("run".to_owned(), "7".to_owned())]);
        let hash = save(&path, &config, &net, &extra).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let model = Model::load(&path, &Device::flex()).unwrap();
        assert_eq!(
            (&model.config, model.blake3.as_str(), model.metadata["run"].as_str()),
            (&config, hash.as_str(), "7")
        );
        assert_eq!(to_bytes(&model.config, &model.net, &extra), bytes);
        // On a training device the parameters require gradients, and the values are the same.
        let training = Model::load(&path, &Device::flex().autodiff()).unwrap();
        assert!(training.net.trunk.conv1.weight.is_require_grad());
        assert!(!training.net.trunk.bn1.running_mean.is_require_grad());
        assert_eq!(to_bytes(&config, &training.net, &extra), bytes);
    }
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let (_, _, good) = bytes(HeadKind::Depthwise);
    for end in [0, 7, 8, 100, good.len() - 1] {
        let e = load(&good[..end]).unwrap_err();
        assert!(matches!(e, ModelError::Damaged { .. }) && e.to_string().contains("m.safetensors"), "{end}: {e}");
    }
    assert!(matches!(load(b"\x89PNG\r\n\x1a\n and so on").unwrap_err(), ModelError::Damaged { .. }));
    let foreign = load(&support::fixture("depthwise.weights.safetensors")).unwrap_err();
    assert!(matches!(foreign, ModelError::Foreign { .. }) && foreign.to_string().contains("trainer import"));
    let absent = Model::load(std::path::Path::new("no/such.safetensors"), &Device::flex()).unwrap_err();
    assert!(matches!(absent, ModelError::Io { .. }) && absent.to_string().contains("no/such.safetensors"));
}

#[test]
fn newer_formats_are_refused_and_newer_minor_versions_read() {
    let (_, _, good) = bytes(HeadKind::Depthwise);
    let version = |v: &str| {
        edit(&good, |h| {
            h.replace(&format!("\"{MODEL_FORMAT_KEY}\":\"1.0\""), &format!("\"{MODEL_FORMAT_KEY}\":\"{v}\""))
        })
    };
    let e = load(&version("2.0")).unwrap_err();
    assert!(matches!(e, ModelError::Format { .. }) && e.to_string().contains("newer release"), "{e}");
    assert!(load(&version("1.9")).is_ok());
    assert!(matches!(load(&version("one")).unwrap_err(), ModelError::Format { .. }));
}

#[test]
fn every_tensor_is_matched_or_named() {
    let (_, _, good) = bytes(HeadKind::Depthwise);
    let renamed = edit(&good, |h| h.replace("trunk.conv2.bias", "trunk.conv2,bias"));
    let e = load(&renamed).unwrap_err().to_string();
    assert!(e.contains("missing [trunk.conv2.bias]") && e.contains("not used [trunk.conv2,bias]"), "{e}");
    let reshaped = edit(&good, |h| h.replace("[8,6,5,5]", "[6,8,5,5]"));
    let e = load(&reshaped).unwrap_err().to_string();
    assert!(e.contains("trunk.conv2.weight") && e.contains("[6, 8, 5, 5]") && e.contains("[8, 6, 5, 5]"), "{e}");
    let other_head = edit(&good, |h| h.replace("\\\"head\\\":\\\"depthwise\\\"", "\\\"head\\\":\\\"up-channel\\\""));
    let e = load(&other_head).unwrap_err().to_string();
    assert!(e.contains("head.template_cls.weight") && e.contains("head.cls.head.conv2.bias"), "{e}");
    let unknown_key = edit(&good, |h| h.replace("\\\"head\\\"", "\\\"heads\\\""));
    assert!(matches!(load(&unknown_key).unwrap_err(), ModelError::Configuration { .. }));
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let (_, _, mut good) = bytes(HeadKind::Depthwise);
    let end = good.len();
    good[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let e = load(&good).unwrap_err();
    assert!(matches!(e, ModelError::NotFinite { .. }) && e.to_string().contains("trunk.conv5.weight"), "{e}");
}

#[test]
fn networks_have_the_published_numbers_of_parameters() {
    for (head, expected) in [(HeadKind::UpChannel, 22_632_932), (HeadKind::Depthwise, 6_251_102)] {
        let config = ModelConfig { head, ..ModelConfig::default() };
        let net = SiamRpn::new(&config, 1, &Device::flex()).unwrap();
        assert_eq!(params::count(&net), expected);
        assert_eq!(cost::cost(&config, 255).parameters, expected as u64);
    }
}

#[test]
fn seeds_decide_the_weights() {
    let make = |seed| {
        let config = config(HeadKind::Depthwise);
        to_bytes(&config, &SiamRpn::new(&config, seed, &Device::flex()).unwrap(), &BTreeMap::new())
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
}

const ALEXNET: &[u8] = include_bytes!("../weights/alexnet-imagenet-f16.safetensors");

#[test]
fn imported_weights_see_raw_pixels_as_the_original_saw_normalised_ones() {
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    let device = Device::flex();
    let (_, tensors) = siamrpn::model::read_tensors("alexnet", ALEXNET).unwrap();
    let weight = Tensor::<4>::from_data(tensors["conv1.weight"].clone(), &device);
    let bias = Tensor::<1>::from_data(tensors["conv1.bias"].clone(), &device);
    let rgb: Vec<u8> = (0..40 * 40 * 3).map(|i| (i * 7919 % 256) as u8).collect();
    let raw = input(&rgb, 1, 40, ChannelOrder::Rgb, &device).unwrap();
    let channel = |v: [f32; 3]| Tensor::<1>::from_floats(v, &device).reshape([1, 3, 1, 1]);
    let normalised = (raw - channel([123.675, 116.28, 103.53])) / channel([58.395, 57.12, 57.375]);
    let options = || ConvOptions::new([2, 2], [0, 0], [1, 1], 1);
    let expected = conv2d(normalised, weight, Some(bias), options()).into_data();
    for channels in [ChannelOrder::Bgr, ChannelOrder::Rgb] {
        let config =
            ModelConfig { trunk: TrunkConfig { widths: TrunkConfig::NARROW }, channels, ..ModelConfig::default() };
        let net = from_imagenet_alexnet_bytes("alexnet", ALEXNET, &config, 1, &device).unwrap();
        let x = input(&rgb, 1, 40, channels, &device).unwrap();
        let found = net.trunk.conv1.forward(x, schemas::train::Precision::Fp32);
        close(&format!("{channels:?}"), &found.into_data(), &expected, 1e-4);
        // The norms are identities: the trunk's first layer is conv1 alone.
        let x = Tensor::<4>::random([1, 3, 127, 127], Distribution::Uniform(0.0, 255.0), &device);
        assert!(net.inference().features(x).into_data().as_slice::<f32>().unwrap().iter().all(|v| v.is_finite()));
    }
}

#[test]
fn imports_that_do_not_fit_are_named() {
    let narrow = ModelConfig { trunk: TrunkConfig { widths: TrunkConfig::NARROW }, ..ModelConfig::default() };
    let import =
        |bytes: &[u8], config: &ModelConfig| from_imagenet_alexnet_bytes("alexnet", bytes, config, 1, &Device::flex());
    let e = import(ALEXNET, &ModelConfig::default()).unwrap_err();
    assert!(matches!(e, ImportError::Widths { .. }) && e.to_string().contains("recommended"), "{e}");
    let e = import(&edit(ALEXNET, |h| h.replace("\"conv3.bias\"", "\"conv3.bios\"")), &narrow).unwrap_err().to_string();
    assert!(e.contains("missing [conv3.bias]") && e.contains("not used [conv3.bios]"), "{e}");
    let e = import(&edit(ALEXNET, |h| h.replace("\"mean\"", "\"main\"")), &narrow).unwrap_err();
    assert!(matches!(e, ImportError::Metadata { key: "mean", .. }), "{e}");
    assert!(matches!(import(&ALEXNET[..1000], &narrow).unwrap_err(), ImportError::File(_)));
}
