//! `forebay dataset split`: holds samples apart, for ever.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::json;

use super::common::{SetArgs, commit_json, commit_text};
use super::lists;
use super::text::grouped;
use crate::catalog::dataset::{
    ListedSide, Manifest, REST, Share, SplitOptions, SplitReport, SplitRule, Ungrouped,
};
use crate::error::Fault;

/// Options of `forebay dataset split`.
#[derive(clap::Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("rule").required(true))]
pub struct SplitArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// What to call it.
    pub name: String,
    /// Hold shares out by a keyed draw: val=0.1,test=0.1. What they leave is train.
    #[arg(long, value_name = "SIDE=SHARE,..", group = "rule")]
    pub holdout: Option<Shares>,
    /// Make so many folds by a keyed draw: sides fold-0 and so on, and not-fold-0 for all others.
    #[arg(long, value_name = "K", group = "rule")]
    pub folds: Option<u32>,
    /// Take the side that stands in a column.
    #[arg(long, value_name = "COLUMN", group = "rule")]
    pub column: Option<String>,
    /// Take the first folder of the path: train/dog/1.jpg is on side train.
    #[arg(long, group = "rule")]
    pub folders: bool,
    /// Take the sides that a file lists, of keys or, with --group-by, of groups: columns key and side, or SIDE=FILE with
    /// the keys of one side. Others are on train, unless the list has a train.
    #[arg(long, value_name = "FILE|SIDE=FILE", group = "rule")]
    pub list: Vec<String>,
    /// Keep samples that agree in these columns on one side.
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    pub group_by: Vec<String>,
    /// Where samples without a group belong: on no side until a value is joined, or each by its own key.
    #[arg(long, value_enum)]
    pub ungrouped: Option<Ungrouped>,
    /// What the draw is keyed by, up to 64 hexadecimal digits: the same keys have the same sides in another data set.
    /// Absent: drawn once and committed.
    #[arg(long, value_name = "HEX")]
    pub salt: Option<String>,
    /// Change a split that is there. Samples move, and what was held out may be trained on.
    #[arg(long)]
    pub replace: bool,
    /// Count, and commit nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// The sides of a hold-out, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(pub Vec<Share>);

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = |word: &str| {
            let (side, share) = word.split_once('=')?;
            let parts_per_billion = parts_per_billion(share.trim())?;
            Some(Share { side: side.trim().to_owned(), parts_per_billion })
        };
        let shares: Option<Vec<_>> = text.split(',').map(share).collect();
        let shares = shares
            .ok_or("write sides with their shares of all samples, up to nine decimals: val=0.1,test=0.1")?;
        Ok(Self(shares))
    }
}

/// `0.1` as 100 million; exactly, or not at all.
fn parts_per_billion(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 9 || whole.len() + decimals.len() == 0 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let decimals: u64 = format!("{decimals:0<9}").parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(decimals)
}

/// Commits the split: what to print.
pub(super) fn run(args: &SplitArgs) -> Result<String, Fault> {
    let options = SplitOptions {
        name: args.name.clone(),
        rule: rule(args)?,
        group_by: args.group_by.clone(),
        ungrouped: args.ungrouped,
        salt: args.salt.clone(),
        replace: args.replace,
        dry_run: args.dry_run,
    };
    let dataset = args.set.open()?;
    let (manifest, report) = options.commit(&dataset)?;
    if args.set.json {
        let commit = report.committed.then(|| commit_json(&manifest));
        return Ok(format!("{:#}\n", json!({ "split": args.name, "commit": commit, "report": report })));
    }
    Ok(text(args, &manifest, &report))
}

fn rule(args: &SplitArgs) -> Result<SplitRule, Fault> {
    if let Some(shares) = &args.holdout {
        return Ok(SplitRule::Holdout(shares.0.clone()));
    }
    if let Some(folds) = args.folds {
        return Ok(SplitRule::Folds(folds));
    }
    if let Some(column) = &args.column {
        return Ok(SplitRule::Column(column.clone()));
    }
    if args.folders {
        return Ok(SplitRule::Folders);
    }
    let mut lines = Vec::new();
    for word in &args.list {
        lines.extend(listed(word)?);
    }
    Ok(SplitRule::List(lines))
}

/// The lines of `FILE`, or of `SIDE=FILE`.
fn listed(word: &str) -> Result<Vec<ListedSide>, Fault> {
    let (side, file) = match word.split_once('=') {
        Some((side, file)) if !side.contains('/') => (Some(side), PathBuf::from(file)),
        _ => (None, PathBuf::from(word)),
    };
    let line = |(key, own): lists::Listed| {
        let side = side.map(str::to_owned).or(own).ok_or_else(|| {
            Fault::invalid(format!("{} says no sides", file.display()))
                .object(String::from_utf8_lossy(&key).into_owned())
                .hint("give it a column side, or name the side: --list val=FILE")
        })?;
        Ok(ListedSide { key, side })
    };
    lists::read(&file)?.into_iter().map(line).collect()
}

fn text(args: &SplitArgs, manifest: &Manifest, report: &SplitReport) -> String {
    let mut out = match (report.committed, args.dry_run) {
        (true, _) => commit_text(manifest),
        (false, true) => "only counted, nothing is committed\n".to_owned(),
        (false, false) => {
            format!("split {} is there already, as commit {} has it\n", args.name, manifest.number)
        }
    };
    if !report.moved.is_empty() {
        out += &moved(report, args.dry_run);
    }
    out += &sides(report);
    out += &left_out(report, &args.group_by);
    if let Some(worst) =
        report.worst_class.as_ref().filter(|worst| (worst.of_side - worst.of_all).abs() >= 0.0005)
    {
        let _ = writeln!(
            out,
            "worst class: {} is {:.1} % of {} and {:.1} % of all",
            worst.class,
            100.0 * worst.of_side,
            worst.side,
            100.0 * worst.of_all
        );
    }
    if let Some(first) = report.sides.iter().find(|side| side.side == REST).or(report.sides.first()) {
        let _ = writeln!(
            out,
            "a job names a side: forebay.Dataset({:?}, split={:?})",
            args.set.place, first.side
        );
    }
    out
}

fn moved(report: &SplitReport, is_tried: bool) -> String {
    let total = report.moved.iter().map(|moved| moved.samples).sum();
    let verb = if is_tried { "WOULD CHANGE" } else { "CHANGED" };
    let mut out = format!(
        "{} SAMPLES {verb} SIDES; models that were trained before have seen other ones:\n",
        grouped(total)
    );
    for moved in &report.moved {
        let name = |side: &Option<String>| side.clone().unwrap_or_else(|| "no side".to_owned());
        let _ =
            writeln!(out, "  {:>12}  {} -> {}", grouped(moved.samples), name(&moved.from), name(&moved.to));
    }
    out
}

/// So many sides are printed.
const SIDES_SHOWN: usize = 40;

fn sides(report: &SplitReport) -> String {
    let shown = &report.sides[..report.sides.len().min(SIDES_SHOWN)];
    let width = shown.iter().map(|side| side.side.chars().count()).max().unwrap_or(0).max(4);
    let has_groups = shown.iter().any(|side| side.groups.is_some());
    let mut out = format!("{:width$}  {:>13}  {:>7}", "side", "samples", "share");
    out += if has_groups { "         groups\n" } else { "\n" };
    for side in shown {
        let share = 100.0 * side.samples as f64 / report.samples.max(1) as f64;
        let _ = write!(out, "{:width$}  {:>13}  {share:>5.1} %", side.side, grouped(side.samples));
        let _ = match side.groups {
            Some(groups) => writeln!(out, "  {:>13}", grouped(groups)),
            None => writeln!(out),
        };
    }
    if report.sides.len() > shown.len() {
        let _ = writeln!(out, "and {} more", report.sides.len() - shown.len());
    }
    out
}

fn left_out(report: &SplitReport, group_by: &[String]) -> String {
    let mut out = String::new();
    let counts = [
        (report.held_back, "are held back by frozen sets".to_owned()),
        (report.waiting, format!("are on no side until they have a value of {}", group_by.join(", "))),
        (report.on_no_side, "are on no side".to_owned()),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(out, "{} samples {what}", grouped(count));
    }
    out + &unmatched(report.unmatched_count, &report.unmatched)
}

/// Names of a list that no sample has.
pub(super) fn unmatched(count: u64, first: &[String]) -> String {
    if count == 0 {
        return String::new();
    }
    let more = count - first.len() as u64;
    let and_more = if more > 0 { format!(" and {} more", grouped(more)) } else { String::new() };
    format!("{} names in the list are no sample's: {}{and_more}\n", grouped(count), first.join(", "))
}

/// What `--help` ends with.
pub(super) const SPLIT_HELP: &str = "\
A sample's side comes of its key, its group, a column or a list alone: it never changes when other samples come or go.
Frozen sets are on no side. Of a column that is joined several times, a sample's first value counts. Where several splits
have a side of one name, a job names it as main:train.

Examples:
  forebay dataset split /data/speech main --holdout val=0.1,test=0.1 --group-by speaker
  forebay dataset split /data/photos cv --folds 5                  # then split=\"not-fold-0\" trains, \"fold-0\" validates
  forebay dataset split /data/photos official --folders
  forebay dataset split s3://bucket/speech lists --list val=validation_list.txt --list test=testing_list.txt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_decimals() {
        let parsed = |text: &str| {
            text.parse::<Shares>().map(|shares| {
                shares.0.into_iter().map(|share| (share.side, share.parts_per_billion)).collect::<Vec<_>>()
            })
        };
        let two = [("val".to_owned(), 100_000_000), ("test".to_owned(), 50_000_001)];
        assert_eq!(parsed("val=0.1, test=.050000001").unwrap(), two);
        assert_eq!(parsed("a=1").unwrap(), [("a".to_owned(), 1_000_000_000)]);
        for wrong in
            ["val", "val=", "val=.", "val=-0.1", "val=1e-3", "val=0.0000000001", "val=0.1,", "val=10%"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
