//! Ratios of sources as integers, and how many rows of each source a block of 1024 holds.
//!
//! The shares of a block are laid end to end on a line of 1024. Block `b` has an offset `u` in `[0, 1)`; source `s`
//! gets as many rows as there are integers `k` with `k + u` on its stretch (systematic sampling). So a block's rows
//! are always 1024 in all, and each source's are its exact share rounded down or up, whatever `u` is.
//!
//! `u` is the `b`-th number of the van der Corput sequence: the bits of `b` mirrored behind the point. It makes the
//! roundings even out, and how often it fell below a threshold in the first `b` blocks has a closed form. Hence the
//! rows of a source before any block are a few additions, with no table and no history, and differ from the exact
//! share by at most `2 + 2/3 log2(b + 1)` rows, however long the run.
//!
//! Sources: Madow, "On the theory of systematic sampling" (1949); Béjian & Faure, "Discrépance de la suite de van der
//! Corput" (1977), for the deviation: `1 + 1/3 log2 b` at each end of a stretch.

use super::OrderError;

/// Rows of a block: the unit in which ratios hold.
pub const BLOCK_ROWS: u64 = 1024;
/// The most sources, or classes, that a mixture may have.
pub const SOURCES_MAX: usize = 1 << 18;
/// A weight above zero is at least this part of the largest one: 2^-36.
const WEIGHT_RATIO_MIN: f64 = 1.0 / (1_u64 << 36) as f64;

/// Where the stretches of all sources end on the line of a block, in order.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    ends: Box<[End]>,
    /// For each slot, and one behind: how many sources end before it at any offset. The source of a slot lies between
    /// this and the next slot's, so that finding it takes no search but where many sources share one row.
    ended: Box<[u32]>,
}

/// The sum of the shares up to and with one source: `whole + part / 2^64` rows of a block.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    part: u64,
    whole: u64,
}

impl End {
    /// Rows of a block that lie before this end, at the block's offset.
    fn rows(self, offset: u64) -> u64 {
        self.whole + (self.part > offset) as u64
    }
}

impl Shares {
    /// Shares in the ratio of `weights`, from [`integer_weights`].
    pub(super) fn new(weights: &[u64]) -> Self {
        let total: u128 = weights.iter().map(|&weight| weight as u128).sum();
        let mut sum = 0;
        let end = |&weight: &u64| {
            sum += weight as u128;
            let (whole, rest) = (BLOCK_ROWS as u128 * sum / total, BLOCK_ROWS as u128 * sum % total);
            // Rounded up, because `rest / total > u` is the same as `ceil(2^64 * rest / total) > 2^64 * u`.
            End { whole: whole as u64, part: (rest << 64).div_ceil(total) as u64 }
        };
        let ends: Box<[End]> = weights.iter().map(end).collect();
        let ended = |slot: u64| ends.partition_point(|end| end.whole < slot) as u32;
        Self { ended: (0..=BLOCK_ROWS).map(ended).collect(), ends }
    }

    /// The rows of `source` among those of block `index`, laid in the order of the sources.
    pub(super) fn slots(&self, source: usize, index: u64) -> std::ops::Range<u64> {
        let (begin, end, offset) = (self.begin(source), self.ends[source], index.reverse_bits());
        begin.rows(offset)..end.rows(offset)
    }

    /// The source whose rows hold `slot`, in `0..BLOCK_ROWS`, of block `index`, and the slot's place among them.
    pub(super) fn source_of(&self, slot: u64, index: u64) -> (usize, u64) {
        let offset = index.reverse_bits();
        let (low, high) = (self.ended[slot as usize] as usize, self.ended[slot as usize + 1] as usize);
        let source = low + self.ends[low..high].partition_point(|end| end.rows(offset) <= slot);
        (source, slot - self.begin(source).rows(offset))
    }

    /// Rows of `source` in the first `blocks` blocks together. `blocks` is below 2^53.
    pub(super) fn rows_before(&self, source: usize, blocks: u64) -> u64 {
        let (begin, end) = (self.begin(source), self.ends[source]);
        let (mut rows, mut left, mut first) = (blocks * (end.whole - begin.whole), blocks, 0);
        // Highest bit first: the blocks that a set bit of the number stands for have the offsets
        // `first + t / 2^bit` for all `t < 2^bit`, where `first` mirrors the bits above.
        while left != 0 {
            let bit = left.ilog2();
            rows = rows + below(end.part, bit, first) - below(begin.part, bit, first);
            left ^= 1 << bit;
            first |= 1 << (63 - bit);
        }
        rows
    }

    fn begin(&self, source: usize) -> End {
        if source == 0 { End::default() } else { self.ends[source - 1] }
    }
}

/// How many of the `2^bit` numbers `first + t * 2^(64 - bit)` lie below `threshold`; `first` is below the step.
fn below(threshold: u64, bit: u32, first: u64) -> u64 {
    let steps = threshold >> 1 >> (63 - bit);
    steps + (first < threshold & (u64::MAX >> bit)) as u64
}

/// Weights as integers of at most 2^44, exact for whole numbers and fractions of up to 44 significant bits.
///
/// All are multiplied by one power of two, which loses nothing, and rounded: on every machine alike.
///
/// # Errors
/// [`OrderError::NoSources`], [`OrderError::TooManySources`]; [`OrderError::Weight`] for one that is negative,
/// infinite, subnormal or not a number; [`OrderError::WeightTooSmall`] for one above zero that is less than 2^-36 of
/// the largest; [`OrderError::NoWeight`] where all are zero.
pub(super) fn integer_weights(weights: &[f64]) -> Result<Box<[u64]>, OrderError> {
    check_count(weights.len())?;
    for (index, &weight) in weights.iter().enumerate() {
        check_weight(index, weight)?;
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(OrderError::NoWeight);
    }
    // The largest power of two that is not above the largest weight: its exponent bits alone.
    let unit = f64::from_bits(largest.to_bits() >> 52 << 52);
    let scaled = |(index, &weight): (usize, &f64)| {
        if weight > 0.0 && weight < largest * WEIGHT_RATIO_MIN {
            let smallest = largest * WEIGHT_RATIO_MIN;
            return Err(OrderError::WeightTooSmall { index, weight, smallest });
        }
        Ok((weight / unit * (1_u64 << 43) as f64).round() as u64)
    };
    weights.iter().enumerate().map(scaled).collect()
}

/// Checks a number of sources, or of classes, at the edge.
pub(super) fn check_count(count: usize) -> Result<(), OrderError> {
    match count {
        0 => Err(OrderError::NoSources),
        1..=SOURCES_MAX => Ok(()),
        _ => Err(OrderError::TooManySources { count, count_max: SOURCES_MAX }),
    }
}

/// Checks that a weight is zero or a normal positive number.
pub(super) fn check_weight(index: usize, weight: f64) -> Result<(), OrderError> {
    let fine = weight == 0.0 || (weight.is_normal() && weight > 0.0);
    if fine { Ok(()) } else { Err(OrderError::Weight { index, weight }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(weights: &[f64]) -> Shares {
        Shares::new(&integer_weights(weights).expect("weights in range"))
    }

    fn quota(shares: &Shares, source: usize, index: u64) -> u64 {
        let slots = shares.slots(source, index);
        slots.end - slots.start
    }

    /// Weights of many kinds: even, skewed by many orders of magnitude, some of them zero.
    fn any_weights() -> impl Strategy<Value = Vec<f64>> {
        let weight = prop_oneof![Just(0.0), Just(1.0), 0.0..1.0, 1.0..1000.0, 1e-6..1e-3, 1e5..1e6];
        prop::collection::vec(weight, 1..60)
            .prop_filter("some weight", |weights| weights.iter().any(|&weight| weight > 0.0))
            .prop_filter("no weight far below the largest", |weights| integer_weights(weights).is_ok())
    }

    proptest! {
        #[test]
        fn every_block_holds_each_share_rounded_down_or_up_and_1024_rows_in_all(
            weights in any_weights(), index in 0_u64..1 << 50,
        ) {
            let (shares, total) = (shares(&weights), weights.iter().sum::<f64>());
            for (source, weight) in weights.iter().enumerate() {
                let (rows, share) = (quota(&shares, source, index) as f64, 1024.0 * weight / total);
                prop_assert!((rows - share).abs() < 1.0 + 1e-9, "{rows} rows for a share of {share}");
            }
            prop_assert_eq!((0..weights.len()).map(|s| quota(&shares, s, index)).sum::<u64>(), BLOCK_ROWS);
        }

        #[test]
        fn a_slot_belongs_to_the_source_whose_rows_hold_it(weights in any_weights(), index in 0_u64..1 << 50) {
            let shares = shares(&weights);
            for source in 0..weights.len() {
                for (place, slot) in shares.slots(source, index).enumerate() {
                    prop_assert_eq!(shares.source_of(slot, index), (source, place as u64));
                }
            }
        }

        #[test]
        fn the_rows_before_a_block_are_the_sum_of_the_quotas_before_it(weights in any_weights()) {
            let shares = shares(&weights);
            for source in 0..weights.len() {
                let mut sum = 0;
                for index in 0..300 {
                    prop_assert_eq!(shares.rows_before(source, index), sum, "block {}", index);
                    sum += quota(&shares, source, index);
                }
            }
        }

        #[test]
        fn far_into_a_run_one_more_block_still_adds_its_quota(weights in any_weights(), at in 0_u64..(1 << 53) - 1) {
            let shares = shares(&weights);
            for source in 0..weights.len() {
                let rows = shares.rows_before(source, at + 1) - shares.rows_before(source, at);
                prop_assert_eq!(rows, quota(&shares, source, at));
            }
        }

        #[test]
        fn ratios_stay_exact_to_a_few_rows_however_long_the_run(
            weights in prop::collection::vec(1_u64..1000, 1..40), blocks in 1_u64..1 << 50,
        ) {
            // Whole numbers, so that the exact share can be compared in integers.
            let floats: Vec<f64> = weights.iter().map(|&weight| weight as f64).collect();
            let (shares, total) = (shares(&floats), weights.iter().sum::<u64>() as u128);
            let bound = 2.0 + 2.0 / 3.0 * (blocks as f64 + 1.0).log2();
            for (source, &weight) in weights.iter().enumerate() {
                let due = blocks as u128 * BLOCK_ROWS as u128 * weight as u128;
                let is = shares.rows_before(source, blocks) as u128 * total;
                prop_assert!((is.abs_diff(due) as f64 / total as f64) < bound);
            }
        }
    }

    #[test]
    fn a_share_far_below_one_row_a_block_comes_as_often_as_it_is_due() {
        let shares = shares(&[1e6, 1.0]);
        // 2^20 blocks hold 2^30 / 1,000,001 = 1073.7 rows of the small source, never two in one block.
        let rows = shares.rows_before(1, 1 << 20);
        assert!((1073..=1074).contains(&rows), "{rows}");
        assert!((0..100_000).all(|index| quota(&shares, 1, index) <= 1));
    }

    #[test]
    fn shares_that_divide_a_block_are_the_same_in_every_block() {
        let shares = shares(&[3.0, 1.0]);
        assert!((0..5000).all(|index| quota(&shares, 0, index) == 768 && quota(&shares, 1, index) == 256));
    }

    #[test]
    fn weights_keep_their_ratio_at_any_scale_and_order_of_magnitude() {
        let ratio = |weights: &[f64]| integer_weights(weights).map(|integers| (integers[0], integers[1]));
        assert_eq!(ratio(&[3.0, 1.0]), ratio(&[0.75, 0.25]));
        let (three, one) = ratio(&[3e300, 1e300]).expect("normal numbers");
        assert!((three as f64 / one as f64 - 3.0).abs() < 1e-10);
        let (two, one) = ratio(&[4e-300, 2e-300]).expect("normal numbers");
        assert!(two.abs_diff(2 * one) <= 1);
        let (large, small) = ratio(&[1.0, 1.5e-11]).expect("a ratio above 2^-36");
        assert!((small as f64 / large as f64 / 1.5e-11 - 1.0).abs() < 0.01);
        assert_eq!(ratio(&[f64::MAX, 0.0]).map(|(_, zero)| zero), Ok(0));
    }

    #[test]
    fn weights_that_are_no_weights_are_refused() {
        for weight in [-1.0, f64::NAN, f64::INFINITY, -f64::INFINITY, 1e-310] {
            let error = integer_weights(&[1.0, weight]).expect_err("no weight");
            assert!(matches!(error, OrderError::Weight { index: 1, .. }), "{error}");
        }
        let tiny = integer_weights(&[1e-300, 1.0]).expect_err("too small beside 1");
        assert!(matches!(tiny, OrderError::WeightTooSmall { index: 0, .. }), "{tiny}");
        assert_eq!(integer_weights(&[0.0, 0.0]), Err(OrderError::NoWeight));
        assert_eq!(integer_weights(&[]), Err(OrderError::NoSources));
        let count = SOURCES_MAX + 1;
        let too_many = OrderError::TooManySources { count, count_max: SOURCES_MAX };
        assert_eq!(integer_weights(&vec![1.0; count]), Err(too_many));
        assert_eq!(integer_weights(&vec![1.0; count - 1]).map(|weights| weights.len()), Ok(SOURCES_MAX));
    }
}
