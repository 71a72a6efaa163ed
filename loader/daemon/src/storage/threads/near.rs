//! How a thread brings reads that lie close together in one file.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Crew, InTurn, Lane};
use crate::storage::file::OpenFile;
use crate::storage::near::{self, Near};
use crate::storage::queued::Queued;
use crate::storage::turns::STEP_BYTES;
use crate::storage::whole::Source as _;
use crate::storage::{Done, Read};

/// Brings reads of one file by one; what that fails for is read alone, and says then what is wrong. True: the thread is to
/// leave.
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
            Ok(file) => bring_of(file, reads, crew, lane, taken),
            Err(_) => reads,
        }
    };
    let mut leaves = crew.lanes.is_done(lane);
    for queued in alone {
        let taken = Instant::now();
        crew.lanes.took(lane, taken);
        leaves |= super::bring(queued, crew, lane, taken);
    }
    leaves
}

/// Brings what one read can bring of a file; what it can't comes back.
fn bring_of<T: Send + 'static>(
    file: OpenFile,
    reads: Vec<Queued<T>>,
    crew: &Arc<Crew<T>>,
    lane: &Arc<Lane>,
    taken: Instant,
) -> Vec<Queued<T>> {
    file.expect_parts();
    let Ok(stamp) = file.stamp() else { return reads };
    let desk = crew.desk.get().map(|desk| &**desk);
    let reads = near::place_at_once(&file, stamp, reads, desk, |queued, result| {
        crew.sharing.turns.count_short(&queued.read);
        crew.send_back(queued.done(result, taken));
    });
    let (near, mut alone) = Near::of(reads, stamp);
    let Some(near) = near else { return alone };
    let Read { root, account, .. } = &near.reads[0].read;
    let is_large = near.span.len_bytes > STEP_BYTES as u64;
    let large = is_large.then(|| crew.sharing.large(root, *account));
    let short = if is_large { None } else { crew.sharing.flight.short(root, *account, near.span.len_bytes) };
    let file = InTurn { file, large, crew, lane };
    let mut block = near.block();
    let target = block.overwrite(near.span.len_bytes as usize);
    let got = target.map(|target| file.fill(target, near.span.offset_bytes));
    drop((file, short));
    if !matches!(got, Ok(Ok(bytes)) if bytes == near.span.len_bytes) {
        alone.extend(near.reads);
        return alone;
    }
    near.hand_out(block, desk, |queued, result| {
        // Steps are counted as they are made.
        if !is_large {
            crew.sharing.turns.count_short(&queued.read);
        }
        crew.send_back(Done { is_shared: true, ..queued.done(result, taken) });
    });
    alone
}
