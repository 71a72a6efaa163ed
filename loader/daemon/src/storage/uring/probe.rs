//! Whether io_uring may be used here, asked once, in a child process: some sandboxes kill who asks instead of refusing.

use std::io;

use rustix::io::Errno;

use crate::sys::{self, ChildEnd};

/// What came of making a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UringProbe {
    /// It works.
    Works,
    /// An error number.
    Refused(i32),
    /// The process that tried was ended by this signal.
    Killed(i32),
    /// No process could be started to try.
    Untried(String),
}

impl UringProbe {
    /// Asks the kernel.
    pub fn take() -> Self {
        match sys::in_child(sys::io_uring_works) {
            Ok(ChildEnd::Done) => Self::Works,
            Ok(ChildEnd::Failed(errno)) => Self::Refused(errno.raw_os_error()),
            Ok(ChildEnd::Killed(signal)) => Self::Killed(signal),
            Err(error) => Self::Untried(error.to_string()),
        }
    }

    /// What is in the way, in a few words; `None` where nothing is.
    pub fn objection(&self) -> Option<String> {
        match self {
            Self::Works => None,
            Self::Refused(errno) => Some(in_words(&io::Error::from_raw_os_error(*errno))),
            Self::Killed(signal) => Some(format!("whoever tries is killed (signal {signal})")),
            Self::Untried(why) => Some(format!("not tried: {why}")),
        }
    }
}

/// What an error of making a ring means, in a few words.
pub(in crate::storage) fn in_words(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => "this kernel has none (ENOSYS)".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => {
            "not permitted here (EPERM; containers often forbid it)".to_owned()
        }
        Some(Errno::NOMEM) => "no locked memory left for it (ENOMEM; `ulimit -l`)".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_words() {
        let words = |errno: Errno| UringProbe::Refused(errno.raw_os_error()).objection().expect("a refusal");
        assert!(words(Errno::PERM).contains("EPERM; containers"));
        assert!(words(Errno::NOSYS).contains("ENOSYS"));
        assert!(words(Errno::NOMEM).contains("ulimit -l"));
        assert!(words(Errno::MFILE).contains("os error 24"));
        assert!(UringProbe::Killed(31).objection().expect("killed").contains("signal 31"));
        assert_eq!(UringProbe::Works.objection(), None);
    }

    #[test]
    fn the_probe_answers_as_a_ring_of_this_process_does() {
        let here = sys::io_uring_works().err().map(|errno| UringProbe::Refused(errno.raw_os_error()));
        assert_eq!(UringProbe::take(), here.unwrap_or(UringProbe::Works));
    }
}
