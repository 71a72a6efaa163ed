//! `forebay index`: a folder or list -> a data set, made or grown by what is new.

mod header;
mod look;
mod measure;
pub mod options;
mod report;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::catalog::dataset::{self, Dataset, Growth, Manifest};
use crate::catalog::{
    CatalogError, CatalogLimits, ColumnKind, FRAMES, Finding, Found, Journal, Resumed, are_shards,
    find_among, find_by_names, find_in_folder, find_in_list, find_in_shards, holds_cells, own_folder,
};
use crate::dataset::common::absolute;
use crate::error::{Fault, Kind};
use crate::progress::Bar;
use options::IndexArgs;
use report::Report;

/// How often the rate is shown.
const TICK: Duration = Duration::from_millis(100);

/// Indexes: what to print.
///
/// # Errors
/// Invalid and NotFound: a source or place that is not there, cannot be read or written, or does not fit the data set.
/// Else what the storage says.
pub fn run(args: &IndexArgs) -> Result<String, Fault> {
    let source = local(&args.source)?;
    let place = match &args.dataset {
        Some(place) => absolute(place)?,
        None if is_pattern(&source) => {
            return Err(Fault::invalid(format!(
                "{source} names several files, so no place lies beside them"
            ))
            .hint("name the data set: --dataset PLACE"));
        }
        None => dataset::place_beside(&source),
    };
    check_apart(&place, Path::new(&source))?;
    check_there(args, Path::new(&source))?;
    let known = known(&place)?;
    let head = known.as_ref().map(Dataset::head).transpose()?;
    let set_root = head.as_ref().map(|head| PathBuf::from(&head.root)).filter(|root| root.is_absolute());
    let started = Instant::now();
    let finding = finding(args, head.as_ref());
    check_alike(args, head.as_ref(), &finding.column)?;
    let (found, journal) = find(args, Path::new(&source), &finding, set_root)?;
    let seconds = started.elapsed().as_secs_f64();
    // Made only now: a source with nothing in it leaves no empty data set behind.
    let dataset = match known {
        Some(dataset) => dataset,
        None => Dataset::create(&place)?,
    };
    let mut report = grown(args, &dataset, place, &found, &source, seconds)?;
    drop(found);
    if let Some(journal) = journal {
        report.listed(journal.resumed());
        journal.finish();
    }
    if args.measure {
        let measured = watched("reading headers", String::new, |count| {
            let tokens = args.tokens.map(Into::into);
            let column = args.column.as_deref();
            measure::measure(&dataset, report.manifest(), column, tokens, args.threads, count)
        })?;
        report.measured(measured);
    }
    Ok(if args.json { format!("{:#}\n", report.json()) } else { report.text() })
}

/// Indexes files of a bucket that are known by name: what to print. `source` is their prefix, and `dataset` is named.
///
/// # Errors
/// Invalid: a data set that would lie among them, or does not fit. Else what the storage says.
pub fn run_over(args: &IndexArgs, names: &[Vec<u8>]) -> Result<String, Fault> {
    let source = args.source.to_str().unwrap_or_default().to_owned();
    let place = args.dataset.clone().unwrap_or_else(|| dataset::place_beside(&source));
    if format!("{place}/").starts_with(&format!("{source}/")) {
        return Err(Fault::invalid(format!("the data set {place} would lie in the data {source}"))
            .hint("name a place outside of it: --dataset PLACE; without one, it lies beside the data"));
    }
    let known = known(&place)?;
    let head = known.as_ref().map(Dataset::head).transpose()?;
    let started = Instant::now();
    if args.frames {
        return Err(Fault::unimplemented("folders of frames in a bucket"));
    }
    let finding = finding(args, head.as_ref());
    let found = find_among(&source, names, &finding).map_err(|error| folder_fault(&error))?;
    let seconds = started.elapsed().as_secs_f64();
    let dataset = match known {
        Some(dataset) => dataset,
        None => Dataset::create(&place)?,
    };
    let report = grown(args, &dataset, place, &found, &source, seconds)?;
    Ok(if args.json { format!("{:#}\n", report.json()) } else { report.text() })
}

fn grown(
    args: &IndexArgs,
    dataset: &Dataset,
    place: String,
    found: &Found,
    source: &str,
    seconds: f64,
) -> Result<Report, Fault> {
    let growth = Growth { message: message(args, source), prune: args.prune, new_root: args.new_root };
    let grown = dataset.grow(found, &growth)?;
    Ok(Report::new(place, found, grown, seconds))
}

/// The source from the root on.
fn local(source: &Path) -> Result<String, Fault> {
    let text = source.to_str().unwrap_or_default();
    if text.starts_with("s3://") {
        return Err(Fault::unimplemented("a bucket as the source of an index")
            .hint("copy it to shared storage (forebay ingest), and keep the data set itself in the bucket: --dataset s3://..."));
    }
    absolute(source.to_str().ok_or_else(|| Fault::invalid(format!("{} is not UTF-8", source.display())))?)
        .map(|path| if path == "/" { path } else { path.trim_end_matches('/').to_owned() })
}

/// A data set in the folder that it lists would be listed as a class.
fn check_apart(place: &str, source: &Path) -> Result<(), Fault> {
    let real = |path: &Path| {
        path.ancestors().find_map(|above| {
            let rest = path.strip_prefix(above).ok()?;
            let above = above.canonicalize().ok()?;
            Some(if rest.as_os_str().is_empty() { above } else { above.join(rest) })
        })
    };
    let (Some(place), Some(source)) = (real(Path::new(place)), real(source)) else { return Ok(()) };
    if !source.is_dir() || !place.starts_with(&source) {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "the data set {} would lie in the data {}",
        place.display(),
        source.display()
    ))
    .hint("name a place outside of it: --dataset PLACE; without one, it lies beside the data"))
}

/// Whether it stands for several shards.
fn is_pattern(source: &str) -> bool {
    are_shards(source) && source.contains(['{', '*', '?', '[']) && !Path::new(source).exists()
}

fn check_there(args: &IndexArgs, source: &Path) -> Result<(), Fault> {
    if source.to_str().is_some_and(is_pattern) {
        return Ok(());
    }
    if let Err(error) = source.metadata() {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Invalid };
        return Err(Fault::from_error(kind, &error)
            .context(format!("open the source {}", source.display()))
            .hint("check the spelling, and that it is mounted here"));
    }
    if args.from.is_some() && !source.is_dir() {
        return Err(Fault::invalid(format!("{} is no folder", source.display()))
            .hint("with --from, the source is the folder that the paths are relative to"));
    }
    Ok(())
}

/// The data set at a place, and not one that lies beside it; `None` where there is none yet.
fn known(place: &str) -> Result<Option<Dataset>, Fault> {
    match Dataset::open(place) {
        Ok(dataset) => Ok(Some(dataset).filter(|dataset| dataset.place() == place.trim_end_matches('/'))),
        Err(fault) if fault.kind == Kind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The column of the paths: as it was said, as the data set has it, or by what is looked for.
fn column(args: &IndexArgs, head: Option<&Manifest>) -> String {
    if let Some(column) = &args.column {
        return column.clone();
    }
    if let Some(path) = head.and_then(Manifest::path_column) {
        return path;
    }
    let is_one_of = |known: &[&str]| {
        let fits = |ext: &String| known.contains(&ext.trim_start_matches('.').to_ascii_lowercase().as_str());
        !args.extensions.is_empty() && args.extensions.iter().all(fits)
    };
    let images = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];
    let by_default = args.extensions.is_empty();
    match () {
        () if args.frames => "clip",
        () if by_default || is_one_of(&images) => "image",
        () if is_one_of(&["wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"]) => "audio",
        () => "path",
    }
    .to_owned()
}

/// Looks for samples, and shows how fast.
///
/// * returns: what was found, and the journal of the listing, to be kept until that is committed.
fn find(
    args: &IndexArgs,
    source: &Path,
    finding: &Finding,
    set_root: Option<PathBuf>,
) -> Result<(Found, Option<Journal>), Fault> {
    if args.from.is_none() && source.is_dir() {
        return in_folder(source, finding);
    }
    if args.frames {
        let message = format!("{} is no folder, and holds no folders of frames", source.display());
        return Err(Fault::invalid(message).hint("a list names frames itself: leave --frames out"));
    }
    let found = watched("listing", String::new, |count| {
        if let Some(list) = &args.from {
            return from(source, list, finding, count);
        }
        let name = source.to_string_lossy();
        if are_shards(&name) && !is_list(source)? {
            return find_in_shards(&name, &finding.limits).map_err(|error| dataset::fault(&error));
        }
        let root = args.root.clone().or(set_root).or_else(|| source.parent().map(Path::to_owned));
        let root = PathBuf::from(local(&root.unwrap_or_default())?);
        find_in_list(source, &root, None, Vec::new(), &finding.limits).map_err(|error| dataset::fault(&error))
    })?;
    Ok((found, None))
}

/// Whether it is one Parquet file with no sample's bytes in it.
fn is_list(source: &Path) -> Result<bool, Fault> {
    let is_parquet = source.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
    if !is_parquet || !source.is_file() {
        return Ok(false);
    }
    holds_cells(source).map(|holds| !holds).map_err(|error| dataset::fault(&error))
}

fn in_folder(source: &Path, finding: &Finding) -> Result<(Found, Option<Journal>), Fault> {
    let journal =
        if finding.stat || finding.frames { None } else { journal(source, finding.extensions.as_deref()) };
    let note = || match journal.as_ref().map(Journal::resumed) {
        Some(Resumed { samples, .. }) if samples > 0 => {
            format!("{samples} of them from the listing that was stopped")
        }
        _ => String::new(),
    };
    let found =
        watched("listing", note, |count| Ok(find_in_folder(source, finding, count, journal.as_ref())))?;
    match found {
        Ok(found) => Ok((found, journal)),
        Err(error) => {
            // Who mends a directory that cannot be listed goes on from there; all else is soon found again.
            if let (Some(journal), false) = (journal, matches!(error, CatalogError::Io { .. })) {
                journal.finish();
            }
            Err(folder_fault(&error))
        }
    }
}

/// The journal of a listing, in the user's cache; without a place for it, or where somebody else lists the same, a listing
/// that is stopped begins anew.
fn journal(source: &Path, extensions: Option<&[String]>) -> Option<Journal> {
    let folder = match std::env::var_os("FOREBAY_CACHE_DIR") {
        Some(folder) if folder.is_empty() => return None,
        Some(folder) => PathBuf::from(folder),
        None => own_folder(|name| std::env::var_os(name))?,
    };
    let opened = Journal::open(&folder, source, extensions);
    opened
        .inspect_err(|error| tracing::info!(folder = %folder.display(), %error, "no journal of the listing"))
        .ok()
}

fn finding(args: &IndexArgs, head: Option<&Manifest>) -> Finding {
    let column = column(args, head);
    Finding {
        // Clips that are indexed again would else come in frame by frame.
        frames: args.frames || head.is_some_and(|head| is_of_clips(head, &column)),
        extensions: (!args.extensions.is_empty()).then(|| args.extensions.clone()),
        classes: !args.no_classes,
        column,
        stat: args.stat,
        limits: CatalogLimits { scan_threads: args.threads, ..CatalogLimits::default() },
    }
}

fn is_of_clips(head: &Manifest, column: &str) -> bool {
    head.kind_of(&format!("{column}{FRAMES}")) == Some(ColumnKind::Text)
}

/// Files and clips in one column could not be read as one field.
fn check_alike(args: &IndexArgs, head: Option<&Manifest>, column: &str) -> Result<(), Fault> {
    let has_files = |head: &Manifest| head.kind_of(column).is_some() && !is_of_clips(head, column);
    if !args.frames || !head.is_some_and(has_files) {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "the samples of this data set are files of the column {column}, and no clips"
    ))
    .hint("make another data set with --dataset"))
}

fn from(root: &Path, list: &Path, finding: &Finding, count: &AtomicU64) -> Result<Found, Fault> {
    let found = if list == Path::new("-") {
        find_by_names(root, ("standard input", io::stdin().lock()), finding, count)
    } else {
        let file = File::open(list).map_err(|error| {
            Fault::from_error(Kind::NotFound, &error).context(format!("open the list {}", list.display()))
        })?;
        find_by_names(
            root,
            (&list.display().to_string(), BufReader::with_capacity(1 << 20, file)),
            finding,
            count,
        )
    };
    found.map_err(|error| dataset::fault(&error))
}

fn folder_fault(error: &CatalogError) -> Fault {
    let fault = dataset::fault(error);
    match error {
        CatalogError::NoClasses { .. } => {
            fault.hint("give a folder that holds one folder a class; for files without classes: --no-classes")
        }
        CatalogError::NoSamples { .. } => fault.hint(
            "is it mounted? else say what your files end in, as in --extensions wav,flac; files that lie in no class \
             folder are found with --no-classes",
        ),
        _ => fault,
    }
}

/// Does the work on another thread, and shows its counter and a note on a terminal.
fn watched<T: Send>(
    verb: &'static str,
    note: impl Fn() -> String,
    work: impl FnOnce(&AtomicU64) -> Result<T, Fault> + Send,
) -> Result<T, Fault> {
    let (count, (done, ended)) = (AtomicU64::new(0), mpsc::channel::<()>());
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _done = done;
            work(&count)
        });
        let mut bar = Bar::new(verb, "samples");
        while ended.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
            bar.count_with(count.load(Ordering::Relaxed), &note());
        }
        bar.clear();
        worker.join().expect("work does not panic")
    })
}

fn message(args: &IndexArgs, source: &str) -> String {
    match &args.from {
        Some(list) => format!("{source} from {}", list.display()),
        None => source.to_owned(),
    }
}
