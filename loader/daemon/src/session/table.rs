//! Who is connected: sessions that wait for their socket, and the sums of all that are open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_proto::v1;

use super::{Counters, Session, SessionSpec};
use crate::pins::Journal;

/// Open sessions by number.
#[derive(Default)]
pub struct SessionTable {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Session>>,
    open: Mutex<HashMap<u64, Arc<Listed>>>,
}

/// What others may see of a session.
pub struct Listed {
    /// Whose.
    pub spec: SessionSpec,
    /// When it was opened.
    pub opened: Instant,
    /// Bytes of its arena.
    pub arena_bytes: u64,
    /// Its sums.
    pub counters: Arc<Counters>,
    /// The user who opened it; none on a private daemon, which has one.
    pub owner_uid: Option<u32>,
    /// Where its run keeps records, if anywhere.
    pub journal: Option<Arc<Journal>>,
}

/// Keeps a session listed; dropping it takes the session out.
pub struct Entry {
    table: Arc<SessionTable>,
    id: u64,
    /// Counts its client's sessions.
    count: Option<Arc<()>>,
}

impl Entry {
    /// What the session is and its sums so far.
    pub fn listed(&self) -> Option<Arc<Listed>> {
        self.table.open.lock().expect("no thread panics with the lock").get(&self.id).cloned()
    }

    /// Holds one of `count` for as long as the session is listed.
    #[must_use]
    pub fn counted(mut self, count: Arc<()>) -> Self {
        self.count = Some(count);
        self
    }
}

impl SessionTable {
    /// A number that no session of this daemon had before.
    pub fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lists a session.
    pub fn list(self: &Arc<Self>, listed: Listed) -> Entry {
        let id = listed.spec.id;
        self.open.lock().expect("no thread panics with the lock").insert(id, Arc::new(listed));
        Entry { table: Arc::clone(self), id, count: None }
    }

    /// Keeps a session until its socket comes.
    pub fn park(&self, session: Session) {
        self.waiting.lock().expect("no thread panics with the lock").insert(session.id(), session);
    }

    /// Takes a session whose socket came, or whose time is over.
    pub fn take(&self, id: u64) -> Option<Session> {
        self.waiting.lock().expect("no thread panics with the lock").remove(&id)
    }

    /// Whether a session still waits for its socket.
    pub fn is_parked(&self, id: u64) -> bool {
        self.waiting.lock().expect("no thread panics with the lock").contains_key(&id)
    }

    /// Bytes of all arenas.
    pub fn arena_bytes(&self) -> u64 {
        self.listed().iter().map(|listed| listed.arena_bytes).sum()
    }

    /// Open sessions.
    pub fn len(&self) -> usize {
        self.open.lock().expect("no thread panics with the lock").len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every session's sums, oldest first.
    pub fn stats(&self) -> Vec<v1::SessionStats> {
        self.all().iter().map(|listed| listed.stats()).collect()
    }

    /// Every session, oldest first.
    pub fn all(&self) -> Vec<Arc<Listed>> {
        let mut listed = self.listed();
        listed.sort_by_key(|listed| listed.spec.id);
        listed
    }

    /// All sessions' slots, and those that consumers hold.
    pub fn slots(&self) -> (u64, u64) {
        self.listed().iter().fold((0, 0), |(slots, leased), listed| {
            let held = listed.counters.leased.load(Ordering::Relaxed);
            (slots + u64::from(listed.spec.depth + listed.spec.max_leases), leased + held)
        })
    }

    fn listed(&self) -> Vec<Arc<Listed>> {
        self.open.lock().expect("no thread panics with the lock").values().cloned().collect()
    }
}

impl Listed {
    /// Writes what its run keeps of it and nobody has written yet. Blocks.
    pub fn save(&self) {
        if let Some(journal) = &self.journal {
            journal.bad(&self.counters.take_unsaved());
        }
    }

    /// Its sums as they are now.
    pub fn stats(&self) -> v1::SessionStats {
        v1::SessionStats {
            session: self.spec.id,
            job_id: self.spec.job.id.clone(),
            client: self.spec.client.clone(),
            partition: Some(self.spec.partition.clone()),
            slots: self.spec.depth + self.spec.max_leases,
            epoch_rows: self.spec.job.rows,
            open_ms: self.opened.elapsed().as_millis() as u64,
            arena_bytes: self.arena_bytes,
            weight: self.spec.weight,
            priority: self.spec.priority,
            slots_leased: self.counters.leased.load(Ordering::Relaxed) as u32,
            ..self.counters.to_proto()
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.count.take());
        self.table.open.lock().expect("no thread panics with the lock").remove(&self.id);
    }
}
