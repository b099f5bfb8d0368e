//! One training step: batch to devices, forward, loss, backward, optimiser. Nothing is read back from a GPU here, but by
//! replicas that meet in the host's memory.

use crate::loader::Batch;
use crate::optim::Sgd;
use crate::replica::{Job, Replica};
use crate::sync::{Collective, GradSync, Meeting, SyncError};
use burn::tensor::{Device, Tensor};
use crossbeam_channel::{Receiver, Sender, bounded};
use schemas::train::{GradSyncKind, TrainConfig};
use siamrpn::device::is_cpu;
use siamrpn::loss::LossError;
use siamrpn::model::ModelError;
use siamrpn::net::{InputError, SiamRpn};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Why a step cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The images of the batch have the wrong size.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The labels of the batch have the wrong size.
    #[error(transparent)]
    Labels(#[from] LossError),
    /// The device gave up.
    #[error("the device failed: {0}")]
    Device(String),
    /// The replicas do not agree on a gradient.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The network cannot be copied to another device.
    #[error("copying the network to another device failed: {0}")]
    Copy(#[from] ModelError),
    /// There is no device to train on.
    #[error("no device to train on")]
    NoDevice,
    /// A batch cannot be shared out in equal parts.
    #[error(
        "run.batch = {batch} cannot be shared out equally among {devices} device(s) with run.accumulate = {accumulate}: use \
         a multiple of {}", devices * accumulate
    )]
    Share {
        /// Pairs of a step.
        batch: usize,
        /// Devices.
        devices: usize,
        /// Parts on each.
        accumulate: usize,
    },
    /// NCCL is asked for without GPUs.
    #[error("run.grad_sync = \"nccl\" adds up gradients of GPUs only: use \"host\" for other devices")]
    NoNccl,
}

/// What a step measured, on the device: loss, classification, regression, gradient norm, taken (1 or 0); `[5]`.
#[derive(Debug, Clone)]
pub struct Measured(Tensor<1>);

/// [`Measured`] on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// Weighted total loss.
    pub loss: f64,
    /// Classification loss.
    pub cls: f64,
    /// Regression loss.
    pub reg: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Was the step taken?
    pub taken: bool,
}

impl StepError {
    /// Is it that the device has too little memory?
    #[must_use]
    pub fn is_memory(&self) -> bool {
        let Self::Device(text) = self else { return false };
        let text = text.to_lowercase();
        let words =
            ["out of memory", "outofmemory", "out_of_memory", "buffertoobig", "memory allocation of", "can't allocate"];
        words.iter().any(|word| text.contains(word))
    }
}

impl Measured {
    /// Of `[5]` numbers on the device.
    pub(crate) fn new(values: Tensor<1>) -> Self {
        Self(values)
    }

    /// Reads the measurements of several steps at once; waits for the device.
    ///
    /// # Errors
    /// [`StepError::Device`].
    pub fn read(all: Vec<Self>) -> Result<Vec<Values>, StepError> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let data = Tensor::cat(all.into_iter().map(|m| m.0).collect(), 0)
            .try_into_data()
            .map_err(|e| StepError::Device(format!("{e:?}")))?;
        let values = data.as_slice::<f32>().map_err(|e| StepError::Device(format!("{e:?}")))?;
        let read = |[loss, cls, reg, grad_norm, taken]: &[f32; 5]| Values {
            loss: f64::from(*loss),
            cls: f64::from(*cls),
            reg: f64::from(*reg),
            grad_norm: f64::from(*grad_norm),
            taken: *taken > 0.5,
        };
        Ok(values.as_chunks::<5>().0.iter().map(read).collect())
    }
}

/// A network being trained, on one device or on several that share every step.
#[derive(Debug)]
pub struct Engine {
    lead: Replica,
    others: Vec<Worker>,
    sync: Arc<dyn GradSync>,
}

/// A replica on another device, in a thread that lives as long as the engine: a device keeps memory per thread.
#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<Arc<Job>>>,
    done: Receiver<Result<(), StepError>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(mut replica: Replica, rank: usize, sync: Arc<dyn GradSync>) -> Result<Self, StepError> {
        let (jobs, queue) = bounded::<Arc<Job>>(1);
        let (answers, done) = bounded(1);
        let work = move || {
            for job in queue {
                // A panic of the device (out of memory) must not leave the others waiting.
                let step = AssertUnwindSafe(|| replica.step(&job, rank, sync.as_ref()).map(|_| ()));
                let found = catch_unwind(step).unwrap_or_else(|reason| Err(StepError::Device(said(&*reason))));
                if found.is_err() {
                    sync.abort();
                }
                drop(job);
                if answers.send(found).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("replica-{rank}")).spawn(work);
        let thread = thread.map_err(|e| StepError::Device(format!("no thread for replica {rank}: {e}")))?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been answered already.
            let _ended = thread.join();
        }
    }
}

/// Checks that a step has equal parts for all devices.
fn shared(cfg: &TrainConfig, devices: usize) -> Result<(), StepError> {
    let (batch, accumulate) = (cfg.run.batch, cfg.run.accumulate.max(1));
    if batch == 0 || !batch.is_multiple_of(devices * accumulate) {
        return Err(StepError::Share { batch, devices, accumulate });
    }
    Ok(())
}

/// What a panic said.
fn said(reason: &(dyn Any + Send)) -> String {
    let text = reason.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| reason.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

impl Engine {
    /// Goes on with a network (its parameters on `device`, which has autodiff) and an optimiser.
    #[must_use]
    pub fn new(net: SiamRpn, sgd: Sgd, device: Device) -> Self {
        Self { lead: Replica { net, sgd, device }, others: Vec::new(), sync: Arc::new(Meeting::new(1)) }
    }

    /// Goes on with a network and an optimiser on the first of `devices`, and with copies of both on the others, which
    /// agree on gradients as `cfg` says.
    ///
    /// # Errors
    /// [`StepError`] when a copy cannot be made, or the batch cannot be shared out.
    pub fn on(net: SiamRpn, sgd: Sgd, devices: &[Device], cfg: &TrainConfig) -> Result<Self, StepError> {
        shared(cfg, devices.len())?;
        let Some((first, rest)) = devices.split_first() else { return Err(StepError::NoDevice) };
        let mut engine = Self::new(net, sgd, first.clone());
        if rest.is_empty() {
            return Ok(engine);
        }
        let nccl = match cfg.run.grad_sync {
            GradSyncKind::Auto => !devices.iter().any(is_cpu),
            GradSyncKind::Nccl => true,
            GradSyncKind::Host => false,
        };
        if nccl && devices.iter().any(is_cpu) {
            return Err(StepError::NoNccl);
        }
        engine.sync =
            if nccl { Arc::new(Collective::new(devices.to_vec())) } else { Arc::new(Meeting::new(devices.len())) };
        for (rank, device) in (1..).zip(rest) {
            let net = engine.lead.net.copy_to(&cfg.model, device)?;
            let sgd = Sgd::from_buffers(engine.lead.sgd.buffers(), device);
            let replica = Replica { net, sgd, device: device.clone() };
            engine.others.push(Worker::start(replica, rank, Arc::clone(&engine.sync))?);
        }
        Ok(engine)
    }

    /// The first device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.lead.device
    }

    /// The network; of several replicas the first, which differs from the others in its running statistics only.
    #[must_use]
    pub fn net(&self) -> &SiamRpn {
        &self.lead.net
    }

    /// The optimiser.
    #[must_use]
    pub fn sgd(&self) -> &Sgd {
        &self.lead.sgd
    }

    /// One step of `epoch` (from 1) at learning rate `lr`. A step whose loss or gradient is not finite changes
    /// nothing; the result says so. `batch` is given back as it was.
    ///
    /// The pairs are shared out among the devices, and on each among `run.accumulate` parts, all equally large; losses and
    /// gradients are means over the parts. Norms see one part at a time.
    ///
    /// # Errors
    /// [`StepError`] when the batch does not fit the configuration or a device fails.
    pub fn step(&mut self, batch: &mut Batch, cfg: &TrainConfig, epoch: u32, lr: f64) -> Result<Measured, StepError> {
        let replicas = self.others.len() + 1;
        let job = Arc::new(Job { batch: std::mem::take(batch), cfg: cfg.clone(), epoch, lr, replicas });
        for worker in &self.others {
            if let Some(jobs) = &worker.jobs {
                // A worker that is gone has no answer either, which is found out below.
                let _gone = jobs.send(Arc::clone(&job));
            }
        }
        // Burn's backends panic where a device fails.
        let step = AssertUnwindSafe(|| self.lead.step(&job, 0, self.sync.as_ref()));
        let found = catch_unwind(step).unwrap_or_else(|reason| Err(StepError::Device(said(&*reason))));
        if found.is_err() {
            self.sync.abort();
        }
        let mut worst = Ok(());
        for worker in &self.others {
            let answer = worker.done.recv().unwrap_or_else(|_| Err(StepError::Device("a replica is gone".to_owned())));
            // That others were let go says less than why one of them failed.
            if !matches!((&worst, &answer), (Err(_), Err(StepError::Sync(SyncError::Aborted)))) && worst.is_ok() {
                worst = answer;
            }
        }
        if let Ok(job) = Arc::try_unwrap(job) {
            *batch = job.batch;
        }
        match (found, worst) {
            (Err(StepError::Sync(SyncError::Aborted)), Err(why)) => Err(why),
            (found, worst) => worst.and(found),
        }
    }
}
