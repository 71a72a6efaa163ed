//! What a session does next, as a pure state machine: cursor, credit, sequence, ends of epochs.

use forebay_plan::{BatchPlan, Cursor, Cut};
use thiserror::Error;

/// What comes next in plan order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A batch to make.
    Batch(BatchPlan),
    /// The epoch that was asked for has no step left: to be said, in order.
    Empty(Cursor),
}

/// A SEEK that does not follow the last one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("seek with sequence {given}, expected {expected}")]
pub struct SequenceError {
    /// What came.
    pub given: u32,
    /// The last one plus 1.
    pub expected: u32,
}

/// The state of one consumer's stream. `next` is what has not been planned yet, not what was delivered.
#[derive(Clone, Debug)]
pub struct Flow {
    cut: Cut,
    rolling: bool,
    next: Option<Cursor>,
    credits: u32,
    sequence: u32,
}

impl Flow {
    /// A stream that starts at `cursor`, without credit.
    pub fn new(cut: Cut, cursor: Cursor, rolling: bool) -> Self {
        Self { cut, rolling, next: Some(cursor), credits: 0, sequence: 0 }
    }

    /// Takes the next step in plan order. `None`: the stream stands behind the end of an epoch, or a fault, until SEEK.
    pub fn plan(&mut self) -> Option<Step> {
        let cursor = self.next?;
        let Some(plan) = self.cut.batch_at(cursor) else {
            self.next = None;
            return Some(Step::Empty(cursor));
        };
        self.next = (self.rolling || !plan.last_in_epoch).then_some(plan.next);
        Some(Step::Batch(plan))
    }

    /// Where [`Self::plan`] goes on, if it does.
    pub fn next(&self) -> Option<Cursor> {
        self.next
    }

    /// Says how many rows the epoch that comes next has: they differ where an order is made of lists or lengths.
    pub fn set_epoch_rows(&mut self, rows: u64) {
        if rows != self.cut.epoch_rows() {
            let cut = Cut::new(rows, self.cut.partition(), self.cut.rows_per_rank(), self.cut.tail());
            self.cut = cut.expect("an epoch has rows, and the rest was checked before");
        }
    }

    /// Grants `credits` READYs more.
    pub fn credit(&mut self, credits: u32) {
        self.credits = self.credits.saturating_add(credits);
    }

    /// Whether a READY may be sent.
    pub fn may_send(&self) -> bool {
        self.credits > 0
    }

    /// Counts a READY as sent.
    pub fn sent(&mut self) {
        self.credits = self.credits.saturating_sub(1);
    }

    /// Ends the stream until SEEK.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// Goes on at `cursor`.
    ///
    /// # Errors
    /// [`SequenceError`]: the client lost count, and nothing has changed.
    pub fn seek(&mut self, sequence: u32, cursor: Cursor, credits: u32) -> Result<(), SequenceError> {
        let expected = self.sequence.wrapping_add(1);
        if sequence != expected {
            return Err(SequenceError { given: sequence, expected });
        }
        self.sequence = sequence;
        self.next = Some(cursor);
        self.credits = credits;
        Ok(())
    }

    /// The number of SEEKs seen, which every record carries.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// How epochs are cut into this consumer's batches.
    pub fn cut(&self) -> &Cut {
        &self.cut
    }
}

#[cfg(test)]
mod tests {
    use forebay_plan::{Partition, Tail};

    use super::*;

    fn flow(rows: u64, batch: u32, tail: Tail, rolling: bool) -> Flow {
        let part = Partition::new(0, 1).expect("one rank");
        Flow::new(
            Cut::new(rows, part, batch, tail).expect("a cut"),
            Cursor { epoch: 0, position: 0 },
            rolling,
        )
    }

    fn cursors(flow: &mut Flow, count: usize) -> Vec<(u64, u64)> {
        let step = |step| match step {
            Step::Batch(plan) => (plan.cursor.epoch, plan.cursor.position),
            Step::Empty(cursor) => (cursor.epoch, u64::MAX),
        };
        std::iter::from_fn(|| flow.plan()).take(count).map(step).collect()
    }

    #[test]
    fn a_stream_stops_behind_its_epoch_unless_it_rolls() {
        assert_eq!(cursors(&mut flow(5, 2, Tail::Partial, false), 9), [(0, 0), (0, 2), (0, 4)]);
        assert_eq!(
            cursors(&mut flow(5, 2, Tail::Partial, true), 5),
            [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2)]
        );
    }

    #[test]
    fn an_epoch_without_a_step_is_said_once_and_never_loops() {
        assert_eq!(cursors(&mut flow(5, 8, Tail::Drop, true), 9), [(0, u64::MAX)]);
    }

    #[test]
    fn seek_replaces_cursor_and_credit_and_keeps_count() {
        let mut flow = flow(5, 2, Tail::Partial, false);
        flow.credit(7);
        let there = Cursor { epoch: 3, position: 2 };
        assert_eq!(flow.seek(5, there, 2), Err(SequenceError { given: 5, expected: 1 }));
        flow.seek(1, there, 1).expect("the next sequence");
        assert_eq!((cursors(&mut flow, 9), flow.sequence()), (vec![(3, 2), (3, 4)], 1));
        flow.sent();
        assert!(!flow.may_send());
    }

    #[test]
    fn a_fault_stops_the_stream_until_a_seek() {
        let mut flow = flow(5, 2, Tail::Partial, true);
        flow.stop();
        assert!(flow.plan().is_none() && flow.next().is_none());
    }
}
