//! Which sessions leave records in the state root of their run.

use std::sync::Arc;

use forebay_plan::Leg;

use super::{Service, names};
use crate::pins::{Begun, JobId, Journal};
use crate::session::SessionSpec;

impl Service {
    /// The journal of a session's run, where that has a state root. Rank 0 notes there, in the background, how it cuts
    /// the run.
    pub(super) fn journal(&self, spec: &SessionSpec) -> Option<Arc<Journal>> {
        let root = {
            let jobs = self.jobs.lock().expect("no thread panics with the lock");
            let mut same = jobs.iter().rev().filter(|kept| names(&kept.job) == names(&spec.job));
            same.find_map(|kept| kept.root.clone())?
        };
        let job_id = JobId::new(spec.job.id.as_str()).ok()?;
        let written = Arc::clone(&self.recorded);
        let journal = Arc::new(Journal::new(root, job_id, self.instance.clone(), written));
        let partition = &spec.partition;
        if partition.rank == 0 && partition.replica.is_empty() {
            let (journal, begun) = (Arc::clone(&journal), begun(spec));
            tokio::task::spawn_blocking(move || journal.cut(begun));
        }
        Some(journal)
    }
}

fn begun(spec: &SessionSpec) -> Begun {
    let leg = Leg {
        cursor: spec.cursor,
        rows_per_rank: spec.cut.rows_per_rank(),
        size: spec.cut.partition().size(),
        tail: spec.cut.tail(),
    };
    Begun { leg, content: spec.job.content_digest }
}
