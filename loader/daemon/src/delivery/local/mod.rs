//! The local wire (`docs/wire.md`): one socket for control, one more a session for batches.

pub mod client;
pub mod control;
pub mod record;
pub mod socket;
mod stream;
