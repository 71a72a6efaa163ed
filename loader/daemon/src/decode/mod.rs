//! Encoded bytes to pixels in a reused buffer, stored tokens, arrays and bytes to their place: pure, without IO, one file a format.
//!
//! Every image comes out as RGB8, whatever it is stored as (what torchvision's `default_loader` and Pillow's
//! `convert("RGB")` give). A verdict on an image depends only on its complete bytes and on [`ImageLimits`].

pub mod array;
mod error;
mod exif;
mod jpeg;
mod orientation;
mod png;
pub mod raw;
pub mod record;
mod sniff;
pub mod tokens;

use std::fmt;
use std::time::Duration;

pub use error::DecodeError;
pub use orientation::Orientation;
pub use sniff::sniff;

/// Limits counted in work, so that every machine reaches the same verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Width times height, in pixels.
    pub pixels_max: u64,
    /// Length of the encoded file, in bytes.
    pub encoded_bytes_max: u64,
    /// Scans of a progressive JPEG; each costs a pass over the whole image.
    pub scans_max: u32,
    /// Segments of a JPEG, its scans among them; restart markers do not count.
    pub markers_max: u32,
    /// What libjpeg may hold for one image, in bytes: the coefficients of a file of several scans, two bytes each, and
    /// some rows. Counted from what it asks for, never from what is free.
    pub decoder_bytes_max: u64,
}

impl Default for ImageLimits {
    /// Pillow's own limit on pixels (a quarter of a gigapixel's bytes), 256 MiB, six times the scans that encoders
    /// write, four times the segments that 256 MiB of metadata fill, and room for the coefficients of any image that has
    /// no more pixels.
    fn default() -> ImageLimits {
        ImageLimits {
            pixels_max: 178_956_970,
            encoded_bytes_max: 256 << 20,
            scans_max: 64,
            markers_max: 16_384,
            decoder_bytes_max: 2 << 30,
        }
    }
}

impl ImageLimits {
    fn check_bytes(&self, encoded: &[u8]) -> Result<(), DecodeError> {
        let (len_bytes, encoded_bytes_max) = (encoded.len() as u64, self.encoded_bytes_max);
        if len_bytes > encoded_bytes_max {
            return Err(DecodeError::TooManyBytes { len_bytes, encoded_bytes_max });
        }
        Ok(())
    }

    fn check_pixels(&self, image: &ImageInfo) -> Result<(), DecodeError> {
        let ImageInfo { width, height, .. } = *image;
        if u64::from(width) * u64::from(height) > self.pixels_max {
            return Err(DecodeError::TooManyPixels { width, height, pixels_max: self.pixels_max });
        }
        Ok(())
    }
}

/// The image formats that we decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// Baseline, extended or progressive, 8 bits.
    Jpeg,
    /// All colour types and depths.
    Png,
}

/// Whether the JPEG decoder of this build can leave pixels out while it decodes.
pub const SHRINKS: bool = cfg!(feature = "turbo");

/// What an image's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
    /// Sniffed from the bytes.
    pub format: ImageFormat,
}

impl ImageInfo {
    /// The image with one pixel for `by` of each side, those at the end rounded up.
    fn shrunk(self, by: u32) -> ImageInfo {
        ImageInfo { width: self.width.div_ceil(by), height: self.height.div_ceil(by), ..self }
    }
}

/// A part of an image, in pixels from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// The whole of an image.
    pub fn whole(image: &ImageInfo) -> Rect {
        Rect { left: 0, top: 0, width: image.width, height: image.height }
    }

    /// Pixels in it.
    pub fn area(&self) -> usize {
        self.width as usize * self.height as usize
    }

    /// The smallest one that holds both.
    #[must_use]
    pub fn hull(self, other: Rect) -> Rect {
        let (left, top) = (self.left.min(other.left), self.top.min(other.top));
        let right = (self.left + self.width).max(other.left + other.width);
        let bottom = (self.top + self.height).max(other.top + other.height);
        Rect { left, top, width: right - left, height: bottom - top }
    }

    /// What holds it of the image that is made smaller by `by`.
    fn shrunk(self, by: u32) -> Rect {
        let side = |start: u32, len: u32| (start / by, (start + len).div_ceil(by) - start / by);
        let ((left, width), (top, height)) = (side(self.left, self.width), side(self.top, self.height));
        Rect { left, top, width, height }
    }

    fn check_inside(&self, image: &ImageInfo) -> Result<(), DecodeError> {
        let inside =
            |start: u32, len: u32, end: u32| len > 0 && u64::from(start) + u64::from(len) <= u64::from(end);
        if inside(self.left, self.width, image.width) && inside(self.top, self.height, image.height) {
            return Ok(());
        }
        Err(DecodeError::RegionOutside { want: *self, width: image.width, height: image.height })
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} at ({}, {})", self.width, self.height, self.left, self.top)
    }
}

/// Decoded pixels, lent from the decoder until its next image.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    /// `height * width * 3` bytes, row-major, no padding between rows.
    pub rgb: &'a [u8],
    /// Columns of `rgb`.
    pub width: u32,
    /// Rows of `rgb`.
    pub height: u32,
    /// Where the part that was asked for lies in `rgb`, which may hold more.
    pub region: Rect,
}

impl Pixels<'_> {
    /// The same pixels, asked for `part` alone; it begins so many pixels from the corner of what was asked for, and
    /// lies inside of it.
    #[must_use]
    pub fn part(self, part: Rect) -> Self {
        let (left, top) = (self.region.left + part.left, self.region.top + part.top);
        Self { region: Rect { left, top, ..part }, ..self }
    }

    /// The rows of the asked-for part, each `region.width * 3` bytes.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let (left, len) = (self.region.left as usize * 3, self.region.width as usize * 3);
        let rows = self.rgb.chunks_exact(self.width as usize * 3);
        rows.skip(self.region.top as usize)
            .take(self.region.height as usize)
            .map(move |row| &row[left..left + len])
    }
}

/// What [`ImageDecoder::decode_upright`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The pixels; their region is at least what was asked for.
    pub pixels: Pixels<'a>,
    /// Where the region begins, in pixels of the upright image. Below 0 where an image that was made smaller does not
    /// fill its last pixel, and is looked at from that end.
    pub left: i64,
    /// Its first row.
    pub top: i64,
    /// Pixels of the image, along each side, that one of these stands for.
    pub shrink: u32,
}

/// Decodes images one after another; one a worker thread. Its buffers grow to the largest image and stay, so
/// that the JPEG path allocates nothing per image.
pub struct ImageDecoder {
    limits: ImageLimits,
    jpeg: jpeg::JpegDecoder,
    raw: Vec<u8>,
    rgb: Vec<u8>,
    turned: Vec<u8>,
}

impl ImageDecoder {
    /// A decoder that refuses what passes `limits`, however long that takes.
    pub fn new(limits: ImageLimits) -> ImageDecoder {
        Self::with_deadline(limits, Duration::MAX)
    }

    /// The same, stopped where one image takes longer than `time_max`: [`DecodeError::OutOfTime`], which is no verdict on
    /// the image. The clock is looked at once for a megapixel of work. PNG has no such hook: its pixels bound its work.
    pub fn with_deadline(limits: ImageLimits, time_max: Duration) -> ImageDecoder {
        let [raw, rgb, turned] = [const { Vec::new() }; 3];
        ImageDecoder { limits, jpeg: jpeg::JpegDecoder::new(time_max), raw, rgb, turned }
    }

    /// Size and format from the header alone, in about a microsecond. Sound headers may still head a bad file.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are no image that we decode, or the header passes a limit.
    pub fn info(&mut self, encoded: &[u8]) -> Result<ImageInfo, DecodeError> {
        self.limits.check_bytes(encoded)?;
        let image = match sniff(encoded)? {
            ImageFormat::Jpeg => jpeg::JpegDecoder::info(encoded)?,
            ImageFormat::Png => png::info(encoded)?,
        };
        self.limits.check_pixels(&image)?;
        Ok(image)
    }

    /// How many components, 1 or 3, an image has that a device may decode in this decoder's place; `None` where that is
    /// left to this decoder: what is no plain JPEG, and what is corrupt or passes a limit.
    ///
    /// A function of the bytes and the limits. Nothing is decoded, so damage within the entropy-coded data stays unseen.
    pub fn components_for_device(&mut self, encoded: &[u8]) -> Option<u8> {
        match self.info(encoded).ok()?.format {
            ImageFormat::Jpeg => jpeg::JpegDecoder::components_for_device(encoded, &self.limits),
            ImageFormat::Png => None,
        }
    }

    /// Decodes at least the part `want`, with exactly the pixels that the whole image has there.
    ///
    /// # Errors
    /// [`DecodeError`]; which one depends on the bytes and the limits, never on `want`, but for
    /// [`DecodeError::RegionOutside`].
    pub fn decode_region(&mut self, encoded: &[u8], want: Rect) -> Result<Pixels<'_>, DecodeError> {
        self.limits.check_bytes(encoded)?;
        match sniff(encoded)? {
            ImageFormat::Jpeg => self.jpeg.decode_region(encoded, (want, 1), &self.limits, &mut self.rgb),
            ImageFormat::Png => png::decode(encoded, want, &self.limits, &mut self.raw, &mut self.rgb),
        }
    }

    /// The same of the image that is made smaller by `shrink`: 1, or 2, 4 or 8 of a JPEG.
    fn decode_shrunk(&mut self, encoded: &[u8], want: Rect, shrink: u32) -> Result<Pixels<'_>, DecodeError> {
        if shrink == 1 {
            return self.decode_region(encoded, want);
        }
        self.limits.check_bytes(encoded)?;
        self.jpeg.decode_region(encoded, (want, shrink), &self.limits, &mut self.rgb)
    }

    /// How the image has to be turned to be upright, by its EXIF block; upright where it says nothing.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are no image that we decode, or end before its pixels.
    pub fn orientation(&self, encoded: &[u8]) -> Result<Orientation, DecodeError> {
        exif::orientation(encoded, sniff(encoded)?)
    }

    /// [`ImageDecoder::decode_region`] of the upright image: decodes the part of the stored one that `want` shows, and
    /// turns it.
    ///
    /// * `shrink`: 1; or 2, 4 or 8, and a JPEG has one pixel for so many of each side, made from fewer of its
    ///   coefficients. Other formats, and builds that can't, decode all.
    ///
    /// # Errors
    /// As `decode_region`.
    pub fn decode_upright(
        &mut self,
        encoded: &[u8],
        want: Rect,
        orientation: Orientation,
        shrink: u32,
    ) -> Result<Part<'_>, DecodeError> {
        let image = self.info(encoded)?;
        want.check_inside(&orientation.turned(image))?;
        let shrink = if SHRINKS && image.format == ImageFormat::Jpeg { shrink } else { 1 };
        let stored = orientation.stored(want, image).shrunk(shrink);
        let (left, top) = orientation.corner(stored, shrink, image);
        if orientation.is_upright() {
            let pixels = self.decode_shrunk(encoded, stored, shrink)?;
            return Ok(Part { pixels, left, top, shrink });
        }
        // The buffer leaves the decoder while it lends out another.
        let mut turned = std::mem::take(&mut self.turned);
        let found = self.decode_shrunk(encoded, stored, shrink).map(|stored| {
            let Pixels { width, height, region, .. } = orientation.turn(&stored, &mut turned);
            (width, height, region)
        });
        self.turned = turned;
        let (width, height, region) = found?;
        let pixels = Pixels { rgb: &self.turned, width, height, region };
        Ok(Part { pixels, left, top, shrink })
    }

    /// Recoverable faults that the JPEG decoder met so far: a figure for people, never a verdict, because it
    /// depends on the crops that were drawn.
    pub fn warnings(&self) -> u64 {
        self.jpeg.warnings()
    }
}
