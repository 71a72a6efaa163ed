//! What Prometheus gets of a daemon that delivers batches: every name with its type and help, and figures that are true.

#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use node::{Node, consume, project};
use serde_json::Value;

const METRICS: &str = include_str!("golden/metrics.txt");

fn started(images: usize) -> Node {
    Node::start(images, &["--metrics-listen", "unix:DIR/metrics.sock"])
}

/// The lines that say what there is, in order.
fn declared(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("# ")).collect();
    lines.sort_by_key(|line| {
        let words: Vec<_> = line.split(' ').collect();
        (words[2].to_owned(), words[1].to_owned())
    });
    lines.join("\n") + "\n"
}

/// Every metric's name.
fn names() -> BTreeSet<&'static str> {
    METRICS.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

fn figures(text: &str) -> BTreeMap<String, f64> {
    let figure = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(figure).collect()
}

/// Scrapes until `done` says so of the figures: what the daemon does with a record it does in its own time.
fn scraped(node: &Node, done: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    for _ in 0..1000 {
        let (status, _, body) = node.get("/metrics");
        assert_eq!(status, 200);
        let figures = figures(&body);
        if done(&figures) {
            return figures;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never so:\n{}", node.get("/metrics").2);
}

fn sum_over(figures: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of_name = |key: &&String| key.split('{').next() == Some(name);
    figures.iter().filter(|(key, _)| of_name(key)).map(|(_, value)| value).sum()
}

#[test]
fn names_types_and_help_are_those_of_the_golden_file() {
    let node = started(10);
    let mut client = node.client();
    consume(&mut node.open(&mut client, 2), Duration::ZERO);
    let found = declared(&node.get("/metrics").2);
    if std::env::var_os("FOREBAY_BLESS").is_some() {
        let path = project("loader/daemon/tests/golden/metrics.txt");
        std::fs::write(path, &found).expect("the golden file");
    }
    assert_eq!(
        found, METRICS,
        "FOREBAY_BLESS=1 writes the golden file; docs and the dashboard name metrics too"
    );
}

#[test]
fn figures_are_of_what_was_delivered_and_what_the_consumer_said_of_its_wait() {
    let node = started(20);
    let mut client = node.client();
    let mut consumer = node.open(&mut client, 2);
    let batches = consume(&mut consumer, Duration::from_secs(2)) as f64;
    let waits = "forebay_batch_wait_seconds_count";
    // Its last release may be behind its last word.
    let now = scraped(&node, |now| now[waits] == batches && now["forebay_slots_leased"] == 0.0);
    for (name, value) in [
        ("forebay_batches_total", batches),
        ("forebay_rows_total", 10.0),
        ("forebay_batch_bytes_total", 10.0 * (8.0 * 8.0 * 3.0 + 1.0)),
        ("forebay_samples_total", 10.0),
        ("forebay_reads_total", 10.0),
        ("forebay_decode_seconds_count", 10.0),
        ("forebay_transform_seconds_count", 10.0),
        ("forebay_batch_seconds_count", batches),
        ("forebay_queue_seconds_count{queue=\"admission\"}", 10.0),
        ("forebay_queue_seconds_count{queue=\"read\"}", 10.0),
        ("forebay_queue_seconds_count{queue=\"decode\"}", 10.0),
        ("forebay_queue_seconds_count{queue=\"delivery\"}", batches),
        ("forebay_batch_wait_seconds_sum", batches * 2.0),
        ("forebay_consumer_seconds_sum{spent=\"trainer\"}", batches * 0.5),
        ("forebay_consumer_seconds_count{spent=\"copy\"}", 0.0),
        ("forebay_jobs_resolved_total{outcome=\"ok\"}", 1.0),
        ("forebay_sessions_opened_total", 1.0),
        ("forebay_sessions", 1.0),
        ("forebay_slots", 4.0),
        ("forebay_slots_leased", 0.0),
        ("forebay_decode_threads", 2.0),
        ("forebay_arena_budget_bytes", 64.0 * 1024.0 * 1024.0),
        ("forebay_reads_in_flight", 0.0),
        ("forebay_draining", 0.0),
    ] {
        assert_eq!(now[name], value, "{name}");
    }
    let whole = sum_over(&now, "forebay_feed_wait_seconds_sum");
    assert!((whole - batches * 2.0).abs() < 1e-6, "the causes' sums add up to the whole: {whole}");
    for name in [
        "forebay_read_bytes_total",
        "forebay_arena_bytes",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(now[name] > 0.0, "{name}");
    }
    drop(consumer);
    // It is counted as ended before its memory goes, and is off the list last.
    let now = scraped(&node, |now| now["forebay_sessions"] == 0.0);
    let ended = now["forebay_sessions_ended_total{end=\"closed\"}"];
    assert_eq!((ended, now["forebay_arena_bytes"]), (1.0, 0.0));
}

#[test]
fn images_for_a_device_are_counted_by_who_decodes_them() {
    let node = started(12);
    let mut client = node.client();
    let as_jpeg = |file: &Path| {
        let encoder = jpeg_encoder::Encoder::new_file(file, 90).expect("a file");
        encoder.encode(&[7; 20 * 16 * 3], 20, 16, jpeg_encoder::ColorType::Rgb).expect("a JPEG");
    };
    let more = r#","deviceDecode":{"ratio":1,"maxBytes":2000}"#;
    // Rank 1 has the bees: 1, 3, 5, 7, 9 and 11.
    let mut consumer = node.open_as(&mut client, 6, more, |file| {
        if file.ends_with("1.png") || file.ends_with("3.png") {
            as_jpeg(file);
        }
    });
    consume(&mut consumer, Duration::ZERO);
    let now = scraped(&node, |now| now["forebay_samples_total"] == 6.0);
    let of = |decoder: &str| now[&format!("forebay_device_rows_total{{decoder=\"{decoder}\"}}")];
    assert_eq!((of("device"), of("cpu")), (2.0, 4.0));
}

#[test]
fn corrupt_and_lost_files_are_counted_by_what_became_of_them() {
    let node = started(6);
    let mut client = node.client();
    let mut corrupt =
        node.open_after(&mut client, 6, |file| std::fs::write(file, b"no image").expect("a file"));
    corrupt.credit(1).expect("it listens");
    corrupt.next_batch().expect_err("its files are corrupt");
    let now = scraped(&node, |now| now["forebay_faults_total{kind=\"corrupt\"}"] == 1.0);
    assert_eq!(now["forebay_bad_samples_total{verdict=\"fail\"}"], 3.0, "the rows of one rank of two");
    assert_eq!((now["forebay_read_retries_total"], now["forebay_batches_total"]), (0.0, 0.0));

    let mut lost = node.open_after(&mut client, 6, |file| std::fs::remove_file(file).expect("a file"));
    lost.credit(1).expect("it listens");
    lost.next_batch().expect_err("its files are gone");
    let now = scraped(&node, |now| now["forebay_faults_total{kind=\"unavailable\"}"] == 1.0);
    let (failed, again) =
        (now["forebay_read_errors_total{kind=\"unavailable\"}"], now["forebay_read_retries_total"]);
    assert!(again > 0.0 && failed > again, "{failed} failed, {again} were asked again");
}

#[test]
fn labels_come_from_bounded_sets() {
    let node = started(10);
    let mut client = node.client();
    consume(&mut node.open(&mut client, 2), Duration::from_millis(1));
    let (_, head, body) = node.get("/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let labels = [
        "cause", "decoder", "end", "finite", "kind", "le", "outcome", "queue", "spent", "verdict", "version",
    ];
    for series in figures(&body).keys() {
        let inside = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
        for label in inside.split(',').filter(|label| !label.is_empty()) {
            let name = label.split('=').next().unwrap_or("");
            assert!(labels.contains(&name), "{series}");
        }
        assert!(!series.contains("photos"), "a job is no label: {series}");
    }
}

#[test]
fn health_turns_when_the_daemon_drains_and_other_paths_are_told_what_there_is() {
    let mut node = started(4);
    assert_eq!(node.get("/healthz").0, 200);
    let (status, _, body) = node.get("/etc/passwd");
    assert_eq!(status, 404);
    assert!(body.contains("/metrics") && body.contains("/healthz"), "{body}");
    let mut client = node.client();
    let consumer = node.open(&mut client, 2);
    forebay::operate::drain(&node.socket()).expect("it drains");
    let (status, _, body) = node.get("/healthz");
    assert_eq!((status, body.as_str()), (503, "draining\n"));
    assert_eq!(figures(&node.get("/metrics").2)["forebay_draining"], 1.0);
    drop(consumer);
    node.ended();
    assert!(!node.path("metrics.sock").exists(), "its socket is removed");
}

#[test]
fn a_port_in_use_ends_the_start_with_the_cure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let config = format!("[[root]]\npath = \"{}\"\n", dir.path().display());
    std::fs::write(dir.path().join("node.toml"), config).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"))
        .current_dir(dir.path())
        .args(["serve", "--config", "node.toml", "--socket", "f.sock", "--metrics-listen", &address])
        .output()
        .expect("it runs");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success() && told.contains(&address) && told.contains("metrics_listen"), "{told}");
}

#[test]
fn metrics_are_served_on_a_port_and_an_open_one_is_warned_of() {
    let node = Node::start(2, &["--metrics-listen", "0.0.0.0:0"]);
    let log = node.await_log("serving metrics");
    assert!(log.contains("WARN") && log.contains("without authentication"), "{log}");
    let line = log.lines().find(|line| line.contains("serving metrics")).expect("a line");
    let port = line.rsplit(':').next().expect("a port").trim();
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.0\r\n\r\n").expect("it reads");
    let mut reply = String::new();
    std::io::Read::read_to_string(&mut stream, &mut reply).expect("an answer");
    assert!(reply.contains("200 OK") && reply.ends_with("ok\n"), "{reply}");
}

#[test]
fn every_metric_is_in_the_guide_and_the_guide_names_no_other() {
    let guide = std::fs::read_to_string(project("docs/monitoring.md")).expect("the guide");
    let told: BTreeSet<_> = words(&guide);
    let missing: Vec<_> = names().into_iter().filter(|name| !told.contains(name)).collect();
    assert!(missing.is_empty(), "not in docs/monitoring.md: {missing:?}");
    let unknown: Vec<_> = told.iter().filter(|name| !exists(name)).collect();
    assert!(unknown.is_empty(), "docs/monitoring.md names what there is not: {unknown:?}");
}

/// The words of a text that look like a metric's name.
fn words(text: &str) -> BTreeSet<&str> {
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    parts.filter(|word| word.starts_with("forebay_") || word.starts_with("process_")).collect()
}

/// Whether it is a metric, or one of a histogram's series.
fn exists(name: &str) -> bool {
    let series = ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
    std::iter::once(name).chain(series).any(|name| names().contains(name))
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().expect("panels").iter()
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(project("examples/grafana/forebay.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_expression_of_the_dashboard_names_metrics_that_there_are() {
    let mut seen = BTreeSet::new();
    for panel in panels(&dashboard()).filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            let named = words(expression);
            assert!(!named.is_empty() && named.iter().all(|name| exists(name)), "{expression}");
            seen.extend(named.into_iter().map(str::to_owned));
            let balanced =
                |open, close| expression.matches(open).count() == expression.matches(close).count();
            assert!(balanced('(', ')') && balanced('{', '}') && balanced('[', ']'), "{expression}");
        }
    }
    assert!(seen.len() > 25, "a dashboard that shows little: {seen:?}");
}

#[test]
fn the_dashboard_has_the_shape_that_grafana_imports() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    assert!(dashboard["id"].is_null() && dashboard["uid"].is_string() && dashboard["title"].is_string());
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(
        variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource")
    );
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{}", panel["title"]);
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()));
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies over another panel", panel["title"]);
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{}", panel["title"]);
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
        let targets = panel["targets"].as_array().expect("targets");
        let letters: BTreeSet<_> = targets.iter().map(|target| target["refId"].to_string()).collect();
        assert_eq!(letters.len(), targets.len(), "{}", panel["title"]);
    }
}
