//! `forebay dataset filter`: a condition, how many samples meet it, and its name once it is recorded.

use serde_json::json;

use super::common::{SetArgs, commit_json, commit_text};
use super::text::grouped;
use crate::catalog::Table;
use crate::catalog::dataset::{Change, Dataset, Manifest, filter};
use crate::error::{Fault, Kind};

/// Options of `forebay dataset filter`.
#[derive(clap::Args, Clone, Debug)]
pub struct FilterArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    /// The condition, as "width >= 256 and lang = 'en'". Absent: the recorded ones are listed.
    #[arg(long = "where", value_name = "CONDITION", conflicts_with = "drop", allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// Record the condition under this name; jobs then name it by where="NAME". Absent: its samples are only counted.
    #[arg(long, requires = "condition")]
    pub name: Option<String>,
    /// Another condition may have had that name.
    #[arg(long, requires = "name")]
    pub replace: bool,
    /// Forget the recorded condition of this name.
    #[arg(long, value_name = "NAME")]
    pub drop: Option<String>,
    /// Print the keys of the samples that meet the condition, one a line, and nothing else.
    #[arg(long, requires = "condition", conflicts_with_all = ["name", "json"])]
    pub keys: bool,
}

/// What `forebay dataset filter --help` ends with.
pub const FILTER_HELP: &str = "\
Conditions are SQL's: = != < <= > >=, in (..), between .. and .., like 'a%_b', is null, and, or, not, parentheses.
Texts stand in 'single quotes', columns with odd names in \"double quotes\". A sample that lacks a value is not selected
by a comparison with it. A recorded condition is asked anew of each commit, so samples that come later are in it too.

Examples:
  forebay dataset filter /data/photos --where \"width >= 256 and lang = 'en'\"
  forebay dataset filter /data/photos --name big --where \"width >= 256 and height >= 256\"
  forebay dataset filter /data/photos
  forebay dataset filter /data/photos --drop big
  forebay dataset filter /data/photos --where \"score < 0.1\" --keys | forebay dataset remove /data/photos --from - --reason score";

/// Records, counts, lists or forgets.
pub(super) fn run(args: &FilterArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    match (&args.condition, &args.name, &args.drop) {
        (_, _, Some(name)) => forget(&dataset, args, name),
        (Some(condition), Some(name), None) => record(&dataset, args, name, condition),
        (Some(condition), None, None) => count(&dataset, args, condition),
        (None, ..) => list(&dataset, args),
    }
}

fn count(dataset: &Dataset, args: &FilterArgs, condition: &str) -> Result<String, Fault> {
    let table = dataset.table(&dataset.head()?)?;
    let rows = filter::rows(&table, condition)?;
    if args.keys {
        let keys = rows.iter().map(|&row| String::from_utf8_lossy(&table.key(row)).into_owned() + "\n");
        return Ok(keys.collect());
    }
    if args.set.json {
        let whole = json!({ "where": condition, "selected": rows.len(), "samples": table.len() });
        return Ok(format!("{whole:#}\n"));
    }
    Ok(format!("{} meet {condition}\n", share(rows.len(), &table)))
}

fn share(selected: usize, table: &Table) -> String {
    let percent = 100.0 * selected as f64 / table.len().max(1) as f64;
    format!("{} of {} samples ({percent:.1} %)", grouped(selected as u64), grouped(table.len() as u64))
}

fn record(dataset: &Dataset, args: &FilterArgs, name: &str, condition: &str) -> Result<String, Fault> {
    if !filter::is_name(name) {
        return Err(Fault::invalid(format!("{name:?} is no name for a condition"))
            .hint("use letters, digits, _, - and ., a letter first"));
    }
    let (mut selected, mut told, mut is_new) = (0, String::new(), false);
    let made = dataset.commit(|head| {
        let table = dataset.table(head)?;
        selected = filter::rows(&table, condition)?.len();
        told = share(selected, &table);
        match head.selections.get(name) {
            Some(there) if there == condition => return Ok(None),
            Some(there) if !args.replace => {
                return Err(Fault::invalid(format!("{name} is recorded as {there}")).hint(
                    "take another name, or --replace it: jobs that name it get other samples from then on",
                ));
            }
            _ => {}
        }
        is_new = true;
        let mut next = head.clone();
        next.selections.insert(name.to_owned(), condition.to_owned());
        next.change = change(format!("{name}: {condition}"), selected);
        Ok(Some(next))
    })?;
    if args.set.json {
        let whole =
            json!({ "name": name, "where": condition, "selected": selected, "commit": commit_json(&made) });
        return Ok(format!("{whole:#}\n"));
    }
    let commit = if is_new { commit_text(&made) } else { "it was recorded before\n".to_owned() };
    Ok(format!("{name}: {told} meet {condition}\n{commit}"))
}

fn change(message: String, selected: usize) -> Change {
    Change { verb: "filter".to_owned(), message, counts: [("selected".to_owned(), selected as u64)].into() }
}

fn forget(dataset: &Dataset, args: &FilterArgs, name: &str) -> Result<String, Fault> {
    let made = dataset.commit(|head| {
        let mut next = head.clone();
        if next.selections.remove(name).is_none() {
            let there: Vec<_> = head.selections.keys().map(String::as_str).collect();
            let hint = if there.is_empty() { "none is recorded".to_owned() } else { there.join(", ") };
            let message = format!("{} has no recorded selection {name}", dataset.place());
            return Err(Fault::new(Kind::NotFound, message).hint(format!("recorded: {hint}")));
        }
        next.change =
            Change { verb: "filter".to_owned(), message: format!("{name} dropped"), ..Change::default() };
        Ok(Some(next))
    })?;
    Ok(args.set.tell(&made))
}

fn list(dataset: &Dataset, args: &FilterArgs) -> Result<String, Fault> {
    let head: Manifest = dataset.head()?;
    let table = dataset.table(&head)?;
    let mut lines = Vec::new();
    for (name, condition) in &head.selections {
        // A column may have gone since it was recorded: that is told of this one, and the others are listed.
        lines.push((name, condition, filter::rows(&table, condition).map(|rows| rows.len())));
    }
    if args.set.json {
        let line = |(name, condition, selected): &(&String, &String, Result<usize, Fault>)| {
            let error = selected.as_ref().err().map(Fault::line);
            json!({ "name": name, "where": condition, "selected": selected.as_ref().ok(), "error": error })
        };
        let whole =
            json!({ "samples": table.len(), "selections": lines.iter().map(line).collect::<Vec<_>>() });
        return Ok(format!("{whole:#}\n"));
    }
    if lines.is_empty() {
        return Ok("no selection is recorded\n".to_owned());
    }
    Ok(lines
        .iter()
        .map(|(name, condition, selected)| match selected {
            Ok(selected) => format!("{name}: {condition}: {}\n", share(*selected, &table)),
            Err(fault) => {
                format!("{name}: {condition}: {}\n", fault.message.lines().next().unwrap_or_default())
            }
        })
        .collect())
}
