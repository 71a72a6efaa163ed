//! All levels against fast_image_resize, byte for byte, and against each other.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use proptest::prelude::*;

use super::{Kernel, Level, Source, Span, Target};

fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            levels.push(Level::Avx2);
        }
        if Level::detect() == Level::Avx512 {
            levels.push(Level::Avx512);
        }
    }
    levels
}

/// Columns first, then rows, by fast_image_resize.
fn expected(rgb: &[u8], width: u32, rect: [u32; 4], x: Span, y: Span) -> Vec<u8> {
    let [left, top, w, h] = rect;
    let image = ImageRef::new(width, rgb.len() as u32 / width / 3, rgb, PixelType::U8x3).expect("an image");
    let view = CroppedImage::new(&image, left, top, w, h).expect("inside");
    let resize = |from: &CroppedImage<'_, ImageRef<'_>>, to: &mut Image<'_>, box_: [f64; 4]| {
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(box_[0], box_[1], box_[2], box_[3])
            .use_alpha(false);
        Resizer::new().resize(from, to, &options).expect("it fits");
    };
    let mut between = Image::new(x.len, h, PixelType::U8x3);
    resize(&view, &mut between, [x.from, 0.0, x.span, f64::from(h)]);
    let between = ImageRef::new(x.len, h, between.buffer(), PixelType::U8x3).expect("an image");
    let whole = CroppedImage::new(&between, 0, 0, x.len, h).expect("inside");
    let mut to = Image::new(x.len, y.len, PixelType::U8x3);
    resize(&whole, &mut to, [0.0, y.from, f64::from(x.len), y.span]);
    to.buffer().to_vec()
}

fn ours(
    level: Level,
    rgb: &[u8],
    width: u32,
    rect: [u32; 4],
    (x, y): (Span, Span),
    mirrored: bool,
) -> Vec<u8> {
    let [left, top, _, height] = rect;
    let stride_bytes = width as usize * 3;
    let rgb = &rgb[top as usize * stride_bytes + left as usize * 3..];
    let source = Source { rgb, stride_bytes, height: height as usize };
    let row = x.len as usize * 3;
    let mut target = Whole { row, bytes: vec![0xAA; row * y.len as usize] };
    Kernel::new(level).run(source, (x, y), mirrored, &mut target);
    target.bytes
}

struct Whole {
    row: usize,
    bytes: Vec<u8>,
}

impl Target for Whole {
    fn row(&mut self, y: usize) -> &mut [u8] {
        &mut self.bytes[y * self.row..(y + 1) * self.row]
    }

    fn written(&mut self, _: usize) {}
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly the ends of the range, where sums come closest to overflowing.
        match state >> 60 {
            0..=5 => 0,
            6..=10 => 255,
            _ => (state >> 40) as u8,
        }
    };
    (0..len).map(|_| byte()).collect()
}

fn mirror(rgb: &[u8], width: u32) -> Vec<u8> {
    let row = |row: &[u8]| row.chunks_exact(3).rev().flatten().copied().collect::<Vec<_>>();
    rgb.chunks_exact(width as usize * 3).flat_map(row).collect()
}

proptest! {
    #[test]
    fn every_level_gives_fast_image_resizes_bytes_for_any_part_and_any_size(
        (w, h) in (1..90_u32, 1..70_u32),
        (left, top, right, below) in (0..9_u32, 0..9_u32, 0..9_u32, 0..9_u32),
        (out_w, out_h) in (1..120_u32, 1..90_u32),
        (cut_x, cut_y) in (0.0..0.4_f64, 0.0..0.4_f64),
        seed in any::<u64>(),
    ) {
        let (width, height) = (left + w + right, top + h + below);
        let rgb = noise((width * height * 3) as usize, seed);
        let span = |source_len: u32, cut: f64, len| {
            let from = f64::from(source_len) * cut;
            Span { source_len, from, span: f64::from(source_len) - from, len }
        };
        let (x, y) = (span(w, cut_x, out_w), span(h, cut_y, out_h));
        let expected = expected(&rgb, width, [left, top, w, h], x, y);
        for level in levels() {
            prop_assert_eq!(&ours(level, &rgb, width, [left, top, w, h], (x, y), false), &expected, "{:?}", level);
            let turned = ours(level, &rgb, width, [left, top, w, h], (x, y), true);
            prop_assert_eq!(turned, mirror(&expected, out_w), "{:?}, mirrored", level);
        }
    }
}

#[test]
fn photographs_sides_and_extreme_ones_are_the_same_in_every_level() {
    for (w, h, out_w, out_h) in
        [(500, 375, 224, 224), (97, 2000, 3, 5), (3, 3, 300, 200), (1, 1, 1, 1), (4000, 3, 1, 1)]
    {
        let rgb = noise((w * h * 3) as usize, 7);
        let span = |source_len: u32, len| Span { source_len, from: 0.0, span: f64::from(source_len), len };
        let (x, y) = (span(w, out_w), span(h, out_h));
        let expected = expected(&rgb, w, [0, 0, w, h], x, y);
        for level in levels() {
            assert_eq!(ours(level, &rgb, w, [0, 0, w, h], (x, y), false), expected, "{level:?}: {w} x {h}");
        }
    }
}
