//! The one random draw of a view: which part of the image, mirrored or not.

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

/// Everything that decides a view's geometry: a small value that other fields of the sample share and that
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

impl Draw {
    /// The part of the stored image that a result of `height` x `width` shows, rounded outward to whole pixels.
    pub fn shows(&self, height: u32, width: u32) -> Rect {
        let (left, columns) = shown(self.crop.width, self.resized_width, self.left, width);
        let (top, rows) = shown(self.crop.height, self.resized_height, self.top, height);
        Rect { left: self.crop.left + left, top: self.crop.top + top, width: columns, height: rows }
    }
}

/// First pixel and length, along one side of the crop, of what the result shows.
fn shown(crop_len: u32, resized_len: u32, start: i64, out_len: u32) -> (u32, u32) {
    let (first, end) = (start.max(0) as u64, (start + i64::from(out_len)).min(i64::from(resized_len)) as u64);
    let (crop, resized) = (u64::from(crop_len), u64::from(resized_len));
    let (from, to) = (first * crop / resized, (end * crop).div_ceil(resized));
    (from as u32, (to - from) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_resized_image_is_told_in_the_stored_images_pixels() {
        let crop = Rect { left: 0, top: 0, width: 500, height: 375 };
        // Resize(256): 341 x 256; CenterCrop(224) begins at 16 and 58.
        let draw = Draw { crop, resized_height: 256, resized_width: 341, top: 16, left: 58, flip: false };
        assert_eq!(draw.shows(224, 224), Rect { left: 85, top: 23, width: 329, height: 329 });
    }

    #[test]
    fn a_random_crop_is_shown_exactly_and_padding_shows_all() {
        let crop = Rect { left: 7, top: 9, width: 318, height: 211 };
        let draw = Draw { crop, resized_height: 224, resized_width: 224, top: 0, left: 0, flip: true };
        assert_eq!(draw.shows(224, 224), crop);
        let small = Rect { left: 0, top: 0, width: 20, height: 10 };
        let draw =
            Draw { crop: small, resized_height: 10, resized_width: 20, top: -11, left: -6, flip: false };
        assert_eq!(draw.shows(32, 32), small);
    }
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
