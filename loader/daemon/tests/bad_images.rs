//! What is no sound image: one clear verdict, the same for every crop, never a panic and never an over-long run.

mod common;

use common::{Jpeg, png};
use forebay::decode::{DecodeError, ImageDecoder, ImageFormat, ImageLimits, Rect};
use image::ExtendedColorType;
use jpeg_encoder::SamplingFactor;

const PIXEL: Rect = Rect { left: 0, top: 0, width: 1, height: 1 };

fn decoder() -> ImageDecoder {
    ImageDecoder::new(ImageLimits::default())
}

fn verdict(encoded: &[u8], want: Rect) -> Result<(), DecodeError> {
    decoder().decode_region(encoded, want).map(drop)
}

fn jpeg() -> Vec<u8> {
    Jpeg::rgb(120, 90, SamplingFactor::R_4_2_0).encode()
}

/// Crops above, at and below any cut.
const CROPS: [Rect; 4] = [
    PIXEL,
    Rect { left: 20, top: 0, width: 50, height: 8 },
    Rect { left: 100, top: 80, width: 20, height: 10 },
    Rect { left: 0, top: 0, width: 120, height: 90 },
];

#[test]
fn a_cut_jpeg_has_the_same_verdict_for_every_crop() {
    for progressive in [false, true] {
        let sound = Jpeg { progressive, ..Jpeg::rgb(120, 90, SamplingFactor::R_4_2_0) }.encode();
        // The last cut takes the end marker and one byte of pixels.
        for cut in (3..sound.len() - 2).step_by(97).chain([sound.len() - 3]) {
            let expected = DecodeError::Truncated { format: "JPEG", len_bytes: cut as u64 };
            for crop in CROPS {
                assert_eq!(verdict(&sound[..cut], crop), Err(expected.clone()), "cut at {cut}, {crop}");
            }
        }
    }
}

#[cfg(feature = "turbo")] // the pure decoder cannot tell, and refuses it
#[test]
fn a_jpeg_that_lacks_only_its_end_marker_decodes_to_the_same_pixels() {
    let sound = jpeg();
    let mut first = decoder();
    let whole = first.decode_region(&sound, CROPS[3]).expect("a sound file");
    let mut second = decoder();
    for cut in [sound.len() - 2, sound.len() - 1] {
        assert_eq!(second.decode_region(&sound[..cut], CROPS[3]).expect("all rows are there").rgb, whole.rgb);
    }
}

#[test]
fn bytes_after_the_end_do_not_matter() {
    let sound = [jpeg(), vec![0; 1000]].concat();
    assert_eq!(verdict(&sound, CROPS[1]), Ok(()));
}

#[test]
fn damaged_pixels_are_no_verdict_but_are_counted() {
    let mut damaged = jpeg();
    let middle = damaged.len() * 2 / 3;
    damaged[middle..middle + 40].fill(0xA5);
    let mut decoder = decoder();
    for crop in CROPS {
        decoder.decode_region(&damaged, crop).expect("libjpeg recovers, as in Pillow and torchvision");
    }
    damaged[middle..middle + 2].copy_from_slice(&[0xFF, 0xD3]); // a restart marker that nothing announced
    decoder.decode_region(&damaged, CROPS[3]).expect("libjpeg recovers");
    #[cfg(feature = "turbo")]
    assert!(decoder.warnings() > 0);
}

#[test]
fn a_file_without_its_tables_never_gets_those_of_the_file_before() {
    let whole = |decoder: &mut ImageDecoder, encoded: &[u8]| {
        decoder.decode_region(encoded, CROPS[3]).map(|pixels| pixels.rgb.to_vec())
    };
    for (code, tables) in [(0xDB, "quantization"), (0xC4, "Huffman")] {
        let bare = without_segments(&jpeg(), code);
        let alone = whole(&mut decoder(), &bare);
        for progressive in [false, true] {
            let before = Jpeg { progressive, ..Jpeg::rgb(40, 30, SamplingFactor::R_4_2_0) }.encode();
            let mut used = decoder();
            used.decode_region(&before, PIXEL).expect("a sound file");
            assert!(whole(&mut used, &bare) == alone, "{tables} tables, progressive before: {progressive}");
        }
    }
}

/// A JPEG without its header segments of one kind.
fn without_segments(sound: &[u8], code: u8) -> Vec<u8> {
    let (mut bare, mut at) = (sound[..2].to_vec(), 2);
    while sound[at + 1] != 0xDA {
        let end = at + 2 + usize::from(u16::from_be_bytes([sound[at + 2], sound[at + 3]]));
        if sound[at + 1] != code {
            bare.extend(&sound[at..end]);
        }
        at = end;
    }
    bare.extend(&sound[at..]);
    bare
}

#[test]
fn the_extension_never_counts_only_the_bytes_do() {
    let info = decoder().info(&png(7, 5, ExtendedColorType::Rgb8)).expect("a sound file");
    assert_eq!((info.width, info.height, info.format), (7, 5, ImageFormat::Png));
    let webp = DecodeError::UnsupportedFormat { format: "WebP" };
    assert!(webp.is_unsupported());
    assert_eq!(decoder().info(b"RIFF\x10\0\0\0WEBPVP8L"), Err(webp));
}

#[test]
fn what_is_no_image_says_how_it_starts() {
    for bytes in [&b""[..], b"<!DOCTYPE html>", b"\xff\xd8", &[0; 64]] {
        let error = decoder().info(bytes).expect_err("no image");
        assert!(matches!(error, DecodeError::NotAnImage { .. }) && error.is_corrupt(), "{error}");
    }
}

#[test]
fn a_header_that_promises_too_much_allocates_nothing() {
    let mut bomb = png(8, 8, ExtendedColorType::Rgb8);
    bomb[16..24].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]);
    assert!(matches!(verdict(&bomb, PIXEL), Err(DecodeError::TooManyPixels { .. })));
    let mut bomb = jpeg();
    let frame = bomb.windows(2).position(|m| m == [0xFF, 0xC0]).expect("a baseline frame");
    bomb[frame + 5..frame + 9].fill(0xFF);
    assert!(matches!(verdict(&bomb, PIXEL), Err(DecodeError::TooManyPixels { .. })));
}

#[test]
fn frames_that_we_do_not_decode_are_refused_by_name() {
    let with_frame = |code: u8, precision: u8| {
        let mut file = jpeg();
        let frame = file.windows(2).position(|m| m == [0xFF, 0xC0]).expect("a baseline frame");
        file[frame + 1] = code;
        file[frame + 4] = precision;
        verdict(&file, PIXEL).expect_err("not supported")
    };
    for (code, precision, feature) in [
        (0xC3, 8, "lossless coding"),
        (0xC5, 8, "hierarchical coding"),
        (0xC1, 12, "12-bit samples"),
        (0xC1, 10, "samples of other than 8 bits"),
    ] {
        let expected = DecodeError::UnsupportedFeature { format: "JPEG", feature };
        assert_eq!(with_frame(code, precision), expected);
    }
}

#[test]
fn a_part_outside_of_the_image_is_the_callers_mistake() {
    for want in [Rect { left: 120, ..PIXEL }, Rect { height: 91, ..PIXEL }, Rect { width: 0, ..PIXEL }] {
        let expected = DecodeError::RegionOutside { want, width: 120, height: 90 };
        assert_eq!(verdict(&jpeg(), want), Err(expected));
    }
    let beyond = Rect { left: u32::MAX, width: u32::MAX, ..PIXEL };
    assert!(matches!(verdict(&jpeg(), beyond), Err(DecodeError::RegionOutside { .. })));
}

#[test]
fn pngs_of_every_colour_type_come_out_as_rgb8() {
    use ExtendedColorType::{L8, L16, La8, La16, Rgb8, Rgb16, Rgba8, Rgba16};
    for color in [L8, La8, Rgb8, Rgba8, L16, La16, Rgb16, Rgba16] {
        let encoded = png(21, 13, color);
        let samples = common::scene(21, 13, color.bits_per_pixel() as usize / 8, 5);
        let sample_bytes = color.bits_per_pixel() as usize / 8 / usize::from(color.channel_count());
        let stride = color.bits_per_pixel() as usize / 8;
        let mut decoder = decoder();
        let want = Rect { left: 3, top: 2, width: 11, height: 7 };
        let pixels = decoder.decode_region(&encoded, want).expect("a sound file");
        for (y, row) in pixels.rows().enumerate() {
            for (x, rgb) in row.chunks_exact(3).enumerate() {
                let at = ((y + 2) * 21 + x + 3) * stride;
                // The encoder takes native-endian samples; the high byte is the last of each on these machines.
                let channel = |c: usize| samples[at + c * sample_bytes + sample_bytes - 1];
                let expected =
                    if color.channel_count() < 3 { [channel(0); 3] } else { [0, 1, 2].map(channel) };
                assert_eq!(rgb, expected, "{color:?} at {x}, {y}");
            }
        }
    }
}

#[test]
fn cut_pngs_are_truncated_whatever_part_is_wanted() {
    let sound = png(60, 40, ExtendedColorType::Rgb8);
    for cut in [9, 20, 40, sound.len() / 2] {
        for want in [PIXEL, Rect { left: 50, top: 30, width: 10, height: 10 }] {
            let error = verdict(&sound[..cut], want).expect_err("cut");
            assert!(matches!(error, DecodeError::Truncated { format: "PNG", .. }), "cut at {cut}: {error}");
        }
    }
}
