//! Workspaces of the official toolkits: a folder with `sequences/` in it, and in the Python toolkit a `config.yaml`.

use std::path::{Path, PathBuf};

use super::files::{folder_name, optional_text, properties};
use crate::error::Error;

/// The folder with the data set: that of a workspace is its `sequences/` (or what `config.yaml` names), any other is its own.
pub(super) fn data_folder(path: &Path) -> Result<PathBuf, Error> {
    if let Some(config) = config(path)? {
        return Ok(path.join(config.get("sequences").map_or("sequences", |name| unquoted(name))));
    }
    let inner = path.join("sequences");
    let workspace = !path.join("list.txt").exists() && inner.join("list.txt").is_file();
    Ok(if workspace { inner } else { path.to_owned() })
}

/// What the data set of a folder is called, to find the rules of a VOT challenge by: a workspace's stack, for example
/// `vot2016/rgb`, also if `path` is the `sequences` folder in it; else the folder's own name.
///
/// # Errors
/// [`Error::Io`] when the folder or its `config.yaml` cannot be read.
pub fn dataset_name(path: &Path) -> Result<String, Error> {
    for place in [Some(path), path.parent()].into_iter().flatten() {
        let Some(config) = config(place)? else { continue };
        if let Some(stack) = config.get("stack").filter(|stack| !stack.is_empty() && data_of(place, path)) {
            return Ok(unquoted(stack).to_owned());
        }
    }
    folder_name(path)
}

/// Whether `path` is the workspace `place` or its data set.
fn data_of(place: &Path, path: &Path) -> bool {
    place == path || data_folder(place).is_ok_and(|data| data == path)
}

fn config(path: &Path) -> Result<Option<std::collections::BTreeMap<String, String>>, Error> {
    let content = optional_text(&path.join("config.yaml"))?;
    // Only keys of the first level; a list or a table below one leaves its value empty.
    Ok(content.map(|text| {
        let first_level: Vec<&str> = text.lines().filter(|line| !line.starts_with([' ', '-'])).collect();
        properties(&first_level.join("\n"))
    }))
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}
