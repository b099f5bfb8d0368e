//! What lies in the inbox. The directory is the truth; events only say when to look.

mod archives;

pub use archives::Archives;

use crate::frames::folder::images;
use crate::frames::sniff::{self, Container};
use crate::frames::video::Decoders;
use crate::input::{Input, Source, sidecars, stem};
use crate::job::Look;
use schemas::result::InitDoc;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// The daemon's own folder inside the inbox: claimed inputs lie in `.trackd/ID/`.
pub const WORK: &str = ".trackd";
/// A folder in the inbox whose entries are inputs that are started before all others.
pub const URGENT: &str = "urgent";
/// Added to the priority of what lies in [`URGENT`].
const URGENCY: i32 = 1_000_000;
/// Ending of a file beside an input, `clip.mp4.ready`, that says that the input is complete.
const READY: &str = ".ready";
/// Longest `init.json` that is looked at for its priority, bytes.
const MAX_INIT: u64 = 1 << 20;
/// Entries of a dropped folder that are looked at.
const MAX_ENTRIES: usize = 2_000_000;

/// Whether a name is never an input: hidden files, unfinished downloads and copies, litter of other programs.
#[must_use]
pub fn ignored(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let lower = name.to_ascii_lowercase();
    let starts = [".", "~syncthing~", "_unpack_"];
    let ends = ["~", ".part", ".tmp", ".crdownload", ".filepart", ".partial", ".download", ".aria2", ".swp"];
    let names = ["@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin", "system volume information"];
    starts.iter().any(|s| lower.starts_with(s))
        || ends.iter().any(|e| lower.ends_with(e))
        || names.contains(&lower.as_str())
}

/// Whether a file goes with an input and is none itself.
fn companion(name: &OsStr) -> bool {
    let ending = Path::new(name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    matches!(ending.as_deref(), Some("txt" | "json" | "ready"))
}

/// Names of the inputs in the inbox (`urgent/NAME` of those in [`URGENT`]), oldest first. `avoid` are folders that are
/// never inputs (the outbox).
///
/// # Errors
/// When the inbox cannot be read.
pub fn inputs(inbox: &Path, avoid: &[PathBuf]) -> io::Result<Vec<OsString>> {
    let mut found = Vec::new();
    let mut list = |folder: &Path, within: &Path| -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            // An entry may vanish between being listed and being looked at.
            let Ok(metadata) = entry.metadata() else { continue };
            let kind = metadata.file_type();
            let usable = kind.is_dir() || (kind.is_file() && !companion(&name));
            let name = within.join(name);
            if usable && !ignored(&entry.file_name()) && name != Path::new(URGENT) && !avoid.contains(&entry.path()) {
                found.push((metadata.mtime(), metadata.mtime_nsec(), name.into_os_string()));
            }
        }
        Ok(())
    };
    list(inbox, Path::new(""))?;
    let urgent = inbox.join(URGENT);
    if fs::symlink_metadata(&urgent).is_ok_and(|m| m.is_dir()) {
        list(&urgent, Path::new(URGENT))?;
    }
    found.sort_by(|a, b| {
        let natural = |n: &OsString| n.to_string_lossy().into_owned();
        (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| crate::frames::folder::natural(&natural(&a.2), &natural(&b.2)))
    });
    Ok(found.into_iter().map(|(_, _, name)| name).collect())
}

/// An input and those of its companions that are there.
///
/// # Errors
/// When the input cannot be looked at.
pub fn members(inbox: &Path, file: &OsStr) -> io::Result<Vec<PathBuf>> {
    let path = inbox.join(file);
    let folder = fs::symlink_metadata(&path)?.is_dir();
    let place = path.parent().unwrap_or(inbox);
    let beside = sidecars(&stem(&path, folder)).map(|name| place.join(name));
    let marker = ready_marker(&path);
    let mut members = vec![path];
    members.extend(beside.into_iter().chain([marker]).filter(|p| fs::symlink_metadata(p).is_ok_and(|m| m.is_file())));
    Ok(members)
}

fn ready_marker(input: &Path) -> PathBuf {
    let mut name = input.as_os_str().to_owned();
    name.push(READY);
    name.into()
}

/// Looks at an input; `None` when it is no longer there. `given` = somebody has said what to track.
///
/// # Errors
/// When it cannot be looked at for another reason.
pub fn look(inbox: &Path, file: &OsStr, given: bool, archives: &Archives) -> io::Result<Option<Look>> {
    match look_at(inbox, file, given, archives) {
        Ok(look) => Ok(Some(look)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(inbox.join(file)) {
            // Something inside moved away while we looked: it is being changed.
            Ok(_) => Ok(Some(Look { writer: true, ..Look::default() })),
            Err(_) => Ok(None),
        },
        Err(e) => Err(e),
    }
}

fn look_at(inbox: &Path, file: &OsStr, given: bool, archives: &Archives) -> io::Result<Look> {
    let path = inbox.join(file);
    let mut tree = Tree::default();
    let members = members(inbox, file)?;
    for member in &members {
        tree.add(member)?;
    }
    let fingerprint = tree.hash.finish();
    let writer = tree.files.iter().any(|f| being_written(f));
    let ready = members.contains(&ready_marker(&path));
    let boxed = members.len() > 1 + usize::from(ready);
    let folder = fs::symlink_metadata(&path)?.is_dir();
    let whole = if folder { holds_frames(&path) } else { sniff::whole(&path)? };
    let kind = if folder { None } else { Some(sniff::container(&path)?) };
    let startable = match kind {
        _ if given || writer => Some(given),
        // A run will say what is wrong.
        _ if tree.odd => Some(true),
        Some(Container::Unknown | Container::Empty) => Some(true),
        Some(Container::Archive) if !boxed => archives.startable(fingerprint, &path),
        Some(Container::Archive) => Some(true),
        _ => Some(startable(&path, archives.decoders())),
    };
    // Until it is known what an archive holds, it counts as being worked on.
    let writer = writer || startable.is_none();
    let (startable, priority) = (startable.unwrap_or(false), priority(file, &members));
    Ok(Look { fingerprint, writer, whole, startable, ready, priority })
}

/// What the folder and an `init.json` beside or inside say of the input's priority.
fn priority(file: &OsStr, members: &[PathBuf]) -> i32 {
    let urgency = if Path::new(file).starts_with(URGENT) { URGENCY } else { 0 };
    let inside = members.first().map(|input| input.join("init.json"));
    let read = |path: &PathBuf| {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let small = file.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_INIT);
        // One that cannot be read is named by the run.
        small.then(|| serde_json::from_reader::<_, InitDoc>(BufReader::new(file)).ok())?
    };
    let given = members.iter().skip(1).chain(&inside).find_map(read).map_or(0, |doc| doc.priority);
    given.clamp(-URGENCY / 2, URGENCY / 2) + urgency
}

/// Whether there are pictures in it, in its first sequence, or in a list.
fn holds_frames(folder: &Path) -> bool {
    let pictures = |folder: &Path| {
        [folder.to_owned(), folder.join("color"), folder.join("img")]
            .iter()
            .any(|f| images(f).is_ok_and(|found| !found.is_empty()))
    };
    pictures(folder)
        || folder.join("frames_color.txt").is_file()
        || fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| pictures(&e.path()))))
}

/// Whether starting it makes sense: there is a box, or something is wrong that a run will name.
fn startable(path: &Path, decoders: &Decoders) -> bool {
    match Input::open(path, decoders) {
        Ok(input) => {
            let empty = match &input.source {
                Source::Files(files) => files.is_empty(),
                Source::Archive(frames) => *frames == 0,
                Source::Video => false,
            };
            empty || !input.starts().is_ok_and(|starts| starts.is_empty())
        }
        Err(_) => true,
    }
}

/// Files, and names, sizes and times of a tree in one number; links are not followed.
#[derive(Default)]
struct Tree {
    hash: std::hash::DefaultHasher,
    files: Vec<PathBuf>,
    /// There is something that is neither file nor folder.
    odd: bool,
}

impl Tree {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let metadata: Metadata = fs::symlink_metadata(path)?;
        self.hash.write(path.as_os_str().as_bytes());
        self.hash.write_u64(metadata.len());
        self.hash.write_i64(metadata.mtime());
        self.hash.write_i64(metadata.mtime_nsec());
        self.hash.write_u64(metadata.ino());
        if metadata.is_dir() {
            let mut names: Vec<OsString> =
                fs::read_dir(path)?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
            names.sort();
            for name in names {
                self.add(&path.join(name))?;
            }
        } else if metadata.is_file() {
            if self.files.len() >= MAX_ENTRIES {
                return Err(io::Error::other(format!("{} holds more than {MAX_ENTRIES} files", path.display())));
            }
            self.files.push(path.to_owned());
        } else {
            self.odd = true;
        }
        Ok(())
    }
}

/// Whether any process has the file open for writing, as far as the system tells (local file systems, own files):
/// a read lease is refused while there is a writer.
fn being_written(path: &Path) -> bool {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        // SAFETY: SIG_IGN is a valid disposition. A writer that comes while the lease is held makes the system send
        // SIGIO, which would end the program.
        unsafe {
            libc::signal(libc::SIGIO, libc::SIG_IGN);
        }
    });
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
    refused(&file)
}

fn refused(file: &File) -> bool {
    let descriptor = file.as_raw_fd();
    // SAFETY: fcntl on a descriptor that `file` keeps open, with integer arguments only.
    let refused = unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) } != 0
        && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
    if !refused {
        // SAFETY: as above; gives the lease back, and does nothing where there is none.
        unsafe {
            libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK);
        }
    }
    refused
}

/// Moves an input and its companions into the work folder `.trackd/ID/`. `false` when the input is gone: another
/// daemon was faster. May be repeated after a crash.
///
/// # Errors
/// When it cannot be moved.
pub fn claim(inbox: &Path, file: &OsStr, id: &str) -> io::Result<bool> {
    let work = inbox.join(WORK).join(id);
    let members = match members(inbox, file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(claimed(inbox, file, id).symlink_metadata().is_ok());
        }
        other => other?,
    };
    fs::create_dir_all(&work)?;
    for (i, member) in members.iter().enumerate() {
        let Some(name) = member.file_name() else { continue };
        match fs::rename(member, work.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && i == 0 => {
                drop(fs::remove_dir(&work));
                return Ok(false);
            }
            // A companion that went away is no loss: the box was read before, or the run will say it is missing.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    crate::publish::sync_folder(&work)?;
    crate::publish::sync_folder(&inbox.join(WORK))?;
    crate::publish::sync_folder(inbox.join(file).parent().unwrap_or(inbox))?;
    Ok(true)
}

/// Where an input lies once it is claimed.
#[must_use]
pub fn claimed(inbox: &Path, file: &OsStr, id: &str) -> PathBuf {
    inbox.join(WORK).join(id).join(Path::new(file).file_name().unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn litter_is_ignored() {
        let ignored_names = [
            ".hidden",
            ".DS_Store",
            "clip.mp4.part",
            "a.tmp",
            "a.crdownload",
            "a.filepart",
            "a.mp4~",
            ".syncthing.a.mp4",
            "~syncthing~a.mp4",
            ".~tmp~",
            ".stfolder",
            "@eaDir",
            "Thumbs.db",
            "desktop.ini",
            "_UNPACK_a",
            ".trackd",
        ];
        for name in ignored_names {
            assert!(ignored(OsStr::new(name)), "{name}");
        }
        for name in ["clip.mp4", "part.mp4", "tmp", "seq", "UNPACK"] {
            assert!(!ignored(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn only_inputs_are_listed_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path();
        let start = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
        for (i, name) in ["b.mp4", "a.mp4", "a.txt", "a.init.json", "c.mp4.part"].into_iter().enumerate() {
            let file = File::create(inbox.join(name)).unwrap();
            file.set_modified(start + std::time::Duration::from_secs(i as u64)).unwrap();
        }
        fs::create_dir(inbox.join("out")).unwrap();
        fs::create_dir(inbox.join("seq")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", inbox.join("e.mp4")).unwrap();
        assert_eq!(inputs(inbox, &[inbox.join("out")]).unwrap(), ["b.mp4", "a.mp4", "seq"]);
        let names: Vec<_> = members(inbox, OsStr::new("a.mp4")).unwrap();
        assert_eq!(names, [inbox.join("a.mp4"), inbox.join("a.init.json"), inbox.join("a.txt")]);
    }

    #[test]
    fn what_is_urgent_has_a_higher_priority() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path();
        fs::create_dir_all(inbox.join("urgent/seq")).unwrap();
        fs::write(inbox.join("urgent/seq/1.jpg"), "x").unwrap();
        for (name, text) in [
            ("urgent/b.mp4", ""),
            ("urgent/b.txt", "1,2,3,4"),
            ("a.mp4", ""),
            ("a.init.json", r#"{"targets":[],"priority":7}"#),
            ("c.mp4", ""),
        ] {
            fs::write(inbox.join(name), text).unwrap();
        }
        let mut found = inputs(inbox, &[]).unwrap();
        found.sort();
        assert_eq!(found, ["a.mp4", "c.mp4", "urgent/b.mp4", "urgent/seq"]);
        let archives = Archives::new(Decoders { ffmpeg: None, own: PathBuf::from("/bin/false") });
        let priority = |name: &str| look(inbox, OsStr::new(name), false, &archives).unwrap().unwrap().priority;
        assert_eq!(["a.mp4", "c.mp4", "urgent/b.mp4"].map(priority), [7, 0, URGENCY]);
        assert!(claim(inbox, OsStr::new("urgent/b.mp4"), "j").unwrap());
        assert!(claim(inbox, OsStr::new("urgent/b.mp4"), "j").unwrap());
        assert!(claimed(inbox, OsStr::new("urgent/b.mp4"), "j").is_file());
        assert!(inbox.join(".trackd/j/b.txt").is_file());
    }

    #[test]
    fn a_look_sees_writers_changes_and_boxes() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path();
        let file = OsStr::new("a.avi");
        let archives = Archives::new(Decoders { ffmpeg: None, own: PathBuf::from("/bin/false") });
        let see = |given| look(inbox, file, given, &archives).unwrap().unwrap();
        assert_eq!(look(inbox, file, false, &archives).unwrap(), None);
        let mut writer = File::create(inbox.join(file)).unwrap();
        writer.write_all(b"RIFF....AVI LIST").unwrap();
        let first = see(false);
        assert!(first.writer && !first.startable);
        drop(writer);
        let second = see(false);
        assert!(!second.writer && second.whole && !second.startable);
        assert!(see(true).startable);
        fs::write(inbox.join("a.txt"), "1,2,3,4").unwrap();
        let third = see(false);
        assert!(third.startable && third.fingerprint != second.fingerprint);
        assert_eq!(see(false), third);
        assert!(!third.ready);
        fs::write(inbox.join("a.avi.ready"), "").unwrap();
        assert!(see(false).ready);
        assert_eq!(inputs(inbox, &[]).unwrap(), ["a.avi"]);
        fs::write(inbox.join(file), "notes").unwrap();
        fs::remove_file(inbox.join("a.txt")).unwrap();
        assert!(see(false).startable, "a run will say that this is no video");
        fs::write(inbox.join(file), "").unwrap();
        assert!(!see(false).whole);
    }

    #[test]
    fn only_one_claimer_wins() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path();
        for round in 0..20 {
            let name = format!("{round}.mp4");
            fs::write(inbox.join(&name), "x").unwrap();
            fs::write(inbox.join(format!("{round}.txt")), "1,2,3,4").unwrap();
            let won: usize = std::thread::scope(|scope| {
                let claimers: Vec<_> = (0..4)
                    .map(|i| {
                        let name = &name;
                        scope.spawn(move || claim(inbox, OsStr::new(name), &format!("{round}-{i}")).unwrap())
                    })
                    .collect();
                claimers.into_iter().map(|c| usize::from(c.join().unwrap())).sum()
            });
            assert_eq!(won, 1);
        }
        assert!(inputs(inbox, &[]).unwrap().is_empty());
    }

    #[test]
    fn a_claim_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path();
        fs::write(inbox.join("a.mp4"), "x").unwrap();
        assert!(claim(inbox, OsStr::new("a.mp4"), "j").unwrap());
        assert!(claim(inbox, OsStr::new("a.mp4"), "j").unwrap());
        assert!(!claim(inbox, OsStr::new("b.mp4"), "j").unwrap());
    }
}
