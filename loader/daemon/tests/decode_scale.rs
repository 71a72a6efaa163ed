//! Images that are decoded smaller: their parts are those of the whole made smaller, their results lie where those of the
//! whole image lie, and nothing else changes.
#![cfg(feature = "turbo")] // the pure decoder leaves nothing out

mod common;

use common::{Jpeg, SplitMix, with_exif};
use forebay::decode::{ImageDecoder, ImageLimits, Orientation, Part, Rect};
use forebay::transform::{
    Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize, RowDraws, Scratch,
};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

const SAMPLINGS: [SamplingFactor; 6] = [
    SamplingFactor::R_4_4_4,
    SamplingFactor::R_4_2_2,
    SamplingFactor::R_4_2_0,
    SamplingFactor::R_4_4_0,
    SamplingFactor::R_4_1_1,
    SamplingFactor::R_4_1_0,
];

fn decoder() -> ImageDecoder {
    ImageDecoder::new(ImageLimits::default())
}

fn orientation(value: u16) -> Orientation {
    Orientation::of_exif(value).expect("one of eight")
}

/// A part within an image.
fn drawn(width: u32, height: u32, rng: &mut SplitMix) -> Rect {
    let mut side = |full: u32| {
        let len = 1 + rng.below(full.into()) as u32;
        (rng.below(u64::from(full - len) + 1) as u32, len)
    };
    let ((left, width), (top, height)) = (side(width), side(height));
    Rect { left, top, width, height }
}

/// The rows of a part, and where it begins in `whole` made as much smaller.
fn held(part: &Part<'_>, whole: &Part<'_>) -> (Vec<u8>, usize, usize) {
    let by = i64::from(part.shrink);
    let at = |part: i64, whole: i64| usize::try_from((part - whole) / by).expect("inside");
    (part.pixels.rows().flatten().copied().collect(), at(part.left, whole.left), at(part.top, whole.top))
}

#[test]
fn a_part_of_a_smaller_image_is_that_of_the_whole_one_under_every_subsampling_and_orientation() {
    let (mut decoder, mut reference) = (decoder(), decoder());
    for sampling in SAMPLINGS {
        for (width, height, progressive) in
            [(130, 97, false), (211, 160, false), (33, 17, false), (97, 130, true)]
        {
            let encoded = Jpeg { progressive, ..Jpeg::rgb(width, height, sampling) }.encode();
            for (shrink, value) in [(2, 1), (4, 1), (8, 1), (2, 3), (4, 6), (8, 8), (2, 7)] {
                let upright = orientation(value).turned(decoder.info(&encoded).expect("a header"));
                let whole = reference
                    .decode_upright(&encoded, Rect::whole(&upright), orientation(value), shrink)
                    .expect("a sound file");
                assert_eq!(whole.pixels.region.width, upright.width.div_ceil(shrink));
                let rows: Vec<_> = whole.pixels.rows().collect();
                let mut rng = SplitMix(u64::from(width * shrink));
                for _ in 0..60 {
                    let want = drawn(upright.width, upright.height, &mut rng);
                    let part =
                        decoder.decode_upright(&encoded, want, orientation(value), shrink).expect("sound");
                    let (left, top) = (part.left, part.top);
                    let region = part.pixels.region;
                    // All that was asked for is there.
                    let ends = |start: i64, len: u32| start + i64::from(len * shrink);
                    assert!(left <= want.left.into() && top <= want.top.into());
                    assert!(ends(left, region.width) >= (want.left + want.width).into());
                    assert!(ends(top, region.height) >= (want.top + want.height).into());
                    let (pixels, left, top) = held(&part, &whole);
                    let bytes = region.width as usize * 3;
                    for (row, expected) in pixels.chunks_exact(bytes).zip(&rows[top..]) {
                        let expected = &expected[left * 3..][..bytes];
                        assert!(
                            row == expected,
                            "{sampling:?} 1/{shrink}, {value}: {want} of {width} x {height}"
                        );
                    }
                }
            }
        }
    }
}

/// Ramps along both sides, steep enough that a shift by a pixel shows, and smooth enough that nothing else does.
fn ramps(width: u32, height: u32) -> Vec<u8> {
    let mut rgb = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let wave = |at: u32, over: f64| (128.0 + 100.0 * (f64::from(at) / over).sin()) as u8;
        rgb.extend([wave(x, 40.0), wave(y, 40.0), wave(x + y, 60.0)]);
    }
    let mut encoded = Vec::new();
    let mut encoder = Encoder::new(&mut encoded, 100);
    encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
    encoder.encode(&rgb, width as u16, height as u16, ColorType::Rgb).expect("it encodes");
    encoded
}

fn pipeline(ops: &[ImageOp]) -> ImagePipeline {
    ImagePipeline::new(ops, OutputType::U8, OutputOrder::ChannelsLast)
        .expect("sound")
        .with_exif_orientation(true)
}

fn sample(pipeline: &ImagePipeline, encoded: &[u8], seed: u64) -> Vec<u8> {
    let mut target = vec![0; pipeline.view_bytes()];
    let (mut decoder, mut scratch) = (decoder(), Scratch::new());
    pipeline.run(encoded, &mut decoder, &mut scratch, &mut SplitMix(seed), &mut target).expect("sound");
    target
}

fn crop(scale: [f64; 2], filter: Filter) -> ImageOp {
    ImageOp::RandomResizedCrop { height: 24, width: 20, scale, ratio: [0.75, 4.0 / 3.0], filter }
}

#[test]
fn a_result_lies_where_that_of_the_whole_image_does_whatever_its_orientation_and_size() {
    let (smooth, cubic) = (Filter::DEFAULT, Filter::Bicubic { antialias: true });
    let lists = [
        vec![crop([0.1, 1.0], smooth), ImageOp::RandomHorizontalFlip { p: 0.5 }],
        vec![crop([0.1, 1.0], cubic)],
        vec![
            ImageOp::Resize { size: ResizeSize::ShorterSide(40), filter: smooth },
            ImageOp::CenterCrop { height: 24, width: 20 },
        ],
        vec![ImageOp::Resize { size: ResizeSize::Exact { height: 31, width: 17 }, filter: cubic }],
    ];
    for (width, height) in [(403, 301), (255, 390)] {
        let stored = ramps(width, height);
        for (ops, value) in lists.iter().flat_map(|ops| (1..=8).map(move |value| (ops, value))) {
            let encoded = with_exif(&stored, value);
            let scaled = pipeline(ops).with_decode_scale().expect("antialiased");
            for seed in 0..4 {
                let (full, small) = (sample(&pipeline(ops), &encoded, seed), sample(&scaled, &encoded, seed));
                let gaps = || full.iter().zip(&small).map(|(a, b)| u32::from(a.abs_diff(*b)));
                let (max, mean) = (gaps().max(), f64::from(gaps().sum::<u32>()) / full.len() as f64);
                assert!(
                    max <= Some(8) && mean < 1.0,
                    "{value}, {ops:?}, seed {seed}: max {max:?}, mean {mean}"
                );
            }
        }
    }
}

#[test]
fn crops_of_less_than_twice_their_result_and_other_formats_are_decoded_in_full() {
    let ops = [crop([0.01, 1.0], Filter::DEFAULT)];
    let (full, scaled) = (pipeline(&ops), pipeline(&ops).with_decode_scale().expect("antialiased"));
    let small = Jpeg::rgb(39, 47, SamplingFactor::R_4_2_0).encode();
    let png = common::png(200, 150, image::ExtendedColorType::Rgb8);
    for (encoded, seed) in
        [&small, &png].into_iter().flat_map(|encoded| (0..8).map(move |seed| (encoded, seed)))
    {
        assert!(sample(&full, encoded, seed) == sample(&scaled, encoded, seed), "seed {seed}");
    }
    let large = Jpeg::rgb(200, 150, SamplingFactor::R_4_2_0).encode();
    assert!(
        (0..8).any(|seed| sample(&full, &large, seed) != sample(&scaled, &large, seed)),
        "it does something"
    );
}

#[test]
fn the_views_of_an_image_share_the_scale_that_all_of_them_allow() {
    let encoded = Jpeg::rgb(120, 90, SamplingFactor::R_4_2_0).encode();
    let ops = [crop([0.02, 1.0], Filter::DEFAULT)];
    let (full, scaled) = (pipeline(&ops), pipeline(&ops).with_decode_scale().expect("antialiased"));
    let (mut decoder, mut scratch) = (decoder(), Scratch::new());
    let mut views = |pipeline: &ImagePipeline, seeds: [u64; 2]| {
        let mut target = vec![0; pipeline.view_bytes() * 2];
        let decoded = pipeline.decode(&encoded, &mut decoder, seeds.map(SplitMix)).expect("sound");
        pipeline.write(&decoded, &mut scratch, &mut target).expect("it has room");
        let room = |n: usize| {
            let crop = decoded.drawn().views[n].crop;
            (crop.width / 20).min(crop.height / 24)
        };
        (target, room(0).min(room(1)))
    };
    let (mut kept, mut changed) = (0, 0);
    for seed in 0..40 {
        let ((full, room), (scaled, _)) =
            (views(&full, [seed, seed + 100]), views(&scaled, [seed, seed + 100]));
        if room < 2 {
            assert!(full == scaled, "seed {seed}: one of them needs every pixel");
            kept += 1;
        } else {
            assert!(full != scaled, "seed {seed}");
            changed += 1;
        }
    }
    assert!(kept > 0 && changed > 0, "{kept} {changed}");
}
