//! Repeated augmentation: each sample of an order several times, with other random draws each time.

use std::sync::Arc;

use super::{Order, OrderError};
use crate::order::check_rows;

/// Each row of an order `times` times, inside windows of `window_rows` rows. Cheap to clone.
///
/// A window's rows come in order, then all of them again, and so on: with a window of one batch of one rank, the
/// repetitions of a sample fall to different ranks or steps; with a window of 1 they stand side by side. Every
/// repetition has its own position, from which its draws come, so each looks different.
///
/// Sources: Hoffer et al., "Augment your batch" (2020); Berman et al., "MultiGrain" (2019).
#[derive(Debug, Clone)]
pub struct Repeated {
    inner: Arc<Order>,
    times: u32,
    window_rows: u32,
    rows: Option<u64>,
}

impl Repeated {
    /// Repeats an order.
    ///
    /// * `rows`: rows of an epoch; `None` for all, `times` as many as the order has. Where it is less, the epoch
    ///   ends early, so that it can stay as long as without repetitions.
    ///
    /// # Errors
    /// [`OrderError::Repeat`] where `times` or `window_rows` is 0; [`OrderError::Plan`] where there are too many rows.
    pub fn new(inner: Order, times: u32, window_rows: u32, rows: Option<u64>) -> Result<Self, OrderError> {
        if times == 0 || window_rows == 0 {
            return Err(OrderError::Repeat { times, window_rows });
        }
        rows.map_or(Ok(()), check_rows)?;
        check_rows(inner.rows_max().saturating_mul(times as u64))?;
        Ok(Self { inner: Arc::new(inner), times, window_rows, rows })
    }

    /// The order that is repeated.
    pub fn inner(&self) -> &Order {
        &self.inner
    }

    /// How often each sample comes.
    pub fn times(&self) -> u32 {
        self.times
    }

    /// Rows of a window before repetition.
    pub fn window_rows(&self) -> u32 {
        self.window_rows
    }

    /// Rows of an epoch where they are fewer than all.
    pub(super) fn rows_wanted(&self) -> Option<u64> {
        self.rows
    }

    pub(super) fn rows(&self, inner_rows: u64) -> u64 {
        let all = inner_rows * self.times as u64;
        self.rows.map_or(all, |rows| rows.min(all))
    }

    /// The row of the inner order, of `inner_rows`, that stands at `position`, and which repetition it is.
    pub fn inner_row(&self, position: u64, inner_rows: u64) -> (u64, u32) {
        let window_rows = self.window_rows as u64;
        let first = position / (window_rows * self.times as u64) * window_rows;
        // The last window may be shorter.
        let (rows, within) = (window_rows.min(inner_rows - first), position - first * self.times as u64);
        (first + within % rows, (within / rows) as u32)
    }
}
