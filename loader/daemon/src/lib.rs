//! forebay: daemon.
