//! Long reads in pieces: several of one buffer in flight in one ring, each in steps where others are beside it.
//!
//! One step after the other leaves the device idle between two of them, unless other reads are in flight, and most of a
//! parallel file system idle all the time.

use std::cell::RefCell;
use std::future;
use std::mem;
use std::ops::Range;
use std::task::Poll;

use rustix::io::Errno;

use super::part::Part;
use crate::storage::buf::{BLOCK_BYTES, ByteBuf};
use crate::storage::flight::Large;

/// A lone read of 12 MB comes 1.17 times as fast as in steps of 4 MiB, cold (1.16 past the page cache), one of 4 MB 1.05
/// times (1.09). With two and eight in flight the disk is busy either way, and a copy from memory stays one thread's: 0.92
/// to 1.10. Pieces of 512 KiB and of 2 MiB are as good within the noise (medians of 20 rounds in turns by
/// `tests/measure/pieces.rs`, on a busy machine and a virtual disk).
const PIECE_BYTES: usize = 1 << 20;
/// Together 4 MiB, which one step was: as much as a ring's thread copies out of the page cache before it looks around, and
/// as a short read finds before it in the device's queue when it comes. Eight of them gain nothing more.
const AT_ONCE: usize = 4;

/// How long reads are cut.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// No shorter read is cut. Whole blocks, so that reads past the page cache may begin at each.
    pub(super) piece_bytes: usize,
    /// Pieces of one read in flight.
    pub(super) at_once: usize,
}

impl Default for Cut {
    fn default() -> Self {
        const { assert!(PIECE_BYTES.is_multiple_of(BLOCK_BYTES)) };
        Self { piece_bytes: PIECE_BYTES, at_once: AT_ONCE }
    }
}

/// How one read goes.
#[derive(Clone, Copy, Default)]
pub(super) struct Pieces<'a> {
    pub(super) cut: Cut,
    /// Of one that gives way to the short reads of others.
    pub(super) large: Option<&'a Large<'a>>,
}

/// A read of what lies in a file from `offset_bytes` on.
pub(super) struct Reading<'a, R> {
    /// One read, which may bring fewer bytes than the part's step, and none at the end.
    pub(super) read_at: R,
    pub(super) offset_bytes: u64,
    /// Past the page cache: what ends inside of a block has come to the end of the file.
    pub(super) in_blocks: bool,
    pub(super) pieces: Pieces<'a>,
}

impl<R> Reading<'_, R>
where
    R: AsyncFn(Part, u64) -> (Result<usize, Errno>, Part),
{
    /// Fills a window of the buffer's memory; gives the bytes before the first that is missing, at the end of the file.
    ///
    /// Where this is dropped before its end, the buffer stays empty: its memory is the kernel's until that is done.
    ///
    /// # Errors
    /// The first of a piece; no other piece is begun then, and those in flight are waited for.
    pub(super) async fn fill(&self, bytes: &mut ByteBuf, window: Range<usize>) -> Result<usize, Errno> {
        let part = Part::of(mem::take(bytes), window);
        let (got, part) = if part.left_bytes() <= self.pieces.cut.piece_bytes {
            self.fill_part(part, 0).await
        } else {
            self.fill_pieces(part).await
        };
        *bytes = part.into_bytes().expect("all of its pieces have come back");
        got
    }

    /// Goes on after short reads, and stops early only at the end of the file; how many bytes arrived.
    ///
    /// * `at_bytes`: where the part begins in what is read.
    async fn fill_part(&self, mut part: Part, at_bytes: usize) -> (Result<usize, Errno>, Part) {
        let mut done_bytes = 0_usize;
        // A direct read that ends inside of a block has come to the end of the file.
        while part.left_bytes() > 0 && (!self.in_blocks || done_bytes.is_multiple_of(BLOCK_BYTES)) {
            let mut step = None;
            part.step_bytes = part.left_bytes();
            if let Some(large) = self.pieces.large {
                let (held, step_bytes) = large.step(part.left_bytes()).await;
                (step, part.step_bytes) = (Some(held), step_bytes);
            }
            let got;
            (got, part) = (self.read_at)(part, self.offset_bytes + (at_bytes + done_bytes) as u64).await;
            drop(step);
            match got {
                Ok(0) => break,
                Ok(count) => {
                    part.skip(count);
                    done_bytes += count;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return (Err(errno), part),
            }
        }
        (Ok(done_bytes), part)
    }

    /// As `fill_part`, several pieces at a time. A piece that waits for its step holds up no other.
    async fn fill_pieces(&self, part: Part) -> (Result<usize, Errno>, Part) {
        let len_bytes = part.left_bytes();
        let rest = RefCell::new(Rest { part, len_bytes, got: Ok(len_bytes) });
        let next = || rest.borrow_mut().next(self.pieces.cut.piece_bytes);
        let lane = async || {
            while let Some((piece, at_bytes)) = next() {
                let wanted_bytes = piece.left_bytes();
                let (got, _) = self.fill_part(piece, at_bytes).await;
                rest.borrow_mut().came(at_bytes, wanted_bytes, got);
            }
        };
        all((0..self.pieces.cut.at_once).map(|_| lane())).await;
        let Rest { part, got, .. } = rest.into_inner();
        (got, part)
    }
}

/// What is still to be cut into pieces, and what came of those before.
struct Rest {
    part: Part,
    len_bytes: usize,
    /// The bytes before the first that is known to be missing; or the first error.
    got: Result<usize, Errno>,
}

impl Rest {
    /// The next piece and where it begins; `None` where there is none, or nothing behind what is missing counts.
    fn next(&mut self, piece_bytes: usize) -> Option<(Part, usize)> {
        let left_bytes = self.part.left_bytes();
        let goes_on = left_bytes > 0 && self.got == Ok(self.len_bytes);
        goes_on.then(|| (self.part.cut(piece_bytes), self.len_bytes - left_bytes))
    }

    fn came(&mut self, at_bytes: usize, wanted_bytes: usize, got: Result<usize, Errno>) {
        match got {
            Ok(count) if count == wanted_bytes => {}
            Ok(count) => self.got = self.got.map(|end_bytes| end_bytes.min(at_bytes + count)),
            // The first one stands.
            Err(errno) => self.got = self.got.and(Err(errno)),
        }
    }
}

/// Runs all of them on this task, until the last one is done.
async fn all(lanes: impl Iterator<Item: Future<Output = ()>>) {
    let mut running: Vec<_> = lanes.map(Box::pin).collect();
    future::poll_fn(|context| {
        running.retain_mut(|lane| lane.as_mut().poll(context).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests;
