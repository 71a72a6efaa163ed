//! A progress bar on standard error, where that is a terminal; nothing elsewhere.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

const CELLS: u64 = 30;
const REFRESH: Duration = Duration::from_millis(100);

/// One line that is written over and over.
#[derive(Debug)]
pub struct Bar {
    verb: &'static str,
    unit: &'static str,
    started: Instant,
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    /// A bar for work in `unit`s, as in "drawing" and "pictures".
    pub fn new(verb: &'static str, unit: &'static str) -> Self {
        Self { verb, unit, started: Instant::now(), shown: None, on: stderr().is_terminal() }
    }

    /// Shows how far the work is; cheap when called often.
    pub fn show(&mut self, done: u64, total: u64) {
        if !self.on || self.shown.is_some_and(|shown| shown.elapsed() < REFRESH) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line(self.verb, self.unit, done, total, self.started.elapsed());
        let _ = write!(stderr(), "\r\x1b[K{line}");
    }

    /// The same with a further word, as in "1.2 GB/s".
    pub fn show_with(&mut self, done: u64, total: u64, note: &str) {
        let before = self.shown;
        self.show(done, total);
        if self.shown != before {
            let _ = write!(stderr(), ", {note}");
        }
    }

    /// Shows how much is done where nobody knows of how much; cheap when called often.
    pub fn count(&mut self, done: u64) {
        if !self.on || self.shown.is_some_and(|shown| shown.elapsed() < REFRESH) {
            return;
        }
        self.shown = Some(Instant::now());
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let _ = write!(stderr(), "\r\x1b[K{} {done} {}, {rate:.0}/s", self.verb, self.unit);
    }

    /// The same with a further word; none where it is empty.
    pub fn count_with(&mut self, done: u64, note: &str) {
        let before = self.shown;
        self.count(done);
        if self.shown != before && !note.is_empty() {
            let _ = write!(stderr(), ", {note}");
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(verb: &str, unit: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(1);
    let full = (done.min(total) * CELLS / total) as usize;
    let bar = "#".repeat(full) + &".".repeat(CELLS as usize - full);
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let left = (total - done.min(total)) as f64 / rate.max(1e-9);
    let left = if done == 0 { "?".to_owned() } else { format!("{left:.0} s left") };
    format!("{verb} [{bar}] {done}/{total} {unit}, {rate:.0}/s, {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_share_rate_and_time_left() {
        let line = line("drawing", "pictures", 50, 200, Duration::from_secs(5));
        assert_eq!(line, "drawing [#######.......................] 50/200 pictures, 10/s, 15 s left");
    }

    #[test]
    fn nothing_done_and_nothing_to_do_are_lines_too() {
        assert!(line("drawing", "pictures", 0, 0, Duration::ZERO).contains("0/1 pictures, 0/s, ?"));
    }
}
