//! The eight ways in which a camera may have stored an image, and turning one back.

use super::{ImageInfo, Pixels, Rect};
use crate::buffer::grown;

/// Pixels a side of what is turned over its diagonal at a time: rows of one fit in the first cache with those of the other.
const TILE: usize = 32;

/// How an upright image lies in the stored one: over the diagonal or not, then each side from its end or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orientation {
    /// Rows are stored as columns.
    transposed: bool,
    /// Stored columns are counted from the right.
    from_right: bool,
    /// Stored rows are counted from below.
    from_below: bool,
}

impl Orientation {
    /// What EXIF's value 1 to 8 means; `None` for any other.
    pub fn of_exif(value: u16) -> Option<Self> {
        let (transposed, from_right, from_below) = match value {
            1 => (false, false, false),
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, false, true),
            7 => (true, true, true),
            8 => (true, true, false),
            _ => return None,
        };
        Some(Self { transposed, from_right, from_below })
    }

    /// EXIF's value of it, 1 to 8.
    pub fn exif(self) -> u16 {
        let is_it = |value: &u16| Self::of_exif(*value) == Some(self);
        (1..=8).find(is_it).expect("the eight values are all eight orientations")
    }

    /// Whether the image is stored as it is looked at.
    pub fn is_upright(self) -> bool {
        self == Self::default()
    }

    /// The stored image `image` as it is looked at.
    pub fn turned(self, image: ImageInfo) -> ImageInfo {
        let ImageInfo { width, height, format } = image;
        if self.transposed { ImageInfo { width: height, height: width, format } } else { image }
    }

    /// Where `part` of the upright image lies in the stored one, `image`.
    pub fn stored(self, part: Rect, image: ImageInfo) -> Rect {
        let Rect { left, top, width, height } = part;
        let (left, top, width, height) =
            if self.transposed { (top, left, height, width) } else { (left, top, width, height) };
        Rect {
            left: if self.from_right { image.width - left - width } else { left },
            top: if self.from_below { image.height - top - height } else { top },
            width,
            height,
        }
    }

    /// Where `part` of the stored image made smaller by `shrink` begins in the upright one, in pixels of `image`.
    pub(super) fn corner(self, part: Rect, shrink: u32, image: ImageInfo) -> (i64, i64) {
        let side = |start: u32, len: u32, full: u32, from_end: bool| {
            let [start, len, by] = [start, len, shrink].map(i64::from);
            if from_end { i64::from(full) - (start + len) * by } else { start * by }
        };
        let column = side(part.left, part.width, image.width, self.from_right);
        let row = side(part.top, part.height, image.height, self.from_below);
        if self.transposed { (row, column) } else { (column, row) }
    }

    /// Turns the asked-for part of stored pixels into `buffer`, which grows to the largest.
    pub(super) fn turn<'b>(self, stored: &Pixels<'_>, buffer: &'b mut Vec<u8>) -> Pixels<'b> {
        let (columns, rows) = (stored.region.width as usize, stored.region.height as usize);
        let bytes = columns * rows * 3;
        let to = &mut grown(buffer, bytes)[..bytes];
        for (y, row) in stored.rows().enumerate() {
            let y = if self.from_below { rows - 1 - y } else { y };
            if !self.transposed {
                let to = to[y * columns * 3..][..columns * 3].as_chunks_mut().0;
                copy_row(row.as_chunks().0, to, self.from_right);
            }
        }
        if self.transposed {
            self.transpose(stored, to);
        }
        let (width, height) =
            if self.transposed { (rows as u32, columns as u32) } else { (columns as u32, rows as u32) };
        Pixels { rgb: to, width, height, region: Rect { left: 0, top: 0, width, height } }
    }

    /// Tile by tile, so that neither image is walked across its rows further than the cache holds.
    fn transpose(self, stored: &Pixels<'_>, to: &mut [u8]) {
        let (columns, rows) = (stored.region.width as usize, stored.region.height as usize);
        let to = to.as_chunks_mut::<3>().0;
        for first_row in (0..rows).step_by(TILE) {
            for first in (0..columns).step_by(TILE) {
                for (y, row) in stored.rows().enumerate().skip(first_row).take(TILE) {
                    let x_to = if self.from_below { rows - 1 - y } else { y };
                    let pixels = row.as_chunks::<3>().0;
                    for (x, pixel) in pixels.iter().enumerate().skip(first).take(TILE) {
                        let y_to = if self.from_right { columns - 1 - x } else { x };
                        to[y_to * rows + x_to] = *pixel;
                    }
                }
            }
        }
    }
}

fn copy_row(row: &[[u8; 3]], to: &mut [[u8; 3]], mirrored: bool) {
    if mirrored {
        to.iter_mut().zip(row.iter().rev()).for_each(|(to, pixel)| *to = *pixel);
    } else {
        to.copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::ImageFormat;

    /// Pixel (x, y) of the upright image, by Exif's own words for where row 0 and column 0 of the stored one are shown.
    fn shown(value: u16, x: u32, y: u32, image: ImageInfo) -> (u32, u32) {
        let (right, bottom) = (image.width - 1, image.height - 1);
        match value {
            1 => (x, y),                  // row 0 on top, column 0 at the left
            2 => (right - x, y),          // top, right
            3 => (right - x, bottom - y), // bottom, right
            4 => (x, bottom - y),         // bottom, left
            5 => (y, x),                  // left, top
            6 => (y, bottom - x),         // right, top
            7 => (right - y, bottom - x), // right, bottom
            _ => (right - y, x),          // left, bottom
        }
    }

    #[test]
    fn any_part_of_any_orientation_is_that_of_the_whole_image_turned() {
        let image = ImageInfo { width: 71, height: 46, format: ImageFormat::Png };
        let rgb: Vec<u8> = (0..71 * 46 * 3_u32).map(|n| (n * 7 % 251) as u8).collect();
        let mut buffer = Vec::new();
        for value in 1..=8 {
            let orientation = Orientation::of_exif(value).expect("one of eight");
            assert_eq!(orientation.exif(), value);
            let upright = orientation.turned(image);
            for (left, top, width, height) in
                [(0, 0, upright.width, upright.height), (5, 3, 37, 40), (44, 1, 1, 1)]
            {
                let part = Rect { left, top, width, height };
                let region = orientation.stored(part, image);
                let stored = Pixels { rgb: &rgb, width: 71, height: 46, region };
                let turned = orientation.turn(&stored, &mut buffer);
                assert_eq!((turned.region.width, turned.region.height), (width, height));
                for (y, row) in turned.rows().enumerate() {
                    for (x, pixel) in row.chunks_exact(3).enumerate() {
                        let (sx, sy) = shown(value, left + x as u32, top + y as u32, image);
                        let at = (sy * 71 + sx) as usize * 3;
                        assert_eq!(pixel, &rgb[at..at + 3], "{value}: {x}, {y} of {part}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_value_one_is_upright_and_other_values_are_none() {
        let upright: Vec<_> =
            (0..12).filter(|v| Orientation::of_exif(*v).is_some_and(Orientation::is_upright)).collect();
        assert_eq!(upright, [1]);
        assert!([0, 9, 65_535].iter().all(|value| Orientation::of_exif(*value).is_none()));
    }
}
