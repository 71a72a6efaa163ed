//! What `forebay ingest` was asked for.

use std::num::NonZeroUsize;

/// Options of `forebay ingest`.
#[derive(clap::Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct IngestArgs {
    /// The folder to copy from, or s3://bucket/prefix.
    pub source: String,
    /// The folder to copy to, made where it is not there; or s3://bucket/prefix.
    pub target: String,
    /// The data set that what was copied is indexed into. Absent: beside the target, as /data/photos.forebay or
    /// s3://bucket/photos.forebay.
    #[arg(long, value_name = "PLACE")]
    pub dataset: Option<String>,
    /// Files copied at a time.
    #[arg(short, long, value_name = "N", default_value = "16")]
    pub jobs: NonZeroUsize,
    /// Read what was copied back and compare its blake3; files that were there already too.
    #[arg(long)]
    pub verify: bool,
    /// Write over files that differ.
    #[arg(long)]
    pub replace: bool,
    /// Copy alone.
    #[arg(long, conflicts_with_all = ["dataset", "extensions", "no_classes"])]
    pub no_index: bool,
    /// What the names of sample files end in, as for `forebay index`; everything is copied all the same.
    #[arg(long, value_name = "EXT,...", value_delimiter = ',')]
    pub extensions: Vec<String>,
    /// Files at any depth, without classes, as for `forebay index`.
    #[arg(long)]
    pub no_classes: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Printed below the options.
pub const INGEST_HELP: &str = "\
A file is written under another name and renamed when it is whole; its checksum (blake3) is taken on the way and kept as
the column `blake3`. Run again, it copies what is missing: a file of the same size and time is known. One of the same
size and another time is read on both sides. One that differs is an error before anything is copied, unless --replace.
Times are kept. Links are followed; sockets, devices and the like are passed over and counted.

Buckets: credentials, region and endpoint come from AWS_*. Objects are made whole, those above 8 MiB in parts; the store
checks each request's SHA-256. They carry the source's time and, up to 8 MiB, its blake3, which is checked when they are
copied out again. Knowing one again costs a request, so use more --jobs for many. Parts that a killed run has sent stay
until a lifecycle rule (AbortIncompleteMultipartUpload) removes them. Samples are read from folders as yet: a bucket is
a place to keep data and data sets in, and to copy them from.

Examples:
  forebay ingest /mnt/usb/photos /data/photos
  forebay ingest s3://archive/photos /data/photos --jobs 64
  forebay ingest /data/photos s3://archive/photos --verify
  forebay ingest /mnt/archive/speech /data/speech --no-classes --extensions wav --jobs 64
  forebay ingest /mnt/usb/photos /data/photos --verify --json";
