//! Admission: which sample's read starts next, so that what is in flight stays inside its budget and no task that
//! has started waits for anything another one holds.
//!
//! A batch is admitted with its slot; its samples then wait here, in plan order, for read bytes. Sessions take turns
//! by weight. A session's oldest batch always comes first, and one read is always let through, so the head batch of
//! every session goes on whatever the others hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_arena::SampleMut;
use forebay_plan::BatchRange;

use crate::error::Fault;
use crate::job::{BatchRows, EpochRows, Job, PartPlan, RowPlan};
use crate::meter::Worked;
use crate::session::Counters;
use crate::tally::BatchTally;
use crate::trace::Trace;

/// What the tasks of one batch share.
pub struct BatchWork {
    /// What rows are made of.
    pub job: Arc<Job>,
    /// The epoch's order and draws.
    pub epoch: Arc<EpochRows>,
    /// Which rows of the epoch.
    pub range: BatchRange,
    /// What stands in each row of the batch.
    pub rows: BatchRows,
    /// Whether the last part of each sample is its `valid` byte.
    pub has_valid: bool,
    /// Set when nobody wants the batch any more: tasks that have not started yet end at once.
    pub cancelled: Arc<AtomicBool>,
    /// The session's sums.
    pub counters: Arc<Counters>,
    /// What log lines about its samples carry.
    pub span: tracing::Span,
    /// When it got its slot.
    pub admitted: Instant,
    /// What the pool had done by then.
    pub worked_before: Worked,
    /// Microseconds from `admitted` until its last sample was in place.
    pub done_us: AtomicU64,
    /// Rows with `valid = 0`.
    pub invalid_rows: AtomicU32,
    /// Samples without a verdict yet.
    pub left: AtomicU32,
    /// What was wrong with its samples: the lowest row's fault, and the ledger's lines.
    pub outcome: Mutex<Outcome>,
    /// What became of its rows, where somebody looks. A corrupt sample then never fails the batch.
    pub trace: Option<Trace>,
    /// What its rows add to their epoch's digests, where somebody asked for them.
    pub tally: Option<BatchTally>,
}

/// What went wrong in one batch.
#[derive(Default)]
pub struct Outcome {
    /// The fault of the lowest row, so that the error is the same however threads ran.
    pub fault: Option<(u32, Fault)>,
    /// Bad samples, in no order.
    pub bad: Vec<BadRow>,
}

/// One bad sample, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Row of the epoch.
    pub position: u64,
    /// What its draws are keyed by; differs from `position` where a row is a batch or a sequence.
    pub part_position: u64,
    /// 0: the row's own sample; 1..=8: a substitute.
    pub attempt: u32,
    /// Which sample.
    pub key: String,
    /// Why.
    pub reason: String,
}

impl BatchWork {
    /// Row number `row` of the batch: its place in the epoch, and whether it counts.
    pub fn planned(&self, row: u32) -> RowPlan {
        self.rows.row(row)
    }

    /// The sample of row number `row`; of a packed row the first.
    pub fn part(&self, row: u32) -> PartPlan {
        self.rows.part(row)
    }

    /// Whether nobody wants it any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The verdict on row number `row`: it fails the batch. Once a row, before its sample is given up.
    pub fn fail(&self, row: u32, fault: Fault) {
        let mut outcome = self.outcome.lock().expect("no thread panics with the lock");
        if outcome.fault.as_ref().is_none_or(|(first, _)| row < *first) {
            outcome.fault = Some((row, fault));
        }
        drop(outcome);
        self.left.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes a bad sample in the ledger.
    pub fn note_bad(&self, bad: BadRow) {
        self.outcome.lock().expect("no thread panics with the lock").bad.push(bad);
    }

    /// Microseconds since it was admitted.
    pub fn elapsed_us(&self) -> u64 {
        self.admitted.elapsed().as_micros() as u64
    }
}

/// A sample that has its range of a slot and waits for read bytes.
pub struct Admitted {
    /// Its batch.
    pub work: Arc<BatchWork>,
    /// Its range.
    pub sample: SampleMut,
}

/// How much may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBudget {
    /// Encoded bytes, read or about to be, and not yet decoded.
    pub bytes: u64,
    /// Reads.
    pub reads: u32,
}

/// The queue before the storage engine, of things that wait for read bytes.
pub struct Gate<T> {
    budget: ReadBudget,
    state: Mutex<State<T>>,
}

struct State<T> {
    queues: Vec<Queue<T>>,
    bytes: u64,
    reads: u32,
    /// What the next read is taken to need: a moving average, because sizes are not known before.
    expected_bytes: u64,
}

struct Queue<T> {
    session: u64,
    weight: u32,
    /// Work done, divided by weight: the least goes next.
    pass: u64,
    waiting: VecDeque<T>,
}

/// Bytes of the budget that one task holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved(u64);

impl<T> Gate<T> {
    /// An empty queue.
    pub fn new(budget: ReadBudget) -> Self {
        let state = State { queues: Vec::new(), bytes: 0, reads: 0, expected_bytes: 128 << 10 };
        Self { budget, state: Mutex::new(state) }
    }

    /// Puts a batch's samples at the end of their session's queue.
    pub fn push(&self, session: u64, weight: u32, samples: impl Iterator<Item = T>) {
        let mut state = self.lock();
        let index = state.queue_of(session, weight);
        state.queues[index].waiting.extend(samples);
    }

    /// Takes the sample that may start reading now, if the budget has room for one.
    pub fn next(&self) -> Option<(T, Reserved)> {
        let mut state = self.lock();
        let full = state.bytes + state.expected_bytes > self.budget.bytes || state.reads >= self.budget.reads;
        if full && state.reads > 0 {
            return None;
        }
        let expected = state.expected_bytes;
        let queue = state
            .queues
            .iter_mut()
            .filter(|queue| !queue.waiting.is_empty())
            .min_by_key(|queue| queue.pass)?;
        queue.pass += 1 + expected / u64::from(queue.weight);
        let admitted = queue.waiting.pop_front()?;
        state.bytes += expected;
        state.reads += 1;
        Some((admitted, Reserved(expected)))
    }

    /// Corrects what a task holds once its bytes are there.
    pub fn settle(&self, reserved: &mut Reserved, bytes: u64) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(reserved.0) + bytes;
        state.expected_bytes = (state.expected_bytes * 15 + bytes) / 16 + 1;
        *reserved = Reserved(bytes);
    }

    /// Gives back what a task held.
    pub fn finish(&self, reserved: Reserved) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(reserved.0);
        state.reads -= 1;
    }

    /// Reads in flight, and the bytes that they hold or are taken to need.
    pub fn in_flight(&self) -> (u32, u64) {
        let state = self.lock();
        (state.reads, state.bytes)
    }

    /// Drops what a session still has waiting; its slots become free.
    pub fn forget(&self, session: u64) {
        let dropped: Vec<Queue<T>> = {
            let mut state = self.lock();
            state.queues.extract_if(.., |queue| queue.session == session).collect()
        };
        drop(dropped);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().expect("no thread panics with the lock")
    }
}

impl<T> State<T> {
    fn queue_of(&mut self, session: u64, weight: u32) -> usize {
        if let Some(index) = self.queues.iter().position(|queue| queue.session == session) {
            let least = self.least_pass();
            let queue = &mut self.queues[index];
            if queue.waiting.is_empty() {
                // One that was idle starts beside the others and does not make up for its rest.
                queue.pass = queue.pass.max(least);
            }
            return index;
        }
        let pass = self.least_pass();
        self.queues.push(Queue { session, weight: weight.max(1), pass, waiting: VecDeque::new() });
        self.queues.len() - 1
    }

    fn least_pass(&self) -> u64 {
        self.queues
            .iter()
            .filter(|queue| !queue.waiting.is_empty())
            .map(|queue| queue.pass)
            .min()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    fn gate(bytes: u64, reads: u32) -> Gate<(u64, u32)> {
        Gate::new(ReadBudget { bytes, reads })
    }

    fn fill(gate: &Gate<(u64, u32)>, session: u64, weight: u32, count: u32) {
        gate.push(session, weight, (0..count).map(|index| (session, index)));
    }

    #[test]
    fn a_session_is_served_in_plan_order() {
        let gate = gate(1 << 30, 1000);
        fill(&gate, 1, 1, 3);
        fill(&gate, 1, 1, 2);
        let order: Vec<_> = std::iter::from_fn(|| gate.next()).map(|(item, _)| item.1).collect();
        assert_eq!(order, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn sessions_share_by_weight() {
        let gate = gate(1 << 40, 1_000_000);
        fill(&gate, 1, 1, 400);
        fill(&gate, 2, 3, 400);
        let first: Vec<_> = (0..400).filter_map(|_| gate.next()).map(|(item, _)| item.0).collect();
        let light = first.iter().filter(|session| **session == 1).count();
        assert!((98..=102).contains(&light), "{light} of 400 went to weight 1 beside weight 3");
    }

    #[test]
    fn one_that_was_idle_does_not_make_up_for_its_rest() {
        let gate = gate(1 << 40, 1_000_000);
        fill(&gate, 1, 1, 1);
        fill(&gate, 2, 1, 500);
        assert_eq!((0..301).filter_map(|_| gate.next()).count(), 301);
        fill(&gate, 1, 1, 100);
        let first: Vec<_> = (0..100).filter_map(|_| gate.next()).map(|(item, _)| item.0).collect();
        let back = first.iter().filter(|session| **session == 1).count();
        assert!((49..=51).contains(&back), "{back} of 100");
    }

    #[test]
    fn bytes_and_reads_in_flight_stay_inside_the_budget() {
        let gate = gate(1024 * KIB, 5);
        fill(&gate, 1, 1, 100);
        let taken: Vec<_> = std::iter::from_fn(|| gate.next()).collect();
        assert_eq!(taken.len(), 5, "by reads");
        assert_eq!(gate.in_flight(), (5, 5 * 128 * KIB));
        let mut held: Vec<_> = taken.into_iter().map(|(_, reserved)| reserved).collect();
        held.iter_mut().for_each(|reserved| gate.settle(reserved, 500 * KIB));
        held.drain(..3).for_each(|reserved| gate.finish(reserved));
        assert!(
            gate.next().is_none(),
            "by bytes: 1000 KiB are held and the next is taken to need more than 24"
        );
        held.drain(..).for_each(|reserved| gate.finish(reserved));
        assert!(gate.next().is_some());
    }

    #[test]
    fn one_read_is_always_let_through_however_large() {
        let gate = gate(1, 1);
        fill(&gate, 1, 1, 2);
        let (_, mut reserved) = gate.next().expect("the reserve of the head");
        gate.settle(&mut reserved, 1 << 40);
        assert!(gate.next().is_none());
        gate.finish(reserved);
        assert!(gate.next().is_some());
    }

    #[test]
    fn a_session_that_is_forgotten_leaves_nothing_behind() {
        let gate = gate(1 << 30, 1000);
        fill(&gate, 1, 1, 9);
        fill(&gate, 2, 1, 1);
        gate.forget(1);
        assert_eq!(gate.next().map(|(item, _)| item), Some((2, 0)));
        assert!(gate.next().is_none());
    }
}
