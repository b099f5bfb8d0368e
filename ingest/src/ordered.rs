//! A parallel map whose results come out in the order of its jobs, in bounded memory.
//!
//! The producer puts each job into the workers' queue and the receiving end of that job's result into the consumer's
//! queue. Both queues are bounded, so no more than a window of jobs and results exists at any time however uneven the
//! jobs are, and the consumer sees results in job order whatever the number of threads.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `work` over `jobs` on `threads` threads and hands the results to `sink` in the order of the jobs; `None`
/// stands for a job that panicked. The first error of `sink` ends the run.
///
/// # Errors
/// The first error of `sink`.
pub fn ordered_map<J, R, E>(
    threads: usize,
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(J) -> R + Sync,
    mut sink: impl FnMut(Option<R>) -> Result<(), E>,
) -> Result<(), E>
where
    J: Send,
    R: Send,
{
    let threads = threads.max(1);
    let window = 2 * threads + 2;
    let stop = AtomicBool::new(false);
    let (job_tx, job_rx) = bounded::<(J, Sender<R>)>(window);
    let (out_tx, out_rx) = bounded::<Receiver<R>>(window);
    std::thread::scope(|scope| {
        let (work, stop) = (&work, &stop);
        for _ in 0..threads {
            let job_rx = job_rx.clone();
            scope.spawn(move || {
                for (job, result) in job_rx {
                    if stop.load(Ordering::Relaxed) {
                        continue;
                    }
                    // A dropped sender tells the consumer that the job panicked.
                    if let Ok(value) = catch_unwind(AssertUnwindSafe(|| work(job))) {
                        // The consumer may be gone after an error of its own.
                        drop(result.send(value));
                    }
                }
            });
        }
        drop(job_rx);
        scope.spawn(move || {
            for job in jobs {
                let (tx, rx) = bounded(1);
                if out_tx.send(rx).is_err() || job_tx.send((job, tx)).is_err() {
                    return;
                }
            }
        });
        let mut outcome = Ok(());
        for result in &out_rx {
            outcome = sink(result.recv().ok());
            if outcome.is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        drop(out_rx);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        for threads in [1, 2, 5] {
            let mut seen = Vec::new();
            let work = |j: u64| {
                std::thread::sleep(Duration::from_micros((j * 7919) % 500));
                j * 2
            };
            ordered_map::<_, _, ()>(threads, 0..200, work, |r| {
                seen.push(r.unwrap());
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, (0..200).map(|j| j * 2).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn the_window_is_bounded_while_one_job_is_slow() {
        let (started, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |j: usize| {
            started.fetch_add(1, Ordering::SeqCst);
            if j == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            j
        };
        ordered_map::<_, _, ()>(2, 0..1000, work, |_| {
            let ahead = started.load(Ordering::SeqCst) - finished.fetch_add(1, Ordering::SeqCst);
            assert!(ahead <= 20, "{ahead} jobs ahead of the consumer");
            Ok(())
        })
        .unwrap();
        assert_eq!(finished.into_inner(), 1000);
    }

    #[test]
    fn an_error_ends_it_and_a_panic_is_a_missing_result() {
        let stopped = ordered_map(2, 0..1_000_000, |j| j, |r| if r == Some(10) { Err("ten") } else { Ok(()) });
        assert_eq!(stopped, Err("ten"));
        let mut lost = 0;
        let work = |j: u32| {
            assert!(j != 3, "job three fails on purpose");
            j
        };
        ordered_map::<_, _, ()>(2, 0..8, work, |r| {
            lost += usize::from(r.is_none());
            Ok(())
        })
        .unwrap();
        assert_eq!(lost, 1);
    }
}
