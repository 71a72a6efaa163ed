//! Bytes to normalised floats, 8 and 16 at a time.
#![allow(unsafe_code)] // vector instructions; the design's written exception

#[allow(clippy::wildcard_imports, reason = "the names of instructions say where they come from")]
use std::arch::x86_64::*;

use super::floats::{FULL, Float, LANES, Norm, PER_FULL};

/// Writes an element for each byte of `rgb`, which are whole groups of [`LANES`], with AVX-512.
pub(super) fn write_512(norm: &Norm, rgb: &[u8], float: Float, target: &mut [u8]) {
    // SAFETY: `Level::Avx512` is only made where AVX-512 F, BW and VL were detected, or by tests that ask first.
    unsafe {
        match float {
            Float::F32 => floats_512::<F32>(norm, rgb, target.as_chunks_mut().0),
            Float::F16 => floats_512::<F16>(norm, rgb, target.as_chunks_mut().0),
            Float::Bf16 => floats_512::<Bf16>(norm, rgb, target.as_chunks_mut().0),
        }
    }
}

/// The same in f32 with AVX2 and FMA.
pub(super) fn write_256(norm: &Norm, rgb: &[u8], target: &mut [u8]) {
    // SAFETY: `Norm` is only made for `Level::Avx2` where FMA was detected too.
    unsafe { floats_256(norm, rgb, target.as_chunks_mut::<32>().0) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn floats_512<P: Put>(norm: &Norm, rgb: &[u8], target: &mut [P::Place]) {
    let lanes = |of: &[f32; LANES], at: usize| {
        // SAFETY: three times 16 of the 48 lanes.
        unsafe { _mm512_loadu_ps(of.as_chunks::<16>().0[at].as_ptr()) }
    };
    let numbers: [_; 3] =
        std::array::from_fn(|at| (lanes(&norm.mean, at), lanes(&norm.std, at), lanes(&norm.inverse, at)));
    let (full, per_full) = (_mm512_set1_ps(FULL), _mm512_set1_ps(PER_FULL));
    for (bytes, target) in rgb.as_chunks::<LANES>().0.iter().zip(target.as_chunks_mut::<3>().0) {
        for ((bytes, target), (mean, std, inverse)) in
            bytes.as_chunks::<16>().0.iter().zip(target).zip(numbers)
        {
            // SAFETY: 16 bytes.
            let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            let value = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
            let share = quotient_512(value, full, per_full);
            // SAFETY: it needs no more than this function.
            unsafe { P::put(quotient_512(_mm512_sub_ps(share, mean), std, inverse), target) };
        }
    }
}

#[target_feature(enable = "avx512f")]
fn quotient_512(of: __m512, by: __m512, inverse: __m512) -> __m512 {
    let near = _mm512_mul_ps(of, inverse);
    let off = _mm512_fnmadd_ps(near, by, of);
    _mm512_fmadd_ps(off, inverse, near)
}

/// How 16 results are written.
trait Put {
    /// Their bytes.
    type Place;

    /// Writes them.
    ///
    /// # Safety
    /// Needs AVX-512 F.
    unsafe fn put(value: __m512, place: &mut Self::Place);
}

struct F32;
struct F16;
struct Bf16;

impl Put for F32 {
    type Place = [u8; 64];

    // SAFETY: the trait's: the caller has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    unsafe fn put(value: __m512, place: &mut [u8; 64]) {
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_ps(place.as_mut_ptr().cast(), value) }
    }
}

impl Put for F16 {
    type Place = [u8; 32];

    // SAFETY: the trait's: the caller has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    unsafe fn put(value: __m512, place: &mut [u8; 32]) {
        let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), half) }
    }
}

impl Put for Bf16 {
    type Place = [u8; 32];

    /// Rounds in whole numbers: the upper half, one more where the lower is more than half of a step, or half of one and
    /// the upper is odd. What is no number never comes here.
    // SAFETY: the trait's: the caller has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    unsafe fn put(value: __m512, place: &mut [u8; 32]) {
        let bits = _mm512_castps_si512(value);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7FFF));
        let half = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), half) }
    }
}

#[target_feature(enable = "avx2,fma")]
fn floats_256(norm: &Norm, rgb: &[u8], target: &mut [[u8; 32]]) {
    let lanes = |of: &[f32; LANES], at: usize| {
        // SAFETY: three times 8 of the 48 lanes.
        unsafe { _mm256_loadu_ps(of.as_chunks::<8>().0[at].as_ptr()) }
    };
    let numbers: [_; 3] =
        std::array::from_fn(|at| (lanes(&norm.mean, at), lanes(&norm.std, at), lanes(&norm.inverse, at)));
    let (full, per_full) = (_mm256_set1_ps(FULL), _mm256_set1_ps(PER_FULL));
    for (bytes, target) in rgb.as_chunks::<24>().0.iter().zip(target.as_chunks_mut::<3>().0) {
        for ((bytes, target), (mean, std, inverse)) in
            bytes.as_chunks::<8>().0.iter().zip(target).zip(numbers)
        {
            let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(*bytes));
            let value = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
            let share = quotient_256(value, full, per_full);
            let made = quotient_256(_mm256_sub_ps(share, mean), std, inverse);
            // SAFETY: 32 bytes.
            unsafe { _mm256_storeu_ps(target.as_mut_ptr().cast(), made) };
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn quotient_256(of: __m256, by: __m256, inverse: __m256) -> __m256 {
    let near = _mm256_mul_ps(of, inverse);
    let off = _mm256_fnmadd_ps(near, by, of);
    _mm256_fmadd_ps(off, inverse, near)
}
