//! The memory that is copied from: batches in slots, pinned or not, or in plain pinned memory, each with bytes of its own.

use std::rc::Rc;

use forebay_arena::{Arena, FillState, Geometry, Part, ReadySlot};

use crate::gpu::{Context, DeviceBuffer, GpuError, HostBytes, Mapped, Pin, PinnedBuffer};

/// One side's batches.
pub struct Batches {
    kind: Kind,
    slots: u32,
}

enum Kind {
    Pinned(Pin),
    Plain(PinnedBuffer),
    Unpinned(Mapped),
}

impl Batches {
    /// In an arena as a session has one, registered with the driver; and the NUMA node that it was placed on.
    pub fn pinned_slots(
        context: &Rc<Context>,
        batch_bytes: usize,
        slots: u32,
        node: Option<u32>,
    ) -> Result<(Self, Option<u32>), GpuError> {
        let (mapped, placed) = filled(batch_bytes, slots, node, 0)?;
        Ok((Self { kind: Kind::Pinned(Pin::register(context, mapped)?), slots }, placed))
    }

    /// Side by side in memory that CUDA gave.
    pub fn plain(context: &Rc<Context>, batch_bytes: usize, slots: u32) -> Result<Self, GpuError> {
        let mut buffer = PinnedBuffer::new(context, batch_bytes * slots as usize)?;
        for (slot, batch) in buffer.bytes_mut().chunks_exact_mut(batch_bytes).enumerate() {
            stamp(batch, 1, slot);
        }
        Ok(Self { kind: Kind::Plain(buffer), slots })
    }

    /// In an arena that nobody registered.
    pub fn unpinned_slots(batch_bytes: usize, slots: u32, node: Option<u32>) -> Result<Self, GpuError> {
        let (mapped, _) = filled(batch_bytes, slots, node, 2)?;
        Ok(Self { kind: Kind::Unpinned(mapped), slots })
    }

    /// For people.
    pub fn words(&self) -> &'static str {
        match self.kind {
            Kind::Pinned(_) => "slots, pinned",
            Kind::Plain(_) => "plain pinned memory",
            Kind::Unpinned(_) => "slots, not pinned",
        }
    }

    /// Each batch, to copy from.
    pub fn ranges(&self, batch_bytes: usize) -> Vec<HostBytes<'_>> {
        match &self.kind {
            Kind::Pinned(pin) => pin.batches(batch_bytes),
            Kind::Unpinned(mapped) => mapped.batches(batch_bytes),
            Kind::Plain(buffer) => {
                (0..self.slots as usize).map(|slot| buffer.range(slot * batch_bytes, batch_bytes)).collect()
            }
        }
    }

    fn tag(&self) -> u64 {
        match self.kind {
            Kind::Pinned(_) => 0,
            Kind::Plain(_) => 1,
            Kind::Unpinned(_) => 2,
        }
    }
}

/// An arena on the node, every slot of it a finished batch; and the node, if it was to be had.
fn filled(
    batch_bytes: usize,
    slots: u32,
    node: Option<u32>,
    tag: u64,
) -> Result<(Mapped, Option<u32>), GpuError> {
    let geometry = Geometry { slot_bytes: batch_bytes as u64, slots };
    let arena =
        Arena::create(0, geometry).map_err(|error| GpuError::NoArena(crate::error::with_causes(&error)))?;
    let placed = node.filter(|node| arena.prefer_node(*node).is_ok());
    let ready: Vec<_> = (0..slots).map(|slot| batch(&arena, batch_bytes, tag, slot as usize)).collect();
    Ok((Mapped::new(arena, ready), placed))
}

/// Fills the next slot as a decode thread would: so every page is there, on its node, before it is pinned.
fn batch(arena: &Arena, batch_bytes: usize, tag: u64, slot: usize) -> ReadySlot {
    let part = Part { offset_bytes: 0, stride_bytes: batch_bytes as u64 };
    let taken = arena.try_take().expect("as many slots as the arena has");
    let (filling, samples) = taken.split(1, &[part]).expect("one part of the slot's size");
    for mut sample in samples {
        stamp(sample.part_mut(0), tag, slot);
        sample.commit();
    }
    debug_assert_eq!(filling.state(), FillState::Complete);
    filling.seal().unwrap_or_else(|_| unreachable!("its one sample was committed"))
}

/// Bytes that no other place of any side has.
fn stamp(batch: &mut [u8], tag: u64, slot: usize) {
    for (index, word) in batch.chunks_mut(8).enumerate() {
        word.copy_from_slice(&word_at(tag, slot, index)[..word.len()]);
    }
}

fn word_at(tag: u64, slot: usize, index: usize) -> [u8; 8] {
    (tag << 56 | (slot as u64) << 40 | index as u64).to_le_bytes()
}

/// Holds what lies on the device to what this side's last lap sent there.
///
/// # Errors
/// [`GpuError::Changed`] at the first byte that differs; what CUDA answers.
pub fn check(side: &Batches, targets: &[DeviceBuffer]) -> Result<(), GpuError> {
    for (slot, target) in targets.iter().enumerate() {
        let bytes = target.read_back()?;
        let differs = |(index, word): (usize, &[u8])| *word != word_at(side.tag(), slot, index)[..word.len()];
        if let Some(index) = bytes.chunks(8).enumerate().position(differs) {
            return Err(GpuError::Changed { what: side.words(), offset_bytes: index * 8 });
        }
    }
    Ok(())
}
