//! u8 to f32 through a table of 256 entries a channel: the same bits on every machine, and torchvision's.

/// What each byte becomes, for red, green and blue.
#[derive(Clone)]
pub(super) struct Tables([[f32; 256]; 3]);

impl Tables {
    /// `value / 255`: torchvision's `ToTensor`.
    pub fn unit() -> Tables {
        Tables([std::array::from_fn(|value| value as f32 / 255.0); 3])
    }

    /// `(value / 255 - mean) / std`, each step rounded to f32 and never fused, as torch does it.
    pub fn normalized(mean: [f32; 3], std: [f32; 3]) -> Tables {
        let channel = |c: usize| std::array::from_fn(|value| (value as f32 / 255.0 - mean[c]) / std[c]);
        Tables([channel(0), channel(1), channel(2)])
    }

    /// The byte that became `value`, or the nearest where none did: tables rise.
    pub fn byte(&self, c: usize, value: f32) -> u8 {
        let table = &self.0[c];
        let above = table.partition_point(|entry| *entry < value).min(255);
        let below = above.saturating_sub(1);
        (if value - table[below] < table[above] - value { below } else { above }) as u8
    }

    /// The table of one channel.
    pub fn channel(&self, c: usize) -> &[f32; 256] {
        &self.0[c]
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
