//! `forebay dataset join`: columns of a list, by key.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::common::{SetArgs, commit_json, commit_text, counted, keys_text};
use crate::catalog::dataset::{Joined, Joining, LabelsAre};
use crate::error::{Fault, Kind};

/// Options of `forebay dataset join`.
#[derive(clap::Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("list").required(true).args(["labels", "columns"])))]
pub struct JoinArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// CSV, TSV, JSON Lines or Parquet with a column of labels, which becomes `label`: class names, or class indexes.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// CSV, TSV, JSON Lines or Parquet whose columns are joined as they are.
    #[arg(long, value_name = "FILE")]
    pub columns: Option<PathBuf>,
    /// The column that names samples. Absent: `key`, else the first that is named as paths are.
    #[arg(long, value_name = "COLUMN")]
    pub key: Option<String>,
    /// Another name for a column in the data set: NAME where one is joined, else OLD=NEW.
    #[arg(long = "as", value_name = "NAME")]
    pub names: Vec<String>,
    /// Take these columns alone.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub only: Vec<String>,
    /// What the labels are.
    #[arg(long, value_enum, default_value = "auto", requires = "labels")]
    pub labels_are: LabelsAre,
    /// Match file names without folder and extension: `a1` is `cats/a1.jpg`.
    #[arg(long)]
    pub stem: bool,
    /// Join nothing where a row has no sample or a sample no row.
    #[arg(long)]
    pub strict: bool,
    /// Write all rows without a sample and all samples without a row to a CSV file.
    #[arg(long, value_name = "FILE")]
    pub list_unmatched: Option<PathBuf>,
    /// Tell what would be joined, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// What `forebay dataset join --help` ends with.
pub const HELP: &str = "\
Rows find their samples by key: the column `key`, or a path as the data set has it, relative to its root or absolute.
The newest value of a sample wins; samples that the list does not name keep theirs. Nothing is copied or rewritten, and
a run that is going on sees nothing of it. New classes come behind the old ones, whose indexes stay.

Examples:
  forebay dataset join /data/photos --labels labels.csv
  forebay dataset join /data/photos --labels second-annotator.csv --as label_v2
  forebay dataset join /data/photos --columns predictions.parquet --only score --as resnet_score
  forebay dataset join /data/photos --columns meta.jsonl --key file_name --stem --dry-run --list-unmatched rest.csv";

/// Joins, and tells what was and what was not.
pub(super) fn run(args: &JoinArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    let file = args.labels.as_ref().or(args.columns.as_ref()).expect("clap asks for one of them");
    let joined = dataset.join(&Joining {
        file,
        key: args.key.as_deref(),
        only: &args.only,
        names: &args.names,
        labels: args.labels.is_some().then_some(args.labels_are),
        by_stem: args.stem,
        strict: args.strict,
        dry_run: args.dry_run,
    })?;
    if let Some(target) = &args.list_unmatched {
        write_unmatched(target, &joined)?;
    }
    Ok(if args.set.json { json(args, &joined) } else { text(args, &joined) })
}

fn text(args: &JoinArgs, joined: &Joined) -> String {
    let mut out = String::new();
    for (name, values) in &joined.columns {
        let _ =
            writeln!(out, "{name}: {} for {}", counted(*values, "value"), counted(joined.matched, "sample"));
    }
    if !joined.new_classes.is_empty() {
        let _ = writeln!(out, "new classes: {}", joined.new_classes.join(", "));
    }
    if joined.removed > 0 {
        let _ = writeln!(out, "rows about samples that were removed: {}", joined.removed);
    }
    let all = if args.list_unmatched.is_some() { "" } else { "; --list-unmatched FILE writes all" };
    for (lacks, what, keys) in [("sample", "row", &joined.unknown), ("row", "sample", &joined.without)] {
        if !keys.is_empty() {
            let count = counted(keys.len() as u64, what);
            let _ = writeln!(out, "no {lacks} for {count}: {}", keys_text(keys, all));
        }
    }
    out + &match (args.dry_run, joined.made) {
        (true, _) => "nothing was joined: --dry-run\n".to_owned(),
        (false, true) => commit_text(&joined.manifest),
        (false, false) => format!("commit {} has all of this already\n", joined.manifest.number),
    }
}

fn json(args: &JoinArgs, joined: &Joined) -> String {
    let words = |keys: &[Vec<u8>]| -> Vec<_> {
        keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    };
    let columns: Vec<_> =
        joined.columns.iter().map(|(name, values)| json!({ "name": name, "values": values })).collect();
    let whole = json!({
        "made": joined.made,
        "dry_run": args.dry_run,
        "commit": commit_json(&joined.manifest),
        "matched": joined.matched,
        "removed": joined.removed,
        "columns": columns,
        "new_classes": joined.new_classes,
        "rows_without_sample": words(&joined.unknown),
        "samples_without_row": words(&joined.without),
    });
    format!("{whole:#}\n")
}

fn write_unmatched(target: &Path, joined: &Joined) -> Result<(), Fault> {
    let failed = |error: csv::Error| {
        Fault::from_error(Kind::Invalid, &error).context(format!("write {}", target.display()))
    };
    let mut out = csv::Writer::from_path(target).map_err(failed)?;
    out.write_record(["what", "key"]).map_err(failed)?;
    for (what, keys) in [("row without sample", &joined.unknown), ("sample without row", &joined.without)] {
        for key in keys {
            out.write_record([what.as_bytes(), key]).map_err(failed)?;
        }
    }
    out.flush().map_err(|error| failed(error.into()))
}
