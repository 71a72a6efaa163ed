//! What must hold of every parser, whatever bytes it is given: one function a fuzz target.
//!
//! Each takes an input, panics where a promise is broken, and says whether the parser accepted it. `fuzz_targets/` hands
//! them to libFuzzer; `loader/daemon/tests/seeds.rs` replays every seed with the compiler of the gate.

pub mod calls;
pub mod config;
pub mod images;
pub mod kernel;
pub mod lists;
pub mod records;
pub mod requests;
pub mod specs;
pub mod states;

/// Parses an input and checks what was promised of it; whether it was accepted.
pub type Check = fn(&[u8]) -> bool;

/// Every target: its name, which its seeds' folder and its binary share, and what it checks.
pub const TARGETS: [(&str, Check); 12] = [
    ("calls", calls::calls),
    ("config", config::config),
    ("csv", lists::csv),
    ("jpeg", images::jpeg),
    ("jsonl", lists::jsonl),
    ("kernel", kernel::kernel),
    ("parquet", lists::parquet),
    ("png", images::png),
    ("record", records::record),
    ("spec", specs::spec),
    ("state", states::state),
    ("state_file", states::state_file),
];

/// Parts of an input that holds several things: 0xFF stands in no text.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = input.splitn(N, |byte| *byte == 0xFF);
    [(); N].map(|()| parts.next().unwrap_or_default())
}
