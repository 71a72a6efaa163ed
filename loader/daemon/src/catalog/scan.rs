//! Lists directories, several at once, without a stat a file; those that are as they were are not listed again.

mod journal;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::bytes::ByteStrings;
use super::error::CatalogError;
use super::limits::CatalogLimits;
use super::order::python_order;
use super::stamp::{Stamp, keeps_times};
use crate::storage::Root;
pub use journal::{Journal, Resumed};

/// The samples of one directory.
pub(super) struct Listing {
    pub(super) class: usize,
    /// Relative to the root, which is the empty path.
    pub(super) dir: Vec<u8>,
    pub(super) names: Names,
    pub(super) stamp: Stamp,
    /// Whether the directory can be told by its stamp to be as it was.
    pub(super) settled: bool,
}

/// The names of a directory's samples.
pub(super) enum Names {
    /// Read now.
    Listed {
        names: ByteStrings,
        /// Indexes into `names` in Python's order.
        order: Vec<u32>,
        /// Size in bytes and time of the last write in ns of each name, where they were asked for.
        stats: Vec<(i64, i64)>,
    },
    /// Rows of the earlier listing.
    Kept(Range<usize>),
}

impl Names {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Listed { names, .. } => names.len(),
            Self::Kept(rows) => rows.len(),
        }
    }
}

/// The directories of an earlier listing, by path.
pub(super) type Earlier = HashMap<Vec<u8>, EarlierDir>;

/// A directory as it was.
pub(super) struct EarlierDir {
    pub(super) stamp: Stamp,
    pub(super) settled: bool,
    pub(super) rows: Range<usize>,
    /// The directories in it that were listed too.
    pub(super) folders: Vec<Vec<u8>>,
}

/// What is looked for, and where.
pub(super) struct Looking<'a> {
    pub(super) root: &'a Arc<Root>,
    /// Whether a file of this name is a sample.
    pub(super) keep: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// Whether each sample's size and time are asked for.
    pub(super) stat: bool,
    pub(super) earlier: Option<&'a Earlier>,
    /// What a listing that was stopped has read, and where this one notes what it reads.
    pub(super) journal: Option<&'a Journal>,
    /// When the listing began, in nanoseconds since 1970.
    pub(super) now_ns: i64,
    /// Counts samples while they are found, for whoever watches.
    pub(super) found: &'a AtomicU64,
    pub(super) limits: &'a CatalogLimits,
}

/// What a name in a directory leads to, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    File,
}

/// Called with each name and what it leads to.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], Entry) -> Result<(), CatalogError>;

/// A directory that is to be listed.
pub(super) struct Job {
    pub(super) class: usize,
    /// Relative to the root.
    pub(super) dir: Vec<u8>,
}

/// Lists folders to the bottom, each given with its class; the listings are in torchvision's order, one a directory.
pub(super) fn scan(
    looking: &Looking<'_>,
    folders: Vec<(usize, Vec<u8>)>,
) -> Result<Vec<Listing>, CatalogError> {
    // The stack is served from its end, so the first folder is pushed last.
    let jobs = folders.into_iter().rev().map(|(class, dir)| Job { class, dir });
    let vague = Vague::default();
    let scan = Scan { looking, vague, queue: Queue::new(jobs.collect()) };
    let mut listings = scan.run(looking.limits.scan_threads)?;
    listings.sort_unstable_by(|a, b| a.class.cmp(&b.class).then_with(|| python_order(&a.dir, &b.dir)));
    Ok(listings)
}

struct Scan<'a> {
    looking: &'a Looking<'a>,
    vague: Vague,
    queue: Queue,
}

impl Scan<'_> {
    fn run(&self, threads: NonZeroUsize) -> Result<Vec<Listing>, CatalogError> {
        let parts: Result<Vec<_>, _> = thread::scope(|scope| {
            let workers: Vec<_> = (1..threads.get()).map(|_| scope.spawn(|| self.work())).collect();
            let own = self.work();
            let joined = workers.into_iter().map(|worker| worker.join().expect("listing does not panic"));
            joined.chain([own]).collect()
        });
        Ok(parts?.into_iter().flatten().collect())
    }

    fn work(&self) -> Result<Vec<Listing>, CatalogError> {
        let mut listings = Vec::new();
        while let Some(job) = self.queue.take() {
            match self.list(job) {
                Ok((listing, folders)) => {
                    self.queue.finish(folders);
                    listings.push(listing);
                }
                Err(error) => {
                    self.queue.stop();
                    return Err(error);
                }
            }
        }
        Ok(listings)
    }

    /// Lists one directory, unless it is as it was: its samples, and its folders.
    fn list(&self, job: Job) -> Result<(Listing, Vec<Job>), CatalogError> {
        let Job { class, dir } = job;
        let opened = open_dir(self.looking.root, &dir)?;
        let stamp = opened.stamp;
        if let Some(earlier) = self.as_it_was(&dir, stamp) {
            let (names, folders) = (Names::Kept(earlier.rows.clone()), earlier.folders.clone());
            return self.counted(Listing { class, dir, names, stamp, settled: true }, folders);
        }
        if let Some((names, folders)) = self.looking.journal.and_then(|journal| journal.take(&dir, stamp)) {
            return self.counted(Listing { class, dir, names, stamp, settled: true }, folders);
        }
        let settled = stamp.is_settled(self.looking.now_ns) && !self.vague.is(&opened);
        let (names, folders) = self.read(&dir, &opened.fd)?;
        if let Some(journal) = self.looking.journal {
            journal.note(&dir, stamp, settled, &names, &folders);
        }
        self.counted(Listing { class, dir, names, stamp, settled }, folders)
    }

    fn as_it_was(&self, dir: &[u8], stamp: Stamp) -> Option<&EarlierDir> {
        self.looking.earlier?.get(dir).filter(|earlier| earlier.settled && earlier.stamp == stamp)
    }

    fn counted(&self, listing: Listing, folders: Vec<Vec<u8>>) -> Result<(Listing, Vec<Job>), CatalogError> {
        let found = listing.names.len() as u64;
        let rows = self.looking.found.fetch_add(found, Ordering::Relaxed) + found;
        let rows_max = self.looking.limits.rows_max;
        if rows > rows_max {
            let file = self.looking.root.path().display().to_string();
            return Err(CatalogError::TooManyRows { file, rows_max });
        }
        let class = listing.class;
        Ok((listing, folders.into_iter().map(|dir| Job { class, dir }).collect()))
    }

    fn read(&self, dir: &[u8], fd: &OwnedFd) -> Result<(Names, Vec<Vec<u8>>), CatalogError> {
        let root = self.looking.root;
        let (mut folders, mut names, mut stats) = (Vec::new(), ByteStrings::default(), Vec::new());
        entries(root, dir, fd, &mut |name, entry| {
            match entry {
                Entry::Folder => folders.push(join(dir, name)),
                Entry::File if !(self.looking.keep)(name) => {}
                Entry::File if !self.looking.stat => names.push(name),
                // What has gone since it was listed, or leads nowhere, has no size: it is not there.
                Entry::File => {
                    if let Some(stat) = size_and_time(root, dir, fd, name)? {
                        names.push(name);
                        stats.push(stat);
                    }
                }
            }
            Ok(())
        })?;
        names.shrink();
        let mut order: Vec<u32> = (0..names.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| python_order(names.get(a as usize), names.get(b as usize)));
        Ok((Names::Listed { names, order, stats }, folders))
    }
}

/// Which devices hold file systems whose times say nothing; each is asked once.
#[derive(Default)]
struct Vague(Mutex<HashMap<u64, bool>>);

impl Vague {
    fn is(&self, opened: &OpenedDir) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ask = || rustix::fs::fstatfs(&opened.fd).map_or(true, |found| !keeps_times(found.f_type as u64));
        *known.entry(opened.device).or_insert_with(ask)
    }
}

/// A directory beneath the root, opened, and how it was just then.
pub(super) struct OpenedDir {
    pub(super) fd: OwnedFd,
    pub(super) stamp: Stamp,
    device: u64,
}

/// Opens a directory beneath the root. Opening asks a network file system for its times anew (close-to-open).
pub(super) fn open_dir(root: &Arc<Root>, dir: &[u8]) -> Result<OpenedDir, CatalogError> {
    let opened = root.open_beneath(or_dot(dir), OFlags::RDONLY | OFlags::DIRECTORY);
    let stat = opened.and_then(|fd| Ok((rustix::fs::fstat(&fd)?, fd)));
    let (stat, fd) = stat.map_err(|errno| failed("list", root, dir, errno))?;
    Ok(OpenedDir { fd, stamp: Stamp::of(&stat), device: stat.st_dev })
}

/// Whether the times of an opened directory say something, and a listing that began at `now_ns` saw all of it.
pub(super) fn is_settled(opened: &OpenedDir, now_ns: i64) -> bool {
    opened.stamp.is_settled(now_ns) && !Vague::default().is(opened)
}

/// Visits what an opened directory holds, in the order of the disk. Only links, and entries of file systems that don't
/// say what they are, cost a further call.
pub(super) fn entries(
    root: &Arc<Root>,
    dir: &[u8],
    opened: impl AsFd,
    visit: Visit<'_>,
) -> Result<(), CatalogError> {
    let failed = |errno: Errno| failed("list", root, dir, errno);
    for entry in Dir::read_from(opened).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Directory => Entry::Folder,
            FileType::Symlink | FileType::Unknown => resolve(root, dir, name)?,
            _ => Entry::File,
        };
        visit(name, kind)?;
    }
    Ok(())
}

fn failed(action: &'static str, root: &Root, path: &[u8], errno: Errno) -> CatalogError {
    CatalogError::Io { action, path: root.display(or_dot(path)), source: errno.into() }
}

/// The root's own path is empty where paths are joined, and `.` where they are opened.
fn or_dot(dir: &[u8]) -> &[u8] {
    if dir.is_empty() { b"." } else { dir }
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn size_and_time(
    root: &Root,
    dir: &[u8],
    opened: impl AsFd,
    name: &[u8],
) -> Result<Option<(i64, i64)>, CatalogError> {
    match rustix::fs::statat(opened, name, AtFlags::empty()) {
        Ok(stat) => Ok(Some((stat.st_size, Stamp::of(&stat).modified_ns))),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(failed("stat", root, &join(dir, name), errno)),
    }
}

/// Follows a link. A broken one counts as a file, as in torchvision: reading it says what is wrong.
fn resolve(root: &Arc<Root>, dir: &[u8], name: &[u8]) -> Result<Entry, CatalogError> {
    let path = join(dir, name);
    match stat(root, &path) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Directory => Ok(Entry::File),
        Ok(found) if lies_in(root, dir, &found) => Err(CatalogError::LinkLoop { path: root.display(&path) }),
        Ok(_) => Ok(Entry::Folder),
        Err(Errno::XDEV) => Err(CatalogError::LinkLeaves { path: root.display(&path) }),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(Entry::File),
        Err(errno) => Err(failed("stat", root, &path, errno)),
    }
}

fn stat(root: &Arc<Root>, path: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::fstat(root.open_beneath(path, OFlags::PATH)?)
}

/// Whether a directory lies in `found`, or is it.
fn lies_in(root: &Arc<Root>, dir: &[u8], found: &Stat) -> bool {
    let ends = dir.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
    let above = ends.chain([dir.len()]).map(|end| &dir[..end]).chain([&b"."[..]]);
    let same = |there: Stat| (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino);
    above.into_iter().any(|above| stat(root, above).is_ok_and(same))
}

/// Jobs that make more jobs; at its end when none is waiting and none is being worked on.
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    jobs: Vec<Job>,
    working: usize,
}

impl Queue {
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        Self { state: Mutex::new(QueueState { jobs, working: 0 }), changed: Condvar::new() }
    }

    /// The next one, waiting for those that may still make some.
    pub(super) fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop() {
                state.working += 1;
                return Some(job);
            }
            if state.working == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the job in hand, which made these.
    pub(super) fn finish(&self, more: Vec<Job>) {
        let mut state = self.lock();
        state.jobs.extend(more);
        state.working -= 1;
        self.changed.notify_all();
    }

    /// Forgets what is waiting, so that the others end after the job in their hands.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.jobs.clear();
        state.working -= 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
