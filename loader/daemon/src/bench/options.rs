//! What `forebay bench` was asked for.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use super::emulate::options::EmulateArgs;
use super::size_for::options::SizeArgs;
use super::storage::options::StorageArgs;
use super::synthetic::Synthetic;
use super::upload::options::UploadArgs;
use crate::config::{DirectReads, EngineName};

/// Options of `forebay bench`.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchArgs {
    /// A folder of class folders, a .csv, .tsv, .jsonl or .parquet list with a path column, or .tar or .tfrecord shards;
    /// with --stage read any folder of files, with --storage any folder.
    ///
    /// With --emulate: where made-up data lies or is to be made; default: forebay/emulate in the user's cache folder.
    /// With --size-for: what is measured; default: synthetic photographs.
    #[arg(required_unless_present_any = ["emulate", "size_for", "synthetic", "host_to_device"])]
    pub path: Option<PathBuf>,
    /// Measure data of our own: photos of ImageNet's sizes (1000, 110 MB) or tiny ones (1000, 1 MB). Made once, kept in
    /// the user's cache folder, used again.
    #[arg(long, value_enum, value_name = "KIND", num_args = 0..=1, default_missing_value = "photos", conflicts_with = "path")]
    pub synthetic: Option<Synthetic>,
    /// Measured seconds of the whole path, of the one stage, or of all of --storage; what stands beside it takes as long
    /// again. With --emulate: of each run.
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub seconds: f64,
    /// Measure so many rows instead, rounded up to whole batches a round.
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: Option<u64>,
    /// Rows of a batch.
    #[arg(long, value_name = "ROWS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch: u32,
    /// Decode threads, of forebay and of the bare loop; default: the processors of this process.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// The storage engine; auto is io_uring for parts of large local files, threads for the rest [default: auto; with
    /// --storage threads, and uring in turns beside it].
    #[arg(long, value_enum, value_name = "ENGINE")]
    pub engine: Option<EngineName>,
    /// Whether io_uring reads parts of files past the page cache, as with the daemon's direct_reads; alone: always
    /// [default: auto].
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_missing_value = "always", require_equals = true)]
    pub direct_reads: Option<DirectReads>,
    /// Which part of the path; all is each part alone, and the whole [default: all, or none with --storage].
    #[arg(long, value_enum)]
    pub stage: Option<Stage>,
    /// train: RandomResizedCrop(224) and flip; eval: Resize(256) and CenterCrop(224).
    #[arg(long, value_enum, default_value_t = Transform::Train)]
    pub transform: Transform,
    /// Of the images; float32 is normalised with ImageNet's mean and deviation.
    #[arg(long, value_enum, default_value_t = Dtype::Uint8)]
    pub dtype: Dtype,
    /// Training processes that take batches at the same time, each its share of the rows.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub consumers: u32,
    /// Rounds that forebay and the bare loop take in turns.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Read the files once before, for at most so many seconds, so that both sides find them in the page cache; 0: do not.
    #[arg(long, value_name = "S", default_value = "20", value_parser = zero_or_seconds)]
    pub warmup: f64,
    /// Of the order and the crops.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print the figures as JSON, for --compare and for programs.
    #[arg(long)]
    pub json: bool,
    /// Emulated accelerators.
    #[command(flatten)]
    pub emulation: EmulateArgs,
    /// Sizing.
    #[command(flatten)]
    pub sizing: SizeArgs,
    /// Storage.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Copies to a GPU.
    #[command(flatten)]
    pub upload: UploadArgs,
    /// What becomes of the figures.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What becomes of the figures, beside a table or JSON.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Report and comparison")]
pub struct OutputArgs {
    /// Write a report with plots: one page that needs no network and no scripts.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Compare with an earlier run's --json, stage by stage. Refused where data, settings or machine differ.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Compare all the same; what differs is named.
    #[arg(long, requires = "compare")]
    pub force: bool,
    /// Exit with 1 where a rate is below this share of the earlier one, outside of noise, and the bare loop did not
    /// become slower with it.
    #[arg(long, value_name = "SHARE", requires = "compare", value_parser = share)]
    pub fail_below: Option<f64>,
}

/// Which part of the path is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Each part alone, then the whole path to the consumer.
    All,
    /// The storage engine alone.
    Read,
    /// From files in memory to finished slots, without a socket.
    Decode,
    /// The hand-over of batches that cost nothing to make.
    Deliver,
    /// The bare decoding loop beside itself: the most that these processors do, and how far noise moves a ratio.
    Floor,
    /// The bare reading loop beside itself, into memory that goes round as batches do.
    ReadFloor,
}

/// What happens to the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// RandomResizedCrop(224), RandomHorizontalFlip.
    Train,
    /// Resize(256), CenterCrop(224).
    Eval,
}

/// What the images become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 0 to 255.
    Uint8,
    /// Normalised.
    Float32,
}

/// How much one pass measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Until the clock says so.
    Seconds(f64),
    /// Until so many rows are done.
    Rows(u64),
}

impl BenchArgs {
    /// Which stages are measured: all where nothing else was asked for, none where storage alone was.
    pub fn stages(&self) -> Option<Stage> {
        self.stage.or((!self.storage.storage).then_some(Stage::All))
    }

    /// What one round of a stage measures, where the stage gets `share` of the time of the whole path, of data with so
    /// many rows an epoch. A cold turn meets no row twice.
    pub fn amount(&self, share: f64, epoch_rows: u64) -> Amount {
        let rounds = self.rounds;
        match self.rows {
            rows if self.emulation.cold => {
                Amount::Rows(rows.map_or(epoch_rows, |rows| rows.div_ceil(u64::from(rounds)).min(epoch_rows)))
            }
            Some(rows) => Amount::Rows(rows.div_ceil(u64::from(rounds))),
            None => Amount::Seconds((self.seconds * share / f64::from(rounds)).max(0.05)),
        }
    }
}

/// What `forebay bench --help` ends with.
pub const BENCH_HELP: &str = "\
Each stage runs beside its own ceiling, in turns: reading beside bare open, pread and close; decoding and the whole
path beside bare threads that do the same to the same rows into a private buffer. A ratio near 1 is the aim.

Examples:
  forebay bench --synthetic
  forebay bench /data/imagenet/train --html report.html
  forebay bench /data/train.parquet --batch 512 --dtype float32 --threads 8
  forebay bench /data/photos --consumers 4 --json > before.json
  forebay bench /data/photos --consumers 4 --compare before.json --fail-below 0.95
  forebay bench /data/volumes --stage read --seconds 30 --engine uring
  forebay bench /data/photos --stage read --cold --rounds 5
  forebay bench /mnt/flash --storage --storage-sizes 50KiB,1MiB --storage-depths 1,16,64 --direct --html flash.html
  forebay bench --emulate retinanet --accelerator b200 --find-max --cold /data/scratch
  forebay bench --emulate unet3d --accelerator h100 --accelerators 2 --emulate-gb 20 --json /data/scratch
  forebay bench --host-to-device --json
  forebay bench --host-to-device cuda:3 --batch 512 --dtype float32 --rounds 5
  forebay bench --size-for resnet50 --gpus 8 --gpu h100 /data/imagenet/train
  forebay bench --size-for resnet50 --gpu a100 --from all.json --cores 64";

fn seconds(text: &str) -> Result<f64, String> {
    zero_or_seconds(text)
        .and_then(|value| if value > 0.0 { Ok(value) } else { Err("must be above 0".to_owned()) })
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 10.0 => Ok(value),
        _ => Err("give a share of the earlier rate, as in 0.95".to_owned()),
    }
}

fn zero_or_seconds(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    match number {
        Ok(value) if (0.0..=86_400.0).contains(&value) => Ok(value),
        _ => Err("give seconds, from 0 to 86400, as in 10 or 2.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(words: &[&str]) -> Result<BenchArgs, String> {
        let words = ["bench", "/data"].iter().chain(words);
        Line::try_parse_from(words).map(|line| line.bench).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_and_seconds_are_shared_out_over_the_rounds() {
        let rows = parse(&["--rows", "100", "--rounds", "3"]).expect("fine");
        assert_eq!(rows.amount(0.25, 9), Amount::Rows(34));
        let seconds = parse(&["--seconds", "12s"]).expect("fine");
        assert_eq!(seconds.amount(0.25, 9), Amount::Seconds(1.0));
    }

    #[test]
    fn a_cold_turn_meets_no_row_twice() {
        assert_eq!(parse(&["--cold"]).expect("fine").amount(1.0, 50), Amount::Rows(50));
        assert_eq!(parse(&["--cold", "--rows", "90"]).expect("fine").amount(1.0, 50), Amount::Rows(30));
        assert_eq!(parse(&["--cold", "--rows", "900"]).expect("fine").amount(1.0, 50), Amount::Rows(50));
    }

    #[test]
    fn wrong_values_are_named_with_what_is_right() {
        assert!(parse(&["--stage", "decoded"]).expect_err("unknown").contains("decode, deliver"));
        assert!(parse(&["--seconds", "0"]).expect_err("zero").contains("above 0"));
        assert!(parse(&["--batch", "0"]).expect_err("zero").contains("1..="));
        assert!(parse(&["--rows", "5", "--seconds", "5"]).is_err());
        assert!(parse(&["--synthetic"]).expect_err("PATH too").contains("cannot be used with"));
        assert!(parse(&["--fail-below", "0.9"]).expect_err("of what").contains("--compare"));
        assert!(parse(&["--compare", "a", "--fail-below", "0"]).expect_err("zero").contains("as in 0.95"));
        assert!(parse(&["--storage-sizes", "4KiB"]).expect_err("no --storage").contains("--storage"));
        assert!(
            parse(&["--storage", "--storage-sizes", "4KB"]).expect_err("unit").contains("KiB, MiB or GiB")
        );
        assert!(parse(&["--storage", "--storage-sizes", "1GiB"]).expect_err("large").contains("to 256MiB"));
        assert!(parse(&["--storage", "--storage-depths", "0"]).expect_err("zero").contains("1..="));
    }

    #[test]
    fn storage_alone_measures_no_stage_that_was_not_asked_for() {
        assert_eq!(parse(&[]).expect("fine").stages(), Some(Stage::All));
        assert_eq!(parse(&["--storage"]).expect("fine").stages(), None);
        assert_eq!(parse(&["--storage", "--stage", "read"]).expect("fine").stages(), Some(Stage::Read));
    }

    #[test]
    fn lists_of_sizes_and_depths_are_read_with_their_units() {
        let given = [
            "--storage",
            "--storage-sizes",
            "512B,4KiB",
            "--storage-depths",
            "2,8",
            "--storage-bytes",
            "64MiB",
        ];
        let storage = parse(&given).expect("fine").storage;
        assert_eq!((storage.storage_sizes, storage.storage_depths), (vec![512, 4096], vec![2, 8]));
        assert_eq!(storage.storage_bytes.0, 64 << 20);
    }

    #[test]
    fn data_of_our_own_needs_no_path_and_has_a_default_kind() {
        let of = |words: &[&str]| {
            Line::try_parse_from([&["bench"], words].concat()).map(|line| line.bench.synthetic)
        };
        assert_eq!(of(&["--synthetic"]).expect("fine"), Some(Synthetic::Photos));
        assert_eq!(of(&["--synthetic", "tiny"]).expect("fine"), Some(Synthetic::Tiny));
        assert!(of(&[]).expect_err("neither").to_string().contains("<PATH>"));
    }
}
