//! What the verbs on a data set that grows share: how it is named, and how a commit is told.

use serde_json::{Value, json};

use crate::catalog::dataset::{Dataset, Manifest};
use crate::error::Fault;

/// Which data set, and how what is known of it is printed.
#[derive(clap::Args, Clone, Debug)]
pub struct SetArgs {
    /// The data set: its own place, or the data that it lies beside (/data/photos for /data/photos.forebay).
    pub place: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl SetArgs {
    /// Opens it.
    ///
    /// # Errors
    /// NotFound: there is none. What the storage says.
    pub fn open(&self) -> Result<Dataset, Fault> {
        Dataset::open(&absolute(&self.place)?)
    }

    /// A commit in words, or as JSON.
    pub fn tell(&self, manifest: &Manifest) -> String {
        if self.json { format!("{:#}\n", commit_json(manifest)) } else { commit_text(manifest) }
    }
}

/// A place as it is opened: buckets as they are, folders from the root on.
///
/// # Errors
/// Invalid: a path that is not UTF-8, or no working directory.
pub fn absolute(place: &str) -> Result<String, Fault> {
    if place.starts_with("s3://") {
        return Ok(place.to_owned());
    }
    let path = std::path::absolute(place).map_err(|error| {
        Fault::from_error(crate::error::Kind::Invalid, &error).context(format!("{place:?}"))
    })?;
    path.into_os_string().into_string().map_err(|_| {
        Fault::invalid(format!("the path of {place} is not UTF-8"))
            .hint("give its folder another name, or a bucket")
    })
}

/// `commit 3: index /data/photos: 20 added, 5 known`.
pub fn commit_text(manifest: &Manifest) -> String {
    let counts: Vec<_> = manifest
        .change
        .counts
        .iter()
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    let (verb, message) = (&manifest.change.verb, &manifest.change.message);
    format!("commit {}: {verb} {message}: {}\n", manifest.number, counts.join(", "))
}

/// The same for programs.
pub fn commit_json(manifest: &Manifest) -> Value {
    json!({
        "commit": manifest.number,
        "written_unix_ms": manifest.written_unix_ms,
        "by": manifest.by,
        "verb": manifest.change.verb,
        "message": manifest.change.message,
        "counts": manifest.change.counts,
    })
}

/// So many keys are spelled out.
const KEYS_SHOWN: usize = 20;

/// The first keys, and how many more there are; `all`: how to have them.
pub fn keys_text(keys: &[Vec<u8>], all: &str) -> String {
    let shown: Vec<_> = keys.iter().take(KEYS_SHOWN).map(|key| String::from_utf8_lossy(key)).collect();
    match keys.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more{all}", shown.join(", ")),
    }
}

/// `1 row`, `2 rows`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `2026-11-22 13:05:09Z`, of milliseconds since 1970.
pub fn moment(unix_ms: u64) -> String {
    let (days, of_day) = (unix_ms / 86_400_000, unix_ms / 1000 % 86_400);
    // Years begin in March here, so that the leap day is the last one: Hinnant, "chrono-compatible low-level date
    // algorithms".
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_place_is_opened_from_the_working_directory_and_a_bucket_as_it_is() {
        assert!(absolute("data/photos").unwrap().starts_with('/'));
        assert_eq!(absolute("s3://bucket/photos").unwrap(), "s3://bucket/photos");
        let args = SetArgs { place: "/nowhere/photos".to_owned(), json: false };
        assert!(args.open().err().unwrap().message.contains("/nowhere/photos.forebay"));
    }

    #[test]
    fn a_moment_is_a_date_of_the_calendar() {
        // date -u -d @SECONDS
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(moment(1_709_251_199_999), "2024-02-29 23:59:59Z");
        assert_eq!(moment(1_795_352_709_000), "2026-11-22 13:05:09Z");
        assert!(moment(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn some_keys_are_spelled_out_and_the_others_counted() {
        let keys: Vec<_> = (0..22).map(|key| key.to_string().into_bytes()).collect();
        assert_eq!(keys_text(&keys[..2], "!"), "0, 1");
        assert!(keys_text(&keys, "!").ends_with("18, 19 and 2 more!"));
    }
}
