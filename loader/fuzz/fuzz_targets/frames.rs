//! Texts that name the frames of a clip.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    forebay_fuzz::frames::frames(input);
});
