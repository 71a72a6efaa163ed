//! `forebay bench --emulate`: are N accelerators kept at work? MLPerf-Storage-like, and unverified.
//!
//! The published sizes, batch sizes and step times; the loader's own path from storage to consumers; accelerators that
//! sleep. Not a result of MLCommons' benchmark: other data, other rules, nobody has checked it.

mod accelerator;
mod cold;
mod data;
mod node;
pub mod options;
pub mod report;
mod search;
mod table;
pub mod workload;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::data::Data;
use self::node::{Accelerators, Node, Run, sized};
use self::options::ACCELERATORS_MAX;
use self::report::{EmulateReport, Facts, RunReport, SearchReport, Trial};
use self::workload::{Accelerator, Layout, Model, Step};
use super::options::{Amount, BenchArgs};
use super::progress::Progress;
use super::usage::settle;
use crate::config::Config;
use crate::error::Fault;
use crate::sys;

/// What sets the most accelerators that can be tried.
const BY_DATA: &str = "the data has batches";
const BY_MEMORY: &str = "half of the memory has slots";

/// What all measurements of one call share.
struct Emulation<'a> {
    args: &'a BenchArgs,
    model: Model,
    accelerator: Accelerator,
    step: Step,
    data: Data,
    node: Node,
    progress: Progress,
}

/// Makes the data, measures, and reports. Blocks; must be called inside of a multi-threaded tokio runtime's context, and
/// on none of its threads.
///
/// # Errors
/// Invalid: no published figures, or data or memory that do not suffice. What writing, or the daemon, says.
pub fn run(args: &BenchArgs) -> Result<EmulateReport, Fault> {
    let (model, accelerator) = asked(args)?;
    let step = step_of(model, accelerator)?;
    let emulation = Emulation::prepare(args, model, accelerator, step)?;
    let (search, trial) = if args.emulation.find_max {
        let (search, trial) = emulation.search()?;
        (Some(search), trial)
    } else {
        emulation.check(args.emulation.accelerators)?;
        (None, Some(emulation.trial(args.emulation.accelerators, args.emulation.runs)?))
    };
    Ok(emulation.report(search, trial))
}

fn asked(args: &BenchArgs) -> Result<(Model, Accelerator), Fault> {
    let emulation = &args.emulation;
    emulation.emulate.zip(emulation.accelerator).ok_or_else(|| {
        Fault::invalid("an emulation needs a model and an accelerator")
            .hint("as in --emulate resnet50 --accelerator h100")
    })
}

/// The published step.
///
/// # Errors
/// Invalid, naming the accelerators that the model has figures for.
pub fn step_of(model: Model, accelerator: Accelerator) -> Result<Step, Fault> {
    model.step(accelerator).ok_or_else(|| {
        let known: Vec<_> = model.accelerators().into_iter().map(Accelerator::name).collect();
        let message = format!("no step time of {} on {} is published", model.name(), accelerator.name());
        Fault::invalid(message).hint(format!("{} has {}", model.name(), known.join(", ")))
    })
}

/// Where made-up data goes when nobody says: a folder of that name of the user's cache.
pub fn cache(name: &str) -> PathBuf {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("forebay").join(name)
}

impl<'a> Emulation<'a> {
    fn prepare(
        args: &'a BenchArgs,
        model: Model,
        accelerator: Accelerator,
        step: Step,
    ) -> Result<Self, Fault> {
        let layout = model.layout();
        let config = Config {
            cpu_threads: args.threads.map_or_else(sys::cpus, |threads| threads as usize),
            ..Config::default()
        };
        let dir = args.path.clone().unwrap_or_else(|| cache("emulate"));
        let limit = args.emulation.emulate_gb.map(|gb| (gb * 1e9) as u64);
        let data = data::make(model, &absolute(&dir)?, limit, &mut |line| eprintln!("{line}"))?;
        let node = Node::start(sized(config, &layout), &data, &layout, args.seed, args.emulation.cold)?;
        Ok(Self { args, model, accelerator, step, data, node, progress: Progress::start() })
    }

    /// The most accelerators that the data and the memory allow, and which of the two it is.
    fn limit(&self) -> Result<(u32, &'static str), Fault> {
        let by_data = self.node.samples() / u64::from(self.step.batch);
        let by_memory = self.node.config.arena_budget_bytes() / self.node.arena_bytes(self.step)?.max(1);
        let limits =
            [(by_data, BY_DATA), (by_memory, BY_MEMORY), (ACCELERATORS_MAX as u64, "this tool has a limit")];
        let (limit, what) = limits.into_iter().min_by_key(|(limit, _)| *limit).expect("there are three");
        Ok((limit as u32, what))
    }

    fn check(&self, count: u32) -> Result<(), Fault> {
        let (limit, what) = self.limit()?;
        if count <= limit {
            return Ok(());
        }
        let (batch, sample_gb) = (self.step.batch, self.model.layout().sample_bytes as f64 / 1e9);
        let message = format!(
            "{count} accelerators are too many: {what} of {limit} (batches of {batch}, {} samples, {:.2} GB of slots each)",
            self.node.samples(),
            self.node.arena_bytes(self.step)? as f64 / 1e9
        );
        Err(Fault::invalid(message).hint(match what {
            BY_DATA => format!("--emulate-gb {:.2} or more", f64::from(count * batch) * sample_gb * 1.1),
            BY_MEMORY => "fewer accelerators, or a machine with more memory".to_owned(),
            _ => "fewer accelerators".to_owned(),
        }))
    }

    /// One warm-up, then `runs` runs of `count` accelerators.
    fn trial(&self, count: u32, runs: u32) -> Result<Trial, Fault> {
        let mut accelerators = self.node.accelerators(count, self.step)?;
        let limit = Duration::from_secs_f64(self.args.seconds);
        let what =
            |run: String| format!("{count} x {} {}, {run}", self.accelerator.name(), self.model.name());
        self.measure(&mut accelerators, what("warm-up".to_owned()), limit)?;
        let runs = (1..=runs).map(|run| {
            let run = self.measure(&mut accelerators, what(format!("run {run} of {runs}")), limit)?;
            Ok(RunReport::new(&run, self.step))
        });
        Ok(Trial::new(count, self.model.floor(), runs.collect::<Result<_, Fault>>()?))
    }

    fn measure(&self, accelerators: &mut Accelerators, what: String, limit: Duration) -> Result<Run, Fault> {
        settle();
        self.progress.begin(what, Amount::Seconds(limit.as_secs_f64()));
        let run = accelerators.run(limit, &self.progress);
        self.progress.end();
        run
    }

    /// Doubling and bisecting with one run each; then all runs at what was found, and below where they do not hold.
    fn search(&self) -> Result<(SearchReport, Option<Trial>), Fault> {
        let (limit, limited_by) = self.limit()?;
        if limit == 0 {
            self.check(1)?;
        }
        let mut trials = Vec::new();
        let found = search::most(limit, |count| {
            let trial = self.trial(count, 1)?;
            trials.push(trial.clone());
            Ok::<_, Fault>(trial.holds)
        })?;
        let (mut most, mut confirmed) = (found.holds, None);
        while most > 0 {
            let trial = self.trial(most, self.args.emulation.runs)?;
            let holds = trial.holds;
            trials.push(trial.clone());
            if holds {
                confirmed = Some(trial);
                break;
            }
            most -= 1;
        }
        let limited_by = (most == limit).then_some(limited_by);
        Ok((SearchReport { most, limit, limited_by, trials }, confirmed))
    }

    fn report(self, search: Option<SearchReport>, trial: Option<Trial>) -> EmulateReport {
        let layout: Layout = self.model.layout();
        EmulateReport::new(Facts {
            model: self.model,
            accelerator: self.accelerator,
            step: self.step,
            layout,
            data: &self.data,
            config: &self.node.config,
            cold: self.args.emulation.cold,
            seconds: self.args.seconds,
            seed: self.args.seed,
            search,
            trial,
        })
    }
}

/// A path that the daemon's root takes.
fn absolute(dir: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(dir).map_err(|error| Fault::invalid(format!("{}: {error}", dir.display())))
}
