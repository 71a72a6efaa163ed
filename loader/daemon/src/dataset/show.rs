//! `forebay dataset show`: what is in one commit of a data set.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::common::{SetArgs, counted, moment};
use crate::catalog::dataset::{Dataset, Manifest, Selection, SideCount, counts};
use crate::catalog::{ColumnKind, Table};
use crate::error::Fault;

/// Options of `forebay dataset show`.
#[derive(clap::Args, Clone, Debug)]
pub struct ShowArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// Another commit than the newest.
    #[arg(long, value_name = "COMMIT")]
    pub at: Option<u64>,
}

/// What `forebay dataset show --help` ends with.
pub const HELP: &str = "\
Examples:
  forebay dataset show /data/photos
  forebay dataset show /data/photos --at 3
  forebay dataset show s3://bucket/photos.forebay --json | jq .classes";

/// Everything that is counted.
pub(super) fn run(args: &ShowArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    let manifest = args.at.map_or_else(|| dataset.head(), |number| dataset.at(number))?;
    let seen = Seen::of(&dataset, &manifest)?;
    Ok(if args.set.json { format!("{:#}\n", seen.json()) } else { seen.text() })
}

struct Seen<'a> {
    place: &'a str,
    manifest: &'a Manifest,
    table: Table,
    came: usize,
    removed: usize,
    quarantined: usize,
    files: usize,
    bytes: u64,
    /// Samples by class.
    by_class: Vec<u64>,
    /// Samples by side of a split, and by frozen set.
    sides: Vec<SideCount>,
    /// Recorded selections and how many samples each has, or why that cannot be told.
    selections: Vec<(String, String, Result<u64, String>)>,
}

impl<'a> Seen<'a> {
    fn of(dataset: &'a Dataset, manifest: &'a Manifest) -> Result<Self, Fault> {
        let all = dataset.all_samples(manifest)?;
        let removed = dataset.keys_of(manifest.removed.iter())?;
        let quarantined = dataset.keys_of(manifest.quarantined.iter())?;
        let table = dataset.table(manifest)?;
        let gone = all.keys().filter(|key| removed.contains(&**key)).count();
        let held = all.keys().filter(|key| quarantined.contains(&**key) && !removed.contains(&**key));
        let files = files_of(manifest);
        let mut bytes = 0;
        for file in &files {
            bytes += dataset.bytes_of(file)?;
        }
        let selections = manifest.selections.iter().map(|(name, condition)| {
            let selection = Selection { filter: Some(name.clone()), ..Selection::default() };
            let found = dataset.select(manifest, &selection);
            (
                name.clone(),
                condition.clone(),
                found.map(|table| table.len() as u64).map_err(|fault| fault.line()),
            )
        });
        Ok(Self {
            place: dataset.place(),
            manifest,
            came: all.len(),
            removed: gone,
            quarantined: held.count(),
            files: files.len(),
            bytes,
            by_class: by_class(&table, manifest.classes.len()),
            sides: counts(dataset, manifest, &table)?,
            selections: selections.collect(),
            table,
        })
    }

    fn text(&self) -> String {
        let (manifest, mut out) = (self.manifest, String::new());
        let mut line = |what: &str, text: String| {
            let _ = writeln!(out, "{what:<12} {text}");
        };
        line("data set", self.place.to_owned());
        if manifest.number == 0 {
            line("commit", "none yet".to_owned());
            return out;
        }
        let written = moment(manifest.written_unix_ms);
        line("commit", format!("{}, {written}, by {}", manifest.number, manifest.by));
        line("root", manifest.root.clone());
        let mut samples = self.table.len().to_string();
        if self.came > self.table.len() {
            let _ = write!(
                samples,
                " of {} that came in: {} removed, {} in quarantine",
                self.came, self.removed, self.quarantined
            );
        }
        line("samples", samples);
        for cells in self.table.columns() {
            let lack = match cells.missing() {
                0 => String::new(),
                missing => format!(", {missing} samples lack a value"),
            };
            line("column", format!("{} {}{lack}", cells.column().name(), kind_text(cells.column().kind())));
        }
        if !manifest.classes.is_empty() {
            let classes = manifest.classes.iter().zip(&self.by_class);
            let classes: Vec<_> = classes.map(|(name, count)| format!("{name} {count}")).collect();
            line("classes", format!("{}: {}", classes.len(), classes.join(", ")));
        }
        for name in manifest.splits.keys() {
            let sides = self.sides.iter().filter(|side| side.split.as_ref() == Some(name));
            let sides: Vec<_> = sides.map(|side| format!("{} {}", side.side, side.samples)).collect();
            line("split", format!("{name}: {}", sides.join(", ")));
        }
        for (name, frozen) in &manifest.frozen {
            let by = frozen
                .group_by
                .as_ref()
                .map_or_else(String::new, |by| format!(", grouped by {}", by.columns.join(", ")));
            line("frozen", format!("{name}: {} samples{by}", frozen.file.rows));
        }
        for (name, condition, count) in &self.selections {
            let count = count.as_ref().map_or_else(Clone::clone, |&count| counted(count, "sample"));
            line("selection", format!("{name}: {count} where {condition}"));
        }
        line("files", format!("{}, {} bytes", self.files, self.bytes));
        out
    }

    fn json(&self) -> Value {
        let manifest = self.manifest;
        let columns = self.table.columns().iter().map(|cells| {
            let (column, missing) = (cells.column(), cells.missing());
            json!({ "name": column.name(), "kind": kind_text(column.kind()), "missing": missing })
        });
        let classes = manifest.classes.iter().zip(&self.by_class);
        let classes = classes
            .enumerate()
            .map(|(label, (name, count))| json!({ "label": label, "name": name, "samples": count }));
        let frozen = manifest.frozen.iter().map(|(name, frozen)| {
            json!({ "name": name, "samples": frozen.file.rows, "group_by": frozen.group_by })
        });
        let selections = self.selections.iter().map(|(name, condition, count)| {
            json!({ "name": name, "where": condition, "samples": count.as_ref().ok() })
        });
        json!({
            "place": self.place,
            "commit": manifest.number,
            "written_unix_ms": manifest.written_unix_ms,
            "by": manifest.by,
            "root": manifest.root,
            "samples": self.table.len(),
            "came_in": self.came,
            "removed": self.removed,
            "quarantined": self.quarantined,
            "columns": columns.collect::<Vec<_>>(),
            "classes": classes.collect::<Vec<_>>(),
            "splits": manifest.splits,
            "sides": self.sides,
            "frozen": frozen.collect::<Vec<_>>(),
            "selections": selections.collect::<Vec<_>>(),
            "files": self.files,
            "bytes": self.bytes,
        })
    }
}

fn files_of(manifest: &Manifest) -> Vec<&crate::catalog::dataset::FileRef> {
    let lists = [&manifest.samples, &manifest.joined, &manifest.removed, &manifest.quarantined];
    lists.into_iter().flatten().chain(manifest.frozen.values().map(|frozen| &frozen.file)).collect()
}

fn by_class(table: &Table, classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    let label = table.column("label").filter(|cells| cells.column().kind() == ColumnKind::Int);
    for row in 0..table.len() {
        let Some(cells) = label.filter(|cells| cells.has(row)) else { continue };
        let label = usize::try_from(cells.column().int(row as u64)).ok();
        if let Some(count) = label.and_then(|label| counts.get_mut(label)) {
            *count += 1;
        }
    }
    counts
}

/// `float vector of 512`.
fn kind_text(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::FloatVector { len: Some(len) } => format!("{} of {len}", kind.name()),
        ColumnKind::MultiHot { classes } => format!("{} of {classes}", kind.name()),
        _ => kind.name().to_owned(),
    }
}
