//! Journals of listings that were stopped.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::stored::listing(input);
});
