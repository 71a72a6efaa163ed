//! How a ring brings reads that lie close together in one file.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::file::RingFile;
use super::pieces::Pieces;
use super::ring::Thread;
use crate::storage::Read;
use crate::storage::near::{self, Near};
use crate::storage::queued::Queued;
use crate::storage::whole::Source as _;

impl<T: Send + 'static> Thread<T> {
    /// Brings reads of one file by as few as serve; what that fails for is read alone, and says then what is wrong.
    pub(super) async fn bring_near(self: &Rc<Self>, reads: Vec<Queued<T>>, room: &Arc<Semaphore>) {
        let taken = Instant::now();
        let alone = if self.ring.shared.stopping.load(Ordering::Acquire) {
            reads
        } else {
            let first = &reads[0].read;
            match self.open(&first.root, &first.buf.path, true).await {
                Ok(file) => self.bring_of(&file, reads, taken).await,
                Err(_) => reads,
            }
        };
        for queued in alone {
            // At the same time as far as there is room; never waiting for room with reads in hand.
            let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
                self.bring(queued).await;
                continue;
            };
            let thread = Rc::clone(self);
            tokio_uring::spawn(async move {
                thread.bring(queued).await;
                drop(permit);
            });
        }
    }

    /// Brings what one read can bring of a file, or two where some go past the page cache and some do not.
    async fn bring_of(&self, file: &RingFile, reads: Vec<Queued<T>>, taken: Instant) -> Vec<Queued<T>> {
        let Ok(stamp) = file.stamp() else { return reads };
        let goes_past = |queued: &Queued<T>| {
            let extent = queued.read.extent;
            extent.is_some_and(|(at, _)| self.past_cache.would_take(file.id(), file.size_bytes(), at))
        };
        let (past, through): (Vec<_>, Vec<_>) = reads.into_iter().partition(goes_past);
        let through = near::place_at_once(file, stamp, through, self.desk(), |queued, result| {
            self.past_cache.count(queued.read.buf.len_bytes());
            self.finish(queued.done(result, taken));
        });
        let mut alone = Vec::new();
        for (reads, past_cache) in [(past, true), (through, false)] {
            let (near, others) = Near::of(reads, stamp);
            alone.extend(others);
            if let Some(near) = near {
                alone.extend(self.bring_span(file, near, past_cache, taken).await);
            }
        }
        alone
    }

    /// Brings a span; what did not come with it comes back.
    async fn bring_span(
        &self,
        file: &RingFile,
        near: Near<T>,
        past_cache: bool,
        taken: Instant,
    ) -> Vec<Queued<T>> {
        let flight = &self.ring.shared.sharing.flight;
        let Read { root, account, .. } = &near.reads[0].read;
        // For others it counts as what it is made of, short reads; a mebibyte of them at most.
        let short = flight.short(root, *account, near.span.len_bytes);
        let mut block = near.block();
        let pieces = Pieces { cut: self.ring.cut, large: None };
        let got = file.read(&mut block, &near.span, past_cache, pieces).await;
        drop(short);
        if !matches!(got, Ok(Ok(bytes)) if bytes == near.span.len_bytes) {
            return near.reads;
        }
        near.hand_out(block, self.desk(), taken, |done| {
            self.past_cache.count(done.read.buf.len_bytes());
            self.finish(done);
        });
        Vec::new()
    }
}
