//! The generator of one row: xoshiro256++, and the few ways we turn its bits into numbers.

/// The random numbers of one row, in order. Made by [`crate::EpochPrf::rng`].
///
/// The generator is xoshiro256++ 1.0 (Blackman & Vigna, "Scrambled linear pseudorandom number generators", 2021).
/// Generator and conversions are written out here so that no library release can change a resumed run.
#[derive(Debug, Clone)]
pub struct RowRng {
    state: [u64; 4],
}

impl RowRng {
    /// Starts from 256 bits of state; the one forbidden state, all zero, becomes a fixed other one.
    pub(crate) fn from_state(state: [u64; 4]) -> Self {
        Self { state: if state == [0; 4] { [0x9e37_79b9_7f4a_7c15, 0, 0, 0] } else { state } }
    }

    /// The next 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let output = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        output
    }

    /// A number in `[0, 1)`: the top 53 bits of one draw, times 2^-53.
    pub fn unit_f64(&mut self) -> f64 {
        unit_f64(self.next_u64())
    }

    /// A number between `lo` and `hi`: `lo + (hi - lo) * unit`, one draw. Rounding may give `hi` itself.
    pub fn uniform(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit_f64()
    }

    /// An integer in `0..n`, without bias: the high half of a 128-bit product, redrawn where it would be uneven.
    ///
    /// One draw but for a chance of at most `n / 2^64`. `n` is at least 1. Source: Lemire, "Fast random integer
    /// generation in an interval" (2019).
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "an integer below zero was asked for");
        let mut product = self.next_u64() as u128 * n as u128;
        if (product as u64) < n {
            let uneven = n.wrapping_neg() % n;
            while (product as u64) < uneven {
                product = self.next_u64() as u128 * n as u128;
            }
        }
        (product >> 64) as u64
    }

    /// True with probability `p`: one draw. Never at `p <= 0`, always at `p >= 1`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit_f64() < p
    }
}

/// 64 uniform bits as a number in `[0, 1)`: the top 53 of them, times 2^-53.
pub(crate) fn unit_f64(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_xoshiro256_plus_plus_as_published() {
        let mut rng = RowRng::from_state([1, 2, 3, 4]);
        // Source: the reference implementation at prng.di.unimi.it, from the same state.
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
        ];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn the_state_of_zeros_is_never_used() {
        assert_ne!(RowRng::from_state([0; 4]).next_u64(), 0);
    }

    #[test]
    fn numbers_stay_in_their_ranges_and_fill_them_evenly() {
        let mut rng = RowRng::from_state([5, 6, 7, 8]);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            let unit = rng.unit_f64();
            assert!((0.0..1.0).contains(&unit));
            assert!((-3.0..=2.0).contains(&rng.uniform(-3.0, 2.0)));
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_600..10_400).contains(&count)), "{counts:?}");
    }

    #[test]
    fn an_integer_below_a_bound_that_leaves_a_remainder_has_no_bias() {
        // Without the redraw the lower third of 3 * 2^62 values would come twice as often as the others.
        let mut rng = RowRng::from_state([9, 10, 11, 12]);
        let third = 1_u64 << 62;
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            counts[(rng.below(3 * third) / third) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_600..10_400).contains(&count)), "{counts:?}");
    }

    #[test]
    fn chance_is_never_at_zero_and_always_at_one() {
        let mut rng = RowRng::from_state([1, 1, 1, 1]);
        assert!((0..1000).all(|_| !rng.chance(0.0) && rng.chance(1.0)));
        let hits = (0..10_000).filter(|_| rng.chance(0.3)).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
    }
}
