//! `forebay run`: a daemon for one job, which starts before it and is gone after it.
//!
//! The daemon lives in this process, so it ends with it however that happens. The job is a child that gets the signals
//! that are meant for it and whose exit status is ours.

mod auto;

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::error::{Fault, Kind};
use crate::operate;
use crate::run;

/// Where a job finds its daemon.
const SOCKET: &str = "FOREBAY_SOCKET";
/// A socket's path has at most so many bytes, with the zero at its end.
const SOCKET_PATH_BYTES: usize = 108;

/// Options of `forebay run`.
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// The daemon's configuration, TOML. Absent: it reads what its user may read.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the daemon listens. Absent: in a new folder that only its user may enter.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Overrides the configuration's decode threads.
    #[arg(long, value_name = "N", env = "FOREBAY_CPU_THREADS")]
    pub cpu_threads: Option<usize>,
    /// Have torch's own DataLoader read torchvision's `ImageFolder` through the daemon, where the images agree.
    #[arg(long)]
    pub auto: bool,
    /// The job: a command and its arguments.
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What `forebay run --help` ends with.
pub const RUN_HELP: &str = "\
All processes of the job share the daemon, as those that torchrun starts. Where FOREBAY_SOCKET names a daemon that
answers, the job joins that one and none is started.

SIGTERM, SIGUSR1 and SIGUSR2 go on to the job, and so do SIGINT, SIGQUIT and SIGHUP unless a terminal has told it
already. The exit status is the job's, 128 + the signal that ended it, or where it did not start 125, 126 (it may not
be run) or 127 (there is no such command).

With --auto a training script needs no changed line: torch's DataLoader over torchvision's ImageFolder decodes some
images of its first batch both ways, says in one line what it found, and goes through the daemon where they agree.

Examples:
  forebay run -- python train.py --epochs 90
  forebay run --auto -- python train.py                    # the script imports torch's DataLoader and nothing of forebay
  forebay run -- torchrun --nproc-per-node 8 train.py
  forebay run --socket /tmp/job.sock -- python train.py    # and forebay top --socket /tmp/job.sock meanwhile";

/// Becomes the job where FOREBAY_SOCKET names a daemon that answers, or gives its socket where somebody must tidy up
/// behind the job; else says why it is not joined, if one is named.
///
/// # Errors
/// NotFound or Denied: the job's command.
pub fn join(args: &RunArgs) -> Result<Option<PathBuf>, Fault> {
    let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else { return Ok(None) };
    if args.socket.is_none() && args.config.is_none() {
        match operate::connect(Path::new(&socket)) {
            Ok(_) if args.auto => return Ok(Some(PathBuf::from(socket))),
            Ok(_) => {
                let error = job_of(args).exec();
                return Err(unstarted(args, &error));
            }
            Err(fault) => eprintln!("forebay: {}: the job gets a daemon of its own", fault.line()),
        }
    }
    Ok(None)
}

/// Runs the job on the daemon of another, to the job's end: its exit status.
///
/// # Errors
/// NotFound or Denied: the job's command; Unavailable: what `--auto` writes.
pub async fn run_joined(args: &RunArgs, socket: &Path) -> Result<u8, Fault> {
    attend(args, socket).await
}

/// Runs the job beside its daemon, to the job's end: its exit status.
///
/// # Errors
/// Those of the socket and of the daemon's start; NotFound or Denied: the job's command.
pub async fn run(args: &RunArgs, mut config: Config) -> Result<u8, Fault> {
    let home = Home::new(args.socket.clone())?;
    config.socket.clone_from(&home.socket);
    run::serve_beside(config, attend(args, &home.socket)).await?
}

/// The exit status of a job that did not start.
pub fn unstarted_code(fault: &Fault) -> u8 {
    match fault.kind {
        Kind::NotFound => 127,
        Kind::Denied => 126,
        _ => 125,
    }
}

fn job_of(args: &RunArgs) -> Command {
    let (program, arguments) = args.command.split_first().expect("clap asks for one at least");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn unstarted(args: &RunArgs, error: &io::Error) -> Fault {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Unavailable,
    };
    let program = args.command[0].to_string_lossy();
    Fault::from_error(kind, error)
        .context(format!("start {program}"))
        .hint("the command stands behind --, as in `forebay run -- python train.py`")
}

/// Starts the job, hands signals on to it, and waits for its end.
async fn attend(args: &RunArgs, socket: &Path) -> Result<u8, Fault> {
    // Before the job starts: a signal between would end us and leave the job.
    let mut signals = Signals::listen()?;
    let hook = args.auto.then(|| auto::Hook::make(new_folder("forebay-auto"))).transpose()?;
    let mut job = job_of(args);
    job.env(SOCKET, socket).envs(hook.as_ref().map(auto::Hook::variable));
    let mut job = job.spawn().map_err(|error| unstarted(args, &error))?;
    tracing::info!(pid = job.id(), socket = %socket.display(), "the job started");
    let pid = Pid::from_child(&job);
    // It stays a zombie until `wait` below, so that no signal reaches another process that has got its number.
    let mut ended = tokio::task::spawn_blocking(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
    });
    loop {
        tokio::select! {
            _ = &mut ended => return Ok(code(reaped(&mut job)?)),
            Some(signal) = signals.next() => drop(kill_process(pid, signal)),
        }
    }
}

fn reaped(job: &mut Child) -> Result<ExitStatus, Fault> {
    job.wait().map_err(|error| Fault::from_error(Kind::Internal, &error).context("wait for the job"))
}

/// As a shell tells it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Signals for the job that came to this process.
struct Signals(mpsc::UnboundedReceiver<Signal>);

impl Signals {
    /// Listens for all that may be meant for the job, but for those that this process was started to ignore.
    fn listen() -> Result<Self, Fault> {
        let ignored = ignored_signals(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let (tell, told) = mpsc::unbounded_channel();
        for number in [Signal::TERM, Signal::USR1, Signal::USR2, Signal::INT, Signal::QUIT, Signal::HUP] {
            if ignored & (1 << (number.as_raw() - 1)) != 0 {
                continue; // as `nohup` has it, and the job inherits it
            }
            let mut stream = signal(SignalKind::from_raw(number.as_raw())).map_err(|error| {
                Fault::from_error(Kind::Unavailable, &error).context("listen for signals")
            })?;
            let tell = tell.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if !(is_terminals(number) && in_foreground()) && tell.send(number).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self(told))
    }

    async fn next(&mut self) -> Option<Signal> {
        self.0.recv().await
    }
}

/// Whether a terminal sends it, and then to every process of its foreground group.
fn is_terminals(signal: Signal) -> bool {
    [Signal::INT, Signal::QUIT, Signal::HUP].contains(&signal)
}

/// Whether this process is in the foreground of its terminal.
fn in_foreground() -> bool {
    foreground_of(&fs::read_to_string("/proc/self/stat").unwrap_or_default()).unwrap_or(false)
}

/// From `/proc/self/stat`: whether the process group is the one that the terminal talks to.
fn foreground_of(stat: &str) -> Option<bool> {
    // state ppid pgrp session tty_nr tpgid, behind a name that may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(2)? == fields.get(5)?)
}

/// From `/proc/self/status`: the signals that are ignored, one a bit from 1.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Where the socket lies; a folder that was made for it goes with it.
struct Home {
    socket: PathBuf,
    folder: Option<PathBuf>,
}

impl Home {
    fn new(asked: Option<PathBuf>) -> Result<Self, Fault> {
        if let Some(socket) = asked {
            return Ok(Self { socket, folder: None });
        }
        let folder = new_folder("forebay");
        make_own(&folder).map_err(|error| {
            Fault::from_error(Kind::Unavailable, &error)
                .context(format!("make {}", folder.display()))
                .hint("--socket names another place for the daemon's socket")
        })?;
        Ok(Self { socket: folder.join("daemon.sock"), folder: Some(folder) })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A folder that there is not yet: what is left of another process of this number, which was killed, stays.
fn new_folder(name: &str) -> PathBuf {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    base().join(format!("{name}-{}-{:08x}", std::process::id(), now.tv_nsec))
}

/// Makes a folder that only its user may enter.
fn make_own(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

/// The user's folder for sockets, else the one for temporary files; /tmp where that makes the path too long.
fn base() -> PathBuf {
    let room = SOCKET_PATH_BYTES - "/forebay-4194304-00000000/daemon.sock".len() - 1;
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let base = user.unwrap_or_else(std::env::temp_dir);
    if base.as_os_str().len() <= room { base } else { PathBuf::from("/tmp") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_in_the_foreground_where_its_group_is_the_terminals() {
        assert_eq!(foreground_of("7 (a) b) S 1 7 7 34816 7 4194304"), Some(true));
        assert_eq!(foreground_of("7 (sh) S 1 7 7 34816 9 4194304"), Some(false));
        assert_eq!(foreground_of("7 (sh) S 1 7 7 0 -1 4194304"), Some(false));
        assert_eq!(foreground_of(""), None);
    }

    #[test]
    fn the_signals_that_nohup_ignores_are_read_from_the_kernels_mask() {
        assert_eq!(ignored_signals("Name:\tforebay\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored_signals("Name:\tforebay\n"), 0);
    }

    #[test]
    fn a_job_that_did_not_start_is_told_apart_from_one_that_failed() {
        let args =
            RunArgs { config: None, socket: None, cpu_threads: None, auto: false, command: vec!["x".into()] };
        for (kind, code) in [
            (io::ErrorKind::NotFound, 127),
            (io::ErrorKind::PermissionDenied, 126),
            (io::ErrorKind::Other, 125),
        ] {
            assert_eq!(unstarted_code(&unstarted(&args, &kind.into())), code);
        }
    }

    #[test]
    fn exit_statuses_are_as_a_shell_tells_them() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}
