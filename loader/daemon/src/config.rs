//! The configuration as resolved: read once, checked whole, printable whole.

mod metrics_listen;

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::decode::ImageLimits;
use crate::error::{Fault, Kind};
use crate::prefetch::ReadBudget;
pub use crate::storage::{DirectReads, EngineName};
use crate::storage::{EngineOptions, HedgeAfter, RetryPolicy, RingOptions};
use crate::sys;
use crate::workers::PoolOptions;
pub use metrics_listen::MetricsListen;

/// A read without an answer is given up so long after the deadline: until then it may be slow, and not lost.
const ANSWER_GRACE: Duration = Duration::from_secs(30);

/// A node's configuration file, `node.toml`. Everything has a default but the roots.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where training processes connect; made with mode 0660.
    pub socket: PathBuf,
    /// Where operators' commands connect (gRPC on a Unix socket). Absent: none.
    pub grpc_socket: Option<PathBuf>,
    /// Where metrics are served over HTTP. Absent: nowhere.
    pub metrics_listen: Option<MetricsListen>,
    /// Decode threads. 0: the processors that this process may use, by its affinity and its cgroup's quota.
    pub cpu_threads: usize,
    /// Reads at a time of the `threads` engine. 0: two for each decode thread, from 16 to 256.
    pub read_threads: usize,
    /// The storage engine.
    pub engine: EngineName,
    /// Threads with an io_uring each. 0: one for eight processors, and two at least.
    pub uring_threads: usize,
    /// Reads in flight in each of their rings.
    pub uring_depth: u32,
    /// Whether io_uring reads parts of files past the page cache.
    pub direct_reads: DirectReads,
    /// What the page cache is to hold of files that are read in parts. 0: what the machine has for it.
    pub page_cache: Bytes,
    /// Encoded bytes in flight.
    pub read_budget: Bytes,
    /// Reads in flight.
    pub reads_in_flight: u32,
    /// All sessions' arenas together. 0: half of the memory.
    pub arena_budget: Bytes,
    /// Whether the arena of a session that names its GPU is placed on that one's NUMA node.
    pub numa: NumaPlacement,
    /// A larger file is a corrupt sample.
    pub sample_max: Bytes,
    /// An image of more pixels is a corrupt sample.
    pub pixels_max: u64,
    /// A JPEG of more scans is a corrupt sample: each costs a pass over the image.
    pub scans_max: u32,
    /// A JPEG of more segments is a corrupt sample.
    pub markers_max: u32,
    /// A JPEG for which libjpeg asks for more is a corrupt sample: two bytes for each coefficient of a progressive one.
    pub decoder_memory_max: Bytes,
    /// How long decoding one image may take before its session fails.
    pub decode_deadline: Seconds,
    /// How long an unreachable sample is asked for again.
    pub retry_deadline: Seconds,
    /// When a slow read is asked for a second time.
    pub hedge_after: HedgeAfter,
    /// Batches in flight where a session does not say.
    pub depth: u32,
    /// Batches that a consumer may hold where a session does not say.
    pub max_leases: u32,
    /// Where the losses that training reports are kept, by run. Absent: in memory, until the daemon ends.
    pub ledger_dir: Option<PathBuf>,
    /// How often they are written.
    pub ledger_every: Seconds,
    /// Memory for them, all runs together. 0: a sixteenth of the machine's.
    pub ledger_memory: Bytes,
    /// Where listings of folders are kept, so that one that did not change is not listed again. Absent: in memory.
    pub cache_dir: Option<PathBuf>,
    /// What may be read, and by whom.
    #[serde(rename = "root")]
    pub roots: Vec<RootConfig>,
    /// Where runs may keep records, and whose: folders, or `s3://bucket/prefix`.
    #[serde(rename = "state_root")]
    pub state_roots: Vec<RootConfig>,
}

/// Where arenas lie on a machine of several NUMA nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumaPlacement {
    /// On the node of the GPU that the session names, where the machine tells it.
    #[default]
    Auto,
    /// Where the kernel puts them: mostly on the node of the thread that first writes.
    Off,
}

/// A directory that jobs may read beneath.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootConfig {
    /// Absolute.
    pub path: PathBuf,
    /// Who may. Neither users nor groups: anybody who may connect.
    #[serde(default)]
    pub allow: Allow,
}

/// Users and groups, by number.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// User numbers.
    pub uids: Vec<u32>,
    /// Group numbers; a peer's own group counts, as the socket reports it.
    pub gids: Vec<u32>,
}

/// A size: a number with the unit B, KiB, MiB or GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A time: a number with the unit ms, s or min.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/forebay/forebay.sock"),
            grpc_socket: None,
            metrics_listen: None,
            cpu_threads: 0,
            read_threads: 0,
            engine: EngineName::Auto,
            uring_threads: 0,
            uring_depth: 128,
            direct_reads: DirectReads::Auto,
            page_cache: Bytes(0),
            read_budget: Bytes(64 << 20),
            reads_in_flight: 512,
            arena_budget: Bytes(0),
            numa: NumaPlacement::Auto,
            sample_max: Bytes(256 << 20),
            pixels_max: ImageLimits::default().pixels_max,
            scans_max: ImageLimits::default().scans_max,
            markers_max: ImageLimits::default().markers_max,
            decoder_memory_max: Bytes(ImageLimits::default().decoder_bytes_max),
            decode_deadline: Seconds(Duration::from_secs(30)),
            retry_deadline: Seconds(Duration::from_secs(30)),
            hedge_after: HedgeAfter::Auto,
            depth: 2,
            max_leases: 2,
            ledger_dir: None,
            ledger_every: Seconds(Duration::from_secs(30)),
            ledger_memory: Bytes(0),
            cache_dir: None,
            roots: Vec::new(),
            state_roots: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// NotFound or Invalid, naming the key and the line.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Fault::from_error(Kind::NotFound, &error)
                .context(format!("read configuration {}", path.display()))
                .hint("examples/nodes/ has files to start from")
        })?;
        Self::parse(&text).map_err(|fault| fault.context(format!("configuration {}", path.display())))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Invalid: unknown keys, wrong units, values out of range.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let config: Self = toml::from_str(text).map_err(|error| {
            Fault::invalid(error.to_string().trim_end().to_owned())
                .hint("`forebay serve --help` lists the keys and units")
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what a file or the command line may have set out of its range.
    ///
    /// # Errors
    /// Invalid, naming the key.
    pub fn check(&self) -> Result<(), Fault> {
        let positive = [
            ("reads_in_flight", u64::from(self.reads_in_flight)),
            ("uring_depth", u64::from(self.uring_depth)),
            ("read_budget", self.read_budget.0),
            ("sample_max", self.sample_max.0),
            ("pixels_max", self.pixels_max),
            ("scans_max", self.scans_max.into()),
            ("markers_max", self.markers_max.into()),
            ("decoder_memory_max", self.decoder_memory_max.0),
            ("decode_deadline", self.decode_deadline.0.as_millis() as u64),
            ("depth", u64::from(self.depth)),
            ("max_leases", u64::from(self.max_leases)),
            ("ledger_every", self.ledger_every.0.as_millis() as u64),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Fault::invalid(format!("{key} must be at least 1")));
        }
        let bounded = [
            ("cpu_threads", self.cpu_threads),
            ("read_threads", self.read_threads),
            ("uring_threads", self.uring_threads),
            ("uring_depth", self.uring_depth as usize),
            ("depth", self.depth as usize),
            ("max_leases", self.max_leases as usize),
        ];
        if let Some((key, value)) = bounded.iter().find(|(_, value)| *value > 1024) {
            return Err(Fault::invalid(format!("{key} = {value} is above 1024")));
        }
        if let Some(root) = self.roots.iter().find(|root| !root.path.is_absolute()) {
            return Err(Fault::invalid(format!("root {} is not an absolute path", root.path.display())));
        }
        if let Some(folder) = self.cache_dir.as_ref().filter(|folder| !folder.is_absolute()) {
            return Err(Fault::invalid(format!("cache_dir {} is not an absolute path", folder.display())));
        }
        let is_place = |root: &RootConfig| root.path.is_absolute() || root.path.starts_with("s3://");
        if let Some(root) = self.state_roots.iter().find(|root| !is_place(root)) {
            let message = format!("state_root {} is neither an absolute path nor s3://", root.path.display());
            return Err(Fault::invalid(message));
        }
        Ok(())
    }

    /// Decode threads, as set or as this process's processors allow.
    pub fn cpu_threads(&self) -> usize {
        if self.cpu_threads == 0 { sys::cpus() } else { self.cpu_threads }
    }

    /// Reads at a time, as set, else two for each decode thread: 2 ms away, that still brings a thread 1000 files a
    /// second. Never under 16, which costs nothing where storage is near (`benches/defaults/`).
    pub fn read_threads(&self) -> NonZeroUsize {
        self.read_threads_on(sys::cpus())
    }

    /// The same on a machine with so many usable processors.
    pub fn read_threads_on(&self, processors: usize) -> NonZeroUsize {
        let cpu_threads = if self.cpu_threads == 0 { processors } else { self.cpu_threads };
        let default = || NonZeroUsize::new((2 * cpu_threads).clamp(16, 256)).expect("at least 16");
        NonZeroUsize::new(self.read_threads).unwrap_or_else(default)
    }

    /// The storage engine.
    pub fn engine_options(&self) -> EngineOptions {
        let default = || RingOptions::threads_of(sys::cpus());
        let rings = RingOptions {
            threads: NonZeroUsize::new(self.uring_threads).unwrap_or_else(default),
            depth: NonZeroU32::new(self.uring_depth).expect("checked to be at least 1"),
            direct: self.direct_reads,
            page_cache_bytes: self.page_cache.0,
        };
        EngineOptions { name: self.engine, read_threads: self.read_threads(), rings, open_files: u64::MAX }
    }

    /// How the pool is sized.
    pub fn pool_options(&self) -> PoolOptions {
        PoolOptions {
            cpu_threads: self.cpu_threads(),
            budget: ReadBudget { bytes: self.read_budget.0, reads: self.reads_in_flight },
            sample_bytes_max: self.sample_max.0,
            retry: RetryPolicy { deadline: self.retry_deadline.0, ..RetryPolicy::default() },
            hedge_after: self.hedge_after,
            patience: self.retry_deadline.0 + ANSWER_GRACE,
            image_limits: ImageLimits {
                pixels_max: self.pixels_max,
                encoded_bytes_max: self.sample_max.0,
                scans_max: self.scans_max,
                markers_max: self.markers_max,
                decoder_bytes_max: self.decoder_memory_max.0,
            },
            decode_deadline: self.decode_deadline.0,
        }
    }

    /// What the ledgers of losses may take together.
    pub fn ledger_memory_bytes(&self) -> u64 {
        if self.ledger_memory.0 == 0 { sys::memory_bytes() / 16 } else { self.ledger_memory.0 }
    }

    /// What all arenas together may take.
    pub fn arena_budget_bytes(&self) -> u64 {
        if self.arena_budget.0 == 0 { sys::memory_bytes() / 2 } else { self.arena_budget.0 }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
        with_unit(text, &units).map(Self).ok_or_else(|| {
            format!("{text:?} is no size: write a number and B, KiB, MiB or GiB, as in \"64MiB\"")
        })
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("ms", 1), ("min", 60_000), ("s", 1000)];
        let ms = with_unit(text, &units)
            .ok_or_else(|| format!("{text:?} is no time: write a number and ms, s or min, as in \"30s\""))?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Config::parse(text).expect_err("a wrong configuration").to_string()
    }

    #[test]
    fn every_key_is_read_with_its_unit() {
        let text = "socket = \"/tmp/s\"\ngrpc_socket = \"/tmp/g\"\nmetrics_listen = \"localhost:9464\"\ncpu_threads = 3\nread_threads = 4\nengine = \"uring\"\nuring_threads = 8\nuring_depth = 9\ndirect_reads = \"always\"\npage_cache = \"14MiB\"\nread_budget = \"2MiB\"\n\
                    reads_in_flight = 7\narena_budget = \"1 GiB\"\nnuma = \"off\"\nsample_max = \"5KiB\"\npixels_max = 9\nscans_max = 10\nmarkers_max = 11\ndecoder_memory_max = \"12MiB\"\ndecode_deadline = \"13s\"\nretry_deadline = \"2min\"\nhedge_after = \"50ms\"\ndepth = 5\nmax_leases = 6\n\
                    ledger_dir = \"/l\"\nledger_every = \"7s\"\nledger_memory = \"8MiB\"\ncache_dir = \"/c\"\n\
                    [[root]]\npath = \"/data\"\nallow = { uids = [1000], gids = [5] }\n\
                    [[state_root]]\npath = \"s3://b/runs\"\n";
        let config = Config::parse(text).expect("a whole configuration");
        let options = config.pool_options();
        assert_eq!((options.cpu_threads, options.budget), (3, ReadBudget { bytes: 2 << 20, reads: 7 }));
        let limits = ImageLimits {
            pixels_max: 9,
            encoded_bytes_max: 5 << 10,
            scans_max: 10,
            markers_max: 11,
            decoder_bytes_max: 12 << 20,
        };
        assert_eq!((options.sample_bytes_max, options.image_limits), (5 << 10, limits));
        assert_eq!(options.decode_deadline, Duration::from_secs(13));
        assert_eq!(options.hedge_after, HedgeAfter::Time(Duration::from_millis(50)));
        assert_eq!(options.patience, Duration::from_secs(120 + 30));
        let EngineOptions { name, read_threads, rings, .. } = config.engine_options();
        assert_eq!((name, read_threads.get()), (EngineName::Uring, 4));
        assert_eq!((rings.threads.get(), rings.depth.get()), (8, 9));
        assert_eq!((rings.direct, rings.page_cache_bytes), (DirectReads::Always, 14 << 20));
        assert_eq!(
            (options.retry.deadline, config.arena_budget_bytes()),
            (Duration::from_secs(120), 1 << 30)
        );
        assert_eq!(config.roots[0].allow, Allow { uids: vec![1000], gids: vec![5] });
        assert_eq!(config.state_roots[0].path, Path::new("s3://b/runs"));
        assert_eq!((config.depth, config.max_leases, config.read_threads), (5, 6, 4));
        assert_eq!(config.ledger_dir.as_deref(), Some(Path::new("/l")));
        assert_eq!(config.cache_dir.as_deref(), Some(Path::new("/c")));
        assert_eq!((config.ledger_every.0, config.ledger_memory_bytes()), (Duration::from_secs(7), 8 << 20));
        assert_eq!((config.numa, Config::default().numa), (NumaPlacement::Off, NumaPlacement::Auto));
        assert_eq!(config.metrics_listen, Some(MetricsListen::Tcp(([127, 0, 0, 1], 9464).into())));
    }

    #[test]
    fn reads_at_a_time_follow_the_decode_threads_unless_they_are_set() {
        let threads = |text: &str| Config::parse(text).expect("a configuration").read_threads().get();
        assert_eq!(threads("cpu_threads = 2"), 16);
        assert_eq!(threads("cpu_threads = 112"), 224);
        assert_eq!(threads("cpu_threads = 1000"), 256);
        assert_eq!(threads("cpu_threads = 112\nread_threads = 5"), 5);
    }

    #[test]
    fn the_node_examples_are_configurations() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/nodes");
        let files: Vec<_> =
            std::fs::read_dir(folder).expect("examples").map(|entry| entry.expect("a file").path()).collect();
        assert!(files.len() >= 3);
        for file in files {
            let config = Config::read(&file).unwrap_or_else(|fault| panic!("{fault}"));
            assert!(!config.roots.is_empty() && config.arena_budget.0 > 0, "{}", file.display());
        }
    }

    #[test]
    fn an_unknown_key_names_itself() {
        assert!(message("cpu_thread = 3").contains("cpu_thread"));
        assert!(message("[[root]]\npath = \"/d\"\nalow = {}").contains("alow"));
    }

    #[test]
    fn a_wrong_unit_says_what_units_there_are() {
        assert!(message("read_budget = \"64MB\"").contains("MiB"));
        assert!(message("retry_deadline = \"30\"").contains("as in \"30s\""));
        assert!(message("hedge_after = \"soon\"").contains("as in \"50ms\""));
        assert!(message("engine = \"uring2\"").contains("expected one of `auto`, `threads`, `uring`"));
        assert!(message("numa = \"node0\"").contains("expected `auto` or `off`"));
        assert!(message("metrics_listen = \"9464\"").contains("unix:/path"));
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert!(message("ledger_every = \"0s\"").contains("ledger_every must be at least 1"));
        assert!(message("depth = 0").contains("depth must be at least 1"));
        assert!(message("cpu_threads = 5000").contains("above 1024"));
        assert!(message("uring_depth = 0").contains("uring_depth must be at least 1"));
        assert!(message("uring_depth = 5000").contains("uring_depth = 5000 is above 1024"));
        assert!(message("[[root]]\npath = \"data\"").contains("absolute"));
        assert!(message("cache_dir = \"c\"").contains("cache_dir c is not an absolute path"));
        assert!(message("[[state_root]]\npath = \"gs://b\"").contains("neither an absolute path nor s3://"));
    }

    #[test]
    fn a_missing_file_names_itself_and_the_cure() {
        let fault = Config::read(Path::new("/nowhere/node.toml")).expect_err("no such file");
        assert!(fault.to_string().contains("/nowhere/node.toml") && fault.hint.is_some());
    }
}
