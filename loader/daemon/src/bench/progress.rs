//! One live line on the terminal: what is measured, how fast, and how far it is.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::options::Amount;

const TICK: Duration = Duration::from_millis(250);
const BAR_CHARS: usize = 20;

/// Counts what is done; a thread draws it, where standard error is a terminal.
pub struct Progress {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

struct Shared {
    done: AtomicU64,
    ended: AtomicBool,
    phase: Mutex<Option<Phase>>,
}

struct Phase {
    what: String,
    amount: Amount,
    since: Instant,
}

impl Progress {
    /// Draws only where somebody sees it.
    pub fn start() -> Self {
        let (done, ended, phase) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
        let shared = Arc::new(Shared { done, ended, phase });
        let drawer = std::io::stderr().is_terminal().then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || draw(&shared))
        });
        Self { shared, drawer }
    }

    /// Something new is measured.
    pub fn begin(&self, what: String, amount: Amount) {
        self.shared.done.store(0, Ordering::Relaxed);
        *self.phase() = Some(Phase { what, amount, since: Instant::now() });
    }

    /// So many rows more.
    pub fn add(&self, rows: u64) {
        self.shared.done.fetch_add(rows, Ordering::Relaxed);
    }

    /// Nothing is measured now.
    pub fn end(&self) {
        *self.phase() = None;
    }

    /// Says something that stays, on standard error.
    pub fn say(&self, text: &str) {
        let clear = if self.drawer.is_some() { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{text}");
    }

    fn phase(&self) -> std::sync::MutexGuard<'_, Option<Phase>> {
        self.shared.phase.lock().expect("no thread panics with the lock")
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(drawer) = self.drawer.take() {
            drawer.thread().unpark();
            let _ = drawer.join();
        }
    }
}

fn draw(shared: &Shared) {
    while !shared.ended.load(Ordering::Relaxed) {
        let line = shared.phase.lock().expect("no thread panics with the lock").as_ref().map(|phase| {
            line(&phase.what, shared.done.load(Ordering::Relaxed), phase.since.elapsed(), phase.amount)
        });
        eprint!("\r\x1b[K{}", line.unwrap_or_default());
        let _ = std::io::stderr().flush();
        std::thread::park_timeout(TICK);
    }
    eprint!("\r\x1b[K");
}

fn line(what: &str, done: u64, elapsed: Duration, amount: Amount) -> String {
    let per_second = done as f64 / elapsed.as_secs_f64().max(0.001);
    let share = match amount {
        Amount::Seconds(seconds) => elapsed.as_secs_f64() / seconds,
        Amount::Rows(rows) => done as f64 / rows.max(1) as f64,
    };
    let filled = ((share * BAR_CHARS as f64) as usize).min(BAR_CHARS);
    let bar = "#".repeat(filled) + &"-".repeat(BAR_CHARS - filled);
    format!("[{bar}] {what}: {per_second:.0} a second")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_rate_and_the_share() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("read", 500, second, Amount::Rows(1000)),
            "[##########----------] read: 500 a second"
        );
        assert!(line("read", 5, second, Amount::Seconds(0.5)).starts_with("[####################]"));
    }
}
