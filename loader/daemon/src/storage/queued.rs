//! A read in an engine's queue, and how it comes back.

use std::time::Instant;

use super::error::StorageError;
use super::{Done, Read};

/// A read that waits for its engine.
pub(super) struct Queued<T> {
    pub(super) read: Read<T>,
    submitted: Instant,
}

impl<T> Queued<T> {
    /// Of a read that is submitted now.
    pub(super) fn new(read: Read<T>) -> Self {
        Self { read, submitted: Instant::now() }
    }

    /// Why it is not read where its engine goes first.
    pub(super) fn shutdown(&self) -> StorageError {
        StorageError::Shutdown { path: self.read.root.display(&self.read.buf.path) }
    }

    /// As it comes back now, having been taken up at `taken`.
    pub(super) fn done(self, result: Result<(), StorageError>, taken: Instant) -> Done<T> {
        let Self { read, submitted } = self;
        let came_back = Instant::now();
        let (queue_wait, read_time) = (taken - submitted, came_back - taken);
        Done { read, result, queue_wait, read_time, came_back, together: 1 }
    }
}
