//! Files that may hold a saved state.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::states::state_file(input);
});
