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
}
