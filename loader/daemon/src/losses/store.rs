//! Where ledgers are written: `jobs/<job>/losses/<instance>-<number>.parquet` in a folder, each rewritten whole.
//!
//! A file is written beside and moved into place, so that a crash leaves the one before. Every daemon has files of its
//! own, and whoever reads adds up all of a run.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use super::ledger::key;
use super::ledgers::{lock, only_job, sources_of};
use super::stored::{self, GROUP_SAMPLES, Header};
use super::{Book, Entry, Ledger, LedgerName};
use crate::error::{Fault, Kind};

const JOBS: &str = "jobs";
const LOSSES: &str = "losses";
const EXTENSION: &str = "parquet";

/// A folder that ledgers are written in.
#[derive(Debug)]
pub struct LedgerStore {
    folder: PathBuf,
    instance: String,
}

impl LedgerStore {
    /// Opens a folder; it is made where it is missing.
    ///
    /// * `instance`: names this daemon's files, unlike any other daemon's.
    ///
    /// # Errors
    /// Invalid: it is not a folder that this process may write.
    pub fn open(folder: &Path, instance: &str) -> Result<Self, Fault> {
        let store = Self { folder: folder.to_owned(), instance: instance.to_owned() };
        let jobs = folder.join(JOBS);
        let probe = jobs.join(format!(".{instance}"));
        let writable = fs::create_dir_all(&jobs)
            .and_then(|()| fs::write(&probe, b""))
            .and_then(|()| fs::remove_file(&probe));
        writable.map(|()| store).map_err(|error| {
            Fault::from_error(Kind::Invalid, &error)
                .context(format!("ledger_dir {}", folder.display()))
                .hint("name a folder that the daemon's user may write, outside the data")
        })
    }

    /// Writes a ledger over what this daemon wrote of it before. The ledger is held for a page at a time, so that reports
    /// do not wait for the disk.
    ///
    /// # Errors
    /// Unavailable: the disk is full, the folder gone.
    pub(super) fn write(&self, name: &LedgerName, number: u64, ledger: &Mutex<Ledger>) -> Result<(), Fault> {
        let folder = self.folder.join(JOBS).join(folder_of(&name.job_id)).join(LOSSES);
        let path = folder.join(format!("{}-{number}.{EXTENSION}", self.instance));
        let part = path.with_extension("part");
        let written = fs::create_dir_all(&folder)
            .and_then(|()| self.write_part(&part, name, ledger))
            .and_then(|()| fs::rename(&part, &path));
        written.inspect_err(|_| drop(fs::remove_file(&part))).map_err(|error| {
            Fault::from_error(Kind::Unavailable, &error).context(format!("write {}", path.display()))
        })
    }

    fn write_part(&self, part: &Path, name: &LedgerName, ledger: &Mutex<Ledger>) -> io::Result<()> {
        let (job, pages, steps) = {
            let ledger = lock(ledger);
            (std::sync::Arc::clone(ledger.job()), ledger.pages(), ledger.named_steps())
        };
        let header = Header {
            version: stored::VERSION,
            job_id: name.job_id.clone(),
            order_digest: name.digests.0.to_string(),
            content_digest: name.digests.1.to_string(),
            instance: self.instance.clone(),
            written_unix_ms: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64),
            sources: sources_of(&job),
            steps: steps.into_iter().map(Into::into).collect(),
        };
        let entries = pages.into_iter().flat_map(|page| {
            let entries = lock(ledger).page(page);
            entries.into_iter().map(|entry| Entry {
                key: entry.sample.map(|sample| key(&job, entry.source, sample).into()),
                ..entry
            })
        });
        // Its keys name people's files: for the daemon's user and group.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(part)?;
        let written =
            stored::write(BufWriter::new(file), &header, groups(entries)).map_err(io::Error::other)?;
        written.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// Entries in row groups.
fn groups(mut entries: impl Iterator<Item = Entry>) -> impl Iterator<Item = Vec<Entry>> {
    std::iter::from_fn(move || {
        let group: Vec<_> = entries.by_ref().take(GROUP_SAMPLES).collect();
        (!group.is_empty()).then_some(group)
    })
}

/// A run's folder. Ids have letters, digits and `._:-`, so that a dot in front is all that could lead elsewhere.
fn folder_of(job_id: &str) -> String {
    match job_id.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => job_id.to_owned(),
    }
}

/// What the ledgers at a place say of a run: a file, a folder of such files, or a folder with `jobs/<job>/losses`, as
/// `ledger_dir` is.
///
/// # Errors
/// NotFound: there is none. Invalid: there are several runs, and none is named. Corrupt, naming the file.
pub fn read_place(place: &Path, job_id: &str) -> Result<Book, Fault> {
    let mut files = if place.is_file() { vec![place.to_owned()] } else { files_in(place)? };
    if files.is_empty() {
        let jobs = place.join(JOBS);
        let named = |path: PathBuf| Some((path.file_name()?.to_str()?.replacen("%2E", ".", 1), path));
        let mut runs: Vec<(String, Vec<PathBuf>)> = Vec::new();
        for (name, path) in list(&jobs)?.into_iter().filter_map(named) {
            let files = files_in(&path.join(LOSSES))?;
            if !files.is_empty() {
                runs.push((name, files));
            }
        }
        let job_id = only_job(job_id, runs.iter().map(|(name, _)| name.as_str()))
            .map_err(|fault| fault.context(format!("look for ledgers in {}", place.display())))?;
        files =
            runs.into_iter().find(|(name, _)| *name == job_id).map(|(_, files)| files).unwrap_or_default();
    }
    // Their heads first, which say whose they are and how old: the whole of one is read while another is in hand.
    let heads = files.into_iter().map(|file| Ok((stored::read_header(&file)?, file)));
    let mut heads = heads.collect::<Result<Vec<_>, Fault>>()?;
    let job_id = only_job(job_id, heads.iter().map(|(head, _)| head.job_id.as_str()))?;
    heads.retain(|(head, _)| head.job_id == job_id);
    heads.sort_by_key(|(head, _)| std::cmp::Reverse(head.written_unix_ms));
    let books = heads.iter().map(|(_, file)| stored::read(file));
    Ok(Book::sum(books)?.expect("the job was found in one of them"))
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let is_ledger = |path: &PathBuf| path.extension().is_some_and(|extension| extension == EXTENSION);
    let mut files: Vec<_> = list(folder)?.into_iter().filter(is_ledger).collect();
    files.sort_unstable();
    Ok(files)
}

/// What is in a folder; nothing where there is none.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let listed = entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|error: io::Error| {
        Fault::from_error(Kind::Denied, &error).context(format!("list {}", folder.display()))
    })
}
