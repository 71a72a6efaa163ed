//! Errors as callers see them: a kind that says what to do, the facts, the chain of causes, and the cure.

use std::error::Error as StdError;
use std::fmt;

use forebay_proto::v1;

/// What the caller should do about an error. The wire's `ErrorKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Change the request.
    Invalid,
    /// It names what is not there.
    NotFound,
    /// Ask again, maybe another daemon.
    Unavailable,
    /// Mend the data.
    Corrupt,
    /// A broken invariant of ours: report it.
    Internal,
    /// This daemon does not serve it; the message names it.
    Unimplemented,
    /// The caller's uid and gid may not.
    Denied,
    /// The data is not what the snapshot describes.
    Changed,
}

/// An error on its way to a client or a person: already words, so that it can cross the wire unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the caller should do.
    pub kind: Kind,
    /// What failed, lower case, no full stop.
    pub message: String,
    /// The chain behind it, outermost first.
    pub causes: Vec<String>,
    /// The cure, where one is known.
    pub hint: Option<String>,
    /// The sample's key or the path to blame.
    pub object: Option<String>,
}

impl Fault {
    /// An error of `kind` with `message` alone.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None, object: None }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// `what` is in the protocol and not served by this version.
    pub fn unimplemented(what: impl fmt::Display) -> Self {
        Self::new(Kind::Unimplemented, format!("unimplemented: {what}"))
            .hint("this version of the daemon does not serve it; Hello's features list what it does")
    }

    /// An invariant of ours is broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message).hint("this is a bug in forebay; please report it with this text")
    }

    /// Takes the message and the whole chain of `error`.
    pub fn from_error(kind: Kind, error: &(dyn StdError + 'static)) -> Self {
        let mut fault = Self::new(kind, error.to_string());
        fault.causes = chain(error.source());
        fault
    }

    /// Adds the cure.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cure where `hint` knows one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Names the sample or path to blame.
    #[must_use]
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// Puts `what` before the message, which becomes the first cause.
    #[must_use]
    pub fn context(mut self, what: impl Into<String>) -> Self {
        self.causes.insert(0, std::mem::replace(&mut self.message, what.into()));
        self
    }

    /// The message and its causes in one line, for a log.
    pub fn line(&self) -> String {
        self.causes.iter().fold(self.message.clone(), |line, cause| line + ": " + cause)
    }

    /// The message for the wire.
    pub fn to_proto(&self) -> v1::Error {
        v1::Error {
            kind: v1::ErrorKind::from(self.kind).into(),
            message: self.message.clone(),
            causes: self.causes.clone(),
            hint: self.hint.clone().unwrap_or_default(),
            object: self.object.clone().unwrap_or_default(),
        }
    }
}

/// The message of `error` and its whole chain, in one line.
pub fn with_causes(error: &(dyn StdError + 'static)) -> String {
    chain(Some(error)).join(": ")
}

fn chain(mut next: Option<&(dyn StdError + 'static)>) -> Vec<String> {
    let mut causes = Vec::new();
    while let Some(error) = next {
        causes.push(error.to_string());
        next = error.source();
    }
    causes
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl StdError for Fault {}

impl Kind {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
            Self::Unimplemented => "unimplemented",
            Self::Denied => "denied",
            Self::Changed => "changed",
        }
    }
}

impl From<Kind> for v1::ErrorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::Invalid,
            Kind::NotFound => Self::NotFound,
            Kind::Unavailable => Self::Unavailable,
            Kind::Corrupt => Self::Corrupt,
            Kind::Internal => Self::Internal,
            Kind::Unimplemented => Self::Unimplemented,
            Kind::Denied => Self::Denied,
            Kind::Changed => Self::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_printed_once_and_the_hint_stands_on_its_own_line() {
        let fault = Fault::new(Kind::Denied, "permission denied (os error 13)")
            .context("list /data/imagenet")
            .context("open dataset imagenet")
            .hint("run it as another user");
        let expected = "open dataset imagenet: list /data/imagenet: permission denied (os error 13)\n\
                        hint: run it as another user";
        assert_eq!(fault.to_string(), expected);
        assert_eq!(fault.to_proto().causes.len(), 2);
    }
}
