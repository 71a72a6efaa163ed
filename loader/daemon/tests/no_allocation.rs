//! After warm-up the JPEG decoder allocates nothing per image, libjpeg's own memory included, and views nothing beyond what
//! each would alone.
#![cfg(all(feature = "turbo", target_os = "linux", target_env = "gnu"))] // counts by standing in for glibc's malloc
#![allow(unsafe_code)] // malloc's signature is unsafe; these only forward

mod common;

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use common::{Jpeg, SplitMix, mutate, with_exif};
use forebay::decode::{DecodeError, ImageDecoder, ImageLimits, Rect};
use forebay::transform::{Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize, Scratch};
use jpeg_encoder::{ColorType, SamplingFactor};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static FREED: Cell<u64> = const { Cell::new(0) };
}

fn counted() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// What glibc keeps for allocators that stand in for its own. Rust's allocator and C code both arrive at these.
unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(memory: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(memory: *mut c_void);
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    counted();
    // SAFETY: the caller's promises are passed on, as below.
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    counted();
    // SAFETY: as above.
    unsafe { __libc_calloc(count, size) }
}

#[unsafe(no_mangle)]
extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
    counted();
    FREED.with(|freed| freed.set(freed.get() + u64::from(!memory.is_null())));
    // SAFETY: as above.
    unsafe { __libc_realloc(memory, size) }
}

#[unsafe(no_mangle)]
extern "C" fn free(memory: *mut c_void) {
    FREED.with(|freed| freed.set(freed.get() + u64::from(!memory.is_null())));
    // SAFETY: as above.
    unsafe { __libc_free(memory) }
}

#[unsafe(no_mangle)]
extern "C" fn posix_memalign(memory: *mut *mut c_void, align: usize, size: usize) -> c_int {
    const ENOMEM: c_int = 12;
    counted();
    // SAFETY: as above; `memory` is a place to write to by posix_memalign's own contract.
    unsafe {
        *memory = __libc_memalign(align, size);
        if (*memory).is_null() { ENOMEM } else { 0 }
    }
}

/// Allocations of this thread that are still there.
fn held() -> u64 {
    COUNT.with(Cell::get) - FREED.with(Cell::get)
}

fn allocations(mut work: impl FnMut()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

/// Grey, small, subsampled, four colours, progressive and arithmetic in turn, so that each follows another kind.
fn files() -> Vec<Vec<u8>> {
    let (full, halved) = (SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_0);
    let grey = Jpeg { color: ColorType::Luma, ..Jpeg::rgb(90, 70, full) };
    let inks = Jpeg { color: ColorType::CmykAsYcck, ..Jpeg::rgb(131, 98, halved) };
    let progressive = |sampling| Jpeg { progressive: true, ..Jpeg::rgb(300, 220, sampling) };
    let restarts = Jpeg { restart_interval: 3, ..Jpeg::rgb(131, 98, halved) };
    [
        Jpeg::rgb(200, 150, full),
        progressive(halved),
        Jpeg::rgb(32, 32, halved),
        grey,
        progressive(full),
        inks,
        Jpeg::rgb(200, 150, halved),
        restarts,
    ]
    .iter()
    .map(Jpeg::encode)
    .collect()
}

#[test]
fn decoding_a_jpeg_allocates_nothing_after_the_first_pass() {
    let files = files();
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let mut decode_all = || {
        for file in &files {
            let info = decoder.info(file).expect("a sound file");
            decoder.decode_region(file, Rect::whole(&info)).expect("a sound file");
            let part = Rect {
                left: info.width / 3,
                top: info.height / 4,
                width: info.width / 3,
                height: info.height / 2,
            };
            decoder.decode_region(file, part).expect("a sound file");
        }
    };
    let first = allocations(&mut decode_all);
    assert!(first > files.len() as u64, "the counter counts, C's calls too: {first}");
    assert_eq!(allocations(&mut decode_all), 0);
}

#[test]
fn a_refused_jpeg_leaves_nothing_behind_and_costs_the_next_nothing() {
    let sound = Jpeg { progressive: true, ..Jpeg::rgb(300, 220, SamplingFactor::R_4_2_0) }.encode();
    let mut bad = sound.clone();
    // A Huffman table with a code too many: libjpeg gives up in the middle of its setup.
    let table = bad.windows(2).position(|m| m == [0xFF, 0xC4]).expect("a Huffman table");
    bad[table + 5] = 255;
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let whole = Rect { left: 0, top: 0, width: 300, height: 220 };
    let mut both = || {
        let refused = decoder.decode_region(&bad, whole).map(drop);
        assert!(matches!(refused, Err(DecodeError::Corrupt { .. })), "{refused:?}");
        decoder.decode_region(&sound, whole).expect("a sound file");
    };
    both();
    let each = allocations(&mut both);
    assert!(each <= 2, "the refusal's text and no more: {each}");
    assert_eq!(allocations(&mut both), each);
}

#[test]
fn mutated_files_leave_nothing_behind() {
    let seeds = files();
    let before = held();
    let limits = ImageLimits { pixels_max: 1 << 20, ..ImageLimits::default() };
    let mut decoder = ImageDecoder::new(limits);
    let pass = |decoder: &mut ImageDecoder| {
        for n in 0..2000 {
            let file = mutate(&seeds[n % seeds.len()], &mut SplitMix(n as u64));
            let _ = decoder
                .info(&file)
                .and_then(|info| decoder.decode_region(&file, Rect::whole(&info)).map(drop));
        }
        held()
    };
    // The largest image decides how much is kept; the same files again need no more.
    let (first, second) = (pass(&mut decoder), pass(&mut decoder));
    assert!(first > before, "the counter counts");
    assert_eq!(first, second);
    drop(decoder);
    assert_eq!(held(), before, "what the first pass took in pieces is given back too");
}

#[test]
fn views_allocate_nothing_beyond_what_each_allocates_alone() {
    const VIEWS: u64 = 16;
    let file = Jpeg::rgb(200, 150, SamplingFactor::R_4_2_0).encode();
    let crop = ImageOp::RandomResizedCrop {
        height: 24,
        width: 20,
        scale: [0.08, 1.0],
        ratio: [0.75, 4.0 / 3.0],
        filter: Filter::DEFAULT,
    };
    let flip = ImageOp::RandomHorizontalFlip { p: 0.5 };
    let pipeline =
        ImagePipeline::new(&[crop, flip], OutputType::U8, OutputOrder::ChannelsLast).expect("a fixed size");
    let (mut decoder, mut scratch) = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    let mut target = vec![0; pipeline.view_bytes() * VIEWS as usize];
    let rngs = || (0..VIEWS).map(SplitMix);
    let mut alone = || {
        for (mut rng, target) in rngs().zip(target.chunks_exact_mut(pipeline.view_bytes())) {
            pipeline.run(&file, &mut decoder, &mut scratch, &mut rng, target).expect("a sound file");
        }
    };
    alone();
    let each = allocations(&mut alone);
    let decode = allocations(|| {
        pipeline.decode(&file, &mut decoder, rngs()).expect("a sound file");
    });
    assert_eq!(decode, 0, "draws and decoding");
    let together = allocations(|| {
        let decoded = pipeline.decode(&file, &mut decoder, rngs()).expect("a sound file");
        pipeline.write(&decoded, &mut scratch, &mut target).expect("it has room");
    });
    assert_eq!(together, each, "resizing {VIEWS} views");
}

#[test]
fn no_filter_allocates_after_the_first_image() {
    let file = Jpeg::rgb(200, 150, SamplingFactor::R_4_2_0).encode();
    let (mut decoder, mut scratch) = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    let size = ResizeSize::ShorterSide(40);
    for filter in [
        Filter::Nearest,
        Filter::NearestExact,
        Filter::Bilinear { antialias: true },
        Filter::Bilinear { antialias: false },
        Filter::Bicubic { antialias: true },
        Filter::Bicubic { antialias: false },
    ] {
        let ops = [ImageOp::Resize { size, filter }, ImageOp::CenterCrop { height: 24, width: 20 }];
        let pipeline =
            ImagePipeline::new(&ops, OutputType::F32, OutputOrder::ChannelsFirst).expect("a fixed size");
        let mut target = vec![0; pipeline.view_bytes()];
        let mut run = || {
            pipeline
                .run(&file, &mut decoder, &mut scratch, &mut SplitMix(1), &mut target)
                .expect("a sound file");
        };
        run();
        assert_eq!(allocations(run), 0, "{filter:?}");
    }
}

#[test]
fn smaller_and_turned_images_allocate_nothing_after_the_first_of_each_kind() {
    let crop = ImageOp::RandomResizedCrop {
        height: 24,
        width: 20,
        scale: [0.5, 1.0],
        ratio: [0.75, 4.0 / 3.0],
        filter: Filter::DEFAULT,
    };
    let pipeline = ImagePipeline::new(&[crop], OutputType::F32, OutputOrder::ChannelsFirst)
        .expect("a fixed size")
        .with_exif_orientation(true)
        .with_decode_scale()
        .expect("antialiased");
    let halved = Jpeg::rgb(400, 300, SamplingFactor::R_4_2_0);
    let stored = [halved, Jpeg { progressive: true, ..halved }].map(|jpeg| jpeg.encode());
    let files: Vec<_> = stored.iter().flat_map(|file| (1..=8).map(|value| with_exif(file, value))).collect();
    let (mut decoder, mut scratch) = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    let mut target = vec![0; pipeline.view_bytes()];
    let mut pass = || {
        for file in &files {
            pipeline
                .run(file, &mut decoder, &mut scratch, &mut SplitMix(7), &mut target)
                .expect("a sound file");
        }
    };
    assert!(allocations(&mut pass) > 0, "the counter counts");
    assert_eq!(allocations(&mut pass), 0);
}
