//! Search pictures of many videos through the network together.

use super::{BurnEngine, Engine, EngineError, Session};
use crate::decode::{Response, responses};
use crate::net::{Template, input};
use burn::tensor::Tensor;
use shards::image::Rgb;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Most pictures of a batch.
const LARGEST: usize = 16;

/// An engine for several trackers on several threads. One thread runs the network: pictures that arrive while it is busy
/// become its next batch, so that nobody waits for a batch to fill. The number of pictures is rounded up to a power of
/// two, because a GPU's kernels are prepared for each shape.
///
/// What a tracker gets does not depend on who else is in its batch, but for the order of floating-point sums.
#[derive(Debug)]
pub struct Batched {
    engine: BurnEngine,
    requests: SyncSender<Request>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    pictures: AtomicU64,
    batches: AtomicU64,
}

#[derive(Debug)]
struct Request {
    template: Template,
    pixels: Vec<u8>,
    reply: SyncSender<Result<Response, EngineError>>,
}

impl Batched {
    /// Starts the network's thread; it ends with the last session and this.
    #[must_use]
    pub fn new(engine: BurnEngine) -> Self {
        let (requests, waiting) = sync_channel(LARGEST);
        let counts = Arc::new(Counts::default());
        let (worker, counted) = (engine.clone(), Arc::clone(&counts));
        std::thread::spawn(move || serve(&worker, &waiting, &counted));
        Self { engine, requests, counts }
    }

    /// Search pictures and batches so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.pictures.load(Ordering::Relaxed), self.counts.batches.load(Ordering::Relaxed))
    }
}

impl Engine for Batched {
    fn start(&self, template: &Rgb) -> Result<Box<dyn Session>, EngineError> {
        let template = self.engine.template(template)?;
        let (side, requests) = (self.engine.search, self.requests.clone());
        Ok(Box::new(BatchedSession { template, side, requests }))
    }
}

#[derive(Debug)]
struct BatchedSession {
    template: Template,
    side: usize,
    requests: SyncSender<Request>,
}

impl Session for BatchedSession {
    fn search(&mut self, search: &Rgb) -> Result<Response, EngineError> {
        super::square(search, self.side)?;
        let (reply, answer) = sync_channel(1);
        let request = Request { template: self.template.clone(), pixels: search.data.clone(), reply };
        self.requests.send(request).map_err(|_| EngineError::Stopped)?;
        answer.recv().map_err(|_| EngineError::Stopped)?
    }
}

fn serve(engine: &BurnEngine, waiting: &Receiver<Request>, counts: &Counts) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(LARGEST - 1));
        counts.pictures.fetch_add(batch.len() as u64, Ordering::Relaxed);
        counts.batches.fetch_add(1, Ordering::Relaxed);
        match run(engine, &batch) {
            Ok(found) => {
                for (request, response) in batch.into_iter().zip(found) {
                    // A session that is gone wants no answer.
                    drop(request.reply.send(Ok(response)));
                }
            }
            // Each is told its own fault.
            Err(_) => {
                for request in batch {
                    let alone = run(engine, std::slice::from_ref(&request));
                    let answer = alone.and_then(|mut found| found.pop().ok_or(EngineError::Stopped));
                    drop(request.reply.send(answer));
                }
            }
        }
    }
}

/// The responses of a batch, in its order.
fn run(engine: &BurnEngine, batch: &[Request]) -> Result<Vec<Response>, EngineError> {
    let wanted = batch.len().next_power_of_two();
    let padded: Vec<&Request> = batch.iter().chain(batch.first().into_iter().cycle()).take(wanted).collect();
    let stack =
        |part: &dyn Fn(&Template) -> Tensor<4>| Tensor::cat(padded.iter().map(|r| part(&r.template)).collect(), 0);
    let template = Template { cls: stack(&|t| t.cls.clone()), reg: stack(&|t| t.reg.clone()) };
    let pixels: Vec<u8> = padded.iter().flat_map(|r| &r.pixels).copied().collect();
    let x = input(&pixels, wanted, engine.search, engine.channels, &engine.device)?;
    let mut found = responses(engine.net.track(&template, x))?;
    found.truncate(batch.len());
    if found.len() == batch.len() { Ok(found) } else { Err(EngineError::Stopped) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SiamRpn;
    use crate::tracker::Tracker;
    use burn::tensor::Device;
    use schemas::model::{HeadKind, ModelConfig, TrunkConfig};

    fn picture(side: usize, seed: u64) -> Rgb {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut picture = Rgb::filled(side, side, [0; 3]);
        picture.data.iter_mut().for_each(|v| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *v = (state >> 56) as u8;
        });
        picture
    }

    #[test]
    fn company_does_not_change_an_answer() {
        for head in [HeadKind::UpChannel, HeadKind::Depthwise] {
            let config = ModelConfig { head, trunk: TrunkConfig { widths: [4, 6, 6, 6, 6] }, ..ModelConfig::default() };
            let net = SiamRpn::new(&config, 3, &Device::flex()).unwrap();
            let alone = BurnEngine::new(&config, &net);
            let batched = Batched::new(alone.clone());
            let (exemplar, side) = (config.exemplar_px as usize, config.search_px as usize);
            std::thread::scope(|scope| {
                for video in 0..6 {
                    let (alone, batched) = (&alone, &batched);
                    scope.spawn(move || {
                        let template = picture(exemplar, video);
                        let mut one = alone.start(&template).unwrap();
                        let mut many = batched.start(&template).unwrap();
                        for frame in 0..8 {
                            let search = picture(side, 100 * video + frame);
                            let (a, b) = (one.search(&search).unwrap(), many.search(&search).unwrap());
                            let away = |a: &[f32], b: &[f32]| {
                                assert_eq!(a.len(), b.len());
                                a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
                            };
                            let (scores, deltas) = (away(&a.scores, &b.scores), away(&a.deltas, &b.deltas));
                            assert!(scores < 1e-5 && deltas < 1e-4, "{scores} {deltas}");
                        }
                    });
                }
            });
            let (pictures, batches) = batched.counts();
            assert!(pictures == 48 && batches < pictures, "{pictures} pictures in {batches} batches");
            let mut session = batched.start(&picture(exemplar, 0)).unwrap();
            assert!(matches!(session.search(&picture(10, 0)), Err(EngineError::Side { .. })));
            drop(batched);
            assert!(session.search(&picture(side, 0)).is_ok(), "a session keeps the network alive");
        }
    }

    #[test]
    fn boxes_are_those_of_a_tracker_alone() {
        let config = ModelConfig { trunk: TrunkConfig { widths: [4, 6, 6, 6, 6] }, ..ModelConfig::default() };
        let net = SiamRpn::new(&config, 3, &Device::flex()).unwrap();
        let alone: Arc<dyn Engine> = Arc::new(BurnEngine::new(&config, &net));
        let batched: Arc<dyn Engine> = Arc::new(Batched::new(BurnEngine::new(&config, &net)));
        std::thread::scope(|scope| {
            for video in 0..4 {
                let engines = [&alone, &batched].map(Arc::clone);
                let config = config.clone();
                scope.spawn(move || {
                    let [mut one, mut other] = engines.map(|engine| Tracker::with_engine(config.clone(), engine));
                    for tracker in [&mut one, &mut other] {
                        tracker.init(&picture(120, video), [40.0, 30.0, 30.0, 40.0]).unwrap();
                    }
                    for frame in 0..6 {
                        let frame = picture(120, 10 * video + frame);
                        let (a, b) = (one.update(&frame).unwrap().rect, other.update(&frame).unwrap().rect);
                        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 0.01), "{a:?} {b:?}");
                    }
                });
            }
        });
    }
}
