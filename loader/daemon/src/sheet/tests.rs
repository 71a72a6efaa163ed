//! Sheets, pixel by pixel.

use super::*;

fn tile(seed: u32, width: u32, height: u32) -> Tile {
    let noise = |x: u32, y: u32| {
        let value = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ seed.wrapping_mul(97))
            .wrapping_mul(2_246_822_519);
        Rgb([(value >> 24) as u8, (value >> 16) as u8, (value >> 8) as u8])
    };
    let sample = RgbImage::from_fn(width, height, |x, y| noise(x.wrapping_add(1), y));
    Tile { sample, original: None, lines: vec![("a line".to_owned(), Ink::Plain)], mark: None }
}

fn part_of(sheet: &RgbImage, place: &Rect) -> RgbImage {
    imageops::crop_imm(sheet, place.left, place.top, place.width, place.height).to_image()
}

#[test]
fn the_samples_lie_where_it_is_said_pixel_for_pixel_whatever_surrounds_them() {
    let mut tiles: Vec<_> = (0..7).map(|seed| tile(seed, 60, 40)).collect();
    let samples: Vec<_> = tiles.iter().map(|tile| tile.sample.clone()).collect();
    tiles[3].mark = Some(Ink::Red);
    tiles[4].lines = vec![("a word ".repeat(60), Ink::Amber)];
    let scale = Scale::of((60, 40), 7, false, 60);
    let drawn = draw(&["about them".to_owned()], tiles, &scale);
    for (place, sample) in drawn.places.iter().zip(&samples) {
        assert_eq!(part_of(&drawn.image, place).as_raw(), sample.as_raw());
    }
    let red = drawn.places[3];
    for (x, y) in [(red.left - 1, red.top), (red.left + red.width, red.top + 5), (red.left, red.top - FRAME)]
    {
        assert_eq!(*drawn.image.get_pixel(x, y), Ink::Red.rgb());
    }
}

#[test]
fn each_views_crop_is_drawn_on_the_stored_image_in_proportion() {
    let mut one = tile(1, 100, 100);
    let image = Thumbnail { width: 100, height: 50, rgb: vec![128; 100 * 50 * 3] };
    // The right half of an image of twice the size, and a corner of its left half.
    let right = Rect { left: 100, top: 0, width: 100, height: 100 };
    let corner = Rect { left: 0, top: 0, width: 40, height: 40 };
    one.original = Some(Cut { image, parts: vec![right, corner], stored: (200, 100) });
    let scale = Scale::of((100, 100), 1, true, 100);
    let drawn = draw(&[], vec![one], &scale);
    let place = drawn.places[0];
    let at = |x: u32, y: u32| *drawn.image.get_pixel(place.left + 100 + NEAR + x, place.top + y);
    let yellow = Rgb([255, 214, 0]);
    assert_eq!([at(51, 25), at(98, 25), at(75, 1), at(75, 48)], [yellow; 4]);
    assert_eq!([at(1, 10), at(18, 10), at(10, 1), at(10, 18)], [yellow; 4]);
    assert_eq!([at(25, 25), at(75, 25), at(49, 25)], [Rgb([128; 3]); 3]);
}

#[test]
fn a_sheet_of_noise_stays_below_eight_mebibytes() {
    let scale = Scale::of((512, 512), 9, false, 512);
    assert_eq!(scale.in_words(), None);
    let tiles = (0..9).map(|seed| tile(seed, 512, 512)).collect();
    let bytes = png(&draw(&[], tiles, &scale).image);
    assert!(bytes.len() > 6 << 20 && bytes.len() < 8 << 20, "{}", bytes.len());
    let back = image::load_from_memory(&bytes).expect("a PNG").into_rgb8();
    assert!(back.width() <= WIDTH_MAX.max(512 + 2 * MARGIN));
}
