//! What an emulation found, for people and for programs.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::figures::{Spread, spread};
use super::super::machine::Machine;
use super::super::wait::{WaitShares, Waits};
use super::data::Data;
use super::node::Run;
use super::workload::{Accelerator, Layout, Model, Step};
use crate::config::Config;
use crate::sys;

/// On every report.
pub const LABEL: &str = "MLPerf-Storage-like, unverified";
/// What follows from it, and what stands in for what.
pub const DISCLAIMER: &str =
    "not a result of MLCommons' benchmark: made-up data, this tool's own rules, reviewed by nobody";
/// The published benchmark asks for data of so many times the memory.
const MEMORY_FACTOR: f64 = 5.0;
/// Sleeps that are late for more of the time are flagged.
const OVERSLEPT_MAX: f64 = 0.02;
/// Runs further apart than this are flagged.
const SPREAD_MAX: f64 = 0.05;

/// What a report is made from.
pub struct Facts<'a> {
    /// What is trained.
    pub model: Model,
    /// On what.
    pub accelerator: Accelerator,
    /// Batch and time.
    pub step: Step,
    /// How samples are stored.
    pub layout: Layout,
    /// The data.
    pub data: &'a Data,
    /// Of the daemon.
    pub config: &'a Config,
    /// Whether records were dropped from the page cache before they were read.
    pub cold: bool,
    /// Of one run.
    pub seconds: f64,
    /// Of the order.
    pub seed: u64,
    /// Where the most was searched for.
    pub search: Option<SearchReport>,
    /// What was measured, or confirmed; absent where one accelerator is too many.
    pub trial: Option<Trial>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct EmulateReport {
    /// Of this JSON.
    pub schema: &'static str,
    /// [`LABEL`].
    pub label: &'static str,
    /// [`DISCLAIMER`].
    pub disclaimer: &'static str,
    /// This binary's version.
    pub forebay: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// What was emulated.
    pub workload: WorkloadReport,
    /// On what.
    pub data: DataReport,
    /// How.
    pub settings: SettingsReport,
    /// The search for the most accelerators.
    pub search: Option<SearchReport>,
    /// The runs; of the most accelerators where that was searched for.
    pub result: Option<Trial>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// What was emulated; published figures.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "each is the figure of that name, unit in the name")]
pub struct WorkloadReport {
    pub model: Model,
    pub accelerator: Accelerator,
    pub batch: u32,
    pub step_s: f64,
    pub samples_per_s: f64,
    pub gb_per_s: f64,
    pub sample_bytes: u64,
    pub sample_bytes_stdev: u64,
    pub samples_per_file: u64,
    pub row_bytes: u32,
    pub container: &'static str,
    pub utilisation_floor: f64,
}

/// On what.
#[derive(Clone, Debug, Serialize)]
pub struct DataReport {
    /// Its folder.
    pub path: String,
    /// Files that were used.
    pub files: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of the samples.
    pub bytes: u64,
    /// Over this machine's memory; the published benchmark asks for 5.
    pub times_memory: f64,
    /// Whether each record was dropped from the page cache just before it was read.
    pub cold: bool,
}

/// How.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "each is the option or the configuration key of the same name")]
pub struct SettingsReport {
    pub seconds: f64,
    pub threads: usize,
    pub read_threads: usize,
    pub read_budget_bytes: u64,
    pub reads_in_flight: u32,
    pub depth: u32,
    pub max_leases: u32,
    pub seed: u64,
}

/// The search for the most accelerators.
#[derive(Clone, Debug, Serialize)]
pub struct SearchReport {
    /// The most that held the floor; 0: one did not.
    pub most: u32,
    /// The most that could be tried.
    pub limit: u32,
    /// What sets that limit, where it was reached: more might hold.
    pub limited_by: Option<&'static str>,
    /// All that was tried, in order.
    pub trials: Vec<Trial>,
}

/// Runs of so many accelerators.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// How many.
    pub accelerators: u32,
    /// The share of the time that they worked, over runs.
    pub utilisation: Spread,
    /// Whether the median reaches the floor.
    pub holds: bool,
    /// Runs that reached it.
    pub runs_held: u32,
    /// Highest less lowest run, over the median.
    pub spread: f64,
    /// Whether that is above 5 %.
    pub unsteady: bool,
    /// Samples a second of all.
    pub samples_per_s: Spread,
    /// 10^9 bytes a second of all.
    pub gb_per_s: f64,
    /// Processor seconds of 1000 samples; the process's, sleeping consumers included.
    pub cpu_s_per_1000: f64,
    /// Of the bytes, the share that the kernel fetched from storage; the page cache had the rest.
    pub from_storage: Option<f64>,
    /// The share of the time that sleeps lasted beyond the step time: neither work nor waiting.
    pub overslept: f64,
    /// What accelerators waited for.
    pub wait: WaitShares,
    /// Every run.
    pub runs: Vec<RunReport>,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// Mean over accelerators.
    pub utilisation: f64,
    /// Of the worst off.
    pub utilisation_low: f64,
    /// Counted steps of all.
    pub steps: u64,
    /// Samples a second of all.
    pub samples_per_s: f64,
    /// Samples read.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Of those, fetched from storage.
    pub storage_bytes: Option<u64>,
    /// Processor seconds.
    pub cpu_s: f64,
    /// Longest accelerator's counted time.
    pub wall_s: f64,
    #[serde(skip)]
    waits: Waits,
    #[serde(skip)]
    walls: Duration,
}

impl RunReport {
    /// The figures of a run.
    pub fn new(run: &Run, step: Step) -> Self {
        let time = Duration::from_secs_f64(step.step_s);
        let used: Vec<f64> = run.worked.iter().map(|worked| worked.utilisation(time)).collect();
        let mut waits = Waits::default();
        run.worked.iter().for_each(|worked| waits.merge(&worked.waits));
        Self {
            utilisation: used.iter().sum::<f64>() / used.len().max(1) as f64,
            utilisation_low: used.iter().copied().fold(f64::INFINITY, f64::min),
            steps: run.worked.iter().map(|worked| u64::from(worked.steps)).sum(),
            samples_per_s: used.iter().map(|used| used * step.samples_per_s()).sum(),
            reads: run.reads,
            read_bytes: run.read_bytes,
            storage_bytes: run.storage_bytes,
            cpu_s: run.cpu.as_secs_f64(),
            wall_s: run.worked.iter().map(|worked| worked.wall.as_secs_f64()).fold(0.0, f64::max),
            waits,
            walls: run.worked.iter().map(|worked| worked.wall).sum(),
        }
    }
}

impl Trial {
    /// The figures of all runs of `accelerators`.
    pub fn new(accelerators: u32, floor: f64, runs: Vec<RunReport>) -> Self {
        let utilisation = spread(runs.iter().map(|run| run.utilisation));
        let width = if utilisation.median > 0.0 {
            (utilisation.high - utilisation.low) / utilisation.median
        } else {
            0.0
        };
        let samples_per_s = spread(runs.iter().map(|run| run.samples_per_s));
        let total = |of: fn(&RunReport) -> u64| runs.iter().map(of).sum::<u64>() as f64;
        let (reads, bytes) = (total(|run| run.reads).max(1.0), total(|run| run.read_bytes));
        let stored: Option<u64> = runs.iter().map(|run| run.storage_bytes).sum();
        let mut waits = Waits::default();
        runs.iter().for_each(|run| waits.merge(&run.waits));
        let wait = waits.shares(runs.iter().map(|run| run.walls).sum());
        let mean = runs.iter().map(|run| run.utilisation).sum::<f64>() / runs.len().max(1) as f64;
        Self {
            accelerators,
            utilisation,
            holds: utilisation.median >= floor,
            runs_held: runs.iter().filter(|run| run.utilisation >= floor).count() as u32,
            spread: width,
            unsteady: width > SPREAD_MAX,
            samples_per_s,
            gb_per_s: samples_per_s.median * bytes / reads / 1e9,
            cpu_s_per_1000: runs.iter().map(|run| run.cpu_s).sum::<f64>() * 1000.0 / reads,
            from_storage: stored.map(|stored| stored as f64 / bytes.max(1.0)),
            overslept: (1.0 - mean - wait.waited).max(0.0),
            wait,
            runs,
        }
    }
}

impl EmulateReport {
    /// Puts it together.
    pub fn new(facts: Facts<'_>) -> Self {
        let Facts { model, accelerator, step, layout, data, config, cold, seconds, seed, search, trial } =
            facts;
        let memory_bytes = sys::memory_bytes();
        let data = DataReport {
            path: data.root.display().to_string(),
            files: data.files,
            samples: data.snapshot.len(),
            bytes: data.bytes,
            times_memory: data.bytes as f64 / memory_bytes as f64,
            cold,
        };
        let mut report = Self {
            schema: "forebay emulate 1",
            label: LABEL,
            disclaimer: DISCLAIMER,
            forebay: env!("CARGO_PKG_VERSION"),
            machine: Machine::here(),
            workload: WorkloadReport {
                model,
                accelerator,
                batch: step.batch,
                step_s: step.step_s,
                samples_per_s: step.samples_per_s(),
                gb_per_s: step.samples_per_s() * layout.sample_bytes as f64 / 1e9,
                sample_bytes: layout.sample_bytes,
                sample_bytes_stdev: layout.sample_bytes_stdev,
                samples_per_file: layout.samples_per_file,
                row_bytes: layout.delivered_bytes(),
                container: layout.container,
                utilisation_floor: model.floor(),
            },
            data,
            settings: SettingsReport {
                seconds,
                threads: config.cpu_threads,
                read_threads: config.read_threads().get(),
                read_budget_bytes: config.read_budget.0,
                reads_in_flight: config.reads_in_flight,
                depth: config.depth,
                max_leases: config.max_leases,
                seed,
            },
            search,
            result: trial,
            notes: Vec::new(),
        };
        report.notes = notes(&report);
        report
    }
}

/// What a reader must know, the worst first.
fn notes(report: &EmulateReport) -> Vec<String> {
    let mut notes = Vec::new();
    let (data, workload) = (&report.data, &report.workload);
    let shown = report.result.as_ref().or_else(|| report.search.as_ref()?.trials.last());
    match shown.and_then(|trial| trial.from_storage) {
        Some(share) if share < 0.95 => notes.push(format!(
            "the page cache was in play: {:.0} % of the bytes came from storage{}",
            100.0 * share,
            if data.cold {
                ", though each record was dropped before it was read"
            } else {
                "; --cold drops them first"
            }
        )),
        Some(_) => {}
        None => notes.push(
            "the kernel does not count reads from storage here: the page cache may have been in play"
                .to_owned(),
        ),
    }
    if data.times_memory < MEMORY_FACTOR {
        notes.push(format!(
            "the data is {:.2} times this machine's memory; the published benchmark asks for {MEMORY_FACTOR:.0} times",
            data.times_memory
        ));
    }
    if let Some(trial) = shown.filter(|trial| trial.unsteady) {
        notes.push(format!(
            "the runs are {:.0} % apart, the published benchmark allows 5 %: see what else runs here",
            100.0 * trial.spread
        ));
    }
    notes.push(match workload.container {
        "TFRecord" => "records are read by their byte range, in shuffled order; TFRecord's own readers read files from end to end. Framed as TFRecord, checksums left empty".to_owned(),
        container => format!("random bytes of the published sizes, a file a sample, read whole; nothing parses {container}"),
    });
    if workload.sample_bytes_stdev > 0 {
        notes.push("sizes are cut at two standard deviations".to_owned());
    }
    notes.push(handed_over(workload));
    if let Some(late) = shown.map(|trial| trial.overslept).filter(|late| *late > OVERSLEPT_MAX) {
        notes.push(format!(
            "sleeps ended late, {:.1} % of the time: the system's doing, and counted against the utilisation",
            100.0 * late
        ));
    }
    notes.push(
        "accelerators do not wait for each other between steps; each run starts on an empty queue".to_owned(),
    );
    notes
}

/// What becomes of a record.
fn handed_over(workload: &WorkloadReport) -> String {
    let row_bytes = u64::from(workload.row_bytes);
    let what = match row_bytes.cmp(&workload.sample_bytes) {
        Ordering::Less => format!("the first {row_bytes} bytes of each record are copied into the batch"),
        Ordering::Equal => "each record is copied into the batch whole".to_owned(),
        Ordering::Greater => {
            format!("each record is copied into a row of {row_bytes} bytes, the rest is zeros")
        }
    };
    format!("nothing is decoded: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::emulate::accelerator::Worked;

    const STEP: Step = Step { batch: 10, step_s: 0.1 };

    fn run(walls_s: &[u64]) -> RunReport {
        let worked =
            |wall: &u64| Worked { steps: 90, wall: Duration::from_secs(*wall), waits: Waits::default() };
        RunReport::new(
            &Run {
                worked: walls_s.iter().map(worked).collect(),
                reads: 1800,
                read_bytes: 1_800_000,
                storage_bytes: Some(900_000),
                cpu: Duration::from_millis(900),
            },
            STEP,
        )
    }

    #[test]
    fn a_run_is_the_mean_of_its_accelerators() {
        let run = run(&[10, 18]);
        assert!((run.utilisation - 0.7).abs() < 1e-9 && (run.utilisation_low - 0.5).abs() < 1e-9);
        assert_eq!((run.steps, run.samples_per_s.round(), run.wall_s), (180, 140.0, 18.0));
    }

    #[test]
    fn a_trial_holds_by_its_median_and_says_how_far_runs_are_apart() {
        let runs = vec![run(&[9]), run(&[10]), run(&[12])];
        let trial = Trial::new(1, 0.9, runs.clone());
        assert!(trial.holds && trial.unsteady && (trial.spread - 0.25 / 0.9).abs() < 1e-9, "{trial:?}");
        assert_eq!(trial.runs_held, 2);
        assert!((trial.cpu_s_per_1000 - 0.5).abs() < 1e-9 && trial.from_storage == Some(0.5));
        assert!(!Trial::new(1, 0.91, runs).holds);
    }
}
