//! Text on a sheet: Noto Sans Mono, already rasterised, one size.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// From one line to the next, in pixels.
pub const LINE_PX: u32 = 17;

const WEIGHT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;
const CHAR_PX: u32 = get_raster_width(WEIGHT, SIZE) as u32;
const CUT: &str = "...";

/// Writes one line with its upper left corner at `x`, `y`; what lies beyond the sheet is left out.
pub fn put(sheet: &mut RgbImage, x: u32, y: u32, text: &str, ink: Rgb<u8>) {
    for (number, character) in text.chars().enumerate() {
        let known = get_raster(character, WEIGHT, SIZE).or_else(|| get_raster('?', WEIGHT, SIZE));
        let glyph = known.expect("the font has a question mark");
        for (row, line) in glyph.raster().iter().enumerate() {
            for (column, &strength) in line.iter().enumerate() {
                let (x, y) = (x + number as u32 * CHAR_PX + column as u32, y + row as u32);
                if strength > 0 && x < sheet.width() && y < sheet.height() {
                    blend(sheet.get_pixel_mut(x, y), ink, strength);
                }
            }
        }
    }
}

/// Lines of at most `width_px`: broken between words, and a word that is too long cut in its middle.
pub fn wrapped(text: &str, width_px: u32) -> Vec<String> {
    let chars_max = (width_px / CHAR_PX).max(1) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let word = shortened(word, chars_max);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= chars_max => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// `text` with its middle cut out where it is longer than `chars_max`.
pub fn shortened(text: &str, chars_max: usize) -> String {
    let count = text.chars().count();
    if count <= chars_max {
        return text.to_owned();
    }
    let kept = chars_max.saturating_sub(CUT.len());
    let (head, tail) = (kept / 2, kept - kept / 2);
    let start = text.chars().take(head);
    start.chain(CUT.chars()).chain(text.chars().skip(count - tail)).collect()
}

fn blend(pixel: &mut Rgb<u8>, ink: Rgb<u8>, strength: u8) {
    let strength = u32::from(strength);
    for (below, above) in pixel.0.iter_mut().zip(ink.0) {
        *below = ((u32::from(*below) * (255 - strength) + u32::from(above) * strength) / 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_key_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("n01440764/n01440764_10026.JPEG", 17), "n014407...26.JPEG");
        assert_eq!(shortened("tench/1.jpg", 17), "tench/1.jpg");
        assert_eq!(shortened("äöüäöüäöü", 7), "äö...öü");
    }

    #[test]
    fn lines_break_between_words_and_never_pass_their_width() {
        let lines = wrapped("318×318 at 182,57 of 500×375", 18 * CHAR_PX);
        assert_eq!(lines, ["318×318 at 182,57", "of 500×375"]);
        assert!(
            wrapped("a-very-long-word-without-any-space in it", 80)
                .iter()
                .all(|line| line.chars().count() as u32 * CHAR_PX <= 80)
        );
    }

    #[test]
    fn letters_leave_ink_and_unknown_ones_a_question_mark() {
        let drawn = |text: &str| {
            let mut sheet = RgbImage::from_pixel(40, LINE_PX, Rgb([255; 3]));
            put(&mut sheet, 2, 0, text, Rgb([0; 3]));
            sheet.into_raw()
        };
        assert!(drawn("ab").iter().any(|&value| value < 100));
        assert!(drawn("ab") != drawn("ba") && drawn("漢") == drawn("?") && drawn("×") != drawn("?"));
        assert_eq!(drawn("a line that is longer than the sheet is wide").len(), 40 * 17 * 3);
    }
}
