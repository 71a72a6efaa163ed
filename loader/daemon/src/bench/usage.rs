//! What this process has used so far: time, processor time, memory.

use std::time::{Duration, Instant};

pub use crate::sys::thread_cpu;

use crate::sys;

/// A moment on the clock and on the processors.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Wall time.
    pub at: Instant,
    /// User and system time of the process.
    pub cpu_us: u64,
}

impl Mark {
    /// This moment.
    pub fn now() -> Self {
        Self { at: Instant::now(), cpu_us: sys::cpu_us() }
    }

    /// Wall and processor time since.
    pub fn elapsed(&self) -> (Duration, Duration) {
        let now = Self::now();
        (now.at - self.at, Duration::from_micros(now.cpu_us.saturating_sub(self.cpu_us)))
    }
}

/// The most memory that was resident at a time, shared memory included; 0 where /proc can't tell.
pub fn peak_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Bytes that the kernel fetched from storage for this process, the page cache's left out; absent where it does not count.
pub fn storage_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes:"))?;
    line.trim().parse().ok()
}

/// Waits until the process does nothing, so that one side's read-ahead is not charged to the other. At most 2 s.
pub fn settle() {
    const STEP: Duration = Duration::from_millis(10);
    for _ in 0..200 {
        let before = sys::cpu_us();
        std::thread::sleep(STEP);
        if sys::cpu_us() - before < 500 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_and_memory() {
        let mark = Mark::now();
        let sum: u64 = (0..2_000_000_u64).map(std::hint::black_box).sum();
        assert!(sum > 0 && mark.elapsed().0 > Duration::ZERO && thread_cpu() > Duration::ZERO);
        assert!(peak_bytes() > 1 << 20);
    }
}
