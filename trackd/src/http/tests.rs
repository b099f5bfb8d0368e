//! The HTTP side over a real socket.

use super::*;
use crate::job::Job;
use crate::run::Step;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;

const TOKEN: &str = "a token that is long";

/// A journal, an outbox and a server over them.
fn step(frames: u64, expected: Option<u64>) -> Step {
    Step { frames, expected, decode_s: 0.001, track_s: 0.004, write_s: 0.0 }
}

struct Site {
    root: tempfile::TempDir,
    address: SocketAddr,
    live: Arc<Live>,
    _runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new(token: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let live = Arc::new(Live::default());
        let app = App {
            live: Arc::clone(&live),
            state: place("state"),
            inbox: place("in"),
            outbox: place("out"),
            decoders: Decoders::detect(crate::frames::video::Choice::Builtin).unwrap(),
            limits: Limits::default(),
            engine: "burn-flex".to_owned(),
            model: "0123456789abcdef".to_owned(),
        };
        drop(Journal::open(&app.state).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let door = runtime.block_on(Door::open(address, token.map(str::to_owned))).unwrap();
        let address = door.address().unwrap();
        runtime.spawn(door.serve(app));
        Self { root, address, live, _runtime: runtime }
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.root.path().join("state")).unwrap()
    }

    fn add(&self, id: &str, name: &str, state: JobState) -> Entry {
        let mut journal = self.journal();
        let mut entry = journal.add(id, OsStr::new(&format!("{name}.mp4")), name, Job::new()).unwrap();
        entry.job.state = state;
        journal.store(&entry).unwrap();
        entry
    }

    /// Status and the whole answer to a request.
    fn ask(&self, request: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let host = self.address.to_string();
        let mut all: BTreeMap<&str, &str> = BTreeMap::from([("Host", host.as_str()), ("Connection", "close")]);
        all.extend(headers.iter().copied());
        let lines: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        write!(stream, "{request} HTTP/1.1\r\n{lines}Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), &[], "")
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.ask(&format!("POST {path}"), &kind, body)
    }
}

#[test]
fn pages_show_jobs_and_nothing_of_a_name_is_markup() {
    let site = Site::new(None);
    let evil = "<script>alert(1)</script>\u{1b}\"'";
    site.add("j1", evil, JobState::Running);
    site.live.start("j1").at(&step(3, Some(9)));
    site.add("j2", "plain", JobState::NeedsInit);
    let mut failed = site.add("j3", "bad", JobState::Failed);
    failed.error = Some(schemas::result::ErrorDoc {
        name: evil.to_owned(),
        job: None,
        stage: "decode".to_owned(),
        code: "undecodable-video".to_owned(),
        message: evil.to_owned(),
        attempts: 3,
        decoder_log: evil.to_owned(),
    });
    site.journal().store(&failed).unwrap();
    for path in ["/", "/job/j1", "/job/j2", "/job/j3"] {
        let (status, answer) = site.get(path);
        assert_eq!(status, 200, "{answer}");
        assert!(!answer.contains("<script>alert") && !answer.contains('\u{1b}'), "{answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    }
    let (_, index) = site.get("/");
    assert!(index.contains("3 of 9 frames") && index.contains("draw the box"), "{index}");
    assert!(index.contains("undecodable-video") && index.contains("/job/j3/retry"), "{index}");
    assert!(site.get("/job/j2").1.contains("draw.js"));
    assert_eq!(site.get("/job/none").0, 404);
    assert_eq!(site.get("/job/plain").0, 404, "by identity only");
}

#[test]
fn requests_are_left_in_the_journal() {
    let site = Site::new(None);
    site.add("j1", "waits", JobState::NeedsInit);
    site.add("j2", "bad", JobState::Failed);
    site.add("j3", "runs", JobState::Running);
    assert_eq!(site.post("/job/j1/init", "x=1&y=2&w=3.5&h=4").0, 303);
    assert_eq!(site.post("/job/j1/init", "x=1&y=2&w=0&h=4").0, 400);
    assert_eq!(site.post("/job/j2/init", "x=1&y=2&w=3&h=4").0, 409);
    assert_eq!(site.post("/job/j2/retry", "").0, 303);
    assert_eq!(site.post("/job/j3/retry", "").0, 409);
    assert_eq!(site.post("/job/j3/cancel", "").0, 303);
    assert_eq!(site.post("/job/j2/cancel", "").0, 409);
    assert_eq!(site.get("/job/j3/cancel").0, 405);
    let all = site.journal().all().unwrap();
    assert_eq!(all[0].given, Some([1.0, 2.0, 3.5, 4.0]));
    assert!(all[1].retry && all[2].job.cancelled && !all[1].job.cancelled);
}

#[test]
fn files_come_from_a_fixed_list_inside_the_outbox() {
    let site = Site::new(None);
    let folder = site.root.path().join("out/done/clip");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("clip_001.txt"), "1\n").unwrap();
    std::fs::write(folder.join("secret"), "secret").unwrap();
    std::fs::write(site.root.path().join("result.json"), "secret").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("eval.json")).unwrap();
    let mut entry = site.add("j1", "clip", JobState::Done);
    entry.result = Some("done/clip".to_owned());
    site.journal().store(&entry).unwrap();
    let (status, answer) = site.get("/job/j1/file/boxes.txt");
    assert!(status == 200 && answer.ends_with("\r\n\r\n1\n"), "{answer}");
    for name in ["secret", "eval.json", "result.json", "..%2Fsecret", "%2e%2e%2f%2e%2e%2fresult.json", "clip_001.txt"] {
        assert_eq!(site.get(&format!("/job/j1/file/{name}")).0, 404, "{name}");
    }
    entry.result = Some("..".to_owned());
    site.journal().store(&entry).unwrap();
    assert_eq!(site.get("/job/j1/file/result.json").0, 404);
}

#[test]
fn the_first_frame_is_shown_while_a_box_is_missing() {
    let site = Site::new(None);
    let clip = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/videos/coin.mp4");
    std::fs::copy(clip, site.root.path().join("in/coin.mp4")).unwrap();
    site.add("j1", "coin", JobState::NeedsInit);
    site.add("j2", "gone", JobState::NeedsInit);
    // The decoder is this program's own file, which is not the test's.
    let (status, answer) = site.get("/job/j1/first.jpg");
    assert!(matches!(status, 200 | 400), "{answer}");
    assert_eq!(site.get("/job/j2/first.jpg").0, 400);
}

#[test]
fn other_sites_and_strangers_are_kept_out() {
    let site = Site::new(None);
    site.add("j1", "runs", JobState::Running);
    assert_eq!(site.ask("GET /", &[("Host", "evil.example")], "").0, 403);
    assert_eq!(site.ask("POST /job/j1/cancel", &[("Origin", "http://evil.example")], "").0, 403);
    assert_eq!(site.ask("POST /job/j1/cancel", &[("Sec-Fetch-Site", "cross-site")], "").0, 403);
    assert!(!site.journal().all().unwrap()[0].job.cancelled);

    let site = Site::new(Some(TOKEN));
    assert_eq!(site.get("/").0, 401);
    assert_eq!(site.get("/metrics").0, 401);
    assert_eq!(site.ask("GET /", &[("Accept", "text/html")], "").0, 303);
    assert_eq!(site.ask("GET /", &[("Authorization", "Bearer wrong token, quite long")], "").0, 401);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(site.ask("GET /", &[("Authorization", &bearer)], "").0, 200);
    assert_eq!(site.post("/login", "token=wrong").0, 401);
    let (status, answer) = site.post("/login", &format!("token={}", TOKEN.replace(' ', "+")));
    assert_eq!(status, 303, "{answer}");
    let cookie = answer.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && !cookie.contains(TOKEN), "{cookie}");
    assert_eq!(site.ask("GET /", &[("Cookie", cookie.split(';').next().unwrap())], "").0, 200);
    assert_eq!(site.get("/healthz").0, 200, "signs of life need no token");
}

#[test]
fn an_open_address_needs_a_good_token() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = |address: &str, token: Option<&str>| {
        runtime.block_on(Door::open(address.parse().unwrap(), token.map(str::to_owned))).err()
    };
    assert!(matches!(open("0.0.0.0:0", None), Some(HttpError::Open(_))));
    assert!(matches!(open("0.0.0.0:0", Some("")), Some(HttpError::Open(_))));
    assert!(matches!(open("0.0.0.0:0", Some("short")), Some(HttpError::Short)));
    assert!(open("0.0.0.0:0", Some(TOKEN)).is_none());
}

#[test]
fn signs_of_life_and_metrics() {
    let site = Site::new(None);
    site.add("j1", "runs", JobState::Running);
    site.live.turn();
    site.live.start("j1").at(&step(5, None));
    site.live.published();
    assert_eq!((site.get("/healthz").0, site.get("/readyz").0), (200, 200));
    let (_, text) = site.get("/metrics");
    for line in [
        "trackd_jobs{state=\"running\"} 1",
        "trackd_jobs_total{result=\"done\"} 1",
        "trackd_frames_total 5",
        "trackd_running_jobs 1",
        "# TYPE trackd_disk_free_bytes gauge",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
    site.live.paused.store(true, Ordering::Relaxed);
    let (status, answer) = site.get("/readyz");
    assert!(status == 503 && answer.contains("disk"), "{answer}");
    assert!(site.get("/").1.contains("nearly full"));
}
