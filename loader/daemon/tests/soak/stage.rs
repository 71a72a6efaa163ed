//! A daemon over storage that fails as it is told to, links to it, and what a process holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::config::{Config, Seconds};
use forebay::delivery::local::client::{Client, Consumer};
use forebay::delivery::local::socket::pair;
use forebay::run::Daemon;
use forebay::server::{Peer, Service};
use forebay::storage::{
    self, Done, Engine, EngineName, EngineOptions, Faults, FaultyEngine, Read, StorageError,
};
use forebay::workers::{Pool, Ticket};
use forebay_proto::v1;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

/// After this long without success a read is the session's error.
const RETRY_DEADLINE: Duration = Duration::from_millis(60);
/// What does not happen within this never does.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine for which one file at a time is gone.
pub struct Outages {
    inner: FaultyEngine<Ticket>,
    done: flume::Sender<Done<Ticket>>,
    gone: Mutex<Vec<u8>>,
}

impl Outages {
    /// From now on reads of this file find none, until somebody has met that.
    pub fn lose(&self, path: &str) {
        self.gone.lock().expect("no panic holds it").clone_from(&path.as_bytes().to_vec());
    }

    /// It is back.
    pub fn find(&self) {
        self.gone.lock().expect("no panic holds it").clear();
    }

    /// Whether it is this one that is gone.
    pub fn is_lost(&self, path: &str) -> bool {
        *self.gone.lock().expect("no panic holds it") == path.as_bytes()
    }
}

impl Engine<Ticket> for Outages {
    fn name(&self) -> &'static str {
        "outages"
    }

    fn submit(&self, mut read: Read<Ticket>) {
        if *self.gone.lock().expect("no panic holds it") != read.buf.path {
            return self.inner.submit(read);
        }
        let path = read.root.display(&read.buf.path);
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        read.buf.bytes.clear();
        let result = Err(StorageError::Io { action: "open", path, source });
        let (queue_wait, read_time) = (Duration::ZERO, Duration::ZERO);
        let came_back = Instant::now();
        let done = Done { read, result, queue_wait, read_time, came_back, together: 1 };
        let _ = self.done.send(done);
    }

    fn submit_near(&self, reads: Vec<Read<Ticket>>) {
        // They are of one file.
        if *self.gone.lock().expect("no panic holds it") == reads[0].buf.path {
            reads.into_iter().for_each(|read| self.submit(read));
        } else {
            self.inner.submit_near(reads);
        }
    }

    fn tend(&self) {
        self.inner.tend();
    }

    fn hanging(&self) -> usize {
        self.inner.hanging()
    }
}

/// One daemon.
pub struct Stage {
    pub outages: Arc<Outages>,
    daemon: Daemon,
    pool: Arc<Pool>,
    runtime: Handle,
}

/// A control connection, as a training process has it.
pub struct Link {
    client: Client,
    _alive: watch::Sender<bool>,
}

impl Stage {
    /// Starts it over an engine.
    pub fn new(runtime: &Runtime, name: EngineName, faults: Faults) -> Self {
        let _inside = runtime.enter();
        let config = Config {
            cpu_threads: 2,
            retry_deadline: Seconds(RETRY_DEADLINE),
            reads_in_flight: 24,
            ..Config::default()
        };
        let (done, completed) = flume::unbounded();
        let engine = storage::start(&EngineOptions { name, ..config.engine_options() }, &done);
        let engine = engine.expect("the engine that is asked for").engine;
        let inner = FaultyEngine::new(engine, faults, done.clone()).expect("a thread");
        let outages = Arc::new(Outages { inner, done, gone: Mutex::default() });
        let engine = Arc::clone(&outages) as Arc<dyn Engine<Ticket>>;
        let pool =
            Pool::start(engine, &completed, config.pool_options(), Handle::current()).expect("threads");
        let service = Service::new(config, Arc::clone(&pool)).expect("a service");
        Self { outages, daemon: Daemon { service }, pool, runtime: runtime.handle().clone() }
    }

    /// Connects as the process that started it.
    pub fn connect(&self) -> Link {
        let _inside = self.runtime.enter();
        let (ours, theirs) = pair().expect("descriptors");
        let (alive, gone) = watch::channel(false);
        self.daemon.connect(theirs, Peer::Parent, gone).expect("a reactor");
        Link { client: Client::hello(ours, "soak").expect("it answers"), _alive: alive }
    }

    /// Waits until nobody holds anything of it, then lets it go.
    pub fn end(self, what: &str) {
        let sessions = Arc::clone(self.daemon.service.sessions());
        settles(&format!("{what} has no session"), || sessions.is_empty());
        settles(&format!("{what} has no read in flight"), || self.pool.in_flight() == (0, 0));
    }
}

impl Link {
    /// Opens a session of a job and asks for batches.
    pub fn open(&mut self, spec: &v1::JobSpec, request: v1::OpenRequest) -> Consumer {
        let job = self.client.resolve(spec.clone()).expect("a job");
        let job = v1::JobRef { order_digest: job.order_digest, content_digest: job.content_digest };
        let mut consumer =
            self.client.open(v1::OpenRequest { job: Some(job), ..request }).expect("a session");
        let depth = consumer.opened().depth;
        consumer.credit(depth).expect("it listens");
        consumer
    }
}

/// What this process holds: descriptors by what they are of, and threads by name.
pub fn held() -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").expect("proc").flatten() {
        // The folder's own is gone again.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        // Sockets and such differ by number alone.
        let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind);
        *held.entry(format!("descriptor {kind}")).or_default() += 1;
    }
    for entry in std::fs::read_dir("/proc/self/task").expect("proc").flatten() {
        let Ok(name) = std::fs::read_to_string(entry.path().join("comm")) else { continue };
        let name = name.trim();
        // The test harness's own come and go.
        if ["read", "ring-", "decode-", "tokio"].iter().any(|ours| name.starts_with(ours)) {
            *held.entry(format!("thread {name}")).or_default() += 1;
        }
    }
    held.retain(|what, _| !what.contains("/proc/"));
    held
}

/// Ends the runtime once its tasks have ended; then the process holds what it held before, or where that is not known no
/// thread of ours.
pub fn ended(runtime: Runtime, before: Option<&BTreeMap<String, usize>>) {
    settles("no task is left", || runtime.metrics().num_alive_tasks() == 0);
    runtime.shutdown_timeout(PATIENCE);
    let started = Instant::now();
    let is_held = |now: &BTreeMap<_, _>| match before {
        Some(before) => now != before,
        None => now.keys().any(|what: &String| what.starts_with("thread")),
    };
    while is_held(&held()) {
        assert!(started.elapsed() < PATIENCE, "held before: {before:#?}\nheld now: {:#?}", held());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn settles(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "never came to be: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
