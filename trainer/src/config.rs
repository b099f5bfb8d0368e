//! The configuration of a run from its layers: a preset, a TOML file over it, `key=value` overrides over both.
//!
//! Unknown keys are refused with the keys that look like them; a value of the wrong kind is refused with its key.

use schemas::train::{PRESETS, Precision, RunConfig, TrainConfig};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The preset a run starts from when none is named.
pub const DEFAULT_PRESET: &str = "recommended";

/// Tables whose keys are free: labels of datasets.
const FREE: [&str; 3] = ["data.gap_by_dataset", "data.share_by_dataset", "data.weight_by_dataset"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such preset.
    #[error("unknown preset {name:?}: use one of {}", PRESETS.join(", "))]
    Preset {
        /// The name asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("configuration {path} is not valid TOML: {reason}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A key that does not exist.
    #[error("unknown key {key:?} in {origin}{}", suggestion(near))]
    UnknownKey {
        /// The key with its tables.
        key: String,
        /// The file, or the command line.
        origin: String,
        /// Keys that look like it.
        near: Vec<String>,
    },
    /// An override without `=`.
    #[error("override {text:?} is not of the form key=value, for example optim.lr_start=0.01")]
    Form {
        /// The argument.
        text: String,
    },
    /// A value that does not fit its key.
    #[error("{key} = {found} in {origin}: {reason}")]
    Value {
        /// The key with its tables.
        key: String,
        /// The value.
        found: String,
        /// The file, or the command line.
        origin: String,
        /// What was expected.
        reason: String,
    },
    /// A value outside of what makes sense.
    #[error("{key} = {found}: expected {expected}")]
    Range {
        /// The key with its tables.
        key: &'static str,
        /// The value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The network's configuration describes no network.
    #[error("model configuration: {0}")]
    Model(#[from] siamrpn::net::ConfigError),
    /// The configuration cannot be written as TOML.
    #[error("the configuration cannot be written as TOML: {0}")]
    Write(String),
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(": did you mean {}?", near.join(" or ")) }
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Name of the preset below everything; [`DEFAULT_PRESET`] when absent.
    pub preset: Option<String>,
    /// TOML file over the preset.
    pub file: Option<PathBuf>,
    /// `key=value` over both.
    pub overrides: Vec<String>,
}

impl Layers {
    /// The effective configuration, validated.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, the file and what was expected.
    pub fn resolve(&self) -> Result<TrainConfig, ConfigError> {
        let name = self.preset.as_deref().unwrap_or(DEFAULT_PRESET);
        let base = TrainConfig::preset(name).ok_or_else(|| ConfigError::Preset { name: name.to_owned() })?;
        self.over(base)
    }

    /// The file and the overrides over `base`, validated; the preset is not looked at.
    ///
    /// # Errors
    /// As [`Layers::resolve`].
    pub fn over(&self, base: TrainConfig) -> Result<TrainConfig, ConfigError> {
        let mut tree = Tree::new(base)?;
        if let Some(path) = &self.file {
            let text =
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            let table: toml::Table = text
                .parse()
                .map_err(|e: toml::de::Error| ConfigError::Toml { path: path.clone(), reason: e.to_string() })?;
            tree.merge(&mut Vec::new(), &json(toml::Value::Table(table)), &path.display().to_string())?;
        }
        for text in &self.overrides {
            let (key, value) = text.split_once('=').ok_or_else(|| ConfigError::Form { text: text.clone() })?;
            let mut path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
            tree.merge(&mut path, &parse(value.trim()), "the command line")?;
        }
        validate(&tree.config)?;
        Ok(tree.config)
    }
}

/// A value of the command line: TOML where it is TOML, else a plain string.
fn parse(text: &str) -> Value {
    format!("v = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .map_or_else(|| Value::String(text.to_owned()), json)
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(s) => Value::String(s),
        toml::Value::Integer(i) => Value::from(i),
        toml::Value::Float(f) => serde_json::Number::from_f64(f).map_or(Value::Null, Value::Number),
        toml::Value::Boolean(b) => Value::Bool(b),
        toml::Value::Datetime(d) => Value::String(d.to_string()),
        toml::Value::Array(a) => Value::Array(a.into_iter().map(json).collect()),
        toml::Value::Table(t) => Value::Object(t.into_iter().map(|(k, v)| (k, json(v))).collect()),
    }
}

/// The configuration as a tree of keys, always in step with the typed one.
struct Tree {
    root: Value,
    config: TrainConfig,
}

impl Tree {
    fn new(config: TrainConfig) -> Result<Self, ConfigError> {
        let root = serde_json::to_value(&config).map_err(|e| ConfigError::Write(e.to_string()))?;
        Ok(Self { root, config })
    }

    /// Puts `value` at `path`, key by key for tables.
    fn merge(&mut self, path: &mut Vec<String>, value: &Value, origin: &str) -> Result<(), ConfigError> {
        let key = path.join(".");
        let unknown = |tree: &Self| ConfigError::UnknownKey {
            near: tree.near(&key),
            key: key.clone(),
            origin: origin.to_owned(),
        };
        let parent = path.split_last().map_or(String::new(), |(_, p)| p.join("."));
        let free = FREE.contains(&parent.as_str());
        let known = self.root.pointer(&pointer(path));
        if known.is_none() && !free {
            return Err(unknown(self));
        }
        let table = known.is_some_and(Value::is_object);
        if let (true, Value::Object(entries)) = (table, value) {
            for (name, value) in entries {
                path.push(name.clone());
                self.merge(path, value, origin)?;
                path.pop();
            }
            return Ok(());
        }
        self.set(path, &key, value, origin)
    }

    fn set(&mut self, path: &[String], key: &str, value: &Value, origin: &str) -> Result<(), ConfigError> {
        let mut root = self.root.clone();
        let wrong = |reason: String| ConfigError::Value {
            key: key.to_owned(),
            found: value.to_string(),
            origin: origin.to_owned(),
            reason,
        };
        let Some((name, parent)) = path.split_last() else {
            return Err(wrong("expected a table".to_owned()));
        };
        let Some(Value::Object(table)) = root.pointer_mut(&pointer(parent)) else {
            return Err(wrong("expected a table".to_owned()));
        };
        table.insert(name.clone(), value.clone());
        self.config = serde_json::from_value(root.clone()).map_err(|e| wrong(e.to_string()))?;
        self.root = root;
        Ok(())
    }

    /// Known keys that look like `key`: the same last name in another table, or a few letters apart.
    fn near(&self, key: &str) -> Vec<String> {
        let mut all = Vec::new();
        if let Value::Object(map) = &self.root {
            leaves(map, "", &mut all);
        }
        let last = |k: &str| k.rsplit('.').next().unwrap_or_default().to_owned();
        let mut scored: Vec<(usize, String)> = all
            .into_iter()
            .map(|k| (distance(&k, key).min(distance(&last(&k), &last(key))), k))
            .filter(|(d, k)| *d <= 1 + last(k).len() / 4)
            .collect();
        scored.sort();
        scored.into_iter().take(3).map(|(_, k)| k).collect()
    }
}

fn leaves(map: &Map<String, Value>, prefix: &str, to: &mut Vec<String>) {
    for (name, value) in map {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        to.push(key.clone());
        if let Value::Object(inner) = value {
            leaves(inner, &key, to);
        }
    }
}

/// JSON pointer of a path of keys.
fn pointer(path: &[String]) -> String {
    path.iter().map(|p| format!("/{}", p.replace('~', "~0").replace('/', "~1"))).collect()
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((j, cb), pair) in b.iter().enumerate().zip(row.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            let left = next.get(j).copied().unwrap_or(usize::MAX - 1);
            next.push((diagonal + usize::from(ca != *cb)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// Checks what types cannot: ranges, and that the model is a network.
///
/// # Errors
/// [`ConfigError::Range`] or [`ConfigError::Model`].
pub fn validate(cfg: &TrainConfig) -> Result<(), ConfigError> {
    let check = |ok: bool, key: &'static str, found: String, expected: &'static str| {
        if ok { Ok(()) } else { Err(ConfigError::Range { key, found, expected }) }
    };
    let a = &cfg.augment;
    let shares = [
        ("data.negative_probability", cfg.data.negative_probability),
        ("data.validation_share", cfg.data.validation_share),
        ("augment.gray", a.gray),
        ("augment.colour", a.colour),
        ("augment.blur", a.blur),
        ("augment.template_blur", a.template_blur),
        ("augment.gaussian", a.gaussian),
        ("augment.flip", a.flip),
    ];
    for (key, value) in shares {
        check((0.0..=1.0).contains(&value), key, value.to_string(), "a probability, 0 to 1")?;
    }
    for (key, value) in [("augment.stretch", a.stretch), ("augment.template_stretch", a.template_stretch)] {
        check((0.0..=0.9).contains(&value), key, value.to_string(), "0 to 0.9")?;
    }
    for (key, value) in [("augment.shift", a.shift), ("augment.template_shift", a.template_shift)] {
        check(value <= 4096, key, value.to_string(), "at most 4096 px")?;
    }
    for (key, value) in [
        ("augment.blur_min", a.blur_min),
        ("augment.blur_max", a.blur_max),
        ("augment.gaussian_min", a.gaussian_min),
        ("augment.gaussian_max", a.gaussian_max),
    ] {
        check(value % 2 == 1 && value <= 99, key, value.to_string(), "an odd number of pixels, 1 to 99")?;
    }
    check(a.blur_min <= a.blur_max, "augment.blur_min", a.blur_min.to_string(), "at most augment.blur_max")?;
    let (low, high) = (a.gaussian_min, a.gaussian_max);
    check(low <= high, "augment.gaussian_min", low.to_string(), "at most augment.gaussian_max")?;
    let axes = a.colour_axes.iter().flatten().all(|v| v.is_finite() && v.abs() <= 1e3);
    check(axes, "augment.colour_axes", format!("{:?}", a.colour_axes), "numbers of size 1000 at most")?;
    for (key, value) in [("augment.colour_strength", a.colour_strength), ("augment.gaussian_sigma", a.gaussian_sigma)] {
        check((0.0..=100.0).contains(&value), key, value.to_string(), "0 to 100")?;
    }
    let d = &cfg.data;
    for (key, value) in
        [("data.min_aspect", d.min_aspect), ("data.min_area", d.min_area), ("data.max_area", d.max_area)]
    {
        check((0.0..=1.0).contains(&value), key, value.to_string(), "a share, 0 to 1")?;
    }
    check(d.min_area <= d.max_area, "data.min_area", d.min_area.to_string(), "at most data.max_area")?;
    for share in d.share_by_dataset.values() {
        let ok = share.is_finite() && *share >= 0.0;
        check(ok, "data.share_by_dataset", share.to_string(), "numbers, 0 or above")?;
    }
    let window = cfg.labels.negative_pair_window;
    check(window % 2 == 1, "labels.negative_pair_window", window.to_string(), "an odd number of cells")?;
    let o = &cfg.optim;
    for (key, value) in [
        ("optim.lr_start", o.lr_start),
        ("optim.lr_end", o.lr_end),
        ("optim.clip_norm", o.clip_norm),
        ("optim.max_loss", o.max_loss),
    ] {
        check(value.is_finite() && value > 0.0, key, value.to_string(), "a number above 0")?;
    }
    let factors = [
        ("optim.warmup_lr", o.warmup_lr),
        ("optim.weight_decay", o.weight_decay),
        ("optim.trunk_lr", o.trunk_lr),
        ("loss.cls_weight", cfg.loss.cls_weight),
        ("loss.reg_weight", cfg.loss.reg_weight),
    ];
    for (key, value) in factors {
        check(value.is_finite() && value >= 0.0, key, value.to_string(), "a number, 0 or above")?;
    }
    check((0.0..1.0).contains(&o.momentum), "optim.momentum", o.momentum.to_string(), "0 up to, not including, 1")?;
    check(o.frozen_convs <= 5, "optim.frozen_convs", o.frozen_convs.to_string(), "0 to 5")?;
    let r = &cfg.run;
    let counts = [
        ("run.batch", r.batch as u64),
        ("run.accumulate", r.accumulate as u64),
        ("run.epochs", u64::from(r.epochs)),
        ("run.prefetch", r.prefetch as u64),
        ("run.log_every", r.log_every),
        ("run.keep_last", r.keep_last as u64),
        ("run.max_bad_steps", r.max_bad_steps),
        ("run.validation_pairs", r.validation_pairs as u64),
        ("data.pairs_per_unit", u64::from(cfg.data.pairs_per_unit)),
        ("labels.total", cfg.labels.total as u64),
    ];
    for (key, value) in counts {
        check(value >= 1, key, value.to_string(), "at least 1")?;
    }
    check(i64::try_from(r.seed).is_ok(), "run.seed", r.seed.to_string(), "0 to 2^63 - 1")?;
    siamrpn::net::validate(&cfg.model)?;
    Ok(())
}

/// The configuration as a TOML document.
///
/// # Errors
/// [`ConfigError::Write`], when a value has no TOML form.
pub fn to_toml(cfg: &TrainConfig) -> Result<String, ConfigError> {
    toml::to_string(cfg).map_err(|e| ConfigError::Write(e.to_string()))
}

/// Hash of everything in the configuration that decides the weights, hexadecimal. Threads, queue lengths, logging,
/// checkpoint intervals and an early end do not, so a run may be resumed with other values of these.
///
/// # Errors
/// [`ConfigError::Write`], when the configuration has no JSON form.
pub fn hash(cfg: &TrainConfig) -> Result<String, ConfigError> {
    let neutral = RunConfig::default();
    let run = RunConfig {
        workers: neutral.workers,
        grad_sync: neutral.grad_sync,
        prefetch: neutral.prefetch,
        log_every: neutral.log_every,
        tensorboard: neutral.tensorboard,
        checkpoint_every: neutral.checkpoint_every,
        keep_last: neutral.keep_last,
        keep_epochs: neutral.keep_epochs,
        validate_every: neutral.validate_every,
        validation_pairs: neutral.validation_pairs,
        max_steps: neutral.max_steps,
        max_bad_steps: neutral.max_bad_steps,
        ..cfg.run.clone()
    };
    let bytes =
        serde_json::to_vec(&TrainConfig { run, ..cfg.clone() }).map_err(|e| ConfigError::Write(e.to_string()))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Factor on the loss before the backward pass, taken out of the gradients again: f16 gradients would underflow.
#[must_use]
pub fn loss_scale(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 | Precision::Bf16 => 1.0,
        Precision::F16 => 1024.0,
    }
}

/// Reads a configuration that [`to_toml`] wrote.
///
/// # Errors
/// [`ConfigError::Read`], [`ConfigError::Toml`].
pub fn read_saved(path: &Path) -> Result<TrainConfig, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
    toml::from_str(&text).map_err(|e| ConfigError::Toml { path: path.to_path_buf(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::model::HeadKind;

    fn layers(overrides: &[&str]) -> Layers {
        Layers { overrides: overrides.iter().map(|s| (*s).to_owned()).collect(), ..Layers::default() }
    }

    #[test]
    fn overrides_win_over_file_and_preset() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.toml");
        std::fs::write(
            &file,
            "[optim]\nlr_start = 1\n[run]\nbatch = 7\n[model]\nhead = \"up-channel\"\n[data.gap_by_dataset]\nvot = 9\n",
        )
        .unwrap();
        let mut l = layers(&["run.batch=8", "model.trunk.widths=[4,6,6,6,6]", "loss.kind=pysot", "run.init_from=a b"]);
        l.file = Some(file);
        l.preset = Some("tiny".to_owned());
        let cfg = l.resolve().unwrap();
        assert_eq!((cfg.optim.lr_start, cfg.run.batch, cfg.model.head), (1.0, 8, HeadKind::UpChannel));
        assert_eq!(cfg.model.trunk.widths, [4, 6, 6, 6, 6]);
        assert_eq!(cfg.data.gap_by_dataset["vot"], 9);
        assert_eq!(cfg.run.init_from, "a b");
        assert_eq!(cfg.run.epochs, TrainConfig::preset("tiny").unwrap().run.epochs);
    }

    #[test]
    fn unknown_keys_are_named_with_near_ones() {
        for (text, near) in [
            ("optim.lr_strat=1", "optim.lr_start"),
            ("lr_start=1", "optim.lr_start"),
            ("run.lr_end=1", "optim.lr_end"),
            ("run.bach=1", "run.batch"),
        ] {
            let e = layers(&[text]).resolve().unwrap_err().to_string();
            let key = text.split('=').next().unwrap();
            assert!(e.contains(&format!("{key:?}")) && e.contains(near), "{e}");
        }
        let e = layers(&["zzzz.qqqq=1"]).resolve().unwrap_err().to_string();
        assert!(e.contains("zzzz.qqqq") && !e.contains("did you mean"), "{e}");
    }

    #[test]
    fn unknown_keys_of_files_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bad.toml");
        std::fs::write(&file, "[run]\nbatsh = 7\n").unwrap();
        let e = Layers { file: Some(file), ..Layers::default() }.resolve().unwrap_err().to_string();
        assert!(e.contains("run.batsh") && e.contains("bad.toml") && e.contains("run.batch"), "{e}");
    }

    #[test]
    fn wrong_values_name_their_key() {
        for (text, part) in [
            ("run.batch=-1", "run.batch"),
            ("run.batch=many", "run.batch"),
            ("run.batch=0", "at least 1"),
            ("optim=3", "optim"),
            ("loss.kind=other", "loss.kind"),
            ("augment.gray=1.5", "probability"),
            ("augment.stretch=nan", "augment.stretch"),
            ("model.train_search_px=100", "train_search_px"),
            ("batch", "key=value"),
        ] {
            let e = layers(&[text]).resolve().unwrap_err().to_string();
            assert!(e.contains(part), "{text}: {e}");
        }
        let e = Layers { preset: Some("best".to_owned()), ..Layers::default() }.resolve().unwrap_err().to_string();
        assert!(e.contains("best") && e.contains("reference"), "{e}");
    }

    #[test]
    fn every_preset_is_valid_and_survives_toml() {
        let dir = tempfile::tempdir().unwrap();
        for name in PRESETS {
            let cfg = Layers { preset: Some(name.to_owned()), ..Layers::default() }.resolve().unwrap();
            let path = dir.path().join(name);
            std::fs::write(&path, to_toml(&cfg).unwrap()).unwrap();
            assert_eq!(read_saved(&path).unwrap(), cfg, "{name}");
        }
    }

    #[test]
    fn only_what_decides_the_weights_is_hashed() {
        let base = TrainConfig::default();
        let with = |text: &str| hash(&layers(&[text]).over(base.clone()).unwrap()).unwrap();
        let own = hash(&base).unwrap();
        assert_eq!(with("run.workers=3"), own);
        assert_eq!(with("run.max_steps=3"), own);
        assert_ne!(with("run.seed=3"), own);
        assert_ne!(with("run.batch=3"), own);
    }
}
