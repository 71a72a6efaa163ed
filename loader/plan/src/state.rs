//! What a checkpoint remembers of the data: one JSON record of 1 kB, a little more for a mixture of many data sets.

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::tensor::is_plain_name;
use crate::{Cursor, Digest, PartDifference, Parts, StateError};

/// The newest version. Version 1 has neither `rows` nor parts; version 2, which is still written where no source is a
/// data set, has no `commits`. All are read.
pub const STATE_VERSION: u32 = 3;
/// The most bytes a record has.
pub const STATE_BYTES_MAX: usize = 1024 + STATE_COMMITS_BYTES_MAX;
/// The most bytes of `commits`; of so many sources that they do not fit none is kept.
pub const STATE_COMMITS_BYTES_MAX: usize = 200;

/// Where a run stands and what it needs to go on: the same on every rank, whatever their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// 1 to [`STATE_VERSION`].
    pub version: u32,
    /// Unique to the run: 1 to 128 characters of `[A-Za-z0-9._:-]`.
    pub job_id: String,
    /// The snapshot the samples come from.
    pub snapshot: Digest,
    /// Order digest: [`crate::OrderSpec::digest`].
    #[serde(rename = "order_digest")]
    pub order: Digest,
    /// Content digest: what a row is made into.
    #[serde(rename = "content_digest")]
    pub content: Digest,
    /// The job's seed.
    pub seed: u64,
    /// Epochs finished.
    pub epoch: u64,
    /// Rows of this epoch consumed by all ranks together.
    pub position: u64,
    /// Rows of an epoch. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// What the order is made of, beside snapshot, seed and rows. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_parts: Option<Parts>,
    /// What the content is made of. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_parts: Option<Parts>,
    /// Of each source, with commas between, the commit of its data set, 0 where it is none. In version 3 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits: Option<String>,
}

/// What keeps a job from going on from a saved state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Why it is another order of samples, which nothing waives. Empty: it is the same.
    pub order: Vec<String>,
    /// Which parts of the contents are others, which may be waived by name. Empty: they are the same.
    pub content: Vec<PartDifference>,
}

impl State {
    /// Where the run stands.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, position: self.position }
    }

    /// The same run standing elsewhere.
    #[must_use]
    pub fn at(self, cursor: Cursor) -> Self {
        Self { epoch: cursor.epoch, position: cursor.position, ..self }
    }

    /// The record as JSON of at most [`STATE_BYTES_MAX`] bytes, fields in the order declared.
    ///
    /// # Errors
    /// [`StateError::JobId`] where the id is not 1 to 128 plain characters.
    pub fn to_json(&self) -> Result<String, StateError> {
        self.check_job_id()?;
        Ok(serde_json::to_string(self).expect("a struct of numbers and strings is always JSON"))
    }

    /// Reads a record that [`State::to_json`] or the Python client wrote, of any version so far.
    ///
    /// # Errors
    /// [`StateError::TooLarge`], [`StateError::NotARecord`], [`StateError::Version`], [`StateError::Field`],
    /// [`StateError::JobId`], each with what to do.
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        if text.len() > STATE_BYTES_MAX {
            return Err(StateError::TooLarge { len_bytes: text.len(), len_bytes_max: STATE_BYTES_MAX });
        }
        let Versioned { version } =
            serde_json::from_str(text).map_err(|source| StateError::NotARecord { source })?;
        if !(1..=STATE_VERSION).contains(&version) {
            return Err(StateError::Version { found: version, known: STATE_VERSION });
        }
        let state: Self = serde_json::from_str(text).map_err(|source| StateError::Field { source })?;
        state.check_version()?;
        state.check_job_id()?;
        Ok(state)
    }

    /// What keeps a job whose state is `now`, at any position, from going on from this saved one.
    ///
    /// The job id is not compared: the job that goes on takes the saved one.
    pub fn differences(&self, now: &Self) -> Differences {
        Differences { order: self.order_differences(now), content: self.content_differences(now) }
    }

    fn order_differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.order == now.order {
            return found;
        }
        if self.snapshot != now.snapshot {
            let snapshot = |state: &Self| match state.rows {
                Some(rows) => format!("{} with {rows} rows", state.snapshot.short()),
                None => state.snapshot.short(),
            };
            found.push(format!("snapshot {} is now {}", snapshot(self), snapshot(now)));
        }
        if let (Some(saved), Some(now)) = (&self.commits, &now.commits)
            && saved != now
        {
            found.push(format!("commit {saved} is now {now}"));
        }
        if self.seed != now.seed {
            found.push(format!("seed {} is now {}", self.seed, now.seed));
        }
        if let (Some(saved), Some(now)) = (&self.order_parts, &now.order_parts) {
            let parts = saved.differences(now);
            found.extend(parts.into_iter().map(|PartDifference { part, words }| format!("{part}: {words}")));
        }
        if found.is_empty() {
            found.push("the sampler, or a detail that the states do not keep".to_owned());
        }
        found
    }

    fn content_differences(&self, now: &Self) -> Vec<PartDifference> {
        if self.content == now.content {
            return Vec::new();
        }
        let mut found = Vec::new();
        if let (Some(saved), Some(now)) = (&self.content_parts, &now.content_parts) {
            found = saved.differences(now);
        }
        if found.is_empty() {
            let words = "differs in a detail that the states do not keep".to_owned();
            found.push(PartDifference { part: "content".to_owned(), words });
        }
        found
    }

    /// What came with a version is in every record of it and in none before.
    fn check_version(&self) -> Result<(), StateError> {
        let parts = [
            ("rows", 2, self.rows.is_some()),
            ("order_parts", 2, self.order_parts.is_some()),
            ("content_parts", 2, self.content_parts.is_some()),
            ("commits", 3, self.commits.is_some()),
        ];
        let wrong = |words: String| Err(StateError::Field { source: serde_json::Error::custom(words) });
        let misplaced = parts.into_iter().find(|(_, since, present)| *present != (self.version >= *since));
        if let Some((name, _, present)) = misplaced {
            let how = if present { "unknown" } else { "missing" };
            return wrong(format!("{how} field `{name}` in version {}", self.version));
        }
        match &self.commits {
            Some(commits) if !are_commits(commits) => {
                let start: String = commits.chars().take(64).collect();
                wrong(format!("`commits` {start:?} is not a number a source, with commas between"))
            }
            _ => Ok(()),
        }
    }

    fn check_job_id(&self) -> Result<(), StateError> {
        if is_plain_name(&self.job_id, 128) {
            return Ok(());
        }
        Err(StateError::JobId { job_id: self.job_id.chars().take(128).collect() })
    }
}

/// Whether a text is numbers as [`State::commits`] has them, one of them a commit.
fn are_commits(text: &str) -> bool {
    let is_plain = |number: &str| number.parse::<u64>().is_ok_and(|parsed| parsed.to_string() == number);
    text.len() <= STATE_COMMITS_BYTES_MAX
        && text.split(',').all(is_plain)
        && text.split(',').any(|number| number != "0")
}

/// What every version of the record has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests;
