//! What does one row of a mixed, weighted, explicit or packed order cost? Prints nanoseconds a row.
//!
//! `cargo run --release -p forebay-plan --example order_cost`

use std::hint::black_box;
use std::time::Instant;

use forebay_plan::orders::{
    EpochLength, Explicit, List, Mixture, MixtureSpec, Order, OrderError, Phase, Source, Weighted,
};
use forebay_plan::{OrderSpec, Sampler};

const ROWS: u64 = 1 << 30;

/// Nanoseconds a call, the best of 25 short runs: the least disturbed by what else the machine does.
fn ns_per_call<T>(calls: u64, mut call: impl FnMut(u64) -> T) -> f64 {
    let mut run = |round| {
        let start = Instant::now();
        for i in round * calls..(round + 1) * calls {
            black_box(call(black_box(i)));
        }
        start.elapsed().as_secs_f64() * 1e9 / calls as f64
    };
    (0..25).map(&mut run).fold(f64::MAX, f64::min)
}

/// A place somewhere in the epoch, another one each time.
fn anywhere(i: u64, rows: u64) -> u64 {
    i.wrapping_mul(7_919_777_777) % rows
}

fn main() -> Result<(), OrderError> {
    println!("nanoseconds a row of an epoch of {ROWS} rows, back to back\n");
    println!("order                          in turn    anywhere");
    print_row("shuffled, the yardstick", &Order::Single(OrderSpec::new(Sampler::Shuffled, 42, ROWS)?));
    for sources in [2, 100, 1000, 10_000] {
        print_row(&format!("mixture of {sources}"), &mixture(sources, 1_000_000, Sampler::Shuffled)?);
    }
    print_row("mixture of 1000, 1000 rows each", &mixture(1000, 1000, Sampler::Shuffled)?);
    print_row("mixture of 2, sequential", &mixture(2, 1_000_000, Sampler::Sequential)?);
    for samples in [10_000, 10_000_000] {
        let weights: Vec<f64> = (0..samples).map(|i| 1.0 + (i % 1000) as f64).collect();
        print_row(
            &format!("weighted, {samples} samples"),
            &Order::Weighted(Weighted::new(42, &weights, ROWS)?),
        );
    }
    let list: Vec<u64> = (0..10_000_000).map(|i| anywhere(i, 10_000_000)).collect();
    print_row("explicit, 10000000 rows", &Order::Explicit(Explicit::new(42, ROWS, vec![List::new(&list)])?));
    Ok(())
}

fn print_row(name: &str, order: &Order) {
    let (picks, rows) = (order.epoch(3), order.rows(3));
    let mut walker = picks.walker();
    // In turn from a place in the middle, as a batch does; the walker is the caller's own.
    let in_turn = ns_per_call(1 << 16, |i| walker.pick((rows / 2 + i) % rows));
    let seek = ns_per_call(1 << 13, |i| picks.pick(anywhere(i, rows)));
    println!("{name:<32} {in_turn:>6.1} {seek:>11.1}");
}

/// Weights that differ by up to a thousand times.
fn mixture(sources: u64, rows: u64, sampler: Sampler) -> Result<Order, OrderError> {
    let weights = (0..sources).map(|i| 1000.0 / (1 + i % 1000) as f64).collect();
    let phases = vec![Phase { from_row: 0, weights }];
    let sources = (0..sources).map(|i| Source { rows: rows + i, sampler }).collect();
    let spec = MixtureSpec { seed: 42, sources, phases, epoch: EpochLength::Rows(ROWS) };
    Ok(Order::Mixture(Mixture::new(&spec)?))
}
