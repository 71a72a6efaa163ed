//! The one random draw of a sample: which part of the image, mirrored or not.

use crate::decode::Rect;

/// A row's random numbers. `forebay-plan` derives them from the row's place; tests bring their own.
pub trait RowDraws {
    /// Uniform in [0, 1).
    fn unit_f64(&mut self) -> f64;
    /// Uniform in 0..`n`, for `n` of at least 1.
    fn below(&mut self, n: u64) -> u64;

    /// Uniform in [`low`, `high`).
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit_f64()
    }
}

/// Everything that decides a sample's geometry: a small value that other fields of the sample share and that
/// provenance reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The part of the image that is resized.
    pub crop: Rect,
    /// Height to which all of `crop` is resized, in pixels.
    pub resized_height: u32,
    /// Width to which all of `crop` is resized, in pixels.
    pub resized_width: u32,
    /// Where the result's first row lies in the resized image; negative: it starts with rows of zeros.
    pub top: i64,
    /// Where the result's first column lies in the resized image; negative: it starts with columns of zeros.
    pub left: i64,
    /// Left and right are exchanged, last.
    pub flip: bool,
}

#[cfg(test)]
pub(super) mod testing {
    //! A generator for tests: splitmix64, three lines.

    use super::RowDraws;

    pub struct SplitMix(pub u64);

    impl SplitMix {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }
    }

    impl RowDraws for SplitMix {
        fn unit_f64(&mut self) -> f64 {
            (self.next() >> 11) as f64 / (1u64 << 53) as f64
        }

        fn below(&mut self, n: u64) -> u64 {
            ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
        }
    }
}
