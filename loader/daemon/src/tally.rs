//! What the rows of a batch add to the digests of their epoch: which samples the plan puts there, and their bytes.

use std::cell::RefCell;
use std::sync::Mutex;

use forebay_plan::{ContentRow, OrderRow, RowPlace, Tally};

use crate::job::{BatchRows, Job};

/// One batch's sums, which decode threads add to. Rows that only fill up the shape are not in them.
#[derive(Default)]
pub struct BatchTally(Mutex<Tally>);

thread_local! {
    static ORDER_ROW: RefCell<OrderRow> = RefCell::default();
}

impl BatchTally {
    /// Adds row number `row` of the batch, whose bytes `content` has seen.
    pub fn add(&self, job: &Job, rows: &BatchRows, row: u32, content: &ContentRow) {
        let (order, content) = (order_digest(job, rows, row), content.finish());
        self.0.lock().expect("no thread panics with the lock").add(place(rows, row), order, content);
    }

    /// The sums so far; all of them once the batch is sealed.
    pub fn sums(&self) -> Tally {
        *self.0.lock().expect("no thread panics with the lock")
    }
}

/// The place of row number `row` of a batch.
pub fn place(rows: &BatchRows, row: u32) -> RowPlace {
    let position = rows.row(row).position;
    // Only rows that are batches have neighbours of the same position.
    let nth = (0..row).rev().take_while(|&before| rows.row(before).position == position).count();
    RowPlace { position, nth: nth as u32 }
}

/// What the plan puts in row number `row` of a batch.
pub fn order_digest(job: &Job, rows: &BatchRows, row: u32) -> [u8; 32] {
    ORDER_ROW.with_borrow_mut(|digest| {
        digest.begin(place(rows, row));
        for part in rows.parts(row) {
            let key = job.snapshot(part.pick.source).key(part.pick.sample.0);
            digest.part(part.pick.source, &key, part.start, part.len);
        }
        digest.finish()
    })
}
