//! A row of an image that a device decodes: its file's bytes, and in numbers what the device has to do with them.

use super::draw::{Draw, RowDraws};
use super::kernels::Filter;
use super::pipeline::ImagePipeline;
use crate::decode::{ImageDecoder, ImageInfo, Orientation, Rect};

/// What stands beside each row of a field that a device may have to decode, as int32 in the machine's byte order.
///
/// | number | of finished pixels | of a JPEG |
/// |---|---|---|
/// | 0 | 0 | 1 |
/// | 1 | bytes of the pixels | bytes of the file |
/// | 2, 3 | 0 | width and height as stored |
/// | 4 | 0 | EXIF orientation that is to be applied, 1 to 8 |
/// | 5 to 8 | 0 | left, top, width and height of the crop in the upright image |
/// | 9, 10 | 0 | height and width to which the crop is resized |
/// | 11, 12 | 0 | row and column of the resized image where the result begins, maybe below 0: zeros are there |
/// | 13 | 0 | 1: left and right are exchanged, last |
/// | 14 | 0 | filter: 0 nearest, 1 nearest-exact, 2 bilinear, 3 bilinear antialiased, 4 bicubic, 5 bicubic antialiased |
/// | 15 | 0 | components: 1 or 3 |
pub type DeviceNumbers = [i32; DEVICE_NUMBERS];

/// How many numbers stand beside a row.
pub const DEVICE_NUMBERS: usize = 16;

/// Finished pixels of `len_bytes`.
pub fn numbers_of_pixels(len_bytes: usize) -> DeviceNumbers {
    let mut numbers = [0; DEVICE_NUMBERS];
    numbers[1] = len_bytes as i32;
    numbers
}

/// A JPEG that a device decodes into one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForDevice {
    /// Its file's bytes.
    pub len_bytes: u32,
    /// As it lies in the file.
    pub stored: ImageInfo,
    /// How it is to be turned before it is cropped.
    pub orientation: Orientation,
    /// As the CPU would have drawn.
    pub draw: Draw,
    /// How pixels are weighed.
    pub filter: Filter,
    /// 1 or 3.
    pub components: u8,
}

impl ForDevice {
    /// The image that its crop lies in.
    pub fn upright(&self) -> ImageInfo {
        self.orientation.turned(self.stored)
    }

    /// What stands beside its row.
    pub fn numbers(&self) -> DeviceNumbers {
        let Draw { crop, resized_height, resized_width, top, left, flip } = self.draw;
        // All of them lie far below 2^31: sides have 16 bits, results 16,384 pixels.
        let sizes = [self.len_bytes, self.stored.width, self.stored.height, self.orientation.exif().into()];
        let drawn = [crop.left, crop.top, crop.width, crop.height, resized_height, resized_width];
        let unsigned = |number: u32| number as i32;
        let mut numbers = [0; DEVICE_NUMBERS];
        numbers[0] = 1;
        numbers[1..5].copy_from_slice(&sizes.map(unsigned));
        numbers[5..11].copy_from_slice(&drawn.map(unsigned));
        numbers[11..].copy_from_slice(&[
            top as i32,
            left as i32,
            flip.into(),
            number_of(self.filter),
            self.components.into(),
        ]);
        numbers
    }
}

/// What the numbers beside a row say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceRow {
    /// Finished, at the row's start.
    Pixels,
    /// A JPEG of so many bytes at the row's start, and what it is to be made into.
    Jpeg(u32, Draw),
}

impl DeviceRow {
    /// Reads what [`ForDevice::numbers`] and [`numbers_of_pixels`] say, of a row that this machine wrote.
    ///
    /// * `bytes`: [`DEVICE_NUMBERS`] int32.
    pub fn read(bytes: &[u8]) -> DeviceRow {
        let (numbers, _) = bytes.as_chunks::<4>();
        let number = |index: usize| i32::from_ne_bytes(numbers[index]);
        let unsigned = |index| number(index) as u32;
        if number(0) == 0 {
            return DeviceRow::Pixels;
        }
        let [left, top, width, height, resized_height, resized_width] = [5, 6, 7, 8, 9, 10].map(unsigned);
        let crop = Rect { left, top, width, height };
        let (top, left, flip) = (number(11).into(), number(12).into(), number(13) != 0);
        DeviceRow::Jpeg(unsigned(1), Draw { crop, resized_height, resized_width, top, left, flip })
    }
}

/// A filter's number beside a row.
fn number_of(filter: Filter) -> i32 {
    match filter {
        Filter::Nearest => 0,
        Filter::NearestExact => 1,
        Filter::Bilinear { antialias } => 2 + i32::from(antialias),
        Filter::Bicubic { antialias } => 4 + i32::from(antialias),
    }
}

impl ImagePipeline {
    /// What a device has to do with `encoded` to make the view that [`ImagePipeline::run`] makes of it with the same `rng`;
    /// `None` of what is left to the CPU, whose verdict it then is.
    ///
    /// * `bytes_max`: of the file; there is no room for more.
    pub fn for_device(
        &self,
        encoded: &[u8],
        bytes_max: u32,
        decoder: &mut ImageDecoder,
        rng: &mut impl RowDraws,
    ) -> Option<ForDevice> {
        let len_bytes = u32::try_from(encoded.len()).ok().filter(|&len| len <= bytes_max)?;
        let components = decoder.components_for_device(encoded)?;
        let stored = decoder.info(encoded).ok()?;
        let (upright, orientation) = self.look(encoded, decoder).ok()?;
        let draw = self.draw(upright, rng);
        Some(ForDevice { len_bytes, stored, orientation, draw, filter: self.filter(), components })
    }
}
