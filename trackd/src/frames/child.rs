//! Child processes that decode or encode: limited, killed with this program, watched, and always waited for.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Address space of a decoder, bytes.
const MEMORY: u64 = 6 << 30;
/// Processor time of a decoder, seconds.
const CPU_SECONDS: u64 = 24 * 3600;
/// Files a decoder may hold open.
const FILES: u64 = 256;
/// Lines of messages that are kept.
const LOG_LINES: usize = 20;
/// Longest line of a message that is kept, bytes.
const LOG_LINE: u64 = 500;

/// What a child may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Read files and write to its pipes only.
    Read,
    /// Also write files.
    Write,
}

/// Sets limits that hold from the child's first instruction: memory, processor time, open files, no core file, no
/// network where the system allows it; the child dies when the thread that started it ends.
pub fn limit(command: &mut Command, may: May) {
    let parent = std::process::id();
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec and calls only async-signal-safe system calls (prctl,
    // getppid, setrlimit, unshare); it allocates nothing and touches no lock.
    unsafe {
        command.pre_exec(move || {
            // Without the privilege for a network of its own, a user namespace gives it. Where both are refused, the
            // protocol whitelist still keeps ffmpeg off the network. This comes first: it undoes the next line.
            if libc::unshare(libc::CLONE_NEWNET) != 0 {
                libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET);
            }
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            let set = |what, value: u64| {
                let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
                // A limit that is already lower cannot be raised and stays; that is fine.
                libc::setrlimit(what, &raw const limit);
            };
            set(libc::RLIMIT_AS, MEMORY);
            set(libc::RLIMIT_CPU, CPU_SECONDS);
            set(libc::RLIMIT_NOFILE, FILES);
            set(libc::RLIMIT_CORE, 0);
            if may == May::Read {
                set(libc::RLIMIT_FSIZE, 0);
            }
            Ok(())
        });
    }
}

/// The last lines a child wrote to its standard error, drained by a thread of its own.
#[derive(Debug)]
pub struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Drains `stream` until its end.
    pub fn drain(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let thread = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while let Ok(1..) = stream.by_ref().take(LOG_LINE).read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line).trim_end().escape_default().to_string();
                line.clear();
                if !text.is_empty() {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() == LOG_LINES {
                        kept.pop_front();
                    }
                    kept.push_back(text);
                }
            }
        });
        Self { lines, thread: Some(thread) }
    }

    /// Everything kept so far.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The last line, which usually says what was wrong.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread only copies lines; it has nothing to report.
            drop(thread.join());
        }
    }
}

/// A running child and its messages; killed with its process group and waited for when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// What it says.
    pub log: Log,
}

impl Running {
    /// Takes over a child whose standard error is a pipe.
    #[must_use]
    pub fn new(mut child: Child) -> Self {
        let log = match child.stderr.take() {
            Some(stderr) => Log::drain(stderr),
            None => Log::drain(io::empty()),
        };
        Self { child, log }
    }

    /// The child, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ends the child and everything it started.
    pub fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = self.child.id() as libc::pid_t;
            // SAFETY: kill takes plain numbers; the group is that of a child that has not been waited for, so its
            // number cannot have been given to another process.
            unsafe {
                libc::kill(-group, libc::SIGKILL);
            }
        }
    }

    /// Waits for the child's end and for its last message.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.log.join();
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        // Nothing can be done about a child that cannot be waited for.
        drop(self.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        limit(&mut command, May::Read);
        Running::new(command.spawn().unwrap())
    }

    #[test]
    fn messages_are_kept_up_to_the_last_lines() {
        let mut child = shell("i=0; while [ $i -lt 50 ]; do echo line $i >&2; i=$((i+1)); done; exit 3");
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(child.log.last().unwrap(), "line 49");
        assert_eq!(child.log.text().lines().count(), LOG_LINES);
    }

    #[test]
    fn dropping_kills_the_whole_group() {
        let started = Instant::now();
        drop(shell("sleep 60 & sleep 60"));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn there_is_no_network_where_the_system_allows_it() {
        let may = |arguments: &[&str]| {
            let tried = Command::new("unshare").args(arguments).arg("true").stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let mut child = shell("readlink /proc/self/ns/net >&2");
        child.wait().unwrap();
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let apart = child.log.text() != ours.to_string_lossy();
        assert!(apart || !(may(&["--net"]) || may(&["--user", "--net"])), "{}", child.log.text());
    }

    #[test]
    fn limits_hold() {
        let mut child = shell("ulimit -f >&2; ulimit -c >&2; ulimit -n >&2");
        child.wait().unwrap();
        assert_eq!(child.log.text(), format!("0\n0\n{FILES}"));
    }
}
