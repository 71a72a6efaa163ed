//! `forebay replay`: which samples a pinned run saw, made again from its state root alone.

pub mod options;

use std::io::Write;
use std::sync::Arc;

use forebay_plan::BatchRange;
use serde_json::json;

use crate::catalog::CatalogLimits;
use crate::error::{Fault, Kind};
use crate::job::{self, Job, RowWalker};
use crate::pins::{
    Follow, JobId, Patience, Pin, RecordError, Run, StateRoot, When, epochs, find, load_snapshot,
};
use options::ReplayArgs;

/// Rows that are planned at once.
const ROWS: u64 = 4096;

/// Writes what was asked for.
///
/// # Errors
/// NotFound: no such run, or no pin of the epoch. What the state root says. What `out` says, but for a closed pipe.
pub fn run(args: &ReplayArgs, out: &mut dyn Write) -> Result<(), Fault> {
    let fault = RecordError::into_fault;
    let root = StateRoot::open(&place(&args.state_root), std::env::vars(), Patience::default());
    let root = root.map_err(fault)?;
    let job_id = JobId::new(args.job.as_str()).map_err(fault)?;
    let run = begun(&root, &job_id)?;
    let told = match args.epoch {
        None => tell_run(&root, &run, &job_id, args.json, out),
        Some(epoch) => tell_rows(&*pinned_job(&root, &run, &job_id, epoch)?, args, epoch, out),
    };
    match told {
        Err(Told::Closed) | Ok(()) => Ok(()),
        Err(Told::Fault(fault)) => Err(fault),
    }
}

/// A folder may be given as seen from here.
fn place(text: &str) -> String {
    let from_here = std::path::absolute(text).ok().filter(|_| !text.starts_with("s3://"));
    from_here.map_or_else(|| text.to_owned(), |path| path.display().to_string())
}

/// What a run was asked for.
///
/// # Errors
/// NotFound: it keeps no records here.
pub fn begun(root: &StateRoot, job_id: &JobId) -> Result<Run, Fault> {
    Run::find(root, job_id).map_err(RecordError::into_fault)?.ok_or_else(|| {
        Fault::new(Kind::NotFound, format!("{} has no job {job_id}", root.place()))
            .hint("check the job_id and the state_root that its loader was given")
    })
}

/// The job of an epoch over the snapshots that it was pinned to. Its samples can be named, not read.
///
/// # Errors
/// NotFound: nobody has begun that epoch. Corrupt: the records do not make the order that was pinned.
pub fn pinned_job(root: &StateRoot, run: &Run, job_id: &JobId, epoch: u64) -> Result<Arc<Job>, Fault> {
    let when = match run.follow {
        Follow::Run => When::Run,
        Follow::Epoch => When::Epoch(epoch),
    };
    let pin = find(root, job_id, when).map_err(RecordError::into_fault)?.ok_or_else(|| {
        Fault::new(Kind::NotFound, format!("{when} of job {job_id} has no pin: nobody has begun it"))
    })?;
    let load = |pinned: &crate::pins::Pinned| {
        load_snapshot(root, &pinned.digest, None, &CatalogLimits::default()).map(Arc::new)
    };
    let snapshots = pin.snapshots.iter().map(load).collect::<Result<_, _>>()?;
    let job = job::resolve_all(&run.spec, snapshots)?;
    if job.order_digest == pin.order_digest {
        return Ok(Arc::new(job));
    }
    let message = format!("{when} of job {job_id}: run.json and its snapshots do not make the pinned order");
    Err(Fault::new(Kind::Corrupt, message).hint("was a loader of other arguments given this job_id?"))
}

/// Why telling ended.
enum Told {
    Fault(Fault),
    /// Nobody reads on, as behind `| head`.
    Closed,
}

impl From<Fault> for Told {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<std::io::Error> for Told {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Fault(Fault::from_error(Kind::Unavailable, &error).context("write the rows")),
        }
    }
}

/// The run and its pins, oldest first.
fn tell_run(
    root: &StateRoot,
    run: &Run,
    job_id: &JobId,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Told> {
    let fault = RecordError::into_fault;
    let mut pins: Vec<Pin> = find(root, job_id, When::Run).map_err(fault)?.into_iter().collect();
    for epoch in epochs(root, job_id).map_err(fault)? {
        pins.extend(find(root, job_id, When::Epoch(epoch)).map_err(fault)?);
    }
    if as_json {
        let internal = |error: serde_json::Error| Fault::internal(error.to_string());
        writeln!(out, "{}", serde_json::to_string(run).map_err(internal)?)?;
        for pin in &pins {
            writeln!(out, "{}", serde_json::to_string(pin).map_err(internal)?)?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "job {job_id}, seed {}, begun {} by {}, {}",
        run.seed,
        date(run.written_unix_ms),
        run.by,
        run.daemon
    )?;
    for pin in &pins {
        let when = pin.epoch.map_or(When::Run, When::Epoch);
        let samples: u64 = pin.snapshots.iter().map(|pinned| pinned.rows).sum();
        let (snapshot, order) = (pin.joint_digest.short(), pin.order_digest.short());
        writeln!(
            out,
            "{when}: {samples} samples, snapshot {snapshot}, order {order}, pinned {} by {}",
            date(pin.written_unix_ms),
            pin.by
        )?;
    }
    Ok(())
}

/// The keys of each row's samples, in order.
fn tell_rows(job: &Job, args: &ReplayArgs, epoch: u64, out: &mut dyn Write) -> Result<(), Told> {
    let rows = job.epoch(epoch)?;
    let wanted = args.rows.clone().unwrap_or(0..rows.rows());
    let last = wanted.end.min(rows.rows());
    let mut walker = RowWalker::new(rows);
    let mut first = wanted.start;
    while first < last {
        let range = BatchRange { epoch, first_row: first, rows: (last - first).min(ROWS) as u32 };
        first += u64::from(range.rows);
        let planned = walker.plan(range)?;
        for row in 0..planned.len() {
            let position = planned.row(row).position;
            let keys: Vec<_> = planned.parts(row).iter().map(|part| job.key(part.pick)).collect();
            if args.json {
                writeln!(out, "{}", json!({ "epoch": epoch, "position": position, "keys": keys }))?;
            } else {
                writeln!(out, "{position}\t{}", keys.join("\t"))?;
            }
        }
    }
    Ok(())
}

/// As in HTTP, which is UTC.
fn date(unix_ms: u64) -> String {
    let since = std::time::Duration::from_millis(unix_ms);
    std::time::SystemTime::UNIX_EPOCH.checked_add(since).map_or("?".to_owned(), httpdate::fmt_http_date)
}
