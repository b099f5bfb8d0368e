//! SiamRPN on Burn: the network with both heads, anchors, labels, losses, decoding, the online tracker, and model files.
//!
//! The crate starts no threads of its own, reads no command line and never sees a dataset; `trainer` and `trackd`
//! stand on it. It works on whatever [`device::Device`] it is given.
//!
//! ```text
//! template 127 px ──┐                     ┌─> cls [B, 2A, R, R] ─┐
//!                   ├─> trunk ─> head ────┤                      ├─> decode ─> tracker
//! search 255 px ────┘   (shared)          └─> reg [B, 4A, R, R] ─┘
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`device`] | devices by name, probed |
//! | [`net`] | trunk, heads, cross-correlation, forward passes |
//! | [`anchors`], [`labels`], [`loss`] | what training compares the outputs with |
//! | [`decode`], [`engine`], [`tracker`] | from pictures to boxes |
//! | [`model`], [`params`], [`import`] | weights on disk |
//! | [`onnx`] | models as ONNX graphs |
//! | [`cost`] | parameters and multiply-adds of a configuration |
//!
//! Conventions: tensors are NCHW; `A` anchors per cell, `R` response cells per side. Output channel of `cls` is
//! `class * A + anchor` (class 0 background, 1 target), of `reg` `coordinate * A + anchor` (dx, dy, dw, dh). A flat
//! index of a prediction is `anchor * R * R + row * R + column`. Boxes relative to a crop are in crop pixels from its
//! centre, centre form; boxes in a frame have their origin at the left/top edge of pixel 0.

pub mod anchors;
pub mod cost;
mod cpu;
pub mod decode;
pub mod device;
pub mod engine;
pub mod import;
pub mod labels;
pub mod loss;
pub mod model;
pub mod net;
pub mod onnx;
pub mod params;
pub mod tracker;
