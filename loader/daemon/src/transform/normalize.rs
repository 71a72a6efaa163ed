//! u8 to floats through a table of 256 entries a channel: the same bits on every machine, and torchvision's.

use half::{bf16, f16};

use super::OutputType;
use super::kernels::{Level, Norm};

/// What each byte becomes, for red, green and blue.
#[derive(Clone)]
pub(super) struct Tables {
    floats: [[f32; 256]; 3],
    /// The bits of `floats` rounded to two bytes, where that is what is written; `floats` then are what they stand for.
    halves: Option<[[u16; 256]; 3]>,
    /// The same without looking up, where this processor has a way.
    norm: Option<Norm>,
}

impl Tables {
    /// `value / 255`: torchvision's `ToTensor`.
    pub fn unit() -> Tables {
        Tables::normalized([0.0; 3], [1.0; 3])
    }

    /// `(value / 255 - mean) / std`, each step rounded to f32 and never fused, as torch does it.
    pub fn normalized(mean: [f32; 3], std: [f32; 3]) -> Tables {
        let channel = |c: usize| std::array::from_fn(|value| (value as f32 / 255.0 - mean[c]) / std[c]);
        let floats = [channel(0), channel(1), channel(2)];
        let norm = Norm::new(Level::detect(), mean, std, &floats);
        Tables { floats, halves: None, norm }
    }

    /// The same for `output`: as torch's `.to(dtype)` of the f32 result, rounded to the nearest and ties to even.
    pub fn rounded(self, output: OutputType) -> Tables {
        let round: fn(f32) -> (u16, f32) = match output {
            OutputType::U8 | OutputType::F32 => return self,
            OutputType::F16 => |value| (f16::from_f32(value).to_bits(), f16::from_f32(value).to_f32()),
            OutputType::Bf16 => |value| (bf16::from_f32(value).to_bits(), bf16::from_f32(value).to_f32()),
        };
        let halves = self.floats.map(|channel| channel.map(|value| round(value).0));
        let floats = self.floats.map(|channel| channel.map(|value| round(value).1));
        Tables { floats, halves: Some(halves), norm: self.norm }
    }

    /// The bits of one channel, where two bytes an element are written.
    pub fn halves(&self) -> Option<&[[u16; 256]; 3]> {
        self.halves.as_ref()
    }

    /// What makes many at a time, and gives the same bits.
    pub fn norm(&self) -> Option<&Norm> {
        self.norm.as_ref()
    }

    /// The byte that became `value`, or the nearest where none did: tables rise. Where rounding to two bytes made several
    /// of them one, the first.
    pub fn byte(&self, c: usize, value: f32) -> u8 {
        let table = &self.floats[c];
        let above = table.partition_point(|entry| *entry < value).min(255);
        let below = above.saturating_sub(1);
        (if value - table[below] < table[above] - value { below } else { above }) as u8
    }

    /// The table of one channel.
    pub fn channel(&self, c: usize) -> &[f32; 256] {
        &self.floats[c]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_torchs_bits() {
        // torch.tensor([0, 100, 255], dtype=uint8).float().div(255), then sub(0.485).div(0.229).
        let red = *Tables::normalized([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).channel(0);
        assert_eq!([red[0], red[255]].map(f32::to_bits), [-2.117_904_f32, 2.248_908_3].map(f32::to_bits));
        assert_eq!(Tables::unit().channel(2)[255].to_bits(), 1f32.to_bits());
    }

    #[test]
    fn halves_are_torchs_bits_of_the_rounded_result() {
        // torch.tensor([0, 1, 100, 255], dtype=uint8).float().div(255).sub(0.485).div(0.229), .to() and .view(int16).
        let bits = |output, byte: usize| {
            let tables = Tables::normalized([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).rounded(output);
            tables.halves().expect("two bytes an element")[0][byte]
        };
        assert_eq!(
            [0, 1, 100, 255].map(|byte| bits(OutputType::F16, byte)),
            [0xC03C, 0xC034, 0xB67D, 0x407F]
        );
        assert_eq!(
            [0, 1, 100, 255].map(|byte| bits(OutputType::Bf16, byte)),
            [0xC008, 0xC006, 0xBED0, 0x4010]
        );
        assert!(Tables::unit().rounded(OutputType::F32).halves().is_none());
    }

    #[test]
    fn every_entry_leads_back_to_its_byte_and_anything_else_to_the_nearest() {
        let tables = Tables::normalized([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        for (c, byte) in (0..3).flat_map(|c| (0..=255_u8).map(move |byte| (c, byte))) {
            assert_eq!(tables.byte(c, tables.channel(c)[usize::from(byte)]), byte);
        }
        let unit = Tables::unit();
        assert_eq!(
            [-9.0, 0.4999 / 255.0, 0.5001 / 255.0, 9.0].map(|value| unit.byte(0, value)),
            [0, 0, 1, 255]
        );
    }
}
