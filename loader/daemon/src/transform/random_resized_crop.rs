//! `RandomResizedCrop`: draws a part of random area and aspect ratio.
//!
//! Source: torchvision v2 `RandomResizedCrop.make_params`. Exponential and logarithm come from the `libm` crate, so
//! that the same draws give the same crop on every machine; torchvision draws in f32, we in f64.

use super::draw::RowDraws;
use crate::decode::{ImageInfo, Rect};

const ATTEMPTS: u32 = 10;

/// `scale` is the share of the area, `ratio` width over height, each least and greatest.
pub(super) fn draw(image: &ImageInfo, scale: [f64; 2], ratio: [f64; 2], rng: &mut impl RowDraws) -> Rect {
    let area = f64::from(image.width) * f64::from(image.height);
    let log_ratio = ratio.map(libm::log);
    for _ in 0..ATTEMPTS {
        let target_area = area * rng.between(scale[0], scale[1]);
        let aspect = libm::exp(rng.between(log_ratio[0], log_ratio[1]));
        let width = (target_area * aspect).sqrt().round_ties_even() as u32;
        let height = (target_area / aspect).sqrt().round_ties_even() as u32;
        if (1..=image.width).contains(&width) && (1..=image.height).contains(&height) {
            let top = rng.below(u64::from(image.height - height) + 1) as u32;
            let left = rng.below(u64::from(image.width - width) + 1) as u32;
            return Rect { left, top, width, height };
        }
    }
    middle(image, ratio)
}

/// The largest part in the middle whose aspect ratio is allowed.
fn middle(image: &ImageInfo, ratio: [f64; 2]) -> Rect {
    let (full_width, full_height) = (f64::from(image.width), f64::from(image.height));
    let (mut width, mut height) = (image.width, image.height);
    if full_width / full_height < ratio[0] {
        height = (full_width / ratio[0]).round_ties_even() as u32;
    } else if full_width / full_height > ratio[1] {
        width = (full_height * ratio[1]).round_ties_even() as u32;
    }
    let (width, height) = (width.clamp(1, image.width), height.clamp(1, image.height));
    Rect { left: (image.width - width) / 2, top: (image.height - height) / 2, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::ImageFormat;
    use crate::transform::draw::testing::SplitMix;

    fn image(width: u32, height: u32) -> ImageInfo {
        ImageInfo { width, height, format: ImageFormat::Jpeg }
    }

    /// Numbers written down in advance, as a torchvision run would have drawn them.
    struct Recorded(Vec<f64>, Vec<u64>);

    impl RowDraws for Recorded {
        fn unit_f64(&mut self) -> f64 {
            self.0.remove(0)
        }
        fn below(&mut self, n: u64) -> u64 {
            let drawn = self.1.remove(0);
            assert!(drawn < n, "{drawn} of {n}");
            drawn
        }
    }

    #[test]
    fn recorded_numbers_give_the_crop_of_torchvisions_formula() {
        // area 187500 * 0.54, ratio exp(0) = 1: 318.198 a side.
        let mut rng = Recorded(vec![0.5, 0.5], vec![57, 182]);
        let crop = draw(&image(500, 375), [0.08, 1.0], [3.0 / 4.0, 4.0 / 3.0], &mut rng);
        assert_eq!(crop, Rect { left: 182, top: 57, width: 318, height: 318 });
    }

    #[test]
    fn every_crop_lies_inside_and_keeps_its_ratio_and_area() {
        for seed in 0..2000 {
            let image = image(20 + seed as u32 % 613, 20 + seed as u32 % 401);
            let crop = draw(&image, [0.08, 1.0], [0.75, 4.0 / 3.0], &mut SplitMix(seed));
            assert!(crop.left + crop.width <= image.width && crop.top + crop.height <= image.height);
            let (width, height) = (f64::from(crop.width), f64::from(crop.height));
            assert!((width + 0.5) / (height - 0.5) > 0.75 && (width - 0.5) / (height + 0.5) < 4.0 / 3.0);
        }
    }

    #[test]
    fn an_image_too_thin_for_any_ratio_falls_back_to_its_middle() {
        let always = [1.0, 1.0];
        let crop = draw(&image(1000, 10), always, [0.75, 4.0 / 3.0], &mut SplitMix(1));
        assert_eq!(crop, Rect { left: 493, top: 0, width: 13, height: 10 });
        let crop = draw(&image(10, 1000), always, [0.75, 4.0 / 3.0], &mut SplitMix(1));
        assert_eq!(crop, Rect { left: 0, top: 493, width: 10, height: 13 });
    }
}
