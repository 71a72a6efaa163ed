//! What must hold of every parser, whatever bytes it is given: one function a fuzz target.
//!
//! Each takes an input, panics where a promise is broken, and says whether the parser accepted it. `fuzz_targets/` hands
//! them to libFuzzer; `loader/daemon/tests/seeds.rs` replays every seed with the compiler of the gate.

use std::panic;

pub mod arrays;
pub mod calls;
pub mod config;
pub mod frames;
pub mod images;
pub mod kernel;
pub mod lists;
pub mod pages;
pub mod records;
pub mod requests;
pub mod sets;
pub mod shards;
pub mod specs;
pub mod states;
pub mod stored;

/// Parses an input and checks what was promised of it; whether it was accepted.
pub type Check = fn(&[u8]) -> bool;

/// Every target: its name, which its seeds' folder and its binary share, and what it checks.
pub const TARGETS: [(&str, Check); 24] = [
    ("calls", calls::calls),
    ("config", config::config),
    ("csv", lists::csv),
    ("filter", sets::filter),
    ("frames", frames::frames),
    ("jpeg", images::jpeg),
    ("jsonl", lists::jsonl),
    ("kernel", kernel::kernel),
    ("ledger", stored::ledger),
    ("listing", stored::listing),
    ("manifest", sets::manifest),
    ("npy", arrays::npy),
    ("npz", arrays::npz),
    ("parquet", lists::parquet),
    ("parquet_pages", pages::pages),
    ("pin", stored::pin),
    ("png", images::png),
    ("record", records::record),
    ("snapshot", stored::snapshot),
    ("spec", specs::spec),
    ("state", states::state),
    ("state_file", states::state_file),
    ("tar", shards::tar),
    ("tfrecord", shards::tfrecord),
];

/// Parts of an input that holds several things: 0xFF stands in no text.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = input.splitn(N, |byte| *byte == 0xFF);
    [(); N].map(|()| parts.next().unwrap_or_default())
}

/// Lets the Parquet parser panic, which its callers catch and turn into errors; any other panic still ends the process.
pub fn spare_caught_panics() {
    let ends_the_process = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|at| at.file().contains("loader/")) {
            ends_the_process(panic);
        }
    }));
}
