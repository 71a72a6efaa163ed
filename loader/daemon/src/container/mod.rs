//! Where samples lie inside of files that hold many: a file is walked once, by its headers, and its samples are then read
//! by extent, in any order.
//!
//! A walker reads headers through a [`Window`], never the samples' bytes, takes nothing of what it finds on trust, and
//! refuses what cannot be read by extent (compressed, sparse, cut) instead of leaving it out.

mod error;
mod example;
pub mod parquet;
pub mod tar;
pub mod tfrecord;
pub mod webdataset;
mod window;

pub use error::ContainerError;
pub use example::{Example, Feature};
pub use window::{ReadAt, Window};
