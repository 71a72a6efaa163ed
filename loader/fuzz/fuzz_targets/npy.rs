//! Files of one array, as numpy saves them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::arrays::npy(input);
});
