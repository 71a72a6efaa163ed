//! Reads through io_uring: each storage thread has a ring, and many reads of it in flight at the same time.
//!
//! The kernel writes to a read's memory after the call that asked for it has returned. tokio-uring holds that memory until
//! the kernel is done, and a thread here ends only when every read of its ring has come back.

mod descriptors;
mod file;
mod fixed;
mod near;
mod part;
mod past_cache;
mod pieces;
mod probe;
mod ring;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::error::StorageError;
use super::near::InLine;
use super::queued::Queued;
use super::sharing::Sharing;
use super::{Desk, Done, Engine, Read};
pub use past_cache::DirectReads;
pub use probe::UringProbe;
pub(super) use probe::in_words;
use ring::Ring;

/// How the rings are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Storage threads, each with a ring of its own.
    pub threads: NonZeroUsize,
    /// Reads in flight in each ring, a long one with all of its pieces as one; the kernel takes up to 32768.
    pub depth: NonZeroU32,
    /// Whether parts of files are read past the page cache (`O_DIRECT`), where their file system takes such reads.
    pub direct: DirectReads,
    /// What the page cache is to hold of those files; 0: what the machine has for it.
    pub page_cache_bytes: u64,
}

/// A ring, its eventfd, its epoll and what wakes it, with room to spare.
const OWN_FILES: u64 = 8;

/// A ring's thread copies some 20,000 reads of 50 KiB a second out of the page cache where a disk brings them there: one is
/// too few for a fast disk, however few processors there are.
const THREADS_MIN: usize = 2;
const PROCESSORS_A_THREAD: usize = 8;

impl RingOptions {
    /// As many threads as serve a machine with so many processors.
    pub fn threads_of(processors: usize) -> NonZeroUsize {
        let threads = processors.div_ceil(PROCESSORS_A_THREAD).max(THREADS_MIN);
        NonZeroUsize::new(threads).expect("at least two")
    }

    /// As many of its threads, and one at least, as may hold so many descriptors.
    #[must_use]
    pub fn within(self, open_files: u64) -> Self {
        let of_one = Self { threads: NonZeroUsize::MIN, ..self }.open_files_max();
        let fit = NonZeroUsize::new((open_files / of_one) as usize).unwrap_or(NonZeroUsize::MIN);
        Self { threads: self.threads.min(fit), ..self }
    }

    /// Descriptors that the rings may hold: of the file of each read, and of those that are kept, one for the page cache
    /// and one past it.
    pub fn open_files_max(&self) -> u64 {
        let of_one = 2 * (u64::from(self.depth.get()) + descriptors::KEPT_MAX as u64) + OWN_FILES;
        self.threads.get() as u64 * of_one
    }
}

/// Reads with a few threads that never wait for one read alone.
///
/// A part of a file (an extent) is read through a descriptor that stays open for a second after the last open, so that reads
/// from one large file cost no open each. Names that the kernel does not have in memory are looked up on other
/// threads. The queues grow with what is submitted, which admission bounds. Dropping the engine waits for nobody: reads in
/// flight finish, those still queued come back as [`StorageError::Shutdown`], then the threads end.
pub struct UringEngine<T> {
    rings: Vec<flume::Sender<InLine<T>>>,
    submitted: AtomicUsize,
    shared: Arc<Shared<T>>,
}

/// What the engine tells its threads.
struct Shared<T> {
    stopping: AtomicBool,
    desk: OnceLock<Arc<dyn Desk<T>>>,
    sharing: Arc<Sharing>,
}

impl<T> Shared<T> {
    fn new(sharing: Arc<Sharing>) -> Arc<Self> {
        Arc::new(Self { stopping: AtomicBool::new(false), desk: OnceLock::new(), sharing })
    }
}

impl<T: Send + 'static> UringEngine<T> {
    /// Makes the rings, has each read a few bytes, and starts their threads; completions go to `done`.
    ///
    /// # Errors
    /// [`StorageError::Ring`] where io_uring is missing, forbidden, or out of locked memory; [`StorageError::Threads`].
    pub fn new(options: RingOptions, done: &flume::Sender<Done<T>>) -> Result<Self, StorageError> {
        Self::beside(Arc::default(), options, done)
    }

    /// As `new`, on devices that another engine reads as well, of whose reads `sharing` tells.
    ///
    /// # Errors
    /// As `new`.
    pub(super) fn beside(
        sharing: Arc<Sharing>,
        options: RingOptions,
        done: &flume::Sender<Done<T>>,
    ) -> Result<Self, StorageError> {
        let shared = Shared::new(sharing);
        let mut engine = Self { rings: Vec::new(), submitted: AtomicUsize::new(0), shared };
        for index in 0..options.threads.get() {
            let (queue, reads) = flume::unbounded();
            let ring = Ring::new(reads, done.clone(), Arc::clone(&engine.shared), options);
            ring::start(index, ring, options.threads)?;
            engine.rings.push(queue);
        }
        Ok(engine)
    }
}

impl<T> UringEngine<T> {
    fn stand_in_line(&self, next: InLine<T>) {
        let turn = self.submitted.fetch_add(1, Ordering::Relaxed) % self.rings.len();
        self.shared.sharing.stands_in_line();
        assert!(self.rings[turn].send(next).is_ok(), "the rings outlive the engine that feeds them");
    }
}

impl<T: Send> Engine<T> for UringEngine<T> {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn submit(&self, read: Read<T>) {
        self.stand_in_line(InLine::One(Queued::new(read)));
    }

    fn submit_near(&self, reads: Vec<Read<T>>) {
        self.stand_in_line(InLine::near(reads));
    }

    fn serve(&self, desk: Arc<dyn Desk<T>>) {
        // The first one stands: an engine serves one pool.
        let _ = self.shared.desk.set(desk);
    }

    fn tend(&self) {}

    fn hanging(&self) -> usize {
        0
    }
}

impl<T> Drop for UringEngine<T> {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
