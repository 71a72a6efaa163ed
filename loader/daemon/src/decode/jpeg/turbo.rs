//! The binding to libjpeg-turbo, through the C shim beside this file. The only `unsafe` code of `decode/`.
#![allow(unsafe_code)] // a C library; the design's written exception

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use super::markers::Walk;
use super::{Backend, Bounds, JPEG};
use crate::decode::{DecodeError, Rect};

// turbojpeg-sys builds and links the library; the shim's calls are what we use of it.
use turbojpeg_sys as _;

const OK: i32 = 0;
const CORRUPT: i32 = 1;
const NO_MEMORY: i32 = 2;
const TOO_MANY_SCANS: i32 = 3;
const TOO_MUCH_MEMORY: i32 = 5;
const OUT_OF_TIME: i32 = 6;

/// `struct fbj_request` of turbo.c.
#[repr(C)]
struct Request {
    image_width: u32,
    image_height: u32,
    shrink: u32,
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    channels: u32,
    scans_max: u32,
    keep: u32,
    memory_bytes_max: u64,
    time_ns_max: u64,
    out: *mut u8,
}

impl Request {
    fn new(walk: &Walk, cover: Rect, bounds: &Bounds, out: &mut [u8]) -> Request {
        Request {
            image_width: walk.frame.width,
            image_height: walk.frame.height,
            shrink: 1,
            left: cover.left,
            top: cover.top,
            width: cover.width,
            height: cover.height,
            channels: walk.frame.channels(),
            scans_max: bounds.limits.scans_max,
            keep: 1,
            memory_bytes_max: bounds.limits.decoder_bytes_max,
            time_ns_max: u64::try_from(bounds.time_max.as_nanos()).unwrap_or(u64::MAX),
            out: out.as_mut_ptr(),
        }
    }
}

/// `struct fbj_report` of turbo.c.
#[repr(C)]
#[derive(Default)]
struct Report {
    warnings: u64,
    source_ended: u32,
}

#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn fbj_new() -> *mut Opaque;
    fn fbj_free(decoder: *mut Opaque);
    fn fbj_message(decoder: *const Opaque) -> *const c_char;
    fn fbj_decode(
        decoder: *mut Opaque,
        bytes: *const u8,
        len: usize,
        want: *const Request,
        report: *mut Report,
    ) -> i32;
}

/// One libjpeg decompressor, reused for every image of its thread.
pub(super) struct Turbo {
    decoder: NonNull<Opaque>,
}

// SAFETY: the C object holds no thread-local state and is only reached through `&mut self`, so it may move
// between threads.
unsafe impl Send for Turbo {}

impl Turbo {
    fn call(&mut self, encoded: &[u8], want: &Request, bounds: &Bounds) -> Result<Report, DecodeError> {
        let mut report = Report::default();
        // SAFETY: the decoder is alive (ours until drop); `encoded`, `want` and `report` outlive the call, which
        // keeps none of them; `want.out` has room for what `want` asks, as both callers below assert.
        let verdict = unsafe {
            fbj_decode(self.decoder.as_ptr(), encoded.as_ptr(), encoded.len(), want, &raw mut report)
        };
        match verdict {
            OK => Ok(report),
            CORRUPT => Err(DecodeError::Corrupt { format: JPEG, detail: self.message() }),
            NO_MEMORY => std::alloc::handle_alloc_error(std::alloc::Layout::new::<u8>()),
            TOO_MANY_SCANS => Err(DecodeError::TooManyScans { scans_max: want.scans_max }),
            TOO_MUCH_MEMORY => {
                Err(DecodeError::TooMuchMemory { decoder_bytes_max: bounds.limits.decoder_bytes_max })
            }
            OUT_OF_TIME => Err(DecodeError::OutOfTime { time_max: bounds.time_max }),
            _ => Err(DecodeError::UnsupportedFeature {
                format: JPEG,
                feature: "a colour space or sampling that libjpeg-turbo does not convert",
            }),
        }
    }

    fn message(&self) -> String {
        // SAFETY: the message is a NUL-terminated array inside the living decoder.
        unsafe { CStr::from_ptr(fbj_message(self.decoder.as_ptr())) }.to_string_lossy().into_owned()
    }
}

impl Backend for Turbo {
    fn new() -> Turbo {
        // SAFETY: takes nothing and returns an object of our own, or null without memory.
        let decoder = unsafe { fbj_new() };
        let Some(decoder) = NonNull::new(decoder) else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Request>())
        };
        Turbo { decoder }
    }

    fn decode(
        &mut self,
        encoded: &[u8],
        walk: &Walk,
        cover: Rect,
        shrink: u32,
        bounds: &Bounds,
        out: &mut [u8],
    ) -> Result<u64, DecodeError> {
        let channels = walk.frame.channels();
        assert!(out.len() >= cover.area() * channels as usize, "the buffer was sized for this rectangle");
        let want = Request { keep: 1, shrink, ..Request::new(walk, cover, bounds, out) };
        Ok(self.call(encoded, &want, bounds)?.warnings)
    }

    fn ends_early(
        &mut self,
        encoded: &[u8],
        walk: &Walk,
        bounds: &Bounds,
        row: &mut [u8],
    ) -> Result<bool, DecodeError> {
        let channels = walk.frame.channels();
        assert!(row.len() >= (walk.frame.width * channels) as usize, "the buffer holds one row");
        let whole = Rect { left: 0, top: 0, width: walk.frame.width, height: walk.frame.height };
        let want = Request { keep: 0, ..Request::new(walk, whole, bounds, row) };
        Ok(self.call(encoded, &want, bounds)?.source_ended != 0)
    }
}

impl Drop for Turbo {
    fn drop(&mut self) {
        // SAFETY: made by `fbj_new`, freed once, not used after.
        unsafe { fbj_free(self.decoder.as_ptr()) }
    }
}
