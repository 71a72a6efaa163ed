//! The storage report as a person reads it.

use std::fmt::{self, Display, Formatter};

use super::report::{CellReport, EngineLine, Layout, Side, StorageReport};
use crate::bench::table::thousands;

impl Display for StorageReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "storage beneath {} ({})", folder(&self.settings.directory), self.kind())?;
        writeln!(f, "{}", self.cache_words())?;
        for (layout, title) in [
            (Layout::SmallFiles, "small files: open, read whole, close"),
            (
                Layout::LargeFile,
                "one large file: random pieces (threads open it for each; rings, bare and fio once)",
            ),
        ] {
            section(self, layout, title, f)?;
        }
        if let Some(missing) = &self.fio.missing {
            writeln!(f, "\nno figures of fio: {missing}")?;
        }
        if let Some(missing) = &self.no_uring {
            writeln!(f, "\nno figures of io_uring: {missing}")?;
        }
        writeln!(f, "\nbest: {} reads/s, {:.2} GB/s", thousands(self.best_reads()), self.best_gb())?;
        if !self.advice.is_empty() {
            writeln!(f, "set: {}", self.advice)?;
        }
        Ok(())
    }
}

impl StorageReport {
    /// The file system, or that nobody knows.
    pub fn kind(&self) -> &str {
        if self.settings.file_system.is_empty() { "file system unknown" } else { &self.settings.file_system }
    }

    /// Whether the page cache was in play, in a sentence or two.
    pub fn cache_words(&self) -> String {
        let how = if self.settings.direct {
            "bare reads, fio and io_uring's pieces of a file from 64 MiB on past the page cache (O_DIRECT), the rest through it"
        } else {
            "reads go through the page cache"
        };
        let share = match self.from_device {
            _ if ["tmpfs", "ramfs"].contains(&self.settings.file_system.as_str()) => {
                "these files lie in memory, so no storage was measured".to_owned()
            }
            None => "the kernel does not count what came from the device, so the cache may have been in play"
                .to_owned(),
            Some(share) if share >= 0.95 => {
                format!("{:.0} % of forebay's bytes came from the device", 100.0 * share)
            }
            Some(share) => format!(
                "only {:.0} % of forebay's bytes came from a device this kernel knows: the cache, or a file system that \
                 does not count, was in play",
                100.0 * share
            ),
        };
        format!(
            "{how}; the files were dropped from it before each pass: {share}.\nNames and inodes stay cached, and what \
             the device or its host caches can't be seen from here"
        )
    }

    /// Our engines' greatest rate, reads a second.
    pub fn best_reads(&self) -> f64 {
        self.best(|side| side.per_second.median)
    }

    /// And 10^9 bytes a second.
    pub fn best_gb(&self) -> f64 {
        self.best(|side| side.gb_per_s)
    }

    fn best(&self, figure: fn(&Side) -> f64) -> f64 {
        let ours = self.cells.iter().flat_map(|cell| cell.engines(self.engine));
        ours.map(|line| figure(&line.side)).fold(0.0, f64::max)
    }
}

fn folder(directory: &str) -> &str {
    directory.rsplit_once('/').map_or(directory, |(folder, _)| if folder.is_empty() { "/" } else { folder })
}

fn section(report: &StorageReport, layout: Layout, title: &str, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    writeln!(
        f,
        "{:>8}{:>7}  {:<8}{:>12}{:>8}{:>10}{:>10}{:>12}{:>12}   {:<21}/ bare",
        "size", "depth", "engine", "rate", "GB/s", "p50", "p99", "bare", "fio", "/ fio"
    )?;
    let mut before = None;
    for cell in report.cells.iter().filter(|cell| cell.layout == layout) {
        if before.is_some_and(|before| before != cell.size_bytes) {
            writeln!(f)?;
        }
        before = Some(cell.size_bytes);
        for (number, line) in cell.engines(report.engine).enumerate() {
            row(cell, &line, number == 0, f)?;
        }
    }
    Ok(())
}

/// One engine; what all engines of a cell stand beside is told in its first row.
fn row(cell: &CellReport, line: &EngineLine, is_first: bool, f: &mut Formatter<'_>) -> fmt::Result {
    let rate = |side: &Side| format!("{}/s", thousands(side.per_second.median));
    let once = |text: String| if is_first { text } else { String::new() };
    let dash = || "-".to_owned();
    let ratio = line.to_fio.map_or_else(dash, |spread| {
        format!("{:.2} ({:.2} to {:.2})", spread.median, spread.low, spread.high)
    });
    writeln!(
        f,
        "{:>8}{:>7}  {:<8}{:>12}{:>8.3}{:>10}{:>10}{:>12}{:>12}   {:<21}{:.2}",
        once(size(cell.size_bytes)),
        once(cell.depth.to_string()),
        line.engine.word(),
        rate(&line.side),
        line.side.gb_per_s,
        time(line.side.p50_us),
        time(line.side.p99_us),
        once(rate(&cell.bare)),
        once(cell.fio.map_or_else(dash, |fio| rate(&fio.0))),
        ratio,
        line.to_bare.median
    )
}

/// Bytes with the largest unit that leaves a whole number.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes} B"), |(unit, shift)| format!("{} {unit}", bytes >> shift))
}

/// Microseconds with a unit that reads well.
pub fn time(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{us:.0} us"),
        us if us < 100_000.0 => format!("{:.1} ms", us / 1000.0),
        us => format!("{:.0} ms", us / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units_that_read_well() {
        assert_eq!([4096, 51_200, 1 << 20, 1000].map(size), ["4 KiB", "50 KiB", "1 MiB", "1000 B"]);
        assert_eq!([12.4, 2800.0, 250_000.0].map(time), ["12 us", "2.8 ms", "250 ms"]);
    }

    #[test]
    fn the_folder_of_the_test_files_is_named_without_their_own() {
        assert_eq!((folder("/data/.forebay-bench-1"), folder("/.forebay-bench-1")), ("/data", "/"));
    }
}
