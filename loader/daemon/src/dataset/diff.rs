//! `forebay dataset diff`: what changed between two commits.

use std::fmt::Write as _;

use serde_json::json;

use super::common::{SetArgs, counted, keys_text};
use crate::error::Fault;

/// Options of `forebay dataset diff`.
#[derive(clap::Args, Clone, Debug)]
pub struct DiffArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// The earlier commit. Absent: the one before the later.
    #[arg(value_name = "BEFORE")]
    pub before: Option<u64>,
    /// The later commit. Absent: the newest.
    #[arg(value_name = "AFTER")]
    pub after: Option<u64>,
}

/// What `forebay dataset diff --help` ends with.
pub const HELP: &str = "\
Keys are listed up to 20; --json has them all.

Examples:
  forebay dataset diff /data/photos
  forebay dataset diff /data/photos 3 7
  forebay dataset diff /data/photos 0 1 --json | jq -r '.added[]'";

/// Keys, columns, values, classes, names.
pub(super) fn run(args: &DiffArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    let after = args.after.map_or_else(|| dataset.head(), |number| dataset.at(number))?;
    let before = dataset.at(args.before.unwrap_or(after.number.saturating_sub(1)))?;
    if before.number > after.number {
        return Err(Fault::invalid(format!("commit {} comes after commit {}", before.number, after.number))
            .hint("name the earlier one first"));
    }
    let diff = dataset.diff(&before, &after)?;
    let lists = [
        ("added", &diff.added),
        ("removed", &diff.removed),
        ("quarantined", &diff.quarantined),
        ("released", &diff.released),
    ];
    if args.set.json {
        let words = |keys: &[Vec<u8>]| -> Vec<_> {
            keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        };
        let whole = json!({
            "before": before.number,
            "after": after.number,
            "added": words(&diff.added),
            "removed": words(&diff.removed),
            "quarantined": words(&diff.quarantined),
            "released": words(&diff.released),
            "columns": diff.columns,
            "values": diff.values,
            "classes": diff.classes,
            "named": diff.named,
        });
        return Ok(format!("{whole:#}\n"));
    }
    let mut out = format!("commit {} to commit {}\n", before.number, after.number);
    for (what, keys) in lists.into_iter().filter(|(_, keys)| !keys.is_empty()) {
        let count = counted(keys.len() as u64, "sample");
        let _ = writeln!(out, "{count} {what}: {}", keys_text(keys, ""));
    }
    for (name, count) in &diff.values {
        let new = if diff.columns.contains(name) { "new column" } else { "column" };
        let _ = writeln!(out, "{new} {name}: {} of samples that were there", counted(*count, "value"));
    }
    for name in diff.columns.iter().filter(|name| !diff.values.contains_key(*name)) {
        let _ = writeln!(out, "new column {name}");
    }
    if !diff.classes.is_empty() {
        let _ = writeln!(out, "new classes: {}", diff.classes.join(", "));
    }
    diff.named.iter().for_each(|name| {
        let _ = writeln!(out, "changed: {name}");
    });
    Ok(out)
}
