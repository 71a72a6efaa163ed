//! One batch between its admission and its announcement.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use forebay_arena::{FillState, Filling, ReadySlot};

use super::flow::Step;
use crate::error::Fault;
use crate::meter::Worked;
use crate::meter::throttle::Throttle;
use crate::prefetch::BatchWork;
use crate::workers::Pool;

/// A step that was planned, and its batch where it has one.
pub(super) struct InFlight {
    pub(super) step: Step,
    pub(super) batch: Option<Batch>,
    /// Why it has none although it is no end: its epoch could not be made.
    pub(super) fault: Option<Fault>,
}

/// A batch that has its slot.
pub(super) struct Batch {
    pub(super) state: BatchState,
    pub(super) work: Arc<BatchWork>,
    pub(super) slot_us: u32,
    /// Of that, while the consumer had all that was announced.
    pub(super) held_us: u64,
    pub(super) ready_at: Option<Instant>,
    /// What the pool did, for anybody, while this batch was made; that took so long; the quota's counters then.
    pub(super) worked: Worked,
    pub(super) sealed_us: u64,
    pub(super) throttle: Throttle,
}

/// Who has the slot.
pub(super) enum BatchState {
    Filling(Filling),
    Ready(ReadySlot),
    Failed,
}

impl Batch {
    /// Takes the slot back from its samples once the last of them is in, and looks at what the pool did meanwhile.
    pub(super) fn seal(&mut self, pool: &Pool) {
        if !matches!(&self.state, BatchState::Filling(_)) {
            return;
        }
        let BatchState::Filling(filling) = std::mem::replace(&mut self.state, BatchState::Failed) else {
            return;
        };
        self.state = match filling.state() {
            FillState::Filling { .. } => BatchState::Filling(filling),
            // The other samples go on: the lowest row's fault is the one that is told, however threads ran.
            FillState::Failed if self.work.left.load(Ordering::Acquire) > 0 => BatchState::Filling(filling),
            FillState::Failed => BatchState::Failed,
            FillState::Complete => filling.seal().map_or_else(BatchState::Filling, BatchState::Ready),
        };
        if !matches!(&self.state, BatchState::Filling(_)) {
            self.ready_at = Some(Instant::now());
            self.worked = pool.worked().since(self.work.worked_before);
            self.sealed_us = self.work.elapsed_us();
            self.throttle = pool.throttle().read();
        }
    }
}
