//! What does one row of a mixed, weighted, explicit or packed order cost? Prints nanoseconds a row.
//!
//! `cargo run --release -p forebay-plan --example order_cost`

use std::hint::black_box;
use std::time::Instant;

use forebay_plan::orders::{
    EpochLength, Explicit, List, Mixture, MixtureSpec, Order, OrderError, Phase, Pick, Source, Weighted,
};
use forebay_plan::windows::{Compose, Grouping, Long, WINDOW_ROWS, Window, WindowSpec, Windowed};
use forebay_plan::{Digest, OrderSpec, Sampler};

const ROWS: u64 = 1 << 30;
const DOCUMENTS: u64 = 1 << 20;

/// Nanoseconds a call, the best of many short runs: the least disturbed by what else the machine does.
fn ns_per_call<T>(rounds: u64, calls: u64, mut call: impl FnMut(u64) -> T) -> f64 {
    let mut run = |round| {
        let start = Instant::now();
        for i in round * calls..(round + 1) * calls {
            black_box(call(black_box(i)));
        }
        start.elapsed().as_secs_f64() * 1e9 / calls as f64
    };
    (0..rounds).map(&mut run).fold(f64::MAX, f64::min)
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

    println!("\nnanoseconds a document, {DOCUMENTS} shuffled ones in windows of {WINDOW_ROWS}\n");
    println!("order                           table      window   row found     rows      full");
    let (packed, long) = (8192, Long::Split);
    print_windows("packed into 8192", Grouping::Packed { capacity: packed, long, documents_max: u32::MAX })?;
    print_windows(
        "packed into 131072",
        Grouping::Packed { capacity: 131_072, long, documents_max: u32::MAX },
    )?;
    print_windows("budgeted, 65536 tokens", Grouping::Budgeted { tokens: 65_536, samples_max: 1024 })?;
    print_windows("bucketed, batches of 256", Grouping::Bucketed { batch_rows: 256 })?;
    Ok(())
}

/// Lengths as of web text: many short documents, few long ones, 1 to 32,767 tokens.
fn document_tokens(pick: Pick) -> u32 {
    let bits = pick.sample.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
    (1u64 << (bits % 15)) as u32 + (bits >> 20) as u32 % (1 << (bits % 15))
}

fn print_windows(name: &str, grouping: Grouping) -> Result<(), OrderError> {
    let order = Order::Single(OrderSpec::new(Sampler::Shuffled, 42, DOCUMENTS)?);
    let spec = WindowSpec { window_rows: WINDOW_ROWS, grouping, compose: Compose::Once, shuffle: true };
    let of = Windowed::new(order, spec, Digest::from_bytes([0; 32]))?;
    let table_ns = ns_per_call(9, 1, |_| of.table(0, document_tokens)) / DOCUMENTS as f64;
    let epoch = of.epoch(1, &of.table(0, document_tokens)?)?;
    let window_ns = ns_per_call(9, 1, |i| epoch.window(i % 15, document_tokens)) / WINDOW_ROWS as f64;
    let window = epoch.window(0, document_tokens)?;
    let (first, rows) = (window.rows().start, window.rows().end - window.rows().start);
    let found = ns_per_call(50, 1 << 12, |i| {
        epoch.window_of(anywhere(i, epoch.rows())) + window.row(first + i % rows).tokens()
    });
    let full = 100.0 * filled(&window, grouping);
    println!("{name:<28} {table_ns:>8.1} {window_ns:>11.1} {found:>11.1} {:>8} {full:>7.2} %", epoch.rows());
    Ok(())
}

fn print_row(name: &str, order: &Order) {
    let (picks, rows) = (order.epoch(3), order.rows(3));
    let mut walker = picks.walker();
    // In turn from a place in the middle, as a batch does; the walker is the caller's own.
    let in_turn = ns_per_call(300, 1 << 13, |i| walker.pick((rows / 2 + i) % rows));
    let seek = ns_per_call(100, 1 << 11, |i| picks.pick(anywhere(i, rows)));
    println!("{name:<32} {in_turn:>6.1} {seek:>11.1}");
}

/// The part of a window's memory that holds tokens: of its rows' capacity, or of its batches padded to the longest.
fn filled(window: &Window, grouping: Grouping) -> f64 {
    let parts: Vec<Vec<u32>> =
        window.rows().map(|row| window.row(row).parts().map(|part| part.len).collect()).collect();
    let padded = |lens: &[u32]| lens.len() as u64 * *lens.iter().max().expect("no row is empty") as u64;
    let tokens: u64 = parts.iter().flatten().map(|&len| len as u64).sum();
    let room: u64 = match grouping {
        Grouping::Packed { capacity, .. } => parts.len() as u64 * capacity as u64,
        Grouping::Budgeted { .. } => parts.iter().map(|row| padded(row)).sum(),
        Grouping::Bucketed { batch_rows } => {
            parts.chunks(batch_rows as usize).map(|batch| padded(&batch.concat())).sum()
        }
    };
    tokens as f64 / room as f64
}

/// Weights that differ by up to a thousand times.
fn mixture(sources: u64, rows: u64, sampler: Sampler) -> Result<Order, OrderError> {
    let weights = (0..sources).map(|i| 1000.0 / (1 + i % 1000) as f64).collect();
    let phases = vec![Phase { from_row: 0, weights }];
    let sources = (0..sources).map(|i| Source { rows: rows + i, sampler }).collect();
    let spec = MixtureSpec { seed: 42, sources, phases, epoch: EpochLength::Rows(ROWS) };
    Ok(Order::Mixture(Mixture::new(&spec)?))
}
