//! Images for the tests, made here: nothing is read from disk.
#![allow(dead_code, missing_docs)] // each test file uses its part

use forebay::transform::RowDraws;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// splitmix64: named, seedable, the same everywhere.
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl RowDraws for SplitMix {
    fn unit_f64(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

/// Waves, a sharp edge and noise in every channel: smooth and hard parts, no two columns alike.
pub fn scene(width: u32, height: u32, channels: usize, seed: u64) -> Vec<u8> {
    let mut rng = SplitMix(seed);
    let mut samples = Vec::with_capacity(width as usize * height as usize * channels);
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let wave = (f64::from(x) / (5.0 + c as f64)).sin() * 60.0 + (f64::from(y) / 7.0).cos() * 50.0;
                let edge = if (x + 2 * y + 31 * c as u32) % 47 < 20 { 50.0 } else { -20.0 };
                samples.push((115.0 + wave + edge + rng.unit_f64() * 30.0).clamp(0.0, 255.0) as u8);
            }
        }
    }
    samples
}

/// How a test JPEG is written.
#[derive(Clone, Copy, Debug)]
pub struct Jpeg {
    pub width: u32,
    pub height: u32,
    pub color: ColorType,
    pub sampling: SamplingFactor,
    pub progressive: bool,
    pub restart_interval: u16,
}

impl Jpeg {
    pub fn rgb(width: u32, height: u32, sampling: SamplingFactor) -> Jpeg {
        Jpeg { width, height, color: ColorType::Rgb, sampling, progressive: false, restart_interval: 0 }
    }

    pub fn encode(&self) -> Vec<u8> {
        let channels = match self.color {
            ColorType::Luma => 1,
            ColorType::Rgb => 3,
            _ => 4,
        };
        let samples = scene(self.width, self.height, channels, 3);
        let mut encoded = Vec::new();
        let mut encoder = Encoder::new(&mut encoded, 90);
        encoder.set_sampling_factor(self.sampling);
        encoder.set_progressive(self.progressive);
        encoder.set_restart_interval(self.restart_interval);
        encoder
            .encode(&samples, self.width as u16, self.height as u16, self.color)
            .expect("the scene encodes");
        encoded
    }
}

/// A PNG of one colour type.
pub fn png(width: u32, height: u32, color: image::ExtendedColorType) -> Vec<u8> {
    use image::ImageEncoder;
    let samples = scene(width, height, color.bits_per_pixel() as usize / 8, 5);
    let mut encoded = Vec::new();
    image::codecs::png::PngEncoder::new(&mut encoded)
        .write_image(&samples, width, height, color)
        .expect("the scene encodes");
    encoded
}

/// An EXIF block of one entry: how the picture is to be turned, 1 to 8.
pub fn exif(value: u8) -> Vec<u8> {
    let entry = [1, 0x12, 0, 3, 0, 0, 0, 1, 0, value, 0, 0];
    [&b"MM\0*\0\0\0\x08\0\x01"[..], &entry, &[0; 4]].concat()
}

/// A JPEG with an EXIF block behind its first marker.
pub fn with_exif(encoded: &[u8], value: u8) -> Vec<u8> {
    let payload = [&b"Exif\0\0"[..], &exif(value)].concat();
    let head = [&[0xFF, 0xE1][..], &(payload.len() as u16 + 2).to_be_bytes()].concat();
    [&encoded[..2], &head, &payload, &encoded[2..]].concat()
}

/// One to five changes: a byte, a bit, a cut, a doubled or dropped stretch.
pub fn mutate(sound: &[u8], rng: &mut SplitMix) -> Vec<u8> {
    let mut file = sound.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(file.len() as u64) as usize;
        // Headers are short but decide much: aim there every other time.
        let at = if rng.below(2) == 0 { at.min(rng.below(700) as usize) } else { at };
        let len = (1 + rng.below(30) as usize).min(file.len() - at);
        match rng.below(5) {
            0 => file[at] = rng.below(256) as u8,
            1 => file[at] ^= 1 << rng.below(8),
            2 if at > 2 => file.truncate(at),
            3 => drop(file.drain(at..at + len)),
            _ => {
                let stretch = file[at..at + len].to_vec();
                file.splice(at..at, stretch);
            }
        }
        if file.is_empty() {
            break;
        }
    }
    file
}
