//! A turned image is, byte for byte, what the whole of it gives when it is decoded and turned before anything else.

mod common;

use common::{Jpeg, SplitMix, exif, with_exif};
use forebay::decode::{ImageDecoder, ImageLimits, Rect};
use forebay::transform::{Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize, Scratch};
use jpeg_encoder::SamplingFactor;

const FLIP: ImageOp = ImageOp::RandomHorizontalFlip { p: 0.5 };
const CENTER: ImageOp = ImageOp::CenterCrop { height: 24, width: 20 };

fn decoder() -> ImageDecoder {
    ImageDecoder::new(ImageLimits::default())
}

fn png(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut encoded = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut encoded);
    image::ImageEncoder::write_image(encoder, rgb, width, height, image::ExtendedColorType::Rgb8)
        .expect("a sound picture");
    encoded
}

/// The whole image as it is stored, and turned by another library: a PNG, so that nothing is lost.
fn turned_whole(encoded: &[u8], value: u8) -> Vec<u8> {
    use image::metadata::Orientation;
    let mut decoder = decoder();
    let info = decoder.info(encoded).expect("a header");
    let whole = decoder.decode_region(encoded, Rect::whole(&info)).expect("a sound image");
    let rgb = whole.rows().flatten().copied().collect();
    let whole = image::RgbImage::from_raw(info.width, info.height, rgb).expect("as many bytes as pixels");
    let mut whole = image::DynamicImage::ImageRgb8(whole);
    whole.apply_orientation(Orientation::from_exif(value).expect("one of eight"));
    png(whole.as_bytes(), whole.width(), whole.height())
}

fn sample(
    pipeline: &ImagePipeline,
    encoded: &[u8],
    seed: u64,
    kept: &mut (ImageDecoder, Scratch),
) -> Vec<u8> {
    let mut target = vec![0xAA; pipeline.view_bytes()];
    pipeline.run(encoded, &mut kept.0, &mut kept.1, &mut SplitMix(seed), &mut target).expect("a sound image");
    target
}

#[test]
fn every_orientation_under_every_kind_of_crop_is_that_of_the_image_turned_first() {
    let crop = |scale, filter| ImageOp::RandomResizedCrop {
        height: 24,
        width: 20,
        scale,
        ratio: [0.75, 4.0 / 3.0],
        filter,
    };
    let smooth = |size| ImageOp::Resize { size, filter: Filter::DEFAULT };
    let lists = [
        vec![CENTER],
        vec![ImageOp::CenterCrop { height: 150, width: 90 }, FLIP],
        vec![crop([0.05, 1.0], Filter::DEFAULT), FLIP],
        vec![crop([0.05, 1.0], Filter::Bicubic { antialias: false })],
        vec![crop([0.05, 1.0], Filter::Nearest), FLIP],
        vec![smooth(ResizeSize::ShorterSide(40)), CENTER, FLIP],
        vec![smooth(ResizeSize::Exact { height: 50, width: 31 })],
    ];
    let mut kept = (decoder(), Scratch::new());
    for (sampling, width, height) in [
        (SamplingFactor::R_4_4_4, 67, 93),
        (SamplingFactor::R_4_2_0, 120, 75),
        (SamplingFactor::R_4_2_2, 9, 31),
    ] {
        let stored = Jpeg::rgb(width, height, sampling).encode();
        for value in 1..=8 {
            let (marked, turned) = (with_exif(&stored, value), turned_whole(&stored, value));
            for ops in &lists {
                let plain =
                    ImagePipeline::new(ops, OutputType::U8, OutputOrder::ChannelsLast).expect("sound");
                let upright = ImagePipeline::new(ops, OutputType::U8, OutputOrder::ChannelsLast)
                    .expect("sound")
                    .with_exif_orientation(true);
                for seed in 0..4 {
                    let expected = sample(&plain, &turned, seed, &mut kept);
                    let got = sample(&upright, &marked, seed, &mut kept);
                    assert!(got == expected, "{value}, {sampling:?}, {ops:?}, seed {seed}");
                    let off = sample(&plain, &marked, seed, &mut kept);
                    assert!(off == sample(&plain, &stored, seed, &mut kept), "{value}: not asked for");
                }
            }
        }
    }
}

#[test]
fn views_share_one_decode_of_a_turned_image_and_are_each_what_they_are_alone() {
    let crop = ImageOp::RandomResizedCrop {
        height: 24,
        width: 20,
        scale: [0.05, 0.4],
        ratio: [0.75, 4.0 / 3.0],
        filter: Filter::DEFAULT,
    };
    let pipeline = ImagePipeline::new(&[crop, FLIP], OutputType::U8, OutputOrder::ChannelsLast)
        .expect("sound")
        .with_exif_orientation(true);
    let encoded = with_exif(&Jpeg::rgb(120, 75, SamplingFactor::R_4_2_0).encode(), 6);
    let mut kept = (decoder(), Scratch::new());
    let mut target = vec![0; pipeline.view_bytes() * 3];
    let decoded = pipeline.decode(&encoded, &mut kept.0, (0..3).map(SplitMix)).expect("a sound image");
    pipeline.write(&decoded, &mut kept.1, &mut target).expect("it has room");
    let drawn = decoded.into_drawn();
    assert_eq!((drawn.image.width, drawn.image.height), (75, 120), "crops are told in the upright image");
    for (seed, view) in (0..).zip(target.chunks_exact(pipeline.view_bytes())) {
        assert!(view == sample(&pipeline, &encoded, seed, &mut kept), "view {seed}");
    }
}

#[test]
fn a_png_is_turned_as_its_block_says() {
    let rgb: Vec<u8> = (0..40 * 30 * 3_u32).map(|n| (n * 7 % 251) as u8).collect();
    let stored = png(&rgb, 40, 30);
    let block = exif(8);
    // Behind the header chunk: 8 bytes of signature, 4 of length, 4 of type, 13 of data, 4 of checksum.
    let chunk = [&(block.len() as u32).to_be_bytes()[..], b"eXIf", &block].concat();
    let checksum = crc(&chunk[4..]).to_be_bytes();
    let marked = [&stored[..33], &chunk, &checksum, &stored[33..]].concat();
    let pipeline = ImagePipeline::new(&[CENTER], OutputType::U8, OutputOrder::ChannelsLast).expect("sound");
    let mut kept = (decoder(), Scratch::new());
    let expected = sample(&pipeline, &turned_whole(&stored, 8), 0, &mut kept);
    assert_ne!(sample(&pipeline, &marked, 0, &mut kept), expected);
    assert_eq!(sample(&pipeline.with_exif_orientation(true), &marked, 0, &mut kept), expected);
}

/// A PNG chunk's checksum. Source: the PNG specification, annex D.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
