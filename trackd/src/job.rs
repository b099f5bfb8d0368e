//! The life of a job as a pure function: no clock, no files, no threads.
//!
//! ```text
//!            settled, box            moved        started         published
//!   Seen ───────────────────▶ Ready ──────▶ Claimed ──────▶ Running ──────────▶ Done
//!    │ ▲      settled, no box   │ ▲                │  ▲        │ fault, again later
//!    ▼ │ changed                │ │ box            │  └─ Waiting ◀┤
//!   NeedsInit ──────────────────┼─┘                │              │ fault, no more attempts
//!    │ gone                     │ gone, lost race  ▼              ▼
//!    └────────────────▶ Gone ◀──┘               Failed ◀────── Failing
//! ```
//!
//! Whoever drives it stores each new state before acting on it. After a crash [`recovered`] says where to go on.

use serde::{Deserialize, Serialize};

/// Starts without an end after which a job is held to be what crashes the program.
const MAX_STARTS: u32 = 20;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In the inbox, perhaps still being written.
    Seen,
    /// Complete, but nobody said what to track.
    NeedsInit,
    /// Complete, with a box; waits for a worker.
    Ready,
    /// Moved out of the inbox.
    Claimed,
    /// A worker tracks it.
    Running,
    /// Failed for a passing reason; will be tried again.
    Waiting,
    /// Failed for good; the failure is being published.
    Failing,
    /// Its result is published.
    Done,
    /// Its failure is published.
    Failed,
    /// Disappeared from the inbox before it was claimed.
    Gone,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Seen,
        Self::NeedsInit,
        Self::Ready,
        Self::Claimed,
        Self::Running,
        Self::Waiting,
        Self::Failing,
        Self::Done,
        Self::Failed,
        Self::Gone,
    ];

    /// The name in the journal and in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::NeedsInit => "needs_init",
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failing => "failing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether the input still lies in the inbox.
    #[must_use]
    pub fn in_inbox(self) -> bool {
        matches!(self, Self::Seen | Self::NeedsInit | Self::Ready)
    }

    /// Whether nothing will happen any more by itself.
    #[must_use]
    pub fn over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Gone)
    }
}

/// What is remembered of a job. Times are milliseconds since any fixed moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Where it stands.
    pub state: State,
    /// Faults so far.
    pub attempts: u32,
    /// Starts so far.
    pub starts: u32,
    /// When it may be tried again.
    pub not_before: u64,
    /// What it looked like when it was last seen, and since when.
    pub looked: Option<(u64, u64)>,
    /// Somebody wants it to end: it fails as soon as it can.
    pub cancelled: bool,
    /// A higher one is started first. Not remembered over a restart: the next look tells it again.
    pub priority: i32,
}

impl Job {
    /// A job nobody has looked at yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Seen, attempts: 0, starts: 0, not_before: 0, looked: None, cancelled: false, priority: 0 }
    }

    fn to(self, state: State) -> Self {
        Self { state, ..self }
    }
}

impl Default for Job {
    fn default() -> Self {
        Self::new()
    }
}

/// What a look at the inbox tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Sizes, times and names of the input and its companions in one number.
    pub fingerprint: u64,
    /// Somebody has it open for writing.
    pub writer: bool,
    /// It looks complete inside.
    pub whole: bool,
    /// It can be started: there is a box, or running it will say what is wrong.
    pub startable: bool,
    /// Whoever put it there says that it is complete.
    pub ready: bool,
    /// A higher one is started first.
    pub priority: i32,
}

/// How a run went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The input is at fault.
    Permanent,
    /// It may work next time.
    Passing,
    /// The disk is full: wait, without counting.
    DiskFull,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was looked at in the inbox.
    Looked(Look),
    /// It is no longer in the inbox.
    Vanished,
    /// A worker is free.
    WorkerFree,
    /// It was moved into the work folder.
    Moved,
    /// Another daemon was faster.
    LostRace,
    /// The worker published its result.
    Published,
    /// The worker failed.
    Fault(Fault),
    /// The worker was stopped because the program ends.
    Cancelled,
    /// Its failure is published.
    FailurePublished,
    /// Somebody asks to try it again.
    RetryAsked,
    /// Somebody asks to end it.
    CancelAsked,
}

/// What to do, after the new state is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Move it into the work folder, then say [`Event::Moved`] or [`Event::LostRace`].
    Move,
    /// Hand it to the worker.
    Run,
    /// Publish its failure, then say [`Event::FailurePublished`].
    PublishFailure,
    /// Move the input of a failed job back into its work folder.
    TakeBack,
    /// Stop its worker, which then says [`Event::Cancelled`].
    Stop,
}

/// How patient to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Time without a change after which an input counts as complete, ms.
    pub settle: u64,
    /// The same for an input that looks cut off inside, ms.
    pub patience: u64,
    /// Faults after which a job fails.
    pub attempts: u32,
    /// Time before the first retry, ms; doubled each time.
    pub retry: u64,
}

/// The next state, and what to do about it. An event that means nothing in a state changes nothing.
#[must_use]
pub fn next(job: Job, event: Event, now: u64, policy: &Policy) -> (Job, Option<Action>) {
    use State::{Claimed, Done, Failed, Failing, Gone, NeedsInit, Ready, Running, Seen, Waiting};
    match (job.state, event) {
        (Seen | NeedsInit | Ready, Event::Looked(look)) => (looked(job, look, now, policy), None),
        (Seen | NeedsInit | Ready, Event::Vanished) | (Ready, Event::LostRace) => (job.to(Gone), None),
        (Ready | Failing | Waiting, Event::WorkerFree) if now < job.not_before => (job, None),
        (Ready, Event::WorkerFree) => (Job { not_before: now + policy.retry, ..job }, Some(Action::Move)),
        (Ready, Event::Moved) => (Job { not_before: 0, ..job.to(Claimed) }, None),
        (Claimed | Waiting, Event::WorkerFree) if job.cancelled => (job.to(Failing), Some(Action::PublishFailure)),
        (Claimed | Waiting, Event::WorkerFree) if job.starts >= MAX_STARTS.max(policy.attempts) => {
            (job.to(Failing), Some(Action::PublishFailure))
        }
        (Claimed | Waiting, Event::WorkerFree) => {
            (Job { starts: job.starts + 1, ..job.to(Running) }, Some(Action::Run))
        }
        (Running, Event::Published) => (job.to(Done), None),
        (Running, Event::Cancelled) => (Job { starts: job.starts.saturating_sub(1), ..job.to(Claimed) }, None),
        (Running, Event::Fault(Fault::DiskFull)) => {
            let starts = job.starts.saturating_sub(1);
            (Job { not_before: now + policy.retry, starts, ..job.to(Waiting) }, None)
        }
        (Running, Event::Fault(fault)) => {
            let attempts = job.attempts + 1;
            let job = Job { attempts, ..job };
            if fault == Fault::Permanent || attempts >= policy.attempts {
                return (job.to(Failing), Some(Action::PublishFailure));
            }
            let delay = policy.retry.saturating_mul(1 << (attempts - 1).min(16));
            (Job { not_before: now.saturating_add(delay), ..job.to(Waiting) }, None)
        }
        (Failing, Event::WorkerFree) => (Job { not_before: now + policy.retry, ..job }, Some(Action::PublishFailure)),
        (Failing, Event::FailurePublished) => (job.to(Failed), None),
        (Failed, Event::RetryAsked) => (Job { state: Claimed, ..Job::new() }, Some(Action::TakeBack)),
        (Waiting, Event::RetryAsked) => (Job { not_before: 0, ..job }, None),
        (Seen | NeedsInit | Ready, Event::CancelAsked) => {
            (Job { cancelled: true, not_before: 0, ..job.to(Ready) }, None)
        }
        (Claimed | Waiting, Event::CancelAsked) => (Job { cancelled: true, not_before: 0, ..job }, None),
        (Running, Event::CancelAsked) => (Job { cancelled: true, ..job }, Some(Action::Stop)),
        _ => (job, None),
    }
}

fn looked(job: Job, look: Look, now: u64, policy: &Policy) -> Job {
    if job.cancelled {
        return job.to(State::Ready);
    }
    let since = match job.looked {
        Some((fingerprint, since)) if fingerprint == look.fingerprint && !look.writer => since,
        _ => now,
    };
    let job = Job { looked: Some((look.fingerprint, since)), priority: look.priority, ..job };
    let wait = match look {
        Look { ready: true, .. } => 0,
        Look { whole: true, .. } => policy.settle,
        _ => policy.patience.max(policy.settle),
    };
    if look.writer || now.saturating_sub(since) < wait {
        return job.to(State::Seen);
    }
    job.to(if look.startable { State::Ready } else { State::NeedsInit })
}

/// What is found after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// A published result carries the job's identity.
    pub result: bool,
    /// A published failure carries it.
    pub failure: bool,
    /// The input lies in the work folder.
    pub in_work: bool,
    /// The input lies in the inbox.
    pub in_inbox: bool,
}

/// Where a stored job goes on after a crash. A result that was published counts, whatever the journal says.
#[must_use]
pub fn recovered(job: Job, found: Found) -> Job {
    use State::{Claimed, Done, Failed, Failing, Gone, NeedsInit, Ready, Running, Seen, Waiting};
    let job = Job { looked: None, ..job };
    match job.state {
        Done | Gone | Failed => job,
        _ if found.result => job.to(Done),
        _ if found.failure && !found.in_work => job.to(Failed),
        Seen | NeedsInit | Ready if found.in_work => job.to(Claimed),
        Seen | NeedsInit | Ready if found.in_inbox && job.cancelled => job.to(Ready),
        Seen | NeedsInit | Ready if found.in_inbox => job.to(Seen),
        Running if found.in_work => job.to(Claimed),
        Claimed | Waiting | Failing if found.in_work => job,
        Failing => job,
        _ => job.to(Gone),
    }
}

#[cfg(test)]
mod tests;
