//! What does one step of the plan cost? Prints nanoseconds at 10^3, 2^16 (the longest table), 10^6, 10^9 and 10^10 rows.
//!
//! `cargo run --release -p forebay-plan --example plan_cost`

use std::hint::black_box;
use std::time::Instant;

use forebay_plan::{
    Cursor, Cut, EpochPrf, OrderSpec, Partition, PlanError, Purpose, SampleId, Sampler, Tail,
};

/// Nanoseconds a call, the best of five runs: the least disturbed by what else the machine does.
fn ns_per_call<T>(call: impl FnMut(u64) -> T) -> f64 {
    ns_per_call_of(2_000_000, call)
}

fn ns_per_call_of<T>(calls: u64, mut call: impl FnMut(u64) -> T) -> f64 {
    let mut run = |_| {
        let start = Instant::now();
        for i in 0..calls {
            black_box(call(black_box(i)));
        }
        start.elapsed().as_secs_f64() * 1e9 / calls as f64
    };
    (0..5).map(&mut run).fold(f64::MAX, f64::min)
}

fn main() -> Result<(), PlanError> {
    println!("nanoseconds a call, back to back unless in a chain; the last column is microseconds");
    println!("rows          batch_at  row+sample  in a chain  position  substitute   new epoch");
    for rows in [1_000, 65_536, 1_000_000, 1_000_000_000, 10_000_000_000] {
        print_costs(OrderSpec::new(Sampler::Shuffled, 42, rows)?)?;
    }
    let prf = EpochPrf::new(42, Purpose::Augment, 0);
    let draw = ns_per_call(|i| prf.draw(i, 0, 0));
    let rng = ns_per_call(|i| prf.rng(i, 0, 0).next_u64());
    println!("a draw {draw:.1}, a row's generator with its first number {rng:.1}");
    Ok(())
}

fn print_costs(spec: OrderSpec) -> Result<(), PlanError> {
    let rows = spec.rows;
    let epoch_us = ns_per_call_of(200, |i| spec.epoch(i)) / 1e3;
    let order = spec.epoch(0);
    let cut = Cut::new(rows, Partition::new(3, 8)?, 256, Tail::Pad)?;
    // Positions jump over the whole epoch, so that no part of it is favoured; finding the next costs 1 to 8 ns.
    let at = |i: u64| i.wrapping_mul(7_919_777_777) % rows;
    let plan = ns_per_call(|i| cut.batch_at(Cursor { epoch: 0, position: at(i) }));
    let batch = cut.batch_at(Cursor { epoch: 0, position: rows / 2 }).expect("the epoch has a step");
    let row = ns_per_call(|i| order.sample(batch.row((i % 256) as u32).position));
    let mut last = 0;
    let chain = ns_per_call(|_| {
        last = order.sample(last).0;
        last
    });
    let position = ns_per_call(|i| order.position(SampleId(at(i))));
    let substitute = ns_per_call(|i| order.substitute(at(i), 1));
    println!(
        "{rows:<12} {plan:>9.1} {row:>11.1} {chain:>11.1} {position:>9.1} {substitute:>11.1} {epoch_us:>11.1}"
    );
    Ok(())
}
