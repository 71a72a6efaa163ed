//! When to ask again: a pure function of the attempt and the time that has passed.

use std::time::Duration;

/// Waits `backoff`, then twice that, and so on up to `backoff_max`, until `deadline`.
///
/// The caller holds the clock and the count, so that a test needs neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// From the first attempt on; once it has passed, the last error stands.
    pub deadline: Duration,
    /// The wait before the second attempt.
    pub backoff: Duration,
    /// No wait is longer.
    pub backoff_max: Duration,
}

impl RetryPolicy {
    /// How long to wait before asking again, or `None` when it is time to give up.
    ///
    /// * `attempt`: how many attempts have failed, counted from 1.
    /// * `elapsed`: since the first attempt began.
    ///
    /// A wait is cut at the deadline, so that the last attempt comes at the deadline and none after it.
    pub fn next(&self, attempt: u32, elapsed: Duration) -> Option<Duration> {
        let left = self.deadline.checked_sub(elapsed).filter(|left| !left.is_zero())?;
        let doublings = attempt.saturating_sub(1).min(31);
        Some(self.backoff.saturating_mul(1 << doublings).min(self.backoff_max).min(left))
    }
}

impl Default for RetryPolicy {
    /// Half a minute in all; 20 ms at first, 2 s at most.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            backoff: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_longest_and_end_at_the_deadline() {
        let policy = RetryPolicy { deadline: 100 * MS, backoff: 10 * MS, backoff_max: 35 * MS };
        let (mut elapsed, mut waits) = (Duration::ZERO, Vec::new());
        while let Some(wait) = policy.next(waits.len() as u32 + 1, elapsed) {
            elapsed += wait;
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [10, 20, 35, 35]);
    }

    #[test]
    fn a_thousandth_attempt_neither_overflows_nor_waits_longer() {
        assert_eq!(RetryPolicy::default().next(u32::MAX, MS), Some(Duration::from_secs(2)));
    }

    #[test]
    fn after_the_deadline_nothing_is_tried() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.next(1, policy.deadline), None);
        assert_eq!(policy.next(1, Duration::MAX), None);
    }
}
