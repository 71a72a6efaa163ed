//! One batch by its key, as bytes: the same tasks, the same layout, no session.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_arena::{Arena, FillState, Filling, Geometry, Part};
use forebay_plan::BatchRange;
use forebay_proto::v1;
use tokio::sync::{Notify, mpsc};

use super::{Peer, ROWS_MAX, Service, bounded, tensors};
use crate::error::{Fault, Kind};
use crate::prefetch::{BatchWork, Outcome};
use crate::session::Counters;
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
        match key.stage() {
            v1::Stage::Unspecified | v1::Stage::Finished => {}
            other => return Err(Fault::unimplemented(format!("stage {}", other.as_str_name()))),
        }
        let _turn = self.fetching.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
        let job = self.job(peer, &key.order_digest, &key.content_digest)?;
        let rows = bounded("rows", key.rows, 1, ROWS_MAX)?;
        let layout = job.layout(rows, true)?;
        self.afford(layout.slot_bytes(), 1, layout.slot_bytes())?;
        let (arena, done) = arena(self.sessions.next_id(), layout.slot_bytes())?;
        let slot = arena.try_take().ok_or_else(|| Fault::internal("a new arena without a free slot"))?;
        let parts: Vec<Part> = layout
            .tensors()
            .iter()
            .map(|place| Part { offset_bytes: place.offset_bytes, stride_bytes: place.stride_bytes })
            .collect();
        let (filling, samples) =
            slot.split(rows, &parts).map_err(|error| Fault::internal(error.to_string()))?;
        let asked = Asked { pool: &self.pool, id: arena.id(), cancelled: Arc::default() };
        let work = Arc::new(BatchWork {
            epoch: job.epoch(key.epoch),
            range: BatchRange { epoch: key.epoch, first_row: key.first_row, rows },
            job: Arc::clone(&job),
            has_valid: true,
            cancelled: Arc::clone(&asked.cancelled),
            counters: Arc::new(Counters::default()),
            admitted: Instant::now(),
            busy_before_us: 0,
            done_us: 0.into(),
            invalid_rows: 0.into(),
            left: rows.into(),
            outcome: Mutex::new(Outcome::default()),
        });
        self.pool.admit(arena.id(), 1, &work, samples);
        let _sealed = sealed(filling, &done, &work).await?;
        let valid_rows = rows - work.invalid_rows.load(Ordering::Relaxed);
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for ((place, dims), spec) in layout.tensors().iter().zip(layout.specs()).zip(tensors(&job, true)) {
            let len_bytes = place.stride_bytes * u64::from(rows);
            let dims = std::iter::once(rows).chain(dims.dims.iter().copied()).collect();
            parts.push(v1::TensorPart { spec: Some(spec), dims, offset_bytes: bytes, len_bytes });
            bytes += len_bytes;
        }
        let head = v1::BatchHead { key: Some(key), tensors: parts, valid_rows, bytes };
        let _ = out.send(Ok(v1::FetchReply { head: Some(head), data: Vec::new() })).await;
        // Not through the mapping: what a slot holds is read through its descriptor, as any client would.
        let file = arena.fd().try_clone_to_owned().map(std::fs::File::from);
        let file = file.map_err(|error| Fault::from_error(Kind::Unavailable, &error))?;
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

async fn sealed(
    filling: Filling,
    done: &Notify,
    work: &BatchWork,
) -> Result<forebay_arena::ReadySlot, Fault> {
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
