//! `forebay dataset remove`: samples that leave the data set for ever.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _, stderr, stdin};

use serde_json::json;

use super::common::{SetArgs, commit_json, commit_text};
use super::keys::{self, KeysArgs};
use super::text::grouped;
use crate::catalog::dataset::{Change, Dataset, Manifest, filter, reasons};
use crate::error::Fault;

/// Options of `forebay dataset remove`.
#[derive(clap::Args, Clone, Debug)]
pub struct RemoveArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub keys: KeysArgs,
    /// All samples that meet a condition, or a recorded one by its name.
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Ask nothing, however many go.
    #[arg(long)]
    pub yes: bool,
}

/// What `forebay dataset remove --help` ends with.
pub const REMOVE_HELP: &str = "\
Removed samples are in no later commit, and no later index, add or ingest brings them back. Nothing else changes: their
files stay where they are, commits made before still name them, and so do snapshots that runs have pinned. A run that
follows the data set leaves them out from its next epoch on; start a pinned one anew.

Examples:
  forebay dataset remove /data/photos cats/17.jpg cats/18.jpg --reason 'owner asked, ticket 4711'
  forebay dataset remove /data/photos --from withdrawn.txt --reason 'licence ended' --yes
  forebay dataset remove /data/photos --where \"licence = 'nc'\" --reason 'not for products'";

/// Which samples go, of those that were asked for.
#[derive(Default)]
struct Sorted {
    /// In the data set, or in quarantine.
    go: Vec<Vec<u8>>,
    /// Removed before.
    gone: Vec<Vec<u8>>,
    /// Never in it.
    unknown: Vec<Vec<u8>>,
    /// Samples in it and in quarantine.
    samples: usize,
    /// Frozen sets that lose some, and how many.
    frozen: Vec<(String, usize)>,
}

/// Removes, after asking where that is much and somebody is there to ask.
pub(super) fn run(args: &RemoveArgs) -> Result<String, Fault> {
    if args.keys.is_empty() && args.condition.is_none() {
        return Err(Fault::invalid("no sample is named").hint("name keys, --from FILE or --where CONDITION"));
    }
    let dataset = args.set.open()?;
    let named = args.keys.read()?;
    let (mut sorted, mut agreed) = (Sorted::default(), args.yes);
    let made = dataset.commit(|head| {
        sorted = sort(&dataset, head, &named, args.condition.as_deref())?;
        if sorted.go.is_empty() {
            return Ok(None);
        }
        agreed = agreed || agrees(&sorted)?;
        let list = reasons(sorted.go.iter().map(|key| (&key[..], &args.reason[..])))?;
        let mut next = head.clone();
        next.removed.push(dataset.put(&list)?);
        next.change = change(&args.reason, &sorted);
        Ok(Some(next))
    })?;
    Ok(tell(args, &sorted, &made))
}

fn sort(
    dataset: &Dataset,
    head: &Manifest,
    named: &[Vec<u8>],
    condition: Option<&str>,
) -> Result<Sorted, Fault> {
    let mut wanted: Vec<_> = named.to_vec();
    if let Some(text) = condition {
        let table = dataset.table(head)?;
        let text = head.selections.get(text).map_or(text, String::as_str);
        wanted.extend(filter::rows(&table, text)?.into_iter().map(|row| table.key(row).into_owned()));
    }
    let removed = dataset.keys_of(head.removed.iter())?;
    let all = dataset.all_samples(head)?;
    let known: HashSet<_> = all.keys().collect();
    let mut sorted = Sorted { samples: known.len().saturating_sub(removed.len()), ..Sorted::default() };
    let mut seen = HashSet::new();
    for key in wanted.into_iter().filter(|key| seen.insert(key.clone())) {
        let list = if removed.contains(&key) {
            &mut sorted.gone
        } else if known.contains(&key[..]) {
            &mut sorted.go
        } else {
            &mut sorted.unknown
        };
        list.push(key);
    }
    let go: HashSet<_> = sorted.go.iter().collect();
    for (name, set) in &head.frozen {
        let keys = dataset.keys_of(std::iter::once(&set.file))?;
        let lost = keys.iter().filter(|key| go.contains(key)).count();
        sorted.frozen.extend((lost > 0).then(|| (name.clone(), lost)));
    }
    Ok(sorted)
}

/// Asks where more than one in a hundred would go and a person sits there.
fn agrees(sorted: &Sorted) -> Result<bool, Fault> {
    if sorted.go.len() * 100 <= sorted.samples || !stdin().is_terminal() {
        return Ok(true);
    }
    let (go, samples) = (grouped(sorted.go.len() as u64), grouped(sorted.samples as u64));
    let _ = write!(stderr(), "remove {go} of {samples} samples for ever? [y/N] ");
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|error| Fault::from_error(crate::error::Kind::Invalid, &error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(true);
    }
    Err(Fault::invalid("nothing was removed").hint("answer y, or give --yes"))
}

fn change(reason: &str, sorted: &Sorted) -> Change {
    let counts = [
        ("removed", sorted.go.len()),
        ("removed_before", sorted.gone.len()),
        ("unknown", sorted.unknown.len()),
    ];
    let told = counts.into_iter().filter(|(_, count)| *count > 0);
    let counts = told.map(|(name, count)| (name.to_owned(), count as u64)).collect();
    Change { verb: "remove".to_owned(), message: reason.to_owned(), counts }
}

fn tell(args: &RemoveArgs, sorted: &Sorted, made: &Manifest) -> String {
    if args.set.json {
        let whole = json!({
            "removed": keys::shown(&sorted.go),
            "removed_before": keys::shown(&sorted.gone),
            "unknown": keys::shown(&sorted.unknown),
            "frozen": sorted.frozen.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "commit": commit_json(made),
        });
        return format!("{whole:#}\n");
    }
    let unknown = keys::listed("not in the data set, so not removed", &sorted.unknown);
    if sorted.go.is_empty() {
        let gone = sorted.gone.len();
        return format!(
            "{unknown}nothing to remove: {gone} were removed before, {} are unknown\n",
            sorted.unknown.len()
        );
    }
    let frozen = sorted.frozen.iter();
    let frozen = frozen
        .map(|(name, lost)| format!("the frozen set {name} loses {lost}: its results are others now\n"));
    format!(
        "{unknown}{}{}commits up to {} and snapshots that runs have pinned still name them; their files are untouched\n",
        commit_text(made),
        frozen.collect::<String>(),
        made.number - 1
    )
}
