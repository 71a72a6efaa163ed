//! What operators ask: the sums, how things stand, to drain.

use forebay_proto::v1;

use super::{Peer, Service};
use crate::error::{Fault, Kind};
use crate::metrics::NodeNow;
use crate::sys;
use crate::workers::Home;

impl Service {
    /// The sums of the daemon and its sessions. Other users' sessions show to the daemon's own user and root only.
    ///
    /// # Errors
    /// Denied to other users.
    pub fn stats(&self, peer: Peer) -> Result<v1::StatsReply, Fault> {
        self.operator(peer, "stats")?;
        let at_home = |home: &Home| v1::NodeThreads { node: home.node, threads: home.threads as u32 };
        let (decoded_near, decoded_far) = self.pool.taken();
        Ok(v1::StatsReply {
            instance: self.instance.clone(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            cpu_us: sys::cpu_us(),
            rss_bytes: sys::rss_bytes(),
            cpu_threads: self.pool.cpu_threads() as u32,
            read_threads: self.config.read_threads().get() as u32,
            engine: self.pool.engine_name().to_owned(),
            sessions: self.sessions.stats(),
            daemon: format!("forebay/{}", env!("CARGO_PKG_VERSION")),
            pid: std::process::id(),
            busy_us: self.pool.worked().busy_us,
            arena_bytes: self.sessions.arena_bytes(),
            arena_budget_bytes: self.config.arena_budget_bytes(),
            draining: *self.draining.borrow(),
            reads_hanging: self.pool.hanging() as u32,
            nodes: self.pool.homes().iter().map(at_home).collect(),
            decoded_near,
            decoded_far,
        })
    }

    /// How things stand, for the metrics.
    pub fn now(&self) -> NodeNow {
        let (slots, slots_leased) = self.sessions.slots();
        let (reads_in_flight, read_bytes_in_flight) = self.pool.in_flight();
        let process = sys::process_now();
        NodeNow {
            sessions: self.sessions.len() as u64,
            slots,
            slots_leased,
            arena_bytes: self.sessions.arena_bytes(),
            arena_budget_bytes: self.config.arena_budget_bytes(),
            reads_in_flight: u64::from(reads_in_flight),
            read_bytes_in_flight,
            reads_hanging: self.pool.hanging() as u64,
            read_budget_bytes: self.config.read_budget.0,
            read_threads: self.config.read_threads().get() as u64,
            decode_threads: self.pool.cpu_threads() as u64,
            jobs: self.jobs.lock().expect("no thread panics with the lock").len() as u64,
            draining: *self.draining.borrow(),
            cpu_us: sys::cpu_us(),
            rss_bytes: sys::rss_bytes(),
            threads: process.threads,
            open_fds: process.open_fds,
            max_fds: process.max_fds,
        }
    }

    /// Stops taking sessions; the daemon exits when those open have ended.
    ///
    /// # Errors
    /// Denied to other users.
    pub fn drain(&self, peer: Peer, _request: &v1::DrainRequest) -> Result<v1::DrainReply, Fault> {
        self.operator(peer, "drain")?;
        self.draining.send_replace(true);
        let sessions = self.sessions.len() as u32;
        tracing::info!(%peer, sessions, "draining: no more sessions are taken");
        Ok(v1::DrainReply { sessions })
    }

    /// Whether `peer` may ask what only the daemon's own user, root and the parent may.
    pub(super) fn operator(&self, peer: Peer, what: &str) -> Result<(), Fault> {
        match peer {
            Peer::Parent => Ok(()),
            Peer::Process { uid, .. } if uid == 0 || uid == self.owner_uid => Ok(()),
            Peer::Process { .. } => Err(Fault::new(
                Kind::Denied,
                format!("{what} is for the daemon's own user and root, not {peer}"),
            )),
        }
    }
}
