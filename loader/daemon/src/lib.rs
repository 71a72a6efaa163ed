//! forebay: daemon.

pub mod decode;
pub mod transform;
