//! Which video goes into which shard: known before any picture is read, the same on every machine, and the same for
//! `ingest build` and for a dataset that is laid out anew.
//!
//! Sizes are estimated from the number of rows alone: the same corpus must be dealt equally as a folder and as an archive.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A video to be dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// `dataset` label.
    pub dataset: &'a str,
    /// Name.
    pub video: &'a str,
    /// Estimated bytes of its rows.
    pub bytes: u64,
}

/// Estimated bytes of a row: JPEG of ordinary pictures at quality 95 takes about 0.17 byte per pixel for crops cut here;
/// the corpus' own crops (`source_bytes`) average 23.5 kB. Sides in px.
#[must_use]
pub fn row_bytes(source_bytes: bool, search_px: u32, template_px: u32) -> u64 {
    let square = |px: u32| u64::from(px) * u64::from(px) * 17 / 100 + 700;
    let search = if source_bytes { 23_500 } else { square(search_px) };
    search + square(template_px)
}

/// Deals videos to shards of about `shard_bytes`: in the order of a seeded hash of their names, each to the shard with
/// the fewest bytes so far. Gives the positions of each shard's videos, in the order of its rows.
#[must_use]
pub fn deal(items: &[Item<'_>], shard_bytes: u64, seed: u64) -> Vec<Vec<usize>> {
    let place = |item: &Item<'_>| xxh3_64_with_seed(format!("{}\0{}", item.dataset, item.video).as_bytes(), seed);
    let mut order: Vec<(u64, Item<'_>, usize)> =
        items.iter().enumerate().map(|(number, item)| (place(item), *item, number)).collect();
    order.sort_by(|a, b| (a.0, a.1.dataset, a.1.video).cmp(&(b.0, b.1.dataset, b.1.video)));
    let bytes: u64 = items.iter().map(|item| item.bytes).sum();
    let count = bytes.div_ceil(shard_bytes.max(1)).clamp(1, (items.len() as u64).clamp(1, 100_000));
    let count = usize::try_from(count).unwrap_or(1);
    let mut shards = vec![Vec::new(); count];
    // Smallest first; equal ones by number.
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> = (0..count).map(|shard| Reverse((0, shard))).collect();
    for (_, item, number) in order {
        let Some(Reverse((filled, shard))) = heap.pop() else { break };
        heap.push(Reverse((filled + item.bytes.max(1), shard)));
        if let Some(list) = shards.get_mut(shard) {
            list.push(number);
        }
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_video_is_dealt_once_whatever_the_order_it_came_in() {
        let names: Vec<String> = (0..50).map(|i| format!("v{i}")).collect();
        let items: Vec<Item<'_>> =
            names.iter().zip(1..).map(|(video, i)| Item { dataset: "d", video, bytes: i * 10 }).collect();
        let shards = deal(&items, 1500, 7);
        assert_eq!(shards.len(), 9);
        let mut all: Vec<usize> = shards.concat();
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        let reversed: Vec<Item<'_>> = items.iter().rev().copied().collect();
        let again = deal(&reversed, 1500, 7);
        let named = |items: &[Item<'_>], shards: &[Vec<usize>]| -> Vec<Vec<String>> {
            shards.iter().map(|list| list.iter().map(|&i| items[i].video.to_owned()).collect()).collect()
        };
        assert_eq!(named(&items, &shards), named(&reversed, &again));
        assert_ne!(deal(&items, 1500, 8), shards);
        assert_eq!(deal(&[], 10, 0), [Vec::<usize>::new()]);
    }
}
