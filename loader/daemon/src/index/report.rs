//! What indexing came to, in words and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::measure::Measured;
use crate::catalog::dataset::{Grown, Manifest};
use crate::catalog::{Found, Resumed};

/// What there is to say.
pub struct Report {
    place: String,
    grown: Grown,
    empty_classes: Vec<String>,
    seconds: f64,
    /// The label of the first new class.
    first_label: usize,
    measured: Option<Measured>,
    listed: Option<Resumed>,
}

impl Report {
    /// * `seconds`: what looking for samples took.
    pub fn new(place: String, found: &Found, grown: Grown, seconds: f64) -> Self {
        let first_label = grown.manifest.classes.len() - grown.new_classes.len();
        Self {
            place,
            first_label,
            grown,
            empty_classes: found.empty_classes.clone(),
            seconds,
            measured: None,
            listed: None,
        }
    }

    /// The newest commit.
    pub fn manifest(&self) -> &Manifest {
        &self.grown.manifest
    }

    /// Adds what was measured, and the commit that it led to.
    pub fn measured(&mut self, (manifest, measured): (Manifest, Measured)) {
        self.grown.committed |= manifest.number > self.grown.manifest.number;
        self.grown.manifest = manifest;
        self.measured = Some(measured);
    }

    /// Adds what a listing that was stopped had read already.
    pub fn listed(&mut self, resumed: Resumed) {
        self.listed = Some(resumed);
    }

    /// For people.
    pub fn text(&self) -> String {
        let (grown, counts) = (&self.grown, &self.grown.counts);
        let rate = counts.found as f64 / self.seconds.max(1e-3);
        let mut text = format!("{} samples found in {:.1} s, {rate:.0}/s: ", counts.found, self.seconds);
        let _ = write!(text, "{} added, {} known", counts.added, counts.known);
        let told = [
            (counts.removed_before, "removed before"),
            (counts.repeated, "repeated"),
            (counts.pruned, "pruned"),
        ];
        for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
            let _ = write!(text, ", {count} {what}");
        }
        text.push('\n');
        if let Some(Resumed { directories, samples, .. }) =
            self.listed.filter(|listed| listed.directories > 0)
        {
            let _ = writeln!(
                text,
                "went on from a listing that was stopped: {directories} directories with {samples} samples were known"
            );
        }
        if !grown.new_classes.is_empty() {
            let _ = writeln!(
                text,
                "new classes, from label {} on: {}",
                self.first_label,
                some(&grown.new_classes, grown.new_classes.len())
            );
        }
        if !self.empty_classes.is_empty() {
            let names = some(&self.empty_classes, self.empty_classes.len());
            let _ = writeln!(text, "class folders without a sample: {names}");
        }
        let gone = counts.missing.unwrap_or(0) as usize;
        if gone > 0 {
            let what = if counts.pruned > 0 { "gone, removed now" } else { "gone, still in the data set" };
            let _ = writeln!(text, "{gone} {what}: {}", some(&grown.gone, gone));
        }
        if gone > 0 && counts.pruned == 0 {
            text.push_str("reading them will fail; --prune removes them for good\n");
        }
        if let Some(measured) = &self.measured {
            tell_measured(&mut text, measured);
        }
        let (number, live) = (grown.manifest.number, &self.place);
        let _ = if grown.committed {
            writeln!(text, "commit {number} of {live}")
        } else {
            writeln!(text, "nothing is new: {live} stays at commit {number}")
        };
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "dataset": self.place,
            "commit": self.grown.manifest.number,
            "committed": self.grown.committed,
            "counts": self.grown.counts,
            "classes": self.grown.manifest.classes.len(),
            "new_classes": self.grown.new_classes,
            "empty_classes": self.empty_classes,
            "gone": self.grown.gone,
            "seconds": self.seconds,
            "listing": self.listed,
            "measured": self.measured,
        })
    }
}

fn tell_measured(text: &mut String, measured: &Measured) {
    let Measured { read: now, known, unreadable, seconds, some_unreadable } = measured;
    let rate = (now + unreadable) as f64 / seconds.max(1e-3);
    let _ = writeln!(
        text,
        "{now} measured in {seconds:.1} s, {rate:.0}/s; {known} before; {unreadable} unreadable"
    );
    for (key, why) in some_unreadable.iter().take(SHOWN) {
        let _ = writeln!(text, "  {key}: {why}");
    }
    if *unreadable > SHOWN as u64 {
        let _ = writeln!(
            text,
            "  and {} more: --json names {}",
            unreadable - SHOWN as u64,
            some_unreadable.len()
        );
    }
}

const SHOWN: usize = 10;

/// The first names, and how many more there are.
fn some(names: &[String], all: usize) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if all > SHOWN { format!("{shown} and {} more", all - SHOWN) } else { shown }
}
