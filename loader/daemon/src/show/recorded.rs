//! A run as its state root knows it: its data, epoch by epoch, the cuts it went through, and the corrupt samples it met.

use forebay_plan::Legs;
use forebay_proto::v1;

use super::options::ShowArgs;
use super::side::Side;
use super::which::Cuts;
use crate::error::{Fault, Kind};
use crate::pins::{Begun, Follow, JobId, Patience, RecordError, Run, StateRoot, bad_samples, cuts};
use crate::replay;

/// A run that keeps records.
pub(super) struct Recorded {
    root: StateRoot,
    job_id: JobId,
    run: Run,
}

impl Recorded {
    /// The run that the arguments name by job and state root, if they do.
    pub(super) fn of(args: &ShowArgs) -> Result<Option<Self>, Fault> {
        let (Some(job), Some(place)) = (&args.what.job, &args.what.state_root) else { return Ok(None) };
        let root = StateRoot::open(place, std::env::vars(), Patience::default());
        let root = root.map_err(RecordError::into_fault)?;
        let job_id = JobId::new(job.as_str()).map_err(RecordError::into_fault)?;
        let run = replay::begun(&root, &job_id)?;
        Ok(Some(Self { root, job_id, run }))
    }

    /// The job of an epoch over the data that it was pinned to. Where that data is not to be had, its samples can be
    /// named all the same.
    pub(super) fn job(&self, side: &mut Side, args: &ShowArgs) -> Result<v1::Job, Fault> {
        let epoch = args.which.epoch;
        let follow = match self.run.follow {
            Follow::Run => v1::Follow::Run,
            Follow::Epoch => v1::Follow::Epoch,
        };
        let pin = v1::Pin {
            state_root: self.root.place().to_owned(),
            follow: follow.into(),
            epoch,
            find_only: true,
            wait_ms: 0,
        };
        let (spec, pin) = (Some(self.run.spec.clone()), Some(pin));
        let resolved = side.resolve(v1::ResolveRequest { spec, pin, ..Default::default() });
        match (resolved, side) {
            (Err(fault), Side::Own(service)) if fault.kind != Kind::Invalid => {
                let job =
                    replay::pinned_job(&self.root, &self.run, &self.job_id, epoch).map_err(|_| fault)?;
                service.adopt(std::sync::Arc::clone(&job));
                Ok(job.to_proto())
            }
            (resolved, _) => resolved,
        }
    }

    /// How the run cut an epoch.
    pub(super) fn cuts(&self, epoch: u64) -> Result<(Vec<Begun>, Cuts), Fault> {
        let begun = cuts(&self.root, &self.job_id).map_err(RecordError::into_fault)?;
        let legs = Legs::of(epoch, begun.iter().map(|begun| begun.leg));
        Ok((begun, legs.map_or(Cuts::Missing, Cuts::Known)))
    }

    /// The corrupt samples that it met in an epoch.
    pub(super) fn bad(&self, epoch: u64) -> Result<Vec<v1::BadSample>, Fault> {
        bad_samples(&self.root, &self.job_id, epoch).map_err(RecordError::into_fault)
    }
}

/// What a reader should know of a run that was not made into the same all the time.
pub(super) fn caution(begun: &[Begun], job: &v1::Job) -> Option<String> {
    let other =
        begun.iter().map(|begun| begun.content.to_string()).find(|content| *content != job.content_digest)?;
    Some(format!(
        "a part of the run was made by other transforms (content {other:.12}): the crops told are those of the ones it began with"
    ))
}
