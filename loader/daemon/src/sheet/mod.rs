//! A contact sheet: samples in a grid, each with lines of text below and, where wanted, the image it was cut from
//! beside it. Pixels in, PNG out; pure.

mod scale;
mod text;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _, Rgb, RgbImage, imageops};

pub use scale::{Scale, TILE_PX_MAX};
pub use text::shortened;

use crate::decode::Rect;
use crate::transform::Thumbnail;
use text::{LINE_PX, wrapped};

/// A sheet grows downward from here on, in pixels.
const WIDTH_MAX: u32 = 1260;
/// Room for the sheet's own lines, in pixels.
const WIDTH_MIN: u32 = 460;
/// Room for the lines below a small tile, in pixels.
const CELL_WIDTH_MIN: u32 = 140;
const MARGIN: u32 = 14;
const GAP: u32 = 18;
/// Between a sample, what stands beside it and what stands below it.
const NEAR: u32 = 6;
/// Thickness of a mark's frame, which lies around the pixels and on none of them.
const FRAME: u32 = 3;
/// Rows of text below one tile.
const LINES_MAX: usize = 8;

/// What is behind everything.
pub const PAPER: Rgb<u8> = Rgb([250, 250, 250]);

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// What is said of every row.
    Plain,
    /// What matters less.
    Faint,
    /// Another sample stands here than the row's own.
    Amber,
    /// No sample stands here.
    Red,
    /// It does not count.
    Blue,
}

impl Ink {
    fn rgb(self) -> Rgb<u8> {
        Rgb(match self {
            Self::Plain => [25, 25, 25],
            Self::Faint => [105, 105, 105],
            Self::Amber => [190, 105, 0],
            Self::Red => [195, 30, 35],
            Self::Blue => [30, 90, 185],
        })
    }
}

/// One sample.
pub struct Tile {
    /// Its pixels, as they are in the batch.
    pub sample: RgbImage,
    /// The image it was cut from.
    pub original: Option<Cut>,
    /// What is said of it, wrapped where it is long.
    pub lines: Vec<(String, Ink)>,
    /// Framed in this colour.
    pub mark: Option<Ink>,
}

/// A stored image and what its views were cut out of.
pub struct Cut {
    /// The image, as it fits.
    pub image: Thumbnail,
    /// The part of each view, in pixels of the stored image.
    pub parts: Vec<Rect>,
    /// Width and height of the stored image.
    pub stored: (u32, u32),
}

/// A sheet and where its samples lie.
pub struct Drawn {
    /// The sheet.
    pub image: RgbImage,
    /// For each tile, where its pixels are.
    pub places: Vec<Rect>,
}

/// Draws tiles of one size below lines that are about all of them.
pub fn draw(head: &[String], tiles: Vec<Tile>, scale: &Scale) -> Drawn {
    let grid = Grid::of(&tiles, scale);
    let head: Vec<_> = head.iter().flat_map(|line| wrapped(line, grid.width - 2 * MARGIN)).collect();
    let texts: Vec<Vec<_>> = tiles.iter().map(|tile| below(tile, grid.cell)).collect();
    let mut top = MARGIN + head.len() as u32 * LINE_PX + GAP / 2;
    let tops: Vec<u32> = texts
        .chunks(grid.columns as usize)
        .map(|row| {
            let lines = row.iter().map(Vec::len).max().unwrap_or(0) as u32;
            let at = top;
            top += scale.height + NEAR + lines * LINE_PX + GAP;
            at
        })
        .collect();
    let mut sheet = RgbImage::from_pixel(grid.width, top - GAP + MARGIN, PAPER);
    for (number, line) in head.iter().enumerate() {
        text::put(&mut sheet, MARGIN, MARGIN + number as u32 * LINE_PX, line, Ink::Plain.rgb());
    }
    let places = tiles.into_iter().zip(&texts).enumerate().map(|(number, (tile, lines))| {
        let number = number as u32;
        let left = MARGIN + number % grid.columns * (grid.cell + GAP);
        let top = tops[(number / grid.columns) as usize];
        cell(&mut sheet, (left, top), tile, lines, scale)
    });
    let places = places.collect();
    Drawn { image: sheet, places }
}

/// The sheet as a PNG.
pub fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .expect("memory takes whatever is written");
    bytes
}

struct Grid {
    columns: u32,
    /// Width of a cell.
    cell: u32,
    /// Width of the sheet.
    width: u32,
}

impl Grid {
    /// As many columns as fit, and then no more than the rows need.
    fn of(tiles: &[Tile], scale: &Scale) -> Self {
        let originals = tiles.iter().filter_map(|tile| tile.original.as_ref());
        let beside = originals.map(|cut| scale.enlarged(&cut.image).0 + NEAR).max().unwrap_or(0);
        let cell = (scale.width + beside).max(CELL_WIDTH_MIN);
        let count = (tiles.len() as u32).max(1);
        let fit = ((WIDTH_MAX - 2 * MARGIN + GAP) / (cell + GAP)).max(1);
        let columns = count.div_ceil(count.div_ceil(fit));
        let width = (columns * (cell + GAP) - GAP + 2 * MARGIN).max(WIDTH_MIN);
        Self { columns, cell, width }
    }
}

/// The lines below a tile as they fit its cell.
fn below(tile: &Tile, width: u32) -> Vec<(String, Ink)> {
    let lines = tile.lines.iter().flat_map(|(line, ink)| {
        let fits = wrapped(line, width).into_iter().map(|line| (line, *ink));
        fits.collect::<Vec<_>>()
    });
    lines.take(LINES_MAX).collect()
}

/// Draws one tile; where its sample lies.
fn cell(
    sheet: &mut RgbImage,
    (left, top): (u32, u32),
    tile: Tile,
    lines: &[(String, Ink)],
    scale: &Scale,
) -> Rect {
    let place = Rect { left, top, width: scale.width, height: scale.height };
    if let Some(ink) = tile.mark {
        frame(sheet, place, FRAME, ink.rgb());
    }
    imageops::replace(sheet, &scale.shown(tile.sample), left.into(), top.into());
    if let Some(cut) = tile.original {
        original(sheet, (left + scale.width + NEAR, top), cut, scale);
    }
    for (number, (line, ink)) in lines.iter().enumerate() {
        let y = top + scale.height + NEAR + number as u32 * LINE_PX;
        text::put(sheet, left, y, line, ink.rgb());
    }
    place
}

/// Draws a stored image and a line around each part that was cut out of it.
fn original(sheet: &mut RgbImage, (left, top): (u32, u32), cut: Cut, scale: &Scale) {
    let (width, height) = scale.enlarged(&cut.image);
    let image = RgbImage::from_raw(cut.image.width, cut.image.height, cut.image.rgb)
        .expect("a thumbnail has its pixels");
    let image = imageops::resize(&image, width, height, imageops::FilterType::Nearest);
    imageops::replace(sheet, &image, left.into(), top.into());
    for part in &cut.parts {
        let part = placed(*part, cut.stored, (width, height));
        let part = Rect { left: left + part.left, top: top + part.top, ..part };
        // Yellow between two dark lines is seen on any picture; drawn inward, so that it stays on it.
        for (inset, colour) in [(0, [20, 20, 20]), (1, [255, 214, 0]), (2, [255, 214, 0]), (3, [20, 20, 20])]
        {
            outline(sheet, part, inset, Rgb(colour));
        }
    }
}

/// Where a part of a stored image lies when the image is shown in other sides; at least one pixel of it.
fn placed(part: Rect, stored: (u32, u32), shown: (u32, u32)) -> Rect {
    let along = |at: u32, shown: u32, stored: u32| {
        (f64::from(at) * f64::from(shown) / f64::from(stored)).round() as u32
    };
    let x = [part.left, part.left + part.width].map(|x| along(x, shown.0, stored.0));
    let y = [part.top, part.top + part.height].map(|y| along(y, shown.1, stored.1));
    Rect {
        left: x[0].min(shown.0 - 1),
        top: y[0].min(shown.1 - 1),
        width: (x[1] - x[0]).max(1),
        height: (y[1] - y[0]).max(1),
    }
}

/// A frame around `place`, outside of it.
fn frame(sheet: &mut RgbImage, place: Rect, thickness: u32, colour: Rgb<u8>) {
    let outer = Rect {
        left: place.left - thickness,
        top: place.top - thickness,
        width: place.width + 2 * thickness,
        height: place.height + 2 * thickness,
    };
    (0..thickness).for_each(|inset| outline(sheet, outer, inset, colour));
}

/// A line of one pixel, `inset` pixels inside of `place`; nothing where that is none.
fn outline(sheet: &mut RgbImage, place: Rect, inset: u32, colour: Rgb<u8>) {
    if place.width <= 2 * inset || place.height <= 2 * inset {
        return;
    }
    let (left, top) = (place.left + inset, place.top + inset);
    let (right, bottom) = (place.left + place.width - 1 - inset, place.top + place.height - 1 - inset);
    for x in left..=right {
        sheet.put_pixel(x, top, colour);
        sheet.put_pixel(x, bottom, colour);
    }
    for y in top..=bottom {
        sheet.put_pixel(left, y, colour);
        sheet.put_pixel(right, y, colour);
    }
}

#[cfg(test)]
mod tests;
