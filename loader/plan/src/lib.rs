//! forebay: plan.
