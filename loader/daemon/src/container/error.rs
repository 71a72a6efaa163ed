//! Why a container cannot be walked, and what to do about it.

use std::io;

/// Why a container could not be walked to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The system refused a read.
    #[error("read at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// What it said.
        source: io::Error,
    },
    /// Nothing is in the file.
    #[error("the file is empty")]
    Empty,
    /// Bytes inside have no place of their own.
    #[error("it is compressed ({how})")]
    Compressed {
        /// By which program.
        how: &'static str,
    },
    /// The first bytes are no header of its format.
    #[error("it is no {format}")]
    Unknown {
        /// What it should be.
        format: &'static str,
    },
    /// The file ends too early.
    #[error("it is cut: it ends at byte {file_bytes}, inside of {what}")]
    Cut {
        /// What is not all there.
        what: String,
        /// Its size.
        file_bytes: u64,
    },
    /// A tar archive without the two empty blocks at its end.
    #[error("it is cut: it ends at byte {file_bytes} without the two empty blocks that end an archive")]
    NoEnd {
        /// Its size.
        file_bytes: u64,
    },
    /// Something stands behind the end of a tar archive.
    #[error("it ends at byte {end} and goes on at byte {at}")]
    BehindEnd {
        /// Where the empty blocks begin.
        end: u64,
        /// Where something stands.
        at: u64,
    },
    /// A header that contradicts itself, or that nobody writes.
    #[error("the header at byte {at} is damaged: {detail}")]
    Header {
        /// Where.
        at: u64,
        /// How it shows.
        detail: &'static str,
    },
    /// A kind of member that has no bytes of its own, or not all of them here.
    #[error("member {name} is {what}")]
    Unreadable {
        /// Which one.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// More than a limit.
    #[error("{what} at byte {at} has {found}, the limit is {max}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// Where.
        at: u64,
        /// How much.
        found: u64,
        /// What is allowed.
        max: u64,
    },
    /// A page of a Parquet column that contradicts itself, its column or its footer.
    #[error("the page at byte {at} is damaged: {detail}")]
    Page {
        /// Where.
        at: u64,
        /// How it shows.
        detail: &'static str,
    },
    /// A page whose values, or levels, have no place of their own.
    #[error("the page at byte {at} has the encoding {encoding}, in which values have no place")]
    Encoding {
        /// Where.
        at: u64,
        /// As Parquet numbers them.
        encoding: i32,
    },
    /// A column that is compressed in a way that is not read.
    #[error("its pages are compressed by {how}; SNAPPY and ZSTD are read")]
    Codec {
        /// As Parquet calls it.
        how: String,
    },
    /// A record that is no `tf.train.Example`.
    #[error("the record at byte {at} is no tf.train.Example: {detail}")]
    Example {
        /// Where.
        at: u64,
        /// How it shows.
        detail: &'static str,
    },
}

impl ContainerError {
    /// What to do about it, in a sentence, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Read { .. } => return None,
            Self::Empty
            | Self::Cut { .. }
            | Self::Header { .. }
            | Self::Example { .. }
            | Self::Page { .. } => "write or copy the file again",
            Self::Encoding { .. } | Self::Codec { .. } => {
                "write the file again: images best without compression, as pyarrow's write_table(compression=\"none\") does; \
                 snappy and zstd are read too"
            }
            Self::Compressed { .. } => {
                "samples are read by their place in the file, so decompress it once (gunzip, zstd -d): images inside are \
                 compressed anyway"
            }
            Self::Unknown { .. } => {
                "tar archives end in .tar, TFRecord files in .tfrecord; is it something else?"
            }
            Self::NoEnd { .. } => {
                "write or copy the file again; where it is whole, and its writer never ended it, append 1024 zero bytes"
            }
            Self::BehindEnd { .. } => {
                "archives that were joined by cat: join them by `tar -A`, or keep them apart"
            }
            Self::Unreadable { .. } => {
                "write the archive again, without that member or with --format=posix and no --sparse"
            }
            Self::TooMuch { .. } => "is it damaged? else write it with less of that",
        };
        Some(hint.to_owned())
    }
}
