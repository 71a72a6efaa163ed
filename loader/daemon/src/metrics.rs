//! Every metric: one function an event here, its name and help in `meters`.
//!
//! Nothing is counted before [`register`]: an event is then one load and a branch. Afterwards it is a few atomic
//! additions, without a look-up and without a lock. Labels come from the bounded sets of this file; a session or a job
//! is never one.

mod meters;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::Counter;

use crate::error::Kind;
use meters::{KINDS, Meters};

/// Upper bounds of the buckets of every histogram, seconds: 50 us to 30 s.
pub const BUCKETS_SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Where something waits its turn.
#[derive(Clone, Copy, Debug)]
pub enum Queue {
    /// Samples of an admitted batch, for room in the budget of reads.
    Admission,
    /// Reads, for a thread of the storage engine.
    Read,
    /// Samples whose bytes are there, for a decode thread.
    Decode,
    /// Finished batches, for their consumer.
    Delivery,
}

/// What became of a corrupt sample.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// The session fails.
    Fail,
    /// Another sample is drawn for the row.
    Substitute,
    /// The row is zeros, with `valid = 0`.
    Mask,
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The client closed it.
    Closed,
    /// The client's process ended.
    ClientDied,
    /// The client does not keep to docs/wire.md.
    Broken,
    /// The socket failed.
    SocketFailed,
    /// Nobody attached it in time.
    NotAttached,
}

/// A consumer's wait for one batch, split by what it was for. They add up to the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/monitoring.md says what each is")]
pub struct FeedWait {
    pub storage: Duration,
    pub compute: Duration,
    pub slot: Duration,
    pub other: Duration,
}

impl FeedWait {
    /// The whole wait.
    pub fn whole(&self) -> Duration {
        self.storage + self.compute + self.slot + self.other
    }
}

/// What a consumer did between two waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/monitoring.md says what each is")]
pub struct ConsumerTime {
    pub trainer: Duration,
    pub python: Duration,
    pub copy: Duration,
}

/// What is looked at when somebody asks, not counted as it happens.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the help of each gauge says it")]
pub struct NodeNow {
    pub sessions: u64,
    pub slots: u64,
    pub slots_leased: u64,
    pub arena_bytes: u64,
    pub arena_budget_bytes: u64,
    pub reads_in_flight: u64,
    pub read_bytes_in_flight: u64,
    pub reads_hanging: u64,
    pub read_budget_bytes: u64,
    pub read_threads: u64,
    pub decode_threads: u64,
    pub jobs: u64,
    pub draining: bool,
    pub cpu_us: u64,
    pub rss_bytes: u64,
    pub threads: u64,
    pub open_fds: u64,
    pub max_fds: u64,
}

static METERS: OnceLock<Meters> = OnceLock::new();

/// Names every metric to the recorder that is installed, at zero, and counts from here on. A second call does nothing.
pub fn register() {
    METERS.get_or_init(Meters::register);
}

fn with(event: impl FnOnce(&Meters)) {
    if let Some(meters) = METERS.get() {
        event(meters);
    }
}

fn of_kind(counters: &[Counter; 8], kind: Kind) {
    let index = KINDS.iter().position(|known| *known == kind).expect("every kind is listed");
    counters[index].increment(1);
}

/// A read came back.
pub fn read_done(bytes: u64, queued: Duration, took: Duration, is_shared: bool) {
    with(|meters| {
        meters.reads.increment(1);
        meters.reads_shared.increment(u64::from(is_shared));
        meters.read_bytes.increment(bytes);
        meters.read_seconds.record(took);
        meters.queue_seconds[Queue::Read as usize].record(queued);
    });
}

/// A read came back with an error.
pub fn read_failed(kind: Kind) {
    with(|meters| of_kind(&meters.read_errors, kind));
}

/// A read will be asked again.
pub fn read_retried() {
    with(|meters| meters.read_retries.increment(1));
}

/// A second read of the same bytes was started for a slow one.
pub fn read_hedged() {
    with(|meters| meters.reads_hedged.increment(1));
}

/// A second read came back before the first.
pub fn hedge_won() {
    with(|meters| meters.hedges_won.increment(1));
}

/// A read never came back and was given up.
pub fn read_lost() {
    with(|meters| meters.reads_lost.increment(1));
}

/// Something waited its turn.
pub fn queued(queue: Queue, waited: Duration) {
    with(|meters| meters.queue_seconds[queue as usize].record(waited));
}

/// A sample was decoded and transformed, or found corrupt, in this time.
pub fn sample_made(decode: Duration, transform: Duration) {
    with(|meters| {
        meters.samples.increment(1);
        meters.decode_seconds.record(decode);
        meters.transform_seconds.record(transform);
    });
}

/// A sample was corrupt.
pub fn sample_bad(fate: Fate) {
    with(|meters| meters.bad_samples[fate as usize].increment(1));
}

/// An image was drawn for a device. `fit`: its file is one that a device decodes.
pub fn row_for_device(fit: bool) {
    with(|meters| meters.device_rows[usize::from(!fit)].increment(1));
}

/// A batch was announced. `made`: in making; `ready`: finished, and waiting for its consumer.
pub fn batch_delivered(bytes: u64, valid_rows: u32, made: Duration, ready: Duration) {
    with(|meters| {
        meters.batches.increment(1);
        meters.rows.increment(u64::from(valid_rows));
        meters.batch_bytes.increment(bytes);
        meters.batch_seconds.record(made);
        meters.queue_seconds[Queue::Delivery as usize].record(ready);
    });
}

/// A consumer took a batch, and said what it had cost. Causes that had no part in the wait are not recorded.
pub fn batch_taken(wait: &FeedWait, spent: &ConsumerTime) {
    with(|meters| {
        meters.batch_wait_seconds.record(wait.whole());
        let parts = [wait.storage, wait.compute, wait.slot, wait.other];
        for (histogram, part) in meters.feed_wait_seconds.iter().zip(parts) {
            if !part.is_zero() {
                histogram.record(part);
            }
        }
        for (histogram, part) in meters.consumer_seconds.iter().zip([spent.trainer, spent.python, spent.copy])
        {
            if !part.is_zero() {
                histogram.record(part);
            }
        }
    });
}

/// A batch that was next in order got a slot.
pub fn slot_waited(waited: Duration) {
    with(|meters| meters.slot_wait_seconds.record(waited));
}

/// A session was opened.
pub fn session_opened() {
    with(|meters| meters.sessions_opened.increment(1));
}

/// A session was refused.
pub fn open_refused(kind: Kind) {
    with(|meters| of_kind(&meters.opens_refused, kind));
}

/// A session ended.
pub fn session_ended(end: End) {
    with(|meters| meters.sessions_ended[end as usize].increment(1));
}

/// A stream ended with an error, until its consumer asks again.
pub fn faulted(kind: Kind) {
    with(|meters| of_kind(&meters.faults, kind));
}

/// A consumer goes on at another row.
pub fn sought() {
    with(|meters| meters.seeks.increment(1));
}

/// A client released what it did not hold.
pub fn release_refused() {
    with(|meters| meters.releases_refused.increment(1));
}

/// A job was opened, or could not be.
pub fn job_resolved(took: Duration, ok: bool) {
    with(|meters| {
        meters.resolve_seconds.record(took);
        meters.jobs_resolved[usize::from(!ok)].increment(1);
    });
}

/// A batch was fetched by its key, or could not be.
pub fn fetched(ok: bool) {
    with(|meters| meters.fetches[usize::from(!ok)].increment(1));
}

/// Losses were reported; so many of them no finite numbers.
pub fn losses_noted(losses: u64, nan: u64) {
    with(|meters| {
        meters.losses[0].increment(losses - nan);
        meters.losses[1].increment(nan);
    });
}

/// Somebody asks how things stand.
pub fn looked_at(now: &NodeNow) {
    with(|Meters { now: gauges, .. }| {
        gauges.sessions.set(now.sessions as f64);
        gauges.slots.set(now.slots as f64);
        gauges.slots_leased.set(now.slots_leased as f64);
        gauges.arena_bytes.set(now.arena_bytes as f64);
        gauges.arena_budget_bytes.set(now.arena_budget_bytes as f64);
        gauges.reads_in_flight.set(now.reads_in_flight as f64);
        gauges.read_bytes_in_flight.set(now.read_bytes_in_flight as f64);
        gauges.reads_hanging.set(now.reads_hanging as f64);
        gauges.read_budget_bytes.set(now.read_budget_bytes as f64);
        gauges.read_threads.set(now.read_threads as f64);
        gauges.decode_threads.set(now.decode_threads as f64);
        gauges.jobs.set(now.jobs as f64);
        gauges.draining.set(f64::from(u8::from(now.draining)));
        gauges.cpu_seconds.absolute(now.cpu_us / 1_000_000);
        gauges.rss_bytes.set(now.rss_bytes as f64);
        gauges.threads.set(now.threads as f64);
        gauges.open_fds.set(now.open_fds as f64);
        gauges.max_fds.set(now.max_fds as f64);
    });
}
