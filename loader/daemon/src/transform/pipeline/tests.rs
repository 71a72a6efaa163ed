//! What a pipeline accepts, and that its path equals its parts.

use super::*;
use crate::decode::{ImageFormat, ImageLimits};
use crate::transform::draw::testing::SplitMix;

const FLIP: ImageOp = ImageOp::RandomHorizontalFlip { p: 0.5 };
const CENTER: ImageOp = ImageOp::CenterCrop { height: 24, width: 20 };
const CROP: ImageOp = ImageOp::RandomResizedCrop {
    height: 24,
    width: 20,
    scale: [0.08, 1.0],
    ratio: [0.75, 4.0 / 3.0],
    filter: Filter::DEFAULT,
};
const NORMALIZE: ImageOp = ImageOp::Normalize { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] };
const SHORTER: ImageOp = ImageOp::Resize { size: ResizeSize::ShorterSide(30), filter: Filter::DEFAULT };
const EXACT: ImageOp =
    ImageOp::Resize { size: ResizeSize::Exact { height: 24, width: 20 }, filter: Filter::DEFAULT };

fn u8_hwc(ops: &[ImageOp]) -> Result<ImagePipeline, TransformError> {
    ImagePipeline::new(ops, OutputType::U8, OutputOrder::ChannelsLast)
}

fn error(ops: &[ImageOp]) -> String {
    u8_hwc(ops).err().expect("not supported").to_string()
}

/// A PNG of 57 x 43 pixels, all different.
fn picture() -> (Vec<u8>, ImageInfo) {
    let pixels: Vec<u8> = (0..57 * 43 * 3u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut encoded = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut encoded);
    image::ImageEncoder::write_image(encoder, &pixels, 57, 43, image::ExtendedColorType::Rgb8)
        .expect("a sound picture");
    (encoded, ImageInfo { width: 57, height: 43, format: ImageFormat::Png })
}

fn sample(pipeline: &ImagePipeline, draw: &Draw) -> Vec<u8> {
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let mut target = vec![0xAA; pipeline.view_bytes()];
    pipeline
        .run_drawn(&picture().0, &mut decoder, &mut Scratch::new(), draw, &mut target)
        .expect("a sound picture");
    target
}

#[test]
fn the_size_of_every_result_is_known_before_any_image() {
    for ops in [&[CROP][..], &[EXACT], &[CENTER], &[SHORTER, CENTER], &[CROP, FLIP]] {
        let pipeline = u8_hwc(ops).expect("a fixed size");
        assert_eq!((pipeline.height(), pipeline.width(), pipeline.view_bytes()), (24, 20, 24 * 20 * 3));
    }
    let ops = [CROP, FLIP, NORMALIZE];
    let floats = ImagePipeline::new(&ops, OutputType::F32, OutputOrder::ChannelsFirst).expect("a fixed size");
    assert_eq!(floats.view_bytes(), 24 * 20 * 3 * 4);
}

#[test]
fn without_a_fixed_size_the_error_names_the_cure() {
    for ops in [&[][..], &[SHORTER], &[FLIP]] {
        assert!(error(ops).contains("add CenterCrop(224) or Resize([224, 224])"));
    }
}

#[test]
fn an_order_that_we_do_not_run_is_refused_with_a_cure() {
    assert!(error(&[FLIP, CROP]).contains("put RandomHorizontalFlip after the crops"));
    assert!(error(&[CENTER, EXACT]).contains("put CenterCrop after Resize"));
    assert!(error(&[EXACT, CROP]).contains("RandomResizedCrop after Resize is not supported: keep one"));
    let late = ImagePipeline::new(&[NORMALIZE, CROP], OutputType::F32, OutputOrder::ChannelsLast);
    assert!(late.err().expect("not supported").to_string().contains("put Normalize last"));
    assert_eq!(u8_hwc(&[CROP, NORMALIZE]).err(), Some(TransformError::NormalizeToU8));
}

#[test]
fn parameters_outside_their_range_are_refused_by_name() {
    let crop = |scale, ratio| ImageOp::RandomResizedCrop {
        height: 8,
        width: 8,
        scale,
        ratio,
        filter: Filter::DEFAULT,
    };
    for (op, name) in [
        (ImageOp::Resize { size: ResizeSize::ShorterSide(0), filter: Filter::DEFAULT }, "Resize: size"),
        (ImageOp::CenterCrop { height: 8, width: 20_000 }, "CenterCrop: height and width"),
        (crop([0.0, 1.0], [1.0, 1.0]), "RandomResizedCrop: scale"),
        (crop([0.5, 1.5], [1.0, 1.0]), "RandomResizedCrop: scale"),
        (crop([0.5, 1.0], [2.0, 1.0]), "RandomResizedCrop: ratio"),
        (crop([0.5, 1.0], [f64::NAN, 1.0]), "RandomResizedCrop: ratio"),
        (ImageOp::RandomHorizontalFlip { p: 1.1 }, "RandomHorizontalFlip: p"),
        (ImageOp::Normalize { mean: [0.0; 3], std: [1.0, 0.0, 1.0] }, "Normalize: mean and std"),
    ] {
        assert!(error(&[op]).starts_with(name), "{}", error(&[op]));
    }
}

#[test]
fn a_range_of_the_wrong_length_is_refused() {
    let (encoded, info) = picture();
    let pipeline = u8_hwc(&[CROP]).expect("a fixed size");
    let draw = pipeline.draw(info, &mut SplitMix(1));
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let result = pipeline.run_drawn(&encoded, &mut decoder, &mut Scratch::new(), &draw, &mut [0; 7]);
    assert_eq!(result, Err(SampleError::TargetLength { sample_bytes: 1440, target_bytes: 7 }));
}

#[test]
fn a_bad_image_is_the_decoders_error() {
    let pipeline = u8_hwc(&[CROP]).expect("a fixed size");
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let mut target = vec![0; pipeline.view_bytes()];
    let result = pipeline.run(b"GIF89a", &mut decoder, &mut Scratch::new(), &mut SplitMix(1), &mut target);
    assert!(matches!(result, Err(SampleError::Decode(error)) if error.is_unsupported()));
}

#[test]
fn the_same_numbers_give_the_same_draw_and_run_uses_it() {
    let (encoded, info) = picture();
    let pipeline = u8_hwc(&[CROP, FLIP]).expect("a fixed size");
    for seed in 0..50 {
        let draw = pipeline.draw(info, &mut SplitMix(seed));
        let mut decoder = ImageDecoder::new(ImageLimits::default());
        let mut target = vec![0; pipeline.view_bytes()];
        pipeline
            .run(&encoded, &mut decoder, &mut Scratch::new(), &mut SplitMix(seed), &mut target)
            .expect("a sound picture");
        assert_eq!(target, sample(&pipeline, &draw));
    }
}

#[test]
fn a_flip_mirrors_the_result_and_nothing_else() {
    let pipeline = u8_hwc(&[CROP, FLIP]).expect("a fixed size");
    let draw = pipeline.draw(picture().1, &mut SplitMix(3));
    let plain = sample(&pipeline, &Draw { flip: false, ..draw });
    let flipped = sample(&pipeline, &Draw { flip: true, ..draw });
    for (row, mirrored) in plain.chunks_exact(60).zip(flipped.chunks_exact(60)) {
        let back: Vec<u8> = mirrored.chunks_exact(3).rev().flatten().copied().collect();
        assert_eq!(row, back);
    }
}

#[test]
fn the_visible_middle_of_a_resize_is_cut_from_the_whole_resize() {
    let (_, info) = picture();
    let whole = u8_hwc(&[ImageOp::Resize {
        size: ResizeSize::Exact { height: 30, width: 39 },
        filter: Filter::DEFAULT,
    }]);
    let whole = whole.expect("a fixed size");
    let whole = sample(&whole, &whole.draw(info, &mut SplitMix(1)));
    let middle = u8_hwc(&[SHORTER, CENTER]).expect("a fixed size");
    let draw = middle.draw(info, &mut SplitMix(1));
    assert_eq!((draw.resized_height, draw.resized_width, draw.top, draw.left), (30, 39, 3, 10));
    let expected: Vec<u8> =
        whole.chunks_exact(39 * 3).skip(3).take(24).flat_map(|row| row[30..30 + 60].to_vec()).collect();
    assert_eq!(sample(&middle, &draw), expected);
}

#[test]
fn a_small_image_is_padded_with_zeros_that_normalize_like_black() {
    let ops = [ImageOp::CenterCrop { height: 50, width: 60 }, NORMALIZE];
    let pipeline =
        ImagePipeline::new(&ops, OutputType::F32, OutputOrder::ChannelsLast).expect("a fixed size");
    let floats = sample(&pipeline, &pipeline.draw(picture().1, &mut SplitMix(1)));
    let red = f32::from_ne_bytes([floats[0], floats[1], floats[2], floats[3]]);
    assert_eq!(red.to_bits(), ((0.0f32 - 0.5) / 0.2).to_bits());
}
