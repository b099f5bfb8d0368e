//! Reports over small generated data sets.

use super::*;
use proptest::prelude::*;
use schemas::report::Verdict;
use shards::image::Rgb;
use shards::jpeg::encode;
use std::fs;
use vot::results::{Run, write_trajectory};
use vot::{Region, protocol::Trajectory};

/// A data set of `count` sequences whose target moves to the right; with frames or only a description.
fn dataset(root: &Path, names: &[String], frames: bool) -> PathBuf {
    let dataset = root.join("made_up & <b>");
    for (i, name) in names.iter().enumerate() {
        let folder = dataset.join(name);
        fs::create_dir_all(folder.join("color")).unwrap();
        let length = 40 + 3 * i;
        let truth: String = (0..length).map(|t| format!("{},30,30,30\n", 20 + t)).collect();
        fs::write(folder.join("groundtruth.txt"), truth).unwrap();
        let about = format!("name={name}\nwidth=160\nheight=120\nlength={length}\n");
        fs::write(folder.join("sequence"), about).unwrap();
        let tag: String = (0..length).map(|t| if t % 2 == 0 { "1\n" } else { "0\n" }).collect();
        fs::write(folder.join("occlusion.tag"), tag).unwrap();
        for t in (0..length).filter(|_| frames) {
            let picture = Rgb::filled(160, 120, [u8::try_from(2 * t).unwrap(), 90, 90]);
            fs::write(folder.join(format!("color/{:08}.jpg", t + 1)), encode(&picture, 80).unwrap()).unwrap();
        }
    }
    fs::write(dataset.join("list.txt"), names.join("\n")).unwrap();
    dataset
}

/// Results that lie `offset` px beside the truth and fail on the frames given.
fn results(root: &Path, tracker: &str, names: &[String], offset: f64, failures: &[usize]) -> PathBuf {
    let folder = root.join("results").join(tracker);
    for (i, name) in names.iter().enumerate() {
        let (length, shift) = (40 + 3 * i, offset + 0.1 * i as f64);
        let mut regions: Vec<Region> =
            (0..length).map(|t| Region::rect(20.0 + t as f64 + shift, 30.0, 30.0, 30.0)).collect();
        regions[0] = Region::Special(1);
        for failure in failures {
            for (at, code) in [2, 0, 0, 0, 0, 1].into_iter().enumerate() {
                regions[failure + at] = Region::Special(code);
            }
        }
        let run = Trajectory::from_regions(regions);
        for experiment in ["baseline", "unsupervised"] {
            write_trajectory(&folder.join(experiment).join(name), name, Run::Repetition(1), &run, false).unwrap();
        }
    }
    folder
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("seq_{i}%&")).collect()
}

fn options(dataset: PathBuf, results: &[&Path]) -> ReportOptions {
    ReportOptions {
        dataset,
        results: results.iter().map(|path| ResultsOf { name: None, path: (*path).to_owned() }).collect(),
        experiment: None,
        protocol: Protocol::Supervised,
        dialect: Dialect::VotMatlab,
        interval: Some((10, 40)),
        reference: None,
        resamples: 300,
        seed: 0,
        thumbnails: 3,
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn a_bad_tracker_is_worse_and_a_tracker_is_no_different_from_itself() {
    let root = tempfile::tempdir().unwrap();
    let names = names(6);
    let dataset = dataset(root.path(), &names, true);
    let good = results(root.path(), "good", &names, 1.0, &[]);
    let bad = results(root.path(), "bad_<script>alert(1)</script>", &names, 9.0, &[14, 25]);
    let mut options = options(dataset.clone(), &[&good, &bad]);
    options.results.push(ResultsOf { name: Some("twin".into()), path: good.clone() });
    for dialect in Dialect::ALL {
        options.dialect = dialect;
        let out = root.path().join(dialect.as_str());
        let doc = report(&options, &out).unwrap();
        assert_eq!((doc.reference.as_str(), doc.comparisons.len()), ("good", 2));
        for difference in &doc.comparisons[0].differences {
            assert_eq!(difference.verdict, Verdict::Worse, "{dialect} {difference:?}");
        }
        for difference in &doc.comparisons[1].differences {
            assert_eq!((difference.value, difference.interval), (Some(0.0), Some([0.0, 0.0])));
            assert_eq!(difference.verdict, Verdict::Noise);
        }
        // The numbers are those of `trackd score`.
        for (tracker, folder) in doc.trackers.iter().zip([&good, &bad]) {
            let score = crate::evaluate::score_results(&dataset, folder, "baseline", dialect, Some((10, 40))).unwrap();
            assert_eq!(tracker.supervised.as_ref(), Some(&score));
            assert_eq!(tracker.measures[0].value, Some(score.accuracy));
            assert_eq!(tracker.measures.last().unwrap().value, score.eao);
            for measure in &tracker.measures {
                let (value, [low, high]) = (measure.value.unwrap(), measure.interval.unwrap());
                assert!(low <= value && value <= high, "{dialect} {measure:?}");
            }
        }
        assert_eq!(doc.trackers[1].failures.len(), 12);
        let json: ReportDoc = serde_json::from_str(&read(&out, "report.json")).unwrap();
        assert_eq!(json.trackers.len(), 3);
    }
}

#[test]
fn the_page_needs_nothing_else_and_names_cannot_break_it() {
    let root = tempfile::tempdir().unwrap();
    let names = names(6);
    let dataset = dataset(root.path(), &names, true);
    let good = results(root.path(), "good", &names, 1.0, &[]);
    let bad = results(root.path(), "bad_<script>alert(1)<", &names, 9.0, &[14, 25]);
    let options = options(dataset, &[&good, &bad]);
    let (out, again) = (root.path().join("out"), root.path().join("again"));
    report(&options, &out).unwrap();
    report(&options, &again).unwrap();
    let mut files: Vec<_> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let expected =
        ["ar.svg", "eao.svg", "precision.svg", "report.html", "report.json", "report.md", "report.tex", "success.svg"];
    assert_eq!(files, expected);
    for name in &files {
        assert_eq!(read(&out, name), read(&again, name), "{name} differs");
    }
    let html = read(&out, "report.html");
    assert!(!html.contains("<script>alert") && html.contains("bad_&lt;script&gt;alert(1)&lt;"));
    assert_eq!(html.matches("<script").count(), 1);
    for reference in [" src=", "url(", "@import", "<link", "href=\"http"] {
        assert!(!html.contains(reference), "{reference}");
    }
    // Three failures of the bad tracker, three worst frames of each; nothing else is a picture.
    assert_eq!(html.matches("href=\"data:image/jpeg;base64,").count(), 9);
    assert!(html.contains("00000015.jpg") && html.contains("class=\"result old\""));
    let tex = read(&out, "report.tex");
    assert!(tex.contains(r"bad\_\textless{}script\textgreater{}alert") && tex.contains(r"seq\_0\%\&"), "{tex}");
    assert!(read(&out, "report.md").contains(r"seq\_0%&amp;"));
    assert!(read(&out, "report.md").contains("## Attributes"));
    for plot in ["ar", "eao", "success", "precision"] {
        let svg = read(&out, &format!("{plot}.svg"));
        assert!(svg.contains("bad_&lt;script&gt;") && !svg.contains("<script"), "{plot}");
    }
}

#[test]
fn without_frames_there_are_no_pictures_and_few_sequences_tell_nothing() {
    let root = tempfile::tempdir().unwrap();
    let names = names(3);
    let dataset = dataset(root.path(), &names, false);
    let good = results(root.path(), "good", &names, 1.0, &[]);
    let bad = results(root.path(), "bad", &names, 9.0, &[14]);
    let mut options = options(dataset, &[&bad, &good]);
    options.reference = Some("good".into());
    let out = root.path().join("out");
    let doc = report(&options, &out).unwrap();
    assert_eq!((doc.reference.as_str(), doc.comparisons[0].tracker.as_str()), ("good", "bad"));
    assert!(doc.comparisons[0].differences.iter().all(|d| d.verdict == Verdict::TooFew), "{doc:?}");
    assert!(doc.warnings[0].contains("fewer than 5 mean little"), "{:?}", doc.warnings);
    let html = read(&out, "report.html");
    assert!(html.contains("the data set has no frames") && !html.contains("data:image"));
}

#[test]
fn one_pass_results_have_their_own_measures() {
    let root = tempfile::tempdir().unwrap();
    let names = names(5);
    let dataset = dataset(root.path(), &names, false);
    let good = results(root.path(), "good", &names, 1.0, &[]);
    let bad = results(root.path(), "bad", &names, 9.0, &[14]);
    let mut options = options(dataset, &[&good, &bad]);
    options.protocol = Protocol::OnePass;
    let doc = report(&options, &root.path().join("out")).unwrap();
    assert_eq!(doc.dialect, None);
    for tracker in &doc.trackers {
        let score = tracker.one_pass.as_ref().unwrap();
        assert_eq!(tracker.measures[0].value, Some(score.success_auc));
        assert_eq!(tracker.measures[5].value, score.average_overlap);
        let keys: Vec<&str> = tracker.curves.iter().map(|curve| curve.key.as_str()).collect();
        assert_eq!(keys, ["success", "precision"]);
    }
    assert_eq!(doc.comparisons[0].differences[0].verdict, Verdict::Worse);
}

#[test]
fn what_cannot_be_reported_is_named() {
    let root = tempfile::tempdir().unwrap();
    let names = names(2);
    let dataset = dataset(root.path(), &names, false);
    let good = results(root.path(), "good", &names, 1.0, &[]);
    let out = root.path().join("out");
    let says = |options: &ReportOptions, text: &str| {
        let error = report(options, &out).unwrap_err().to_string();
        assert!(error.contains(text) && !out.exists(), "{error}");
    };
    let mut options = options(dataset, &[&good, &good]);
    says(&options, "two trackers are called \"good\"");
    options.results.pop();
    options.reference = Some("best".into());
    says(&options, "none of the trackers: good");
    options.protocol = Protocol::LongTerm;
    says(&options, "no report for protocol longterm");
    options.protocol = Protocol::Supervised;
    fs::remove_dir_all(good.join("baseline").join(&names[1])).unwrap();
    says(&options, "find results of sequence `seq_1%&`");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_name_opens_a_tag(name in "\\PC{0,20}") {
        let table = table::Table {
            key: "t", title: "T", note: name.clone(), head: vec![name.clone()], texts: 1, rows: vec![vec![name.clone()]],
        };
        let html = table.html();
        prop_assert_eq!(html.matches("<td").count(), 1);
        prop_assert_eq!(html.matches('<').count(), 18);
        prop_assert_eq!(table.markdown().lines().count(), 8);
    }
}
