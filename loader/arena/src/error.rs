//! What an arena refuses, by what went wrong.

use std::io;

use crate::geometry::{MAX_ARENA_BYTES, MAX_SAMPLES, MAX_SLOTS};

/// Why an arena was not made, or a slot not divided.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// A geometry without slots, without bytes, or past the limits of this crate.
    #[error(
        "arena of {slots} slots of {slot_bytes} bytes: needs 1 to {MAX_SLOTS} slots of at least one byte, \
         at most {MAX_ARENA_BYTES} bytes together"
    )]
    Geometry {
        /// Bytes of a slot, as asked for.
        slot_bytes: u64,
        /// Slots, as asked for.
        slots: u32,
    },
    /// The kernel refused one of the calls that make, map or fill an arena.
    #[error("{call} for an arena of {total_bytes} bytes")]
    System {
        /// The system call.
        call: &'static str,
        /// Bytes of the whole arena.
        total_bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A batch without samples (nobody would ever finish it) or with absurdly many.
    #[error("batch of {samples} samples: needs 1 to {MAX_SAMPLES}")]
    Samples {
        /// Samples asked for.
        samples: u32,
    },
    /// A part that ends past its slot.
    #[error("part {part} ends at byte {end_bytes} of a slot of {slot_bytes} bytes")]
    PartOutside {
        /// Which part.
        part: usize,
        /// Where its last sample would end.
        end_bytes: u128,
        /// Where the slot ends.
        slot_bytes: u64,
    },
    /// Two parts that would share bytes.
    #[error("parts {first} and {second} overlap")]
    PartsOverlap {
        /// The part that starts first.
        first: usize,
        /// The part that starts inside it.
        second: usize,
    },
}

/// Why a release changed nothing.
///
/// A client may send anything; its session counts these, and decides when to stop listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The arena has no such slot.
    #[error("slot {slot} of an arena of {slots} slots")]
    UnknownSlot {
        /// The slot named in the release.
        slot: u32,
        /// How many there are.
        slots: u32,
    },
    /// The slot is free, or the daemon's: nothing to give back (a second release looks like this).
    #[error("slot {slot} is not leased")]
    NotLeased {
        /// The slot named in the release.
        slot: u32,
    },
    /// The slot is leased, but as another batch than the one named.
    #[error("slot {slot} is leased at generation {leased}, not {given}")]
    WrongGeneration {
        /// The slot named in the release.
        slot: u32,
        /// The generation named in the release.
        given: u64,
        /// The generation that is out.
        leased: u64,
    },
}
