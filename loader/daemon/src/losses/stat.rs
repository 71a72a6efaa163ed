//! What is known of one sample's losses: sums in 40 bytes, and how two such sums become one.

/// Bytes that a ledger keeps of a sample.
pub const SAMPLE_BYTES: usize = size_of::<Stat>();

/// How much a new loss moves [`Stat::recent`].
const RECENT: f32 = 0.3;

/// The losses of one sample. Those that are no finite number are counted apart and in no mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stat {
    /// Of the finite losses.
    pub sum: f64,
    /// Row of the newest loss.
    pub position: u64,
    /// Epoch of the newest loss; `u32::MAX` stands for all behind it.
    pub epoch: u32,
    /// Finite losses.
    pub count: u32,
    /// Losses that were NaN or infinite.
    pub nan: u32,
    /// The largest finite loss.
    pub max: f32,
    /// The newest loss, finite or not.
    pub last: f32,
    /// The moving average of the finite losses, in the order they came in.
    pub recent: f32,
}

impl Default for Stat {
    fn default() -> Self {
        let none = f32::NAN;
        Self { sum: 0.0, position: 0, epoch: 0, count: 0, nan: 0, max: none, last: none, recent: none }
    }
}

impl Stat {
    /// Whether there is a loss at all.
    pub fn is_seen(&self) -> bool {
        self.count > 0 || self.nan > 0
    }

    /// Of the finite losses.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }

    /// Adds a loss of a row.
    pub fn note(&mut self, loss: f32, epoch: u64, position: u64) {
        let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        if !self.is_seen() || (epoch, position) >= (self.epoch, self.position) {
            (self.last, self.epoch, self.position) = (loss, epoch, position);
        }
        if !loss.is_finite() {
            self.nan = self.nan.saturating_add(1);
            return;
        }
        self.recent = if self.count == 0 { loss } else { self.recent + RECENT * (loss - self.recent) };
        self.max = self.max.max(loss);
        self.sum += f64::from(loss);
        self.count = self.count.saturating_add(1);
    }

    /// What both know together. The moving averages are weighed by their counts, since nobody knows how they interleave.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let both = [self, other];
        let newer = |part: &Self| (part.is_seen(), part.epoch, part.position);
        let newest = if newer(&other) > newer(&self) { other } else { self };
        let weighed = |part: &Self| if part.count == 0 { 0.0 } else { part.recent * part.count as f32 };
        let count = self.count.saturating_add(other.count);
        Self {
            sum: self.sum + other.sum,
            count,
            nan: self.nan.saturating_add(other.nan),
            max: self.max.max(other.max),
            recent: both.iter().map(weighed).sum::<f32>() / count as f32,
            ..newest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(losses: &[(f32, u64, u64)]) -> Stat {
        let mut stat = Stat::default();
        losses.iter().for_each(|&(loss, epoch, position)| stat.note(loss, epoch, position));
        stat
    }

    #[test]
    fn a_sample_is_the_sum_of_its_losses_whatever_came_between() {
        let stat = of(&[(2.0, 0, 7), (f32::NAN, 1, 3), (4.0, 2, 9), (f32::INFINITY, 3, 1)]);
        assert_eq!((stat.count, stat.nan, stat.mean(), stat.max), (2, 2, Some(3.0), 4.0));
        assert_eq!((stat.last, stat.epoch, stat.position), (f32::INFINITY, 3, 1));
        assert!((stat.recent - 2.6).abs() < 1e-6, "{}", stat.recent);
        assert_eq!(SAMPLE_BYTES, 40);
    }

    #[test]
    fn the_newest_is_that_of_the_latest_row_in_whatever_order_ranks_report() {
        let stat = of(&[(5.0, 1, 4), (3.0, 0, 90)]);
        assert_eq!((stat.last, stat.epoch, stat.position, stat.count), (5.0, 1, 4, 2));
    }

    #[test]
    fn two_sums_together_are_the_sum_of_all() {
        let parts = [of(&[(1.0, 0, 1), (5.0, 2, 1)]), of(&[(f32::NAN, 1, 8)]), Stat::default()];
        let whole = parts[0].plus(parts[1]).plus(parts[2]);
        let turned = parts[2].plus(parts[1]).plus(parts[0]);
        for stat in [whole, turned] {
            assert_eq!((stat.count, stat.nan, stat.mean(), stat.max), (2, 1, Some(3.0), 5.0));
            assert_eq!((stat.last, stat.epoch), (5.0, 2));
        }
        assert!(Stat::default().plus(Stat::default()).mean().is_none());
    }
}
