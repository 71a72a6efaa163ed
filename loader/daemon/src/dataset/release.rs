//! `forebay dataset release`: samples that come back out of quarantine; and what is in it.

use std::collections::HashSet;

use serde_json::json;

use super::common::{SetArgs, commit_json, commit_text};
use super::keys::{self, KeysArgs};
use crate::catalog::dataset::{Change, Dataset, reasons};
use crate::error::Fault;

/// Options of `forebay dataset release`.
#[derive(clap::Args, Clone, Debug)]
pub struct ReleaseArgs {
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub set: SetArgs,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub keys: KeysArgs,
    /// Release everything.
    #[arg(long, conflicts_with_all = ["keys", "from"])]
    pub all: bool,
}

/// What `forebay dataset release --help` ends with.
pub const RELEASE_HELP: &str = "\
Without keys it lists what is in quarantine, and why. A released sample is in the data set again from that commit on;
the next `dataset verify` looks at it, and puts it back where its bytes are still corrupt.

Examples:
  forebay dataset release /data/photos
  forebay dataset release /data/photos cats/17.jpg
  forebay dataset release /data/photos --from mended.txt
  forebay dataset release /data/photos --all";

/// Releases, or lists.
pub(super) fn run(args: &ReleaseArgs) -> Result<String, Fault> {
    let dataset = args.set.open()?;
    if args.keys.is_empty() && !args.all {
        return list(&dataset, args);
    }
    let wanted = args.keys.read()?;
    let (mut released, mut unknown) = (Vec::new(), Vec::new());
    let made = dataset.commit(|head| {
        let held = dataset.quarantine(head)?;
        let wanted: HashSet<_> =
            if args.all { held.iter().map(|(key, _)| key).collect() } else { wanted.iter().collect() };
        let (go, stay): (Vec<_>, Vec<_>) = held.iter().partition(|(key, _)| wanted.contains(key));
        let there: HashSet<_> = held.iter().map(|(key, _)| key).collect();
        released = go.iter().map(|(key, _)| key.clone()).collect();
        unknown = wanted.difference(&there).map(|key| (*key).clone()).collect::<Vec<_>>();
        unknown.sort();
        if go.is_empty() {
            return Ok(None);
        }
        let mut next = head.clone();
        next.quarantined.clear();
        if !stay.is_empty() {
            let left = reasons(stay.iter().map(|(key, reason)| (&key[..], &reason[..])))?;
            next.quarantined.push(dataset.put(&left)?);
        }
        let counts = [("released", go.len()), ("left", stay.len())]
            .map(|(name, count)| (name.to_owned(), count as u64));
        next.change = Change {
            verb: "release".to_owned(),
            message: "out of quarantine".to_owned(),
            counts: counts.into(),
        };
        Ok(Some(next))
    })?;
    if args.set.json {
        let whole = json!({
            "released": keys::shown(&released),
            "unknown": keys::shown(&unknown),
            "commit": commit_json(&made),
        });
        return Ok(format!("{whole:#}\n"));
    }
    let unknown = keys::listed("not in quarantine", &unknown);
    let told = if released.is_empty() { "nothing to release\n".to_owned() } else { commit_text(&made) };
    Ok(unknown + &told)
}

fn list(dataset: &Dataset, args: &ReleaseArgs) -> Result<String, Fault> {
    let held = dataset.quarantine(&dataset.head()?)?;
    let named = held.iter().map(|(key, reason)| (String::from_utf8_lossy(key), reason));
    if args.set.json {
        let held: Vec<_> = named.map(|(key, reason)| json!({ "key": key, "reason": reason })).collect();
        return Ok(format!("{:#}\n", json!({ "quarantine": held })));
    }
    if held.is_empty() {
        return Ok("nothing is in quarantine\n".to_owned());
    }
    let lines: Vec<_> = named.map(|(key, reason)| format!("{key}: {reason}\n")).collect();
    Ok(lines.concat())
}
