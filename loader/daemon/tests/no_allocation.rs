//! After warm-up the JPEG decoder allocates nothing per image.
#![cfg(feature = "turbo")] // the pure decoder allocates its tables for every image
#![allow(unsafe_code)] // a counting allocator is an unsafe trait; it only forwards

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::Jpeg;
use forebay::decode::{ImageDecoder, ImageLimits, Rect};
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
