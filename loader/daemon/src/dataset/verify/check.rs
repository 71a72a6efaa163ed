//! One sample's files, or its parts of shards: read whole, decoded by what they are, hashed; whether they are sound.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::parts::{Part, Promise};
use crate::catalog::{Location, ValueError, Values};
use crate::decode::array::{self, ArrayError};
use crate::decode::{self, DecodeError, ImageDecoder, ImageFormat, ImageLimits, Rect};
use crate::error::with_causes;
use crate::storage::{Root, StorageError};

/// What a longer file is hashed by, a piece at a time.
const PIECE_BYTES: u64 = 16 << 20;

/// Formats that a file's name promises and that are known by their first bytes.
const PROMISED: [&str; 10] = ["jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "wav", "wave", "npy"];

/// What became of one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Outcome {
    /// Everything arrived, and what can be decoded decodes.
    Sound {
        /// 32 hexadecimal digits: BLAKE3 of the file, or of its files' hashes.
        content: String,
        /// How many of its files were read as what.
        formats: BTreeMap<String, u64>,
        /// Of its files.
        bytes: u64,
        /// Of a clip: which frames have come to its folder that the data set does not know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gained: Option<String>,
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
    pub(super) root: &'a Arc<Root>,
    limits: ImageLimits,
    images: ImageDecoder,
    values: Values<'a>,
    /// Counts files while they are read, for whoever watches.
    pub(super) files: &'a AtomicU64,
    /// Threads that share the frames of a clip.
    pub(super) threads_a_clip: usize,
}

/// Why a file is not sound.
pub(super) enum Trouble {
    Corrupt(String),
    Unavailable(String),
}

/// A sound file.
pub(super) struct Seen {
    pub(super) hash: blake3::Hash,
    pub(super) format: String,
    pub(super) bytes: u64,
    /// Width and height, in pixels, of an image that was decoded.
    pub(super) size: Option<(u32, u32)>,
}

/// A sound file of a sample, or all frames of a clip.
pub(super) struct Sound {
    pub(super) hash: blake3::Hash,
    pub(super) formats: BTreeMap<String, u64>,
    pub(super) bytes: u64,
    pub(super) gained: Option<String>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(root: &'a Arc<Root>, files: &'a AtomicU64) -> Self {
        let limits = ImageLimits::default();
        let images = ImageDecoder::new(limits);
        Self { root, limits, images, values: Values::new(root), files, threads_a_clip: 1 }
    }

    /// Checks the files of a sample; there is one at least.
    pub(super) fn check(&mut self, parts: &[Part<'_>]) -> Outcome {
        let (mut hashes, mut formats, mut all_bytes) = (Vec::new(), BTreeMap::new(), 0);
        let mut all_gained: Option<String> = None;
        for part in parts {
            let Sound { hash, formats: of_part, bytes, gained } = match self.part(part) {
                Ok(sound) => sound,
                Err(trouble) => return trouble.of(parts.len(), part),
            };
            hashes.push(hash);
            of_part.into_iter().for_each(|(format, count)| *formats.entry(format).or_default() += count);
            all_bytes += bytes;
            all_gained = all_gained.or(gained);
        }
        let hash = match &hashes[..] {
            [one] => *one,
            several => hash_of(several),
        };
        let content = hash.to_hex()[..32].to_owned();
        Outcome::Sound { content, formats, bytes: all_bytes, gained: all_gained }
    }

    fn part(&mut self, part: &Part<'_>) -> Result<Sound, Trouble> {
        if let Some(names) = part.frames {
            return self.clip(part, names);
        }
        let Seen { hash, format, bytes, .. } = self.file(part)?;
        Ok(Sound { hash, formats: BTreeMap::from([(format, 1)]), bytes, gained: None })
    }

    /// Checks one file, or one part of a shard.
    pub(super) fn file(&mut self, part: &Part<'_>) -> Result<Seen, Trouble> {
        self.files.fetch_add(1, Ordering::Relaxed);
        let Self { limits, images, values, .. } = self;
        let error = match values.get(&part.place, limits.encoded_bytes_max) {
            Ok(bytes) => {
                // Said only of bytes that arrived: a shard that was replaced has other pages.
                part.damage.map_or(Ok(()), |damage| Err(Trouble::Corrupt(damage.to_owned())))?;
                let format = verdict(images, part.promise.as_ref(), bytes).map_err(Trouble::Corrupt)?;
                let size = images.info(bytes).ok().map(|info| (info.width, info.height));
                return Ok(Seen { hash: blake3::hash(bytes), format, bytes: bytes.len() as u64, size });
            }
            Err(error) => error,
        };
        match error {
            ValueError::Record(_) | ValueError::Page(_) => Err(Trouble::Corrupt(error.to_string())),
            ValueError::Storage(StorageError::TooLarge { size_bytes, .. }) if !part.place.is_checked() => {
                self.large(&part.place, size_bytes)
            }
            ValueError::Storage(error) => Err(Trouble::Unavailable(with_causes(&error))),
        }
    }

    /// What is longer than any image may be: it is read through, and not decoded.
    fn large(&mut self, place: &Location<'_>, size_bytes: u64) -> Result<Seen, Trouble> {
        let mut hasher = blake3::Hasher::new();
        let mut format = "other".to_owned();
        for first in (0..size_bytes).step_by(PIECE_BYTES as usize) {
            let piece = (first, PIECE_BYTES.min(size_bytes - first));
            let bytes = self.values.part(place, piece);
            let bytes = bytes.map_err(|error| Trouble::Unavailable(with_causes(&error)))?;
            if first == 0 {
                format = large_format(bytes, size_bytes, &self.limits).map_err(Trouble::Corrupt)?;
            }
            hasher.update(bytes);
        }
        Ok(Seen { hash: hasher.finalize(), format, bytes: size_bytes, size: None })
    }
}

/// The hash of hashes that stand behind each other.
pub(super) fn hash_of(hashes: &[blake3::Hash]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for hash in hashes {
        hasher.update(hash.as_bytes());
    }
    hasher.finalize()
}

impl Trouble {
    fn of(self, parts: usize, part: &Part<'_>) -> Outcome {
        // A sample of one file is mostly called by it; all members of one have their shard's path.
        let named = |reason: String| match parts {
            1 => reason,
            _ if part.is_in_shard() => format!("{}: {reason}", part.column),
            _ => format!("{}: {reason}", String::from_utf8_lossy(part.place.path)),
        };
        match self {
            Self::Corrupt(reason) => Outcome::Corrupt { reason: named(reason) },
            Self::Unavailable(reason) => Outcome::Unavailable { reason },
        }
    }
}

/// What complete bytes are, once they have been decoded; why they are corrupt.
///
/// What we do not decode is sound where it has any bytes, but for what promises a format that it is not.
fn verdict(images: &mut ImageDecoder, promise: Option<&Promise>, bytes: &[u8]) -> Result<String, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    match decode::sniff(bytes) {
        Ok(format) => image(images, format, bytes),
        Err(DecodeError::UnsupportedFormat { format }) => Ok(not_decoded(format)),
        Err(_) if promise == Some(&Promise::Image) && is_netpbm(bytes) => Ok(not_decoded("PNM")),
        Err(_) if promise == Some(&Promise::Image) => Err(broken(&Promise::Image, bytes)),
        Err(_) if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE") => wav(bytes),
        Err(_) if bytes.starts_with(b"RF64") || bytes.starts_with(b"BW64") => Ok(not_decoded("RF64")),
        Err(_) if bytes.starts_with(b"\x93NUMPY") => npy(bytes),
        Err(_) => promise.map_or_else(|| Ok(not_decoded("other")), |promise| Err(broken(promise, bytes))),
    }
}

/// Whether it begins as a bitmap, grey map or pixel map does, written in digits or in bytes.
fn is_netpbm(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace())
}

fn broken(promise: &Promise, bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
    format!("{promise}: it starts with {start:?}")
}

fn not_decoded(format: &str) -> String {
    format!("{format} (not decoded)")
}

impl Promise {
    /// What the ending of a name promises.
    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        let name = String::from_utf8_lossy(name);
        let extension = Path::new(name.as_ref()).extension()?.to_str()?.to_ascii_lowercase();
        PROMISED.into_iter().find(|promised| *promised == extension).map(Self::Name)
    }

    /// Whether these first bytes are of what a promise may be kept by.
    pub(super) fn is_kept_by(start: &[u8]) -> bool {
        let is_wav = [&b"RIFF"[..], b"RF64", b"BW64"].iter().any(|magic| start.starts_with(magic));
        is_wav || !matches!(decode::sniff(start), Err(DecodeError::NotAnImage { .. }))
    }
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

/// All elements must be there, and nothing behind them. What our fields do not take is not looked at.
fn npy(bytes: &[u8]) -> Result<String, String> {
    let header = match array::header_of(bytes, "") {
        Ok(header) => header,
        Err(ArrayError::Objects) => return Ok(not_decoded("npy of objects")),
        Err(ArrayError::Elements { .. } | ArrayError::Version { .. }) => {
            return Ok(not_decoded("npy of another type"));
        }
        Err(error) => return Err(error.to_string()),
    };
    let offset = array::npy::data_offset(bytes).map_err(|error| error.to_string())?;
    let (found_bytes, expected_bytes) =
        ((bytes.len() - offset) as u64, header.data_bytes().unwrap_or(u64::MAX));
    if found_bytes == expected_bytes {
        return Ok("npy".to_owned());
    }
    Err(ArrayError::Length { found_bytes, expected_bytes }.to_string())
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
        let mut of = |path: &str, bytes: &[u8]| {
            verdict(&mut images, Promise::of_name(path.as_bytes()).as_ref(), bytes)
        };
        assert_eq!(of("a.jpg", &jpeg), Ok("JPEG".to_owned()));
        assert_eq!(of("a.png", &jpeg), Ok("JPEG".to_owned()));
        assert_eq!(of("a", &wav), Ok("WAV".to_owned()));
        assert_eq!(of("a.txt", b"words"), Ok("other (not decoded)".to_owned()));
        assert_eq!(of("a.jpg", b"RIFF\0\0\0\0WEBPVP8 "), Ok("WebP (not decoded)".to_owned()));
        assert_eq!(of("a.txt", b""), Err("it is empty".to_owned()));
        let text = of("a.JPG", b"<html>404 not found").unwrap_err();
        assert!(text.contains("named .jpg") && text.contains("<html>404 not fo"), "{text}");
    }

    #[test]
    fn what_has_to_be_an_image_is_corrupt_where_it_is_anything_else() {
        let mut images = ImageDecoder::new(ImageLimits::default());
        let mut of = |bytes: &[u8]| verdict(&mut images, Some(&Promise::Image), bytes);
        assert_eq!(of(&jpeg()), Ok("JPEG".to_owned()));
        assert_eq!(of(b"P3 1 1 255 0 0 0"), Ok("PNM (not decoded)".to_owned()));
        for other in [&sound(10)[..], b"words", b"\x93NUMPY\x01\0", b"P8 "] {
            let said = of(other).unwrap_err();
            assert!(said.starts_with("named as an image, and none: it starts with "), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_cut_is_corrupt_wherever_it_is_cut() {
        let (jpeg, wav) = (jpeg(), sound(1000));
        let mut images = ImageDecoder::new(ImageLimits::default());
        for cut in [1, 2, 3, 4] {
            for (whole, name) in [(&jpeg, "a.jpg"), (&wav, "a.wav")] {
                let bytes = &whole[..whole.len() * cut / 5];
                let reason =
                    verdict(&mut images, Promise::of_name(name.as_bytes()).as_ref(), bytes).unwrap_err();
                assert!(reason.contains("truncated"), "{name} cut at {cut}/5: {reason}");
            }
        }
    }

    #[test]
    fn an_array_has_the_elements_that_its_header_announces() {
        let file = |descr: &str, elements: usize| {
            let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (3, 4), }}");
            let head = format!("{head:117}\n");
            [b"\x93NUMPY\x01\0\x76\0", head.as_bytes(), &vec![0; elements * 4]].concat()
        };
        assert_eq!(npy(&file("<f4", 12)), Ok("npy".to_owned()));
        assert!(npy(&file("<f4", 11)).expect_err("cut").contains("44 bytes of elements"));
        assert!(npy(&file("<f4", 13)).is_err() && npy(&file("<f4", 12)[..40]).is_err());
        assert_eq!(npy(&file("|O", 12)), Ok("npy of objects (not decoded)".to_owned()));
        assert_eq!(npy(&file("<c8", 12)), Ok("npy of another type (not decoded)".to_owned()));
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
        let files = AtomicU64::new(0);
        let mut checker = Checker::new(&root, &files);
        let hash = blake3::hash(b"abc").to_hex()[..32].to_owned();
        let [a, b, folder] = [&b"a"[..], b"b", b"."].map(Part::own_file);
        match checker.check(std::slice::from_ref(&a)) {
            Outcome::Sound { content, bytes, .. } => assert_eq!((content, bytes), (hash, 3)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(checker.check(&[a, b]), Outcome::Unavailable { .. }));
        assert!(matches!(checker.check(&[folder]), Outcome::Unavailable { .. }));
    }

    #[test]
    fn a_file_over_the_limit_of_images_is_read_through_and_an_image_of_that_size_is_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        let long = [jpeg(), vec![7; 100]].concat();
        std::fs::write(dir.path().join("a.jpg"), &long).unwrap();
        std::fs::write(dir.path().join("b"), &long[2..]).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let files = AtomicU64::new(0);
        let mut checker = Checker::new(&root, &files);
        checker.limits.encoded_bytes_max = 64;
        assert!(matches!(checker.check(&[Part::own_file(b"a.jpg")]), Outcome::Corrupt { .. }));
        let hash = blake3::hash(&long[2..]).to_hex()[..32].to_owned();
        assert!(
            matches!(checker.check(&[Part::own_file(b"b")]), Outcome::Sound { content, .. } if content == hash)
        );
    }
}
