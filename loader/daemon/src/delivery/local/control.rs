//! A control connection: requests in, replies out, sessions attached; one a client.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use forebay_proto::v1::{self, reply, request::Call};
use tokio::sync::watch;

use super::record::{
    FLAG_MORE, HEADER_BYTES, Header, RECORD_BYTES_MAX, RecordKind, read_attach, write_control, write_fault,
};
use super::socket::{SeqPacket, send_now};
use super::stream;
use crate::error::Fault;
use crate::metrics::{self, End};
use crate::server::{Peer, Service};
use crate::session::table::Entry;

/// A session that is opened and not attached is dropped after this long.
const ATTACH_WITHIN: Duration = Duration::from_secs(30);
/// Sessions of one client.
const SESSIONS_MAX: usize = 64;

/// The task that drops a session whose socket never came; it ends with this.
struct AttachDeadline(tokio::task::AbortHandle);

impl Drop for AttachDeadline {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One client's connection.
pub struct Control {
    service: Arc<Service>,
    socket: Arc<SeqPacket>,
    peer: Peer,
    gone: watch::Receiver<bool>,
    /// What Hello called the client; no other call comes before it.
    client: Option<String>,
    /// Opened here and not ended, attached or not.
    open_sessions: Arc<()>,
    /// Opened here and not attached yet.
    parked: Vec<(u64, Entry, AttachDeadline)>,
    partial: Vec<u8>,
}

impl Control {
    /// A connection before its Hello. `gone` turns true when the client's process has ended.
    pub fn new(service: Arc<Service>, socket: SeqPacket, peer: Peer, gone: watch::Receiver<bool>) -> Self {
        Self {
            service,
            socket: Arc::new(socket),
            peer,
            gone,
            client: None,
            open_sessions: Arc::new(()),
            parked: Vec::new(),
            partial: Vec::new(),
        }
    }

    /// Serves until the client closes the socket, breaks the protocol, or its process ends.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn serve(mut self) -> io::Result<()> {
        let mut gone = self.gone.clone();
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        let socket = Arc::clone(&self.socket);
        let ended = loop {
            let received = tokio::select! {
                received = socket.receive(&mut buffer) => received,
                _ = gone.wait_for(|gone| *gone) => break Ok(()),
            };
            match received {
                Ok(received) if received.len_bytes == 0 => break Ok(()),
                Ok(received) => {
                    let fds = received.fds;
                    if let Err(fault) = self.record(&buffer[..received.len_bytes], fds).await? {
                        break self.reply(0, reply::Result::Error(fault.to_proto())).await;
                    }
                }
                Err(error) => break Err(error),
            }
        };
        for (session, ..) in self.parked.drain(..) {
            if self.service.sessions().take(session).is_some() {
                metrics::session_ended(End::NotAttached);
            }
        }
        ended
    }

    /// Takes one record. The inner error: the peer broke the protocol, and the connection ends with it.
    async fn record(&mut self, record: &[u8], fds: Vec<OwnedFd>) -> io::Result<Result<(), Fault>> {
        let header = match Header::read(record) {
            Ok(header) => header,
            Err(error) => return Ok(Err(broken(&error.to_string()))),
        };
        if header.kind == RecordKind::Attach as u8 {
            return Ok(self.attach(record, fds));
        }
        if header.kind != RecordKind::Control as u8 || !fds.is_empty() {
            return Ok(Err(broken(&format!(
                "record of kind {:#04x} with {} descriptors",
                header.kind,
                fds.len()
            ))));
        }
        self.partial.extend_from_slice(&record[HEADER_BYTES..]);
        if self.partial.len() as u64 > self.service.control_bytes_max() {
            let message = format!("control message of more than {} bytes", self.service.control_bytes_max());
            return Ok(Err(
                Fault::invalid(message).hint("send long lists as a file: CSV, JSON Lines or Parquet")
            ));
        }
        if header.flags & FLAG_MORE != 0 {
            return Ok(Ok(()));
        }
        let message = std::mem::take(&mut self.partial);
        match serde_json::from_slice::<v1::Request>(&message) {
            Ok(request) => {
                let id = request.id;
                let result = match self.call(request.call).await {
                    Ok(result) => result,
                    Err(fault) => {
                        tracing::info!(
                            client = self.client,
                            kind = fault.kind.name(),
                            error = fault.line(),
                            "a request was refused"
                        );
                        reply::Result::Error(fault.to_proto())
                    }
                };
                self.reply(id, result).await.map(Ok)
            }
            // The id is not known, so the reply names none; the client has one request out at a time.
            Err(error) => {
                let fault = Fault::invalid(format!("request: {error}"))
                    .hint("the client does not speak forebay/v1; upgrade it");
                self.reply(0, reply::Result::Error(fault.to_proto())).await.map(Ok)
            }
        }
    }

    async fn call(&mut self, call: Option<Call>) -> Result<reply::Result, Fault> {
        let call = call.ok_or_else(|| Fault::invalid("a request without a call"))?;
        if let Call::Hello(hello) = call {
            let reply = self.service.hello(&hello)?;
            let client: String = hello.client.chars().take(128).collect();
            tracing::info!(client, peer = %self.peer, "client connected");
            self.client = Some(client);
            return Ok(reply::Result::Hello(reply));
        }
        let Some(client) = self.client.clone() else {
            return Err(Fault::invalid("the first request must be hello"));
        };
        Ok(match call {
            Call::Hello(_) => unreachable!("answered above"),
            Call::Resolve(request) => reply::Result::Resolve(self.service.resolve(self.peer, request).await?),
            Call::Open(request) => reply::Result::Open(self.open(&request, client)?),
            Call::Show(request) => reply::Result::Show(self.service.show(self.peer, request).await?),
            Call::Report(request) => reply::Result::Report(self.service.report(self.peer, request).await?),
            Call::Losses(request) => reply::Result::Losses(self.service.losses(self.peer, request).await?),
            Call::Digest(request) => reply::Result::Digest(self.service.digest(self.peer, &request).await?),
            Call::Explain(request) => reply::Result::Explain(self.service.explain(self.peer, &request)?),
            Call::Stats(_) => reply::Result::Stats(self.service.stats(self.peer)?),
            Call::Drain(request) => reply::Result::Drain(self.service.drain(self.peer, &request)?),
            Call::Fetch(_) => {
                return Err(Fault::unimplemented("fetch on the local socket; the gRPC socket serves it"));
            }
            Call::Stream(_) => return Err(Fault::unimplemented("stream")),
        })
    }

    fn open(&mut self, request: &v1::OpenRequest, client: String) -> Result<v1::OpenReply, Fault> {
        let service = &self.service;
        self.parked.retain(|(session, ..)| service.sessions().is_parked(*session));
        // Every entry holds one count; the connection itself holds the first.
        if Arc::strong_count(&self.open_sessions) > SESSIONS_MAX {
            return Err(Fault::invalid(format!("more than {SESSIONS_MAX} open sessions of one client"))
                .hint("drop iterators that are not used any more, or share a loader"));
        }
        let (reply, entry) = service.open(self.peer, client, request)?;
        let entry = entry.counted(Arc::clone(&self.open_sessions));
        let (session, sessions) = (reply.session, Arc::clone(service.sessions()));
        let deadline = tokio::spawn(async move {
            tokio::time::sleep(ATTACH_WITHIN).await;
            if sessions.take(session).is_some() {
                metrics::session_ended(End::NotAttached);
            }
        });
        self.parked.push((session, entry, AttachDeadline(deadline.abort_handle())));
        Ok(reply)
    }

    fn attach(&mut self, record: &[u8], fds: Vec<OwnedFd>) -> Result<(), Fault> {
        let id = read_attach(record).map_err(|error| broken(&error.to_string()))?;
        let [fd] = <[OwnedFd; 1]>::try_from(fds)
            .map_err(|fds| broken(&format!("attach with {} descriptors", fds.len())))?;
        let found = self.parked.iter().position(|(session, ..)| *session == id);
        let entry = found.map(|index| self.parked.swap_remove(index).1);
        let session = found.and_then(|_| self.service.sessions().take(id));
        let (Some(entry), Some(session)) = (entry, session) else {
            let fault = Fault::new(crate::error::Kind::NotFound, format!("session {id} is not open"))
                .hint("attach within 30 s of open, on the connection that opened it");
            refuse(&fd, &fault);
            return Ok(());
        };
        let socket = SeqPacket::new(fd).map_err(|error| broken(&format!("attach: {error}")))?;
        tokio::spawn(stream::serve(session, entry, socket, self.gone.clone()));
        Ok(())
    }

    async fn reply(&self, id: u64, result: reply::Result) -> io::Result<()> {
        let reply = v1::Reply { id, result: Some(result) };
        let json = serde_json::to_vec(&reply).expect("every message has a JSON mapping");
        let mut out = Vec::new();
        let fragments = json.chunks(RECORD_BYTES_MAX - HEADER_BYTES);
        let last = fragments.len() - 1;
        for (index, fragment) in fragments.enumerate() {
            write_control(&mut out, fragment, index < last);
            self.socket.send(&out, None).await?;
        }
        Ok(())
    }
}

fn broken(what: &str) -> Fault {
    Fault::invalid(what).hint("the client does not speak docs/wire.md; upgrade it")
}

/// Tells a socket that was passed for nothing why; it is closed then.
fn refuse(fd: &OwnedFd, fault: &Fault) {
    let json = serde_json::to_string(&fault.to_proto()).expect("every message has a JSON mapping");
    let mut out = Vec::new();
    write_fault(&mut out, true, 0, 0, 0, &json);
    let _ = send_now(fd, &out, None);
}
