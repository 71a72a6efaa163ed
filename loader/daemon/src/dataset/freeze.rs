//! `forebay dataset freeze`: samples that are held back from training for ever.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::common::{SetArgs, commit_json, commit_text};
use super::lists;
use super::split::unmatched;
use super::text::grouped;
use crate::catalog::dataset::{Chosen, FreezeOptions, FreezeReport, Manifest, Part, Selection, Ungrouped};
use crate::error::Fault;

/// Options of `forebay dataset freeze`.
#[derive(clap::Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("chosen").required(true).multiple(true))]
pub struct FreezeArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// What to call it.
    pub name: String,
    /// The samples whose keys a file lists, also those that come later: a key a line, or a table with a column key.
    #[arg(long, value_name = "FILE", group = "chosen", conflicts_with_all = ["split", "condition", "fraction"])]
    pub from: Option<PathBuf>,
    /// Those on a side of a split, as they are now.
    #[arg(long, value_name = "SIDE", group = "chosen")]
    pub split: Option<String>,
    /// Those that meet a condition, as they are now.
    #[arg(long = "where", value_name = "CONDITION", group = "chosen")]
    pub condition: Option<String>,
    /// A share of them by a keyed draw, above 0 and up to 1; with --group-by, of the groups.
    #[arg(long, value_name = "SHARE", group = "chosen")]
    pub fraction: Option<f64>,
    /// Hold everything back that agrees with one of them in these columns. Absent: as the split of --split has it.
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    pub group_by: Vec<String>,
    /// What becomes of samples without a group: held back until a value is joined, or each by its own key.
    #[arg(long, value_enum)]
    pub ungrouped: Option<Ungrouped>,
    /// Count, and commit nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Commits the frozen set: what to print.
pub(super) fn run(args: &FreezeArgs) -> Result<String, Fault> {
    let chosen = match &args.from {
        Some(file) => Chosen::Keys(lists::read(file)?.into_iter().map(|(key, _)| key).collect()),
        None => Chosen::Of {
            selection: Selection {
                split: args.split.clone(),
                filter: args.condition.clone(),
                part: Part::default(),
            },
            fraction: args.fraction,
        },
    };
    let options = FreezeOptions {
        name: args.name.clone(),
        chosen,
        group_by: args.group_by.clone(),
        ungrouped: args.ungrouped,
        dry_run: args.dry_run,
    };
    let dataset = args.set.open()?;
    let (manifest, report) = options.commit(&dataset)?;
    if args.set.json {
        let commit = report.committed.then(|| commit_json(&manifest));
        return Ok(format!("{:#}\n", json!({ "frozen": args.name, "commit": commit, "report": report })));
    }
    Ok(text(args, &manifest, &report))
}

fn text(args: &FreezeArgs, manifest: &Manifest, report: &FreezeReport) -> String {
    let mut out = match (report.committed, args.dry_run) {
        (true, _) => commit_text(manifest),
        (false, true) => "only counted, nothing is committed\n".to_owned(),
        (false, false) => format!("frozen set {} is there already, with these very samples\n", args.name),
    };
    let of_groups = report.groups.map(|groups| format!(" of {} groups", grouped(groups))).unwrap_or_default();
    let _ = writeln!(out, "{} samples{of_groups} are on no other side from now on", grouped(report.samples));
    if report.held_with_group > 0 {
        let count = grouped(report.held_with_group);
        let _ = writeln!(out, "{count} more are held back because they belong to those groups");
    }
    if report.waiting > 0 {
        let _ = writeln!(out, "{} more are held back until their group is known", grouped(report.waiting));
    }
    for side in &report.were_on {
        let split = side.split.as_deref().unwrap_or_default();
        let _ = writeln!(
            out,
            "{} were on {split}:{} until now: models that were trained on it have seen them",
            grouped(side.samples),
            side.side
        );
    }
    out += &unmatched(report.unmatched_count, &report.unmatched);
    out += &sides(report);
    let _ = writeln!(out, "evaluate on it: forebay.Dataset({:?}, split={:?})", args.set.place, args.name);
    out
}

/// So many sides are printed.
const SIDES_SHOWN: usize = 40;

fn sides(report: &FreezeReport) -> String {
    let name = |side: &crate::catalog::dataset::SideCount| match &side.split {
        Some(split) => format!("{split}:{}", side.side),
        None => side.side.clone(),
    };
    let names: Vec<_> = report.sides.iter().map(name).collect();
    let width = names.iter().take(SIDES_SHOWN).map(|name| name.chars().count()).max().unwrap_or(0).max(4);
    let mut out = format!("{:width$}  {:>13}  {:>13}\n", "side", "samples", "without");
    for (name, side) in names.iter().zip(&report.sides).take(SIDES_SHOWN) {
        let (samples, without) = (grouped(side.samples), grouped(side.without));
        let _ = writeln!(out, "{name:width$}  {samples:>13}  {without:>13}");
    }
    if names.len() > SIDES_SHOWN {
        let _ = writeln!(out, "and {} more", names.len() - SIDES_SHOWN);
    }
    out
}

/// What `--help` ends with.
pub(super) const FREEZE_HELP: &str = "\
A frozen set has exactly its samples for ever, but for those that are removed. No side of any split has them, nor a job
that names no split; only the set's own name, and split=\"all\". With --group-by the same holds for everything of their
groups, also for what comes later: no speaker of the test set is ever trained on. It cannot be changed or taken back.

Examples:
  forebay dataset freeze /data/speech test-2026 --split test
  forebay dataset freeze /data/speech test-2026 --fraction 0.05 --group-by speaker
  forebay dataset freeze /data/photos hard --where \"width >= 2048 and lang = 'de'\" --dry-run
  forebay dataset freeze /data/photos official --from test_keys.txt";
