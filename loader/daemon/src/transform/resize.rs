//! `Resize`: antialiased bilinear, through fast_image_resize.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::window::Window;
use crate::buffer::grown;
use crate::decode::{ImageInfo, Pixels};

/// What `Resize` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeSize {
    /// `Resize(256)`: the shorter side, the other in proportion.
    ShorterSide(u32),
    /// `Resize([224, 224])`.
    Exact {
        /// In pixels.
        height: u32,
        /// In pixels.
        width: u32,
    },
}

impl ResizeSize {
    /// Height and width that an image gets. Source: torchvision `_compute_resized_output_size`.
    pub(super) fn of(self, image: &ImageInfo) -> (u32, u32) {
        let (short, long) = (image.width.min(image.height), image.width.max(image.height));
        match self {
            Self::Exact { height, width } => (height, width),
            Self::ShorterSide(side) => {
                let other = (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
                if image.width <= image.height { (other, side) } else { (side, other) }
            }
        }
    }
}

/// A worker thread's resizer and its buffer between the two passes.
#[derive(Default)]
pub(super) struct Resizing {
    resizer: Resizer,
    narrowed: Vec<u8>,
}

const FITS: &str = "both sides were computed inside the decoded region";

impl Resizing {
    /// Resizes what `window` shows of the resized image into `target`, `window.y.len * window.x.len * 3` bytes.
    /// `source` is what the window needs. `target` is only written.
    ///
    /// Columns first, rounded to u8, then rows, as torch and Pillow do it: all parity cases but one have torchvision's
    /// very bytes, that one differs by one level in 0.02 % of its values. fast_image_resize by itself goes the other
    /// way round and puts 23 % of the values of a natural image one level off.
    pub fn run(&mut self, source: &Pixels<'_>, window: &Window, target: &mut [u8]) {
        let (x, y) = (&window.x, &window.y);
        if x.is_unscaled() && y.is_unscaled() {
            return copy(source, window, target);
        }
        let image = ImageRef::new(source.width, source.height, source.rgb, PixelType::U8x3).expect(FITS);
        let region = source.region;
        // A view and not fast_image_resize's own crop box: a box would let the filter look beyond the crop.
        let view =
            CroppedImage::new(&image, region.left, region.top, region.width, region.height).expect(FITS);
        let mut to = Image::from_slice_u8(x.len, y.len, target, PixelType::U8x3).expect(FITS);
        if x.is_unscaled() || y.is_unscaled() {
            let options = bilinear(x.from, y.from, x.span, y.span);
            return self.resizer.resize(&view, &mut to, &options).expect(FITS);
        }
        let (width, height) = (x.len, region.height);
        let narrowed = grown(&mut self.narrowed, width as usize * height as usize * 3);
        let mut between = Image::from_slice_u8(width, height, narrowed, PixelType::U8x3).expect(FITS);
        let columns = bilinear(x.from, 0.0, x.span, f64::from(height));
        self.resizer.resize(&view, &mut between, &columns).expect(FITS);
        let rows = bilinear(0.0, y.from, f64::from(width), y.span);
        self.resizer.resize(&between, &mut to, &rows).expect(FITS);
    }
}

/// Antialiased, of the given box of the source.
fn bilinear(left: f64, top: f64, width: f64, height: f64) -> ResizeOptions {
    ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(left, top, width, height)
        .use_alpha(false)
}

fn copy(source: &Pixels<'_>, window: &Window, target: &mut [u8]) {
    let (left, len) = (window.x.from as usize * 3, window.x.len as usize * 3);
    let rows = source.rows().skip(window.y.from as usize);
    for (to, row) in target.chunks_exact_mut(len).zip(rows) {
        to.copy_from_slice(&row[left..left + len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::ImageFormat;

    #[test]
    fn the_longer_side_is_cut_to_whole_pixels_as_in_torchvision() {
        let size = |width, height| {
            ResizeSize::ShorterSide(256).of(&ImageInfo { width, height, format: ImageFormat::Jpeg })
        };
        assert_eq!(size(500, 375), (256, 341));
        assert_eq!(size(375, 500), (341, 256));
        assert_eq!(size(100, 100), (256, 256));
    }
}
