//! What a record, and the run that it belongs to, may be called.

use std::fmt;

use super::error::RecordError;

/// Bytes of one part of a name.
const PART_BYTES_MAX: usize = 128;

/// The name of a record under a state root: parts with `/` between them, such as `jobs/run-7/epochs/3.json`.
///
/// A part has letters, digits and `. _ : -`, as a job id has, and begins with no dot, so that it is the same in a file
/// system and in a bucket, and leads nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordName(String);

/// The name of a run: one part of a [`RecordName`], unique among the runs that share a state root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobId(String);

impl RecordName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`RecordError::Name`]: a part that is empty, too long, begins with a dot or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, RecordError> {
        let name = name.into();
        match name.split('/').find_map(fault_of) {
            Some(why) => Err(RecordError::Name { name: shown(&name), why }),
            None => Ok(Self(name)),
        }
    }

    /// The name of a part that this program chose itself.
    pub(crate) fn ours(name: impl Into<String>) -> Self {
        Self::new(name).expect("our own names have letters, digits and dashes")
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder that holds the record, if any, and its name there.
    pub(super) fn split(&self) -> (Option<&str>, &str) {
        self.0.rsplit_once('/').map_or((None, &self.0), |(folder, last)| (Some(folder), last))
    }

    /// A record in this folder.
    ///
    /// # Errors
    /// As [`RecordName::new`].
    pub fn join(&self, part: &str) -> Result<Self, RecordError> {
        Self::new(format!("{self}/{part}"))
    }
}

impl JobId {
    /// Checks the name of a run.
    ///
    /// # Errors
    /// [`RecordError::JobId`]: empty, longer than 128 bytes, begins with a dot, or has other characters than those of
    /// [`RecordName`].
    pub fn new(id: impl Into<String>) -> Result<Self, RecordError> {
        let id = id.into();
        match fault_of(&id) {
            Some(why) => Err(RecordError::JobId { id: shown(&id), why }),
            None => Ok(Self(id)),
        }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of the run's records.
    pub fn folder(&self) -> RecordName {
        RecordName(format!("jobs/{}", self.0))
    }
}

/// What is wrong with a part, if anything.
fn fault_of(part: &str) -> Option<&'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    match part {
        "" => Some("is empty or has an empty part"),
        part if part.len() > PART_BYTES_MAX => Some("is longer than 128 bytes"),
        part if part.starts_with('.') => Some("begins with a dot"),
        part if !part.bytes().all(fits) => Some("has other characters than letters, digits and . _ : -"),
        _ => None,
    }
}

fn shown(name: &str) -> String {
    name.chars().take(200).collect()
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_or_differ_between_stores_are_refused() {
        for name in
            ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a/.b", ".", "a b", "a\0", "ä", "a\\b", "a%2Fb"]
        {
            assert!(RecordName::new(name).is_err(), "{name:?}");
        }
        assert!(RecordName::new("a".repeat(129)).is_err());
        assert!(RecordName::new("jobs/run-7/epochs/3.json").is_ok());
    }

    #[test]
    fn a_job_id_is_one_part_and_its_error_says_what_is_allowed() {
        assert_eq!(JobId::new("lr-0.1:bs_32").expect("a name").folder().as_str(), "jobs/lr-0.1:bs_32");
        let error = JobId::new("exp/7").expect_err("two parts").to_string();
        assert_eq!(error, "the job id \"exp/7\" has other characters than letters, digits and . _ : -");
    }
}
