//! `forebay show`: any batch as a contact sheet and a table, from a running daemon or from a service of its own.

mod digest;
pub mod options;
mod side;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use forebay_plan::{Cursor, Cut, Partition, Tail};
use forebay_proto::v1;

use crate::bench::source;
use crate::error::{Fault, Kind};
use options::{ShowArgs, Which};
use side::Side;

/// Shows. Must be called inside of a multi-threaded tokio runtime's context, and on none of its threads.
///
/// # Errors
/// What is wrong with the job, the batch asked for, or the place of the sheet.
pub fn run(args: &ShowArgs) -> Result<(), Fault> {
    let mut side = Side::of(args)?;
    let job = side.job(args)?;
    if args.digest.digest {
        return digest::run(&mut side, args, &job);
    }
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
