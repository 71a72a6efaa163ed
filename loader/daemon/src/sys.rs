//! The few system calls that no crate wraps safely, facts about this process, and what its threads are for.
#![allow(
    unsafe_code,
    reason = "no safe form: adopting descriptors, mallopt, making a bare ring, work between fork and exec"
)]

use std::io;
use std::num::NonZero;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::cgroup;

/// Takes over a descriptor that the parent process left open for this one, by its number.
///
/// # Errors
/// `EBADF` where no such descriptor is open, or it is one of the three standard ones.
pub fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(Errno::BADF.raw_os_error()));
    }
    // SAFETY: borrowed only for the call below, which fails where the number names nothing.
    let probe = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(probe)?;
    rustix::io::fcntl_setfd(probe, flags | rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and called once a number at start-up, before anything else could have opened it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Registers a descriptor with the runtime's reactor.
///
/// # Errors
/// What `epoll_ctl` says.
pub fn reactor_fd(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, always names the same descriptor, and lives inside of the `AsyncFd` from here on.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Does what may take long, or wait for a disk or a server; where a task of the runtime does, others go on meanwhile.
pub fn aside<T>(does: impl FnOnce() -> T) -> T {
    let on_many_threads =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if on_many_threads { tokio::task::block_in_place(does) } else { does() }
}

/// Tries to make an io_uring and to enter it, and drops it. Makes system calls alone, so a forked child may call it.
///
/// # Errors
/// `ENOSYS`: the kernel has none; `EPERM`: seccomp or `kernel.io_uring_disabled` forbids it.
pub fn io_uring_works() -> Result<(), Errno> {
    let mut params = rustix::io_uring::io_uring_params::default();
    // SAFETY: the parameters live through the call, and the ring is closed before anything is mapped.
    let ring = unsafe { rustix::io_uring::io_uring_setup(2, &mut params) }?;
    // SAFETY: nothing is submitted and nothing waited for.
    unsafe { rustix::io_uring::io_uring_enter(&ring, 0, 0, rustix::io_uring::IoringEnterFlags::empty()) }?;
    Ok(())
}

/// How a child process ended that tried something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// It worked.
    Done,
    /// It did not, for this reason.
    Failed(Errno),
    /// A signal ended it.
    Killed(i32),
}

/// How a child says that its attempt worked: no system call that we try answers so.
const WORKED: Errno = Errno::OWNERDEAD;

/// Makes an attempt in a forked child, which a sandbox may kill for it. `attempt` must make system calls alone: between
/// fork and exec there may be no allocation and no lock.
///
/// # Errors
/// The child ended without a word. One that could not be made counts as [`ChildEnd::Failed`].
pub fn in_child(attempt: fn() -> Result<(), Errno>) -> io::Result<ChildEnd> {
    // Never run: the attempt stands before it and always ends in an error, which the parent is told.
    let mut command = Command::new("/proc/self/exe");
    // SAFETY: system calls alone, as this function asks for; making an `io::Error` of a number allocates nothing.
    unsafe { command.pre_exec(move || Err(attempt().err().unwrap_or(WORKED).into())) };
    match command.spawn() {
        Ok(mut child) => match child.wait()?.signal() {
            Some(signal) => Ok(ChildEnd::Killed(signal)),
            None => Err(io::Error::other("the child process ended without a word")),
        },
        Err(error) => match Errno::from_io_error(&error) {
            Some(WORKED) => Ok(ChildEnd::Done),
            Some(errno) => Ok(ChildEnd::Failed(errno)),
            None => Err(error),
        },
    }
}

/// User and system time of this process, microseconds.
pub fn cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// User and system time of the thread that calls.
pub fn thread_cpu() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory of this process, bytes; 0 where /proc can't tell.
pub fn rss_bytes() -> u64 {
    statm(1)
}

/// Resident memory that is not shared with a file or memfd, bytes.
pub fn private_bytes() -> u64 {
    statm(1).saturating_sub(statm(2))
}

fn statm(field: usize) -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(field).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// What the kernel keeps for this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessNow {
    /// Its threads.
    pub threads: u64,
    /// Descriptors that are open.
    pub open_fds: u64,
    /// Descriptors that may be.
    pub max_fds: u64,
}

/// Threads and descriptors of this process; 0 where /proc can't tell.
pub fn process_now() -> ProcessNow {
    let entries = |path: &str| std::fs::read_dir(path).map_or(0, |entries| entries.count() as u64);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let max_fds = limit.current.unwrap_or(u64::MAX);
    // The folder that is being listed is one of its own entries.
    ProcessNow {
        threads: entries("/proc/self/task"),
        open_fds: entries("/proc/self/fd").saturating_sub(1),
        max_fds,
    }
}

/// Raises this process's limit of open descriptors as far as it may by itself; what it is then.
///
/// Shells and service managers give few for the sake of programs that call `select`, and nothing here does.
pub fn raise_open_files() -> u64 {
    let resource = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(resource);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where even that is forbidden the limit stays as it is, which is what the caller is told.
        let _ = rustix::process::setrlimit(resource, limit);
    }
    rustix::process::getrlimit(resource).current.unwrap_or(u64::MAX)
}

/// Has the allocator give large blocks back to the system as soon as they are freed. To be called before threads start.
///
/// glibc moves its own threshold up to the largest block that was ever freed (32 MiB at most), and then keeps such blocks
/// in a heap a thread: 16 threads that read samples of 24 MiB kept 340 MiB of nothing. Setting it ends that (mallopt(3)).
pub fn keep_no_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const M_MMAP_THRESHOLD: i32 = -3;
        const LARGE_BYTES: i32 = 4 << 20;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: it takes two numbers, and no other thread is in the allocator yet.
        let _ = unsafe { mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}

/// The processors this process may use: its affinity, or its cgroup's quota rounded up where that is less; at least 1.
///
/// The standard library rounds down: half of the decoding would go, where a quota of 1.9 cores became one thread.
pub fn cpus() -> usize {
    // What is left of a set that the library can't ask for (more than 1024 processors) is its own answer.
    let affinity = rustix::thread::sched_getaffinity(None).map_or_else(
        |_| std::thread::available_parallelism().map_or(1, NonZero::get),
        |set| set.count() as usize,
    );
    cpus_within(affinity, cgroup::cpu_quota().map(|quota| quota.cores))
}

/// The processors in `affinity` that a quota of `cores` can keep busy.
pub fn cpus_within(affinity: usize, cores: Option<f64>) -> usize {
    // A quota of 3.0001 cores, written as periods, is one of 3.
    let quota = cores.map_or(usize::MAX, |cores| (cores - 0.01).ceil().max(1.0) as usize);
    affinity.clamp(1, quota)
}

/// Has the calling thread run on these processors alone.
///
/// # Errors
/// `EINVAL`: none of them is there, or may be used; `EPERM`: seccomp forbids it.
pub fn run_on(processors: &[usize]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    // Further ones than the library's set has are left out.
    processors
        .iter()
        .filter(|processor| **processor < rustix::thread::CpuSet::MAX_CPU)
        .for_each(|at| set.set(*at));
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// The processors of this process's affinity, whatever its cgroup's quota; at least 1.
pub fn processors() -> usize {
    rustix::thread::sched_getaffinity(None).map_or_else(|_| cpus(), |set| set.count() as usize).max(1)
}

/// Threads of the machine that run or want to, averaged over a minute; none where /proc can't tell.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The most memory this process may hope for: the machine's, or its cgroup's limit where that is less.
pub fn memory_bytes() -> u64 {
    let machine = meminfo("MemTotal:").unwrap_or(8 << 30);
    cgroup::memory_limit().map_or(machine, |limit| limit.bytes.min(machine))
}

/// What files may take of the memory, as page cache, without pushing anybody out: three quarters of what is to be had.
pub fn page_cache_bytes() -> u64 {
    let machine = meminfo("MemAvailable:").unwrap_or_else(|| memory_bytes() / 2);
    // A group's limit holds for batches in shared memory too.
    let bytes = cgroup::memory_limit().map_or(machine, |limit| (limit.bytes / 2).min(machine));
    bytes / 4 * 3
}

fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_number_that_names_nothing_is_an_error() {
        assert!(adopt_fd(1).is_err());
        assert!(adopt_fd(100_000).is_err());
    }

    #[test]
    fn while_one_does_something_aside_the_others_of_its_thread_go_on() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a thread");
        let waits = runtime.spawn(async move { aside(|| receiver.recv_timeout(Duration::from_secs(30))) });
        runtime.spawn(async move { sender.send(1) });
        assert_eq!(runtime.block_on(waits).expect("no panic"), Ok(1));
        let alone = tokio::runtime::Builder::new_current_thread().build().expect("none");
        assert_eq!((alone.block_on(async { aside(|| 2) }), aside(|| 3)), (2, 3));
    }

    #[test]
    fn a_child_tells_what_came_of_its_attempt_also_by_dying_of_it() {
        assert_eq!(in_child(|| Ok(())).expect("a child"), ChildEnd::Done);
        assert_eq!(in_child(|| Err(Errno::PERM)).expect("a child"), ChildEnd::Failed(Errno::PERM));
        let killed = in_child(|| {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::SYS)
        });
        assert_eq!(killed.expect("a child"), ChildEnd::Killed(31));
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_threads_and_never_to_none() {
        assert_eq!(cpus_within(64, None), 64);
        assert_eq!(cpus_within(64, Some(0.5)), 1);
        assert_eq!(cpus_within(64, Some(1.9)), 2);
        assert_eq!(cpus_within(64, Some(16.0)), 16);
        assert_eq!(cpus_within(4, Some(16.0)), 4);
        assert_eq!(cpus_within(0, None), 1);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(rss_bytes() > 0 && memory_bytes() > rss_bytes() && cpus() > 0);
        let _ = cpu_us();
        let (before, raised) = (process_now().max_fds, raise_open_files());
        assert!(raised >= before && raise_open_files() == raised, "{before} {raised}");
        let now = process_now();
        assert!(now.threads > 0 && now.open_fds > 2 && now.max_fds > now.open_fds, "{now:?}");
    }
}
