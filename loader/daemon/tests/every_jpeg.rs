//! Every kind of JPEG there is: the pixels of libjpeg-turbo's own decode of the whole, in any part; or a refusal that says
//! which kind it is.
#![cfg(feature = "turbo")] // its IDCT and its upsampling; the pure decoder has its own

mod common;
mod turbojpeg;

use common::SplitMix;
use forebay::decode::{DecodeError, ImageDecoder, ImageLimits, Rect};
use forebay::transform::RowDraws;
use turbojpeg::{Coding, Color, Sampling, Written};

const SAMPLINGS: [Sampling; 6] =
    [Sampling::S444, Sampling::S422, Sampling::S420, Sampling::S440, Sampling::S411, Sampling::S441];
const CODINGS: [Coding; 5] = [
    Coding::Baseline,
    Coding::OwnTables,
    Coding::Progressive,
    Coding::Arithmetic,
    Coding::ArithmeticProgressive,
];

fn decoder() -> ImageDecoder {
    ImageDecoder::new(ImageLimits::default())
}

/// Compares the whole and some parts with the reference; one decoder for all, as a worker has.
fn check(decoder: &mut ImageDecoder, encoded: &[u8], written: &Written, parts: u64) {
    let expected = written.reference(encoded);
    let (width, height) = (written.width, written.height);
    let whole = Rect { left: 0, top: 0, width, height };
    let mut rng = SplitMix(u64::from(width) << 20 | u64::from(height));
    let drawn = (0..parts).map(|_| {
        let (left, width) = near_edges(width, &mut rng);
        let (top, height) = near_edges(height, &mut rng);
        Rect { left, top, width, height }
    });
    for part in [whole].into_iter().chain(drawn) {
        let found = decoder.decode_region(encoded, part).unwrap_or_else(|e| panic!("{written:?}: {e}"));
        let (left, len) = (part.left as usize * 3, part.width as usize * 3);
        let rows = expected.chunks_exact(width as usize * 3).skip(part.top as usize);
        for (y, (row, expected)) in found.rows().zip(rows).enumerate() {
            assert!(row == &expected[left..left + len], "{written:?}: {part} differs in its row {y}");
        }
        assert_eq!(found.rows().count(), part.height as usize);
    }
}

/// A stretch of `full`: every other one begins and ends at, just before or just after an edge of 8 pixels.
fn near_edges(full: u32, rng: &mut SplitMix) -> (u32, u32) {
    let edge = |rng: &mut SplitMix| {
        let at = rng.below(u64::from(full) + 1) as u32;
        if rng.below(2) == 0 {
            at
        } else {
            ((at + 4) / 8 * 8 + rng.below(3) as u32).saturating_sub(1).min(full)
        }
    };
    let (a, b) = (edge(rng), edge(rng));
    let (start, end) = (a.min(b).min(full - 1), a.max(b));
    (start, (end.max(start + 1)) - start)
}

#[test]
fn every_sampling_and_coding_has_the_pixels_of_libjpegs_own_whole() {
    let mut decoder = decoder();
    for (width, height) in [(1, 1), (3, 5), (17, 33), (64, 48), (131, 98)] {
        for sampling in SAMPLINGS {
            for coding in CODINGS {
                let written = Written::new(width, height, sampling, coding);
                check(&mut decoder, &written.encode(), &written, 24);
            }
        }
    }
}

#[test]
fn grey_rgb_and_four_inks_with_and_without_adobes_transform_are_exact() {
    let mut decoder = decoder();
    for color in [Color::Grey, Color::Rgb, Color::Cmyk, Color::Ycck] {
        for coding in CODINGS {
            for (width, height) in [(1, 1), (31, 9), (90, 77)] {
                for sampling in [Sampling::S444, Sampling::S420] {
                    let written = Written { color, ..Written::new(width, height, sampling, coding) };
                    check(&mut decoder, &written.encode(), &written, 24);
                }
            }
        }
    }
}

#[test]
fn restart_markers_are_exact_wherever_they_fall() {
    let mut decoder = decoder();
    for restart_every in [1, 2, 7, 1000] {
        for sampling in SAMPLINGS {
            for coding in CODINGS {
                let written = Written { restart_every, ..Written::new(97, 61, sampling, coding) };
                check(&mut decoder, &written.encode(), &written, 12);
            }
        }
    }
}

#[test]
fn the_widest_and_the_highest_there_are_decode() {
    let mut decoder = decoder();
    for coding in [Coding::Baseline, Coding::Progressive] {
        for (width, height) in [(65_500, 3), (3, 65_500)] {
            let written = Written::new(width, height, Sampling::S420, coding);
            check(&mut decoder, &written.encode(), &written, 6);
        }
    }
}

#[test]
fn bytes_after_the_end_and_fill_bytes_before_markers_change_no_pixel() {
    let mut decoder = decoder();
    for coding in CODINGS {
        let written = Written::new(70, 50, Sampling::S420, coding);
        let encoded = written.encode();
        for garbage in [&b"\0"[..], b"\xff\xd8\xff\xe0 a second picture", b"\xff\xd9\xff\xd9"] {
            check(&mut decoder, &[&encoded, garbage].concat(), &written, 4);
        }
        check(&mut decoder, &with_fill_bytes(&encoded), &written, 12);
    }
}

/// Two more 0xFF before every marker of the header.
fn with_fill_bytes(sound: &[u8]) -> Vec<u8> {
    let (mut filled, mut at) = (sound[..2].to_vec(), 2);
    loop {
        filled.extend([0xFF, 0xFF]);
        if sound[at + 1] == 0xDA {
            filled.extend(&sound[at..]);
            return filled;
        }
        let end = at + 2 + usize::from(u16::from_be_bytes([sound[at + 2], sound[at + 3]]));
        filled.extend(&sound[at..end]);
        at = end;
    }
}

#[test]
fn a_missing_end_marker_costs_no_pixel_of_one_scan_and_refuses_several() {
    let mut decoder = decoder();
    for coding in CODINGS {
        let written = Written::new(70, 50, Sampling::S420, coding);
        let encoded = written.encode();
        let cut = &encoded[..encoded.len() - 2];
        if matches!(coding, Coding::Progressive | Coding::ArithmeticProgressive) {
            let pixel = Rect { left: 0, top: 0, width: 1, height: 1 };
            let refused = decoder.decode_region(cut, pixel).map(drop);
            let expected = DecodeError::Truncated { format: "JPEG", len_bytes: cut.len() as u64 };
            assert_eq!(refused, Err(expected), "{coding:?}");
        } else {
            // What libjpeg-turbo's own front says of it is a warning, so the sound file is the reference.
            let whole = Rect { left: 0, top: 0, width: 70, height: 50 };
            let found = decoder.decode_region(cut, whole).expect("every row is there");
            assert!(found.rgb == written.reference(&encoded), "{coding:?}");
        }
    }
}

#[test]
fn kinds_that_we_do_not_decode_are_refused_by_name() {
    let hierarchical = {
        // No encoder writes them: the frame's marker is all that tells.
        let mut file = Written::new(20, 20, Sampling::S444, Coding::Baseline).encode();
        let frame = file.windows(2).position(|m| m == [0xFF, 0xC0]).expect("a frame");
        file[frame + 1] = 0xC5;
        file
    };
    let too_wide = {
        let mut file = Written::new(65_500, 1, Sampling::S444, Coding::Baseline).encode();
        let frame = file.windows(2).position(|m| m == [0xFF, 0xC0]).expect("a frame");
        file[frame + 7..frame + 9].copy_from_slice(&65_501_u16.to_be_bytes());
        file
    };
    let pixel = Rect { left: 0, top: 0, width: 1, height: 1 };
    let feature = "a side of more than 65,500 pixels";
    let refused = DecodeError::UnsupportedFeature { format: "JPEG", feature };
    assert_eq!(decoder().decode_region(&too_wide, pixel).map(drop), Err(refused));
    let kinds = [
        (turbojpeg::twelve_bit(20, 20), "12-bit samples"),
        (turbojpeg::lossless(20, 20), "lossless coding"),
        (hierarchical, "hierarchical coding"),
    ];
    for (file, feature) in kinds {
        let expected = DecodeError::UnsupportedFeature { format: "JPEG", feature };
        assert_eq!(decoder().info(&file).map(drop), Err(expected.clone()));
        assert_eq!(decoder().decode_region(&file, pixel).map(drop), Err(expected.clone()));
        assert!(expected.is_unsupported() && expected.to_string().contains(feature));
    }
}
