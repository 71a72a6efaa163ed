//! What can be wrong with a source, where exactly, and what to do about it.

use std::io;

use ::parquet::errors::ParquetError;

use super::fault::{CellFault, Place};
use super::table::KindsDiffer;
use crate::container::ContainerError;
use crate::storage::StorageError;

/// What the caller should do about a [`CatalogError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogErrorKind {
    /// The source or its description is wrong: mend it.
    Invalid,
    /// Nothing is there.
    NotFound,
    /// The storage does not answer as it should: ask again.
    Unavailable,
}

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The root could not be opened.
    #[error(transparent)]
    Root(#[from] StorageError),
    /// A file or directory of the source could not be read.
    #[error("{action} {path}")]
    Io {
        /// `open`, `read`, `list` or `stat`.
        action: &'static str,
        /// Which one.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds no folder.
    #[error("couldn't find any class folder in {root}")]
    NoClasses {
        /// The folder.
        root: String,
    },
    /// A folder in which no file's name ends as a sample's.
    #[error("{root} holds no file whose name ends in one of {}", .extensions.join(", "))]
    NoSamples {
        /// The folder.
        root: String,
        /// What a sample file's name must end in.
        extensions: Vec<String>,
    },
    /// A list whose samples have no name.
    #[error("{file} has neither a column named key nor a column of paths")]
    NoKey {
        /// The list.
        file: String,
    },
    /// Some class folders hold no sample.
    #[error("found no valid file for the classes {}; supported extensions are: {}", some(.classes), .extensions.join(", "))]
    EmptyClasses {
        /// Which classes, in order.
        classes: Vec<String>,
        /// What a sample file's name must end in.
        extensions: Vec<String>,
    },
    /// A class folder whose name is no UTF-8.
    #[error("the class folder {path} has a name that is not UTF-8")]
    ClassName {
        /// Which one.
        path: String,
    },
    /// Folders where clips lie that hold neither a frame nor a folder.
    #[error("found no frame in {}; supported extensions are: {}", some(.clips), .extensions.join(", "))]
    EmptyClips {
        /// Which folders, in order.
        clips: Vec<String>,
        /// What a frame's name must end in.
        extensions: Vec<String>,
    },
    /// Frames in a folder that should hold clips.
    #[error("{folder} holds frames itself, as {frame}, and should hold a folder a clip")]
    LooseFrames {
        /// A class folder, or the root.
        folder: String,
        /// One of them.
        frame: String,
    },
    /// A frame whose name is no UTF-8.
    #[error("the frame {path} has a name that is not UTF-8")]
    FrameName {
        /// Which one.
        path: String,
    },
    /// A clip whose frames have too many names without a pattern.
    #[error("the names of the frames in {clip} take {bytes} bytes, the limit is {bytes_max}")]
    LongClip {
        /// Which one.
        clip: String,
        /// What they take.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A link to a folder that it lies in.
    #[error("{path} links to a folder that it lies in")]
    LinkLoop {
        /// The link.
        path: String,
    },
    /// A link out of the root.
    #[error("{path} links to something outside the root")]
    LinkLeaves {
        /// The link.
        path: String,
    },
    /// A list whose format is neither given nor known by its extension.
    #[error("the format of {file} is not known")]
    UnknownFormat {
        /// The list.
        file: String,
    },
    /// No sample at all.
    #[error("{file} lists no samples")]
    Empty {
        /// The list.
        file: String,
    },
    /// A line that is no CSV, or has more or fewer cells than the header.
    #[error("read {place}")]
    Csv {
        /// Where.
        place: Place,
        /// What the parser said.
        source: ::csv::Error,
    },
    /// A line that is no JSON object.
    #[error("read {place}")]
    Json {
        /// Where.
        place: Place,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Not a Parquet file, or one that uses something this build does not know.
    #[error("read {file}")]
    Parquet {
        /// The list.
        file: String,
        /// What the parser said.
        source: ParquetError,
    },
    /// A Parquet file that contradicts itself.
    #[error("{file} is damaged: {detail}")]
    Damaged {
        /// The list.
        file: String,
        /// How it shows.
        detail: String,
    },
    /// A column whose type no kind can hold.
    #[error("column {column} of {file} holds {found}")]
    UnsupportedColumn {
        /// The list.
        file: String,
        /// Which column.
        column: String,
        /// What it holds.
        found: String,
    },
    /// A column that the job names is not there.
    #[error("{file} has no column {column}; it has {}", some(.present))]
    MissingColumn {
        /// The list.
        file: String,
        /// What was asked for.
        column: String,
        /// What is there.
        present: Vec<String>,
    },
    /// Two columns of one name, in the file or in the job.
    #[error("{place} has two columns named {column}")]
    DuplicateColumn {
        /// The list, or line.
        place: String,
        /// The name.
        column: String,
    },
    /// A record with a field that the first record lacks.
    #[error("{place} has a field {field} that the first record lacks")]
    ExtraField {
        /// Where.
        place: Place,
        /// The field.
        field: String,
    },
    /// A value that does not fit its column.
    #[error("read {place}")]
    Cell {
        /// Where.
        place: Place,
        /// What is wrong with it.
        source: CellFault,
    },
    /// Two samples of one key.
    #[error("{place} has the key {key:?} of {unit} {first}", unit = .place.unit)]
    DuplicateKey {
        /// The later sample.
        place: Place,
        /// The number of the earlier one.
        first: u64,
        /// Their key.
        key: String,
    },
    /// More samples than the limit.
    #[error("{file} has more than {rows_max} samples")]
    TooManyRows {
        /// The list or folder.
        file: String,
        /// What is allowed.
        rows_max: u64,
    },
    /// A client calls its own data by too long a name.
    #[error("the name of the client's data has {bytes} bytes, the limit is {bytes_max}")]
    LongIdentity {
        /// How many.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A line longer than the limit.
    #[error("{place} is longer than {line_bytes_max} bytes")]
    LineTooLong {
        /// Where.
        place: Place,
        /// What is allowed.
        line_bytes_max: u64,
    },
    /// Names of shards that cannot be meant, or find nothing.
    #[error("{pattern} {detail}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// Shards of several formats, or of one that is not known by its extension.
    #[error("the format of the shard {file} is not known, or is not that of the first")]
    ShardFormat {
        /// Which one.
        file: String,
    },
    /// A shard that cannot be walked.
    #[error("index the shard {file}")]
    Container {
        /// Which one.
        file: String,
        /// What is wrong with it.
        source: ContainerError,
    },
    /// A shard that was written to while it was walked.
    #[error("the shard {file} changed while it was indexed")]
    ShardChanged {
        /// Which one.
        file: String,
    },
    /// A field that has numbers in one shard and something else in another.
    #[error("add the samples of the shard {file}")]
    ShardsDiffer {
        /// The later one.
        file: String,
        /// What differs.
        source: KindsDiffer,
    },
    /// A value in a shard that its column cannot hold.
    #[error("the field {field} of the sample {sample}: {why}")]
    Unfit {
        /// Shard and name.
        sample: String,
        /// Its field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too many samples in shards that lack a column, or have one twice.
    #[error("{left} of {total} samples in {file} are not whole: {}", .named.join("; "))]
    Incomplete {
        /// The source.
        file: String,
        /// How many.
        left: u64,
        /// Of how many.
        total: u64,
        /// The first of them.
        named: Vec<String>,
    },
    /// More columns than the limit.
    #[error("{file} has {columns} columns, the limit is {columns_max}")]
    TooManyColumns {
        /// The list.
        file: String,
        /// How many.
        columns: usize,
        /// What is allowed.
        columns_max: usize,
    },
}

/// So many names are spelled out.
const NAMES_SHOWN: usize = 10;

fn some(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
    if names.len() > NAMES_SHOWN { format!("{shown} and {} more", names.len() - NAMES_SHOWN) } else { shown }
}

impl CatalogError {
    /// What the caller should do.
    pub fn kind(&self) -> CatalogErrorKind {
        match self {
            Self::Io { source, .. } | Self::Root(StorageError::Root { source, .. }) => match source.kind() {
                io::ErrorKind::NotFound => CatalogErrorKind::NotFound,
                io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => CatalogErrorKind::Invalid,
                _ => CatalogErrorKind::Unavailable,
            },
            Self::Root(_)
            | Self::ShardChanged { .. }
            | Self::Container { source: ContainerError::Read { .. }, .. } => CatalogErrorKind::Unavailable,
            _ => CatalogErrorKind::Invalid,
        }
    }

    /// What to do about it, in a sentence, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } | Self::Root(StorageError::Root { source, .. }) => {
                return io_hint(source);
            }
            Self::NoClasses { .. } => "give a folder that holds one folder a class, or a list with columns",
            Self::NoSamples { .. } => "is it mounted? else name the extensions of your files",
            Self::NoKey { .. } => {
                "samples are told apart by it: add a column `key` with a different value in each row, or name the column of \
                 paths `image`, `audio` or `path`"
            }
            Self::EmptyClasses { classes, .. } => return Some(empty_classes_hint(classes)),
            Self::ClassName { .. } => "rename the folder, or use a list with a label column",
            Self::EmptyClips { .. } => {
                "remove the empty folders or extract their videos again, or name the extensions of your frames"
            }
            Self::LooseFrames { .. } => {
                "frames lie in class/clip/000001.jpg; without classes, in clip/000001.jpg: \
                 forebay.Frames(path, classes=False); images that are no clips are a forebay.Folder"
            }
            Self::FrameName { .. } => "rename the frame",
            Self::LongClip { .. } => {
                "number the frames, as ffmpeg's %06d.jpg does: a run of numbers takes 20 bytes"
            }
            Self::LinkLoop { .. } => "remove the link",
            Self::LinkLeaves { .. } => {
                "only relative links that stay beneath the root are followed: copy the data, bind-mount it, or use a list \
                 whose root holds both places"
            }
            Self::UnknownFormat { .. } => "name the format: csv, tsv, jsonl or parquet",
            Self::Csv { .. } => {
                "quote cells that hold commas, quotes or line ends; the first line names the columns"
            }
            Self::Json { .. } => "write one JSON object a line; null for nothing, never NaN",
            Self::Parquet { .. } => {
                "write it with pyarrow's, pandas' or DuckDB's defaults: uncompressed, snappy or zstd"
            }
            Self::Damaged { .. } => "write the file again",
            Self::UnsupportedColumn { .. } => {
                "name the columns to load and leave this one out, or store it as numbers, text or lists of numbers"
            }
            Self::ExtraField { .. } => "give every record the same fields, or name the columns to load",
            Self::DuplicateColumn { .. } => "rename one of the two columns",
            Self::Cell { source, .. } => return source.hint(),
            Self::DuplicateKey { .. } => {
                "keep one of the two, or add a column named `key` with a different value in each row; samples of one \
                 file have an `offset`; in tar shards the members of a sample stand side by side (tar --sort=name)"
            }
            Self::TooManyRows { .. } | Self::LineTooLong { .. } | Self::TooManyColumns { .. } => {
                "raise the daemon's catalogue limits if this is meant"
            }
            Self::LongIdentity { .. } => "give it a shorter name",
            Self::MissingColumn { .. } => "name columns that it has, or write the file again",
            Self::Pattern { .. } => {
                "shards are named by absolute paths, as /data/train-{000..127}.tar or /data/*.tar; is it mounted where the \
                 daemon runs?"
            }
            Self::ShardFormat { .. } => {
                "name the format: forebay.Shards(paths, format=\"tar\"), \"tfrecord\" or \"parquet\"; one source has one format"
            }
            Self::Container { source, .. } => return source.hint(),
            Self::ShardChanged { .. } => "open it again once nobody writes to it",
            Self::ShardsDiffer { .. } => "make several sources of them, or write them with equal fields",
            Self::Unfit { .. } => {
                "name the fields that are wanted and leave this one out, or write the shard again: a text in a shard is \
                 UTF-8 and at most 64 KiB, and only floats may be several to a value, as many in each sample"
            }
            Self::Incomplete { .. } => {
                "all samples need all fields that are wanted: name fewer, or write the shards again"
            }
            Self::Empty { .. } | Self::Root(_) => return None,
        };
        Some(hint.to_owned())
    }
}

fn io_hint(source: &io::Error) -> Option<String> {
    match source.kind() {
        io::ErrorKind::PermissionDenied => Some("let the user that the daemon runs as read it".to_owned()),
        io::ErrorKind::NotFound => {
            Some("check the spelling, and that it is mounted where the daemon runs".to_owned())
        }
        _ => None,
    }
}

fn empty_classes_hint(classes: &[String]) -> String {
    match classes.iter().find(|class| class.starts_with('.')) {
        Some(hidden) => {
            format!("every folder is a class, as in torchvision, hidden ones too: remove {hidden}")
        }
        None => "remove the empty folders, or name the extensions of your files".to_owned(),
    }
}
