//! Parquet lists.
#![no_main]

use std::panic;

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: {
        // The parser's own panics are caught and become errors, so they must not end the process as others do.
        let ends_the_process = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let ours = panic.location().is_none_or(|at| at.file().contains("loader/"));
            if ours {
                ends_the_process(panic);
            }
        }));
    },
    |input: &[u8]| {
        forebay_fuzz::lists::parquet(input);
    }
);
