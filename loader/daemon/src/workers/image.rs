//! One row of an image: its pixels, or its file's bytes where a device is to decode them.

use std::time::{Duration, Instant};

use crate::decode::ImageDecoder;
use crate::job::DeviceDecode;
use crate::metrics;
use crate::trace::{Trace, TracedImage};
use crate::transform::{
    DeviceNumbers, Drawn, ForDevice, ImagePipeline, RowDraws, SampleError, Scratch, numbers_of_pixels,
};

/// What a row is made of.
pub(super) struct Row<'a> {
    pub(super) pipeline: &'a ImagePipeline,
    pub(super) views: u32,
    /// Where the row was drawn for a device.
    pub(super) device: Option<&'a DeviceDecode>,
    /// The number of the field, and who looks, if anybody.
    pub(super) trace: (usize, Option<&'a Trace>),
}

/// What became of one.
pub(super) struct Made {
    /// What was drawn, where somebody looks.
    pub(super) traced: Option<TracedImage>,
    /// What stands beside it where a device may decode rows of the field.
    pub(super) numbers: DeviceNumbers,
}

impl Row<'_> {
    /// Makes the row. Zeros stand behind what it takes of `target`, so that a batch is the same bytes wherever it is made.
    ///
    /// * `draw`: the generator of a view at its start.
    /// * `decoding`: grows by the time until its pixels were there.
    /// * `target`: only written; as long as pixels or file may be.
    ///
    /// # Errors
    /// [`SampleError`]: what is wrong with the image, or its length.
    pub(super) fn write<R: RowDraws>(
        &self,
        encoded: &[u8],
        draw: impl Fn(u32) -> R,
        (decoder, scratch): (&mut ImageDecoder, &mut Scratch),
        decoding: &mut Duration,
        target: &mut [u8],
    ) -> Result<Made, SampleError> {
        let for_device = self
            .device
            .and_then(|device| self.pipeline.for_device(encoded, device.bytes_max, decoder, &mut draw(0)));
        if self.device.is_some() {
            metrics::row_for_device(for_device.is_some());
        }
        match for_device {
            Some(row) => self.copy(&row, encoded, (decoder, scratch), target),
            None => self.decode(encoded, draw, (decoder, scratch), decoding, target),
        }
    }

    /// The file's bytes as they are.
    fn copy(
        &self,
        row: &ForDevice,
        encoded: &[u8],
        (decoder, scratch): (&mut ImageDecoder, &mut Scratch),
        target: &mut [u8],
    ) -> Result<Made, SampleError> {
        let (file, rest) = target.split_at_mut(encoded.len());
        file.copy_from_slice(encoded);
        rest.fill(0);
        let drawn = Drawn { image: row.upright(), views: [row.draw].into_iter().collect() };
        if self.trace.1.is_some() {
            // Who looks sees the pixels, and is told here where there are none.
            let mut pixels = vec![0; self.pipeline.view_bytes()];
            self.pipeline.run_drawn(encoded, decoder, scratch, &row.draw, &mut pixels)?;
        }
        let traced = self.traced(drawn, encoded, (decoder, scratch))?;
        Ok(Made { traced, numbers: row.numbers() })
    }

    fn decode<R: RowDraws>(
        &self,
        encoded: &[u8],
        draw: impl Fn(u32) -> R,
        (decoder, scratch): (&mut ImageDecoder, &mut Scratch),
        decoding: &mut Duration,
        target: &mut [u8],
    ) -> Result<Made, SampleError> {
        let started = Instant::now();
        let decoded = self.pipeline.decode(encoded, decoder, (0..self.views).map(draw));
        *decoding += started.elapsed();
        let decoded = decoded?;
        let (pixels, rest) = target.split_at_mut(self.pipeline.view_bytes() * self.views as usize);
        self.pipeline.write(&decoded, scratch, pixels)?;
        rest.fill(0);
        let (numbers, drawn) = (numbers_of_pixels(pixels.len()), decoded.into_drawn());
        let traced = self.traced(drawn, encoded, (decoder, scratch))?;
        Ok(Made { traced, numbers })
    }

    fn traced(
        &self,
        drawn: Drawn,
        encoded: &[u8],
        (decoder, scratch): (&mut ImageDecoder, &mut Scratch),
    ) -> Result<Option<TracedImage>, SampleError> {
        let (field, Some(trace)) = self.trace else { return Ok(None) };
        let field = (field, self.pipeline.applies_exif_orientation());
        trace.image(field, drawn, encoded, decoder, scratch).map(Some)
    }
}

/// Writes what stands beside a row.
pub(super) fn write_numbers(numbers: &DeviceNumbers, target: &mut [u8]) {
    for (number, target) in numbers.iter().zip(target.chunks_exact_mut(size_of::<i32>())) {
        target.copy_from_slice(&number.to_ne_bytes());
    }
}
