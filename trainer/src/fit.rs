//! Does a dataset fit a configuration? Mixed crop sizes and scales ruin training silently, so they are refused here.

use schemas::build::PairsConfig;
use schemas::shard::ShardMeta;
use schemas::train::TrainConfig;
use shards::reader::Dataset;
use std::path::PathBuf;

/// Why a dataset cannot be used with a configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// A value that must be equal differs.
    #[error(
        "dataset {path} has {what} = {found}, the configuration has {key} = {expected}: set {key}={found}, or build the \
         dataset again with {what} = {expected}"
    )]
    Differs {
        /// The dataset.
        path: PathBuf,
        /// Name of the value in the dataset.
        what: &'static str,
        /// Value in the dataset.
        found: String,
        /// Key in the configuration.
        key: &'static str,
        /// Value in the configuration.
        expected: String,
    },
    /// The pairs of the dataset were drawn with another configuration.
    #[error(
        "the pairs of dataset {path} were drawn with {key} = {found}, the configuration has {expected}: set {key}={found}, \
         or lay the pairs out again with `ingest pairs`"
    )]
    Order {
        /// The dataset.
        path: PathBuf,
        /// Key in the configuration.
        key: String,
        /// Value the pairs were drawn with.
        found: String,
        /// Value in the configuration.
        expected: String,
    },
    /// Stored crops are smaller than the augmentation needs.
    #[error(
        "dataset {path} has {what} crops of {found} px{label}, the configuration needs {needed} px for images of {image} \
         px with shift {shift} and stretch {stretch}: lower {keys}, or build the dataset again with crops of at least \
         {needed} px"
    )]
    Small {
        /// The dataset.
        path: PathBuf,
        /// Template or search.
        what: &'static str,
        /// The dataset label, where sizes differ by label.
        label: String,
        /// Side of the stored crops.
        found: u32,
        /// Side that is needed.
        needed: u32,
        /// Side of the network's image.
        image: u32,
        /// Largest shift.
        shift: u32,
        /// Largest stretch.
        stretch: f64,
        /// Keys that decide about it.
        keys: &'static str,
    },
}

/// Checks that pairs which were laid out are the ones that the configuration draws.
///
/// # Errors
/// [`FitError::Order`] names both values.
pub fn check_order(dataset: &Dataset, pairs: &PairsConfig, cfg: &TrainConfig) -> Result<(), FitError> {
    let differs = |key: String, found: String, expected: String| {
        Err(FitError::Order { path: dataset.path().to_path_buf(), key, found, expected })
    };
    if pairs.seed != cfg.run.seed {
        return differs("run.seed".to_owned(), pairs.seed.to_string(), cfg.run.seed.to_string());
    }
    if pairs.batch != cfg.run.batch as u64 {
        return differs("run.batch".to_owned(), pairs.batch.to_string(), cfg.run.batch.to_string());
    }
    if cfg.run.steps_per_epoch > pairs.steps_per_epoch {
        let (found, expected) = (pairs.steps_per_epoch, cfg.run.steps_per_epoch);
        return differs("run.steps_per_epoch".to_owned(), found.to_string(), expected.to_string());
    }
    let [found, expected] = [&pairs.data, &cfg.data].map(|data| serde_json::json!(data));
    for (key, found) in found.as_object().into_iter().flatten() {
        let expected = &expected[key.as_str()];
        if found != expected {
            return differs(format!("data.{key}"), found.to_string(), expected.to_string());
        }
    }
    Ok(())
}

/// Checks the first shard's metadata (all shards of a dataset come from one configuration) and every source's search
/// size.
///
/// # Errors
/// [`FitError`] names both values and what to do.
pub fn check(dataset: &Dataset, meta: &ShardMeta, cfg: &TrainConfig) -> Result<(), FitError> {
    let path = || dataset.path().to_path_buf();
    let name = |v: schemas::build::CropSemantics| serde_json::json!(v).as_str().unwrap_or_default().to_owned();
    let m = &cfg.model;
    let equal = [
        (
            meta.exemplar_px == m.exemplar_px,
            "exemplar_px",
            meta.exemplar_px.to_string(),
            "model.exemplar_px",
            m.exemplar_px.to_string(),
        ),
        (
            (meta.context_amount - m.context_amount).abs() < 1e-9,
            "context_amount",
            meta.context_amount.to_string(),
            "model.context_amount",
            m.context_amount.to_string(),
        ),
        (meta.semantics == m.semantics, "semantics", name(meta.semantics), "model.semantics", name(m.semantics)),
    ];
    for (same, what, found, key, expected) in equal {
        if !same {
            return Err(FitError::Differs { path: path(), what, found, key, expected });
        }
    }
    let a = &cfg.augment;
    let needed = a.needed_template_px(m.exemplar_px);
    if meta.template_px < needed {
        return Err(FitError::Small {
            path: path(),
            what: "template",
            label: String::new(),
            found: meta.template_px,
            needed,
            image: m.exemplar_px,
            shift: a.template_shift,
            stretch: a.template_stretch,
            keys: "augment.template_shift and augment.template_stretch",
        });
    }
    let needed = a.needed_search_px(m.train_search_px);
    for source in &dataset.manifest().sources {
        if source.search_px < needed {
            return Err(FitError::Small {
                path: path(),
                what: "search",
                label: format!(" (label {})", source.dataset),
                found: source.search_px,
                needed,
                image: m.train_search_px,
                shift: a.shift,
                stretch: a.stretch,
                keys: "augment.shift, augment.stretch or model.train_search_px",
            });
        }
    }
    Ok(())
}
