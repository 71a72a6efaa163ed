//! The views of one decode are, byte for byte, what each would be from a decode of its own.

mod common;

use common::{Jpeg, SplitMix};
use forebay::decode::{ImageDecoder, ImageLimits};
use forebay::transform::{
    Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize, SampleError, Scratch, VIEWS_MAX,
};
use jpeg_encoder::SamplingFactor;

const FLIP: ImageOp = ImageOp::RandomHorizontalFlip { p: 0.5 };
const NORMALIZE: ImageOp = ImageOp::Normalize { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] };

/// A random part between two shares of the area.
fn crop(scale: [f64; 2]) -> ImageOp {
    ImageOp::RandomResizedCrop {
        height: 24,
        width: 20,
        scale,
        ratio: [0.75, 4.0 / 3.0],
        filter: Filter::DEFAULT,
    }
}

fn generators(seed: u64, views: u32) -> Vec<SplitMix> {
    (0..views).map(|view| SplitMix(seed << 8 | u64::from(view))).collect()
}

/// Both ways over several seeds, with one decoder and one scratch that have seen other images before.
fn check(pipeline: &ImagePipeline, encoded: &[u8], views: u32, what: &str) {
    let mut together = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    let mut alone = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    for seed in 0..6 {
        let mut target = vec![0xAA; pipeline.view_bytes() * views as usize];
        let decoded =
            pipeline.decode(encoded, &mut together.0, generators(seed, views)).expect("a sound image");
        pipeline.write(&decoded, &mut together.1, &mut target).expect("it has room");
        let drawn = decoded.into_drawn();
        assert_eq!(drawn.views.len(), views as usize);
        let each = target.chunks_exact(pipeline.view_bytes()).zip(generators(seed, views)).zip(&drawn.views);
        for (view, ((got, mut rng), draw)) in each.enumerate() {
            let mut expected = vec![0xAA; pipeline.view_bytes()];
            pipeline
                .run(encoded, &mut alone.0, &mut alone.1, &mut rng, &mut expected)
                .expect("a sound image");
            assert!(got == expected, "{what}: view {view} of {views} with seed {seed} differs: {draw:?}");
        }
    }
}

#[test]
fn every_view_has_the_bytes_of_a_run_of_its_own_for_every_kind_of_jpeg() {
    let small = [crop([0.02, 0.1]), FLIP];
    let pipeline = ImagePipeline::new(&small, OutputType::U8, OutputOrder::ChannelsLast).expect("sound");
    for sampling in [SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_2, SamplingFactor::R_4_2_0] {
        for (width, height) in [(9, 7), (66, 50), (211, 160)] {
            for progressive in [false, true] {
                let encoded = Jpeg { progressive, ..Jpeg::rgb(width, height, sampling) }.encode();
                for views in [1, 2, 7] {
                    let what = format!("{sampling:?} {width}x{height} progressive {progressive}");
                    check(&pipeline, &encoded, views, &what);
                }
            }
        }
    }
}

#[test]
fn every_view_has_the_bytes_of_a_run_of_its_own_in_every_layout() {
    let encoded = Jpeg::rgb(130, 97, SamplingFactor::R_4_2_0).encode();
    let (u8s, f32s) = (OutputType::U8, OutputType::F32);
    let middle = [
        ImageOp::Resize { size: ResizeSize::ShorterSide(40), filter: Filter::DEFAULT },
        ImageOp::CenterCrop { height: 24, width: 50 },
        FLIP,
    ];
    let padded = [ImageOp::CenterCrop { height: 120, width: 90 }, FLIP];
    for (ops, output) in [
        (&[crop([0.08, 1.0]), FLIP][..], u8s),
        (&[crop([0.08, 1.0]), FLIP, NORMALIZE], f32s),
        (&middle, u8s),
        (&padded, u8s),
    ] {
        for order in [OutputOrder::ChannelsFirst, OutputOrder::ChannelsLast] {
            let pipeline = ImagePipeline::new(ops, output, order).expect("sound");
            for views in [2, VIEWS_MAX] {
                check(&pipeline, &encoded, views, &format!("{ops:?} {order:?}"));
            }
        }
    }
}

#[test]
fn the_range_of_a_sample_must_hold_its_views_and_no_more() {
    let ops = [crop([0.08, 1.0])];
    let pipeline = ImagePipeline::new(&ops, OutputType::U8, OutputOrder::ChannelsLast).expect("sound");
    let encoded = Jpeg::rgb(66, 50, SamplingFactor::R_4_2_0).encode();
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let decoded = pipeline.decode(&encoded, &mut decoder, generators(1, 2)).expect("a sound image");
    let target_bytes = 3 * pipeline.view_bytes();
    let result = pipeline.write(&decoded, &mut Scratch::new(), &mut vec![0; target_bytes]);
    let sample_bytes = 2 * pipeline.view_bytes();
    assert_eq!(result, Err(SampleError::TargetLength { sample_bytes, target_bytes }));
}
