//! One row of a clip: its frames one behind the other, each through the same pipeline with the same draw.

use std::time::{Duration, Instant};

use crate::decode::ImageDecoder;
use crate::job::Chosen;
use crate::trace::{Trace, TracedImage};
use crate::transform::{ImagePipeline, RowDraws, SampleError, Scratch};

/// What a row is made of.
pub(super) struct Row<'a> {
    pub(super) pipeline: &'a ImagePipeline,
    pub(super) chosen: &'a Chosen<'a>,
    /// The number of the field, and who looks, if anybody.
    pub(super) trace: (usize, Option<&'a Trace>),
}

impl Row<'_> {
    /// Decodes and transforms the frames; gives the time of decoding, and what the first drew where somebody looks.
    ///
    /// * `read`: the bytes of the row's frame of a number.
    /// * `draw`: the row's generator at its start, for each frame anew: frames of one size are cropped and mirrored alike.
    /// * `target`: `[frames, C, H, W]`, only written.
    ///
    /// # Errors
    /// [`SampleError::Frame`]: what is wrong with one, or that it is of another size than the first.
    pub(super) fn write<'f, R: RowDraws>(
        &self,
        read: impl Fn(u32) -> &'f [u8],
        draw: impl Fn() -> R,
        (decoder, scratch): (&mut ImageDecoder, &mut Scratch),
        target: &mut [u8],
    ) -> Result<(Duration, Option<TracedImage>), SampleError> {
        let (pipeline, mut decoding, mut first, mut traced) = (self.pipeline, Duration::ZERO, None, None);
        for (nth, target) in (0..).zip(target.chunks_exact_mut(pipeline.view_bytes())) {
            let mut one = || {
                let started = Instant::now();
                let decoded = pipeline.decode(read(nth), decoder, [draw()]);
                decoding += started.elapsed();
                let decoded = decoded?;
                let image = decoded.drawn().image;
                let (first_width, first_height) = *first.get_or_insert((image.width, image.height));
                if (image.width, image.height) != (first_width, first_height) {
                    let (width, height) = (image.width, image.height);
                    return Err(SampleError::FrameSize { width, height, first_width, first_height });
                }
                pipeline.write(&decoded, scratch, target)?;
                if let (0, (field, Some(trace))) = (nth, self.trace) {
                    let (drawn, field) = (decoded.into_drawn(), (field, pipeline.applies_exif_orientation()));
                    traced = Some(trace.image(field, drawn, read(nth), decoder, scratch)?);
                }
                Ok(())
            };
            one().map_err(|error| SampleError::Frame {
                name: self.chosen.name(nth),
                source: Box::new(error),
            })?;
        }
        Ok((decoding, traced))
    }
}
