//! The views of one image: each drawn and finished by itself, all of them cut from one decode of the smallest
//! rectangle that holds their crops. One view is the ordinary case and takes the same path.
//!
//! There is no second way for crops that lie far apart: a JPEG is read from its top whatever is wanted of it, and a PNG
//! is decoded whole. Measured on photographs of 96 KB, one decode costs 0.57 of a decode a view for two of
//! `RandomResizedCrop`'s default crops, 0.64 for two of scale 0.05 to 0.14 and 0.22 for eight such
//! (`examples/decode_rate`); timed image by image it was the dearer way for 2 pairs of small crops in 192, by 16 % at most.

use arrayvec::ArrayVec;

use super::SampleError;
use super::draw::{Draw, RowDraws};
use super::pipeline::{ImagePipeline, Scratch};
use crate::decode::{ImageDecoder, ImageInfo, Part, Rect};

/// The most views that a field may have.
pub const VIEWS_MAX: u32 = 16;

/// What the views of a sample drew, and for which image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// The image that crops lie in: the stored one, or that turned upright.
    pub image: ImageInfo,
    /// The geometry of each view in the batch, 1 to [`VIEWS_MAX`] of them.
    pub views: ArrayVec<Draw, { VIEWS_MAX as usize }>,
}

/// One image between its two halves, [`ImagePipeline::decode`] and [`ImagePipeline::write`]: the pixels that its draws
/// need.
pub struct Decoded<'d> {
    drawn: Drawn,
    source: Part<'d>,
}

impl Decoded<'_> {
    /// What was drawn.
    pub fn drawn(&self) -> &Drawn {
        &self.drawn
    }

    /// What was drawn; the pixels are given up.
    pub fn into_drawn(self) -> Drawn {
        self.drawn
    }
}

impl ImagePipeline {
    /// The first half of a sample: header, one draw a view from its own `rngs`, and the pixels that the draws need. Apart
    /// from the other half, so that a caller can tell the time of decoding from that of the rest.
    ///
    /// * `rngs`: 1 to [`VIEWS_MAX`], one a view.
    ///
    /// # Errors
    /// [`SampleError::Decode`] for a bad image; the verdict does not depend on what was drawn.
    pub fn decode<'d, R: RowDraws>(
        &self,
        encoded: &'d [u8],
        decoder: &'d mut ImageDecoder,
        rngs: impl IntoIterator<Item = R>,
    ) -> Result<Decoded<'d>, SampleError> {
        let (image, orientation) = self.look(encoded, decoder)?;
        let views = rngs.into_iter().map(|mut rng| self.draw(image, &mut rng)).collect();
        let drawn = Drawn { image, views };
        let needs = drawn.views.iter().map(|draw| self.window(draw).need(draw));
        let hull = needs.reduce(Rect::hull).expect("a sample has at least one view");
        let shrink = self.shrink(&drawn.views);
        let source = decoder.decode_upright(encoded, hull, orientation, shrink)?;
        Ok(Decoded { drawn, source })
    }

    /// The second half: resizes, flips and writes each view behind the one before, with the very bytes of
    /// [`ImagePipeline::run`] for its draw; where images may be decoded smaller, at the size that all views allow. `target`: [`ImagePipeline::view_bytes`] a view, shared memory that is only
    /// written.
    ///
    /// # Errors
    /// [`SampleError::TargetLength`].
    pub fn write(
        &self,
        decoded: &Decoded<'_>,
        scratch: &mut Scratch,
        target: &mut [u8],
    ) -> Result<(), SampleError> {
        let views = &decoded.drawn.views;
        self.check_target(views.len(), target)?;
        for (draw, target) in views.iter().zip(target.chunks_exact_mut(self.view_bytes())) {
            let (source, window) = self.window(draw).within(draw, &decoded.source);
            self.finish(&source, &window, draw.flip, scratch, target);
        }
        Ok(())
    }
}
