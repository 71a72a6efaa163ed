//! The daemon: whose it would be, where it would listen, and what answers there.

use super::facts::Facts;
use super::finding::Finding;

/// `sockaddr_un` holds 108 bytes with the closing zero.
const PATH_BYTES_MAX: usize = 107;

pub fn check(facts: &Facts) -> Vec<Finding> {
    vec![user(facts), folder(facts), answers(facts)]
}

fn user(facts: &Facts) -> Finding {
    let ids = |name: &str| facts.machine.field("/proc/self/status", name).unwrap_or_default();
    let effective = |name: &str| ids(name).split_whitespace().nth(1).unwrap_or("?").to_owned();
    let groups = ids("Groups");
    let found = format!(
        "uid {}, gid {}{}",
        effective("Uid"),
        effective("Gid"),
        if groups.is_empty() { String::new() } else { format!(", groups {groups}") }
    );
    let means = "a daemon started from here reads what this user may; its socket is for this user and group";
    Finding::ok("daemon.user", found, means)
}

fn folder(facts: &Facts) -> Finding {
    let (id, socket) = ("daemon.socket_folder", &facts.probes.socket);
    let path = socket.path.display();
    let folder = socket.path.parent().unwrap_or(&socket.path).display();
    if socket.path.as_os_str().len() > PATH_BYTES_MAX {
        let found = format!("{path}: {} bytes", socket.path.as_os_str().len());
        return Finding::fail(id, found, "a socket's path has at most 107 bytes")
            .cure("choose a shorter path");
    }
    let make = format!(
        "sudo install -d -o $(id -un) -g $(id -gn) -m 2750 {folder}, or RuntimeDirectory= in the service file"
    );
    let asked_for = facts.config_path.is_some();
    match socket.folder_writable {
        Some(true) => {
            Finding::ok(id, format!("{folder} is writable"), "`forebay serve` can make its socket there")
        }
        _ if !asked_for => {
            let means =
                "only `forebay serve` needs it; without a node's daemon each process starts a private one";
            let state =
                if socket.folder_writable.is_some() { "not writable for this user" } else { "not there" };
            Finding::ok(id, format!("{folder} is {state}"), means)
        }
        Some(false) => {
            let means = "`forebay serve` as this user can't make its socket there";
            Finding::warn(id, format!("{folder} is not writable for this user"), means).cure(make)
        }
        None => {
            let means = "`forebay serve` would stop at once: its socket has no folder";
            Finding::fail(id, format!("{folder} is not there"), means).cure(make)
        }
    }
}

fn answers(facts: &Facts) -> Finding {
    let (id, socket) = ("daemon.answers", &facts.probes.socket);
    let path = socket.path.display();
    let joined = facts.socket_variable.is_some();
    let own = concat!("forebay/", env!("CARGO_PKG_VERSION"));
    match &socket.daemon {
        Some(Ok(daemon)) if daemon == own => {
            Finding::ok(id, format!("{daemon} at {path}"), "training processes of this node can join it")
        }
        Some(Ok(daemon)) => {
            let means = format!(
                "another version than this command ({own}); clients of both may join, features differ"
            );
            Finding::note(id, format!("{daemon} at {path}"), means)
                .cure("start the new daemon on another socket, then `forebay drain` the old one")
        }
        Some(Err(fault)) => {
            let means = if joined {
                "FOREBAY_SOCKET sends training processes there, and they will fail"
            } else {
                "nobody can join a daemon there"
            };
            let found = fault.to_string().lines().next().unwrap_or_default().to_owned();
            let cure = fault.hint.clone().unwrap_or_else(|| "start `forebay serve`".to_owned());
            if joined {
                Finding::fail(id, found, means).cure(cure)
            } else {
                Finding::warn(id, found, means).cure(cure)
            }
        }
        None if joined => {
            let means = "FOREBAY_SOCKET sends training processes there, and they will fail";
            Finding::fail(id, format!("nothing at {path}"), means)
                .cure("start `forebay serve`, or unset FOREBAY_SOCKET")
        }
        None => {
            let means = "each training process starts a private daemon of its own";
            Finding::ok(id, format!("none at {path}"), means)
        }
    }
}
