//! `forebay show`: any batch as a contact sheet and a table, from a running daemon or from a service of its own.

mod digest;
pub mod options;
mod recorded;
mod samples;
mod side;
mod which;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use forebay_proto::v1;

use crate::bench::source;
use crate::error::{Fault, Kind};
use options::ShowArgs;
use recorded::Recorded;
use side::Side;
use which::Cuts;

/// Rows of a sheet where nobody says how many.
const SHEET_ROWS: u32 = 8;

/// Shows. Must be called inside of a multi-threaded tokio runtime's context, and on none of its threads.
///
/// # Errors
/// What is wrong with the job, the batch asked for, or the place of the sheet.
pub fn run(args: &ShowArgs) -> Result<(), Fault> {
    let recorded = Recorded::of(args)?;
    let mut side = if recorded.is_some() { Side::own()? } else { Side::of(args)? };
    let job = match &recorded {
        Some(recorded) => recorded.job(&mut side, args)?,
        None => side.job(args)?,
    };
    if args.digest.digest {
        return digest::run(&mut side, args, &job);
    }
    // Lists and windows may have epochs of different lengths.
    let epoch_rows = side.epoch_rows(&job, args.which.epoch)?;
    let epoch = args.which.epoch;
    let (begun, cuts) = match &recorded {
        Some(recorded) => recorded.cuts(epoch)?,
        None => (Vec::new(), Cuts::Unrecorded),
    };
    let key = which::key(&job, &args.which, epoch_rows, &cuts)?;
    if args.samples.samples {
        let bad = recorded.map_or(Ok(Vec::new()), |recorded| recorded.bad(epoch))?;
        let known = samples::Known { epoch_rows, bad, caution: recorded::caution(&begun, &job) };
        return samples::run(&mut side, args, &job, &key, known);
    }
    let request = v1::ShowRequest {
        key: Some(v1::BatchKey { rows: key.rows.min(args.which.rows.unwrap_or(SHEET_ROWS)), ..key }),
        field: args.field.clone(),
        tile_px: args.tile,
        original: args.original,
        ..Default::default()
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

/// Anything as JSON, with a line break behind it.
fn json(told: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(told).expect("every message has a JSON mapping") + "\n"
}

/// Writes to standard output; that nobody reads on (`| head`) is no error.
fn print(text: &str, what: &str) -> Result<(), Fault> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::from_error(Kind::Unavailable, &error).context(format!("write {what}")))
        }
        _ => Ok(()),
    }
}

/// The sheet to its file, the rows to standard output, or the other way round where the sheet goes there.
fn tell(args: &ShowArgs, shown: &v1::ShowReply) -> Result<(), Fault> {
    let rows = if args.json { json(&shown.rows) } else { shown.text.clone() };
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
    drop(out);
    print(&rows, "the rows")
}
