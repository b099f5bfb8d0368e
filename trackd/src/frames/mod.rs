//! Frames of whatever can be tracked: a video file (decoded by a child process) or image files, one at a time, under
//! limits.

pub mod archive;
pub mod child;
pub mod colour;
pub mod folder;
pub mod h264;
pub mod ppm;
pub mod sniff;
pub mod task;
pub mod video;

use crate::input::{Input, Source};
use folder::Pictures;
use shards::image::Rgb;
use sniff::Container;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use video::{Decoders, Video};

/// What an input may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Largest number of pixels of a frame.
    pub max_pixels: u64,
    /// Largest number of frames.
    pub max_frames: u64,
    /// Longest time without a frame.
    pub stall: Duration,
    /// Share of frames a video may lack of those its index states.
    pub missing: f64,
    /// Most bytes of an input; `None` = any.
    pub bytes: Option<u64>,
    /// Longest time to track it; `None` = any.
    pub job: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&schemas::watch::WatchConfig::default())
    }
}

impl From<&schemas::watch::WatchConfig> for Limits {
    fn from(config: &schemas::watch::WatchConfig) -> Self {
        Self {
            max_pixels: config.max_pixels,
            max_frames: config.max_frames,
            stall: Duration::from_secs_f64(config.stall_s),
            missing: config.missing_frames,
            bytes: (config.max_input_mb > 0).then(|| config.max_input_mb.saturating_mul(1 << 20)),
            job: (config.max_job_s > 0.0).then(|| Duration::from_secs_f64(config.max_job_s)),
        }
    }
}

/// Why there are no (more) frames.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An image file is damaged.
    #[error("frame {path}: {reason}", path = path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is no video.
    #[error("{path} is not a video this program knows; give it mp4, mov, avi, mkv, webm, mpeg or ogg, or a tar or zip of frames", path = path.display())]
    NotVideo {
        /// The file.
        path: PathBuf,
    },
    /// An archive that cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No frames at all.
    #[error("{path} has no frames: {reason}", path = path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        reason: &'static str,
    },
    /// There is nothing to decode with.
    #[error("no decoder: {0}")]
    NoDecoder(String),
    /// The format needs ffmpeg.
    #[error("{path} is {container}, which needs ffmpeg: install it, or convert the video to H.264 in mp4", path = path.display())]
    NeedsFfmpeg {
        /// The file.
        path: PathBuf,
        /// Its container.
        container: &'static str,
    },
    /// The decoder gave up.
    #[error("{path} cannot be decoded: {reason}", path = path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
        /// Its last messages.
        log: String,
    },
    /// The decoder gave no frame for too long.
    #[error("{path}: no frame after frame {frame} for {seconds} s; the decoder was stopped", path = path.display())]
    Stalled {
        /// The file.
        path: PathBuf,
        /// Frames that came.
        frame: u64,
        /// Seconds waited.
        seconds: f64,
    },
    /// Frames are missing at the end or in between.
    #[error(
        "{path} is truncated or damaged: {found} of {expected} frames could be decoded; copy it again, or repair it",
        path = path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Frames its index states.
        expected: u64,
        /// Frames that came.
        found: u64,
        /// The decoder's last messages.
        log: String,
    },
    /// A frame is larger than allowed.
    #[error("{path}: a frame of {width}x{height} px is larger than the limit of {max_pixels} pixels", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Largest number of pixels.
        max_pixels: u64,
    },
    /// More frames than allowed.
    #[error("{path} has more than {max_frames} frames; raise max_frames, or cut it", path = path.display())]
    TooMany {
        /// The file or folder.
        path: PathBuf,
        /// Largest number of frames.
        max_frames: u64,
    },
    /// Frames of different sizes.
    #[error("{path}: frame {frame} is {found:?} px, the frames before it {expected:?}; all must have one size", path = path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The frame, from 0.
        frame: u64,
        /// Width and height before.
        expected: (usize, usize),
        /// Width and height of this frame.
        found: (usize, usize),
    },
}

impl FrameError {
    /// Short machine-readable reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "unreadable-input",
            Self::Image { .. } => "damaged-image",
            Self::NotVideo { .. } => "not-a-video",
            Self::Archive { .. } => "bad-archive",
            Self::Empty { .. } => "empty-video",
            Self::NoDecoder(_) => "no-decoder",
            Self::NeedsFfmpeg { .. } => "needs-ffmpeg",
            Self::Decode { .. } => "undecodable-video",
            Self::Stalled { .. } => "decoder-stalled",
            Self::Truncated { .. } => "truncated-video",
            Self::TooLarge { .. } => "frame-too-large",
            Self::TooMany { .. } => "too-many-frames",
            Self::Size { .. } => "mixed-frame-sizes",
        }
    }

    /// The decoder's messages that belong to this error.
    #[must_use]
    pub fn log(&self) -> &str {
        match self {
            Self::Decode { log, .. } | Self::Truncated { log, .. } => log,
            _ => "",
        }
    }
}

/// What decodes image files.
const IMAGES: &str = "zune-jpeg";

/// Frames one after the other.
#[derive(Debug)]
pub struct Frames {
    path: PathBuf,
    kind: Kind,
    limits: Limits,
    count: u64,
    size: Option<(usize, usize)>,
    over: bool,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    Files(Pictures),
    Video { video: Box<Video>, stated: Option<u64>, decoder: &'static str },
}

impl Frames {
    /// Opens an input. A decoder child dies with the thread that calls this.
    ///
    /// # Errors
    /// [`FrameError`] when the input is empty, is no video, or nothing here can decode it.
    pub fn open(input: &Input, decoders: &Decoders, limits: &Limits) -> Result<Self, FrameError> {
        let path = input.path.clone();
        let kind = match &input.source {
            Source::Files(files) if files.is_empty() => {
                return Err(FrameError::Empty { path, reason: "there is no .jpg or .png file in it" });
            }
            Source::Files(files) => Kind::Files(Pictures::new(&path, files.clone(), limits.max_pixels)),
            Source::Archive(0) => {
                return Err(FrameError::Empty { path, reason: "there is no .jpg or .png picture in the archive" });
            }
            Source::Archive(frames) => Kind::Video {
                video: Box::new(Video::open_archive(&path, decoders, limits)?),
                stated: Some(*frames),
                decoder: IMAGES,
            },
            Source::Video => {
                let found = sniff::container(&path).map_err(|source| FrameError::Io { path: path.clone(), source })?;
                let stated = match found {
                    Container::Empty => return Err(FrameError::Empty { path, reason: "the file has no bytes" }),
                    Container::Unknown | Container::Archive => return Err(FrameError::NotVideo { path }),
                    Container::Other(container) if decoders.ffmpeg.is_none() => {
                        return Err(FrameError::NeedsFfmpeg { path, container });
                    }
                    Container::Other(_) => None,
                    Container::IsoMedia => video::stated_frames(&path, decoders)?,
                };
                let video = Box::new(Video::open(&path, decoders, limits)?);
                Kind::Video { video, stated, decoder: decoders.name() }
            }
        };
        Ok(Self { path, kind, limits: *limits, count: 0, size: None, over: false, warnings: Vec::new() })
    }

    /// What decodes the frames.
    #[must_use]
    pub fn decoder(&self) -> &'static str {
        match &self.kind {
            Kind::Files(_) => IMAGES,
            Kind::Video { decoder, .. } => decoder,
        }
    }

    /// Number of frames, where it is known beforehand.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        match &self.kind {
            Kind::Files(files) => Some(files.count),
            Kind::Video { stated, .. } => *stated,
        }
    }

    /// Things worth knowing that did not stop the frames; complete after the last frame.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn read(&mut self) -> Result<Option<Rgb>, FrameError> {
        let frame = match &mut self.kind {
            Kind::Files(files) => files.read_next()?,
            Kind::Video { video, .. } => video.next(self.count)?,
        };
        let Some(frame) = frame else {
            self.check_count()?;
            return Ok(None);
        };
        if self.count >= self.limits.max_frames {
            return Err(FrameError::TooMany { path: self.path.clone(), max_frames: self.limits.max_frames });
        }
        let found = (frame.width, frame.height);
        let expected = *self.size.get_or_insert(found);
        if expected != found {
            return Err(FrameError::Size { path: self.path.clone(), frame: self.count, expected, found });
        }
        self.count += 1;
        Ok(Some(frame))
    }

    /// Compares the frames that came with those the index states.
    fn check_count(&mut self) -> Result<(), FrameError> {
        let Kind::Video { video, stated: Some(expected), .. } = &self.kind else { return Ok(()) };
        let (expected, found) = (*expected, self.count);
        if found == expected {
            return Ok(());
        }
        if expected.abs_diff(found) as f64 > self.limits.missing * expected as f64 {
            return Err(FrameError::Truncated { path: self.path.clone(), expected, found, log: video.log() });
        }
        self.warnings.push(format!("{found} of {expected} frames could be decoded"));
        Ok(())
    }
}

impl Iterator for Frames {
    type Item = Result<Rgb, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.read().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::jpeg::encode;
    use std::path::Path;

    fn own() -> Decoders {
        Decoders { ffmpeg: None, own: PathBuf::from("/bin/false") }
    }

    fn folder(sizes: &[(usize, usize)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (i, (w, h)) in sizes.iter().enumerate() {
            let bytes = encode(&Rgb::filled(*w, *h, [i as u8 * 20, 100, 50]), 90).unwrap();
            std::fs::write(folder.path().join(format!("{i}.jpg")), bytes).unwrap();
        }
        folder
    }

    fn all(path: &Path, limits: Limits) -> Vec<Result<Rgb, FrameError>> {
        Frames::open(&Input::open(path, &own()).unwrap(), &own(), &limits).unwrap().collect()
    }

    #[test]
    fn images_come_in_order_and_end() {
        let folder = folder(&[(32, 16); 12]);
        let frames = all(folder.path(), Limits::default());
        assert_eq!(frames.len(), 12);
        for (i, frame) in frames.into_iter().enumerate() {
            assert!(frame.unwrap().pixel(3, 3)[0].abs_diff(i as u8 * 20) < 8);
        }
    }

    #[test]
    fn sizes_and_limits_are_kept() {
        let last = |path: &Path, limits| all(path, limits).pop().unwrap().unwrap_err();
        let mixed = folder(&[(32, 16), (32, 16), (16, 32)]);
        assert!(matches!(last(mixed.path(), Limits::default()), FrameError::Size { frame: 2, .. }));
        let few = Limits { max_frames: 2, ..Limits::default() };
        assert!(matches!(last(folder(&[(8, 8); 3]).path(), few), FrameError::TooMany { max_frames: 2, .. }));
        let small = Limits { max_pixels: 63, ..Limits::default() };
        let e = last(folder(&[(8, 8)]).path(), small);
        assert!(matches!(e, FrameError::TooLarge { .. }) && e.to_string().contains("0.jpg"), "{e}");
    }

    #[test]
    fn what_is_no_video_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Frames::open(&Input::open(&path, &own()).unwrap(), &own(), &Limits::default()).unwrap_err()
        };
        assert!(matches!(open("a.pdf", b"%PDF-1.7"), FrameError::NotVideo { .. }));
        assert!(matches!(open("a.mp4", b""), FrameError::Empty { .. }));
        assert!(matches!(open("a.avi", b"RIFF....AVI LIST"), FrameError::NeedsFfmpeg { container: "avi", .. }));
        let empty = folder.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let e = Frames::open(&Input::open(&empty, &own()).unwrap(), &own(), &Limits::default()).unwrap_err();
        assert!(matches!(e, FrameError::Empty { .. }), "{e}");
    }
}
