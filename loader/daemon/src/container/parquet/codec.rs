//! How pages are compressed, as far as their values are read.

/// A compression of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// None.
    Plain,
    /// What writers do by default.
    Snappy,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// As in `parquet.thrift`.
    pub fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Snappy => 1,
            Self::Zstd => 6,
        }
    }

    /// From `parquet.thrift`'s number; `None` where we have no such.
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::Plain, Self::Snappy, Self::Zstd].into_iter().find(|codec| codec.number() == number)
    }

    /// How many bytes `stored` says that it becomes, where it does: looked at before there is memory for them.
    pub fn announced(self, stored: &[u8]) -> Option<u64> {
        match self {
            Self::Plain => Some(stored.len() as u64),
            Self::Snappy => snap::raw::decompress_len(stored).ok().map(|len| len as u64),
            Self::Zstd => zstd::zstd_safe::get_frame_content_size(stored).ok().flatten(),
        }
    }

    /// Inflates `stored` over all of `out`; `None` where it is something else, or of another length.
    pub fn inflate(self, stored: &[u8], out: &mut [u8]) -> Option<()> {
        let made = match self {
            Self::Plain => {
                out.get_mut(..stored.len())?.copy_from_slice(stored);
                stored.len()
            }
            Self::Snappy => snap::raw::Decoder::new().decompress(stored, out).ok()?,
            Self::Zstd => zstd::bulk::decompress_to_buffer(stored, out).ok()?,
        };
        (made == out.len()).then_some(())
    }
}
