//! `Resize`: by the kernels beside this file.

use super::kernels::{Filter, Kernel, Source, Span, Target};
use super::window::{Side, Window};
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
    pub fn of(self, image: &ImageInfo) -> (u32, u32) {
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

/// A worker thread's resizer.
#[derive(Default)]
pub(super) struct Resizing(Kernel);

impl Resizing {
    /// Resizes what `window` shows of the resized image into the rows of `target`, each `window.x.len * 3` bytes; with
    /// `mirrored`, left and right exchanged. `source` is what the window needs.
    ///
    /// Columns first, rounded to u8, then rows, as torch and Pillow do it: all parity cases but one have torchvision's
    /// very bytes, that one differs by one level in 0.02 % of its values.
    pub fn run(
        &mut self,
        source: &Pixels<'_>,
        window: &Window,
        filter: Filter,
        mirrored: bool,
        target: &mut impl Target,
    ) {
        let (x, y) = (&window.x, &window.y);
        if x.is_unscaled() && y.is_unscaled() {
            return copy(source, window, mirrored, target);
        }
        let Pixels { rgb, width, region, .. } = *source;
        let stride_bytes = width as usize * 3;
        let first = region.top as usize * stride_bytes + region.left as usize * 3;
        let span = |side: &Side, source_len| {
            let Side { from, span, len, whole, .. } = *side;
            Span { source_len, from, span, len, whole }
        };
        let source = Source { rgb: &rgb[first..], stride_bytes, height: region.height as usize };
        self.0.run(source, (span(x, region.width), span(y, region.height)), filter, mirrored, target);
    }
}

fn copy(source: &Pixels<'_>, window: &Window, mirrored: bool, target: &mut impl Target) {
    let (left, len) = (window.x.from as usize * 3, window.x.len as usize * 3);
    let rows = source.rows().skip(window.y.from as usize).take(window.y.len as usize);
    for (y, row) in rows.enumerate() {
        let (row, to) = (&row[left..left + len], target.row(y));
        if mirrored {
            let pixels = row.as_chunks::<3>().0.iter().rev();
            to.as_chunks_mut::<3>().0.iter_mut().zip(pixels).for_each(|(to, pixel)| *to = *pixel);
        } else {
            to.copy_from_slice(row);
        }
        target.written(y);
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
