//! What does a row cost that is hashed on its way to the slot, beside the copy alone? And a row of an order digest?
//!
//! `cargo run --release -p forebay-plan --example tally_cost`

use std::hint::black_box;
use std::time::Instant;

use forebay_plan::{ContentRow, OrderRow, RowPlace, RowSum};

/// A sample of 224 x 224 pixels in u8, and in f32.
const SAMPLE_BYTES: [usize; 2] = [224 * 224 * 3, 224 * 224 * 3 * 4];
/// Many short runs, of which the best is the least disturbed by what else the machine does.
const ROUNDS: usize = 200;

fn main() {
    for len in SAMPLE_BYTES {
        let (from, mut to) = (vec![7_u8; len], vec![0_u8; len]);
        let (mut copies, mut hashes) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            copies.push(per_row(20, |_| black_box(&mut to).copy_from_slice(black_box(&from))));
            hashes.push(per_row(20, |row| {
                let mut hash = ContentRow::new(RowPlace { position: row, nth: round as u32 }, true);
                hash.tensor(black_box(&from));
                black_box(hash.finish());
            }));
        }
        let (copy, hash) = (best(copies), best(hashes));
        println!(
            "{len} bytes a row: hash {hash:.1} us ({:.2} GB/s), copy {copy:.1} us",
            len as f64 / hash / 1e3
        );
    }
    let mut sum = RowSum::default();
    let mut digest = OrderRow::default();
    let rounds = (0..ROUNDS).map(|_| {
        per_row(2000, |row| {
            digest.begin(RowPlace { position: row, nth: 0 });
            digest.part(0, b"n01440764/n01440764_10026.JPEG", 0, 0);
            sum.add(digest.finish());
        })
    });
    let order = best(rounds.collect());
    println!(
        "an order digest: {:.0} ns a row, {:.1} million rows a second ({sum:.8})",
        order * 1e3,
        1.0 / order
    );
}

/// Microseconds.
fn per_row(rows: u64, mut work: impl FnMut(u64)) -> f64 {
    let started = Instant::now();
    (0..rows).for_each(&mut work);
    started.elapsed().as_secs_f64() * 1e6 / rows as f64
}

fn best(rounds: Vec<f64>) -> f64 {
    rounds.into_iter().fold(f64::MAX, f64::min)
}
