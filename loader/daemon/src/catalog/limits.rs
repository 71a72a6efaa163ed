//! What a source may cost, so that a wrong or hostile one is an error and not a full memory.

use std::num::NonZeroUsize;

/// The bounds that a source is read within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogLimits {
    /// Samples of a snapshot.
    pub rows_max: u64,
    /// Bytes of one line of CSV or JSON.
    pub line_bytes_max: u64,
    /// Columns of a list.
    pub columns_max: usize,
    /// Bytes of one text or path.
    pub text_bytes_max: usize,
    /// Numbers in one vector, and classes of a multi-hot column.
    pub vector_len_max: u32,
    /// Tokens of one sample.
    pub tokens_max: u32,
    /// Directories that are listed at once; a network file system answers many askers better than one.
    pub scan_threads: NonZeroUsize,
}

impl Default for CatalogLimits {
    fn default() -> Self {
        Self {
            rows_max: 200_000_000,
            line_bytes_max: 16 << 20,
            columns_max: 1024,
            text_bytes_max: 1 << 20,
            vector_len_max: 1 << 20,
            tokens_max: 1 << 24,
            scan_threads: NonZeroUsize::new(8).expect("eight is not zero"),
        }
    }
}
