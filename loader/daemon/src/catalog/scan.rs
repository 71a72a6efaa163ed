//! Lists directories, several at once, without a stat a file.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::bytes::ByteStrings;
use super::error::CatalogError;
use super::limits::CatalogLimits;
use super::order::python_order;
use crate::storage::Root;

/// The samples of one directory.
pub(super) struct Listing {
    pub(super) class: usize,
    pub(super) dir: Vec<u8>,
    pub(super) names: ByteStrings,
    /// Indexes into `names` in Python's order.
    pub(super) order: Vec<u32>,
}

/// What a name in a directory leads to, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    File,
}

/// Called with each name and what it leads to.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], Entry) -> Result<(), CatalogError>;

struct Job {
    class: usize,
    dir: Vec<u8>,
}

/// Lists all class folders to the bottom; the listings are in torchvision's order.
pub(super) fn scan(
    root: &Arc<Root>,
    classes: &[String],
    keep: &(dyn Fn(&[u8]) -> bool + Sync),
    limits: &CatalogLimits,
) -> Result<Vec<Listing>, CatalogError> {
    // The stack is served from its end, so the first class is pushed last.
    let jobs =
        classes.iter().enumerate().rev().map(|(class, name)| Job { class, dir: name.as_bytes().to_vec() });
    let scan = Scan {
        root,
        keep,
        rows_max: limits.rows_max,
        rows: AtomicU64::new(0),
        queue: Queue::new(jobs.collect()),
    };
    let mut listings = scan.run(limits.scan_threads)?;
    listings.sort_unstable_by(|a, b| a.class.cmp(&b.class).then_with(|| python_order(&a.dir, &b.dir)));
    Ok(listings)
}

struct Scan<'a> {
    root: &'a Arc<Root>,
    keep: &'a (dyn Fn(&[u8]) -> bool + Sync),
    rows_max: u64,
    rows: AtomicU64,
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
                    listings.extend(listing);
                }
                Err(error) => {
                    self.queue.stop();
                    return Err(error);
                }
            }
        }
        Ok(listings)
    }

    /// Lists one directory: its samples, if it has any, and its folders.
    fn list(&self, job: Job) -> Result<(Option<Listing>, Vec<Job>), CatalogError> {
        let mut folders = Vec::new();
        let mut names = ByteStrings::default();
        entries(self.root, &job.dir, &mut |name, entry| {
            match entry {
                Entry::Folder => {
                    folders.push(Job { class: job.class, dir: [&job.dir, &b"/"[..], name].concat() });
                }
                Entry::File if (self.keep)(name) => names.push(name),
                Entry::File => {}
            }
            Ok(())
        })?;
        let found = names.len() as u64;
        let rows = self.rows.fetch_add(found, Ordering::Relaxed) + found;
        if rows > self.rows_max {
            let file = self.root.path().display().to_string();
            return Err(CatalogError::TooManyRows { file, rows_max: self.rows_max });
        }
        names.shrink();
        let mut order: Vec<u32> = (0..found as u32).collect();
        order.sort_unstable_by(|&a, &b| python_order(names.get(a as usize), names.get(b as usize)));
        let listing = (found > 0).then_some(Listing { class: job.class, dir: job.dir, names, order });
        Ok((listing, folders))
    }
}

/// Visits what a directory holds, in the order of the disk. Only links, and entries of file systems that don't say what
/// they are, cost a further call.
pub(super) fn entries(root: &Arc<Root>, dir: &[u8], visit: Visit<'_>) -> Result<(), CatalogError> {
    let failed =
        |errno: Errno| CatalogError::Io { action: "list", path: root.display(dir), source: errno.into() };
    let opened = root.open_beneath(dir, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    for entry in Dir::new(opened).map_err(failed)? {
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

/// Follows a link. A broken one counts as a file, as in torchvision: reading it says what is wrong.
fn resolve(root: &Arc<Root>, dir: &[u8], name: &[u8]) -> Result<Entry, CatalogError> {
    let path = [dir, b"/", name].concat();
    match stat(root, &path) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Directory => Ok(Entry::File),
        Ok(found) if lies_in(root, dir, &found) => Err(CatalogError::LinkLoop { path: root.display(&path) }),
        Ok(_) => Ok(Entry::Folder),
        Err(Errno::XDEV) => Err(CatalogError::LinkLeaves { path: root.display(&path) }),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(Entry::File),
        Err(errno) => {
            Err(CatalogError::Io { action: "stat", path: root.display(&path), source: errno.into() })
        }
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
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    jobs: Vec<Job>,
    working: usize,
}

impl Queue {
    fn new(jobs: Vec<Job>) -> Self {
        Self { state: Mutex::new(QueueState { jobs, working: 0 }), changed: Condvar::new() }
    }

    fn take(&self) -> Option<Job> {
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

    fn finish(&self, more: Vec<Job>) {
        let mut state = self.lock();
        state.jobs.extend(more);
        state.working -= 1;
        self.changed.notify_all();
    }

    /// Forgets what is waiting, so that the others end after the job in their hands.
    fn stop(&self) {
        let mut state = self.lock();
        state.jobs.clear();
        state.working -= 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
