//! One step's time, put down to causes.

use super::{CAUSES, Cause, Evidence, Shares};
use crate::delivery::local::record::Spent;
use crate::meter::Worked;
use crate::session::history::PastStep;

/// Microseconds by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts([u64; CAUSES.len()]);

impl Parts {
    /// What a cause has.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// All causes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] + other.0[index]))
    }

    /// Those that have something, largest first.
    pub fn shares(&self) -> Shares {
        let mut shares: Vec<_> = CAUSES.into_iter().map(|cause| (cause, self.of(cause))).collect();
        shares.retain(|(_, us)| *us > 0);
        shares.sort_by_key(|(_, us)| std::cmp::Reverse(*us));
        shares
    }

    fn add(&mut self, cause: Cause, us: f64) {
        self.0[cause as usize] += us.round() as u64;
    }
}

/// What the pool's threads did over the whole window, which splits each step's compute time.
///
/// Taken over the window and not a step: the kernel's counters of a quota are half a second old, and one step may be a
/// millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// What the threads did while the steps' batches were made. Batches in flight together overlap, so these are good for
    /// ratios.
    pub worked: Worked,
    /// The time in which they were made, as often.
    pub sealed_us: u64,
    /// Share of the quota's periods in which it was used up.
    pub stopped_periods: f64,
    /// Processors that the quota is worth; 0: none.
    pub quota_processors: f64,
    /// Shares of compute time: stopped by the quota, without a processor otherwise, decoding. The rest transforms.
    throttled: f64,
    processors: f64,
    decode: f64,
    /// Share of all time in which the quota stopped the whole daemon: reads and announcements wait for it too.
    stopped: f64,
}

impl Mix {
    /// Of all steps.
    pub fn of(evidence: &Evidence) -> Self {
        let steps = &evidence.steps;
        let worked = steps.iter().fold(Worked::default(), |sum, step| sum.plus(step.worked));
        let sealed_us = steps.iter().map(|step| step.sealed_us).sum::<u64>();
        let mut mix = Self { worked, sealed_us, ..Self::default() };
        let busy = worked.busy_us.max(1) as f64;
        let off = (worked.off_cpu_us as f64 / busy).min(1.0);
        mix.decode = worked.decode_us as f64 / busy * (1.0 - off);
        mix.take_quota(evidence, off);
        mix.processors = off - mix.throttled;
        mix
    }

    fn take_quota(&mut self, evidence: &Evidence, off: f64) {
        let Some(first) = evidence.steps.first().map(|step| step.throttle) else { return };
        let last = evidence.throttle;
        let periods = last.periods.saturating_sub(first.periods);
        if last.quota_processors <= 0.0 || periods == 0 {
            return;
        }
        let stopped_periods = last.throttled_periods.saturating_sub(first.throttled_periods);
        self.quota_processors = last.quota_processors;
        self.stopped_periods = (stopped_periods as f64 / periods as f64).min(1.0);
        // Threads a processor: where there are more, one stopped processor stops several of them.
        let processors = evidence.machine.processors.max(1) as f64;
        let threads = evidence.pool.cpu_threads.max(1) as f64;
        let stopped_us = last.throttled_us.saturating_sub(first.throttled_us) as f64;
        let window_us = evidence.steps.iter().map(|step| total_us(spent(step))).sum::<u64>().max(1) as f64;
        let stopped_threads = stopped_us / window_us * (threads / processors).max(1.0);
        let busy_threads = self.worked.busy_us.max(1) as f64 / self.sealed_us.max(1) as f64;
        self.throttled = (off * self.stopped_periods).min(stopped_threads / busy_threads);
        let wanted = threads.min(processors);
        self.stopped = self.stopped_periods * (1.0 - self.quota_processors / wanted).max(0.0);
    }

    /// Puts a step's time down to causes. The wait is walked back from its end: the batch was complete and not announced
    /// yet, it was being made, it waited for a slot. While it was made, storage and compute have the shares they had in
    /// all of that time, since they overlap.
    pub fn split(&self, step: &PastStep) -> Parts {
        let spent = spent(step);
        let waited_us = u64::from(spent.waited_us);
        let late_us = waited_us.min(step.span_us.saturating_sub(step.made_us));
        let making_us = (waited_us - late_us).min(step.made_us);
        let held_us = (waited_us - late_us - making_us).min(step.held_us);
        let compute = making_us as f64 * (step.compute_us as f64 / step.made_us.max(1) as f64).min(1.0);
        let storage = making_us as f64 - compute;
        let slot = held_us as f64;
        let hand_over = (waited_us - making_us - held_us) as f64;
        let mut parts = Parts::default();
        parts.add(Cause::Trainer, f64::from(spent.trainer_us));
        parts.add(Cause::Python, f64::from(spent.python_us));
        parts.add(Cause::Slots, slot + f64::from(spent.copied_us));
        parts.add(Cause::Storage, storage * (1.0 - self.stopped));
        parts.add(Cause::HandOver, hand_over * (1.0 - self.stopped));
        parts.add(Cause::Throttled, compute * self.throttled + (storage + hand_over) * self.stopped);
        parts.add(Cause::Processors, compute * self.processors);
        parts.add(Cause::Decode, compute * self.decode);
        parts
            .add(Cause::Transform, compute * (1.0 - self.throttled - self.processors - self.decode).max(0.0));
        parts
    }

    /// Decode threads that had a sample in hand, on average.
    pub fn busy_threads(&self) -> f64 {
        self.worked.busy_us as f64 / self.sealed_us.max(1) as f64
    }

    /// Reads with the storage, and those in the engine's queue, on average (Little's law).
    pub fn reads_at_a_time(&self) -> (f64, f64) {
        let sealed = self.sealed_us.max(1) as f64;
        (self.worked.read_us as f64 / sealed, self.worked.queue_us as f64 / sealed)
    }
}

/// As the consumer says. One that does not say waited, for all we know, whenever nothing stood ready for it.
fn spent(step: &PastStep) -> Spent {
    step.spent.unwrap_or_else(|| {
        let clamp = |us: u64| u32::try_from(us).unwrap_or(u32::MAX);
        let trainer_us = step.queued_us.min(step.gap_us);
        Spent {
            waited_us: clamp(step.gap_us - trainer_us),
            trainer_us: clamp(trainer_us),
            ..Spent::default()
        }
    })
}

/// All of it, microseconds.
fn total_us(spent: Spent) -> u64 {
    [spent.waited_us, spent.trainer_us, spent.python_us, spent.copied_us].into_iter().map(u64::from).sum()
}
