//! Ratios in every block, every sample at its due frequency, seeking as good as stepping, and what each digest covers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{PlanError, Sampler};

fn spec(sources: &[(u64, Sampler)], phases: &[(u64, &[f64])], epoch: EpochLength) -> MixtureSpec {
    let source = |&(rows, sampler): &(u64, Sampler)| Source { rows, sampler };
    let phase = |&(from_row, weights): &(u64, &[f64])| Phase { from_row, weights: weights.into() };
    let (sources, phases) = (sources.iter().map(source).collect(), phases.iter().map(phase).collect());
    MixtureSpec { seed: 7, sources, phases, epoch }
}

fn shuffled_of(rows: &[u64], weights: &[f64], epoch_rows: u64) -> Mixture {
    let sources: Vec<_> = rows.iter().map(|&rows| (rows, Sampler::Shuffled)).collect();
    let spec = spec(&sources, &[(0, weights)], EpochLength::Rows(epoch_rows));
    Mixture::new(&spec).expect("a mixture in range")
}

fn any_sampler() -> impl Strategy<Value = Sampler> {
    prop::sample::select(&[Sampler::Sequential, Sampler::Shuffled][..])
}

/// Mixtures of 1 to 11 sources of 1 to 3000 samples, with 1 to 3 phases, some weights zero.
fn any_mixture() -> impl Strategy<Value = MixtureSpec> {
    let sources =
        prop::collection::vec((prop_oneof![Just(1), 2_u64..80, 80_u64..3000], any_sampler()), 1..12);
    sources.prop_flat_map(|sources| {
        let weight = prop_oneof![Just(0.0), 0.001..1.0, 1.0..100.0];
        let weights = prop::collection::vec(weight, sources.len())
            .prop_filter("some weight", |weights| weights.iter().any(|&weight| weight > 0.0));
        let phases = prop::collection::vec((1_u64..4, weights), 1..4);
        (Just(sources), phases, 1_u64..5, any::<u64>()).prop_map(|(sources, phases, epoch_blocks, seed)| {
            let mut from_row = 0;
            let phases = phases.into_iter().map(|(blocks, weights)| {
                let phase = Phase { from_row, weights };
                from_row += blocks * BLOCK_ROWS;
                phase
            });
            let sources = sources.into_iter().map(|(rows, sampler)| Source { rows, sampler }).collect();
            MixtureSpec {
                seed,
                sources,
                phases: phases.collect(),
                epoch: EpochLength::Rows(epoch_blocks * BLOCK_ROWS),
            }
        })
    })
}

/// The picks of a run's first rows, block by block, stepped through as a job would.
fn run(mixture: &Mixture, blocks: u64) -> Vec<Pick> {
    let epoch_blocks = mixture.epoch_rows() / BLOCK_ROWS;
    let order = Order::Mixture(mixture.clone());
    let of_block = |block: u64| {
        let mut walker = order.epoch(block / epoch_blocks).walker();
        let first = block % epoch_blocks * BLOCK_ROWS;
        (first..first + BLOCK_ROWS).map(move |position| walker.pick(position))
    };
    (0..blocks).flat_map(of_block).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ratios_hold_in_every_aligned_block_whatever_the_phases_and_epochs(spec in any_mixture()) {
        let rows = run(&Mixture::new(&spec).expect("a mixture in range"), 10);
        for (block, rows) in rows.chunks(BLOCK_ROWS as usize).enumerate() {
            let at = block as u64 * BLOCK_ROWS;
            let phase = spec.phases.iter().rfind(|phase| phase.from_row <= at).expect("one begins at 0");
            let total: f64 = phase.weights.iter().sum();
            for (source, weight) in phase.weights.iter().enumerate() {
                let count = rows.iter().filter(|pick| pick.source as usize == source).count();
                prop_assert!((count as f64 - 1024.0 * weight / total).abs() < 1.0 + 1e-9);
            }
        }
    }

    #[test]
    fn every_sample_of_every_source_comes_once_before_any_comes_again(spec in any_mixture()) {
        let mut times = BTreeMap::<(u32, u64), Vec<u64>>::new();
        for pick in run(&Mixture::new(&spec).expect("a mixture in range"), 10) {
            times.entry((pick.source, pick.source_epoch)).or_default().push(pick.sample.0);
        }
        let last: BTreeMap<u32, u64> = times.keys().copied().collect();
        for ((source, source_epoch), mut samples) in times {
            let rows = spec.sources[source as usize].rows;
            samples.sort_unstable();
            prop_assert!(samples.windows(2).all(|pair| pair[0] < pair[1]) && samples.iter().all(|&s| s < rows));
            // A source's epochs are whole, but for the one it stands in; a block may reach into the next before
            // its last row of this one, and then both are left open at the end.
            let open = last[&source] == source_epoch;
            prop_assert!(open || samples.len() as u64 == rows, "epoch {source_epoch} of source {source}");
        }
    }

    #[test]
    fn seeking_to_any_row_equals_stepping_there(spec in any_mixture(), at in prop::collection::vec(0_u64..5000, 20)) {
        let order = Order::Mixture(Mixture::new(&spec).expect("a mixture in range"));
        for epoch in [0, 2, 1 << 40, u64::MAX] {
            let picks = order.epoch(epoch);
            let mut stepper = picks.walker();
            let stepped: Vec<_> = (0..picks.rows()).map(|position| stepper.pick(position)).collect();
            let mut jumper = picks.walker();
            for at in &at {
                let position = at % picks.rows();
                prop_assert_eq!(jumper.pick(position), stepped[position as usize]);
                prop_assert_eq!(picks.pick(position), stepped[position as usize]);
            }
        }
    }

    #[test]
    fn visits_are_counted_at_any_row_and_found_again(spec in any_mixture(), at in 0_u64..10 * BLOCK_ROWS) {
        let mixture = Mixture::new(&spec).expect("a mixture in range");
        let rows = run(&mixture, 10);
        for (number, source) in spec.sources.iter().enumerate() {
            let number = number as u32;
            let count = rows[..at as usize].iter().filter(|pick| pick.source == number).count();
            prop_assert_eq!(mixture.visits_before(number, at), count as u64);
            // The row at which a sample is found is the row that picks it.
            let Some(row) = rows.iter().position(|pick| pick.source == number) else { continue };
            let pick = rows[row];
            let place = mixture.source_position(number, pick.source_epoch, pick.sample);
            prop_assert_eq!(mixture.row_of_visit(number, pick.source_epoch * source.rows + place), Some(row as u64));
        }
    }

    #[test]
    fn a_sequential_source_is_gone_through_in_order(spec in any_mixture()) {
        let mut next = vec![0; spec.sources.len()];
        for pick in run(&Mixture::new(&spec).expect("a mixture in range"), 6) {
            let source = spec.sources[pick.source as usize];
            let visit = next[pick.source as usize];
            next[pick.source as usize] += 1;
            if source.sampler == Sampler::Sequential {
                prop_assert_eq!((pick.source_epoch, pick.sample.0), (visit / source.rows, visit % source.rows));
            }
        }
    }

    #[test]
    fn repetitions_cover_each_row_as_often_as_asked_inside_its_window(
        rows in 1_u64..200, times in 1_u32..6, window_rows in 1_u32..50,
    ) {
        let inner = Order::Single(OrderSpec::new(Sampler::Shuffled, 3, rows).expect("rows in range"));
        let repeated = Repeated::new(inner.clone(), times, window_rows, None).expect("at least once");
        let (order, mut seen) = (Order::Repeated(repeated.clone()), vec![0; rows as usize]);
        let (picks, inner) = (order.epoch(1), inner.epoch(1));
        prop_assert_eq!(picks.rows(), rows * times as u64);
        for position in 0..picks.rows() {
            let (row, repetition) = repeated.inner_row(position, rows);
            prop_assert_eq!(row / window_rows as u64, position / (window_rows as u64 * times as u64));
            // Repetitions come one after the other.
            prop_assert_eq!(std::mem::replace(&mut seen[row as usize], repetition + 1), repetition);
            prop_assert_eq!(picks.pick(position), inner.pick(row));
            prop_assert_eq!(picks.substitute(position, 1), inner.substitute(row, 1));
        }
        prop_assert!(seen.iter().all(|&n| n == times));
    }

    #[test]
    fn classes_share_every_block_equally_and_their_samples_come_in_turn(
        classes in prop::collection::vec(prop::sample::select(&[0_u32, 1, 7, 7, 7, 7, 1000][..]), 1..500),
    ) {
        let order = Order::Balanced(Balanced::new(5, &classes, EpochLength::Rows(2048)).expect("some samples"));
        let mut present = classes.clone();
        present.sort_unstable();
        present.dedup();
        let mut times = vec![0_u32; classes.len()];
        let mut walker = order.epoch(3).walker();
        let rows: Vec<_> = (0..2048).map(|position| walker.pick(position)).collect();
        for block in rows.chunks(1024) {
            for class in &present {
                let count = block.iter().filter(|pick| classes[pick.sample.0 as usize] == *class).count();
                prop_assert!((count as f64 - 1024.0 / present.len() as f64).abs() < 1.0);
            }
        }
        // Over the run from its start no sample is two visits ahead of another of its class.
        for epoch in 0..3 {
            let mut walker = order.epoch(epoch).walker();
            (0..2048).for_each(|position| times[walker.pick(position).sample.0 as usize] += 1);
        }
        for class in &present {
            let of_class = || classes.iter().zip(&times).filter(|(c, _)| *c == class).map(|(_, &n)| n);
            prop_assert!(of_class().max() <= of_class().min().map(|least| least + 1));
        }
        prop_assert!(rows.iter().enumerate().all(|(p, pick)| order.epoch(3).pick(p as u64) == *pick));
    }
}

#[test]
fn a_change_of_weights_holds_from_its_row_on() {
    let phases: [(u64, &[f64]); 2] = [(0, &[1.0, 0.0]), (4096, &[1.0, 3.0])];
    let sources = [(10, Sampler::Shuffled), (1_000_000, Sampler::Shuffled)];
    let mixture =
        Mixture::new(&spec(&sources, &phases, EpochLength::Rows(1024))).expect("a mixture in range");
    // Phases count rows of the run, so the change comes in the fifth epoch of 1024 rows.
    let rows = run(&mixture, 8);
    assert!(rows[..4096].iter().all(|pick| pick.source == 0));
    let count = rows[4096..].iter().filter(|pick| pick.source == 1).count();
    assert_eq!((count, mixture.run_row(4, 3)), (3072, 4099));
    assert_eq!(mixture.row_of_visit(1, 0).map(|row| row / 1024), Some(4));
}

#[test]
fn a_source_without_weight_never_comes() {
    let mixture = shuffled_of(&[5, 5], &[1.0, 0.0], 1024);
    assert!(run(&mixture, 20).iter().all(|pick| pick.source == 0));
    assert_eq!((mixture.row_of_visit(1, 0), mixture.visits_before(1, u64::MAX >> 1)), (None, 0));
}

#[test]
fn five_thousand_sources_come_at_their_rates_though_most_blocks_miss_most_of_them() {
    let weights: Vec<f64> = (0..5000).map(|i| 1.0 + (i % 10) as f64).collect();
    let mixture = shuffled_of(&vec![3; 5000], &weights, 1024);
    let mut counts = vec![0_f64; 5000];
    run(&mixture, 500).iter().for_each(|pick| counts[pick.source as usize] += 1.0);
    let total: f64 = weights.iter().sum();
    let worst =
        counts.iter().zip(&weights).map(|(n, w)| (n - 512_000.0 * w / total).abs()).fold(0.0, f64::max);
    println!("worst distance from the exact share after 500 blocks: {worst:.2} rows");
    assert!(worst < 2.0 + 2.0 / 3.0 * 501_f64.log2(), "{worst}");
}

#[test]
fn rows_of_a_block_are_shuffled_and_otherwise_in_the_next_block() {
    let rows = run(&shuffled_of(&[100_000, 100_000], &[1.0, 1.0], 4096), 4);
    let sources =
        |block: usize| rows[block * 1024..][..1024].iter().map(|pick| pick.source).collect::<Vec<_>>();
    let runs = sources(0).chunk_by(|a, b| a == b).count();
    // 513 runs are expected of an even shuffle, with a standard deviation of 16.
    assert!((433..593).contains(&runs), "{runs} runs");
    assert_ne!(sources(0), sources(1));
}

#[test]
fn a_source_has_another_order_each_time_it_comes_round() {
    let rows = run(&shuffled_of(&[512, 512], &[1.0, 1.0], 1024), 2);
    let order =
        |epoch| rows.iter().filter(move |p| p.source == 0 && p.source_epoch == epoch).map(|p| p.sample);
    assert_eq!((order(0).count(), order(1).count()), (512, 512));
    assert!(!order(0).eq(order(1)));
}

#[test]
fn an_epoch_lasts_as_long_as_asked() {
    let rows = |epoch| {
        let sources = [(1000, Sampler::Shuffled), (3000, Sampler::Shuffled)];
        Mixture::new(&spec(&sources, &[(0, &[1.0, 1.0])], epoch)).map(|mixture| mixture.epoch_rows())
    };
    assert_eq!(rows(EpochLength::Sum), Ok(4096));
    assert_eq!(rows(EpochLength::OnePass(0)), Ok(2048));
    assert_eq!(rows(EpochLength::OnePass(1)), Ok(6144));
    assert_eq!(rows(EpochLength::Rows(1024)), Ok(1024));
    let inside = rows(EpochLength::Rows(1500)).expect_err("inside a block");
    assert_eq!(inside.to_string(), "an epoch of 1500 rows ends inside a block of 1024; take 1024 or 2048");
    assert_eq!(rows(EpochLength::Rows(0)), Err(OrderError::Plan(PlanError::NoRows)));
    assert!(matches!(rows(EpochLength::Rows(1 << 50)), Err(OrderError::Plan(PlanError::TooManyRows { .. }))));
    assert_eq!(rows(EpochLength::OnePass(2)), Err(OrderError::OnePass { source_index: 2, sources: 2 }));
}

#[test]
fn a_mixture_that_cannot_be_made_says_why() {
    let of = |sources: &[(u64, Sampler)], phases: &[(u64, &[f64])]| {
        Mixture::new(&spec(sources, phases, EpochLength::Rows(1024))).expect_err("no such mixture")
    };
    let one = [(1, Sampler::Shuffled)];
    assert_eq!(of(&[], &[(0, &[])]), OrderError::NoSources);
    assert_eq!(of(&[(0, Sampler::Shuffled)], &[(0, &[1.0])]), OrderError::Plan(PlanError::NoRows));
    assert_eq!(of(&one, &[(0, &[1.0, 1.0])]), OrderError::WeightCount { expected: 1, given: 2 });
    assert_eq!(of(&one, &[(0, &[0.0])]), OrderError::NoWeight);
    let start = |phases: &[(u64, &[f64])]| {
        let OrderError::PhaseStart { from_row, after } = of(&one, phases) else { panic!("another error") };
        (from_row, after)
    };
    assert_eq!(start(&[]), (None, None));
    assert_eq!(start(&[(1024, &[1.0])]), (Some(1024), None));
    assert_eq!(start(&[(0, &[1.0]), (1000, &[1.0])]), (Some(1000), Some(0)));
    assert_eq!(start(&[(0, &[1.0]), (2048, &[1.0]), (2048, &[1.0])]), (Some(2048), Some(2048)));
    assert_eq!(start(&[(0, &[1.0]), (1 << 63, &[1.0])]), (Some(1 << 63), Some(0)));
}

#[test]
fn weighted_rows_draw_each_sample_at_its_rate_and_no_other() {
    let weights = [5.0, 0.0, 1.0, 3.0, 0.5, 0.5];
    let picks = Order::Weighted(Weighted::new(11, &weights, 1_000_000).expect("plain weights")).epoch(4);
    let mut counts = [0_f64; 6];
    (0..picks.rows()).for_each(|position| counts[picks.pick(position).sample.0 as usize] += 1.0);
    let expected = weights.map(|weight| weight / 10.0 * 1_000_000.0);
    assert!(counts[1] < 1.0, "a weight of zero");
    let some = counts.iter().zip(expected).filter(|(_, expected)| *expected > 0.0);
    let chi_square: f64 = some.map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    // Four degrees of freedom: above 33.4 with a chance of 1e-6.
    assert!(chi_square < 33.4, "{chi_square}: {counts:?}");
}

#[test]
fn weighted_epochs_seeds_and_neighbours_draw_unrelated_samples() {
    let picks = |seed, epoch| {
        let order = Order::Weighted(Weighted::new(seed, &[1.0; 1000], 10_000).expect("plain weights"));
        let picks = order.epoch(epoch);
        (0..10_000).map(|position| picks.pick(position).sample.0).collect::<Vec<_>>()
    };
    let base = picks(1, 0);
    let same = |other: &[u64]| base.iter().zip(other).filter(|(a, b)| a == b).count();
    // Ten of 10,000 are expected to agree by chance.
    for other in [&picks(2, 0)[..], &picks(1, 1), &base[1..]] {
        assert!(same(other) < 35, "{} rows agree", same(other));
    }
}

#[test]
fn inverse_class_weights_give_every_class_the_same_sum() {
    let classes = [3, 3, 3, 9, 9, 0];
    let (weights, mut sums) = (inverse_class_weights(&classes), BTreeMap::<u32, f64>::new());
    classes.iter().zip(weights).for_each(|(class, weight)| *sums.entry(*class).or_default() += weight);
    assert!(sums.values().all(|sum| (sum - 1.0).abs() < 1e-12), "{sums:?}");
}

#[test]
fn an_explicit_order_is_the_list_and_lists_come_round() {
    let wide = u32::MAX as u64 + 5;
    let lists = vec![List::new(&[4, 0, 4]), List::new(&[wide, 1])];
    let order = Order::Explicit(Explicit::new(1, wide + 1, lists).expect("indices in range"));
    let samples = |epoch| {
        let picks = order.epoch(epoch);
        (0..picks.rows()).map(|position| picks.pick(position).sample.0).collect::<Vec<_>>()
    };
    assert_eq!((samples(0), samples(1), samples(2)), (vec![4, 0, 4], vec![wide, 1], vec![4, 0, 4]));
    assert_eq!((order.rows(0), order.rows(1)), (3, 2));
}

#[test]
fn lists_that_name_nothing_are_refused() {
    assert_eq!(Explicit::new(1, 5, vec![]).err(), Some(OrderError::NoLists));
    let empty = Explicit::new(1, 5, vec![List::new(&[])]).err();
    assert_eq!(empty, Some(OrderError::Plan(PlanError::NoRows)));
    let beyond = Explicit::new(1, 5, vec![List::new(&[0]), List::new(&[0, 5])]).err();
    assert_eq!(beyond, Some(OrderError::IndexBeyond { list: 1, at: 1, index: 5, samples: 5 }));
}

#[test]
fn substitutes_stay_in_their_source_their_class_and_among_the_weighted() {
    let mixture = Order::Mixture(shuffled_of(&[1, 50], &[1.0, 1.0], 1024));
    let classes = [0, 0, 0, 1, 1, 2];
    let balanced = Order::Balanced(Balanced::new(1, &classes, EpochLength::Sum).expect("some samples"));
    let weighted = Order::Weighted(Weighted::new(1, &[1.0, 0.0, 1.0], 100).expect("plain weights"));
    for position in 0..100 {
        for attempt in 1..=8 {
            let (own, other) =
                (mixture.epoch(1).pick(position), mixture.epoch(1).substitute(position, attempt));
            assert_eq!((own.source, own.source == 0), (other.source, own.sample == other.sample));
            let (own, other) =
                (balanced.epoch(1).pick(position), balanced.epoch(1).substitute(position, attempt));
            let (own, other) = (own.sample.0 as usize, other.sample.0 as usize);
            assert_eq!((classes[own], own == 5), (classes[other], own == other));
            let (own, other) =
                (weighted.epoch(1).pick(position), weighted.epoch(1).substitute(position, attempt));
            assert_eq!(own.sample.0 + other.sample.0, 2);
        }
    }
    let single = OrderSpec::new(Sampler::Shuffled, 9, 40).expect("rows in range");
    let of_single = Order::Single(single).epoch(2).substitute(7, 3).sample;
    assert_eq!(of_single, single.epoch(2).substitute(7, 3));
    let list = Order::Explicit(Explicit::new(1, 9, vec![List::new(&[2, 5])]).expect("indices in range"));
    assert_eq!(list.epoch(0).substitute(0, 1).sample, SampleId(5));
}

#[test]
fn a_repetition_that_cannot_be_made_says_why() {
    let of = |rows, times, window_rows| {
        let inner = Order::Single(OrderSpec::new(Sampler::Shuffled, 3, rows).expect("rows in range"));
        Repeated::new(inner, times, window_rows, None).map(|_| ())
    };
    assert_eq!(of(10, 0, 1), Err(OrderError::Repeat { times: 0, window_rows: 1 }));
    assert_eq!(of(10, 1, 0), Err(OrderError::Repeat { times: 1, window_rows: 0 }));
    assert!(matches!(of(crate::ROWS_MAX, 2, 1), Err(OrderError::Plan(PlanError::TooManyRows { .. }))));
    let inner = Order::Single(OrderSpec::new(Sampler::Shuffled, 3, 10).expect("rows in range"));
    let cut_short = Order::Repeated(Repeated::new(inner, 3, 4, Some(10)).expect("at least once"));
    assert_eq!(cut_short.rows(0), 10);
}

#[test]
fn every_parameter_of_every_order_is_part_of_its_digest() {
    let snapshots = [Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32])];
    let name = |order: &Order| order.digest(&snapshots[..order.sources()]).expect("a snapshot a source");
    let mixed = |change: &dyn Fn(&mut MixtureSpec)| {
        let sources = [(10, Sampler::Shuffled), (20, Sampler::Shuffled)];
        let mut spec = spec(&sources, &[(0, &[1.0, 1.0]), (1024, &[1.0, 2.0])], EpochLength::Rows(1024));
        change(&mut spec);
        Order::Mixture(Mixture::new(&spec).expect("a mixture in range"))
    };
    let list = |seed, samples, list: &[u64]| {
        Order::Explicit(Explicit::new(seed, samples, vec![List::new(list)]).expect("indices in range"))
    };
    let weighted = |seed, weights: &[f64], rows| {
        Order::Weighted(Weighted::new(seed, weights, rows).expect("plain weights"))
    };
    let balanced = |seed, classes: &[u32], epoch| {
        Order::Balanced(Balanced::new(seed, classes, epoch).expect("some samples"))
    };
    let repeated = |inner, times, window_rows, rows| {
        Order::Repeated(Repeated::new(inner, times, window_rows, rows).expect("at least once"))
    };
    let single = || Order::Single(OrderSpec::new(Sampler::Shuffled, 1, 10).expect("rows in range"));
    let orders = [
        single(),
        mixed(&|_| ()),
        mixed(&|spec| spec.seed = 8),
        mixed(&|spec| spec.sources[0].rows = 11),
        mixed(&|spec| spec.sources[0].sampler = Sampler::Sequential),
        mixed(&|spec| spec.phases[0].weights[1] = 2.0),
        mixed(&|spec| spec.phases[1].from_row = 2048),
        mixed(&|spec| spec.phases.truncate(1)),
        mixed(&|spec| spec.epoch = EpochLength::Rows(2048)),
        list(1, 9, &[1, 2]),
        list(2, 9, &[1, 2]),
        list(1, 8, &[1, 2]),
        list(1, 9, &[2, 1]),
        weighted(1, &[1.0, 2.0], 10),
        weighted(2, &[1.0, 2.0], 10),
        weighted(1, &[1.0, 3.0], 10),
        weighted(1, &[1.0, 2.0], 11),
        balanced(1, &[0, 1], EpochLength::Sum),
        balanced(2, &[0, 1], EpochLength::Sum),
        balanced(1, &[1, 0], EpochLength::Sum),
        balanced(1, &[0, 1], EpochLength::Rows(2048)),
        repeated(single(), 2, 4, None),
        repeated(single(), 3, 4, None),
        repeated(single(), 2, 5, None),
        repeated(single(), 2, 4, Some(20)),
        repeated(list(1, 9, &[1, 2]), 2, 4, None),
    ];
    for (number, order) in orders.iter().enumerate() {
        assert_eq!(name(order), name(&order.clone()));
        assert!(orders[number + 1..].iter().all(|other| name(other) != name(order)), "order {number}");
    }
    let other_way = [snapshots[1], snapshots[0]];
    assert_ne!(mixed(&|_| ()).digest(&snapshots), mixed(&|_| ()).digest(&other_way));
    assert_ne!(joint_snapshot(&snapshots), joint_snapshot(&other_way));
    assert_eq!(joint_snapshot(&snapshots[..1]), snapshots[0]);
    let missing = OrderError::Snapshots { expected: 2, given: 1 };
    assert_eq!(mixed(&|_| ()).digest(&snapshots[..1]), Err(missing));
}

#[test]
fn a_single_source_has_the_order_and_the_digest_it_always_had() {
    let spec = OrderSpec::new(Sampler::Shuffled, 42, 1000).expect("rows in range");
    let (order, snapshot) = (Order::Single(spec), Digest::from_bytes([1; 32]));
    assert_eq!(order.digest(&[snapshot]), Ok(spec.digest(&snapshot)));
    let picks = order.epoch(3);
    assert!((0..1000).all(|position| picks.pick(position).sample == spec.epoch(3).sample(position)));
    assert_eq!((order.name(), order.rows(9), order.seed()), ("shuffled", 1000, 42));
}

#[test]
#[should_panic(expected = "position 1024 of an epoch of 1024 rows")]
fn a_position_behind_the_epoch_is_refused_by_a_walker_too() {
    Order::Mixture(shuffled_of(&[1], &[1.0], 1024)).epoch(0).walker().pick(1024);
}
