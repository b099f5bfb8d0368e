//! The corpus of crops in all its forms gives one and the same dataset.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use ingest::source::{SourceKind, SourceSpec};
use ingest::{BuildOptions, BuildReport, IngestError, Part, build, merge};
use schemas::build::BuildConfig;
use schemas::manifest::{Manifest, Reject};
use shards::reader::Dataset;
use std::fs;
use std::path::Path;
use support::{Pack, corpus_folder, corpus_videos, crop_name, dataset_bytes, meta, pack, picture, save};

fn small_shards() -> BuildConfig {
    BuildConfig { shard_bytes: 300_000, rows_per_batch: 8, ..BuildConfig::default() }
}

fn crops(path: &Path) -> Vec<SourceSpec> {
    vec![SourceSpec { kind: SourceKind::Crops, label: None, path: path.to_owned() }]
}

fn run(path: &Path, config: &BuildConfig, out: &Path, threads: usize) -> Result<BuildReport, IngestError> {
    build(&crops(path), config, out, &BuildOptions { threads, ..BuildOptions::default() })
}

fn rejects(out: &Path) -> Vec<Reject> {
    let text = fs::read_to_string(out.join("rejects.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn manifest(out: &Path) -> Manifest {
    serde_json::from_slice(&fs::read(out.join("dataset.json")).unwrap()).unwrap()
}

#[test]
fn folder_and_archives_any_threads_and_any_parts_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let folder = corpus_folder(dir.path(), &corpus_videos(5, 4));
    let config = small_shards();
    let first = dir.path().join("out-folder");
    let report = run(&folder, &config, &first, 1).unwrap();
    assert!(report.complete && report.shards >= 3 && report.rejects == 0, "{report:?}");
    assert_eq!((report.videos, report.tracks, report.rows), (5, 9, 36));
    let want = dataset_bytes(&first);
    for (name, how, meta_last, threads) in
        [("tar", Pack::Tar, true, 2), ("gz", Pack::Gz, true, 2), ("zst", Pack::Zst, false, 1)]
    {
        let archive = pack(&folder, how, meta_last);
        let out = dir.path().join(format!("out-{name}"));
        run(&archive, &config, &out, threads).unwrap();
        assert!(dataset_bytes(&out) == want, "{name} differs");
        let left: Vec<_> = fs::read_dir(out.join(".ingest")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|n| n.to_string_lossy().starts_with("spool")), "{left:?}");
    }
    for count in [2, 3] {
        let out = dir.path().join(format!("out-{count}-parts"));
        for index in 0..count {
            let options = BuildOptions { part: Part { index, count }, ..BuildOptions::default() };
            let source = if index == 1 { dir.path().join("ytb_vid_filter.tar.gz") } else { folder.clone() };
            let report = build(&crops(&source), &config, &out, &options).unwrap();
            assert!(!report.complete);
        }
        assert!(merge(&out).unwrap().complete);
        assert!(dataset_bytes(&out) == want, "{count} parts differ");
    }
}

#[test]
fn rows_are_what_names_and_list_say() {
    let dir = tempfile::tempdir().unwrap();
    let videos = corpus_videos(3, 3);
    let folder = corpus_folder(dir.path(), &videos);
    let out = dir.path().join("out");
    run(&folder, &BuildConfig::default(), &out, 2).unwrap();
    let manifest = manifest(&out);
    assert_eq!(manifest.shards.len(), 1);
    let labels: Vec<_> =
        manifest.sources.iter().map(|s| (s.dataset.as_str(), s.rows, s.search_px, s.source_bytes)).collect();
    assert_eq!(labels, [("vid", 12, 500, true), ("ytbb", 6, 500, true)]);
    assert_eq!(manifest.sources[0].name, "ytb_vid_filter");
    let dataset = Dataset::open(&out).unwrap();
    let shard = dataset.shard(0).unwrap();
    for i in 0..manifest.totals.rows {
        let row = shard.row(i as usize).unwrap();
        let video = videos.iter().find(|v| v.name == row.video()).unwrap();
        let track = video.tracks.iter().find(|t| t.name == row.track()).unwrap();
        let frame = &track.frames[row.row_in_track() as usize];
        assert_eq!(row.track_len(), 3);
        let number: u32 = frame.rsplit('_').next().unwrap().parse().unwrap();
        assert_eq!(row.frame(), number);
        let [cx, cy, w, h] = row.bbox();
        assert_eq!((cx, cy, row.scale(), row.frame_size()), (250.0, 250.0, 0.0, [1280, 720]));
        let file = folder.join(&video.name).join(crop_name(frame, &track.name, w as usize, h as usize));
        assert_eq!(row.search(), fs::read(file).unwrap());
        assert_eq!(shards::jpeg::dimensions(row.template()).unwrap(), (144, 144));
    }
    assert!(shards::verify::verify(&out, |_| ()).unwrap().findings.is_empty());
}

#[test]
fn bad_inputs_are_listed_and_the_rest_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let mut videos = corpus_videos(2, 6);
    let folder = corpus_folder(dir.path(), &videos);
    let inside = folder.join(&videos[0].name);
    let file = |frame: usize| {
        let prefix = format!("{:06}.00.x_", frame * 2);
        let names = fs::read_dir(&inside).unwrap().map(|e| e.unwrap().path());
        names.into_iter().find(|p| p.file_name().unwrap().to_str().unwrap().starts_with(&prefix)).unwrap()
    };
    let whole = fs::read(file(0)).unwrap();
    fs::write(file(0), &whole[..whole.len() / 3]).unwrap();
    fs::write(file(1), "<html>").unwrap();
    fs::remove_file(file(2)).unwrap();
    fs::write(file(3), picture(400, 400, 1, [0; 4])).unwrap();
    fs::rename(file(4), inside.join("000008.00.x_12.00_oops_1280_720.jpg")).unwrap();
    let twice = videos[1].tracks[0].frames[2].clone();
    videos[1].tracks[0].frames.push(twice);
    fs::write(folder.join("meta_data.pkl"), meta(&videos)).unwrap();

    let config = small_shards();
    let out = dir.path().join("out");
    let report = run(&folder, &config, &out, 2).unwrap();
    let found = rejects(&out);
    let mut reasons: Vec<_> = found.iter().map(|r| (r.dataset.as_str(), r.reason.as_str())).collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            ("vid", "bad-name"),
            ("vid", "crop-size"),
            ("vid", "missing-file"),
            ("vid", "not-an-image"),
            ("vid", "truncated-jpeg"),
            ("ytbb", "duplicate-frame"),
        ]
    );
    assert!(found.is_sorted() && found.iter().all(|r| !r.path.starts_with('/')), "{found:?}");
    assert_eq!((report.rejects, report.rows), (6, 6 - 5 + 12));
    let want = dataset_bytes(&out);
    let archived = dir.path().join("out-zst");
    run(&pack(&folder, Pack::Zst, true), &config, &archived, 1).unwrap();
    assert!(dataset_bytes(&archived) == want);

    let strict = BuildConfig { max_rejects: 5, ..config.clone() };
    let stopped = dir.path().join("strict");
    let error = run(&folder, &strict, &stopped, 2).unwrap_err();
    assert!(matches!(error, IngestError::TooManyRejects { limit: 5, .. }), "{error}");
    assert!(!stopped.join("dataset.json").exists());
    // The limit is not part of the dataset: raising it goes on in the same folder.
    run(&folder, &config, &stopped, 2).unwrap();
    assert!(dataset_bytes(&stopped) == want);
}

#[test]
fn links_and_names_that_lead_out_of_an_archive_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let videos = corpus_videos(1, 3);
    let folder = corpus_folder(dir.path(), &videos);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("./corpus", &folder).unwrap();
    let mut odd = |name: &str, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        if kind.is_symlink() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
    };
    odd("../escape.jpg", tar::EntryType::Regular);
    odd("/absolute.jpg", tar::EntryType::Regular);
    let linked = crop_name("000000", "00", 51, 41);
    odd(&format!("corpus/{}/{linked}", videos[0].name), tar::EntryType::Symlink);
    let bytes = builder.into_inner().unwrap();
    let mut all = Vec::new();
    for how in [Pack::Tar, Pack::Gz] {
        let archive = save(&folder, how, &bytes);
        let out = dir.path().join(format!("out-{}", all.len()));
        let report = run(&archive, &BuildConfig::default(), &out, 1).unwrap();
        assert_eq!((report.rows, report.rejects), (2, 3));
        let found = rejects(&out);
        assert_eq!(found.iter().filter(|r| r.reason == "unsafe-path").count(), 2, "{found:?}");
        assert!(found.iter().any(|r| r.reason == "not-a-regular-file" && r.path.ends_with(&linked)), "{found:?}");
        all.push(dataset_bytes(&out));
    }
    assert!(all[0] == all[1]);
}

#[test]
fn what_is_no_corpus_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let folder = corpus_folder(dir.path(), &corpus_videos(1, 2));
    let tar = pack(&folder, Pack::Tar, true);
    let gz = pack(&folder, Pack::Gz, true);
    let out = dir.path().join("out");
    let check = |path: &Path, needle: &str| {
        let error = run(path, &BuildConfig::default(), &out, 1).unwrap_err();
        assert!(error.to_string().contains(needle), "{error}");
        assert_eq!(error.exit_code(), schemas::exit::FAILED);
        assert!(!out.join("dataset.json").exists());
    };
    let bytes = fs::read(&tar).unwrap();
    fs::write(&tar, &bytes[..bytes.len() / 2]).unwrap();
    check(&tar, "fetch it again");
    let bytes = fs::read(&gz).unwrap();
    fs::write(&gz, &bytes[..bytes.len() / 2]).unwrap();
    check(&gz, "fetch it again");
    fs::write(folder.join("meta_data.pkl"), "no pickle").unwrap();
    check(&folder, "not the expected pickle");
    check(&pack(&folder, Pack::Tar, false), "not the expected pickle");
    fs::remove_file(folder.join("meta_data.pkl")).unwrap();
    check(&folder, "it has no meta_data.pkl");
    check(&pack(&folder, Pack::Tar, false), "it has no meta_data.pkl");
    check(&pack(&folder, Pack::Zst, false), "it has no meta_data.pkl");
    check(&dir.path().join("nowhere"), "nowhere");
    let text = dir.path().join("text.tar");
    fs::write(&text, "text").unwrap();
    check(&text, "its content is none: a folder, or a tar");
}
