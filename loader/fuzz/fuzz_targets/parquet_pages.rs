//! Pages of a Parquet column.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::pages::pages(input);
});
