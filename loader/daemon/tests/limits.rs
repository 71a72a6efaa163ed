//! Every limit on an image: reached by a file that passes it, named in the error with its cure, and no verdict of a clock.

mod common;
mod support;

use std::time::Duration;

use common::Jpeg;
use forebay::decode::{DecodeError, ImageDecoder, ImageLimits, Rect};
use forebay::error::{Fault, Kind};
use forebay::storage::Faults;
use jpeg_encoder::SamplingFactor;
use support::{Node, OpenAs};

const PIXEL: Rect = Rect { left: 0, top: 0, width: 1, height: 1 };
const WIDTH: u32 = 400;

/// 400 x 400: more than the megapixel of work after which the decoder looks at the clock.
fn jpeg(progressive: bool) -> Vec<u8> {
    Jpeg { progressive, ..Jpeg::rgb(WIDTH, WIDTH, SamplingFactor::R_4_2_0) }.encode()
}

/// A JPEG with so many comments more.
fn with_comments(sound: &[u8], comments: usize) -> Vec<u8> {
    [&sound[..2], &b"\xff\xfe\0\x03!".repeat(comments), &sound[2..]].concat()
}

/// The same answer whatever part is asked for, and for the header alone where that shows it.
fn answer(limits: ImageLimits, encoded: &[u8]) -> Result<(), DecodeError> {
    let mut decoder = ImageDecoder::new(limits);
    let parts = [
        PIXEL,
        Rect { top: WIDTH - 1, ..PIXEL },
        Rect { left: 10, top: 100, width: 77, height: 90 },
        Rect { left: 0, top: 0, width: WIDTH, height: WIDTH },
    ];
    let mut answers: Vec<_> = parts.map(|part| decoder.decode_region(encoded, part).map(drop)).into();
    answers.dedup();
    assert_eq!(answers.len(), 1, "it depends on the part: {answers:?}");
    answers.remove(0)
}

/// Every limit: a file that it stops when it is set so, the same with one more allowed, and what the error says.
fn cases() -> Vec<(ImageLimits, ImageLimits, Vec<u8>, DecodeError)> {
    let (baseline, progressive) = (jpeg(false), jpeg(true));
    let default = ImageLimits::default();
    let len_bytes = baseline.len() as u64;
    let scans = progressive.windows(2).filter(|marker| *marker == [0xFF, 0xDA]).count() as u32;
    let markers = {
        let least = |markers_max: &u32| {
            let limits = ImageLimits { markers_max: *markers_max, ..default };
            ImageDecoder::new(limits).decode_region(&baseline, PIXEL).is_ok()
        };
        (1..100).find(least).expect("a header has fewer")
    };
    let pixels_max = u64::from(WIDTH * WIDTH) - 1;
    vec![
        (
            ImageLimits { pixels_max, ..default },
            ImageLimits { pixels_max: pixels_max + 1, ..default },
            baseline.clone(),
            DecodeError::TooManyPixels { width: WIDTH, height: WIDTH, pixels_max },
        ),
        (
            ImageLimits { encoded_bytes_max: len_bytes - 1, ..default },
            ImageLimits { encoded_bytes_max: len_bytes, ..default },
            baseline.clone(),
            DecodeError::TooManyBytes { len_bytes, encoded_bytes_max: len_bytes - 1 },
        ),
        (
            ImageLimits { scans_max: scans - 1, ..default },
            ImageLimits { scans_max: scans, ..default },
            progressive.clone(),
            DecodeError::TooManyScans { scans_max: scans - 1 },
        ),
        (
            ImageLimits { markers_max: markers + 6, ..default },
            ImageLimits { markers_max: markers + 7, ..default },
            with_comments(&baseline, 7),
            DecodeError::TooManyMarkers { markers_max: markers + 6 },
        ),
        // 25 x 25 MCUs of six blocks, 128 bytes each.
        #[cfg(feature = "turbo")]
        (
            ImageLimits { decoder_bytes_max: 25 * 25 * 6 * 128, ..default },
            ImageLimits { decoder_bytes_max: 25 * 25 * 6 * 128 * 2, ..default },
            progressive,
            DecodeError::TooMuchMemory { decoder_bytes_max: 25 * 25 * 6 * 128 },
        ),
    ]
}

#[test]
fn every_limit_stops_the_file_that_passes_it_and_no_other() {
    for (tight, wide, file, expected) in cases() {
        assert_eq!(answer(tight, &file), Err(expected.clone()));
        assert_eq!(answer(wide, &file), Ok(()), "{expected}");
        assert!(expected.is_over_limit() && expected.is_verdict() && !expected.is_corrupt());
    }
}

#[test]
fn a_file_that_was_stopped_leaves_nothing_for_the_next() {
    for (tight, _, file, expected) in cases() {
        let mut used = ImageDecoder::new(tight);
        let small = Jpeg::rgb(40, 30, SamplingFactor::R_4_2_0).encode();
        let part = Rect { left: 3, top: 5, width: 20, height: 11 };
        assert_eq!(used.decode_region(&file, PIXEL).map(drop), Err(expected));
        let found = used.decode_region(&small, part).expect("it is inside of every limit");
        let found: Vec<u8> = found.rows().flatten().copied().collect();
        let mut new = ImageDecoder::new(ImageLimits::default());
        let alone = new.decode_region(&small, part).expect("a sound file");
        assert!(alone.rows().flatten().copied().eq(found));
    }
}

async fn fault(limits: ImageLimits, deadline: Duration, file: &[u8], policy: &str) -> Fault {
    let mut stored: Vec<_> = (0..9).map(|index| (format!("{index}.png"), support::png(index))).collect();
    stored[5].1 = file.to_vec();
    let node = Node::bounded(stored, 1, Faults::default(), limits, deadline);
    let open = OpenAs { rows: 9, ..OpenAs::default() };
    support::fault(&mut node.open(&support::spec(policy), &open)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_over_a_limit_names_the_configurations_key_and_the_cure() {
    for (tight, _, file, expected) in cases() {
        let key = expected.limit().expect("a limit");
        let fault = fault(tight, Duration::MAX, &file, "FAIL").await;
        assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Corrupt, Some("5.png")));
        assert!(fault.line().contains(&format!("{key} = ")), "{fault}");
        let hint = fault.hint.expect("a cure");
        assert!(hint.contains(&format!("raise {key} in the configuration")), "{hint}");
    }
}

#[cfg(feature = "turbo")] // the pure decoder cannot be stopped
#[test]
fn a_decoder_out_of_time_says_so_about_itself_and_not_about_the_file() {
    for file in [jpeg(false), jpeg(true)] {
        let mut decoder = ImageDecoder::with_deadline(ImageLimits::default(), Duration::ZERO);
        let whole = Rect { left: 0, top: 0, width: WIDTH, height: WIDTH };
        let error = decoder.decode_region(&file, whole).map(drop).expect_err("no time at all");
        assert_eq!(error, DecodeError::OutOfTime { time_max: Duration::ZERO });
        assert!(!error.is_verdict() && !error.is_corrupt() && !error.is_over_limit());
        // The decoder is as good as new, and less than a megapixel of work does not look at the clock.
        let small = Jpeg::rgb(40, 30, SamplingFactor::R_4_2_0).encode();
        decoder.decode_region(&small, PIXEL).expect("no time is needed");
    }
}

#[cfg(feature = "turbo")]
#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_out_of_time_fails_the_session_by_name_and_never_becomes_a_substitute() {
    for policy in ["FAIL", "SUBSTITUTE", "MASK"] {
        let fault = fault(ImageLimits::default(), Duration::ZERO, &jpeg(true), policy).await;
        assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Unavailable, Some("5.png")), "{policy}");
        assert!(fault.line().contains("decode_deadline = 0ns"), "{fault}");
        assert!(fault.hint.expect("a cure").contains("raise decode_deadline"));
    }
}
