//! The operators' socket: the same calls over gRPC, and "unimplemented" by name for what this version does not serve.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use forebay::config::{Allow, Config, RootConfig};
use forebay::run;
use forebay_proto::v1::forebay_client::ForebayClient;
use forebay_proto::v1::{self, ErrorKind};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

async fn connected(socket: &Path) -> ForebayClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).expect("an address");
    for _ in 0..500 {
        if let Ok(channel) = endpoint.connect().await {
            return ForebayClient::new(channel);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the daemon never listened on {}", socket.display());
}

fn config(dir: &Path) -> Config {
    let roots = vec![RootConfig { path: dir.to_owned(), allow: Allow::default() }];
    let (socket, grpc_socket) = (dir.join("local.sock"), Some(dir.join("op.sock")));
    Config { socket, grpc_socket, roots, cpu_threads: 1, ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_an_operator_are_served_and_drain_ends_the_daemon() {
    let dir = tempfile::tempdir().expect("a folder");
    let class = dir.path().join("data/ant");
    std::fs::create_dir_all(&class).expect("a folder");
    image::RgbImage::new(8, 8).save(class.join("1.png")).expect("an image");
    let daemon = tokio::spawn(run::serve_node(config(dir.path())));
    let mut client = connected(&dir.path().join("op.sock")).await;
    for socket in ["local.sock", "op.sock"] {
        let mode = std::fs::metadata(dir.path().join(socket)).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{socket}");
    }

    let hello = v1::HelloRequest { version_min: 1, version_max: 7, ..Default::default() };
    let hello = client.hello(hello).await.expect("hello").into_inner();
    assert_eq!((hello.version, hello.pid), (1, std::process::id()));

    let json = format!(
        r#"{{"spec":{{"sources":[{{"folder":{{"path":"{}"}}}}],"fields":[{{"name":"image","transforms":[{{"centerCrop":{{"size":[8]}}}}]}}]}}}}"#,
        dir.path().join("data").display()
    );
    let request: v1::ResolveRequest = serde_json::from_str(&json).expect("a request");
    let job = client.resolve(request).await.expect("a job").into_inner().job.expect("a job");
    let (order_digest, content_digest) = (job.order_digest, job.content_digest);
    let key = v1::BatchKey { order_digest, content_digest, epoch: 0, first_row: 0, rows: 1, stage: 0 };
    // Choices without a name here, as a newer client would send them.
    let unknown = v1::FetchRequest { key: Some(v1::BatchKey { stage: 99, ..key.clone() }) };
    let mut replies = client.fetch(unknown).await.expect("a stream").into_inner();
    let status = replies.message().await.map(drop).expect_err("no such stage");
    assert_eq!(
        (status.code(), status.message().contains("stage 99")),
        (Code::Unimplemented, true),
        "{status}"
    );
    let mut unknown: v1::ResolveRequest = serde_json::from_str(&json).expect("a request");
    unknown.spec.iter_mut().for_each(|spec| spec.job_id = "run-1".to_owned());
    unknown.pin = Some(v1::Pin { follow: 99, ..Default::default() });
    let status = client.resolve(unknown).await.map(drop).expect_err("no such way to follow");
    assert!(status.message().contains("follow 99 is unknown"), "{status}");
    let mut replies =
        client.fetch(v1::FetchRequest { key: Some(key.clone()) }).await.expect("a batch").into_inner();
    let head = replies.message().await.expect("a head").and_then(|reply| reply.head).expect("a head");
    let mut bytes = 0;
    while let Some(reply) = replies.message().await.expect("bytes") {
        bytes += reply.data.len() as u64;
    }
    assert_eq!((head.bytes, bytes), (8 * 8 * 3 + 1, 8 * 8 * 3 + 1), "an image and its `valid`");

    let request = v1::ShowRequest { key: Some(key), ..Default::default() };
    let shown = client.show(request).await.expect("a sheet").into_inner();
    assert!(shown.png.starts_with(b"\x89PNG") && shown.rows[0].key == "ant/1.png", "{}", shown.text);

    let stats = client.stats(v1::StatsRequest {}).await.expect("stats").into_inner();
    assert_eq!((stats.instance, stats.sessions.len()), (hello.instance, 0));
    let explained = client.explain(v1::ExplainRequest::default()).await.expect("explain").into_inner();
    assert!(explained.sessions.is_empty() && explained.text.contains("no session is open"));
    let drained = client.drain(v1::DrainRequest::default()).await.expect("drain").into_inner();
    assert_eq!(drained.sessions, 0);
    tokio::time::timeout(Duration::from_secs(20), daemon)
        .await
        .expect("it ends")
        .expect("no panic")
        .expect("no error");
    assert!(
        !dir.path().join("op.sock").exists() && !dir.path().join("local.sock").exists(),
        "sockets are removed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_and_what_is_wrong_have_their_own_codes() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = tokio::spawn(run::serve_node(config(dir.path())));
    let mut client = connected(&dir.path().join("op.sock")).await;
    let open = client.open(v1::OpenRequest::default()).await.expect_err("no sessions over gRPC yet");
    let stream = client.stream(v1::StreamRequest::default()).await.expect_err("reserved");
    for (status, name) in [(open, "open"), (stream, "stream")] {
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(name), "{status}");
    }
    let none = v1::ExplainRequest { session: 7 };
    assert_eq!(client.explain(none).await.expect_err("no such session").code(), Code::NotFound);
    let old = v1::HelloRequest { version_min: 2, version_max: 3, ..Default::default() };
    assert_eq!(client.hello(old).await.expect_err("no common version").code(), Code::InvalidArgument);
    let outside = v1::Source {
        origin: Some(v1::source::Origin::Folder(v1::Folder { path: "/etc".into(), ..Default::default() })),
        ..Default::default()
    };
    let spec = v1::JobSpec { sources: vec![outside], ..Default::default() };
    let denied = client
        .resolve(v1::ResolveRequest { spec: Some(spec), ..Default::default() })
        .await
        .expect_err("outside of the roots");
    assert_eq!(denied.code(), Code::PermissionDenied, "{:?}: {denied}", ErrorKind::Denied);
    daemon.abort();
}
