//! `forebay show`: any batch as a contact sheet and a table, from a running daemon or from a service of its own.

pub mod options;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use forebay_plan::{Cursor, Cut, Partition, Tail};
use forebay_proto::v1::{self, reply, request::Call};

use crate::bench::source;
use crate::config::Config;
use crate::delivery::local::client::Client;
use crate::error::{Fault, Kind};
use crate::operate;
use crate::run::Daemon;
use crate::server::{Peer, Service};
use options::{ShowArgs, Which};

/// Shows. Must be called inside of a multi-threaded tokio runtime's context, and on none of its threads.
///
/// # Errors
/// What is wrong with the job, the batch asked for, or the place of the sheet.
pub fn run(args: &ShowArgs) -> Result<(), Fault> {
    let mut side = Side::of(args)?;
    let job = side.job(args)?;
    let key = key(&job, args.which)?;
    let request = v1::ShowRequest {
        key: Some(key),
        field: args.field.clone(),
        tile_px: args.tile,
        original: args.original,
    };
    let shown = side.show(request)?;
    tell(args, &shown)
}

/// Who is asked.
enum Side {
    Daemon(Client),
    Own(Arc<Service>),
}

impl Side {
    fn of(args: &ShowArgs) -> Result<Self, Fault> {
        match &args.what.socket {
            Some(socket) => operate::connect(socket).map(Self::Daemon),
            None => Ok(Self::Own(Daemon::start(Config::default())?.service)),
        }
    }

    fn job(&mut self, args: &ShowArgs) -> Result<v1::Job, Fault> {
        let what = &args.what;
        let request = match (&what.order_digest, &what.content_digest) {
            (Some(order), Some(content)) => {
                let job = v1::JobRef { order_digest: order.clone(), content_digest: content.clone() };
                v1::ResolveRequest { job: Some(job), ..Default::default() }
            }
            _ => v1::ResolveRequest { spec: Some(spec(args)?), ..Default::default() },
        };
        let reply = match self {
            Self::Own(service) => on_runtime(service.resolve(Peer::Parent, request))?,
            Self::Daemon(client) => match client.call(Call::Resolve(request))? {
                reply::Result::Resolve(reply) => reply,
                other => return Err(Fault::internal(format!("resolve was answered with {other:?}"))),
            },
        };
        reply.job.ok_or_else(|| Fault::internal("resolve was answered without a job"))
    }

    fn show(&mut self, request: v1::ShowRequest) -> Result<v1::ShowReply, Fault> {
        match self {
            Self::Own(service) => on_runtime(service.show(Peer::Parent, request)),
            Self::Daemon(client) => match client.call(Call::Show(request))? {
                reply::Result::Show(reply) => Ok(reply),
                other => Err(Fault::internal(format!("show was answered with {other:?}"))),
            },
        }
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}

fn spec(args: &ShowArgs) -> Result<v1::JobSpec, Fault> {
    if let Some(file) = &args.what.spec {
        return read_spec(file);
    }
    let path = args.what.path.as_deref().ok_or_else(|| {
        Fault::invalid("show what?").hint(
            "name a folder or a list, or --spec FILE, or a daemon's job by --order-digest and --content-digest",
        )
    })?;
    let (origin, snapshot) = source::look(path)?;
    let transforms = source::transforms(args.transform, args.dtype);
    let mut fields = source::fields(&snapshot, source::path_column(&snapshot), &transforms);
    let image = fields.iter_mut().find(|field| !field.transforms.is_empty());
    image.into_iter().for_each(|field| field.views = args.views);
    let order = v1::Order { sampler: v1::Sampler::Shuffled.into(), seed: args.seed, ..Default::default() };
    Ok(v1::JobSpec {
        sources: vec![v1::Source { origin: Some(origin), ..Default::default() }],
        fields,
        order: Some(order),
        ..Default::default()
    })
}

fn read_spec(file: &Path) -> Result<v1::JobSpec, Fault> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Fault::from_error(Kind::NotFound, &error).context(format!("read {}", file.display()))
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Fault::from_error(Kind::Invalid, &error)
            .context(format!("{} is no forebay.v1.JobSpec", file.display()))
            .hint("proto/forebay/v1/job.proto names its keys; paths in it are absolute")
    })
}

/// The first rows of the batch that is meant.
fn key(job: &v1::Job, which: Which) -> Result<v1::BatchKey, Fault> {
    let plan = |error: forebay_plan::PlanError| Fault::invalid(error.to_string());
    let partition = Partition::new(which.rank, which.world)
        .map_err(|error| plan(error).hint("ranks go from 0 to --world minus 1"))?;
    let cut = Cut::new(job.rows, partition, which.batch, Tail::Partial).map_err(plan)?;
    let steps = cut.steps_from(0);
    let batch = which
        .step
        .checked_mul(u64::from(cut.global_batch()))
        .and_then(|position| cut.batch_at(Cursor { epoch: which.epoch, position }))
        .ok_or_else(|| {
            let message = format!(
                "there is no step {}: an epoch of {} rows has {steps}, of {} rows each",
                which.step,
                job.rows,
                cut.global_batch()
            );
            Fault::invalid(message).hint(format!("steps go from 0 to {}", steps - 1))
        })?;
    Ok(v1::BatchKey {
        order_digest: job.order_digest.clone(),
        content_digest: job.content_digest.clone(),
        epoch: which.epoch,
        first_row: batch.first_row,
        rows: which.rows.min(batch.rows),
        stage: v1::Stage::Finished.into(),
    })
}

/// The sheet to its file, the rows to standard output, or the other way round where the sheet goes there.
fn tell(args: &ShowArgs, shown: &v1::ShowReply) -> Result<(), Fault> {
    let rows = if args.json {
        serde_json::to_string_pretty(&shown.rows).expect("every message has a JSON mapping") + "\n"
    } else {
        shown.text.clone()
    };
    let (mut out, mut errors) = (std::io::stdout().lock(), std::io::stderr().lock());
    let wrote = |what: &str, error: &std::io::Error| {
        Fault::from_error(Kind::Unavailable, error).context(format!("write {what}"))
    };
    if args.output == Path::new("-") {
        let _ = errors.write_all(rows.as_bytes());
        return out.write_all(&shown.png).map_err(|error| wrote("the sheet", &error));
    }
    if !shown.png.is_empty() {
        let path = args.output.display();
        File::create(&args.output).and_then(|mut file| file.write_all(&shown.png)).map_err(|error| {
            wrote(&path.to_string(), &error).hint("name another place with -o, or - for standard output")
        })?;
        // Beside the rows and not among them, so that what reads them as JSON reads nothing else.
        let _ = writeln!(errors, "sheet: {path} ({} KB)", shown.png.len().div_ceil(1000));
    }
    out.write_all(rows.as_bytes()).map_err(|error| wrote("the rows", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(step: u64, rank: u32, world: u32, batch: u32) -> Which {
        Which { epoch: 2, step, rank, world, batch, rows: 8 }
    }

    fn first(which: Which) -> Result<(u64, u32), Fault> {
        let job = v1::Job { rows: 100, ..Default::default() };
        key(&job, which).map(|key| (key.first_row, key.rows))
    }

    #[test]
    fn a_step_and_a_rank_lead_to_the_rows_that_a_session_gives_them() {
        assert_eq!(first(which(0, 0, 1, 16)).expect("a step"), (0, 8));
        assert_eq!(first(which(2, 1, 2, 16)).expect("a step"), (80, 8));
        // The tail: 4 rows for two ranks.
        assert_eq!(first(which(3, 1, 2, 16)).expect("a step"), (98, 2));
    }

    #[test]
    fn what_is_beyond_the_end_says_how_many_there_are() {
        let fault = first(which(7, 0, 1, 16)).expect_err("seven steps");
        assert_eq!(fault.kind, Kind::Invalid);
        assert_eq!(fault.message, "there is no step 7: an epoch of 100 rows has 7, of 16 rows each");
        assert_eq!(fault.hint.as_deref(), Some("steps go from 0 to 6"));
        assert!(first(which(u64::MAX, 0, 1, 16)).is_err());
        assert!(first(which(0, 2, 2, 16)).expect_err("rank 2 of 2").message.contains('2'));
    }
}
