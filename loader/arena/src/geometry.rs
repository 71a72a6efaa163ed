//! The arithmetic of an arena: how large it is, and where the parts of a batch lie inside a slot.

use crate::error::ArenaError;

/// The most bytes that one arena may have: 1 TiB, far past a node's memory, so that no sum below can overflow.
pub const MAX_ARENA_BYTES: u64 = 1 << 40;
/// The most slots that one arena may have.
pub const MAX_SLOTS: u32 = 1 << 16;
/// The most samples that one batch may have.
pub const MAX_SAMPLES: u32 = 1 << 20;

/// How an arena is divided: `slots` slots of `slot_bytes` each, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes from the start of a slot to the start of the next.
    pub slot_bytes: u64,
    /// How many slots there are.
    pub slots: u32,
}

impl Geometry {
    /// The geometry that an arena really gets: checked, and `slot_bytes` rounded up to whole pages, so that every
    /// slot starts on a page and no two share one.
    ///
    /// # Errors
    /// [`ArenaError::Geometry`] where there are no slots, no bytes, or more of either than this crate allows.
    pub fn resolve(self) -> Result<Self, ArenaError> {
        let Self { slot_bytes, slots } = self;
        let refused = ArenaError::Geometry { slot_bytes, slots };
        if slot_bytes == 0 || slots == 0 || slot_bytes > MAX_ARENA_BYTES || slots > MAX_SLOTS {
            return Err(refused);
        }
        let resolved =
            Self { slot_bytes: slot_bytes.next_multiple_of(rustix::param::page_size() as u64), slots };
        if resolved.total_bytes() > MAX_ARENA_BYTES { Err(refused) } else { Ok(resolved) }
    }

    /// Bytes of the whole arena. Saturates, so that it may be asked of a geometry that was not resolved.
    pub fn total_bytes(self) -> u64 {
        self.slot_bytes.saturating_mul(u64::from(self.slots))
    }

    /// Where a slot starts, in bytes from the start of the arena.
    pub fn slot_offset_bytes(self, index: u32) -> u64 {
        u64::from(index) * self.slot_bytes
    }
}

/// One tensor of the batch inside the slot: sample `i` occupies `offset_bytes + i * stride_bytes ..` and
/// `stride_bytes` from there.
///
/// The slot starts on a page, so an element is aligned where `offset_bytes` and `stride_bytes` are multiples of its
/// size; whoever lays out the batch sees to that. A stride of zero is a part without bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where sample 0 starts, from the start of the slot.
    pub offset_bytes: u64,
    /// Bytes of one sample.
    pub stride_bytes: u64,
}

impl Part {
    /// Where the last of `samples` ends; wide enough for any two numbers a caller may have put in.
    fn end_bytes(self, samples: u32) -> u128 {
        u128::from(self.offset_bytes) + u128::from(self.stride_bytes) * u128::from(samples)
    }
}

/// Checks that all samples of all parts lie inside the slot and share no byte.
///
/// # Errors
/// [`ArenaError::Samples`], [`ArenaError::PartOutside`], [`ArenaError::PartsOverlap`].
pub(crate) fn check_parts(slot_bytes: u64, samples: u32, parts: &[Part]) -> Result<(), ArenaError> {
    if samples == 0 || samples > MAX_SAMPLES {
        return Err(ArenaError::Samples { samples });
    }
    for (part, range) in parts.iter().enumerate() {
        let end_bytes = range.end_bytes(samples);
        if end_bytes > u128::from(slot_bytes) {
            return Err(ArenaError::PartOutside { part, end_bytes, slot_bytes });
        }
    }
    check_overlap(samples, parts)
}

/// Sorts the parts that have bytes by where they start; then only neighbours can overlap.
fn check_overlap(samples: u32, parts: &[Part]) -> Result<(), ArenaError> {
    let mut sorted: Vec<(usize, Part)> =
        parts.iter().copied().enumerate().filter(|(_, part)| part.stride_bytes > 0).collect();
    sorted.sort_by_key(|(_, part)| part.offset_bytes);
    for pair in sorted.windows(2) {
        let [(first, before), (second, after)] = [pair[0], pair[1]];
        if before.end_bytes(samples) > u128::from(after.offset_bytes) {
            return Err(ArenaError::PartsOverlap { first, second });
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn part(offset_bytes: u64, stride_bytes: u64) -> Part {
        Part { offset_bytes, stride_bytes }
    }

    #[test]
    fn slots_are_rounded_up_to_whole_pages() {
        let page = rustix::param::page_size() as u64;
        for (asked, given) in [(1, page), (page, page), (page + 1, 2 * page)] {
            let resolved = Geometry { slot_bytes: asked, slots: 3 }.resolve().unwrap();
            assert_eq!(resolved, Geometry { slot_bytes: given, slots: 3 });
            assert_eq!(resolved.total_bytes(), 3 * given);
        }
    }

    #[test]
    fn a_geometry_of_nothing_or_of_too_much_is_refused() {
        for (slot_bytes, slots) in
            [(0, 1), (1, 0), (u64::MAX, 1), (u64::MAX, u32::MAX), (1, MAX_SLOTS + 1), (MAX_ARENA_BYTES, 2)]
        {
            let refused = Geometry { slot_bytes, slots }.resolve();
            assert!(matches!(refused, Err(ArenaError::Geometry { .. })), "{slot_bytes} x {slots}");
        }
        Geometry { slot_bytes: MAX_ARENA_BYTES, slots: 1 }.resolve().unwrap();
    }

    #[test]
    fn parts_side_by_side_fit_in_any_order() {
        check_parts(100, 10, &[part(50, 5), part(0, 5)]).unwrap();
        check_parts(100, 10, &[]).unwrap();
        check_parts(100, 10, &[part(0, 10), part(100, 0), part(7, 0)]).unwrap();
    }

    #[test]
    fn a_part_past_the_end_is_refused_even_where_the_sum_overflows() {
        for bad in [part(1, 10), part(101, 0), part(u64::MAX, u64::MAX)] {
            let refused = check_parts(100, 10, &[part(0, 0), bad]);
            assert!(matches!(refused, Err(ArenaError::PartOutside { part: 1, .. })), "{bad:?}");
        }
    }

    #[test]
    fn parts_that_share_a_byte_are_refused() {
        for bad in [[part(0, 5), part(49, 5)], [part(49, 5), part(0, 5)], [part(10, 5), part(10, 5)]] {
            assert!(matches!(check_parts(100, 10, &bad), Err(ArenaError::PartsOverlap { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_batch_of_no_samples_or_of_millions_is_refused() {
        for samples in [0, MAX_SAMPLES + 1, u32::MAX] {
            assert!(matches!(check_parts(100, samples, &[part(0, 0)]), Err(ArenaError::Samples { .. })));
        }
    }
}
