//! After warm-up the JPEG decoder allocates nothing per image, and views nothing beyond what each would alone.
#![cfg(feature = "turbo")] // the pure decoder allocates its tables for every image
#![allow(unsafe_code)] // a counting allocator is an unsafe trait; it only forwards

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Jpeg, SplitMix};
use forebay::decode::{ImageDecoder, ImageLimits, Rect};
use forebay::transform::{ImageOp, ImagePipeline, OutputOrder, OutputType, Scratch};
use jpeg_encoder::SamplingFactor;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(mut work: impl FnMut()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn decoding_a_jpeg_allocates_nothing_after_the_first() {
    let files = [SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_0].map(|s| Jpeg::rgb(200, 150, s).encode());
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let mut decode_all = || {
        for file in &files {
            let info = decoder.info(file).expect("a sound file");
            decoder.decode_region(file, Rect::whole(&info)).expect("a sound file");
            let part = Rect { left: 31, top: 40, width: 77, height: 60 };
            decoder.decode_region(file, part).expect("a sound file");
        }
    };
    assert!(allocations(&mut decode_all) > 0, "the counter counts");
    assert_eq!(allocations(&mut decode_all), 0);
}

#[test]
fn views_allocate_nothing_beyond_what_each_allocates_alone() {
    const VIEWS: u64 = 16;
    let file = Jpeg::rgb(200, 150, SamplingFactor::R_4_2_0).encode();
    let crop =
        ImageOp::RandomResizedCrop { height: 24, width: 20, scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] };
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
