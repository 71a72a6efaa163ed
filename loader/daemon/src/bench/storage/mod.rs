//! `forebay bench --storage`: random reads of given sizes and depths, by the daemon's engines, by bare threads and by fio,
//! in turns on the same test files.

mod files;
mod fio;
pub mod options;
mod reads;
pub mod report;
mod sides;
mod table;

use std::path::Path;
use std::time::Duration;

use super::figures::{percentile_us, spread};
use super::options::{Amount, BenchArgs};
use super::progress::Progress;
use super::stop::Stop;
use crate::config::EngineName;
use crate::error::Fault;
use crate::storage::UringProbe;
use files::{Plan, TestFiles};
use fio::FioRun;
use options::StorageArgs;
use reads::{Cell, Layout, Reads};
use report::{
    CellReport, CellRound, FioReport, FioSide, Side, StorageReport, StorageSettings, advice, file_system,
};
use sides::Pass;
pub use table::{size, time};

/// A pass shorter than this says nothing.
const PASS_MIN: Duration = Duration::from_millis(200);

/// Where test files would go for `path`, and what would be measured.
///
/// # Errors
/// PATH is not there, or no place for test files.
pub fn settings(path: &Path, options: &StorageArgs) -> Result<StorageSettings, Fault> {
    let directory = TestFiles::place(path)?;
    let plan = Plan::new(&options.storage_sizes, options.storage_bytes.0)?;
    Ok(StorageSettings {
        file_system: file_system(directory.parent().unwrap_or(&directory)),
        directory: directory.display().to_string(),
        direct: options.direct,
        test_bytes: plan.total_bytes(),
        sizes: options.storage_sizes.clone(),
        depths: options.storage_depths.clone(),
    })
}

/// Measures the storage.
///
/// # Errors
/// What is wrong with its file system; Unavailable once `stop` is set. Test files are gone in any case.
pub fn run(
    settings: StorageSettings,
    args: &BenchArgs,
    progress: &Progress,
    stop: &Stop,
) -> Result<StorageReport, Fault> {
    let plan = Plan::new(&settings.sizes, args.storage.storage_bytes.0)?;
    let cells = grid(&settings.sizes, &settings.depths);
    let target = pass_time(args.seconds, cells.len(), args.rounds);
    let version = fio::version();
    let engines = Engines::new(args.engine);
    let sides = 2 + u32::from(version.is_some()) + u32::from(engines.other.is_some());
    progress.say(&format!(
        "test files: {} MiB in {}, removed at the end; {} combinations, {sides} sides, {} rounds: about {:.0} s",
        plan.total_bytes() >> 20,
        settings.directory,
        cells.len(),
        args.rounds,
        target.as_secs_f64() * f64::from(sides * args.rounds) * cells.len() as f64,
    ));
    let files = TestFiles::make(settings.directory.clone().into(), plan, progress, stop)?;
    let mut fio = Fio { version, failed: None };
    let mut reports = Vec::new();
    let mut device = Device::default();
    for (number, cell) in cells.iter().enumerate() {
        let what = format!("{} of {}: {}", number + 1, cells.len(), words(cell));
        let pass = Pass { cell: *cell, files: &files, target, direct: settings.direct, progress, stop };
        reports.push(measure(&pass, args.rounds, &engines, &what, &mut fio, &mut device)?);
    }
    progress.end();
    Ok(StorageReport {
        from_device: device.share(),
        rounds: args.rounds,
        pass_seconds: target.as_secs_f64(),
        advice: advice(&reports),
        cells: reports,
        fio: FioReport::new(fio.version, fio.failed),
        engine: engines.first,
        no_uring: engines.missing,
        settings,
    })
}

/// The sizes by the depths, small files first.
fn grid(sizes: &[u64], depths: &[u32]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for layout in [Layout::SmallFiles, Layout::LargeFile] {
        for &size_bytes in sizes {
            cells.extend(depths.iter().map(|&depth| Cell { layout, size_bytes, depth }));
        }
    }
    cells
}

fn pass_time(seconds: f64, cells: usize, rounds: u32) -> Duration {
    Duration::from_secs_f64(seconds / cells as f64 / f64::from(rounds)).max(PASS_MIN)
}

fn words(cell: &Cell) -> String {
    let place = match cell.layout {
        Layout::SmallFiles => "small files",
        Layout::LargeFile => "one large file",
    };
    format!("{place}, {} at depth {}", size(cell.size_bytes), cell.depth)
}

/// Which of the daemon's engines are measured.
struct Engines {
    first: EngineName,
    other: Option<EngineName>,
    /// Why there is no other, where there would be one.
    missing: Option<String>,
}

impl Engines {
    /// The one that was asked for; else threads, and io_uring where it may be used.
    fn new(asked: Option<EngineName>) -> Self {
        match (asked, UringProbe::take().objection()) {
            (Some(first), _) => Self { first, other: None, missing: None },
            (None, None) => {
                Self { first: EngineName::Threads, other: Some(EngineName::Uring), missing: None }
            }
            (None, missing) => Self { first: EngineName::Threads, other: None, missing },
        }
    }
}

/// Whether it is there, and whether it did what was asked.
struct Fio {
    version: Option<String>,
    failed: Option<String>,
}

impl Fio {
    /// Its figures; none once it has failed, which its report tells.
    fn run(&mut self, pass: &Pass) -> Result<Option<FioRun>, Fault> {
        if self.version.is_none() || self.failed.is_some() {
            return Ok(None);
        }
        match fio::run(pass) {
            Ok(run) => Ok(Some(run)),
            Err(fault) => {
                pass.stop.check()?;
                self.failed = Some(fault.to_string());
                Ok(None)
            }
        }
    }
}

/// What the engine's reads had fetched from the device.
#[derive(Default)]
struct Device {
    fetched_bytes: u64,
    read_bytes: u64,
}

impl Device {
    fn add(&mut self, reads: &Reads) {
        if let Some(fetched_bytes) = reads.device_bytes {
            self.fetched_bytes += fetched_bytes;
            self.read_bytes += reads.bytes;
        }
    }

    /// Of all bytes read; `None` where the kernel does not count.
    fn share(&self) -> Option<f64> {
        (self.read_bytes > 0).then(|| (self.fetched_bytes as f64 / self.read_bytes as f64).min(1.0))
    }
}

/// All rounds of one cell.
fn measure(
    pass: &Pass,
    rounds: u32,
    engines: &Engines,
    what: &str,
    fio: &mut Fio,
    device: &mut Device,
) -> Result<CellReport, Fault> {
    let (mut engine, mut other, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        pass.progress.begin(format!("{what}, forebay"), Amount::Seconds(pass.target.as_secs_f64()));
        engine.push(pass.engine(engines.first)?);
        if let Some(name) = engines.other {
            pass.progress.begin(format!("{what}, uring"), Amount::Seconds(pass.target.as_secs_f64()));
            other.push(pass.engine(name)?);
        }
        pass.progress.begin(format!("{what}, bare"), Amount::Seconds(pass.target.as_secs_f64()));
        bare.push(pass.bare()?);
        pass.progress.begin(format!("{what}, fio"), Amount::Seconds(pass.target.as_secs_f64()));
        theirs.extend(fio.run(pass)?);
    }
    engine.iter().for_each(|reads| device.add(reads));
    // A fio that failed in a later round leaves no figure: one of fewer rounds would stand beside one of more.
    let theirs = if theirs.len() == rounds as usize { theirs } else { Vec::new() };
    let Cell { layout, size_bytes, depth } = pass.cell;
    Ok(CellReport {
        layout,
        size_bytes,
        depth,
        ratio_to_bare: spread(engine.iter().zip(&bare).map(|(ours, bare)| rate(ours) / rate(bare))),
        ratio_to_fio: (!theirs.is_empty())
            .then(|| spread(engine.iter().zip(&theirs).map(|(ours, fio)| rate(ours) / fio.per_second))),
        rounds: cell_rounds(&engine, &bare, &theirs),
        uring_to_fio: (!other.is_empty() && !theirs.is_empty())
            .then(|| spread(other.iter().zip(&theirs).map(|(ours, fio)| rate(ours) / fio.per_second))),
        uring_to_bare: (!other.is_empty())
            .then(|| spread(other.iter().zip(&bare).map(|(ours, bare)| rate(ours) / rate(bare)))),
        uring: (!other.is_empty()).then(|| side(other)),
        forebay: side(engine),
        bare: side(bare),
        fio: fio_side(&theirs),
    })
}

fn cell_rounds(engine: &[Reads], bare: &[Reads], fio: &[FioRun]) -> Vec<CellRound> {
    let round = |(number, (ours, bare)): (usize, (&Reads, &Reads))| CellRound {
        forebay_per_second: rate(ours),
        bare_per_second: rate(bare),
        fio_per_second: fio.get(number).map(|run| run.per_second),
    };
    engine.iter().zip(bare).enumerate().map(round).collect()
}

fn rate(reads: &Reads) -> f64 {
    reads.count as f64 / reads.wall.as_secs_f64().max(1e-9)
}

fn side(rounds: Vec<Reads>) -> Side {
    let per_second = spread(rounds.iter().map(rate));
    let gb_per_s =
        spread(rounds.iter().map(|reads| reads.bytes as f64 / 1e9 / reads.wall.as_secs_f64().max(1e-9)));
    let mut latencies: Vec<Duration> = rounds.into_iter().flat_map(|reads| reads.latencies).collect();
    latencies.sort_unstable();
    let us = |percent| percentile_us(&latencies, percent);
    Side { per_second, gb_per_s: gb_per_s.median, p50_us: us(50), p99_us: us(99) }
}

fn fio_side(rounds: &[FioRun]) -> Option<FioSide> {
    let median = |figure: fn(&FioRun) -> f64| spread(rounds.iter().map(figure)).median;
    (!rounds.is_empty()).then(|| {
        FioSide(Side {
            per_second: spread(rounds.iter().map(|run| run.per_second)),
            gb_per_s: median(|run| run.gb_per_s),
            p50_us: median(|run| run.p50_us),
            p99_us: median(|run| run.p99_us),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_meets_every_depth_in_both_layouts() {
        let cells = grid(&[4096, 1 << 20], &[1, 16]);
        assert_eq!(cells.len(), 8);
        let last = Cell { layout: Layout::LargeFile, size_bytes: 1 << 20, depth: 16 };
        assert_eq!((cells[0].layout, cells[7]), (Layout::SmallFiles, last));
    }

    #[test]
    fn passes_share_the_time_and_none_is_too_short_to_mean_anything() {
        assert_eq!(pass_time(48.0, 8, 3), Duration::from_secs(2));
        assert_eq!(pass_time(1.0, 24, 3), PASS_MIN);
    }

    #[test]
    fn the_share_from_the_device_is_unknown_where_nobody_counts() {
        let mut device = Device::default();
        device.add(&Reads { bytes: 100, ..Reads::default() });
        assert_eq!(device.share(), None);
        device.add(&Reads { bytes: 100, device_bytes: Some(25), ..Reads::default() });
        assert_eq!(device.share(), Some(0.25));
    }
}
