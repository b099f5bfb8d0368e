//! Epochs of a fixed number of pairs, shared out among `dataset` labels: a pure function of seed, epoch and position.
//!
//! ```text
//! L pairs per epoch, of which label l has n_l (its share, largest remainders rounded up)
//! position p -> q = permute(p; L, key(seed, epoch))        which labels a batch mixes
//! q          -> label l and i < n_l                        q lies in the label's part of 0..L
//! visit      c = epoch * n_l + i ; round k = c / N_l ; j = c mod N_l
//! unit       u = permute(j; N_l, key(seed, l, k))          of the label's N_l units
//! ```
//!
//! A label's visits are counted through from epoch to epoch, so its units are visited equally often, whatever its share:
//! after any number of epochs two of them differ by one visit at most. With windows of shards the same visits of an epoch
//! come in another order: window by window.

use crate::order::{Rng, key, name_key, permute};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Layouts of past epochs that are kept; workers are at most a few batches apart.
const KEPT: usize = 2;
/// Sets the keys of this order apart from all others.
const MIX: u64 = 0x6d_6978;

/// The units of one label, or of all.
#[derive(Debug, Clone)]
struct Group {
    label: String,
    units: Vec<u32>,
    /// Of an epoch's pairs; all shares together are 1.
    share: f64,
    key: u64,
    /// Its part of an epoch's pairs.
    part: Range<u64>,
}

/// The order of one run.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    seed: u64,
    groups: Vec<Group>,
    /// Pairs of an epoch.
    pairs: u64,
    windows: Option<Windows>,
}

/// Layouts by epoch.
type Kept = Vec<(u32, Arc<Layout>)>;

#[derive(Debug, Clone)]
struct Windows {
    /// For each unit, which of the used shards it lies in.
    shards: Vec<u32>,
    /// Used shards.
    count: u64,
    /// Shards per window.
    size: usize,
    /// A cache: what is in it depends on its keys (epochs) alone.
    layouts: Arc<Mutex<Kept>>,
}

/// The windows of one epoch.
#[derive(Debug)]
struct Layout {
    /// An epoch's pairs, window by window.
    pairs: Vec<u32>,
    /// Pairs before each window.
    starts: Vec<u64>,
}

impl Mix {
    /// `groups`: label, units and weight of each. `shards`: the shard of each unit; `window`: shards per window, 0 for
    /// the whole dataset. Epochs have no pairs before [`Mix::resize`].
    pub(crate) fn new(groups: Vec<(String, Vec<u32>, f64)>, shards: &[u32], window: u32, seed: u64) -> Self {
        let total: f64 = groups.iter().map(|(_, _, weight)| weight).sum();
        let group = |(label, units, weight): (String, Vec<u32>, f64)| {
            let key = name_key(&label, seed);
            Group { label, units, share: weight / total, key, part: 0..0 }
        };
        let mut numbers: BTreeMap<u32, u32> = shards.iter().map(|shard| (*shard, 0)).collect();
        for (number, slot) in (0_u32..).zip(numbers.values_mut()) {
            *slot = number;
        }
        let whole = window == 0 || window as usize >= numbers.len();
        let windows = (!whole).then(|| Windows {
            shards: shards.iter().map(|shard| numbers.get(shard).copied().unwrap_or_default()).collect(),
            count: numbers.len() as u64,
            size: window as usize,
            layouts: Arc::default(),
        });
        Self { seed, groups: groups.into_iter().map(group).collect(), pairs: 0, windows }
    }

    /// Gives epochs this many pairs.
    pub(crate) fn resize(&mut self, pairs: u64) {
        self.pairs = pairs;
        if let Some(windows) = &mut self.windows {
            windows.layouts = Arc::default();
        }
        let exact = |group: &Group| group.share * pairs as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a count of pairs")]
        let mut parts: Vec<u64> = self.groups.iter().map(|group| exact(group).floor() as u64).collect();
        let rest = |(number, part): (usize, &u64)| (number, self.groups.get(number).map_or(0.0, exact) - *part as f64);
        let mut rests: Vec<(usize, f64)> = parts.iter().enumerate().map(rest).collect();
        rests.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let left = pairs.saturating_sub(parts.iter().sum()) as usize;
        for (number, _) in rests.iter().cycle().take(if rests.is_empty() { 0 } else { left }) {
            if let Some(part) = parts.get_mut(*number) {
                *part += 1;
            }
        }
        let mut first = 0;
        for (group, part) in self.groups.iter_mut().zip(parts) {
            group.part = first..first + part;
            first += part;
        }
    }

    /// A label whose share is so small that it gets none of an epoch's pairs.
    pub(crate) fn left_out(&self) -> Option<&str> {
        self.groups.iter().find(|group| group.part.is_empty()).map(|group| group.label.as_str())
    }

    /// Pairs of an epoch.
    pub(crate) fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Are the shards taken in windows?
    pub(crate) fn windowed(&self) -> bool {
        self.windows.is_some()
    }

    /// Unit and round at `position` of an epoch; behind the epoch's last position comes its first one.
    pub(crate) fn at(&self, epoch: u32, position: u64) -> (u64, u64) {
        let position = position % self.pairs.max(1);
        let Some((number, window, layout)) = self.window(epoch, position) else {
            return self.visit(epoch, permute(position, self.pairs, self.key(epoch, 0)));
        };
        let place = permute(position - window.start, window.end - window.start, self.key(epoch, 1 + number as u64));
        self.visit(epoch, layout.pair(window.start + place))
    }

    /// A random unit of the window that a position belongs to, drawn as often as it is visited there.
    pub(crate) fn neighbour(&self, epoch: u32, position: u64, rng: &mut Rng) -> u64 {
        let position = position % self.pairs.max(1);
        let q = match self.window(epoch, position) {
            None => rng.below(self.pairs),
            Some((_, window, layout)) => layout.pair(window.start + rng.below(window.end - window.start)),
        };
        self.visit(epoch, q).0
    }

    fn key(&self, epoch: u32, part: u64) -> u64 {
        key(&[self.seed, u64::from(epoch), part, MIX])
    }

    /// Unit and round of pair `q` of an epoch.
    fn visit(&self, epoch: u32, q: u64) -> (u64, u64) {
        let number = self.groups.partition_point(|group| group.part.end <= q);
        let Some(group) = self.groups.get(number) else { return (0, 0) };
        let count = (group.units.len() as u64).max(1);
        let visit = u64::from(epoch) * (group.part.end - group.part.start) + (q - group.part.start);
        let (round, j) = (visit / count, visit % count);
        let place = permute(j, count, key(&[self.seed, group.key, round, MIX]));
        let unit = usize::try_from(place).ok().and_then(|place| group.units.get(place)).copied().unwrap_or_default();
        (u64::from(unit), round)
    }

    /// The window of a position: its number, its positions, and the epoch's layout.
    fn window(&self, epoch: u32, position: u64) -> Option<(usize, Range<u64>, Arc<Layout>)> {
        let windows = self.windows.as_ref()?;
        let mut layouts = windows.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = layouts.iter().find(|(of, _)| *of == epoch).map(|(_, layout)| Arc::clone(layout));
        let layout = known.unwrap_or_else(|| {
            let layout = Arc::new(self.lay(windows, epoch));
            if layouts.len() >= KEPT {
                layouts.remove(0);
            }
            layouts.push((epoch, Arc::clone(&layout)));
            layout
        });
        drop(layouts);
        let number = layout.starts.partition_point(|start| *start <= position).saturating_sub(1);
        let start = layout.starts.get(number).copied().unwrap_or_default();
        let end = layout.starts.get(number + 1).copied().unwrap_or(self.pairs);
        Some((number, start..end, layout))
    }

    /// Sorts an epoch's pairs by window; the windows hold the shards in a random order.
    fn lay(&self, windows: &Windows, epoch: u32) -> Layout {
        let order = self.key(epoch, u64::MAX);
        let mut window_of = vec![0_usize; windows.count as usize];
        for place in 0..windows.count {
            let shard = permute(place, windows.count, order) as usize;
            if let Some(slot) = window_of.get_mut(shard) {
                *slot = place as usize / windows.size;
            }
        }
        let mut sorted = vec![Vec::new(); (windows.count as usize).div_ceil(windows.size)];
        // `resize` is never asked for more pairs than fit.
        for q in 0..u32::try_from(self.pairs).unwrap_or(u32::MAX) {
            let (unit, _) = self.visit(epoch, u64::from(q));
            let shard = windows.shards.get(unit as usize).copied().unwrap_or_default();
            let window = window_of.get(shard as usize).copied().unwrap_or_default();
            if let Some(own) = sorted.get_mut(window) {
                own.push(q);
            }
        }
        // A window without a pair has no positions.
        sorted.retain(|own| !own.is_empty());
        let mut starts = Vec::with_capacity(sorted.len());
        let mut pairs = Vec::with_capacity(self.pairs as usize);
        for own in sorted {
            starts.push(pairs.len() as u64);
            pairs.extend(own);
        }
        Layout { pairs, starts }
    }
}

impl Layout {
    fn pair(&self, place: u64) -> u64 {
        usize::try_from(place).ok().and_then(|place| self.pairs.get(place)).copied().map_or(0, u64::from)
    }
}
