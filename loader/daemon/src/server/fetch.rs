//! One batch by its key, as bytes: the same tasks, the same layout, no session.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_arena::{Arena, FillState, Filling, Geometry, Part, ReadySlot};
use forebay_plan::{BatchLayout, BatchRange};
use forebay_proto::v1;
use tokio::sync::{Notify, mpsc};

use super::{Peer, ROWS_MAX, Service, bounded, check_rows_a_batch, tensors};
use crate::decode::ImageLimits;
use crate::error::{Fault, Kind};
use crate::job::{Job, RowWalker};
use crate::meter::Worked;
use crate::prefetch::{BatchWork, Outcome, Share};
use crate::session::Counters;
use crate::tally::BatchTally;
use crate::trace::Trace;
use crate::workers::Pool;

/// Bytes of one message of the reply.
const CHUNK_BYTES: usize = 1 << 20;

impl Service {
    /// Makes the batch that `key` names and sends it, head first. `valid` is always its last tensor.
    ///
    /// # Errors
    /// Invalid, NotFound (resolve first), or what is wrong with a sample.
    pub async fn fetch(
        &self,
        peer: Peer,
        key: v1::BatchKey,
        out: mpsc::Sender<Result<v1::FetchReply, Fault>>,
    ) -> Result<(), Fault> {
        finished_only(&key)?;
        let _turn = self.fetching.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
        let job = self.job(peer, &key.order_digest, &key.content_digest)?;
        let rows = bounded("rows", key.rows, 1, ROWS_MAX)?;
        let range = BatchRange { epoch: key.epoch, first_row: key.first_row, rows };
        let made = self.make(&job, range, None, None).await?;
        let (layout, rows) = (&made.layout, made.work.rows.len());
        let valid_rows = rows - made.work.invalid_rows.load(Ordering::Relaxed);
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for ((place, dims), spec) in layout.tensors().iter().zip(layout.specs()).zip(tensors(&job, true)) {
            let len_bytes = place.stride_bytes * u64::from(rows);
            let dims = std::iter::once(rows).chain(dims.dims.iter().copied()).collect();
            parts.push(v1::TensorPart { spec: Some(spec), dims, offset_bytes: bytes, len_bytes });
            bytes += len_bytes;
        }
        let head = v1::BatchHead { key: Some(key), tensors: parts, valid_rows, bytes };
        let _ = out.send(Ok(v1::FetchReply { head: Some(head), data: Vec::new() })).await;
        let file = made.file()?;
        for place in layout.tensors() {
            let end = place.offset_bytes + place.stride_bytes * u64::from(rows);
            for offset in (place.offset_bytes..end).step_by(CHUNK_BYTES) {
                let mut data = vec![0; CHUNK_BYTES.min((end - offset) as usize)];
                file.read_exact_at(&mut data, offset)
                    .map_err(|error| Fault::from_error(Kind::Internal, &error))?;
                if out.send(Ok(v1::FetchReply { head: None, data })).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes the rows of `range` in an arena of their own, `valid` last.
    ///
    /// # Errors
    /// Invalid or Unavailable: too large; what is wrong with a sample.
    pub(super) async fn make(
        &self,
        job: &Arc<Job>,
        range: BatchRange,
        trace: Option<Trace>,
        tally: Option<BatchTally>,
    ) -> Result<Made, Fault> {
        let epoch = job.epoch_now(range.epoch)?;
        check_rows_a_batch(job, range.rows)?;
        let rows = RowWalker::new(Arc::clone(&epoch)).plan(range)?;
        let layout = job.layout(rows.len(), true)?;
        self.afford(layout.slot_bytes(), 1, layout.slot_bytes())?;
        let (arena, done) = arena(self.sessions.next_id(), layout.slot_bytes())?;
        let slot = arena.try_take().ok_or_else(|| Fault::internal("a new arena without a free slot"))?;
        let parts: Vec<Part> = layout
            .tensors()
            .iter()
            .map(|place| Part { offset_bytes: place.offset_bytes, stride_bytes: place.stride_bytes })
            .collect();
        let (filling, samples) =
            slot.split(rows.len(), &parts).map_err(|error| Fault::internal(error.to_string()))?;
        let asked = Asked { pool: &self.pool, id: arena.id(), cancelled: Arc::default() };
        let work = Arc::new(BatchWork {
            left: rows.len().into(),
            epoch,
            range,
            rows,
            job: Arc::clone(job),
            has_valid: true,
            home: None,
            cancelled: Arc::clone(&asked.cancelled),
            counters: Arc::new(Counters::default()),
            span: tracing::error_span!("fetch", job = %job.id),
            admitted: Instant::now(),
            worked_before: Worked::default(),
            done_us: 0.into(),
            invalid_rows: 0.into(),
            outcome: Mutex::new(Outcome::default()),
            trace,
            tally,
        });
        // Somebody waits for this one batch: it shares with the most urgent session.
        let share = Share { session: arena.id(), weight: 1, priority: self.pool.priority_max() };
        self.pool.admit(share, &work, samples);
        let sealed = sealed(filling, &done, &work).await?;
        let epoch_rows = work.epoch.rows();
        let image_limits = self.pool.image_limits();
        Ok(Made { arena, layout, work, epoch_rows, image_limits, _sealed: sealed })
    }
}

/// A batch that was made for one caller.
pub(super) struct Made {
    arena: Arena,
    pub layout: BatchLayout,
    pub work: Arc<BatchWork>,
    /// Of the batch's epoch.
    pub epoch_rows: u64,
    /// Under which its images were made.
    pub image_limits: ImageLimits,
    _sealed: ReadySlot,
}

impl Made {
    /// Its bytes, as `layout` says where: not through the mapping, but through its descriptor, as any client would.
    pub fn file(&self) -> Result<File, Fault> {
        let file = self.arena.fd().try_clone_to_owned().map(File::from);
        file.map_err(|error| Fault::from_error(Kind::Unavailable, &error))
    }
}

/// Other stages are in the protocol and not served.
pub(super) fn finished_only(key: &v1::BatchKey) -> Result<(), Fault> {
    match v1::Stage::try_from(key.stage) {
        Ok(v1::Stage::Unspecified | v1::Stage::Finished) => Ok(()),
        Ok(other) => Err(Fault::unimplemented(format!("stage {}", other.as_str_name()))),
        Err(_) => Err(Fault::unimplemented(format!("stage {}", key.stage))),
    }
}

/// A batch that somebody waits for. When they stop waiting, what has not started is dropped.
struct Asked<'a> {
    pool: &'a Pool,
    id: u64,
    cancelled: Arc<AtomicBool>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.pool.forget(self.id);
    }
}

fn arena(id: u64, slot_bytes: u64) -> Result<(Arena, Arc<Notify>), Fault> {
    let done = Arc::new(Notify::new());
    let on_event = Arc::clone(&done);
    let arena = Arena::create_with(id, Geometry { slot_bytes, slots: 1 }, move |_| on_event.notify_one());
    let arena =
        arena.map_err(|error| Fault::from_error(Kind::Unavailable, &error).context("make an arena"))?;
    Ok((arena, done))
}

async fn sealed(filling: Filling, done: &Notify, work: &BatchWork) -> Result<ReadySlot, Fault> {
    while matches!(filling.state(), FillState::Filling { .. }) || work.left.load(Ordering::Acquire) > 0 {
        done.notified().await;
    }
    filling.seal().map_err(|_| {
        let outcome = std::mem::take(&mut *work.outcome.lock().expect("no thread panics with the lock"));
        outcome
            .fault
            .map_or_else(|| Fault::internal("a sample was dropped without a verdict"), |(_, fault)| fault)
    })
}
