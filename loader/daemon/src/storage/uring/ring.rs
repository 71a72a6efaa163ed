//! One storage thread: a ring, the reads in flight in it, and the files they read.

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use tokio::sync::Semaphore;

use super::descriptors::Descriptors;
use super::file::{RingFile, read_window};
use super::fixed::FixedBuffers;
use super::past_cache::{ALWAYS_FROM_BYTES, PastCache};
use super::pieces::{Cut, Pieces};
use super::{RingOptions, Shared};
use crate::storage::buf::{BLOCK_BYTES, ByteBuf, ReadBuf};
use crate::storage::error::StorageError;
use crate::storage::file::OpenFile;
use crate::storage::in_place;
use crate::storage::near::InLine;
use crate::storage::queued::Queued;
use crate::storage::root::Root;
use crate::storage::turns::STEP_BYTES;
use crate::storage::whole::{Source as _, Wanted};
use crate::storage::{Desk, Done, Read};

/// How long a file that is read in parts stays open.
const FRESH: Duration = Duration::from_secs(1);

/// Longer reads are finished elsewhere: a copy would hold up the others of the ring for longer than it takes to wake a thread.
const AT_ONCE_BYTES_MAX: usize = 256 << 10;

/// What one thread needs to serve.
pub(super) struct Ring<T> {
    pub(super) reads: flume::Receiver<InLine<T>>,
    pub(super) done: flume::Sender<Done<T>>,
    pub(super) shared: Arc<Shared<T>>,
    pub(super) options: RingOptions,
    /// As [`FRESH`], [`ALWAYS_FROM_BYTES`] and the default, but for tests.
    pub(super) fresh: Duration,
    pub(super) always_from_bytes: u64,
    pub(super) cut: Cut,
    /// The most reads that were in flight at a time.
    #[cfg(test)]
    pub(super) peak: Arc<std::sync::atomic::AtomicUsize>,
}

impl<T> Ring<T> {
    /// A ring that serves what comes through `reads`.
    pub(super) fn new(
        reads: flume::Receiver<InLine<T>>,
        done: flume::Sender<Done<T>>,
        shared: Arc<Shared<T>>,
        options: RingOptions,
    ) -> Self {
        Self {
            reads,
            done,
            shared,
            options,
            fresh: FRESH,
            always_from_bytes: ALWAYS_FROM_BYTES,
            cut: Cut::default(),
            #[cfg(test)]
            peak: Arc::default(),
        }
    }
}

/// Starts the thread of a ring, and waits until its ring has read something.
pub(super) fn start<T: Send + 'static>(
    index: usize,
    ring: Ring<T>,
    threads: NonZeroUsize,
) -> Result<(), StorageError> {
    let (tell, told) = flume::bounded(1);
    thread::Builder::new()
        .name(format!("ring-{index}"))
        .spawn(move || run(ring, &tell))
        .map_err(|source| StorageError::Threads { threads: threads.get(), source })?;
    let ended = || Err(io::Error::other("its thread ended"));
    told.recv().unwrap_or_else(|_| ended()).map_err(|source| StorageError::Ring { source })
}

/// Serves reads until the engine is gone and everything has come back.
fn run<T: Send + 'static>(ring: Ring<T>, tell: &flume::Sender<io::Result<()>>) {
    let entries = ring.options.depth.get();
    // `tokio_uring::start` would panic where io_uring is forbidden.
    let runtime = match tokio_uring::Runtime::new(tokio_uring::builder().entries(entries)) {
        Ok(runtime) => runtime,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let tried = runtime.block_on(try_it());
    let works = tried.is_ok();
    let _ = tell.send(tried);
    if works {
        runtime.block_on(Thread::new(ring).serve());
    }
}

/// Reads a few bytes of a file in memory: a filter may allow a ring to be made, and not to be used.
async fn try_it() -> io::Result<()> {
    const WORDS: &[u8] = b"does it read";
    let file = rustix::fs::memfd_create(c"forebay-ring", MemfdFlags::CLOEXEC)?;
    rustix::io::write(&file, WORDS)?;
    let mut bytes = ByteBuf::default();
    bytes.overwrite(WORDS.len()).map_err(io::Error::other)?;
    let file = tokio_uring::fs::File::from_std(file.into());
    let got = read_window(&file, &mut bytes, 0..WORDS.len(), 0, false, Pieces::default()).await?;
    if (got, &bytes[..]) != (WORDS.len(), WORDS) {
        return Err(io::Error::other(format!("{got} of {} bytes were read", WORDS.len())));
    }
    Ok(())
}

/// A ring and the files that it has open.
pub(super) struct Thread<T> {
    /// Before `ring`, so that all files are closed by the time the channel of completions is.
    kept: Descriptors<RingFile>,
    /// Whether a task closes what was kept long enough.
    sweeps: Cell<bool>,
    pub(super) past_cache: PastCache,
    fixed: FixedBuffers,
    pub(super) ring: Ring<T>,
}

impl<T: Send + 'static> Thread<T> {
    fn new(ring: Ring<T>) -> Rc<Self> {
        let kept = Descriptors::new(ring.fresh);
        let RingOptions { threads, depth, direct, page_cache_bytes } = ring.options;
        let past_cache = PastCache::new(direct, ring.always_from_bytes, page_cache_bytes, threads.get());
        let fixed = FixedBuffers::new(depth.get() as usize);
        Rc::new(Self { kept, sweeps: Cell::new(false), past_cache, fixed, ring })
    }

    async fn serve(self: Rc<Self>) {
        let depth = self.ring.options.depth.get();
        let room = Arc::new(Semaphore::new(depth as usize));
        loop {
            let permit = Arc::clone(&room).acquire_owned().await.expect("nobody closes it");
            let Ok(next) = self.ring.reads.recv_async().await else { break };
            self.ring.shared.sharing.taken_up();
            #[cfg(test)]
            self.ring.peak.fetch_max(depth as usize - room.available_permits(), Ordering::Relaxed);
            let (thread, room) = (Rc::clone(&self), Arc::clone(&room));
            tokio_uring::spawn(async move {
                match next {
                    InLine::One(queued) => thread.bring(queued).await,
                    InLine::Near(reads) => thread.bring_near(reads, &room).await,
                }
                drop(permit);
            });
        }
        // The kernel writes to what is in flight: this thread, and with it the ring, stays until all of that is back.
        let _ = room.acquire_many(depth).await;
    }

    /// Reads, and sends back what came of it.
    pub(super) async fn bring(self: &Rc<Self>, mut queued: Queued<T>) {
        let taken = Instant::now();
        let result = if self.ring.shared.stopping.load(Ordering::Acquire) {
            Err(queued.shutdown())
        } else {
            self.read(&mut queued.read).await
        };
        self.finish(queued.done(result, taken));
    }

    /// Sends back what came of a read.
    pub(super) fn finish(&self, done: Done<T>) {
        if done.result.is_ok() {
            self.ring.shared.sharing.turns.count_short(&done.read);
        }
        let desk = self.desk().filter(|_| done.read.buf.bytes.len() <= AT_ONCE_BYTES_MAX);
        let left = if let Some(desk) = desk { desk.finish(done) } else { Some(done) };
        if let Some(done) = left {
            // A receiver that has gone away wants no completions.
            let _ = self.ring.done.send(done);
        }
    }

    /// Whoever says where bytes end up.
    pub(super) fn desk(&self) -> Option<&dyn Desk<T>> {
        self.ring.shared.desk.get().map(|desk| &**desk)
    }

    async fn read(self: &Rc<Self>, read: &mut Read<T>) -> Result<(), StorageError> {
        read.buf.clear();
        let outcome = match self.open(&read.root, &read.buf.path, read.extent.is_some()).await {
            Ok(file) => self.fill(&file, read).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            read.buf.clear();
        }
        outcome
    }

    /// Brings what is wanted of an open file to its place, or to the read's buffer.
    async fn fill(&self, file: &RingFile, read: &mut Read<T>) -> Result<(), StorageError> {
        let wanted = Wanted::of(file, &read.root, &read.buf, read.extent, read.limit_bytes)?;
        let past_cache = read.extent.is_some()
            && self.past_cache.takes(file.id(), file.size_bytes(), wanted.offset_bytes, wanted.len_bytes);
        let desk = self.desk().filter(|_| wanted.len_bytes <= AT_ONCE_BYTES_MAX as u64);
        let is_large = wanted.len_bytes > STEP_BYTES as u64;
        if is_large && read.extent.is_some() {
            // It goes in steps; the kernel would take them for a stream, and put the next eight megabytes in line at once.
            file.expect_parts();
        }
        let flight = &self.ring.shared.sharing.flight;
        let large = if is_large { flight.large(&read.root, read.account) } else { None };
        let _short = if is_large { None } else { flight.short(&read.root, read.account, wanted.len_bytes) };
        let placed = match desk {
            Some(desk) if past_cache => self.place(file, &wanted, read, desk).await,
            Some(desk) => in_place::read(file, &wanted, read, desk),
            None => None,
        };
        if let Some(outcome) = placed {
            return outcome;
        }
        let pieces = Pieces { cut: self.ring.cut, large: large.as_ref() };
        // Whole blocks reach up to one block before and two behind.
        read.buf.make_room(wanted.len_bytes.saturating_add(3 * BLOCK_BYTES as u64));
        let ReadBuf { path, bytes, .. } = &mut read.buf;
        let root = &read.root;
        let got_bytes = file
            .read(bytes, &wanted, past_cache, pieces)
            .await
            .map_err(|source| StorageError::memory(root.display(path), wanted.len_bytes, source))?
            .map_err(|errno| StorageError::io("read", root.display(path), errno))?;
        wanted.check(root, path, got_bytes, || file.stamp())
    }

    /// Reads past the page cache into registered memory, and copies to its place what has one. `None`: it has none, or that
    /// can't be; nothing is said of the file.
    async fn place(
        &self,
        file: &RingFile,
        wanted: &Wanted,
        read: &mut Read<T>,
        desk: &dyn Desk<T>,
    ) -> Option<Result<(), StorageError>> {
        if !desk.has_place(read, wanted.len_bytes) {
            return None;
        }
        let fixed = self.fixed.take(wanted.len_bytes)?;
        let (fixed, start, got) = file.read_fixed(fixed, wanted).await?;
        let path = || read.root.display(&read.buf.path);
        let got_bytes = match got.map_err(|errno| StorageError::io("read", path(), errno)) {
            Ok(got_bytes) => got_bytes,
            Err(error) => return Some(Err(error)),
        };
        if let Err(error) = wanted.check(&read.root, &read.buf.path, got_bytes, || file.stamp()) {
            return Some(Err(error));
        }
        let bytes = &fixed[start..][..wanted.len_bytes as usize];
        let mut fill = |target: &mut [u8]| {
            target.copy_from_slice(bytes);
            true
        };
        // A second read may have come first meanwhile, and then nobody wants these bytes; or asks for them in a buffer.
        if desk.in_place(read, wanted.len_bytes, &mut fill) {
            read.buf.placed_bytes = wanted.len_bytes;
            return Some(Ok(()));
        }
        None
    }

    /// Opens a file, or finds it open; `in_parts` files are kept open for a while.
    pub(super) async fn open(
        self: &Rc<Self>,
        root: &Arc<Root>,
        path: &[u8],
        in_parts: bool,
    ) -> Result<Rc<RingFile>, StorageError> {
        if in_parts && let Some(file) = self.kept.get(root, path, Instant::now()) {
            return Ok(file);
        }
        let opened = match OpenFile::open_at_once(root, path) {
            Some(opened) => opened,
            None => open_elsewhere(root, path).await?,
        };
        let file =
            RingFile::new(opened).map_err(|errno| StorageError::io("open", root.display(path), errno))?;
        let file = Rc::new(file);
        if in_parts {
            self.past_cache.opened(file.id(), file.size_bytes(), Instant::now());
            if !self.past_cache.keeps_all() {
                file.expect_parts();
            }
        }
        if in_parts && !self.kept.fresh().is_zero() {
            self.kept.put(root, path, &file, Instant::now());
            self.sweep_later();
        }
        Ok(file)
    }

    /// Closes what nobody asked to be opened anew, also where no read comes any more.
    fn sweep_later(self: &Rc<Self>) {
        if self.sweeps.replace(true) {
            return;
        }
        let thread = Rc::clone(self);
        tokio_uring::spawn(async move {
            loop {
                tokio::time::sleep(thread.kept.fresh()).await;
                if !thread.kept.sweep(Instant::now()) {
                    thread.sweeps.set(false);
                    return;
                }
            }
        });
    }
}

/// Opens a file on a thread that may wait: its names, or its inode, are still to be fetched.
async fn open_elsewhere(root: &Arc<Root>, path: &[u8]) -> Result<OpenFile, StorageError> {
    let (root, path) = (Arc::clone(root), path.to_vec());
    let opening = tokio::task::spawn_blocking(move || OpenFile::open(&root, &path));
    opening.await.expect("opening does not panic, and the runtime ends after its reads")
}
