//! Encoded images under small limits: one verdict whatever part is asked for, and the pixels of the whole in every part.

use std::cell::RefCell;

use forebay::decode::{DecodeError, ImageDecoder, ImageFormat, ImageLimits, Rect, sniff};

/// Small enough that a decoded image is no event.
const LIMITS: ImageLimits = ImageLimits {
    pixels_max: 1 << 16,
    encoded_bytes_max: 1 << 16,
    scans_max: 16,
    markers_max: 128,
    decoder_bytes_max: 4 << 20,
};

thread_local! {
    /// Used for every input, as a worker's is, and held against a new one.
    static USED: RefCell<ImageDecoder> = RefCell::new(ImageDecoder::new(LIMITS));
}

/// A JPEG, unless the input is something else.
pub fn jpeg(input: &[u8]) -> bool {
    sniff(input) == Ok(ImageFormat::Jpeg) && image(input)
}

/// A PNG, unless the input is something else.
pub fn png(input: &[u8]) -> bool {
    sniff(input) == Ok(ImageFormat::Png) && image(input)
}

fn image(input: &[u8]) -> bool {
    let mut decoder = ImageDecoder::new(LIMITS);
    let info = match decoder.info(input) {
        Ok(info) => info,
        Err(error) => {
            let part = Rect { left: 0, top: 0, width: 1, height: 1 };
            // Which fault is named may differ: the header alone is read less far than the file.
            assert!(pixels(&mut decoder, input, part).is_err(), "{error}, and yet it decodes");
            return false;
        }
    };
    assert!(u64::from(info.width) * u64::from(info.height) <= LIMITS.pixels_max);
    let whole = pixels(&mut decoder, input, Rect::whole(&info));
    left_to_a_device(decoder.components_for_device(input), whole.as_ref().err());
    let parts = parts_of(info.width, info.height);
    let wrong: Vec<String> = USED.with_borrow_mut(|used| {
        parts
            .iter()
            .filter_map(|part| mismatch(&whole, info.width, *part, pixels(used, input, *part)))
            .collect()
    });
    assert!(wrong.is_empty(), "{} x {}: {}", info.width, info.height, wrong.join("; "));
    whole.is_ok()
}

/// What is left to a device is whole and within all limits that are counted without decoding.
fn left_to_a_device(components: Option<u8>, error: Option<&DecodeError>) {
    use DecodeError::{TooManyMarkers, TooManyScans, Truncated};
    let is_seen = matches!(error, Some(Truncated { .. } | TooManyScans { .. } | TooManyMarkers { .. }));
    assert!(matches!(components, None | Some(1 | 3)) && (components.is_none() || !is_seen), "{error:?}");
}

/// How a part differs from the whole: in its verdict, or from which of its pixels on.
fn mismatch(
    whole: &Result<Vec<u8>, DecodeError>,
    width: u32,
    part: Rect,
    found: Result<Vec<u8>, DecodeError>,
) -> Option<String> {
    match (whole, found) {
        (Ok(whole), Ok(found)) => {
            let expected = cut(whole, width, part);
            let at = expected.iter().zip(&found).position(|(a, b)| a != b)?;
            Some(format!("{part} differs from its pixel {} on", at / 3))
        }
        (Err(whole), Err(found)) if *whole == found => None,
        (whole, found) => Some(format!("{part} is {:?}, the whole {:?}", found.err(), whole.as_ref().err())),
    }
}

/// The whole again, corners, a middle, an odd piece, a row and a column.
fn parts_of(width: u32, height: u32) -> [Rect; 7] {
    let part = |left, top, width, height| Rect { left, top, width, height };
    let (left, top) = (width * 2 / 7, height * 3 / 7);
    [
        part(0, 0, width, height),
        part(left, top, (width - left).min(11), (height - top).min(23)),
        part(0, 0, 1, 1),
        part(width - 1, height - 1, 1, 1),
        part(width / 3, height / 3, width - width / 3 * 2, height - height / 3 * 2),
        part(0, height / 2, width, 1),
        part(width / 2, 0, 1, height),
    ]
}

fn pixels(decoder: &mut ImageDecoder, input: &[u8], part: Rect) -> Result<Vec<u8>, DecodeError> {
    let decoded = decoder.decode_region(input, part)?;
    let rows: Vec<u8> = decoded.rows().flatten().copied().collect();
    assert_eq!(rows.len(), part.area() * 3, "every pixel that was asked for");
    Ok(rows)
}

fn cut(whole: &[u8], width: u32, part: Rect) -> Vec<u8> {
    let (left, len) = (part.left as usize * 3, part.width as usize * 3);
    let rows = whole.chunks_exact(width as usize * 3).skip(part.top as usize).take(part.height as usize);
    rows.flat_map(|row| &row[left..left + len]).copied().collect()
}
