//! Named randomness and lattice noise, from arithmetic that IEEE 754 fixes: the same bits on every machine.
//!
//! No sine, exponential or fused multiply-add is used, since their last bit differs between machines.

/// SplitMix64 (Steele, Lea & Flood 2014): one 64-bit state, full period, named so that a recipe can name it.
#[derive(Debug, Clone)]
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator for one purpose, told apart from all others by hashing the purpose and its numbers.
    pub(super) fn for_purpose(purpose: &str, numbers: &[u64]) -> Self {
        let named = purpose.bytes().fold(0, |state, byte| mix(state ^ byte as u64));
        Self(numbers.iter().fold(named, |state, number| mix(state ^ mix(*number))))
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        finish(self.0)
    }

    /// Uniform in `0.0..1.0`, in steps of 2^-24, which an f32 holds exactly.
    pub(super) fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 24) as f32
    }

    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// The index of one weight, drawn in proportion to the weights.
    pub(super) fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u32 = weights.iter().sum();
        let mut left = (self.next_u64() % total as u64) as u32;
        weights
            .iter()
            .position(|weight| {
                let here = left < *weight;
                left = left.saturating_sub(*weight);
                here
            })
            .expect("the draw is below the sum of the weights")
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(value: u64) -> u64 {
    finish(value.wrapping_add(GOLDEN_GAMMA))
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A plane of f32, row-major, as large as the picture.
#[derive(Debug, Clone)]
pub(super) struct Plane {
    width: usize,
    values: Vec<f32>,
}

impl Plane {
    /// Octaves of value noise from cells of `cell_px` down to 1 pixel, each `falloff` times as strong as the one before.
    ///
    /// With `falloff` 0.5 the power falls with the square of the frequency, as it does in photographs
    /// (Field 1987); the result lies mostly within -1..1.
    pub(super) fn fractal(size: (usize, usize), cell_px: usize, falloff: f32, key: &mut SplitMix64) -> Self {
        let mut plane = Self { width: size.0, values: vec![0.0; size.0 * size.1] };
        let mut strength = 1.0;
        let mut cell_px = cell_px.max(1);
        loop {
            plane.add_octave(cell_px, strength, key.next_u64());
            if cell_px == 1 || strength < 0.004 {
                return plane;
            }
            cell_px /= 2;
            strength *= falloff;
        }
    }

    pub(super) fn row(&self, y: usize) -> &[f32] {
        &self.values[y * self.width..(y + 1) * self.width]
    }

    /// Adds one octave: lattice values every `cell_px` pixels, joined by smoothstep in both directions.
    fn add_octave(&mut self, cell_px: usize, strength: f32, key: u64) {
        let columns = self.width / cell_px + 2;
        let weights: Vec<f32> = (0..cell_px).map(|i| smoothstep(i as f32 / cell_px as f32)).collect();
        let mut lattice = vec![0.0_f32; columns];
        for (y, row) in self.values.chunks_exact_mut(self.width).enumerate() {
            let down = weights[y % cell_px];
            let line = (y / cell_px) as u64;
            for (column, value) in lattice.iter_mut().enumerate() {
                let above = lattice_value(key, column as u64, line);
                let below = lattice_value(key, column as u64, line + 1);
                *value = strength * (above + (below - above) * down);
            }
            add_row(row, &lattice, &weights);
        }
    }
}

fn add_row(row: &mut [f32], lattice: &[f32], weights: &[f32]) {
    for (cell, ends) in row.chunks_mut(weights.len()).zip(lattice.windows(2)) {
        for (value, weight) in cell.iter_mut().zip(weights) {
            *value += ends[0] + (ends[1] - ends[0]) * weight;
        }
    }
}

/// Uniform in -1..1, a function of the key and the lattice point.
fn lattice_value(key: u64, column: u64, line: u64) -> f32 {
    let mut z = key ^ column.wrapping_mul(GOLDEN_GAMMA) ^ line.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    z = (z ^ (z >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 29;
    (z.wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// `3t^2 - 2t^3`, with t held to 0..1.
pub(super) fn smoothstep(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A wave of period 1 between -1 and 1: a sine made of two parabolas.
pub(super) fn wave(t: f32) -> f32 {
    let phase = t - t.floor();
    let half = if phase < 0.5 { phase * 2.0 } else { phase * 2.0 - 1.0 };
    let arch = 4.0 * half * (1.0 - half);
    if phase < 0.5 { arch } else { -arch }
}
