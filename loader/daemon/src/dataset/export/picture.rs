//! A stored image -> the changed image, stored again: a function of its bytes and the recipe alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use image::ImageEncoder as _;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};

use super::options::Coding;
use crate::decode::{ImageDecoder, ImageInfo, ImageLimits};
use crate::error::{Fault, Kind};
use crate::transform::{
    Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize, RowDraws, Scratch,
};

/// What becomes of every image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The shorter side, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<u32>,
    /// The side of the middle square, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<u32>,
    /// How it is stored.
    pub encode: Coding,
    /// Of a JPEG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// The columns whose images are changed; empty: the first that is exported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

/// One thread's means.
pub struct Painter {
    decoder: ImageDecoder,
    scratch: Scratch,
    pipelines: HashMap<(u32, u32), ImagePipeline>,
    rgb: Vec<u8>,
}

/// Nothing is drawn: every operation here is fixed.
struct NoDraws;

impl RowDraws for NoDraws {
    fn unit_f64(&mut self) -> f64 {
        unreachable!("an export has no random operation")
    }

    fn below(&mut self, _: u64) -> u64 {
        unreachable!("an export has no random operation")
    }
}

impl Pipeline {
    /// The suffix of what is stored.
    pub fn suffix(&self) -> &'static str {
        match self.encode {
            Coding::Jpeg => "jpg",
            Coding::Png => "png",
        }
    }

    /// Whether a column's images are changed.
    ///
    /// * `is_first`: of those that are exported. Masks and the like are not to be resized as photographs are.
    pub fn changes(&self, column: &str, is_first: bool) -> bool {
        if self.columns.is_empty() { is_first } else { self.columns.iter().any(|name| name == column) }
    }

    /// Rows and columns of the result.
    fn size(&self, image: &ImageInfo) -> (u32, u32) {
        let resized =
            self.resize.map_or((image.height, image.width), |side| ResizeSize::ShorterSide(side).of(image));
        self.crop.map_or(resized, |side| (side, side))
    }

    fn ops(&self, size: (u32, u32)) -> Vec<ImageOp> {
        let resize = self.resize.map(|side| match self.crop {
            Some(_) => ResizeSize::ShorterSide(side),
            None => ResizeSize::Exact { height: size.0, width: size.1 },
        });
        let crop = self.crop.map(|side| ImageOp::CenterCrop { height: side, width: side });
        resize.map(|size| ImageOp::Resize { size, filter: Filter::DEFAULT }).into_iter().chain(crop).collect()
    }
}

impl Painter {
    /// Empty means.
    pub fn new() -> Self {
        let decoder = ImageDecoder::new(ImageLimits::default());
        Self { decoder, scratch: Scratch::new(), pipelines: HashMap::new(), rgb: Vec::new() }
    }

    /// Changes one image.
    ///
    /// # Errors
    /// Corrupt: the bytes are no image, or a damaged one. Invalid: a result that is too large.
    pub fn paint(&mut self, pipeline: &Pipeline, encoded: &[u8]) -> Result<Vec<u8>, Fault> {
        let corrupt = |error: &dyn std::error::Error| Fault::new(Kind::Corrupt, error.to_string());
        let info = self.decoder.info(encoded).map_err(|error| corrupt(&error))?;
        let (height, width) = pipeline.size(&info);
        let made = match self.pipelines.entry((height, width)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let ops = pipeline.ops((height, width));
                let made = ImagePipeline::new(&ops, OutputType::U8, OutputOrder::ChannelsLast);
                place.insert(made.map_err(|error| Fault::from_error(Kind::Invalid, &error))?)
            }
        };
        self.rgb.resize(made.view_bytes(), 0);
        made.run(encoded, &mut self.decoder, &mut self.scratch, &mut NoDraws, &mut self.rgb)
            .map_err(|error| corrupt(&error))?;
        store(pipeline, &self.rgb, width, height)
    }
}

fn store(pipeline: &Pipeline, rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let stored = match pipeline.encode {
        Coding::Png => {
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
                .write_image(rgb, width, height, image::ExtendedColorType::Rgb8)
                .map_err(|error| error.to_string())
        }
        Coding::Jpeg => {
            let mut encoder = Encoder::new(&mut bytes, pipeline.quality.unwrap_or(95));
            encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
            encoder
                .encode(rgb, width as u16, height as u16, ColorType::Rgb)
                .map_err(|error| error.to_string())
        }
    };
    stored.map_err(|error| Fault::invalid(format!("store an image of {width} x {height}: {error}")))?;
    Ok(bytes)
}
