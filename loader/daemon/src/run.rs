//! Wiring: connections, signals, shutdown.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, NumaPlacement};
use crate::delivery::local::control::Control;
use crate::delivery::local::socket::SeqPacket;
use crate::error::{Fault, Kind};
use crate::listen::{self, Unlink};
use crate::machine::Machine;
use crate::scrape::Endpoint;
use crate::server::{Peer, Service, grpc};
use crate::storage::{self, Started};
use crate::sys;
use crate::workers::{Homes, Pool};

/// What a daemon has open beside its reads before many clients have come: runtime, sockets, logs, a few sessions.
const OWN_FILES: u64 = 64;

/// How a daemon of one training process is told about it.
#[derive(Clone, Copy, Debug)]
pub struct PrivateOptions {
    /// The inherited end of the control socket pair.
    pub socket: RawFd,
    /// A pidfd of the process to serve.
    pub parent: Option<RawFd>,
}

/// A service and the threads under it.
pub struct Daemon {
    /// The calls.
    pub service: Arc<Service>,
}

impl Daemon {
    /// Starts the storage engine and the pool.
    ///
    /// # Errors
    /// Invalid: the process may not open enough files for its reads. Unavailable: threads could not be started, or
    /// io_uring was asked for and is not there.
    pub fn start(config: Config) -> Result<Self, Fault> {
        let (allowed, mut options) = (sys::raise_open_files(), config.engine_options());
        if config.uring_threads == 0 {
            let reads = OWN_FILES + options.read_threads.get() as u64;
            options.rings = options.rings.within(allowed.saturating_sub(reads));
        }
        enough_open_files(allowed, options.open_files_least())?;
        options.open_files = allowed - OWN_FILES;
        // Bounded by what the gate lets through, so it is never full.
        let (done, completed) = flume::unbounded();
        let Started { engine, reason } = storage::start(&options, &done)?;
        let timer = tokio::runtime::Handle::current();
        let options = config.pool_options();
        let pool = Pool::start_at(engine, &completed, options, timer, homes(&config, options.cpu_threads))?;
        tracing::info!(
            engine = pool.engine_name(),
            why = reason,
            read_threads = config.read_threads(),
            cpu_threads = pool.cpu_threads(),
            "started"
        );
        let every = config.ledger_every.0;
        let service = Service::new(config, pool)?;
        if service.keeps_ledgers() {
            tokio::spawn(keep_ledgers(Arc::clone(&service), every));
        }
        Ok(Self { service })
    }

    /// Serves one connected control socket until it ends. `gone` turns true when its process has ended.
    ///
    /// # Errors
    /// What the reactor says of the socket.
    pub fn connect(
        &self,
        socket: OwnedFd,
        peer: Peer,
        gone: watch::Receiver<bool>,
    ) -> io::Result<tokio::task::JoinHandle<()>> {
        let control = Control::new(Arc::clone(&self.service), SeqPacket::new(socket)?, peer, gone);
        Ok(tokio::spawn(async move {
            if let Err(error) = control.serve().await {
                tracing::debug!(%error, "control connection failed");
            }
        }))
    }
}

/// Where decode threads are at home: nowhere in particular unless arenas are placed, on a machine of several nodes.
fn homes(config: &Config, threads: usize) -> Homes {
    match config.numa {
        NumaPlacement::Auto => Homes::of(&Machine::beneath("/"), threads),
        NumaPlacement::Off => Homes::default(),
    }
}

/// Checks that reads at a time never run out of descriptors, each of which holds one.
fn enough_open_files(allowed: u64, reads: u64) -> Result<(), Fault> {
    let needed = OWN_FILES + reads;
    if allowed >= needed {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "{allowed} open files are allowed, and {reads} reads at a time need {needed}"
    ))
    .hint("LimitNOFILE=65536 in the service file, a higher `ulimit -Hn`, or fewer read_threads (uring_depth for engine = \"uring\")"))
}

/// Serves the process that started this one, until it ends in whatever way.
///
/// # Errors
/// Invalid: the descriptors are not what they should be.
pub async fn serve_private(config: Config, options: PrivateOptions) -> Result<(), Fault> {
    let adopt = |number: RawFd, what: &str| {
        sys::adopt_fd(number).map_err(|error| {
            Fault::from_error(Kind::Invalid, &error).context(format!("{what}: descriptor {number}")).hint(
                "--private-fd and --parent-pidfd are for the Python client, which passes open descriptors",
            )
        })
    };
    let socket = adopt(options.socket, "--private-fd")?;
    let parent = options.parent.map(|number| adopt(number, "--parent-pidfd")).transpose()?;
    let daemon = Daemon::start(config)?;
    let (tell, gone) = watch::channel(false);
    let connection = daemon
        .connect(socket, Peer::Parent, gone)
        .map_err(|error| Fault::from_error(Kind::Invalid, &error))?;
    let mut draining = daemon.service.draining();
    // Ctrl-C goes to the whole terminal group: it is the training process's to answer.
    let mut interrupts = signals(SignalKind::interrupt())?;
    let mut terms = signals(SignalKind::terminate())?;
    let ignored = async { while interrupts.recv().await.is_some() {} };
    tokio::select! {
        () = exited(parent) => tracing::debug!("the parent process ended"),
        () = ignored => {}
        _ = terms.recv() => {}
        () = drained(&mut draining, &daemon.service) => {}
        // The control socket may close while attached sessions go on: they end with their own sockets.
        () = async { let _ = connection.await; no_sessions(&daemon.service).await } => {}
    }
    tell.send_replace(true);
    daemon.service.save_ledgers();
    Ok(())
}

/// Serves a node: a socket for training processes, one for operators.
///
/// # Errors
/// Invalid or Unavailable: a socket that exists, a folder that does not.
pub async fn serve_node(config: Config) -> Result<(), Fault> {
    let socket = config.socket.clone();
    if config.roots.is_empty() {
        return Err(Fault::invalid("the configuration names no [[root]], so no job could read anything")
            .hint("add [[root]] with path = \"/data\"; examples/nodes/ has files to start from"));
    }
    let listener = listen::seqpacket(&socket)?;
    let _unlink = Unlink(socket.clone());
    let operator = config.grpc_socket.clone();
    let metrics = match &config.metrics_listen {
        Some(listen) => Some(Endpoint::bind(listen).await?),
        None => None,
    };
    let daemon = Arc::new(Daemon::start(config)?);
    let operators = operator.as_deref().map(listen::stream).transpose()?;
    // Not before it is ours: what stands there may be another daemon's, or no socket at all.
    let _unlink_operator = operator.map(Unlink);
    let grpc = operators.map(|listener| tokio::spawn(grpc::serve(listener, Arc::clone(&daemon.service))));
    let metrics = metrics.map(|endpoint| tokio::spawn(serve_metrics(endpoint, Arc::clone(&daemon.service))));
    tracing::info!(socket = %socket.display(), pid = std::process::id(), version = env!("CARGO_PKG_VERSION"), "serving");
    let mut draining = daemon.service.draining();
    let mut interrupts = signals(SignalKind::interrupt())?;
    let mut terms = signals(SignalKind::terminate())?;
    tokio::select! {
        () = accept(&daemon, &listener, None) => {}
        _ = interrupts.recv() => tracing::info!("interrupted"),
        _ = terms.recv() => tracing::info!("terminated"),
        () = drained(&mut draining, &daemon.service) => tracing::info!("drained"),
    }
    [grpc, metrics].into_iter().flatten().for_each(|task| task.abort());
    daemon.service.save_ledgers();
    Ok(())
}

/// Serves the processes of this user on the configuration's socket while `job` lasts, and gives what it gave.
///
/// They are trusted as the process that starts a private daemon is; others are held to the roots.
///
/// # Errors
/// Invalid or Unavailable: a socket that exists, a folder that does not.
pub async fn serve_beside<T>(config: Config, job: impl Future<Output = T>) -> Result<T, Fault> {
    let socket = config.socket.clone();
    let listener = listen::seqpacket(&socket)?;
    let _unlink = Unlink(socket);
    let metrics = match &config.metrics_listen {
        Some(listen) => Some(Endpoint::bind(listen).await?),
        None => None,
    };
    let daemon = Daemon::start(config)?;
    let metrics = metrics.map(|endpoint| tokio::spawn(serve_metrics(endpoint, Arc::clone(&daemon.service))));
    let own = Some(rustix::process::geteuid().as_raw());
    let mut job = std::pin::pin!(job);
    let done = tokio::select! {
        done = &mut job => done,
        () = accept(&daemon, &listener, own) => job.await,
    };
    metrics.into_iter().for_each(|task| task.abort());
    daemon.service.save_ledgers();
    Ok(done)
}

async fn serve_metrics(endpoint: Endpoint, service: Arc<Service>) {
    if let Err(fault) = endpoint.serve(service).await {
        tracing::error!(error = fault.line(), "metrics are not served");
    }
}

/// Welcomes all who connect, for ever. A process of the user `own` counts as the one that started the daemon.
async fn accept(daemon: &Daemon, listener: &AsyncFd<OwnedFd>, own: Option<u32>) {
    loop {
        let accepted = listener
            .async_io(Interest::READABLE, |fd| Ok(rustix::net::accept_with(fd, SocketFlags::CLOEXEC)?))
            .await;
        let socket = match accepted {
            Ok(socket) => socket,
            // EMFILE and such pass when a client leaves; a listener that can't wait at all would spin.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = welcome(daemon, socket, own) {
            tracing::warn!(%error, "a connection could not be served");
        }
    }
}

fn welcome(daemon: &Daemon, socket: OwnedFd, own: Option<u32>) -> io::Result<()> {
    let credentials = rustix::net::sockopt::socket_peercred(&socket)?;
    let uid = credentials.uid.as_raw();
    let peer =
        if own == Some(uid) { Peer::Parent } else { Peer::Process { uid, gid: credentials.gid.as_raw() } };
    // Across pid namespaces the number means nothing here; then the sockets' ends alone tell.
    let pidfd = rustix::process::pidfd_open(credentials.pid, rustix::process::PidfdFlags::empty()).ok();
    let (tell, gone) = watch::channel(false);
    daemon.connect(socket, peer, gone)?;
    tokio::spawn(async move {
        tokio::select! {
            () = exited(pidfd) => { tell.send_replace(true); }
            () = tell.closed() => {}
        }
    });
    Ok(())
}

/// Waits until the process behind a pidfd has ended; for ever where there is none.
async fn exited(pidfd: Option<OwnedFd>) {
    let Some(pidfd) = pidfd else { return std::future::pending().await };
    match sys::reactor_fd(pidfd, Interest::READABLE) {
        Ok(pidfd) => drop(pidfd.readable().await),
        Err(_) => std::future::pending().await,
    }
}

/// Writes the ledgers of losses every so often, and when somebody asks for it. Large ones take long, and are written
/// less often: that takes a twentieth of a processor at most.
async fn keep_ledgers(service: Arc<Service>, every: Duration) {
    let mut pause = every;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = service.asked_to_save() => {}
        }
        let (writer, started) = (Arc::clone(&service), Instant::now());
        if tokio::task::spawn_blocking(move || writer.save_ledgers()).await.is_err() {
            return;
        }
        pause = every.max(started.elapsed() * 20);
    }
}

async fn drained(draining: &mut watch::Receiver<bool>, service: &Service) {
    if draining.wait_for(|draining| *draining).await.is_ok() {
        no_sessions(service).await;
    }
}

async fn no_sessions(service: &Service) {
    while !service.sessions().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Fault> {
    signal(kind).map_err(|error| Fault::from_error(Kind::Unavailable, &error).context("listen for signals"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_open_files_are_refused_before_anything_is_read_with_the_cure() {
        assert!(enough_open_files(80, 16).is_ok());
        let fault = enough_open_files(79, 16).expect_err("one too few");
        assert!(fault.message.contains("79 open files are allowed") && fault.message.contains("need 80"));
        assert!(fault.hint.expect("a cure").contains("LimitNOFILE"));
    }
}
