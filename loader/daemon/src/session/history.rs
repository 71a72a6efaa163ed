//! The newest steps of one session: what each waited for, and what the consumer said it cost.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::feed::Made;
use super::slowest::{Durations, Slowest};
use crate::delivery::local::record::Spent;
use crate::meter::Worked;
use crate::meter::throttle::Throttle;

/// Steps that are kept: a minute to an hour of a training run.
pub const STEPS_KEPT: usize = 512;

/// One step, as the daemon made it and the consumer took it. Times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PastStep {
    /// The step's cursor.
    pub epoch: u64,
    /// The step's cursor.
    pub position: u64,
    /// Rows of this rank's batch.
    pub rows: u32,
    /// Waited for a free slot while the consumer had all that was announced: it held the slots.
    pub held_us: u64,
    /// From its slot until it was announced.
    pub span_us: u64,
    /// From its slot until its last sample was in place.
    pub made_us: u64,
    /// Of that, what decode threads worked on average, on anything; the rest they waited for bytes.
    pub compute_us: u64,
    /// Ready, and waiting for those before it or for credit.
    pub queued_us: u64,
    /// Since the announcement before; 0 for the first.
    pub gap_us: u64,
    /// What all threads of the pool did from its slot until it was sealed, which took `sealed_us`.
    pub worked: Worked,
    /// See `worked`.
    pub sealed_us: u64,
    /// The quota's counters when it was sealed.
    pub throttle: Throttle,
    /// What it cost the consumer. `None`: it was not taken yet, or the client does not say.
    pub spent: Option<Spent>,
    /// Whether the consumer has it.
    pub is_taken: bool,
}

/// The newest steps, and the slowest samples in them.
#[derive(Default)]
pub struct History {
    steps: Mutex<Steps>,
    /// Reads that took longest.
    pub reads: Slowest,
    /// Samples that took longest to decode and transform.
    pub samples: Slowest,
    /// All reads.
    pub read_times: Durations,
    /// All reads, with what they waited for a thread: what a read that is out is judged by.
    pub trips: Durations,
}

#[derive(Default)]
struct Steps {
    ring: VecDeque<PastStep>,
    /// Announced since the session began, and taken of those.
    announced: u64,
    taken: u64,
}

impl History {
    /// A batch was announced.
    pub fn announced(&self, step: PastStep) {
        let mut steps = self.lock();
        if steps.ring.capacity() == 0 {
            steps.ring.reserve_exact(STEPS_KEPT);
        }
        if steps.ring.len() == STEPS_KEPT {
            steps.ring.pop_front();
        }
        steps.ring.push_back(step);
        steps.announced += 1;
        let turn = steps.announced.is_multiple_of(STEPS_KEPT as u64 / 2);
        drop(steps);
        if turn {
            self.reads.turn();
            self.samples.turn();
            self.read_times.turn();
            self.trips.turn();
        }
    }

    /// The consumer took so many batches more; what they cost is told of the last of them. What they went through
    /// together; `None` where there was none to take.
    pub fn taken(&self, count: u32, spent: Option<Spent>) -> Option<Made> {
        let mut steps = self.lock();
        let first = steps.announced - steps.ring.len() as u64;
        let (from, to) = (steps.taken, (steps.taken + u64::from(count)).min(steps.announced));
        steps.taken = to;
        let mut made = None;
        for number in from.max(first)..to {
            let step = &mut steps.ring[(number - first) as usize];
            step.is_taken = true;
            step.spent = spent.map(|spent| if number + 1 == to { spent } else { Spent::default() });
            made = Some(Made::of(step).plus(made));
        }
        made
    }

    /// Whether the consumer has all that was announced. Where it has not, slots are taken because it is slow, not because
    /// it holds them.
    pub fn has_all(&self) -> bool {
        let steps = self.lock();
        steps.taken == steps.announced
    }

    /// The consumer went elsewhere: what it has not taken it will never take.
    pub fn sought(&self) {
        let mut steps = self.lock();
        steps.taken = steps.announced;
    }

    /// The steps that were taken, oldest first, without the session's first (its start, which no setting changes);
    /// and how many were ever announced.
    pub fn taken_steps(&self) -> (Vec<PastStep>, u64) {
        let steps = self.lock();
        let skip = usize::from(steps.announced == steps.ring.len() as u64);
        let taken = steps.ring.iter().skip(skip).filter(|step| step.is_taken).copied().collect();
        (taken, steps.announced)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(history: &History, positions: std::ops::Range<u64>) {
        positions.for_each(|position| history.announced(PastStep { position, ..PastStep::default() }));
    }

    fn taken(history: &History) -> Vec<u64> {
        history.taken_steps().0.iter().map(|step| step.position).collect()
    }

    #[test]
    fn steps_that_nobody_took_and_the_first_are_left_out() {
        let history = History::default();
        announce(&history, 0..4);
        history.taken(3, None);
        assert_eq!((taken(&history), history.taken_steps().1), (vec![1, 2], 4));
        assert!(!history.has_all());
        history.taken(1, None);
        assert!(history.has_all());
    }

    #[test]
    fn a_report_belongs_to_the_last_batch_it_was_sent_behind() {
        let (history, spent) = (History::default(), Spent { waited_us: 7, ..Spent::default() });
        announce(&history, 0..5);
        history.taken(2, None);
        history.taken(2, Some(spent));
        let said: Vec<_> = history.taken_steps().0.iter().map(|step| step.spent).collect();
        assert_eq!(said, [None, Some(Spent::default()), Some(spent)]);
    }

    #[test]
    fn the_oldest_go_and_a_consumer_that_claims_too_much_has_what_there_is() {
        let history = History::default();
        announce(&history, 0..1000);
        history.taken(u32::MAX, None);
        let kept = taken(&history);
        assert_eq!((kept.len(), kept[0], history.taken_steps().1), (STEPS_KEPT, 488, 1000));
        announce(&history, 1000..1001);
        assert_eq!(taken(&history).len(), STEPS_KEPT - 1, "the newest waits to be taken");
    }

    #[test]
    fn what_was_announced_before_a_seek_is_never_taken() {
        let history = History::default();
        announce(&history, 0..3);
        history.taken(2, None);
        history.sought();
        announce(&history, 50..52);
        history.taken(2, None);
        assert_eq!(taken(&history), [1, 50, 51]);
    }
}
