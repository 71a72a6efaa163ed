//! One row of a clip: its frames one behind the other, each through the same pipeline with the same draw.

use std::time::{Duration, Instant};

use crate::decode::ImageDecoder;
use crate::job::Chosen;
use crate::transform::{ImagePipeline, RowDraws, SampleError, Scratch};

/// Decodes and transforms frames into their row; gives the time of decoding.
///
/// * `read`: the bytes of the row's frame of a number.
/// * `draw`: the row's generator at its start, for each frame anew: frames of one size are cropped and mirrored alike.
/// * `target`: `[frames, C, H, W]`, only written.
///
/// # Errors
/// [`SampleError::Frame`]: what is wrong with one, or that it is of another size than the first.
pub(super) fn write<'a, R: RowDraws>(
    pipeline: &ImagePipeline,
    chosen: &Chosen<'_>,
    read: impl Fn(u32) -> &'a [u8],
    draw: impl Fn() -> R,
    decoder: &mut ImageDecoder,
    scratch: &mut Scratch,
    target: &mut [u8],
) -> Result<Duration, SampleError> {
    let (mut decoding, mut first) = (Duration::ZERO, None);
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
            pipeline.write(&decoded, scratch, target)
        };
        one().map_err(|error| SampleError::Frame { name: chosen.name(nth), source: Box::new(error) })?;
    }
    Ok(decoding)
}
