//! forebay: daemon.

pub mod catalog;
pub mod storage;
