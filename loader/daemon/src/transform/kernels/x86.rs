//! The same sums 256 and 512 bits at a time.
//!
//! Two taps of a channel lie side by side as 16-bit numbers, so that one multiply-add gives their weighted sum. Narrowing
//! takes several pixels of the result at a time, each with its own stretch of the source in its own 128 bits.
#![allow(unsafe_code)] // vector instructions; the design's written exception

#[allow(clippy::wildcard_imports, reason = "the names of instructions say where they come from")]
use std::arch::x86_64::*;

use super::axis::Axis;
use super::{Pair, SLACK, scalar};

/// Of 12 bytes R G B R G B ..: the first two pixels' bytes, channel by channel, each widened by a zero.
const FIRST_TWO: [i8; 16] = [0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1];
/// The same of the other two pixels.
const OTHER_TWO: [i8; 16] = [6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1];
/// Four pixels of four bytes to 12 bytes.
const SQUEEZE: [i8; 16] = [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1];

/// Makes one row narrower with AVX2, which the caller has found here.
pub(super) fn narrow_avx2(row: &[u8], axis: &Axis, wide: &[i32], out: &mut [u8]) {
    // SAFETY: `Level::Avx2` is only made where AVX2 was detected, or by tests that ask first.
    unsafe { narrow_2(row, axis, wide, out) }
}

/// Makes one row narrower with AVX-512, which the caller has found here.
pub(super) fn narrow_avx512(row: &[u8], axis: &Axis, wide: &[i32], out: &mut [u8]) {
    // SAFETY: `Level::Avx512` is only made where AVX-512 F, BW and VL were detected, or by tests that ask first.
    unsafe { narrow_4(row, axis, wide, out) }
}

/// Sums rows up with AVX2, which the caller has found here.
pub(super) fn sum_up_avx2(ring: &[u8], pairs: &[Pair], precision: u32, out: &mut [u8]) {
    check(ring, pairs, out.len());
    // SAFETY: AVX2 as in `narrow_avx2`; `check` held the rows inside the ring.
    let done = unsafe { sum_16(ring, pairs, precision, out) };
    scalar::sum_up(ring, pairs, precision, done, out);
}

/// Sums rows up with AVX-512, which the caller has found here.
pub(super) fn sum_up_avx512(ring: &[u8], pairs: &[Pair], precision: u32, out: &mut [u8]) {
    check(ring, pairs, out.len());
    // SAFETY: AVX-512 as in `narrow_avx512`; `check` held the rows inside the ring.
    let done = unsafe { sum_32(ring, pairs, precision, out) };
    scalar::sum_up(ring, pairs, precision, done, out);
}

/// How many pixels of the result, from the first, have all their loads inside `row`: all of them but in an image's last
/// rows, where a load would look beyond its memory.
fn loadable(row: &[u8], axis: &Axis, fours: usize) -> usize {
    let fits = |to: usize| (axis.start(to) + (fours - 1) * 4) * 3 + 16 <= row.len();
    if axis.is_empty() || (fits(0) && fits(axis.len() - 1)) {
        // Starts rise, or fall where the result is mirrored.
        return axis.len();
    }
    (0..axis.len()).take_while(|to| fits(*to)).count()
}

#[target_feature(enable = "avx2")]
fn narrow_2(row: &[u8], axis: &Axis, wide: &[i32], out: &mut [u8]) {
    let fours = axis.taps().div_ceil(4);
    assert!(out.len() >= axis.len() * 3 + SLACK && wide.len() >= axis.len() * fours * 8);
    // SAFETY: both are 16 bytes.
    let (first, other) = unsafe { (load(FIRST_TWO.as_ptr()), load(OTHER_TWO.as_ptr())) };
    let (first, other) = (_mm256_broadcastsi128_si256(first), _mm256_broadcastsi128_si256(other));
    let (half, shift) = half_and_shift(axis.precision());
    let half = _mm256_set1_epi32(half);
    let starts = axis.starts();
    let mut to = 0;
    for group in starts[..loadable(row, axis, fours)].chunks_exact(2) {
        let mut sum = half;
        for four in 0..fours {
            // SAFETY: `loadable` holds the 16 bytes of both pixels inside `row`; `wide` has 16 numbers for each two
            // pixels and four taps, as was asserted.
            unsafe {
                let at = |pixel: usize| row.as_ptr().add((group[pixel] as usize + four * 4) * 3).cast();
                let pixels = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(at(0))), load(at(1)));
                let weights = wide.as_ptr().add((to * fours + four * 2) * 8).cast();
                let two = _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, first), _mm256_loadu_si256(weights));
                let more = _mm256_shuffle_epi8(pixels, other);
                let more = _mm256_madd_epi16(more, _mm256_loadu_si256(weights.add(1)));
                sum = _mm256_add_epi32(sum, _mm256_add_epi32(two, more));
            }
        }
        let sums = _mm256_sra_epi32(sum, shift);
        let bytes = _mm256_packus_epi16(_mm256_packs_epi32(sums, sums), sums);
        let (left, right) =
            (_mm256_extract_epi32::<0>(bytes) as u32, _mm256_extract_epi32::<4>(bytes) as u32);
        let both = u64::from(left & 0xFF_FFFF) | u64::from(right & 0xFF_FFFF) << 24;
        out[to * 3..to * 3 + 8].copy_from_slice(&both.to_le_bytes());
        to += 2;
    }
    scalar::narrow(row, axis, to..axis.len(), out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn narrow_4(row: &[u8], axis: &Axis, wide: &[i32], out: &mut [u8]) {
    let fours = axis.taps().div_ceil(4);
    assert!(out.len() >= axis.len() * 3 + SLACK && wide.len() >= axis.len() * fours * 8);
    // SAFETY: all are 16 bytes.
    let (first, other, squeeze) =
        unsafe { (load(FIRST_TWO.as_ptr()), load(OTHER_TWO.as_ptr()), load(SQUEEZE.as_ptr())) };
    let (first, other) = (_mm512_broadcast_i32x4(first), _mm512_broadcast_i32x4(other));
    let (half, shift) = half_and_shift(axis.precision());
    let half = _mm512_set1_epi32(half);
    let starts = axis.starts();
    let mut to = 0;
    for group in starts[..loadable(row, axis, fours)].chunks_exact(4) {
        let mut sum = half;
        for four in 0..fours {
            // SAFETY: `loadable` holds the 16 bytes of all four pixels inside `row`; `wide` has 32 numbers for each four
            // pixels and four taps, as was asserted.
            unsafe {
                let at = |pixel: usize| row.as_ptr().add((group[pixel] as usize + four * 4) * 3).cast();
                let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(at(0))), load(at(1)));
                let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(at(2))), load(at(3)));
                let pixels = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                let weights = wide.as_ptr().add((to * fours + four * 4) * 8).cast();
                let two = _mm512_madd_epi16(_mm512_shuffle_epi8(pixels, first), _mm512_loadu_si512(weights));
                let more = _mm512_shuffle_epi8(pixels, other);
                let more = _mm512_madd_epi16(more, _mm512_loadu_si512(weights.add(1)));
                sum = _mm512_add_epi32(sum, _mm512_add_epi32(two, more));
            }
        }
        let sums = _mm512_max_epi32(_mm512_sra_epi32(sum, shift), _mm512_setzero_si512());
        let bytes = _mm_shuffle_epi8(_mm512_cvtusepi32_epi8(sums), squeeze);
        let place = &mut out[to * 3..to * 3 + 16];
        // SAFETY: `place` is 16 bytes.
        unsafe { _mm_storeu_si128(place.as_mut_ptr().cast(), bytes) };
        to += 4;
    }
    scalar::narrow(row, axis, to..axis.len(), out);
}

/// Sums whole 16 bytes up; how many bytes that were.
///
/// # Safety
/// From each place that `pairs` name, `ring` has as many bytes as `out`.
#[target_feature(enable = "avx2")]
unsafe fn sum_16(ring: &[u8], pairs: &[Pair], precision: u32, out: &mut [u8]) -> usize {
    let whole = out.len() / 16 * 16;
    let (half, shift) = half_and_shift(precision);
    for at in (0..whole).step_by(16) {
        let mut sums = [_mm256_set1_epi32(half); 2];
        for pair in pairs {
            // SAFETY: the caller's: both rows have as many bytes as `out`.
            let (upper, lower) = unsafe {
                let load = |from: usize| _mm_loadu_si128(ring.as_ptr().add(from + at).cast());
                (load(pair.upper), load(pair.lower))
            };
            let both = _mm256_set1_epi32(pair.weights);
            let sides = [_mm_unpacklo_epi8(upper, lower), _mm_unpackhi_epi8(upper, lower)];
            for (sum, side) in sums.iter_mut().zip(sides) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(side), both));
            }
        }
        let [low, high] = sums.map(|sum| _mm256_sra_epi32(sum, shift));
        // Packing works in halves of 128 bits; the permutation puts their 16-bit results in order again.
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
        let (first, second) = (_mm256_castsi256_si128(packed), _mm256_extracti128_si256::<1>(packed));
        let place = &mut out[at..at + 16];
        // SAFETY: `place` is 16 bytes.
        unsafe { _mm_storeu_si128(place.as_mut_ptr().cast(), _mm_packus_epi16(first, second)) };
    }
    whole
}

/// Sums whole 32 bytes up; how many bytes that were.
///
/// # Safety
/// As [`sum_16`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn sum_32(ring: &[u8], pairs: &[Pair], precision: u32, out: &mut [u8]) -> usize {
    let whole = out.len() / 32 * 32;
    let (half, shift) = half_and_shift(precision);
    for at in (0..whole).step_by(32) {
        let mut sums = [_mm512_set1_epi32(half); 2];
        for pair in pairs {
            // SAFETY: the caller's: both rows have as many bytes as `out`.
            let (upper, lower) = unsafe {
                let load = |from: usize| _mm256_loadu_si256(ring.as_ptr().add(from + at).cast());
                (load(pair.upper), load(pair.lower))
            };
            let both = _mm512_set1_epi32(pair.weights);
            let sides = [_mm256_unpacklo_epi8(upper, lower), _mm256_unpackhi_epi8(upper, lower)];
            for (sum, side) in sums.iter_mut().zip(sides) {
                *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(_mm512_cvtepu8_epi16(side), both));
            }
        }
        // Unpacking worked in halves of 128 bits: bytes 0..8 and 16..24 are in the first sum, the others in the second.
        let bytes = |sum| {
            let sum = _mm512_max_epi32(_mm512_sra_epi32(sum, shift), _mm512_setzero_si512());
            _mm512_cvtusepi32_epi8(sum)
        };
        let (even, odd) = (bytes(sums[0]), bytes(sums[1]));
        let place = &mut out[at..at + 32];
        // SAFETY: `place` is 32 bytes.
        unsafe {
            _mm_storeu_si128(place.as_mut_ptr().cast(), _mm_unpacklo_epi64(even, odd));
            _mm_storeu_si128(place.as_mut_ptr().add(16).cast(), _mm_unpackhi_epi64(even, odd));
        }
    }
    whole
}

/// Holds the rows that `pairs` name inside `ring`.
fn check(ring: &[u8], pairs: &[Pair], row_bytes: usize) {
    let inside = |from: usize| from.checked_add(row_bytes).is_some_and(|end| end <= ring.len());
    assert!(pairs.iter().all(|pair| inside(pair.upper) && inside(pair.lower)), "rows lie in the ring");
}

/// What is added so that the shift rounds, and the shift.
#[target_feature(enable = "sse2")]
fn half_and_shift(precision: u32) -> (i32, __m128i) {
    (1 << (precision - 1), _mm_cvtsi32_si128(precision as i32))
}

/// Loads 16 bytes from any address.
///
/// # Safety
/// `from` is valid for 16 bytes.
#[target_feature(enable = "sse2")]
unsafe fn load(from: *const i8) -> __m128i {
    // SAFETY: the caller's.
    unsafe { _mm_loadu_si128(from.cast()) }
}
