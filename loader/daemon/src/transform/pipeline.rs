//! A list of operations, checked once, and the path of one view through it: header, draw, decode the needed part,
//! resize, write.

use super::draw::{Draw, RowDraws};
use super::kernels::Filter;
use super::layout::Layout;
use super::normalize::Tables;
use super::resize::{ResizeSize, Resizing};
use super::rows::SampleRows;
use super::window::Window;
use super::{ImageOp, OutputOrder, OutputType, SampleError, TransformError};
use super::{center_crop, flip, random_resized_crop};
use crate::decode::{DecodeError, ImageDecoder, ImageInfo, Orientation, Pixels, Rect};

/// Longest side of a result, in pixels: what batches are made of, not posters.
const SIDE_MAX: u32 = 16_384;

/// How the image's own size becomes one to crop from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sampling {
    Keep,
    Resize(ResizeSize),
    RandomCrop { height: u32, width: u32, scale: [f64; 2], ratio: [f64; 2] },
}

/// Operations that make every image one fixed size, ready to run.
pub struct ImagePipeline {
    ops: Vec<ImageOp>,
    sampling: Sampling,
    filter: Filter,
    exif: bool,
    shrinks: bool,
    center_crop: bool,
    flip_p: Option<f64>,
    height: u32,
    width: u32,
    layout: Layout,
}

/// What a worker thread keeps between samples.
#[derive(Default)]
pub struct Scratch {
    resizing: Resizing,
    row: Vec<u8>,
}

impl Scratch {
    /// Empty; grows with the first samples.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

impl ImagePipeline {
    /// Checks a list of operations: at most one `Resize` or `RandomResizedCrop`, then `CenterCrop`, then
    /// `RandomHorizontalFlip`, then `Normalize`, each optional but one of them fixing the size.
    ///
    /// # Errors
    /// [`TransformError`], with the cure in its text.
    pub fn new(
        ops: &[ImageOp],
        output: OutputType,
        order: OutputOrder,
    ) -> Result<ImagePipeline, TransformError> {
        check_order(ops)?;
        let (mut sampling, mut filter) = (Sampling::Keep, Filter::DEFAULT);
        let (mut crop, mut flip_p, mut tables) = (None, None, None);
        for op in ops {
            check_parameters(op)?;
            match *op {
                ImageOp::Resize { size, filter: by } => (sampling, filter) = (Sampling::Resize(size), by),
                ImageOp::RandomResizedCrop { height, width, scale, ratio, filter: by } => {
                    (sampling, filter) = (Sampling::RandomCrop { height, width, scale, ratio }, by);
                }
                ImageOp::CenterCrop { height, width } => crop = Some((height, width)),
                ImageOp::RandomHorizontalFlip { p } => flip_p = Some(p),
                ImageOp::Normalize { mean, std } => tables = Some(Box::new(Tables::normalized(mean, std))),
            }
        }
        let sampled = match sampling {
            Sampling::Resize(ResizeSize::Exact { height, width })
            | Sampling::RandomCrop { height, width, .. } => Some((height, width)),
            _ => None,
        };
        let (height, width) = crop.or(sampled).ok_or(TransformError::NoFixedSize)?;
        match output {
            OutputType::U8 if tables.is_some() => return Err(TransformError::NormalizeToU8),
            OutputType::U8 => {}
            _ => tables = Some(Box::new(tables.map_or_else(Tables::unit, |tables| *tables).rounded(output))),
        }
        let layout = Layout { output, order, tables };
        let (ops, center_crop) = (ops.to_vec(), crop.is_some());
        Ok(ImagePipeline {
            ops,
            sampling,
            filter,
            exif: false,
            shrinks: false,
            center_crop,
            flip_p,
            height,
            width,
            layout,
        })
    }

    /// The same for images that are turned first as their EXIF block says: crops are drawn and told in the upright image.
    #[must_use]
    pub fn with_exif_orientation(self, exif: bool) -> ImagePipeline {
        ImagePipeline { exif, ..self }
    }

    /// Whether images are turned as their EXIF block says.
    pub fn applies_exif_orientation(&self) -> bool {
        self.exif
    }

    /// The same where JPEGs are decoded to a half, a quarter or an eighth of their sides wherever all crops of an image
    /// stay at least as large as their results.
    ///
    /// # Errors
    /// [`TransformError::DecodeScale`] where no antialiased resize follows: the pixels that are left out would be missed.
    pub fn with_decode_scale(self) -> Result<ImagePipeline, TransformError> {
        if self.sampling == Sampling::Keep || !self.filter.is_antialiased() {
            return Err(TransformError::DecodeScale);
        }
        Ok(ImagePipeline { shrinks: true, ..self })
    }

    /// Whether JPEGs may be decoded smaller than they are.
    pub fn decodes_smaller(&self) -> bool {
        self.shrinks
    }

    /// How much smaller an image may be decoded for these draws: 1, 2, 4 or 8 of its pixels a side become one.
    pub(super) fn shrink(&self, draws: &[Draw]) -> u32 {
        if !self.shrinks {
            return 1;
        }
        let room =
            |draw: &Draw| (draw.crop.width / draw.resized_width).min(draw.crop.height / draw.resized_height);
        match draws.iter().map(room).min() {
            Some(8..) => 8,
            Some(4..) => 4,
            Some(2..) => 2,
            _ => 1,
        }
    }

    /// The image in which crops are drawn, and how it lies in the stored one.
    ///
    /// # Errors
    /// [`DecodeError`] where the header is none that we decode, or passes a limit.
    pub fn look(
        &self,
        encoded: &[u8],
        decoder: &mut ImageDecoder,
    ) -> Result<(ImageInfo, Orientation), DecodeError> {
        let stored = decoder.info(encoded)?;
        let orientation = if self.exif { decoder.orientation(encoded)? } else { Orientation::default() };
        Ok((orientation.turned(stored), orientation))
    }

    /// The operations, in order.
    pub fn ops(&self) -> &[ImageOp] {
        &self.ops
    }

    /// How resizing weighs pixels; any where nothing is resized.
    pub fn filter(&self) -> Filter {
        self.filter
    }

    /// Rows of every result.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Columns of every result.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Bytes of every view.
    pub fn view_bytes(&self) -> usize {
        self.rgb_bytes() * self.layout.output.bytes()
    }

    fn rgb_bytes(&self) -> usize {
        self.height as usize * self.width as usize * 3
    }

    /// Draws a view's randomness: a function of the image's size and the row's numbers.
    pub fn draw(&self, image: ImageInfo, rng: &mut impl RowDraws) -> Draw {
        let (crop, (resized_height, resized_width)) = match self.sampling {
            Sampling::Keep => (Rect::whole(&image), (image.height, image.width)),
            Sampling::Resize(size) => (Rect::whole(&image), size.of(&image)),
            Sampling::RandomCrop { height, width, scale, ratio } => {
                (random_resized_crop::draw(&image, scale, ratio, rng), (height, width))
            }
        };
        let (top, left) = if self.center_crop {
            (center_crop::start(resized_height, self.height), center_crop::start(resized_width, self.width))
        } else {
            (0, 0)
        };
        let flip = self.flip_p.is_some_and(|p| flip::draw(p, rng));
        Draw { crop, resized_height, resized_width, top, left, flip }
    }

    /// A result back as RGB8, row-major, `height * width * 3` bytes: as people look at it, without its normalisation.
    /// The very pixels that were resized. `sample`: [`ImagePipeline::view_bytes`] that this pipeline wrote, or zeros.
    pub fn rgb(&self, sample: &[u8]) -> Vec<u8> {
        self.layout.read(sample)
    }

    /// Turns one encoded image into one view: reads the header, draws, decodes what the draw needs, and writes
    /// exactly [`ImagePipeline::view_bytes`] to `target`, which is shared memory and never read back.
    ///
    /// # Errors
    /// [`SampleError::Decode`] for a bad image; `target` may then hold anything.
    pub fn run(
        &self,
        encoded: &[u8],
        decoder: &mut ImageDecoder,
        scratch: &mut Scratch,
        rng: &mut impl RowDraws,
        target: &mut [u8],
    ) -> Result<(), SampleError> {
        let draw = self.draw(self.look(encoded, decoder)?.0, rng);
        self.run_drawn(encoded, decoder, scratch, &draw, target)
    }

    /// [`ImagePipeline::run`] with the draw given, by another field of the sample or by a test.
    ///
    /// # Errors
    /// As `run`; also [`SampleError::Decode`] where the draw's crop is not inside this image.
    pub fn run_drawn(
        &self,
        encoded: &[u8],
        decoder: &mut ImageDecoder,
        scratch: &mut Scratch,
        draw: &Draw,
        target: &mut [u8],
    ) -> Result<(), SampleError> {
        self.check_target(1, target)?;
        let window = self.window(draw);
        let (_, orientation) = self.look(encoded, decoder)?;
        let shrink = self.shrink(std::slice::from_ref(draw));
        let source = decoder.decode_upright(encoded, window.need(draw), orientation, shrink)?;
        let (source, window) = window.within(draw, &source);
        self.finish(&source, &window, draw.flip, scratch, target);
        Ok(())
    }

    /// Which part of the image a draw needs, and what of it is visible.
    pub(super) fn window(&self, draw: &Draw) -> Window {
        Window::of(draw, self.height, self.width, self.filter)
    }

    pub(super) fn check_target(&self, views: usize, target: &[u8]) -> Result<(), SampleError> {
        let (sample_bytes, target_bytes) = (views * self.view_bytes(), target.len());
        if sample_bytes == target_bytes {
            return Ok(());
        }
        Err(SampleError::TargetLength { sample_bytes, target_bytes })
    }

    /// Resizes, flips and writes one view. `source` is what `window` needs.
    pub(super) fn finish(
        &self,
        source: &Pixels<'_>,
        window: &Window,
        flip: bool,
        scratch: &mut Scratch,
        target: &mut [u8],
    ) {
        let Scratch { resizing, row } = scratch;
        let size = (self.height, self.width);
        let mut rows = SampleRows::new(&self.layout, size, window, flip, row, target);
        resizing.run(source, window, self.filter, flip, &mut rows);
    }
}

/// Each operation has its stage; stages only rise.
fn check_order(ops: &[ImageOp]) -> Result<(), TransformError> {
    let stage = |op: &ImageOp| match op {
        ImageOp::Resize { .. } | ImageOp::RandomResizedCrop { .. } => 0,
        ImageOp::CenterCrop { .. } => 1,
        ImageOp::RandomHorizontalFlip { .. } => 2,
        ImageOp::Normalize { .. } => 3,
    };
    for pair in ops.windows(2) {
        if stage(&pair[0]) < stage(&pair[1]) {
            continue;
        }
        let cure = match pair {
            [earlier, later] if stage(earlier) == stage(later) => "keep one of the two",
            [ImageOp::Normalize { .. }, _] => "put Normalize last",
            [ImageOp::RandomHorizontalFlip { .. }, _] => "put RandomHorizontalFlip after the crops",
            _ => "put CenterCrop after Resize",
        };
        return Err(TransformError::Order { earlier: pair[0].name(), later: pair[1].name(), cure });
    }
    Ok(())
}

fn check_parameters(op: &ImageOp) -> Result<(), TransformError> {
    let side_ok = |side: u32| (1..=SIDE_MAX).contains(&side);
    let range_ok = |[low, high]: [f64; 2], most: f64| low > 0.0 && low <= high && high <= most;
    let wrong = match *op {
        ImageOp::Resize { size: ResizeSize::ShorterSide(side), .. } if !side_ok(side) => {
            "size must be 1 to 16384 pixels"
        }
        ImageOp::Resize { size: ResizeSize::Exact { height, width }, .. }
        | ImageOp::CenterCrop { height, width }
        | ImageOp::RandomResizedCrop { height, width, .. }
            if !side_ok(height) || !side_ok(width) =>
        {
            "height and width must be 1 to 16384 pixels"
        }
        ImageOp::RandomResizedCrop { scale, .. } if !range_ok(scale, 1.0) => {
            "scale must be two rising shares of the area, above 0 and up to 1"
        }
        ImageOp::RandomResizedCrop { ratio, .. } if !range_ok(ratio, f64::MAX) => {
            "ratio must be two rising numbers above 0"
        }
        ImageOp::RandomHorizontalFlip { p } if !(0.0..=1.0).contains(&p) => "p must be 0 to 1",
        ImageOp::Normalize { mean, std }
            if mean.iter().chain(&std).any(|v| !v.is_finite()) || std.contains(&0.0) =>
        {
            "mean and std must be finite, std not 0"
        }
        _ => return Ok(()),
    };
    Err(TransformError::Parameter { op: op.name(), wrong })
}

#[cfg(test)]
mod tests;
