//! The states of a slot as types: each is made from the one before it, which is gone then.

use std::fmt;

use crate::{
    arena::Memory,
    error::ArenaError,
    fill::{FillState, Owner},
    geometry::{Part, check_parts},
    sample::{SampleMut, carve},
    slots::Hold,
    sync::Arc,
};

/// Which slot, and which taking of it: one batch at most ever has this pair in one arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    index: u32,
    generation: u64,
    offset_bytes: u64,
}

/// A slot that has been taken and that nobody writes yet. Dropped, it is free again.
#[must_use = "dropping a taken slot frees it"]
pub struct SlotMut {
    hold: Hold,
    memory: Arc<Memory>,
}

impl SlotMut {
    pub(crate) fn new(hold: Hold, memory: Arc<Memory>) -> Self {
        Self { hold, memory }
    }

    /// Which slot of the arena.
    pub fn index(&self) -> u32 {
        self.hold.index()
    }

    /// How often this slot has been taken; never twice the same.
    pub fn generation(&self) -> u64 {
        self.hold.generation()
    }

    /// Divides the slot into `samples` samples of `parts` each, that many threads may write at once.
    ///
    /// Bytes between the parts keep what they held before: an earlier batch of this session, never another's.
    ///
    /// # Errors
    /// [`ArenaError::Samples`], [`ArenaError::PartOutside`] or [`ArenaError::PartsOverlap`]; the slot is then free
    /// again.
    pub fn split(self, samples: u32, parts: &[Part]) -> Result<(Filling, Vec<SampleMut>), ArenaError> {
        let geometry = self.memory.geometry;
        check_parts(geometry.slot_bytes, samples, parts)?;
        let (index, generation) = (self.index(), self.generation());
        let place = Place { index, generation, offset_bytes: geometry.slot_offset_bytes(index) };
        let map = Arc::clone(&self.memory.map);
        let (owner, samples) = carve(map, place.offset_bytes, self.hold, samples, parts);
        Ok((Filling { owner, place }, samples))
    }
}

/// A slot whose samples are being written.
///
/// Dropped early (the session ended, or seeks), the slot becomes free by itself when the last [`SampleMut`] is gone.
#[must_use = "dropping a filling gives the batch up"]
pub struct Filling {
    owner: Owner,
    place: Place,
}

impl Filling {
    /// Which slot of the arena.
    pub fn index(&self) -> u32 {
        self.place.index
    }

    /// The slot's generation.
    pub fn generation(&self) -> u64 {
        self.place.generation
    }

    /// How far it is. [`FillState::Complete`] and [`FillState::Failed`] are final.
    pub fn state(&self) -> FillState {
        self.owner.state()
    }

    /// Closes the batch to writers, of whom there are none left.
    ///
    /// # Errors
    /// The filling itself, where not every sample was committed: [`state`](Self::state) says whether to wait or to
    /// give up.
    pub fn seal(self) -> Result<ReadySlot, Self> {
        let Self { owner, place } = self;
        match owner.seal() {
            Ok(hold) => Ok(ReadySlot { hold, place }),
            Err(owner) => Err(Self { owner, place }),
        }
    }
}

/// A finished batch that nobody writes and the client does not know of. Dropped, the slot is free again.
#[must_use = "dropping a ready slot throws its batch away"]
pub struct ReadySlot {
    hold: Hold,
    place: Place,
}

impl ReadySlot {
    /// Which slot of the arena.
    pub fn index(&self) -> u32 {
        self.place.index
    }

    /// The slot's generation.
    pub fn generation(&self) -> u64 {
        self.place.generation
    }

    /// Gives the slot to the client: from here on only [`Arena::release`](crate::Arena::release) frees it. Do this
    /// before announcing the batch, or the client's release may come first and be refused.
    pub fn lease(self) -> Lease {
        self.hold.lease();
        Lease { place: self.place }
    }
}

/// What the client is told: the slot is its own until it gives back this index with this generation.
///
/// A receipt. The arena remembers the lease; dropping this changes nothing.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a client that is not told of its lease never releases it"]
pub struct Lease {
    place: Place,
}

impl Lease {
    /// Which slot of the arena.
    pub fn index(&self) -> u32 {
        self.place.index
    }

    /// The slot's generation.
    pub fn generation(&self) -> u64 {
        self.place.generation
    }

    /// Where the slot starts, in bytes from the start of the arena.
    pub fn offset_bytes(&self) -> u64 {
        self.place.offset_bytes
    }
}

impl fmt::Debug for SlotMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotMut({:?})", self.hold)
    }
}

impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filling({:?}, {:?})", self.place, self.state())
    }
}

impl fmt::Debug for ReadySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadySlot({:?})", self.hold)
    }
}
