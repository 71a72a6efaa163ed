//! Which engine serves: as it was set, or what this machine allows.

use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::sharing::Sharing;
use super::uring::in_words;
use super::{Done, Engine, RingOptions, RoutedEngine, StorageError, ThreadsEngine, UringEngine, UringProbe};
use crate::error::{Fault, Kind};

/// The storage engines, as they are set.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// io_uring for parts of large local files and threads for the rest; threads alone where io_uring is forbidden.
    #[default]
    Auto,
    /// A pool of threads that open, read and close.
    Threads,
    /// io_uring for every read.
    Uring,
}

impl EngineName {
    /// As it is written in a configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Threads => "threads",
            Self::Uring => "uring",
        }
    }
}

/// What an engine is made of.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Which.
    pub name: EngineName,
    /// Reads at a time of the threads.
    pub read_threads: NonZeroUsize,
    /// The rings.
    pub rings: RingOptions,
    /// Descriptors that reads may hold together.
    pub open_files: u64,
}

impl EngineOptions {
    /// Descriptors that its reads need: of what is set, or of the threads alone where the machine decides.
    pub fn open_files_least(&self) -> u64 {
        match self.name {
            EngineName::Uring => self.rings.open_files_max(),
            EngineName::Auto | EngineName::Threads => self.read_threads.get() as u64,
        }
    }
}

/// An engine, and why it is this one.
pub struct Started<T> {
    /// It completes to the channel that it was started with.
    pub engine: Arc<dyn Engine<T>>,
    /// For the log, in a line.
    pub reason: String,
}

/// Starts the engine that is set; for [`EngineName::Auto`], what this machine allows.
///
/// # Errors
/// Unavailable: io_uring was asked for and can't be had, or no thread.
pub fn start<T: Send + 'static>(
    options: &EngineOptions,
    done: &flume::Sender<Done<T>>,
) -> Result<Started<T>, Fault> {
    start_where(options, done, UringProbe::take)
}

/// The same where `probe` answers for the machine.
fn start_where<T: Send + 'static>(
    options: &EngineOptions,
    done: &flume::Sender<Done<T>>,
    probe: impl FnOnce() -> UringProbe,
) -> Result<Started<T>, Fault> {
    let sharing = Arc::new(Sharing::default());
    let threads = || {
        ThreadsEngine::beside(Arc::clone(&sharing), options.read_threads, done).map_err(|error| fault(&error))
    };
    let as_set = || "as it is set".to_owned();
    match options.name {
        EngineName::Threads => Ok(Started { engine: Arc::new(threads()?), reason: as_set() }),
        EngineName::Uring => {
            let rings = rings(&sharing, options, done, probe).map_err(|objection| no_ring(&objection))?;
            Ok(Started { engine: Arc::new(rings), reason: as_set() })
        }
        EngineName::Auto => match rings_beside_threads(&sharing, options, done, probe) {
            Ok(rings) => Ok(Started {
                engine: Arc::new(RoutedEngine::new(threads()?, rings)),
                reason: "io_uring for parts of files on ext4, xfs, btrfs and f2fs, threads for the rest"
                    .to_owned(),
            }),
            Err(objection) => Ok(Started {
                engine: Arc::new(threads()?),
                reason: format!("io_uring: {objection}; threads"),
            }),
        },
    }
}

/// The rings, or what is in their way, descriptors for both engines among it.
fn rings_beside_threads<T: Send + 'static>(
    sharing: &Arc<Sharing>,
    options: &EngineOptions,
    done: &flume::Sender<Done<T>>,
    probe: impl FnOnce() -> UringProbe,
) -> Result<UringEngine<T>, String> {
    let needed = options.read_threads.get() as u64 + options.rings.open_files_max();
    if needed > options.open_files {
        return Err(format!("reads may hold {} open files, and would need {needed}", options.open_files));
    }
    rings(sharing, options, done, probe)
}

/// The rings, or what is in their way.
fn rings<T: Send + 'static>(
    sharing: &Arc<Sharing>,
    options: &EngineOptions,
    done: &flume::Sender<Done<T>>,
    probe: impl FnOnce() -> UringProbe,
) -> Result<UringEngine<T>, String> {
    if let Some(objection) = probe().objection() {
        return Err(objection);
    }
    UringEngine::beside(Arc::clone(sharing), options.rings, done).map_err(|error| match &error {
        StorageError::Ring { source } => in_words(source),
        error => crate::error::with_causes(error),
    })
}

fn no_ring(objection: &str) -> Fault {
    Fault::new(Kind::Unavailable, format!("engine = \"uring\", but io_uring: {objection}"))
        .context("start the storage engine")
        .hint("engine = \"auto\" (or FOREBAY_ENGINE=auto) goes on with threads; `forebay doctor` says what would allow io_uring")
}

fn fault(error: &StorageError) -> Fault {
    Fault::from_error(Kind::Unavailable, error).context("start the storage engine")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::conformance::read_of;
    use super::super::{DirectReads, Root};
    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    fn options(name: EngineName, depth: u32) -> EngineOptions {
        let depth = NonZeroU32::new(depth).unwrap();
        let rings = RingOptions { threads: ONE, depth, direct: DirectReads::Never, page_cache_bytes: 0 };
        EngineOptions { name, read_threads: ONE, rings, open_files: u64::MAX }
    }

    fn started(name: EngineName, probe: UringProbe) -> Result<(&'static str, String), Fault> {
        let (done, _completions) = flume::unbounded::<Done<u64>>();
        let Started { engine, reason } = start_where(&options(name, 8), &done, || probe)?;
        Ok((engine.name(), reason))
    }

    #[test]
    fn where_io_uring_is_forbidden_auto_goes_on_with_threads_and_says_why() {
        for (probe, why) in [
            (UringProbe::Refused(1), "EPERM"),
            (UringProbe::Refused(38), "ENOSYS"),
            (UringProbe::Refused(12), "ENOMEM"),
            (UringProbe::Killed(31), "signal 31"),
            (UringProbe::Untried("no process".to_owned()), "no process"),
        ] {
            let (name, reason) = started(EngineName::Auto, probe).unwrap();
            assert!(name == "threads" && reason.contains(why) && reason.ends_with("; threads"), "{reason}");
        }
    }

    #[test]
    fn uring_that_was_asked_for_and_is_not_there_is_an_error_with_the_cure() {
        let fault = started(EngineName::Uring, UringProbe::Refused(1)).unwrap_err();
        assert!(
            fault.to_string().contains("EPERM") && fault.to_string().contains("engine = \"auto\""),
            "{fault}"
        );
        assert_eq!(fault.kind, Kind::Unavailable);
    }

    #[test]
    fn auto_leaves_the_rings_out_where_too_few_files_may_be_open() {
        let (done, _completions) = flume::unbounded::<Done<u64>>();
        let options = EngineOptions { open_files: 80, ..options(EngineName::Auto, 8) };
        let started = start_where(&options, &done, || panic!("nobody asks")).unwrap();
        assert!(started.engine.name() == "threads" && started.reason.contains("80"), "{}", started.reason);
        let least = |name| EngineOptions { name, ..options }.open_files_least();
        assert!(least(EngineName::Uring) > least(EngineName::Auto) && least(EngineName::Auto) == 1);
    }

    #[test]
    fn threads_are_never_probed_for() {
        let (done, _completions) = flume::unbounded::<Done<u64>>();
        let started = start_where(&options(EngineName::Threads, 8), &done, || panic!("nobody asks")).unwrap();
        assert_eq!(started.engine.name(), "threads");
    }

    #[test]
    fn a_ring_that_cannot_be_made_after_all_is_told_as_well() {
        if UringProbe::take() != UringProbe::Works {
            return eprintln!("skipped: this kernel, or a filter, forbids io_uring");
        }
        assert_eq!(started(EngineName::Uring, UringProbe::Works).unwrap().0, "uring");
        assert_eq!(started(EngineName::Auto, UringProbe::Works).unwrap().0, "threads+uring");
        // More entries than any kernel gives.
        let (done, _completions) = flume::unbounded::<Done<u64>>();
        let too_deep = options(EngineName::Auto, 1 << 20);
        let started = start_where(&too_deep, &done, || UringProbe::Works).unwrap();
        assert_eq!(started.engine.name(), "threads", "{}", started.reason);
    }

    #[test]
    fn whole_files_and_unknown_file_systems_go_to_the_threads_and_the_bytes_are_the_same() {
        if UringProbe::take() != UringProbe::Works {
            return eprintln!("skipped: this kernel, or a filter, forbids io_uring");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), b"0123456789").unwrap();
        let (done, completions) = flume::unbounded();
        let engine = start(&options(EngineName::Auto, 8), &done).unwrap().engine;
        for root in [Root::open(dir.path()).unwrap(), Root::open_walking(dir.path())] {
            for (extent, bytes) in [(None, &b"0123456789"[..]), (Some((3, 4)), b"3456")] {
                engine.submit(super::super::Read { extent, ..read_of(&root, "x", 0) });
                let back = completions.recv().unwrap();
                assert_eq!(back.result.map(|()| back.read.buf.bytes.to_vec()).unwrap(), bytes);
            }
        }
    }
}
