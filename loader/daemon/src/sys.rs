//! The few system calls that no crate wraps safely, and facts about this process.
#![allow(unsafe_code, reason = "adopting descriptors that a parent left open has no safe form")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes over a descriptor that the parent process left open for this one, by its number.
///
/// # Errors
/// `EBADF` where no such descriptor is open, or it is one of the three standard ones.
pub fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error()));
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

/// User and system time of this process, microseconds.
pub fn cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
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

/// The processors this process may use: its affinity and its cgroup quota, at least 1.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The most memory this process may hope for: the machine's, or its cgroup's limit where that is less.
pub fn memory_bytes() -> u64 {
    let machine = meminfo("MemTotal:").unwrap_or(8 << 30);
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits =
        files.iter().filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    limits.fold(machine, u64::min)
}

fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_names_nothing_is_an_error() {
        assert!(adopt_fd(1).is_err());
        assert!(adopt_fd(100_000).is_err());
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(rss_bytes() > 0 && memory_bytes() > rss_bytes() && cpus() > 0);
        let _ = cpu_us();
    }
}
