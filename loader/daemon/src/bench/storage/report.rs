//! What was found about a storage, for programs, and what follows from it.

use std::path::Path;

use serde::Serialize;

use super::fio::INSTALL;
pub use super::reads::Layout;
use crate::bench::figures::Spread;
use crate::config::EngineName;
use crate::mounts;

/// Everything about one storage.
#[derive(Clone, Debug, Serialize)]
pub struct StorageReport {
    /// As asked for, and where; in JSON it stands among the run's settings.
    #[serde(skip)]
    pub settings: StorageSettings,
    /// The engine's bytes that came from the device and not from the page cache; `None` where the kernel does not count.
    pub from_device: Option<f64>,
    /// Rounds in turns.
    pub rounds: u32,
    /// Of one side in one round.
    pub pass_seconds: f64,
    /// The grid.
    pub cells: Vec<CellReport>,
    /// The rival.
    pub fio: FioReport,
    /// Which engine `forebay` is in each cell.
    pub engine: EngineName,
    /// Why `uring` is not measured beside it, where it would be.
    pub no_uring: Option<String>,
    /// What to set.
    pub advice: String,
}

/// What decides whether two storage reports can be compared.
#[derive(Clone, Debug, Serialize)]
pub struct StorageSettings {
    /// Where test files go.
    pub directory: String,
    /// Its type, as in /proc/self/mountinfo; empty where unknown.
    pub file_system: String,
    /// Whether bare reads and fio go past the page cache.
    pub direct: bool,
    /// Bytes of all test files.
    pub test_bytes: u64,
    /// Bytes of a read.
    pub sizes: Vec<u64>,
    /// Reads at a time.
    pub depths: Vec<u32>,
}

/// One layout, size and depth.
#[derive(Clone, Debug, Serialize)]
pub struct CellReport {
    /// Where the bytes lie.
    pub layout: Layout,
    /// Of a read.
    pub size_bytes: u64,
    /// Reads at a time.
    pub depth: u32,
    /// The daemon's engine, with as many threads.
    pub forebay: Side,
    /// Its io_uring, with as many entries, where no engine was asked for by name.
    pub uring: Option<Side>,
    /// Threads with open, pread and close.
    pub bare: Side,
    /// fio, where it ran.
    pub fio: Option<FioSide>,
    /// Our rate over theirs, round by round.
    pub ratio_to_bare: Spread,
    /// As above.
    pub ratio_to_fio: Option<Spread>,
    /// Of io_uring.
    pub uring_to_bare: Option<Spread>,
    /// As above.
    pub uring_to_fio: Option<Spread>,
    /// Every round.
    pub rounds: Vec<CellRound>,
}

/// One of our engines in a cell, as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct EngineLine {
    /// Which.
    pub engine: EngineName,
    /// What it did.
    pub side: Side,
    /// Its rate over theirs.
    pub to_fio: Option<Spread>,
    /// As above.
    pub to_bare: Spread,
}

impl CellReport {
    /// Our engines: `first`, and io_uring where it was measured beside it.
    pub fn engines(&self, first: EngineName) -> impl Iterator<Item = EngineLine> {
        let Self { forebay, ratio_to_fio, ratio_to_bare, .. } = *self;
        let first = EngineLine { engine: first, side: forebay, to_fio: ratio_to_fio, to_bare: ratio_to_bare };
        let uring = self.uring.zip(self.uring_to_bare).map(|(side, to_bare)| EngineLine {
            engine: EngineName::Uring,
            side,
            to_fio: self.uring_to_fio,
            to_bare,
        });
        std::iter::once(first).chain(uring)
    }
}

/// One round of a cell.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, clippy::struct_field_names, reason = "side, then figure")]
pub struct CellRound {
    pub forebay_per_second: f64,
    pub bare_per_second: f64,
    pub fio_per_second: Option<f64>,
}

/// One side's figures of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Side {
    /// Reads a second.
    pub per_second: Spread,
    /// 10^9 bytes a second.
    pub gb_per_s: f64,
    /// From a read's being asked for until its bytes are there, open included; microseconds.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
}

/// fio's figures; its latencies are of the read alone, without open and close.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct FioSide(pub Side);

/// Whether fio ran.
#[derive(Clone, Debug, Serialize)]
pub struct FioReport {
    /// As it says; `None` where it is not installed.
    pub version: Option<String>,
    /// Why there are no figures of it, and the cure.
    pub missing: Option<String>,
}

impl FioReport {
    /// Of a fio of `version`, which may have failed.
    pub fn new(version: Option<String>, failed: Option<String>) -> Self {
        let missing = match (&version, failed) {
            (None, _) => Some(format!("fio is not installed: {INSTALL}")),
            (Some(_), failed) => failed,
        };
        Self { version, missing }
    }
}

/// Samples are most often of about this size.
const SAMPLE_BYTES: f64 = 51_200.0;
/// More reads at a time than reach this share of the best rate bring little and take threads.
const ENOUGH: f64 = 0.9;

/// How many reads at a time the daemon should make, by the small files nearest in size to common samples.
pub fn advice(cells: &[CellReport]) -> String {
    let distance = |cell: &&CellReport| (cell.size_bytes as f64 / SAMPLE_BYTES).ln().abs();
    let small: Vec<_> = cells.iter().filter(|cell| cell.layout == Layout::SmallFiles).collect();
    let Some(size_bytes) =
        small.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map(|cell| cell.size_bytes)
    else {
        return String::new();
    };
    let mut depths: Vec<_> = small
        .iter()
        .filter(|cell| cell.size_bytes == size_bytes)
        .map(|cell| (cell.depth, cell.forebay.per_second.median))
        .collect();
    depths.sort_by_key(|(depth, _)| *depth);
    let best = depths.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let enough = depths.iter().find(|(_, rate)| *rate >= ENOUGH * best);
    let (Some(&(depth, rate)), Some(&(deepest, _))) = (enough, depths.last()) else { return String::new() };
    let more = if depth == deepest && depths.len() > 1 {
        "; the rate still grows there: try greater --storage-depths"
    } else {
        ""
    };
    format!(
        "read_threads = {depth} reaches {:.0} % of the best rate with files of {}{more}",
        100.0 * rate / best.max(1e-9),
        super::table::size(size_bytes)
    )
}

/// The type of the file system beneath `path`; empty where unknown.
pub fn file_system(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = mounts::beneath(Path::new("/"));
    mounts::holding(&mounts, &path).map(|mount| mount.fs_type.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(size_bytes: u64, depth: u32, rate: f64) -> CellReport {
        let side = Side { per_second: Spread { median: rate, low: rate, high: rate }, ..Side::default() };
        CellReport {
            layout: Layout::SmallFiles,
            size_bytes,
            depth,
            forebay: side,
            uring: None,
            bare: side,
            fio: None,
            ratio_to_bare: Spread::default(),
            ratio_to_fio: None,
            uring_to_bare: None,
            uring_to_fio: None,
            rounds: Vec::new(),
        }
    }

    #[test]
    fn the_smallest_depth_that_is_nearly_the_best_is_advised() {
        let cells = [
            cell(4096, 1, 9.0),
            cell(51_200, 1, 10.0),
            cell(51_200, 4, 95.0),
            cell(51_200, 16, 100.0),
            cell(1 << 20, 64, 5.0),
        ];
        assert_eq!(advice(&cells), "read_threads = 4 reaches 95 % of the best rate with files of 50 KiB");
        assert!(advice(&cells[..3]).ends_with("try greater --storage-depths"));
        assert_eq!(advice(&[]), "");
    }

    #[test]
    fn a_missing_fio_tells_how_to_get_it() {
        let missing = |version: Option<&str>, failed: Option<&str>| {
            FioReport::new(version.map(str::to_owned), failed.map(str::to_owned)).missing
        };
        assert!(missing(None, None).expect("words").contains("apt install fio"));
        assert_eq!(missing(Some("fio-3.33"), None), None);
        assert_eq!(missing(Some("fio-3.33"), Some("err=22")), Some("err=22".to_owned()));
    }
}
