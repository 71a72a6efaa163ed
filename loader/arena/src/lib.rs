//! forebay: arena.
