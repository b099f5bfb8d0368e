//! Checkpoints of the published families, against what PyTorch computes with them.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[expect(dead_code, reason = "the other tests' network is not needed here")]
mod support;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use schemas::build::CropSemantics;
use schemas::model::{ChannelOrder, HeadKind, ModelConfig};
use siamrpn::anchors::Anchors;
use siamrpn::decode::{decode, responses};
use siamrpn::import::{Family, Foreign, ImportError};
use siamrpn::net::SiamRpn;
use std::path::{Path, PathBuf};
use support::{close, fixture, floats};

/// Relative to the largest value. PyTorch's are computed in 64 bits; in 32 bits PyTorch itself differs from them by up
/// to 1.1e-5.
const TOLERANCE: f64 = 5e-5;
/// Side of the search images of the fixtures, and of their responses.
const SEARCH: (usize, usize) = (151, 4);

const WHOLE: [(&str, Family, &str); 4] = [
    ("pysot.pth", Family::Pysot, "pysot"),
    ("pysot_flat.safetensors", Family::Pysot, "pysot"),
    ("siamrpn_pytorch.pth", Family::SiamrpnPytorch, "siamrpn_pytorch"),
    ("dasiamrpn.model", Family::Dasiamrpn, "dasiamrpn"),
];
const TRUNKS: [(&str, Family); 2] =
    [("pysot_alexnet.pth", Family::PysotAlexnet), ("siamrpn_pytorch_alexnet.pth", Family::SiamrpnPytorchAlexnet)];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str, family: Family) -> Foreign {
    Foreign::open(&path(name), family).unwrap()
}

/// The first pair: template, and the middle of the search image.
fn pair() -> [Tensor<4>; 2] {
    let bytes = fixture("inputs.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    ["template", "search"].map(|name| {
        let view = file.tensor(name).unwrap();
        let values: Vec<f32> = view.data().iter().map(|v| f32::from(*v)).collect();
        let picture = Tensor::<4>::from_data(TensorData::new(values, view.shape().to_vec()), &Device::flex());
        let side = picture.dims()[2];
        let edge = if name == "search" { (side - SEARCH.0) / 2 } else { 0 };
        picture.slice([0..1, 0..3, edge..side - edge, edge..side - edge])
    })
}

fn network(name: &str, family: Family) -> (SiamRpn, ModelConfig) {
    let foreign = open(name, family);
    let net = foreign.network(foreign.config(), 1, &Device::flex()).unwrap();
    (net, foreign.config().clone())
}

#[test]
fn whole_checkpoints_compute_what_pytorch_computes() {
    let golden = floats("checkpoints.golden.safetensors");
    for (name, family, stem) in WHOLE {
        let (net, cfg) = network(name, family);
        let [z, x] = pair();
        let outputs = net.track(&net.template(z), x);
        let check = |what: &str, found: &TensorData| {
            close(&format!("{name} {what}"), found, &golden[&format!("{stem}.{what}")], TOLERANCE);
        };
        check("cls", &outputs.cls.to_data());
        check("reg", &outputs.reg.to_data());
        let response = responses(outputs).unwrap().remove(0);
        let anchors = Anchors::new(&cfg.anchors, SEARCH.1);
        let n = anchors.len();
        assert_eq!(response.scores.len(), n);
        let mut boxes = vec![0.0_f32; 4 * n];
        for (i, anchor) in anchors.as_slice().iter().enumerate() {
            let delta = [0, 1, 2, 3].map(|c| f64::from(response.deltas[c * n + i]));
            for (c, value) in decode(anchor.map(f64::from), delta).into_iter().enumerate() {
                boxes[c * n + i] = value as f32;
            }
        }
        check("score", &TensorData::new(response.scores, [n]));
        check("box", &TensorData::new(boxes, [4, n]));
    }
}

#[test]
fn trunks_compute_what_pytorch_computes() {
    let golden = floats("checkpoints.golden.safetensors");
    for (name, family) in TRUNKS {
        let (net, cfg) = network(name, family);
        assert_eq!(cfg.trunk.widths, [2, 4, 4, 4, 3]);
        let features = net.inference().features(pair()[0].clone());
        close(name, &features.into_data(), &golden["trunk.features"], TOLERANCE);
        // Another head may be put on a trunk.
        let foreign = open(name, family);
        let other = ModelConfig { head: HeadKind::Depthwise, head_channels: 5, ..foreign.config().clone() };
        foreign.network(&other, 1, &Device::flex()).unwrap();
    }
}

#[test]
fn the_configuration_is_the_familys() {
    let expected = [
        ("pysot.pth", Family::Pysot, HeadKind::Depthwise, 4, CropSemantics::Pysot, 287, 0.16),
        ("siamrpn_pytorch.pth", Family::SiamrpnPytorch, HeadKind::UpChannel, 3, CropSemantics::Siamfc, 271, 0.22),
        ("dasiamrpn.model", Family::Dasiamrpn, HeadKind::UpChannel, 4, CropSemantics::Pysot, 271, 0.04),
        ("dasiamrpn.model", Family::DasiamrpnOtb, HeadKind::UpChannel, 4, CropSemantics::Pysot, 271, 0.22),
    ];
    for (name, family, head, width, semantics, search_px, penalty_k) in expected {
        let foreign = open(name, family);
        let c = foreign.config();
        assert_eq!((c.head, c.head_width(), c.semantics, c.search_px), (head, width, semantics, search_px), "{name}");
        assert_eq!((c.channels, c.tracker.penalty_k), (ChannelOrder::Bgr, penalty_k), "{name}");
    }
}

#[test]
fn what_is_not_needed_is_accounted_for_by_name() {
    let ignored = |name, family| open(name, family).ignored().to_vec();
    let pysot = ignored("pysot.pth", Family::Pysot);
    assert_eq!(pysot.iter().filter(|n| n.ends_with(".num_batches_tracked")).count(), 11, "{pysot:?}");
    assert_eq!(pysot.iter().filter(|n| n.starts_with("optimizer.")).count(), 4, "{pysot:?}");
    assert_eq!(pysot.len(), 15);
    assert!(ignored("dasiamrpn.model", Family::Dasiamrpn).is_empty());
    let trunk = ignored("siamrpn_pytorch_alexnet.pth", Family::SiamrpnPytorchAlexnet);
    assert!(trunk.contains(&"classifier.1.weight".to_owned()), "{trunk:?}");
    assert_eq!(trunk.len(), 7);
}

#[test]
fn a_checkpoint_of_another_family_is_refused_by_names() {
    let refused = |name, family| Foreign::open(&path(name), family).unwrap_err().to_string();
    let e = refused("dasiamrpn.model", Family::Pysot);
    assert!(e.contains("missing [backbone.layer1.0.weight, ") && e.contains("rpn_head.loc.head.3.bias]"), "{e}");
    assert!(e.contains("not used [conv_cls1.bias, ") && e.contains("regress_adjust.weight]"), "{e}");
    // A head in a file that should be a trunk.
    let e = refused("siamrpn_pytorch.pth", Family::SiamrpnPytorchAlexnet);
    assert!(e.contains("model.conv_r2.weight"), "{e}");
    let e = refused("inputs.safetensors", Family::Pysot);
    assert!(e.contains("not used [boxes, delta, label, search, template]"), "{e}");
}

/// One tensor of a safetensors file: type, shape, bytes.
type Raw = (&'static str, Vec<usize>, Vec<u8>);

/// The flat PySOT file, changed, opened.
fn changed(change: impl Fn(&mut std::collections::BTreeMap<String, Raw>)) -> Result<SiamRpn, ImportError> {
    let bytes = fixture("pysot_flat.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file
        .iter()
        .map(|(name, view)| {
            let dtype = if name.ends_with("tracked") { "I64" } else { "F32" };
            (name.to_owned(), (dtype, view.shape().to_vec(), view.data().to_vec()))
        })
        .collect();
    change(&mut tensors);
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let from = data.len();
        data.extend(bytes);
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(name, entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(data);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let foreign = Foreign::open(&path, Family::Pysot)?;
    foreign.network(foreign.config(), 1, &Device::flex())
}

const BIAS: &str = "rpn_head.loc.head.3.bias";

#[test]
fn every_tensor_must_be_there_once_in_its_shape_and_finite() {
    assert!(changed(|_| {}).is_ok());
    let e = |change: fn(&mut std::collections::BTreeMap<String, Raw>)| changed(change).unwrap_err().to_string();
    let missing = e(|t| {
        t.remove(BIAS);
    });
    assert!(missing.contains("missing [rpn_head.loc.head.3.bias], not used []"), "{missing}");
    let unused = e(|t| {
        t.insert("neck.weight".to_owned(), ("F32", vec![1], vec![0; 4]));
    });
    assert!(unused.contains("missing [], not used [neck.weight]"), "{unused}");
    let shape = e(|t| t.get_mut(BIAS).unwrap().1 = vec![4, 5]);
    assert!(shape.contains("rpn_head.loc.head.3.bias has shape [4, 5], the network needs [20]"), "{shape}");
    let anchors = e(|t| *t.get_mut(BIAS).unwrap() = ("F32", vec![12], vec![0; 48]));
    assert!(anchors.contains("has shape [12], the network needs [20]"), "{anchors}");
    let nan = e(|t| t.get_mut(BIAS).unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    assert!(nan.contains(BIAS) && nan.contains("not finite"), "{nan}");
    let integers = e(|t| t.get_mut(BIAS).unwrap().0 = "I32");
    assert!(integers.contains("has type I32"), "{integers}");
    let wide = e(|t| t.get_mut("backbone.features.0.weight").unwrap().1 = vec![726, 1, 1, 1]);
    assert!(wide.contains("backbone.features.0.weight has shape [726, 1, 1, 1]"), "{wide}");
    let wide = e(|t| {
        *t.get_mut("backbone.features.14.weight").unwrap() = ("F32", vec![2000, 1, 1, 1], vec![0; 8000]);
    });
    assert!(wide.contains("[2, 4, 4, 4, 2000, 4] output channels, expected at most 1024"), "{wide}");
}

#[test]
fn what_the_weights_decide_is_not_configured() {
    let foreign = open("pysot.pth", Family::Pysot);
    let cfg = foreign.config().clone();
    let build = |cfg: &ModelConfig| foreign.network(cfg, 1, &Device::flex());
    let free = ModelConfig { search_px: 255, semantics: CropSemantics::Siamfc, ..cfg.clone() };
    assert!(build(&free).is_ok());
    for (changed, key) in [
        (ModelConfig { channels: ChannelOrder::Rgb, ..cfg.clone() }, "model.channels"),
        (ModelConfig { head: HeadKind::UpChannel, ..cfg.clone() }, "model.head"),
        (ModelConfig { head_channels: 3, ..cfg.clone() }, "model.head_channels"),
        (ModelConfig { exemplar_px: 135, ..cfg.clone() }, "model.exemplar_px"),
    ] {
        let e = build(&changed).unwrap_err();
        assert!(matches!(e, ImportError::Fixed { .. }) && e.to_string().contains(key), "{e}");
    }
}

#[test]
fn a_tensor_larger_than_its_file_is_refused_before_it_is_read() {
    let e = Foreign::open(&path("claim.pth"), Family::Dasiamrpn).unwrap_err().to_string();
    assert!(e.contains("featureExtract.0.weight should have 1073741824 bytes"), "{e}");
}

#[test]
fn damaged_files_are_errors_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged");
    let mut random = shards::order::Rng::new(7);
    let mut at = |n: usize| (random.next_u64() % n as u64) as usize;
    let mut refused = 0;
    let files = WHOLE.iter().map(|(name, family, _)| (*name, *family)).chain(TRUNKS);
    for (name, family) in files {
        let whole = fixture(name);
        for round in 0..60 {
            let mut bytes = whole.clone();
            if round % 3 == 0 {
                bytes.truncate(at(whole.len()));
            } else {
                // The start of a pickle stream or a header, or anywhere.
                let within = if round % 3 == 1 { whole.len().min(4000) } else { whole.len() };
                for _ in 0..=at(4) {
                    bytes[at(within)] = at(256) as u8;
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let outcome = Foreign::open(&path, family).and_then(|f| f.network(f.config(), 1, &Device::flex()));
            refused += usize::from(outcome.is_err());
        }
    }
    assert!(refused > 150, "{refused}");
    for bytes in [&b""[..], b"PK\x03\x04", b"\x80\x02}q\x00.", b"not weights at all", &[0xff; 64]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(Foreign::open(&path, Family::Pysot).is_err(), "{bytes:?}");
    }
    // What would run a program, if anything were executed.
    let marker = dir.path().join("executed");
    let command = format!("touch {}", marker.display());
    let mut pickle = b"\x80\x02cposix\nsystem\nX".to_vec();
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.bytes());
    pickle.extend(b"\x85R.");
    std::fs::write(&path, pickle).unwrap();
    assert!(Foreign::open(&path, Family::Pysot).is_err() && !marker.exists());
    assert!(Foreign::open(dir.path(), Family::Pysot).is_err());
    assert!(Foreign::open(&dir.path().join("none"), Family::Pysot).is_err());
}
