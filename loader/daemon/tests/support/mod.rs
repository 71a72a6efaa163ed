//! A pool over files in memory, and sessions without a socket, for tests.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::Cursor as IoCursor;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use forebay::catalog::{self, CatalogLimits, SourceSpec};
use forebay::decode::ImageLimits;
use forebay::delivery::local::record::{Ready, Release};
use forebay::error::Fault;
use forebay::job::{self, Job, Policy};
use forebay::prefetch::ReadBudget;
use forebay::session::{Counters, Outgoing, Session, SessionSpec};
use forebay::storage::{Done, Engine, Faults, FaultyEngine, HedgeAfter, MemoryEngine, RetryPolicy};
use forebay::workers::{Homes, Pool, PoolOptions, Ticket};
use forebay_plan::{Cursor, Cut, Digest, DigestBuilder, Partition, Tail};
use forebay_proto::v1;

/// A tiny image that differs by `index`.
pub fn png(index: usize) -> Vec<u8> {
    let pixel = |x, y| image::Rgb([(index * 7) as u8, (x * 16) as u8, (y * 16) as u8]);
    let mut out = IoCursor::new(Vec::new());
    image::RgbImage::from_fn(16, 12, pixel)
        .write_to(&mut out, image::ImageFormat::Png)
        .expect("memory takes it");
    out.into_inner()
}

/// A daemon's inside over `n.png`, each labelled `n`.
pub struct Node {
    pub pool: Arc<Pool>,
    root: tempfile::TempDir,
    files: usize,
}

/// What a test opens a session with.
pub struct OpenAs {
    /// 0: one that follows from `rows`.
    pub id: u64,
    pub rows: u32,
    pub cursor: Cursor,
    pub partition: (u32, u32),
    pub tail: Tail,
    pub depth: u32,
    pub max_leases: u32,
    pub rolling: bool,
    pub digest: bool,
    pub weight: u32,
    pub priority: i32,
    pub numa_node: Option<u32>,
}

impl Default for OpenAs {
    fn default() -> Self {
        let cursor = Cursor { epoch: 0, position: 0 };
        Self {
            id: 0,
            rows: 8,
            cursor,
            partition: (0, 1),
            tail: Tail::Partial,
            depth: 2,
            max_leases: 2,
            rolling: false,
            digest: false,
            weight: 1,
            priority: 0,
            numa_node: None,
        }
    }
}

impl Node {
    pub fn new(files: usize, cpu_threads: usize, faults: Faults) -> Self {
        Self::with(files, cpu_threads, faults, |_| ())
    }

    /// As `new`, with the bytes of some files changed.
    pub fn with(
        files: usize,
        cpu_threads: usize,
        faults: Faults,
        change: impl FnOnce(&mut [Vec<u8>]),
    ) -> Self {
        let mut bytes: Vec<_> = (0..files).map(png).collect();
        change(&mut bytes);
        Self::over(bytes.into_iter().map(Some).collect(), cpu_threads, faults)
    }

    /// As `new`, without file number `missing`.
    pub fn without(files: usize, cpu_threads: usize, missing: usize) -> Self {
        let bytes = (0..files).map(|index| (index != missing).then(|| png(index)));
        Self::over(bytes.collect(), cpu_threads, Faults::default())
    }

    fn over(bytes: Vec<Option<Vec<u8>>>, cpu_threads: usize, faults: Faults) -> Self {
        let files = bytes.len();
        let stored =
            bytes.into_iter().enumerate().filter_map(|(index, bytes)| Some((format!("{index}.png"), bytes?)));
        Self { files, ..Self::of(stored.collect(), cpu_threads, faults) }
    }

    /// Over files of any names.
    pub fn of(stored: Vec<(String, Vec<u8>)>, cpu_threads: usize, faults: Faults) -> Self {
        Self::bounded(stored, cpu_threads, faults, ImageLimits::default(), Duration::from_secs(3600))
    }

    /// As `of`, with what decoding an image may take.
    pub fn bounded(
        stored: Vec<(String, Vec<u8>)>,
        cpu_threads: usize,
        faults: Faults,
        image_limits: ImageLimits,
        decode_deadline: Duration,
    ) -> Self {
        let files = stored.len();
        let options = PoolOptions { image_limits, decode_deadline, ..options(cpu_threads) };
        let node = Self::around(options, |done| {
            let memory: Arc<dyn Engine<_>> = Arc::new(MemoryEngine::new(stored, done.clone()));
            Arc::new(FaultyEngine::new(memory, faults, done).expect("a thread"))
        });
        Self { files, ..node }
    }

    /// Over an engine of the test's own, which completes to the channel.
    pub fn around(
        options: PoolOptions,
        engine: impl FnOnce(flume::Sender<Done<Ticket>>) -> Arc<dyn Engine<Ticket>>,
    ) -> Self {
        Self::settled(options, Homes::default(), engine)
    }

    /// As `new`, with the decode threads at home on nodes.
    pub fn at(files: usize, cpu_threads: usize, homes: Homes) -> Self {
        let stored: Vec<_> = (0..files).map(|index| (format!("{index}.png"), png(index))).collect();
        let engine = |done| Arc::new(MemoryEngine::new(stored, done)) as Arc<dyn Engine<_>>;
        Self { files, ..Self::settled(options(cpu_threads), homes, engine) }
    }

    fn settled(
        options: PoolOptions,
        homes: Homes,
        engine: impl FnOnce(flume::Sender<Done<Ticket>>) -> Arc<dyn Engine<Ticket>>,
    ) -> Self {
        let (done, completed) = flume::unbounded();
        let timer = tokio::runtime::Handle::current();
        let pool = Pool::start_at(engine(done), &completed, options, timer, homes).expect("threads");
        Self { pool, root: tempfile::tempdir().expect("a folder"), files: 0 }
    }

    /// Opens a session of the job that `spec` says in the proto's JSON mapping; ROOT and LINES are filled in.
    pub fn open(&self, spec: &str, open: &OpenAs) -> Session {
        let line = |index| format!("{{\"path\":\"{index}.png\",\"label\":{index}}}");
        let lines = (0..self.files).map(line).collect::<Vec<_>>().join("\n");
        let spec: v1::JobSpec =
            serde_json::from_str(&spec.replace("LINES", "").replace("ROOT", "")).expect("a spec");
        let root = Some(self.root.path().to_owned());
        let source = SourceSpec::Records { root, json_lines: lines.into_bytes(), columns: Vec::new() };
        let snapshot = catalog::open(&source, &CatalogLimits::default()).expect("a snapshot");
        self.open_job(&Arc::new(job::resolve(&spec, Arc::new(snapshot)).expect("a job")), open)
    }

    /// Opens a session of a job.
    pub fn open_job(&self, job: &Arc<Job>, open: &OpenAs) -> Session {
        self.open_counted(job, open, &Arc::default())
    }

    /// As `open_job`, with counters that the test can look at.
    pub fn open_counted(&self, job: &Arc<Job>, open: &OpenAs, counters: &Arc<Counters>) -> Session {
        let job = Arc::clone(job);
        let partition = Partition::new(open.partition.0, open.partition.1).expect("a partition");
        let rows = job.epoch(open.cursor.epoch).expect("an epoch").rows();
        let cut = Cut::new(rows, partition, open.rows, open.tail).expect("a cut");
        let has_valid = open.tail != Tail::Drop || job.bad_sample.policy == Policy::Mask;
        let layout = Arc::new(job.layout(job.order.samples_max(open.rows), has_valid).expect("a layout"));
        let spec = SessionSpec {
            id: if open.id == 0 { 1 + open.rows as u64 } else { open.id },
            job,
            cut,
            cursor: open.cursor,
            layout,
            has_valid,
            depth: open.depth,
            max_leases: open.max_leases,
            weight: open.weight,
            priority: open.priority,
            rolling: open.rolling,
            digest: open.digest,
            numa_node: open.numa_node,
            client: String::new(),
            partition: v1::Partition::default(),
        };
        Session::new(spec, Arc::clone(&self.pool), Arc::clone(counters)).expect("an arena")
    }
}

/// A pool that gives up after 300 ms, over samples of at most a mebibyte.
pub fn options(cpu_threads: usize) -> PoolOptions {
    PoolOptions {
        cpu_threads,
        budget: ReadBudget { bytes: 1 << 16, reads: 8 },
        sample_bytes_max: 1 << 20,
        retry: RetryPolicy {
            deadline: Duration::from_millis(300),
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(4),
        },
        hedge_after: HedgeAfter::Off,
        patience: Duration::from_secs(3600),
        image_limits: ImageLimits::default(),
        decode_deadline: Duration::from_secs(3600),
    }
}

/// A job over all files: a crop, a flip and the label, shuffled; what is to become of a corrupt sample.
pub fn spec(policy: &str) -> String {
    format!(
        r#"{{"sources":[{{"records":{{"root":"ROOT","jsonLines":"LINES"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"7"}},"onBadSample":{{"policy":"BAD_SAMPLE_POLICY_{policy}"}},
        "fields":[{{"name":"image","column":"path","transforms":[{{"randomResizedCrop":{{"size":[8]}}}},{{"randomHorizontalFlip":{{}}}}]}},{{"name":"label"}}]}}"#
    )
}

/// A batch as a client would copy it.
pub struct Copied {
    /// Of every tensor.
    pub tensors: Vec<Vec<u8>>,
    pub images: Vec<u8>,
    pub labels: Vec<i64>,
    pub valid: Vec<u8>,
    pub valid_rows: u32,
}

/// The next record, waiting for it. The test's credit must be there.
pub async fn next(session: &mut Session) -> Outgoing {
    let wake = session.wake();
    loop {
        if let Some(outgoing) = session.advance() {
            return outgoing;
        }
        tokio::time::timeout(Duration::from_secs(60), wake.notified()).await.expect("the session goes on");
    }
}

/// Takes a whole epoch, giving every slot back.
pub async fn epoch(session: &mut Session) -> Vec<Copied> {
    session.credit(1 << 20);
    drain(session).await
}

/// Takes batches to the end of the epoch.
pub async fn drain(session: &mut Session) -> Vec<Copied> {
    let mut batches = Vec::new();
    loop {
        match next(session).await {
            Outgoing::Ready(ready) => {
                batches.push(copy(session, &ready));
                release(session, &ready);
                if ready.flags & forebay::delivery::local::record::FLAG_LAST != 0 {
                    return batches;
                }
            }
            Outgoing::Fault { fault, .. } => panic!("{fault}"),
        }
    }
}

/// The error that the stream ends with.
pub async fn fault(session: &mut Session) -> Fault {
    session.credit(1 << 20);
    loop {
        match next(session).await {
            Outgoing::Ready(ready) => release(session, &ready),
            Outgoing::Fault { fault, .. } => return fault,
        }
    }
}

/// Gives a slot back.
pub fn release(session: &mut Session, ready: &Ready) {
    session.release(&[Release { arena: ready.arena, generation: ready.generation, slot: ready.slot }]);
}

/// The bytes of a batch's tensors.
pub fn tensors(session: &Session, ready: &Ready) -> Vec<Vec<u8>> {
    let file = std::fs::File::from(session.arena().fd().try_clone_to_owned().expect("a descriptor"));
    let start = session.arena().geometry().slot_bytes * u64::from(ready.slot);
    let read = |index: usize| {
        let tensor = &ready.tensors[index];
        let mut bytes = vec![0; tensor.len_bytes as usize];
        file.read_exact_at(&mut bytes, start + tensor.offset_bytes).expect("the arena's bytes");
        bytes
    };
    (0..ready.tensors.len()).map(read).collect()
}

fn copy(session: &Session, ready: &Ready) -> Copied {
    let tensors = tensors(session, ready);
    let labels = tensors[1].chunks_exact(8);
    let labels = labels.map(|bytes| i64::from_ne_bytes(bytes.try_into().expect("8 bytes"))).collect();
    let valid = tensors[2..].last().cloned().unwrap_or_default();
    Copied { images: tensors[0].clone(), tensors, labels, valid, valid_rows: ready.valid_rows }
}

/// One name for the bytes of many batches.
pub fn digest_of(batches: &[Copied]) -> Digest {
    let labels =
        |batch: &Copied| batch.labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<_>>();
    let add = |builder: DigestBuilder, batch: &Copied| {
        builder.field("images", &batch.images).field("labels", &labels(batch))
    };
    batches.iter().fold(DigestBuilder::new("test"), add).finish()
}
