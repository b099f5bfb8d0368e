//! Metrics as Prometheus reads them. Their names are promises; docs/operations.md lists them.

use crate::daemon::live::{BUCKETS, Histogram, Live};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

/// The text of `/metrics`. `jobs` are the counts by state.
pub fn text(live: &Live, jobs: &BTreeMap<&'static str, u64>) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
        // Writing into a String cannot fail.
        _ = writeln!(out, "# HELP trackd_{name} {help}\n# TYPE trackd_{name} {kind}");
        for (labels, value) in values {
            _ = writeln!(out, "trackd_{name}{labels} {value}");
        }
    };
    let by_state: Vec<(String, f64)> =
        jobs.iter().map(|(state, n)| (format!("{{state=\"{state}\"}}"), *n as f64)).collect();
    let by_state: Vec<(&str, f64)> = by_state.iter().map(|(labels, n)| (labels.as_str(), *n)).collect();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed) as f64;
    let running = live.running();
    let now: u64 = running.values().map(|p| p.frames.load(Relaxed)).sum();
    let rate: f64 = running.values().map(|p| p.rate()).sum();
    metric("jobs", "gauge", "Jobs in the journal by state.", &by_state);
    let ends = [("{result=\"done\"}", count(&live.done)), ("{result=\"failed\"}", count(&live.failed))];
    metric("jobs_total", "counter", "Jobs that ended since the start.", &ends);
    metric("retries_total", "counter", "Runs that failed and are repeated.", &[("", count(&live.retries))]);
    metric("event_overflows_total", "counter", "Times events were lost.", &[("", count(&live.overflows))]);
    metric("rescans_total", "counter", "Looks at the whole inbox.", &[("", count(&live.rescans))]);
    let frames = count(&live.frames) + now as f64;
    metric("frames_total", "counter", "Frames tracked.", &[("", frames)]);
    let busy = count(&live.busy_ms) / 1000.0;
    metric("run_seconds_total", "counter", "Seconds of runs that ended, decoding and writing included.", &[("", busy)]);
    metric("frames_per_second", "gauge", "Frames per second of what runs now.", &[("", rate)]);
    metric("running_jobs", "gauge", "Jobs that run now.", &[("", running.len() as f64)]);
    metric("disk_free_bytes", "gauge", "Free bytes on the outbox's disk.", &[("", count(&live.free))]);
    let paused = f64::from(u8::from(live.paused.load(Relaxed)));
    metric("paused", "gauge", "1 while nothing new is started because the disk is nearly full.", &[("", paused)]);
    let last = live.last_success.load(Relaxed) as f64;
    metric("last_success_timestamp_seconds", "gauge", "When a result was published last; 0 = never.", &[("", last)]);
    metric("uptime_seconds", "gauge", "Seconds since the start.", &[("", live.age().as_secs_f64())]);
    histogram(&mut out, "decode_seconds", "Seconds waited for a frame.", &live.times.decode);
    histogram(&mut out, "track_seconds", "Seconds the targets were looked for in a frame.", &live.times.track);
    out
}

fn histogram(out: &mut String, name: &str, help: &str, values: &Histogram) {
    // Writing into a String cannot fail.
    _ = writeln!(out, "# HELP trackd_{name} {help}\n# TYPE trackd_{name} histogram");
    let mut count = 0;
    let ends = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (end, bucket) in ends.zip(&values.counts) {
        count += bucket.load(Relaxed);
        _ = writeln!(out, "trackd_{name}_bucket{{le=\"{end}\"}} {count}");
    }
    _ = writeln!(out, "trackd_{name}_sum {}", values.total_us.load(Relaxed) as f64 / 1e6);
    _ = writeln!(out, "trackd_{name}_count {count}");
}
