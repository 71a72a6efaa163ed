//! What only a call can tell: io_uring, memfd, the roots, the socket, the daemon behind it, CUDA.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use forebay_arena::{Arena, ArenaError, Geometry};
use forebay_proto::v1::{self, reply, request::Call};
use rustix::fs::Access;
use rustix::io::Errno;

use crate::error::Fault;
use crate::gpu::{self, GpuError, Survey};
use crate::machine::Machine;
use crate::operate;
use crate::storage::UringProbe;

/// A dead network file system answers never.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Waking eight GPUs that nothing keeps awake takes more than a second each.
const CUDA_WITHIN: Duration = Duration::from_secs(30);

/// Entries of a root that are tried.
const ENTRIES_MAX: usize = 1000;

/// What system calls answered.
#[derive(Debug)]
pub struct Probes {
    /// Whether io_uring works for this process.
    pub io_uring: UringProbe,
    /// Whether an arena can be made; else the call that failed and why.
    pub memfd: Result<(), String>,
    /// The size of `/dev/shm`; `None` where there is none.
    pub dev_shm_bytes: Option<u64>,
    /// What jobs will read.
    pub roots: Vec<Root>,
    /// Where the daemon listens, or would.
    pub socket: Socket,
    /// What CUDA shows; `None`: it did not answer in time.
    pub cuda: Option<Result<Survey, GpuError>>,
    /// Whether an arena can be placed on a NUMA node; else why not.
    pub placement: Result<(), String>,
}

/// A path that jobs will read.
#[derive(Clone, Debug)]
pub struct Root {
    /// As it was given.
    pub path: PathBuf,
    /// What is there, or why nothing can be said.
    pub state: Result<RootState, String>,
}

/// What is at a root.
#[derive(Clone, Debug, Default)]
pub struct RootState {
    /// The path without links.
    pub real: PathBuf,
    /// Not a folder, as a list of samples is.
    pub is_file: bool,
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Left to ordinary users.
    pub free_bytes: u64,
    /// Files it can hold; 0 where it does not count them.
    pub files: u64,
    /// Of these, still to be made.
    pub files_free: u64,
    /// Entries that were tried, at most the first thousand.
    pub tried: usize,
    /// Those of them that this user may not read, and the first of these.
    pub unreadable: Option<(usize, PathBuf)>,
}

/// Where the daemon listens.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Its path.
    pub path: PathBuf,
    /// Whether something stands there.
    pub exists: bool,
    /// Whether this user may make files in its folder; `None`: there is no such folder.
    pub folder_writable: Option<bool>,
    /// What answered there: `forebay/0.1.0`, or the error. `None`: nothing to ask.
    pub daemon: Option<Result<String, Fault>>,
}

impl Probes {
    /// Asks everything.
    pub fn take(roots: &[PathBuf], socket: &Path) -> Self {
        Self {
            io_uring: UringProbe::take(),
            memfd: memfd().map_err(|error| crate::error::with_causes(&error)),
            dev_shm_bytes: rustix::fs::statvfs("/dev/shm").ok().map(|fs| fs.f_blocks * fs.f_frsize),
            roots: roots.iter().map(|path| root(path)).collect(),
            socket: ask(socket),
            cuda: within(CUDA_WITHIN, || gpu::survey(&Machine::beneath("/"))),
            placement: placement().map_err(|error| crate::error::with_causes(&error)),
        }
    }
}

/// Makes an arena of one small slot, with its seals, its mapping and its pages.
fn memfd() -> Result<(), ArenaError> {
    Arena::create(0, Geometry { slot_bytes: 4096, slots: 1 })?.prefault()
}

/// Places such an arena on the first node that has memory.
fn placement() -> Result<(), ArenaError> {
    let nodes = Machine::beneath("/").text("/sys/devices/system/node/has_memory").unwrap_or_default();
    let first = nodes.split(['-', ',']).next().and_then(|node| node.parse().ok()).unwrap_or(0);
    Arena::create(0, Geometry { slot_bytes: 4096, slots: 1 })?.prefer_node(first)
}

fn root(path: &Path) -> Root {
    let asked = path.to_owned();
    let state = within(ANSWER_WITHIN, move || look(&asked).map_err(|error| error.to_string()));
    let silent = || Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
    Root { path: path.to_owned(), state: state.unwrap_or_else(silent) }
}

fn look(path: &Path) -> io::Result<RootState> {
    let real = std::fs::canonicalize(path)?;
    let fs = rustix::fs::statvfs(&real)?;
    let mut state = RootState {
        total_bytes: fs.f_blocks * fs.f_frsize,
        free_bytes: fs.f_bavail * fs.f_frsize,
        files: fs.f_files,
        files_free: fs.f_ffree,
        is_file: !real.is_dir(),
        ..RootState::default()
    };
    if state.is_file {
        std::fs::File::open(&real)?;
        return Ok(RootState { real, ..state });
    }
    for entry in std::fs::read_dir(&real)?.take(ENTRIES_MAX) {
        let path = entry?.path();
        state.tried += 1;
        if !readable(&path) {
            state.unreadable.get_or_insert((0, path)).0 += 1;
        }
    }
    Ok(RootState { real, ..state })
}

/// Folders must be searchable too. A link that leads nowhere is not this check's to judge.
fn readable(path: &Path) -> bool {
    let wanted = if path.is_dir() { Access::READ_OK | Access::EXEC_OK } else { Access::READ_OK };
    !matches!(rustix::fs::access(path, wanted), Err(Errno::ACCESS | Errno::PERM))
}

fn ask(socket: &Path) -> Socket {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let folder_writable =
        folder.is_dir().then(|| rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok());
    let exists = std::fs::symlink_metadata(socket).is_ok();
    let path = socket.to_owned();
    let asked = exists.then(|| {
        within(ANSWER_WITHIN, move || hello(&path)).unwrap_or_else(|| {
            let message = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
            Err(Fault::new(crate::error::Kind::Unavailable, message))
        })
    });
    Socket { path: socket.to_owned(), exists, folder_writable, daemon: asked }
}

fn hello(socket: &Path) -> Result<String, Fault> {
    let hello = v1::HelloRequest {
        version_min: 1,
        version_max: 1,
        client: concat!("forebay-doctor/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Default::default()
    };
    match operate::connect(socket)?.call(Call::Hello(hello))? {
        reply::Result::Hello(reply) => Ok(reply.daemon),
        other => Err(Fault::internal(format!("hello was answered with {other:?}"))),
    }
}

/// What `work` gives, if it does so in time; else its thread is left behind.
fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(time).ok()
}
