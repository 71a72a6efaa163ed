//! The one source of randomness: a function of (seed, purpose, epoch, position, view, attempt).

use siphasher::sip::SipHasher24;

use crate::digest::DigestBuilder;
use crate::rng::unit_f64;
use crate::{ORDER_VERSION, RowRng};

/// What a draw is for; draws for different purposes have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The order of an epoch.
    Shuffle,
    /// The random choices of transforms.
    Augment,
    /// Which sample stands in for a corrupt one.
    Substitute,
    /// The order of the rows inside a block of a mixture.
    Block,
    /// The order of one source of a mixture; its position is the source's own epoch, its view the source.
    Source,
    /// Which sample a weighted row draws.
    Weighted,
    /// The order of windows, and of what they hold.
    Window,
    /// Which rows of images a device decodes.
    DeviceDecode,
}

impl Purpose {
    /// The name that goes into the key; it never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shuffle => "shuffle",
            Self::Augment => "augment",
            Self::Substitute => "substitute",
            Self::Block => "block",
            Self::Source => "source",
            Self::Weighted => "weighted",
            Self::Window => "window",
            Self::DeviceDecode => "device-decode",
        }
    }
}

/// The 32 key bytes of a purpose in an epoch: BLAKE3 in the domain `prf` over version, purpose, seed and epoch.
pub(crate) fn epoch_key(seed: u64, purpose: Purpose, epoch: u64) -> [u8; 32] {
    let digest = DigestBuilder::new("prf")
        .u64("order_version", ORDER_VERSION as u64)
        .field("purpose", purpose.as_str().as_bytes())
        .u64("seed", seed)
        .u64("epoch", epoch)
        .finish();
    *digest.as_bytes()
}

/// The draws of one purpose in one epoch: SipHash-2-4 under a key derived from seed, purpose and epoch.
///
/// Making one costs a BLAKE3 hash; a draw costs some 20 ns, a generator some 100. Source: Aumasson & Bernstein, "SipHash: a fast
/// short-input PRF" (2012).
#[derive(Debug, Clone, Copy)]
pub struct EpochPrf {
    sip: SipHasher24,
}

impl EpochPrf {
    /// Derives the key. Seeds, purposes and epochs that differ in anything give unrelated draws.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64) -> Self {
        let key = epoch_key(seed, purpose, epoch);
        let sip_key = key.first_chunk::<16>().expect("the key has 32 bytes");
        Self { sip: SipHasher24::new_with_key(sip_key) }
    }

    /// 64 uniform bits for a row.
    ///
    /// * `position`: the row's place in the epoch.
    /// * `view`: which of a field's views, from 0.
    /// * `attempt`: 0 for the row's own sample, 1 and up for its substitutes.
    pub fn draw(&self, position: u64, view: u32, attempt: u32) -> u64 {
        let mut message = [0; 16];
        fill(&mut message, position, view, attempt);
        self.sip.hash(&message)
    }

    /// Whether a row is one of the share `ratio` of all rows: by its first draw's top 53 bits, times 2^-53.
    ///
    /// * `position`: the row's place in the epoch.
    /// * `ratio`: never at 0, always at 1; the rows of a smaller one are among those of a larger.
    pub fn is_among(&self, position: u64, ratio: f64) -> bool {
        unit_f64(self.draw(position, 0, 0)) < ratio
    }

    /// A generator for a row that needs many draws; equal arguments give equal sequences.
    ///
    /// Its 256 bits of state are four PRF outputs over 20 bytes each, which [`EpochPrf::draw`] (16 bytes) never
    /// repeats. Arguments as for `draw`.
    pub fn rng(&self, position: u64, view: u32, attempt: u32) -> RowRng {
        RowRng::from_state([0, 1, 2, 3].map(|lane: u32| {
            let mut message = [0; 20];
            fill(&mut message, position, view, attempt);
            message[16..].copy_from_slice(&lane.to_le_bytes());
            self.sip.hash(&message)
        }))
    }
}

fn fill(message: &mut [u8], position: u64, view: u32, attempt: u32) {
    message[..8].copy_from_slice(&position.to_le_bytes());
    message[8..12].copy_from_slice(&view.to_le_bytes());
    message[12..16].copy_from_slice(&attempt.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_hash_is_siphash_2_4_as_published() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let message: [u8; 15] = std::array::from_fn(|i| i as u8);
        // Source: appendix A of the SipHash paper.
        assert_eq!(SipHasher24::new_with_key(&key).hash(&message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn every_argument_changes_the_draw() {
        let base = EpochPrf::new(1, Purpose::Augment, 2);
        let draws = [
            base.draw(3, 4, 5),
            base.draw(4, 4, 5),
            base.draw(3, 5, 5),
            base.draw(3, 4, 6),
            base.rng(3, 4, 5).next_u64(),
            EpochPrf::new(2, Purpose::Augment, 2).draw(3, 4, 5),
            EpochPrf::new(1, Purpose::Shuffle, 2).draw(3, 4, 5),
            EpochPrf::new(1, Purpose::Substitute, 2).draw(3, 4, 5),
            EpochPrf::new(1, Purpose::DeviceDecode, 2).draw(3, 4, 5),
            EpochPrf::new(1, Purpose::Augment, 3).draw(3, 4, 5),
        ];
        assert_eq!(draws.iter().collect::<HashSet<_>>().len(), draws.len());
        assert_eq!(base.draw(3, 4, 5), EpochPrf::new(1, Purpose::Augment, 2).draw(3, 4, 5));
    }

    #[test]
    fn a_share_of_the_rows_is_drawn_and_a_smaller_one_lies_inside_of_it() {
        let prf = EpochPrf::new(3, Purpose::DeviceDecode, 1);
        let rows = |ratio| (0..10_000).filter(|&p| prf.is_among(p, ratio)).collect::<HashSet<u64>>();
        let (few, many) = (rows(0.3), rows(0.5));
        assert!((2_800..3_200).contains(&few.len()) && few.is_subset(&many), "{}", few.len());
        assert_eq!((rows(0.0).len(), rows(1.0).len()), (0, 10_000));
    }

    #[test]
    fn the_bits_of_draws_at_neighbouring_positions_are_balanced() {
        let prf = EpochPrf::new(0, Purpose::Augment, 0);
        let flips: u32 = (0..10_000).map(|p| (prf.draw(p, 0, 0) ^ prf.draw(p + 1, 0, 0)).count_ones()).sum();
        let mean = flips as f64 / 10_000.0;
        assert!((mean - 32.0).abs() < 0.2, "{mean} of 64 bits differ");
    }
}
