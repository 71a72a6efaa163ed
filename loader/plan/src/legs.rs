//! The cuts that a run went through: which rows its step number so many took, when ranks or batch size changed in mid-run.

use crate::{Cursor, Cut, Partition, PlanError, Tail};

/// A part of a run: from a cursor on it went under one cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Where it was opened.
    pub cursor: Cursor,
    /// Rows that a rank took a step.
    pub rows_per_rank: u32,
    /// Data-parallel ranks.
    pub size: u32,
    /// What became of the rows at the end of an epoch.
    pub tail: Tail,
}

/// The legs of one epoch, in the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legs {
    epoch: u64,
    legs: Vec<Leg>,
}

/// What a leg has of its epoch: the steps before it, and its own.
struct Span {
    leg: Leg,
    start: u64,
    steps_before: u64,
    steps: u64,
}

impl Legs {
    /// What `recorded`, in the order in which they were begun, left of an epoch; `None` where it has nothing of it.
    ///
    /// A leg goes on into the epochs behind its own. One that begins at an earlier row than those before it, as after a
    /// restart from an older checkpoint, takes the place of what they had from there on.
    pub fn of(epoch: u64, recorded: impl IntoIterator<Item = Leg>) -> Option<Self> {
        let mut legs: Vec<Leg> = Vec::new();
        for leg in recorded {
            if leg.cursor.epoch < epoch {
                legs = vec![Leg { cursor: Cursor { epoch, position: 0 }, ..leg }];
            } else if leg.cursor.epoch == epoch {
                legs.retain(|before| before.cursor.position < leg.cursor.position);
                legs.push(leg);
            }
        }
        (!legs.is_empty()).then_some(Self { epoch, legs })
    }

    /// The legs.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// Steps of the whole epoch. What lies in front of the first leg counts as if its cut had held there.
    ///
    /// # Errors
    /// As [`Cut::new`], for a leg that no run can have had.
    pub fn steps(&self, epoch_rows: u64) -> Result<u64, PlanError> {
        Ok(self.spans(epoch_rows)?.iter().map(|span| span.steps).sum())
    }

    /// The leg of step number `step` of the epoch, and the cursor in front of it; `None` where the epoch has fewer.
    ///
    /// # Errors
    /// As [`Legs::steps`].
    pub fn find(&self, epoch_rows: u64, step: u64) -> Result<Option<(Leg, Cursor)>, PlanError> {
        let spans = self.spans(epoch_rows)?;
        let span =
            spans.iter().find(|span| (span.steps_before..span.steps_before + span.steps).contains(&step));
        Ok(span.map(|Span { leg, start, steps_before, .. }| {
            let global = u64::from(leg.rows_per_rank) * u64::from(leg.size);
            (*leg, Cursor { epoch: self.epoch, position: start + (step - steps_before) * global })
        }))
    }

    fn spans(&self, epoch_rows: u64) -> Result<Vec<Span>, PlanError> {
        let (mut spans, mut steps_before) = (Vec::new(), 0);
        for (index, leg) in self.legs.iter().enumerate() {
            let cut = Cut::new(epoch_rows, Partition::new(0, leg.size)?, leg.rows_per_rank, leg.tail)?;
            let global = u64::from(cut.global_batch());
            // In front of the first one its own cut is taken to have held.
            let start = if index == 0 { leg.cursor.position % global } else { leg.cursor.position };
            let steps = match self.legs.get(index + 1) {
                // The next one begins where this one's last step ended, unless somebody sought elsewhere.
                Some(next) => (next.cursor.position - start).div_ceil(global).min(cut.steps_from(start)),
                None => cut.steps_from(start),
            };
            spans.push(Span { leg: *leg, start, steps_before, steps });
            steps_before += steps;
        }
        Ok(spans)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leg(epoch: u64, position: u64, rows_per_rank: u32, size: u32) -> Leg {
        Leg { cursor: Cursor { epoch, position }, rows_per_rank, size, tail: Tail::Partial }
    }

    fn found(legs: &Legs, step: u64) -> Option<(u64, u32)> {
        legs.find(100, step).expect("legs of a run").map(|(leg, cursor)| (cursor.position, leg.size))
    }

    #[test]
    fn steps_are_counted_along_the_cuts_of_an_epoch() {
        let legs = Legs::of(3, [leg(0, 0, 4, 4), leg(3, 32, 5, 2), leg(3, 52, 4, 8)]).expect("legs");
        assert_eq!(found(&legs, 0), Some((0, 4)));
        assert_eq!(found(&legs, 1), Some((16, 4)));
        assert_eq!(found(&legs, 2), Some((32, 2)));
        assert_eq!(found(&legs, 3), Some((42, 2)));
        assert_eq!(found(&legs, 4), Some((52, 8)));
        assert_eq!(found(&legs, 5), Some((84, 8)));
        assert_eq!(found(&legs, 6), None);
        assert_eq!(legs.steps(100), Ok(6));
    }

    #[test]
    fn a_restart_from_an_older_checkpoint_takes_the_place_of_what_came_behind_it() {
        let legs = Legs::of(0, [leg(0, 0, 1, 10), leg(0, 60, 1, 20), leg(0, 30, 1, 5)]).expect("legs");
        assert_eq!(found(&legs, 2), Some((20, 10)));
        assert_eq!(found(&legs, 3), Some((30, 5)));
        assert_eq!(found(&legs, 9), Some((60, 5)));
        let again = Legs::of(0, [leg(0, 0, 1, 10), leg(0, 60, 1, 20), leg(0, 0, 1, 50)]).expect("legs");
        assert_eq!(again.legs(), [leg(0, 0, 1, 50)]);
    }

    #[test]
    fn a_leg_goes_on_into_later_epochs_and_never_into_earlier_ones() {
        let recorded = [leg(2, 40, 1, 10), leg(5, 0, 2, 10)];
        assert_eq!(Legs::of(1, recorded), None);
        assert_eq!(Legs::of(4, recorded).expect("legs").legs(), [leg(4, 0, 1, 10)]);
        assert_eq!(Legs::of(9, recorded).expect("legs").legs(), [leg(9, 0, 2, 10)]);
        // Back to an epoch before: what was done of later ones is done again under the new cut.
        let back = [leg(2, 0, 1, 10), leg(3, 50, 2, 10), leg(2, 80, 1, 4)];
        assert_eq!(Legs::of(3, back).expect("legs").legs(), [leg(3, 0, 1, 4)]);
    }

    #[test]
    fn a_run_that_began_in_mid_epoch_counts_the_steps_in_front_of_it() {
        let legs = Legs::of(0, [leg(0, 40, 1, 20)]).expect("legs");
        assert_eq!(found(&legs, 2), Some((40, 20)));
        let odd = Legs::of(0, [leg(0, 45, 1, 20)]).expect("legs");
        assert_eq!(found(&odd, 2), Some((45, 20)));
    }

    proptest! {
        #[test]
        fn every_step_of_a_run_is_found_where_it_was_taken(
            cuts in prop::collection::vec((1_u32..9, 1_u32..9, 1_u64..6), 1..8)
        ) {
            let (rows, mut position, mut recorded, mut taken) = (300, 0, Vec::new(), Vec::new());
            for (rows_per_rank, size, steps) in cuts {
                let leg = leg(7, position, rows_per_rank, size);
                let cut = Cut::new(rows, Partition::new(size - 1, size)?, rows_per_rank, leg.tail)?;
                recorded.push(leg);
                for _ in 0..steps {
                    let Some(batch) = cut.batch_at(Cursor { epoch: 7, position }) else { break };
                    taken.push((position, size));
                    position = if batch.last_in_epoch { rows } else { batch.next.position };
                }
                if position == rows { break; }
            }
            let legs = Legs::of(7, recorded).expect("legs");
            for (step, taken) in taken.iter().enumerate() {
                let (leg, cursor) = legs.find(rows, step as u64)?.expect("it was taken");
                prop_assert_eq!((cursor.position, leg.size), *taken);
            }
        }
    }
}
