//! Annotated pictures: the result in green (red where lost), the ground truth in white, the score as a bar.

use super::JobError;
use crate::frames::child::{May, Running, limit};
use crate::frames::ppm;
use crate::publish::write_synced;
use shards::image::Rgb;
use shards::jpeg::encode;
use siamrpn::tracker::Output;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use vot::Rect;

pub(super) const FOUND: [u8; 3] = [40, 220, 60];
pub(super) const LOST: [u8; 3] = [230, 40, 40];
const TRUTH: [u8; 3] = [255, 255, 255];
const QUALITY: u8 = 88;

/// A frame, the boxes found in it, and the ground truth.
type Page = (Rgb, Vec<Output>, Option<Rect>);

/// Frames that may wait to be written.
const WAITING: usize = 4;

/// Writes annotated pictures as a video where ffmpeg is there, else as JPEG frames, on a thread of its own.
pub struct Overlay {
    pages: Option<SyncSender<Page>>,
    writer: Option<JoinHandle<Result<Done, JobError>>>,
}

/// Files and warnings.
type Done = (Vec<String>, Vec<String>);

impl Overlay {
    /// Nothing is written before the first picture.
    pub fn new(out: &Path, ffmpeg: Option<&Path>) -> Self {
        let (pages, waiting) = sync_channel::<Page>(WAITING);
        let (out, ffmpeg) = (out.to_owned(), ffmpeg.map(Path::to_owned));
        let writer = std::thread::spawn(move || {
            // An encoder dies with the thread that starts it.
            let mut sink = Sink::new(&out, ffmpeg.as_deref());
            for (frame, found, truth) in waiting {
                sink.add(frame, &found, truth)?;
            }
            let mut warnings = Vec::new();
            Ok((sink.finish(&mut warnings)?, warnings))
        });
        Self { pages: Some(pages), writer: Some(writer) }
    }

    /// Draws on a frame and writes it, soon.
    pub fn add(&mut self, frame: Rgb, found: &[Output], truth: Option<Rect>) -> Result<(), JobError> {
        let gone = self.pages.as_ref().is_none_or(|pages| pages.send((frame, found.to_vec(), truth)).is_err());
        if gone { self.end().map(|_| ()) } else { Ok(()) }
    }

    /// Completes the files and names them.
    pub fn finish(mut self, warnings: &mut Vec<String>) -> Result<Vec<String>, JobError> {
        let (files, said) = self.end()?;
        warnings.extend(said);
        Ok(files)
    }

    fn end(&mut self) -> Result<Done, JobError> {
        self.pages = None;
        let ended = self.writer.take().map(JoinHandle::join);
        ended.unwrap_or(Ok(Ok(Done::default()))).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // A run that failed: what was written goes with its folder, once nobody writes there any more.
        drop(self.end());
    }
}

/// Where the pictures go.
enum Sink {
    Video { child: Running, pipe: Option<BufWriter<ChildStdin>>, file: PathBuf },
    Frames { folder: PathBuf, count: usize },
}

impl Sink {
    fn new(out: &Path, ffmpeg: Option<&Path>) -> Self {
        let frames = || Self::Frames { folder: out.join("overlay"), count: 0 };
        let Some(ffmpeg) = ffmpeg else { return frames() };
        let file = out.join("overlay.mp4");
        match start(ffmpeg, &file) {
            Ok(mut child) => {
                let pipe = child.child().stdin.take().map(BufWriter::new);
                Self::Video { child, pipe, file }
            }
            Err(_) => frames(),
        }
    }

    fn add(&mut self, mut frame: Rgb, found: &[Output], truth: Option<Rect>) -> Result<(), JobError> {
        if let Some(Rect { x, y, width, height }) = truth {
            draw(&mut frame, [x, y, width, height], TRUTH);
        }
        for output in found {
            let colour = if output.lost { LOST } else { FOUND };
            draw(&mut frame, output.rect, colour);
            let [x, y, w, _] = output.rect;
            fill(&mut frame, [x, y - 6.0, w * output.score.clamp(0.0, 1.0), 3.0], colour);
        }
        match self {
            Self::Video { pipe, .. } => {
                // A broken encoder is reported at the end, with its message.
                if let Some(out) = pipe
                    && ppm::write_frame(out, frame.width, frame.height, &frame.data).is_err()
                {
                    *pipe = None;
                }
                Ok(())
            }
            Self::Frames { folder, count } => {
                std::fs::create_dir_all(&folder).map_err(JobError::output(folder))?;
                let path = folder.join(format!("{:08}.jpg", *count));
                *count += 1;
                let bytes = encode(&frame, QUALITY).map_err(io::Error::other).map_err(JobError::output(&path))?;
                write_synced(&path, &bytes).map_err(JobError::output(&path))
            }
        }
    }

    fn finish(self, warnings: &mut Vec<String>) -> Result<Vec<String>, JobError> {
        match self {
            Self::Video { mut child, pipe, file } => {
                let whole = pipe.is_some();
                drop(pipe);
                let status = child.wait().map_err(JobError::output(&file))?;
                if whole && status.success() {
                    let sync = std::fs::File::open(&file).and_then(|f| f.sync_all());
                    sync.map_err(JobError::output(&file))?;
                    return Ok(vec!["overlay.mp4".to_owned()]);
                }
                let said = child.log.last().unwrap_or_else(|| status.to_string());
                warnings.push(format!("overlay.mp4 could not be made: {said}"));
                drop(std::fs::remove_file(&file));
                Ok(Vec::new())
            }
            Self::Frames { count: 0, .. } => Ok(Vec::new()),
            Self::Frames { folder, .. } => {
                crate::publish::sync_folder(&folder).map_err(JobError::output(&folder))?;
                Ok(vec!["overlay/".to_owned()])
            }
        }
    }
}

fn start(ffmpeg: &Path, file: &Path) -> io::Result<Running> {
    let listed = Command::new(ffmpeg).args(["-hide_banner", "-encoders"]).stderr(Stdio::null()).output()?;
    let x264 = String::from_utf8_lossy(&listed.stdout).contains(" libx264 ");
    let codec: &[&str] = if x264 { &["libx264", "-preset", "veryfast", "-crf", "23"] } else { &["mpeg4", "-q:v", "4"] };
    let mut command = Command::new(ffmpeg);
    command
        .args(["-v", "error", "-y", "-f", "image2pipe", "-framerate", "25", "-c:v", "ppm", "-i", "-"])
        .args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-c:v"])
        .args(codec)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    limit(&mut command, May::Write);
    Ok(Running::new(command.spawn()?))
}

/// A frame of 2 px around a box, clipped to the picture.
pub(super) fn draw(picture: &mut Rgb, [x, y, w, h]: [f64; 4], colour: [u8; 3]) {
    let line = 2.0;
    fill(picture, [x, y, w, line], colour);
    fill(picture, [x, y + h - line, w, line], colour);
    fill(picture, [x, y, line, h], colour);
    fill(picture, [x + w - line, y, line, h], colour);
}

fn fill(picture: &mut Rgb, [x, y, w, h]: [f64; 4], colour: [u8; 3]) {
    let range = |from: f64, length: f64, limit: usize| {
        let clip = |v: f64| v.round().clamp(0.0, limit as f64) as usize;
        clip(from)..clip(from + length)
    };
    let width = picture.width;
    let columns = range(x, w, width);
    for row in range(y, h, picture.height) {
        let (from, to) = (3 * (row * width + columns.start), 3 * (row * width + columns.end));
        if let Some(pixels) = picture.data.get_mut(from..to.max(from)) {
            for pixel in pixels.chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_drawn_and_clipped() {
        let mut picture = Rgb::filled(20, 10, [0, 0, 0]);
        draw(&mut picture, [5.0, 2.0, 8.0, 6.0], FOUND);
        assert_eq!(picture.pixel(5, 2), FOUND);
        assert_eq!(picture.pixel(12, 7), FOUND);
        assert_eq!(picture.pixel(8, 4), [0, 0, 0]);
        assert_eq!(picture.pixel(4, 4), [0, 0, 0]);
        for odd in [[-5.0, -5.0, 100.0, 100.0], [f64::NAN; 4], [30.0, 30.0, 5.0, 5.0], [1e300, 0.0, -1e300, 3.0]] {
            draw(&mut picture, odd, LOST);
        }
    }

    #[test]
    fn without_ffmpeg_frames_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut overlay = Overlay::new(folder.path(), None);
        let output = Output { rect: [2.0, 2.0, 8.0, 8.0], score: 0.5, lost: false };
        for _ in 0..3 {
            overlay.add(Rgb::filled(32, 24, [9, 9, 9]), &[output], Some(Rect::new(1.0, 1.0, 5.0, 5.0))).unwrap();
        }
        let mut warnings = Vec::new();
        assert_eq!(overlay.finish(&mut warnings).unwrap(), ["overlay/"]);
        assert!(warnings.is_empty());
        assert_eq!(std::fs::read_dir(folder.path().join("overlay")).unwrap().count(), 3);
    }

    #[test]
    fn a_broken_encoder_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let mut overlay = Overlay::new(folder.path(), Some(Path::new("/bin/false")));
        for _ in 0..50 {
            overlay.add(Rgb::filled(320, 240, [9, 9, 9]), &[], None).unwrap();
        }
        let mut warnings = Vec::new();
        assert_eq!(overlay.finish(&mut warnings).unwrap(), Vec::<String>::new());
        assert!(warnings[0].contains("overlay.mp4"), "{warnings:?}");
    }
}
