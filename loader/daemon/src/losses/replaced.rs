//! Which rows do not hold the sample that the plan names: corrupt ones, that were replaced or masked.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Rows that are remembered: those that losses may still be reported of.
const ROWS_KEPT: usize = 16_384;

/// The rows of one job that met a corrupt sample.
#[derive(Debug, Default)]
pub struct Replaced {
    has_any: AtomicBool,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// Corrupt samples that a row met: the next attempt is what stands in it.
    attempts: HashMap<(u64, u64), u32>,
    order: VecDeque<(u64, u64)>,
}

impl Replaced {
    /// A sample was corrupt. `position`: what the row's draws are keyed by; `attempt`: 0 is the row's own sample.
    pub fn note(&self, epoch: u64, position: u64, attempt: u32) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = (epoch, position);
        let known = rows.attempts.get(&row).copied();
        rows.attempts.insert(row, known.unwrap_or(0).max(attempt + 1));
        if known.is_none() {
            rows.order.push_back(row);
        }
        if rows.order.len() > ROWS_KEPT
            && let Some(oldest) = rows.order.pop_front()
        {
            rows.attempts.remove(&oldest);
        }
        self.has_any.store(true, Ordering::Release);
    }

    /// How many corrupt samples a row met; 0 where it holds what the plan names.
    pub fn attempts(&self, epoch: u64, position: u64) -> u32 {
        if !self.has_any.load(Ordering::Acquire) {
            return 0;
        }
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.attempts.get(&(epoch, position)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_behind_the_last_of_its_corrupt_samples_in_whatever_order_they_are_noted() {
        let replaced = Replaced::default();
        assert_eq!(replaced.attempts(0, 3), 0);
        [1, 0].into_iter().for_each(|attempt| replaced.note(0, 3, attempt));
        replaced.note(1, 3, 0);
        assert_eq!([replaced.attempts(0, 3), replaced.attempts(1, 3), replaced.attempts(0, 4)], [2, 1, 0]);
    }

    #[test]
    fn the_oldest_rows_are_forgotten() {
        let replaced = Replaced::default();
        (0..=ROWS_KEPT as u64).for_each(|position| replaced.note(0, position, 0));
        assert_eq!([replaced.attempts(0, 0), replaced.attempts(0, 1)], [0, 1]);
    }
}
