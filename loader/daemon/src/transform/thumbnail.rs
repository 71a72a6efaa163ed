//! A whole image made small, for people who want to see what a sample was cut from.

use super::draw::Draw;
use super::pipeline::{ImagePipeline, Scratch};
use super::{Filter, ImageOp, OutputOrder, OutputType, ResizeSize, SampleError};
use crate::decode::{ImageDecoder, ImageInfo, Rect};

/// An image's pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// `height * width * 3` bytes, row-major.
    pub rgb: Vec<u8>,
}

/// Decodes all of an image, shrunk to fit `width_max` x `height_max`; one that fits is left as it is. With `exif`, turned
/// as its EXIF block says.
///
/// # Errors
/// [`SampleError::Decode`] for a bad image.
pub fn thumbnail(
    encoded: &[u8],
    (width_max, height_max): (u32, u32),
    exif: bool,
    decoder: &mut ImageDecoder,
    scratch: &mut Scratch,
) -> Result<Thumbnail, SampleError> {
    let stored = decoder.info(encoded)?;
    let image = if exif { decoder.orientation(encoded)?.turned(stored) } else { stored };
    let (width, height) = fitted(&image, width_max, height_max);
    let whole = ImageOp::Resize { size: ResizeSize::Exact { height, width }, filter: Filter::DEFAULT };
    let pipeline = ImagePipeline::new(&[whole], OutputType::U8, OutputOrder::ChannelsLast)
        .expect("one resize to a size within the limits")
        .with_exif_orientation(exif);
    let crop = Rect::whole(&image);
    let draw = Draw { crop, resized_height: height, resized_width: width, top: 0, left: 0, flip: false };
    let mut rgb = vec![0; pipeline.view_bytes()];
    pipeline.run_drawn(encoded, decoder, scratch, &draw, &mut rgb)?;
    Ok(Thumbnail { width, height, rgb })
}

/// Width and height of `image` when it is made to fit, in proportion and never larger; at least 1.
pub fn fitted(image: &ImageInfo, width_max: u32, height_max: u32) -> (u32, u32) {
    let [width, height, width_max, height_max] =
        [image.width, image.height, width_max.max(1), height_max.max(1)].map(u64::from);
    let other = |side: u64, to: u64, from: u64| ((side * to + from / 2) / from).max(1);
    let (width, height) = if width <= width_max && height <= height_max {
        (width, height)
    } else if width * height_max >= height * width_max {
        (width_max, other(height, width_max, width).min(height_max))
    } else {
        (other(width, height_max, height).min(width_max), height_max)
    };
    (width as u32, height as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{ImageFormat, ImageLimits};

    #[test]
    fn sides_fit_in_proportion_and_nothing_grows() {
        let fit = |width, height| fitted(&ImageInfo { width, height, format: ImageFormat::Png }, 300, 200);
        assert_eq!(fit(600, 300), (300, 150));
        assert_eq!(fit(300, 600), (100, 200));
        assert_eq!(fit(30, 20), (30, 20));
        assert_eq!(fit(60_000, 3), (300, 1));
    }

    #[test]
    fn one_that_fits_keeps_its_pixels() {
        let picture = image::RgbImage::from_fn(9, 5, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 77]));
        let mut encoded = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut encoded, image::ImageFormat::Png).expect("memory takes it");
        let (mut decoder, mut scratch) = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
        let made =
            thumbnail(encoded.get_ref(), (9, 9), false, &mut decoder, &mut scratch).expect("a picture");
        assert_eq!((made.width, made.height, made.rgb), (9, 5, picture.into_raw()));
    }
}
