//! Requests of a client that may read one small folder: each is answered, and sessions that open deliver.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use forebay::config::{Bytes, Config, RootConfig, Seconds};
use forebay::delivery::local::record::{FLAG_LAST, Release};
use forebay::error::{Fault, Kind};
use forebay::server::{Peer, Service};
use forebay::session::{Outgoing, Session};
use forebay::storage::ThreadsEngine;
use forebay::workers::Pool;
use forebay_proto::v1::{self, request::Call};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Any but the owner of the process, so that roots are checked and nobody drains.
const PEER: Peer = Peer::Process { uid: 65_534, gid: 65_534 };
const CALLS_MAX: usize = 6;
/// Long for one batch of a few kilobytes, also where a sanitizer slows it.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

const IMAGE: &[u8] = include_bytes!("../seeds/png/ok-rgb-3x2.png");
const LIST: &str = "path,label,tokens\na/1.png,0,5\na/2.png,1,900\nb/3.png,1,70\nb/bad.png,2,1\n";
const FIRST: &str = r#"{"resolve":{"spec":{"sources":[{"folder":{"path":"ROOT"}}],"order":{"sampler":"SAMPLER_SHUFFLED","seed":"7"},
    "onBadSample":{"policy":"BAD_SAMPLE_POLICY_SUBSTITUTE"},"fields":[{"name":"image","transforms":[{"centerCrop":{"size":[4]}}]},{"name":"label"}]}}}"#;

/// Requests in the proto's JSON mapping, one a line. In them ROOT is a folder with two class folders and a `list.csv`,
/// PINS is a state root, and ORDER and CONTENT name the job that was resolved last, at first one of that folder. Whether any was served.
pub fn calls(input: &[u8]) -> bool {
    static NODE: OnceLock<Node> = OnceLock::new();
    let node = NODE.get_or_init(Node::start);
    let service = Service::new(node.config.clone(), Arc::clone(&node.pool)).expect("no folder is asked for");
    let mut client = Client { node, service, job: v1::JobRef::default() };
    node.runtime.block_on(async {
        assert!(client.line(FIRST).await, "the first job resolves");
        let mut served = false;
        for line in input.split(|byte| *byte == b'\n').take(CALLS_MAX) {
            if let Ok(line) = std::str::from_utf8(line) {
                served |= client.line(line).await;
            }
        }
        served
    })
}

/// What every input shares: files, threads, limits.
struct Node {
    config: Config,
    pool: Arc<Pool>,
    runtime: Runtime,
    root: TempDir,
    pins: TempDir,
}

impl Node {
    fn start() -> Self {
        let folder = || tempfile::tempdir().expect("a folder can be made in TMPDIR");
        let (root, pins) = (folder(), folder());
        for (name, bytes) in
            [("a/1.png", IMAGE), ("a/2.png", IMAGE), ("b/3.png", IMAGE), ("b/bad.png", b"no image")]
        {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().expect("below the root")).expect("our own folder");
            fs::write(file, bytes).expect("our own folder");
        }
        fs::write(root.path().join("list.csv"), LIST).expect("our own folder");
        let path = root.path().canonicalize().expect("it was made a moment ago");
        let config = Config {
            cpu_threads: 1,
            arena_budget: Bytes(4 << 20),
            read_budget: Bytes(1 << 20),
            sample_max: Bytes(1 << 16),
            pixels_max: 1 << 16,
            retry_deadline: Seconds(Duration::from_millis(10)),
            ledger_memory: Bytes(1 << 20),
            roots: vec![RootConfig { path: path.clone(), allow: Default::default() }],
            state_roots: vec![RootConfig { path: pins.path().to_owned(), allow: Default::default() }],
            ..Config::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (done, completed) = flume::unbounded();
        let engine = ThreadsEngine::new(NonZeroUsize::MIN, &done).expect("a thread");
        let timer = runtime.handle().clone();
        let pool = Pool::start(Arc::new(engine), &completed, config.pool_options(), timer).expect("a thread");
        Self { config, pool, runtime, root, pins }
    }
}

struct Client<'n> {
    node: &'n Node,
    service: Arc<Service>,
    job: v1::JobRef,
}

impl Client<'_> {
    /// Sends one request; whether it was served.
    async fn line(&mut self, line: &str) -> bool {
        let root = self.node.root.path().canonicalize().expect("it stays while we run");
        let line = line.replace("ROOT", root.to_str().expect("TMPDIR is UTF-8"));
        let line = line.replace("PINS", self.node.pins.path().to_str().expect("TMPDIR is UTF-8"));
        let line = line.replace("ORDER", &self.job.order_digest).replace("CONTENT", &self.job.content_digest);
        let Some(v1::Request { call: Some(call), .. }) = super::requests::message(line.as_bytes()) else {
            return false;
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.call(call)).await.expect("an answer in time");
        if let Err(fault) = &answer {
            assert!(!fault.message.is_empty());
            assert_ne!(fault.kind, Kind::Internal, "{fault}");
        }
        answer.is_ok()
    }

    async fn call(&mut self, call: Call) -> Result<(), Fault> {
        let service = &self.service;
        match call {
            Call::Hello(request) => service.hello(&request).map(drop),
            Call::Resolve(mut request) => {
                if let Some(pin) = &mut request.pin {
                    pin.wait_ms = pin.wait_ms.min(5);
                }
                let job = service.resolve(PEER, request).await?.job.expect("a resolved job");
                let (order_digest, content_digest) = (job.order_digest, job.content_digest);
                self.job = v1::JobRef { order_digest, content_digest };
                Ok(())
            }
            Call::Open(request) => self.open(&request).await,
            Call::Show(request) => service.show(PEER, request).await.map(drop),
            Call::Digest(request) => service.digest(PEER, &request).await.map(drop),
            Call::Report(request) => service.report(PEER, request).await.map(drop),
            Call::Losses(request) => service.losses(PEER, request).await.map(drop),
            Call::Explain(request) => service.explain(PEER, &request).map(drop),
            Call::Stats(_) => service.stats(PEER).map(drop),
            Call::Drain(request) => service.drain(PEER, &request).map(drop),
            Call::Fetch(request) => self.fetch(request.key.unwrap_or_default()).await,
            Call::Stream(_) => Err(Fault::unimplemented("stream")),
        }
    }

    /// Opens a session and takes two batches of it, or what stands in their place.
    async fn open(&self, request: &v1::OpenRequest) -> Result<(), Fault> {
        let (reply, _listed) = self.service.open(PEER, "fuzz".to_owned(), request)?;
        let mut session = self.service.sessions().take(reply.session).expect("it was parked a moment ago");
        session.credit(2);
        for _ in 0..2 {
            let Outgoing::Ready(ready) = next(&mut session).await else { break };
            assert!(ready.tensors.len() == reply.tensors.len() || ready.tensors.is_empty());
            session.release(&[Release {
                arena: ready.arena,
                generation: ready.generation,
                slot: ready.slot,
            }]);
            // Nothing comes behind it until the client seeks.
            if ready.flags & FLAG_LAST != 0 {
                break;
            }
        }
        Ok(())
    }

    async fn fetch(&self, key: v1::BatchKey) -> Result<(), Fault> {
        let (out, mut replies) = mpsc::channel(64);
        let all = async { while replies.recv().await.is_some() {} };
        let (fetched, ()) = tokio::join!(self.service.fetch(PEER, key, out), all);
        fetched
    }
}

/// The next record, waiting for it.
async fn next(session: &mut Session) -> Outgoing {
    let wake = session.wake();
    loop {
        if let Some(outgoing) = session.advance() {
            return outgoing;
        }
        wake.notified().await;
    }
}
