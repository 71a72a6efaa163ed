//! An engine that holds every read until the test serves it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::session::{Outgoing, Session};
use forebay::storage::{Done, Engine, MemoryEngine, Read, StorageError};
use forebay::workers::{PoolOptions, Ticket};

use crate::support::{self, Node};

/// A pool over files whose reads are held.
pub fn node(files: Vec<(String, Vec<u8>)>, options: PoolOptions) -> (Node, Arc<Held>) {
    let mut engine = None;
    let node = Node::around(options, |done| {
        let held = Held::over(files, done);
        engine = Some(Arc::clone(&held));
        held
    });
    (node, engine.expect("just made"))
}

/// A read as the pool submitted it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub path: String,
    pub extent: Option<(u64, u64)>,
    pub limit_bytes: u64,
}

/// Reads that wait until the test serves them.
pub struct Held {
    memory: MemoryEngine<Ticket>,
    done: flume::Sender<Done<Ticket>>,
    reads: Mutex<Reads>,
}

#[derive(Default)]
struct Reads {
    /// All that were ever asked for.
    asked: Vec<Asked>,
    waiting: VecDeque<(Asked, Read<Ticket>)>,
    /// Paths that begin so are served at once.
    at_once: Vec<String>,
}

impl Held {
    fn over(files: Vec<(String, Vec<u8>)>, done: flume::Sender<Done<Ticket>>) -> Arc<Self> {
        Arc::new(Self { memory: MemoryEngine::new(files, done.clone()), done, reads: Mutex::default() })
    }

    /// All reads so far whose path begins so.
    pub fn asked(&self, prefix: &str) -> Vec<Asked> {
        let reads = self.reads.lock().unwrap();
        reads.asked.iter().filter(|asked| asked.path.starts_with(prefix)).cloned().collect()
    }

    pub fn waiting(&self) -> usize {
        self.reads.lock().unwrap().waiting.len()
    }

    /// Serves the oldest of the waiting reads for which `which` holds; false where there is none.
    pub fn serve(&self, which: impl Fn(&Asked) -> bool) -> bool {
        let read = self.take(which);
        read.map(|read| self.memory.submit(read)).is_some()
    }

    /// Serves the newest of the waiting reads; false where there is none.
    pub fn serve_newest(&self) -> bool {
        let newest = self.reads.lock().unwrap().waiting.pop_back();
        newest.map(|(_, read)| self.memory.submit(read)).is_some()
    }

    /// Fails one as a server does that is being restarted.
    pub fn fail(&self, which: impl Fn(&Asked) -> bool) -> bool {
        let Some(read) = self.take(which) else { return false };
        let error = io::Error::from_raw_os_error(116);
        let result = Err(StorageError::Io { action: "read", path: "held".to_owned(), source: error });
        let (queue_wait, read_time, came_back) = (Duration::ZERO, Duration::ZERO, Instant::now());
        self.done.send(Done { read, result, queue_wait, read_time, came_back, together: 1 }).is_ok()
    }

    fn take(&self, which: impl Fn(&Asked) -> bool) -> Option<Read<Ticket>> {
        let mut reads = self.reads.lock().unwrap();
        let index = reads.waiting.iter().position(|(asked, _)| which(asked))?;
        reads.waiting.remove(index).map(|(_, read)| read)
    }

    /// Serves all whose path begins so, now and from now on.
    pub fn serve_all(&self, prefix: &str) {
        self.reads.lock().unwrap().at_once.push(prefix.to_owned());
        while self.serve(|asked| asked.path.starts_with(prefix)) {}
    }
}

impl Engine<Ticket> for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    fn submit(&self, read: Read<Ticket>) {
        let path = String::from_utf8(read.buf.path.clone()).unwrap();
        let asked = Asked { path, extent: read.extent, limit_bytes: read.limit_bytes };
        let mut reads = self.reads.lock().unwrap();
        reads.asked.push(asked.clone());
        if reads.at_once.iter().any(|prefix| asked.path.starts_with(prefix)) {
            self.memory.submit(read);
        } else {
            reads.waiting.push_back((asked, read));
        }
    }

    fn tend(&self) {}

    fn hanging(&self) -> usize {
        0
    }
}

/// Waits for what follows by itself.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to pass that {what}");
}

/// Takes the batches that are ready, giving their slots back.
pub async fn drained(session: &mut Session, count: usize) {
    session.credit(count as u32);
    for _ in 0..count {
        match support::next(session).await {
            Outgoing::Ready(ready) => support::release(session, &ready),
            Outgoing::Fault { fault, .. } => panic!("{fault}"),
        }
    }
}
