//! Admission: a batch is admitted with its slot; its samples then wait at the [`Gate`], in plan order, for read bytes.

mod gate;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_plan::BatchRange;

use crate::error::Fault;
use crate::job::{BatchRows, EpochRows, Job, PartPlan, RowPlan};
use crate::meter::Worked;
use crate::session::Counters;
use crate::tally::BatchTally;
use crate::trace::Trace;
pub use gate::{Ask, Gate, ReadBudget, Reserved, Share};

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
    /// Which decode threads are near its slot; `None`: all are, or none.
    pub home: Option<usize>,
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
    /// A read of it never came back: what has not started is not worth waiting for as well.
    pub is_lost: bool,
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

    /// A read of it never came back.
    pub fn lose(&self) {
        self.outcome.lock().expect("no thread panics with the lock").is_lost = true;
    }

    /// Why no more of it is to be read, where a read of it never came back.
    pub fn lost(&self) -> Option<Fault> {
        let outcome = self.outcome.lock().expect("no thread panics with the lock");
        outcome.fault.as_ref().filter(|_| outcome.is_lost).map(|(_, fault)| fault.clone())
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
