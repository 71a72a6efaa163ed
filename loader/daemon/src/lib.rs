//! forebay: daemon.

pub mod synth;
