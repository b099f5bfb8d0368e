//! What the graphs look like from outside; ONNX Runtime itself reads and runs them in `.ci/interop/core`.

use super::*;
use crate::net::SiamRpn;
use burn::tensor::Device;
use schemas::model::{HeadKind, TrunkConfig};
use std::collections::BTreeSet;

const HEADS: [HeadKind; 2] = [HeadKind::UpChannel, HeadKind::Depthwise];

fn model(head: HeadKind) -> (ModelConfig, Inference) {
    let config = ModelConfig { head, trunk: TrunkConfig { widths: [4, 6, 6, 5, 7] }, ..ModelConfig::default() };
    let net = SiamRpn::new(&config, 3, &Device::flex()).unwrap().inference();
    (config, net)
}

fn graphs(config: &ModelConfig, net: &Inference, stored: Stored) -> [Vec<u8>; 2] {
    let metadata = BTreeMap::from([("siamrpn.model".to_owned(), "{}".to_owned())]);
    let Graphs { template, search } = Graphs::new(config, net, &metadata, stored, Ending::Boxes).unwrap();
    [template, search]
}

fn decoded(bytes: &[u8]) -> proto::Model {
    proto::Model::decode(bytes).unwrap()
}

/// Names and sizes of inputs or outputs.
fn ports(values: &[proto::Value]) -> Vec<(&str, Vec<i64>)> {
    values
        .iter()
        .map(|v| {
            let tensor = v.kind.as_ref().unwrap().tensor_type.as_ref().unwrap();
            assert_eq!(tensor.elem_type, Some(proto::FLOAT));
            let dims = tensor.shape.as_ref().unwrap().dim.iter().map(|d| d.dim_value.unwrap());
            (v.name.as_deref().unwrap(), dims.collect())
        })
        .collect()
}

#[test]
fn inputs_and_outputs_have_their_names_and_sizes() {
    for (head, kernels) in [(HEADS[0], [[10, 7, 4, 4], [20, 7, 4, 4]]), (HEADS[1], [[7, 1, 4, 4]; 2])] {
        let (config, net) = model(head);
        let [template, search] = graphs(&config, &net, Stored::F32).map(|bytes| decoded(&bytes).graph.unwrap());
        assert_eq!(ports(&template.input), [("exemplar", vec![1, 3, 127, 127])]);
        let kernels = [("kernels_cls", kernels[0].to_vec()), ("kernels_reg", kernels[1].to_vec())];
        assert_eq!(ports(&template.output), kernels);
        assert_eq!(ports(&search.input)[..2], kernels);
        assert_eq!(ports(&search.input)[2], ("search", vec![1, 3, 255, 255]));
        assert_eq!(ports(&search.output), [("scores", vec![1, 1445]), ("boxes", vec![1, 4, 1445])]);
        let doc = search.input[2].doc_string.as_deref().unwrap();
        assert!(doc.ends_with("order bgr"), "{doc}");

        let wide = ModelConfig { search_px: 287, ..config };
        let search = decoded(&graphs(&wide, &net, Stored::F32)[1]).graph.unwrap();
        assert_eq!(ports(&search.input)[2].1, [1, 3, 287, 287]);
        assert_eq!(ports(&search.output)[1].1, [1, 4, 2205]);
    }
}

#[test]
fn every_value_is_made_once_before_it_is_used_and_nothing_is_left_over() {
    for head in HEADS {
        for stored in [Stored::F32, Stored::F16] {
            let (config, net) = model(head);
            for bytes in graphs(&config, &net, stored) {
                let graph = decoded(&bytes).graph.unwrap();
                let mut made = BTreeSet::new();
                let given = graph.input.iter().map(|v| &v.name).chain(graph.initializer.iter().map(|t| &t.name));
                for name in given {
                    assert!(made.insert(name.clone().unwrap()), "{name:?} is there twice");
                }
                let mut used = BTreeSet::new();
                for node in &graph.node {
                    for input in &node.input {
                        assert!(made.contains(input), "{input} comes later than its use");
                        used.insert(input.clone());
                    }
                    for output in &node.output {
                        assert!(made.insert(output.clone()), "{output} is there twice");
                    }
                }
                used.extend(graph.output.iter().map(|v| v.name.clone().unwrap()));
                assert_eq!(made.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new(), "{head:?}");
                for tensor in &graph.initializer {
                    let each = match tensor.data_type.unwrap() {
                        proto::FLOAT16 => 2,
                        proto::FLOAT => 4,
                        other => {
                            assert_eq!(other, proto::INT64);
                            8
                        }
                    };
                    let count: i64 = tensor.dims.iter().product();
                    assert_eq!(tensor.raw_data.as_ref().unwrap().len() as i64, count * each, "{:?}", tensor.name);
                }
                assert!(!graph.node.iter().any(|n| n.op_type.as_deref() == Some("BatchNormalization")));
            }
        }
    }
}

#[test]
fn equal_models_give_equal_bytes_and_16_bits_half_of_them() {
    for head in HEADS {
        let (config, net) = model(head);
        let one = graphs(&config, &net, Stored::F32);
        assert_eq!(one, graphs(&config, &model(head).1, Stored::F32));
        for (whole, half) in one.iter().zip(graphs(&config, &net, Stored::F16)) {
            assert_eq!(decoded(whole).encode_to_vec(), *whole, "reading and writing changes nothing");
            let bytes = |file: &[u8]| -> usize {
                let graph = decoded(file).graph.unwrap();
                let weights = graph.initializer.iter().filter(|t| t.dims.len() == 4);
                weights.map(|t| t.raw_data.as_ref().unwrap().len()).sum()
            };
            assert_eq!(bytes(whole), 2 * bytes(&half));
        }
        let model = decoded(&one[0]);
        assert_eq!(model.opset_import[0].version, Some(OPSET));
        assert_eq!(model.metadata_props[0].key.as_deref(), Some("siamrpn.model"));
    }
}

#[test]
fn weights_beyond_16_bits_stay_as_they_are() {
    assert!(Stored::F16.half(&[1, 1, 1, 2], &[1.0, 65504.0]).is_some());
    assert_eq!(Stored::F16.half(&[1, 1, 1, 2], &[1.0, 70000.0]), None);
    assert_eq!(Stored::F16.half(&[2], &[1.0, 2.0]), None);
    assert_eq!(Stored::F32.half(&[1, 1, 1, 1], &[1.0]), None);
}

#[test]
fn a_search_side_that_does_not_fit_is_named() {
    let (config, net) = model(HeadKind::Depthwise);
    let odd = ModelConfig { search_px: 260, ..config };
    let e = Graphs::new(&odd, &net, &BTreeMap::new(), Stored::F32, Ending::Boxes).unwrap_err().to_string();
    assert!(e.contains("search_px"), "{e}");
}
