//! What the process tests share: the program, a tiny model with random weights, small inputs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers outside of test functions")]

use schemas::model::{ModelConfig, TrunkConfig};
use shards::image::Rgb;
use shards::jpeg::encode;
use siamrpn::device::device;
use siamrpn::net::SiamRpn;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything in these tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test, quiet and without surprises from the environment.
pub fn trackd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trackd"));
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// Runs the program to its end: exit code, standard output, standard error.
pub fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = trackd().args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A model small enough to track dozens of frames in a moment.
pub fn model(folder: &Path) -> String {
    let config = ModelConfig { trunk: TrunkConfig { widths: [4, 4, 8, 8, 8] }, ..ModelConfig::default() };
    let net = SiamRpn::new(&config, 7, &device("cpu").unwrap()).unwrap();
    let path = folder.join("tiny.safetensors");
    siamrpn::model::save(&path, &config, &net, &BTreeMap::new()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// One of the bundled files.
pub fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/data").join(name)
}

/// The JPEG bytes of frame `i` of a small made-up video: a bright square that moves on grey noise.
pub fn picture(i: usize) -> Vec<u8> {
    let (w, h) = (160, 120);
    let mut frame = Rgb::filled(w, h, [90, 90, 90]);
    for y in 0..h {
        for x in 0..w {
            let left = 40 + i % 60;
            let inside = (left..left + 30).contains(&x) && (30..60).contains(&y);
            let v = if inside { 230 } else { 60 + ((x * 31 + y * 17) % 23) as u8 * 3 };
            frame.data[3 * (y * w + x)..][..3].fill(v);
        }
    }
    encode(&frame, 90).unwrap()
}

/// A sequence of `count` frames with ground truth.
pub fn sequence(folder: &Path, count: usize) {
    let color = folder.join("color");
    fs::create_dir_all(&color).unwrap();
    let truth: String = (0..count).map(|i| format!("{},30,30,30\n", 40 + i % 60)).collect();
    fs::write(folder.join("groundtruth.txt"), truth).unwrap();
    let file = |i: usize| color.join(format!("{:08}.jpg", i + 1));
    for i in 0..count.min(60) {
        fs::write(file(i), picture(i)).unwrap();
    }
    for i in 60..count {
        fs::hard_link(file(i % 60), file(i)).unwrap();
    }
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map(|d| d.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// A daemon with its folders; killed when dropped.
pub struct Daemon {
    pub root: tempfile::TempDir,
    pub inbox: PathBuf,
    pub outbox: PathBuf,
    model: String,
    child: Option<Child>,
}

impl Daemon {
    /// Folders and a model; nothing runs yet.
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// The same in a folder of its own within `place`.
    pub fn within(place: &Path) -> Self {
        let root = tempfile::tempdir_in(place).unwrap();
        let (inbox, outbox) = (root.path().join("in"), root.path().join("out"));
        fs::create_dir_all(&inbox).unwrap();
        let model = model(root.path());
        Self { root, inbox, outbox, model, child: None }
    }

    /// Starts the daemon with a short settling time.
    pub fn start(&mut self) {
        self.start_with(&[], &[]);
    }

    /// The same with more arguments and variables.
    pub fn start_with(&mut self, args: &[&str], variables: &[(&str, &str)]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.root.path().join("log")).unwrap();
        let mut command = trackd();
        command.args(["watch", "--model", &self.model, "--settle", "0.4", "--decoder", "builtin"]);
        command.arg("--inbox").arg(&self.inbox).arg("--outbox").arg(&self.outbox);
        command.args(args).envs(variables.iter().copied());
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Its process, while it runs.
    pub fn id(&mut self) -> Option<u32> {
        let child = self.child.as_mut()?;
        if child.try_wait().unwrap().is_some() { None } else { Some(child.id()) }
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the daemon to end and answers its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("sh").args(["-c", &format!("kill {}", child.id())]).status().unwrap().success());
        child.wait().unwrap().code()
    }

    /// A command about this daemon's outbox: exit code and JSON answer.
    pub fn ask(&self, args: &[&str]) -> (i32, serde_json::Value) {
        let outbox = self.outbox.to_str().unwrap();
        let (code, out, err) = run(&[args, &["--outbox", outbox, "--json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|_| serde_json::json!(err)))
    }

    /// Waits until the job `name` is done.
    pub fn wait_done(&self, name: &str) -> PathBuf {
        let folder = self.outbox.join("done").join(name);
        self.wait(name, || folder.join("result.json").exists());
        folder
    }

    /// Waits until `what` holds; what the daemon said is shown if it never does.
    pub fn wait(&self, name: &str, what: impl Fn() -> bool) {
        let started = Instant::now();
        while !what() {
            let waited = started.elapsed();
            assert!(waited < PATIENCE, "waited {waited:?} for {name}; the daemon's log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the daemon said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    /// How many jobs are in a state.
    pub fn count(&self, state: &str) -> u64 {
        let (code, answer) = self.ask(&["status"]);
        if code == 0 { answer["jobs"][state].as_u64().unwrap() } else { 0 }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
