//! Judges where a consumer's time went, and what to change first. Pure: evidence in, findings out.
//!
//! The consumer says what each step cost it: waiting, its own Python work, copying, and the trainer. The wait is put down
//! to causes by what the daemon did while the batch was made (`docs/decisions/0006-explain.md`).

mod advice;
pub mod options;
mod readers;
mod split;
pub mod text;

use crate::meter::throttle::Throttle;
use crate::session::history::PastStep;

/// The trainer limits the run from this share of the time on: what MLPerf Storage asks of a loader (90 % utilisation).
const TRAINER_LIMITS_FROM: f64 = 0.9;
/// A quota that costs this share of the CPU work's time is the first thing to lift: it costs nothing else.
const QUOTA_COUNTS_FROM: f64 = 0.25;
/// Steps that a page shows.
const STEPS_SHOWN: usize = 5;
/// Steps that a reply carries for scripts.
const NEWEST_STEPS: usize = 32;

/// What a consumer's time goes into. The names are stable: scripts compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Batches stand ready: nothing to gain in the loader.
    Trainer,
    /// Decode threads stand and wait for bytes.
    Storage,
    /// Encoded bytes to pixels.
    Decode,
    /// Resizing, flipping, normalising, writing.
    Transform,
    /// Decode threads are stopped by the cgroup's quota.
    Throttled,
    /// Decode threads could run, and others have the processors.
    Processors,
    /// The consumer holds its batches: no slot is free, or the next batch is copied.
    Slots,
    /// The client's own Python work on each batch.
    Python,
    /// The rest: the start, the announcement, lost daemons.
    HandOver,
}

/// All of them, as they are numbered in `split::Parts`.
pub const CAUSES: [Cause; 9] = [
    Cause::Trainer,
    Cause::Storage,
    Cause::Decode,
    Cause::Transform,
    Cause::Throttled,
    Cause::Processors,
    Cause::Slots,
    Cause::Python,
    Cause::HandOver,
];

impl Cause {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trainer => "trainer",
            Self::Storage => "storage",
            Self::Decode => "decode",
            Self::Transform => "transform",
            Self::Throttled => "throttled",
            Self::Processors => "processors",
            Self::Slots => "slots",
            Self::Python => "python",
            Self::HandOver => "hand_over",
        }
    }
}

/// Everything a judgement rests on.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Whose.
    pub consumer: Consumer,
    /// The daemon's threads and bounds.
    pub pool: PoolFacts,
    /// What the daemon runs on.
    pub machine: Machine,
    /// The newest steps that were taken, oldest first.
    pub steps: Vec<PastStep>,
    /// Steps ever announced.
    pub steps_seen: u64,
    /// The quota's counters now.
    pub throttle: Throttle,
    /// What 99 of 100 reads did not exceed, microseconds.
    pub read_p99_us: u64,
    /// Slowest first.
    pub slowest_reads: Vec<SlowObject>,
    /// Slowest first.
    pub slowest_decodes: Vec<SlowObject>,
}

/// A session, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// Its number.
    pub session: u64,
    /// Of the job.
    pub job_id: String,
    /// What the client calls itself.
    pub client: String,
    /// Its rank.
    pub rank: u32,
    /// Ranks.
    pub size: u32,
    /// Tells consumers of one rank apart; mostly empty.
    pub replica: String,
    /// Batches in flight.
    pub depth: u32,
    /// Batches that it may hold.
    pub max_leases: u32,
}

/// How the daemon is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFacts {
    /// Whether it is a private one, which takes its settings from the environment.
    pub is_private: bool,
    /// Decode threads.
    pub cpu_threads: usize,
    /// Reads at a time.
    pub read_threads: usize,
    /// Reads admitted.
    pub reads_in_flight: u32,
    /// Encoded bytes admitted.
    pub read_budget_bytes: u64,
    /// The storage engine.
    pub engine: String,
    /// Its threads with a ring each; 0 without any.
    pub uring_threads: usize,
    /// Reads at a time of each of them.
    pub uring_depth: usize,
}

/// What the daemon runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Processors that the daemon may run on, whatever its quota.
    pub processors: usize,
    /// Those that its quota lets it use, rounded up; as many where there is none.
    pub usable_processors: usize,
    /// Of the last minute, where the machine tells.
    pub load_average: Option<f64>,
}

/// One sample that took long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlowObject {
    /// Its key.
    pub key: String,
    /// How long.
    pub us: u64,
    /// Encoded bytes.
    pub bytes: u64,
    /// Of its row.
    pub epoch: u64,
    /// Its row.
    pub position: u64,
}

/// Microseconds by cause, largest first, none of them 0.
pub type Shares = Vec<(Cause, u64)>;

/// One step's cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCost {
    /// Its cursor.
    pub epoch: u64,
    /// Its cursor.
    pub position: u64,
    /// Until the trainer had it.
    pub wait_us: u64,
    /// With the trainer's time before it.
    pub total_us: u64,
    /// Of `total_us`.
    pub shares: Shares,
}

/// The judgement on one session.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Whose.
    pub consumer: Consumer,
    /// What to change first belongs to this one. `None`: nothing to judge yet.
    pub cause: Option<Cause>,
    /// The first thing to change.
    pub advice: String,
    /// The measurements behind it.
    pub detail: String,
    /// Steps that were looked at.
    pub steps: usize,
    /// Steps ever announced.
    pub steps_seen: u64,
    /// The consumer's time over the steps that were looked at.
    pub window_us: u64,
    /// Of `window_us`.
    pub shares: Shares,
    /// Those that kept the trainer longest, at most 5.
    pub slowest_steps: Vec<StepCost>,
    /// Oldest first, at most 32.
    pub newest_steps: Vec<StepCost>,
    /// Slowest first.
    pub slowest_reads: Vec<SlowObject>,
    /// Slowest first.
    pub slowest_decodes: Vec<SlowObject>,
}

impl Findings {
    /// A cause's share of the time, 0 to 1.
    pub fn share(&self, cause: Cause) -> f64 {
        let us = self.shares.iter().find(|(named, _)| *named == cause).map_or(0, |(_, us)| *us);
        us as f64 / self.window_us.max(1) as f64
    }
}

/// Says where the time of one session's consumer went, and what to change first.
pub fn judge(evidence: Evidence) -> Findings {
    let mix = split::Mix::of(&evidence);
    let parts: Vec<_> = evidence.steps.iter().map(|step| mix.split(step)).collect();
    let sum = parts.iter().fold(split::Parts::default(), |sum, parts| sum.plus(parts));
    let cause = first_cause(&sum, &evidence);
    let (advice, detail) = advice::advise(cause, &sum, &mix, &evidence);
    let mut costs: Vec<_> =
        evidence.steps.iter().zip(&parts).map(|(step, parts)| cost(step, parts)).collect();
    let newest_steps = costs[costs.len().saturating_sub(NEWEST_STEPS)..].to_vec();
    costs.sort_by_key(|cost| std::cmp::Reverse(cost.wait_us));
    costs.truncate(STEPS_SHOWN);
    Findings {
        cause,
        advice,
        detail,
        steps: evidence.steps.len(),
        steps_seen: evidence.steps_seen,
        window_us: sum.total(),
        shares: sum.shares(),
        slowest_steps: costs,
        newest_steps,
        slowest_reads: evidence.slowest_reads,
        slowest_decodes: evidence.slowest_decodes,
        consumer: evidence.consumer,
    }
}

fn cost(step: &PastStep, parts: &split::Parts) -> StepCost {
    StepCost {
        epoch: step.epoch,
        position: step.position,
        wait_us: parts.total() - parts.of(Cause::Trainer),
        total_us: parts.total(),
        shares: parts.shares(),
    }
}

/// The largest cause, where the loader costs enough to care. What the processors do counts as one, and the remedy
/// decides inside: a quota first, then idle processors, then less work.
fn first_cause(sum: &split::Parts, evidence: &Evidence) -> Option<Cause> {
    let total = sum.total();
    if total == 0 {
        return None;
    }
    if sum.of(Cause::Trainer) as f64 >= TRAINER_LIMITS_FROM * total as f64 {
        return Some(Cause::Trainer);
    }
    let work = sum.of(Cause::Decode) + sum.of(Cause::Transform);
    let (throttled, others) = (sum.of(Cause::Throttled), sum.of(Cause::Processors));
    let compute = work + throttled + others;
    let rivals = [Cause::Storage, Cause::Slots, Cause::Python, Cause::HandOver];
    let rival =
        rivals.into_iter().max_by_key(|cause| sum.of(*cause)).filter(|cause| sum.of(*cause) > compute);
    if rival.is_some() {
        return rival;
    }
    let has_idle_processors = evidence.pool.cpu_threads < evidence.machine.usable_processors;
    Some(if throttled as f64 >= QUOTA_COUNTS_FROM * compute as f64 {
        Cause::Throttled
    } else if others > work && !has_idle_processors {
        Cause::Processors
    } else if sum.of(Cause::Transform) > sum.of(Cause::Decode) {
        Cause::Transform
    } else {
        Cause::Decode
    })
}

#[cfg(test)]
mod tests;
