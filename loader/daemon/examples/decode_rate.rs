//! How many images a second does one core decode and transform, read from memory?
//!
//! `cargo run --release --example decode_rate -- FOLDER [ROUNDS]` walks FOLDER for files and prints, per stage,
//! microseconds of this thread's CPU time an image in the best round, so that a busy machine disturbs it least.
#![allow(missing_docs)] // a program, not a library

use std::path::{Path, PathBuf};

use forebay::decode::{ImageDecoder, ImageLimits, Rect};
use forebay::transform::{
    Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize, RowDraws, Scratch,
};
use rustix::time::{ClockId, clock_gettime};

/// splitmix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl RowDraws for Draws {
    fn unit_f64(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
const CROP: ImageOp = ImageOp::RandomResizedCrop {
    height: 224,
    width: 224,
    scale: [0.08, 1.0],
    ratio: RATIO,
    filter: Filter::DEFAULT,
};
const FLIP: ImageOp = ImageOp::RandomHorizontalFlip { p: 0.5 };
const NORMALIZE: ImageOp = ImageOp::Normalize { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const EVAL: [ImageOp; 2] = [
    ImageOp::Resize { size: ResizeSize::ShorterSide(256), filter: Filter::DEFAULT },
    ImageOp::CenterCrop { height: 224, width: 224 },
];

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("usage: decode_rate FOLDER [ROUNDS]");
    let rounds = args.next().map_or(3, |n| n.parse().expect("ROUNDS is a number"));
    let mut paths = Vec::new();
    files(Path::new(&folder), &mut paths);
    paths.sort();
    let images: Vec<Vec<u8>> =
        paths.iter().map(|path| std::fs::read(path).expect("read a listed file")).collect();
    println!(
        "{} files, mean {} bytes",
        images.len(),
        images.iter().map(Vec::len).sum::<usize>() / images.len()
    );

    let mut decoder = ImageDecoder::new(ImageLimits::default());
    measure("header", &images, rounds, |encoded, _| {
        decoder.info(encoded).expect("a sound image");
    });
    measure("walk and one pixel", &images, rounds, |encoded, _| {
        let pixel = Rect { left: 0, top: 0, width: 1, height: 1 };
        decoder.decode_region(encoded, pixel).expect("a sound image");
    });
    measure("full decode", &images, rounds, |encoded, _| {
        let info = decoder.info(encoded).expect("a sound image");
        decoder.decode_region(encoded, Rect::whole(&info)).expect("a sound image");
    });
    let pipeline = pipeline(&[CROP], OutputType::U8, OutputOrder::ChannelsLast);
    measure("crop decode", &images, rounds, |encoded, rng| {
        let crop = pipeline.draw(decoder.info(encoded).expect("a sound image"), rng).crop;
        decoder.decode_region(encoded, crop).expect("a sound image");
    });
    views("two views", &images, rounds, &pipeline, 2);
    let local = ImageOp::RandomResizedCrop {
        height: 96,
        width: 96,
        scale: [0.05, 0.14],
        ratio: [0.75, 4.0 / 3.0],
        filter: Filter::DEFAULT,
    };
    let local = self::pipeline(&[local], OutputType::U8, OutputOrder::ChannelsLast);
    views("two small views", &images, rounds, &local, 2);
    views("eight small views", &images, rounds, &local, 8);
    let (u8s, f32s) = (OutputType::U8, OutputType::F32);
    let (nhwc, nchw) = (OutputOrder::ChannelsLast, OutputOrder::ChannelsFirst);
    whole_path("crop, resize, u8 HWC", &images, rounds, &[CROP], u8s, nhwc);
    whole_path("crop, resize, flip, u8 HWC", &images, rounds, &[CROP, FLIP], u8s, nhwc);
    whole_path("crop, resize, flip, u8 CHW", &images, rounds, &[CROP, FLIP], u8s, nchw);
    whole_path("crop, resize, flip, f32 HWC", &images, rounds, &[CROP, FLIP, NORMALIZE], f32s, nhwc);
    whole_path("crop, resize, flip, f32 CHW", &images, rounds, &[CROP, FLIP, NORMALIZE], f32s, nchw);
    whole_path("resize 256, centre 224, u8", &images, rounds, &EVAL, u8s, nhwc);
    for filter in [
        Filter::Nearest,
        Filter::Bilinear { antialias: false },
        Filter::Bicubic { antialias: false },
        Filter::Bicubic { antialias: true },
    ] {
        let crop =
            ImageOp::RandomResizedCrop { height: 224, width: 224, scale: [0.08, 1.0], ratio: RATIO, filter };
        whole_path(&format!("crop, resize{filter}"), &images, rounds, &[crop], u8s, nhwc);
    }
    decoded_smaller("crop, resize, u8 HWC, decode_scale", &images, rounds, &[CROP]);
    decoded_smaller("resize 256, centre 224, u8, decode_scale", &images, rounds, &EVAL);
}

/// The whole path where images may be decoded smaller, and how far its results are from the ones of all pixels.
fn decoded_smaller(what: &str, images: &[Vec<u8>], rounds: u32, ops: &[ImageOp]) {
    let full = pipeline(ops, OutputType::U8, OutputOrder::ChannelsLast);
    let smaller = pipeline(ops, OutputType::U8, OutputOrder::ChannelsLast).with_decode_scale();
    let Ok(smaller) = smaller else { return println!("{what}: not in this build") };
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let mut scratch = Scratch::new();
    let [mut one, mut other] = [vec![0; full.view_bytes()], vec![0; full.view_bytes()]];
    measure(what, images, rounds, |encoded, rng| {
        smaller.run(encoded, &mut decoder, &mut scratch, rng, &mut one).expect("a sound image");
    });
    let (mut differing, mut most, mut sum) = (0_u64, 0, 0_u64);
    for (encoded, seed) in images.iter().zip(0..) {
        full.run(encoded, &mut decoder, &mut scratch, &mut Draws(seed), &mut one).expect("a sound image");
        smaller
            .run(encoded, &mut decoder, &mut scratch, &mut Draws(seed), &mut other)
            .expect("a sound image");
        if one == other {
            continue;
        }
        differing += 1;
        for (a, b) in one.iter().zip(&other) {
            most = most.max(a.abs_diff(*b));
            sum += u64::from(a.abs_diff(*b));
        }
    }
    let mean = sum as f64 / (differing.max(1) as f64 * one.len() as f64);
    println!(
        "  {differing} of {} images decoded smaller; their results differ by {mean:.2} levels on average, {most} at most",
        images.len()
    );
}

fn pipeline(ops: &[ImageOp], output: OutputType, order: OutputOrder) -> ImagePipeline {
    ImagePipeline::new(ops, output, order).expect("a sound list of operations")
}

/// Decoding alone, of one rectangle around the crops or of each crop.
fn views(what: &str, images: &[Vec<u8>], rounds: u32, pipeline: &ImagePipeline, views: u32) {
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let crops = |decoder: &mut ImageDecoder, encoded: &[u8], rng: &mut Draws| {
        let image = decoder.info(encoded).expect("a sound image");
        (0..views).map(|_| pipeline.draw(image, rng).crop).collect::<Vec<_>>()
    };
    measure(&format!("{what}, a decode each"), images, rounds, |encoded, rng| {
        for crop in crops(&mut decoder, encoded, rng) {
            decoder.decode_region(encoded, crop).expect("a sound image");
        }
    });
    measure(&format!("{what}, one decode"), images, rounds, |encoded, rng| {
        let hull = crops(&mut decoder, encoded, rng).into_iter().reduce(Rect::hull);
        decoder.decode_region(encoded, hull.expect("a view")).expect("a sound image");
    });
}

fn whole_path(
    what: &str,
    images: &[Vec<u8>],
    rounds: u32,
    ops: &[ImageOp],
    output: OutputType,
    order: OutputOrder,
) {
    let pipeline = pipeline(ops, output, order);
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let (mut scratch, mut target) = (Scratch::new(), vec![0; pipeline.view_bytes()]);
    measure(what, images, rounds, |encoded, rng| {
        pipeline.run(encoded, &mut decoder, &mut scratch, rng, &mut target).expect("a sound image");
    });
}

fn measure(what: &str, images: &[Vec<u8>], rounds: u32, mut each: impl FnMut(&[u8], &mut Draws)) {
    let mut best = f64::MAX;
    for round in 0..=rounds {
        let mut rng = Draws(7);
        let start = cpu_seconds();
        for encoded in images {
            each(encoded, &mut rng);
        }
        if round > 0 {
            best = best.min((cpu_seconds() - start) / images.len() as f64);
        }
    }
    println!("{what:32} {:8.0} images/s of CPU time {:8.1} us", 1.0 / best, best * 1e6);
}

fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("list the folder").flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}
