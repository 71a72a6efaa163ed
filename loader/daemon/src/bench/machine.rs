//! The machine that a figure was made on: without it a figure is none.

use serde::Serialize;

use crate::sys;

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
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: model(&read("/proc/cpuinfo")).unwrap_or_default(),
            processors: sys::cpus(),
            memory_bytes: sys::memory_bytes(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
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

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_as_the_kernel_names_it() {
        let text = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)  @ 2.1GHz\nmodel name\t: other\n";
        assert_eq!(model(text).as_deref(), Some("Intel(R) Xeon(R)  @ 2.1GHz"));
        assert_eq!(model("processor: 0\n"), None);
        assert!(Machine::here().words().contains("GiB, Linux "));
    }
}
