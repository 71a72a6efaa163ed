//! One consumer: admits batches in plan order, restores that order, leases and announces, takes slots back.
//!
//! No IO and no waiting here: the shell that owns the socket calls [`Session::advance`] whenever something happened.

mod admit;
mod batch;
pub mod counters;
pub mod feed;
pub mod flow;
pub mod history;
pub mod slowest;
mod span;
pub mod table;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay_arena::{Arena, Geometry, Part};
use forebay_plan::{BatchLayout, BatchPlan, Cursor, Cut};
use forebay_proto::v1;
use tokio::sync::Notify;

use batch::{Batch, BatchState, InFlight};
pub use counters::Counters;
use counters::add;
use flow::{Flow, SequenceError, Step};
use history::PastStep;

use crate::delivery::local::record::{FLAG_EMPTY, FLAG_LAST, Ready, ReadyTensor, Release, Spent, StepTally};
use crate::error::{self, Fault, Kind};
use crate::job::{Job, RowWalker};
use crate::metrics;
use crate::prefetch::{Outcome, Share};
use crate::tally::BatchTally;
use crate::workers::Pool;

/// The last epoch that may be asked for: as far as JSON numbers go, and no sum of it overflows.
pub const EPOCH_MAX: u64 = 1 << 53;

/// What Open asked for, checked.
#[derive(Clone)]
pub struct SessionSpec {
    /// Its name on this daemon; also its arena's.
    pub id: u64,
    /// What its rows are.
    pub job: Arc<Job>,
    /// How an epoch is cut into its batches.
    pub cut: Cut,
    /// The first row.
    pub cursor: Cursor,
    /// Where tensors lie in a slot, for whole batches.
    pub layout: Arc<BatchLayout>,
    /// Whether the last tensor is `valid`.
    pub has_valid: bool,
    /// Batches in flight.
    pub depth: u32,
    /// Batches that the consumer may hold.
    pub max_leases: u32,
    /// Share of the pool beside others of its priority.
    pub weight: u32,
    /// While one of a higher priority has samples to read, none of this one's starts.
    pub priority: i32,
    /// Whether it goes on into the next epoch unasked.
    pub rolling: bool,
    /// Whether each batch says what its rows add to the digests of the epoch.
    pub digest: bool,
    /// The NUMA node that its arena is asked for on, and whose decode threads make its rows first; `None`: any.
    pub numa_node: Option<u32>,
    /// Who it is, for people.
    pub client: String,
    /// For people.
    pub partition: v1::Partition,
}

impl SessionSpec {
    fn share(&self) -> Share {
        Share { session: self.id, weight: self.weight, priority: self.priority }
    }
}

/// What is to be sent.
#[derive(Debug)]
pub enum Outgoing {
    /// A batch, or the news that there is none.
    Ready(Ready),
    /// The stream ends here until SEEK.
    Fault {
        /// Where.
        cursor: Cursor,
        /// Why.
        fault: Fault,
    },
}

/// One consumer's stream.
pub struct Session {
    spec: SessionSpec,
    pool: Arc<Pool>,
    /// Which decode threads are near its arena.
    home: Option<usize>,
    arena: Arena,
    wake: Arc<Notify>,
    flow: Flow,
    /// The epoch in hand, and what plans its rows.
    walker: Option<(u64, RowWalker)>,
    in_flight: VecDeque<InFlight>,
    cancelled: Arc<AtomicBool>,
    counters: Arc<Counters>,
    span: tracing::Span,
    parts: Vec<Part>,
    /// Since when the next batch waits for a free slot.
    slot_wait: Option<Instant>,
    /// Since when everything in flight is ready and waits for the consumer.
    idle: Option<Instant>,
    /// When the last batch was announced.
    announced: Option<Instant>,
    /// Whether the credit it starts with was granted: what comes later is for batches that were taken.
    is_started: bool,
    bad_in_epoch: (u64, u64),
}

impl Session {
    /// Makes the arena. Pages are taken as they are first written.
    ///
    /// # Errors
    /// Unavailable: the kernel gave no memory.
    pub fn new(spec: SessionSpec, pool: Arc<Pool>, counters: Arc<Counters>) -> Result<Self, Fault> {
        let wake = Arc::new(Notify::new());
        let geometry = Geometry { slot_bytes: spec.layout.slot_bytes(), slots: spec.depth + spec.max_leases };
        let on_event = Arc::clone(&wake);
        let arena =
            Arena::create_with(spec.id, geometry, move |_| on_event.notify_one()).map_err(|error| {
                Fault::from_error(Kind::Unavailable, &error).context("make the session's arena")
            })?;
        if let Some((node, Err(error))) = spec.numa_node.map(|node| (node, arena.prefer_node(node))) {
            let error = error::with_causes(&error);
            tracing::warn!(session = spec.id, node, error, "the arena is not placed on its GPU's NUMA node");
        }
        let home = spec.numa_node.and_then(|node| pool.home(node));
        let parts = spec
            .layout
            .tensors()
            .iter()
            .map(|place| Part { offset_bytes: place.offset_bytes, stride_bytes: place.stride_bytes });
        let parts = parts.collect();
        let flow = Flow::new(spec.cut, spec.cursor, spec.rolling);
        let span = spec.span();
        let cancelled = Arc::new(AtomicBool::new(false));
        let (in_flight, slot_wait, idle, announced) = (VecDeque::new(), None, None, None);
        let (is_started, bad_in_epoch) = (false, (0, 0));
        Ok(Self {
            spec,
            pool,
            home,
            arena,
            wake,
            flow,
            walker: None,
            in_flight,
            cancelled,
            counters,
            span,
            parts,
            slot_wait,
            idle,
            announced,
            is_started,
            bad_in_epoch,
        })
    }

    /// The memory to pass to the client.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.spec.id
    }

    /// What log lines about it carry.
    pub fn span(&self) -> tracing::Span {
        self.span.clone()
    }

    /// Told whenever [`Self::advance`] may have something new.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// The number of SEEKs seen.
    pub fn sequence(&self) -> u32 {
        self.flow.sequence()
    }

    /// Grants READYs.
    pub fn credit(&mut self, credits: u32) {
        self.flow.credit(credits);
    }

    /// Notes what the consumer took, as its credit tells: it grants one more for each batch.
    pub fn taken(&mut self, credits: u32, spent: Option<Spent>) {
        let made = if self.is_started { self.counters.history.taken(credits, spent) } else { None };
        self.is_started = true;
        if let (Some(made), Some(spent)) = (made, spent) {
            let wait = made.explain(spent.waited_us);
            self.counters.add_wait(&wait);
            metrics::batch_taken(&wait, &feed::consumer_time(spent));
        }
    }

    /// Takes slots back. What the client does not hold is ignored and counted.
    pub fn release(&mut self, releases: &[Release]) {
        for release in releases {
            let known = release.arena == self.arena.id();
            if !known || self.arena.release(release.slot, release.generation).is_err() {
                metrics::release_refused();
            }
        }
        self.counters.leased.store(u64::from(self.arena.leased()), Ordering::Relaxed);
    }

    /// Goes on at another row; what is in flight is given up.
    ///
    /// # Errors
    /// [`SequenceError`]: the client lost count.
    pub fn seek(&mut self, sequence: u32, cursor: Cursor, credits: u32) -> Result<(), SequenceError> {
        self.flow.seek(sequence, cursor, credits)?;
        self.give_up();
        metrics::sought();
        self.bad_in_epoch = (cursor.epoch, 0);
        self.counters.history.sought();
        (self.announced, self.is_started) = (None, true);
        Ok(())
    }

    /// Admits what may be admitted, then takes the next record to send, if there is one.
    pub fn advance(&mut self) -> Option<Outgoing> {
        self.admit();
        self.seal();
        let outgoing = self.deliver();
        self.note_idle();
        outgoing
    }

    fn seal(&mut self) {
        for batch in self.in_flight.iter_mut().filter_map(|entry| entry.batch.as_mut()) {
            batch.seal(&self.pool);
        }
    }

    fn deliver(&mut self) -> Option<Outgoing> {
        let head = self.in_flight.front()?;
        let ready = head.batch.as_ref().is_none_or(|batch| !matches!(batch.state, BatchState::Filling(_)));
        if !ready || !self.flow.may_send() {
            return None;
        }
        let InFlight { step, batch, fault } = self.in_flight.pop_front()?;
        if let Some(fault) = fault {
            let (Step::Empty(cursor) | Step::Batch(BatchPlan { cursor, .. })) = step;
            return Some(Outgoing::Fault { cursor, fault });
        }
        match (step, batch) {
            (Step::Batch(plan), Some(batch)) => Some(self.finish(&plan, batch)),
            (Step::Batch(_), None) | (Step::Empty(_), Some(_)) => {
                unreachable!("a batch is a batch from admission on")
            }
            (Step::Empty(cursor), None) => {
                self.flow.sent();
                Some(Outgoing::Ready(self.empty(cursor)))
            }
        }
    }

    fn finish(&mut self, plan: &BatchPlan, batch: Batch) -> Outgoing {
        let Batch { state, work, slot_us, held_us, ready_at, worked, sealed_us, throttle } = batch;
        let outcome = std::mem::take(&mut *work.outcome.lock().expect("no thread panics with the lock"));
        self.note_bad(plan.cursor.epoch, &outcome);
        let fault = outcome.fault.map(|(_, fault)| fault).or_else(|| self.over_budget());
        let slot = match (state, fault) {
            (BatchState::Ready(slot), None) => slot,
            (_, fault) => {
                self.flow.stop();
                self.give_up();
                let fault =
                    fault.unwrap_or_else(|| Fault::internal("a sample was dropped without a verdict"));
                return Outgoing::Fault { cursor: plan.cursor, fault };
            }
        };
        let lease = slot.lease();
        self.flow.sent();
        let now = Instant::now();
        let queued = ready_at.map_or(Duration::ZERO, |at| now.duration_since(at));
        // Reads wait for decoding where that is slower, so the time until the last read says nothing. What the decode
        // threads worked says it: the rest of the time they stood and waited for bytes.
        let done_us = work.done_us.load(Ordering::Relaxed);
        let compute_us = match self.spec.job.reads_a_row() {
            0 => done_us,
            _ => done_us.min(worked.busy_us / self.pool.cpu_threads() as u64),
        };
        let rows = work.rows.len();
        let valid_rows = rows - work.invalid_rows.load(Ordering::Relaxed);
        let (tensors, bytes) = self.tensors(rows);
        self.count(plan, valid_rows, bytes);
        metrics::batch_delivered(bytes, valid_rows, Duration::from_micros(done_us), queued);
        self.counters.history.announced(PastStep {
            epoch: plan.cursor.epoch,
            position: plan.cursor.position,
            rows,
            held_us,
            span_us: us(now.duration_since(work.admitted)),
            made_us: done_us,
            compute_us,
            queued_us: us(queued),
            gap_us: self.announced.replace(now).map_or(0, |before| us(now.duration_since(before))),
            worked,
            sealed_us,
            throttle,
            spent: None,
            is_taken: false,
        });
        Outgoing::Ready(Ready {
            flags: if plan.last_in_epoch { FLAG_LAST } else { 0 },
            sequence: self.flow.sequence(),
            arena: self.arena.id(),
            slot: lease.index(),
            rows,
            generation: lease.generation(),
            epoch: plan.cursor.epoch,
            first_row: plan.first_row,
            position: plan.cursor.position,
            next_epoch: plan.next.epoch,
            next_position: plan.next.position,
            valid_rows,
            slot_us,
            storage_us: clamp_us(done_us - compute_us),
            compute_us: clamp_us(compute_us),
            queued_us: clamp_us(us(queued)),
            tensors,
            tally: work.tally.as_ref().map(|tally| self.step_tally(plan, tally)),
        })
    }

    fn step_tally(&self, plan: &BatchPlan, tally: &BatchTally) -> StepTally {
        let step_rows = u64::from(plan.rows) * u64::from(self.spec.cut.partition().size());
        let end_row = plan.cursor.position.saturating_add(step_rows).min(plan.epoch_rows);
        StepTally { end_row, tally: tally.sums() }
    }

    fn empty(&self, cursor: Cursor) -> Ready {
        Ready {
            flags: FLAG_EMPTY | FLAG_LAST,
            sequence: self.flow.sequence(),
            epoch: cursor.epoch,
            position: cursor.position,
            next_epoch: cursor.epoch + 1,
            ..Ready::default()
        }
    }

    fn tensors(&self, rows: u32) -> (Vec<ReadyTensor>, u64) {
        let mut bytes = 0;
        let place = |(place, spec): (&forebay_plan::TensorPlace, &forebay_plan::TensorSpec)| {
            let len_bytes = place.stride_bytes * u64::from(rows);
            bytes += len_bytes;
            let dims = std::iter::once(rows).chain(spec.dims.iter().copied()).collect();
            ReadyTensor { offset_bytes: place.offset_bytes, len_bytes, dims }
        };
        let layout = &self.spec.layout;
        (layout.tensors().iter().zip(layout.specs()).map(place).collect(), bytes)
    }

    fn count(&self, plan: &BatchPlan, valid_rows: u32, bytes: u64) {
        add(&self.counters.batches, 1);
        self.counters.leased.store(u64::from(self.arena.leased()), Ordering::Relaxed);
        add(&self.counters.rows, u64::from(valid_rows));
        add(&self.counters.batch_bytes, bytes);
        self.counters.epoch.store(plan.next.epoch, Ordering::Relaxed);
        self.counters.position.store(plan.next.position, Ordering::Relaxed);
    }

    fn note_bad(&mut self, epoch: u64, outcome: &Outcome) {
        if self.bad_in_epoch.0 != epoch {
            self.bad_in_epoch = (epoch, 0);
        }
        self.bad_in_epoch.1 += outcome.bad.len() as u64;
        let mut lines: Vec<_> = outcome.bad.iter().collect();
        lines.sort_by_key(|bad| (bad.position, bad.attempt));
        for bad in lines {
            self.counters.replaced.note(epoch, bad.part_position, bad.attempt);
            let (key, reason) = (bad.key.clone(), bad.reason.clone());
            self.counters.note_bad(v1::BadSample {
                epoch,
                position: bad.position,
                attempt: bad.attempt,
                key,
                reason,
            });
        }
    }

    fn over_budget(&self) -> Option<Fault> {
        let budget = self.spec.job.bad_sample.budget_count?;
        let (epoch, count) = self.bad_in_epoch;
        (count > budget).then(|| {
            Fault::new(
                Kind::Corrupt,
                format!("{count} corrupt samples in epoch {epoch}, the budget is {budget}"),
            )
            .hint("`loader.stats()` lists them; mend the data or raise the budget")
        })
    }

    /// Gives up what is in flight. Slots become free when their last writer has stopped.
    fn give_up(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.cancelled = Arc::new(AtomicBool::new(false));
        self.in_flight.clear();
        self.pool.forget(self.spec.id);
        self.slot_wait = None;
    }

    fn note_idle(&mut self) {
        let ready = |entry: &InFlight| entry.batch.as_ref().is_none_or(|batch| batch.ready_at.is_some());
        let all_ready = !self.in_flight.is_empty() && self.in_flight.iter().all(ready);
        match (all_ready, self.idle) {
            (true, None) => self.idle = Some(Instant::now()),
            (false, Some(since)) => {
                add(&self.counters.idle_us, since.elapsed().as_micros() as u64);
                self.idle = None;
            }
            _ => {}
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn us(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

fn clamp_us(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}
