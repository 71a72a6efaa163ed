//! One sample's files: read whole, decoded by what they are, hashed; whether they are sound.

use std::io::Cursor;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::decode::{self, DecodeError, ImageDecoder, ImageFormat, ImageLimits, Rect};
use crate::error::with_causes;
use crate::storage::{ReadBuf, Root, StorageError, read_now};

/// What a longer file is hashed by, a piece at a time.
const PIECE_BYTES: u64 = 16 << 20;

/// Formats that a file's name promises and that are known by their first bytes.
const PROMISED: [&str; 9] = ["jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "wav", "wave"];

/// What became of one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Outcome {
    /// Everything arrived, and what can be decoded decodes.
    Sound {
        /// 32 hexadecimal digits: BLAKE3 of the file, or of its files' hashes.
        content: String,
        /// What it was read as, file by file.
        formats: Vec<String>,
        /// Of its files.
        bytes: u64,
    },
    /// Everything arrived, and decoding fails or a limit counted in work is passed.
    Corrupt {
        /// Why.
        reason: String,
    },
    /// Something did not arrive, or changed while it was read: says nothing about the sample.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// A thread's own: buffers and decoders.
pub(super) struct Checker<'a> {
    root: &'a Root,
    limits: ImageLimits,
    images: ImageDecoder,
    buf: ReadBuf,
}

/// Why a file is not sound.
enum Trouble {
    Corrupt(String),
    Unavailable(String),
}

impl<'a> Checker<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        let limits = ImageLimits::default();
        Self { root, limits, images: ImageDecoder::new(limits), buf: ReadBuf::default() }
    }

    /// Checks the files of a sample; there is one at least.
    pub(super) fn check(&mut self, paths: &[&[u8]]) -> Outcome {
        let (mut hashes, mut formats, mut bytes) = (Vec::new(), Vec::new(), 0);
        for path in paths {
            match self.file(path) {
                Ok((hash, format, len_bytes)) => {
                    hashes.push(hash);
                    formats.push(format);
                    bytes += len_bytes;
                }
                Err(trouble) => return trouble.of(paths.len(), path),
            }
        }
        let hash = match &hashes[..] {
            [one] => *one,
            several => {
                let mut hasher = blake3::Hasher::new();
                for hash in several {
                    hasher.update(hash.as_bytes());
                }
                hasher.finalize()
            }
        };
        Outcome::Sound { content: hash.to_hex()[..32].to_owned(), formats, bytes }
    }

    fn file(&mut self, path: &[u8]) -> Result<(blake3::Hash, String, u64), Trouble> {
        self.buf.set_path(path);
        match read_now(self.root, &mut self.buf, None, self.limits.encoded_bytes_max) {
            Ok(()) => {
                let format = verdict(&mut self.images, path, &self.buf.bytes).map_err(Trouble::Corrupt)?;
                Ok((blake3::hash(&self.buf.bytes), format, self.buf.bytes.len() as u64))
            }
            Err(StorageError::TooLarge { size_bytes, .. }) => self.large(size_bytes),
            Err(error) => Err(Trouble::Unavailable(with_causes(&error))),
        }
    }

    /// A file that is longer than any image may be: it is read through, and not decoded.
    fn large(&mut self, size_bytes: u64) -> Result<(blake3::Hash, String, u64), Trouble> {
        let mut hasher = blake3::Hasher::new();
        let mut format = "other".to_owned();
        for first in (0..size_bytes).step_by(PIECE_BYTES as usize) {
            let extent = (first, PIECE_BYTES.min(size_bytes - first));
            read_now(self.root, &mut self.buf, Some(extent), PIECE_BYTES)
                .map_err(|error| Trouble::Unavailable(with_causes(&error)))?;
            if first == 0 {
                format = large_format(&self.buf.bytes, size_bytes, &self.limits).map_err(Trouble::Corrupt)?;
            }
            hasher.update(&self.buf.bytes);
        }
        Ok((hasher.finalize(), format, size_bytes))
    }
}

impl Trouble {
    fn of(self, files: usize, path: &[u8]) -> Outcome {
        // A sample of one file is mostly called by it.
        let named = |reason: String| match files {
            1 => reason,
            _ => format!("{}: {reason}", String::from_utf8_lossy(path)),
        };
        match self {
            Self::Corrupt(reason) => Outcome::Corrupt { reason: named(reason) },
            Self::Unavailable(reason) => Outcome::Unavailable { reason },
        }
    }
}

/// What complete bytes are, once they have been decoded; why they are corrupt.
///
/// What we do not decode is sound where it has any bytes, but for a file whose name promises a format that it is not.
fn verdict(images: &mut ImageDecoder, path: &[u8], bytes: &[u8]) -> Result<String, String> {
    if bytes.is_empty() {
        return Err("an empty file".to_owned());
    }
    match decode::sniff(bytes) {
        Ok(format) => image(images, format, bytes),
        Err(DecodeError::UnsupportedFormat { format }) => Ok(not_decoded(format)),
        Err(_) if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE") => wav(bytes),
        Err(_) if bytes.starts_with(b"RF64") || bytes.starts_with(b"BW64") => Ok(not_decoded("RF64")),
        Err(_) => match promised(path) {
            None => Ok(not_decoded("other")),
            Some(format) => {
                let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
                Err(format!(
                    "named .{format}, but neither that nor another image or sound: it starts with {start:?}"
                ))
            }
        },
    }
}

fn not_decoded(format: &str) -> String {
    format!("{format} (not decoded)")
}

fn promised(path: &[u8]) -> Option<&'static str> {
    let path = String::from_utf8_lossy(path);
    let extension = Path::new(path.as_ref()).extension()?.to_str()?.to_ascii_lowercase();
    PROMISED.into_iter().find(|promised| *promised == extension)
}

fn image(images: &mut ImageDecoder, format: ImageFormat, bytes: &[u8]) -> Result<String, String> {
    let name = match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
    };
    let decoded =
        images.info(bytes).and_then(|info| images.decode_region(bytes, Rect::whole(&info)).map(drop));
    match decoded {
        Ok(()) => Ok(name.to_owned()),
        Err(DecodeError::UnsupportedFeature { feature, .. }) => {
            Ok(not_decoded(&format!("{name} with {feature}")))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Every sample of a WAV file must be there.
fn wav(bytes: &[u8]) -> Result<String, String> {
    let read = hound::WavReader::new(Cursor::new(bytes)).and_then(|mut wav| match wav.spec().sample_format {
        hound::SampleFormat::Float => wav.samples::<f32>().try_for_each(|sample| sample.map(drop)),
        hound::SampleFormat::Int => wav.samples::<i32>().try_for_each(|sample| sample.map(drop)),
    });
    match read {
        Ok(()) => Ok("WAV".to_owned()),
        Err(hound::Error::Unsupported) => Ok(not_decoded("WAV of another encoding")),
        // What a recorder writes that could not go back to its header: sound until its end, as long as it is.
        Err(_) if streamed(bytes) => Ok(not_decoded("WAV without a length")),
        Err(hound::Error::IoError(_)) => {
            Err(format!("truncated WAV: {} bytes end before the samples do", bytes.len()))
        }
        Err(error) => Err(format!("corrupt WAV: {error}")),
    }
}

fn streamed(bytes: &[u8]) -> bool {
    let at = memchr::memmem::find(bytes, b"data");
    at.is_some_and(|at| bytes.get(at + 4..at + 8) == Some(&[0xFF; 4]))
}

fn large_format(head: &[u8], size_bytes: u64, limits: &ImageLimits) -> Result<String, String> {
    match decode::sniff(head) {
        Ok(_) => {
            let encoded_bytes_max = limits.encoded_bytes_max;
            Err(DecodeError::TooManyBytes { len_bytes: size_bytes, encoded_bytes_max }.to_string())
        }
        Err(DecodeError::UnsupportedFormat { format }) => Ok(not_decoded(format)),
        Err(_) if head.starts_with(b"RIFF") => Ok(not_decoded("long WAV")),
        Err(_) => Ok(not_decoded("other")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{SynthOptions, SynthSize, synth};

    fn jpeg() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let options = SynthOptions {
            directory: dir.path().to_owned(),
            classes: 1,
            images: 5,
            seed: 1,
            size: SynthSize::Tiny,
            threads: Some(1),
        };
        synth(&options, |_, _| ()).unwrap();
        let class = std::fs::read_dir(dir.path().join("train")).unwrap().next().unwrap().unwrap().path();
        let file = std::fs::read_dir(class).unwrap().next().unwrap().unwrap().path();
        std::fs::read(file).unwrap()
    }

    fn sound(samples: u32) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut wav = hound::WavWriter::new(&mut bytes, spec).unwrap();
        (0..samples).for_each(|sample| wav.write_sample(sample as i16).unwrap());
        wav.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn files_are_what_they_are_whatever_they_are_called() {
        let (jpeg, wav) = (jpeg(), sound(100));
        let mut images = ImageDecoder::new(ImageLimits::default());
        let mut of = |path: &str, bytes: &[u8]| verdict(&mut images, path.as_bytes(), bytes);
        assert_eq!(of("a.jpg", &jpeg), Ok("JPEG".to_owned()));
        assert_eq!(of("a.png", &jpeg), Ok("JPEG".to_owned()));
        assert_eq!(of("a", &wav), Ok("WAV".to_owned()));
        assert_eq!(of("a.txt", b"words"), Ok("other (not decoded)".to_owned()));
        assert_eq!(of("a.jpg", b"RIFF\0\0\0\0WEBPVP8 "), Ok("WebP (not decoded)".to_owned()));
        assert_eq!(of("a.txt", b""), Err("an empty file".to_owned()));
        let text = of("a.JPG", b"<html>404 not found").unwrap_err();
        assert!(text.contains("named .jpg") && text.contains("<html>404 not fo"), "{text}");
    }

    #[test]
    fn a_file_that_is_cut_is_corrupt_wherever_it_is_cut() {
        let (jpeg, wav) = (jpeg(), sound(1000));
        let mut images = ImageDecoder::new(ImageLimits::default());
        for cut in [1, 2, 3, 4] {
            for (whole, name) in [(&jpeg, "a.jpg"), (&wav, "a.wav")] {
                let bytes = &whole[..whole.len() * cut / 5];
                let reason = verdict(&mut images, name.as_bytes(), bytes).unwrap_err();
                assert!(reason.contains("truncated"), "{name} cut at {cut}/5: {reason}");
            }
        }
    }

    #[test]
    fn a_wav_that_was_streamed_has_no_length_to_miss() {
        let mut wav = sound(10);
        wav[40..44].fill(0xFF);
        assert_eq!(super::wav(&wav), Ok("WAV without a length (not decoded)".to_owned()));
    }

    #[test]
    fn what_is_not_there_is_unavailable_and_what_is_is_hashed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "abc").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut checker = Checker::new(&root);
        let hash = blake3::hash(b"abc").to_hex()[..32].to_owned();
        match checker.check(&[b"a"]) {
            Outcome::Sound { content, bytes, .. } => assert_eq!((content, bytes), (hash, 3)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(checker.check(&[b"a", b"b"]), Outcome::Unavailable { .. }));
        assert!(matches!(checker.check(&[b"."]), Outcome::Unavailable { .. }));
    }

    #[test]
    fn a_file_over_the_limit_of_images_is_read_through_and_an_image_of_that_size_is_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        let long = [jpeg(), vec![7; 100]].concat();
        std::fs::write(dir.path().join("a.jpg"), &long).unwrap();
        std::fs::write(dir.path().join("b"), &long[2..]).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut checker = Checker::new(&root);
        checker.limits.encoded_bytes_max = 64;
        assert!(matches!(checker.check(&[b"a.jpg"]), Outcome::Corrupt { .. }));
        let hash = blake3::hash(&long[2..]).to_hex()[..32].to_owned();
        assert!(matches!(checker.check(&[b"b"]), Outcome::Sound { content, .. } if content == hash));
    }
}
