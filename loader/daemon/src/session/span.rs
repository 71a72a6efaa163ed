//! What every log line about a session carries.

use tracing::Span;

use super::SessionSpec;

impl SessionSpec {
    /// The session's number, its job and its rank. Of the highest level, so that no filter on levels takes it from a line
    /// that passes.
    pub fn span(&self) -> Span {
        let world_size = self.partition.size.max(1);
        tracing::error_span!("session", session = self.id, job = %self.job.id, rank = self.partition.rank, world_size)
    }
}
