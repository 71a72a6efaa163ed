//! What `forebay index` was asked for.

use std::path::PathBuf;

/// Options of `forebay index`.
#[derive(clap::Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct IndexArgs {
    /// A folder of class folders, a folder of files (--no-classes), or a list: .csv, .tsv, .jsonl or .parquet.
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
    /// The column of the paths. Absent: as the data set has it; else image, audio or path, by the extensions.
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Where a list's paths are relative to. Absent: where the data set's are; else the list's folder.
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Ask for each new file's size and time: columns size_bytes and mtime_ns. A call a file.
    #[arg(long, conflicts_with = "from")]
    pub stat: bool,
    /// Read the headers of samples that were not measured yet: width and height of JPEG and PNG; duration_s, sample_rate
    /// and channels of WAV.
    #[arg(long)]
    pub measure: bool,
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

/// Printed below the options.
pub const INDEX_HELP: &str = "\
Run again, it adds what is new, in one commit, and changes nothing else: no sample comes twice, no label changes (a
new class gets the next one), what was removed stays removed. No file is opened or asked for its size, so a file that
was replaced under its name is not noticed. A listing that is stopped is made anew; what was committed, or measured,
stays. Several may run at once.

Examples:
  forebay index /data/photos
  forebay index /data/photos --measure --json
  forebay index /data/speech --no-classes --extensions wav --dataset s3://bucket/sets/speech
  find . -name '*.jpg' | forebay index /data/photos --from -
  forebay index /data/photos --prune";
