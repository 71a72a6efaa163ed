//! The digests of an epoch, computed anew: of the order from the plan alone, of the content by making every row.

use std::ops::Range;
use std::sync::Arc;

use forebay_plan::{BatchRange, Tally};
use forebay_proto::v1;

use super::{Peer, Service};
use crate::error::Fault;
use crate::job::{EpochRows, Job, RowWalker};
use crate::session::EPOCH_MAX;
use crate::tally::{BatchTally, order_digest};

/// Rows that one request looks at, so that it takes a second or so; the caller asks for the rest.
const PLANNED_ROWS_MAX: u64 = 1 << 20;
const MADE_ROWS_MAX: u64 = 1 << 12;
/// Of one batch that is made only to be hashed.
const BATCH_ROWS: u64 = 256;
const BATCH_BYTES: u64 = 32 << 20;

impl Service {
    /// Adds up the rows that a request names, or the first of them.
    ///
    /// # Errors
    /// Invalid: no such rows. NotFound: resolve first. With content also what is wrong with a sample.
    pub async fn digest(&self, peer: Peer, request: &v1::DigestRequest) -> Result<v1::DigestReply, Fault> {
        let reference = request.job.as_ref().ok_or_else(|| Fault::invalid("digest without a job"))?;
        if request.epoch > EPOCH_MAX {
            return Err(Fault::invalid(format!("epoch {}, the last is {EPOCH_MAX}", request.epoch)));
        }
        let _turn = self.fetching.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
        let job = self.job(peer, &reference.order_digest, &reference.content_digest)?;
        let epoch = job.epoch_now(request.epoch)?;
        let (from_row, end) = rows_asked(request, epoch.rows())?;
        let most = if request.content { MADE_ROWS_MAX } else { PLANNED_ROWS_MAX };
        let to_row = end.min(from_row + most);
        let (number, epoch_rows, content) = (request.epoch, epoch.rows(), request.content);
        let tally = if content {
            self.made(&job, number, from_row, to_row).await?
        } else {
            tokio::task::spawn_blocking(move || planned(&job, number, &epoch, from_row..to_row))
                .await
                .map_err(|error| Fault::internal(format!("digest: {error}")))??
        };
        Ok(v1::DigestReply {
            epoch_rows,
            from_row,
            to_row,
            rows: tally.rows,
            order: tally.order.to_string(),
            content: if content { tally.content.to_string() } else { String::new() },
        })
    }

    /// Makes the rows, two batches at a time so that no decode thread stands still between them.
    async fn made(&self, job: &Arc<Job>, epoch: u64, from_row: u64, to_row: u64) -> Result<Tally, Fault> {
        let (mut sum, step) = (Tally::default(), batch_rows(job)?);
        let range = |first_row: u64| {
            let rows = to_row.saturating_sub(first_row).min(step) as u32;
            BatchRange { epoch, first_row, rows }
        };
        for first_row in (from_row..to_row).step_by(2 * step as usize) {
            let (first, second) = tokio::try_join!(
                self.tallied(job, range(first_row)),
                self.tallied(job, range(first_row + step))
            )?;
            sum.merge(&first);
            sum.merge(&second);
        }
        Ok(sum)
    }

    async fn tallied(&self, job: &Arc<Job>, range: BatchRange) -> Result<Tally, Fault> {
        if range.rows == 0 {
            return Ok(Tally::default());
        }
        let made = self.make(job, range, None, Some(BatchTally::default())).await?;
        Ok(made.work.tally.as_ref().expect("it was asked for").sums())
    }
}

fn rows_asked(request: &v1::DigestRequest, epoch_rows: u64) -> Result<(u64, u64), Fault> {
    let (from_row, to_row) = (request.from_row, request.to_row);
    let end = if to_row == 0 { epoch_rows } else { to_row };
    if from_row < end && end <= epoch_rows {
        return Ok((from_row, end));
    }
    Err(Fault::invalid(format!("rows {from_row} to {end} of an epoch of {epoch_rows}"))
        .hint("the first must lie before the last, and that at most at the end of the epoch"))
}

/// Rows of a batch that is made at once: a moderate slot.
fn batch_rows(job: &Job) -> Result<u64, Fault> {
    if job.order.rows_are_batches() {
        return Ok(1);
    }
    let row_bytes = job.layout(1, true)?.slot_bytes().max(1);
    Ok((BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS))
}

/// The order of some rows, from the plan alone.
fn planned(job: &Job, number: u64, epoch: &Arc<EpochRows>, range: Range<u64>) -> Result<Tally, Fault> {
    let (mut walker, mut sum) = (RowWalker::new(Arc::clone(epoch)), Tally::default());
    for first_row in range.clone().step_by(BATCH_ROWS as usize) {
        let rows = (range.end - first_row).min(BATCH_ROWS) as u32;
        let planned = walker.plan(BatchRange { epoch: number, first_row, rows })?;
        sum.rows += u64::from(rows);
        (0..planned.len()).for_each(|row| sum.order.add(order_digest(job, &planned, row)));
    }
    Ok(sum)
}
