//! A pool of threads that open, `pread` and close.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::buf::ReadBuf;
use super::error::StorageError;
use super::root::Root;
use super::whole::{self, Source, Stamp};
use super::{Done, Engine, Read};

/// A read needs a few hundred bytes of stack, and `display` of a path a little more.
const STACK_BYTES: usize = 256 << 10;

/// Reads with blocking calls on threads of its own.
///
/// The queue grows with what is submitted, which admission bounds. Dropping the engine waits for nobody: reads in
/// progress finish, those still queued come back as [`StorageError::Shutdown`], then the threads end.
pub struct ThreadsEngine<T> {
    queue: flume::Sender<Queued<T>>,
    stopping: Arc<AtomicBool>,
}

struct Queued<T> {
    read: Read<T>,
    submitted: Instant,
}

impl<T: Send + 'static> ThreadsEngine<T> {
    /// Starts the threads; completions go to `done`.
    ///
    /// # Errors
    /// [`StorageError::Threads`] where the system gives no more threads.
    pub fn new(threads: NonZeroUsize, done: &flume::Sender<Done<T>>) -> Result<Self, StorageError> {
        Self::start(threads, STACK_BYTES, done)
    }

    fn start(
        threads: NonZeroUsize,
        stack_bytes: usize,
        done: &flume::Sender<Done<T>>,
    ) -> Result<Self, StorageError> {
        let (queue, reads) = flume::unbounded();
        let engine = Self { queue, stopping: Arc::default() };
        for index in 0..threads.get() {
            let (reads, done, stopping) = (reads.clone(), done.clone(), engine.stopping.clone());
            thread::Builder::new()
                .name(format!("read-{index}"))
                .stack_size(stack_bytes)
                .spawn(move || serve(&reads, &done, &stopping))
                .map_err(|source| StorageError::Threads { threads: threads.get(), source })?;
        }
        Ok(engine)
    }
}

impl<T: Send> Engine<T> for ThreadsEngine<T> {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn submit(&self, read: Read<T>) {
        let queued = Queued { read, submitted: Instant::now() };
        assert!(self.queue.send(queued).is_ok(), "the threads outlive the engine that feeds them");
    }
}

impl<T> Drop for ThreadsEngine<T> {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// Serves reads until the engine is gone and its queue is empty.
fn serve<T>(reads: &flume::Receiver<Queued<T>>, done: &flume::Sender<Done<T>>, stopping: &AtomicBool) {
    for Queued { mut read, submitted } in reads {
        let taken = Instant::now();
        let result = if stopping.load(Ordering::Acquire) {
            Err(StorageError::Shutdown { path: read.root.display(&read.buf.path) })
        } else {
            read_file(&mut read)
        };
        let queue_wait = taken.duration_since(submitted);
        // A receiver that has gone away wants no completions; the rest of the queue is drained all the same.
        let came_back = Instant::now();
        let _ = done.send(Done { read, result, queue_wait, read_time: came_back - taken, came_back });
    }
}

fn read_file<T>(read: &mut Read<T>) -> Result<(), StorageError> {
    let Read { root, buf, extent, limit_bytes, .. } = read;
    read_now(root, buf, *extent, *limit_bytes)
}

/// Fills `buf` with the beginning of its file; gives the bytes of all of it.
pub(super) fn read_head(root: &Root, buf: &mut ReadBuf, len_max: u64) -> Result<u64, StorageError> {
    let file = open(root, buf)?;
    let size_bytes = file.opened.get().map_or(0, |stamp| stamp.size_bytes);
    whole::read(&file, root, buf, Some((0, len_max.min(size_bytes))), len_max)?;
    Ok(size_bytes)
}

/// Fills `buf` with an extent of its file, or with all of it.
pub(super) fn read_now(
    root: &Root,
    buf: &mut ReadBuf,
    extent: Option<(u64, u64)>,
    limit_bytes: u64,
) -> Result<(), StorageError> {
    buf.bytes.clear();
    whole::read(&open(root, buf)?, root, buf, extent, limit_bytes)
}

fn open(root: &Root, buf: &ReadBuf) -> Result<OpenFile, StorageError> {
    // NONBLOCK, so that a pipe that someone put among the samples can't hold a thread for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = root.open_beneath(&buf.path, flags).and_then(OpenFile::check);
    match opened.map_err(|errno| StorageError::open(root.display(&buf.path), errno))? {
        Some(file) => Ok(file),
        None => Err(StorageError::NotAFile { path: root.display(&buf.path) }),
    }
}

/// A regular file; the stamp it had when it was opened serves as the first.
struct OpenFile {
    fd: OwnedFd,
    opened: std::cell::Cell<Option<Stamp>>,
}

impl OpenFile {
    fn check(fd: OwnedFd) -> Result<Option<Self>, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| Self { fd, opened: Some(stamp_of(&stat)).into() }))
    }
}

impl Source for OpenFile {
    fn stamp(&self) -> Result<Stamp, Errno> {
        match self.opened.take() {
            Some(stamp) => Ok(stamp),
            None => rustix::fs::fstat(&self.fd).map(|stat| stamp_of(&stat)),
        }
    }

    fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        rustix::io::pread(&self.fd, target, offset_bytes)
    }
}

fn stamp_of(stat: &rustix::fs::Stat) -> Stamp {
    Stamp { size_bytes: stat.st_size as u64, written_s: stat.st_mtime, written_ns: stat.st_mtime_nsec }
}

#[cfg(test)]
mod tests;
