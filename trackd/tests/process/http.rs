//! The daemon over a real socket, and what it tells systemd.

#![expect(clippy::unwrap_used, reason = "test helpers outside of test functions")]

use crate::support::{Daemon, bundled, json, sequence};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// A daemon that answers on a free port, and the address.
fn served(daemon: &mut Daemon) -> String {
    daemon.start_with(&["--http", "127.0.0.1:0"], &[]);
    let find = |log: &str| log.split("address=").nth(1).and_then(|t| t.split_whitespace().next()).map(str::to_owned);
    daemon.wait("the address", || find(&daemon.log()).is_some());
    find(&daemon.log()).unwrap()
}

/// Sends one request: status code and the rest of the answer.
fn ask(address: &str, first: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let form = "Content-Type: application/x-www-form-urlencoded";
    let text =
        format!("{first} HTTP/1.1\r\n{headers}Connection: close\r\n{form}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn the_page_shows_jobs_and_takes_boxes_and_nothing_else() {
    let mut daemon = Daemon::new();
    let address = served(&mut daemon);
    let host = format!("Host: {address}\r\n");
    let get = |path: &str| ask(&address, &format!("GET {path}"), &host, "");
    daemon.wait("readiness", || get("/readyz").0 == 200 && get("/healthz").0 == 200);
    fs::copy(bundled("videos/bird.mp4"), daemon.inbox.join("<b>bird.mp4")).unwrap();
    sequence(&daemon.inbox.join("seq"), 5);
    daemon.wait_done("seq");
    daemon.wait("a job without a box", || daemon.count("needs_init") == 1);
    let jobs = daemon.ask(&["list"]).1["jobs"].as_array().unwrap().clone();
    let id = |name: &str| jobs.iter().find(|j| j["name"] == name).unwrap()["id"].as_str().unwrap().to_owned();
    let (bird, seq) = (id("<b>bird"), id("seq"));
    let (code, page) = get("/");
    assert_eq!(code, 200);
    assert!(page.contains("&lt;b&gt;bird") && page.contains("draw the box") && !page.contains("<b>bird"), "{page}");
    assert!(page.to_lowercase().contains("content-security-policy: default-src 'none'"), "{page}");
    let (code, frame) = get(&format!("/job/{bird}/first.jpg"));
    assert!(code == 200 && frame.contains("image/jpeg") && frame.contains("JFIF"), "{code}");
    assert!(get(&format!("/job/{seq}/file/result.json")).1.contains("\"frames\": 5"));
    let metrics = get("/metrics").1;
    for line in ["trackd_jobs{state=\"needs_init\"} 1", "trackd_jobs_total{result=\"done\"} 1", "trackd_frames_total 5"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // Nothing that a request says becomes a path.
    for path in ["file/journal.sqlite", "file/..%2f..%2f..%2fetc%2fpasswd", "file/seq_001.txt", "../../etc/passwd"] {
        assert_eq!(get(&format!("/job/{seq}/{path}")).0, 404, "{path}");
    }
    assert_eq!(get("/job/..%2f..%2f/first.jpg").0, 404);
    // Names that others may point here, and forms on other pages.
    assert_eq!(ask(&address, "GET /", "Host: evil.example\r\n", "").0, 403);
    let init = format!("POST /job/{bird}/init");
    let (foreign, own) =
        (format!("{host}Origin: http://evil.example\r\n"), format!("{host}Origin: http://{address}\r\n"));
    let drawn = "x=20&y=20&w=60&h=50";
    assert_eq!(ask(&address, &init, &foreign, drawn).0, 403);
    assert_eq!(ask(&address, &init, &own, "x=1&y=1&w=0&h=5").0, 400);
    assert_eq!(ask(&address, &format!("POST /job/{seq}/retry"), &own, "").0, 409);
    assert_eq!(daemon.count("needs_init"), 1);
    assert_eq!(ask(&address, &init, &own, drawn).0, 303);
    let result = json(&daemon.wait_done("<b>bird").join("result.json"));
    assert_eq!(result["targets"][0]["init"], serde_json::json!([20.0, 20.0, 60.0, 50.0]));
    // A job is cancelled and tried again.
    fs::copy(bundled("videos/bird.mp4"), daemon.inbox.join("again.mp4")).unwrap();
    daemon.wait("a job without a box", || daemon.count("needs_init") == 1);
    let jobs = daemon.ask(&["list"]).1["jobs"].as_array().unwrap().clone();
    let again = jobs.iter().find(|j| j["name"] == "again").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&address, &format!("POST /job/{again}/cancel"), &own, "").0, 303);
    daemon.wait("the failure", || daemon.count("failed") == 1);
    assert!(get("/").1.contains("<td>cancelled: "));
    assert!(get("/metrics").1.contains("trackd_jobs_total{result=\"failed\"} 1"));
    // What a person looks at.
    for picture in ["strip.jpg", "plot.svg"] {
        assert_eq!(get(&format!("/job/{seq}/file/{picture}")).0, 200, "{picture}");
    }
}

#[test]
fn addresses_others_can_reach_are_refused() {
    let mut daemon = Daemon::new();
    daemon.start_with(&["--http", "0.0.0.0:0"], &[]);
    daemon.wait("the refusal", || daemon.log().contains("can be reached from other machines"));
}

#[test]
fn systemd_is_told() {
    let mut daemon = Daemon::new();
    let path = daemon.root.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let n = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..n]).lines().any(|l| l == wanted) {
                return;
            }
        }
    };
    daemon.start_with(&[], &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")]);
    told("READY=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    assert_eq!(daemon.stop(), Some(0));
    told("STOPPING=1");
}
