//! `forebay dataset verify`: every sample read and decoded once, bad ones out of the way, copies found.

mod check;
mod clip;
mod copies;
mod journal;
mod pages;
mod parts;
mod report;
mod work;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use self::check::Outcome;
use self::copies::{Copies, copies};
use self::journal::Journal;
use self::parts::Files;
use self::report::Report;
use self::work::Found;
use super::common::SetArgs;
use crate::catalog::dataset::{CONTENT, Change, Dataset, KEY, Manifest, keyed_ints, keyed_texts, reasons};
use crate::catalog::{Cells, Snapshot, Table};
use crate::error::{Fault, Kind};
use crate::storage::Root;

/// The column of groups of equal bytes.
const GROUP: &str = "dup_group";

/// Options of `forebay dataset verify`.
#[derive(clap::Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct VerifyArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// The folder that holds the data. Absent: where it was indexed.
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Find samples of equal bytes, and give each sample the column dup_group: `dataset split --group-by dup_group` then
    /// keeps copies on one side.
    #[arg(long)]
    pub dedup: bool,
    /// Put all but the first of equal samples into quarantine.
    #[arg(long)]
    pub quarantine_copies: bool,
    /// Look at what was verified before, too.
    #[arg(long)]
    pub again: bool,
    /// Exit with 1 where a sample is corrupt or unavailable.
    #[arg(long)]
    pub strict: bool,
    /// Threads that read and decode. Absent: two a core.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// What `forebay dataset verify --help` ends with.
pub const VERIFY_HELP: &str = "\
JPEG, PNG, WAV and npy files are decoded whole, by what they are and not by their names; all others must be readable and
not empty. Samples in shards are read by their places: a record of a TFRecord file must have its checksum, and so must a
page of a Parquet file that was written with one. Every frame of a clip must be there, decode, and have the first one's
size; frames that came to its folder since are told. Corrupt samples go into quarantine, which later snapshots leave out;
`dataset release` lists it and takes samples out again. What cannot be read now is told apart and stays. Sound samples
get the column content_blake3, the hash of their bytes, and are not looked at again. A run that is stopped goes on where
it was when it is started again.

Examples:
  forebay dataset verify /data/photos
  forebay dataset verify /data/photos --dedup --strict
  forebay dataset verify /data/train.forebay --again
  forebay dataset verify /data/videos --dedup
  forebay dataset verify s3://bucket/photos.forebay --root /mnt/photos --json";

/// Verifies, commits what was found, and tells it.
pub(super) fn run(args: &VerifyArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    let head = dataset.head()?;
    let table = dataset.table(&head)?;
    let mut files = Files::of(&table);
    check_possible(args, &dataset, &files)?;
    let root = open_root(args, &head)?;
    let mut journal = Journal::open(dataset.place(), args.again)?;
    let found = work::run(&mut files, &root, &mut journal, args.threads, args.again)?;
    let report = commit(args, &dataset, &table, &found)?;
    journal.remove();
    let bad = report.bad();
    let told = if args.set.json { report.json() } else { report.text() };
    if !args.strict || bad == 0 {
        return Ok(told);
    }
    // The report stands on standard output all the same.
    let _ = std::io::stdout().write_all(told.as_bytes());
    Err(Fault::new(Kind::Corrupt, format!("{bad} samples of {} are not sound", dataset.place()))
        .hint("the report has their keys; without --strict this is no error"))
}

fn check_possible(args: &VerifyArgs, dataset: &Dataset, files: &Files<'_>) -> Result<(), Fault> {
    if !files.has_columns() {
        return Err(Fault::invalid(format!("{} has no column of files to look at", dataset.place()))
            .hint("a column of paths is named image, audio, path, ... or ends in _path"));
    }
    if files.are_shared() && (args.dedup || args.quarantine_copies) {
        return Err(Fault::invalid("copies of whole files are found, and here a file holds many samples")
            .hint("verify it without --dedup and --quarantine-copies"));
    }
    Ok(())
}

fn open_root(args: &VerifyArgs, head: &Manifest) -> Result<std::sync::Arc<Root>, Fault> {
    let root = args.root.clone().unwrap_or_else(|| PathBuf::from(&head.root));
    if root.as_os_str().is_empty() || head.root.starts_with("s3://") && args.root.is_none() {
        return Err(Fault::invalid(format!("the data lies at {:?}, which is no folder here", head.root))
            .hint("name the folder that holds it: --root FOLDER"));
    }
    Root::open(&root).map_err(|error| {
        Fault::from_error(Kind::Unavailable, &error)
            .hint("is it mounted? --root FOLDER names another place of the same data")
    })
}

/// What is found out of samples, by key, as the commit has it.
struct Findings {
    sound: Vec<(Vec<u8>, String)>,
    /// Of these, those whose bytes the data set does not know by that hash.
    new: Vec<(Vec<u8>, String)>,
    corrupt: Vec<(Vec<u8>, String)>,
}

/// Commits what was found: hashes, quarantine, groups.
fn commit(args: &VerifyArgs, dataset: &Dataset, table: &Table, found: &Found) -> Result<Report, Fault> {
    let mut findings = Findings { sound: Vec::new(), new: Vec::new(), corrupt: Vec::new() };
    let before = table.column(CONTENT);
    for (row, outcome) in &found.outcomes {
        let key = || table.key(*row).into_owned();
        match outcome {
            Outcome::Sound { content, .. } => {
                let is = |cells: &Cells| cells.has(*row) && cells.column().text(*row as u64) == content;
                if !before.is_some_and(is) {
                    findings.new.push((key(), content.clone()));
                }
                findings.sound.push((key(), content.clone()));
            }
            Outcome::Corrupt { reason } => findings.corrupt.push((key(), reason.clone())),
            Outcome::Unavailable { .. } => {}
        }
    }
    let mut report = Report::of(args, dataset.place(), table, found);
    let mut is_new = false;
    let made = dataset.commit(|head| {
        let mut next = head.clone();
        let mut counts = BTreeMap::new();
        let mut count = |name: &str, count: usize| {
            counts.insert(name.to_owned(), count as u64);
        };
        if !findings.new.is_empty() {
            let list = findings.new.iter().map(|(key, content)| (&key[..], &content[..]));
            add_column(dataset, &mut next, &keyed_texts(CONTENT, list)?)?;
            count("sound", findings.new.len());
        }
        let mut bad = not_held(dataset, head, &findings.corrupt)?;
        if !bad.is_empty() {
            count("corrupt", bad.len());
        }
        if args.dedup || args.quarantine_copies {
            let now = dataset.table(head)?;
            let copies = group(dataset, &now, &findings, &mut next)?;
            report.tell_copies(&now, &copies);
            count("copies", copies.groups.iter().map(|rows| rows.len() - 1).sum());
            if args.quarantine_copies {
                bad.extend(surplus(&now, &copies));
            }
        }
        if !bad.is_empty() {
            let list = reasons(bad.iter().map(|(key, reason)| (&key[..], &reason[..])))?;
            next.quarantined.push(dataset.put(&list)?);
        }
        next.change = Change { verb: "verify".to_owned(), message: message(args), counts };
        is_new = next.joined != head.joined || next.quarantined != head.quarantined;
        Ok(is_new.then_some(next))
    })?;
    report.tell_commit(is_new.then_some(made));
    Ok(report)
}

fn message(args: &VerifyArgs) -> String {
    let options =
        [("--again", args.again), ("--dedup", args.dedup), ("--quarantine-copies", args.quarantine_copies)];
    let given: Vec<_> = options.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.is_empty() { "decoded".to_owned() } else { given.join(" ") }
}

/// Lays a column over the samples; its keys are no column of theirs.
fn add_column(dataset: &Dataset, next: &mut Manifest, list: &Snapshot) -> Result<(), Fault> {
    let mut column = Table::of(list);
    column.retain_only(|name| name != KEY);
    next.admit_columns(&column)?;
    next.joined.push(dataset.put(list)?);
    Ok(())
}

/// Those that nobody has removed or quarantined meanwhile.
fn not_held(
    dataset: &Dataset,
    head: &Manifest,
    list: &[(Vec<u8>, String)],
) -> Result<Vec<(Vec<u8>, String)>, Fault> {
    let held = dataset.keys_of(head.removed.iter().chain(&head.quarantined))?;
    Ok(list.iter().filter(|(key, _)| !held.contains(key)).cloned().collect())
}

/// Finds copies among the samples of the newest commit, and lays their groups over them.
fn group(dataset: &Dataset, now: &Table, findings: &Findings, next: &mut Manifest) -> Result<Copies, Fault> {
    let found: HashMap<_, _> = findings.sound.iter().map(|(key, content)| (&key[..], &content[..])).collect();
    let left_out: HashSet<_> = findings.corrupt.iter().map(|(key, _)| &key[..]).collect();
    let copies = copies(now, &found, &left_out, GROUP);
    if !copies.new.is_empty() {
        let keys: Vec<_> = copies.new.iter().map(|(row, group)| (now.key(*row), *group)).collect();
        let list = keys.iter().map(|(key, group)| (key.as_ref(), *group));
        add_column(dataset, next, &keyed_ints(GROUP, list)?)?;
    }
    Ok(copies)
}

/// All but the first of each group, and whose copies they are.
fn surplus(now: &Table, copies: &Copies) -> Vec<(Vec<u8>, String)> {
    let of = |rows: &Vec<usize>| {
        let reason = format!("copy of {}", String::from_utf8_lossy(&now.key(rows[0])));
        rows[1..].iter().map(|&row| (now.key(row).into_owned(), reason.clone())).collect::<Vec<_>>()
    };
    copies.groups.iter().flat_map(of).collect()
}
