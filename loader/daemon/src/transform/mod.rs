//! Decoded pixels to a sample's range of the batch: torchvision v2's operations, one file each, pure.
//!
//! A sample's randomness is drawn once a view ([`Draw`]), before anything is decoded, so that only the crops need
//! decoding and other spatial fields of the sample can share the draw.

mod center_crop;
mod device;
mod draw;
mod error;
mod flip;
pub mod kernels;
mod layout;
mod normalize;
mod pipeline;
mod random_resized_crop;
mod resize;
mod rows;
mod thumbnail;
mod views;
mod window;

use std::fmt;

pub use device::{DEVICE_NUMBERS, DeviceNumbers, DeviceRow, ForDevice, numbers_of_pixels};
pub use draw::{Draw, RowDraws};
pub use error::{SampleError, TransformError};
pub use kernels::Filter;
pub use pipeline::{ImagePipeline, Scratch};
pub use resize::ResizeSize;
pub use thumbnail::{Thumbnail, fitted, thumbnail};
pub use views::{Decoded, Drawn, VIEWS_MAX};

/// One operation on an image, with torchvision's name, parameters and meaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ImageOp {
    /// To a given size, or the shorter side to a given length.
    Resize {
        /// Target size.
        size: ResizeSize,
        /// How pixels are weighed.
        filter: Filter,
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
        /// How pixels are weighed.
        filter: Filter,
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
    /// torchvision's default share of the area of a `RandomResizedCrop`.
    pub const SCALE: [f64; 2] = [0.08, 1.0];
    /// torchvision's default width over height of a `RandomResizedCrop`.
    pub const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

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

/// As torchvision writes it, without what is torchvision's default.
impl fmt::Display for ImageOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name())?;
        match *self {
            Self::Resize { size: ResizeSize::ShorterSide(side), filter } => write!(f, "{side}{filter}")?,
            Self::Resize { size: ResizeSize::Exact { height, width }, filter } => {
                write!(f, "[{height}, {width}]{filter}")?;
            }
            Self::CenterCrop { height, width } => sides(f, height, width)?,
            Self::RandomResizedCrop { height, width, scale, ratio, filter } => {
                sides(f, height, width)?;
                if scale != Self::SCALE {
                    write!(f, ", scale=({}, {})", scale[0], scale[1])?;
                }
                if ratio != Self::RATIO {
                    write!(f, ", ratio=({}, {})", ratio[0], ratio[1])?;
                }
                write!(f, "{filter}")?;
            }
            Self::RandomHorizontalFlip { p } => write!(f, "{p}")?,
            Self::Normalize { mean: [r, g, b], std: [rs, gs, bs] } => {
                write!(f, "({r}, {g}, {b}), ({rs}, {gs}, {bs})")?;
            }
        }
        f.write_str(")")
    }
}

fn sides(f: &mut fmt::Formatter<'_>, height: u32, width: u32) -> fmt::Result {
    if height == width { write!(f, "{height}") } else { write!(f, "[{height}, {width}]") }
}

/// The element type of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputType {
    /// 0 to 255.
    U8,
    /// 0 to 1 as torchvision's `ToTensor`, or normalised. Native byte order.
    F32,
    /// The same, rounded once to binary16 (nearest, ties to even).
    F16,
    /// The same, rounded once to bfloat16.
    Bf16,
}

impl OutputType {
    /// Bytes an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_written_as_torchvision_writes_it() {
        let crop = |scale| ImageOp::RandomResizedCrop {
            height: 224,
            width: 224,
            scale,
            ratio: [0.75, 4.0 / 3.0],
            filter: Filter::DEFAULT,
        };
        assert_eq!(crop([0.08, 1.0]).to_string(), "RandomResizedCrop(224)");
        assert_eq!(crop([0.35, 1.0]).to_string(), "RandomResizedCrop(224, scale=(0.35, 1))");
        let exact = |filter| ImageOp::Resize { size: ResizeSize::Exact { height: 224, width: 448 }, filter };
        assert_eq!(exact(Filter::DEFAULT).to_string(), "Resize([224, 448])");
        let cubic = exact(Filter::Bicubic { antialias: false });
        assert_eq!(cubic.to_string(), "Resize([224, 448], interpolation=bicubic, antialias=False)");
        assert_eq!(ImageOp::RandomHorizontalFlip { p: 0.5 }.to_string(), "RandomHorizontalFlip(0.5)");
        let normalize = ImageOp::Normalize { mean: [0.5, 0.4, 0.3], std: [0.2; 3] };
        assert_eq!(normalize.to_string(), "Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))");
    }
}
