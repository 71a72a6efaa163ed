//! What a consumer's wait was for: how long it waited is its own word, what for is what its batches went through.

use std::time::Duration;

use super::history::PastStep;
use crate::delivery::local::record::Spent;
use crate::metrics::{ConsumerTime, FeedWait};

/// What batches went through while they were made, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "a name ends with its unit")]
pub struct Made {
    slot_us: u64,
    storage_us: u64,
    compute_us: u64,
}

impl Made {
    /// One batch.
    pub fn of(step: &PastStep) -> Self {
        let storage_us = step.made_us.saturating_sub(step.compute_us);
        Self { slot_us: step.held_us, storage_us, compute_us: step.compute_us }
    }

    /// With those before it.
    #[must_use]
    pub fn plus(self, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        Self {
            slot_us: self.slot_us + before.slot_us,
            storage_us: self.storage_us + before.storage_us,
            compute_us: self.compute_us + before.compute_us,
        }
    }

    /// Splits what was waited for them by walking back from their arrival: compute, before that storage, before that the
    /// wait for a free slot; what remains is the start and the hand-over. `loader.stats()` splits alike.
    pub fn explain(self, waited_us: u32) -> FeedWait {
        let mut left_us = u64::from(waited_us);
        let mut part = |us: u64| {
            let part_us = us.min(left_us);
            left_us -= part_us;
            Duration::from_micros(part_us)
        };
        let (compute, storage, slot) = (part(self.compute_us), part(self.storage_us), part(self.slot_us));
        FeedWait { storage, compute, slot, other: part(u64::MAX) }
    }
}

/// What the consumer says that it did besides.
pub fn consumer_time(spent: Spent) -> ConsumerTime {
    let time = |us: u32| Duration::from_micros(u64::from(us));
    ConsumerTime {
        trainer: time(spent.trainer_us),
        python: time(spent.python_us),
        copy: time(spent.copied_us),
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::*;

    fn step() -> PastStep {
        PastStep { held_us: 5, made_us: 120, compute_us: 100, ..PastStep::default() }
    }

    fn micros(wait: FeedWait) -> [u128; 4] {
        [wait.compute, wait.storage, wait.slot, wait.other].map(|part| part.as_micros())
    }

    #[test]
    fn a_wait_is_walked_back_through_what_the_batch_went_through() {
        for (waited_us, parts) in
            [(0, [0; 4]), (70, [70, 0, 0, 0]), (110, [100, 10, 0, 0]), (130, [100, 20, 5, 5])]
        {
            let wait = Made::of(&step()).explain(waited_us);
            assert_eq!(micros(wait), parts);
            assert_eq!(wait.whole().as_micros(), u128::from(waited_us));
        }
    }

    #[test]
    fn only_the_batches_that_were_taken_explain_the_wait() {
        let history = History::default();
        let from_storage = PastStep { made_us: 1000, ..PastStep::default() };
        [from_storage, step(), step()].into_iter().for_each(|step| history.announced(step));
        assert_eq!(history.taken(1, None).map(|made| micros(made.explain(500))), Some([0, 500, 0, 0]));
        assert_eq!(history.taken(2, None).map(|made| micros(made.explain(500))), Some([200, 40, 10, 250]));
        assert_eq!(history.taken(1, None), None, "none is left to take");
    }
}
