//! ImageNet DET: `Annotations/DET/<split>/...xml` and `Data/DET/<split>/....JPEG`.

use super::super::xml::{self, Annotation, MAX_XML_BYTES};
use super::{Annotated, Layout, Picture, reject};
use crate::source::SourceSpec;
use rayon::prelude::*;
use schemas::build::BuildConfig;
use schemas::shard::{FLAG_GENERATED, FLAG_OCCLUDED};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use walkdir::WalkDir;

const ANNOTATIONS: &str = "Annotations/DET";

/// Reads every annotation, if this is DET.
pub(super) fn open(spec: &SourceSpec, dataset: &str, config: &BuildConfig) -> Option<Layout> {
    let roots = ["", "ILSVRC2015", "ILSVRC2014", "ILSVRC"].map(|folder| spec.path.join(folder));
    let root = roots.into_iter().find(|root| root.join(ANNOTATIONS).is_dir())?;
    let top = root.join(ANNOTATIONS);
    let files: Vec<String> = WalkDir::new(&top)
        .follow_links(true)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| {
            let inner = entry.path().strip_prefix(&top).ok()?.to_str()?.strip_suffix(".xml")?;
            Some(inner.to_owned())
        })
        .collect();
    let read: Vec<(String, Result<Annotation, String>)> =
        files.into_par_iter().map(|inner| (inner.clone(), read(&top.join(format!("{inner}.xml"))))).collect();
    let mut classes: BTreeMap<String, u32> = BTreeMap::new();
    for object in read.iter().filter_map(|(_, read)| read.as_ref().ok()).flat_map(|read| &read.objects) {
        classes.entry(class(&object.class)).or_default();
    }
    for (number, slot) in (0u32..).zip(classes.values_mut()) {
        *slot = number;
    }
    let mut pictures = Vec::with_capacity(read.len());
    let mut rejects = Vec::new();
    for (inner, annotation) in read {
        let annotation = match annotation {
            Ok(annotation) => annotation,
            Err(detail) => {
                let path = format!("{ANNOTATIONS}/{inner}.xml");
                rejects.push(reject(dataset, &inner, "", &path, "bad-xml", detail));
                continue;
            }
        };
        let path = format!("Data/DET/{inner}.JPEG");
        let mut picture = Picture { name: inner, path, size: annotation.size, ..Picture::default() };
        for (number, object) in annotation.objects.into_iter().enumerate() {
            let [x0, y0, x1, y1] = object.bounds;
            let annotated = Annotated {
                track: format!("{number:02}"),
                class: classes.get(&class(&object.class)).copied().unwrap_or(u32::MAX),
                flags: if object.occluded { FLAG_OCCLUDED } else { 0 }
                    | if object.generated { FLAG_GENERATED } else { 0 },
                crowd: false,
                // Both ends are pixels of the target, so its right edge lies one further.
                edges: [x0, y0, x1 + 1.0, y1 + 1.0],
            };
            picture.take(dataset, annotated, config);
        }
        pictures.push(picture);
    }
    Some(Layout { root, classes: classes.into_keys().collect(), pictures, rejects })
}

fn class(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn read(path: &Path) -> Result<Annotation, String> {
    let fail = |error: std::io::Error| format!("it cannot be read: {error}");
    if path.metadata().map_err(fail)?.len() > MAX_XML_BYTES {
        return Err("it is too large for an annotation".to_owned());
    }
    xml::parse(&fs::read(path).map_err(fail)?)
}
