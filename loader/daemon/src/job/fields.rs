//! The outputs of a sample: for each its tensor, and what makes its bytes.

use forebay_plan::{MemoryOrder, TensorSpec};
use forebay_proto::v1;

use super::clips::ClipPlan;
use super::device_decode::DeviceDecode;
use super::located::Located;
use super::rows::PartPlan;
use super::stored::StoredBytes;
use super::tokens::{PackedIds, TokensMaker};
use super::values::ValueMaker;
use super::{Job, tensor_to_proto};
use crate::catalog::Snapshot;
use crate::decode::array::ArraySpec;
use crate::transform::ImagePipeline;

/// One output of a sample.
pub struct FieldPlan {
    /// Name, type and shape.
    pub spec: TensorSpec,
    /// What makes it, one a source: their columns lie in different places.
    pub makers: Vec<FieldMaker>,
}

/// What makes the bytes of a field.
pub enum FieldMaker {
    /// An image, decoded and transformed.
    Image {
        /// The file, or the extent of it, that holds the image.
        place: Located,
        /// Crop, resize, flip, normalise, layout.
        pipeline: Box<ImagePipeline>,
        /// How often it is run on each image, with draws of their own: 1 to [`VIEWS_MAX`](crate::transform::VIEWS_MAX).
        views: u32,
        /// Which rows hold the file's bytes instead, for a device; none where absent.
        device: Option<DeviceDecode>,
    },
    /// What a device has to do with the row of the image before it: [`DeviceNumbers`](crate::transform::DeviceNumbers).
    DeviceNumbers,
    /// Frames of a clip, each a file, decoded and transformed with one draw.
    Clip {
        /// The folder, and which of its frames.
        clip: ClipPlan,
        /// As of an image.
        pipeline: Box<ImagePipeline>,
    },
    /// Bytes of a file as they are, all of them.
    Raw {
        /// The file, or the extent of it, that holds them.
        place: Located,
    },
    /// Bytes of a file as they are, cut to one length.
    Stored(StoredBytes),
    /// An array that numpy saved.
    Array {
        /// The file, or the extent of it, that holds it.
        place: Located,
        /// Its type, its shape, and which of an archive it is.
        spec: ArraySpec,
    },
    /// The value of a column.
    Value(ValueMaker),
    /// The number of the sample's source.
    Source,
    /// Tokens of a column or a file.
    Tokens(TokensMaker),
    /// How many tokens or bytes of the row a field has that are no padding, int32.
    Length {
        /// The number of that field among the job's.
        of: usize,
    },
    /// What the parts of a packed row say of its tokens.
    Packed(PackedIds),
}

impl FieldMaker {
    /// Whether it takes no longer than copying its bytes.
    pub fn is_copy(&self) -> bool {
        match self {
            Self::Raw { place } => place.is_plain(),
            Self::Stored(_) | Self::Value(_) | Self::Source => true,
            Self::Image { .. }
            | Self::Clip { .. }
            | Self::Array { .. }
            | Self::Tokens(_)
            | Self::DeviceNumbers
            | Self::Length { .. }
            | Self::Packed(_) => false,
        }
    }

    /// The column of the one file that must be read, if any.
    pub fn path_column(&self) -> Option<usize> {
        match self {
            Self::Image { place, .. } | Self::Raw { place } | Self::Array { place, .. } => {
                Some(place.column())
            }
            Self::Stored(StoredBytes { column, .. }) => Some(*column),
            Self::Tokens(tokens) => tokens.reads().then(|| tokens.column()),
            Self::Clip { .. }
            | Self::DeviceNumbers
            | Self::Value(_)
            | Self::Source
            | Self::Length { .. }
            | Self::Packed(_) => None,
        }
    }

    /// `(offset_bytes, len_bytes)` of what must be read of a sample's file; all of it where absent.
    ///
    /// * `row_bytes`: of the field's range.
    pub fn extent(&self, snapshot: &Snapshot, sample: u64, row_bytes: u64) -> Option<(u64, u64)> {
        match self {
            Self::Stored(stored) => stored.extent_of(snapshot, sample),
            Self::Tokens(tokens) => tokens.extent(snapshot, sample, row_bytes),
            Self::Image { place, .. } | Self::Raw { place } | Self::Array { place, .. } => {
                place.extent(snapshot, sample)
            }
            Self::Clip { .. }
            | Self::DeviceNumbers
            | Self::Value(_)
            | Self::Source
            | Self::Length { .. }
            | Self::Packed(_) => None,
        }
    }

    /// How large a sample's file must be, where that is known.
    pub fn file_bytes(&self, snapshot: &Snapshot, sample: u64) -> Option<u64> {
        match self {
            Self::Image { place, .. } | Self::Raw { place } | Self::Array { place, .. } => {
                place.file_bytes(snapshot, sample)
            }
            _ => None,
        }
    }

    /// The same for a part of a packed row.
    pub fn extent_of_part(&self, job: &Job, part: &PartPlan) -> Option<(u64, u64)> {
        match self {
            Self::Tokens(tokens) => tokens.extent_of_part(job, part),
            _ => unreachable!("packed rows are made of tokens alone"),
        }
    }

    /// Writes what stands in the place of a corrupt sample: zeros, or padding where there are tokens.
    pub fn blank(&self, target: &mut [u8]) {
        match self {
            Self::Tokens(tokens) => tokens.pad(target),
            Self::Packed(ids) => ids.write(&[], target),
            Self::Image { .. }
            | Self::DeviceNumbers
            | Self::Clip { .. }
            | Self::Raw { .. }
            | Self::Array { .. }
            | Self::Stored(_)
            | Self::Value(_)
            | Self::Source
            | Self::Length { .. } => target.fill(0),
        }
    }

    /// How many files a row's value is made of.
    pub fn reads_a_row(&self) -> usize {
        match self {
            Self::Clip { clip, .. } => clip.frames() as usize,
            maker => usize::from(maker.path_column().is_some()),
        }
    }
}

impl FieldPlan {
    /// What makes it of a sample of one source.
    pub fn maker(&self, source: u32) -> &FieldMaker {
        &self.makers[source as usize]
    }

    /// How many views of a sample its tensor holds.
    pub fn views(&self) -> u32 {
        match self.makers[0] {
            FieldMaker::Image { views, .. } => views,
            _ => 1,
        }
    }

    /// How many pictures a sample's tensor holds, one behind the other: views of an image, or frames of a clip.
    pub fn pictures(&self) -> u32 {
        match &self.makers[0] {
            FieldMaker::Clip { clip, .. } => clip.frames(),
            _ => self.views(),
        }
    }

    /// The tensor for the wire.
    pub fn to_proto(&self) -> v1::TensorSpec {
        let utf8 = matches!(&self.makers[0], FieldMaker::Value(value) if value.is_text());
        tensor_to_proto(&self.spec, utf8)
    }

    /// An image's spec: dims C, H, W, behind V where it has several views, in the memory order that its pipeline writes.
    pub fn image_spec(
        name: &str,
        pipeline: &ImagePipeline,
        views: u32,
        dtype: forebay_plan::DType,
        order: MemoryOrder,
    ) -> TensorSpec {
        let one = [3, pipeline.height(), pipeline.width()];
        let dims = (views > 1).then_some(views).into_iter().chain(one).collect();
        TensorSpec { name: name.to_owned(), dtype, dims, order }
    }
}
