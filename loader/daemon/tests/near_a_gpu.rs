//! The GPU that a session names: where its arena lies, and that nothing else follows from it.

mod node;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use forebay::error::Kind;
use forebay::machine::Machine;
use forebay::storage::Faults;
use forebay::workers::Homes;
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

/// The processors that each decode thread of this process may run on, by its name.
fn bound() -> BTreeMap<String, String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let told = tasks.filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let allowed =
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
        name.starts_with("decode-").then_some((name, allowed))
    });
    told.collect()
}

/// A machine whose two first processors are a node each.
fn two_nodes(folder: &Path) -> Option<Machine> {
    let allowed = Machine::beneath("/").allowed_processors();
    let [first, second, ..] = allowed[..] else {
        eprintln!("skipped: this process may use one processor alone");
        return None;
    };
    let plant = |path: &str, text: String| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("a file");
    };
    plant("sys/devices/system/node/node0/cpulist", first.to_string());
    plant("sys/devices/system/node/node1/cpulist", second.to_string());
    plant("proc/self/status", format!("Cpus_allowed_list:\t{first},{second}\n"));
    Some(Machine::beneath(folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn decode_threads_go_to_their_nodes_with_the_first_session_near_one_and_rows_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(machine) = two_nodes(folder.path()) else { return };
    let homes = Homes::of(&machine, 4);
    let processors: Vec<_> = homes.all().iter().map(|home| home.processors[0].to_string()).collect();
    assert_eq!(homes.all().iter().map(|home| home.threads).collect::<Vec<_>>(), [2, 2]);
    let node = support::Node::at(20, 4, homes);
    let mut digests = Vec::new();
    for numa_node in [None, Some(1000), Some(1), Some(0), None] {
        let open = OpenAs { rows: 8, numa_node, ..OpenAs::default() };
        let mut session = node.open(&spec("FAIL"), &open);
        digests.push(digest_of(&support::epoch(&mut session).await));
        let is_bound = numa_node.is_some_and(|node| node < 1000) || digests.len() == 5;
        let anywhere = |(_, allowed): &(&String, &String)| !processors.contains(allowed);
        assert!(
            is_bound || bound().iter().all(|thread| anywhere(&thread)),
            "nobody named a node: {:?}",
            bound()
        );
        let (near, far) = node.pool.taken();
        assert_eq!(near + far > 0, is_bound);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    // A thread goes there when it next looks for work; those of this test's pool are the only ones that are bound.
    let at_home = || bound().values().filter(|allowed| processors.contains(allowed)).count();
    assert!(at_home() > 0, "{:?}", bound());
    drop(node);
    while at_home() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await; // they end with their pool, wherever they wait
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
