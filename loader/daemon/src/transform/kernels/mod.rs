//! Resizing in one pass over the decoded rows: each is made narrower, and as soon as there are enough of them for a row
//! of the result, that row is summed up and handed on, still in the first cache.
//!
//! Sums are of whole numbers, so scalar, AVX2 and AVX-512 give the same bytes. Nothing is allocated once the buffers
//! have the size of the largest image.

mod axis;
mod filter;
mod floats;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_floats;

#[cfg(test)]
mod tests;

pub use axis::{Axis, Span, Whole};
pub use filter::Filter;
pub use floats::{Float, Norm};

use crate::buffer::grown;

/// Bytes that a wide store may write behind a narrowed row.
const SLACK: usize = 16;

/// The instructions that are used; the result does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Any machine.
    Scalar,
    /// 256 bits at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits at a time: AVX-512 F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest that this processor has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let has_512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            if has_512 {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Scalar
    }

    /// Pixels of a narrowed row that are made at a time.
    fn group(self) -> usize {
        match self {
            Self::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 4,
        }
    }
}

/// A part of an RGB8 image: `rgb` begins at its first pixel and goes on to the end of the image's memory.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The bytes.
    pub rgb: &'a [u8],
    /// From one row to the next, in bytes.
    pub stride_bytes: usize,
    /// Rows of the part.
    pub height: usize,
}

/// Takes the rows of a result.
pub trait Target {
    /// Where row number `y` is to be written: `width * 3` bytes, which are not read.
    fn row(&mut self, y: usize) -> &mut [u8];

    /// Told when all of the row is there.
    fn written(&mut self, y: usize);
}

/// A worker thread's resizer and what it keeps between images.
#[derive(Debug)]
pub struct Kernel {
    level: Level,
    x: Axis,
    y: Axis,
    /// Weights of `x` as the wide loops take them.
    wide: Vec<i32>,
    /// The newest narrowed rows, as many as a row of the result is made of.
    ring: Vec<u8>,
    /// What the row of the result in hand is made of.
    pairs: Vec<Pair>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new(Level::detect())
    }
}

impl Kernel {
    /// A resizer that uses `level`, which this processor must have.
    pub fn new(level: Level) -> Self {
        Self {
            level,
            x: Axis::default(),
            y: Axis::default(),
            wide: Vec::new(),
            ring: Vec::new(),
            pairs: Vec::new(),
        }
    }

    /// Resizes `source` into the rows of `target`, in order. `mirrored`: left and right are exchanged.
    pub fn run(
        &mut self,
        source: Source<'_>,
        (x, y): (Span, Span),
        filter: Filter,
        mirrored: bool,
        target: &mut impl Target,
    ) {
        self.x.set(x, filter, mirrored);
        self.y.set(y, filter, false);
        self.widen();
        let row_bytes = self.x.len() * 3;
        let (stride, slots) = (row_bytes + SLACK, self.y.taps());
        let ring = grown(&mut self.ring, stride * slots);
        let mut narrowed = 0;
        for to in 0..self.y.len() {
            let weights = self.y.weights(to);
            let counted = weights.iter().rposition(|weight| *weight != 0).map_or(1, |last| last + 1);
            let start = self.y.start(to);
            // A result that skips rows of its source needs none of those between.
            narrowed = narrowed.max(start);
            while narrowed < (start + counted).min(source.height) {
                let row = &source.rgb[narrowed * source.stride_bytes..];
                let slot = narrowed % slots * stride;
                narrow(self.level, row, &self.x, &self.wide, &mut ring[slot..slot + stride]);
                narrowed += 1;
            }
            let at = |nth: usize| (start + nth.min(counted - 1)) % slots * stride;
            self.pairs.clear();
            self.pairs.extend(weights.chunks_exact(2).take(counted.div_ceil(2)).enumerate().map(
                |(pair, two)| Pair { upper: at(pair * 2), lower: at(pair * 2 + 1), weights: both(two) },
            ));
            let out = target.row(to);
            assert_eq!(out.len(), row_bytes, "a row of the result");
            sum_up(self.level, ring, &self.pairs, self.y.precision(), out);
            target.written(to);
        }
    }

    /// Lays the weights of `x` out as the wide loops take them: for each group of pixels and each two taps, the two
    /// weights of a pixel four times over, for red, green, blue and nothing.
    fn widen(&mut self) {
        let group = self.level.group();
        let pairs = self.x.taps().div_ceil(4) * 2;
        self.wide.clear();
        if group == 1 {
            return;
        }
        self.wide.resize(self.x.len().next_multiple_of(group) * pairs * 4, 0);
        for to in 0..self.x.len() {
            let weights = self.x.weights(to);
            for (pair, two) in weights.chunks_exact(2).enumerate() {
                let at = ((to / group * pairs + pair) * group + to % group) * 4;
                self.wide[at..at + 4].fill(both(two));
            }
        }
    }
}

/// Two narrowed rows and their weights; behind the last row that counts the second weight is 0.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// Where the first row begins in the ring.
    upper: usize,
    /// Where the second does.
    lower: usize,
    /// The first row's weight in the lower half, the second's in the upper.
    weights: i32,
}

/// Two weights as one number: what a multiply-add of 16-bit numbers takes.
fn both(two: &[i16]) -> i32 {
    (two[0] as u16 as u32 | (two[1] as u16 as u32) << 16) as i32
}

/// Makes one row narrower, or wider. `out` has [`SLACK`] bytes more than the row.
fn narrow(level: Level, row: &[u8], axis: &Axis, wide: &[i32], out: &mut [u8]) {
    match level {
        Level::Scalar => scalar::narrow(row, axis, 0..axis.len(), out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::narrow_avx2(row, axis, wide, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => x86::narrow_avx512(row, axis, wide, out),
    }
}

/// Sums narrowed rows up into one of the result.
fn sum_up(level: Level, ring: &[u8], pairs: &[Pair], precision: u32, out: &mut [u8]) {
    match level {
        Level::Scalar => scalar::sum_up(ring, pairs, precision, 0, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::sum_up_avx2(ring, pairs, precision, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => x86::sum_up_avx512(ring, pairs, precision, out),
    }
}
