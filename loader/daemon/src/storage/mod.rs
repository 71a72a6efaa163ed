//! Reads, whole or an error: the seam between where bytes lie and the workers that decode them.
//!
//! A [`Read`] carries its own memory and a tag of the caller's; it comes back as a [`Done`] on the channel that
//! the decode workers read from, so there is no extra hop and, once buffers have grown, nothing is allocated.
//! Every engine runs the same conformance suite.

mod beneath;
mod buf;
#[cfg(test)]
mod conformance;
mod error;
mod faulty;
mod file;
mod flight;
mod head;
mod hedge;
mod in_place;
mod lanes;
mod memory;
mod near;
mod opened;
mod pieces;
mod queued;
mod retry;
mod root;
mod routed;
mod sharing;
mod spare;
mod start;
mod threads;
mod turns;
mod uring;
mod whole;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use buf::{ByteBuf, ReadBuf};
pub use error::{StorageError, StorageErrorKind};
pub use faulty::{Faults, FaultyEngine};
pub use head::{Head, head, head_of, read_now};
pub use hedge::HedgeAfter;
pub use memory::MemoryEngine;
pub use opened::Opened;
pub use retry::RetryPolicy;
pub use root::Root;
pub use routed::RoutedEngine;
pub use spare::SpareBuffers;
pub use start::{EngineName, EngineOptions, Started, start};
pub use threads::ThreadsEngine;
pub use uring::{DirectReads, RingOptions, UringEngine, UringProbe};

/// One read: what to read, where to put it, and whom it is for.
#[derive(Debug)]
pub struct Read<T> {
    /// The directory that the path resolves beneath.
    pub root: Arc<Root>,
    /// The path to read and the memory to read into.
    pub buf: ReadBuf,
    /// `(offset_bytes, len_bytes)` inside the file; the whole file where absent.
    pub extent: Option<(u64, u64)>,
    /// More bytes than this are refused before any memory is reserved.
    pub limit_bytes: u64,
    /// Who reads.
    pub account: Account,
    /// The caller's own; it travels with the read and comes back untouched.
    pub tag: T,
}

/// Whose read it is: where sessions wait for storage they share it by weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The session's number.
    pub session: u64,
    /// Beside others of its priority, in bytes read.
    pub weight: u32,
    /// Those of a higher one go first.
    pub priority: i32,
}

impl Account {
    /// Of whoever reads alone.
    pub const ONLY: Self = Self { session: 0, weight: 1, priority: 0 };
}

impl<T> Done<T> {
    /// Its part of the time that it waited, and of the time that it took, where several had the same one.
    pub fn own_times(&self) -> (Duration, Duration) {
        (self.queue_wait / self.together.max(1), self.read_time / self.together.max(1))
    }
}

impl Read<()> {
    /// The read for somebody.
    pub fn tagged<T>(self, tag: T) -> Read<T> {
        let Self { root, buf, extent, limit_bytes, account, tag: () } = self;
        Read { root, buf, extent, limit_bytes, account, tag }
    }
}

/// A read that has come back.
#[derive(Debug)]
pub struct Done<T> {
    /// The read as it was submitted; after `Ok`, `read.buf.bytes` holds exactly the bytes asked for, unless they went
    /// [to their place](Desk::in_place); else none.
    pub read: Read<T>,
    /// Whether all the bytes arrived.
    pub result: Result<(), StorageError>,
    /// From submission until an engine took it up.
    pub queue_wait: Duration,
    /// From then until the bytes, or the error, were there.
    pub read_time: Duration,
    /// When that was; it waits for a decode thread since.
    pub came_back: Instant,
    /// How many reads one read of the storage brought, this one among them; 1: it came alone.
    pub together: u32,
}

/// The caller of an engine, asked on the threads that read.
pub trait Desk<T>: Send + Sync {
    /// Lends `fill` the place where the `len_bytes` of this read end up, if bytes may go there without a look at them. True
    /// where `fill` said that they all did. It must not wait: the place is nobody's meanwhile.
    fn in_place(&self, read: &Read<T>, len_bytes: u64, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool;

    /// The same of a whole file that may be of any length: lends all of the place, and `fill` says how many bytes came.
    fn in_place_whole(&self, read: &Read<T>, fill: &mut dyn FnMut(&mut [u8]) -> Option<usize>) -> bool;

    /// Whether this read has such a place.
    fn has_place(&self, read: &Read<T>, len_bytes: u64) -> bool;

    /// Finishes a read that came back, or gives it back for the channel.
    fn finish(&self, done: Done<T>) -> Option<Done<T>>;
}

/// Something that reads.
///
/// Completions go to the channel that the engine was made with. Its room must be at least the number of reads
/// that are submitted and not yet received, which admission bounds; it disconnects when the last read of a dropped
/// engine has come back.
pub trait Engine<T: Send>: Send + Sync {
    /// The name in settings, logs and metrics.
    fn name(&self) -> &'static str;

    /// Takes a read in without blocking. It comes back exactly once, whatever happens, shutdown included.
    fn submit(&self, read: Read<T>);

    /// Takes in reads of parts of one file that lie close together, at least one, of which one may bring the bytes of all.
    /// Each comes back by itself, with what it would have brought alone.
    fn submit_near(&self, reads: Vec<Read<T>>) {
        reads.into_iter().for_each(|read| self.submit(read));
    }

    /// Asks `desk` about each read from now on, on the thread that makes it. Left out by engines whose threads have no time
    /// for that, and by adapters that change what comes back; one that only passes on passes it on.
    fn serve(&self, _desk: Arc<dyn Desk<T>>) {}

    /// Looks after itself: called a few times a second, so that reads which never come back hold up no others. An adapter
    /// passes it on.
    fn tend(&self);

    /// Threads that hang in a read.
    fn hanging(&self) -> usize;
}
