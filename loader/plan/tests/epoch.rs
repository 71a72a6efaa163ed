//! Each row exactly once an epoch, equal steps for all ranks, and the same rows along any chain of checkpoints.

use forebay_plan::{BatchPlan, Cursor, Cut, OrderSpec, Partition, PlannedRow, SampleId, Sampler, Tail};
use proptest::prelude::*;

const START: Cursor = Cursor { epoch: 0, position: 0 };

fn cut(epoch_rows: u64, rank: u32, size: u32, rows_per_rank: u32, tail: Tail) -> Cut {
    let partition = Partition::new(rank, size).expect("a rank below its size");
    Cut::new(epoch_rows, partition, rows_per_rank, tail).expect("a cut in range")
}

fn ranks(epoch_rows: u64, size: u32, rows_per_rank: u32, tail: Tail) -> Vec<Cut> {
    (0..size).map(|rank| cut(epoch_rows, rank, size, rows_per_rank, tail)).collect()
}

/// One rank's batches from `cursor` to the end of its epoch.
fn batches(cut: Cut, cursor: Cursor) -> Vec<BatchPlan> {
    let after = |batch: &BatchPlan| if batch.last_in_epoch { None } else { cut.batch_at(batch.next) };
    std::iter::successors(cut.batch_at(cursor), after).collect()
}

/// The rows of one step of all ranks, in rank order.
fn step(cuts: &[Cut], cursor: Cursor) -> Vec<PlannedRow> {
    cuts.iter().flat_map(|cut| cut.batch_at(cursor).expect("a step").iter()).collect()
}

fn any_tail() -> impl Strategy<Value = Tail> {
    prop::sample::select(&[Tail::Drop, Tail::Partial, Tail::Pad][..])
}

proptest! {
    #[test]
    fn each_row_comes_exactly_once_per_epoch_for_any_length_partition_batch_and_tail(
        epoch_rows in 1_u64..400, size in 1_u32..10, rows_per_rank in 1_u32..20, tail in any_tail(),
    ) {
        let mut times = vec![0; epoch_rows as usize];
        for cut in ranks(epoch_rows, size, rows_per_rank, tail) {
            let rows = batches(cut, START).into_iter().flat_map(|batch| batch.iter()).filter(|row| row.valid);
            rows.for_each(|row| times[row.position as usize] += 1);
        }
        let global_batch = size as u64 * rows_per_rank as u64;
        let kept = if tail == Tail::Drop { epoch_rows / global_batch * global_batch } else { epoch_rows };
        prop_assert!(times[..kept as usize].iter().all(|&n| n == 1));
        prop_assert!(times[kept as usize..].iter().all(|&n| n == 0));
    }

    #[test]
    fn all_ranks_take_equal_steps_of_equal_shape_from_any_position(
        epoch_rows in 1_u64..400, at in 0_u64..400, size in 1_u32..10, rows_per_rank in 1_u32..20, tail in any_tail(),
    ) {
        let cursor = Cursor { epoch: 3, position: at % epoch_rows };
        let shapes = |cut: Cut| batches(cut, cursor).iter().map(|b| (b.cursor, b.next, b.rows)).collect::<Vec<_>>();
        let cuts = ranks(epoch_rows, size, rows_per_rank, tail);
        let first = shapes(cuts[0]);
        prop_assert_eq!(first.len() as u64, cuts[0].steps_from(cursor.position));
        for cut in cuts {
            prop_assert_eq!(&shapes(cut), &first);
            prop_assert_eq!(cut.settle(cursor) == cursor, !first.is_empty());
        }
    }

    #[test]
    fn a_batch_and_its_range_hold_the_same_rows_and_the_valid_ones_come_first(
        epoch_rows in 1_u64..100, at in 0_u64..100, size in 1_u32..10, rows_per_rank in 1_u32..50, tail in any_tail(),
    ) {
        for cut in ranks(epoch_rows, size, rows_per_rank, tail) {
            let Some(batch) = cut.batch_at(Cursor { epoch: 1, position: at % epoch_rows }) else { continue };
            let rows: Vec<_> = batch.iter().collect();
            prop_assert_eq!(&rows, &batch.range().iter(epoch_rows).collect::<Vec<_>>());
            prop_assert!(rows.iter().enumerate().all(|(i, row)| *row == batch.row(i as u32)));
            prop_assert!(rows.iter().all(|row| row.position < epoch_rows));
            prop_assert!(rows.iter().enumerate().all(|(i, row)| row.valid == ((i as u32) < batch.valid_rows())));
        }
    }

    #[test]
    fn a_tail_repeats_the_first_rows_of_the_epoch_in_order(
        epoch_rows in 1_u64..100, size in 1_u32..10, rows_per_rank in 1_u32..20,
        tail in prop::sample::select(&[Tail::Partial, Tail::Pad][..]),
    ) {
        let cuts = ranks(epoch_rows, size, rows_per_rank, tail);
        let last = *batches(cuts[0], START).last().expect("at least one step");
        let filling: Vec<_> = step(&cuts, last.cursor).into_iter().filter(|row| !row.valid).collect();
        prop_assert!(filling.iter().enumerate().all(|(i, row)| row.position == i as u64 % epoch_rows));
        prop_assert!(tail == Tail::Pad || (filling.len() as u32) < size);
    }

    #[test]
    fn a_chain_of_cuts_of_any_sizes_sees_each_row_once(
        epoch_rows in 1_u64..400, at in prop::collection::vec((1_u32..10, 1_u32..20, 1_usize..4), 1..8),
    ) {
        // Each link runs a few steps under its own size and batch, then hands its cursor to the next.
        let mut positions = Vec::new();
        let mut cursor = START;
        for (size, rows_per_rank, steps) in at.into_iter().chain([(3, 7, usize::MAX)]) {
            for _ in 0..steps {
                if cursor.epoch > 0 { break }
                let cuts = ranks(epoch_rows, size, rows_per_rank, Tail::Partial);
                positions.extend(step(&cuts, cursor).iter().filter(|row| row.valid).map(|row| row.position));
                cursor = cuts[0].batch_at(cursor).expect("the step just taken").next;
            }
        }
        prop_assert!(positions.into_iter().eq(0..epoch_rows));
    }
}

#[test]
fn resuming_at_every_row_continues_the_uninterrupted_order() {
    let rows = 97;
    let spec = OrderSpec::new(Sampler::Shuffled, 5, rows).expect("rows in range");
    let samples = |from: Cursor, size: u32, rows_per_rank: u32| -> Vec<SampleId> {
        // A resumed run is a new process: it builds everything anew.
        let (order, cuts) = (spec.epoch(from.epoch), ranks(rows, size, rows_per_rank, Tail::Partial));
        let steps = batches(cuts[0], from);
        let planned = steps.iter().flat_map(|batch| step(&cuts, batch.cursor));
        planned.filter(|row| row.valid).map(|row| order.sample(row.position)).collect()
    };
    let whole = samples(START, 1, 1);
    for position in 0..rows {
        for (size, rows_per_rank) in [(1, 1), (2, 3), (8, 12), (5, 40)] {
            let resumed = samples(Cursor { epoch: 0, position }, size, rows_per_rank);
            assert_eq!(resumed, whole[position as usize..], "at {position} on {size} ranks");
        }
    }
}

#[test]
fn resuming_after_every_batch_gives_the_batches_of_the_uninterrupted_run() {
    for tail in [Tail::Drop, Tail::Partial, Tail::Pad] {
        for cut in ranks(103, 4, 6, tail) {
            let whole = batches(cut, START);
            for (i, batch) in whole.iter().enumerate() {
                assert_eq!(batches(cut, batch.cursor), whole[i..]);
                let end = i + 1 == whole.len();
                let next = if end { Cursor { epoch: 1, position: 0 } } else { whole[i + 1].cursor };
                assert_eq!((batch.next, batch.last_in_epoch), (next, end));
            }
        }
    }
}

#[test]
fn eight_then_four_then_six_ranks_at_a_global_batch_of_96_see_the_same_rows() {
    let rows = 1000;
    let sizes = [8, 8, 8, 4, 4, 4, 6, 6, 6, 6, 6];
    for tail in [Tail::Drop, Tail::Partial, Tail::Pad] {
        let cuts = |size: u32| -> Vec<Cut> {
            let of = |rank| {
                Cut::from_global_batch(96, rows, Partition::new(rank, size).expect("below"), tail)
                    .expect("the size divides 96")
            };
            (0..size).map(of).collect()
        };
        let (mut fixed, mut elastic) = (START, START);
        for size in sizes {
            if elastic.epoch > 0 {
                break;
            }
            let valid = |rows: Vec<PlannedRow>| rows.into_iter().filter(|row| row.valid).collect::<Vec<_>>();
            assert_eq!(valid(step(&cuts(8), fixed)), valid(step(&cuts(size), elastic)), "{tail}");
            fixed = cuts(8)[0].batch_at(fixed).expect("a step").next;
            elastic = cuts(size)[0].batch_at(elastic).expect("a step").next;
            assert_eq!(fixed, elastic, "{tail}");
        }
        assert_eq!(elastic, Cursor { epoch: 1, position: 0 }, "{tail}");
    }
}
