//! What was copied, in words and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{BLAKE3, NAMED};
use crate::dataset::common::counted;

/// What was done.
pub struct Report {
    pub files: usize,
    pub copied: u64,
    pub copied_bytes: u64,
    pub known: u64,
    pub replaced: u64,
    pub passed_over: Vec<String>,
    pub seconds: f64,
    /// What `forebay index` said.
    pub index: Option<String>,
    /// Checksums that were kept.
    pub checksums: Option<u64>,
    /// What was held against what.
    pub verified: Option<&'static str>,
    /// The target, where it is a bucket, and its data set.
    pub bucket: Option<(String, Option<String>)>,
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let rate = self.copied_bytes as f64 / 1e9 / self.seconds.max(1e-3);
        let mut out = format!(
            "{}: {} copied, {} known; {:.3} GB in {:.1} s, {rate:.2} GB/s\n",
            counted(self.files as u64, "file"),
            self.copied,
            self.known,
            self.copied_bytes as f64 / 1e9,
            self.seconds
        );
        if self.replaced > 0 {
            let _ = writeln!(out, "{} of them replaced what was there", self.replaced);
        }
        if !self.passed_over.is_empty() {
            let shown = self.passed_over.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "passed over, as no files: {}: {shown}", self.passed_over.len());
        }
        out += self.index.as_deref().unwrap_or("");
        if let Some(checksums) = self.checksums.filter(|count| *count > 0) {
            let _ = writeln!(out, "{} kept in the column {BLAKE3}", counted(checksums, "checksum"));
        }
        if let Some(verified) = self.verified.filter(|_| self.copied > 0) {
            let _ = writeln!(out, "verified: {verified}");
        }
        if let Some((target, place)) = &self.bucket {
            let mounted = place.as_ref().map(|place| {
                format!(
                    ", or mount the bucket and say where: forebay.Dataset(\"{place}\", root=\"/mnt/...\")"
                )
            });
            let _ = writeln!(
                out,
                "samples are read from folders as yet, not from a bucket: where you train, copy them in (forebay ingest \
                 {target} FOLDER){}",
                mounted.unwrap_or_default()
            );
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let index = self.index.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        json!({
            "files": self.files,
            "copied": self.copied,
            "copied_bytes": self.copied_bytes,
            "known": self.known,
            "replaced": self.replaced,
            "passed_over": self.passed_over,
            "seconds": self.seconds,
            "index": index,
            "checksums": self.checksums,
            "verified": self.verified,
            "readable": self.bucket.is_none(),
        })
    }
}
