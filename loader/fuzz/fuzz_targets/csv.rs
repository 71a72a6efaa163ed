//! CSV and TSV lists.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::lists::csv(input);
});
