//! How the replicas of a run agree on one gradient.

use burn::tensor::distributed::{DistributedConfig, DistributedContext, ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Why replicas do not agree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// Another replica has given up.
    #[error("another device's part of the step failed, so the step was given up on all of them")]
    Aborted,
    /// The device lost the gradient.
    #[error("reading gradients from the device failed: {0}")]
    Device(String),
    /// Replicas hand in tensors of different lengths.
    #[error("replica {rank} handed in {found} numbers, the others {expected}: their networks differ")]
    Length {
        /// Place of the replica.
        rank: usize,
        /// Numbers of the others.
        expected: usize,
        /// Its numbers.
        found: usize,
    },
}

/// Adds up what the replicas of a step have found.
pub trait GradSync: std::fmt::Debug + Send + Sync {
    /// The sum of what all replicas hand in, with the same bits for all of them, on the device of `own`. Waits for the
    /// others: every replica calls this once per step, from a thread of its own, with as many numbers as the others.
    ///
    /// # Shapes
    /// - `own`, output: `[n]`
    ///
    /// # Errors
    /// [`SyncError`].
    fn sum(&self, rank: usize, own: Tensor<1>) -> Result<Tensor<1>, SyncError>;

    /// Lets the others go: this replica does not come.
    fn abort(&self);
}

/// Replicas that meet in the host's memory and are added up in the order of their ranks: on any device, to the same bits
/// every time.
#[derive(Debug)]
pub struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What has been handed in, by rank.
    parts: Vec<Option<Vec<f32>>>,
    /// The sum, and how many replicas have yet to fetch it.
    sum: Option<(Arc<Vec<f32>>, usize)>,
    aborted: bool,
}

impl Meeting {
    /// Of `replicas`.
    #[must_use]
    pub fn new(replicas: usize) -> Self {
        let state = State { parts: vec![None; replicas], sum: None, aborted: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

/// The sum in the order of the parts, if they are equally long.
fn add(parts: &mut [Option<Vec<f32>>]) -> Result<Vec<f32>, SyncError> {
    let mut parts = parts.iter_mut().map(|part| part.take().unwrap_or_default());
    let mut sum = parts.next().unwrap_or_default();
    for (rank, part) in (1..).zip(parts) {
        if part.len() != sum.len() {
            return Err(SyncError::Length { rank, expected: sum.len(), found: part.len() });
        }
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    Ok(sum)
}

impl GradSync for Meeting {
    fn sum(&self, rank: usize, own: Tensor<1>) -> Result<Tensor<1>, SyncError> {
        let device = own.device();
        let values = own.try_into_vec_as::<f32>().map_err(|e| SyncError::Device(format!("{e:?}")))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The last step's sum has been fetched by all before anyone comes again, but perhaps not yet by the slowest.
        while state.sum.is_some() && !state.aborted {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(place) = state.parts.get_mut(rank) {
            *place = Some(values);
        }
        if state.parts.iter().all(Option::is_some) {
            let replicas = state.parts.len();
            match add(&mut state.parts) {
                Ok(sum) => state.sum = Some((Arc::new(sum), replicas)),
                Err(error) => {
                    state.aborted = true;
                    self.changed.notify_all();
                    return Err(error);
                }
            }
            self.changed.notify_all();
        }
        loop {
            if state.aborted {
                return Err(SyncError::Aborted);
            }
            if let Some((sum, left)) = &mut state.sum {
                let found = Arc::clone(sum);
                *left -= 1;
                if *left == 0 {
                    state.sum = None;
                    self.changed.notify_all();
                }
                drop(state);
                let n = found.len();
                let values = Arc::try_unwrap(found).unwrap_or_else(|shared| shared.to_vec());
                return Ok(Tensor::from_data(TensorData::new(values, [n]), &device));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn abort(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).aborted = true;
        self.changed.notify_all();
    }
}

/// GPUs that add up over NCCL, by Burn's collectives. A replica that does not come leaves the others waiting.
#[derive(Debug)]
pub struct Collective {
    devices: Vec<Device>,
    _context: DistributedContext,
}

impl Collective {
    /// Between `devices`, all of them GPUs.
    #[must_use]
    pub fn new(devices: Vec<Device>) -> Self {
        let devices: Vec<Device> = devices.into_iter().map(Device::without_autodiff).collect();
        let config = DistributedConfig { all_reduce_op: ReduceOperation::Sum };
        Self { _context: DistributedContext::init(devices.clone(), config), devices }
    }
}

impl GradSync for Collective {
    fn sum(&self, _rank: usize, own: Tensor<1>) -> Result<Tensor<1>, SyncError> {
        Ok(all_reduce(own, ReduceOperation::Sum, self.devices.clone()).resolve())
    }

    fn abort(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex())
    }

    #[test]
    fn all_get_the_same_sum_step_after_step() {
        let meeting = Meeting::new(3);
        let found: Vec<Vec<Vec<f32>>> = std::thread::scope(|scope| {
            let replica = |rank: usize| {
                let meeting = &meeting;
                scope.spawn(move || {
                    let step = |step: usize| {
                        let own = tensor(&[rank as f32, 1e8 * (rank as f32 - 1.0), (step * (rank + 1)) as f32]);
                        meeting.sum(rank, own).unwrap().into_data().try_into_vec::<f32>().unwrap()
                    };
                    (0..50).map(step).collect()
                })
            };
            let threads: Vec<_> = (0..3).map(replica).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        for steps in &found {
            assert_eq!(steps, &found[0]);
            for (step, sum) in steps.iter().enumerate() {
                assert_eq!(sum, &[3.0, 0.0, (6 * step) as f32]);
            }
        }
    }

    #[test]
    fn who_gives_up_lets_the_others_go() {
        let meeting = Meeting::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| meeting.sum(0, tensor(&[1.0])).map(|_| ()));
            meeting.abort();
            assert_eq!(waiting.join().unwrap(), Err(SyncError::Aborted));
        });
        assert!(meeting.sum(1, tensor(&[1.0])).is_err());
    }

    #[test]
    fn networks_that_differ_are_named() {
        let meeting = Meeting::new(2);
        let errors: Vec<SyncError> = std::thread::scope(|scope| {
            let one = scope.spawn(|| meeting.sum(0, tensor(&[1.0])));
            let other = scope.spawn(|| meeting.sum(1, tensor(&[1.0, 2.0])));
            [one, other].into_iter().map(|t| t.join().unwrap().unwrap_err()).collect()
        });
        assert!(errors.contains(&SyncError::Length { rank: 1, expected: 1, found: 2 }), "{errors:?}");
        assert!(errors.contains(&SyncError::Aborted));
    }
}
