//! What the sessions of a run leave in its state root while they run: how they cut it, and the corrupt samples they met.
//!
//! No batch depends on any of it: what cannot be written is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_proto::v1;

use super::bad::note_bad;
use super::cuts::{Begun, note_cut};
use super::pin::Stamp;
use crate::error::with_causes;
use crate::records::JobId;
use crate::records::StateRoot;

/// A run's place for such records. Its calls block.
pub struct Journal {
    root: Arc<StateRoot>,
    job_id: JobId,
    /// This daemon, among all that write there.
    writer: String,
    /// Records that it has written.
    written: Arc<AtomicU64>,
}

impl Journal {
    /// The journal of a run; `written` is shared by all that have the same writer.
    pub fn new(root: Arc<StateRoot>, job_id: JobId, writer: String, written: Arc<AtomicU64>) -> Self {
        Self { root, job_id, writer, written }
    }

    /// Notes how a session cuts the run.
    pub fn cut(&self, begun: Begun) {
        if let Err(error) = note_cut(&self.root, &self.job_id, begun, &Stamp::now()) {
            let (job, error) = (&self.job_id, with_causes(&error));
            tracing::warn!(%job, error, "how the run is cut was not recorded: `forebay show` will not find its steps");
        }
    }

    /// Notes corrupt samples.
    pub fn bad(&self, lines: &[v1::BadSample]) {
        let next = || self.written.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = note_bad(&self.root, &self.job_id, &self.writer, next, lines, &Stamp::now()) {
            let (job, error, lines) = (&self.job_id, with_causes(&error), lines.len());
            tracing::warn!(%job, error, lines, "corrupt samples were not recorded");
        }
    }
}
