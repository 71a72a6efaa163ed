//! How large samples are shown: as they are where that can be, enlarged by whole factors where they are tiny.

use image::{RgbImage, imageops};

use crate::decode::{ImageFormat, ImageInfo};
use crate::transform::{Thumbnail, fitted};

/// Longest side of a tile, in pixels.
pub const TILE_PX_MAX: u32 = 512;
/// A sample is enlarged up to here, in pixels, where nobody says how far.
const COMFORTABLE_PX: u32 = 160;
/// What all pixels of a sheet take: noise does not compress, and a sheet stays below 8 MiB.
const PIXEL_BYTES_MAX: u64 = 7 << 20;

/// The size that samples are shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    sample: (u32, u32),
}

impl Scale {
    /// For `rows` samples of `width` x `height`, each beside its original or not. `tile_px`: longest side, 0 for none.
    pub fn of((width, height): (u32, u32), rows: u32, beside: bool, tile_px: u32) -> Self {
        let sample = (width, height);
        let longest = width.max(height);
        let most = if tile_px == 0 { TILE_PX_MAX } else { tile_px.min(TILE_PX_MAX) };
        let wanted = if tile_px == 0 { COMFORTABLE_PX } else { most };
        let factor =
            (1..=wanted / longest).rev().find(|factor| fits(width * factor, height * factor, rows, beside));
        if let Some(factor) = factor {
            return Self { width: width * factor, height: height * factor, sample };
        }
        let info = ImageInfo { width, height, format: ImageFormat::Png };
        let sides = (1..=longest.min(most)).rev().map(|side| fitted(&info, side, side));
        let (width, height) = sides.into_iter().find(|&(w, h)| fits(w, h, rows, beside)).unwrap_or((1, 1));
        Self { width, height, sample }
    }

    /// What a stored image beside a tile must fit, in pixels.
    pub fn original_max(&self) -> (u32, u32) {
        (self.width * 3 / 2, self.height)
    }

    /// Width and height that a stored image is drawn in: enlarged as the tiles are, by whole factors.
    pub fn enlarged(&self, image: &Thumbnail) -> (u32, u32) {
        let (width_max, height_max) = self.original_max();
        let factor = (width_max / image.width).min(height_max / image.height).max(1);
        // One that nearly fits stays as it is: pixels are enlarged for tiny images alone.
        let factor = if self.factor() > 1 { factor } else { 1 };
        (image.width * factor, image.height * factor)
    }

    /// How the samples are shown, where it is not pixel for pixel.
    pub fn in_words(&self) -> Option<String> {
        if (self.width, self.height) == self.sample {
            return None;
        }
        let factor = self.factor();
        if factor > 1 {
            return Some(format!("enlarged {factor} times"));
        }
        Some(format!("shown in {}×{} pixels", self.width, self.height))
    }

    /// A sample in this size.
    pub(super) fn shown(&self, sample: RgbImage) -> RgbImage {
        if sample.dimensions() == (self.width, self.height) {
            return sample;
        }
        let grows = self.factor() > 1;
        let filter = if grows { imageops::FilterType::Nearest } else { imageops::FilterType::Triangle };
        imageops::resize(&sample, self.width, self.height, filter)
    }

    fn factor(&self) -> u32 {
        self.width / self.sample.0
    }
}

fn fits(width: u32, height: u32, rows: u32, beside: bool) -> bool {
    let tile = u64::from(width) * u64::from(height) * 3;
    let all = if beside { tile * 5 / 2 } else { tile };
    all * u64::from(rows) <= PIXEL_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sample: (u32, u32), rows: u32, beside: bool, tile_px: u32) -> (u32, u32, Option<String>) {
        let scale = Scale::of(sample, rows, beside, tile_px);
        (scale.width, scale.height, scale.in_words())
    }

    #[test]
    fn an_ordinary_sample_is_shown_pixel_for_pixel() {
        assert_eq!(shown((224, 224), 8, true, 0), (224, 224, None));
        assert_eq!(shown((224, 224), 8, false, 224), (224, 224, None));
        assert_eq!(shown((224, 224), 8, false, 300), (224, 224, None));
    }

    #[test]
    fn a_tiny_one_is_enlarged_by_a_whole_factor() {
        assert_eq!(shown((32, 32), 8, false, 0), (160, 160, Some("enlarged 5 times".to_owned())));
        assert_eq!(shown((28, 14), 8, false, 100), (84, 42, Some("enlarged 3 times".to_owned())));
    }

    #[test]
    fn a_large_one_and_many_are_shrunk_in_proportion() {
        assert_eq!(shown((1024, 512), 2, false, 0).0, 512);
        assert_eq!(shown((224, 112), 8, false, 100), (100, 50, Some("shown in 100×50 pixels".to_owned())));
        let (width, height, _) = shown((224, 224), 256, true, 512);
        assert!(
            width == height && u64::from(width * height) * 3 * 5 / 2 * 256 <= PIXEL_BYTES_MAX && width > 50
        );
        assert_eq!(Scale::of((16_384, 1), 256, true, 0).height, 1);
    }
}
