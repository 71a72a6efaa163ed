//! Tells an image's format by its first bytes, never by its name: mislabelled files are common in scraped data.

use super::{DecodeError, ImageFormat};

/// Formats that we recognise and refuse by name: where the signature lies, the signature, the name.
const REFUSED: &[(usize, &[u8], &str)] = &[
    (8, b"WEBP", "WebP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIF"),
    (4, b"ftyphev", "HEIF"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"P5\n", "PGM"),
    (0, b"P6\n", "PPM"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"<svg", "SVG"),
    (0, b"%PDF", "PDF"),
];

/// The format of `encoded`.
///
/// # Errors
/// [`DecodeError::UnsupportedFormat`] for a format of the list above, [`DecodeError::NotAnImage`] for all else.
pub fn sniff(encoded: &[u8]) -> Result<ImageFormat, DecodeError> {
    if encoded.starts_with(b"\xff\xd8\xff") {
        return Ok(ImageFormat::Jpeg);
    }
    if encoded.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(ImageFormat::Png);
    }
    let found =
        REFUSED.iter().find(|(at, magic, _)| encoded.get(*at..).is_some_and(|b| b.starts_with(magic)));
    Err(match found {
        Some((_, _, format)) => DecodeError::UnsupportedFormat { format },
        None => DecodeError::NotAnImage { start: first_eight(encoded) },
    })
}

fn first_eight(encoded: &[u8]) -> [u8; 8] {
    let mut start = [0; 8];
    let len = encoded.len().min(8);
    start[..len].copy_from_slice(&encoded[..len]);
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_decode_is_known_by_its_first_bytes() {
        assert_eq!(sniff(b"\xff\xd8\xff\xe0rest"), Ok(ImageFormat::Jpeg));
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\nrest"), Ok(ImageFormat::Png));
    }

    #[test]
    fn known_formats_are_refused_by_name() {
        let name = |bytes: &[u8]| match sniff(bytes) {
            Err(DecodeError::UnsupportedFormat { format }) => format,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(b"RIFF\0\0\0\0WEBPVP8 "), "WebP");
        assert_eq!(name(b"GIF89a"), "GIF");
        assert_eq!(name(b"BM\0\0\0\0"), "BMP");
        assert_eq!(name(b"MM\0*\0\0"), "TIFF");
        assert_eq!(name(b"\0\0\0\x20ftypavif"), "AVIF");
        assert_eq!(name(b"\0\0\0\x20ftypheic"), "HEIF");
    }

    #[test]
    fn anything_else_is_no_image_and_the_error_shows_its_start() {
        assert_eq!(sniff(b"<htm"), Err(DecodeError::NotAnImage { start: *b"<htm\0\0\0\0" }));
        assert_eq!(sniff(b""), Err(DecodeError::NotAnImage { start: [0; 8] }));
    }
}
