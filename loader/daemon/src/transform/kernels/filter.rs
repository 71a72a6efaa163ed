//! The filters of `Resize`: how much a pixel of the source counts at which distance.

use std::fmt;

/// How a resized image is sampled: torchvision's `interpolation` and `antialias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// One pixel of the source, from the upper left of those that a pixel of the result covers: torchvision's `NEAREST`.
    Nearest,
    /// The one in the middle of them: torchvision's `NEAREST_EXACT`, Pillow's `NEAREST`.
    NearestExact,
    /// Linear between neighbours.
    Bilinear {
        /// Smaller results take in all pixels of the source, as Pillow does, and not 2 x 2 of them each.
        antialias: bool,
    },
    /// Cubic over four neighbours a side.
    Bicubic {
        /// As of `Bilinear`, of 4 x 4. With it the cubic's parameter is Pillow's -0.5, without it OpenCV's -0.75, as in torch.
        antialias: bool,
    },
}

impl Filter {
    /// torchvision's default.
    pub const DEFAULT: Self = Self::Bilinear { antialias: true };

    /// torchvision's `interpolation`, by its value there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::NearestExact => "nearest-exact",
            Self::Bilinear { .. } => "bilinear",
            Self::Bicubic { .. } => "bicubic",
        }
    }

    /// Whether every pixel of the source counts, however small the result.
    pub fn is_antialiased(self) -> bool {
        matches!(self, Self::Bilinear { antialias: true } | Self::Bicubic { antialias: true })
    }

    /// How far beyond its own place a pixel of the result looks, in pixels of the source, one more for rounding.
    ///
    /// * `scale`: pixels of the source a pixel of the result.
    pub(in crate::transform) fn reach(self, scale: f64) -> f64 {
        match self {
            Self::Nearest | Self::NearestExact | Self::Bilinear { antialias: false } => 2.0,
            Self::Bicubic { antialias: false } => 3.0,
            Self::Bilinear { antialias: true } => scale.max(1.0) + 1.0,
            Self::Bicubic { antialias: true } => 2.0 * scale.max(1.0) + 1.0,
        }
    }
}

/// As torchvision's arguments, without what is its default: empty, or `, interpolation=bicubic, antialias=False`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self, Self::Bilinear { .. }) {
            write!(f, ", interpolation={}", self.name())?;
        }
        let plain = matches!(self, Self::Bilinear { antialias: false } | Self::Bicubic { antialias: false });
        f.write_str(if plain { ", antialias=False" } else { "" })
    }
}

/// Linear: 1 at its own place, 0 one pixel away.
pub(super) fn triangle(distance: f64) -> f64 {
    if distance < 1.0 { 1.0 - distance } else { 0.0 }
}

/// A cubic convolution with parameter `a`, 0 two pixels away. Source: Keys 1981, equation 4 (there a = -1/2).
pub(super) fn cubic(a: f64, distance: f64) -> f64 {
    if distance < 1.0 {
        ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
    } else if distance < 2.0 {
        (((distance - 5.0) * distance + 8.0) * distance - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_told_without_torchvisions_defaults() {
        let told = |filter: Filter| filter.to_string();
        assert_eq!(told(Filter::DEFAULT), "");
        assert_eq!(told(Filter::Bilinear { antialias: false }), ", antialias=False");
        assert_eq!(told(Filter::Bicubic { antialias: true }), ", interpolation=bicubic");
        assert_eq!(told(Filter::Bicubic { antialias: false }), ", interpolation=bicubic, antialias=False");
        assert_eq!(told(Filter::NearestExact), ", interpolation=nearest-exact");
    }

    #[test]
    fn a_cubic_has_its_own_value_at_a_pixel_and_nothing_of_the_others() {
        for a in [-0.5, -0.75] {
            for (distance, value) in [(0.0, 1.0), (1.0, 0.0), (2.0, 0.0), (3.0, 0.0)] {
                assert!((cubic(a, distance) - value).abs() < 1e-12, "{a} at {distance}");
            }
            let all: f64 = [1.3, 0.3, 0.7, 1.7].map(|distance| cubic(a, distance)).iter().sum();
            assert!((all - 1.0).abs() < 1e-12, "{all}");
        }
    }
}
