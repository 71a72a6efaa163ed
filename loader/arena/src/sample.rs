//! One sample's ranges of a slot: what a decode thread owns and writes into.

#![allow(unsafe_code)]

use std::fmt;

use crate::{
    fill::{self, Owner, Ticket},
    geometry::Part,
    map::Map,
    slots::Hold,
    sync::Arc,
};

/// What all samples of one batch share.
struct Batch {
    map: Arc<Map>,
    slot_offset_bytes: u64,
    parts: Box<[Part]>,
}

/// The bytes of one sample, in every part of the batch: written by one thread, then committed.
///
/// Dropping it without [`commit`](Self::commit) fails the batch: that is what a panic in a decoder does.
///
/// The bytes start as whatever the slot held before (zeros, an earlier batch of the same session, or what the client
/// put there), and the client may change them at any time: write every byte, and read none back to decide anything. A
/// decoder that reads its own output (PNG's filters, an inflate window) decodes to scratch and copies.
#[must_use = "dropping a sample fails its batch"]
pub struct SampleMut {
    batch: Arc<Batch>,
    sample: u32,
    ticket: Ticket,
}

impl SampleMut {
    /// Which sample of the batch, from 0.
    pub fn index(&self) -> u32 {
        self.sample
    }

    /// How many parts a sample has.
    pub fn parts(&self) -> usize {
        self.batch.parts.len()
    }

    /// This sample's bytes of one part: `stride_bytes` of them, to write. Empty where the stride is zero.
    ///
    /// # Panics
    /// Where there is no such part.
    pub fn part_mut(&mut self, part: usize) -> &mut [u8] {
        let Part { offset_bytes, stride_bytes } = self.batch.parts[part];
        let start_bytes = self.batch.slot_offset_bytes + offset_bytes + u64::from(self.sample) * stride_bytes;
        // SAFETY: `carve` consumed the one hold on the slot, gave each sample number out once and was told that no two
        // parts overlap, so no other `SampleMut` has these bytes; and `&mut self` is borrowed for as long as the slice.
        // The slot has no other owner before the last ticket of this batch is gone, and ours is in `self`.
        unsafe { self.batch.map.range_mut(start_bytes, stride_bytes) }
    }

    /// Marks the sample as written. True where it was the last of its batch to finish, which is the moment to wake
    /// the owner of the `Filling`.
    pub fn commit(self) -> bool {
        self.ticket.commit()
    }

    /// Marks the batch as failed, as dropping does. True where this was the last of its batch to finish.
    pub fn fail(self) -> bool {
        self.ticket.fail()
    }
}

impl fmt::Debug for SampleMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SampleMut(sample {} of {} parts)", self.sample, self.parts())
    }
}

/// Divides a held slot into its samples. The caller has checked the parts against the slot.
pub(crate) fn carve(
    map: Arc<Map>,
    slot_offset_bytes: u64,
    hold: Hold,
    samples: u32,
    parts: &[Part],
) -> (Owner, Vec<SampleMut>) {
    let batch = Arc::new(Batch { map, slot_offset_bytes, parts: parts.into() });
    let (owner, tickets) = fill::start(hold, samples);
    let samples = (0..)
        .zip(tickets)
        .map(|(sample, ticket)| SampleMut { batch: Arc::clone(&batch), sample, ticket })
        .collect();
    (owner, samples)
}
