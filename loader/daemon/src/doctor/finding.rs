//! One finding: how bad, what was found, what it means for forebay, what to do.

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Costs speed, or will bite one day.
    Warn,
    /// Forebay, or a job on this node, will not work.
    Fail,
}

/// One fact and its verdict. As JSON: `id`, `subject` (where there may be several), `level`, `found`, `means`, `do`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable, `topic.fact`, as in `memory.limit`.
    pub id: &'static str,
    /// Which of several, as in `/data` or `GPU 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How bad.
    pub level: Level,
    /// What is there.
    pub found: String,
    /// What that means for forebay.
    pub means: String,
    /// What changes it, mostly a command.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    /// A finding of `level` without a cure.
    pub fn new(level: Level, id: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { id, subject: None, level, found: found.into(), means: means.into(), cure: None }
    }

    /// All is well.
    pub fn ok(id: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self::new(Level::Ok, id, found, means)
    }

    /// Worth knowing.
    pub fn note(id: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self::new(Level::Note, id, found, means)
    }

    /// Costs speed, or will bite one day.
    pub fn warn(id: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self::new(Level::Warn, id, found, means)
    }

    /// Something will not work.
    pub fn fail(id: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self::new(Level::Fail, id, found, means)
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Which of several it is about.
    #[must_use]
    pub fn of(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

/// Bytes in the unit that people use for them.
pub fn size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64).replace(".0 ", " "),
        None => format!("{bytes} B"),
    }
}
