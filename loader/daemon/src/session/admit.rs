//! What a session starts next: a free slot, the step in plan order, what stands in its rows, and its work.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_arena::SlotMut;
use forebay_plan::{BatchPlan, Cursor};

use super::batch::{Batch, BatchState, InFlight};
use super::flow::Step;
use super::{Session, add, clamp_us, us};
use crate::error::Fault;
use crate::job::{BatchRows, RowWalker};
use crate::meter::Worked;
use crate::meter::throttle::Throttle;
use crate::metrics;
use crate::prefetch::{BatchWork, Outcome};
use crate::tally::BatchTally;

impl Session {
    /// Starts what there are slots for.
    pub(super) fn admit(&mut self) {
        while self.in_flight.len() < self.spec.depth as usize
            && let Some(cursor) = self.flow.next()
        {
            let Some(slot) = self.arena.try_take() else {
                self.slot_wait.get_or_insert_with(Instant::now);
                return;
            };
            let slot_wait = self.slot_wait.take().map(|since| since.elapsed());
            slot_wait.into_iter().for_each(metrics::slot_waited);
            let slot_us = slot_wait.map_or(0, us);
            add(&self.counters.slot_wait_us, slot_us);
            let (step, rows) = match self.plan(cursor) {
                Ok(planned) => planned,
                Err(fault) => {
                    self.flow.stop();
                    let (step, fault) = (Step::Empty(cursor), Some(fault));
                    return self.in_flight.push_back(InFlight { step, batch: None, fault });
                }
            };
            match step {
                Step::Batch(plan) => self.start(slot, plan, rows, slot_us),
                Step::Empty(_) => self.in_flight.push_back(InFlight { step, batch: None, fault: None }),
            }
        }
    }

    /// The next step in plan order, and what stands in its rows.
    fn plan(&mut self, cursor: Cursor) -> Result<(Step, BatchRows), Fault> {
        if self.walker.as_ref().is_none_or(|(epoch, _)| *epoch != cursor.epoch) {
            let epoch = self.spec.job.epoch_now(cursor.epoch)?;
            self.flow.set_epoch_rows(epoch.rows());
            self.walker = Some((cursor.epoch, RowWalker::new(epoch)));
        }
        let (_, walker) = self.walker.as_mut().expect("just put there");
        let step = self.flow.plan().expect("there is a next step");
        let rows = match &step {
            Step::Batch(plan) => walker.plan(plan.range())?,
            Step::Empty(_) => BatchRows::default(),
        };
        Ok((step, rows))
    }

    fn start(&mut self, slot: SlotMut, plan: BatchPlan, rows: BatchRows, slot_us: u64) {
        let (filling, samples) =
            slot.split(rows.len(), &self.parts).expect("the layout was made for whole batches");
        let work = Arc::new(BatchWork {
            job: Arc::clone(&self.spec.job),
            epoch: Arc::clone(self.walker.as_ref().expect("it planned the rows").1.epoch()),
            range: plan.range(),
            left: rows.len().into(),
            rows,
            has_valid: self.spec.has_valid,
            home: self.home,
            cancelled: Arc::clone(&self.cancelled),
            counters: Arc::clone(&self.counters),
            span: self.span.clone(),
            admitted: Instant::now(),
            worked_before: self.pool.worked(),
            done_us: 0.into(),
            invalid_rows: 0.into(),
            outcome: Mutex::new(Outcome::default()),
            trace: None,
            tally: self.spec.digest.then(BatchTally::default),
        });
        let is_held = slot_us > 0 && self.counters.history.has_all();
        let batch = Batch {
            held_us: if is_held { slot_us } else { 0 },
            state: BatchState::Filling(filling),
            work: Arc::clone(&work),
            slot_us: clamp_us(slot_us),
            ready_at: None,
            worked: Worked::default(),
            sealed_us: 0,
            throttle: Throttle::default(),
        };
        self.in_flight.push_back(InFlight { step: Step::Batch(plan), batch: Some(batch), fault: None });
        self.pool.admit(self.spec.share(), &work, samples);
    }
}
