//! Training as a whole, in process: the same bits after a resume, metrics without gaps, refusals.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use schemas::exit::{FAILED, USAGE};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use support::{dataset, layers};
use trainer::checkpoint;
use trainer::metrics::Line;
use trainer::train::{Options, Summary, TrainError, run};

static NEVER: AtomicBool = AtomicBool::new(false);
static ALWAYS: AtomicBool = AtomicBool::new(true);

fn options(data: &Path, out: &Path, more: &[&str]) -> Options {
    Options {
        data: vec![data.to_path_buf()],
        out: out.to_path_buf(),
        layers: layers(more),
        validation: Vec::new(),
        device: "cpu".to_owned(),
        resume: false,
        quiet: true,
    }
}

fn resume(data: &Path, out: &Path, more: &[&str]) -> Options {
    let mut options = options(data, out, &[]);
    options.layers.preset = None;
    options.layers.overrides = more.iter().map(|s| (*s).to_owned()).collect();
    options.resume = true;
    options
}

fn train(options: &Options) -> Summary {
    run(options, &NEVER).unwrap()
}

fn lines(run: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("model.safetensors")).unwrap()
}

struct Place {
    _dir: tempfile::TempDir,
    data: PathBuf,
    root: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (data, root) = (dir.path().join("data"), dir.path().to_path_buf());
    dataset(&data, 352, None);
    Place { _dir: dir, data, root }
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let p = place();
    let (straight, parts) = (p.root.join("straight"), p.root.join("parts"));
    let summary = train(&options(&p.data, &straight, &["run.max_steps=6"]));
    assert_eq!((summary.step, summary.epoch, summary.interrupted), (6, 2, false));
    assert!(summary.last.unwrap().loss.unwrap().is_finite());
    // In the middle of an epoch and of a logging interval; other threads and logging afterwards.
    train(&options(&p.data, &parts, &["run.max_steps=3", "run.workers=1"]));
    assert_ne!(weights(&straight), weights(&parts));
    let again = train(&resume(&p.data, &parts, &["run.max_steps=6", "run.workers=3", "run.prefetch=1"]));
    assert_eq!(again.step, 6);
    assert_eq!(weights(&straight), weights(&parts), "weights differ after a resume");
    let optim = |run: &Path| std::fs::read(run.join("checkpoints/step-00000006/optim.safetensors")).unwrap();
    assert_eq!(optim(&straight), optim(&parts));
    assert_eq!(lines(&straight).iter().map(|l| l.step).collect::<Vec<_>>(), [2, 4, 6]);
    assert_eq!(lines(&parts).iter().map(|l| l.step).collect::<Vec<_>>(), [2, 3, 4, 6]);
    assert_eq!(lines(&parts).iter().map(|l| l.steps).sum::<u64>(), 6);
    let csv = std::fs::read_to_string(parts.join("metrics.csv")).unwrap();
    assert_eq!(csv.lines().count(), 5);
    // A run that is done stays as it is.
    train(&resume(&p.data, &parts, &[]));
    assert_eq!(weights(&parts).len(), weights(&straight).len());
}

#[test]
fn checkpoints_are_kept_by_number_and_a_cut_off_one_is_swept_away() {
    let p = place();
    let out = p.root.join("run");
    train(&options(&p.data, &out, &["run.checkpoint_every=1", "run.keep_last=2", "run.max_steps=3"]));
    let steps = |out: &Path| checkpoint::list(out).into_iter().map(|(s, _)| s).collect::<Vec<_>>();
    assert_eq!(steps(&out), [2, 3]);
    let cut = out.join("checkpoints/.tmp-cut");
    std::fs::create_dir(&cut).unwrap();
    train(&resume(&p.data, &out, &["run.max_steps=5"]));
    assert!(!cut.exists());
    assert_eq!(steps(&out), [4, 5]);
    assert!(std::fs::read_to_string(out.join("config.toml")).unwrap().contains("max_steps = 5"));
}

#[test]
fn an_interrupted_run_leaves_a_checkpoint_to_go_on_from() {
    let p = place();
    let (straight, parts) = (p.root.join("straight"), p.root.join("parts"));
    train(&options(&p.data, &straight, &["run.max_steps=2"]));
    let cut = run(&options(&p.data, &parts, &["run.max_steps=2"]), &ALWAYS).unwrap();
    assert!(cut.interrupted && cut.step == 0);
    assert_eq!(checkpoint::list(&parts).len(), 1);
    train(&resume(&p.data, &parts, &[]));
    assert_eq!(weights(&straight), weights(&parts));
}

#[test]
fn a_run_folder_is_never_overwritten_and_another_run_never_continued() {
    let p = place();
    let out = p.root.join("run");
    train(&options(&p.data, &out, &["run.max_steps=1"]));
    let before = weights(&out);
    let e = run(&options(&p.data, &out, &["run.max_steps=1"]), &NEVER).unwrap_err();
    assert!(matches!(e, TrainError::Exists(_)) && e.exit() == USAGE && e.to_string().contains("--resume"), "{e}");
    let hash = |out: &Path| {
        let (_, path) = checkpoint::list(out).pop().unwrap();
        let text = std::fs::read_to_string(path.join("state.json")).unwrap();
        serde_json::from_str::<checkpoint::State>(&text).unwrap()
    };
    let state = hash(&out);
    let e = run(&resume(&p.data, &out, &["run.seed=2"]), &NEVER).unwrap_err();
    let cfg = layers(&["run.max_steps=1", "run.seed=2"]).resolve().unwrap();
    let other = trainer::config::hash(&cfg).unwrap();
    assert!(e.to_string().contains(&state.config_hash) && e.to_string().contains(&other), "{e}");
    assert_eq!(e.exit(), USAGE);
    let second = p.root.join("second");
    let manifest = dataset(&second, 360, None);
    let e = run(&resume(&second, &out, &[]), &NEVER).unwrap_err();
    assert!(e.to_string().contains(&state.dataset_hash) && e.to_string().contains(&manifest.dataset_hash), "{e}");
    assert_eq!(weights(&out), before);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_an_error_with_its_path() {
    let p = place();
    let out = p.root.join("run");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("checkpoints"), "a file where the folder should be").unwrap();
    let mut options = options(&p.data, &out, &["run.max_steps=1"]);
    options.resume = true;
    let e = run(&options, &NEVER).unwrap_err();
    assert!(e.to_string().contains("step-00000001") && e.exit() == FAILED, "{e}");
    assert_eq!(lines(&out).len(), 1);
}

#[test]
fn a_damaged_or_newer_checkpoint_is_refused_by_name() {
    let p = place();
    let out = p.root.join("run");
    train(&options(&p.data, &out, &["run.max_steps=1"]));
    let state = out.join("checkpoints/step-00000001/state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    for (broken, part) in [(text.replace("\"1.1\"", "\"2.0\""), "newer"), (text[..40].to_owned(), "damaged")] {
        std::fs::write(&state, broken).unwrap();
        let e = run(&resume(&p.data, &out, &[]), &NEVER).unwrap_err();
        assert!(e.to_string().contains(part) && e.to_string().contains("step-00000001"), "{e}");
    }
    std::fs::write(&state, text).unwrap();
    std::fs::write(state.with_file_name("optim.safetensors"), b"cut").unwrap();
    let e = run(&resume(&p.data, &out, &[]), &NEVER).unwrap_err();
    assert!(e.to_string().contains("optim.safetensors"), "{e}");
}

#[test]
fn training_that_diverges_stops_with_an_error() {
    let p = place();
    let out = p.root.join("run");
    let more = ["optim.lr_start=1e30", "optim.clip=none", "run.max_bad_steps=2", "run.epochs=9"];
    let e = run(&options(&p.data, &out, &more), &NEVER).unwrap_err();
    assert!(matches!(e, TrainError::Diverged { .. }) && e.exit() == FAILED, "{e}");
    assert!(e.to_string().contains("optim.lr_start"), "{e}");
    let last = lines(&out).pop().unwrap();
    assert!(last.bad_steps >= 2 && last.step < 10, "{last:?}");
}

#[test]
fn a_run_starts_from_another_models_trunk() {
    let p = place();
    let (first, second, third) = (p.root.join("first"), p.root.join("second"), p.root.join("third"));
    train(&options(&p.data, &first, &["run.max_steps=1"]));
    let from = format!("run.init_from={}", first.join("model.safetensors").display());
    // Another head: only the trunk is taken.
    train(&options(&p.data, &second, &["run.max_steps=1", "model.head=up-channel", &from]));
    let e = run(&options(&p.data, &third, &["model.trunk.widths=[4,6,6,6,8]", &from]), &NEVER).unwrap_err();
    assert!(e.to_string().contains("trunk.conv5") && e.to_string().contains("model.trunk.widths"), "{e}");
    assert_eq!(e.exit(), USAGE);
    assert!(!third.join("model.safetensors").exists());
}

#[test]
fn learning_makes_the_loss_smaller() {
    let p = place();
    let out = p.root.join("run");
    let more =
        ["run.epochs=1", "run.steps_per_epoch=60", "run.log_every=10", "optim.lr_start=0.03", "optim.lr_end=0.03"];
    train(&options(&p.data, &out, &more));
    let lines = lines(&out);
    let (first, last) = (lines[0].loss.unwrap(), lines[5].loss.unwrap());
    assert!(last < 0.8 * first, "{first} to {last}");
}

#[test]
fn held_out_videos_give_a_validation_and_the_best_weights() {
    let p = place();
    let out = p.root.join("run");
    let more = ["run.epochs=3", "data.validation_share=0.4", "run.validation_pairs=5", "run.keep_epochs=2"];
    let summary = train(&options(&p.data, &out, &more));
    let best = summary.best.unwrap();
    assert!(best.loss.is_finite() && (1..=3).contains(&best.epoch));
    let read = |name: &str| std::fs::read(out.join(name)).unwrap();
    assert_eq!(read("best.safetensors"), read(&format!("epochs/epoch-{:04}.safetensors", best.epoch)));
    let text: checkpoint::Best = serde_json::from_slice(&read("best.json")).unwrap();
    assert_eq!(text, best);
    assert_eq!(read("model.safetensors"), read("epochs/epoch-0003.safetensors"));
    assert!(!out.join("epochs/epoch-0001.safetensors").exists(), "only two are kept");
    // Validations change nothing, and a resumed run knows the best one before.
    let parts = p.root.join("parts");
    train(&options(&p.data, &parts, &[&more[..], &["run.max_steps=5", "run.validate_every=1"]].concat()));
    let again = train(&resume(&p.data, &parts, &["run.max_steps=0", "run.validate_every=0"]));
    assert_eq!(weights(&parts), weights(&out));
    assert!(again.best.unwrap().loss <= best.loss);
    // Another dataset instead, and none to be had.
    let named =
        Options { validation: vec![p.data.clone()], ..options(&p.data, &p.root.join("named"), &["run.max_steps=6"]) };
    assert!(train(&named).best.is_some());
    let none = train(&options(&p.data, &p.root.join("none"), &["data.validation_share=1e-9", "run.max_steps=4"]));
    assert!(none.best.is_none() && none.step == 4);
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_checkpoints_and_nothing_else() {
    let p = place();
    let more = ["run.epochs=1", "run.steps_per_epoch=40", "run.checkpoint_every=1", "run.log_every=1"];
    let (straight, out) = (p.root.join("straight"), p.root.join("run"));
    train(&options(&p.data, &straight, &more));
    std::fs::create_dir(&out).unwrap();
    let blocked = out.join("checkpoints");
    std::fs::write(&blocked, "a file where the folder should be").unwrap();
    let options = Options { resume: true, ..options(&p.data, &out, &more) };
    let summary = std::thread::scope(|scope| {
        let training = scope.spawn(|| train(&options));
        while std::fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |t| t.lines().count()) < 3 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::fs::remove_file(&blocked).unwrap();
        training.join().unwrap()
    });
    assert!((2..40).contains(&summary.unwritten), "{}", summary.unwritten);
    assert_eq!(weights(&out), weights(&straight));
    assert_eq!(lines(&out).len(), 40);
}

#[test]
fn a_flipped_byte_in_a_checkpoint_is_found_by_its_hash() {
    let p = place();
    let out = p.root.join("run");
    train(&options(&p.data, &out, &["run.max_steps=1"]));
    for file in ["model.safetensors", "optim.safetensors"] {
        let path = out.join("checkpoints/step-00000001").join(file);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 2;
        bad[last] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let e = run(&resume(&p.data, &out, &[]), &NEVER).unwrap_err().to_string();
        assert!(e.contains(file) && e.contains("damaged") && e.contains("hash"), "{e}");
        std::fs::write(&path, good).unwrap();
    }
    train(&resume(&p.data, &out, &["run.max_steps=2"]));
}

#[test]
fn a_loss_that_explodes_is_skipped_and_stops_the_run() {
    let p = place();
    let out = p.root.join("run");
    let more = ["optim.max_loss=1e-6", "run.max_bad_steps=4", "run.log_every=2", "run.max_steps=20"];
    let e = run(&options(&p.data, &out, &more), &NEVER).unwrap_err();
    assert!(matches!(e, TrainError::Diverged { in_a_row: 4, step: 4 }), "{e}");
    assert!(e.to_string().contains("optim.max_loss"), "{e}");
}

#[test]
fn too_little_memory_is_told_with_what_fits() {
    use trainer::engine::StepError;
    for text in
        ["CUDA_ERROR_OUT_OF_MEMORY", "BufferTooBig(123)", "memory allocation of 80 bytes failed", "Out of memory"]
    {
        assert!(StepError::Device(text.to_owned()).is_memory(), "{text}");
    }
    assert!(!StepError::Device("illegal address".to_owned()).is_memory());
    let said = |batch: usize, accumulate: usize| {
        TrainError::Memory { device: "cuda:0".to_owned(), batch, accumulate, reason: "full".to_owned() }.to_string()
    };
    assert!(said(64, 1).contains("run.accumulate=2") && said(64, 1).contains("run.batch=32"), "{}", said(64, 1));
    assert!(said(64, 4).contains("in 4 parts") && said(64, 4).contains("run.accumulate=8"), "{}", said(64, 4));
    assert!(said(4, 4).contains("trunk.widths"), "{}", said(4, 4));
}
