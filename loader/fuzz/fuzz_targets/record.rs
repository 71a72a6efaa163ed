//! Binary records of a session's socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::records::record(input);
});
