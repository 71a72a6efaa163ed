//! Resolving a run that agrees with other processes: its pin, the snapshots behind it, and who may write them where.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forebay_plan::Digest;
use forebay_proto::v1;

use super::resolve::Resolved;
use super::{Peer, Roots, Service};
use crate::catalog::{CatalogLimits, Snapshot};
use crate::config::RootConfig;
use crate::error::{Fault, Kind};
use crate::job::{self, Job};
use crate::pins::{
    Draft, Follow, JobId, Patience, Pin, Pinned, RecordError, Run, Stamp, StateRoot, When, decide, find,
    latest_before, load_classes, load_snapshot, store_classes, store_snapshot,
};
use crate::storage::Root;

/// Somebody else is given at most so long to decide first.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two looks for a pin, at first and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// State roots that stay open.
const OPEN_MAX: usize = 8;

/// The places where runs may keep records, and those that are open.
pub struct StateRoots {
    allowed: Vec<RootConfig>,
    folders: Roots,
    open: Mutex<Vec<(String, Arc<StateRoot>)>>,
}

impl StateRoots {
    /// The places of a configuration: folders, and `s3://` addresses.
    pub fn new(allowed: Vec<RootConfig>) -> Self {
        let folders =
            Roots::of_states(allowed.iter().filter(|root| !is_bucket(&root.text())).cloned().collect());
        Self { allowed, folders, open: Mutex::default() }
    }

    /// Opens a state root, where `peer` may have records kept there.
    fn open(&self, peer: Peer, text: &str) -> Result<Arc<StateRoot>, Fault> {
        let place = self.check(peer, text)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, root)) = open.iter().find(|(known, _)| *known == place) {
            return Ok(Arc::clone(root));
        }
        drop(open);
        let opened = StateRoot::open(&place, std::env::vars(), Patience::default());
        let root = Arc::new(opened.map_err(RecordError::into_fault)?);
        open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(known, _)| *known != place);
        if open.len() == OPEN_MAX {
            open.remove(0);
        }
        open.push((place, Arc::clone(&root)));
        Ok(root)
    }

    /// Opens it anew at its next use: a mount may have been replaced beneath it.
    fn forget(&self, root: &Arc<StateRoot>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, known)| !Arc::ptr_eq(known, root));
    }

    pub(super) fn check(&self, peer: Peer, text: &str) -> Result<String, Fault> {
        if !is_bucket(text) {
            let path = self.folders.check(peer, text)?;
            return path.into_os_string().into_string().map_err(|_| {
                Fault::invalid("the state root's path is not UTF-8").hint("give it another name, or a bucket")
            });
        }
        let beneath = |root: &&RootConfig| {
            let rest = text.strip_prefix(root.text().trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let around: Vec<_> = self.allowed.iter().filter(beneath).collect();
        match peer {
            Peer::Parent => Ok(text.to_owned()),
            _ if around.iter().any(|root| root.allow.permits(peer)) => Ok(text.to_owned()),
            _ if around.is_empty() => {
                Err(Fault::new(Kind::Denied, format!("{text} lies outside of the daemon's state roots"))
                    .hint("name it, or what is around it, as a [[state_root]] of the daemon's configuration"))
            }
            Peer::Process { .. } => {
                Err(Fault::new(Kind::Denied, format!("{text}: its state root does not allow {peer}")).hint(
                    "add the user or group to `allow` of that state root in the daemon's configuration",
                ))
            }
        }
    }
}

fn is_bucket(text: &str) -> bool {
    text.starts_with("s3://")
}

/// A request for a pin, read.
struct Asked {
    root: Arc<StateRoot>,
    job_id: JobId,
    follow: Follow,
    when: When,
}

impl Service {
    /// Looks for a pin until it is there or its time is over. What is wrong is told by whoever resolves.
    pub(super) fn await_pin(&self, peer: Peer, request: &v1::ResolveRequest) -> Result<(), Fault> {
        let (Some(spec), Some(pin)) = (&request.spec, &request.pin) else { return Ok(()) };
        let asked = self.asked(peer, spec, pin)?;
        let limit = Duration::from_millis(pin.wait_ms.into()).min(WAIT_MAX);
        let (since, mut pause) = (Instant::now(), LOOK.0);
        while since.elapsed() < limit {
            match find(&asked.root, &asked.job_id, asked.when) {
                Ok(None) => std::thread::sleep(pause),
                Ok(Some(_)) | Err(_) => break,
            }
            pause = (pause * 2).min(LOOK.1);
        }
        Ok(())
    }

    /// The job over the data that is pinned; where nobody has, over the data as it is now, which becomes the pin.
    pub(super) fn resolve_pinned(
        &self,
        peer: Peer,
        spec: &v1::JobSpec,
        pin: &v1::Pin,
    ) -> Result<Resolved, Fault> {
        let asked = self.asked(peer, spec, pin)?;
        let job = self.pinned_job(peer, spec, pin, &asked);
        if job.as_ref().is_err_and(|fault| fault.kind == Kind::Unavailable) {
            self.state_roots.forget(&asked.root);
        }
        Ok(Resolved { job: job?, pin: Some((asked.when, asked.root)) })
    }

    fn asked(&self, peer: Peer, spec: &v1::JobSpec, pin: &v1::Pin) -> Result<Asked, Fault> {
        if spec.job_id.is_empty() {
            return Err(Fault::invalid("a state root without a job id")
                .hint("give the run a name that no other one has, as in job_id=\"run-7\""));
        }
        let job_id = JobId::new(spec.job_id.as_str()).map_err(RecordError::into_fault)?;
        let (follow, when) = match v1::Follow::try_from(pin.follow) {
            Ok(v1::Follow::Unspecified | v1::Follow::Run) => (Follow::Run, When::Run),
            Ok(v1::Follow::Epoch) => (Follow::Epoch, When::Epoch(pin.epoch)),
            Err(_) => return Err(Fault::invalid(format!("follow {} is unknown", pin.follow))),
        };
        check_apart(spec, &pin.state_root)?;
        Ok(Asked { root: self.state_roots.open(peer, &pin.state_root)?, job_id, follow, when })
    }

    fn pinned_job(
        &self,
        peer: Peer,
        spec: &v1::JobSpec,
        pin: &v1::Pin,
        asked: &Asked,
    ) -> Result<Arc<Job>, Fault> {
        let Asked { root, job_id, when, .. } = asked;
        if let Some(found) = find(root, job_id, *when).map_err(RecordError::into_fault)? {
            return self.job_of_pin(peer, spec, asked, &found);
        }
        if pin.find_only {
            let message = format!("{when} of job {job_id} has no pin in {}", root.place());
            return Err(Fault::new(Kind::NotFound, message)
                .hint("use the state_root and the job_id that the run began with"));
        }
        root.check_writable().map_err(RecordError::into_fault)?;
        let mut drafted = None;
        let decided = decide(root, job_id, *when, &Stamp::now(), || {
            let job = self.draft(peer, spec, asked)?;
            let draft = stored(root, &job)?;
            drafted = Some(job);
            Ok(draft)
        })?;
        tracing::info!(%job_id, %when, by = decided.by, snapshot = %decided.joint_digest.short(), "data pinned");
        match drafted {
            Some(job) if job.order_digest == decided.order_digest => Ok(job),
            _ => self.job_of_pin(peer, spec, asked, &decided),
        }
    }

    /// The job over the data as it is now, its labels going on from those of the epoch before.
    fn draft(&self, peer: Peer, spec: &v1::JobSpec, asked: &Asked) -> Result<Arc<Job>, Fault> {
        let job = job::resolve_all(spec, self.list(peer, spec)?)?;
        Run::begin(&asked.root, spec, asked.follow, (job.order_digest, job.content_digest), &Stamp::now())?;
        let earlier = earlier_classes(asked).map_err(RecordError::into_fault)?;
        if job.classes.starts_with(&earlier) {
            return Ok(Arc::new(job));
        }
        let snapshots = job.sources.iter().map(|source| source.snapshot.with_classes(&earlier)).collect();
        job::resolve_all(spec, snapshots).map(Arc::new)
    }

    fn job_of_pin(
        &self,
        peer: Peer,
        spec: &v1::JobSpec,
        asked: &Asked,
        pin: &Pin,
    ) -> Result<Arc<Job>, Fault> {
        let other = |what: &str| {
            let (when, job_id) = (asked.when, &asked.job_id);
            Fault::invalid(format!("{when} of job {job_id} is pinned with {what}"))
                .hint("use the data, shuffle= and seed= that the run began with, or give this one a job_id of its own")
        };
        let roots = self.data_roots(peer, spec)?;
        if roots.len() != pin.snapshots.len() {
            return Err(other(&format!("{} sources, and this has {}", pin.snapshots.len(), roots.len())));
        }
        let snapshots = pin.snapshots.iter().zip(roots);
        let snapshots = snapshots.map(|(pinned, data)| self.snapshot_of_pin(&asked.root, pinned, data));
        let job = job::resolve_all(spec, snapshots.collect::<Result<_, _>>()?)?;
        if job.order_digest == pin.order_digest {
            return Ok(Arc::new(job));
        }
        Err(other(&format!("another order, by {}", pin.by)))
    }

    /// A pinned snapshot: the one that a job of this daemon has, or else as it is stored.
    fn snapshot_of_pin(
        &self,
        root: &StateRoot,
        pinned: &Pinned,
        data: Option<Arc<Root>>,
    ) -> Result<Arc<Snapshot>, Fault> {
        let path = |root: Option<&Arc<Root>>| root.map(|root| root.path().to_owned());
        let known = {
            let jobs = self.jobs.lock().expect("no thread panics with the lock");
            let mut sources = jobs.iter().rev().flat_map(|kept| &kept.job.sources);
            let same = |snapshot: &Snapshot| {
                snapshot.digest() == pinned.digest && path(snapshot.root()) == path(data.as_ref())
            };
            sources.find(|source| same(&source.snapshot)).map(|source| Arc::clone(&source.snapshot))
        };
        match known {
            Some(snapshot) => Ok(snapshot),
            None => load_snapshot(root, &pinned.digest, data, &CatalogLimits::default()).map(Arc::new),
        }
    }

    /// Checks that a session stays in the epoch that its job is pinned for: nobody has decided on the next one.
    pub(super) fn check_boundary(&self, job: &Job, epoch: u64, rolling: bool) -> Result<(), Fault> {
        let jobs = self.jobs.lock().expect("no thread panics with the lock");
        let mut pinned = jobs.iter().filter(|kept| super::names(&kept.job) == super::names(job));
        if pinned.any(|kept| kept.epoch.is_none_or(|pinned| pinned == epoch && !rolling)) {
            return Ok(());
        }
        Err(Fault::invalid(format!(
            "epoch {epoch}, rolling {rolling}, of data that is pinned for another epoch alone"
        ))
        .hint("resolve each epoch, and open a session of its own that is not rolling"))
    }
}

/// Class names by label that the epoch before was pinned with; none where there is no such epoch.
fn earlier_classes(asked: &Asked) -> Result<Vec<String>, RecordError> {
    let When::Epoch(epoch) = asked.when else { return Ok(Vec::new()) };
    let earlier = latest_before(&asked.root, &asked.job_id, epoch)?;
    let digest = earlier.and_then(|pin| pin.class_map_digest);
    digest.map_or(Ok(Vec::new()), |digest| load_classes(&asked.root, &digest))
}

/// Stores what a pin of the job leads to, and drafts the pin.
fn stored(root: &StateRoot, job: &Job) -> Result<Draft, Fault> {
    let mut snapshots = Vec::new();
    for source in &job.sources {
        store_snapshot(root, &source.snapshot)?;
        let digest: Digest = source.snapshot.digest();
        snapshots.push(Pinned { source: source.name.clone(), digest, rows: source.snapshot.len() });
    }
    let class_map_digest = store_classes(root, &job.classes)?;
    let (order_digest, content_digest) = (job.order_digest, job.content_digest);
    Ok(Draft { snapshots, order_digest, content_digest, class_map_digest })
}

/// A folder of records among class folders would be a class.
fn check_apart(spec: &v1::JobSpec, state_root: &str) -> Result<(), Fault> {
    let real = |path: &str| std::fs::canonicalize(path).ok();
    let Some(state) = real(state_root) else { return Ok(()) };
    for source in &spec.sources {
        let path = match &source.origin {
            Some(v1::source::Origin::Folder(folder)) => &folder.path,
            Some(v1::source::Origin::Frames(frames)) => &frames.path,
            _ => continue,
        };
        if real(path).is_some_and(|folder| state.starts_with(folder)) {
            let message = format!("the state root {state_root} lies inside of the folder of classes {path}");
            return Err(Fault::invalid(message).hint(
                "its folders would be classes, here and for torchvision: make it beside the data, not in it",
            ));
        }
    }
    Ok(())
}

impl RootConfig {
    fn text(&self) -> String {
        self.path.display().to_string()
    }
}
