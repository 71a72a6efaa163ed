//! libjpeg-turbo through its own front (`turbojpeg.h`), which shares no code of ours: it writes the JPEGs that tests read, and
//! decodes them whole to what ours is held to.
#![allow(unsafe_code, dead_code, missing_docs)] // a C library; each test file uses its part

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use turbojpeg_sys as tj;

use super::common::scene;

/// How a JPEG is written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub width: u32,
    pub height: u32,
    pub sampling: Sampling,
    pub coding: Coding,
    /// In MCUs; 0 without.
    pub restart_every: u32,
    pub color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    S444,
    S422,
    S420,
    S440,
    S411,
    S441,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Baseline,
    OwnTables,
    Progressive,
    Arithmetic,
    ArithmeticProgressive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Grey,
    YCbCr,
    /// Three components without a conversion: the Adobe marker says so.
    Rgb,
    Cmyk,
    Ycck,
}

impl Color {
    fn format(self) -> (c_int, usize) {
        match self {
            Color::Cmyk | Color::Ycck => (tj::TJPF_TJPF_CMYK, 4),
            _ => (tj::TJPF_TJPF_RGB, 3),
        }
    }
}

/// A handle that is destroyed with its owner.
struct Handle(tj::tjhandle);

impl Handle {
    fn new(kind: tj::TJINIT) -> Handle {
        // SAFETY: takes a number; null where there is no memory.
        let handle = unsafe { tj::tj3Init(kind as c_int) };
        assert!(!handle.is_null(), "memory for a handle");
        Handle(handle)
    }

    fn set(&self, values: &[(tj::TJPARAM, c_int)]) {
        for (param, value) in values {
            // SAFETY: the handle lives.
            let set = unsafe { tj::tj3Set(self.0, *param as c_int, *value) };
            assert_eq!(set, 0, "{param} = {value}: {}", self.error());
        }
    }

    fn get(&self, param: tj::TJPARAM) -> c_int {
        // SAFETY: the handle lives.
        unsafe { tj::tj3Get(self.0, param as c_int) }
    }

    fn error(&self) -> String {
        // SAFETY: a NUL-terminated text inside the living handle.
        unsafe { CStr::from_ptr(tj::tj3GetErrorStr(self.0)) }.to_string_lossy().into_owned()
    }

    /// What `compress` writes to the buffer that it is given.
    fn compressed(
        &self,
        compress: impl FnOnce(tj::tjhandle, *mut *mut u8, *mut tj::size_t) -> c_int,
    ) -> Vec<u8> {
        let (mut bytes, mut len) = (ptr::null_mut(), 0);
        let done = compress(self.0, &raw mut bytes, &raw mut len);
        assert_eq!(done, 0, "{}", self.error());
        // SAFETY: the library made `len` bytes there, and they are ours to free.
        unsafe {
            let copied = std::slice::from_raw_parts(bytes, len as usize).to_vec();
            tj::tj3Free(bytes.cast::<c_void>());
            copied
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `tj3Init`, not used after.
        unsafe { tj::tj3Destroy(self.0) }
    }
}

impl Written {
    pub fn new(width: u32, height: u32, sampling: Sampling, coding: Coding) -> Written {
        Written { width, height, sampling, coding, restart_every: 0, color: Color::YCbCr }
    }

    pub fn encode(&self) -> Vec<u8> {
        let handle = Handle::new(tj::TJINIT_TJINIT_COMPRESS);
        let sampling = match (self.color, self.sampling) {
            (Color::Grey, _) => tj::TJSAMP_TJSAMP_GRAY,
            (_, Sampling::S444) => tj::TJSAMP_TJSAMP_444,
            (_, Sampling::S422) => tj::TJSAMP_TJSAMP_422,
            (_, Sampling::S420) => tj::TJSAMP_TJSAMP_420,
            (_, Sampling::S440) => tj::TJSAMP_TJSAMP_440,
            (_, Sampling::S411) => tj::TJSAMP_TJSAMP_411,
            (_, Sampling::S441) => tj::TJSAMP_TJSAMP_441,
        };
        let space = match self.color {
            Color::Grey => tj::TJCS_TJCS_GRAY,
            Color::YCbCr => tj::TJCS_TJCS_YCbCr,
            Color::Rgb => tj::TJCS_TJCS_RGB,
            Color::Cmyk => tj::TJCS_TJCS_CMYK,
            Color::Ycck => tj::TJCS_TJCS_YCCK,
        };
        let is = |codings: &[Coding]| c_int::from(codings.contains(&self.coding));
        handle.set(&[
            (tj::TJPARAM_TJPARAM_QUALITY, 88),
            (tj::TJPARAM_TJPARAM_SUBSAMP, sampling as c_int),
            (tj::TJPARAM_TJPARAM_COLORSPACE, space as c_int),
            (tj::TJPARAM_TJPARAM_OPTIMIZE, is(&[Coding::OwnTables])),
            (tj::TJPARAM_TJPARAM_PROGRESSIVE, is(&[Coding::Progressive, Coding::ArithmeticProgressive])),
            (tj::TJPARAM_TJPARAM_ARITHMETIC, is(&[Coding::Arithmetic, Coding::ArithmeticProgressive])),
            (tj::TJPARAM_TJPARAM_RESTARTBLOCKS, self.restart_every as c_int),
        ]);
        let (format, channels) = self.color.format();
        let samples = scene(self.width, self.height, channels, 3);
        let (width, height) = (self.width as c_int, self.height as c_int);
        // SAFETY: `samples` holds rows without padding of the size that is named.
        handle.compressed(|handle, bytes, len| unsafe {
            tj::tj3Compress8(handle, samples.as_ptr(), width, 0, height, format as c_int, bytes, len)
        })
    }

    /// Its pixels as libjpeg-turbo decodes the whole, four inks turned into RGB as Pillow does: inverted, then
    /// `rgb = ink * key / 255`, rounded.
    pub fn reference(&self, encoded: &[u8]) -> Vec<u8> {
        let handle = Handle::new(tj::TJINIT_TJINIT_DECOMPRESS);
        let (format, channels) = self.color.format();
        // SAFETY: the bytes outlive the call.
        let read =
            unsafe { tj::tj3DecompressHeader(handle.0, encoded.as_ptr(), encoded.len() as tj::size_t) };
        assert_eq!(read, 0, "{}", handle.error());
        let (width, height) =
            (handle.get(tj::TJPARAM_TJPARAM_JPEGWIDTH), handle.get(tj::TJPARAM_TJPARAM_JPEGHEIGHT));
        assert_eq!((width, height), (self.width as c_int, self.height as c_int));
        let mut pixels = vec![0; (width * height) as usize * channels];
        // SAFETY: `pixels` has room for the size that the header says.
        let done = unsafe {
            let (bytes, out) = (encoded.as_ptr(), pixels.as_mut_ptr());
            tj::tj3Decompress8(handle.0, bytes, encoded.len() as tj::size_t, out, 0, format as c_int)
        };
        assert_eq!(done, 0, "{}", handle.error());
        if channels == 3 { pixels } else { pixels.chunks_exact(4).flat_map(rgb_of_inks).collect() }
    }
}

fn rgb_of_inks(pixel: &[u8]) -> [u8; 3] {
    let ink = |c: usize| 255 - i32::from(pixel[c]);
    let key = 255 - ink(3);
    [0, 1, 2].map(|c| (f64::from(key) - (f64::from(ink(c) * key) / 255.0).round()) as u8)
}

/// A colour JPEG of 12 bits a sample.
pub fn twelve_bit(width: u32, height: u32) -> Vec<u8> {
    let handle = Handle::new(tj::TJINIT_TJINIT_COMPRESS);
    handle.set(&[
        (tj::TJPARAM_TJPARAM_QUALITY, 88),
        (tj::TJPARAM_TJPARAM_SUBSAMP, tj::TJSAMP_TJSAMP_444 as c_int),
    ]);
    handle.set(&[(tj::TJPARAM_TJPARAM_PRECISION, 12)]);
    let samples: Vec<i16> = scene(width, height, 3, 3).iter().map(|sample| i16::from(*sample) * 16).collect();
    // SAFETY: `samples` holds rows without padding of the size that is named.
    handle.compressed(|handle, bytes, len| unsafe {
        let (width, height) = (width as c_int, height as c_int);
        let rgb = tj::TJPF_TJPF_RGB as c_int;
        tj::tj3Compress12(handle, samples.as_ptr(), width, 0, height, rgb, bytes, len)
    })
}

/// A lossless JPEG (SOF3, 8 bits).
pub fn lossless(width: u32, height: u32) -> Vec<u8> {
    let handle = Handle::new(tj::TJINIT_TJINIT_COMPRESS);
    handle.set(&[(tj::TJPARAM_TJPARAM_LOSSLESS, 1)]);
    let samples = scene(width, height, 3, 3);
    // SAFETY: `samples` holds rows without padding of the size that is named.
    handle.compressed(|handle, bytes, len| unsafe {
        let (width, height) = (width as c_int, height as c_int);
        tj::tj3Compress8(handle, samples.as_ptr(), width, 0, height, tj::TJPF_TJPF_RGB as c_int, bytes, len)
    })
}
