//! `forebay ingest`: copies a folder in from outside, each file whole and verified, and indexes it.
//!
//! Nothing is kept of how far a copy came: what is there, of the size and time of its source, is what was copied.

mod each;
mod folder;
pub mod options;
mod plan;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use crate::catalog::dataset::{self, Change, Dataset};
use crate::dataset::common::{absolute, counted};
use crate::error::{Fault, Kind};
use crate::index;
use crate::index::options::IndexArgs;
use crate::progress::Bar;
use each::{Done, each};
use folder::{Folder, Listing};
use options::IngestArgs;
use plan::{Compared, Verdict, compare};

/// The column of checksums.
const BLAKE3: &str = "blake3";

/// So many files are named in an error.
const NAMED: usize = 20;

/// What was done.
struct Report {
    files: usize,
    copied: u64,
    copied_bytes: u64,
    known: u64,
    replaced: u64,
    passed_over: Vec<String>,
    seconds: f64,
    index: Option<String>,
    checksums: Option<u64>,
}

/// Copies and indexes: what to print.
///
/// # Errors
/// NotFound: no such source. Invalid: folders that lie in each other, files that differ, nothing to copy. Unavailable:
/// files that could not be copied. What the index says.
pub fn run(args: &IngestArgs) -> Result<String, Fault> {
    let (source, target) = (local(&args.source)?, local(&args.target)?);
    check_apart(&source, &target)?;
    let (from, to) = (Folder::new(&source), Folder::new(&target));
    let Listing { files, passed_over } = list(&from, &source)?;
    std::fs::create_dir_all(&target).map_err(|error| {
        Fault::from_error(Kind::Invalid, &error)
            .context(format!("make the folder {}", target.display()))
            .hint("name a folder that can be written")
    })?;
    let started = Instant::now();
    let (todo, mut sums) = compared(args, &from, &to, &files)?;
    let copied = copied(args, &from, &to, &todo)?;
    to.sync().map_err(|error| failed("sync", &target, &error))?;
    if args.verify {
        verify(args, &to, &copied)?;
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
    };
    sums.extend(copied.iter().map(|file| (file.name, file.sum)));
    if !args.no_index {
        report.index = Some(indexed(args, &target)?);
        report.checksums = Some(keep_checksums(args, &to, &target, &files, &sums)?);
    }
    Ok(if args.json { format!("{:#}\n", report.json()) } else { report.text() })
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

fn local(place: &str) -> Result<PathBuf, Fault> {
    if place.starts_with("s3://") {
        return Err(Fault::unimplemented(format!("copying from or to a bucket: {place}")).hint(
            "mount the bucket, or copy it with the store's own tool, and run forebay index on the folder",
        ));
    }
    absolute(place).map(PathBuf::from)
}

/// One in the other would be copied into itself.
fn check_apart(source: &Path, target: &Path) -> Result<(), Fault> {
    let real = source.canonicalize().map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Invalid };
        Fault::from_error(kind, &error)
            .context(format!("open the source {}", source.display()))
            .hint("check the spelling, and that it is mounted here")
    })?;
    if !real.is_dir() {
        return Err(Fault::invalid(format!("{} is no folder", source.display()))
            .hint("name the folder that holds the files"));
    }
    let there = target
        .ancestors()
        .find_map(|above| Some(above.canonicalize().ok()?.join(target.strip_prefix(above).ok()?)));
    let there = there.unwrap_or_else(|| target.to_owned());
    if there.starts_with(&real) || real.starts_with(&there) {
        let message = format!("{} and {} lie in each other", source.display(), target.display());
        return Err(Fault::invalid(message)
            .hint("copy to a folder of its own; data that is in place needs no copy: forebay index"));
    }
    Ok(())
}

fn list(from: &Folder, source: &Path) -> Result<Listing, Fault> {
    let mut bar = Bar::new("listing", "files");
    let listing = from.list(|count| bar.count(count));
    bar.clear();
    let listing = listing.map_err(|error| failed("list", source, &error))?;
    if listing.files.is_empty() {
        return Err(Fault::invalid(format!("{} holds no files", source.display())).hint("is it mounted?"));
    }
    Ok(listing)
}

/// The files to copy, and the checksums of those that were read for it.
fn compared<'a>(
    args: &IngestArgs,
    from: &Folder,
    to: &Folder,
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
            Err(error) => troubles.push((from.path(name), error)),
            Ok(Compared { verdict: Verdict::Known(sum), .. }) => {
                sums.extend(sum.map(|sum| (name.as_slice(), sum)));
            }
            Ok(compared) => {
                if compared.verdict == Verdict::Differs {
                    differing.push((from.path(name), to.path(name), compared));
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

fn differ(differing: &[(PathBuf, PathBuf, Compared)]) -> Fault {
    let mut message = format!("{} already there and different:", counted(differing.len() as u64, "file"));
    for (own, theirs, compared) in differing.iter().take(NAMED) {
        let there = compared.target.map_or(0, |there| there.bytes);
        let _ = write!(
            message,
            "\n  {} ({} bytes) and {} ({there} bytes)",
            own.display(),
            compared.source.bytes,
            theirs.display()
        );
    }
    if differing.len() > NAMED {
        let _ = write!(message, "\n  and {} more", differing.len() - NAMED);
    }
    Fault::invalid(message)
        .hint("nothing was copied: --replace writes over those that are there, another target keeps both")
}

fn copied<'a>(
    args: &IngestArgs,
    from: &Folder,
    to: &Folder,
    todo: &[Todo<'a>],
) -> Result<Vec<Copied<'a>>, Fault> {
    to.sweep(todo.iter().map(|file| file.name));
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
            Ok((bytes, sum)) => copied.push(Copied { name: file.name, bytes, sum }),
            Err(error) => troubles.push((from.path(file.name), error)),
        }
    }
    check_all("copied", todo.len(), &troubles)?;
    Ok(copied)
}

/// Reads back what was copied.
fn verify(args: &IngestArgs, to: &Folder, copied: &[Copied<'_>]) -> Result<(), Fault> {
    let mut bar = Bar::new("verifying", "files");
    let total = copied.len() as u64;
    let read = each(
        copied,
        args.jobs,
        &Done::default(),
        |done, _| bar.show(done, total),
        |file| {
            let sum = to.hash(file.name, &|_| ())?;
            if sum == file.sum {
                Ok(())
            } else {
                Err(io::Error::other("it reads back otherwise than it was written"))
            }
        },
    );
    bar.clear();
    let troubles = copied.iter().zip(read).filter_map(|(file, read)| Some((to.path(file.name), read.err()?)));
    check_all("verified", copied.len(), &troubles.collect::<Vec<_>>())
}

fn check_all(what: &str, files: usize, troubles: &[(PathBuf, io::Error)]) -> Result<(), Fault> {
    if troubles.is_empty() {
        return Ok(());
    }
    let mut message = format!("{} of {files} files were not {what}:", troubles.len());
    for (path, error) in troubles.iter().take(NAMED) {
        let _ = write!(message, "\n  {}: {error}", path.display());
    }
    if troubles.len() > NAMED {
        let _ = write!(message, "\n  and {} more", troubles.len() - NAMED);
    }
    Err(Fault::new(Kind::Unavailable, message)
        .hint("nothing was indexed; run it again: what was copied is known"))
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::from_error(Kind::Unavailable, error)
        .context(format!("{action} {}", path.display()))
        .hint("run it again: what was copied is known")
}

fn place(args: &IngestArgs, target: &Path) -> String {
    let beside = || dataset::place_beside(&target.display().to_string());
    args.dataset.clone().unwrap_or_else(beside)
}

/// What `forebay index` says of the target.
fn indexed(args: &IngestArgs, target: &Path) -> Result<String, Fault> {
    let index = IndexArgs {
        source: target.to_owned(),
        dataset: args.dataset.clone(),
        from: None,
        extensions: args.extensions.clone(),
        no_classes: args.no_classes,
        column: None,
        root: None,
        stat: false,
        measure: false,
        prune: false,
        new_root: false,
        threads: args.jobs,
        json: args.json,
    };
    index::run(&index)
        .map_err(|error| error.context(format!("all files are in {}; index it", target.display())))
}

/// Joins the checksums of samples that have none yet, or another one; returns how many.
fn keep_checksums(
    args: &IngestArgs,
    to: &Folder,
    target: &Path,
    files: &[Vec<u8>],
    sums: &Sums<'_>,
) -> Result<u64, Fault> {
    let dataset = Dataset::open(&absolute(&place(args, target))?)?;
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
fn read_sums(args: &IngestArgs, to: &Folder, names: &[Vec<u8>]) -> Result<Vec<(Vec<u8>, String)>, Fault> {
    let mut bar = Bar::new("reading", "files");
    let total = names.len() as u64;
    let read = each(
        names,
        args.jobs,
        &Done::default(),
        |done, _| bar.show(done, total),
        |name| to.hash(name, &|_| ()),
    );
    bar.clear();
    let (mut sums, mut troubles) = (Vec::new(), Vec::new());
    for (name, read) in names.iter().zip(read) {
        match read {
            Ok(sum) => sums.push((name.clone(), sum.to_hex().to_string())),
            Err(error) => troubles.push((to.path(name), error)),
        }
    }
    check_all("read back", names.len(), &troubles)?;
    Ok(sums)
}

impl Report {
    fn text(&self) -> String {
        let rate = self.copied_bytes as f64 / 1e9 / self.seconds.max(1e-3);
        let mut out = format!(
            "{}: {} copied, {} known; {:.3} GB in {:.1} s, {rate:.2} GB/s\n",
            counted(self.files as u64, "file"),
            self.copied,
            self.known,
            self.copied_bytes as f64 / 1e9,
            self.seconds
        );
        if self.replaced > 0 {
            let _ = writeln!(out, "{} of them replaced what was there", self.replaced);
        }
        if !self.passed_over.is_empty() {
            let shown = self.passed_over.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "passed over, as no files: {}: {shown}", self.passed_over.len());
        }
        out += self.index.as_deref().unwrap_or("");
        if let Some(checksums) = self.checksums.filter(|count| *count > 0) {
            let _ = writeln!(out, "{} kept in the column {BLAKE3}", counted(checksums, "checksum"));
        }
        out
    }

    fn json(&self) -> Value {
        let index = self.index.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        json!({
            "files": self.files,
            "copied": self.copied,
            "copied_bytes": self.copied_bytes,
            "known": self.known,
            "replaced": self.replaced,
            "passed_over": self.passed_over,
            "seconds": self.seconds,
            "index": index,
            "checksums": self.checksums,
        })
    }
}
