//! Why an image could not be decoded, sorted by what the caller should do about it.

use std::time::Duration;

use super::Rect;

/// What is wrong with one encoded image.
///
/// Every variant but the last two is a verdict on the complete bytes and the [limits](super::ImageLimits): the same bytes
/// get the same verdict on every machine, whatever part of the image was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A real image, in a format that forebay does not decode yet.
    #[error("{format} images are not supported; JPEG and PNG are")]
    UnsupportedFormat {
        /// The format's usual name.
        format: &'static str,
    },
    /// A JPEG or PNG that uses a part of its standard we do not decode.
    #[error("{format} with {feature} is not supported")]
    UnsupportedFeature {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// What the file uses, by name.
        feature: &'static str,
    },
    /// No image format we know starts with these bytes.
    #[error("not an image: the bytes start with {start:02x?}")]
    NotAnImage {
        /// The first bytes, zeros where there are fewer.
        start: [u8; 8],
    },
    /// The file ends before its image does.
    #[error("truncated {format}: {len_bytes} bytes end before the image does")]
    Truncated {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// How many bytes there are.
        len_bytes: u64,
    },
    /// The bytes break the format's rules.
    #[error("corrupt {format}: {detail}")]
    Corrupt {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// The decoder's own words.
        detail: String,
    },
    /// The header announces more pixels than the limit.
    #[error("{width} x {height} pixels are more than pixels_max = {pixels_max}")]
    TooManyPixels {
        /// Announced width in pixels.
        width: u32,
        /// Announced height in pixels.
        height: u32,
        /// [`ImageLimits::pixels_max`](super::ImageLimits::pixels_max).
        pixels_max: u64,
    },
    /// The file itself is longer than the limit.
    #[error("{len_bytes} encoded bytes are more than sample_max = {encoded_bytes_max}")]
    TooManyBytes {
        /// How many bytes there are.
        len_bytes: u64,
        /// [`ImageLimits::encoded_bytes_max`](super::ImageLimits::encoded_bytes_max).
        encoded_bytes_max: u64,
    },
    /// A progressive JPEG with so many scans that decoding it would be an attack on the worker.
    #[error("a JPEG of more scans than scans_max = {scans_max}")]
    TooManyScans {
        /// [`ImageLimits::scans_max`](super::ImageLimits::scans_max).
        scans_max: u32,
    },
    /// A JPEG that is chopped into so many segments that reading them would be an attack on the worker.
    #[error("a JPEG of more markers than markers_max = {markers_max}")]
    TooManyMarkers {
        /// [`ImageLimits::markers_max`](super::ImageLimits::markers_max).
        markers_max: u32,
    },
    /// A JPEG whose coefficients must be held until its last scan, and are too many.
    #[error("a JPEG whose decoding takes more memory than decoder_memory_max = {decoder_bytes_max} bytes")]
    TooMuchMemory {
        /// [`ImageLimits::decoder_bytes_max`](super::ImageLimits::decoder_bytes_max).
        decoder_bytes_max: u64,
    },
    /// The decoder was still at work when its time was up. No verdict on the bytes: another machine may be done by then.
    #[error("decoding took longer than decode_deadline = {time_max:?}")]
    OutOfTime {
        /// What it was given.
        time_max: Duration,
    },
    /// The caller asked for a part that is empty or not inside the image: a mistake of ours, not of the file.
    #[error("{want} is not inside an image of {width} x {height}")]
    RegionOutside {
        /// What was asked for.
        want: Rect,
        /// The image's width in pixels.
        width: u32,
        /// The image's height in pixels.
        height: u32,
    },
}

impl DecodeError {
    /// Whether the image may be sound, but not of a kind that we decode.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, DecodeError::UnsupportedFormat { .. } | DecodeError::UnsupportedFeature { .. })
    }

    /// Whether the bytes themselves are bad: cut, damaged, or no image at all.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::NotAnImage { .. } | Self::Truncated { .. } | Self::Corrupt { .. })
    }

    /// Whether a limit counted in work was passed.
    pub fn is_over_limit(&self) -> bool {
        self.limit().is_some()
    }

    /// The key of the node's configuration whose limit was passed, where one was.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::TooManyPixels { .. } => Some("pixels_max"),
            Self::TooManyBytes { .. } => Some("sample_max"),
            Self::TooManyScans { .. } => Some("scans_max"),
            Self::TooManyMarkers { .. } => Some("markers_max"),
            Self::TooMuchMemory { .. } => Some("decoder_memory_max"),
            _ => None,
        }
    }

    /// Whether it says something about the bytes, so that every machine comes to the same: anything but a decoder that
    /// ran out of time.
    pub fn is_verdict(&self) -> bool {
        !matches!(self, Self::OutOfTime { .. })
    }
}
