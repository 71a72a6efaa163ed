//! The GPU that a session names: where its arena lies, and that nothing else follows from it.

mod node;
mod support;

use forebay::error::Kind;
use forebay::storage::Faults;
use forebay_proto::v1;
use support::{OpenAs, digest_of, spec};

/// The arenas of this process that are asked for on a node, by the kernel's own account; `None`: it has no nodes, or a
/// sandbox does not let anybody ask for one.
fn placed() -> Option<usize> {
    let probe = forebay_arena::Arena::create(0, forebay_arena::Geometry { slot_bytes: 4096, slots: 1 });
    if let Err(error) = probe.expect("an arena").prefer_node(0) {
        eprintln!("skipped: {}", forebay::error::with_causes(&error));
        return None;
    }
    let maps = std::fs::read_to_string("/proc/self/numa_maps").expect("a kernel with nodes");
    let is_placed = |line: &&str| line.contains("forebay-arena") && line.contains(" prefer");
    Some(maps.lines().filter(is_placed).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arena_is_asked_for_on_its_node_and_the_rows_are_the_same_wherever_it_lies() {
    let mut digests = Vec::new();
    let mut seen = Vec::new();
    // Node 1000 is on no machine: that is logged, and the arena lies anywhere.
    for numa_node in [None, Some(0), Some(1000)] {
        let node = support::Node::new(20, 2, Faults::default());
        let mut session = node.open(&spec("FAIL"), &OpenAs { rows: 8, numa_node, ..OpenAs::default() });
        digests.push(digest_of(&support::epoch(&mut session).await));
        seen.push(placed());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    if seen[0].is_some() {
        assert_eq!(seen, [Some(0), Some(1), Some(0)]);
    }
}

#[test]
fn a_gpu_that_the_machine_does_not_have_is_a_hint_and_one_that_is_no_gpu_is_an_error() {
    let node = node::Node::start(6, &[]);
    let mut client = node.client();
    let json = format!(
        r#"{{"sources":[{{"folder":{{"path":"{}"}}}}],"fields":[{{"name":"label"}}]}}"#,
        node.path("data").display()
    );
    let job = client.resolve(serde_json::from_str(&json).expect("a spec")).expect("a job");
    let mut open = |gpu: &str| {
        let reference =
            v1::JobRef { order_digest: job.order_digest.clone(), content_digest: job.content_digest.clone() };
        let request =
            v1::OpenRequest { job: Some(reference), rows: 2, gpu: gpu.to_owned(), ..Default::default() };
        client.open(request).map(|consumer| consumer.opened().numa_node)
    };
    for gpu in ["", "ffff:ff:1f.7", "GPU-5fc2a8e1-0b1c-4d2e-8f3a-123456789abc"] {
        assert_eq!(open(gpu), Ok(None), "{gpu}");
    }
    let wrong = open("cuda:0").expect_err("a number is another in every process");
    assert!(wrong.kind == Kind::Invalid && wrong.message.contains("PCI address"), "{wrong}");
    let log = node.log();
    assert!(log.contains("ffff:ff:1f.7") && log.contains("its arena lies anywhere"), "{log}");
}
