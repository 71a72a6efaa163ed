//! A listing on disk: one file, written beside its name and renamed, and a lock, so that one process lists at a time.
//!
//! A line of JSON (the root's stamp, when, the lengths), then two stored snapshots: the directories and the samples.
//! Whatever cannot be read is as good as not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Kept, Memory, earlier};
use crate::catalog::bytes::ByteStrings;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::limits::CatalogLimits;
use crate::catalog::snapshot::Snapshot;
use crate::catalog::stamp::Stamp;
use crate::error::with_causes;
use crate::storage::Root;

/// The layout of the file; another one is not read.
const VERSION: u32 = 1;

/// Listings that are kept; the oldest goes.
const KEPT: usize = 64;

const ENDING: &str = "listing";

/// The first line of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: u32,
    /// For people.
    root: String,
    stamp: [i64; 3],
    settled: bool,
    listed_ns: i64,
    /// Of the machine's start, by whose clock it was listed.
    boot: String,
    directories_bytes: u64,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// With others that read.
    Shared,
    /// Before a listing is made.
    Alone,
}

/// The folder of listings.
pub(super) struct Disk {
    folder: PathBuf,
    warned: AtomicBool,
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, warned: AtomicBool::new(false) }
    }

    /// Whether the listings do not lie among the data: a folder of class folders has no room for others.
    pub(super) fn lies_outside(&self, root: &Path) -> bool {
        let real = self.folder.ancestors().find_map(|above| above.canonicalize().ok());
        let inside =
            real.zip(root.canonicalize().ok()).is_some_and(|(folder, root)| folder.starts_with(root));
        if inside {
            self.warn(&format!("{} lies inside of {}", self.folder.display(), root.display()));
        }
        !inside
    }

    /// Waits for the lock of a listing. Without one (no folder, no locks there) everybody lists for himself.
    pub(super) fn hold(&self, name: &str, hold: Hold) -> Option<File> {
        let open = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            OpenOptions::new().create(true).append(true).mode(0o600).open(self.path(name, "lock"))
        };
        let operation = match hold {
            Hold::Shared => FlockOperation::LockShared,
            Hold::Alone => FlockOperation::LockExclusive,
        };
        let locked = open().and_then(|file| {
            rustix::io::retry_on_intr(|| flock(&file, operation))?;
            Ok(file)
        });
        locked.map_err(|error| self.warn(&format!("{}: {error}", self.folder.display()))).ok()
    }

    /// Reads a listing; `None` where there is none, or none that makes sense.
    pub(super) fn read(&self, name: &str, root: &Arc<Root>, limits: &CatalogLimits) -> Option<Kept> {
        let path = self.path(name, ENDING);
        match read(&path, root, limits) {
            Ok(read) => read,
            Err(error) => {
                tracing::info!(path = %path.display(), error, "a kept listing is of no use");
                None
            }
        }
    }

    /// Keeps a listing.
    pub(super) fn write(&self, name: &str, root: &Root, snapshot: &Snapshot, memory: &Memory) {
        if let Err(error) = self.try_write(name, root, snapshot, memory) {
            self.warn(&error);
        }
    }

    fn try_write(&self, name: &str, root: &Root, snapshot: &Snapshot, memory: &Memory) -> Result<(), String> {
        let words = |error: &crate::catalog::CatalogError| with_causes(error);
        let directories =
            directories(memory).and_then(|kept| kept.to_parquet()).map_err(|error| words(&error))?;
        let samples = snapshot.to_parquet().map_err(|error| words(&error))?;
        let Stamp { inode, modified_ns, changed_ns } = memory.stamp;
        let about = About {
            version: VERSION,
            root: root.path().display().to_string(),
            stamp: [inode, modified_ns, changed_ns],
            settled: memory.settled,
            listed_ns: memory.listed_ns,
            boot: boot(),
            directories_bytes: directories.len() as u64,
        };
        let mut about = serde_json::to_vec(&about).expect("names and numbers are JSON");
        about.push(b'\n');
        let (path, aside) =
            (self.path(name, ENDING), self.path(name, &format!("new-{}", std::process::id())));
        let write = || {
            let mut file =
                OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&aside)?;
            [&about, &directories, &samples].into_iter().try_for_each(|part| file.write_all(part))?;
            fs::rename(&aside, &path)
        };
        let written = write().map_err(|error| format!("{}: {error}", path.display()));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        self.forget_oldest();
        written
    }

    /// Keeps the folder small: data sets come and go, and nobody tidies a cache.
    fn forget_oldest(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let listings =
            entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == ENDING));
        let dated =
            listings.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())));
        let mut dated: Vec<_> = dated.collect();
        dated.sort_unstable();
        for (_, path) in dated.iter().take(dated.len().saturating_sub(KEPT)) {
            let _ = fs::remove_file(path);
            let _ = fs::remove_file(path.with_extension("lock"));
        }
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }

    /// Once: a cache that cannot be written stays one.
    fn warn(&self, error: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error,
                "listings of folders are not kept: set FOREBAY_CACHE_DIR to a folder that can be written"
            );
        }
    }
}

fn read(path: &Path, root: &Arc<Root>, limits: &CatalogLimits) -> Result<Option<Kept>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let (mut file, mut line) = (io::BufReader::new(file), Vec::new());
    file.by_ref().take(1 << 16).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    let about: About = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
    if about.version != VERSION {
        return Err(format!("it is of version {}", about.version));
    }
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).map_err(|error| error.to_string())?;
    let rest = bytes::Bytes::from(rest);
    let cut =
        usize::try_from(about.directories_bytes).ok().filter(|cut| *cut <= rest.len()).ok_or("it is cut")?;
    let stored = |bytes, root| {
        let read = Snapshot::from_parquet(&path.display().to_string(), bytes, None, root, limits);
        read.map_err(|error| with_causes(&error))
    };
    let directories = stored(rest.slice(..cut), None)?;
    let snapshot = stored(rest.slice(cut..), Some(Arc::clone(root)))?;
    let memory = memory(&about, &directories, snapshot.len()).ok_or("its parts do not fit each other")?;
    if snapshot.class_map().is_none() || snapshot.column(crate::catalog::folder::IMAGE).is_none() {
        return Err("it holds no folder of classes".to_owned());
    }
    Ok(Some((Arc::new(snapshot), Arc::new(memory))))
}

const DIR: &str = "dir";
const NUMBERS: [&str; 5] = ["first", "inode", "modified_ns", "changed_ns", "settled"];

/// The directories as a snapshot: a row each, by path.
fn directories(memory: &Memory) -> Result<Snapshot, crate::catalog::CatalogError> {
    let mut dirs: Vec<_> = memory.dirs.iter().collect();
    dirs.sort_unstable_by(|a, b| {
        (a.1.rows.start, a.1.rows.end, a.0).cmp(&(b.1.rows.start, b.1.rows.end, b.0))
    });
    let mut paths = ByteStrings::default();
    dirs.iter().for_each(|(path, _)| paths.push(path));
    let number = |index: usize| -> Vec<i64> {
        let of = |dir: &super::EarlierDir| match index {
            0 => dir.rows.start as i64,
            1 => dir.stamp.inode,
            2 => dir.stamp.modified_ns,
            3 => dir.stamp.changed_ns,
            _ => i64::from(dir.settled),
        };
        dirs.iter().map(|(_, dir)| of(dir)).collect()
    };
    let mut columns =
        vec![Column { name: DIR.to_owned(), kind: ColumnKind::Path, values: Values::Bytes(paths) }];
    columns.extend(NUMBERS.iter().enumerate().map(|(index, name)| Column {
        name: (*name).to_owned(),
        kind: ColumnKind::Int,
        values: Values::Ints(number(index)),
    }));
    let unique = |_, _, _: &[u8]| unreachable!("a map holds each path once");
    Snapshot::assemble(columns, None, None, unique)
}

/// What a file says of directories; `None` where it contradicts itself.
fn memory(about: &About, directories: &Snapshot, samples: u64) -> Option<Memory> {
    let int = |name: &str| directories.column(name).filter(|column| column.kind() == ColumnKind::Int);
    let [first, inode, modified, changed, settled] = NUMBERS.map(int);
    let (first, inode, modified, changed, settled) = (first?, inode?, modified?, changed?, settled?);
    let path = directories.column(DIR).filter(|column| column.kind() == ColumnKind::Path)?;
    let mut dirs = Vec::new();
    for row in 0..directories.len() {
        let next = if row + 1 < directories.len() { first.int(row + 1) } else { samples as i64 };
        let (start, end) = (usize::try_from(first.int(row)).ok()?, usize::try_from(next).ok()?);
        if start > end || end as u64 > samples {
            return None;
        }
        let stamp =
            Stamp { inode: inode.int(row), modified_ns: modified.int(row), changed_ns: changed.int(row) };
        dirs.push((path.path(row).to_vec(), stamp, settled.int(row) == 1, start..end));
    }
    let [inode, modified_ns, changed_ns] = about.stamp;
    Some(Memory {
        stamp: Stamp { inode, modified_ns, changed_ns },
        settled: about.settled,
        dirs: earlier(dirs.into_iter()),
        listed_ns: about.listed_ns,
        by_this_clock: !about.boot.is_empty() && about.boot == boot(),
    })
}

/// Names the machine's start; empty where it has no name.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |text| text.trim().to_owned())
}
