//! Wire <-> domain, in one place: every call of the service, whichever front it came through.

mod catalogued;
mod digest;
mod explain;
mod fetch;
pub mod grpc;
mod journal;
mod losses;
mod named;
mod near;
mod operators;
mod pins;
mod resolve;
mod roots;
mod show;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_plan::{Cursor, Cut, Digest, Partition, Tail};
use forebay_proto::v1;
use tokio::sync::{Semaphore, watch};

use pins::StateRoots;
pub use roots::{Peer, Roots};
pub use show::table;

use crate::catalog::Listings;
use crate::config::Config;
use crate::error::{Fault, Kind};
use crate::job::{self, Job, Policy, tensor_to_proto};
use crate::losses::{LedgerOptions, LedgerStore, Ledgers};
use crate::machine::Machine;
use crate::metrics;
use crate::pins::StateRoot;
use crate::session::table::{Entry, Listed, SessionTable};
use crate::session::{Counters, EPOCH_MAX, Session, SessionSpec};
use crate::workers::Pool;

/// The wire's version that this daemon speaks.
pub const WIRE_VERSION: u32 = 1;
/// What this version serves beyond the calls every version has.
pub const FEATURES: [&str; 16] = [
    "folder",
    "list",
    "records",
    "rolling",
    "seek",
    "on_bad_sample",
    "explain",
    "show",
    "spent",
    "losses",
    "pins",
    "digest",
    "shards",
    "priority",
    "gpu",
    "device_decode",
];
const CONTROL_BYTES_MAX: u64 = 64 << 20;
const JOBS_KEPT: usize = 16;
/// Folders listed, and batches fetched, at a time; more wait. Each may take much memory.
const AT_A_TIME: usize = 4;
const DEPTH_MAX: u32 = 1024;
const ROWS_MAX: u32 = 1 << 20;
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;

/// A job that was resolved, and the paths that whoever uses it must be allowed to read.
struct Kept {
    job: Arc<Job>,
    paths: Vec<String>,
    /// The only epoch that it is pinned for.
    epoch: Option<u64>,
    /// Where its run keeps records.
    root: Option<Arc<StateRoot>>,
}

/// The daemon's state behind both fronts.
pub struct Service {
    config: Config,
    roots: Roots,
    pool: Arc<Pool>,
    sessions: Arc<SessionTable>,
    jobs: Mutex<VecDeque<Kept>>,
    ledgers: Ledgers,
    /// Records that this daemon has written to state roots.
    recorded: Arc<AtomicU64>,
    instance: String,
    started: Instant,
    draining: watch::Sender<bool>,
    state_roots: StateRoots,
    opened: catalogued::Opened,
    listings: Listings,
    resolving: Semaphore,
    fetching: Semaphore,
    owner_uid: u32,
}

impl Service {
    /// A service over a started pool.
    ///
    /// # Errors
    /// Invalid: the folder of the ledgers can't be written.
    pub fn new(config: Config, pool: Arc<Pool>) -> Result<Arc<Self>, Fault> {
        let roots = Roots::new(config.roots.clone());
        let state_roots = StateRoots::new(config.state_roots.clone());
        let listings = Listings::new(config.cache_dir.clone());
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let instance = format!("{}-{nanos:x}", std::process::id());
        let folder = config.ledger_dir.as_deref();
        let store = folder.map(|folder| LedgerStore::open(folder, &instance)).transpose()?;
        let ledgers = Ledgers::new(LedgerOptions { bytes_max: config.ledger_memory_bytes(), store });
        Ok(Arc::new(Self {
            config,
            roots,
            pool,
            sessions: Arc::new(SessionTable::default()),
            jobs: Mutex::new(VecDeque::new()),
            ledgers,
            recorded: Arc::default(),
            instance,
            started: Instant::now(),
            draining: watch::Sender::new(false),
            state_roots,
            opened: catalogued::Opened::default(),
            listings,
            resolving: Semaphore::new(AT_A_TIME),
            fetching: Semaphore::new(AT_A_TIME),
            owner_uid: rustix::process::getuid().as_raw(),
        }))
    }

    /// The longest control message.
    pub fn control_bytes_max(&self) -> u64 {
        CONTROL_BYTES_MAX
    }

    /// Open sessions.
    pub fn sessions(&self) -> &Arc<SessionTable> {
        &self.sessions
    }

    /// Turns true when Drain was called.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Agrees on the wire's version.
    ///
    /// # Errors
    /// Invalid: no common version.
    pub fn hello(&self, request: &v1::HelloRequest) -> Result<v1::HelloReply, Fault> {
        if request.version_min > WIRE_VERSION || request.version_max < WIRE_VERSION {
            let message = format!(
                "the client speaks wire versions {} to {}, this daemon {WIRE_VERSION}",
                request.version_min, request.version_max
            );
            return Err(Fault::invalid(message).hint("upgrade the older of the two"));
        }
        Ok(v1::HelloReply {
            version: WIRE_VERSION,
            daemon: format!("forebay/{}", env!("CARGO_PKG_VERSION")),
            features: FEATURES.map(str::to_owned).to_vec(),
            instance: self.instance.clone(),
            pid: std::process::id(),
            control_bytes_max: CONTROL_BYTES_MAX,
            cpu_threads: self.pool.cpu_threads() as u32,
        })
    }

    /// Makes a job known that was made in this process: whoever may connect may open it.
    pub fn adopt(&self, job: Arc<Job>) {
        self.keep(Kept { job, paths: Vec::new(), epoch: None, root: None });
    }

    /// Remembers a job; the oldest goes. Sessions keep their own hold on theirs.
    fn keep(&self, new: Kept) {
        let mut jobs = self.jobs.lock().expect("no thread panics with the lock");
        let same = |kept: &Kept| {
            names(&kept.job) == names(&new.job) && kept.paths == new.paths && kept.epoch == new.epoch
        };
        // A run that goes on to the next epoch's data leaves an epoch behind, which would keep its data in memory.
        let left = |kept: &Kept| {
            let behind = kept.epoch.zip(new.epoch).is_some_and(|(kept, new)| kept + 1 < new);
            behind && kept.job.id == new.job.id
        };
        jobs.retain(|kept| !same(kept) && !left(kept));
        if jobs.len() == JOBS_KEPT {
            jobs.pop_front();
        }
        jobs.push_back(new);
    }

    /// A resolved job by its names, where `peer` may read its data: knowing a digest is no permission.
    fn job(&self, peer: Peer, order: &str, content: &str) -> Result<Arc<Job>, Fault> {
        let parse = |name: &str, text: &str| {
            text.parse::<Digest>()
                .map_err(|_| Fault::invalid(format!("{name} is not a digest of 64 hex digits")))
        };
        let (order, content) = (parse("order_digest", order)?, parse("content_digest", content)?);
        let known: Vec<_> = {
            let jobs = self.jobs.lock().expect("no thread panics with the lock");
            let same = jobs.iter().filter(|kept| names(&kept.job) == (order, content));
            same.map(|kept| (Arc::clone(&kept.job), kept.paths.clone())).collect()
        };
        let mut refused = Fault::new(
            Kind::NotFound,
            format!("job {} / {} is not known here", order.short(), content.short()),
        )
        .hint("resolve it first, then ask again");
        for (job, paths) in known.into_iter().rev() {
            match paths.iter().try_for_each(|path| self.roots.check(peer, path).map(drop)) {
                Ok(()) => return Ok(job),
                Err(fault) => refused = fault,
            }
        }
        Err(refused)
    }

    /// Makes a session; its batches start to be made when its socket is attached.
    ///
    /// # Errors
    /// Invalid, NotFound (resolve first), Unavailable (draining, or no memory left).
    pub fn open(
        &self,
        peer: Peer,
        client: String,
        request: &v1::OpenRequest,
    ) -> Result<(v1::OpenReply, Entry), Fault> {
        let opened = self.open_now(peer, client, request);
        match &opened {
            Ok(_) => metrics::session_opened(),
            Err(fault) => metrics::open_refused(fault.kind),
        }
        opened
    }

    fn open_now(
        &self,
        peer: Peer,
        client: String,
        request: &v1::OpenRequest,
    ) -> Result<(v1::OpenReply, Entry), Fault> {
        if *self.draining.borrow() {
            return Err(Fault::new(Kind::Unavailable, "the daemon is draining").hint("ask another daemon"));
        }
        let (spec, steps_epoch) = self.session_spec(peer, client, request)?;
        let replaced = self.ledgers.replaced(names(&spec.job));
        let counters = Arc::new(Counters::over(replaced));
        counters.epoch.store(spec.cursor.epoch, std::sync::atomic::Ordering::Relaxed);
        counters.position.store(spec.cursor.position, std::sync::atomic::Ordering::Relaxed);
        let slots = spec.depth + spec.max_leases;
        let arena_bytes = spec.layout.slot_bytes() * u64::from(slots);
        self.afford(arena_bytes, slots, spec.layout.slot_bytes())?;
        let session = Session::new(spec.clone(), Arc::clone(&self.pool), Arc::clone(&counters))?;
        let reply = v1::OpenReply {
            session: spec.id,
            cursor: Some(v1::Cursor { epoch: spec.cursor.epoch, position: spec.cursor.position }),
            steps: spec.cut.steps_from(spec.cursor.position),
            steps_epoch,
            slot_bytes: spec.layout.slot_bytes(),
            slots,
            depth: spec.depth,
            max_leases: spec.max_leases,
            tensors: tensors(&spec.job, spec.has_valid),
            numa_node: spec.numa_node,
        };
        session.span().in_scope(|| {
            let (client, epoch, position) = (spec.client.as_str(), spec.cursor.epoch, spec.cursor.position);
            let (depth, max_leases, rows) = (spec.depth, spec.max_leases, request.rows);
            tracing::info!(client, epoch, position, rows, depth, max_leases, arena_bytes, "session opened");
        });
        let owner_uid = match peer {
            Peer::Parent => None,
            Peer::Process { uid, .. } => Some(uid),
        };
        let opened = Instant::now();
        let journal = self.journal(&spec);
        journal.iter().for_each(|_| counters.keep_bad());
        let entry = self.sessions.list(Listed { spec, opened, arena_bytes, counters, owner_uid, journal });
        self.sessions.park(session);
        Ok((reply, entry))
    }

    fn afford(&self, bytes: u64, slots: u32, slot_bytes: u64) -> Result<(), Fault> {
        let (taken, budget) = (self.sessions.arena_bytes(), self.config.arena_budget_bytes());
        if taken.saturating_add(bytes) <= budget {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        let message = format!(
            "{slots} slots of {} MiB make {} MiB; the arena budget is {} MiB and {} MiB are taken",
            mib(slot_bytes),
            mib(bytes),
            mib(budget),
            mib(taken)
        );
        Err(Fault::new(Kind::Unavailable, message).hint(
            "use a smaller batch_size, prefetch or max_leases, close other loaders, or raise arena_budget",
        ))
    }

    fn session_spec(
        &self,
        peer: Peer,
        client: String,
        request: &v1::OpenRequest,
    ) -> Result<(SessionSpec, u64), Fault> {
        let reference = request.job.as_ref().ok_or_else(|| Fault::invalid("open without a job"))?;
        let job = self.job(peer, &reference.order_digest, &reference.content_digest)?;
        match request.stage() {
            v1::Stage::Unspecified | v1::Stage::Finished => {}
            other => return Err(Fault::unimplemented(format!("stage {}", other.as_str_name()))),
        }
        match request.delivery() {
            v1::Delivery::Unspecified | v1::Delivery::Local => {}
            v1::Delivery::Remote => return Err(Fault::unimplemented("delivery REMOTE")),
        }
        let partition = request.partition.clone().unwrap_or_default();
        let plan = |error: forebay_plan::PlanError| Fault::invalid(error.to_string());
        let part = Partition::new(partition.rank, partition.size.max(1)).map_err(plan)?;
        let tail = match request.tail() {
            v1::Tail::Drop => Tail::Drop,
            v1::Tail::Unspecified | v1::Tail::Partial => Tail::Partial,
            v1::Tail::Pad => Tail::Pad,
        };
        let rows = bounded("rows", request.rows, 1, ROWS_MAX)?;
        check_rows_a_batch(&job, rows)?;
        let cursor = request.cursor.unwrap_or_default();
        self.check_boundary(&job, cursor.epoch, request.rolling)?;
        let epoch_rows = job.epoch_now(cursor.epoch.min(EPOCH_MAX))?.rows();
        let cut = Cut::new(epoch_rows, part, rows, tail).map_err(plan)?;
        if cursor.position > epoch_rows {
            let message = format!("position {} is behind the epoch's {epoch_rows} rows", cursor.position);
            return Err(Fault::invalid(message).hint("the state belongs to another data set"));
        }
        if cursor.epoch > EPOCH_MAX {
            return Err(Fault::invalid(format!("epoch {}, the last is {EPOCH_MAX}", cursor.epoch)));
        }
        let cursor = cut.settle(Cursor { epoch: cursor.epoch, position: cursor.position });
        let or = |given: u32, default: u32| if given == 0 { default } else { given };
        let depth = bounded("depth", or(request.depth, self.config.depth), 1, DEPTH_MAX)?;
        let max_leases = bounded("max_leases", or(request.max_leases, self.config.max_leases), 1, DEPTH_MAX)?;
        let has_valid = tail != Tail::Drop || job.bad_sample.policy == Policy::Mask;
        let layout = Arc::new(job.layout(job.order.samples_max(rows), has_valid)?);
        let steps_epoch = cut.steps_from(0);
        let weight = bounded("weight", request.weight.max(1), 1, 1000)?;
        let priority = request.priority;
        if !PRIORITIES.contains(&priority) {
            let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
            return Err(Fault::invalid(format!("priority {priority} is not between {least} and {most}")));
        }
        let numa_node = near::node(&request.gpu, self.config.numa, &Machine::beneath("/"))?;
        let (id, rolling) = (self.sessions.next_id(), request.rolling);
        let spec = SessionSpec {
            id,
            job,
            cut,
            cursor,
            layout,
            has_valid,
            depth,
            max_leases,
            weight,
            priority,
            rolling,
            digest: request.digest,
            numa_node,
            client,
            partition,
        };
        Ok((spec, steps_epoch))
    }
}

/// Where a row is a whole batch, a rank takes one a step.
fn check_rows_a_batch(job: &Job, rows: u32) -> Result<(), Fault> {
    if rows == 1 || !job.order.rows_are_batches() {
        return Ok(());
    }
    let message = format!("{rows} rows of an order whose rows are batches");
    Err(Fault::invalid(message).hint("ask for 1 row: each holds a batch"))
}

fn names(job: &Job) -> (Digest, Digest) {
    (job.order_digest, job.content_digest)
}

fn tensors(job: &Job, has_valid: bool) -> Vec<v1::TensorSpec> {
    let mut tensors: Vec<_> = job.fields.iter().map(job::FieldPlan::to_proto).collect();
    if has_valid {
        tensors.extend(job.specs(true).last().map(|spec| tensor_to_proto(spec, false)));
    }
    tensors
}

fn bounded(name: &str, value: u32, min: u32, max: u32) -> Result<u32, Fault> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Fault::invalid(format!("{name} {value} is not between {min} and {max}")))
}
