//! The CPU pool: takes reads that came back, makes each sample in its range of the slot, and asks again where asking
//! again helps.

mod make;
mod pack;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_arena::SampleMut;
use forebay_plan::orders::Pick;

use crate::decode::ImageLimits;
use crate::error::{Fault, Kind};
use crate::job::{FieldMaker, FieldPlan, Job, PartPlan};
use crate::meter::throttle::ThrottleGauge;
use crate::meter::{PoolSums, Worked};
use crate::metrics::{self, Queue};
use crate::prefetch::{Admitted, BatchWork, Gate, ReadBudget, Reserved};
use crate::session::slowest::Slow;
use crate::storage::{Done, Engine, Read, ReadBuf, RetryPolicy, Root, SpareBuffers};
pub use make::Draws;
use make::{decode_loop, make_without_reading};

/// One sample on its way: it has its range and its read bytes, and waits for no resource any more.
pub struct Task {
    work: Arc<BatchWork>,
    sample: SampleMut,
    reserved: Reserved,
    pick: Pick,
    /// 0: the row's own sample; 1..=8: a substitute.
    attempt: u32,
    /// Of a packed row: the part in hand, and how many tokens those before it have.
    part: u32,
    filled: u32,
    /// The row so far, where it is hashed before it goes to its slot.
    own: Vec<u8>,
    /// Reads of this attempt that failed, and when the first began.
    failures: u32,
    since: Instant,
    /// Files of earlier fields of this sample, where it has several.
    earlier: Vec<ReadBuf>,
}

impl Task {
    /// What of its row is in hand.
    fn planned_part(&self) -> PartPlan {
        self.work.rows.parts(self.sample.index())[self.part as usize]
    }

    /// Turns to the next part of a packed row; false where all of them are in.
    fn next_part(&mut self) -> bool {
        let parts = self.work.rows.parts(self.sample.index());
        let Some(next) = parts.get(self.part as usize + 1) else { return false };
        self.filled += parts[self.part as usize].len;
        self.part += 1;
        self.pick = next.pick;
        self.failures = 0;
        self.since = Instant::now();
        true
    }

    /// Its sample as one that took long.
    fn slow(&self, us: u64, bytes: u64) -> Slow {
        let position = self.work.planned(self.sample.index()).position;
        Slow { us, bytes, pick: self.pick, epoch: self.work.range.epoch, position }
    }
}

/// How the pool is sized and bounded.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Decode threads.
    pub cpu_threads: usize,
    /// What may be in flight.
    pub budget: ReadBudget,
    /// A larger file is a corrupt sample.
    pub sample_bytes_max: u64,
    /// When an unreachable sample becomes the session's error.
    pub retry: RetryPolicy,
    /// What an image may ask of us.
    pub image_limits: ImageLimits,
    /// When decoding one image is given up, and its session fails: no verdict on the image.
    pub decode_deadline: Duration,
}

/// The decode threads, the storage engine before them and the gate before that.
pub struct Pool {
    gate: Gate<Admitted>,
    engine: Arc<dyn Engine<Task>>,
    options: PoolOptions,
    buffers: SpareBuffers,
    timer: tokio::runtime::Handle,
    no_root: Arc<Root>,
    sums: PoolSums,
    throttle: ThrottleGauge,
}

impl Pool {
    /// Starts the decode threads on what `engine` completes. They end by themselves when the pool is gone and the engine
    /// has given everything back; nobody waits for them, since a read may hang in a dead file system.
    ///
    /// # Errors
    /// Unavailable: no thread could be started.
    pub fn start(
        engine: Arc<dyn Engine<Task>>,
        completed: &flume::Receiver<Done<Task>>,
        options: PoolOptions,
        timer: tokio::runtime::Handle,
    ) -> Result<Arc<Self>, Fault> {
        let gate = Gate::new(options.budget);
        let no_root = Root::unbacked("no files");
        let pool = Arc::new(Self {
            gate,
            engine,
            options,
            buffers: SpareBuffers::new(options.budget.reads as usize, 2 * options.budget.bytes),
            timer,
            no_root,
            sums: PoolSums::default(),
            throttle: ThrottleGauge::default(),
        });
        for index in 0..options.cpu_threads.max(1) {
            let (pool, completed) = (Arc::downgrade(&pool), completed.clone());
            let name = format!("decode-{index}");
            let thread =
                std::thread::Builder::new().name(name).spawn(move || decode_loop(&pool, &completed, options));
            thread.map_err(|error| {
                Fault::from_error(Kind::Unavailable, &error).context("start a decode thread")
            })?;
        }
        Ok(pool)
    }

    /// The storage engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// Decode threads.
    pub fn cpu_threads(&self) -> usize {
        self.options.cpu_threads.max(1)
    }

    /// What an image may ask of its threads.
    pub fn image_limits(&self) -> ImageLimits {
        self.options.image_limits
    }

    /// A larger file is a corrupt sample.
    pub fn sample_bytes_max(&self) -> u64 {
        self.options.sample_bytes_max
    }

    /// What its threads have done since the start.
    pub fn worked(&self) -> Worked {
        self.sums.now()
    }

    /// The processor quota that it works under.
    pub fn throttle(&self) -> &ThrottleGauge {
        &self.throttle
    }

    /// Reads in flight, and the bytes that they hold or are taken to need.
    pub fn in_flight(&self) -> (u32, u64) {
        self.gate.in_flight()
    }

    /// Admits a batch: its samples start as the budget allows, in order. Never waits.
    pub fn admit(&self, session: u64, weight: u32, work: &Arc<BatchWork>, samples: Vec<SampleMut>) {
        if work.job.reads_a_row() == 0 {
            samples.into_iter().for_each(|sample| make_without_reading(work, sample));
            return;
        }
        self.gate.push(
            session,
            weight,
            samples.into_iter().map(|sample| Admitted { work: Arc::clone(work), sample }),
        );
        self.pump();
    }

    /// Drops what a session has waiting.
    pub fn forget(&self, session: u64) {
        self.gate.forget(session);
    }

    /// Starts reads while the budget has room.
    fn pump(&self) {
        while let Some((Admitted { work, sample }, reserved)) = self.gate.next() {
            if work.is_cancelled() {
                self.gate.finish(reserved);
                continue;
            }
            let pick = work.part(sample.index()).pick;
            let (attempt, part, filled, failures, since) = (0, 0, 0, 0, Instant::now());
            metrics::queued(Queue::Admission, since - work.admitted);
            let (own, earlier) = (Vec::new(), Vec::new());
            let task =
                Task { work, sample, reserved, pick, attempt, part, filled, own, failures, since, earlier };
            self.read(task, self.buffers.take());
        }
    }

    /// Submits the read of the task's next file.
    fn read(&self, task: Task, mut buf: ReadBuf) {
        let Pick { source, sample, .. } = task.pick;
        let snapshot = task.work.job.snapshot(source);
        let (field, column, maker) = nth_file(&task.work.job, source, task.earlier.len());
        buf.set_path(snapshot.columns()[column].path(sample.0));
        buf.file_bytes = maker.file_bytes(snapshot, sample.0);
        let extent = if task.work.job.order.packed_capacity().is_some() {
            maker.extent_of_part(&task.work.job, &task.planned_part())
        } else {
            maker.extent(snapshot, sample.0, field.spec.sample_bytes().expect("its layout was made"))
        };
        let root = Arc::clone(snapshot.root().unwrap_or(&self.no_root));
        let limit_bytes = self.options.sample_bytes_max;
        self.engine.submit(Read { root, buf, extent, limit_bytes, tag: task });
    }

    /// Everything that a task held goes back, and the next read may start.
    fn end(&self, reserved: Reserved, buf: ReadBuf, earlier: Vec<ReadBuf>) {
        self.buffers.put(buf);
        earlier.into_iter().for_each(|buf| self.buffers.put(buf));
        self.gate.finish(reserved);
        self.pump();
    }

    /// Asks again for a read that failed in a way that may pass.
    fn read_later(self: &Arc<Self>, read: Read<Task>, wait: Duration) {
        let pool = Arc::clone(self);
        self.timer.spawn(async move {
            tokio::time::sleep(wait).await;
            if read.tag.work.is_cancelled() {
                let Read { buf, tag: Task { reserved, earlier, .. }, .. } = read;
                pool.end(reserved, buf, earlier);
            } else {
                pool.engine.submit(read);
            }
        });
    }
}

/// The field of a sample's nth file, and the column of its path.
fn nth_file(job: &Job, source: u32, nth: usize) -> (&FieldPlan, usize, &FieldMaker) {
    job.fields
        .iter()
        .map(|field| (field, field.maker(source)))
        .filter_map(|(field, maker)| Some((field, maker.path_column()?, maker)))
        .nth(nth)
        .expect("a task reads as many files as fields ask for")
}
