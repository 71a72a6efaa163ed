//! The one binary: parses the command line, runs the verb, prints errors once with their cure.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use forebay::args::{Args, Command, OperateArgs, ServeArgs, SynthArgs};
use forebay::bench::{self, options::BenchArgs};
use forebay::catalog::own_folder;
use forebay::config::Config;
use forebay::dataset::{self, options::DatasetArgs};
use forebay::doctor::{self, DoctorArgs};
use forebay::error::{Fault, Kind};
use forebay::explain::options::ExplainArgs;
use forebay::index::{self, options::IndexArgs};
use forebay::ingest::{self, options::IngestArgs};
use forebay::init::{self, InitArgs};
use forebay::launch::{self, RunArgs};
use forebay::logs;
use forebay::operate;
use forebay::progress::Bar;
use forebay::replay::{self, options::ReplayArgs};
use forebay::run::{self, PrivateOptions};
use forebay::shell::{self, CompletionsArgs, ManArgs};
use forebay::show::{self, options::ShowArgs};
use forebay::state::{self, options::StateArgs};
use forebay::synth::{SynthOptions, SynthSize, synth};
use forebay::sys;
use forebay::terminal;
use forebay::top;
use serde::Serialize;

fn main() -> ExitCode {
    sys::keep_no_large_blocks();
    let args = Args::parse();
    if let Err(fault) = logs::start(args.log_filter(), args.log_format) {
        return fail(&fault.into());
    }
    let done = match args.command {
        Command::Serve(serve) => serve_command(serve),
        // It ends as the job does.
        Command::Run(run) => match run_command(&run) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Synth(synth) => synth_command(synth),
        Command::Bench(bench) if bench.emulation.emulate.is_some() => {
            answered(&bench, bench::emulate::run).map(drop)
        }
        Command::Bench(bench) if bench.sizing.size_for.is_some() => {
            answered(&bench, bench::size_for::run).map(drop)
        }
        Command::Bench(bench) if bench.upload.host_to_device.is_some() => {
            answered(&bench, bench::upload::run).map(drop)
        }
        // A comparison may fail, and is told all the same.
        Command::Bench(bench) => match bench_command(&bench) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Show(show) => show_command(&show),
        Command::Index(index) => index_command(&index),
        Command::Ingest(ingest) => ingest_command(&ingest),
        Command::Dataset(dataset) => dataset_command(&dataset),
        Command::Stats(operate) => stats_command(&operate),
        Command::Explain(explain) => explain_command(&explain),
        Command::Top(args) => top::run(&args).map_err(Into::into),
        Command::Drain(operate) => drain_command(&operate),
        // Its findings decide how it exits, not only its errors.
        Command::Doctor(doctor) => match doctor_command(&doctor) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        // So do the differences of two states.
        Command::State(state) => match state_command(&state) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Init(init) => init_command(&init),
        Command::Replay(replay) => replay_command(&replay),
        Command::Completions(completions) => completions_command(&completions),
        Command::Man(man) => man_command(&man),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // A `Fault` prints its own chain and hint; anything else has its causes in the error.
    if let Some(fault) = error.downcast_ref::<Fault>() {
        eprintln!("error: {fault}");
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::FAILURE
}

fn serve_command(args: ServeArgs) -> anyhow::Result<()> {
    let mut config = args.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    config.socket = args.socket.unwrap_or(config.socket);
    config.cpu_threads = args.cpu_threads.unwrap_or(config.cpu_threads);
    if let (0, Some(processes)) = (config.cpu_threads, args.share_of) {
        config.cpu_threads = (config.cpu_threads() / processes).max(1);
    }
    config.read_threads = args.read_threads.unwrap_or(config.read_threads);
    config.engine = args.engine.unwrap_or(config.engine);
    config.metrics_listen = args.metrics_listen.or(config.metrics_listen);
    config.ledger_dir = args.ledger_dir.or(config.ledger_dir);
    config.cache_dir = cache_dir(args.cache_dir, args.private_fd.is_some(), config.cache_dir);
    config.check()?;
    if args.print_config {
        println!("{config:#?}");
        return Ok(());
    }
    let runtime = control_runtime()?;
    let served = runtime.block_on(async {
        match args.private_fd {
            Some(socket) => {
                run::serve_private(config, PrivateOptions { socket, parent: args.parent_pidfd }).await
            }
            None => run::serve_node(config).await,
        }
    });
    // Reads that hang in a dead file system must not keep the daemon from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(served?)
}

fn run_command(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let unstarted = |fault: Fault| {
        eprintln!("error: {fault}");
        ExitCode::from(launch::unstarted_code(&fault))
    };
    let joined = match launch::join(args) {
        Ok(joined) => joined,
        Err(fault) => return Ok(unstarted(fault)),
    };
    if let Some(socket) = joined {
        let ended = control_runtime()?.block_on(launch::run_joined(args, &socket));
        return Ok(ended.map_or_else(unstarted, ExitCode::from));
    }
    let mut config = args.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    config.cpu_threads = args.cpu_threads.unwrap_or(config.cpu_threads);
    config.cache_dir = cache_dir(std::env::var("FOREBAY_CACHE_DIR").ok(), true, config.cache_dir);
    config.check()?;
    let runtime = control_runtime()?;
    let ended = runtime.block_on(launch::run(args, config));
    // Reads that hang in a dead file system must not keep the daemon from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(ended.map_or_else(unstarted, ExitCode::from))
}

/// Where listings are kept: as it was said, nowhere where that is empty; else a process' own daemon has its user's cache.
fn cache_dir(said: Option<String>, is_private: bool, configured: Option<PathBuf>) -> Option<PathBuf> {
    match said {
        Some(said) => Some(said).filter(|said| !said.is_empty()).map(PathBuf::from),
        None if is_private => configured.or_else(|| own_folder(|name| std::env::var_os(name))),
        None => configured,
    }
}

fn synth_command(args: SynthArgs) -> anyhow::Result<()> {
    let SynthArgs { dir, classes, images, seed, size, threads } = args;
    let size = if size == "tiny" { SynthSize::Tiny } else { SynthSize::Photo };
    let options = SynthOptions { directory: dir, classes, images, seed, size, threads };
    let mut bar = Bar::new("drawing", "pictures");
    let made = synth(&options, |done, total| bar.show(done as u64, total as u64));
    bar.clear();
    let report = made.map_err(|error| Fault::from_error(Kind::Invalid, &error).hint(error.hint()))?;
    println!(
        "{}: {} pictures to train on, {} held back, {:.1} MB; {} drawn now",
        options.directory.display(),
        report.train_images,
        report.val_images,
        report.bytes as f64 / 1e6,
        report.drawn_images
    );
    Ok(())
}

/// Measures, and prints the report as text or JSON.
fn answered<R: Display + Serialize>(
    args: &BenchArgs,
    measure: impl FnOnce(&BenchArgs) -> Result<R, Fault>,
) -> anyhow::Result<R> {
    let runtime = control_runtime()?;
    let measured = {
        let _context = runtime.enter();
        measure(args)
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    let report = measured?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).context("write the report")?);
    } else {
        print!("{report}");
    }
    Ok(report)
}

fn bench_command(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let report = answered(args, bench::run)?;
    if let Some(file) = &args.output.html {
        bench::html::write(&report, file)?;
        eprintln!("report: {}", file.display());
    }
    let failed = report.comparison.is_some_and(|comparison| comparison.failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show_command(args: &ShowArgs) -> anyhow::Result<()> {
    let runtime = control_runtime()?;
    let shown = {
        let _context = runtime.enter();
        show::run(args)
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(shown?)
}

fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // Two wake each other all the time, which only costs where there is no processor for the second.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(if processors < 4 { 1 } else { 2 })
        .thread_name("control")
        .enable_all()
        .build()
        .context("start the runtime")
}

fn ingest_command(args: &IngestArgs) -> anyhow::Result<()> {
    print(ingest::run(args)?.as_bytes())
}

fn dataset_command(args: &DatasetArgs) -> anyhow::Result<()> {
    print(dataset::run(args)?.as_bytes())
}

fn index_command(args: &IndexArgs) -> anyhow::Result<()> {
    print(index::run(args)?.as_bytes())
}

fn stats_command(args: &OperateArgs) -> anyhow::Result<()> {
    let stats = operate::stats(&args.socket)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&stats).context("write the reply")?);
    } else {
        print!("{}", operate::show(&stats));
    }
    Ok(())
}

fn explain_command(args: &ExplainArgs) -> anyhow::Result<()> {
    let reply = operate::explain(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&reply).context("write the reply")?);
    } else {
        print!("{}", reply.text);
    }
    Ok(())
}

fn drain_command(args: &OperateArgs) -> anyhow::Result<()> {
    let reply = operate::drain(&args.socket)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&reply).context("write the reply")?);
    } else {
        println!("draining: {} sessions are open, the daemon exits when they have ended", reply.sessions);
    }
    Ok(())
}

fn doctor_command(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let findings = doctor::run(args);
    if args.json {
        print(serde_json::to_string_pretty(&findings).context("write the findings")?.as_bytes())?;
        print(b"\n")?;
    } else {
        print(doctor::text(&findings, terminal::colours(&std::io::stdout())).as_bytes())?;
    }
    Ok(if doctor::fails(&findings, args.strict) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn init_command(args: &InitArgs) -> anyhow::Result<()> {
    print(init::run(args)?.as_bytes())
}

fn state_command(args: &StateArgs) -> anyhow::Result<ExitCode> {
    let (text, code) = state::run(args)?;
    print(text.as_bytes())?;
    Ok(ExitCode::from(code))
}

fn replay_command(args: &ReplayArgs) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    replay::run(args, &mut out)?;
    match out.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}

fn completions_command(args: &CompletionsArgs) -> anyhow::Result<()> {
    print(&shell::completions(args.shell))
}

fn man_command(args: &ManArgs) -> anyhow::Result<()> {
    match &args.dir {
        None => print(&shell::page().context("write the manual page")?),
        Some(dir) => {
            let pages = shell::pages(dir)?;
            print(format!("wrote {pages} pages to {}\n", dir.display()).as_bytes())
        }
    }
}

/// Writes to standard output; that nobody reads on (`| head`) is no error.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}
