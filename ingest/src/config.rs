//! The build configuration: read, overridden by flags, checked, hashed.

use crate::error::IngestError;
use schemas::build::{BufferCompression, BuildConfig};
use shards::jpeg;
use std::path::Path;

/// Largest crop side accepted, px.
const MAX_PX: u32 = 4096;

/// What the command line changes in a configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--max-rejects`.
    pub max_rejects: Option<u64>,
    /// `--search-px`; 0 keeps ready-made crops as they are, another value re-encodes them too.
    pub search_px: Option<u32>,
    /// `--fast-decode`.
    pub fast_decode: bool,
    /// `--buffer-compression`.
    pub buffer_compression: Option<BufferCompression>,
}

/// Reads a configuration (the defaults without a file), applies `overrides` and checks the result.
///
/// # Errors
/// When the file cannot be read, has an unknown key or a value that is not allowed.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<BuildConfig, IngestError> {
    let fail = |reason: String| IngestError::Config { path: path.map(Path::to_owned), reason };
    let mut config = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
            toml::from_str(&text).map_err(|error| fail(error.to_string().trim_end().to_owned()))?
        }
        None => BuildConfig::default(),
    };
    if let Some(limit) = overrides.max_rejects {
        config.max_rejects = limit;
    }
    match overrides.search_px {
        Some(0) => config.reencode_crops = false,
        Some(px) => (config.search_px, config.reencode_crops) = (px, true),
        None => {}
    }
    if let Some(compression) = overrides.buffer_compression {
        config.buffer_compression = compression;
    }
    config.fast_decode |= overrides.fast_decode;
    if config.decoder == BuildConfig::default().decoder {
        jpeg::decoder().clone_into(&mut config.decoder);
    }
    check(&config).map_err(fail)?;
    Ok(config)
}

/// Checks every value; the message names the key, its value and what is allowed.
///
/// # Errors
/// A sentence about the first value that is not allowed.
pub fn check(config: &BuildConfig) -> Result<(), String> {
    let c = config;
    let within = |key: &str, value: u64, low: u64, high: u64| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(format!("{key} = {value} must be between {low} and {high}"))
        }
    };
    if c.pairs.is_some() {
        return Err("pairs is written by `ingest pairs`, it cannot be asked for here".to_owned());
    }
    within("exemplar_px", c.exemplar_px.into(), 8, MAX_PX.into())?;
    within("template_px", c.template_px.into(), c.exemplar_px.into(), MAX_PX.into())?;
    within("search_px", c.search_px.into(), c.template_px.into(), MAX_PX.into())?;
    within("jpeg_quality", c.jpeg_quality.into(), 1, 100)?;
    within("rows_per_batch", c.rows_per_batch.into(), 1, 65_536)?;
    within("shard_bytes", c.shard_bytes, 1, 1 << 40)?;
    for (key, value, high) in [
        ("context_amount", c.context_amount, 10.0),
        ("min_aspect", c.min_aspect, 1.0),
        ("min_area", c.min_area, 1.0),
        ("max_area", c.max_area, 1.0),
        ("min_side", c.min_side, 65_535.0),
    ] {
        if !(0.0..=high).contains(&value) {
            return Err(format!("{key} = {value} must be between 0 and {high}"));
        }
    }
    if c.min_area > c.max_area {
        return Err(format!("min_area = {} must not exceed max_area = {}", c.min_area, c.max_area));
    }
    within("min_track_rows", c.min_track_rows.into(), 1, u32::MAX.into())?;
    if !(0.1..=10.0).contains(&c.frame_aspect) {
        return Err(format!("frame_aspect = {} must be between 0.1 and 10", c.frame_aspect));
    }
    if c.fast_decode && !jpeg::can_shrink() {
        return Err("fast_decode needs libjpeg-turbo: build this program with --features turbo".to_owned());
    }
    let ours = jpeg::decoder();
    if c.decoder != ours {
        return Err(format!("decoder = {:?} is not in this program, which decodes with {ours:?}", c.decoder));
    }
    Ok(())
}

/// blake3 of the configuration, hexadecimal. `max_rejects` decides only when to give up, never the bytes, and is
/// left out.
#[must_use]
pub fn hash(config: &BuildConfig) -> String {
    shards::derive::config_hash(config)
}

/// The keys in which two configurations differ, with both values: `search_px 352 there, 432 asked for`.
#[must_use]
pub fn differences(there: &BuildConfig, asked: &BuildConfig) -> Vec<String> {
    let (Ok(serde_json::Value::Object(there)), Ok(serde_json::Value::Object(asked))) =
        (serde_json::to_value(there), serde_json::to_value(asked))
    else {
        return Vec::new();
    };
    asked
        .iter()
        .filter(|(key, _)| key.as_str() != "max_rejects")
        .filter_map(|(key, want)| {
            let have = there.get(key)?;
            (have != want).then(|| format!("{key} is {have} there, {want} asked for"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_text(text: &str) -> Result<BuildConfig, IngestError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("build.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path), &Overrides::default())
    }

    #[test]
    fn flags_override_the_file_and_the_file_the_defaults() {
        let overrides = Overrides { max_rejects: Some(7), search_px: Some(432), ..Overrides::default() };
        let config = load(None, &overrides).unwrap();
        assert_eq!((config.max_rejects, config.search_px, config.reencode_crops), (7, 432, true));
        let keep = load(None, &Overrides { search_px: Some(0), ..Overrides::default() }).unwrap();
        assert_eq!((keep.search_px, keep.reencode_crops), (352, false));
        assert_eq!(from_text("seed = 9\njpeg_quality = 80").unwrap().seed, 9);
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, needle) in [
            ("sead = 9", "sead"),
            ("jpeg_quality = 0", "jpeg_quality = 0"),
            ("template_px = 100", "template_px = 100"),
            ("search_px = 100", "search_px = 100"),
            ("context_amount = nan", "context_amount"),
            ("min_area = 0.5\nmax_area = 0.1", "min_area"),
            ("decoder = \"other\"", "zune-jpeg"),
            ("seed = ", "seed"),
        ] {
            let error = from_text(text).unwrap_err();
            assert_eq!(error.exit_code(), schemas::exit::USAGE);
            assert!(error.to_string().contains(needle), "{text}: {error}");
        }
        let missing = load(Some(Path::new("no/such.toml")), &Overrides::default()).unwrap_err();
        assert!(missing.to_string().contains("no/such.toml"), "{missing}");
    }

    #[test]
    fn the_hash_follows_what_decides_bytes_only() {
        let base = BuildConfig::default();
        let patient = BuildConfig { max_rejects: 1, ..base.clone() };
        let other = BuildConfig { seed: 1, ..base.clone() };
        assert_eq!(hash(&base), hash(&patient));
        assert_ne!(hash(&base), hash(&other));
        assert_eq!(differences(&base, &other), ["seed is 0 there, 1 asked for"]);
        assert!(differences(&base, &patient).is_empty());
    }
}
