//! Decoded pixels to a sample's range of the batch: torchvision v2's operations, one file each, pure.
//!
//! A sample's randomness is drawn once ([`Draw`]), before anything is decoded, so that only the crop needs decoding
//! and other spatial fields of the sample can share the draw.

mod center_crop;
mod draw;
mod error;
mod flip;
mod layout;
mod normalize;
mod pipeline;
mod random_resized_crop;
mod resize;
mod window;

pub use draw::{Draw, RowDraws};
pub use error::{SampleError, TransformError};
pub use pipeline::{ImagePipeline, Scratch};
pub use resize::ResizeSize;

/// One operation on an image, with torchvision's name, parameters and meaning. Resizing is bilinear and antialiased.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ImageOp {
    /// To a given size, or the shorter side to a given length.
    Resize {
        /// Target size.
        size: ResizeSize,
    },
    /// The middle; zeros around where the image is smaller.
    CenterCrop {
        /// In pixels.
        height: u32,
        /// In pixels.
        width: u32,
    },
    /// A random part, resized.
    RandomResizedCrop {
        /// Of the result, in pixels.
        height: u32,
        /// Of the result, in pixels.
        width: u32,
        /// Least and greatest share of the image's area; torchvision's default is 0.08 to 1.
        scale: [f64; 2],
        /// Least and greatest width over height; torchvision's default is 3/4 to 4/3.
        ratio: [f64; 2],
    },
    /// Left and right exchanged with probability `p`.
    RandomHorizontalFlip {
        /// 0 to 1.
        p: f64,
    },
    /// `(value / 255 - mean[c]) / std[c]`, in f32.
    Normalize {
        /// Per channel, red first.
        mean: [f32; 3],
        /// Per channel, red first, not zero.
        std: [f32; 3],
    },
}

impl ImageOp {
    /// The operation's name, as torchvision writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resize { .. } => "Resize",
            Self::CenterCrop { .. } => "CenterCrop",
            Self::RandomResizedCrop { .. } => "RandomResizedCrop",
            Self::RandomHorizontalFlip { .. } => "RandomHorizontalFlip",
            Self::Normalize { .. } => "Normalize",
        }
    }
}

/// The element type of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputType {
    /// 0 to 255.
    U8,
    /// 0 to 1 as torchvision's `ToTensor`, or normalised. Native byte order.
    F32,
}

impl OutputType {
    /// Bytes an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
        }
    }
}

/// How the result lies in memory. Its dimensions are always named channels, height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputOrder {
    /// Three planes: C, H, W.
    ChannelsFirst,
    /// Whole pixels: H, W, C (torch's `channels_last`, TensorFlow's and JAX's usual).
    ChannelsLast,
}
