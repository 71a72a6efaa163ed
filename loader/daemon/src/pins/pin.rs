//! Which data a run, or an epoch of it, is made from: decided by the first to need it, read by all.

use std::fmt;
use std::time::SystemTime;

use forebay_plan::Digest;
use forebay_plan::orders::joint_snapshot;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::records::RecordError;
use crate::records::{Created, StateRoot, nonce};
use crate::records::{JobId, RecordName};

/// The layout of [`Pin`]; another one is refused.
const VERSION: u32 = 1;

/// Bytes of a pin: 4096 sources under their names.
const PIN_BYTES_MAX: u64 = 4 << 20;

/// What a pin holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// All epochs of the run.
    Run,
    /// One epoch.
    Epoch(u64),
}

/// One source's data, by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// The source's name in the job; empty where it has one source without a name.
    pub source: String,
    /// The snapshot; stored as `snapshots/<digest>.parquet`.
    pub digest: Digest,
    /// Samples in it.
    pub rows: u64,
}

/// What a process would pin, if it comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The sources, in the job's order; stored under the state root before this is given out.
    pub snapshots: Vec<Pinned>,
    /// The order over them.
    pub order_digest: Digest,
    /// What a row's bytes are.
    pub content_digest: Digest,
    /// Names the class names in order, where there are any; stored likewise.
    pub class_map_digest: Option<Digest>,
}

/// When and by whom, for people; decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Host and process.
    pub by: String,
}

impl Stamp {
    /// This process, now.
    pub fn now() -> Self {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { unix_ms: since.as_millis() as u64, by: format!("{} pid {}", host.trim(), std::process::id()) }
    }
}

/// A decision that holds: `jobs/<job_id>/epochs/<epoch>.json`, or `run.json` there for the whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    version: u32,
    /// The run.
    pub job_id: String,
    /// The epoch; absent for all of them.
    pub epoch: Option<u64>,
    /// The sources, in the job's order.
    pub snapshots: Vec<Pinned>,
    /// The one name for all of them.
    pub joint_digest: Digest,
    /// The order over them.
    pub order_digest: Digest,
    /// What a row's bytes were when it was decided.
    pub content_digest: Digest,
    /// Names the class names in order, where there are any.
    pub class_map_digest: Option<Digest>,
    /// Tells its writer from all others.
    pub nonce: String,
    /// When it was decided, by the writer's clock.
    pub written_unix_ms: u64,
    /// Who decided it.
    pub by: String,
}

/// The pin that holds for the run or the epoch: the one that is there, or else the draft that `make` gives.
///
/// `make` is called only where no pin can be read; another process may still come first, and then its draft is lost.
///
/// # Errors
/// What `make` says. Unavailable: not settled until the deadline. Corrupt: a record that is no pin of this run.
pub fn decide(
    root: &StateRoot,
    job_id: &JobId,
    when: When,
    stamp: &Stamp,
    make: impl FnOnce() -> Result<Draft, Fault>,
) -> Result<Pin, Fault> {
    if let Some(pin) = find(root, job_id, when).map_err(RecordError::into_fault)? {
        return Ok(pin);
    }
    let pin = Pin::new(job_id, when, make()?, stamp);
    let mut bytes = serde_json::to_vec_pretty(&pin).map_err(|error| Fault::internal(error.to_string()))?;
    bytes.push(b'\n');
    let name = when.record(job_id);
    let decided = match root.create(&name, &bytes) {
        Ok(Created::Ours) => Ok(pin),
        Ok(Created::Theirs(theirs)) => Pin::read(root, &name, &theirs, job_id, when),
        Err(error) => Err(error),
    };
    decided.map_err(RecordError::into_fault)
}

/// The pin that is there, if any.
///
/// # Errors
/// As [`decide`].
pub fn find(root: &StateRoot, job_id: &JobId, when: When) -> Result<Option<Pin>, RecordError> {
    let name = when.record(job_id);
    let bytes = root.read(&name, PIN_BYTES_MAX)?;
    bytes.map(|bytes| Pin::read(root, &name, &bytes, job_id, when)).transpose()
}

/// The pin of the last epoch before `epoch` that has one.
///
/// # Errors
/// As [`decide`].
pub fn latest_before(root: &StateRoot, job_id: &JobId, epoch: u64) -> Result<Option<Pin>, RecordError> {
    let earlier = epochs(root, job_id)?.into_iter().rfind(|&pinned| pinned < epoch);
    earlier.map_or(Ok(None), |epoch| find(root, job_id, When::Epoch(epoch)))
}

/// The epochs that have a pin of their own, in order.
///
/// # Errors
/// What the state root says.
pub fn epochs(root: &StateRoot, job_id: &JobId) -> Result<Vec<u64>, RecordError> {
    let names = root.list(&RecordName::ours(format!("{}/epochs", job_id.folder())))?;
    let mut epochs: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("the whole run"),
            Self::Epoch(epoch) => write!(f, "epoch {epoch}"),
        }
    }
}

impl When {
    /// The pin's record.
    pub fn record(self, job_id: &JobId) -> RecordName {
        let folder = format!("{}/epochs", job_id.folder());
        RecordName::ours(match self {
            Self::Run => format!("{folder}/run.json"),
            Self::Epoch(epoch) => format!("{folder}/{epoch}.json"),
        })
    }

    /// The epoch, where it is one.
    pub fn epoch(self) -> Option<u64> {
        match self {
            Self::Run => None,
            Self::Epoch(epoch) => Some(epoch),
        }
    }
}

impl Pin {
    fn new(job_id: &JobId, when: When, draft: Draft, stamp: &Stamp) -> Self {
        Self {
            version: VERSION,
            job_id: job_id.to_string(),
            epoch: when.epoch(),
            joint_digest: joint(&draft.snapshots),
            snapshots: draft.snapshots,
            order_digest: draft.order_digest,
            content_digest: draft.content_digest,
            class_map_digest: draft.class_map_digest,
            nonce: nonce(),
            written_unix_ms: stamp.unix_ms,
            by: stamp.by.clone(),
        }
    }

    fn read(
        root: &StateRoot,
        name: &RecordName,
        bytes: &[u8],
        job_id: &JobId,
        when: When,
    ) -> Result<Self, RecordError> {
        let pin: Self = serde_json::from_slice(bytes)
            .map_err(|error| root.damaged(name, format!("{} bytes that are no pin: {error}", bytes.len())))?;
        if pin.version != VERSION {
            let detail = format!("a pin of version {}, this build reads {VERSION}", pin.version);
            return Err(root.damaged(name, detail));
        }
        if (pin.job_id.as_str(), pin.epoch) != (job_id.as_str(), when.epoch()) {
            let when = pin.epoch.map_or(When::Run, When::Epoch);
            return Err(root.damaged(name, format!("the pin of {when} of job {:?}", pin.job_id)));
        }
        if pin.snapshots.is_empty() || joint(&pin.snapshots) != pin.joint_digest {
            return Err(root.damaged(name, "its snapshots do not make its joint digest"));
        }
        Ok(pin)
    }
}

fn joint(snapshots: &[Pinned]) -> Digest {
    let digests: Vec<_> = snapshots.iter().map(|pinned| pinned.digest).collect();
    joint_snapshot(&digests)
}
