//! Reads of one file that lie close together: one read of the storage brings the bytes of all, and each comes back by itself.
//!
//! A block of memory takes what lies between the first byte and the last. From there each read's bytes are copied, to their
//! place or to its buffer, and the block is free again: memory never waits for the slowest of the samples that shared it.

use std::time::Instant;

use super::buf::{ByteBuf, ReadBuf};
use super::error::StorageError;
use super::queued::Queued;
use super::whole::{Source, Stamp, Wanted};
use super::{Desk, Done, Read, in_place};

/// What an engine takes up next.
pub(super) enum InLine<T> {
    /// A read.
    One(Queued<T>),
    /// Parts of one file, near each other.
    Near(Vec<Queued<T>>),
}

impl<T> InLine<T> {
    /// Of reads that are submitted now; at least one.
    pub(super) fn near(reads: Vec<Read<T>>) -> Self {
        Self::Near(reads.into_iter().map(Queued::new).collect())
    }
}

/// Samples that are shorter than this are read by one even from memory: a system call each would take longer than copying
/// them twice.
const SHORT_BYTES: u64 = 16 << 10;

/// Reads of one file, and what lies between them.
pub(super) struct Near<T> {
    pub(super) reads: Vec<Queued<T>>,
    /// From the first byte to the last.
    pub(super) span: Wanted,
}

impl<T> Near<T> {
    /// Those of the reads that one may bring; the others come back. `stamp`: of their file.
    pub(super) fn of(reads: Vec<Queued<T>>, stamp: Stamp) -> (Option<Self>, Vec<Queued<T>>) {
        let (reads, mut others): (Vec<_>, Vec<_>) =
            reads.into_iter().partition(|queued| wanted(&queued.read, stamp).is_some());
        let of = |queued: &Queued<T>| wanted(&queued.read, stamp).expect("it has just been asked");
        let span = reads.iter().map(of).reduce(|all, other| all.and(&other));
        if let Some(span) = span.filter(|_| reads.len() > 1) {
            return (Some(Self { reads, span }), others);
        }
        others.extend(reads);
        (None, others)
    }

    /// Memory for the whole span, out of that which reads have.
    pub(super) fn block(&self) -> ByteBuf {
        let spare = self.reads[0].read.buf.spare.as_ref();
        spare.map_or_else(ByteBuf::default, |spare| spare.bytes(self.span.len_bytes))
    }

    /// Hands out what the block has: each read, and what came of it.
    pub(super) fn hand_out(
        self,
        block: ByteBuf,
        desk: Option<&dyn Desk<T>>,
        taken: Instant,
        mut finish: impl FnMut(Done<T>),
    ) {
        let (spare, together) = (self.reads[0].read.buf.spare.clone(), self.reads.len() as u32);
        // They came together; what is done with the first is no wait of the next for storage.
        let read_time = taken.elapsed();
        for mut queued in self.reads {
            let result = hand(&block, self.span.offset_bytes, &mut queued.read, desk);
            finish(Done { read_time, together, ..queued.done(result, taken) });
        }
        if let Some(spare) = spare {
            spare.put_bytes(block);
        }
    }
}

/// Has what is in memory go straight to its place, one read after another, where they are long enough for that; the first
/// that is not there comes back with all behind it.
pub(super) fn place_at_once<T>(
    source: &impl Source,
    stamp: Stamp,
    reads: Vec<Queued<T>>,
    desk: Option<&dyn Desk<T>>,
    mut finish: impl FnMut(Queued<T>, Result<(), StorageError>),
) -> Vec<Queued<T>> {
    let wanted_bytes =
        reads.iter().filter_map(|queued| queued.read.extent).map(|(_, bytes)| bytes).sum::<u64>();
    let Some(desk) = desk.filter(|_| wanted_bytes >= SHORT_BYTES * reads.len() as u64) else { return reads };
    let mut reads = reads.into_iter();
    let mut left = Vec::new();
    for mut queued in reads.by_ref() {
        let wanted = wanted(&queued.read, stamp);
        queued.read.buf.clear();
        let placed = wanted.and_then(|wanted| in_place::read(source, &wanted, &mut queued.read, desk));
        if let Some(result) = placed {
            finish(queued, result);
        } else {
            left.push(queued);
            break;
        }
    }
    left.extend(reads);
    left
}

/// What a read wants of its file, if it is a part that is there.
fn wanted<T>(read: &Read<T>, stamp: Stamp) -> Option<Wanted> {
    let extent = Some(read.extent?);
    Wanted::new(stamp, &read.root, &read.buf, extent, read.limit_bytes).ok()
}

/// Copies a read's bytes out of a block that begins at an offset of its file.
fn hand<T>(
    block: &[u8],
    offset_bytes: u64,
    read: &mut Read<T>,
    desk: Option<&dyn Desk<T>>,
) -> Result<(), StorageError> {
    let (at, len_bytes) = read.extent.expect("only parts of files are read by one");
    let bytes = &block[(at - offset_bytes) as usize..][..len_bytes as usize];
    read.buf.clear();
    let mut fill = |target: &mut [u8]| {
        target.copy_from_slice(bytes);
        true
    };
    if desk.is_some_and(|desk| desk.in_place(read, len_bytes, &mut fill)) {
        read.buf.placed_bytes = len_bytes;
        return Ok(());
    }
    read.buf.make_room(len_bytes);
    let ReadBuf { path, bytes: own, .. } = &mut read.buf;
    let target = own.overwrite(bytes.len());
    target
        .map_err(|source| StorageError::memory(read.root.display(path), len_bytes, source))?
        .copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::num::{NonZeroU32, NonZeroUsize};
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::super::conformance::{Places, read_of};
    use super::super::{
        DirectReads, Engine, RingOptions, Root, SpareBuffers, ThreadsEngine, UringEngine, UringProbe,
    };
    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    const LONG_BYTES: u64 = 2 * SHORT_BYTES;

    /// Every engine that brings near reads by one.
    fn engines(done: &flume::Sender<Done<u64>>) -> Vec<Box<dyn Engine<u64>>> {
        let mut engines: Vec<Box<dyn Engine<u64>>> =
            vec![Box::new(ThreadsEngine::new(ONE, done).expect("a thread"))];
        if let Some(objection) = UringProbe::take().objection() {
            eprintln!("without rings: io_uring: {objection}");
            return engines;
        }
        for direct in [DirectReads::Never, DirectReads::Auto] {
            let depth = NonZeroU32::new(4).expect("four");
            // A page cache for next to nothing, so that `Auto` reads past it.
            let options = RingOptions { threads: ONE, depth, direct, page_cache_bytes: 1 };
            engines.push(Box::new(UringEngine::new(options, done).expect("a ring")));
        }
        engines
    }

    fn file(dir: &Path) -> (Arc<Root>, Vec<u8>) {
        let bytes: Vec<u8> = (0..400_000_u32).map(|at| (at % 251 + at / 251 % 241) as u8).collect();
        fs::write(dir.join("x"), &bytes).expect("a file");
        (Root::open(dir).expect("a root"), bytes)
    }

    /// Reads of so many bytes each, one after another with a byte between.
    fn reads(root: &Arc<Root>, count: u64, len_bytes: u64) -> Vec<Read<u64>> {
        let extent = |tag| Some((tag * (len_bytes + 1), len_bytes));
        (0..count).map(|tag| Read { extent: extent(tag), ..read_of(root, "x", tag) }).collect()
    }

    #[test]
    fn one_read_brings_all_and_its_memory_is_free_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, bytes) = file(dir.path());
        let (done, completions) = flume::unbounded();
        for engine in engines(&done) {
            for len_bytes in [100, LONG_BYTES] {
                let spare = Arc::new(SpareBuffers::new(99, 1 << 30));
                let mut reads = reads(&root, 9, len_bytes);
                reads.iter_mut().for_each(|read| read.buf.spare = Some(Arc::clone(&spare)));
                engine.submit_near(reads);
                let done: Vec<_> = completions.iter().take(9).collect();
                let name = engine.name();
                assert!(done.iter().all(|done| done.together == 9), "{name}: all of {len_bytes} bytes");
                for Done { read, result, .. } in done {
                    let (at, len) = read.extent.expect("a part");
                    assert!(result.is_ok() && read.buf.bytes[..] == bytes[at as usize..][..len as usize]);
                }
                // Once its only thread has read on, it is done with the block.
                engine.submit(read_of(&root, "x", 9));
                completions.recv().expect("it comes back");
                assert!(spare.bytes(10 * len_bytes).capacity() as u64 >= 9 * len_bytes, "{name}: the block");
            }
        }
    }

    #[test]
    fn one_that_can_not_be_brought_is_told_alone_and_one_that_is_left_is_read_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, _) = file(dir.path());
        let (done, completions) = flume::unbounded();
        for engine in engines(&done) {
            let mut reads = reads(&root, 2, LONG_BYTES);
            reads[0].limit_bytes = 1;
            engine.submit_near(reads);
            let mut done: Vec<_> = completions.iter().take(2).collect();
            done.sort_by_key(|done| done.read.tag);
            assert!(matches!(done[0].result, Err(StorageError::TooLarge { .. })), "{}", engine.name());
            assert!(done[1].result.is_ok() && done[1].together == 1);
        }
    }

    #[test]
    fn those_with_a_place_are_brought_there_and_finished() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, bytes) = file(dir.path());
        let ((done, completions), (finished, tags)) = (flume::unbounded(), flume::unbounded());
        for engine in engines(&done) {
            let filled = Mutex::default();
            let places = Arc::new(Places { room_bytes: LONG_BYTES, filled, finished: finished.clone() });
            engine.serve(Arc::clone(&places) as Arc<dyn Desk<u64>>);
            for len_bytes in [100, LONG_BYTES] {
                engine.submit_near(reads(&root, 9, len_bytes));
                let mut tags: Vec<_> = tags.iter().take(9).collect();
                tags.sort_unstable();
                assert!(tags.into_iter().eq(0..9), "{}: {len_bytes} bytes each", engine.name());
                for (tag, place) in places.filled.lock().expect("nobody else").drain(..) {
                    let at = (tag * (len_bytes + 1)) as usize;
                    assert!(place == bytes[at..][..len_bytes as usize]);
                }
            }
            assert!(completions.is_empty());
        }
    }
}
