//! In which order the units of an epoch are visited: a pure function of seed, epoch and position.
//!
//! ```text
//! whole dataset   round 0 of all units, round 1 of all units, ...
//! windows of W    the shards in a permuted order, W at a time; in each window round 0 of its units, round 1, ...
//! ```
//!
//! Windows make reads local for disks and object stores that need it: never more than W shards are in use (2 W where a
//! batch crosses from one window to the next). Round after round within a window also keeps two pairs of one unit far
//! apart.

use crate::order::{Rng, key, permute};
use std::sync::{Arc, Mutex, PoisonError};

/// Layouts of past passes that are kept; workers are at most a few batches apart.
const KEPT: usize = 4;

/// One visit of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The unit.
    pub unit: u64,
    /// How often it was visited before in this epoch.
    pub round: u64,
    /// The window, and the layout that it is a window of.
    window: Option<(usize, Arc<Layout>)>,
}

/// The order of one run.
#[derive(Debug, Clone)]
pub(crate) struct Visits {
    units: u64,
    seed: u64,
    windows: Option<Windows>,
}

/// Layouts by epoch and pass.
type Kept = Vec<((u32, u64), Arc<Layout>)>;

#[derive(Debug, Clone)]
struct Windows {
    /// Units of each shard that has any.
    shards: Vec<Vec<u32>>,
    /// Shards per window.
    size: usize,
    /// Visits of a unit in one pass.
    rounds: u64,
    /// A cache: what is in it depends on its keys (epoch, pass) alone.
    layouts: Arc<Mutex<Kept>>,
}

/// The windows of one pass over the dataset.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// Units of each window, shard by shard.
    windows: Vec<Vec<u32>>,
    /// Visits before each window.
    starts: Vec<u64>,
}

impl Visits {
    /// `shards`: the shard of each unit. `window`: shards per window, 0 for the whole dataset. `rounds`: pairs per unit
    /// and epoch.
    pub(crate) fn new(shards: &[u32], window: u32, rounds: u64, seed: u64) -> Self {
        let mut by_shard = std::collections::BTreeMap::<u32, Vec<u32>>::new();
        for (unit, shard) in (0_u32..).zip(shards) {
            by_shard.entry(*shard).or_default().push(unit);
        }
        let whole = window == 0 || window as usize >= by_shard.len();
        let windows = (!whole).then(|| Windows {
            shards: by_shard.into_values().collect(),
            size: window as usize,
            rounds: rounds.max(1),
            layouts: Arc::default(),
        });
        Self { units: shards.len() as u64, seed, windows }
    }

    /// The visit at `position` of an epoch; positions beyond the epoch's end go on with further rounds.
    pub(crate) fn at(&self, epoch: u32, position: u64) -> Visit {
        let n = self.units.max(1);
        let keyed = |parts: &[u64]| key(&[&[self.seed, u64::from(epoch)], parts].concat());
        let Some(windows) = &self.windows else {
            let (round, j) = (position / n, position % n);
            return Visit { unit: permute(j, n, keyed(&[round])), round, window: None };
        };
        let visits = n * windows.rounds;
        let (pass, position) = (position / visits, position % visits);
        let layout = windows.layout(epoch, pass, keyed(&[pass, 0x77_696e]));
        let number = layout.starts.partition_point(|start| *start <= position).saturating_sub(1);
        let units = layout.windows.get(number).map_or(&[][..], Vec::as_slice);
        let size = (units.len() as u64).max(1);
        let position = position - layout.starts.get(number).copied().unwrap_or_default();
        let round = pass * windows.rounds + position / size;
        let place = permute(position % size, size, keyed(&[number as u64, round]));
        let unit = usize::try_from(place).ok().and_then(|place| units.get(place)).copied().unwrap_or_default();
        Visit { unit: u64::from(unit), round, window: Some((number, layout)) }
    }

    /// A random unit of the window that a visit belongs to.
    pub(crate) fn neighbour(&self, visit: &Visit, rng: &mut Rng) -> u64 {
        let window = visit.window.as_ref().and_then(|(number, layout)| layout.windows.get(*number));
        let Some(units) = window else { return rng.below(self.units) };
        let place = rng.below(units.len() as u64) as usize;
        u64::from(units.get(place).copied().unwrap_or_default())
    }
}

impl Windows {
    fn layout(&self, epoch: u32, pass: u64, key: u64) -> Arc<Layout> {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, layout)) = layouts.iter().find(|(of, _)| *of == (epoch, pass)) {
            return Arc::clone(layout);
        }
        let n = self.shards.len() as u64;
        let order: Vec<u64> = (0..n).map(|j| permute(j, n, key)).collect();
        let windows: Vec<Vec<u32>> = order
            .chunks(self.size)
            .map(|shards| shards.iter().filter_map(|s| self.shards.get(*s as usize)).flatten().copied().collect())
            .collect();
        let mut visits = 0;
        let starts = windows
            .iter()
            .map(|units: &Vec<u32>| {
                let start = visits;
                visits += units.len() as u64 * self.rounds;
                start
            })
            .collect();
        let layout = Arc::new(Layout { windows, starts });
        if layouts.len() >= KEPT {
            layouts.remove(0);
        }
        layouts.push(((epoch, pass), Arc::clone(&layout)));
        layout
    }
}
