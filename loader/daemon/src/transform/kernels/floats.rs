//! Bytes to normalised floats without a table: the same three steps as torch, each rounded as torch rounds it, many at a
//! time.
//!
//! A division by a constant is a multiplication by its rounded inverse and two fused steps that take away what that was
//! off. Whether this gives the right bits is no matter of belief: [`Norm::new`] tries all 256 bytes of each channel and
//! gives nothing where one of them differs from the table, which is then looked up as before.

use super::Level;

/// What the two-byte types are rounded from, and what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// As computed.
    F32,
    /// Rounded once, to the nearest and ties to even.
    F16,
    /// The same.
    Bf16,
}

impl Float {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// `(value / 255 - mean) / std` for red, green and blue, by a way that was found to give a table's bits.
#[derive(Clone, Debug)]
pub struct Norm {
    level: Level,
    /// Of lane `i`, which is of channel `i % 3`: 48 lanes are the shortest row of whole vectors and whole pixels.
    pub(super) mean: [f32; LANES],
    pub(super) std: [f32; LANES],
    pub(super) inverse: [f32; LANES],
}

/// Three vectors of 512 bits, or six of 256, are sixteen whole pixels.
pub(super) const LANES: usize = 48;

/// What a byte is divided by, and its inverse.
pub(super) const FULL: f32 = 255.0;
pub(super) const PER_FULL: f32 = 1.0 / FULL;

impl Norm {
    /// The widest way of this processor, where it has one and that gives each channel's `table`.
    pub fn new(level: Level, mean: [f32; 3], std: [f32; 3], table: &[[f32; 256]; 3]) -> Option<Self> {
        if !has_fused(level) {
            return None;
        }
        let inverse = std.map(|std| 1.0 / std);
        let right = |c: usize| {
            (0..=255_u8).all(|value| {
                let wide = one(value, mean[c], std[c], inverse[c]);
                wide.to_bits() == table[c][usize::from(value)].to_bits()
            })
        };
        let lanes = |of: [f32; 3]| std::array::from_fn(|lane| of[lane % 3]);
        (0..3).all(right).then(|| Self { level, mean: lanes(mean), std: lanes(std), inverse: lanes(inverse) })
    }

    /// Writes whole groups of 16 pixels of `rgb`, in their order, from the beginning of `target`; how many bytes of `rgb`
    /// that were. The rest is the caller's.
    pub fn write(&self, rgb: &[u8], float: Float, target: &mut [u8]) -> usize {
        let done = rgb.len() / LANES * LANES;
        assert!(target.len() >= done * float.bytes(), "an element a byte");
        match (self.level, float) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, _) => super::x86_floats::write_512(self, &rgb[..done], float, target),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, Float::F32) => super::x86_floats::write_256(self, &rgb[..done], target),
            _ => return 0,
        }
        #[allow(unreachable_code, reason = "where there is no wide way, the match has returned")]
        done
    }
}

/// Whether products and sums of this level are fused, which the last step needs.
fn has_fused(level: Level) -> bool {
    match level {
        Level::Scalar => false,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => is_x86_feature_detected!("fma"),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => true,
    }
}

/// What every lane does.
fn one(value: u8, mean: f32, std: f32, inverse: f32) -> f32 {
    let share = quotient(f32::from(value), FULL, PER_FULL);
    quotient(share - mean, std, inverse)
}

/// `of / by`, by the rounded inverse.
fn quotient(of: f32, by: f32, inverse: f32) -> f32 {
    let near = of * inverse;
    let off = (-near).mul_add(by, of);
    off.mul_add(inverse, near)
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::super::tests::levels;
    use super::*;

    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const STD: [f32; 3] = [0.229, 0.224, 0.225];

    fn table(mean: [f32; 3], std: [f32; 3]) -> [[f32; 256]; 3] {
        std::array::from_fn(|c| std::array::from_fn(|value| (value as f32 / 255.0 - mean[c]) / std[c]))
    }

    /// Every byte in every lane, and a few pixels more.
    fn rgb() -> Vec<u8> {
        (0..48 * 256 + 21_u32).map(|at| (at * 37 + at / 256) as u8).collect()
    }

    fn expected(value: f32, float: Float) -> Vec<u8> {
        match float {
            Float::F32 => value.to_ne_bytes().to_vec(),
            Float::F16 => f16::from_f32(value).to_ne_bytes().to_vec(),
            Float::Bf16 => bf16::from_f32(value).to_ne_bytes().to_vec(),
        }
    }

    #[test]
    fn every_level_gives_the_tables_bits_in_every_lane() {
        let rgb = rgb();
        for ((mean, std), level) in [(MEAN, STD), ([0.0; 3], [1.0; 3]), ([0.5; 3], [0.5; 3])]
            .into_iter()
            .flat_map(|numbers| levels().into_iter().map(move |level| (numbers, level)))
        {
            let table = table(mean, std);
            let Some(norm) = Norm::new(level, mean, std, &table) else {
                assert!(!has_fused(level), "{level:?} finds ImageNet's and plain numbers right");
                continue;
            };
            for float in [Float::F32, Float::F16, Float::Bf16] {
                let mut written = vec![0xAA; rgb.len() * float.bytes()];
                let done = norm.write(&rgb, float, &mut written);
                assert!(float != Float::F32 || done == rgb.len() / 48 * 48, "{level:?}");
                let (made, rest) = written.split_at(done * float.bytes());
                let right = rgb[..done]
                    .iter()
                    .enumerate()
                    .flat_map(|(at, value)| expected(table[at % 3][usize::from(*value)], float));
                assert!(made.iter().copied().eq(right), "{level:?}, {float:?}");
                assert!(rest.iter().all(|byte| *byte == 0xAA), "no byte behind them");
            }
        }
    }

    #[test]
    fn numbers_that_do_not_come_out_right_are_left_to_the_table() {
        let mut table = table(MEAN, STD);
        table[2][200] = f32::from_bits(table[2][200].to_bits() + 1);
        assert!(levels().into_iter().all(|level| Norm::new(level, MEAN, STD, &table).is_none()));
        // An inverse that is no number.
        let zero = [f32::MIN_POSITIVE / 4.0; 3];
        let table = std::array::from_fn(|_| std::array::from_fn(|value| (value as f32 / 255.0) / zero[0]));
        assert!(levels().into_iter().all(|level| Norm::new(level, [0.0; 3], zero, &table).is_none()));
    }
}
