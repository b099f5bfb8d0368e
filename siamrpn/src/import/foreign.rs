//! A checkpoint of another project, every tensor of which has found its place.

use super::ImportError;
use super::family::{Family, Layout, Slot};
use super::file::TensorFile;
use crate::net::{SiamRpn, validate};
use crate::params::{self, ReplaceError};
use burn::tensor::{Device, TensorData};
use schemas::model::ModelConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Dictionaries that training scripts put around the weights.
const WRAPPERS: [&str; 5] = ["state_dict", "model_state_dict", "model", "network", "net"];
/// Dictionaries beside them that hold the state of an optimiser.
const OPTIMISER: [&str; 2] = ["optimizer.", "optimizer_state_dict."];
/// What `DataParallel` puts in front of every name.
const PARALLEL: &str = "module.";
/// Most channels a convolution may have; the widest published network has 768.
const CHANNELS: usize = 1024;

/// A checkpoint whose names and shapes have been matched; its values are read by [`Foreign::network`].
pub struct Foreign {
    family: Family,
    file: TensorFile,
    /// What is in front of every name in the file.
    prefix: String,
    config: ModelConfig,
    slots: Vec<Slot>,
    ignored: Vec<String>,
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foreign").field("path", &self.file.path()).field("family", &self.family).finish_non_exhaustive()
    }
}

impl Foreign {
    /// Opens the checkpoint of `family` at `path`: a PyTorch file (zip, the older pickle stream or tar) or a safetensors
    /// file with the same names. Nothing in it is ever executed. `state_dict`, `model` and `module.` around the weights
    /// are taken off; an optimiser beside them is left alone.
    ///
    /// # Errors
    /// [`ImportError`] when the file cannot be read, or its tensors are not exactly those of the family: it names each
    /// that is missing, not used or of another shape.
    pub fn open(path: &Path, family: Family) -> Result<Self, ImportError> {
        let file = TensorFile::open(path)?;
        let name = file.path().to_owned();
        let all = file.shapes()?;
        let prefix = prefix(&all);
        let mut ignored = Vec::new();
        let mut unused = BTreeSet::new();
        let mut shapes: BTreeMap<&str, &[usize]> = BTreeMap::new();
        for (full, shape) in &all {
            match full.strip_prefix(&prefix) {
                _ if OPTIMISER.iter().any(|o| full.starts_with(o)) => ignored.push(full.clone()),
                Some(inner) if family.ignores(inner) => ignored.push(full.clone()),
                Some(inner) => {
                    shapes.insert(inner, shape);
                }
                None => {
                    unused.insert(full.clone());
                }
            }
        }
        let [first, second, third] = family.layouts();
        let fits = |layout: &Layout| shapes.contains_key(layout.conv(0).as_str());
        let layout = [first, second, third].into_iter().find(fits).unwrap_or(first);
        let outputs = |tensor: &str| shapes.get(tensor).and_then(|shape| shape.first()).copied().unwrap_or_default();
        let widths = [0, 1, 2, 3, 4].map(|i| outputs(&layout.conv(i)));
        let head_width = family.head_conv().map(outputs);
        let found: Vec<usize> = widths.into_iter().chain(head_width).collect();
        if found.iter().any(|w| *w > CHANNELS) {
            return Err(ImportError::Channels { path: name, found, limit: CHANNELS });
        }
        let config = family.config(widths, head_width.unwrap_or_default());
        let slots = family.slots(layout, &config);
        let tensors = |source| ImportError::Tensors { path: name.clone(), source };
        let missing: Vec<String> =
            slots.iter().filter(|s| !shapes.contains_key(s.theirs.as_str())).map(|s| s.theirs.clone()).collect();
        let wanted: BTreeSet<&str> = slots.iter().map(|s| s.theirs.as_str()).collect();
        unused.extend(shapes.keys().filter(|n| !wanted.contains(**n)).map(|n| format!("{prefix}{n}")));
        if !missing.is_empty() || !unused.is_empty() {
            return Err(tensors(ReplaceError::Names { missing, unused: unused.into_iter().collect() }));
        }
        for slot in &slots {
            let shape = shapes.get(slot.theirs.as_str()).copied().unwrap_or_default();
            if shape != slot.shape {
                return Err(tensors(ReplaceError::Shape {
                    name: slot.theirs.clone(),
                    expected: slot.shape.clone(),
                    found: shape.to_vec(),
                }));
            }
        }
        Ok(Self { family, file, prefix, config, slots, ignored })
    }

    /// The model configuration that goes with the weights: widths as found, everything else the family's own settings.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Number of tensors that go into the network.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.slots.len()
    }

    /// Names of the tensors that are known to be of no use here, such as `num_batches_tracked`.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The network of `cfg` with these weights; where the family has no head, that one is random from `seed`. `cfg` is
    /// [`Foreign::config`], changed in nothing that the weights decide.
    ///
    /// # Errors
    /// [`ImportError::Fixed`] when `cfg` differs in that; else [`ImportError`] when values cannot be read, are no
    /// floating-point numbers, or are not finite.
    pub fn network(&self, cfg: &ModelConfig, seed: u64, device: &Device) -> Result<SiamRpn, ImportError> {
        self.check(cfg)?;
        validate(cfg)?;
        let mut values = BTreeMap::new();
        for slot in &self.slots {
            let data = self.file.read(&format!("{}{}", self.prefix, slot.theirs))?;
            values.insert(slot.ours.clone(), TensorData::new(data, slot.shape.clone()));
        }
        let tensors = |source| ImportError::Tensors { path: self.file.path().to_owned(), source };
        if self.family.has_head() {
            params::replace(SiamRpn::empty(cfg, device)?, values).map_err(tensors)
        } else {
            params::update(SiamRpn::new(cfg, seed, device)?, values).map_err(tensors)
        }
    }

    /// Refuses changes of what the weights decide.
    fn check(&self, cfg: &ModelConfig) -> Result<(), ImportError> {
        let [ours, theirs] = [&self.config, cfg].map(|c| {
            let always = [
                ("trunk.widths", serde_json::json!(c.trunk.widths)),
                ("channels", serde_json::json!(c.channels)),
                ("exemplar_px", serde_json::json!(c.exemplar_px)),
                ("context_amount", serde_json::json!(c.context_amount)),
            ];
            let head = [
                ("head", serde_json::json!(c.head)),
                ("head_channels", serde_json::json!(c.head_width())),
                ("anchors", serde_json::json!(c.anchors)),
            ];
            always.into_iter().chain(self.family.has_head().then_some(head).into_iter().flatten())
        });
        match ours.zip(theirs).find(|(ours, theirs)| ours != theirs) {
            Some(((key, expected), (_, found))) => Err(ImportError::Fixed {
                path: self.file.path().to_owned(),
                key,
                expected: expected.to_string(),
                found: found.to_string(),
            }),
            None => Ok(()),
        }
    }
}

/// What stands in front of the weights' names: the dictionary around them, and what `DataParallel` adds.
fn prefix(names: &BTreeMap<String, Vec<usize>>) -> String {
    let wrapper = WRAPPERS.map(|w| format!("{w}.")).into_iter().find(|w| names.keys().any(|n| n.starts_with(w)));
    let mut prefix = wrapper.unwrap_or_default();
    let mut inner = names.keys().filter_map(|n| n.strip_prefix(&prefix)).peekable();
    if inner.peek().is_some() && inner.all(|n| n.starts_with(PARALLEL)) {
        prefix.push_str(PARALLEL);
    }
    prefix
}
