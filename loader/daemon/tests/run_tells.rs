//! `forebay run`, as jobs and those who end them see it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn forebay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.env_remove("FOREBAY_SOCKET").env("FOREBAY_CACHE_DIR", "").stdin(Stdio::null());
    command
}

/// Runs a shell script as the job: what it printed, what was said, and the exit status.
fn run(script: &str) -> (String, String, i32) {
    let done = forebay().args(["run", "--", "sh", "-c", script]).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (text(done.stdout), text(done.stderr), done.status.code().expect("it exits"))
}

/// Starts a job that gets ready, says where its daemon listens, and goes on.
fn started(ready: &str, rest: &str) -> (Child, String) {
    let script = format!("{ready}\necho \"$FOREBAY_SOCKET\"\n{rest}");
    let mut command = forebay();
    command.args(["run", "--", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    // A group of its own: in a terminal's foreground it would leave Ctrl-C to the terminal.
    let mut child = command.process_group(0).spawn().expect("starts");
    let mut socket = String::new();
    let out = child.stdout.as_mut().expect("piped");
    BufReader::new(out).read_line(&mut socket).expect("a line");
    (child, socket.trim_end().to_owned())
}

fn answers(socket: &str) -> bool {
    forebay().args(["stats", "--socket", socket]).output().expect("the binary starts").status.success()
}

#[test]
fn a_job_finds_a_daemon_and_nothing_is_left_of_it() {
    let stats = format!("{} stats >/dev/null && dirname \"$FOREBAY_SOCKET\"", env!("CARGO_BIN_EXE_forebay"));
    let (folder, said, code) = run(&stats);
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(folder.contains("/forebay-"), "{folder}");
    assert!(!Path::new(folder.trim_end()).exists(), "{folder}");
}

#[test]
fn it_ends_as_the_job_does() {
    assert_eq!(run("exit 7").2, 7);
    assert_eq!(run("kill -KILL $$").2, 137);
}

#[test]
fn a_job_that_cannot_start_is_told_apart() {
    for (command, code) in [("./no-such-command", 127), ("/", 126)] {
        let done = forebay().args(["run", "--", command]).output().expect("the binary starts");
        assert_eq!(done.status.code(), Some(code), "{command}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains(&format!("start {command}")) && said.contains("hint: "), "{said}");
    }
}

#[test]
fn signals_go_on_to_the_job_and_the_daemon_waits_for_its_end() {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::USR1, "USR1"), (Signal::INT, "INT")] {
        let stats = format!("{} stats >/dev/null && exit 9; exit 1", env!("CARGO_BIN_EXE_forebay"));
        let trap = format!("trap '{stats}' {name}");
        let (mut child, _) = started(&trap, "while :; do sleep 0.05; done");
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        assert_eq!(child.wait().expect("it ends").code(), Some(9), "{name}");
    }
}

#[test]
fn what_it_was_started_to_ignore_the_job_ignores_too() {
    let script = "trap '' HUP\nexec \"$0\" run -- sh -c 'echo ready; read line; echo \"$line\"'";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_forebay")])
        .env_remove("FOREBAY_SOCKET")
        .env("FOREBAY_CACHE_DIR", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    kill_process(Pid::from_child(&child), Signal::HUP).expect("it runs");
    drop(child.stdin.take()); // the job reads on, and finds the end
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    assert_eq!(
        (line.as_str(), rest.as_str(), child.wait().expect("ends").code()),
        ("ready\n", "\n", Some(0))
    );
}

#[test]
fn the_daemon_is_gone_even_where_nobody_could_tidy_up() {
    let (mut child, socket) = started("", "read line");
    assert!(answers(&socket));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let late = Instant::now() + Duration::from_secs(20);
    while answers(&socket) {
        assert!(Instant::now() < late, "the daemon lives on");
    }
    let folder = Path::new(&socket).parent().expect("a folder");
    std::fs::remove_dir_all(folder).expect("what a kill leaves");
}

#[test]
fn a_daemon_that_answers_is_joined_and_one_that_does_not_is_replaced() {
    let inner = format!(
        "echo \"$FOREBAY_SOCKET\"; {} run -- sh -c 'echo \"$FOREBAY_SOCKET\"'",
        env!("CARGO_BIN_EXE_forebay")
    );
    let (sockets, said, code) = run(&inner);
    let lines: Vec<&str> = sockets.lines().collect();
    assert_eq!((code, said.as_str(), lines.len()), (0, "", 2));
    assert_eq!(lines[0], lines[1]);

    let done = forebay()
        .env("FOREBAY_SOCKET", "/nonexistent/forebay.sock")
        .args(["run", "--", "sh", "-c", "echo \"$FOREBAY_SOCKET\""])
        .output()
        .expect("the binary starts");
    assert!(done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("the job gets a daemon of its own"));
    assert_ne!(String::from_utf8_lossy(&done.stdout).trim_end(), "/nonexistent/forebay.sock");
}

#[test]
fn a_socket_that_was_asked_for_is_where_it_listens() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("job.sock");
    let done = forebay()
        .args([
            "run",
            "--socket",
            socket.to_str().expect("UTF-8"),
            "--",
            "sh",
            "-c",
            "echo \"$FOREBAY_SOCKET\"",
        ])
        .output()
        .expect("the binary starts");
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim_end(), socket.to_str().expect("UTF-8"));
    assert!(!socket.exists());
}
