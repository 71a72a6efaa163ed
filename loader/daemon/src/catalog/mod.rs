//! Finds samples and links their labels: an immutable, in-memory [`Snapshot`] of a folder, folders of frames, a list, records
//! or shards.
//!
//! A snapshot names samples, it does not look at them: no file is opened or even stat'ed, so a listed file that is
//! missing shows when it is read. Where a source gives no columns, their kinds are inferred by the rules in
//! [`ColumnKind`].

mod builder;
mod bytes;
mod cell;
mod class_map;
mod column;
mod csv;
pub mod dataset;
mod error;
mod fault;
mod folder;
mod found;
mod frames;
mod gaps;
mod infer;
mod json;
mod limits;
mod list;
mod listings;
mod order;
mod parquet;
mod paths;
mod places;
mod range;
mod relabel;
mod scan;
mod shards;
mod snapshot;
mod stamp;
mod stored;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use class_map::ClassMap;
pub use column::{Column, ColumnKind, ColumnSpec};
pub use error::{CatalogError, CatalogErrorKind};
pub use fault::{CellFault, Place, Unit};
pub use folder::IMG_EXTENSIONS;
pub use found::{Finding, Found, find_among, find_by_names, find_in_folder, find_in_list, find_in_shards};
pub use frames::folder::{Differences, Named, compare as compare_frames};
pub use frames::names::{BadNames, FrameNames, natural_order, text_of as text_of_frames};
pub use frames::{FRAMES, names_column};
pub use gaps::{List, Listed, Reading};
pub use limits::CatalogLimits;
pub use listings::{Listings, own_folder};
pub use places::{Location, Places, ValueError, Values};
pub use scan::{Journal, Resumed};
pub use shards::{RECORD, SHARD_BYTES, ShardFormat, Shards, are_shards, damaged_pages, holds_cells, root_of};
pub use snapshot::Snapshot;
pub use table::{Cells, KindsDiffer, Table};

/// The number of a sample in its snapshot.
pub type SampleIndex = u64;

/// Where samples and their labels come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    /// A folder of class folders, in torchvision's `ImageFolder` order: columns `image` (path) and `label` (class index).
    Folder {
        /// The folder that holds the class folders.
        root: PathBuf,
        /// Suffixes of sample files, any case, with or without the dot; [`IMG_EXTENSIONS`] where absent.
        extensions: Option<Vec<String>>,
    },
    /// A folder of class folders of clips, each a folder of frames: columns `clip` (path), `clip.frames` (the names of its
    /// frames, see [`FrameNames`]) and `label` (class index).
    Frames {
        /// The folder that holds the class folders.
        root: PathBuf,
        /// Suffixes of frames, as for [`SourceSpec::Folder`].
        extensions: Option<Vec<String>>,
        /// Whether the first folder of a path is the clip's class; else there are no labels.
        classes: bool,
    },
    /// A file with one sample a row.
    List {
        /// The list.
        file: PathBuf,
        /// The directory that its paths are relative to, or lie in.
        root: PathBuf,
        /// Read off the file's extension where absent.
        format: Option<Format>,
        /// The columns to load, in this order; all of them, with inferred kinds, where empty.
        columns: Vec<ColumnSpec>,
    },
    /// Samples that a client sent: a list of dicts, one JSON object a line.
    Records {
        /// The directory that paths are relative to; only needed for a path column.
        root: Option<PathBuf>,
        /// The objects, one a line.
        json_lines: Vec<u8>,
        /// As for [`SourceSpec::List`].
        columns: Vec<ColumnSpec>,
    },
    /// Files that hold many samples each: tar archives, TFRecord files.
    Shards(Shards),
    /// Samples that only the client can read: a column `index` of their numbers, which keeps none of them.
    Range {
        /// How many, at least 1.
        rows: u64,
        /// What the client calls them, part of the snapshot's name.
        identity: String,
    },
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, quoted as RFC 4180, the first line names the columns. Extension `.csv`.
    Csv,
    /// The same with tabs. Extension `.tsv`.
    Tsv,
    /// One JSON object a line; empty lines are skipped. Extensions `.jsonl`, `.ndjson`.
    Jsonl,
    /// Parquet with flat columns and lists of numbers. Extensions `.parquet`, `.pq`.
    Parquet,
}

/// Reads a source into a snapshot.
///
/// # Errors
/// [`CatalogError`] names the row and column, the cause and, by its hint, the cure.
pub fn open(spec: &SourceSpec, limits: &CatalogLimits) -> Result<Snapshot, CatalogError> {
    match spec {
        SourceSpec::Folder { root, extensions } => folder::open(root, extensions.as_deref(), limits),
        SourceSpec::Frames { root, extensions, classes } => {
            frames::open(root, extensions.as_deref(), *classes, limits)
        }
        SourceSpec::List { file, root, format, columns } => list::open(file, root, *format, columns, limits),
        SourceSpec::Records { root, json_lines, columns } => {
            list::open_records(root.as_deref(), json_lines, columns, limits)
        }
        SourceSpec::Shards(shards) => shards::open(shards, limits),
        SourceSpec::Range { rows, identity } => range::open(*rows, identity),
    }
}
