//! forebay/v1.
