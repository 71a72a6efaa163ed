//! Sizes and JPEG settings as ImageNet has them, and the encoding.
//!
//! The shares below were counted over 400 of its photographs: mean 0.198 megapixel and 109 KB, 4.7 bits a pixel at the
//! median, 78 % stored as 4:4:4, 19 % as 4:2:0, 2 % grey, nearly three quarters at quality 96.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::SynthSize;
use super::noise::SplitMix64;
use super::scene::Picture;

/// Width, height and share in a thousand.
const PHOTO_SIZES: [(usize, usize, u32); 15] = [
    (500, 375, 320),
    (500, 333, 170),
    (375, 500, 110),
    (333, 500, 70),
    (500, 500, 20),
    (600, 450, 35),
    (480, 360, 30),
    (400, 300, 40),
    (320, 240, 40),
    (250, 250, 35),
    (200, 150, 39),
    (640, 480, 35),
    (800, 600, 27),
    (1024, 768, 18),
    (1280, 960, 11),
];

/// The size of one picture: (width, height) in pixels.
pub(super) fn draw_size(size: SynthSize, draw: &mut SplitMix64) -> (usize, usize) {
    let (width, height, _) = PHOTO_SIZES[draw.weighted(&PHOTO_SIZES.map(|(_, _, share)| share))];
    // A few pixels off in a third of the pictures, since real sizes are seldom multiples of a block.
    let (less_wide, less_high) =
        if draw.unit() < 0.33 { (draw.unit() * 24.0, draw.unit() * 24.0) } else { (0.0, 0.0) };
    let exact = (width - less_wide as usize, height - less_high as usize);
    match size {
        SynthSize::Photo => exact,
        SynthSize::Tiny => (exact.0.div_ceil(20).max(16), exact.1.div_ceil(20).max(16)),
    }
}

/// How one picture is coded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    quality: u8,
    sampling: SamplingFactor,
    grey: bool,
}

impl Coding {
    pub(super) fn draw(draw: &mut SplitMix64) -> Self {
        let quality = [96, 90, 84, 75][draw.weighted(&[74, 10, 8, 8])];
        let samplings = [SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_0, SamplingFactor::R_4_2_2];
        Self { quality, sampling: samplings[draw.weighted(&[79, 20, 1])], grey: draw.unit() < 0.02 }
    }

    #[cfg(test)]
    pub(super) fn is_grey(self) -> bool {
        self.grey
    }

    #[cfg(test)]
    pub(super) fn is_420(self) -> bool {
        matches!(self.sampling, SamplingFactor::R_4_2_0 | SamplingFactor::F_2_2)
    }
}

/// The picture as a baseline JPEG, whose bytes depend on nothing but the arguments.
pub(super) fn encode(picture: &Picture, coding: Coding) -> Vec<u8> {
    let mut jpeg = Vec::with_capacity(picture.rgb.len() / 4);
    let mut encoder = Encoder::new(&mut jpeg, coding.quality);
    encoder.set_sampling_factor(coding.sampling);
    let (width, height) = (picture.width as u16, picture.height as u16);
    let encoded = if coding.grey {
        encoder.encode(&luma(&picture.rgb), width, height, ColorType::Luma)
    } else {
        encoder.encode(&picture.rgb, width, height, ColorType::Rgb)
    };
    encoded.expect("memory takes any length, and the sizes fit a JPEG");
    jpeg
}

fn luma(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3)
        .map(|pixel| ((pixel[0] as u32 * 77 + pixel[1] as u32 * 150 + pixel[2] as u32 * 29) >> 8) as u8)
        .collect()
}
