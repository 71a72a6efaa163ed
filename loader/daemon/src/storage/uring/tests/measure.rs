//! What a read costs each engine, cold and warm: what the choice between them rests on (docs/decisions/0015-engines.md).
//!
//! Run with `cargo test --release -p forebay --lib measure:: -- --ignored --nocapture`; FOREBAY_MEASURE_DIR names a
//! folder on the disk in question.

mod pieces;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::storage::{ReadBuf, ThreadsEngine};
use crate::sys;

const READ_BYTES: u64 = 50 << 10;
const READS: u64 = 20_000;
const DEPTH: u32 = 128;

/// The order of reads: a step that is prime to their number visits each once.
fn shuffled() -> impl Iterator<Item = u64> {
    (0..READS).map(|number| number * 7919 % READS)
}

fn name(number: u64) -> String {
    format!("{:03}/{number}", number % 100)
}

fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Reads everything, `DEPTH` at a time, and prints the rate and the processor time.
fn pass(
    what: &str,
    engine: &dyn Engine<u64>,
    done: &flume::Receiver<Done<u64>>,
    read: &dyn Fn(u64) -> Read<u64>,
) {
    let (start, cpu_us) = (Instant::now(), sys::cpu_us());
    let mut spare: Vec<ReadBuf> = Vec::new();
    let mut order = shuffled();
    let (mut in_flight, mut bytes) = (0, 0);
    loop {
        while in_flight < DEPTH
            && let Some(number) = order.next()
        {
            let mut next = read(number);
            if let Some(mut buf) = spare.pop() {
                buf.set_path(&next.buf.path);
                next.buf = buf;
            }
            engine.submit(next);
            in_flight += 1;
        }
        if in_flight == 0 {
            break;
        }
        let back = done.recv().unwrap();
        back.result.unwrap();
        bytes += back.read.buf.bytes.len() as u64;
        spare.push(back.read.buf);
        in_flight -= 1;
    }
    assert_eq!(bytes, READS * READ_BYTES);
    let (seconds, cpu_us) = (start.elapsed().as_secs_f64(), sys::cpu_us() - cpu_us);
    println!(
        "{what:<44} {:>8.0} reads/s {:>6.1} us of processor a read",
        READS as f64 / seconds,
        cpu_us as f64 / READS as f64
    );
}

/// All engines in turns, three rounds, each cold and then warm.
fn measure(what: &str, cold: &dyn Fn(), read: &dyn Fn(u64) -> Read<u64>) {
    for round in 0..3 {
        for (name, threads, direct) in [
            ("threads 16", Some(16), Never),
            ("threads 64", Some(64), Never),
            ("uring", None, Never),
            ("uring, direct", None, Always),
        ] {
            let (sender, done) = flume::unbounded();
            let engine: Box<dyn Engine<u64>> = if let Some(threads) = threads {
                Box::new(ThreadsEngine::new(NonZeroUsize::new(threads).unwrap(), &sender).unwrap())
            } else {
                let (threads, depth) = (NonZeroUsize::MIN, NonZeroU32::new(DEPTH).unwrap());
                let rings = RingOptions { threads, depth, direct, page_cache_bytes: 0 };
                Box::new(UringEngine::new(rings, &sender).unwrap())
            };
            cold();
            pass(&format!("{what}, {name}, cold, round {round}"), &*engine, &done, read);
            pass(&format!("{what}, {name}, warm, round {round}"), &*engine, &done, read);
        }
    }
}

#[test]
#[ignore = "writes two gigabytes, and is no test"]
fn what_a_read_costs_each_engine() {
    let place = std::env::var("FOREBAY_MEASURE_DIR").unwrap_or_else(|_| ".".to_owned());
    let dir = tempfile::tempdir_in(place).unwrap();
    let content: Vec<u8> = (0..READ_BYTES).map(|at| (at % 251) as u8).collect();
    let mut large = File::create(dir.path().join("large")).unwrap();
    (0..100).for_each(|number| fs::create_dir(dir.path().join(format!("{number:03}"))).unwrap());
    for number in 0..READS {
        large.write_all(&content).unwrap();
        fs::write(dir.path().join(name(number)), &content).unwrap();
    }
    large.sync_all().unwrap();
    rustix::fs::syncfs(&large).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let forget_parts = || forget(&dir.path().join("large"));
    measure("part of a large file", &forget_parts, &|number| Read {
        extent: Some((number * READ_BYTES, READ_BYTES)),
        ..read_of(&root, "large", number)
    });
    let forget_files = || (0..READS).for_each(|number| forget(&dir.path().join(name(number))));
    measure("whole file", &forget_files, &|number| read_of(&root, &name(number), number));
}
