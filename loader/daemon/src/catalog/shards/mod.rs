//! Samples in containers: tar archives as WebDataset writes them, TFRecord files, and binary columns of Parquet files, as
//! they lie there.
//!
//! Each shard is walked once by its headers, and what was found is kept as long as the shard stays as it is. The snapshot
//! has for each field either a column of values (classes, numbers, short texts) or the shard's path with the columns
//! `NAME.offset` and `NAME.length` beside it, so that a sample is read by itself, in any order.

mod columns;
mod kept;
mod parquet;
mod patterns;
mod sheet;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use super::error::CatalogError;
use super::limits::CatalogLimits;
use super::snapshot::Snapshot;
use crate::storage::Root;
use columns::Shard;
use kept::Folder;
pub use parquet::{damaged_pages, holds_cells};
pub use patterns::root_of;
use sheet::Indexed;
use walk::Seen;

/// The size of the shard that a sample lies in, in bytes: one of another size is not what was indexed.
pub const SHARD_BYTES: &str = "shard_bytes";

/// Before `.offset` and `.length`: where the record's data lies that a sample was found in. Its checksum is behind it.
pub const RECORD: &str = "tfrecord";

/// What shards are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardFormat {
    /// Tar archives: members of one name up to the first dot are a sample. Extension `.tar`.
    Tar,
    /// TFRecord files of `tf.train.Example`. Extensions `.tfrecord`, `.tfrecords`.
    TfRecord,
    /// Parquet files with binary columns. Extension `.parquet`.
    Parquet,
}

impl ShardFormat {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::TfRecord => "tfrecord",
            Self::Parquet => "parquet",
        }
    }

    fn of(path: &[u8]) -> Option<Self> {
        let name = String::from_utf8_lossy(path).to_ascii_lowercase();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        match () {
            () if ends(&[".tar"]) => Some(Self::Tar),
            () if ends(&[".tfrecord", ".tfrecords"]) => Some(Self::TfRecord),
            () if ends(&[".parquet"]) => Some(Self::Parquet),
            () => None,
        }
    }
}

/// Whether a path or pattern names shards by its ending.
pub fn are_shards(pattern: &str) -> bool {
    ShardFormat::of(pattern.as_bytes()).is_some()
}

/// Which shards, and what of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shards {
    /// The folder that all of them lie beneath: what [`root_of`] says, or where that leads.
    pub root: PathBuf,
    /// Absolute paths; braces and wildcards stand for several.
    pub patterns: Vec<String>,
    /// Read off the extension where absent.
    pub format: Option<ShardFormat>,
    /// The columns that are wanted, beside the key; what half of the samples have where absent.
    pub columns: Option<Vec<String>>,
}

/// One set of shards as it is now: the turn to open it, and what the last one made.
type Turn = Arc<Mutex<Weak<Snapshot>>>;

/// Snapshots of shards in memory, as long as somebody uses them, and what was found in shards, on disk.
pub(super) struct Known {
    folder: Option<PathBuf>,
    opened: Mutex<HashMap<[u8; 32], Turn>>,
    walked: AtomicUsize,
}

impl Known {
    /// * `folder`: of listings; shards have a folder of their own in it.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let folder = folder.map(|folder| folder.join("shards"));
        Self { folder, opened: Mutex::default(), walked: AtomicUsize::new(0) }
    }

    /// Shards that were walked, by all calls.
    pub(super) fn walked(&self) -> usize {
        self.walked.load(Ordering::Relaxed)
    }

    /// Finds the shards and their samples.
    pub(super) fn open(
        &self,
        shards: &Shards,
        limits: &CatalogLimits,
    ) -> Result<Arc<Snapshot>, CatalogError> {
        let root = Root::open(&shards.root)?;
        let paths = patterns::files(&root, &shards.patterns)?;
        let format = format_of(shards, &root, &paths)?;
        let seen = in_parallel(&paths, limits, |path| walk::open(&root, path).map(|(_, seen)| seen))?;
        let name = name(shards, &paths, &seen);
        let turn = self.turn(name);
        let mut known = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = known.upgrade() {
            return Ok(snapshot);
        }
        let folder = self.folder.as_deref().map(Folder);
        let _alone = folder.as_ref().and_then(|folder| folder.hold(&name));
        let started = std::time::Instant::now();
        let before = self.walked();
        let indexed = in_parallel(&paths, limits, |path| {
            let (seen, mut indexed) = self.index(&root, path, format, folder.as_ref(), limits)?;
            indexed.keep_texts(shards.columns.as_deref());
            Ok((seen, indexed))
        })?;
        if let Some(folder) = folder.filter(|_| self.walked() > before) {
            folder.forget_oldest();
        }
        let parts = paths.into_iter().zip(indexed);
        let parts = parts.map(|(path, (seen, indexed))| Shard { path, bytes: seen.bytes, indexed }).collect();
        let named = words(&shards.patterns);
        let snapshot = Arc::new(columns::snapshot(parts, shards.columns.as_deref(), format, &root, &named)?);
        let (samples, walked) = (snapshot.len(), self.walked() - before);
        let took_ms = started.elapsed().as_millis() as u64;
        tracing::info!(source = named, samples, shards = seen.len(), walked, took_ms, "shards indexed");
        *known = Arc::downgrade(&snapshot);
        Ok(snapshot)
    }

    /// One shard's samples: as they are known, or found now.
    fn index(
        &self,
        root: &Arc<Root>,
        path: &[u8],
        format: ShardFormat,
        folder: Option<&Folder<'_>>,
        limits: &CatalogLimits,
    ) -> Result<(Seen, Indexed), CatalogError> {
        use std::os::unix::ffi::OsStrExt as _;
        let (file, seen) = walk::open(root, path)?;
        let real = root.path().join(std::ffi::OsStr::from_bytes(path));
        let real = real.canonicalize().unwrap_or(real);
        if let Some(known) = folder.and_then(|folder| folder.read(&real, seen, format, limits)) {
            return Ok((seen, known));
        }
        let found = walk::walk(root, path, (file, seen), format, limits)?;
        self.walked.fetch_add(1, Ordering::Relaxed);
        if let Some(folder) = folder {
            folder.write(&real, seen, format, &found);
        }
        Ok((seen, found))
    }

    /// The turn of one set of shards; those that nobody uses any more are forgotten.
    fn turn(&self, name: [u8; 32]) -> Turn {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|_, known| {
            Arc::strong_count(known) > 1 || known.try_lock().is_ok_and(|known| known.strong_count() > 0)
        });
        Arc::clone(opened.entry(name).or_default())
    }
}

/// Opens shards without a place to keep what is found.
pub(super) fn open(shards: &Shards, limits: &CatalogLimits) -> Result<Snapshot, CatalogError> {
    let opened = Known::new(None).open(shards, limits)?;
    Ok(Arc::into_inner(opened).expect("nobody else has what was just made"))
}

/// The format that was said, or that of all extensions.
fn format_of(shards: &Shards, root: &Root, paths: &[Vec<u8>]) -> Result<ShardFormat, CatalogError> {
    if let Some(format) = shards.format {
        return Ok(format);
    }
    let mut formats = paths.iter().map(|path| (path, ShardFormat::of(path)));
    let (first, format) = formats.next().expect("patterns name a file or are refused");
    let other = formats.find(|(_, other)| *other != format).map(|(path, _)| path);
    match (format, other) {
        (Some(format), None) => Ok(format),
        (None, _) => Err(CatalogError::ShardFormat { file: root.display(first) }),
        (Some(_), Some(other)) => Err(CatalogError::ShardFormat { file: root.display(other) }),
    }
}

/// What names these shards as they are now.
fn name(shards: &Shards, paths: &[Vec<u8>], seen: &[Seen]) -> [u8; 32] {
    use std::os::unix::ffi::OsStrExt as _;
    let mut hasher = blake3::Hasher::new_derive_key("forebay catalog shards 1");
    hasher.update(shards.root.as_os_str().as_bytes());
    hasher.update(format!("\0{:?} {:?}", shards.format, shards.columns).as_bytes());
    for (path, seen) in paths.iter().zip(seen) {
        hasher.update(b"\0").update(path).update(format!("\0{seen:?}").as_bytes());
    }
    hasher.finalize().into()
}

/// A source in messages.
fn words(patterns: &[String]) -> String {
    match patterns {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    }
}

/// Does something for each path on some threads; the results in their order, or the error of the first that failed.
fn in_parallel<T: Send>(
    paths: &[Vec<u8>],
    limits: &CatalogLimits,
    work: impl Fn(&[u8]) -> Result<T, CatalogError> + Sync,
) -> Result<Vec<T>, CatalogError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(index) else { break };
            let result = work(path);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((index, result));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let threads = limits.scan_threads.get().min(paths.len());
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        done.extend(workers.into_iter().flat_map(|worker| worker.join().expect("walking does not panic")));
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
