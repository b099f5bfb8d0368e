//! The pages as HTML. Everything that comes from outside (names, messages) is escaped here.

use super::App;
use crate::job::State;
use crate::journal::Entry;
use shards::card::escape;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Results and failures on the first page.
pub const LATEST: u32 = 50;

pub const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: middle; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
form { display: inline; margin: 0; } button { font: inherit; padding: .1rem .6rem; white-space: nowrap; } td.muted { white-space: nowrap; }
.state { padding: .05rem .5rem; border-radius: .6rem; background: #8883; }
.done { background: #2da44e44; } .failed { background: #cf222e44; } .needs_init { background: #d4a72c66; }
.running { background: #218bff44; } .warn { background: #d4a72c66; padding: .4rem .8rem; }
.muted { opacity: .7; } .wide { overflow-x: auto; } pre { white-space: pre-wrap; }
img { max-width: 100%; } .strip { height: 44px; vertical-align: middle; }
#stage { position: relative; display: inline-block; cursor: crosshair; touch-action: none; }
#stage img { display: block; user-select: none; } #box { display: none; position: absolute; border: 2px solid #2da44e; pointer-events: none; }
input[type=number] { width: 6em; }
";

/// Draws a box on the first frame with the mouse and puts it into the form, in pixels of the frame.
pub const SCRIPT: &str = "\
'use strict';
const stage = document.getElementById('stage'), image = stage.querySelector('img'), box = document.getElementById('box');
const field = name => document.querySelector(`input[name=${name}]`);
let from = null;
const at = event => {
  const frame = image.getBoundingClientRect();
  const clip = v => Math.min(Math.max(v, 0), 1);
  return [clip((event.clientX - frame.left) / frame.width), clip((event.clientY - frame.top) / frame.height)];
};
const show = (x, y, w, h) => {
  Object.assign(box.style, { display: 'block', left: 100 * x + '%', top: 100 * y + '%', width: 100 * w + '%', height: 100 * h + '%' });
};
const draw = event => {
  const to = at(event);
  const [x, y] = [0, 1].map(i => Math.min(from[i], to[i])), [w, h] = [0, 1].map(i => Math.abs(from[i] - to[i]));
  show(x, y, w, h);
  const size = [image.naturalWidth, image.naturalHeight];
  [x, y, w, h].forEach((v, i) => { field('xywh'[i]).value = (v * size[i % 2]).toFixed(1); });
};
stage.addEventListener('pointerdown', event => {
  event.preventDefault(); stage.setPointerCapture(event.pointerId); from = at(event); draw(event);
});
stage.addEventListener('pointermove', event => { if (from) draw(event); });
stage.addEventListener('pointerup', event => { if (from) draw(event); from = null; });
";

fn page(title: &str, refresh: bool, body: &str) -> String {
    let refresh = if refresh { "<meta http-equiv=\"refresh\" content=\"3\">" } else { "" };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{refresh}\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body>\n{body}</body></html>\n",
        shown(title)
    )
}

/// Text from outside on one line, without control characters.
fn shown(text: &str) -> String {
    shown_lines(&text.replace('\n', "\u{fffd}"))
}

/// The same on several lines.
fn shown_lines(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    escape(&plain)
}

fn state(state: State) -> String {
    format!("<span class=\"state {0}\">{0}</span>", state.as_str())
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |t| t.to_string())
}

fn link(entry: &Entry) -> String {
    format!("<a href=\"/job/{}\">{}</a>", escape(&entry.id), shown(&entry.name))
}

fn button(entry: &Entry, what: &str, label: &str) -> String {
    format!("<form method=\"post\" action=\"/job/{}/{what}\"><button>{label}</button></form>", escape(&entry.id))
}

fn note(entry: &Entry) -> String {
    match &entry.error {
        Some(e) if entry.job.state != State::Done => format!("{}: {}", escape(&e.code), shown(&e.message)),
        _ => String::new(),
    }
}

/// The first page.
pub fn index(app: &App, counts: &BTreeMap<&'static str, u64>, open: &[Entry], latest: &[Entry]) -> String {
    let mut body = String::from("<h1>trackd</h1>\n<p class=\"muted\">");
    // Writing into a String cannot fail.
    _ = writeln!(
        body,
        "{} · model {} · inbox {} · outbox {}</p>",
        escape(&app.engine),
        escape(app.model.get(..12).unwrap_or(&app.model)),
        shown(&app.inbox.to_string_lossy()),
        shown(&app.outbox.to_string_lossy())
    );
    if app.live.paused.load(Ordering::Relaxed) {
        body.push_str("<p class=\"warn\">The disk is nearly full: nothing new is started until there is room.</p>\n");
    }
    body.push_str("<p>");
    for state in State::ALL {
        let count = counts.get(state.as_str()).copied().unwrap_or(0);
        if count > 0 {
            _ = write!(body, "<span class=\"state {0}\">{count} {0}</span> ", state.as_str());
        }
    }
    body.push_str("</p>\n<h2>Waiting and running</h2>\n");
    let running = app.live.running();
    let rows: String = open.iter().map(|entry| open_row(entry, running.get(&entry.id).map(|p| &**p))).collect();
    if rows.is_empty() {
        body.push_str("<p class=\"muted\">Nothing. Drop a video into the inbox.</p>\n");
    } else {
        _ = write!(
            body,
            "<div class=\"wide\"><table id=\"open\"><tr><th>Job</th><th>State</th><th>Progress</th><th></th></tr>\n\
             {rows}</table></div>\n"
        );
    }
    body.push_str("<h2>Latest results and failures</h2>\n");
    let rows: String = latest.iter().map(latest_row(app)).collect();
    if rows.is_empty() {
        body.push_str("<p class=\"muted\">None yet.</p>\n");
    } else {
        _ = write!(
            body,
            "<div class=\"wide\"><table id=\"latest\"><tr><th>Job</th><th>State</th><th>When</th><th>What</th><th></th></tr>\n\
             {rows}</table></div>\n"
        );
    }
    page("trackd", true, &body)
}

fn open_row(entry: &Entry, progress: Option<&crate::daemon::live::Progress>) -> String {
    let far = match (entry.job.state, progress) {
        (State::NeedsInit, _) => format!("<a href=\"/job/{}\">draw the box</a>", escape(&entry.id)),
        (_, Some(progress)) => {
            let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
            let frames = number(&progress.frames);
            let bar = |at: u64, of: u64, what: &str| {
                format!("<progress value=\"{at}\" max=\"{of}\"></progress> {what}{at} of {of}")
            };
            match (number(&progress.sequence), number(&progress.expected)) {
                (0, 0) => format!("{frames} frames, {:.1} frames/s", progress.rate()),
                (0, expected) => format!("{} frames, {:.1} frames/s", bar(frames, expected, ""), progress.rate()),
                (sequence, _) => bar(sequence, number(&progress.sequences), "sequence "),
            }
        }
        _ => note(entry),
    };
    let buttons = if entry.job.cancelled { "ending".to_owned() } else { button(entry, "cancel", "cancel") };
    format!("<tr><td>{}</td><td>{}</td><td>{far}</td><td>{buttons}</td></tr>\n", link(entry), state(entry.job.state))
}

fn latest_row(app: &App) -> impl Fn(&Entry) -> String + '_ {
    |entry| {
        let strip = super::files::there(app, entry).contains(&"strip.jpg");
        let what = match (entry.job.state, strip) {
            (State::Done, true) => {
                format!(
                    "<img class=\"strip\" alt=\"annotated frames\" src=\"/job/{}/file/strip.jpg\">",
                    escape(&entry.id)
                )
            }
            (State::Done, false) => shown(entry.result.as_deref().unwrap_or_default()),
            _ => note(entry),
        };
        let again = if entry.job.state == State::Failed { button(entry, "retry", "try again") } else { String::new() };
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"muted\">{}</td><td>{what}</td><td>{again}</td></tr>\n",
            link(entry),
            state(entry.job.state),
            time(entry.updated)
        )
    }
}

/// One job. `history` are its states, `files` what can be seen of it.
pub fn job(app: &App, entry: &Entry, history: &[String], files: &[&str]) -> String {
    let id = escape(&entry.id);
    let mut body =
        format!("<p><a href=\"/\">all jobs</a></p>\n<h1>{} {}</h1>\n", shown(&entry.name), state(entry.job.state));
    _ = writeln!(
        body,
        "<p class=\"muted\">job {id} · input {} · seen {} · {}</p>",
        shown(&entry.file.to_string_lossy()),
        time(entry.created),
        escape(&history.join(", "))
    );
    if entry.job.state == State::NeedsInit {
        let frame = crate::input::stem(Path::new(&entry.file), false);
        _ = write!(
            body,
            "<p>Draw a box around the target in the first frame of {}, or type it in pixels from the left and top edge.</p>\n\
             <div id=\"stage\"><img alt=\"first frame\" src=\"/job/{id}/first.jpg\"><div id=\"box\"></div></div>\n\
             <form method=\"post\" action=\"/job/{id}/init\"><p>\n",
            shown(&frame.to_string_lossy())
        );
        for (name, label) in [("x", "left"), ("y", "top"), ("w", "width"), ("h", "height")] {
            _ = writeln!(body, "<label>{label} <input type=\"number\" step=\"any\" name=\"{name}\" required></label>");
        }
        body.push_str("<button>track</button></p></form>\n<script src=\"/draw.js\"></script>\n");
    }
    if let Some(error) = entry.error.as_ref().filter(|_| entry.job.state != State::Done) {
        _ = write!(
            body,
            "<h2>Why it failed</h2>\n<p>{} ({}, {} attempts)</p>\n<pre>{}</pre>\n",
            shown(&error.message),
            escape(&error.code),
            error.attempts,
            shown_lines(&error.decoder_log)
        );
    }
    for picture in ["strip.jpg", "plot.svg"] {
        if files.contains(&picture) {
            _ = writeln!(body, "<p><img alt=\"{picture}\" src=\"/job/{id}/file/{picture}\"></p>");
        }
    }
    if !files.is_empty() {
        let links: Vec<String> =
            files.iter().map(|name| format!("<a href=\"/job/{id}/file/{name}\">{name}</a>")).collect();
        let folder = app.outbox.join(entry.result.as_deref().unwrap_or_default());
        _ = writeln!(body, "<p>{} · in {}</p>", links.join(" · "), shown(&folder.to_string_lossy()));
    }
    match entry.job.state {
        State::Failed => body.push_str(&button(entry, "retry", "try again")),
        state if !state.over() => body.push_str(&button(entry, "cancel", "cancel")),
        _ => {}
    }
    let moves = !entry.job.state.over() && entry.job.state != State::NeedsInit;
    page(&format!("{} - trackd", entry.name), moves, &body)
}

/// The page that asks for the token.
pub fn login() -> String {
    let body = "<h1>trackd</h1>\n<form method=\"post\" action=\"/login\"><p><label>Token \
                <input type=\"password\" name=\"token\" autocomplete=\"current-password\" required></label> \
                <button>enter</button></p></form>\n";
    page("trackd", false, body)
}
