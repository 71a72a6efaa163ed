//! How a thread brings reads that lie close together in one file.

use std::sync::atomic::Ordering;

use super::Post;
use crate::storage::Read;
use crate::storage::file::OpenFile;
use crate::storage::near::{self, InLine, Near};
use crate::storage::queued::Queued;
use crate::storage::whole::Source as _;

/// Brings reads of one file by one; those for which that fails go back into the line, each for itself, and say then what is
/// wrong. True: the thread is to leave.
pub(super) fn bring<T: Send + 'static>(reads: Vec<Queued<T>>, post: &Post<'_, T>) -> bool {
    let crew = post.crew;
    let alone = if crew.stopping.load(Ordering::Acquire) {
        reads
    } else {
        let Read { root, buf, .. } = &reads[0].read;
        match post.open(root, &buf.path) {
            Ok(file) => bring_of(&file, reads, post),
            Err(_) => reads,
        }
    };
    for queued in alone {
        if let Err(InLine::One(queued)) = crew.line.push(InLine::One(queued)) {
            // The engine goes first.
            let error = queued.shutdown();
            crew.send_back(queued.done(Err(error), post.taken));
        }
    }
    crew.lanes.is_done(post.lane)
}

/// Brings what one read can bring of a file; what it can't comes back.
fn bring_of<T: Send + 'static>(file: &OpenFile, reads: Vec<Queued<T>>, post: &Post<'_, T>) -> Vec<Queued<T>> {
    let (crew, taken) = (post.crew, post.taken);
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
    let got = target.map(|target| post.fill(file, root.has_nowait_reads(), target, near.span.offset_bytes));
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
