//! What a node's daemon logs: who comes, what they open, how it ends, and whom each line is about.

mod node;

use std::time::Duration;

use node::{Node, consume};
use serde_json::Value;

fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn told<'a>(lines: &'a [Value], message: &str) -> &'a Value {
    lines
        .iter()
        .find(|line| line["message"] == message)
        .unwrap_or_else(|| panic!("no {message:?} in {lines:#?}"))
}

#[test]
fn a_run_is_told_from_start_to_drain_as_json() {
    let mut node = Node::start(10, &["--log-format", "json"]);
    let mut client = node.client();
    let mut consumer = node.open(&mut client, 2);
    let batches = consume(&mut consumer, Duration::from_secs(1));
    drop(consumer);
    node.await_log("session ended");
    node.end();
    let lines = lines(&node.log());
    for message in
        ["started", "serving", "client connected", "job opened", "session opened", "session ended", "drained"]
    {
        let line = told(&lines, message);
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
    assert_eq!(told(&lines, "job opened")["rows"], 10);
    assert!(told(&lines, "draining: no more sessions are taken")["sessions"].is_number());
    let end = told(&lines, "session ended");
    assert_eq!((&end["end"], &end["batches"], &end["rows"]), (&"Closed".into(), &batches.into(), &5.into()));
    assert!(end["waited_s"].as_f64().is_some_and(|waited| waited >= 1.0), "{end}");
    of_the_session(&lines);
}

/// Every line about a session says which, of which job and rank.
fn of_the_session(lines: &[Value]) {
    let mut seen = 0;
    for line in lines.iter().filter(|line| !line["span"].is_null()) {
        let span = &line["span"];
        assert_eq!(
            (&span["job"], &span["rank"], &span["world_size"]),
            (&"photos".into(), &1.into(), &2.into()),
            "{line}"
        );
        assert!(span["session"].is_u64(), "{line}");
        seen += 1;
    }
    let sessions =
        ["session opened", "session ended", "the stream stopped", "a read failed and is asked again"];
    let about =
        lines.iter().filter(|line| sessions.iter().any(|message| line["message"] == *message)).count();
    assert!(about > 1 && seen == about, "{seen} lines of {about} say whose they are: {lines:#?}");
}

#[test]
fn a_read_that_fails_and_the_fault_it_becomes_say_whose_they_are_whatever_the_level() {
    for level in ["info", "warn"] {
        let node = Node::start(4, &["--log-format", "json", "--log", level]);
        let mut client = node.client();
        let mut consumer =
            node.open_after(&mut client, 4, |file| std::fs::remove_file(file).expect("a file"));
        consumer.credit(1).expect("it listens");
        let fault = consumer.next_batch().expect_err("its files are gone");
        let lines = lines(&node.await_log("a read failed and is asked again"));
        let read = told(&lines, "a read failed and is asked again");
        assert_eq!((&read["level"], &read["span"]["job"]), (&"WARN".into(), &"photos".into()), "{read}");
        if level == "info" {
            let lines = self::lines(&node.await_log("the stream stopped"));
            let stopped = told(&lines, "the stream stopped");
            assert_eq!((&stopped["kind"], &stopped["epoch"]), (&"unavailable".into(), &0.into()));
            assert!(
                stopped["error"].as_str().is_some_and(|error| error.contains(&fault.message)),
                "{stopped}"
            );
            of_the_session(&lines);
        }
    }
}

#[test]
fn text_names_the_session_and_has_no_colours_off_a_terminal() {
    let node = Node::start(4, &[]);
    let mut client = node.client();
    consume(&mut node.open(&mut client, 2), Duration::ZERO);
    let log = node.await_log("session ended");
    assert!(log.contains("session{session=1 job=photos rank=1 world_size=2}"), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
}

#[test]
fn a_refused_request_is_told_and_a_quiet_daemon_tells_nothing() {
    for (level, expected) in [("info", true), ("error", false)] {
        let mut node = Node::start(2, &["--log", level]);
        let outside = r#"{"sources":[{"folder":{"path":"/etc"}}],"fields":[]}"#;
        node.client()
            .resolve(serde_json::from_str(outside).expect("a spec"))
            .expect_err("outside of its roots");
        node.end();
        let log = node.log();
        assert_eq!((log.contains("a request was refused"), log.is_empty()), (expected, !expected), "{log}");
    }
}

#[test]
fn a_filter_that_is_none_is_an_error() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["stats", "--log", "forebay=loud"])
        .output()
        .expect("it runs");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success() && told.contains("forebay=loud") && told.contains("hint: "), "{told}");
}
