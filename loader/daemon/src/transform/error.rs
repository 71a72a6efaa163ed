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
        !matches!(self, Self::Decode(error) if !error.is_verdict())
    }

    /// The key of the configuration whose limit the sample passed, where it did.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Decode(error) => error.limit(),
            _ => None,
        }
    }
}
