//! What a run was asked for: enough, with its pins, to make its stream again without its trainer and its data.

use forebay_plan::Digest;
use forebay_proto::v1::{self, source::Origin};
use serde::{Deserialize, Serialize};

use super::pin::Stamp;
use crate::error::Fault;
use crate::records::RecordError;
use crate::records::{Created, RECORD_BYTES_MAX, StateRoot, nonce};
use crate::records::{JobId, RecordName};

const VERSION: u32 = 1;

/// How long a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Follow {
    /// For the whole run.
    Run,
    /// For an epoch: each takes the newest.
    Epoch,
}

/// `jobs/<job_id>/run.json`, written by the first process of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    version: u32,
    /// The run.
    pub job_id: String,
    /// How long its snapshots hold.
    pub follow: Follow,
    /// Who wrote it, as `forebay/0.1.0`.
    pub daemon: String,
    /// The job, but for the records of a source that sent them: they are in its snapshot.
    pub spec: v1::JobSpec,
    /// Of the order.
    pub seed: u64,
    /// The order over the first snapshots.
    pub order_digest: Digest,
    /// What a row's bytes were at first.
    pub content_digest: Digest,
    /// Tells its writer from all others.
    pub nonce: String,
    /// When, by the writer's clock.
    pub written_unix_ms: u64,
    /// Who.
    pub by: String,
}

impl Run {
    /// Writes what this run is, unless another process has.
    ///
    /// # Errors
    /// Invalid where the run began with another `follow`; what the state root says.
    pub fn begin(
        root: &StateRoot,
        spec: &v1::JobSpec,
        follow: Follow,
        (order_digest, content_digest): (Digest, Digest),
        stamp: &Stamp,
    ) -> Result<(), Fault> {
        let job_id = JobId::new(spec.job_id.as_str()).map_err(RecordError::into_fault)?;
        let found = Self::find(root, &job_id).map_err(RecordError::into_fault)?;
        let write = || {
            let run = Self {
                version: VERSION,
                job_id: job_id.to_string(),
                follow,
                daemon: format!("forebay/{}", env!("CARGO_PKG_VERSION")),
                spec: without_records(spec.clone()),
                seed: spec.order.as_ref().map_or(0, |order| order.seed),
                order_digest,
                content_digest,
                nonce: nonce(),
                written_unix_ms: stamp.unix_ms,
                by: stamp.by.clone(),
            };
            run.create(root, &job_id)
        };
        let begun = found.map_or_else(write, Ok)?;
        if begun.follow == follow {
            return Ok(());
        }
        let word = |follow| if follow == Follow::Run { "run" } else { "epoch" };
        let message = format!("job {job_id} was begun with follow=\"{}\"", word(begun.follow));
        Err(Fault::invalid(message).hint(format!(
            "go on with that, or give a run with follow=\"{}\" a job_id of its own",
            word(follow)
        )))
    }

    /// What the run was asked for; `None` where it never began here.
    ///
    /// # Errors
    /// [`RecordError::Damaged`]; what the state root says.
    pub fn find(root: &StateRoot, job_id: &JobId) -> Result<Option<Self>, RecordError> {
        let name = record(job_id);
        let bytes = root.read(&name, RECORD_BYTES_MAX)?;
        bytes.map(|bytes| Self::read(root, &name, &bytes, job_id)).transpose()
    }

    fn create(self, root: &StateRoot, job_id: &JobId) -> Result<Self, Fault> {
        let name = record(job_id);
        let mut bytes =
            serde_json::to_vec_pretty(&self).map_err(|error| Fault::internal(error.to_string()))?;
        bytes.push(b'\n');
        let made = match root.create(&name, &bytes) {
            Ok(Created::Ours) => Ok(self),
            Ok(Created::Theirs(theirs)) => Self::read(root, &name, &theirs, job_id),
            Err(error) => Err(error),
        };
        made.map_err(RecordError::into_fault)
    }

    fn read(root: &StateRoot, name: &RecordName, bytes: &[u8], job_id: &JobId) -> Result<Self, RecordError> {
        let run: Self = serde_json::from_slice(bytes).map_err(|error| root.damaged(name, error))?;
        if run.version != VERSION || run.job_id != job_id.as_str() {
            let detail =
                format!("version {} of job {:?}, this build reads {VERSION}", run.version, run.job_id);
            return Err(root.damaged(name, detail));
        }
        Ok(run)
    }
}

/// The records of a run lie in its snapshot already, and may be many.
fn without_records(mut spec: v1::JobSpec) -> v1::JobSpec {
    for source in &mut spec.sources {
        if let Some(Origin::Records(records)) = &mut source.origin {
            records.json_lines.clear();
        }
    }
    spec
}

fn record(job_id: &JobId) -> RecordName {
    RecordName::ours(format!("{}/run.json", job_id.folder()))
}
