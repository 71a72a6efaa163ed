//! The kernel's files about this process.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::kernel::kernel(input);
});
