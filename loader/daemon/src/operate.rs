//! `forebay stats`, `forebay explain` and `forebay drain`: an operator's questions to a running daemon, over its local socket.

use std::fmt::Write as _;
use std::path::Path;

use forebay_proto::v1::{self, reply, request::Call};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::delivery::local::client::Client;
use crate::error::{Fault, Kind};
use crate::explain::options::ExplainArgs;

/// Connects to a node's daemon and says hello.
///
/// # Errors
/// NotFound, Denied or Unavailable, naming the socket and the cure.
pub fn connect(socket: &Path) -> Result<Client, Fault> {
    let connected = SocketAddrUnix::new(socket).and_then(|address| {
        let fd =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&fd, &address)?;
        Ok(fd)
    });
    let fd = connected.map_err(|errno| {
        let (kind, hint) = match errno {
            rustix::io::Errno::NOENT => (
                Kind::NotFound,
                "is the daemon running, and is this its socket? --socket or FOREBAY_SOCKET name it",
            ),
            rustix::io::Errno::ACCESS => {
                (Kind::Denied, "the socket is for its owner and group: run this as one of them")
            }
            _ => (Kind::Unavailable, "nobody listens there: start `forebay serve`"),
        };
        Fault::from_error(kind, &std::io::Error::from(errno))
            .context(format!("connect to {}", socket.display()))
            .hint(hint)
    })?;
    Client::hello(fd, concat!("forebay-cli/", env!("CARGO_PKG_VERSION")))
}

/// Asks for the sums.
///
/// # Errors
/// What the daemon answers.
pub fn stats(socket: &Path) -> Result<v1::StatsReply, Fault> {
    connect(socket)?.stats()
}

/// Asks where the consumers' time went: of one session, or of all that the caller may see.
///
/// # Errors
/// What the daemon answers.
pub fn explain(args: &ExplainArgs) -> Result<v1::ExplainReply, Fault> {
    let request = v1::ExplainRequest { session: args.session.unwrap_or(0) };
    match connect(&args.socket)?.call(Call::Explain(request))? {
        reply::Result::Explain(reply) => Ok(reply),
        other => Err(Fault::internal(format!("explain was answered with {other:?}"))),
    }
}

/// Has the daemon take no more sessions. It exits when those open have ended.
///
/// # Errors
/// What the daemon answers.
pub fn drain(socket: &Path) -> Result<v1::DrainReply, Fault> {
    match connect(socket)?.call(Call::Drain(v1::DrainRequest::default()))? {
        reply::Result::Drain(reply) => Ok(reply),
        other => Err(Fault::internal(format!("drain was answered with {other:?}"))),
    }
}

/// The sums as a table for people.
pub fn show(stats: &v1::StatsReply) -> String {
    let mut out = format!(
        "up {} s, {:.1} s of CPU, {} MB resident; {} decode threads, engine {} with {} threads\n",
        stats.uptime_ms / 1000,
        stats.cpu_us as f64 / 1e6,
        stats.rss_bytes / 1_000_000,
        stats.cpu_threads,
        stats.engine,
        stats.read_threads
    );
    if !stats.nodes.is_empty() {
        let _ = writeln!(out, "{}", at_home(stats));
    }
    if stats.sessions.is_empty() {
        return out + "no session is open\n";
    }
    let _ = writeln!(
        out,
        "{:>7}  {:<26} {:>7} {:>16} {:>10} {:>9} {:>9} {:>7}  client",
        "session", "job", "rank", "epoch:row", "rows", "slot wait", "idle", "leased"
    );
    for session in &stats.sessions {
        let partition = session.partition.clone().unwrap_or_default();
        let cursor = session.cursor.unwrap_or_default();
        let _ = writeln!(
            out,
            "{:>7}  {:<26} {:>7} {:>16} {:>10} {:>7.1} s {:>7.1} s {:>3}/{:<3}  {}",
            session.session,
            session.job_id,
            format!("{}/{}", partition.rank, partition.size.max(1)),
            format!("{}:{}", cursor.epoch, cursor.position),
            session.rows,
            session.slot_wait_us as f64 / 1e6,
            session.idle_us as f64 / 1e6,
            session.slots_leased,
            session.slots,
            session.client
        );
    }
    out
}
/// Where decode threads are at home, and how much of what is near a GPU is decoded there.
fn at_home(stats: &v1::StatsReply) -> String {
    let share = |node: &v1::NodeThreads| format!("{} on node {}", node.threads, node.node);
    let shares: Vec<_> = stats.nodes.iter().map(share).collect();
    let shares = shares.join(", ");
    let reads = stats.decoded_near + stats.decoded_far;
    if reads == 0 {
        return format!("decode threads: {shares}, once a session names its GPU");
    }
    let near = 100.0 * stats.decoded_near as f64 / reads as f64;
    format!("decode threads: {shares}; {near:.1} % of {reads} reads were decoded near their GPU")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_not_there_is_named_with_the_cure() {
        let fault = stats(Path::new("/nowhere/forebay.sock")).expect_err("no daemon");
        assert_eq!(fault.kind, Kind::NotFound);
        assert!(fault.message.contains("/nowhere/forebay.sock") && fault.hint.is_some());
    }

    #[test]
    fn the_table_has_a_line_a_session() {
        let session =
            v1::SessionStats { session: 3, job_id: "resnet".into(), rows: 512, ..Default::default() };
        let stats = v1::StatsReply { sessions: vec![session], ..Default::default() };
        let table = show(&stats);
        assert_eq!(table.lines().count(), 3);
        assert!(
            table
                .lines()
                .nth(2)
                .is_some_and(|line| line.contains("resnet") && line.contains("0/1") && line.contains("512"))
        );
        assert!(show(&v1::StatsReply::default()).ends_with("no session is open\n"));
    }

    #[test]
    fn threads_at_home_are_told_where_there_are_nodes() {
        let nodes = [0, 1].map(|node| v1::NodeThreads { node, threads: 112 }).to_vec();
        let mut stats = v1::StatsReply { nodes, ..Default::default() };
        let told = "decode threads: 112 on node 0, 112 on node 1";
        assert!(show(&stats).contains(&format!("\n{told}, once a session names its GPU\n")));
        (stats.decoded_near, stats.decoded_far) = (990, 10);
        assert!(show(&stats).contains(&format!("{told}; 99.0 % of 1000 reads")));
        assert!(!show(&v1::StatsReply::default()).contains("on node"));
    }
}
