//! The CPU pool: takes reads that came back, makes each sample in its range of the slot, and asks again where asking
//! again helps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use forebay_arena::SampleMut;
use forebay_plan::{RowRng, SampleId};

use crate::decode::{ImageDecoder, ImageLimits};
use crate::error::{Fault, Kind, with_causes};
use crate::job::{FieldMaker, Job, Policy, StoredBytes};
use crate::meter::throttle::ThrottleGauge;
use crate::meter::{PoolSums, ThreadMeter, Worked};
use crate::metrics::{self, Fate, Queue};
use crate::prefetch::{Admitted, BadRow, BatchWork, Gate, ReadBudget, Reserved};
use crate::session::counters::add;
use crate::session::slowest::Slow;
use crate::storage::{
    Done, Engine, Read, ReadBuf, RetryPolicy, Root, SpareBuffers, StorageError, StorageErrorKind,
};
use crate::trace::{TracedImage, TracedRow, Verdict};
use crate::transform::{RowDraws, SampleError, Scratch};

/// Other samples that `substitute` tries before the session fails.
const SUBSTITUTES_MAX: u32 = 8;
/// One failed read in so many is told at once.
const RETRIES_A_WARNING: u64 = 1000;

/// One sample on its way: it has its range and its read bytes, and waits for no resource any more.
pub struct Task {
    work: Arc<BatchWork>,
    sample: SampleMut,
    reserved: Reserved,
    source: SampleId,
    /// 0: the row's own sample; 1..=8: a substitute.
    attempt: u32,
    /// Reads of this attempt that failed, and when the first began.
    failures: u32,
    since: Instant,
    /// Files of earlier fields of this sample, where it has several.
    earlier: Vec<ReadBuf>,
}

impl Task {
    /// Its sample as one that took long.
    fn slow(&self, us: u64, bytes: u64) -> Slow {
        let position = self.work.planned(self.sample.index()).position;
        Slow { us, bytes, sample: self.source, epoch: self.work.range.epoch, position }
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
            let position = work.planned(sample.index()).position;
            let source = work.epoch.order.sample(position);
            let (attempt, failures, since) = (0, 0, Instant::now());
            metrics::queued(Queue::Admission, since - work.admitted);
            let task = Task { work, sample, reserved, source, attempt, failures, since, earlier: Vec::new() };
            self.read(task, self.buffers.take());
        }
    }

    /// Submits the read of the task's next file.
    fn read(&self, task: Task, mut buf: ReadBuf) {
        let snapshot = &task.work.job.snapshot;
        let (column, maker) = nth_file(&task.work.job, task.earlier.len());
        buf.set_path(snapshot.columns()[column].path(task.source.0));
        let extent = maker.extent(snapshot, task.source.0);
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
fn nth_file(job: &Job, nth: usize) -> (usize, &FieldMaker) {
    job.fields
        .iter()
        .filter_map(|field| Some((field.maker.path_column()?, &field.maker)))
        .nth(nth)
        .expect("a task reads as many files as fields ask for")
}

fn decode_loop(pool: &Weak<Pool>, completed: &flume::Receiver<Done<Task>>, options: PoolOptions) {
    let mut bench = Bench {
        decoder: ImageDecoder::new(options.image_limits),
        scratch: Scratch::default(),
        meter: ThreadMeter::of_this_thread(),
        decode: Duration::ZERO,
    };
    while let Ok(done) = completed.recv() {
        let Some(pool) = pool.upgrade() else { break };
        bench.take(&pool, done, options);
    }
}

/// What one decode thread works with; reused for every sample.
struct Bench {
    decoder: ImageDecoder,
    scratch: Scratch,
    meter: ThreadMeter,
    /// Of the sample in hand: until its pixels were there.
    decode: Duration,
}

impl Bench {
    fn take(&mut self, pool: &Arc<Pool>, done: Done<Task>, options: PoolOptions) {
        let Done { mut read, result, queue_wait, read_time, came_back } = done;
        let work = Arc::clone(&read.tag.work);
        let bytes = read.buf.bytes.len() as u64;
        metrics::read_done(bytes, queue_wait, read_time);
        metrics::queued(Queue::Decode, came_back.elapsed());
        pool.sums.read(bytes, queue_wait, read_time);
        add(&work.counters.reads, 1);
        add(&work.counters.read_bytes, bytes);
        add(&work.counters.read_us, read_time.as_micros() as u64);
        work.counters.history.read_times.note(read_time);
        work.counters.history.reads.offer(read_time, |us| read.tag.slow(us, bytes));
        if work.is_cancelled() {
            let Read { buf, tag: Task { reserved, earlier, .. }, .. } = read;
            return pool.end(reserved, buf, earlier);
        }
        if let Err(error) = result {
            return Self::failed_read(pool, read, &error, options);
        }
        pool.gate.settle(&mut read.tag.reserved, bytes);
        let Read { buf, tag: mut task, .. } = read;
        if task.earlier.len() + 1 < work.job.reads_a_row() {
            task.earlier.push(buf);
            let next = pool.buffers.take();
            return pool.read(task, next);
        }
        self.make(pool, task, buf);
    }

    fn failed_read(pool: &Arc<Pool>, mut read: Read<Task>, error: &StorageError, options: PoolOptions) {
        let kind = match error.kind() {
            StorageErrorKind::TooLarge => {
                metrics::read_failed(Kind::Corrupt);
                let reason = with_causes(error);
                let Read { buf, tag, .. } = read;
                return Self::bad(pool, tag, buf, &reason);
            }
            StorageErrorKind::Invalid => Kind::Invalid,
            StorageErrorKind::Changed => Kind::Changed,
            StorageErrorKind::Unavailable => Kind::Unavailable,
        };
        metrics::read_failed(kind);
        let task = &mut read.tag;
        task.failures += 1;
        let wait = if kind == Kind::Invalid {
            None
        } else {
            options.retry.next(task.failures, task.since.elapsed())
        };
        if let Some(wait) = wait {
            // Said at once, so that nobody stares at a silent loader until the deadline; and seldom, when all reads fail.
            if task.work.counters.retries.fetch_add(1, Ordering::Relaxed).is_multiple_of(RETRIES_A_WARNING) {
                let (key, deadline_s) = (task.work.job.key(task.source), options.retry.deadline.as_secs());
                let _session = task.work.span.enter();
                tracing::warn!(sample = %key, error = %with_causes(error), deadline_s, "a read failed and is asked again");
            }
            metrics::read_retried();
            return pool.read_later(read, wait);
        }
        let fault = Fault::from_error(kind, error)
            .context(format!("read sample {}", task.work.job.key(task.source)))
            .object(task.work.job.key(task.source))
            .hint(match kind {
                Kind::Changed => "the file changed since the data was opened: open it again to take the new state in",
                Kind::Invalid => "the path leaves the source's root: mend the list, or name another root",
                _ => "it stayed unreachable until the deadline: look at the storage and the file's permissions, then resume",
            });
        task.work.fail(task.sample.index(), fault);
        let Read { buf, tag: Task { sample, reserved, earlier, .. }, .. } = read;
        sample.fail();
        pool.end(reserved, buf, earlier);
    }

    /// Decodes and transforms one sample whose files are all there.
    fn make(&mut self, pool: &Arc<Pool>, mut task: Task, buf: ReadBuf) {
        let started = Instant::now();
        let made = catch_unwind(AssertUnwindSafe(|| self.fields(&mut task, &buf)));
        let (took, decode) = (started.elapsed(), std::mem::take(&mut self.decode));
        metrics::sample_made(decode, took.saturating_sub(decode));
        self.meter.made(&pool.sums, took, decode);
        add(&task.work.counters.decode_us, took.as_micros() as u64);
        task.work.counters.history.samples.offer(took, |us| task.slow(us, buf.bytes.len() as u64));
        match made {
            Ok(Ok(())) => {
                let planned = task.work.planned(task.sample.index());
                if task.attempt > 0 {
                    add(&task.work.counters.substituted, 1);
                }
                let Task { work, sample, reserved, earlier, .. } = task;
                finish_sample(&work, sample, planned.valid);
                pool.end(reserved, buf, earlier);
            }
            Ok(Err(error)) => Self::bad(pool, task, buf, &with_causes(&error)),
            Err(_) => {
                // The decoder may be in any state: it is dropped, and the session learns that the fault is ours.
                self.decoder = ImageDecoder::new(pool.options.image_limits);
                self.scratch = Scratch::default();
                let key = task.work.job.key(task.source);
                let fault = Fault::internal(format!("decoding sample {key} panicked")).object(key);
                let Task { work, sample, reserved, earlier, .. } = task;
                work.fail(sample.index(), fault);
                sample.fail();
                pool.end(reserved, buf, earlier);
            }
        }
    }

    fn fields(&mut self, task: &mut Task, last: &ReadBuf) -> Result<(), SampleError> {
        let work = &task.work;
        let position = work.planned(task.sample.index()).position;
        // One draw for all spatial fields: each starts from the same generator.
        let draws = work.epoch.augment.rng(position, 0, task.attempt);
        let (mut file, mut traced) = (0, Vec::new());
        for (index, field) in work.job.fields.iter().enumerate() {
            let target = task.sample.part_mut(index);
            match &field.maker {
                FieldMaker::Value(value) => value.write(&work.job.snapshot, task.source.0, target),
                FieldMaker::Stored(_) => {
                    StoredBytes::write(&task.earlier.get(file).unwrap_or(last).bytes, target);
                    file += 1;
                }
                FieldMaker::Image { pipeline, .. } => {
                    let encoded = task.earlier.get(file).unwrap_or(last);
                    file += 1;
                    let (mut draws, started) = (Draws(draws.clone()), Instant::now());
                    let (decoder, scratch) = (&mut self.decoder, &mut self.scratch);
                    let decoded = pipeline.decode(&encoded.bytes, decoder, &mut draws);
                    self.decode += started.elapsed();
                    let (drawn, decoded) = decoded?;
                    pipeline.write(&decoded, scratch, target)?;
                    if let Some(trace) = &work.trace {
                        traced.push(trace.image(index, drawn, &encoded.bytes, decoder, scratch)?);
                    }
                }
            }
        }
        note(work, task.sample.index(), task.source, task.attempt, Verdict::Made, traced);
        Ok(())
    }

    /// Zeros in the place of a corrupt sample.
    fn mask(pool: &Arc<Pool>, task: Task, buf: ReadBuf, verdict: Verdict) {
        let Task { work, mut sample, reserved, source, attempt, earlier, .. } = task;
        add(&work.counters.masked, 1);
        (0..work.job.fields.len()).for_each(|part| sample.part_mut(part).fill(0));
        note(&work, sample.index(), source, attempt, verdict, Vec::new());
        finish_sample(&work, sample, false);
        pool.end(reserved, buf, earlier);
    }

    /// A corrupt sample: what the job's policy says. The verdict hangs on the sample's bytes and the spec alone.
    fn bad(pool: &Arc<Pool>, mut task: Task, buf: ReadBuf, reason: &str) {
        let work = Arc::clone(&task.work);
        let row = task.sample.index();
        let planned = work.planned(row);
        let key = work.job.key(task.source);
        work.note_bad(BadRow {
            position: planned.position,
            attempt: task.attempt,
            key: key.clone(),
            reason: reason.to_owned(),
        });
        match work.job.bad_sample.policy {
            Policy::Substitute if task.attempt < SUBSTITUTES_MAX && work.job.order.rows > 1 => {
                metrics::sample_bad(Fate::Substitute);
                task.attempt += 1;
                task.source = work.epoch.order.substitute(planned.position, task.attempt);
                task.failures = 0;
                task.since = Instant::now();
                task.earlier.drain(..).for_each(|buf| pool.buffers.put(buf));
                pool.read(task, buf);
            }
            Policy::Mask => {
                metrics::sample_bad(Fate::Mask);
                Self::mask(pool, task, buf, Verdict::Masked);
            }
            // Whoever looks wants to see the rows around it, too.
            _ if work.trace.is_some() => Self::mask(pool, task, buf, Verdict::Failed),
            policy => {
                metrics::sample_bad(Fate::Fail);
                let what = if policy == Policy::Substitute {
                    format!(
                        "decode sample {key}: {SUBSTITUTES_MAX} substitutes were corrupt too, the last of them"
                    )
                } else {
                    format!("decode sample {key}")
                };
                let fault = Fault::new(Kind::Corrupt, reason)
                    .context(what)
                    .object(key)
                    .hint("mend or remove the file, or set on_bad_sample to \"substitute\" or \"mask\"");
                let Task { sample, reserved, earlier, .. } = task;
                work.fail(row, fault);
                sample.fail();
                pool.end(reserved, buf, earlier);
            }
        }
    }
}

/// Tells whoever looks at the batch what became of a row.
fn note(
    work: &BatchWork,
    row: u32,
    sample: SampleId,
    attempt: u32,
    verdict: Verdict,
    images: Vec<TracedImage>,
) {
    if let Some(trace) = &work.trace {
        trace.note(TracedRow { row, sample, attempt, verdict, images });
    }
}

/// Makes a sample that is columns alone, at once.
fn make_without_reading(work: &Arc<BatchWork>, mut sample: SampleMut) {
    let planned = work.planned(sample.index());
    let source = work.epoch.order.sample(planned.position);
    for (index, field) in work.job.fields.iter().enumerate() {
        if let FieldMaker::Value(value) = &field.maker {
            value.write(&work.job.snapshot, source.0, sample.part_mut(index));
        }
    }
    note(work, sample.index(), source, 0, Verdict::Made, Vec::new());
    finish_sample(work, sample, planned.valid);
}

/// Writes the `valid` byte, counts, and commits: the last step of every sample.
fn finish_sample(work: &BatchWork, mut sample: SampleMut, valid: bool) {
    if !valid {
        work.invalid_rows.fetch_add(1, Ordering::Relaxed);
    }
    if work.has_valid {
        sample.part_mut(work.job.fields.len()).fill(u8::from(valid));
    }
    work.done_us.fetch_max(work.elapsed_us(), Ordering::Relaxed);
    work.left.fetch_sub(1, Ordering::AcqRel);
    sample.commit();
}

/// The plan's generator as the transforms' source of draws.
struct Draws(RowRng);

impl RowDraws for Draws {
    fn unit_f64(&mut self) -> f64 {
        self.0.unit_f64()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }
}
