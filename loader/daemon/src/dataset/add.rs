//! `forebay dataset add`: rows of lists as samples.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::common::{SetArgs, commit_json, commit_text, counted};
use crate::catalog::dataset::{Adding, LabelsAre};
use crate::error::Fault;

/// Options of `forebay dataset add`.
#[derive(clap::Args, Clone, Debug)]
pub struct AddArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// CSV, TSV, JSON Lines or Parquet, one sample a row; all of them make one commit.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The directory that paths are relative to, or lie in, where the data set has none yet.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Take these columns alone, beside what samples are called by.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub only: Vec<String>,
    /// What a column `label` holds.
    #[arg(long, value_enum, default_value = "auto")]
    pub labels_are: LabelsAre,
    /// Join the columns of samples that are known, instead of passing over them.
    #[arg(long)]
    pub update: bool,
}

/// What `forebay dataset add --help` ends with.
pub const HELP: &str = "\
Rows are called by the column that the data set's samples are called by: `key`, or a path. What is known is passed over,
and what was removed stays so. A value may be missing (null, NaN, an empty cell of CSV); a key may not. Class names in
`label` that are new come behind the old classes.

Examples:
  forebay dataset add /data/photos new.parquet
  forebay dataset add /data/photos part-*.parquet --update
  duckdb -c \"COPY (SELECT * FROM 'crawl.csv' WHERE width >= 256) TO 'new.parquet'\"";

/// Adds, and tells how many.
pub(super) fn run(args: &AddArgs) -> Result<String, Fault> {
    let added = args.set.open()?.add_rows(&Adding {
        files: &args.files,
        root: args.root.as_deref(),
        only: &args.only,
        labels: args.labels_are,
        update: args.update,
    })?;
    if args.set.json {
        let whole = json!({
            "made": added.made,
            "commit": commit_json(&added.manifest),
            "added": added.added,
            "known": added.known,
            "updated": added.updated,
            "removed_before": added.removed_before,
            "new_classes": added.new_classes,
            "columns_without_a_value": added.empty,
        });
        return Ok(format!("{whole:#}\n"));
    }
    let mut out = format!("{} added, {} known", counted(added.added, "sample"), added.known);
    if args.update {
        let _ = write!(out, ", {} updated", added.updated);
    }
    if added.removed_before > 0 {
        let _ = write!(out, ", {} stay removed", added.removed_before);
    }
    out.push('\n');
    if !added.new_classes.is_empty() {
        let _ = writeln!(out, "new classes: {}", added.new_classes.join(", "));
    }
    if !added.empty.is_empty() {
        let _ = writeln!(out, "no row has a value in: {}", added.empty.join(", "));
    }
    Ok(if added.made {
        out + &commit_text(&added.manifest)
    } else {
        out + &format!("commit {} has all of this already\n", added.manifest.number)
    })
}
