//! How often the processor quota stopped this process, looked at now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroups;

/// The kernel's counters are looked at this often at most: half a dozen small files, 100 microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the kernel counts of the tightest quota, since its group was made. All 0 without a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throttle {
    /// Processors that the quota is worth; 0: there is none.
    pub quota_processors: f64,
    /// Enforcement periods in which the group ran.
    pub periods: u64,
    /// Of those, the ones in which it used its quota up and was stopped.
    pub throttled_periods: u64,
    /// How long it was stopped, summed over processors.
    pub throttled_us: u64,
}

/// Keeps the last look at the counters.
#[derive(Default)]
pub struct ThrottleGauge {
    last: Mutex<(Option<Instant>, Throttle)>,
}

impl ThrottleGauge {
    /// The counters, at most half a second old.
    pub fn read(&self) -> Throttle {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            // The groups are looked up each time: a process can be moved.
            *last = (Some(Instant::now()), Throttle::of(&Cgroups::own()));
        }
        last.1
    }

    /// The counters as they are now.
    pub fn read_now(&self) -> Throttle {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
        self.read()
    }
}

impl Throttle {
    fn of(groups: &Cgroups) -> Self {
        let Some(quota) = groups.cpu_quota() else { return Self::default() };
        let counted = groups.throttled().unwrap_or_default();
        Self {
            quota_processors: quota.cores,
            periods: counted.periods,
            throttled_periods: counted.throttled_periods,
            throttled_us: counted.throttled_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(quota: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let group = "sys/fs/cgroup/job";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        for (file, text) in [
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "0::/job\n"),
            (&format!("{group}/cpu.max"), quota),
            (&format!("{group}/cpu.stat"), "nr_periods 10\nnr_throttled 4\nthrottled_usec 300\n"),
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn without_a_quota_what_was_counted_before_says_nothing() {
        let of = |quota| Throttle::of(&Cgroups::beneath(planted(quota).path()));
        let stopped =
            Throttle { quota_processors: 0.5, periods: 10, throttled_periods: 4, throttled_us: 300 };
        assert_eq!(of("50000 100000\n"), stopped);
        assert_eq!(of("max 100000\n"), Throttle::default());
    }

    #[test]
    fn reading_this_machines_counters_is_no_error_whatever_it_has() {
        let gauge = ThrottleGauge::default();
        let (first, second) = (gauge.read(), gauge.read_now());
        assert!(second.periods >= first.periods);
    }
}
