//! `forebay show --samples`: a rank's batch by name, and every part of it that a trainer saw.

use forebay_proto::v1;

use super::options::ShowArgs;
use super::side::Side;
use super::{json, print};
use crate::error::Fault;
use crate::server::table;

/// Rows of one request: those that are decoded stand in memory.
const MADE_ROWS: u32 = 256;
const PLANNED_ROWS: u32 = 4096;

/// What is known of the run beside its plan.
pub(super) struct Known {
    pub epoch_rows: u64,
    /// The corrupt samples that its ledger has of the epoch.
    pub bad: Vec<v1::BadSample>,
    /// What to say above the rows.
    pub caution: Option<String>,
}

/// Asks part by part, and prints them as one.
pub(super) fn run(
    side: &mut Side,
    args: &ShowArgs,
    job: &v1::Job,
    key: &v1::BatchKey,
    known: Known,
) -> Result<(), Fault> {
    let Known { epoch_rows, bad, caution } = known;
    let (detail, most) = if args.samples.recompute {
        (v1::ShowDetail::Rows, MADE_ROWS)
    } else {
        (v1::ShowDetail::Plan, PLANNED_ROWS)
    };
    let (mut cautions, mut rows): (Vec<_>, _) = (caution.into_iter().collect(), Vec::new());
    for done in (0..key.rows).step_by(most as usize) {
        let first_row = key.first_row + u64::from(done);
        let part = v1::BatchKey { first_row, rows: (key.rows - done).min(most), ..key.clone() };
        let (detail, bad) = (detail.into(), bad.clone());
        let request = v1::ShowRequest { key: Some(part), detail, bad, ..Default::default() };
        let shown = side.show(request)?;
        // The first line says which rows these are; what follows holds for all of them.
        cautions.extend(shown.head.into_iter().skip(1));
        rows.extend(shown.rows);
    }
    if args.json {
        return print(&json(&rows), "the rows");
    }
    let last = key.first_row + u64::from(key.rows) - 1;
    let mut head = vec![format!(
        "job {} · epoch {} · rank {} · rows {} to {last} of {epoch_rows}",
        job.job_id, key.epoch, args.which.rank, key.first_row
    )];
    cautions.dedup();
    head.extend(cautions);
    print(&table(&head, &rows), "the rows")
}
