//! What counting costs a sample: the events of one, over and over on each thread, beside the same calls uncounted.
//!
//! `cargo run --release --example metrics_cost [THREADS]`. A sample is one read, two waits in queues, one decode.

use std::time::{Duration, Instant};

use forebay::metrics::{self, Queue};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

const SAMPLES: u32 = 1_000_000;
const ROUNDS: u32 = 5;

fn main() {
    let threads = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(1);
    let off_ns = (0..ROUNDS).map(|_| per_sample_ns(threads)).fold(f64::INFINITY, f64::min);
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &metrics::BUCKETS_SECONDS)
        .expect("there are buckets");
    let handle = builder.install_recorder().expect("the only recorder");
    metrics::register();
    let upkeep = handle.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(2));
            upkeep.run_upkeep();
        }
    });
    let on_ns = (0..ROUNDS).map(|_| per_sample_ns(threads)).fold(f64::INFINITY, f64::min);
    let started = Instant::now();
    let text = handle.render();
    let (bytes, scrape_ms) = (text.len(), started.elapsed().as_secs_f64() * 1e3);
    println!("{threads} threads, best of {ROUNDS}: {off_ns:.0} ns a sample uncounted, {on_ns:.0} ns counted");
    println!("a scrape behind {SAMPLES} samples: {bytes} bytes in {scrape_ms:.1} ms");
}

/// Wall time of a sample's events on each of `threads` threads at once.
fn per_sample_ns(threads: u32) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..SAMPLES).for_each(one_sample));
        }
    });
    started.elapsed().as_secs_f64() * 1e9 / f64::from(SAMPLES)
}

fn one_sample(number: u32) {
    let time = Duration::from_micros(u64::from(number % 1000));
    metrics::queued(Queue::Admission, time);
    metrics::read_done(50_000, time, time, false);
    metrics::queued(Queue::Decode, time);
    metrics::sample_made(time, time);
}
