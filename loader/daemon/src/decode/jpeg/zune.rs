//! JPEG in Rust alone (feature `pure`), for machines without nasm, cmake and a C compiler.
//!
//! Decodes the whole image, 1.3 times slower than libjpeg-turbo, and with its own IDCT and upsampling: pixels
//! differ by a few levels from the `turbo` build's, so the two must not share a job (their `numerics_id` differs).
//! It has no hook for a watchdog and no limit on memory: pixels, scans, markers and bytes bound its work.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::markers::Walk;
use super::{Backend, Bounds, JPEG};
use crate::buffer::grown;
use crate::decode::{DecodeError, Rect};

/// Holds the whole decoded image, of which the wanted rows are then copied.
pub(super) struct Zune {
    whole: Vec<u8>,
}

impl Zune {
    fn decode_whole(&mut self, encoded: &[u8], walk: &Walk) -> Result<(), DecodeError> {
        let (width, height) = (walk.frame.width as usize, walk.frame.height as usize);
        if walk.frame.components == 4 {
            let feature = "four colours, in a build without libjpeg-turbo,";
            return Err(DecodeError::UnsupportedFeature { format: JPEG, feature });
        }
        let options = DecoderOptions::new_fast()
            .jpeg_set_out_colorspace(ColorSpace::RGB)
            .set_max_width(width)
            .set_max_height(height);
        let corrupt = |error: String| DecodeError::Corrupt { format: JPEG, detail: error };
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(encoded), options);
        decoder.decode_headers().map_err(|e| corrupt(e.to_string()))?;
        if decoder.output_buffer_size() != Some(width * height * 3) {
            return Err(corrupt("two headers that disagree".to_owned()));
        }
        // Of a damaged file zune-jpeg may leave pixels as they are, which would be those of the image before.
        let whole = grown(&mut self.whole, width * height * 3);
        whole.fill(0);
        decoder.decode_into(whole).map_err(|e| corrupt(e.to_string()))
    }
}

impl Backend for Zune {
    fn new() -> Zune {
        Zune { whole: Vec::new() }
    }

    fn decode(
        &mut self,
        encoded: &[u8],
        walk: &Walk,
        cover: Rect,
        _shrink: u32,
        _bounds: &Bounds,
        out: &mut [u8],
    ) -> Result<u64, DecodeError> {
        self.decode_whole(encoded, walk)?;
        let stride = walk.frame.width as usize * 3;
        let row_bytes = cover.width as usize * 3;
        let rows = self.whole.chunks_exact(stride).skip(cover.top as usize);
        for (row, to) in rows.zip(out.chunks_exact_mut(row_bytes)) {
            let left = cover.left as usize * 3;
            to.copy_from_slice(&row[left..left + row_bytes]);
        }
        Ok(0)
    }

    /// zune-jpeg fills missing rows without a word, even in its strict mode: a file without its end marker counts as
    /// cut.
    fn ends_early(
        &mut self,
        _encoded: &[u8],
        _walk: &Walk,
        _bounds: &Bounds,
        _row: &mut [u8],
    ) -> Result<bool, DecodeError> {
        Ok(true)
    }
}
