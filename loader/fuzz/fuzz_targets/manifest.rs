//! A data set's commits.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::sets::manifest(input);
});
