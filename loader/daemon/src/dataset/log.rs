//! `forebay dataset log`: the commits of a data set.

use serde_json::Value;

use super::common::{SetArgs, commit_json, moment};
use crate::catalog::dataset::Manifest;
use crate::error::Fault;

/// Options of `forebay dataset log`.
#[derive(clap::Args, Clone, Debug)]
pub struct LogArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// At most so many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub count: u64,
}

/// What `forebay dataset log --help` ends with.
pub const HELP: &str = "\
Examples:
  forebay dataset log /data/photos
  forebay dataset log s3://bucket/photos.forebay -n 100 --json | jq '.[].verb'";

/// One line a commit, newest first.
pub(super) fn run(args: &LogArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    let mut next = Some(dataset.head()?).filter(|head| head.number > 0);
    let mut commits = Vec::new();
    while let Some(commit) = next {
        let before = commit.number - 1;
        commits.push(commit);
        next =
            if before > 0 && (commits.len() as u64) < args.count { Some(dataset.at(before)?) } else { None };
    }
    if args.set.json {
        let commits: Value = commits.iter().map(commit_json).collect();
        return Ok(format!("{commits:#}\n"));
    }
    if commits.is_empty() {
        return Ok("no commit yet\n".to_owned());
    }
    let lines: Vec<_> = commits.iter().map(line).collect();
    Ok(lines.concat())
}

fn line(commit: &Manifest) -> String {
    let change = &commit.change;
    let counts: Vec<_> = change
        .counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    format!(
        "{:>6}  {}  {:<8} {}{counts}  ({})\n",
        commit.number,
        moment(commit.written_unix_ms),
        change.verb,
        change.message,
        commit.by
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::catalog::dataset::Change;

    #[test]
    fn a_line_says_when_who_what_and_how_many_and_no_zeros() {
        let counts = [("added".to_owned(), 3), ("known".to_owned(), 0)].into();
        let change = Change { verb: "add".to_owned(), message: "new.parquet".to_owned(), counts };
        let bytes = json!({
            "version": 1, "number": 7, "nonce": "", "written_unix_ms": 1_763_856_000_000_u64, "by": "node7 pid 9",
            "change": change, "root": "/data",
        });
        let commit = Manifest::parse(7, bytes.to_string().as_bytes()).unwrap();
        assert_eq!(
            line(&commit),
            "     7  2025-11-23 00:00:00Z  add      new.parquet: 3 added  (node7 pid 9)\n"
        );
    }
}
