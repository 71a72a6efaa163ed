//! JSON Lines lists and records.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::lists::jsonl(input);
});
