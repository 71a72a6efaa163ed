//! What a checkpoint remembers of the data: one JSON record under 1 kB.

use serde::{Deserialize, Serialize};

use crate::tensor::is_plain_name;
use crate::{Cursor, Digest, StateError};

/// Version of the record.
pub const STATE_VERSION: u32 = 1;
/// The most bytes a record has.
pub const STATE_BYTES_MAX: usize = 1024;

/// Where a run stands and what it needs to go on: the same on every rank, whatever their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// Unique to the run: 1 to 128 characters of `[A-Za-z0-9._:-]`.
    pub job_id: String,
    /// The snapshot the samples come from.
    pub snapshot: Digest,
    /// Order digest: [`crate::OrderSpec::digest`].
    pub order: Digest,
    /// Content digest: what a row is made into.
    pub content: Digest,
    /// The job's seed.
    pub seed: u64,
    /// Epochs finished.
    pub epoch: u64,
    /// Rows of this epoch consumed by all ranks together.
    pub position: u64,
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

    /// Reads a record that [`State::to_json`] wrote.
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
        if version != STATE_VERSION {
            return Err(StateError::Version { found: version, known: STATE_VERSION });
        }
        let state: Self = serde_json::from_str(text).map_err(|source| StateError::Field { source })?;
        state.check_job_id()?;
        Ok(state)
    }

    /// Whether a job may go on from this saved state; `current` is the job's own, at any position.
    ///
    /// * `waive_content`: the caller accepts that the rows are made into other bytes from here on.
    ///
    /// The job id is not compared: the job that goes on takes the saved one.
    ///
    /// # Errors
    /// [`StateError::SnapshotDiffers`], [`StateError::SeedDiffers`] or [`StateError::OrderDiffers`], the most
    /// telling first; [`StateError::ContentDiffers`] unless waived.
    pub fn check(&self, current: &Self, waive_content: bool) -> Result<(), StateError> {
        if self.snapshot != current.snapshot {
            return Err(StateError::SnapshotDiffers {
                saved: self.snapshot.short(),
                current: current.snapshot.short(),
            });
        }
        if self.seed != current.seed {
            return Err(StateError::SeedDiffers { saved: self.seed, current: current.seed });
        }
        if self.order != current.order {
            return Err(StateError::OrderDiffers { saved: self.order, current: current.order });
        }
        if self.content != current.content && !waive_content {
            return Err(StateError::ContentDiffers { saved: self.content, current: current.content });
        }
        Ok(())
    }

    fn check_job_id(&self) -> Result<(), StateError> {
        if is_plain_name(&self.job_id, 128) {
            return Ok(());
        }
        Err(StateError::JobId { job_id: self.job_id.chars().take(128).collect() })
    }
}

/// What every version of the record has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn state() -> State {
        State {
            version: STATE_VERSION,
            job_id: "run-7".into(),
            snapshot: Digest::from_bytes([1; 32]),
            order: Digest::from_bytes([2; 32]),
            content: Digest::from_bytes([3; 32]),
            seed: 42,
            epoch: 1,
            position: 96,
        }
    }

    #[test]
    fn a_state_reads_back_from_its_json() {
        let json = state().to_json().expect("a plain job id");
        assert_eq!(State::from_json(&json).expect("our own record"), state());
        assert_eq!(state().cursor(), Cursor { epoch: 1, position: 96 });
        assert_eq!(state().at(Cursor { epoch: 2, position: 3 }).cursor(), Cursor { epoch: 2, position: 3 });
    }

    #[test]
    fn the_largest_state_is_under_one_kilobyte() {
        let last = Cursor { epoch: u64::MAX, position: u64::MAX };
        let largest =
            State { job_id: "x".repeat(128), seed: u64::MAX, version: u32::MAX, ..state() }.at(last);
        let json = largest.to_json().expect("a plain job id");
        assert!(json.len() < 1000, "{} bytes", json.len());
    }

    #[test]
    fn a_job_id_that_is_no_plain_name_is_neither_written_nor_read() {
        for job_id in ["", "a b", "a/b", "ü", "\"", &"x".repeat(129)] {
            let bad = State { job_id: job_id.into(), ..state() };
            assert!(matches!(bad.to_json(), Err(StateError::JobId { .. })), "{job_id}");
            let json = serde_json::to_string(&bad).expect("still JSON");
            assert!(matches!(State::from_json(&json), Err(StateError::JobId { .. })), "{job_id}");
        }
    }

    #[test]
    fn an_oversized_record_is_refused_before_it_is_parsed() {
        let padded = format!("{}{}", state().to_json().expect("a plain job id"), " ".repeat(1024));
        assert!(matches!(State::from_json(&padded), Err(StateError::TooLarge { len_bytes_max: 1024, .. })));
    }

    #[test]
    fn what_is_no_record_is_told_from_a_record_of_another_version() {
        for text in
            ["", "null", "[]", "[1,2]", "{}", "{\"version\":\"1\"}", "{\"version\":1", "{\"version\":-1}"]
        {
            assert!(matches!(State::from_json(text), Err(StateError::NotARecord { .. })), "{text}");
        }
        let error = State::from_json("{\"version\":2,\"later\":true}").expect_err("a later version");
        assert!(matches!(error, StateError::Version { found: 2, known: 1 }));
        assert!(error.to_string().contains("resume with the forebay that wrote it"));
    }

    #[test]
    fn a_missing_a_mistyped_and_an_unknown_field_are_named() {
        let json = state().to_json().expect("a plain job id");
        let broken = [
            (json.replace("\"seed\":42,", ""), "seed"),
            (json.replace("\"seed\":42", "\"seed\":\"42\""), "string"),
            (json.replace("\"seed\":42", "\"seed\":-1"), "-1"),
            (json.replace("\"seed\":42", "\"seed\":1.5"), "1.5"),
            (json.replace("\"seed\":42", "\"seed\":42,\"world\":8"), "world"),
            (json.replace("\"seed\":42", "\"seed\":42,\"seed\":42"), "seed"),
            (json.replace("0101", "01"), "64 lower-case hexadecimal digits"),
        ];
        for (text, fact) in broken {
            let error = State::from_json(&text).expect_err("a broken record");
            assert!(matches!(error, StateError::Field { .. }), "{error:?}");
            let source = error.source().expect("the parser's word").to_string();
            assert!(source.contains(fact), "{source:?} does not say {fact:?}");
        }
    }

    #[test]
    fn a_state_of_the_same_job_may_go_on_under_another_id_and_at_another_position() {
        let current = State { job_id: "run-8".into(), epoch: 0, position: 0, ..state() };
        assert!(state().check(&current, false).is_ok());
    }

    #[test]
    fn a_state_of_another_job_is_refused_with_what_differs() {
        let other = Digest::from_bytes([9; 32]);
        let refused = |current: State, waive| state().check(&current, waive).expect_err("another job");
        let snapshot = refused(State { snapshot: other, order: other, ..state() }, true);
        assert!(matches!(snapshot, StateError::SnapshotDiffers { .. }));
        let seed = refused(State { seed: 43, order: other, ..state() }, true);
        assert!(matches!(seed, StateError::SeedDiffers { saved: 42, current: 43 }));
        let order = refused(State { order: other, ..state() }, true);
        assert!(order.to_string().starts_with("the order digest differs: saved 020202020202, this job 0909"));
        let content = refused(State { content: other, ..state() }, false);
        assert!(content.to_string().starts_with("the content digest differs: saved 030303030303"));
    }

    #[test]
    fn other_content_may_be_waived() {
        let current = State { content: Digest::from_bytes([9; 32]), ..state() };
        assert!(state().check(&current, true).is_ok());
    }
}
