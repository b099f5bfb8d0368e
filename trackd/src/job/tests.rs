//! The state machine in a small world: files, a journal, workers, a clock, and a power switch.

use super::*;
use proptest::prelude::*;

const POLICY: Policy = Policy { settle: 200, patience: 3000, attempts: 3, retry: 500 };

fn seen(fingerprint: u64) -> Look {
    Look { fingerprint, whole: true, startable: true, ..Look::default() }
}

fn step(job: Job, event: Event, now: u64) -> (Job, Option<Action>) {
    next(job, event, now, &POLICY)
}

fn run(job: Job, events: &[(u64, Event)]) -> State {
    events.iter().fold(job, |job, (now, event)| step(job, *event, *now).0).state
}

#[test]
fn an_input_settles_before_it_is_ready() {
    let look = |fingerprint| Event::Looked(seen(fingerprint));
    assert_eq!(run(Job::new(), &[(0, look(1)), (199, look(1))]), State::Seen);
    assert_eq!(run(Job::new(), &[(0, look(1)), (200, look(1))]), State::Ready);
    assert_eq!(run(Job::new(), &[(0, look(1)), (150, look(2)), (300, look(2))]), State::Seen);
    assert_eq!(run(Job::new(), &[(0, look(1)), (150, look(2)), (350, look(2))]), State::Ready);
    assert_eq!(run(Job::new(), &[(0, look(1)), (200, look(1)), (300, look(2))]), State::Seen);
    let open = Event::Looked(Look { writer: true, ..seen(1) });
    assert_eq!(run(Job::new(), &[(0, open), (900, open), (950, look(1))]), State::Seen);
    let marked = Look { ready: true, ..seen(1) };
    assert_eq!(run(Job::new(), &[(0, Event::Looked(marked))]), State::Ready);
    assert_eq!(run(Job::new(), &[(0, Event::Looked(Look { writer: true, ..marked }))]), State::Seen);
    let cut = Event::Looked(Look { whole: false, ..seen(1) });
    assert_eq!(run(Job::new(), &[(0, cut), (2999, cut)]), State::Seen);
    assert_eq!(run(Job::new(), &[(0, cut), (3000, cut)]), State::Ready);
}

#[test]
fn a_video_without_a_box_waits_for_one() {
    let bare = Event::Looked(Look { startable: false, ..seen(1) });
    let boxed = Event::Looked(seen(1));
    assert_eq!(run(Job::new(), &[(0, bare), (200, bare)]), State::NeedsInit);
    assert_eq!(run(Job::new(), &[(0, bare), (200, bare), (9000, boxed)]), State::Ready);
    assert_eq!(run(Job::new(), &[(0, bare), (200, bare), (300, Event::WorkerFree)]), State::NeedsInit);
    assert_eq!(run(Job::new(), &[(0, bare), (200, bare), (300, Event::Vanished)]), State::Gone);
}

fn running() -> Job {
    Job { state: State::Running, starts: 1, ..Job::new() }
}

#[test]
fn faults_are_told_apart() {
    let (job, action) = step(running(), Event::Fault(Fault::Permanent), 0);
    assert_eq!((job.state, action), (State::Failing, Some(Action::PublishFailure)));
    let (job, action) = step(running(), Event::Fault(Fault::Passing), 1000);
    assert_eq!((job.state, job.not_before, job.attempts, action), (State::Waiting, 1500, 1, None));
    assert_eq!(step(job, Event::WorkerFree, 1499).0.state, State::Waiting);
    let (job, action) = step(job, Event::WorkerFree, 1500);
    assert_eq!((job.state, action), (State::Running, Some(Action::Run)));
    let (job, _) = step(job, Event::Fault(Fault::Passing), 2000);
    assert_eq!(job.not_before, 3000);
    let (job, _) = step(job, Event::WorkerFree, 3000);
    assert_eq!(step(job, Event::Fault(Fault::Passing), 4000).0.state, State::Failing);
    let (mut job, mut now) = (running(), 0);
    for _ in 0..50 {
        job = step(job, Event::Fault(Fault::DiskFull), now).0;
        assert_eq!((job.state, job.attempts), (State::Waiting, 0));
        now = job.not_before;
        job = step(job, Event::WorkerFree, now).0;
        assert_eq!(job.state, State::Running);
    }
}

#[test]
fn a_cancelled_job_fails_from_everywhere() {
    let found = Found { result: false, failure: false, in_work: false, in_inbox: true };
    for state in State::ALL.into_iter().filter(|s| !s.over() && *s != State::Failing) {
        let (mut job, action) = step(Job { state, not_before: 9000, ..Job::new() }, Event::CancelAsked, 0);
        assert_eq!(action, (state == State::Running).then_some(Action::Stop));
        if state == State::Running {
            job = step(job, Event::Cancelled, 0).0;
        }
        if state.in_inbox() {
            assert_eq!(recovered(job, found).state, State::Ready);
            let open = Event::Looked(Look { writer: true, ..seen(1) });
            assert_eq!(step(job, open, 0).0.state, State::Ready);
            let (moving, action) = step(job, Event::WorkerFree, 0);
            assert_eq!(action, Some(Action::Move));
            job = step(moving, Event::Moved, 0).0;
        }
        assert_eq!(step(job, Event::WorkerFree, 0).1, Some(Action::PublishFailure), "{state:?}");
    }
    // What was finished before the worker heard of it counts.
    let (job, _) = step(running(), Event::CancelAsked, 0);
    assert_eq!(step(job, Event::Published, 0).0.state, State::Done);
    let failed = Job { state: State::Failed, cancelled: true, ..Job::new() };
    assert!(!step(failed, Event::RetryAsked, 0).0.cancelled);
}

#[test]
fn what_crashes_the_program_again_and_again_fails() {
    let mut job = Job { state: State::Claimed, ..Job::new() };
    let found = Found { result: false, failure: false, in_work: true, in_inbox: false };
    for _ in 0..MAX_STARTS {
        let (started, action) = step(job, Event::WorkerFree, 0);
        assert_eq!(action, Some(Action::Run));
        job = recovered(started, found);
        assert_eq!(job.state, State::Claimed);
    }
    assert_eq!(step(job, Event::WorkerFree, 0), (job.to(State::Failing), Some(Action::PublishFailure)));
}

#[test]
fn names_of_states_come_back() {
    for state in State::ALL {
        assert_eq!(State::parse(state.as_str()), Some(state));
        assert_eq!(serde_json::json!(state), state.as_str());
    }
    assert_eq!(State::parse("lost"), None);
}

/// Where the one input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Inbox,
    Work,
    /// Beside the published failure.
    Failure,
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Tick(u64),
    Grow,
    CloseWriter,
    GiveBox,
    Look,
    Dispatch,
    Finish(Option<Fault>),
    AskRetry,
    AskCancel,
    /// The program dies: before the next thing it does takes effect, and starts again.
    Crash,
    /// The program dies between doing the next thing and storing what follows from it.
    CrashAfterActing,
}

/// One input and a daemon that may die at any moment. `journal` is what survives.
#[derive(Debug)]
struct World {
    now: u64,
    place: Place,
    version: u64,
    writer: bool,
    boxed: bool,
    results: u32,
    failures: u32,
    journal: Job,
    memory: Job,
    /// The worker's publication happened but the journal does not know.
    die_after_acting: bool,
    retries: u32,
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            place: Place::Inbox,
            version: 1,
            writer: true,
            boxed: false,
            results: 0,
            failures: 0,
            journal: Job::new(),
            memory: Job::new(),
            die_after_acting: false,
            retries: 0,
        }
    }

    /// Stores the new state, then acts; the action's own event follows unless the power goes.
    fn apply(&mut self, event: Event) {
        let mut event = Some(event);
        while let Some(current) = event.take() {
            let (job, action) = step(self.memory, current, self.now);
            self.memory = job;
            self.journal = Job { looked: None, ..job };
            event = match action {
                Some(Action::Move) => {
                    assert!(!self.writer || job.cancelled, "claimed while it was being written");
                    self.place = Place::Work;
                    Some(Event::Moved)
                }
                Some(Action::PublishFailure) => {
                    assert_eq!(self.place, Place::Work);
                    self.failures += 1;
                    self.place = Place::Failure;
                    Some(Event::FailurePublished)
                }
                Some(Action::TakeBack) => {
                    assert_eq!(self.place, Place::Failure);
                    self.failures -= 1;
                    self.place = Place::Work;
                    None
                }
                Some(Action::Run) => {
                    assert_eq!(self.place, Place::Work, "started without its input");
                    assert!(!job.cancelled, "started although cancelled");
                    None
                }
                // The worker stops between two frames.
                Some(Action::Stop) => Some(Event::Cancelled),
                None => None,
            };
            if event.is_some() && self.die_after_acting {
                return self.crash();
            }
        }
    }

    fn crash(&mut self) {
        self.die_after_acting = false;
        let found = Found {
            result: self.results > 0,
            failure: self.failures > 0,
            in_work: self.place == Place::Work,
            in_inbox: self.place == Place::Inbox,
        };
        self.memory = recovered(self.journal, found);
        self.journal = self.memory;
    }

    fn look(&self) -> Event {
        Event::Looked(Look { writer: self.writer, startable: self.boxed, ..seen(self.version) })
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Tick(ms) => self.now += ms,
            Happens::Grow if self.writer => self.version += 1,
            Happens::CloseWriter => self.writer = false,
            Happens::GiveBox => self.boxed = true,
            Happens::Look if self.place == Place::Inbox => self.apply(self.look()),
            Happens::Dispatch => self.apply(Event::WorkerFree),
            Happens::Finish(fault) if self.memory.state == State::Running => match fault {
                Some(fault) => self.apply(Event::Fault(fault)),
                None => {
                    self.results += 1;
                    if self.die_after_acting { self.crash() } else { self.apply(Event::Published) }
                }
            },
            Happens::AskRetry if self.memory.state == State::Failed => {
                self.retries += 1;
                self.apply(Event::RetryAsked);
            }
            Happens::AskCancel if !self.memory.state.over() => self.apply(Event::CancelAsked),
            Happens::Crash => self.crash(),
            Happens::CrashAfterActing => self.die_after_acting = true,
            _ => {}
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.results <= 1, "published twice");
        assert!(self.failures <= 1, "failed twice");
        assert!(self.results + self.failures <= 1, "both published and failed");
        assert_ne!(self.memory.state, State::Gone, "lost although nobody took it away");
        assert_eq!(self.memory.state == State::Done, self.results == 1);
        assert_eq!(self.memory.state == State::Failed, self.failures == 1);
    }
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (1u64..800).prop_map(Happens::Tick),
        1 => Just(Happens::Grow),
        1 => Just(Happens::CloseWriter),
        1 => Just(Happens::GiveBox),
        5 => Just(Happens::Look),
        5 => Just(Happens::Dispatch),
        2 => Just(Happens::Finish(None)),
        3 => prop_oneof![Just(Fault::Permanent), Just(Fault::Passing), Just(Fault::DiskFull)]
            .prop_map(|f| Happens::Finish(Some(f))),
        1 => Just(Happens::AskRetry),
        1 => Just(Happens::AskCancel),
        2 => Just(Happens::Crash),
        2 => Just(Happens::CrashAfterActing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_job_ends_once_whatever_happens(events in proptest::collection::vec(anything(), 0..80)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        // Calm: the writer closes, a box comes, nothing crashes any more, workers succeed.
        world.die_after_acting = false;
        for event in [Happens::CloseWriter, Happens::GiveBox] {
            world.happen(event);
        }
        for _ in 0..20 {
            for event in [Happens::Tick(100_000_000), Happens::Look, Happens::Dispatch, Happens::Finish(None)] {
                world.happen(event);
            }
        }
        prop_assert_eq!(world.results + world.failures, 1);
        prop_assert!(world.memory.state.over(), "{:?}", world.memory);
    }
}
