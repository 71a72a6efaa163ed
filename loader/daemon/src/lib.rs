//! The loader service: everything with an effect. `ARCHITECTURE.md` tells where things are.

pub mod args;
pub mod bench;
mod buffer;
pub mod catalog;
pub mod cgroup;
pub mod config;
pub mod decode;
pub mod delivery;
pub mod error;
pub mod job;
mod listen;
pub mod metrics;
pub mod mounts;
pub mod operate;
pub mod prefetch;
pub mod progress;
pub mod run;
pub mod server;
pub mod session;
pub mod storage;
pub mod synth;
pub mod sys;
pub mod transform;
pub mod workers;
