//! JPEG: decodes only the rows and columns that were asked for, with exactly the pixels of the whole image.

mod cmyk;
mod device;
mod markers;
mod tables;
#[cfg(feature = "turbo")]
mod turbo;
#[cfg(not(feature = "turbo"))]
mod zune;

use std::time::Duration;

use self::markers::{Frame, Walk};
use super::{DecodeError, ImageFormat, ImageInfo, ImageLimits, Pixels, Rect};
use crate::buffer::grown;

#[cfg(feature = "turbo")]
use self::turbo::Turbo as Chosen;
#[cfg(not(feature = "turbo"))]
use self::zune::Zune as Chosen;

#[cfg(not(any(feature = "turbo", feature = "pure")))]
compile_error!("choose a JPEG decoder: feature `turbo` (needs nasm, cmake and a C compiler) or `pure`");

const JPEG: &str = "JPEG";

/// libjpeg's own limit (`JPEG_MAX_DIMENSION`), which the format's 65,535 passes.
const SIDE_MAX: u32 = 65_500;

/// A DCT block is 8 samples wide and high.
const BLOCK: u32 = 8;

/// How far the interpolation of subsampled colour looks beyond a pixel, in pixels of the image.
const UPSAMPLING_MARGIN: u32 = 2;

/// What decoding one image may take.
#[cfg_attr(
    not(feature = "turbo"),
    expect(dead_code, reason = "zune-jpeg can neither be stopped nor held to memory")
)]
struct Bounds<'a> {
    limits: &'a ImageLimits,
    time_max: Duration,
}

/// What a JPEG library does for us.
trait Backend {
    /// Decoder objects are made once a thread.
    fn new() -> Self;

    /// Decodes `cover` into `out`, rows tightly packed, [`Frame::channels`] bytes a pixel; how many recoverable
    /// faults it met. Both in pixels of the image made smaller by `shrink`.
    fn decode(
        &mut self,
        encoded: &[u8],
        walk: &Walk,
        cover: Rect,
        shrink: u32,
        bounds: &Bounds,
        out: &mut [u8],
    ) -> Result<u64, DecodeError>;

    /// Whether the bytes end before the last row is complete. Decodes every row, each into the same `row`.
    fn ends_early(
        &mut self,
        encoded: &[u8],
        walk: &Walk,
        bounds: &Bounds,
        row: &mut [u8],
    ) -> Result<bool, DecodeError>;
}

/// The JPEG decoder of one worker thread.
pub(super) struct JpegDecoder {
    backend: Chosen,
    time_max: Duration,
    warnings: u64,
}

impl JpegDecoder {
    /// A decoder that stops after `time_max` of one image.
    pub fn new(time_max: Duration) -> JpegDecoder {
        JpegDecoder { backend: Chosen::new(), time_max, warnings: 0 }
    }

    /// Recoverable faults met so far, over all images. They depend on the crops that were drawn, so they are a
    /// figure for people and never a verdict.
    pub fn warnings(&self) -> u64 {
        self.warnings
    }

    pub fn info(encoded: &[u8]) -> Result<ImageInfo, DecodeError> {
        Ok(info(&markers::read_frame(encoded)?))
    }

    /// Components of a file that a device decodes as this decoder does; `None` of any other, sound or not.
    pub fn components_for_device(encoded: &[u8], limits: &ImageLimits) -> Option<u8> {
        let walk = markers::walk(encoded, limits.markers_max).ok()?;
        let fits = walk.scans <= limits.scans_max;
        (fits && device::decodes(&walk)).then_some(walk.frame.components)
    }

    /// Decodes `want`, in pixels of the image made smaller by `shrink`: 1, 2, 4 or 8, rounded up to whole pixels.
    pub fn decode_region<'b>(
        &mut self,
        encoded: &[u8],
        (want, shrink): (Rect, u32),
        limits: &ImageLimits,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Pixels<'b>, DecodeError> {
        let walk = markers::walk(encoded, limits.markers_max)?;
        let image = info(&walk.frame);
        limits.check_pixels(&image)?;
        if image.width.max(image.height) > SIDE_MAX {
            let feature = "a side of more than 65,500 pixels";
            return Err(DecodeError::UnsupportedFeature { format: JPEG, feature });
        }
        if walk.scans > limits.scans_max {
            return Err(DecodeError::TooManyScans { scans_max: limits.scans_max });
        }
        let bounds = Bounds { limits, time_max: self.time_max };
        if !walk.reaches_end && self.is_cut(encoded, &walk, &bounds, buffer)? {
            return Err(DecodeError::Truncated { format: JPEG, len_bytes: encoded.len() as u64 });
        }
        want.check_inside(&image.shrunk(shrink))?;
        let cover = cover(&walk, want, shrink);
        let pixels = cover.area();
        let out = uneven(buffer, pixels * walk.frame.channels() as usize);
        self.warnings += self.backend.decode(encoded, &walk, cover, shrink, &bounds, out)?;
        if walk.frame.channels() == 4 {
            cmyk::to_rgb_in_place(out);
        }
        let region = Rect { left: want.left - cover.left, top: want.top - cover.top, ..want };
        Ok(Pixels { rgb: &out[..pixels * 3], width: cover.width, height: cover.height, region })
    }

    /// The slow path of a file without its end marker: whether pixels are missing too.
    ///
    /// A file of several scans that stops between two of them has a value for every pixel but not the one that
    /// was encoded, so without the end marker it always counts as cut.
    fn is_cut(
        &mut self,
        encoded: &[u8],
        walk: &Walk,
        bounds: &Bounds,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, DecodeError> {
        if walk.multi_scan {
            return Ok(true);
        }
        let row = grown(buffer, (walk.frame.width * walk.frame.channels()) as usize);
        self.backend.ends_early(encoded, walk, bounds, row)
    }
}

/// Room for `len_bytes` in `buffer`, at an odd address.
///
/// libjpeg-turbo writes a row around the cache where the row lies on 32 bytes (`jdcolext-avx2.asm`), for whoever does not
/// read it soon. We resize it at once. Rows of an even width from an odd address never lie so: measured, decoding and
/// reading a 32 x 32 image takes 0.54 of the time, one of 500 x 375 0.97.
fn uneven(buffer: &mut Vec<u8>, len_bytes: usize) -> &mut [u8] {
    let room = grown(buffer, len_bytes + 1);
    let start = usize::from(room.as_ptr().addr().is_multiple_of(2));
    &mut room[start..start + len_bytes]
}

impl Frame {
    /// Bytes a pixel as the backend delivers them: RGB, or CMYK for four components.
    fn channels(&self) -> u32 {
        if self.components == 4 { 4 } else { 3 }
    }
}

fn info(frame: &Frame) -> ImageInfo {
    ImageInfo { width: frame.width, height: frame.height, format: ImageFormat::Jpeg }
}

/// The smallest rectangle around `want` that libjpeg can decode on its own with the pixels of the whole image.
///
/// Its left edge lies on an iMCU column (`jpeg_crop_scanline` would move it there), and where colour is
/// subsampled both edges keep a margin, because at an edge the interpolation has one neighbour too few. Rows need
/// neither: `jpeg_skip_scanlines` keeps the rows that the interpolation looks at. A file of several scans is
/// decoded in full anyway, and smoothing of missing coefficients would look beyond the edges: whole rows.
///
/// A `shrink` of 2, 4 or 8 makes blocks, and with them iMCUs, so much smaller.
fn cover(walk: &Walk, want: Rect, shrink: u32) -> Rect {
    let (frame, image_width) = (&walk.frame, walk.frame.width.div_ceil(shrink));
    if walk.multi_scan {
        return Rect { left: 0, width: image_width, ..want };
    }
    let subsampled = frame.components > 1 && frame.h_max > 1;
    let margin = if subsampled { UPSAMPLING_MARGIN } else { 0 };
    let block = BLOCK / shrink;
    let imcu_width = if frame.components == 1 { block } else { block * u32::from(frame.h_max) };
    let right = (want.left + want.width + margin).min(image_width);
    let left = want.left.saturating_sub(margin) / imcu_width * imcu_width;
    // Very narrow planes switch libjpeg to another upsampler; a block's width more keeps it on the image's own.
    let more = BLOCK.next_multiple_of(imcu_width);
    let left = if right - left < BLOCK { left.saturating_sub(more) } else { left };
    Rect { left, width: right - left, ..want }
}
