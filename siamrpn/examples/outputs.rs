//! What the network answers for a picture, for comparison with other programs.
//!
//! ```sh
//! cargo run --release -p siamrpn --example outputs -- MODEL.safetensors FRAME X,Y,W,H NEXT-FRAME FOLDER
//! ```
//!
//! Cuts exemplar and search window as the tracker does, both around the box, and leaves in FOLDER `exemplar.ppm` and
//! `search.ppm`, and of each engine `burn.json` and `native.json`: `scores` (N numbers) and `boxes` (4 lists of N: cx, cy,
//! w, h in search pixels from the centre).

use serde_json::json;
use shards::crop::{CropSpec, crop_target};
use shards::image::Rgb;
use shards::jpeg::{Limits, decode_image};
use siamrpn::anchors::Anchors;
use siamrpn::decode::decode;
use siamrpn::device::device;
use siamrpn::engine::{BurnEngine, Engine, Native};
use siamrpn::model::Model;
use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, frame, rect, next, folder] = args.as_slice() else {
        return Err("give MODEL FRAME X,Y,W,H NEXT-FRAME FOLDER".into());
    };
    let Model { config, net, .. } = Model::load(Path::new(model), &device("cpu")?)?;
    let rect: Vec<f64> = rect.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let [x, y, w, h] = rect.as_slice() else { return Err("a box has four numbers: X,Y,W,H".into()) };
    let spec = CropSpec {
        semantics: config.semantics,
        exemplar_px: config.exemplar_px,
        context_amount: config.context_amount,
    };
    let read = |path: &str| -> Result<Rgb, Box<dyn Error>> { Ok(decode_image(&fs::read(path)?, &Limits::default())?) };
    let (first, next) = (read(frame)?, read(next)?);
    let mean = first.channel_mean();
    let cut = |frame: &Rgb, side: u32| crop_target(frame, mean, [x + w / 2.0, y + h / 2.0, *w, *h], side, &spec);
    let exemplar = cut(&first, config.exemplar_px)?.image;
    let search = cut(&next, config.search_px)?.image;

    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    for (name, picture) in [("exemplar.ppm", &exemplar), ("search.ppm", &search)] {
        let header = format!("P6\n{} {}\n255\n", picture.width, picture.height);
        fs::write(folder.join(name), [header.as_bytes(), &picture.data].concat())?;
    }
    let anchors = Anchors::new(&config.anchors, config.response(config.search_px));
    let burn = BurnEngine::new(&config, &net);
    let engines: [(&str, Box<dyn Engine>); 2] =
        [("burn.json", Box::new(burn.clone())), ("native.json", Box::new(Native::new(burn)?))];
    for (name, engine) in engines {
        let found = engine.start(&exemplar)?.search(&search)?;
        let mut boxes: [Vec<f64>; 4] = Default::default();
        for (i, anchor) in anchors.as_slice().iter().enumerate() {
            let delta = [0, 1, 2, 3].map(|c| f64::from(found.deltas[c * anchors.len() + i]));
            for (values, value) in boxes.iter_mut().zip(decode(anchor.map(f64::from), delta)) {
                values.push(value);
            }
        }
        fs::write(folder.join(name), json!({"scores": found.scores, "boxes": boxes}).to_string())?;
    }
    Ok(())
}
