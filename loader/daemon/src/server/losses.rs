//! Losses: those that training reports, and what the ledgers say of them.

use std::sync::Arc;

use forebay_plan::Digest;
use forebay_proto::v1;

use super::{Peer, Service};
use crate::error::Fault;
use crate::job::{self, Job};
use crate::losses::{self, BatchLosses, Entry, LedgerName};
use crate::metrics;
use crate::session::EPOCH_MAX;

/// Batches of one report.
const BATCHES_MAX: usize = 4096;
/// Losses of one report.
const LOSSES_MAX: usize = 1 << 20;
/// Bytes of weights that a control message carries beside its JSON.
const WEIGHTS_BYTES_MAX: usize = 40 << 20;

impl Service {
    /// Adds losses to the ledger of a job that the caller may read.
    ///
    /// # Errors
    /// NotFound: the job was never resolved here. Invalid: there are no such batches. Denied, as for the job's data.
    pub async fn report(
        self: &Arc<Self>,
        peer: Peer,
        request: v1::ReportRequest,
    ) -> Result<v1::ReportReply, Fault> {
        let (name, job) = self.ledger_of(peer, &request)?;
        let batches = batches(&request)?;
        let service = Arc::clone(self);
        // A page that is made, or a window that is planned, takes longer than the runtime's threads should be kept.
        let noted = tokio::task::spawn_blocking(move || {
            let lent: Vec<_> = batches.iter().map(Batch::lend).collect();
            service.ledgers.note(&name, &job, &lent)
        });
        let noted = noted.await.map_err(|error| Fault::internal(format!("report: {error}")))??;
        metrics::losses_noted(noted.noted, noted.nan);
        if request.save {
            self.ledgers.ask_to_save();
        }
        Ok(v1::ReportReply { noted: noted.noted, left_out: noted.left_out, unkept: noted.unkept })
    }

    fn ledger_of(&self, peer: Peer, request: &v1::ReportRequest) -> Result<(LedgerName, Arc<Job>), Fault> {
        let named = request.job.as_ref().ok_or_else(|| Fault::invalid("a report without a job"))?;
        job::check_job_id(&request.job_id)?;
        let digest =
            |text: &str| text.parse::<Digest>().map_err(|_| Fault::invalid("a digest is not 64 hex digits"));
        let digests = (digest(&named.order_digest)?, digest(&named.content_digest)?);
        let owner_uid = owner(peer);
        let mut name = LedgerName { owner_uid, job_id: request.job_id.clone(), digests };
        // The user's own ledger remembers its job for longer than the daemon keeps those that nobody asks for.
        let job = match self.ledgers.job(&name) {
            Some(job) => job,
            None => self.job(peer, &named.order_digest, &named.content_digest)?,
        };
        if name.job_id.is_empty() {
            name.job_id.clone_from(&job.id);
        }
        Ok((name, job))
    }

    /// Says what the ledgers of a run know: of the caller's own runs, and for an operator of everybody's.
    ///
    /// # Errors
    /// NotFound: there is no such run. Invalid: too much is asked for, or weights that can't be made.
    pub async fn losses(
        self: &Arc<Self>,
        peer: Peer,
        request: v1::LossesRequest,
    ) -> Result<v1::LossesReply, Fault> {
        let _turn = self.fetching.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
        let service = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || service.losses_now(peer, &request));
        asked.await.map_err(|error| Fault::internal(format!("losses: {error}")))?
    }

    fn losses_now(&self, peer: Peer, request: &v1::LossesRequest) -> Result<v1::LossesReply, Fault> {
        let is_operator = self.operator(peer, "losses").is_ok();
        let may_see = |name: &LedgerName| is_operator || name.owner_uid == owner(peer);
        let (book, job) = self.ledgers.book(&request.job_id, may_see)?;
        let key = |entry: &Entry| {
            let sample = entry.sample.expect("an entry without a key is of the ledger itself");
            losses::key(&job, entry.source, sample)
        };
        let reply = book.answer(request, key)?;
        if reply.weights.len() > WEIGHTS_BYTES_MAX {
            let message = format!("{} weights do not fit one message", reply.weights.len() / 8);
            return Err(Fault::invalid(message)
                .hint("set ledger_dir, and run `forebay dataset weights --ledgers DIR`"));
        }
        Ok(reply)
    }

    /// Whether ledgers are written anywhere.
    pub fn keeps_ledgers(&self) -> bool {
        self.ledgers.are_stored()
    }

    /// Waits until a client wants its ledger written.
    pub async fn asked_to_save(&self) {
        self.ledgers.asked().await;
    }

    /// Writes the ledgers that have news. Blocks as long as that takes.
    pub fn save_ledgers(&self) {
        self.ledgers.save_all();
    }
}

/// The losses of one batch as numbers.
struct Batch {
    epoch: u64,
    first_row: u64,
    rank: u32,
    losses: Vec<f32>,
}

impl Batch {
    fn lend(&self) -> BatchLosses<'_> {
        let Self { epoch, first_row, rank, ref losses } = *self;
        BatchLosses { epoch, first_row, rank, losses }
    }
}

fn batches(request: &v1::ReportRequest) -> Result<Vec<Batch>, Fault> {
    let given = request.batches.len();
    let losses: usize = request.batches.iter().map(|batch| batch.losses.len() / 4).sum();
    if given > BATCHES_MAX || losses > LOSSES_MAX {
        let message = format!("a report of {given} batches and {losses} losses");
        return Err(Fault::invalid(message).hint(format!(
            "report more often: at most {BATCHES_MAX} batches and {LOSSES_MAX} losses at once"
        )));
    }
    let batch = |batch: &v1::BatchLosses| {
        if batch.epoch > EPOCH_MAX {
            return Err(Fault::invalid(format!("losses of epoch {}, the last is {EPOCH_MAX}", batch.epoch)));
        }
        let (numbers, rest) = batch.losses.as_chunks::<4>();
        if numbers.is_empty() || !rest.is_empty() {
            return Err(Fault::invalid(format!(
                "{} bytes of losses are no float32 numbers",
                batch.losses.len()
            )));
        }
        let losses = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Batch { epoch: batch.epoch, first_row: batch.first_row, rank: request.rank, losses })
    };
    request.batches.iter().map(batch).collect()
}

fn owner(peer: Peer) -> Option<u32> {
    match peer {
        Peer::Parent => None,
        Peer::Process { uid, .. } => Some(uid),
    }
}
