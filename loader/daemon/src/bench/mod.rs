//! `forebay bench`: what this machine makes of a data set, stage by stage, each beside its own ceiling.
//!
//! The whole path is the real one: the daemon of [`crate::run`] in this process, the real wire, a consumer that gives
//! each batch back at once and touches none of its bytes.

mod bare;
mod compare;
mod decode;
mod deliver;
pub mod emulate;
mod figures;
mod floor;
pub mod html;
mod machine;
pub mod options;
mod pass;
mod progress;
mod read;
pub mod report;
mod rows;
pub mod size_for;
pub(crate) mod source;
mod stop;
mod storage;
mod synthetic;
mod table;
mod take;
pub mod upload;
mod usage;
mod verdict;
mod wait;
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_plan::SampleId;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::error::Fault;
use crate::run::Daemon;
use crate::sys;
use bare::{Bare, Files};
use compare::Earlier;
use decode::Decoding;
use deliver::Delivering;
use floor::Floor;
use options::{Amount, BenchArgs, Stage};
use pass::{Round, rounds};
use progress::Progress;
use read::Reading;
use report::{ConsumerReport, Data, Report, StageReport};
use rows::Rows;
use source::Source;
use stop::Stop;
use verdict::{Rates, Verdict, judge};
use whole::Whole;

/// The time of each stage, as a share of the whole path's, where all are measured.
const READ_SHARE: f64 = 0.25;
const DECODE_SHARE: f64 = 0.5;
const DELIVER_SHARE: f64 = 0.1;

/// Everything that stages are made from.
struct Setup<'a> {
    args: &'a BenchArgs,
    stage: Stage,
    config: Config,
    source: Source,
    progress: &'a Progress,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    stages: Vec<StageReport>,
    consumer: Option<ConsumerReport>,
    substituted: u64,
    peak_bytes: u64,
}

/// Measures. Blocks; must be called inside of a multi-threaded tokio runtime's context, and on none of its threads.
///
/// # Errors
/// What is wrong with PATH or with what shall be compared, or what the daemon answers.
pub fn run(args: &BenchArgs) -> Result<Report, Fault> {
    let earlier = args.output.compare.as_deref().map(Earlier::read).transpose()?;
    check_cold(args)?;
    let progress = Progress::start();
    let path = match (args.synthetic, &args.path) {
        (Some(kind), _) => synthetic::folder(kind, &progress)?,
        (None, Some(path)) => path.clone(),
        (None, None) => return Err(Fault::invalid("nothing to measure").hint("give PATH or --synthetic")),
    };
    let config = Config {
        cpu_threads: args.threads.map_or_else(sys::cpus, |threads| threads as usize),
        engine: args.engine.unwrap_or_default(),
        direct_reads: args.direct_reads.unwrap_or_default(),
        ..Config::default()
    };
    let mut report = Report::new(args, &config);
    if args.storage.storage {
        report.settings.storage = Some(storage::settings(&path, &args.storage)?);
    }
    let stages = args.stages().map(|stage| {
        let source = source::open(&path, stage, args)?;
        Ok(Setup { args, stage, config, source, progress: &progress })
    });
    let setup = stages.transpose()?;
    report.data = setup.as_ref().map(|setup| setup.data(&path));
    // Before minutes are spent on what can't be compared.
    earlier.as_ref().map_or(Ok(()), |earlier| earlier.check(&report, args.output.force))?;
    if let Some(setup) = setup {
        setup.fill(&mut report)?;
    }
    if let Some(settings) = report.settings.storage.clone() {
        let stop = Stop::on_signals(&Handle::current())?;
        report.storage = Some(storage::run(settings, args, &progress, &stop)?);
    }
    if let Some(earlier) = earlier {
        report.comparison = Some(earlier.compare(&report, &args.output)?);
    }
    Ok(report)
}

impl Setup<'_> {
    fn root(&self) -> &Path {
        let root = self.source.job.snapshot(0).root().expect("a path column has a root");
        root.path()
    }

    fn rows(&self) -> Rows {
        Rows::new(Arc::clone(&self.source.job), self.source.path_column)
    }

    fn bare(&self, decode: bool) -> Result<Bare, Fault> {
        let options = self.config.pool_options();
        Ok(Bare {
            rows: self.rows(),
            files: Files::disk(self.root())?,
            threads: if decode { options.cpu_threads } else { self.config.read_threads().get() },
            decode,
            buffers: 1,
            limits: options.image_limits,
        })
    }

    /// Reads as `bare` does, into as much memory as a consumer's batches go round in.
    fn bare_into_slots(&self) -> Result<Bare, Fault> {
        let bare = self.bare(false)?;
        let slots = (self.config.depth + self.config.max_leases) as usize;
        let buffers = (slots * self.args.batch as usize).div_ceil(bare.threads);
        Ok(Bare { buffers, ..bare })
    }

    /// Has the page cache forget every file, where that was asked for.
    fn forget(&self) -> Result<(), Fault> {
        if !self.args.emulation.cold {
            return Ok(());
        }
        let (files, rows) = (Files::disk(self.root())?, self.rows());
        let mut last: &[u8] = b"";
        for sample in 0..rows.job.snapshot(0).len() {
            // Samples of one file mostly stand together.
            let path = rows.path(SampleId(sample));
            if path != last {
                files.forget(path)?;
            }
            last = path;
        }
        Ok(())
    }

    /// Reads what will be measured into the page cache; how many files.
    fn warm(&self) -> Result<u64, Fault> {
        if self.args.warmup <= 0.0 || self.args.emulation.cold || self.stage == Stage::Deliver {
            return Ok(0);
        }
        let limit = Duration::from_secs_f64(self.args.warmup);
        self.progress.begin("reading the files once".to_owned(), Amount::Rows(self.source.job.rows));
        self.bare(false)?.warm(limit, self.progress)
    }

    fn measure(&self, stage: &mut dyn pass::Stage, share: f64) -> Result<Vec<Round>, Fault> {
        let share = if self.stage == Stage::All { share } else { 1.0 };
        let amount = self.args.amount(share, self.source.job.rows);
        rounds(stage, self.args.rounds, amount, &|| self.forget(), self.progress)
    }

    fn whole(&self, found: &mut Found) -> Result<(), Fault> {
        let daemon = Daemon::start(self.config.clone())?;
        let mut whole = Whole::open(&daemon, &self.source, self.args, self.bare(true)?)?;
        let rounds = self.measure(&mut whole, 1.0)?;
        found.substituted = whole.stats()?.sessions.iter().map(|session| session.substituted).sum();
        found.consumer = Some(ConsumerReport::new(&rounds, self.args.consumers));
        found.stages.push(StageReport::new("whole", &rounds));
        found.peak_bytes = usage::peak_bytes();
        Ok(())
    }

    fn read(&self, found: &mut Found) -> Result<(), Fault> {
        let root = Arc::clone(self.source.job.snapshot(0).root().expect("a path column has a root"));
        let mut reading = Reading::start(&self.config, self.rows(), root, self.bare(false)?)?;
        let rounds = self.measure(&mut reading, READ_SHARE)?;
        found.stages.push(StageReport::new("read", &rounds));
        Ok(())
    }

    fn decode(&self, found: &mut Found) -> Result<(), Fault> {
        let mut decoding = Decoding::start(&self.config, &self.source, self.root(), self.args)?;
        let rounds = self.measure(&mut decoding, DECODE_SHARE)?;
        found.stages.push(StageReport::new("decode", &rounds));
        Ok(())
    }

    fn deliver(&self, found: &mut Found) -> Result<(), Fault> {
        let daemon = Daemon::start(self.config.clone())?;
        let mut delivering = Delivering::open(&daemon)?;
        let rounds = self.measure(&mut delivering, DELIVER_SHARE)?;
        if self.stage == Stage::Deliver {
            found.consumer = Some(ConsumerReport::new(&rounds, 1));
        }
        found.stages.push(StageReport::new("deliver", &rounds));
        Ok(())
    }

    fn floor(&self, name: &'static str, bare: Bare, found: &mut Found) -> Result<(), Fault> {
        let rounds = self.measure(&mut Floor::new(name, bare), 1.0)?;
        found.stages.push(StageReport::new(name, &rounds));
        Ok(())
    }

    fn data(&self, path: &Path) -> Data {
        Data {
            path: path.display().to_string(),
            snapshot: self.source.job.snapshot_id.to_string(),
            samples: self.source.job.rows,
            warmed: 0,
            substituted: 0,
        }
    }

    /// Measures the stages that were asked for.
    fn fill(&self, report: &mut Report) -> Result<(), Fault> {
        let warmed = self.warm()?;
        let mut found = Found::default();
        let wants = |stage: Stage| self.stage == Stage::All || self.stage == stage;
        // The whole path first: its peak of memory must not hold what other stages keep.
        if self.stage == Stage::All {
            self.whole(&mut found)?;
        }
        if wants(Stage::Read) {
            self.read(&mut found)?;
        }
        if wants(Stage::Decode) {
            self.decode(&mut found)?;
        }
        if wants(Stage::Deliver) {
            self.deliver(&mut found)?;
        }
        // Checks of the measurement, no parts of the path.
        match self.stage {
            Stage::Floor => self.floor("floor", self.bare(true)?, &mut found)?,
            Stage::ReadFloor => self.floor("read-floor", self.bare_into_slots()?, &mut found)?,
            _ => {}
        }
        let Found { mut stages, consumer, substituted, peak_bytes } = found;
        // Measured first, told last: the sum of what stands above it.
        if self.stage == Stage::All {
            stages.rotate_left(1);
        }
        if let Some(data) = &mut report.data {
            (data.warmed, data.substituted) = (warmed, substituted);
        }
        report.verdict = verdict(&stages, self.args, &self.config);
        (report.stages, report.consumer) = (stages, consumer);
        report.peak_memory_bytes = if peak_bytes > 0 { peak_bytes } else { usage::peak_bytes() };
        Ok(())
    }
}

/// Refuses cold turns of stages that keep their files in memory, or read ahead of the turn.
fn check_cold(args: &BenchArgs) -> Result<(), Fault> {
    if args.emulation.cold && !matches!(args.stage, Some(Stage::Read | Stage::ReadFloor)) {
        return Err(Fault::invalid("--cold is of --emulate, --stage read and --stage read-floor")
            .hint("name the stage; --storage always reads what was dropped from the page cache"));
    }
    Ok(())
}

/// The verdict, where every stage was measured.
fn verdict(stages: &[StageReport], args: &BenchArgs, config: &Config) -> Option<Verdict> {
    let [read, decode, deliver, whole] = stages else { return None };
    let rate = |stage: &StageReport| stage.forebay.per_second.median;
    let cpu = |stage: &StageReport| stage.forebay.cpu_s_per_1000.median / 1000.0;
    Some(judge(&Rates {
        read: rate(read),
        decode: rate(decode),
        deliver_batches: rate(deliver),
        whole: rate(whole),
        cpu_s_per_sample: cpu(read) + cpu(decode),
        batch: args.batch,
        threads: config.cpu_threads,
        processors: sys::cpus(),
    }))
}
