//! What a bench found, for people and for programs.

use serde::Serialize;

use super::compare::Comparison;
use super::figures::{
    BatchTimes, Figures, Spread, batch_times, cpu_ratio, cpu_s_per_1000, figures, per_second, ratio, spread,
};
use super::machine::Machine;
use super::options::{BenchArgs, Dtype, Stage, Transform};
use super::pass::Round;
use super::storage::report::{StorageReport, StorageSettings};
use super::synthetic::Synthetic;
use super::verdict::Verdict;
use super::wait::WaitShares;
use crate::config::{Config, DirectReads, EngineName};

/// Raised whenever a program that reads the JSON would have to change.
pub const SCHEMA: &str = "forebay bench 2";

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// This binary's version.
    pub forebay: &'static str,
    /// When it began, as HTTP writes dates.
    pub began: String,
    /// The command that repeats it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// How.
    pub settings: Settings,
    /// On what; absent where storage alone was measured.
    pub data: Option<Data>,
    /// The stages, in the order of a sample's way.
    pub stages: Vec<StageReport>,
    /// What the consumers saw of the whole path.
    pub consumer: Option<ConsumerReport>,
    /// The most memory that was resident while the whole path, or the one stage, ran.
    pub peak_memory_bytes: u64,
    /// Which stage binds, where all were measured.
    pub verdict: Option<Verdict>,
    /// The storage, where asked for.
    pub storage: Option<StorageReport>,
    /// Beside an earlier run, where asked for.
    pub comparison: Option<Comparison>,
}

/// On what.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// As given.
    pub path: String,
    /// The snapshot's name: equal for equal keys and labels.
    pub snapshot: String,
    /// Samples in it.
    pub samples: u64,
    /// Of those, read into the page cache before.
    pub warmed: u64,
    /// Samples that another stood in for, because they were corrupt.
    pub substituted: u64,
}

/// How.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "each is the option of the same name")]
pub struct Settings {
    pub stage: Option<Stage>,
    pub synthetic: Option<Synthetic>,
    pub batch: u32,
    pub threads: usize,
    pub read_threads: usize,
    pub engine: EngineName,
    /// Only told where it was asked for, so that reports without it keep their keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_reads: Option<DirectReads>,
    pub transform: Transform,
    pub dtype: Dtype,
    pub consumers: u32,
    pub rounds: u32,
    pub seconds: Option<f64>,
    pub rows: Option<u64>,
    pub warmup: f64,
    pub cold: bool,
    pub seed: u64,
    pub storage: Option<StorageSettings>,
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// `read`, `decode`, `deliver` or `whole`.
    pub stage: &'static str,
    /// What was measured, in words.
    pub measures: &'static str,
    /// What its ceiling does.
    pub beside: &'static str,
    /// `samples` or `batches`.
    pub unit: &'static str,
    /// So many of them in all rounds.
    pub rows: u64,
    /// Our side.
    pub forebay: Figures,
    /// The ceiling.
    pub bare: Figures,
    /// Our rate over the ceiling's, round by round.
    pub ratio: Spread,
    /// Our processor time over the ceiling's; below 1 is less.
    pub cpu_ratio: Spread,
    /// Every round.
    pub rounds: Vec<RoundReport>,
}

/// One round of a stage.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "side, then figure")]
pub struct RoundReport {
    pub rows: u64,
    pub forebay_per_second: f64,
    pub bare_per_second: f64,
    pub forebay_cpu_s_per_1000: f64,
    pub bare_cpu_s_per_1000: f64,
}

/// What consumers saw.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ConsumerReport {
    /// How many took batches at the same time.
    pub consumers: u32,
    /// Rows a second of the slowest of them, over the rounds.
    pub slowest_per_second: Spread,
    /// And of the fastest.
    pub fastest_per_second: Spread,
    /// Between one batch and the next, of all of them.
    pub batch_time: BatchTimes,
    /// Where their time went.
    pub wait: WaitShares,
}

impl Report {
    /// Before anything is measured.
    pub fn new(args: &BenchArgs, config: &Config) -> Self {
        Self {
            schema: SCHEMA,
            forebay: env!("CARGO_PKG_VERSION"),
            began: httpdate::fmt_http_date(std::time::SystemTime::now()),
            command: command_line(std::env::args().skip(1)),
            machine: Machine::here(),
            settings: Settings {
                stage: args.stages(),
                synthetic: args.synthetic,
                batch: args.batch,
                threads: config.cpu_threads,
                read_threads: config.read_threads().get(),
                engine: config.engine,
                direct_reads: args.direct_reads,
                transform: args.transform,
                dtype: args.dtype,
                consumers: args.consumers,
                rounds: args.rounds,
                seconds: args.rows.is_none().then_some(args.seconds),
                rows: args.rows,
                warmup: args.warmup,
                cold: args.emulation.cold,
                seed: args.seed,
                storage: None,
            },
            data: None,
            stages: Vec::new(),
            consumer: None,
            peak_memory_bytes: 0,
            verdict: None,
            storage: None,
            comparison: None,
        }
    }
}

/// The words after the binary's name as a shell takes them.
pub(super) fn command_line(words: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@%".contains(c);
    words.fold("forebay".to_owned(), |line, word| {
        if !word.is_empty() && word.chars().all(plain) {
            format!("{line} {word}")
        } else {
            format!("{line} '{}'", word.replace('\'', r"'\''"))
        }
    })
}

impl StageReport {
    /// The figures of a stage's rounds.
    pub fn new(stage: &'static str, rounds: &[Round]) -> Self {
        let (measures, beside, unit) = words(stage);
        Self {
            stage,
            measures,
            beside,
            unit,
            rows: rounds.iter().map(|round| round.forebay.items).sum(),
            forebay: figures(&rounds.iter().map(|round| &round.forebay).collect::<Vec<_>>()),
            bare: figures(&rounds.iter().map(|round| &round.bare).collect::<Vec<_>>()),
            ratio: ratio(rounds),
            cpu_ratio: cpu_ratio(rounds),
            rounds: rounds.iter().map(RoundReport::new).collect(),
        }
    }
}

impl RoundReport {
    fn new(round: &Round) -> Self {
        Self {
            rows: round.forebay.items,
            forebay_per_second: per_second(&round.forebay),
            bare_per_second: per_second(&round.bare),
            forebay_cpu_s_per_1000: cpu_s_per_1000(&round.forebay),
            bare_cpu_s_per_1000: cpu_s_per_1000(&round.bare),
        }
    }
}

impl ConsumerReport {
    /// What `consumers` saw of a stage's rounds.
    pub fn new(rounds: &[Round], consumers: u32) -> Self {
        let mut waits = super::wait::Waits::default();
        for round in rounds {
            waits.merge(&round.forebay.waits);
        }
        let wall: std::time::Duration = rounds.iter().map(|round| round.forebay.wall).sum();
        let each = |pick: fn(f64, f64) -> f64| {
            spread(rounds.iter().filter_map(|round| round.forebay.consumers.iter().copied().reduce(pick)))
        };
        Self {
            consumers,
            slowest_per_second: each(f64::min),
            fastest_per_second: each(f64::max),
            batch_time: batch_times(rounds),
            wait: waits.shares(wall * consumers),
        }
    }
}

/// What a stage measures, what stands beside it, and what is counted.
fn words(stage: &str) -> (&'static str, &'static str, &'static str) {
    match stage {
        "read" => ("files through the storage engine, nobody looks at them", "open, pread, close", "samples"),
        "decode" => (
            "files in memory to finished slots: pool and session, no socket",
            "decode in a private buffer",
            "samples",
        ),
        "deliver" => (
            "batches of one integer: admission, slot, records both ways",
            "records of that size on a socket pair",
            "batches",
        ),
        "floor" => (
            "open, read, close, decode in a private buffer: no loader",
            "the same rows once more: the ratio shows this machine's noise",
            "samples",
        ),
        "read-floor" => (
            "open, pread, close into as much memory as batches go round in: no loader",
            "the same rows once more: the ratio shows this machine's noise",
            "samples",
        ),
        _ => ("files to batches at the consumer", "open, read, close, decode in a private buffer", "samples"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let words = ["bench", "/data/my photos", "--log", "it's", "a=b"].map(str::to_owned);
        assert_eq!(command_line(words.into_iter()), r"forebay bench '/data/my photos' --log 'it'\''s' a=b");
    }
}
