//! A job by the name that its run gave it, for people who ask about a run.

use std::sync::Arc;

use super::{Peer, Service, names};
use crate::error::{Fault, Kind};
use crate::job::Job;

/// Names that an error lists.
const NAMES_TOLD: usize = 20;

impl Service {
    /// The job of a name, where `peer` may read its data; `epoch`: which one, of a run that is pinned epoch by epoch.
    ///
    /// # Errors
    /// NotFound, with the names or the epochs that there are. Invalid: several jobs have it.
    pub(super) fn named(&self, peer: Peer, id: &str, epoch: u64) -> Result<Arc<Job>, Fault> {
        let known = self.readable(peer);
        let named: Vec<_> = known.iter().filter(|(job, _)| job.id == id).collect();
        let found: Vec<_> =
            named.iter().filter(|(_, pinned)| pinned.is_none_or(|one| one == epoch)).collect();
        match (found.as_slice(), named.is_empty()) {
            ([(job, _)], _) => Ok(Arc::clone(job)),
            ([], true) => Err(unknown(id, &known)),
            ([], false) => {
                let epochs: Vec<_> =
                    named.iter().filter_map(|(_, one)| Some(one.as_ref()?.to_string())).collect();
                let message = format!("job {id} is known here for epoch {} alone", epochs.join(", "));
                Err(Fault::new(Kind::NotFound, message).hint("--state-root leads to the others"))
            }
            (found, _) => {
                let digests = found.iter().map(|(job, _)| {
                    format!("--order-digest {} --content-digest {}", job.order_digest, job.content_digest)
                });
                let message = format!("{} jobs are named {id}", found.len());
                Err(Fault::invalid(message).hint(digests.collect::<Vec<_>>().join(", or ")))
            }
        }
    }

    /// The jobs whose data a peer may read, one of each pair of digests, newest last; each with the epoch that it is
    /// pinned for, if it is for one.
    fn readable(&self, peer: Peer) -> Vec<(Arc<Job>, Option<u64>)> {
        let known: Vec<_> = {
            let jobs = self.jobs.lock().expect("no thread panics with the lock");
            jobs.iter().map(|kept| (Arc::clone(&kept.job), kept.paths.clone(), kept.epoch)).collect()
        };
        let may = |paths: &[String]| paths.iter().all(|path| self.roots.check(peer, path).is_ok());
        let mut readable: Vec<(Arc<Job>, Option<u64>)> = Vec::new();
        for (job, _, epoch) in known.into_iter().filter(|(_, paths, _)| may(paths)) {
            // Two epochs over the same data have the same digests, and either's rows.
            readable.retain(|(other, at)| names(other) != names(&job) || *at != epoch);
            readable.push((job, epoch));
        }
        readable
    }
}

fn unknown(id: &str, known: &[(Arc<Job>, Option<u64>)]) -> Fault {
    let short: String = id.chars().take(128).collect();
    let mut names: Vec<_> = known.iter().rev().map(|(job, _)| job.id.as_str()).collect();
    names.dedup();
    let more = if names.len() > NAMES_TOLD { ", and older ones" } else { "" };
    names.truncate(NAMES_TOLD);
    let hint = if names.is_empty() {
        "it knows no job yet: it forgets them when it stops; name the job by --spec FILE".to_owned()
    } else {
        format!("it knows {}{more}; or name the job by --spec FILE", names.join(", "))
    };
    Fault::new(Kind::NotFound, format!("job {short} is not known to this daemon")).hint(hint)
}
