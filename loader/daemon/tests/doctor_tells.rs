//! `forebay doctor`, `init`, `completions` and `man` as a person runs them.

use std::path::Path;
use std::process::{Command, Output};

use forebay::config::Config;
use forebay::run;
use serde_json::Value;

fn forebay(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(words).env_remove("FOREBAY_SOCKET").output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn findings(words: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = forebay(&[&["doctor", "--json"], words].concat());
    let findings = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr));
    });
    (findings, output.status.code())
}

fn level<'a>(findings: &'a [Value], id: &str) -> &'a str {
    let finding = findings.iter().find(|finding| finding["id"] == id);
    finding.and_then(|finding| finding["level"].as_str()).unwrap_or("absent")
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_exit_code_is_1_where_a_finding_fails_and_only_then() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a"), "a").expect("a file");
    for (path, readable) in [(dir.path().to_owned(), "ok"), (dir.path().join("missing"), "fail")] {
        let (findings, code) = findings(&[utf8(&path)]);
        assert_eq!(level(&findings, "root.read"), readable);
        let failed = findings.iter().any(|finding| finding["level"] == "fail");
        assert_eq!(code, Some(i32::from(failed)));
    }
}

#[test]
fn strict_makes_a_warning_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let (findings, code) = findings(&["--strict", utf8(dir.path())]);
    assert_eq!((level(&findings, "root.read"), code), ("warn", Some(1)), "an empty folder");
}

#[test]
fn what_this_machine_is_asked_comes_back() {
    let (findings, _) = findings(&[]);
    assert_eq!(level(&findings, "memory.memfd"), "ok", "the tests of the arena need it too");
    assert!(["ok", "note"].contains(&level(&findings, "kernel.io_uring")));
    let uring = findings.iter().find(|finding| finding["id"] == "kernel.io_uring").expect("asked");
    assert!(!uring["found"].as_str().expect("words").contains("not tried"), "{uring}");
}

#[test]
fn a_broken_configuration_is_a_finding_and_the_rest_is_still_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "cpu_thread = 3\n").expect("a file");
    let (findings, code) = findings(&["--config", utf8(&file)]);
    assert_eq!((level(&findings, "config.file"), code), ("fail", Some(1)));
    assert_ne!(level(&findings, "kernel.version"), "absent");
}

#[test]
fn a_pipe_gets_no_colours_and_the_verdict_is_the_last_line() {
    let output = forebay(&["doctor"]);
    let shown = text(&output.stdout);
    assert!(!shown.contains('\x1b'), "{shown}");
    assert!(shown.lines().last().is_some_and(|line| line.contains(" ok | ")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_is_named_with_its_version() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("f.sock");
    let file = dir.path().join("node.toml");
    let words = format!("socket = \"{}\"\n[[root]]\npath = \"{}\"\n", socket.display(), dir.path().display());
    std::fs::write(&file, &words).expect("a file");
    let daemon = tokio::spawn(run::serve_node(Config::parse(&words).expect("a configuration")));
    while !socket.exists() {
        assert!(!daemon.is_finished(), "the daemon serves");
        tokio::task::yield_now().await;
    }
    let asked = tokio::task::spawn_blocking(move || findings(&["--config", utf8(&file)]).0);
    let findings = asked.await.expect("no panic");
    let answer = findings.iter().find(|finding| finding["id"] == "daemon.answers").expect("asked");
    let expected = format!("forebay/{} at {}", env!("CARGO_PKG_VERSION"), socket.display());
    assert_eq!((answer["level"].as_str(), answer["found"].as_str()), (Some("ok"), Some(expected.as_str())));
    assert_eq!(level(&findings, "config.file"), "ok");
    daemon.abort();
}

#[test]
fn what_init_writes_is_what_serve_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    let written = forebay(&["init", "--root", utf8(dir.path()), "-o", utf8(&file)]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    let served = forebay(&["serve", "--config", utf8(&file), "--print-config"]);
    assert!(served.status.success(), "{}", text(&served.stderr));
    assert!(text(&served.stdout).contains(utf8(dir.path())));
    let again = forebay(&["init", "-o", utf8(&file)]);
    assert!(!again.status.success() && text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    let printed = forebay(&["init", "--for", "dgx-h100", "-o", "-"]);
    assert!(text(&printed.stdout).contains("cpu_threads = 96"));
}

#[test]
fn completions_and_pages_go_to_standard_output() {
    assert!(text(&forebay(&["completions", "bash"]).stdout).contains("complete -F _forebay"));
    assert!(text(&forebay(&["man"]).stdout).contains(".TH"));
    assert_eq!(forebay(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn logs_to_a_file_have_no_colours() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = forebay(&["serve", "--log", "debug", "--private-fd", "77"]);
    assert!(!output.status.success() && !text(&output.stderr).contains('\x1b'), "{}", text(&output.stderr));
    let wrong = forebay(&["stats", "--log", "a=b=c", "--socket", utf8(&dir.path().join("s"))]);
    assert!(text(&wrong.stderr).contains("hint: "), "{}", text(&wrong.stderr));
}
