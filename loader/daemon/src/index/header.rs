//! The beginning of a file -> what its header says: size of a picture, length of a recording; and the bytes of a text.

use std::io::Cursor;

use crate::catalog::IMG_EXTENSIONS;
use crate::decode::{DecodeError, ImageDecoder, ImageInfo, ImageLimits};

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Header {
    /// JPEG or PNG, in pixels as stored, whatever its EXIF says of turning it.
    Image {
        /// Columns.
        width: i64,
        /// Rows.
        height: i64,
    },
    /// WAV.
    Audio {
        /// Of all channels together.
        duration_s: f32,
        /// A second.
        sample_rate: i64,
        /// 1 for mono.
        channels: i64,
    },
    /// UTF-8, as far as was looked, under a name that promises no picture and no recording.
    Text {
        /// Of the file.
        bytes: i64,
    },
    /// A folder of frames.
    Clip {
        /// How many.
        frames: i64,
        /// Columns of the first.
        width: i64,
        /// Rows of the first.
        height: i64,
    },
    /// Stored tokens.
    Tokens {
        /// How many.
        tokens: i64,
    },
}

/// What recordings' names end in, beside the pictures'.
const SOUNDS: [&str; 7] = [".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"];

/// The text that a file of this name is, by its first bytes; `None` where it is none.
///
/// * `start`: the first bytes of a file of `file_bytes`.
pub fn text(name: &[u8], start: &[u8], file_bytes: u64) -> Option<Header> {
    if IMG_EXTENSIONS.iter().any(|ending| ends_in(name, ending)) || is_recording(name) || start.contains(&0) {
        return None;
    }
    let is_whole = start.len() as u64 >= file_bytes;
    match std::str::from_utf8(start) {
        // What was read may end inside of a character.
        Err(error) if is_whole || error.error_len().is_some() => None,
        _ => Some(Header::Text { bytes: file_bytes as i64 }),
    }
}

/// Whether a file of this name should be a recording.
pub fn is_recording(name: &[u8]) -> bool {
    SOUNDS.iter().any(|ending| ends_in(name, ending))
}

fn ends_in(name: &[u8], ending: &str) -> bool {
    let at = name.len().checked_sub(ending.len());
    at.is_some_and(|at| name[at..].eq_ignore_ascii_case(ending.as_bytes()))
}

/// Why there is no header.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// It may lie behind these bytes.
    More,
    /// What is wrong with it.
    Bad(String),
}

/// Reads headers, one after another.
pub struct Headers {
    images: ImageDecoder,
}

impl Headers {
    /// A reader that takes pictures of any number of pixels.
    pub fn new() -> Self {
        let limits = ImageLimits { pixels_max: u64::MAX, ..ImageLimits::default() };
        Self { images: ImageDecoder::new(limits) }
    }

    /// * `start`: the first bytes of a file of `file_bytes`.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn read(&mut self, start: &[u8], file_bytes: u64) -> Result<Header, Unread> {
        let is_whole = start.len() as u64 >= file_bytes;
        if start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WAVE") {
            return wav(start, file_bytes).map_err(|why| bad(why, is_whole));
        }
        match self.images.info(start) {
            Ok(ImageInfo { width, height, .. }) => {
                Ok(Header::Image { width: width.into(), height: height.into() })
            }
            Err(error @ (DecodeError::Truncated { .. } | DecodeError::Corrupt { .. })) => {
                Err(bad(error.to_string(), is_whole))
            }
            Err(DecodeError::NotAnImage { .. }) => Err(Unread::Bad("neither JPEG, PNG nor WAV".to_owned())),
            Err(error) => Err(Unread::Bad(error.to_string())),
        }
    }
}

/// What is wrong with a part of a file may be that it is a part.
fn bad(why: String, is_whole: bool) -> Unread {
    if is_whole { Unread::Bad(why) } else { Unread::More }
}

fn wav(start: &[u8], file_bytes: u64) -> Result<Header, String> {
    let reader = hound::WavReader::new(Cursor::new(start)).map_err(|error| format!("WAV: {error}"))?;
    let (spec, frames) = (reader.spec(), reader.duration());
    let samples_bytes = u64::from(reader.len()) * u64::from(spec.bits_per_sample.div_ceil(8));
    let first_bytes = reader.into_inner().position();
    if first_bytes.saturating_add(samples_bytes) > file_bytes {
        return Err(format!("WAV: cut: it has {file_bytes} of {} bytes", first_bytes + samples_bytes));
    }
    if spec.sample_rate == 0 {
        return Err("WAV: no sample rate".to_owned());
    }
    let duration_s = (f64::from(frames) / f64::from(spec.sample_rate)) as f32;
    Ok(Header::Audio { duration_s, sample_rate: spec.sample_rate.into(), channels: spec.channels.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WAV of two channels at 8000 a second, with a chunk of words of `words` bytes before its samples.
    fn recording(words: u32, frames: u32) -> Vec<u8> {
        let data_bytes = frames * 4;
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((4 + 24 + 8 + words + 8 + data_bytes).to_le_bytes());
        bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
        bytes.extend(8000_u32.to_le_bytes());
        bytes.extend(32000_u32.to_le_bytes());
        bytes.extend(b"\x04\0\x10\0LIST");
        bytes.extend(words.to_le_bytes());
        bytes.resize(bytes.len() + words as usize, b' ');
        bytes.extend(b"data");
        bytes.extend(data_bytes.to_le_bytes());
        bytes.resize(bytes.len() + data_bytes as usize, 0);
        bytes
    }

    #[test]
    fn a_recording_tells_its_length_and_a_cut_one_that_it_is_cut() {
        let (bytes, mut headers) = (recording(100, 12_000), Headers::new());
        let expected = Header::Audio { duration_s: 1.5, sample_rate: 8000, channels: 2 };
        assert_eq!(headers.read(&bytes, bytes.len() as u64), Ok(expected));
        assert_eq!(headers.read(&bytes[..200], bytes.len() as u64), Ok(expected), "from its beginning alone");
        assert_eq!(headers.read(&bytes[..100], bytes.len() as u64), Err(Unread::More));
        let cut = headers.read(&bytes[..2000], 2000);
        assert!(
            matches!(&cut, Err(Unread::Bad(why)) if why.contains("cut: it has 2000 of 48152")),
            "{cut:?}"
        );
    }

    #[test]
    fn a_text_is_utf8_under_a_name_that_promises_nothing_else() {
        let is = |name: &str, start: &[u8], bytes| text(name.as_bytes(), start, bytes);
        assert_eq!(is("a/1.txt", b"hello", 5), Some(Header::Text { bytes: 5 }));
        assert_eq!(
            is("a/1", &"\u{e9}".as_bytes()[..1], 9000),
            Some(Header::Text { bytes: 9000 }),
            "cut in a character"
        );
        assert_eq!(is("a/1", &"\u{e9}".as_bytes()[..1], 1), None);
        assert_eq!(is("a/1.txt", b"a\0b", 3), None);
        assert_eq!(is("a/1.txt", b"\xff\xfe", 9000), None);
        for name in ["a/1.PNG", "a/1.flac"] {
            assert_eq!(is(name, b"hello", 5), None, "{name}");
        }
    }

    #[test]
    fn a_picture_tells_its_size_and_what_is_neither_is_named() {
        let mut headers = Headers::new();
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0\0\0\0\x40\x08\x02\0\0\0";
        assert_eq!(headers.read(png, 5000), Ok(Header::Image { width: 256, height: 64 }));
        assert_eq!(headers.read(&png[..20], 5000), Err(Unread::More));
        assert!(matches!(headers.read(&png[..20], 20), Err(Unread::Bad(_))));
        assert_eq!(
            headers.read(b"hello world", 5000),
            Err(Unread::Bad("neither JPEG, PNG nor WAV".to_owned()))
        );
        assert!(
            matches!(headers.read(b"RIFF\0\0\0\0WEBPVP8 ", 5000), Err(Unread::Bad(why)) if why.contains("WebP"))
        );
    }
}
