//! A batch asked for by its key is the batch that a session delivers, byte for byte; who asks is checked again.

use std::os::unix::fs::FileExt;
use std::path::Path;

use forebay::config::{Allow, Config, RootConfig};
use forebay::error::{Fault, Kind};
use forebay::run::Daemon;
use forebay::server::Peer;
use forebay::session::Outgoing;
use forebay_proto::v1;
use tokio::sync::mpsc;

fn photos(root: &Path) {
    for index in 0..30_u8 {
        let class = root.join(["ant", "bee"][usize::from(index % 2)]);
        std::fs::create_dir_all(&class).expect("a folder");
        let pixel = |x: u32, y: u32| image::Rgb([index * 8, (x * 9) as u8, (y * 11) as u8]);
        image::RgbImage::from_fn(20, 24, pixel).save(class.join(format!("{index}.png"))).expect("an image");
    }
}

fn spec(root: &Path) -> v1::ResolveRequest {
    let json = format!(
        r#"{{"spec":{{"sources":[{{"folder":{{"path":"{}"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"3"}},
            "fields":[{{"name":"image","transforms":[{{"randomResizedCrop":{{"size":[9]}}}},{{"normalize":{{}}}}]}},{{"name":"label"}}]}}}}"#,
        root.display()
    );
    serde_json::from_str(&json).expect("a request")
}

async fn fetch(daemon: &Daemon, peer: Peer, key: v1::BatchKey) -> Result<(v1::BatchHead, Vec<u8>), Fault> {
    let (sender, mut receiver) = mpsc::channel(1024);
    daemon.service.fetch(peer, key, sender).await?;
    let head = receiver.recv().await.expect("a head")?.head.expect("the head comes first");
    let mut bytes = Vec::new();
    while let Some(reply) = receiver.recv().await {
        bytes.extend(reply?.data);
    }
    Ok((head, bytes))
}

fn key(job: &v1::Job, epoch: u64, first_row: u64, rows: u32) -> v1::BatchKey {
    let (order_digest, content_digest) = (job.order_digest.clone(), job.content_digest.clone());
    v1::BatchKey { order_digest, content_digest, epoch, first_row, rows, stage: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_by_its_key_is_the_batch_of_a_session() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let job =
        daemon.service.resolve(Peer::Parent, spec(dir.path())).await.expect("a job").job.expect("a job");
    assert_eq!((job.rows, job.classes.clone()), (30, vec!["ant".to_owned(), "bee".to_owned()]));

    let reference =
        v1::JobRef { order_digest: job.order_digest.clone(), content_digest: job.content_digest.clone() };
    let partition = Some(v1::Partition { rank: 1, size: 2, replica: String::new() });
    let cursor = Some(v1::Cursor { epoch: 4, position: 24 });
    let request = v1::OpenRequest { job: Some(reference), partition, cursor, rows: 6, ..Default::default() };
    let (reply, _entry) = daemon.service.open(Peer::Parent, String::new(), &request).expect("a session");
    let mut session = daemon.service.sessions().take(reply.session).expect("parked");
    session.credit(1);
    let wake = session.wake();
    let ready = loop {
        match session.advance() {
            Some(Outgoing::Ready(ready)) => break ready,
            Some(Outgoing::Fault { fault, .. }) => panic!("{fault}"),
            None => wake.notified().await,
        }
    };
    assert_eq!((ready.first_row, ready.rows, ready.valid_rows, ready.next_epoch), (27, 3, 3, 5));

    let (head, bytes) = fetch(&daemon, Peer::Parent, key(&job, 4, 27, 3)).await.expect("the batch");
    assert_eq!((head.valid_rows, head.bytes), (3, bytes.len() as u64));
    let arena = std::fs::File::from(session.arena().fd().try_clone_to_owned().expect("a descriptor"));
    let start = session.arena().geometry().slot_bytes * u64::from(ready.slot);
    for (tensor, part) in ready.tensors.iter().zip(&head.tensors) {
        let mut delivered = vec![0; tensor.len_bytes as usize];
        arena.read_exact_at(&mut delivered, start + tensor.offset_bytes).expect("the slot");
        let range = part.offset_bytes as usize..(part.offset_bytes + part.len_bytes) as usize;
        assert_eq!((delivered == bytes[range], tensor.dims.clone()), (true, part.dims.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_behind_the_end_repeat_the_first_ones_and_are_not_valid() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let job =
        daemon.service.resolve(Peer::Parent, spec(dir.path())).await.expect("a job").job.expect("a job");
    let (head, tail) = fetch(&daemon, Peer::Parent, key(&job, 0, 28, 4)).await.expect("the batch");
    let (_, start) = fetch(&daemon, Peer::Parent, key(&job, 0, 0, 2)).await.expect("the batch");
    let image_bytes = 9 * 9 * 3 * 4;
    assert_eq!(head.valid_rows, 2);
    assert_eq!(tail[2 * image_bytes..4 * image_bytes], start[..2 * image_bytes]);
    assert_eq!(tail[tail.len() - 4..], [1, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn knowing_a_digest_is_no_permission() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let allow = Allow { uids: vec![1000], gids: Vec::new() };
    let roots = vec![RootConfig { path: dir.path().to_owned(), allow }];
    let daemon = Daemon::start(Config { roots, ..Config::default() }).expect("a daemon");
    let (owner, other) = (Peer::Process { uid: 1000, gid: 1000 }, Peer::Process { uid: 1001, gid: 1001 });
    let job = daemon.service.resolve(owner, spec(dir.path())).await.expect("a job").job.expect("a job");
    assert!(fetch(&daemon, owner, key(&job, 0, 0, 2)).await.is_ok());
    assert_eq!(fetch(&daemon, other, key(&job, 0, 0, 2)).await.expect_err("denied").kind, Kind::Denied);
    let unknown = v1::BatchKey { order_digest: job.content_digest.clone(), ..key(&job, 0, 0, 2) };
    assert_eq!(fetch(&daemon, owner, unknown).await.expect_err("unknown").kind, Kind::NotFound);
    assert_eq!(fetch(&daemon, owner, key(&job, 0, 0, 0)).await.expect_err("no rows").kind, Kind::Invalid);
}
