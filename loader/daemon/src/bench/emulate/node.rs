//! The loader under emulation: engine, gate, pool, slots, sessions and wire as they are, a consumer an accelerator.

use std::num::NonZeroU64;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use forebay_plan::{OrderSpec, Sampler};
use forebay_proto::v1;

use super::super::progress::Progress;
use super::super::usage::{Mark, storage_bytes};
use super::super::wait::Waits;
use super::super::whole::{Connection, connect};
use super::accelerator::{Feed, WallClock, Worked, drain, work};
use super::cold::ColdEngine;
use super::data::{self, Data};
use super::workload::{Layout, Step};
use crate::config::{Bytes, Config};
use crate::delivery::local::client::Consumer;
use crate::delivery::local::record::{FLAG_EMPTY, Ready};
use crate::error::Fault;
use crate::job::{Job, StoredBytes, stored};
use crate::run::Daemon;
use crate::server::Service;
use crate::storage::{self, Engine};
use crate::workers::{Pool, Ticket};

/// Samples that must fit the read budget at least, so that large ones are read side by side.
const SAMPLES_IN_FLIGHT: u64 = 8;
/// How long sessions of accelerators that have gone may take to end.
const GONE_MAX: Duration = Duration::from_secs(10);

/// A daemon over one data set.
pub struct Node {
    /// As it runs.
    pub config: Config,
    daemon: Daemon,
    job: Arc<Job>,
}

/// Accelerators at work.
pub struct Accelerators {
    connection: Connection,
    feeds: Vec<ConsumerFeed>,
    step: Step,
    drained: u32,
}

/// What all accelerators did in one run.
pub struct Run {
    /// One each.
    pub worked: Vec<Worked>,
    /// Samples that were read meanwhile.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Of those, what the kernel fetched from storage; absent where it does not count.
    pub storage_bytes: Option<u64>,
    /// Processor time of the process meanwhile.
    pub cpu: Duration,
}

struct ConsumerFeed {
    consumer: Consumer,
    held: Option<Ready>,
}

/// The daemon's configuration with room for samples of this size.
pub fn sized(config: Config, layout: &Layout) -> Config {
    let largest = layout.sample_bytes_max();
    Config {
        sample_max: Bytes(config.sample_max.0.max(largest)),
        read_budget: Bytes(config.read_budget.0.max(SAMPLES_IN_FLIGHT * layout.sample_bytes)),
        ..config
    }
}

impl Node {
    /// Starts the threads. Blocks nobody; must be called in a tokio runtime's context.
    ///
    /// # Errors
    /// Unavailable: no threads left.
    pub fn start(config: Config, data: &Data, layout: &Layout, seed: u64, cold: bool) -> Result<Self, Fault> {
        let (done, completed) = flume::unbounded();
        let engine = storage::start(&config.engine_options(), &done)?.engine;
        let engine: Arc<dyn Engine<Ticket>> = if cold { Arc::new(ColdEngine(engine)) } else { engine };
        let runtime = tokio::runtime::Handle::current();
        let pool = Pool::start(engine, &completed, config.pool_options(), runtime)?;
        let daemon = Daemon { service: Service::new(config.clone(), pool)? };
        let job = Arc::new(job(data, layout, seed)?);
        daemon.service.adopt(Arc::clone(&job));
        Ok(Self { config, daemon, job })
    }

    /// Samples of an epoch.
    pub fn samples(&self) -> u64 {
        self.job.rows
    }

    /// Shared memory of one accelerator's slots.
    ///
    /// # Errors
    /// Invalid: a batch that no layout holds.
    pub fn arena_bytes(&self, step: Step) -> Result<u64, Fault> {
        let slots = u64::from(self.config.depth + self.config.max_leases);
        Ok(self.job.layout(step.batch, false)?.slot_bytes() * slots)
    }

    /// Opens a session for each of `count` accelerators, after those before them have ended.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn accelerators(&self, count: u32, step: Step) -> Result<Accelerators, Fault> {
        let since = Instant::now();
        while !self.daemon.service.sessions().is_empty() {
            if since.elapsed() > GONE_MAX {
                return Err(Fault::internal("sessions that were closed have not ended"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut connection = connect(&self.daemon)?;
        let mut feeds = Vec::new();
        for rank in 0..count {
            let request = v1::OpenRequest {
                job: Some(v1::JobRef {
                    order_digest: self.job.order_digest.to_string(),
                    content_digest: self.job.content_digest.to_string(),
                }),
                partition: Some(v1::Partition { rank, size: count, replica: String::new() }),
                rows: step.batch,
                tail: v1::Tail::Drop.into(),
                rolling: true,
                ..Default::default()
            };
            let mut consumer = connection.client.open(request)?;
            let depth = consumer.opened().depth;
            consumer.credit(depth)?;
            feeds.push(ConsumerFeed { consumer, held: None });
        }
        Ok(Accelerators { connection, feeds, step, drained: self.config.depth + 1 })
    }
}

fn job(data: &Data, layout: &Layout, seed: u64) -> Result<Job, Fault> {
    let index = |name: &str| {
        let found = data.snapshot.columns().iter().position(|column| column.name() == name);
        found.expect("the data was made with it")
    };
    let extent = data::framed(layout).then(|| (index("offset"), index("len")));
    let bytes = StoredBytes { column: index("path"), extent, row_bytes: layout.delivered_bytes() };
    let order = OrderSpec::new(Sampler::Shuffled, seed, data.snapshot.len())
        .map_err(|error| Fault::invalid(error.to_string()))?;
    Ok(stored(Arc::clone(&data.snapshot), order, bytes))
}

impl Accelerators {
    /// One run: all start together, on an empty queue, and work until `limit` has passed.
    ///
    /// # Errors
    /// The first fault of any session.
    pub fn run(&mut self, limit: Duration, progress: &Progress) -> Result<Run, Fault> {
        let Self { connection, feeds, step, drained } = self;
        let (step, drained) = (*step, *drained);
        let (begun, clock) = (Barrier::new(feeds.len() + 1), WallClock::start());
        std::thread::scope(|scope| {
            let one = |feed| {
                scope.spawn(|| {
                    let mut feed: &mut ConsumerFeed = feed;
                    punctual();
                    let ready = drain(&mut feed, drained);
                    begun.wait();
                    ready?;
                    let time = Duration::from_secs_f64(step.step_s);
                    work(&mut feed, &clock, time, limit, &|| progress.add(u64::from(step.batch)))
                })
            };
            let threads: Vec<_> = feeds.iter_mut().map(one).collect();
            begun.wait();
            let (start, before) = (Mark::now(), Sums::of(connection)?);
            let worked = threads
                .into_iter()
                .map(|thread| thread.join().expect("an emulated accelerator does not panic"))
                .collect::<Result<Vec<_>, Fault>>()?;
            let (after, (_, cpu)) = (Sums::of(connection)?, start.elapsed());
            Ok(Run {
                worked,
                reads: after.reads - before.reads,
                read_bytes: after.read_bytes - before.read_bytes,
                storage_bytes: after.storage_bytes.zip(before.storage_bytes).map(|(a, b)| a - b),
                cpu,
            })
        })
    }
}

/// Asks the kernel not to add its usual 50 microseconds to this thread's sleeps; where it does not, they count against us.
fn punctual() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// What the daemon and the kernel have counted so far.
struct Sums {
    reads: u64,
    read_bytes: u64,
    storage_bytes: Option<u64>,
}

impl Sums {
    fn of(connection: &mut Connection) -> Result<Self, Fault> {
        let sessions = connection.client.stats()?.sessions;
        Ok(Self {
            reads: sessions.iter().map(|session| session.reads).sum(),
            read_bytes: sessions.iter().map(|session| session.read_bytes).sum(),
            storage_bytes: storage_bytes(),
        })
    }
}

impl Feed for &mut ConsumerFeed {
    fn next(&mut self) -> Result<Waits, Fault> {
        // Held while the accelerator works, as a training loop holds what it copies from.
        if let Some(held) = self.held.take() {
            self.consumer.release(&held)?;
            self.consumer.credit(1)?;
        }
        let asked = Instant::now();
        loop {
            let ready = self.consumer.next_batch()?;
            if ready.flags & FLAG_EMPTY == 0 {
                let mut waits = Waits::default();
                waits.add(&ready, asked.elapsed());
                self.held = Some(ready);
                return Ok(waits);
            }
            self.consumer.credit(1)?;
        }
    }
}
