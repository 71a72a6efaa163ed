//! The machine that a figure was made on: without it a figure is none.

use serde::Serialize;

use crate::{machine, sys};

/// Where it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name, as the kernel has it; empty where it does not say.
    pub processor: String,
    /// That this process may use.
    pub processors: usize,
    /// That it may hope for.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let machine = machine::Machine::beneath("/");
        Self {
            processor: machine.field("/proc/cpuinfo", "model name").unwrap_or_default(),
            processors: sys::cpus(),
            memory_bytes: sys::memory_bytes(),
            kernel: machine.text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        }
    }

    /// In one line.
    pub fn words(&self) -> String {
        let processor = if self.processor.is_empty() { "unknown processor" } else { &self.processor };
        let plural = if self.processors == 1 { "" } else { "s" };
        format!(
            "{processor}, {} processor{plural}, {:.0} GiB, Linux {}",
            self.processors,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_in_a_line_whatever_is_known_of_it() {
        let known = Machine {
            processor: "Tester 3000".to_owned(),
            processors: 1,
            memory_bytes: 8 << 30,
            kernel: "6.1".to_owned(),
        };
        assert_eq!(known.words(), "Tester 3000, 1 processor, 8 GiB, Linux 6.1");
        let unknown = Machine { processor: String::new(), processors: 2, ..known };
        assert_eq!(unknown.words(), "unknown processor, 2 processors, 8 GiB, Linux 6.1");
        assert!(Machine::here().processors > 0);
    }
}
