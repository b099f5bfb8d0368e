//! Frames of a video file, decoded by a child process.

use super::archive::Listing;
use super::child::{May, Running, limit};
use super::ppm::{PpmError, read_frame};
use super::task::Task;
use super::{FrameError, Limits};
use shards::image::Rgb;
use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Frames decoded ahead.
const AHEAD: usize = 4;
/// Longest time to read a video's index.
const INDEX_PATIENCE: Duration = Duration::from_secs(30);
/// Longest index number, bytes.
const INDEX_ANSWER: u64 = 100;
/// Longest time to read through an archive.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(3600);
/// Longest list of what an archive holds, bytes.
const ARCHIVE_ANSWER: u64 = 64 << 20;
/// Containers ffmpeg may open.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,ogg,mjpeg,h264,hevc,ivf";

/// What decodes videos on this machine.
#[derive(Debug, Clone)]
pub struct Decoders {
    /// ffmpeg, if it is installed and wanted.
    pub ffmpeg: Option<PathBuf>,
    /// This program, which is also its own H.264 decoder.
    pub own: PathBuf,
}

/// Which decoder to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Choice {
    /// ffmpeg where it is installed, otherwise the built-in one.
    #[default]
    Auto,
    /// ffmpeg.
    Ffmpeg,
    /// The built-in one: H.264 in mp4.
    Builtin,
}

impl Decoders {
    /// Looks around. The built-in decoder is the running program itself.
    ///
    /// # Errors
    /// [`FrameError::NoDecoder`] when ffmpeg is asked for and not on the `PATH`, or this program cannot find itself.
    pub fn detect(choice: Choice) -> Result<Self, FrameError> {
        let own = std::env::current_exe().map_err(|e| FrameError::NoDecoder(format!("this program's file: {e}")))?;
        let ffmpeg = match choice {
            Choice::Builtin => None,
            Choice::Auto => on_path("ffmpeg"),
            Choice::Ffmpeg => Some(on_path("ffmpeg").ok_or_else(|| {
                FrameError::NoDecoder("ffmpeg is not on the PATH: install it, or use --decoder builtin".to_owned())
            })?),
        };
        Ok(Self { ffmpeg, own })
    }

    /// Name of the decoder that will be used.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.ffmpeg.is_some() { "ffmpeg" } else { "openh264" }
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|file| {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    })
}

/// Arguments of ffmpeg that decode `file` to PPM on its standard output.
fn ffmpeg_arguments(file: &Path, max_pixels: u64) -> Vec<OsString> {
    let pixels = max_pixels.to_string();
    let mut input = OsString::from("file:");
    input.push(file);
    let before = ["-nostdin", "-v", "error", "-format_whitelist", FORMATS, "-protocol_whitelist", "file,pipe"];
    let after = "-map 0:v:0 -an -sn -dn -fps_mode passthrough -f image2pipe -pix_fmt rgb24 -c:v ppm -";
    let mut arguments: Vec<OsString> = before.map(OsString::from).into();
    arguments.extend(["-max_pixels", &pixels, "-threads", "2", "-i"].map(OsString::from));
    arguments.push(input);
    arguments.extend(after.split(' ').map(OsString::from));
    arguments
}

/// A video or archive that is being decoded.
#[derive(Debug)]
pub struct Video {
    path: PathBuf,
    frames: Receiver<Result<Rgb, PpmError>>,
    child: Running,
    /// Longest wait for the first frame, and for every later one.
    first: Duration,
    stall: Duration,
    done: bool,
}

impl Video {
    /// Starts decoding. The decoder is killed when the thread that calls this ends.
    ///
    /// # Errors
    /// [`FrameError::NoDecoder`] when the child cannot be started.
    pub fn open(path: &Path, decoders: &Decoders, limits: &Limits) -> Result<Self, FrameError> {
        let command = match &decoders.ffmpeg {
            Some(ffmpeg) => {
                let mut command = Command::new(ffmpeg);
                command.args(ffmpeg_arguments(path, limits.max_pixels));
                command
            }
            None => Task::H264.command(&decoders.own, path),
        };
        Self::of(command, path, limits, limits.stall)
    }

    /// Starts decoding an archive, as [`Self::open`].
    ///
    /// # Errors
    /// [`FrameError::NoDecoder`] when the child cannot be started.
    pub fn open_archive(path: &Path, decoders: &Decoders, limits: &Limits) -> Result<Self, FrameError> {
        // Every entry is judged before the first picture is decoded.
        let first = limits.stall.max(ARCHIVE_PATIENCE);
        Self::of(Task::Archive(limits.max_pixels).command(&decoders.own, path), path, limits, first)
    }

    fn of(mut command: Command, path: &Path, limits: &Limits, first: Duration) -> Result<Self, FrameError> {
        let mut child = start(&mut command)?;
        let stdout = child.child().stdout.take();
        let (send, frames) = sync_channel(AHEAD);
        let max_pixels = limits.max_pixels;
        std::thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut stream = BufReader::with_capacity(1 << 20, stdout);
            loop {
                let frame = match read_frame(&mut stream, max_pixels) {
                    Ok(Some(frame)) => Ok(frame),
                    Ok(None) => return,
                    Err(e) => Err(e),
                };
                let last = frame.is_err();
                // The receiver is gone when nobody wants more frames.
                if send.send(frame).is_err() || last {
                    return;
                }
            }
        });
        Ok(Self { path: path.to_owned(), frames, child, first, stall: limits.stall, done: false })
    }

    /// The decoder's last messages.
    #[must_use]
    pub fn log(&self) -> String {
        self.child.log.text()
    }

    /// The next frame, `None` after the last. `count` frames were read before.
    ///
    /// # Errors
    /// [`FrameError`] when the decoder stalls, breaks, or ends without any frame.
    pub fn next(&mut self, count: u64) -> Result<Option<Rgb>, FrameError> {
        if self.done {
            return Ok(None);
        }
        let patience = if count == 0 { self.first } else { self.stall };
        match self.frames.recv_timeout(patience) {
            Ok(Ok(frame)) => Ok(Some(frame)),
            Ok(Err(PpmError::TooLarge { width, height, max_pixels })) => {
                self.done = true;
                Err(FrameError::TooLarge { path: self.path.clone(), width, height, max_pixels })
            }
            Ok(Err(e)) => {
                self.done = true;
                self.child.kill();
                Err(self.broken(e.to_string()))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.done = true;
                self.child.kill();
                Err(FrameError::Stalled { path: self.path.clone(), frame: count, seconds: patience.as_secs_f64() })
            }
            Err(RecvTimeoutError::Disconnected) => self.end(count),
        }
    }

    fn end(&mut self, count: u64) -> Result<Option<Rgb>, FrameError> {
        self.done = true;
        let status = self.child.wait().map_err(|source| FrameError::Io { path: self.path.clone(), source })?;
        if count == 0 || !status.success() {
            let said = self.child.log.last().unwrap_or_else(|| format!("the decoder ended with {status}"));
            return Err(self.broken(said));
        }
        Ok(None)
    }

    fn broken(&self, reason: String) -> FrameError {
        FrameError::Decode { path: self.path.clone(), reason, log: self.log() }
    }
}

/// Number of frames an mp4's index states, read by a child; `None` when it has no readable index.
///
/// # Errors
/// [`FrameError`] when the child cannot be started.
pub fn stated_frames(path: &Path, decoders: &Decoders) -> Result<Option<u64>, FrameError> {
    let (answer, _) = ask(Task::CountH264, path, decoders, INDEX_PATIENCE, INDEX_ANSWER)?;
    Ok(answer.and_then(|text| text.trim().parse().ok()))
}

/// What an archive holds, read by a child.
///
/// # Errors
/// [`FrameError`] when the child cannot be started, and when the archive is damaged or refused.
pub fn list_archive(path: &Path, decoders: &Decoders) -> Result<Listing, FrameError> {
    let (answer, said) = ask(Task::ListArchive, path, decoders, ARCHIVE_PATIENCE, ARCHIVE_ANSWER)?;
    answer
        .and_then(|text| serde_json::from_str(&text).ok())
        .ok_or_else(|| FrameError::Archive { path: path.to_owned(), reason: said })
}

/// Lets a child answer in one text, and says what it complained of last.
fn ask(
    task: Task,
    path: &Path,
    decoders: &Decoders,
    patience: Duration,
    longest: u64,
) -> Result<(Option<String>, String), FrameError> {
    let mut child = start(&mut task.command(&decoders.own, path))?;
    let stdout = child.child().stdout.take();
    let (send, answer) = sync_channel(1);
    std::thread::spawn(move || {
        let text = stdout.and_then(|s| std::io::read_to_string(std::io::Read::take(s, longest)).ok());
        // Nobody listens any more once the patience has run out.
        drop(send.send(text));
    });
    let Ok(text) = answer.recv_timeout(patience) else {
        return Ok((None, format!("nothing was heard of its reader for {} s", patience.as_secs())));
    };
    let status = child.wait().map_err(|source| FrameError::Io { path: path.to_owned(), source })?;
    let said = child.log.last().unwrap_or_else(|| format!("its reader ended with {status}"));
    Ok((text.filter(|_| status.success()), said))
}

fn start(command: &mut Command) -> Result<Running, FrameError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    limit(command, May::Read);
    let child = command.spawn().map_err(|e| {
        FrameError::NoDecoder(format!("{} cannot be started: {e}", command.get_program().to_string_lossy()))
    })?;
    Ok(Running::new(child))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A decoder that is a shell script; its `$1` is not looked at.
    fn script(folder: &Path, text: &str) -> Decoders {
        let path = folder.join("decoder.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Decoders { ffmpeg: None, own: path }
    }

    fn limits(stall: f64) -> Limits {
        Limits { stall: Duration::from_secs_f64(stall), ..Limits::default() }
    }

    #[test]
    fn frames_arrive_and_the_end_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let decoders = script(folder.path(), "printf 'P6\\n1 1\\n255\\nabcP6\\n1 1\\n255\\ndef'");
        let mut video = Video::open(Path::new("x"), &decoders, &limits(20.0)).unwrap();
        assert_eq!(video.next(0).unwrap().unwrap().data, b"abc");
        assert_eq!(video.next(1).unwrap().unwrap().data, b"def");
        assert!(video.next(2).unwrap().is_none());
        assert!(video.next(2).unwrap().is_none());
    }

    #[test]
    fn a_failing_decoder_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let decoders = script(folder.path(), "echo 'moov atom not found' >&2; exit 1");
        let mut video = Video::open(Path::new("clip.mp4"), &decoders, &limits(20.0)).unwrap();
        let e = video.next(0).unwrap_err().to_string();
        assert!(e.contains("clip.mp4") && e.contains("moov atom not found"), "{e}");
    }

    #[test]
    fn a_stuck_decoder_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let decoders = script(folder.path(), "printf 'P6\\n1 1\\n255\\nabc'; sleep 100");
        let mut video = Video::open(Path::new("clip.mp4"), &decoders, &limits(0.5)).unwrap();
        assert!(video.next(0).unwrap().is_some());
        assert!(matches!(video.next(1), Err(FrameError::Stalled { frame: 1, .. })));
    }

    #[test]
    fn an_archive_is_read_through_before_its_first_frame() {
        let folder = tempfile::tempdir().unwrap();
        let decoders = script(folder.path(), "sleep 1; printf 'P6\\n1 1\\n255\\nabc'; sleep 100");
        let mut archive = Video::open_archive(Path::new("a.tar.gz"), &decoders, &limits(0.3)).unwrap();
        assert!(archive.next(0).unwrap().is_some());
        assert!(matches!(archive.next(1), Err(FrameError::Stalled { frame: 1, .. })));
    }

    #[test]
    fn ffmpeg_gets_no_network_and_no_surprises() {
        let arguments = ffmpeg_arguments(Path::new("-odd name.mp4"), 100);
        let line: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(
            line.join(" "),
            format!(
                "-nostdin -v error -format_whitelist {FORMATS} -protocol_whitelist file,pipe -max_pixels 100 -threads 2 \
                 -i file:-odd name.mp4 -map 0:v:0 -an -sn -dn -fps_mode passthrough -f image2pipe -pix_fmt rgb24 -c:v ppm -"
            )
        );
    }
}
