//! Which rows are meant: a step and a rank, under the cut that is given or the cuts that the run went through.

use forebay_plan::{Cursor, Cut, Leg, Legs, Partition, PlanError, Tail};
use forebay_proto::v1;

use super::options::Which;
use crate::error::{Fault, Kind};

/// What `--world` and `--batch` are where nobody says so.
const WORLD: u32 = 1;
const BATCH_ROWS: u32 = 256;

/// What is known of how a run cut an epoch.
pub(super) enum Cuts {
    /// It keeps no records: the arguments say it, or the defaults.
    Unrecorded,
    /// Its records have nothing of this epoch.
    Missing,
    /// As they say.
    Known(Legs),
}

/// The rows of one rank's batch, or the first of them, in an epoch of so many rows.
pub(super) fn key(job: &v1::Job, which: &Which, epoch_rows: u64, cuts: &Cuts) -> Result<v1::BatchKey, Fault> {
    let batch = rows_of(epoch_rows, which, cuts).map_err(|fault| match cuts {
        Cuts::Missing => fault.context(format!("job {}, epoch {}", job.job_id, which.epoch)),
        Cuts::Unrecorded | Cuts::Known(_) => fault,
    })?;
    Ok(v1::BatchKey {
        order_digest: job.order_digest.clone(),
        content_digest: job.content_digest.clone(),
        epoch: which.epoch,
        first_row: batch.0,
        rows: batch.1,
        stage: v1::Stage::Finished.into(),
    })
}

/// The first row and the number of rows.
fn rows_of(epoch_rows: u64, which: &Which, cuts: &Cuts) -> Result<(u64, u32), Fault> {
    let given = which.world.is_some() || which.batch.is_some() || which.tail.is_some();
    let (leg, cursor) = match cuts {
        Cuts::Known(legs) if !given => recorded_step(epoch_rows, which, legs)?,
        Cuts::Missing if !given => {
            let fault = Fault::new(Kind::NotFound, "how it was cut into steps is not recorded");
            return Err(fault.hint("say it by --world and --batch"));
        }
        Cuts::Unrecorded | Cuts::Missing | Cuts::Known(_) => given_step(epoch_rows, which)?,
    };
    let partition = Partition::new(which.rank, leg.size)
        .map_err(|error| invalid(&error).hint(format!("ranks go from 0 to {}", leg.size - 1)))?;
    let cut = Cut::new(epoch_rows, partition, leg.rows_per_rank, leg.tail).map_err(|e| invalid(&e))?;
    let batch = cut.batch_at(cursor).ok_or_else(|| {
        let position = cursor.position;
        Fault::invalid(format!("no step begins at row {position}: the epoch has {epoch_rows} rows"))
    })?;
    Ok((batch.first_row, which.rows.unwrap_or(u32::MAX).min(batch.rows)))
}

/// A step under the one cut that the arguments tell.
fn given_step(epoch_rows: u64, which: &Which) -> Result<(Leg, Cursor), Fault> {
    let cursor = Cursor { epoch: which.epoch, position: 0 };
    let leg = Leg {
        cursor,
        rows_per_rank: which.batch.unwrap_or(BATCH_ROWS),
        size: which.world.unwrap_or(WORLD),
        tail: which.tail.unwrap_or(Tail::Partial),
    };
    if let Some(position) = which.position {
        return Ok((leg, Cursor { position, ..cursor }));
    }
    let legs = Legs::of(which.epoch, [leg]).expect("a leg of this epoch");
    recorded_step(epoch_rows, which, &legs)
}

fn recorded_step(epoch_rows: u64, which: &Which, legs: &Legs) -> Result<(Leg, Cursor), Fault> {
    if let Some(position) = which.position {
        let all = legs.legs();
        let leg = all.iter().rfind(|leg| leg.cursor.position <= position).unwrap_or(&all[0]);
        return Ok((*leg, Cursor { epoch: which.epoch, position }));
    }
    let found = legs.find(epoch_rows, which.step).map_err(|e| invalid(&e))?;
    found.map_or_else(|| Err(beyond(epoch_rows, which, legs)), Ok)
}

fn beyond(epoch_rows: u64, which: &Which, legs: &Legs) -> Fault {
    let steps = match legs.steps(epoch_rows) {
        Ok(steps) => steps,
        Err(error) => return invalid(&error),
    };
    let each = match legs.legs() {
        [leg] => format!("of {} rows each", u64::from(leg.rows_per_rank) * u64::from(leg.size)),
        legs => format!("under {} cuts", legs.len()),
    };
    let message =
        format!("there is no step {}: an epoch of {epoch_rows} rows has {steps}, {each}", which.step);
    Fault::invalid(message).hint(match steps {
        0 => "its tail is dropped and it is shorter than one step".to_owned(),
        steps => format!("steps go from 0 to {}", steps - 1),
    })
}

fn invalid(error: &PlanError) -> Fault {
    Fault::invalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(step: u64, rank: u32, world: u32, batch: u32) -> Which {
        let (world, batch) = (Some(world), Some(batch));
        Which { epoch: 2, step, position: None, rank, world, batch, tail: None, rows: Some(8) }
    }

    fn first(which: Which) -> Result<(u64, u32), Fault> {
        rows_of(100, &which, &Cuts::Unrecorded)
    }

    #[test]
    fn a_step_and_a_rank_lead_to_the_rows_that_a_session_gives_them() {
        assert_eq!(first(which(0, 0, 1, 16)).expect("a step"), (0, 8));
        assert_eq!(first(which(2, 1, 2, 16)).expect("a step"), (80, 8));
        // The tail: 4 rows for two ranks.
        assert_eq!(first(which(3, 1, 2, 16)).expect("a step"), (98, 2));
        let all = Which { rows: None, ..which(2, 1, 2, 16) };
        assert_eq!(first(all).expect("a step"), (80, 16));
        let padded = Which { tail: Some(Tail::Pad), ..which(3, 1, 2, 16) };
        assert_eq!(first(padded).expect("a step"), (112, 8));
        let at = Which { position: Some(70), ..which(0, 1, 2, 10) };
        assert_eq!(first(at).expect("a step"), (80, 8));
    }

    #[test]
    fn what_is_beyond_the_end_says_how_many_there_are() {
        let fault = first(which(7, 0, 1, 16)).expect_err("seven steps");
        assert_eq!(fault.kind, Kind::Invalid);
        assert_eq!(fault.message, "there is no step 7: an epoch of 100 rows has 7, of 16 rows each");
        assert_eq!(fault.hint.as_deref(), Some("steps go from 0 to 6"));
        assert!(first(which(u64::MAX, 0, 1, 16)).is_err());
        assert!(first(which(0, 2, 2, 16)).expect_err("rank 2 of 2").message.contains('2'));
        let dropped = Which { tail: Some(Tail::Drop), ..which(0, 0, 1, 101) };
        assert_eq!(
            first(dropped).expect_err("none").hint.as_deref(),
            Some("its tail is dropped and it is shorter than one step")
        );
        let behind = Which { position: Some(100), ..which(0, 0, 1, 16) };
        assert!(first(behind).expect_err("the end").message.contains("row 100"));
    }

    #[test]
    fn the_cuts_of_a_run_are_used_unless_others_are_given() {
        let leg = |position, size| Leg {
            cursor: Cursor { epoch: 2, position },
            rows_per_rank: 4,
            size,
            tail: Tail::Partial,
        };
        let legs = Legs::of(2, [leg(0, 2), leg(40, 5)]).expect("legs");
        let cuts = Cuts::Known(legs);
        let of = |which: Which| rows_of(100, &which, &cuts);
        let recorded = |step, rank| Which { world: None, batch: None, ..which(step, rank, 1, 1) };
        assert_eq!(of(recorded(4, 1)).expect("a step"), (36, 4));
        assert_eq!(of(recorded(5, 4)).expect("a step"), (56, 4));
        assert_eq!(of(Which { position: Some(60), ..recorded(0, 1) }).expect("a step"), (64, 4));
        let fault = of(recorded(4, 3)).expect_err("two ranks then");
        assert_eq!(fault.hint.as_deref(), Some("ranks go from 0 to 1"));
        assert!(of(recorded(8, 0)).expect_err("5 and 3 steps").message.ends_with("has 8, under 2 cuts"));
        assert_eq!(of(which(2, 1, 2, 16)).expect("a step"), (80, 8));

        let missing = |which: Which| rows_of(100, &which, &Cuts::Missing);
        assert_eq!(missing(recorded(0, 0)).expect_err("nobody knows").kind, Kind::NotFound);
        assert_eq!(missing(which(2, 1, 2, 16)).expect("a step"), (80, 8));
    }
}
