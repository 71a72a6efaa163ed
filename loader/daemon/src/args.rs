//! The command line as typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::bench::options::{BENCH_HELP, BenchArgs};
use crate::config::{EngineName, MetricsListen};
use crate::dataset::options::{DATASET_HELP, DatasetArgs};
use crate::doctor::options::{DOCTOR_HELP, DoctorArgs};
use crate::explain::options::{EXPLAIN_HELP, ExplainArgs};
use crate::index::options::{INDEX_HELP, IndexArgs};
use crate::ingest::options::{INGEST_HELP, IngestArgs};
use crate::init::options::{INIT_HELP, InitArgs};
use crate::launch::{RUN_HELP, RunArgs};
use crate::logs::LogFormat;
use crate::replay::options::{REPLAY_HELP, ReplayArgs};
use crate::shell::{COMPLETIONS_HELP, CompletionsArgs, MAN_HELP, ManArgs};
use crate::show::options::{SHOW_HELP, ShowArgs};
use crate::state::options::{STATE_HELP, StateArgs};
use crate::top::{TOP_HELP, TopArgs};

/// Shuffled batches from shared storage, decoded, in pinned shared memory, for every GPU of the node.
#[derive(Parser, Debug)]
#[command(name = "forebay", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    /// What to log: error, warn, info, debug, or a filter as in `forebay=debug`. Absent: info for a node's daemon, else
    /// warn.
    #[arg(long, global = true, env = "FOREBAY_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, env = "FOREBAY_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the daemon of a node.
    ///
    /// Training processes join it with FOREBAY_SOCKET=/path/to.sock or DataLoader(..., daemon="/path/to.sock").
    /// Without one, each process starts a private daemon of its own, so this is for nodes that many jobs share.
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Run a job beside a daemon of its own, which all its processes share and which ends with it.
    ///
    /// The job finds it by FOREBAY_SOCKET, which every loader reads.
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Make a data set of natural-looking photographs in class folders, to try things on.
    ///
    /// Sizes and bytes per pixel are ImageNet's; the same options give the same bytes on every machine. The folder
    /// gets train/ and val/ with a folder a class each. Run again, it makes what is missing.
    #[command(after_help = "Example:\n  forebay synth /tmp/photos --classes 10 --images 2000")]
    Synth(SynthArgs),
    /// Measure what this machine makes of a data set: each stage beside its ceiling, and what to change first.
    #[command(after_help = BENCH_HELP)]
    Bench(BenchArgs),
    /// Show the samples of any batch as a contact sheet, as a trainer gets them: keys, labels, crops, flips.
    ///
    /// The fastest way to see that a pipeline is right. The sheet is a PNG, the rows are printed as a table. No daemon
    /// is needed; --socket asks one.
    #[command(after_help = SHOW_HELP)]
    Show(ShowArgs),
    /// Make a data set of a folder or list, or add to it what is new.
    ///
    /// A data set is a set of numbered commits beside the data, or anywhere: splits, joined columns and quarantine are
    /// kept in it, and jobs train on one of its states while it grows. The data itself is only read.
    #[command(after_help = INDEX_HELP)]
    Index(IndexArgs),
    /// Copy a folder in from outside, verified by checksum, and index it.
    #[command(after_help = INGEST_HELP)]
    Ingest(IngestArgs),
    /// Look at what is known of a data set's samples: the losses that training reported.
    #[command(after_help = DATASET_HELP)]
    Dataset(DatasetArgs),
    /// Show what a running daemon does: its sessions, their rates and waits.
    #[command(after_help = STATS_HELP)]
    Stats(OperateArgs),
    /// Watch a running daemon: every session live, its rates and what it waits for.
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// Say where the training processes' time went, rank by rank, and the first thing to change.
    ///
    /// Operators see every session of the daemon, others their own. Of a private daemon, `loader.explain()` tells the same.
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Have a running daemon take no more sessions and exit when those open have ended.
    #[command(after_help = DRAIN_HELP)]
    Drain(OperateArgs),
    /// Say what of this machine helps or hinders forebay, what that means, and what to do.
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Write a short configuration for this machine, or for a DGX.
    #[command(after_help = INIT_HELP)]
    Init(InitArgs),
    /// Look at the saved state of a loader, compare two, or move one.
    #[command(after_help = STATE_HELP)]
    State(StateArgs),
    /// Name the samples that a pinned run saw, in order, from its state root alone.
    ///
    /// For runs whose loader had job_id= and state_root=: docs/state-root.md.
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Print the script that completes `forebay` in a shell.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Write the manual pages.
    #[command(after_help = MAN_HELP)]
    Man(ManArgs),
}

/// Which daemon.
#[derive(clap::Args, Debug)]
pub struct OperateArgs {
    /// The daemon's socket.
    #[arg(long, env = "FOREBAY_SOCKET", default_value = "/run/forebay/forebay.sock")]
    pub socket: PathBuf,
    /// Print the reply as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// What to log where nobody says: a daemon of a node tells who comes and goes; the rest keeps quiet beside the output.
    pub fn log_filter(&self) -> &str {
        let of_a_node = matches!(&self.command, Command::Serve(serve) if serve.private_fd.is_none());
        self.log.as_deref().unwrap_or(if of_a_node { "info" } else { "warn" })
    }
}

/// Options of `forebay synth`.
#[derive(clap::Args, Debug)]
pub struct SynthArgs {
    /// A new or empty folder.
    pub dir: PathBuf,
    /// Classes, 1 to 1000.
    #[arg(long, default_value_t = 10)]
    pub classes: u32,
    /// Pictures in all; every fifth of a class goes to val/.
    #[arg(long, default_value_t = 2000)]
    pub images: u32,
    /// Another seed, other pictures.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// photo: as ImageNet's; tiny: at most 64 pixels a side.
    #[arg(long, value_parser = ["photo", "tiny"], default_value = "photo")]
    pub size: String,
    /// Threads that draw. Absent: one a core.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Options of `forebay serve`.
#[derive(clap::Args, Debug)]
pub struct ServeArgs {
    /// The node's configuration, TOML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides the configuration's socket.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Overrides the configuration's decode threads.
    #[arg(long, value_name = "N", env = "FOREBAY_CPU_THREADS")]
    pub cpu_threads: Option<usize>,
    /// Overrides the configuration's reads at a time.
    #[arg(long, value_name = "N", env = "FOREBAY_READ_THREADS")]
    pub read_threads: Option<usize>,
    /// Overrides the configuration's storage engine.
    #[arg(long, value_enum, value_name = "ENGINE", env = "FOREBAY_ENGINE")]
    pub engine: Option<EngineName>,
    /// Overrides the configuration's metrics_listen.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "private_fd")]
    pub metrics_listen: Option<MetricsListen>,
    /// Overrides the configuration's ledger_dir.
    #[arg(long, value_name = "DIR", env = "FOREBAY_LEDGER_DIR")]
    pub ledger_dir: Option<PathBuf>,
    /// Overrides the configuration's cache_dir; empty: listings of folders are kept in memory alone.
    #[arg(long, value_name = "DIR", env = "FOREBAY_CACHE_DIR")]
    pub cache_dir: Option<String>,
    /// Print the configuration in force and stop.
    #[arg(long)]
    pub print_config: bool,
    /// Serve the process at the other end of this descriptor, and nobody else (used by the Python client).
    #[arg(long, value_name = "FD", hide = true)]
    pub private_fd: Option<i32>,
    /// Take this part of the processors only: so many processes of the node start a daemon of their own.
    #[arg(long, value_name = "PROCESSES", hide = true, requires = "private_fd")]
    pub share_of: Option<NonZeroUsize>,
    /// A pidfd of that process.
    #[arg(long, value_name = "FD", hide = true, requires = "private_fd")]
    pub parent_pidfd: Option<i32>,
}

const STATS_HELP: &str = "\
Examples:
  forebay stats
  forebay stats --socket /tmp/forebay.sock --json | jq .sessions";

const DRAIN_HELP: &str = "\
Examples:
  forebay drain
  forebay drain --socket /run/forebay/old.sock";

const SERVE_HELP: &str = "\
Configuration keys (all optional but one [[root]]):
  socket = \"/run/forebay/forebay.sock\"   where training processes connect, mode 0660
  grpc_socket = \"/run/forebay/op.sock\"   where operators' commands connect; absent: none
  metrics_listen = \"127.0.0.1:9464\"      GET /metrics for Prometheus, GET /healthz, or \"unix:/path\"; absent: none
  cpu_threads = 0                        decode threads; 0: as affinity and cgroup quota allow
  read_threads = 0                       reads at a time; 0: two for each decode thread, from 16 to 256
  engine = \"auto\"                        the storage engine: io_uring for parts of large local files and threads for the
                                         rest, or threads alone where io_uring is forbidden; \"threads\"; \"uring\": all
  uring_threads = 0                      threads with an io_uring each; 0: one for eight processors, two at least
  uring_depth = 128                      reads in flight in each
  direct_reads = \"auto\"                  parts of files past the page cache: what does not fit in it; \"always\": of files from
                                         64 MiB on; \"never\"
  page_cache = \"16GiB\"                   what of them the page cache is to hold; absent: 3/4 of the available memory
  read_budget = \"64MiB\"                  encoded bytes in flight
  reads_in_flight = 512
  arena_budget = \"8GiB\"                  all batches in shared memory; absent: half of the memory
  numa = \"auto\"                          arenas lie, and samples are decoded, on the NUMA node of the GPU that their
                                         session names; \"off\": anywhere
  sample_max = \"256MiB\"                  a larger file is a corrupt sample
  pixels_max = 178956970                 an image of more pixels is a corrupt sample
  scans_max = 64                         a JPEG of more scans is a corrupt sample
  markers_max = 16384                    a JPEG of more segments is a corrupt sample
  decoder_memory_max = \"2GiB\"            a JPEG that needs more to be decoded is a corrupt sample
  decode_deadline = \"30s\"                an image that takes longer fails its session: no verdict on the sample
  retry_deadline = \"30s\"                 how long an unreachable file is asked for again
  hedge_after = \"auto\"                   when a slow read is asked for a second time: a time, or \"off\"; auto: on network file systems
  depth = 2                              batches in flight of a session that does not say
  max_leases = 2                         batches that a consumer may hold
  ledger_dir = \"/shared/forebay\"          keeps what loader.report() tells, by run; absent: in memory alone
  ledger_every = \"30s\"                   how often it is written
  ledger_memory = \"1GiB\"                 all ledgers, 40 bytes a sample; absent: a sixteenth of the memory
  cache_dir = \"/var/cache/forebay\"       keeps listings of folders: one that did not change is not listed again; absent: in memory alone
  [[root]]                               what may be read; more than one is fine
  path = \"/data\"
  allow = { uids = [1000], gids = [100] }  absent: anybody who may connect
  [[state_root]]                         where runs may keep their pins: docs/state-root.md; none by default
  path = \"/shared/forebay\"               or \"s3://bucket/prefix\", with AWS_* in the daemon's environment

Examples:
  forebay serve --config node.toml
  forebay serve --config node.toml --socket /tmp/forebay.sock --log debug
  forebay serve --config node.toml --metrics-listen 127.0.0.1:9464 --log-format json";
