//! Windows cover the order and never overlap, rows lose no token, and any window is found alone.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::orders::{EpochLength, Mixture, MixtureSpec, Phase, Source};
use crate::{OrderSpec, PlanError, Sampler};

const COLUMN: Digest = Digest::from_bytes([5; 32]);

fn documents(rows: u64, sampler: Sampler) -> Order {
    Order::Single(OrderSpec::new(sampler, 9, rows).expect("rows in range"))
}

fn windowed(order: Order, window_rows: u32, grouping: Grouping, compose: Compose) -> Windowed {
    let spec = WindowSpec { window_rows, grouping, compose, shuffle: true };
    Windowed::new(order, spec, COLUMN).expect("windows in range")
}

/// All rows of an epoch, each the parts it holds.
fn rows_of(of: &Windowed, epoch: u64, lengths: &[u32]) -> Vec<Vec<Part>> {
    let length = |pick: Pick| lengths[pick.sample.0 as usize];
    let table = of.table(epoch, length).expect("lengths in range");
    let epoch = of.epoch(epoch, &table).expect("its own table");
    let mut rows = Vec::new();
    while (rows.len() as u64) < epoch.rows() {
        let place = epoch.window_of(rows.len() as u64);
        let window = epoch.window(place, length).expect("lengths in range");
        assert_eq!(window.rows().start, rows.len() as u64, "windows follow each other");
        rows.extend(window.rows().map(|row| window.row(row).parts().collect::<Vec<_>>()));
    }
    assert_eq!(rows.len() as u64, epoch.rows());
    rows
}

/// Each sample's pieces, in order; fails where two overlap or leave a gap.
fn tokens_of(rows: &[Vec<Part>]) -> BTreeMap<u64, u32> {
    let mut pieces: Vec<_> =
        rows.iter().flatten().map(|part| (part.pick.sample.0, part.start, part.len)).collect();
    pieces.sort_unstable();
    let mut ends = BTreeMap::new();
    for (sample, start, len) in pieces {
        let end = ends.entry(sample).or_insert(0);
        assert_eq!(*end, start, "sample {sample}");
        *end += len;
    }
    ends
}

fn any_lengths() -> impl Strategy<Value = Vec<u32>> {
    let len = prop_oneof![Just(0_u32), 1_u32..10, 1_u32..300, 300_u32..2000];
    prop::collection::vec(len, 1..400).prop_filter("some token", |lengths| lengths.iter().any(|&len| len > 0))
}

fn any_compose() -> impl Strategy<Value = Compose> {
    prop::sample::select(&[Compose::Once, Compose::EachEpoch][..])
}

fn any_sampler() -> impl Strategy<Value = Sampler> {
    prop::sample::select(&[Sampler::Sequential, Sampler::Shuffled][..])
}

proptest! {
    #[test]
    fn packed_rows_hold_every_token_once_and_never_more_than_fits(
        lengths in any_lengths(), window_rows in 1_u32..150, capacity in 1_u32..600, compose in any_compose(),
        sampler in any_sampler(), epoch in 0_u64..4, documents_max in prop_oneof![1_u32..5, Just(u32::MAX)],
    ) {
        let grouping = Grouping::Packed { capacity, long: Long::Split, documents_max };
        let of = windowed(documents(lengths.len() as u64, sampler), window_rows, grouping, compose);
        let rows = rows_of(&of, epoch, &lengths);
        for row in &rows {
            let tokens: u32 = row.iter().map(|part| part.len).sum();
            prop_assert!((1..=capacity).contains(&tokens) && row.len() <= documents_max as usize);
            prop_assert!(row.iter().all(|part| part.len > 0));
            // A row comes from one window, and its parts stand in the order of the window.
            let window = |part: &Part| part.position / window_rows as u64;
            prop_assert!(row.iter().all(|part| window(part) == window(&row[0])));
            prop_assert!(row.is_sorted_by(|a, b| (a.position, a.start) < (b.position, b.start)));
        }
        let whole = lengths.iter().enumerate().filter(|(_, len)| **len > 0).map(|(at, &len)| (at as u64, len));
        prop_assert!(tokens_of(&rows).into_iter().eq(whole));
    }

    #[test]
    fn packing_leaves_no_two_rows_of_a_window_that_would_fit_into_one(
        lengths in any_lengths(), capacity in 1_u32..600,
    ) {
        let grouping = Grouping::Packed { capacity, long: Long::Split, documents_max: u32::MAX };
        let of = windowed(documents(lengths.len() as u64, Sampler::Shuffled), 1 << 16, grouping, Compose::Once);
        let mut tokens: Vec<u32> =
            rows_of(&of, 0, &lengths).iter().map(|row| row.iter().map(|part| part.len).sum()).collect();
        tokens.sort_unstable();
        prop_assert!(tokens.len() < 2 || tokens[0] + tokens[1] > capacity);
    }

    #[test]
    fn bucketed_rows_are_the_inner_rows_in_batches_whose_lengths_do_not_interleave(
        lengths in any_lengths(), batch_rows in 1_u32..20, batches in 1_u32..10, compose in any_compose(),
    ) {
        let grouping = Grouping::Bucketed { batch_rows };
        let window_rows = batch_rows * batches;
        let of = windowed(documents(lengths.len() as u64, Sampler::Shuffled), window_rows, grouping, compose);
        let rows = rows_of(&of, 2, &lengths);
        prop_assert!(rows.iter().all(|row| row.len() == 1 && row[0].start == 0));
        let whole = lengths.iter().enumerate().map(|(at, &len)| (at as u64, len));
        prop_assert!(tokens_of(&rows).into_iter().eq(whole));
        let lens: Vec<u32> = rows.iter().map(|row| row[0].len).collect();
        for window in lens.chunks(window_rows as usize) {
            let full = window.chunks_exact(batch_rows as usize);
            let mut ends: Vec<_> = full.map(|batch| (batch.iter().min(), batch.iter().max())).collect();
            ends.sort_unstable();
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }

    #[test]
    fn budgeted_batches_hold_every_sample_once_and_their_padding_fits(
        lengths in any_lengths(), samples_max in 1_u32..40, tokens in 2000_u32..5000, compose in any_compose(),
    ) {
        let grouping = Grouping::Budgeted { tokens, samples_max };
        let of = windowed(documents(lengths.len() as u64, Sampler::Shuffled), 64, grouping, compose);
        let rows = rows_of(&of, 1, &lengths);
        for row in &rows {
            let longest = row.iter().map(|part| part.len.max(1)).max().expect("no row is empty");
            prop_assert!(row.len() as u32 <= samples_max && row.len() as u32 * longest <= tokens);
        }
        let whole = lengths.iter().enumerate().map(|(at, &len)| (at as u64, len));
        prop_assert!(tokens_of(&rows).into_iter().eq(whole));
    }

    #[test]
    fn a_row_asked_for_alone_is_the_one_met_in_turn(
        lengths in any_lengths(), window_rows in 1_u32..150, at in any::<u64>(), compose in any_compose(),
    ) {
        let grouping = Grouping::Packed { capacity: 256, long: Long::Split, documents_max: u32::MAX };
        let of = windowed(documents(lengths.len() as u64, Sampler::Shuffled), window_rows, grouping, compose);
        let rows = rows_of(&of, 3, &lengths);
        // Another process: it knows the column and the numbers, and builds the table anew, from counted parts.
        let length = |pick: Pick| lengths[pick.sample.0 as usize];
        let half = of.windows(3) / 2;
        let mut counts = of.counts(3, 0..half, length).expect("lengths in range");
        counts.extend(of.counts(3, half..of.windows(3), length).expect("lengths in range"));
        let table = WindowTable::from_counts(of.composition(3), counts);
        let (epoch, row) = (of.epoch(3, &table).expect("its own table"), at % rows.len() as u64);
        let window = epoch.window(epoch.window_of(row), length).expect("lengths in range");
        prop_assert_eq!(window.row(row).parts().collect::<Vec<_>>(), &*rows[row as usize]);
    }
}

#[test]
fn windows_composed_once_have_equally_many_rows_in_every_epoch_but_in_another_order() {
    let lengths: Vec<u32> = (0..1000).map(|i| 1 + i * 7919 % 500).collect();
    let grouping = Grouping::Packed { capacity: 512, long: Long::Fail, documents_max: u32::MAX };
    let of = windowed(documents(1000, Sampler::Shuffled), 100, grouping, Compose::Once);
    let (first, second) = (rows_of(&of, 0, &lengths), rows_of(&of, 1, &lengths));
    assert_eq!((first.len(), of.composition(1)), (second.len(), 0));
    let sorted = |mut rows: Vec<Vec<Part>>| {
        rows.sort_unstable_by_key(|row| row[0].position);
        rows
    };
    assert_ne!(first, second);
    // Both the windows and the rows inside them have moved.
    let windows = |rows: &[Vec<Part>]| rows.iter().map(|row| row[0].position / 100).collect::<Vec<_>>();
    assert_ne!(windows(&first), windows(&second));
    assert_eq!(sorted(first), sorted(second));
}

#[test]
fn windows_composed_each_epoch_put_other_samples_together() {
    let lengths: Vec<u32> = (0..1000).map(|i| 1 + i * 7919 % 500).collect();
    let grouping = Grouping::Packed { capacity: 512, long: Long::Fail, documents_max: u32::MAX };
    let of = windowed(documents(1000, Sampler::Shuffled), 100, grouping, Compose::EachEpoch);
    let mates = |epoch| {
        let rows = rows_of(&of, epoch, &lengths);
        let mut mates: Vec<Vec<_>> =
            rows.iter().map(|row| row.iter().map(|part| part.pick.sample).collect()).collect();
        mates.iter_mut().for_each(|row| row.sort_unstable());
        mates.sort_unstable();
        mates
    };
    assert_ne!(mates(0), mates(1));
}

#[test]
fn rows_that_are_not_shuffled_stand_by_their_first_sample() {
    let lengths = [3, 9, 9, 1, 5, 5];
    let grouping = Grouping::Packed { capacity: 10, long: Long::Fail, documents_max: u32::MAX };
    let spec = WindowSpec { window_rows: 6, grouping, compose: Compose::Once, shuffle: false };
    let of = Windowed::new(documents(6, Sampler::Sequential), spec, COLUMN).expect("windows in range");
    let samples: Vec<Vec<u64>> = rows_of(&of, 4, &lengths)
        .iter()
        .map(|row| row.iter().map(|part| part.pick.sample.0).collect())
        .collect();
    assert_eq!(samples, [vec![0], vec![1, 3], vec![2], vec![4, 5]]);
}

#[test]
fn a_batch_that_is_not_full_comes_last_and_is_not_always_the_longest() {
    let lengths: Vec<u32> = (1..=23).collect();
    let of =
        windowed(documents(23, Sampler::Shuffled), 40, Grouping::Bucketed { batch_rows: 5 }, Compose::Once);
    let longest = |epoch| rows_of(&of, epoch, &lengths)[20..].iter().map(|row| row[0].len).max();
    let longest: Vec<_> = (0..20).map(longest).collect();
    assert!(longest.contains(&Some(23)) && longest.iter().any(|&len| len != Some(23)));
}

#[test]
fn a_row_describes_its_documents() {
    let lengths = [4, 2, 7];
    let grouping = Grouping::Packed { capacity: 6, long: Long::Split, documents_max: u32::MAX };
    let of = windowed(documents(3, Sampler::Sequential), 3, grouping, Compose::Once);
    let length = |pick: Pick| lengths[pick.sample.0 as usize];
    let epoch = of.epoch(0, &of.table(0, length).expect("lengths in range")).expect("its own table");
    let window = epoch.window(0, length).expect("lengths in range");
    let row = |sample: u64| {
        let holds = |row: &Row| row.parts().any(|part| part.pick.sample.0 == sample);
        window.rows().map(|row| window.row(row)).find(holds).expect("every document stands somewhere")
    };
    let joined = row(0);
    assert_eq!((joined.tokens(), joined.longest()), (6, 4));
    assert_eq!(joined.boundaries().collect::<Vec<_>>(), [0, 4, 6]);
    assert_eq!(joined.position_ids().collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1]);
    assert_eq!(joined.segment_ids().collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
    let mut split: Vec<_> = window.rows().flat_map(|row| window.row(row).parts()).collect();
    split.retain(|part| part.pick.sample.0 == 2);
    split.sort_unstable_by_key(|part| part.start);
    assert_eq!(split.iter().map(|part| (part.start, part.len)).collect::<Vec<_>>(), [(0, 6), (6, 1)]);
}

#[test]
fn a_mixture_is_packed_like_anything_else() {
    let sources = [300, 40].map(|rows| Source { rows, sampler: Sampler::Shuffled }).to_vec();
    let phases = vec![Phase { from_row: 0, weights: vec![3.0, 1.0] }];
    let spec = MixtureSpec { seed: 3, sources, phases, epoch: EpochLength::Rows(2048) };
    let order = Order::Mixture(Mixture::new(&spec).expect("a mixture in range"));
    let grouping = Grouping::Packed { capacity: 128, long: Long::Fail, documents_max: u32::MAX };
    let once = WindowSpec { window_rows: 512, grouping, compose: Compose::Once, shuffle: true };
    let refused = Windowed::new(order.clone(), once, COLUMN).expect_err("its epochs differ");
    assert_eq!(refused, OrderError::ComposeOnce { order: "mixture" });
    let of = windowed(order.clone(), 512, grouping, Compose::EachEpoch);
    let length = |pick: Pick| 1 + (pick.source * 50 + pick.sample.0 as u32) % 100;
    let epoch = of.epoch(1, &of.table(1, length).expect("lengths in range")).expect("its own table");
    let picks = order.epoch(1);
    let mut positions: Vec<u64> = Vec::new();
    for place in 0..4 {
        let window = epoch.window(place, length).expect("lengths in range");
        for part in window.rows().flat_map(|row| window.row(row).parts().collect::<Vec<_>>()) {
            assert_eq!(part.pick, picks.pick(part.position));
            positions.push(part.position);
        }
    }
    positions.sort_unstable();
    assert!(positions.into_iter().eq(0..2048));
    assert_eq!(epoch.substitute(5, 1), picks.substitute(5, 1));
}

#[test]
fn windows_that_cannot_be_made_say_why() {
    let of = |window_rows, grouping| {
        let spec = WindowSpec { window_rows, grouping, compose: Compose::Once, shuffle: true };
        Windowed::new(documents(10, Sampler::Shuffled), spec, COLUMN).expect_err("no such windows")
    };
    let rows =
        |window_rows, multiple| OrderError::WindowRows { window_rows, window_rows_max: 1 << 24, multiple };
    let packed = |capacity| Grouping::Packed { capacity, long: Long::Split, documents_max: u32::MAX };
    assert_eq!(of(0, packed(1)), rows(0, 1));
    assert_eq!(of(WINDOW_ROWS_MAX + 1, packed(1)), rows(WINDOW_ROWS_MAX + 1, 1));
    assert_eq!(of(10, Grouping::Bucketed { batch_rows: 4 }), rows(10, 4));
    assert_eq!(of(10, Grouping::Bucketed { batch_rows: 0 }), OrderError::Zero { what: "batch_rows" });
    assert_eq!(of(10, packed(0)), OrderError::Zero { what: "capacity" });
    let no_document = Grouping::Packed { capacity: 1, long: Long::Split, documents_max: 0 };
    assert_eq!(of(10, no_document), OrderError::Zero { what: "documents_max" });
    assert_eq!(of(10, Grouping::Budgeted { tokens: 0, samples_max: 1 }), OrderError::Zero { what: "tokens" });
    assert_eq!(
        of(10, Grouping::Budgeted { tokens: 1, samples_max: 0 }),
        OrderError::Zero { what: "samples_max" }
    );
}

#[test]
fn lengths_that_do_not_fit_are_named_and_huge_ones_cost_no_memory() {
    let refused = |grouping, len: u32| {
        let of = windowed(documents(3, Sampler::Sequential), 3, grouping, Compose::Once);
        of.table(0, |pick| if pick.sample.0 == 1 { len } else { 1 }).expect_err("no such rows")
    };
    let too_long = |len_max| OrderError::TooLong { source_index: 0, sample: 1, len: 11, len_max };
    assert_eq!(
        refused(Grouping::Packed { capacity: 10, long: Long::Fail, documents_max: u32::MAX }, 11),
        too_long(10)
    );
    assert_eq!(refused(Grouping::Budgeted { tokens: 10, samples_max: 5 }, 11), too_long(10));
    let pieces =
        refused(Grouping::Packed { capacity: 1, long: Long::Split, documents_max: u32::MAX }, u32::MAX);
    assert_eq!(pieces, OrderError::TooManyPieces { pieces: u32::MAX as u64 + 2, pieces_max: 1 << 26 });
    let largest = windowed(
        documents(3, Sampler::Sequential),
        3,
        Grouping::Packed { capacity: u32::MAX, long: Long::Fail, documents_max: u32::MAX },
        Compose::Once,
    );
    assert_eq!(rows_of(&largest, 0, &[u32::MAX, u32::MAX, 0]).len(), 2);
    let bucketed =
        windowed(documents(3, Sampler::Shuffled), 3, Grouping::Bucketed { batch_rows: 3 }, Compose::Once);
    assert_eq!(rows_of(&bucketed, 0, &[u32::MAX, 0, u32::MAX]).len(), 3);
}

#[test]
fn a_table_of_nothing_or_of_something_else_is_refused() {
    let grouping = Grouping::Packed { capacity: 10, long: Long::Fail, documents_max: u32::MAX };
    let of = |rows| windowed(documents(rows, Sampler::Shuffled), 4, grouping, Compose::EachEpoch);
    assert_eq!(of(10).table(0, |_| 0).err(), Some(OrderError::Plan(PlanError::NoRows)));
    let nothing = WindowTable::from_counts(0, vec![0, 0, 0]);
    assert_eq!(of(10).epoch(0, &nothing).err(), Some(OrderError::Plan(PlanError::NoRows)));
    let table = of(10).table(0, |_| 1).expect("lengths in range");
    let other = |given, windows, wanted, windows_wanted| {
        Some(OrderError::Table { given, windows, wanted, windows_wanted })
    };
    assert_eq!(of(10).epoch(1, &table).err(), other(0, 3, 1, 3));
    assert_eq!(of(20).epoch(0, &table).err(), other(0, 3, 0, 5));
}

#[test]
fn every_parameter_of_windows_is_part_of_their_digest() {
    let packed = |capacity, long| Grouping::Packed { capacity, long, documents_max: u32::MAX };
    let few = |documents_max| Grouping::Packed { capacity: 10, long: Long::Split, documents_max };
    let spec = |grouping| WindowSpec { window_rows: 8, grouping, compose: Compose::Once, shuffle: true };
    let base = spec(packed(10, Long::Split));
    let specs = [
        base,
        spec(packed(11, Long::Split)),
        spec(packed(10, Long::Fail)),
        spec(few(3)),
        spec(few(4)),
        spec(Grouping::Bucketed { batch_rows: 4 }),
        spec(Grouping::Bucketed { batch_rows: 2 }),
        spec(Grouping::Budgeted { tokens: 10, samples_max: 4 }),
        spec(Grouping::Budgeted { tokens: 11, samples_max: 4 }),
        spec(Grouping::Budgeted { tokens: 10, samples_max: 5 }),
        WindowSpec { window_rows: 16, ..base },
        WindowSpec { compose: Compose::EachEpoch, ..base },
        WindowSpec { shuffle: false, ..base },
    ];
    let name = |order: Order, spec, lengths| {
        let of = Windowed::new(order, spec, lengths).expect("windows in range");
        of.digest(&[Digest::from_bytes([1; 32])]).expect("a snapshot a source")
    };
    let mut names: Vec<_> =
        specs.iter().map(|&spec| name(documents(20, Sampler::Shuffled), spec, COLUMN)).collect();
    names.push(name(documents(21, Sampler::Shuffled), base, COLUMN));
    names.push(name(documents(20, Sampler::Shuffled), base, Digest::from_bytes([6; 32])));
    for (number, name) in names.iter().enumerate() {
        assert!(names[number + 1..].iter().all(|other| other != name), "digest {number}");
    }
}

#[test]
#[should_panic(expected = "row 3 of an epoch of 3 rows")]
fn a_row_behind_the_epoch_is_refused() {
    let of =
        windowed(documents(3, Sampler::Shuffled), 3, Grouping::Bucketed { batch_rows: 1 }, Compose::Once);
    of.epoch(0, &of.table(0, |_| 1).expect("lengths in range")).expect("its own table").window_of(3);
}
