//! Is it a permutation, is it its own inverse's inverse, and is it as random as Fisher-Yates?
//!
//! The statistics run over 10,000 fixed keys, so they are the same in every run. Each is held against the theory's
//! quantile and beside Fisher-Yates's, and a network of too few rounds shows that the test can fail.

use proptest::prelude::*;

use super::*;
use crate::digest::DigestBuilder;

const SEEDS: u64 = 10_000;
/// Standard deviations that stand for a chance of 3e-7 in one test of a right permutation.
const Z_MAX: f64 = 5.0;

fn key(seed: u64) -> [u8; 32] {
    *DigestBuilder::new("test").u64("seed", seed).finish().as_bytes()
}

fn feistel<const ROUNDS: usize>(len: u64, seed: u64) -> Vec<u64> {
    let feistel = Feistel::<ROUNDS>::new(len, &mut generator(len, &key(seed)));
    (0..len).map(|i| feistel.forward(i)).collect()
}

fn fisher_yates(len: u64, seed: u64) -> Vec<u64> {
    let table = Table::shuffled(len as u32, &mut generator(len, &key(seed)));
    (0..len).map(|i| table.forward(i)).collect()
}

fn check_bijection(len: u64, forward: impl Fn(u64) -> u64, inverse: impl Fn(u64) -> u64) {
    let mut seen = vec![false; len as usize];
    for i in 0..len {
        let j = forward(i);
        assert!(!std::mem::replace(&mut seen[j as usize], true), "{j} comes twice of {len}");
        assert_eq!(inverse(j), i, "of {len}");
    }
}

#[test]
fn both_kinds_are_bijections_at_every_small_length() {
    for len in 0..=300 {
        let table = Permutation::new(len, key(len));
        check_bijection(len, |i| table.forward(i), |j| table.inverse(j));
    }
    for len in 1..=300 {
        let feistel = Feistel::<12>::new(len, &mut generator(len, &key(len)));
        check_bijection(len, |i| feistel.forward(i), |j| feistel.inverse(j));
    }
}

#[test]
fn the_permutation_is_a_bijection_on_both_sides_of_the_table_limit() {
    for len in [TABLE_LEN_MAX - 1, TABLE_LEN_MAX, TABLE_LEN_MAX + 1, TABLE_LEN_MAX + 2, 131_072, 131_073] {
        let permutation = Permutation::new(len, key(1));
        assert_eq!(permutation.len(), len);
        assert_eq!(matches!(permutation.kind, Kind::Table(_)), len <= TABLE_LEN_MAX);
        check_bijection(len, |i| permutation.forward(i), |j| permutation.inverse(j));
    }
}

proptest! {
    #[test]
    fn the_inverse_inverts_at_any_length(len in TABLE_LEN_MAX + 1.., seed: u64, at: u64) {
        let permutation = Permutation::new(len, key(seed));
        let i = at % len;
        prop_assert!(permutation.forward(i) < len);
        prop_assert_eq!(permutation.inverse(permutation.forward(i)), i);
        prop_assert_eq!(permutation.forward(permutation.inverse(i)), i);
    }
}

#[test]
fn a_sample_of_a_billion_and_of_ten_billion_has_no_repeat_and_inverts() {
    for len in [1_000_000_000, 10_000_000_000] {
        let permutation = Permutation::new(len, key(2));
        let mut places: Vec<u64> = (0..100_000).map(|k| permutation.forward(k * (len / 100_000))).collect();
        for (k, &place) in places.iter().enumerate() {
            assert_eq!(permutation.inverse(place), k as u64 * (len / 100_000));
        }
        places.sort_unstable();
        assert!(places.is_sorted_by(|a, b| a < b), "a place comes twice of {len}");
        let gap_max = places.windows(2).map(|pair| pair[1] - pair[0]).max().expect("many places");
        // The longest of n gaps is about ln(n) = 11.5 mean gaps; 25 has a chance of 1e-6.
        assert!(gap_max < 25 * len / 100_000, "a gap of {gap_max}");
    }
}

#[test]
fn another_key_or_another_length_gives_another_order() {
    for len in [1_000, 100_000] {
        let base = Permutation::new(len, key(1));
        let (rekeyed, longer) = (Permutation::new(len, key(2)), Permutation::new(len + 1, key(1)));
        let fixed = |other: &Permutation| (0..len).filter(|&i| base.forward(i) == other.forward(i)).count();
        assert!(fixed(&rekeyed) < 10 && fixed(&longer) < 10);
    }
}

#[test]
#[should_panic(expected = "element 10 of a permutation of 10")]
fn an_element_behind_the_end_is_refused() {
    Permutation::new(10, key(1)).forward(10);
}

#[test]
#[should_panic(expected = "place 100000 of a permutation of 100000")]
fn a_place_behind_the_end_is_refused() {
    Permutation::new(100_000, key(1)).inverse(100_000);
}

/// How far `counts` over equally likely cells lie from even, in standard deviations of a chi-square with `df`
/// degrees of freedom (Wilson & Hilferty 1931).
fn chi_square_z(counts: &[u32], statistic_factor: f64, df: f64) -> f64 {
    let total: u32 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    let statistic: f64 = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
    let spread = 2.0 / (9.0 * df);
    ((statistic * statistic_factor / df).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// The worst z of: which value stands at which place; which values stand at each pair of places; which of the
/// `len!` orders came, where those are few.
fn chi_squares(len: usize, order: impl Fn(u64, u64) -> Vec<u64>) -> [f64; 3] {
    let mut cells = vec![0; len * len];
    let mut pairs = vec![vec![0; len * (len - 1)]; len * (len - 1) / 2];
    let mut orders = vec![0; if len <= 6 { (1..=len).product() } else { 0 }];
    for seed in 0..SEEDS {
        let order = order(len as u64, seed);
        let mut pair_index = 0;
        for i in 0..len {
            cells[i * len + order[i] as usize] += 1;
            for j in i + 1..len {
                let (first, second) = (order[i] as usize, order[j] as usize);
                pairs[pair_index][first * (len - 1) + second - usize::from(second > first)] += 1;
                pair_index += 1;
            }
        }
        if !orders.is_empty() {
            orders[rank_of(&order)] += 1;
        }
    }
    // Rows and columns of the permutation matrices sum to one, hence (len - 1)^2 and the factor (len - 1) / len.
    let df = ((len - 1) * (len - 1)) as f64;
    let cells_z = chi_square_z(&cells, (len - 1) as f64 / len as f64, df);
    let pairs_z = pairs.iter().map(|counts| chi_square_z(counts, 1.0, counts.len() as f64 - 1.0));
    let orders_z =
        if orders.is_empty() { 0.0 } else { chi_square_z(&orders, 1.0, orders.len() as f64 - 1.0) };
    [cells_z, pairs_z.fold(f64::MIN, f64::max), orders_z]
}

/// The place of an order among all orders of its length, by its Lehmer code.
fn rank_of(order: &[u64]) -> usize {
    (0..order.len()).fold(0, |rank, i| {
        rank * (order.len() - i) + order[i + 1..].iter().filter(|&&later| later < order[i]).count()
    })
}

#[test]
fn places_pairs_and_whole_orders_are_as_even_as_fisher_yates_over_10_000_seeds() {
    for len in [5, 6, 7, 8, 11, 16, 24] {
        let (ours, peer) = (chi_squares(len, feistel::<12>), chi_squares(len, fisher_yates));
        println!(
            "length {len}: worst z of places, pairs, orders: feistel {ours:.2?}, fisher-yates {peer:.2?}"
        );
        assert!(ours.iter().chain(&peer).all(|&z| z < Z_MAX), "length {len}: {ours:?}, {peer:?}");
    }
}

#[test]
fn a_feistel_of_fewer_rounds_fails_the_chi_square_so_the_test_can_fail() {
    for len in 5..=8 {
        let fewer = [
            chi_squares(len, feistel::<2>),
            chi_squares(len, feistel::<4>),
            chi_squares(len, feistel::<6>),
            chi_squares(len, feistel::<8>),
        ];
        println!("length {len}: 2, 4, 6, 8 rounds {fewer:.1?}");
        assert!(fewer.iter().all(|zs| zs.iter().any(|&z| z > Z_MAX)), "length {len}: {fewer:?}");
    }
}

/// The circular lag-1 correlation of an order; its mean over all orders of `len` elements is `-1 / (len - 1)`.
fn serial_correlation(order: &[u64]) -> f64 {
    let mean = (order.len() - 1) as f64 / 2.0;
    let next = order[1..].iter().chain(&order[..1]);
    let covariance: f64 = order.iter().zip(next).map(|(&a, &b)| (a as f64 - mean) * (b as f64 - mean)).sum();
    let variance: f64 = order.iter().map(|&a| (a as f64 - mean).powi(2)).sum();
    covariance / variance
}

/// Mean and variance over the seeds, the mean as its distance from theory in standard errors.
fn correlations(len: u64, order: impl Fn(u64, u64) -> Vec<u64>) -> (f64, f64) {
    let values: Vec<f64> = (0..SEEDS).map(|seed| serial_correlation(&order(len, seed))).collect();
    let mean = values.iter().sum::<f64>() / SEEDS as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64;
    ((mean + 1.0 / (len - 1) as f64) / (variance / SEEDS as f64).sqrt(), variance)
}

#[test]
fn serial_correlation_sits_with_fisher_yates_over_10_000_seeds() {
    let len = 1000;
    let (ours, peer) = (correlations(len, feistel::<12>), correlations(len, fisher_yates));
    println!("mean's z, variance: feistel {ours:.6?}, fisher-yates {peer:.6?}");
    assert!(ours.0.abs() < Z_MAX && peer.0.abs() < Z_MAX, "{ours:?}, {peer:?}");
    // The ratio of two variances over 10,000 seeds has a standard deviation of 2 %.
    assert!((ours.1 / peer.1 - 1.0).abs() < 0.1, "{ours:?}, {peer:?}");
}

#[test]
fn steps_between_neighbours_are_even_where_no_table_is_used() {
    // 100 keys of 100,000 elements: the step from each place to the next, in 1000 classes.
    let (len, classes) = (100_000, 1000);
    let steps = |order: &dyn Fn(u64, u64) -> Vec<u64>| {
        let mut counts = vec![0; classes as usize];
        for seed in 0..100 {
            for pair in order(len, seed).windows(2) {
                counts[((pair[1] + len - pair[0]) % len * classes / len) as usize] += 1;
            }
        }
        chi_square_z(&counts, 1.0, (classes - 1) as f64)
    };
    let (twelve, two) = (steps(&feistel::<12>), steps(&feistel::<2>));
    println!("steps' z: 12 rounds {twelve:.2}, 2 rounds {two:.2}");
    assert!(twelve.abs() < Z_MAX, "{twelve}");
    assert!(two > Z_MAX, "{two}: the test cannot fail");
}
