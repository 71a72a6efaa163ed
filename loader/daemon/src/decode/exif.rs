//! How a stored image is to be turned before people look at it: EXIF's orientation, of a JPEG's APP1 or a PNG's `eXIf`.
//!
//! Source: Exif 2.32 (CIPA DC-008), 4.6.4, tag 0x0112; TIFF 6.0 for the directory. What is broken in it says nothing, as
//! in Pillow and torchvision: such an image is left as it is stored.

use super::{DecodeError, ImageFormat, Orientation};

const TAG_ORIENTATION: u16 = 0x0112;
/// An entry of a directory: tag, type, count, value.
const ENTRY_BYTES: usize = 12;
const EXIF: &[u8] = b"Exif\0\0";

const SOS: u8 = 0xDA;
const EOI: u8 = 0xD9;
const APP1: u8 = 0xE1;

/// The orientation of `encoded`, upright where it says none. Looks up to the first scan, or the first pixels of a PNG.
///
/// # Errors
/// [`DecodeError::Truncated`]: it ends before them.
pub(super) fn orientation(encoded: &[u8], format: ImageFormat) -> Result<Orientation, DecodeError> {
    let (found, name) = match format {
        ImageFormat::Jpeg => (of_jpeg(encoded), "JPEG"),
        ImageFormat::Png => (of_png(encoded), "PNG"),
    };
    let block = found.ok_or(DecodeError::Truncated { format: name, len_bytes: encoded.len() as u64 })?;
    Ok(of_tiff(block).unwrap_or_default())
}

/// The first EXIF block, empty if there is none; `None` where the bytes end first.
fn of_jpeg(encoded: &[u8]) -> Option<&[u8]> {
    let mut rest = encoded.get(2..)?;
    loop {
        // Stray and fill bytes are skipped, as libjpeg does.
        rest = &rest[memchr::memchr(0xFF, rest)?..];
        let code = *rest.get(1)?;
        match code {
            0xFF => rest = &rest[1..],
            0x00 | 0x01 | 0xD0..=0xD8 => rest = &rest[2..],
            SOS | EOI => return Some(&[]),
            code => {
                let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
                let payload = rest.get(4..length + 2).unwrap_or_default();
                if let (APP1, Some(block)) = (code, payload.strip_prefix(EXIF)) {
                    return Some(block);
                }
                rest = rest.get((length + 2).max(4)..)?;
            }
        }
    }
}

/// The same of a PNG.
fn of_png(encoded: &[u8]) -> Option<&[u8]> {
    let mut rest = encoded.get(8..)?;
    loop {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let data = rest.get(8..)?;
        match &rest[4..8] {
            b"IDAT" | b"IEND" => return Some(&[]),
            b"eXIf" => return data.get(..length),
            // Four bytes of checksum follow.
            _ => rest = data.get(length.checked_add(4)?..)?,
        }
    }
}

/// The orientation in a TIFF directory.
fn of_tiff(block: &[u8]) -> Option<Orientation> {
    let big = match block.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let two = |at: usize| {
        let bytes = block.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let bytes = block.get(4..8)?.try_into().ok()?;
    let directory = if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) } as usize;
    let count = usize::from(two(directory)?);
    let entry = |index| directory.checked_add(2 + index * ENTRY_BYTES);
    let at = (0..count).filter_map(entry).find(|at| two(*at) == Some(TAG_ORIENTATION))?;
    Orientation::of_exif(two(at + 8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TIFF block with two entries.
    fn block(big: bool, value: u16) -> Vec<u8> {
        let two = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let four = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let entry = |tag: u16, value: u16| [&two(tag)[..], &two(3), &four(1), &two(value), &[0, 0]].concat();
        let head = if big { &b"MM\0*"[..] } else { b"II*\0" };
        [head, &four(8), &two(2), &entry(0x0100, 7), &entry(0x0112, value), &four(0)].concat()
    }

    fn segment(code: u8, payload: &[u8]) -> Vec<u8> {
        [&[0xFF, code][..], &(payload.len() as u16 + 2).to_be_bytes(), payload].concat()
    }

    fn jpeg(segments: &[Vec<u8>]) -> Vec<u8> {
        [&[0xFF, 0xD8][..], &segments.concat(), &segment(SOS, &[0; 10])].concat()
    }

    fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let chunk = |(kind, data): &(&[u8; 4], &[u8])| {
            [&(data.len() as u32).to_be_bytes()[..], &kind[..], data, &[0; 4]].concat()
        };
        let chunks: Vec<_> = chunks.iter().flat_map(chunk).collect();
        [&b"\x89PNG\r\n\x1a\n"[..], &chunks].concat()
    }

    #[test]
    fn all_eight_are_read_in_either_byte_order_from_either_format() {
        for value in 1..=8 {
            let wanted = Orientation::of_exif(value).expect("one of eight");
            for big in [false, true] {
                let exif = segment(APP1, &[EXIF, &block(big, value)].concat());
                let encoded = jpeg(&[segment(0xE0, b"JFIF\0"), segment(APP1, b"http://ns"), exif]);
                assert_eq!(orientation(&encoded, ImageFormat::Jpeg), Ok(wanted));
                let encoded = png(&[(b"IHDR", &[0; 13]), (b"eXIf", &block(big, value)), (b"IDAT", &[])]);
                assert_eq!(orientation(&encoded, ImageFormat::Png), Ok(wanted));
            }
        }
    }

    #[test]
    fn what_is_broken_or_absent_says_upright() {
        let whole = block(true, 6);
        let wrong = [
            block(true, 0),
            block(true, 9),
            whole[..20].to_vec(),
            b"MM\0*\xFF\xFF\xFF\xFF".to_vec(),
            b"XX".to_vec(),
            Vec::new(),
        ];
        for block in wrong {
            let encoded = jpeg(&[segment(APP1, &[EXIF, &block].concat())]);
            assert_eq!(orientation(&encoded, ImageFormat::Jpeg), Ok(Orientation::default()), "{block:?}");
        }
        assert_eq!(orientation(&jpeg(&[]), ImageFormat::Jpeg), Ok(Orientation::default()));
        let bare = png(&[(b"IHDR", &[0; 13]), (b"IDAT", &[])]);
        assert_eq!(orientation(&bare, ImageFormat::Png), Ok(Orientation::default()));
    }

    #[test]
    fn bytes_that_end_before_the_pixels_are_truncated_wherever_they_end() {
        let encoded = jpeg(&[segment(0xE0, b"JFIF\0"), segment(0xDB, &[7; 65])]);
        let last = encoded.len() - 12;
        assert!((0..last).all(|len| orientation(&encoded[..len], ImageFormat::Jpeg).is_err()));
        let encoded = png(&[(b"IHDR", &[0; 13]), (b"tEXt", &[7; 65]), (b"IDAT", &[])]);
        let last = encoded.len() - 4;
        assert!((0..last).all(|len| orientation(&encoded[..len], ImageFormat::Png).is_err()));
    }
}
