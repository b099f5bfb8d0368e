//! Sequences side by side.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` on every item (its index is passed too), `jobs` at the same time, and answers what came out in the
/// order of the items. Items begin in their order.
pub(super) fn each<T: Send, R: Send>(
    items: &mut [T],
    jobs: usize,
    work: &(dyn Fn(usize, &mut T) -> R + Sync),
) -> Vec<R> {
    let threads = jobs.clamp(1, items.len().max(1));
    let queue = Mutex::new(items.iter_mut().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let one = || {
            let mut done = Vec::new();
            while let Some((index, item)) = next() {
                done.push((index, work(index, item)));
            }
            done
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn everything_is_done_once_in_order_and_side_by_side() {
        for jobs in [0, 1, 3, 50] {
            let mut items: Vec<usize> = (0..20).collect();
            let squares = each(&mut items, jobs, &|index, item| {
                *item += 1;
                index * index
            });
            assert_eq!(squares, (0..20).map(|n| n * n).collect::<Vec<_>>());
            assert_eq!(items, (1..21).collect::<Vec<_>>());
        }
        // Two at a time, or this waits for ever.
        let both = Barrier::new(2);
        assert_eq!(each(&mut [(), ()], 2, &|_, ()| both.wait().is_leader()).iter().filter(|leads| **leads).count(), 1);
        assert!(each(&mut [(); 0], 4, &|_, ()| ()).is_empty());
    }
}
