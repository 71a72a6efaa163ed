//! forebay: daemon.

mod buffer;
pub mod decode;
pub mod transform;
