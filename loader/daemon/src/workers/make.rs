//! What a decode thread does with a read that came back: makes the sample, asks again, or says what is wrong with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use forebay_arena::SampleMut;
use forebay_plan::ContentRow;
use forebay_plan::orders::Pick;

use super::flights::Arrival;
use super::seat::Seat;
use super::{Draws, Pool, PoolOptions, Task, Ticket, clip, image, pack};
use crate::buffer::grown;
use crate::decode::array::ArrayScratch;
use crate::decode::{ImageDecoder, raw};
use crate::error::{Fault, Kind, with_causes};
use crate::job::{FieldMaker, Job, Policy, START_VIEW, StoredBytes};
use crate::meter::ThreadMeter;
use crate::metrics::{self, Fate, Queue};
use crate::prefetch::{BadRow, BatchWork};
use crate::session::counters::add;
use crate::storage::{Done, Read, ReadBuf, Root, StorageError, StorageErrorKind};
use crate::tally::place;
use crate::trace::{TracedImage, TracedRow, Verdict};
use crate::transform::{DeviceNumbers, SampleError, Scratch};

/// Other samples that `substitute` tries before the session fails.
const SUBSTITUTES_MAX: u32 = 8;
/// One failed read in so many is told at once.
const RETRIES_A_WARNING: u64 = 1000;

/// One decode thread, until the pool is gone.
pub(super) fn decode_loop(pool: &Weak<Pool>, mut seat: Seat, options: PoolOptions) {
    let mut bench = Bench::new(&options);
    while let Some(done) = seat.next() {
        let Some(pool) = pool.upgrade() else { break };
        bench.take(&pool, done, options, Instant::now());
    }
}

/// What one decode thread works with; reused for every sample.
pub(super) struct Bench {
    decoder: ImageDecoder,
    scratch: Scratch,
    arrays: ArrayScratch,
    /// A page of a Parquet file, inflated.
    page: Vec<u8>,
    meter: ThreadMeter,
    /// A tensor of a row that is hashed: made here and copied to the slot, which is never read back.
    own: Vec<u8>,
    /// Of the sample in hand: until its pixels were there.
    decode: Duration,
}

impl Bench {
    /// One that has made nothing yet, on the thread that will use it.
    pub(super) fn new(options: &PoolOptions) -> Self {
        Self {
            decoder: ImageDecoder::with_deadline(options.image_limits, options.decode_deadline),
            scratch: Scratch::default(),
            arrays: ArrayScratch::default(),
            page: Vec::new(),
            meter: ThreadMeter::of_this_thread(),
            own: Vec::new(),
            decode: Duration::ZERO,
        }
    }

    /// Does with a read that came back what is to be done with it, from `taken` on.
    pub(super) fn take(
        &mut self,
        pool: &Arc<Pool>,
        done: Done<Ticket>,
        options: PoolOptions,
        taken: Instant,
    ) {
        let own_times = done.own_times();
        let Done { read, result, queue_wait, read_time, came_back, together } = done;
        let Read { root, buf, tag: Ticket { place, extra, .. }, .. } = read;
        let arrival = pool.flights.arrive(place, result.is_ok());
        let is_second = extra.is_some();
        if let Some(extra) = extra {
            pool.hedges.fetch_sub(1, Ordering::Relaxed);
            pool.gate.finish(*extra);
        }
        let Arrival::For { task, won } = arrival else {
            pool.buffers.put(buf);
            return pool.pump();
        };
        let work = Arc::clone(&task.work);
        let bytes = buf.len_bytes();
        metrics::read_done(bytes, queue_wait, read_time, together > 1);
        metrics::queued(Queue::Decode, taken - came_back);
        pool.sums.read(bytes, own_times.0, own_times.1);
        add(&work.counters.reads, 1);
        add(&work.counters.read_bytes, bytes);
        add(&work.counters.read_us, own_times.1.as_micros() as u64);
        let history = &work.counters.history;
        history.read_times.note(read_time);
        if !is_second {
            history.trips.note(queue_wait + read_time);
        }
        history.reads.offer(read_time, |us| task.slow(us, bytes));
        if won {
            add(&work.counters.hedges_won, 1);
            metrics::hedge_won();
        }
        if work.is_cancelled() {
            let Task { reserved, files, .. } = task;
            return pool.end(reserved, buf, files);
        }
        match result {
            Ok(()) => self.took(pool, task, buf, taken),
            Err(error) => Self::failed_read(pool, task, buf, &root, &error, options),
        }
    }

    /// Takes in what a read brought; with the last one the sample is made.
    fn took(&mut self, pool: &Arc<Pool>, mut task: Task, buf: ReadBuf, taken: Instant) {
        let held_bytes = task.files.bytes_held() + buf.len_bytes();
        let last = task.files.take(buf);
        // What is still to come stays counted.
        let bytes = if last.is_some() { held_bytes } else { held_bytes.max(task.reserved.bytes()) };
        pool.gate.settle(&mut task.reserved, bytes, last.is_some());
        match last {
            Some(buf) => self.make(pool, task, buf, taken),
            None => pool.read_next(task),
        }
    }

    fn failed_read(
        pool: &Arc<Pool>,
        mut task: Task,
        buf: ReadBuf,
        root: &Root,
        error: &StorageError,
        options: PoolOptions,
    ) {
        let kind = match error.kind() {
            StorageErrorKind::TooLarge => return Self::too_large(pool, task, buf, root, error),
            StorageErrorKind::Invalid => Kind::Invalid,
            StorageErrorKind::Changed => Kind::Changed,
            StorageErrorKind::Unavailable => Kind::Unavailable,
        };
        metrics::read_failed(kind);
        task.failures += 1;
        let wait = if kind == Kind::Invalid {
            None
        } else {
            options.retry.next(task.failures, task.since.elapsed())
        };
        if let Some(wait) = wait {
            // Said at once, so that nobody stares at a silent loader until the deadline; and seldom, when all reads fail.
            if task.work.counters.retries.fetch_add(1, Ordering::Relaxed).is_multiple_of(RETRIES_A_WARNING) {
                let (key, deadline_s) = (task.work.job.key(task.pick), options.retry.deadline.as_secs());
                let _session = task.work.span.enter();
                tracing::warn!(sample = %key, error = %with_causes(error), deadline_s, "a read failed and is asked again");
            }
            metrics::read_retried();
            return pool.read_later(task, buf, wait);
        }
        let fault = Fault::from_error(kind, error)
            .context(format!("read sample {}", task.work.job.key(task.pick)))
            .object(task.work.job.key(task.pick))
            .hint(match kind {
                Kind::Changed => "the file changed since the data was opened: open it again to take the new state in",
                Kind::Invalid => "the path leaves the source's root: mend the list, or name another root",
                _ => "it stayed unreachable until the deadline: look at the storage and the file's permissions, then resume",
            });
        give_up(pool, task, buf, fault);
    }

    /// A file of more bytes than the sample has room for, or than any sample may have: that is a verdict.
    fn too_large(pool: &Arc<Pool>, task: Task, buf: ReadBuf, root: &Root, error: &StorageError) {
        let limit_bytes = pool.options.sample_bytes_max;
        let size_bytes = error.refused_bytes().unwrap_or(u64::MAX);
        if size_bytes <= limit_bytes {
            return pool.ask_for_more(task, buf, size_bytes);
        }
        metrics::read_failed(Kind::Corrupt);
        let path = root.display(&buf.path);
        let reason = StorageError::TooLarge { path, size_bytes, limit_bytes }.to_string();
        Self::bad(pool, task, buf, &reason, Some("sample_max"));
    }

    /// Decodes and transforms one sample whose files are all there, the last since `started`.
    fn make(&mut self, pool: &Arc<Pool>, mut task: Task, buf: ReadBuf, started: Instant) {
        let made = catch_unwind(AssertUnwindSafe(|| self.fields(&mut task, &buf)));
        let (took, decode) = (started.elapsed(), std::mem::take(&mut self.decode));
        metrics::sample_made(decode, took.saturating_sub(decode));
        self.meter.made(&pool.sums, took, decode);
        add(&task.work.counters.decode_us, took.as_micros() as u64);
        task.work.counters.history.samples.offer(took, |us| task.slow(us, buf.len_bytes()));
        match made {
            Ok(Ok(())) => {
                if task.next_part() {
                    // Still inside of what it holds of the budget: one part's bytes at a time.
                    task.files.clear(&pool.buffers);
                    return pool.begin(task, buf);
                }
                let planned = task.work.planned(task.sample.index());
                if task.attempt > 0 {
                    add(&task.work.counters.substituted, 1);
                }
                let Task { work, sample, reserved, files, .. } = task;
                finish_sample(&work, sample, planned.valid);
                pool.end(reserved, buf, files);
            }
            Ok(Err(error)) if error.is_verdict() => {
                Self::bad(pool, task, buf, &with_causes(&error), error.limit());
            }
            Ok(Err(error)) => {
                let key = task.work.job.key(task.pick);
                let fault = Fault::from_error(Kind::Unavailable, &error)
                    .context(format!("decode sample {key}"))
                    .object(key)
                    .hint("look at the file and at how busy the machine is; where both are as they should be, raise decode_deadline in the daemon's configuration, then resume");
                give_up(pool, task, buf, fault);
            }
            Err(_) => {
                // The decoder may be in any state: it is dropped, and the session learns that the fault is ours.
                self.decoder =
                    ImageDecoder::with_deadline(pool.options.image_limits, pool.options.decode_deadline);
                (self.scratch, self.arrays) = (Scratch::default(), ArrayScratch::default());
                let key = task.work.job.key(task.pick);
                let fault = Fault::internal(format!("decoding sample {key} panicked")).object(key);
                give_up(pool, task, buf, fault);
            }
        }
    }

    fn fields(&mut self, task: &mut Task, last: &ReadBuf) -> Result<(), SampleError> {
        if task.work.job.order.packed_capacity().is_some() {
            return self.part(task, last);
        }
        let work = &task.work;
        let part = work.part(task.sample.index());
        // One draw a view for all spatial fields: each starts from the same generator.
        let draws = |view| Draws(work.epoch.draws(part.position, view, task.attempt));
        let Pick { source, sample, .. } = task.pick;
        let (mut file, mut traced, mut hash) = (0, Vec::new(), hashed(work, task.sample.index(), true));
        let mut numbers = DeviceNumbers::default();
        for (index, field) in work.job.fields.iter().enumerate() {
            let slot = task.sample.part_mut(index);
            let len_bytes = slot.len();
            let target = if hash.is_some() { grown(&mut self.own, len_bytes) } else { slot };
            match field.maker(source) {
                FieldMaker::Value(value) => value.write(work.job.snapshot(source), sample.0, target),
                FieldMaker::Source => write_source(source, target),
                FieldMaker::Tokens(tokens) => {
                    let encoded = tokens.reads().then(|| task.files.of_field(file, last));
                    file += usize::from(tokens.reads());
                    let started = Instant::now();
                    let written = tokens.write(work.job.snapshot(source), sample.0, encoded, target);
                    self.decode += started.elapsed();
                    written?;
                }
                FieldMaker::Length { of } => {
                    let file = work.job.files_before(*of, source);
                    let encoded = task.files.of_field(file, last);
                    let count = work.job.held(*of, task.pick, Some(encoded))?;
                    target.copy_from_slice(&count.to_ne_bytes());
                }
                FieldMaker::Packed(_) => unreachable!("it is planned for packed rows alone"),
                // The read brought it here.
                FieldMaker::Raw { .. } if last.is_placed() => file += 1,
                FieldMaker::Raw { place } => {
                    let read = task.files.of_field(file, last);
                    file += 1;
                    let bytes = place.payload(work.job.snapshot(source), sample.0, read, &mut self.page)?;
                    raw::check(bytes.len() as u64, len_bytes as u64)?;
                    raw::write(bytes, target);
                }
                FieldMaker::Stored(_) => {
                    StoredBytes::write(task.files.of_field(file, last), target);
                    file += 1;
                }
                FieldMaker::Array { place, spec } => {
                    let read = task.files.of_field(file, last);
                    file += 1;
                    let encoded = place.payload(work.job.snapshot(source), sample.0, read, &mut self.page)?;
                    let started = Instant::now();
                    let written = spec.write(encoded, &mut self.arrays, target);
                    self.decode += started.elapsed();
                    written?;
                }
                FieldMaker::Clip { clip: plan, pipeline } => {
                    let chosen = plan.chosen(work.job.snapshot(source), sample.0, || draws(START_VIEW).0);
                    plan.check(&chosen)?;
                    let read = |nth| task.files.of_field(file + nth as usize, last);
                    let row = clip::Row { pipeline, chosen: &chosen, trace: (index, work.trace.as_ref()) };
                    let tools = (&mut self.decoder, &mut self.scratch);
                    let (took, image) = row.write(read, || draws(0), tools, target)?;
                    self.decode += took;
                    traced.extend(image);
                    file += plan.frames() as usize;
                }
                FieldMaker::Image { place, pipeline, views, device } => {
                    let read = task.files.of_field(file, last);
                    file += 1;
                    let encoded = place.payload(work.job.snapshot(source), sample.0, read, &mut self.page)?;
                    let device = device.as_ref();
                    let device =
                        device.filter(|device| work.epoch.is_for_device(part.position, device.ratio));
                    let trace = (index, work.trace.as_ref());
                    let row = image::Row { pipeline, views: *views, device, trace };
                    let tools = (&mut self.decoder, &mut self.scratch);
                    let made = row.write(encoded, draws, tools, &mut self.decode, target)?;
                    traced.extend(made.traced);
                    numbers = made.numbers;
                }
                FieldMaker::DeviceNumbers => image::write_numbers(&numbers, target),
            }
            if let Some(hash) = &mut hash {
                hash.tensor(&self.own[..len_bytes]);
                task.sample.part_mut(index).copy_from_slice(&self.own[..len_bytes]);
            }
        }
        tally(work, task.sample.index(), hash);
        note(work, task.sample.index(), task.pick, task.attempt, Verdict::Made, traced);
        Ok(())
    }

    /// One part of a packed row, and behind the last one what else stands in it.
    fn part(&mut self, task: &mut Task, last: &ReadBuf) -> Result<(), SampleError> {
        let (started, part, row) = (Instant::now(), task.planned_part(), task.sample.index());
        let (work, parts) = (&task.work, task.work.rows.parts(row));
        let files = (0..work.job.reads_a_row()).map(|field| task.files.of_field(field, last));
        let hash = hashed(work, row, true);
        let mut packed = pack::Row::new(&work.job, &mut task.sample, &mut task.own, hash.is_some());
        let written = packed.write_part(&part, task.filled, files);
        self.decode += started.elapsed();
        written?;
        if task.part as usize + 1 == parts.len() {
            tally(work, row, packed.finish(parts, hash));
            note(work, row, parts[0].pick, 0, Verdict::Made, Vec::new());
        }
        Ok(())
    }

    /// Zeros, or padding of tokens, in the place of a corrupt sample.
    fn mask(pool: &Arc<Pool>, task: Task, buf: ReadBuf, verdict: Verdict) {
        let Task { work, mut sample, reserved, pick, attempt, files, .. } = task;
        add(&work.counters.masked, 1);
        let (mut hash, mut own) = (hashed(&work, sample.index(), false), Vec::new());
        for (index, field) in work.job.fields.iter().enumerate() {
            let slot = sample.part_mut(index);
            field.makers[0].blank(slot);
            if let Some(hash) = &mut hash {
                let own = grown(&mut own, slot.len());
                field.makers[0].blank(own);
                hash.tensor(own);
            }
        }
        tally(&work, sample.index(), hash);
        note(&work, sample.index(), pick, attempt, verdict, Vec::new());
        finish_sample(&work, sample, false);
        pool.end(reserved, buf, files);
    }

    /// A corrupt sample: what the job's policy says. The verdict hangs on the sample's bytes and the spec alone.
    /// `limit` is the configuration's key where one was passed.
    fn bad(pool: &Arc<Pool>, mut task: Task, buf: ReadBuf, reason: &str, limit: Option<&str>) {
        let work = Arc::clone(&task.work);
        let row = task.sample.index();
        let planned = work.planned(row);
        let key = work.job.key(task.pick);
        work.note_bad(BadRow {
            position: planned.position,
            part_position: work.part(row).position,
            attempt: task.attempt,
            key: key.clone(),
            reason: reason.to_owned(),
        });
        match work.job.bad_sample.policy {
            Policy::Substitute
                if task.attempt < SUBSTITUTES_MAX && work.job.snapshot(task.pick.source).len() > 1 =>
            {
                metrics::sample_bad(Fate::Substitute);
                task.attempt += 1;
                task.pick = work.epoch.substitute(work.part(row).position, task.attempt);
                task.failures = 0;
                task.since = Instant::now();
                task.files.clear(&pool.buffers);
                pool.begin(task, buf);
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
                let fault = Fault::new(Kind::Corrupt, reason).context(what).object(key);
                let fault = fault.hint(cure_of_bad(limit, &work.job));
                give_up(pool, task, buf, fault);
            }
        }
    }
}

/// Fails the session: what went wrong is no verdict on the sample, so that no other may stand in for it.
pub(super) fn give_up(pool: &Pool, task: Task, buf: ReadBuf, fault: Fault) {
    let Task { work, sample, reserved, files, .. } = task;
    work.fail(sample.index(), fault);
    sample.fail();
    pool.end(reserved, buf, files);
}

/// What to do about a corrupt sample that ended its session.
fn cure_of_bad(limit: Option<&str>, job: &Job) -> String {
    let policies = match job.order.packed_capacity() {
        _ if job.has_device_rows() => "",
        Some(_) => ", or set on_bad_sample to \"mask\"",
        None => ", or set on_bad_sample to \"substitute\" or \"mask\"",
    };
    let raise = limit.map_or_else(String::new, |key| {
        format!(", or raise {key} in the configuration of every daemon that serves the run")
    });
    format!("mend or remove the file{policies}{raise}")
}

/// What hashes a row's bytes while they are made, where the batch is tallied and the row is one of its epoch.
pub(super) fn hashed(work: &BatchWork, row: u32, valid: bool) -> Option<ContentRow> {
    let counts = work.tally.is_some() && work.planned(row).valid;
    counts.then(|| ContentRow::new(place(&work.rows, row), valid))
}

/// Adds a row whose bytes are all hashed.
pub(super) fn tally(work: &BatchWork, row: u32, hash: Option<ContentRow>) {
    if let (Some(tally), Some(hash)) = (&work.tally, hash) {
        tally.add(&work.job, &work.rows, row, &hash);
    }
}

/// Tells whoever looks at the batch what became of a row.
pub(super) fn note(
    work: &BatchWork,
    row: u32,
    pick: Pick,
    attempt: u32,
    verdict: Verdict,
    images: Vec<TracedImage>,
) {
    if let Some(trace) = &work.trace {
        trace.note(TracedRow { row, pick, attempt, verdict, images });
    }
}

/// Writes the number of a sample's source over its int64.
pub(super) fn write_source(source: u32, target: &mut [u8]) {
    target.copy_from_slice(&i64::from(source).to_ne_bytes());
}

/// Writes the `valid` byte, counts, and commits: the last step of every sample.
pub(super) fn finish_sample(work: &BatchWork, mut sample: SampleMut, valid: bool) {
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
