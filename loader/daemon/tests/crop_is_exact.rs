//! A decoded crop has exactly the pixels that the decoded whole has there, for every kind of JPEG.

mod common;

use common::{Jpeg, SplitMix};
use forebay::decode::{ImageDecoder, ImageLimits, Rect};
use forebay::transform::RowDraws;
use jpeg_encoder::{ColorType, SamplingFactor};

const SAMPLINGS: [SamplingFactor; 8] = [
    SamplingFactor::R_4_4_4,
    SamplingFactor::R_4_2_2,
    SamplingFactor::R_4_2_0,
    SamplingFactor::R_4_4_0,
    SamplingFactor::R_4_1_1,
    SamplingFactor::R_4_1_0,
    SamplingFactor::F_1_4,
    SamplingFactor::F_2_4,
];

/// Decodes `rects` crops and compares each with the whole.
fn check(encoded: &[u8], width: u32, height: u32, rects: usize, what: &str) {
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let mut reference = ImageDecoder::new(ImageLimits::default());
    let whole = Rect { left: 0, top: 0, width, height };
    let whole = reference.decode_region(encoded, whole).expect("the whole decodes");
    assert_eq!((whole.width, whole.height), (width, height));
    let mut rng = SplitMix(u64::from(width) << 32 | u64::from(height));
    for n in 0..rects {
        let want = drawn_rect(width, height, n, &mut rng);
        let part = decoder.decode_region(encoded, want).expect("the part decodes");
        let expected =
            whole.rgb.chunks_exact(width as usize * 3).skip(want.top as usize).take(want.height as usize);
        for (y, (got, row)) in part.rows().zip(expected).enumerate() {
            let row = &row[want.left as usize * 3..(want.left + want.width) as usize * 3];
            assert!(got == row, "{what}: {want} of {width} x {height} differs in its row {y}");
        }
        assert_eq!(part.rows().count(), want.height as usize);
    }
}

/// Small, thin, large and edge-hugging rectangles in turn.
fn drawn_rect(width: u32, height: u32, n: usize, rng: &mut SplitMix) -> Rect {
    let mut side = |full: u32| {
        let len = match n % 4 {
            0 => 1 + rng.below(full.min(6).into()) as u32,
            1 => 1 + rng.below(full.into()) as u32,
            2 => full - rng.below(full.min(9).into()) as u32,
            _ => 1 + rng.below(full.min(40).into()) as u32,
        };
        let rest = full - len;
        let start = if rng.below(5) == 0 { rest } else { rng.below(u64::from(rest) + 1) as u32 };
        (start, len)
    };
    let ((left, width), (top, height)) = (side(width), side(height));
    Rect { left, top, width, height }
}

#[test]
fn baseline_crops_are_exact_for_every_subsampling_and_size() {
    for sampling in SAMPLINGS {
        for (width, height) in [(1, 1), (5, 3), (17, 33), (33, 17), (66, 50), (130, 97), (211, 160)] {
            let encoded = Jpeg::rgb(width, height, sampling).encode();
            check(&encoded, width, height, 300, &format!("{sampling:?}"));
        }
    }
}

#[cfg(feature = "turbo")] // the pure decoder refuses four colours
#[test]
fn four_colour_crops_are_exact() {
    for color in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        for sampling in [SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_0] {
            let encoded = Jpeg { color, ..Jpeg::rgb(131, 98, sampling) }.encode();
            check(&encoded, 131, 98, 300, &format!("{color:?} {sampling:?}"));
        }
    }
}

#[test]
fn grey_crops_are_exact() {
    for sampling in [SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_0] {
        let encoded = Jpeg { color: ColorType::Luma, ..Jpeg::rgb(131, 98, sampling) }.encode();
        check(&encoded, 131, 98, 300, &format!("grey {sampling:?}"));
    }
}

#[test]
fn progressive_crops_are_exact() {
    for sampling in SAMPLINGS {
        let encoded = Jpeg { progressive: true, ..Jpeg::rgb(131, 98, sampling) }.encode();
        check(&encoded, 131, 98, 200, &format!("progressive {sampling:?}"));
    }
}

#[test]
fn crops_of_a_progressive_file_whose_last_scans_are_missing_are_exact_too() {
    let encoded = Jpeg { progressive: true, ..Jpeg::rgb(131, 98, SamplingFactor::R_4_2_0) }.encode();
    let scans: Vec<usize> =
        (0..encoded.len() - 1).filter(|at| encoded[*at..*at + 2] == [0xFF, 0xDA]).collect();
    assert!(scans.len() > 3, "the encoder writes several scans");
    for cut in &scans[1..] {
        let cut = [&encoded[..*cut], &[0xFF, 0xD9]].concat();
        check(&cut, 131, 98, 100, "progressive, last scans missing");
    }
}

#[test]
fn crops_with_restart_markers_are_exact() {
    for sampling in [SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_0] {
        let encoded = Jpeg { restart_interval: 3, ..Jpeg::rgb(131, 98, sampling) }.encode();
        check(&encoded, 131, 98, 300, &format!("restart markers {sampling:?}"));
    }
}
