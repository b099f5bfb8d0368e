//! Which pairs an epoch draws: a pure function of seed, epoch, step and place in the batch.
//!
//! The units of an epoch are visited in one order per round, over the whole dataset or window by window of shards
//! (`data.shuffle_window`). Both orders draw the same pairs, since a pair's randomness depends on unit and round alone.
//! Epochs of `data.pairs_per_epoch` pairs, or with `data.share_by_dataset`, are counted otherwise: `mix.rs`.

use crate::mix::Mix;
use crate::order::{Rng, key};
use crate::reader::{Dataset, Index, IndexRow, ReadError};
use crate::windows::Visits;
use schemas::train::{DataConfig, DistanceKind, EpochUnit};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A row, by shard and place in the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// Shard number.
    pub shard: u32,
    /// Row in shard.
    pub row: u32,
}

/// One track: rows that lie together in one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// `dataset` label, by number.
    pub dataset: u32,
    /// Shard of all its rows.
    pub shard: u32,
    /// Rows that may be drawn, in frame order.
    pub rows: Vec<u32>,
}

/// The tracks of a dataset, grouped by video, from its index.
#[derive(Debug, Clone, Default)]
pub struct Tracks {
    datasets: Vec<String>,
    tracks: Vec<Track>,
    videos: Vec<Vec<u32>>,
    /// Per dataset label, whether its tracks are single pictures.
    stills: Vec<bool>,
    /// Rows that the configuration does not draw.
    left_out: u64,
}

/// Why no pairs can be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No track has two rows.
    #[error("the dataset has no track with two usable rows: nothing to train on")]
    Empty,
    /// A batch does not fit into an epoch.
    #[error(
        "an epoch has {pairs} pairs, fewer than one batch of {batch}: lower run.batch, raise data.pairs_per_unit, or give \
         run.steps_per_epoch"
    )]
    ShortEpoch {
        /// Pairs of one epoch.
        pairs: u64,
        /// Batch size.
        batch: u64,
    },
    /// A batch of a mix does not fit into an epoch, or an epoch has no end.
    #[error(
        "an epoch of {pairs} pairs in batches of {batch} cannot be mixed: give data.pairs_per_epoch or run.steps_per_epoch \
         at least one batch and less than 4 billion pairs"
    )]
    Length {
        /// Pairs of one epoch.
        pairs: u64,
        /// Batch size.
        batch: u64,
    },
    /// A share that is none.
    #[error("data.share_by_dataset: the share of {label} is {share}; expected numbers, 0 or above, not all of them 0")]
    Share {
        /// The label.
        label: String,
        /// What was given.
        share: String,
    },
    /// A label that the data does not have.
    #[error("data.share_by_dataset names {label}, which the data does not have; its labels are {known}")]
    UnknownLabel {
        /// The label.
        label: String,
        /// All labels.
        known: String,
    },
    /// A label without a share.
    #[error("data.share_by_dataset does not say the share of {label}: give it one, 0 leaves it out")]
    MissingLabel {
        /// The label.
        label: String,
    },
    /// A label with a share, but nothing to draw.
    #[error("{label} has a share of the pairs, but no track with two usable rows: leave it out with share 0")]
    EmptyLabel {
        /// The label.
        label: String,
    },
    /// A share of less than one pair.
    #[error("the share of {label} is less than one of the {pairs} pairs of an epoch: raise it, or the pairs")]
    SmallShare {
        /// The label.
        label: String,
        /// Pairs of one epoch.
        pairs: u64,
    },
    /// Two ways to mix at once.
    #[error("data.weight_by_dataset and data.share_by_dataset both say how datasets are mixed: give one of the two")]
    TwoMixes,
}

impl Tracks {
    /// Reads the index of a dataset, piece by piece; rows with a flag of `skip_flags` are left out.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn read(dataset: &Dataset, skip_flags: u8) -> Result<Self, ReadError> {
        Self::drawn(dataset, &DataConfig { skip_flags, ..DataConfig::default() })
    }

    /// As [`Tracks::read`], without all rows that the configuration does not draw: by flag, and by shape and size of
    /// the target. Datasets of ready-made crops do not know how large a target was in its frame; there the limits on the
    /// area leave out nothing.
    ///
    /// # Errors
    /// As [`Tracks::read`].
    pub fn drawn(dataset: &Dataset, config: &DataConfig) -> Result<Self, ReadError> {
        let mut grouping = Grouping::new(Filter::new(config));
        Index::scan(dataset.path(), |row| grouping.add(row))?;
        let mut tracks = grouping.out;
        let single = |label: &String| {
            let mut own = dataset.manifest().sources.iter().filter(|source| source.dataset == *label).peekable();
            // The crops that PySOT cuts from pictures have a list like those of videos.
            own.peek().is_some() && own.all(|s| s.kind == "stills" || (s.kind == "crop511" && s.rows == s.tracks))
        };
        tracks.stills = tracks.datasets.iter().map(single).collect();
        Ok(tracks)
    }

    /// Groups an index by track and video.
    #[must_use]
    pub fn from_index(index: &Index, skip_flags: u8) -> Self {
        let mut grouping = Grouping::new(Filter::new(&DataConfig { skip_flags, ..DataConfig::default() }));
        index.for_each(|row| grouping.add(row));
        grouping.out
    }

    /// All tracks.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Track numbers of each video.
    #[must_use]
    pub fn videos(&self) -> &[Vec<u32>] {
        &self.videos
    }

    /// Tracks that do not come from an index: `dataset` labels, tracks, and the tracks of each video.
    #[must_use]
    pub fn new(datasets: Vec<String>, tracks: Vec<Track>, videos: Vec<Vec<u32>>) -> Self {
        Self { datasets, tracks, videos, ..Self::default() }
    }

    /// Puts the tracks of another dataset behind these; its shards are numbered from `first_shard` on. Labels keep their
    /// names, so what a configuration says of a name holds in both.
    pub(crate) fn append(&mut self, other: Self, first_shard: u32) {
        let (labels, tracks) = (self.datasets.len() as u32, self.tracks.len() as u32);
        self.stills.resize(self.datasets.len(), false);
        self.datasets.extend(other.datasets);
        self.stills.extend(other.stills);
        self.stills.resize(self.datasets.len(), false);
        self.left_out += other.left_out;
        let moved = |t: Track| Track { dataset: t.dataset + labels, shard: t.shard + first_shard, ..t };
        self.tracks.extend(other.tracks.into_iter().map(moved));
        self.videos.extend(other.videos.into_iter().map(|video| video.into_iter().map(|t| t + tracks).collect()));
    }

    /// Rows that the configuration does not draw: by flag, shape or size.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// These tracks without a share of the videos, and those videos alone: the same ones every time, whatever the seed of a
    /// run. Numbers of tracks and videos stay; what belongs to the other side has no rows.
    #[must_use]
    pub fn split(self, share: f64) -> (Self, Self) {
        let (mut rest, mut held) = (self.clone(), self);
        for (number, video) in (0u64..).zip(&rest.videos) {
            let is_held = Rng::new(key(&[0x6865_6c64, number])).uniform() < share;
            let losing = if is_held { &mut rest.tracks } else { &mut held.tracks };
            for &track in video {
                if let Some(track) = losing.get_mut(track as usize) {
                    track.rows = Vec::new();
                }
            }
        }
        (rest, held)
    }

    /// `dataset` labels, by number.
    #[must_use]
    pub fn datasets(&self) -> &[String] {
        &self.datasets
    }
}

/// Which rows are drawn.
#[derive(Debug, Clone, Copy)]
struct Filter {
    skip_flags: u8,
    min_aspect: f64,
    area: [f64; 2],
}

impl Filter {
    fn new(config: &DataConfig) -> Self {
        let DataConfig { skip_flags, min_aspect, min_area, max_area, .. } = *config;
        Self { skip_flags, min_aspect, area: [min_area, max_area] }
    }

    fn keeps(&self, row: &IndexRow<'_>) -> bool {
        if row.flags() & self.skip_flags != 0 {
            return false;
        }
        let [low, high] = self.area;
        let by_area = low > 0.0 || high < 1.0;
        if self.min_aspect <= 0.0 && !by_area {
            return true;
        }
        let [w, h, scale] = ["box_w", "box_h", "scale"].map(|column| f64::from(row.float(column)));
        if (w / h).min(h / w) < self.min_aspect {
            return false;
        }
        let frame = f64::from(row.short("frame_w")) * f64::from(row.short("frame_h"));
        // Ready-made crops do not say how many of their pixels were one of the frame.
        let known = by_area && scale > 0.0 && frame > 0.0;
        !known || (low..=high).contains(&(w * h / (scale * scale) / frame))
    }
}

/// Tracks in the making, and the names of the row before.
struct Grouping {
    out: Tracks,
    filter: Filter,
    labels: BTreeMap<String, u32>,
    /// Dataset, video and track of the last row, and its shard.
    last: Option<([String; 3], u32)>,
}

impl Grouping {
    fn new(filter: Filter) -> Self {
        Self { out: Tracks::default(), filter, labels: BTreeMap::new(), last: None }
    }

    fn add(&mut self, row: IndexRow<'_>) {
        let (names, shard) = (["dataset", "video", "track"].map(|column| row.name(column)), row.word("shard"));
        let last = self.last.as_ref();
        if last.is_none_or(|(last, s)| *last != names || *s != shard) {
            let same_video = last.is_some_and(|(last, _)| last.iter().zip(names).take(2).all(|(a, b)| a == b));
            self.begin(names, shard, same_video);
        }
        if !self.filter.keeps(&row) {
            self.out.left_out += 1;
        } else if let Some(track) = self.out.tracks.last_mut() {
            track.rows.push(row.word("row"));
        }
    }

    /// The next row is the first one of a track.
    fn begin(&mut self, names: [&str; 3], shard: u32, same_video: bool) {
        let out = &mut self.out;
        let [dataset, ..] = names;
        let label = match self.labels.get(dataset) {
            Some(&label) => label,
            None => {
                let label = self.labels.len() as u32;
                self.labels.insert(dataset.to_owned(), label);
                out.datasets.push(dataset.to_owned());
                label
            }
        };
        if !same_video {
            out.videos.push(Vec::new());
        }
        if let Some(video) = out.videos.last_mut() {
            video.push(out.tracks.len() as u32);
        }
        if let Some(track) = out.tracks.last_mut() {
            track.rows.shrink_to_fit();
        }
        out.tracks.push(Track { dataset: label, shard, rows: Vec::new() });
        self.last = Some((names.map(str::to_owned), shard));
    }
}

/// One pair to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRef {
    /// Row whose template is taken.
    pub template: RowId,
    /// Row whose search crop is taken.
    pub search: RowId,
    /// Do the two show different targets?
    pub negative: bool,
    /// Key of the pair's augmentation.
    pub aug_key: u64,
}

/// Places in the batch that one of `world` processes takes: every process counts through the same global batch.
pub fn places(batch: usize, rank: usize, world: usize) -> impl Iterator<Item = usize> {
    (rank..batch).step_by(world.max(1))
}

/// The order of pairs of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    tracks: Vec<Track>,
    /// Eligible track numbers of each unit.
    units: Vec<Vec<u32>>,
    order: Order,
    gaps: Vec<u32>,
    seed: u64,
    batch: u64,
    /// Pairs that an epoch was asked to have; it has whole batches of them.
    pairs: u64,
    negative: f64,
    same_frame: bool,
    distance: DistanceKind,
}

/// In which order units are visited.
#[derive(Debug, Clone)]
enum Order {
    /// Every unit equally often in every epoch.
    Rounds(Visits),
    /// A fixed number of pairs in every epoch, by share.
    Mixed(Mix),
}

impl Order {
    /// Unit and round at a position of an epoch.
    fn at(&self, epoch: u32, position: u64) -> (u64, u64) {
        match self {
            Self::Rounds(visits) => {
                let visit = visits.at(epoch, position);
                (visit.unit, visit.round)
            }
            Self::Mixed(mix) => mix.at(epoch, position),
        }
    }

    /// A random unit of the window that a position belongs to.
    fn neighbour(&self, epoch: u32, position: u64, rng: &mut Rng) -> u64 {
        match self {
            Self::Rounds(visits) => visits.neighbour(&visits.at(epoch, position), rng),
            Self::Mixed(mix) => mix.neighbour(epoch, position, rng),
        }
    }
}

/// The labels' shares as groups of units; nothing where every unit counts alike in every epoch.
fn mix(
    tracks: &Tracks,
    units: &[Vec<u32>],
    shards: &[u32],
    seed: u64,
    config: &DataConfig,
) -> Result<Option<Mix>, PlanError> {
    let made = |groups| Ok(Some(Mix::new(groups, shards, config.shuffle_window, seed)));
    let shares = &config.share_by_dataset;
    if shares.is_empty() {
        let all = (0..units.len() as u32).collect();
        return if config.pairs_per_epoch == 0 { Ok(None) } else { made(vec![(String::new(), all, 1.0)]) };
    }
    if !config.weight_by_dataset.is_empty() {
        return Err(PlanError::TwoMixes);
    }
    // Several datasets may have the same label: one share for all of it.
    let mut by_label: BTreeMap<&str, Vec<u32>> =
        tracks.datasets.iter().map(|label| (label.as_str(), Vec::new())).collect();
    for (number, unit) in (0_u32..).zip(units) {
        let track = unit.first().and_then(|&t| tracks.tracks.get(t as usize));
        let label = track.and_then(|t| tracks.datasets.get(t.dataset as usize));
        if let Some(own) = label.and_then(|label| by_label.get_mut(label.as_str())) {
            own.push(number);
        }
    }
    for (label, share) in shares {
        if !by_label.contains_key(label.as_str()) {
            let known = by_label.keys().copied().collect::<Vec<_>>().join(", ");
            return Err(PlanError::UnknownLabel { label: label.clone(), known });
        }
        if !(share.is_finite() && *share >= 0.0) || shares.values().all(|s| *s <= 0.0) {
            return Err(PlanError::Share { label: label.clone(), share: share.to_string() });
        }
    }
    let mut groups = Vec::new();
    for (label, units) in by_label {
        let missing = || PlanError::MissingLabel { label: label.to_owned() };
        let share = *shares.get(label).ok_or_else(missing)?;
        if share > 0.0 && units.is_empty() {
            return Err(PlanError::EmptyLabel { label: label.to_owned() });
        }
        if share > 0.0 {
            groups.push((label.to_owned(), units, share));
        }
    }
    made(groups)
}

impl Plan {
    /// Plans the pairs of a run. A track is eligible with two rows (with one, where pairs of one frame are allowed and
    /// in datasets of single pictures, whose rows are paired with themselves); a dataset's weight w repeats its units: whole parts always, the fraction for a fixed, seeded choice of units.
    ///
    /// # Errors
    /// When no track is eligible, or the shares of the labels make no mix.
    pub fn new(tracks: &Tracks, seed: u64, config: &DataConfig, batch: usize) -> Result<Self, PlanError> {
        let single = |t: &Track| config.same_frame || tracks.stills.get(t.dataset as usize) == Some(&true);
        let least = |t: &Track| if single(t) { 1 } else { 2 };
        let eligible = |&t: &u32| tracks.tracks.get(t as usize).is_some_and(|t| t.rows.len() >= least(t));
        let candidates: Vec<Vec<u32>> = match config.epoch_unit {
            EpochUnit::Video => {
                tracks.videos.iter().map(|video| video.iter().copied().filter(eligible).collect()).collect()
            }
            EpochUnit::Track => (0..tracks.tracks.len() as u32).filter(eligible).map(|t| vec![t]).collect(),
        };
        let mut units = Vec::new();
        for (number, unit) in (0u64..).zip(candidates) {
            let Some(first) = unit.first().and_then(|&t| tracks.tracks.get(t as usize)) else { continue };
            let label = tracks.datasets.get(first.dataset as usize).map_or("", String::as_str);
            let weight = config.weight_by_dataset.get(label).copied().unwrap_or(1.0).clamp(0.0, 1e6);
            let fraction = Rng::new(key(&[seed, 0x77e1, number])).uniform();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
            let copies = weight.floor() as usize + usize::from(fraction < weight.fract());
            units.extend(std::iter::repeat_n(unit, copies));
        }
        if units.is_empty() {
            return Err(PlanError::Empty);
        }
        let shard = |unit: &Vec<u32>| unit.first().and_then(|&t| tracks.tracks.get(t as usize)).map_or(0, |t| t.shard);
        let shards: Vec<u32> = units.iter().map(shard).collect();
        let pairs_per_unit = u64::from(config.pairs_per_unit.max(1));
        let order = match mix(tracks, &units, &shards, seed, config)? {
            None => Order::Rounds(Visits::new(&shards, config.shuffle_window, pairs_per_unit, seed)),
            Some(mix) => Order::Mixed(mix),
        };
        let mut plan = Self {
            order,
            gaps: tracks
                .datasets
                .iter()
                .map(|label| config.gap_by_dataset.get(label).copied().unwrap_or(config.gap))
                .collect(),
            tracks: tracks.tracks.clone(),
            units,
            seed,
            batch: batch.max(1) as u64,
            negative: config.negative_probability,
            same_frame: config.same_frame,
            distance: config.distance,
            pairs: 0,
        };
        let pairs = match config.pairs_per_epoch {
            0 => plan.units() * pairs_per_unit,
            given => u64::from(given),
        };
        plan.resize(pairs)?;
        Ok(plan)
    }

    /// The plan with `steps` batches in every epoch; 0 leaves it as it is. Without a mix the rounds over the units simply
    /// go on; a mix has its shares in every epoch of this length.
    ///
    /// # Errors
    /// [`PlanError::ShortEpoch`] or [`PlanError::Length`] when 0 is given and not one batch is full;
    /// [`PlanError::SmallShare`].
    pub fn with_steps(mut self, steps: u64) -> Result<Self, PlanError> {
        match steps {
            0 => drop(self.full_steps()?),
            steps => self.resize(steps.saturating_mul(self.batch))?,
        }
        let Order::Mixed(mix) = &self.order else { return Ok(self) };
        match mix.left_out() {
            Some(label) => Err(PlanError::SmallShare { label: label.to_owned(), pairs: mix.pairs() }),
            None => Ok(self),
        }
    }

    /// Gives the epochs of a mix this many pairs, whole batches of them.
    fn resize(&mut self, pairs: u64) -> Result<(), PlanError> {
        let whole = pairs - pairs % self.batch;
        self.pairs = pairs;
        let Order::Mixed(mix) = &mut self.order else { return Ok(()) };
        if mix.windowed() && u32::try_from(whole).is_err() {
            return Err(PlanError::Length { pairs, batch: self.batch });
        }
        mix.resize(whole);
        Ok(())
    }

    /// Units of an epoch.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units.len() as u64
    }

    /// Pairs of a batch.
    #[must_use]
    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// Full batches an epoch gives; the short last one is dropped.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.pairs / self.batch
    }

    /// As [`Plan::steps_per_epoch`].
    ///
    /// # Errors
    /// [`PlanError::ShortEpoch`] when not one batch is full.
    pub fn full_steps(&self) -> Result<u64, PlanError> {
        match (self.steps_per_epoch(), &self.order) {
            (0, Order::Mixed(_)) => Err(PlanError::Length { pairs: self.pairs, batch: self.batch }),
            (0, Order::Rounds(_)) => Err(PlanError::ShortEpoch { pairs: self.pairs, batch: self.batch }),
            (steps, _) => Ok(steps),
        }
    }

    /// Pair `i` of the batch at `step` of `epoch` (both from 0). Steps beyond [`Plan::steps_per_epoch`] go on with
    /// further rounds over the units; those of a mix begin again. Pure: the same arguments give the same pair on every machine.
    #[must_use]
    pub fn pair(&self, epoch: u32, step: u64, i: usize) -> PairRef {
        let position = step * self.batch + i as u64;
        let (unit, round) = self.order.at(epoch, position);
        let pair_key = key(&[self.seed, u64::from(epoch), unit, round]);
        let mut rng = Rng::new(pair_key);
        let track = self.draw_track(unit, &mut rng);
        let (a, b) = self.draw_rows(track, &mut rng);
        let aug_key = key(&[pair_key, 1]);
        if self.negative > 0.0 && rng.uniform() < self.negative {
            // Another track, uniformly, from the same window; with a single track there the pair stays positive.
            for _ in 0..16 {
                let other = self.draw_track(self.order.neighbour(epoch, position, &mut rng), &mut rng);
                if other != track {
                    let (_, c) = self.draw_rows(other, &mut rng);
                    return PairRef { template: a, search: c, negative: true, aug_key };
                }
            }
        }
        PairRef { template: a, search: b, negative: false, aug_key }
    }

    fn draw_track(&self, unit: u64, rng: &mut Rng) -> u32 {
        let tracks = usize::try_from(unit).ok().and_then(|u| self.units.get(u)).map_or(&[][..], Vec::as_slice);
        tracks.get(rng.below(tracks.len() as u64) as usize).copied().unwrap_or_default()
    }

    /// Template row uniformly; search row among the other rows within the gap, uniformly or by distance.
    fn draw_rows(&self, track: u32, rng: &mut Rng) -> (RowId, RowId) {
        let Some(track) = self.tracks.get(track as usize) else {
            return (RowId { shard: 0, row: 0 }, RowId { shard: 0, row: 0 });
        };
        let len = track.rows.len() as u64;
        let gap = u64::from(self.gaps.get(track.dataset as usize).copied().unwrap_or(1).max(1));
        let a = rng.below(len);
        let (low, high) = (a.saturating_sub(gap), (a + gap).min(len.saturating_sub(1)));
        let b = if let Some(b) = by_distance(self.distance, a, low..=high, rng) {
            b
        } else if self.same_frame || len == 1 {
            low + rng.below(high - low + 1)
        } else {
            let b = low + rng.below(high - low);
            if b >= a { b + 1 } else { b }
        };
        let id = |i: u64| RowId { shard: track.shard, row: track.rows.get(i as usize).copied().unwrap_or_default() };
        (id(a), id(b))
    }
}

/// A row of `rows` other than `a`, the likelier the farther it is from `a`; nothing where distance does not count or there
/// is no other row.
fn by_distance(kind: DistanceKind, a: u64, rows: RangeInclusive<u64>, rng: &mut Rng) -> Option<u64> {
    let weight = |b: u64| match kind {
        DistanceKind::Uniform => 0.0,
        DistanceKind::Linear => a.abs_diff(b) as f64,
        DistanceKind::Sqrt => (a.abs_diff(b) as f64).sqrt(),
    };
    if kind == DistanceKind::Uniform || rows.start() == rows.end() {
        return None;
    }
    let mut left = rng.uniform() * rows.clone().map(weight).sum::<f64>();
    let found = rows.clone().find(|&b| {
        left -= weight(b);
        left < 0.0
    });
    // Rounding may leave a trace at the end.
    found.or_else(|| rows.rev().find(|&b| b != a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn tracks(lengths: &[u32]) -> Tracks {
        let mut all = Tracks { datasets: vec!["vid".to_owned()], ..Tracks::default() };
        let mut row = 0;
        for (i, &len) in (0u32..).zip(lengths) {
            all.videos.push(vec![i]);
            all.tracks.push(Track { dataset: 0, shard: i % 3, rows: (row..row + len).collect() });
            row += len;
        }
        all
    }

    proptest! {
        #[test]
        fn an_epoch_visits_every_unit_equally_and_pairs_keep_their_rules(
            lengths in prop::collection::vec(2u32..40, 2..30), gap in 1u32..20, seed: u64,
        ) {
            let config = DataConfig { gap, gap_by_dataset: BTreeMap::new(), ..DataConfig::default() };
            let all = tracks(&lengths);
            let plan = Plan::new(&all, seed, &config, 1).unwrap();
            prop_assert_eq!(plan.steps_per_epoch(), 2 * lengths.len() as u64);
            let mut visits = vec![0; lengths.len()];
            for step in 0..plan.steps_per_epoch() {
                let pair = plan.pair(3, step, 0);
                prop_assert_eq!(pair, plan.pair(3, step, 0));
                prop_assert!(pair.template != pair.search && !pair.negative);
                prop_assert!(pair.template.row.abs_diff(pair.search.row) <= gap);
                let track = all.tracks.iter().position(|t| t.rows.contains(&pair.template.row)).unwrap();
                prop_assert!(all.tracks[track].rows.contains(&pair.search.row));
                visits[track] += 1;
            }
            prop_assert!(visits.iter().all(|&v| v == 2), "{:?}", visits);
        }
    }

    #[test]
    fn what_is_held_out_is_never_drawn_and_nothing_is_lost() {
        let config = DataConfig { negative_probability: 0.3, ..DataConfig::default() };
        let rows = |tracks: &Tracks| {
            let plan = Plan::new(tracks, 5, &config, 1).unwrap();
            let pairs = (0..3 * plan.steps_per_epoch()).map(|step| plan.pair(0, step, 0));
            pairs.flat_map(|pair| [pair.template.row, pair.search.row]).collect::<HashSet<u32>>()
        };
        let all = tracks(&[2; 200]);
        let (rest, held) = all.clone().split(0.2);
        let (rest, held) = (rows(&rest), rows(&held));
        assert!(rest.is_disjoint(&held));
        assert_eq!(rest.len() + held.len(), 400);
        assert!((50..110).contains(&held.len()), "{}", held.len());
        assert_eq!(rows(&all.split(0.0).0).len(), 400);
    }

    #[test]
    fn batch_size_does_not_change_the_order() {
        let all = tracks(&[9; 20]);
        let config = DataConfig::default();
        let (one, five) = (Plan::new(&all, 7, &config, 1).unwrap(), Plan::new(&all, 7, &config, 5).unwrap());
        for p in 0..40 {
            assert_eq!(one.pair(0, p, 0), five.pair(0, p / 5, (p % 5) as usize));
        }
    }

    #[test]
    fn negatives_come_from_other_tracks_at_the_asked_rate() {
        let config = DataConfig { negative_probability: 0.3, ..DataConfig::default() };
        let all = tracks(&[9; 50]);
        let plan = Plan::new(&all, 1, &config, 1).unwrap();
        let pairs: Vec<PairRef> =
            (0..40).flat_map(|e| (0..100).map(move |s| (e, s))).map(|(e, s)| plan.pair(e, s, 0)).collect();
        let negative = pairs.iter().filter(|p| p.negative).count();
        assert!((1050..1350).contains(&negative), "{negative} of 4000");
        for pair in pairs.iter().filter(|p| p.negative) {
            assert_ne!(pair.template.row / 9, pair.search.row / 9);
        }
        assert!(pairs.iter().map(|p| p.aug_key).collect::<HashSet<_>>().len() > 3990);
    }

    #[test]
    fn what_cannot_be_planned_is_an_error() {
        let config = DataConfig::default();
        assert_eq!(Plan::new(&tracks(&[1, 1]), 0, &config, 1).unwrap_err(), PlanError::Empty);
        let short = Plan::new(&tracks(&[3]), 0, &config, 8).unwrap();
        assert_eq!(short.full_steps(), Err(PlanError::ShortEpoch { pairs: 2, batch: 8 }));
        // With a given number of steps the rounds simply go on.
        let keys: HashSet<u64> =
            (0..4).flat_map(|s| (0..8).map(move |i| (s, i))).map(|(s, i)| short.pair(0, s, i).aug_key).collect();
        assert_eq!(keys.len(), 32);
    }
}
