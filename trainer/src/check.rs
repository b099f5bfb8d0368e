//! `trainer check`: one batch drawn, one forward and backward pass, before hours are spent.

use crate::engine::{Engine, Measured, StepError, Values};
use crate::init;
use crate::loader::{Batch, Recipe};
use crate::optim::Sgd;
use crate::schedule::learning_rate;
use crate::train::TrainError;
use schemas::train::TrainConfig;
use serde::Serialize;
use siamrpn::device::{Device, devices};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Name of the picture.
pub const PICTURE: &str = "check.png";
/// Pairs drawn at most.
const PAIRS: usize = 16;
/// Pixels between images.
const GAP: usize = 6;

const GREEN: [u8; 3] = [0, 230, 0];
const RED: [u8; 3] = [255, 40, 40];
const YELLOW: [u8; 3] = [255, 220, 0];
const BLUE: [u8; 3] = [70, 130, 255];

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The picture.
    pub picture: PathBuf,
    /// Pairs in the batch.
    pub batch: usize,
    /// Shape of the template input.
    pub template: [usize; 4],
    /// Shape of the search input.
    pub search: [usize; 4],
    /// Shape of the classification output.
    pub cls: [usize; 4],
    /// Shape of the regression output.
    pub reg: [usize; 4],
    /// Anchors labelled target, per pair.
    pub positives: Vec<usize>,
    /// Anchors labelled background, per pair.
    pub negatives: Vec<usize>,
    /// Rows that others stood in for.
    pub substituted: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Rows that are never drawn, by their flags or their target's shape or size.
    pub left_out: u64,
    /// Trainable numbers of the network.
    pub parameters: usize,
    /// Weighted total loss.
    pub loss: f64,
    /// Classification loss.
    pub loss_cls: f64,
    /// Regression loss.
    pub loss_reg: f64,
    /// Norm of the gradient.
    pub grad_norm: f64,
    /// Did the step come out finite?
    pub finite: bool,
    /// Milliseconds of the step (the first one: compilation and allocation included).
    pub step_ms: f64,
}

/// Draws the first batch of a run to `out/check.png` and does one step with it.
///
/// # Errors
/// As training: [`TrainError`].
pub fn check(data: &[PathBuf], cfg: &TrainConfig, device_name: &str, out: &Path) -> Result<Report, TrainError> {
    let devices: Vec<Device> = devices(device_name)?.into_iter().map(Device::autodiff).collect();
    let device = devices.first().ok_or(StepError::NoDevice)?;
    let recipe = Recipe::open_all(data, cfg)?;
    let mut batch = recipe.batch(0)?;
    let folder = |source| TrainError::Folder { path: out.to_path_buf(), source };
    std::fs::create_dir_all(out).map_err(folder)?;
    let picture = out.join(PICTURE);
    let png = draw(&recipe, &batch).map_err(|e| folder(std::io::Error::other(e)))?;
    shards::writer::write_atomic(&picture, &png).map_err(folder)?;
    let net = if cfg.run.init_from.is_empty() {
        init::random(&cfg.model, cfg.run.seed, device)?
    } else {
        init::from_file(Path::new(&cfg.run.init_from), &cfg.model, cfg.run.seed, device)?.0
    };
    let parameters = siamrpn::params::count(&net);
    let mut engine = Engine::on(net, Sgd::default(), &devices, cfg)?;
    let started = Instant::now();
    let measured = engine.step(&mut batch, cfg, 1, learning_rate(&cfg.optim, cfg.run.epochs, 1))?;
    let read = Measured::read(vec![measured])?;
    let values =
        read.first().copied().unwrap_or(Values { loss: 0.0, cls: 0.0, reg: 0.0, grad_norm: 0.0, taken: false });
    let n = recipe.anchors().len();
    let count = |value: i8| batch.labels.chunks(n.max(1)).map(|l| l.iter().filter(|v| **v == value).count()).collect();
    let (b, a, r) = (batch.pairs, recipe.anchors().per_cell(), recipe.anchors().response());
    let sides = recipe.sides();
    Ok(Report {
        picture,
        batch: b,
        template: [b, 3, sides.template, sides.template],
        search: [b, 3, sides.search, sides.search],
        cls: [b, 2 * a, r, r],
        reg: [b, 4 * a, r, r],
        positives: count(1),
        negatives: count(0),
        substituted: batch.substituted,
        steps_per_epoch: recipe.steps_per_epoch(),
        left_out: recipe.left_out(),
        parameters,
        loss: values.loss,
        loss_cls: values.cls,
        loss_reg: values.reg,
        grad_norm: values.grad_norm,
        finite: values.taken,
        step_ms: started.elapsed().as_secs_f64() * 1e3,
    })
}

/// A picture being drawn.
struct Canvas {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Canvas {
    fn put(&mut self, x: isize, y: isize, colour: [u8; 3]) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x < self.width
            && y < self.height
            && let Some(pixel) = self.data.get_mut(3 * (y * self.width + x)..)
        {
            for (to, from) in pixel.iter_mut().zip(colour) {
                *to = from;
            }
        }
    }

    /// Copies a square image of `side` to (`left`, `top`).
    fn paste(&mut self, image: &[u8], side: usize, left: usize, top: usize) {
        for (y, row) in image.chunks_exact((3 * side).max(1)).enumerate() {
            for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
                self.put((left + x).cast_signed(), (top + y).cast_signed(), *pixel);
            }
        }
    }

    /// Outlines a centre-form box given in pixels from `centre`, within the square image around it.
    fn outline(&mut self, b: [f32; 4], centre: [usize; 2], side: usize, colour: [u8; 3]) {
        #[expect(clippy::cast_possible_truncation, reason = "limited to the image's pixels")]
        let edge = |v: f32| {
            let half = (side / 2).cast_signed();
            (v.round() as isize).clamp(-half, half)
        };
        let [cx, cy] = centre.map(usize::cast_signed);
        let (x0, x1) = (cx + edge(b[0] - b[2] / 2.0), cx + edge(b[0] + b[2] / 2.0));
        let (y0, y1) = (cy + edge(b[1] - b[3] / 2.0), cy + edge(b[1] + b[3] / 2.0));
        for x in x0..=x1 {
            self.put(x, y0, colour);
            self.put(x, y1, colour);
        }
        for y in y0..=y1 {
            self.put(x0, y, colour);
            self.put(x1, y, colour);
        }
    }
}

/// The batch as a PNG: per pair the template and the search image with the target (green; red for a negative pair),
/// the anchors labelled target (yellow) and the centres of those labelled background (blue).
fn draw(recipe: &Recipe, batch: &Batch) -> Result<Vec<u8>, image::ImageError> {
    let sides = recipe.sides();
    let shown = batch.pairs.min(PAIRS);
    let columns = if shown > 4 { 3 } else { 1 };
    let (cell_w, cell_h) = (sides.template + sides.search + 3 * GAP, sides.search.max(sides.template) + GAP);
    let (width, height) = (columns * cell_w, shown.div_ceil(columns) * cell_h + GAP);
    let mut canvas = Canvas { width, height, data: vec![32; 3 * width * height] };
    let anchors = recipe.anchors();
    let n = anchors.len().max(1);
    let pairs = batch
        .template
        .chunks_exact(3 * sides.template * sides.template)
        .zip(batch.search.chunks_exact(3 * sides.search * sides.search))
        .zip(batch.labels.chunks_exact(n))
        .zip(batch.targets.iter().zip(&batch.negative));
    for (i, (((template, search), labels), (target, negative))) in pairs.take(shown).enumerate() {
        let (left, top) = (GAP + i % columns * cell_w, GAP + i / columns * cell_h);
        canvas.paste(template, sides.template, left, top);
        let left = left + sides.template + GAP;
        canvas.paste(search, sides.search, left, top);
        let centre = [left + sides.search / 2, top + sides.search / 2];
        for (anchor, label) in anchors.as_slice().iter().zip(labels) {
            match label {
                1 => canvas.outline(*anchor, centre, sides.search, YELLOW),
                0 => canvas.outline([anchor[0], anchor[1], 1.0, 1.0], centre, sides.search, BLUE),
                _ => {}
            }
        }
        let colour = if *negative { RED } else { GREEN };
        canvas.outline(*target, centre, sides.search, colour);
        canvas.outline([target[0], target[1], target[2] + 2.0, target[3] + 2.0], centre, sides.search, colour);
    }
    let mut png = Cursor::new(Vec::new());
    let [w, h] = [canvas.width, canvas.height].map(|v| u32::try_from(v).unwrap_or(u32::MAX));
    image::write_buffer_with_format(
        &mut png,
        &canvas.data,
        w,
        h,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )?;
    Ok(png.into_inner())
}
