//! How a thread brings reads that lie close together in one file.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Crew, Lane};
use crate::storage::Read;
use crate::storage::file::OpenFile;
use crate::storage::near::{self, InLine, Near};
use crate::storage::queued::Queued;
use crate::storage::whole::Source as _;

/// Brings reads of one file by one; those for which that fails go back into the line, each for itself, and say then what is
/// wrong. True: the thread is to leave.
pub(super) fn bring<T: Send + 'static>(
    reads: Vec<Queued<T>>,
    crew: &Arc<Crew<T>>,
    lane: &Arc<Lane>,
    taken: Instant,
) -> bool {
    let alone = if crew.stopping.load(Ordering::Acquire) {
        reads
    } else {
        let Read { root, buf, .. } = &reads[0].read;
        match OpenFile::open(root, &buf.path) {
            Ok(file) => bring_of(&file, reads, crew, taken),
            Err(_) => reads,
        }
    };
    for queued in alone {
        let back = match crew.queue.upgrade() {
            Some(queue) => queue.send(InLine::One(queued)).map_err(|unsent| unsent.0),
            None => Err(InLine::One(queued)),
        };
        if let Err(InLine::One(queued)) = back {
            // The engine goes first.
            let error = queued.shutdown();
            crew.send_back(queued.done(Err(error), taken));
        }
    }
    crew.lanes.is_done(lane)
}

/// Brings what one read can bring of a file; what it can't comes back.
fn bring_of<T: Send + 'static>(
    file: &OpenFile,
    reads: Vec<Queued<T>>,
    crew: &Crew<T>,
    taken: Instant,
) -> Vec<Queued<T>> {
    file.expect_parts();
    let Ok(stamp) = file.stamp() else { return reads };
    let desk = crew.desk.get().map(|desk| &**desk);
    let reads = near::place_at_once(file, stamp, reads, desk, |queued, result| {
        crew.sharing.turns.count_short(&queued.read);
        crew.send_back(queued.done(result, taken));
    });
    let (near, mut alone) = Near::of(reads, stamp);
    let Some(near) = near else { return alone };
    let Read { root, account, .. } = &near.reads[0].read;
    // For others it counts as what it is made of, short reads; a mebibyte of them at most.
    let short = crew.sharing.flight.short(root, *account, near.span.len_bytes);
    let mut block = near.block();
    let target = block.overwrite(near.span.len_bytes as usize);
    let got = target.map(|target| file.fill(target, near.span.offset_bytes));
    drop(short);
    if !matches!(got, Ok(Ok(bytes)) if bytes == near.span.len_bytes) {
        alone.extend(near.reads);
        return alone;
    }
    near.hand_out(block, desk, taken, |done| {
        crew.sharing.turns.count_short(&done.read);
        crew.send_back(done);
    });
    alone
}
