//! A few threads for calls that may hang: a mount whose server is gone holds a thread, never the caller.

use std::thread;
use std::time::{Duration, Instant};

/// So many calls run at a time; when all hang, later ones time out without a thread of their own.
const THREADS: usize = 4;

type Call = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped and their calls have come back.
pub(super) struct Lanes {
    calls: flume::Sender<Call>,
}

impl Lanes {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the system says where it gives no thread.
    pub(super) fn new() -> std::io::Result<Self> {
        let (calls, waiting) = flume::bounded::<Call>(THREADS);
        for _ in 0..THREADS {
            let waiting = waiting.clone();
            let run = move || waiting.iter().for_each(|call| call());
            thread::Builder::new().name("state-root".into()).spawn(run)?;
        }
        Ok(Self { calls })
    }

    /// What `call` gives, or `None` where it does not come back within `limit`. It may still have an effect after.
    pub(super) fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let until = Instant::now() + limit;
        let (done, result) = flume::bounded(1);
        let call: Call = Box::new(move || {
            let _ = done.send(call());
        });
        self.calls.send_deadline(call, until).ok()?;
        result.recv_deadline(until).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_hang_hold_their_threads_and_nobody_else() {
        let lanes = Lanes::new().expect("threads");
        let (hold, held) = flume::bounded::<()>(0);
        for _ in 0..3 * THREADS {
            let held = held.clone();
            assert_eq!(lanes.run(Duration::from_millis(1), move || held.recv()), None);
        }
        drop(hold);
        assert_eq!(lanes.run(Duration::from_secs(60), || 7), Some(7));
    }
}
