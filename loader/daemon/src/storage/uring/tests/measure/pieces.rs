//! Do long reads come sooner in pieces? What the length of a piece and their number in flight rest on (`uring/pieces.rs`).
//!
//! Run with `cargo test --release -p forebay --lib measure::pieces -- --ignored --nocapture`; FOREBAY_MEASURE_DIR names a
//! folder on the disk in question.

use super::super::super::pieces::Cut;
use super::*;

const FILE_BYTES: u64 = 256 << 20;
const ROUNDS: usize = 20;
const LONG: Cut = Cut { piece_bytes: 4 << 20, at_once: 1 };
/// Beside one step of 4 MiB after the other.
const CUTS: [Cut; 5] = [
    LONG,
    Cut { piece_bytes: 512 << 10, at_once: 8 },
    Cut { piece_bytes: 1 << 20, at_once: 4 },
    Cut { piece_bytes: 1 << 20, at_once: 8 },
    Cut { piece_bytes: 2 << 20, at_once: 4 },
];

/// Members of a file, so many in flight, read once in an order that visits each.
struct Load<'a> {
    root: &'a Arc<Root>,
    member_bytes: u64,
    in_flight: u64,
    direct: DirectReads,
}

/// Bytes a second, in MB, and microseconds of processor time a MB.
fn rate(load: &Load<'_>, cut: Cut) -> (f64, f64) {
    let (sender, done) = flume::unbounded();
    let engine = one_ring(options(1, DEPTH, load.direct), &sender, |ring| ring.cut = cut);
    let count = FILE_BYTES / load.member_bytes;
    let read = |number: u64| {
        let extent = Some((number * 37 % count * load.member_bytes, load.member_bytes));
        Read { extent, limit_bytes: u64::MAX, ..read_of(load.root, "large", number) }
    };
    let (start, cpu_us) = (Instant::now(), sys::cpu_us());
    (0..load.in_flight).for_each(|number| engine.submit(read(number)));
    for number in load.in_flight..count + load.in_flight {
        let back = done.recv().unwrap();
        back.result.unwrap();
        if number < count {
            let Read { buf, .. } = back.read;
            let mut next = read(number);
            next.buf = ReadBuf { path: next.buf.path, ..buf };
            engine.submit(next);
        }
    }
    let (seconds, megabytes) = (start.elapsed().as_secs_f64(), (count * load.member_bytes) as f64 / 1e6);
    (megabytes / seconds, (sys::cpu_us() - cpu_us) as f64 / megabytes)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All cuts in turns, each beside the first one of its round.
fn in_turns(what: &str, load: &Load<'_>, before: &dyn Fn()) {
    let mut rates = [const { Vec::new() }; CUTS.len()];
    let mut cpu_us = [const { Vec::new() }; CUTS.len()];
    for round in 0..ROUNDS {
        for index in (0..CUTS.len()).map(|turn| (turn + round) % CUTS.len()) {
            before();
            let (rate, cpu) = rate(load, CUTS[index]);
            rates[index].push(rate);
            cpu_us[index].push(cpu);
        }
    }
    println!("{what}, {} MB, {} in flight", load.member_bytes as f64 / 1e6, load.in_flight);
    for (index, Cut { piece_bytes, at_once }) in CUTS.iter().enumerate() {
        let mut ratios: Vec<_> =
            rates[index].iter().zip(&rates[0]).map(|(one, serial)| one / serial).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "  {:>5} KiB x {at_once} {:>6.0} MB/s {:>5.0} us/MB  {:.2} of serial, half of them {:.2} to {:.2}",
            piece_bytes >> 10,
            median(&rates[index]),
            median(&cpu_us[index]),
            median(&ratios),
            ratios[ROUNDS / 4],
            ratios[ROUNDS * 3 / 4],
        );
    }
}

#[test]
#[ignore = "writes a file of 256 MiB, and is no test"]
fn do_long_reads_come_sooner_in_pieces() {
    let place = std::env::var("FOREBAY_MEASURE_DIR").unwrap_or_else(|_| ".".to_owned());
    let dir = tempfile::tempdir_in(place).unwrap();
    let path = dir.path().join("large");
    let content: Vec<u8> = (0..1 << 20).map(|at| (at * at % 251) as u8).collect();
    let mut large = File::create(&path).unwrap();
    (0..FILE_BYTES >> 20).for_each(|_| large.write_all(&content).unwrap());
    large.sync_all().unwrap();
    let root = Root::open(dir.path()).unwrap();
    for member_bytes in [4_000_256, 12_000_256] {
        for in_flight in [1, 2, 8] {
            let load = |direct| Load { root: &root, member_bytes, in_flight, direct };
            in_turns("cold", &load(Never), &|| forget(&path));
            in_turns("past the page cache", &load(Always), &|| forget(&path));
            fs::read(&path).unwrap();
            in_turns("warm", &load(Never), &|| ());
        }
    }
}
