//! Which layout a folder has, and which sequences a data set holds.

use std::path::{Path, PathBuf};

use super::files::{entries, inside, optional_text};
use super::workspace::data_folder;
use super::{Layout, lasot};
use crate::error::Error;

/// The layout of a sequence folder, or of the sequences in a data set folder or workspace.
pub fn detect_layout(path: &Path) -> Result<Layout, Error> {
    if let Some(layout) = sequence_layout(path)? {
        return Ok(layout);
    }
    let path = &data_folder(path)?;
    let folders = listed(path)?.map_or_else(|| sub_folders(path), Ok)?;
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        if let Some(layout) = sequence_layout(folder)? {
            return Ok(layout);
        }
    }
    // LaSOT has a folder of sequences per class.
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for inner in sub_folders(folder)? {
            if sequence_layout(&inner)? == Some(Layout::Lasot) {
                return Ok(Layout::Lasot);
            }
        }
    }
    Err(Error::UnknownLayout { path: path.to_owned() })
}

/// The sequence folders of a data set or workspace in order: those that `list.txt` names, else every sub-folder with
/// ground truth; `path` itself if it is a sequence.
pub fn list_sequences(path: &Path, layout: Layout) -> Result<Vec<PathBuf>, Error> {
    if sequence_layout(path)?.is_some() {
        return Ok(vec![path.to_owned()]);
    }
    let path = &data_folder(path)?;
    let folders = match listed(path)? {
        Some(folders) => {
            if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
                return Err(Error::Format {
                    path: path.join("list.txt"),
                    reason: format!("it names {}, which is not a folder", missing.display()),
                });
            }
            folders
        }
        None => {
            let mut folders = Vec::new();
            for folder in sub_folders(path)? {
                // GOT-10k without its labels looks like VOT.
                let found = sequence_layout(&folder)?;
                if found == Some(layout) || (layout == Layout::Got10k && found == Some(Layout::Vot)) {
                    folders.push(folder);
                } else if layout == Layout::Lasot && found.is_none() {
                    for inner in sub_folders(&folder)? {
                        if sequence_layout(&inner)? == Some(layout) {
                            folders.push(inner);
                        }
                    }
                }
            }
            folders
        }
    };
    if folders.is_empty() {
        return Err(Error::NoSequences { path: path.to_owned() });
    }
    Ok(folders)
}

/// The layout of a single sequence folder, `None` if it is not one.
fn sequence_layout(path: &Path) -> Result<Option<Layout>, Error> {
    let names: Vec<String> = entries(path)?.into_iter().filter(|(_, folder)| !folder).map(|(name, _)| name).collect();
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let like = |start: &str| names.iter().any(|name| name.starts_with(start) && name.ends_with(".txt"));
    Ok(if like("groundtruth_rect") {
        Some(Layout::Otb)
    } else if has(lasot::MARK) && has("groundtruth.txt") {
        Some(Layout::Lasot)
    } else if ["absence.label", "cover.label", "meta_info.ini"].into_iter().any(has) {
        Some(Layout::Got10k)
    } else if has("sequence") || has("groundtruth.txt") || like("groundtruth_") {
        Some(Layout::Vot)
    } else {
        None
    })
}

/// The folders that `list.txt` names, if there is such a file.
fn listed(path: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    let list = path.join("list.txt");
    let Some(content) = optional_text(&list)? else { return Ok(None) };
    let names = content.lines().map(str::trim).filter(|line| !line.is_empty());
    names.map(|name| inside(path, name, &list)).collect::<Result<_, _>>().map(Some)
}

fn sub_folders(path: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(entries(path)?.into_iter().filter(|(_, folder)| *folder).map(|(name, _)| path.join(name)).collect())
}
