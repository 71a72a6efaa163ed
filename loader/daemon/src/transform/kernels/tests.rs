//! All levels against fast_image_resize, byte for byte, where it has the filter, else against the filter's definition; and
//! against each other.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use proptest::prelude::*;

use super::{Filter, Kernel, Level, Source, Span, Target};

/// Filters that fast_image_resize has too, and what it calls them.
const ANTIALIASED: [(Filter, FilterType); 2] = [
    (Filter::Bilinear { antialias: true }, FilterType::Bilinear),
    (Filter::Bicubic { antialias: true }, FilterType::CatmullRom),
];

const PLAIN: [Filter; 4] = [
    Filter::Nearest,
    Filter::NearestExact,
    Filter::Bilinear { antialias: false },
    Filter::Bicubic { antialias: false },
];

pub(super) fn levels() -> Vec<Level> {
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
fn expected(rgb: &[u8], width: u32, rect: [u32; 4], x: Span, y: Span, filter: FilterType) -> Vec<u8> {
    let [left, top, w, h] = rect;
    let image = ImageRef::new(width, rgb.len() as u32 / width / 3, rgb, PixelType::U8x3).expect("an image");
    let view = CroppedImage::new(&image, left, top, w, h).expect("inside");
    let resize = |from: &CroppedImage<'_, ImageRef<'_>>, to: &mut Image<'_>, box_: [f64; 4]| {
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
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
    filter: Filter,
    mirrored: bool,
) -> Vec<u8> {
    let [left, top, _, height] = rect;
    let stride_bytes = width as usize * 3;
    let rgb = &rgb[top as usize * stride_bytes + left as usize * 3..];
    let source = Source { rgb, stride_bytes, height: height as usize };
    let row = x.len as usize * 3;
    let mut target = Whole { row, bytes: vec![0xAA; row * y.len as usize] };
    Kernel::new(level).run(source, (x, y), filter, mirrored, &mut target);
    target.bytes
}

/// Each pixel by itself, from the definition: columns in floating point and rounded, then rows.
fn by_formula(rgb: &[u8], width: u32, rect: [u32; 4], (out_w, out_h): (u32, u32), filter: Filter) -> Vec<u8> {
    let [left, top, w, h] = rect;
    let at = |x: u32, y: u32, c: u32| f64::from(rgb[(((top + y) * width + left + x) * 3 + c) as usize]);
    let rounded = |value: f64| value.round().clamp(0.0, 255.0);
    let narrow = |x, y, c| rounded(sampled(x, w, out_w, filter, |x| at(x, y, c)));
    let mut pixels = Vec::new();
    for (y, x) in (0..out_h).flat_map(|y| (0..out_w).map(move |x| (y, x))) {
        pixels.extend((0..3).map(|c| rounded(sampled(y, h, out_h, filter, |y| narrow(x, y, c))) as u8));
    }
    pixels
}

/// One value along one side.
fn sampled(to: u32, source_len: u32, len: u32, filter: Filter, value: impl Fn(u32) -> f64) -> f64 {
    let scale = f64::from(source_len) / f64::from(len);
    let middle = (f64::from(to) + 0.5) * scale - 0.5;
    let inside = |at: f64| value(at.clamp(0.0, f64::from(source_len - 1)) as u32);
    let cubic = |x: f64| match x.abs() {
        x if x < 1.0 => 1.25 * x.powi(3) - 2.25 * x * x + 1.0,
        x => -0.75 * x.powi(3) + 3.75 * x * x - 6.0 * x + 3.0,
    };
    let (low, past) = (middle.floor(), middle - middle.floor());
    match filter {
        // In f32 as torch has it: where a place lies between two pixels, rounding decides.
        Filter::Nearest => value((to as f32 * scale as f32) as u32),
        Filter::NearestExact => value(((f64::from(to) + 0.5) * f64::from(scale as f32)) as f32 as u32),
        Filter::Bilinear { .. } => inside(low) * (1.0 - past) + inside(low + 1.0) * past,
        Filter::Bicubic { .. } => {
            (-1..3).map(|n| inside(low + f64::from(n)) * cubic(f64::from(n) - past)).sum()
        }
    }
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
            Span { from, span: f64::from(source_len) - from, ..Span::all(source_len, len) }
        };
        let (x, y) = (span(w, cut_x, out_w), span(h, cut_y, out_h));
        for (filter, theirs) in ANTIALIASED {
            let expected = expected(&rgb, width, [left, top, w, h], x, y, theirs);
            for level in levels() {
                let plain = ours(level, &rgb, width, [left, top, w, h], (x, y), filter, false);
                prop_assert_eq!(&plain, &expected, "{:?}, {:?}", level, filter);
                let turned = ours(level, &rgb, width, [left, top, w, h], (x, y), filter, true);
                prop_assert_eq!(turned, mirror(&expected, out_w), "{:?}, {:?}, mirrored", level, filter);
            }
        }
    }

    #[test]
    fn every_level_gives_the_same_bytes_without_antialias_and_they_are_those_of_the_formula(
        (w, h) in (1..90_u32, 1..70_u32),
        (left, top, right, below) in (0..9_u32, 0..9_u32, 0..9_u32, 0..9_u32),
        (out_w, out_h) in (1..120_u32, 1..90_u32),
        seed in any::<u64>(),
    ) {
        let (width, height) = (left + w + right, top + h + below);
        let rgb = noise((width * height * 3) as usize, seed);
        let sides = (Span::all(w, out_w), Span::all(h, out_h));
        for filter in PLAIN {
            let scalar = ours(Level::Scalar, &rgb, width, [left, top, w, h], sides, filter, false);
            let formula = by_formula(&rgb, width, [left, top, w, h], (out_w, out_h), filter);
            let off = scalar.iter().zip(&formula).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
            // Both rounded in between: a step there, times the sum of weights without their signs, and one for the last.
            let off_max = match filter {
                Filter::Nearest | Filter::NearestExact => 0,
                Filter::Bilinear { .. } => 2,
                Filter::Bicubic { .. } => 3,
            };
            prop_assert!(off <= off_max, "{:?}: {}", filter, off);
            for level in levels() {
                let plain = ours(level, &rgb, width, [left, top, w, h], sides, filter, false);
                prop_assert_eq!(&plain, &scalar, "{:?}, {:?}", level, filter);
                let turned = ours(level, &rgb, width, [left, top, w, h], sides, filter, true);
                prop_assert_eq!(turned, mirror(&scalar, out_w), "{:?}, {:?}, mirrored", level, filter);
            }
        }
    }
}

#[test]
fn photographs_sides_and_extreme_ones_are_the_same_in_every_level() {
    for (w, h, out_w, out_h) in
        [(500, 375, 224, 224), (97, 2000, 3, 5), (3, 3, 300, 200), (1, 1, 1, 1), (4000, 3, 1, 1)]
    {
        let rgb = noise((w * h * 3) as usize, 7);
        let (x, y) = (Span::all(w, out_w), Span::all(h, out_h));
        for (filter, theirs) in ANTIALIASED {
            let expected = expected(&rgb, w, [0, 0, w, h], x, y, theirs);
            for level in levels() {
                let ours = ours(level, &rgb, w, [0, 0, w, h], (x, y), filter, false);
                assert_eq!(ours, expected, "{level:?}, {filter:?}: {w} x {h}");
            }
        }
    }
}
