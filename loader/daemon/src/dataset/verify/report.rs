//! What a verification tells: counts, bad samples with their reasons, copies.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::check::Outcome;
use super::copies::Copies;
use super::work::Found;
use super::{CONTENT, VerifyArgs};
use crate::catalog::Table;
use crate::catalog::dataset::Manifest;
use crate::dataset::common::{commit_json, commit_text};
use crate::dataset::text::grouped;

/// Lines of a list that are printed; JSON has all of them.
const SHOWN: usize = 20;

/// Keys of a group of copies that are printed.
const KEYS_SHOWN: usize = 5;

/// Everything that was found.
#[derive(Default)]
pub(super) struct Report {
    place: String,
    samples: usize,
    sound: u64,
    known: u64,
    resumed: u64,
    without_files: u64,
    looked_at: u64,
    bytes: u64,
    seconds: f64,
    formats: BTreeMap<String, u64>,
    corrupt: Vec<(String, String)>,
    unavailable: Vec<(String, String)>,
    /// Samples whose bytes are not those that were verified before.
    changed: Vec<String>,
    /// Clips whose folders hold frames that the data set does not know, and which.
    gained: Vec<(String, String)>,
    copies: Option<Groups>,
    quarantines_copies: bool,
    commit: Option<Manifest>,
}

#[derive(Default)]
struct Groups {
    groups: Vec<Vec<String>>,
    disagreeing: u64,
}

impl Report {
    pub(super) fn of(args: &VerifyArgs, place: &str, table: &Table, found: &Found) -> Self {
        let mut report = Self {
            place: place.to_owned(),
            samples: table.len(),
            known: found.known,
            resumed: found.resumed,
            without_files: found.without_files,
            looked_at: found.looked_at,
            bytes: found.bytes,
            seconds: found.took.as_secs_f64(),
            quarantines_copies: args.quarantine_copies,
            ..Self::default()
        };
        let before = table.column(CONTENT);
        for (row, outcome) in &found.outcomes {
            let key = || String::from_utf8_lossy(&table.key(*row)).into_owned();
            match outcome {
                Outcome::Corrupt { reason } => report.corrupt.push((key(), reason.clone())),
                Outcome::Unavailable { reason } => report.unavailable.push((key(), reason.clone())),
                Outcome::Sound { content, formats, gained, .. } => {
                    report.sound += 1;
                    for (format, count) in formats {
                        *report.formats.entry(format.clone()).or_default() += count;
                    }
                    report.gained.extend(gained.clone().map(|frames| (key(), frames)));
                    let other = before
                        .is_some_and(|cells| cells.has(*row) && cells.column().text(*row as u64) != content);
                    if other {
                        report.changed.push(key());
                    }
                }
            }
        }
        report
    }

    /// Takes in what was found of copies; the last call counts.
    pub(super) fn tell_copies(&mut self, table: &Table, copies: &Copies) {
        let key = |&row: &usize| String::from_utf8_lossy(&table.key(row)).into_owned();
        let groups = copies.groups.iter().map(|rows| rows.iter().map(key).collect()).collect();
        self.copies = Some(Groups { groups, disagreeing: copies.disagreeing });
    }

    /// Takes in the commit, where anything was new.
    pub(super) fn tell_commit(&mut self, made: Option<Manifest>) {
        self.commit = made;
    }

    /// Samples that are not sound.
    pub(super) fn bad(&self) -> usize {
        self.corrupt.len() + self.unavailable.len()
    }

    pub(super) fn text(&self) -> String {
        let mut out = self.head();
        if !self.formats.is_empty() {
            let formats = self.formats.iter().map(|(name, count)| format!("{} {name}", grouped(*count)));
            let _ = writeln!(out, "files: {}", formats.collect::<Vec<_>>().join(", "));
        }
        out += &reasons("corrupt, in quarantine from now on", &self.corrupt);
        out += &reasons(
            "unavailable, still in the data set; the next run asks for them again",
            &self.unavailable,
        );
        let changed: Vec<_> = self.changed.iter().map(|key| (key.clone(), String::new())).collect();
        out += &reasons("changed since they were verified", &changed);
        out += &reasons(
            "sound, with frames in their folders that the data set does not know; a joined column NAME.frames takes them in",
            &self.gained,
        );
        if let Some(copies) = &self.copies {
            out += &copies.text(self.quarantines_copies);
        }
        out + &self.commit.as_ref().map_or_else(String::new, commit_text)
    }

    fn head(&self) -> String {
        let mut out = format!(
            "{}: {} samples verified, {} sound, {} corrupt, {} unavailable",
            self.place,
            grouped(self.sound + self.bad() as u64),
            grouped(self.sound),
            grouped(self.corrupt.len() as u64),
            grouped(self.unavailable.len() as u64)
        );
        for (count, what) in [
            (self.known, "verified before"),
            (self.resumed, "of them by the run that was stopped"),
            (self.without_files, "without a file"),
        ] {
            if count > 0 {
                let _ = write!(out, "; {} {what}", grouped(count));
            }
        }
        if self.looked_at > 0 {
            let seconds = self.seconds.max(1e-3);
            let (rate, megabytes) = (self.looked_at as f64 / seconds, self.bytes as f64 / seconds / 1e6);
            let digits = usize::from(rate < 10.0);
            let _ = write!(out, "\n{seconds:.1} s, {rate:.digits$} samples/s, {megabytes:.1} MB/s");
        }
        out + "\n"
    }

    pub(super) fn json(&self) -> String {
        let list = |list: &[(String, String)]| -> Vec<Value> {
            list.iter().map(|(key, reason)| json!({ "key": key, "reason": reason })).collect()
        };
        let copies = self.copies.as_ref().map(|copies| {
            json!({
                "copies": copies.copies(),
                "groups_with_different_labels": copies.disagreeing,
                "groups": copies.groups,
            })
        });
        let whole = json!({
            "place": self.place,
            "samples": self.samples,
            "verified": self.sound + self.bad() as u64,
            "sound": self.sound,
            "verified_before": self.known,
            "resumed": self.resumed,
            "without_files": self.without_files,
            "files": self.formats,
            "corrupt": list(&self.corrupt),
            "unavailable": list(&self.unavailable),
            "changed": self.changed,
            "gained": list(&self.gained),
            "copies": copies,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "commit": self.commit.as_ref().map(commit_json),
        });
        format!("{whole:#}\n")
    }
}

impl Groups {
    fn copies(&self) -> usize {
        self.groups.iter().map(|keys| keys.len() - 1).sum()
    }

    fn text(&self, quarantined: bool) -> String {
        if self.groups.is_empty() {
            return "copies: none\n".to_owned();
        }
        let place = if quarantined { " put into quarantine" } else { "" };
        let (copies, groups) = (grouped(self.copies() as u64), grouped(self.groups.len() as u64));
        let mut out = format!("copies: {copies}{place}, in {groups} groups of equal bytes");
        if self.disagreeing > 0 {
            let _ = write!(out, "; labels differ in {} of them", grouped(self.disagreeing));
        }
        out += "\n";
        for keys in self.groups.iter().take(SHOWN) {
            let shown = keys[..keys.len().min(KEYS_SHOWN)].join(" = ");
            let more = keys.len().saturating_sub(KEYS_SHOWN);
            let more = if more > 0 { format!(" = {more} more") } else { String::new() };
            let _ = writeln!(out, "  {shown}{more}");
        }
        if self.groups.len() > SHOWN {
            let _ = writeln!(out, "  and {} more groups", self.groups.len() - SHOWN);
        }
        out
    }
}

fn reasons(title: &str, list: &[(String, String)]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut out = format!("{title}:\n");
    for (key, reason) in list.iter().take(SHOWN) {
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let _ = writeln!(out, "  {key}{reason}");
    }
    if list.len() > SHOWN {
        let _ = writeln!(out, "  and {} more", list.len() - SHOWN);
    }
    out
}
