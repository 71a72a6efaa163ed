//! What a footer says of one column in one row group.

use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;

use super::Codec;
use crate::container::ContainerError;

/// The pages of one column in one row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where its first page begins.
    pub offset: u64,
    /// Of all its pages.
    pub len: u64,
    /// Rows of the group.
    pub rows: u64,
    /// How its pages are compressed.
    pub codec: Codec,
    /// The definition level of a value that is there; 0 where none can be missing.
    pub level_max: u32,
    /// The footer says that no value is missing.
    pub has_no_nulls: bool,
}

impl Chunk {
    /// From a footer. The column is flat: a value a row, or none.
    ///
    /// # Errors
    /// A compression that is not read, or places that nothing can have.
    pub fn of(column: &ColumnChunkMetaData, rows: u64) -> Result<Self, ContainerError> {
        let codec = match column.compression() {
            Compression::UNCOMPRESSED => Codec::Plain,
            Compression::SNAPPY => Codec::Snappy,
            Compression::ZSTD(_) => Codec::Zstd,
            other => {
                let how = other.to_string().split('(').next().unwrap_or_default().to_owned();
                return Err(ContainerError::Codec { how });
            }
        };
        let data = column.data_page_offset();
        let first = column.dictionary_page_offset().filter(|&at| at > 0).map_or(data, |at| at.min(data));
        let (Ok(offset), Ok(len)) = (u64::try_from(first), u64::try_from(column.compressed_size())) else {
            return Err(ContainerError::Page {
                at: 0,
                detail: "the footer gives its column a negative place",
            });
        };
        let has_no_nulls = column.statistics().and_then(Statistics::null_count_opt) == Some(0);
        let level_max = column.column_descr().max_def_level().max(0) as u32;
        Ok(Self { offset, len, rows, codec, level_max, has_no_nulls })
    }
}
