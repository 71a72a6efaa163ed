//! Listings of plain folders that are kept, so that opening one again asks its directories for their times and no more.
//!
//! A listing is reused where every directory is as it was (`stamp.rs`); else the directories that changed are listed
//! again, and only they. One listing of a folder is made at a time, by all threads of this process and by all processes
//! that share the cache: whoever asked before it began takes it as it is. What is inside of files is never looked at,
//! so one that was replaced under its name without a change to its directory (written over in place) is not noticed,
//! as it is not without a cache.

mod file;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use super::error::CatalogError;
use super::folder::{ClassFolder, Extensions, IMAGE, Known, list_classes};
use super::limits::CatalogLimits;
use super::scan::{Earlier, EarlierDir, Names, open_dir};
use super::shards::{self, Shards};
use super::snapshot::Snapshot;
use super::stamp::{self, Stamp};
use crate::storage::Root;
use file::{Disk, Hold};

/// Directories that one thread asks for their times; fewer are not worth another thread.
const DIRS_A_THREAD: usize = 64;

/// Listings in memory, as long as somebody uses them, and on disk, where there is a place for them.
pub struct Listings {
    disk: Option<Disk>,
    clock: fn() -> i64,
    folders: Mutex<HashMap<String, Arc<Mutex<Recent>>>>,
    directories_read: AtomicU64,
    shards: shards::Known,
}

/// The newest listing of a folder.
#[derive(Default)]
struct Recent(Option<(Weak<Snapshot>, Arc<Memory>)>);

/// A listing: the samples, and what else is known of the folder.
type Kept = (Arc<Snapshot>, Arc<Memory>);

/// What is known of a folder beside its samples.
struct Memory {
    stamp: Stamp,
    settled: bool,
    dirs: Earlier,
    /// In nanoseconds since 1970, when the listing began.
    listed_ns: i64,
    /// Whether that was by the clock of this machine, since it started.
    by_this_clock: bool,
}

impl Listings {
    /// * `folder`: where listings are kept; made when the first is. `None`: in memory alone.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self::with_clock(folder, stamp::now_ns)
    }

    fn with_clock(folder: Option<PathBuf>, clock: fn() -> i64) -> Self {
        let shards = shards::Known::new(folder.as_deref());
        let disk = folder.map(Disk::new);
        Self { disk, clock, folders: Mutex::default(), directories_read: AtomicU64::new(0), shards }
    }

    /// Directories whose names were read, by all calls.
    pub fn directories_read(&self) -> u64 {
        self.directories_read.load(Ordering::Relaxed)
    }

    /// A folder of class folders as [`open`](super::open) gives it. Trouble with the cache is logged, never an error.
    ///
    /// # Errors
    /// As [`open`](super::open).
    pub fn open(
        &self,
        root: &Path,
        extensions: Option<&[String]>,
        limits: &CatalogLimits,
    ) -> Result<Arc<Snapshot>, CatalogError> {
        let since_ns = (self.clock)();
        let extensions = Extensions::new(extensions);
        let asked = Asked { root: Root::open(root)?, extensions, limits, since_ns };
        let name = asked.name();
        let folder = self.folder(&name);
        let mut recent = folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((snapshot, memory)) = recent.get()
            && asked.still_holds(&memory)
        {
            return Ok(snapshot);
        }
        let (snapshot, memory) = match self.disk.as_ref().filter(|disk| disk.lies_outside(root)) {
            Some(disk) => self.by_disk(disk, &name, &asked)?,
            None => self.list(&asked, recent.get().as_ref())?,
        };
        recent.0 = Some((Arc::downgrade(&snapshot), memory));
        Ok(snapshot)
    }

    /// Shards as [`open`](super::open) gives them; those that are as they were are not walked again.
    ///
    /// # Errors
    /// As [`open`](super::open).
    pub fn open_shards(
        &self,
        shards: &Shards,
        limits: &CatalogLimits,
    ) -> Result<Arc<Snapshot>, CatalogError> {
        self.shards.open(shards, limits)
    }

    /// Shards that were walked, by all calls.
    pub fn shards_walked(&self) -> usize {
        self.shards.walked()
    }

    fn by_disk(&self, disk: &Disk, name: &str, asked: &Asked<'_>) -> Result<Kept, CatalogError> {
        let read = || disk.read(name, &asked.root, asked.limits);
        {
            let _with_others = disk.hold(name, Hold::Shared);
            if let Some(kept) = read().filter(|(_, memory)| asked.still_holds(memory)) {
                return Ok(kept);
            }
        }
        let _alone = disk.hold(name, Hold::Alone);
        let earlier = read();
        if let Some(kept) = earlier.clone().filter(|(_, memory)| asked.still_holds(memory)) {
            return Ok(kept);
        }
        let (snapshot, memory) = self.list(asked, earlier.as_ref())?;
        disk.write(name, &asked.root, &snapshot, &memory);
        Ok((snapshot, memory))
    }

    /// Lists what is not as it was.
    fn list(&self, asked: &Asked<'_>, earlier: Option<&Kept>) -> Result<Kept, CatalogError> {
        let now_ns = (self.clock)();
        let known = earlier.map(|(snapshot, memory)| Known {
            classes: snapshot.class_map().map_or(&[], |map| map.names()),
            stamp: memory.stamp,
            settled: memory.settled,
            dirs: &memory.dirs,
        });
        let folder = list_classes(&asked.root, &asked.extensions, asked.limits, known.as_ref(), now_ns)?;
        let memory = Arc::new(Memory::of(&folder, now_ns));
        let read =
            folder.listings.iter().filter(|listing| matches!(listing.names, Names::Listed { .. })).count();
        let directories = folder.listings.len();
        self.directories_read.fetch_add(read as u64, Ordering::Relaxed);
        let kept = earlier.and_then(|(snapshot, _)| snapshot.column(IMAGE));
        let snapshot = folder.snapshot(Arc::clone(&asked.root), kept)?;
        let (root, samples) = (asked.root.path().display(), snapshot.len());
        let took_ms = ((self.clock)() - now_ns) / 1_000_000;
        tracing::info!(%root, samples, directories, read, took_ms, "folder listed");
        Ok((Arc::new(snapshot), memory))
    }

    /// The folder's turn; those that nobody uses any more are forgotten.
    fn folder(&self, name: &str) -> Arc<Mutex<Recent>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.retain(|_, folder| match folder.try_lock() {
            Ok(recent) => recent.get().is_some() || Arc::strong_count(folder) > 1,
            Err(_) => true,
        });
        Arc::clone(folders.entry(name.to_owned()).or_default())
    }
}

impl Recent {
    fn get(&self) -> Option<Kept> {
        let (snapshot, memory) = self.0.as_ref()?;
        Some((snapshot.upgrade()?, Arc::clone(memory)))
    }
}

/// A folder that is to be opened.
struct Asked<'a> {
    root: Arc<Root>,
    extensions: Extensions,
    limits: &'a CatalogLimits,
    since_ns: i64,
}

impl Asked<'_> {
    /// What its listing is kept as: a hash of where it is and what is looked for.
    fn name(&self) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        let path = self.root.path();
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut extensions = self.extensions.0.clone();
        extensions.sort_unstable();
        let mut hasher = blake3::Hasher::new_derive_key("forebay catalog listing 1");
        hasher.update(real.as_os_str().as_bytes());
        for extension in extensions {
            hasher.update(b"\0").update(extension.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    /// Whether a listing says what is there: it began after this was asked for, or nothing has changed since.
    fn still_holds(&self, memory: &Memory) -> bool {
        (memory.by_this_clock && memory.listed_ns >= self.since_ns) || self.is_as_it_was(memory)
    }

    fn is_as_it_was(&self, memory: &Memory) -> bool {
        if !memory.settled || memory.dirs.values().any(|dir| !dir.settled) {
            return false;
        }
        let same = |dir: &[u8], stamp: Stamp| open_dir(&self.root, dir).is_ok_and(|now| now.stamp == stamp);
        if !same(b"", memory.stamp) {
            return false;
        }
        let dirs: Vec<_> = memory.dirs.iter().collect();
        let share = dirs.len().div_ceil(self.limits.scan_threads.get()).max(DIRS_A_THREAD);
        let changed = AtomicBool::new(false);
        let check = |dirs: &[(&Vec<u8>, &EarlierDir)]| {
            for (path, dir) in dirs {
                if changed.load(Ordering::Relaxed) {
                    return;
                }
                if !same(path, dir.stamp) {
                    changed.store(true, Ordering::Relaxed);
                }
            }
        };
        thread::scope(|scope| dirs.chunks(share).for_each(|dirs| drop(scope.spawn(move || check(dirs)))));
        !changed.into_inner()
    }
}

impl Memory {
    fn of(folder: &ClassFolder, now_ns: i64) -> Self {
        let mut rows = 0;
        let dirs = folder.listings.iter().map(|listing| {
            let first = rows;
            rows += listing.names.len();
            (listing.dir.clone(), listing.stamp, listing.settled, first..rows)
        });
        let dirs = earlier(dirs);
        Self { stamp: folder.stamp, settled: folder.settled, dirs, listed_ns: now_ns, by_this_clock: true }
    }
}

/// Directories with their stamps and rows -> the same by path, each with the directories in it.
fn earlier(dirs: impl Iterator<Item = (Vec<u8>, Stamp, bool, std::ops::Range<usize>)>) -> Earlier {
    let mut by_path = Earlier::new();
    for (path, stamp, settled, rows) in dirs {
        by_path.insert(path, EarlierDir { stamp, settled, rows, folders: Vec::new() });
    }
    let paths: Vec<_> = by_path.keys().cloned().collect();
    for path in paths {
        let above = path.iter().rposition(|&byte| byte == b'/').map(|end| path[..end].to_vec());
        if let Some(above) = above.and_then(|above| by_path.get_mut(&above)) {
            above.folders.push(path);
        }
    }
    by_path
}

/// Where a process that serves itself keeps listings: `XDG_CACHE_HOME`, else `~/.cache`, and nowhere without a home.
///
/// * `env`: looks a variable up.
pub fn own_folder(env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let folder = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("forebay/listings"))
}
