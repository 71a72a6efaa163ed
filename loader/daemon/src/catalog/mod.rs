//! Finds samples and links their labels.
