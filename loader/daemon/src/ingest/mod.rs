//! `forebay ingest`: copies a folder or a bucket's prefix in from outside, each file whole and verified, and indexes it.
//!
//! Nothing is kept of how far a copy came: what is there, of the size and time of its source, is what was copied.

mod bucket;
mod each;
mod end;
mod folder;
pub mod options;
mod plan;
mod report;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::catalog::dataset::{self, Change, Dataset};
use crate::dataset::common::{absolute, counted};
use crate::error::{Fault, Kind};
use crate::index;
use crate::index::options::IndexArgs;
use crate::progress::Bar;
use bucket::Bucket;
use each::{Done, each};
use end::{End, Listing, Whole};
use folder::Folder;
use options::IngestArgs;
use plan::{Compared, Verdict, compare};
use report::Report;

/// The column of checksums.
const BLAKE3: &str = "blake3";

/// So many files are named in an error.
const NAMED: usize = 20;

/// Copies and indexes: what to print.
///
/// # Errors
/// NotFound: no such source. Denied: a bucket without credentials, or which refuses them. Invalid: ends that lie in each
/// other, files that differ, nothing to copy. Unavailable: files that could not be copied. What the index says.
pub fn run(args: &IngestArgs) -> Result<String, Fault> {
    let [source, target] = [end_of(&args.source)?, end_of(&args.target)?];
    check_apart(&source, &target)?;
    let place = (!args.no_index).then(|| place(args, &target)).transpose()?;
    let (from, to) = (&*source.end, &*target.end);
    let Listing { files, passed_over } = list(&source)?;
    begin(&target)?;
    let started = Instant::now();
    let (todo, mut sums) = compared(args, from, to, &files)?;
    let copied = copied(args, from, to, &todo)?;
    to.sync().map_err(|error| failed("sync", &target, &error))?;
    if args.verify {
        verify(args, to, &copied)?;
    }
    let mut report = Report {
        files: files.len(),
        copied: copied.len() as u64,
        copied_bytes: copied.iter().map(|file| file.bytes).sum(),
        known: (files.len() - todo.len()) as u64,
        replaced: todo.iter().filter(|file| file.compared.verdict == Verdict::Differs).count() as u64,
        passed_over,
        seconds: started.elapsed().as_secs_f64(),
        index: None,
        checksums: None,
        verified: verified(args, &target),
        bucket: target.is_bucket().then(|| (target.place.clone(), place.clone())),
    };
    sums.extend(copied.iter().map(|file| (file.name, file.sum)));
    if let Some(place) = &place {
        report.index = Some(indexed(args, &target, place)?);
        report.checksums = Some(keep_checksums(args, to, place, &files, &sums)?);
    }
    Ok(if args.json { format!("{:#}\n", report.json()) } else { report.text() })
}

/// One end of the copy, by its address.
struct Place {
    /// An absolute path, or `s3://bucket/prefix`, without a slash at its end.
    place: String,
    end: Box<dyn End>,
}

impl Place {
    fn is_bucket(&self) -> bool {
        is_bucket(&self.place)
    }
}

fn is_bucket(place: &str) -> bool {
    place.starts_with("s3://")
}

/// A file to copy.
struct Todo<'a> {
    name: &'a [u8],
    compared: Compared,
}

/// A file that was copied.
struct Copied<'a> {
    name: &'a [u8],
    bytes: u64,
    sum: blake3::Hash,
}

/// Checksums by name.
type Sums<'a> = HashMap<&'a [u8], blake3::Hash>;

fn end_of(place: &str) -> Result<Place, Fault> {
    let place = absolute(place)?;
    let place = if place == "/" { place } else { place.trim_end_matches('/').to_owned() };
    let end: Box<dyn End> = if is_bucket(&place) {
        Box::new(Bucket::open(&place, std::env::vars())?)
    } else {
        Box::new(Folder::new(Path::new(&place)))
    };
    Ok(Place { place, end })
}

/// One in the other would be copied into itself.
fn check_apart(source: &Place, target: &Place) -> Result<(), Fault> {
    let lie_in_each_other = match (source.is_bucket(), target.is_bucket()) {
        (true, true) => {
            let [source, target] = [source, target].map(|end| format!("{}/", end.place));
            source.starts_with(&target) || target.starts_with(&source)
        }
        (false, _) => {
            let real = folder_of(&source.place)?;
            let target = Path::new(&target.place);
            let there = target
                .ancestors()
                .find_map(|above| Some(above.canonicalize().ok()?.join(target.strip_prefix(above).ok()?)));
            let there = there.unwrap_or_else(|| target.to_owned());
            there.starts_with(&real) || real.starts_with(&there)
        }
        (true, false) => false,
    };
    if !lie_in_each_other {
        return Ok(());
    }
    let message = format!("{} and {} lie in each other", source.place, target.place);
    Err(Fault::invalid(message)
        .hint("copy to a place of its own; data that is in place needs no copy: forebay index"))
}

/// A folder to copy from, without links.
fn folder_of(source: &str) -> Result<std::path::PathBuf, Fault> {
    let real = Path::new(source).canonicalize().map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Invalid };
        Fault::from_error(kind, &error)
            .context(format!("open the source {source}"))
            .hint("check the spelling, and that it is mounted here")
    })?;
    if real.is_dir() {
        return Ok(real);
    }
    Err(Fault::invalid(format!("{source} is no folder")).hint("name the folder that holds the files"))
}

fn list(source: &Place) -> Result<Listing, Fault> {
    let mut bar = Bar::new("listing", "files");
    let listing = source.end.list(&mut |count| bar.count(count));
    bar.clear();
    let listing = listing.map_err(|error| failed("list", source, &error))?;
    if listing.files.is_empty() {
        let hint = if source.is_bucket() {
            "check the prefix: its names have no / at their end"
        } else {
            "is it mounted?"
        };
        return Err(Fault::invalid(format!("{} holds no files", source.place)).hint(hint));
    }
    Ok(listing)
}

fn begin(target: &Place) -> Result<(), Fault> {
    let mut bar = Bar::new("listing the target", "files");
    let begun = target.end.begin(&mut |count| bar.count(count));
    bar.clear();
    begun.map_err(|error| {
        if target.is_bucket() {
            return failed("list", target, &error);
        }
        Fault::from_error(Kind::Invalid, &error)
            .context(format!("make the folder {}", target.place))
            .hint("name a folder that can be written")
    })
}

/// The files to copy, and the checksums of those that were read for it.
fn compared<'a>(
    args: &IngestArgs,
    from: &dyn End,
    to: &dyn End,
    files: &'a [Vec<u8>],
) -> Result<(Vec<Todo<'a>>, Sums<'a>), Fault> {
    let mut bar = Bar::new("comparing", "files");
    let total = files.len() as u64;
    let found = each(
        files,
        args.jobs,
        &Done::default(),
        |done, _| bar.show(done, total),
        |name| compare(from, to, name, args.verify),
    );
    bar.clear();
    let (mut todo, mut sums, mut troubles, mut differing) =
        (Vec::new(), HashMap::new(), Vec::new(), Vec::new());
    for (name, found) in files.iter().zip(found) {
        match found {
            Err(error) => troubles.push((from.shown(name), error)),
            Ok(Compared { verdict: Verdict::Known(sum), .. }) => {
                sums.extend(sum.map(|sum| (name.as_slice(), sum)));
            }
            Ok(compared) => {
                if compared.verdict == Verdict::Differs {
                    differing.push((from.shown(name), to.shown(name), compared));
                }
                todo.push(Todo { name, compared });
            }
        }
    }
    check_all("compared", files.len(), &troubles)?;
    if !args.replace && !differing.is_empty() {
        return Err(differ(&differing));
    }
    Ok((todo, sums))
}

fn differ(differing: &[(String, String, Compared)]) -> Fault {
    let mut message = format!("{} already there and different:", counted(differing.len() as u64, "file"));
    for (own, theirs, compared) in differing.iter().take(NAMED) {
        let there = compared.target.map_or(0, |there| there.bytes);
        let _ = write!(message, "\n  {own} ({} bytes) and {theirs} ({there} bytes)", compared.source.bytes);
    }
    if differing.len() > NAMED {
        let _ = write!(message, "\n  and {} more", differing.len() - NAMED);
    }
    Fault::invalid(message)
        .hint("nothing was copied: --replace writes over those that are there, another target keeps both")
}

fn copied<'a>(
    args: &IngestArgs,
    from: &dyn End,
    to: &dyn End,
    todo: &[Todo<'a>],
) -> Result<Vec<Copied<'a>>, Fault> {
    to.sweep(&mut todo.iter().map(|file| file.name));
    let total: u64 = todo.iter().map(|file| file.compared.source.bytes).sum();
    let (mut bar, done, started) = (Bar::new("copying", "MB"), Done::default(), Instant::now());
    let show = |files: u64, bytes: u64| {
        let rate = bytes as f64 / 1e9 / started.elapsed().as_secs_f64().max(1e-3);
        let note = format!("{files}/{} files, {rate:.2} GB/s", todo.len());
        bar.show_with(bytes / 1_000_000, total / 1_000_000, &note);
    };
    let moved = |bytes| {
        done.bytes.fetch_add(bytes, Ordering::Relaxed);
    };
    let results = each(todo, args.jobs, &done, show, |file| to.take(from, file.name, args.replace, &moved));
    bar.clear();
    let (mut copied, mut troubles) = (Vec::new(), Vec::new());
    for (file, result) in todo.iter().zip(results) {
        match result {
            Ok(Whole { stat, sum }) => copied.push(Copied { name: file.name, bytes: stat.bytes, sum }),
            Err(error) => troubles.push((from.shown(file.name), error)),
        }
    }
    check_all("copied", todo.len(), &troubles)?;
    Ok(copied)
}

/// Reads back what was copied.
fn verify(args: &IngestArgs, to: &dyn End, copied: &[Copied<'_>]) -> Result<(), Fault> {
    let mut bar = Bar::new("verifying", "files");
    let total = copied.len() as u64;
    let read = each(
        copied,
        args.jobs,
        &Done::default(),
        |done, _| bar.show(done, total),
        |file| {
            let sum = to.hash(file.name)?;
            if sum == file.sum {
                Ok(())
            } else {
                Err(io::Error::other("it reads back otherwise than it was written"))
            }
        },
    );
    bar.clear();
    let troubles =
        copied.iter().zip(read).filter_map(|(file, read)| Some((to.shown(file.name), read.err()?)));
    check_all("verified", copied.len(), &troubles.collect::<Vec<_>>())
}

fn check_all(what: &str, files: usize, troubles: &[(String, io::Error)]) -> Result<(), Fault> {
    if troubles.is_empty() {
        return Ok(());
    }
    let mut message = format!("{} of {files} files were not {what}:", troubles.len());
    for (path, error) in troubles.iter().take(NAMED) {
        let _ = write!(message, "\n  {path}: {error}");
    }
    if troubles.len() > NAMED {
        let _ = write!(message, "\n  and {} more", troubles.len() - NAMED);
    }
    Err(Fault::new(Kind::Unavailable, message)
        .hint("nothing was indexed; run it again: what was copied is known"))
}

fn failed(action: &str, place: &Place, error: &io::Error) -> Fault {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let fault = if place.is_bucket() {
        // The client's words have their causes in them already.
        let said = error.to_string();
        let (kind, cure) = bucket::cure(&said, is_set);
        Fault::new(kind, said).hint(cure)
    } else {
        Fault::from_error(Kind::Unavailable, error).hint("run it again: what was copied is known")
    };
    fault.context(format!("{action} {}", place.place))
}

/// What was held against what, for people.
fn verified(args: &IngestArgs, target: &Place) -> Option<&'static str> {
    match (args.verify, target.is_bucket()) {
        (true, _) => Some("blake3 of what was read, against what was read back"),
        (false, true) => Some("sha256 of each request, by the store"),
        (false, false) => None,
    }
}

/// Where the data set lies.
fn place(args: &IngestArgs, target: &Place) -> Result<String, Fault> {
    if let Some(place) = &args.dataset {
        return absolute(place);
    }
    if target.place.strip_prefix("s3://").is_some_and(|address| !address.contains('/')) {
        return Err(Fault::invalid(format!("{} is a whole bucket: there is no place beside it", target.place))
            .hint("say where the data set is to lie, as in --dataset s3://bucket/sets/photos, or copy alone: --no-index"));
    }
    Ok(dataset::place_beside(&target.place))
}

/// What `forebay index` says of the target.
fn indexed(args: &IngestArgs, target: &Place, place: &str) -> Result<String, Fault> {
    let index = IndexArgs {
        source: target.place.clone().into(),
        dataset: Some(place.to_owned()),
        from: None,
        extensions: args.extensions.clone(),
        no_classes: args.no_classes,
        frames: false,
        column: None,
        root: None,
        stat: false,
        measure: false,
        tokens: None,
        prune: false,
        new_root: false,
        threads: args.jobs,
        json: args.json,
    };
    let indexed =
        if target.is_bucket() { index::run_over(&index, &list(target)?.files) } else { index::run(&index) };
    indexed.map_err(|error| error.context(format!("all files are in {}; index it", target.place)))
}

/// Joins the checksums of samples that have none yet, or another one; returns how many.
fn keep_checksums(
    args: &IngestArgs,
    to: &dyn End,
    place: &str,
    files: &[Vec<u8>],
    sums: &Sums<'_>,
) -> Result<u64, Fault> {
    let dataset = Dataset::open(place)?;
    let head = dataset.head()?;
    let table = dataset.table(&head)?;
    let files: HashSet<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let known = table.column(BLAKE3);
    let mut texts = Vec::new();
    let mut unread = Vec::new();
    for (row, key) in table.keys().enumerate().filter(|(_, key)| files.contains(&**key)) {
        let kept = known.filter(|cells| cells.has(row)).map(|cells| cells.column().text(row as u64));
        match sums.get(&*key).map(|sum| sum.to_hex().to_string()) {
            Some(sum) if kept == Some(&*sum) => {}
            Some(sum) => texts.push((key.into_owned(), sum)),
            None if kept.is_none() => unread.push(key.into_owned()),
            None => {}
        }
    }
    texts.extend(read_sums(args, to, &unread)?);
    let count = texts.len() as u64;
    if count > 0 {
        let change = Change {
            verb: "ingest".to_owned(),
            message: format!("{BLAKE3} of {}", args.source),
            counts: [("checksums".to_owned(), count)].into(),
        };
        dataset.join_texts(BLAKE3, &texts, &change)?;
    }
    Ok(count)
}

/// Checksums of files that an earlier run copied, and was stopped before it could keep them.
fn read_sums(args: &IngestArgs, to: &dyn End, names: &[Vec<u8>]) -> Result<Vec<(Vec<u8>, String)>, Fault> {
    let mut bar = Bar::new("reading", "files");
    let total = names.len() as u64;
    let read =
        each(names, args.jobs, &Done::default(), |done, _| bar.show(done, total), |name| to.hash(name));
    bar.clear();
    let (mut sums, mut troubles) = (Vec::new(), Vec::new());
    for (name, read) in names.iter().zip(read) {
        match read {
            Ok(sum) => sums.push((name.clone(), sum.to_hex().to_string())),
            Err(error) => troubles.push((to.shown(name), error)),
        }
    }
    check_all("read back", names.len(), &troubles)?;
    Ok(sums)
}
