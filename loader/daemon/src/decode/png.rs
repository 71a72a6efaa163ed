//! PNG through the `image` crate: every colour type and depth to RGB8, as Pillow's `convert("RGB")` does.
//!
//! Alpha is dropped, not blended. Of 16-bit samples the high byte is kept, which is what Pillow does for colour;
//! for 16-bit grey Pillow clips to 0..=255 instead, which turns nearly every such picture white, so there we differ.
//! The whole image is decoded whatever part is wanted (its rows depend on each other), so a verdict is about all of it.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::error::{ImageError, LimitErrorKind};
use image::{ColorType, ImageDecoder as _, Limits};

use super::{DecodeError, ImageFormat, ImageInfo, ImageLimits, Pixels, Rect};
use crate::buffer::grown;

const PNG: &str = "PNG";

/// Room for the decoder's own rows, palettes and text chunks, beside the pixels.
const WORKING_BYTES: u64 = 16 << 20;

/// Width and height of the header, which is the first chunk.
pub(super) fn info(encoded: &[u8]) -> Result<ImageInfo, DecodeError> {
    let field = |at: usize| encoded.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(width), Some(height)) = (field(16), field(20)) else { return Err(truncated(encoded)) };
    if &encoded[12..16] != b"IHDR" || width == 0 || height == 0 {
        let detail = "its first chunk is no header with a width and a height".to_owned();
        return Err(DecodeError::Corrupt { format: PNG, detail });
    }
    Ok(ImageInfo { width, height, format: ImageFormat::Png })
}

/// Decodes the whole image into `buffer`; `raw` holds it as stored, where that is not RGB8 already.
pub(super) fn decode<'b>(
    encoded: &[u8],
    want: Rect,
    limits: &ImageLimits,
    raw: &mut Vec<u8>,
    buffer: &'b mut Vec<u8>,
) -> Result<Pixels<'b>, DecodeError> {
    let image = info(encoded)?;
    limits.check_pixels(&image)?;
    let (width, height) = (image.width, image.height);
    let pixels = width as usize * height as usize;

    let decoder = PngDecoder::with_limits(Cursor::new(encoded), library_limits(pixels))
        .map_err(|error| verdict(encoded, &error))?;
    let color = decoder.color_type();
    let stored_bytes = decoder.total_bytes() as usize;
    let rgb = grown(buffer, pixels * 3);
    if color == ColorType::Rgb8 {
        decoder.read_image(rgb).map_err(|error| verdict(encoded, &error))?;
    } else {
        let stored = grown(raw, stored_bytes);
        decoder.read_image(stored).map_err(|error| verdict(encoded, &error))?;
        to_rgb8(color, stored, rgb)?;
    }
    want.check_inside(&image)?;
    Ok(Pixels { rgb, width, height, region: want })
}

fn library_limits(pixels: usize) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(pixels as u64 * 8 + WORKING_BYTES);
    limits
}

/// `stored` holds native-endian samples.
fn to_rgb8(color: ColorType, stored: &[u8], rgb: &mut [u8]) -> Result<(), DecodeError> {
    let high = usize::from(cfg!(target_endian = "little"));
    // Bytes a pixel, and where red, green and blue lie in it.
    let (stride, at) = match color {
        ColorType::L8 => (1, [0, 0, 0]),
        ColorType::La8 => (2, [0, 0, 0]),
        ColorType::Rgb8 => (3, [0, 1, 2]),
        ColorType::Rgba8 => (4, [0, 1, 2]),
        ColorType::L16 => (2, [high; 3]),
        ColorType::La16 => (4, [high; 3]),
        ColorType::Rgb16 => (6, [high, high + 2, high + 4]),
        ColorType::Rgba16 => (8, [high, high + 2, high + 4]),
        _ => {
            let feature = "a colour type outside the PNG standard";
            return Err(DecodeError::UnsupportedFeature { format: PNG, feature });
        }
    };
    for (from, to) in stored.chunks_exact(stride).zip(rgb.chunks_exact_mut(3)) {
        to.copy_from_slice(&at.map(|byte| from[byte]));
    }
    Ok(())
}

fn verdict(encoded: &[u8], error: &ImageError) -> DecodeError {
    match error {
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => truncated(encoded),
        ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => {
            let detail = "its chunks need more memory than an image of its size may".to_owned();
            DecodeError::Corrupt { format: PNG, detail }
        }
        other => DecodeError::Corrupt { format: PNG, detail: other.to_string() },
    }
}

fn truncated(encoded: &[u8]) -> DecodeError {
    DecodeError::Truncated { format: PNG, len_bytes: encoded.len() as u64 }
}
