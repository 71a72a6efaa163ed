//! How finished batches leave the daemon: records and a memfd on a local socket.

pub mod local;
