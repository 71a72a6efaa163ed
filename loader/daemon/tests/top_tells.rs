//! `forebay top` without a terminal: one table, or JSON, and what it says where there is no daemon.

mod node;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use node::{Node, consume};
use serde_json::Value;

fn top(socket: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command
        .arg("top")
        .arg("--socket")
        .arg(socket)
        .args(["--interval", "200ms"])
        .args(words)
        .output()
        .expect("it runs")
}

#[test]
fn off_a_terminal_it_prints_one_table_and_ends() {
    let node = Node::start(10, &[]);
    let mut client = node.client();
    let mut consumer = node.open(&mut client, 2);
    consume(&mut consumer, Duration::ZERO);
    for words in [&["--once"][..], &[]] {
        let output = top(&node.socket(), words);
        let page = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success() && !page.contains('\x1b'), "{page}");
        assert!(page.contains("JOB") && page.contains("photos") && page.contains("1/2"), "{page}");
    }
}

#[test]
fn json_has_every_session_with_its_rates() {
    let node = Node::start(10, &[]);
    let mut client = node.client();
    let _consumer = node.open(&mut client, 2);
    let output = top(&node.socket(), &["--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let session = &told["sessions"][0];
    assert_eq!(
        (&session["job"], &session["rank"], &session["world_size"]),
        (&"photos".into(), &1.into(), &2.into())
    );
    assert!(session["rows_per_s"].is_number() && told["cores"].is_number(), "{told}");
}

#[test]
fn without_a_daemon_the_socket_and_the_cure_are_named() {
    let output = top(Path::new("/nowhere/forebay.sock"), &["--once"]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        !output.status.success() && told.contains("/nowhere/forebay.sock") && told.contains("hint: "),
        "{told}"
    );
}
