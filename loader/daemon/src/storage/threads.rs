//! A pool of threads that open, `pread` and close.

mod line;
mod near;

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use rustix::io::Errno;

use super::buf::ReadBuf;
use super::error::StorageError;
use super::file::OpenFile;
use super::flight;
use super::in_place::{self, AtOnce};
use super::lanes::{Lane, Lanes};
use super::near::InLine;
use super::pieces::Pieces;
use super::queued::Queued;
use super::root::Root;
use super::sharing::Sharing;
use super::turns::{Large, STEP_BYTES};
use super::whole::{self, Source, Stamp, Wanted, read_fully};
use super::{Desk, Done, Engine, Read};
use line::{Line, Turn};

/// A read needs a few hundred bytes of stack, and `display` of a path a little more.
const STACK_BYTES: usize = 256 << 10;

/// Reads with blocking calls on threads of its own; large reads have as many helpers again among them.
///
/// The queue grows with what is submitted, which admission bounds. Dropping the engine waits for nobody: reads in
/// progress finish, those still queued come back as [`StorageError::Shutdown`], then the threads end.
pub struct ThreadsEngine<T> {
    crew: Arc<Crew<T>>,
}

/// What the threads share.
struct Crew<T> {
    /// Closed with the engine.
    line: Line<InLine<T>>,
    done: flume::Sender<Done<T>>,
    desk: OnceLock<Arc<dyn Desk<T>>>,
    pieces: Pieces,
    sharing: Arc<Sharing>,
    lanes: Lanes,
    stopping: AtomicBool,
}

impl<T: Send + 'static> ThreadsEngine<T> {
    /// Starts the threads; completions go to `done`.
    ///
    /// # Errors
    /// [`StorageError::Threads`] where the system gives no more threads.
    pub fn new(threads: NonZeroUsize, done: &flume::Sender<Done<T>>) -> Result<Self, StorageError> {
        Self::beside(Arc::default(), threads, done)
    }

    /// As `new`, on devices that another engine reads as well, of whose reads `sharing` tells.
    ///
    /// # Errors
    /// As `new`.
    pub(super) fn beside(
        sharing: Arc<Sharing>,
        threads: NonZeroUsize,
        done: &flume::Sender<Done<T>>,
    ) -> Result<Self, StorageError> {
        let (lanes, pieces) = (Lanes::new(threads.get()), Pieces::new(threads.get()));
        Self::with(sharing, lanes, threads, STACK_BYTES, pieces, done)
    }

    #[cfg(test)]
    fn start(
        threads: NonZeroUsize,
        stack_bytes: usize,
        pieces: Pieces,
        done: &flume::Sender<Done<T>>,
    ) -> Result<Self, StorageError> {
        Self::with(Arc::default(), Lanes::new(threads.get()), threads, stack_bytes, pieces, done)
    }

    fn with(
        sharing: Arc<Sharing>,
        lanes: Lanes,
        threads: NonZeroUsize,
        stack_bytes: usize,
        pieces: Pieces,
        done: &flume::Sender<Done<T>>,
    ) -> Result<Self, StorageError> {
        let (done, desk, stopping) = (done.clone(), OnceLock::new(), AtomicBool::new(false));
        let crew = Crew { line: line(), done, desk, pieces, sharing, lanes, stopping };
        let engine = Self { crew: Arc::new(crew) };
        for _ in 0..threads.get() {
            hire(&engine.crew, stack_bytes)
                .map_err(|source| StorageError::Threads { threads: threads.get(), source })?;
        }
        Ok(engine)
    }
}

impl<T> ThreadsEngine<T> {
    fn stand_in_line(&self, next: InLine<T>) {
        assert!(self.crew.line.push(next).is_ok(), "the engine closes it when it goes");
    }
}

impl<T: Send + 'static> Engine<T> for ThreadsEngine<T> {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn submit(&self, read: Read<T>) {
        self.stand_in_line(InLine::One(Queued::new(read)));
    }

    fn submit_near(&self, reads: Vec<Read<T>>) {
        self.stand_in_line(InLine::near(reads));
    }

    fn serve(&self, desk: Arc<dyn Desk<T>>) {
        // The first one stands: an engine serves one pool.
        let _ = self.crew.desk.set(desk);
    }

    fn tend(&self) {
        fill_up(&self.crew);
        self.crew.line.look();
    }

    fn hanging(&self) -> usize {
        self.crew.lanes.hanging(Instant::now())
    }
}

impl<T> Drop for ThreadsEngine<T> {
    fn drop(&mut self) {
        self.crew.stopping.store(true, Ordering::Release);
        self.crew.line.close();
    }
}

impl<T> Crew<T> {
    /// Helpers for a large read, unless others wait: those would wait for the device next, behind all of its pieces.
    fn pieces(&self) -> Option<&Pieces> {
        (!self.others_wait()).then_some(&self.pieces)
    }

    /// Has whoever asked finish a read, or sends it to the decode threads.
    fn send_back(&self, done: Done<T>) {
        let left = if let Some(desk) = self.desk.get() { desk.finish(done) } else { Some(done) };
        // A receiver that has gone away wants no completions; the rest of the queue is drained all the same.
        if let Some(done) = left {
            let _ = self.done.send(done);
        }
    }

    /// Whether reads wait for a thread, or for room in a ring.
    fn others_wait(&self) -> bool {
        self.line.lacks_threads() || self.sharing.any_in_line()
    }
}

/// One for as many threads as there are processors, and two at least.
fn line<T>() -> Line<T> {
    Line::new(thread::available_parallelism().map_or(2, |processors| processors.get().max(2)))
}

/// Starts the threads that are missing.
fn fill_up<T: Send + 'static>(crew: &Arc<Crew<T>>) {
    for _ in 0..crew.lanes.missing(Instant::now()) {
        if hire(crew, STACK_BYTES).is_err() {
            // The next look tries again.
            break;
        }
    }
}

/// Starts one more thread.
fn hire<T: Send + 'static>(crew: &Arc<Crew<T>>, stack_bytes: usize) -> io::Result<()> {
    let lane = crew.lanes.add();
    let thread = thread::Builder::new().name("read".into()).stack_size(stack_bytes);
    let started = thread.spawn({
        let (crew, lane) = (Arc::clone(crew), Arc::clone(&lane));
        move || serve(&crew, &lane)
    });
    started.map(drop).inspect_err(|_| crew.lanes.forget(&lane))
}

/// Serves reads until the engine is gone and its queue is empty, or there is a thread too many.
fn serve<T: Send + 'static>(crew: &Arc<Crew<T>>, lane: &Arc<Lane>) {
    let mut before = None;
    while let Some((next, turn)) = crew.line.take(before) {
        let post = Post { crew, lane, turn, taken: Instant::now() };
        crew.lanes.took(lane, post.taken);
        let leaves = match next {
            InLine::One(queued) => bring(queued, &post),
            InLine::Near(reads) => near::bring(reads, &post),
        };
        if leaves {
            // What it leaves behind is somebody else's.
            drop(post);
            return crew.line.call();
        }
        before = Some(post.turn);
    }
}

/// A thread with something in hand.
struct Post<'a, T> {
    crew: &'a Arc<Crew<T>>,
    lane: &'a Arc<Lane>,
    turn: Turn<'a, InLine<T>>,
    /// When it took that up.
    taken: Instant,
}

impl<T> Post<'_, T> {
    /// Opens a file; where that may take a while, while another thread runs.
    fn open(&self, root: &Root, path: &[u8]) -> Result<OpenFile, StorageError> {
        if root.has_nowait_reads()
            && let Some(file) = OpenFile::open_at_once(root, path)
        {
            return Ok(file);
        }
        self.open_aside(root, path)
    }

    /// Opens a file while another thread runs.
    fn open_aside(&self, root: &Root, path: &[u8]) -> Result<OpenFile, StorageError> {
        self.turn.step_aside();
        OpenFile::open(root, path)
    }

    /// Fills `target` with a short read, and, unless all of it may be and is in memory, while another thread runs.
    fn fill(
        &self,
        file: &OpenFile,
        may_be_there: bool,
        target: &mut [u8],
        offset_bytes: u64,
    ) -> Result<u64, Errno> {
        let wanted = target.len() as u64;
        let now = |target: &mut [u8], at| file.read_now_at(target, at);
        if may_be_there && read_fully(now, target, offset_bytes) == Ok(wanted) {
            return Ok(wanted);
        }
        self.turn.step_aside();
        file.fill(target, offset_bytes)
    }
}

/// Reads, and sends back what came of it. True: the thread is to leave.
fn bring<T: Send + 'static>(mut queued: Queued<T>, post: &Post<'_, T>) -> bool {
    let crew = post.crew;
    let result = if crew.stopping.load(Ordering::Acquire) {
        Err(queued.shutdown())
    } else {
        read_file(&mut queued.read, post)
    };
    if result.is_ok() {
        crew.sharing.turns.count_short(&queued.read);
    }
    let leaves = crew.lanes.is_done(post.lane);
    crew.send_back(queued.done(result, post.taken));
    leaves
}

fn read_file<T: Send + 'static>(read: &mut Read<T>, post: &Post<'_, T>) -> Result<(), StorageError> {
    read.buf.clear();
    let crew = post.crew;
    let mut may_be_there = read.root.has_nowait_reads();
    let desk = crew.desk.get().map(|desk| &**desk);
    let file = match desk.filter(|_| may_be_there && read.extent.is_none()) {
        Some(desk) => match in_place::read_whole(read, STEP_BYTES, desk) {
            Some(AtOnce::Placed) => return Ok(()),
            Some(AtOnce::Opened { file, is_absent }) => {
                may_be_there = !is_absent;
                file
            }
            None => post.open_aside(&read.root, &read.buf.path)?,
        },
        None => post.open(&read.root, &read.buf.path)?,
    };
    if read.extent.is_some() {
        file.expect_parts();
    }
    let wanted = Wanted::of(&file, &read.root, &read.buf, read.extent, read.limit_bytes)?;
    let is_large = wanted.len_bytes > crew.pieces.piece_bytes().min(STEP_BYTES) as u64;
    let large = is_large.then(|| crew.sharing.large(&read.root, read.account));
    let file = InTurn { file, large, may_be_there: Cell::new(may_be_there), post };
    let desk = desk.filter(|_| may_be_there);
    let placed = desk.and_then(|desk| in_place::read(&file, &wanted, read, desk));
    let outcome = placed.unwrap_or_else(|| {
        let _short = if is_large {
            None
        } else {
            crew.sharing.flight.short(&read.root, read.account, wanted.len_bytes)
        };
        whole::fill(&file, &read.root, &mut read.buf, &wanted)
    });
    if outcome.is_err() {
        read.buf.clear();
    }
    outcome
}

/// A file whose large reads give way to others, and have helpers where nobody else wants a thread.
struct InTurn<'a, T> {
    file: OpenFile,
    /// Of a large read alone.
    large: Option<(Large<'a>, Option<flight::Large<'a>>)>,
    /// Whether all of what is wanted may be in memory: nobody found that it is not.
    may_be_there: Cell<bool>,
    post: &'a Post<'a, T>,
}

impl<T: Send + 'static> Source for InTurn<'_, T> {
    fn stamp(&self) -> Result<Stamp, Errno> {
        self.file.stamp()
    }

    fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        self.file.read_at(target, offset_bytes)
    }

    /// To its place, which must not be held while others have their turn: a large read then starts anew, into a buffer.
    fn read_now_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        let mut len = target.len();
        if let Some((large, _)) = &self.large {
            // It waits for nothing, but takes so long that others would wait for this thread.
            self.post.turn.step_aside();
            len = len.min(STEP_BYTES);
            if !large.step_now(len, || self.post.crew.others_wait()) {
                return Err(Errno::AGAIN);
            }
        }
        let got = self.file.read_now_at(&mut target[..len], offset_bytes);
        self.may_be_there.set(got.is_ok());
        got
    }

    fn fill(&self, target: &mut [u8], offset_bytes: u64) -> Result<u64, Errno> {
        let Some((large, flight)) = &self.large else {
            return self.post.fill(&self.file, self.may_be_there.get(), target, offset_bytes);
        };
        let (crew, fd) = (self.post.crew, self.file.fd());
        let give_way = || {
            if self.post.lane.give_way() {
                fill_up(crew);
            }
        };
        let step = |target: &mut [u8], at: u64| {
            let len = target.len().min(STEP_BYTES);
            large.step(len, || crew.others_wait(), give_way);
            let held = flight.as_ref().map(|flight| flight.step_now_or_later(len, give_way));
            let got = rustix::io::pread(fd, &mut target[..len], at);
            drop(held);
            got
        };
        self.post.turn.step_aside();
        match crew.pieces() {
            Some(pieces) => pieces.fill(target, offset_bytes, step),
            None => read_fully(step, target, offset_bytes),
        }
    }
}

/// Fills `buf` with the beginning of its file; gives the bytes of all of it.
pub(super) fn read_head(root: &Root, buf: &mut ReadBuf, len_max: u64) -> Result<u64, StorageError> {
    let file = OpenFile::open(root, &buf.path)?;
    let size_bytes = file.size_bytes();
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
    buf.clear();
    whole::read(&OpenFile::open(root, &buf.path)?, root, buf, extent, limit_bytes)
}

#[cfg(test)]
mod tests;
