//! The sums themselves, without wide instructions: for other machines, for the ends of rows, and as what the wide loops
//! are held to.

use std::ops::Range;

use super::Pair;
use super::axis::Axis;

/// Bytes of a row that are summed up together.
const TOGETHER: usize = 64;

/// Makes the pixels `pixels` of a narrowed row.
pub(super) fn narrow(row: &[u8], axis: &Axis, pixels: Range<usize>, out: &mut [u8]) {
    let half = 1 << (axis.precision() - 1);
    for to in pixels {
        let mut sums = [half; 3];
        // Behind the last weight that counts there may be no pixel.
        for (weight, pixel) in axis.weights(to).iter().zip(row[axis.start(to) * 3..].chunks_exact(3)) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*weight) * i32::from(*value);
            }
        }
        out[to * 3..to * 3 + 3].copy_from_slice(&sums.map(|sum| shifted(sum, axis.precision())));
    }
}

/// Makes the bytes from `first` on of a row of the result.
pub(super) fn sum_up(ring: &[u8], pairs: &[Pair], precision: u32, first: usize, out: &mut [u8]) {
    for (chunk, out) in out[first..].chunks_mut(TOGETHER).enumerate() {
        let at = first + chunk * TOGETHER;
        let mut sums = [1_i32 << (precision - 1); TOGETHER];
        for pair in pairs {
            let (upper, lower) =
                (&ring[pair.upper + at..][..out.len()], &ring[pair.lower + at..][..out.len()]);
            let (first, second) = (i32::from(pair.weights as i16), pair.weights >> 16);
            for ((sum, upper), lower) in sums.iter_mut().zip(upper).zip(lower) {
                *sum += first * i32::from(*upper) + second * i32::from(*lower);
            }
        }
        for (byte, sum) in out.iter_mut().zip(sums) {
            *byte = shifted(sum, precision);
        }
    }
}

fn shifted(sum: i32, precision: u32) -> u8 {
    (sum >> precision).clamp(0, 255) as u8
}
