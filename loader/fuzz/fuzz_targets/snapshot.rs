//! Stored snapshots.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: forebay_fuzz::spare_caught_panics(),
    |input: &[u8]| {
        forebay_fuzz::stored::snapshot(input);
    }
);
