//! COCO: `annotations/instances_<split>.json` and pictures in `<split>/` or `images/<split>/`.

use super::super::json::{self, FourNumbers};
use super::{Annotated, Layout, Picture, reject};
use crate::error::IngestError;
use crate::source::{SourceSpec, plain_path};
use schemas::build::BuildConfig;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct List {
    images: Vec<Image>,
    annotations: Vec<Instance>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    #[serde(default)]
    width: Option<f64>,
    #[serde(default)]
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Instance {
    id: u64,
    image_id: u64,
    category_id: u64,
    /// x, y, width, height, px.
    #[serde(default = "no_box")]
    bbox: FourNumbers,
    #[serde(default)]
    iscrowd: Option<u8>,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

fn no_box() -> FourNumbers {
    FourNumbers(None)
}

/// Reads every list, if this is COCO.
///
/// # Errors
/// When a list cannot be read or its pictures' folder is missing.
pub(super) fn open(spec: &SourceSpec, dataset: &str, config: &BuildConfig) -> Result<Option<Layout>, IngestError> {
    let Some((root, lists)) = lists(spec)? else { return Ok(None) };
    let mut layout = Layout { root, classes: Vec::new(), pictures: Vec::new(), rejects: Vec::new() };
    let mut classes: BTreeMap<String, u32> = BTreeMap::new();
    for (split, path) in lists {
        let folders = [split.clone(), format!("images/{split}")];
        let folder = folders.into_iter().find(|folder| layout.root.join(folder).is_dir()).ok_or_else(|| {
            spec.wrong(format!(
                "the pictures of {} must lie in {split} or images/{split} beside annotations",
                path.display()
            ))
        })?;
        let list: List = json::read(spec, &path)?;
        let mut names: HashMap<u64, u32> = HashMap::new();
        for category in list.categories {
            let name: String = category.name.chars().filter(|c| !c.is_control()).take(64).collect();
            let next = u32::try_from(classes.len()).unwrap_or(u32::MAX);
            names.insert(category.id, *classes.entry(name).or_insert(next));
        }
        let mut places: HashMap<u64, usize> = HashMap::new();
        let first = layout.pictures.len();
        for image in list.images {
            let shown: String = image.file_name.chars().filter(|c| !c.is_control()).take(80).collect();
            if !plain_path(&image.file_name) {
                let detail = "its file_name is no path below its folder".to_owned();
                layout.rejects.push(reject(dataset, "", "", &shown, "unsafe-path", detail));
                continue;
            }
            let stem = image.file_name.rsplit_once('.').map_or(image.file_name.as_str(), |(stem, _)| stem);
            places.insert(image.id, layout.pictures.len());
            layout.pictures.push(Picture {
                name: format!("{split}/{stem}"),
                path: format!("{folder}/{}", image.file_name),
                size: image.width.zip(image.height).map(|(w, h)| [w, h]).filter(|[w, h]| *w > 0.0 && *h > 0.0),
                ..Picture::default()
            });
        }
        let mut instances = list.annotations;
        instances.sort_by_key(|instance| (instance.image_id, instance.id));
        for instance in instances {
            let place = places.get(&instance.image_id).filter(|place| **place >= first);
            let Some(picture) = place.and_then(|place| layout.pictures.get_mut(*place)) else {
                let detail = format!("it belongs to image {}, which the list does not have", instance.image_id);
                let path = format!("{}:{}", path.file_name().unwrap_or_default().to_string_lossy(), instance.id);
                layout.rejects.push(reject(dataset, "", &instance.id.to_string(), &path, "unknown-image", detail));
                continue;
            };
            let [x, y, w, h] = instance.bbox.0.unwrap_or([f64::NAN; 4]);
            let annotated = Annotated {
                track: instance.id.to_string(),
                class: names.get(&instance.category_id).copied().unwrap_or(u32::MAX),
                flags: 0,
                crowd: instance.iscrowd.unwrap_or(0) != 0,
                edges: [x, y, x + w, y + h],
            };
            picture.take(dataset, annotated, config);
        }
    }
    let mut named: Vec<(u32, String)> = classes.into_iter().map(|(name, number)| (number, name)).collect();
    named.sort_unstable();
    layout.classes = named.into_iter().map(|(_, name)| name).collect();
    Ok(Some(layout))
}

/// Names of splits, each with its list.
type Lists = Vec<(String, PathBuf)>;

/// The folder that holds pictures and annotations, and every list with the name of its split.
fn lists(spec: &SourceSpec) -> Result<Option<(PathBuf, Lists)>, IngestError> {
    let split = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let split = name.strip_prefix("instances_")?.strip_suffix(".json")?;
        plain_path(split).then(|| split.to_owned())
    };
    if spec.path.is_file() {
        let Some(split) = split(&spec.path) else {
            return Err(spec.wrong("a COCO list must be named instances_SPLIT.json, to tell where its pictures are"));
        };
        let full = spec.path.canonicalize().map_err(IngestError::io("open source", &spec.path))?;
        let parent = full.parent().unwrap_or(Path::new("/"));
        let root = if parent.ends_with("annotations") { parent.parent().unwrap_or(parent) } else { parent };
        return Ok(Some((root.to_owned(), vec![(split, spec.path.clone())])));
    }
    let folder = spec.path.join("annotations");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Some(split) = split(&path).filter(|_| path.is_file()) {
            found.push((split, path));
        }
    }
    found.sort();
    Ok((!found.is_empty()).then(|| (spec.path.clone(), found)))
}
