//! What `forebay index` was asked for.

use std::path::PathBuf;

use crate::decode::tokens::StoredToken;

/// Options of `forebay index`.
#[derive(clap::Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct IndexArgs {
    /// A folder of class folders, a folder of files (--no-classes), of frames (--frames), a list: .csv, .tsv, .jsonl or
    /// .parquet, or shards: .tar, .tfrecord, or .parquet with bytes in its cells, several as in 'x-{000..127}.tar' or
    /// 'x-*.tar'.
    pub source: PathBuf,
    /// The data set: a folder, made where it is not there, or s3://bucket/prefix. Absent: beside the source, as
    /// /data/photos.forebay for /data/photos.
    #[arg(long, value_name = "PLACE")]
    pub dataset: Option<String>,
    /// Take the paths in this file, one a line, instead of listing the folder; - for standard input.
    #[arg(long, value_name = "LIST")]
    pub from: Option<PathBuf>,
    /// What the names of sample files end in, any case, as in jpg,png. Absent: images; with --from, anything.
    #[arg(long, value_name = "EXT,...", value_delimiter = ',')]
    pub extensions: Vec<String>,
    /// Files at any depth, without classes.
    #[arg(long)]
    pub no_classes: bool,
    /// A sample is a folder of images, the frames of a video: class/clip/000001.jpg. A data set of clips knows by itself.
    #[arg(long, conflicts_with_all = ["from", "stat", "tokens"])]
    pub frames: bool,
    /// The column of the paths. Absent: as the data set has it; else clip, image, audio or path, by what is indexed. Of
    /// shards: the column that --measure reads; absent: images, else recordings, else the first of files, else texts.
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Where a list's paths are relative to. Absent: where the data set's are; else the list's folder.
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Ask for each new file's size and time: columns size_bytes and mtime_ns. A call a file.
    #[arg(long, conflicts_with = "from")]
    pub stat: bool,
    /// Read the headers of samples that were not measured yet: width and height of JPEG and PNG; duration_s, sample_rate
    /// and channels of WAV; text_bytes of texts in UTF-8; of clips how many frames, width and height of the first. Of a
    /// member of a shard its own first bytes are read. Videos are not measured.
    #[arg(long)]
    pub measure: bool,
    /// With --measure: the files hold tokens of this type; the column tokens tells how many.
    #[arg(long, value_name = "TYPE", value_enum, requires = "measure")]
    pub tokens: Option<TokenType>,
    /// Remove samples whose files have gone. They stay removed, even where a file of that name comes back.
    #[arg(long)]
    pub prune: bool,
    /// The data has moved here from the folder that the data set names.
    #[arg(long)]
    pub new_root: bool,
    /// Directories listed, or headers read, at a time.
    #[arg(long, value_name = "N", default_value = "16")]
    pub threads: std::num::NonZeroUsize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a token is stored as, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "the names say it, and clap would print it")]
pub enum TokenType {
    Uint8,
    Uint16,
    Uint32,
    Int32,
    Int64,
}

impl From<TokenType> for StoredToken {
    fn from(stored: TokenType) -> Self {
        match stored {
            TokenType::Uint8 => Self::U8,
            TokenType::Uint16 => Self::U16,
            TokenType::Uint32 => Self::U32,
            TokenType::Int32 => Self::I32,
            TokenType::Int64 => Self::I64,
        }
    }
}

/// Printed below the options.
pub const INDEX_HELP: &str = "\
Run again, it adds what is new, in one commit, and changes nothing else: no sample comes twice, no label changes (a
new class gets the next one), what was removed stays removed. No file is opened or asked for its size, so a file that
was replaced under its name is not noticed. A listing that is stopped, by Ctrl-C too, goes on where it was: what it has
read lies in ~/.cache/forebay (XDG_CACHE_HOME, FOREBAY_CACHE_DIR), and directories that changed since are read again;
with --stat it is made anew. What was committed, or measured, stays. Several may run at once.

Examples:
  forebay index /data/photos
  forebay index /data/photos --measure --json
  forebay index /data/tokens --no-classes --extensions bin --measure --tokens uint16
  forebay index /data/speech --no-classes --extensions wav --dataset s3://bucket/sets/speech
  find . -name '*.jpg' | forebay index /data/photos --from -
  forebay index /data/photos --prune
  forebay index /data/videos --frames --measure
  forebay index '/data/train-{000..127}.tar' --dataset /data/train.forebay --measure";
