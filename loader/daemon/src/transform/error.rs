//! What can be wrong with a list of operations, and what can go wrong with one sample.

use crate::container::parquet::PageError;
use crate::decode::DecodeError;
use crate::decode::array::ArrayError;
use crate::decode::raw::RawError;
use crate::decode::record::RecordError;
use crate::decode::tokens::TokenError;

/// A list of operations that makes no batch. The text names the cure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TransformError {
    /// The result would have a different size for every image.
    #[error("images keep their own sizes, and a batch needs one: add CenterCrop(224) or Resize([224, 224])")]
    NoFixedSize,
    /// Two operations that cannot stand in this order.
    #[error("{later} after {earlier} is not supported: {cure}")]
    Order {
        /// The earlier operation's name.
        earlier: &'static str,
        /// The later operation's name.
        later: &'static str,
        /// What to write instead.
        cure: &'static str,
    },
    /// A parameter outside its range.
    #[error("{op}: {wrong}")]
    Parameter {
        /// The operation's name.
        op: &'static str,
        /// What is wrong, and what would be right.
        wrong: &'static str,
    },
    /// A decoder that leaves pixels out, before a filter that would look at them.
    #[error(
        "decode_scale needs a Resize or RandomResizedCrop with antialias: leave decode_scale out, or antialias on"
    )]
    DecodeScale,
    /// Normalised values do not fit a byte.
    #[error("Normalize gives floats: ask for float32, or leave it out for uint8")]
    NormalizeToU8,
}

/// Why one sample did not reach its range of the batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The image itself.
    #[error("decode image")]
    Decode(#[from] DecodeError),
    /// Its tokens.
    #[error("take tokens")]
    Tokens(#[from] TokenError),
    /// Its array.
    #[error("take array")]
    Array(#[from] ArrayError),
    /// Its bytes.
    #[error("take bytes")]
    Raw(#[from] RawError),
    /// A clip has fewer frames than a row needs.
    #[error("the clip has {frames} frames, a row takes {needed}")]
    ShortClip {
        /// What it has.
        frames: u64,
        /// From the first to the last of a row.
        needed: u64,
    },
    /// The frames of a clip, which are cropped alike, differ in size.
    #[error("the frame is {width} x {height} pixels, the first of the row {first_width} x {first_height}")]
    FrameSize {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// In pixels.
        first_width: u32,
        /// In pixels.
        first_height: u32,
    },
    /// One frame of a clip.
    #[error("frame {name}")]
    Frame {
        /// Its file in the clip's folder.
        name: String,
        /// What is wrong with it.
        source: Box<SampleError>,
    },
    /// The page that it lies in.
    #[error("take it out of its page")]
    Page(#[from] PageError),
    /// The record that it lies in.
    #[error("take it out of its record")]
    Record(#[from] RecordError),
    /// The caller's range is not as long as [`ImagePipeline::view_bytes`](super::ImagePipeline::view_bytes).
    #[error("a sample takes {sample_bytes} bytes, its range has {target_bytes}")]
    TargetLength {
        /// What a sample takes.
        sample_bytes: usize,
        /// What was given.
        target_bytes: usize,
    },
}

impl SampleError {
    /// Whether it says something about the sample's bytes, so that every machine comes to the same.
    pub fn is_verdict(&self) -> bool {
        match self {
            Self::Decode(error) => error.is_verdict(),
            Self::Frame { source, .. } => source.is_verdict(),
            _ => true,
        }
    }

    /// The key of the configuration whose limit the sample passed, where it did.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Decode(error) => error.limit(),
            Self::Frame { source, .. } => source.limit(),
            _ => None,
        }
    }
}
