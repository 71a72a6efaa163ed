//! A client of the local wire, blocking: what a training process is to the daemon, without Python.
//!
//! It maps nothing and touches no batch unless asked, so that what is measured is the daemon's. Integration tests use
//! it too: [`Consumer::tensor`] reads a tensor's bytes through the memfd.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use forebay_proto::v1::{self, reply, request::Call};
use rustix::event::{PollFd, PollFlags, poll};

use crate::delivery::local::record::{
    ClientRecord, FLAG_MORE, HEADER_BYTES, Header, RECORD_BYTES_MAX, Ready, RecordKind, Release, Spent,
    read_arena, write_attach, write_control,
};
use crate::delivery::local::socket::{Received, pair, receive_now, send_now};
use crate::error::{Fault, Kind};

/// Bytes of FAULT before its JSON: header, epoch, position.
const FAULT_HEAD_BYTES: usize = 24;

/// A control connection.
pub struct Client {
    socket: OwnedFd,
    next_id: u64,
    buffer: Vec<u8>,
}

/// A session and its arena.
pub struct Consumer {
    socket: OwnedFd,
    arena: File,
    arena_id: u64,
    slot_bytes: u64,
    reply: v1::OpenReply,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

impl Client {
    /// Says hello on a connected, blocking `SOCK_SEQPACKET` socket.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn hello(socket: OwnedFd, name: &str) -> Result<Self, Fault> {
        let mut client = Self { socket, next_id: 0, buffer: vec![0; RECORD_BYTES_MAX] };
        let hello = v1::HelloRequest {
            version_min: 1,
            version_max: 1,
            client: name.to_owned(),
            ..Default::default()
        };
        client.call(Call::Hello(hello))?;
        Ok(client)
    }

    /// One request and its reply.
    ///
    /// # Errors
    /// The daemon's error, or Unavailable where the connection ended.
    pub fn call(&mut self, call: Call) -> Result<reply::Result, Fault> {
        self.next_id += 1;
        let request = v1::Request { id: self.next_id, call: Some(call) };
        let json = serde_json::to_vec(&request).expect("every message has a JSON mapping");
        let fragments = json.chunks(RECORD_BYTES_MAX - HEADER_BYTES);
        let (last, mut out) = (fragments.len() - 1, Vec::new());
        for (index, fragment) in fragments.enumerate() {
            write_control(&mut out, fragment, index < last);
            send(&self.socket, &out)?;
        }
        let reply: v1::Reply = serde_json::from_slice(&self.message()?)
            .map_err(|error| Fault::internal(format!("a reply that is no forebay/v1: {error}")))?;
        match reply.result {
            Some(reply::Result::Error(error)) => Err(fault_of(error)),
            Some(result) => Ok(result),
            None => Err(Fault::internal("an empty reply")),
        }
    }

    /// Opens data.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn resolve(&mut self, spec: v1::JobSpec) -> Result<v1::Job, Fault> {
        match self.call(Call::Resolve(v1::ResolveRequest { spec: Some(spec), ..Default::default() }))? {
            reply::Result::Resolve(v1::ResolveReply { job: Some(job), .. }) => Ok(job),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens a session and attaches it. No credit is granted yet.
    ///
    /// # Errors
    /// What the daemon answers, on either socket.
    pub fn open(&mut self, request: v1::OpenRequest) -> Result<Consumer, Fault> {
        match self.call(Call::Open(request))? {
            reply::Result::Open(reply) => self.attach(reply),
            other => Err(unexpected(&other)),
        }
    }

    /// The daemon's sums.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn stats(&mut self) -> Result<v1::StatsReply, Fault> {
        match self.call(Call::Stats(v1::StatsRequest {}))? {
            reply::Result::Stats(stats) => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    fn attach(&mut self, reply: v1::OpenReply) -> Result<Consumer, Fault> {
        let (ours, theirs) = pair().map_err(|error| socket_fault(&error))?;
        let mut out = Vec::new();
        write_attach(&mut out, reply.session);
        send_now(&self.socket, &out, Some(theirs.as_fd())).map_err(|error| socket_fault(&error))?;
        drop(theirs);
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        let received = receive(&ours, &mut buffer)?;
        let record = &buffer[..received.len_bytes];
        if let Some(fault) = fault_in(record) {
            return Err(fault);
        }
        let arena = read_arena(record).map_err(|error| Fault::internal(error.to_string()))?;
        let fd = received.fds.into_iter().next().ok_or_else(|| Fault::internal("ARENA without a memfd"))?;
        let (arena_id, slot_bytes, _) = arena;
        Ok(Consumer { socket: ours, arena: File::from(fd), arena_id, slot_bytes, reply, buffer, out })
    }

    fn message(&mut self) -> Result<Vec<u8>, Fault> {
        let mut message = Vec::new();
        loop {
            let received = receive(&self.socket, &mut self.buffer)?;
            let record = &self.buffer[..received.len_bytes];
            let header = Header::read(record).map_err(|error| Fault::internal(error.to_string()))?;
            message.extend_from_slice(&record[HEADER_BYTES..]);
            if header.flags & FLAG_MORE == 0 {
                return Ok(message);
            }
        }
    }
}

impl Consumer {
    /// What the session was opened as.
    pub fn opened(&self) -> &v1::OpenReply {
        &self.reply
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// The session's fault, or Unavailable where the daemon is gone.
    pub fn next_batch(&mut self) -> Result<Ready, Fault> {
        let received = receive(&self.socket, &mut self.buffer)?;
        let record = &self.buffer[..received.len_bytes];
        if let Some(fault) = fault_in(record) {
            return Err(fault);
        }
        Ready::read(record).map_err(|error| Fault::internal(error.to_string()))
    }

    /// Grants so many batches more.
    ///
    /// # Errors
    /// Unavailable where the daemon is gone.
    pub fn credit(&mut self, credits: u32) -> Result<(), Fault> {
        self.grant(credits, None)
    }

    /// Grants so many batches more, and says what it cost to take the same number.
    ///
    /// # Errors
    /// Unavailable where the daemon is gone.
    pub fn credit_after(&mut self, credits: u32, spent: Spent) -> Result<(), Fault> {
        self.grant(credits, Some(spent))
    }

    fn grant(&mut self, credits: u32, spent: Option<Spent>) -> Result<(), Fault> {
        ClientRecord::Credit { credits, spent }.write(&mut self.out);
        send(&self.socket, &self.out)
    }

    /// Gives a batch back.
    ///
    /// # Errors
    /// Unavailable where the daemon is gone.
    pub fn release(&mut self, ready: &Ready) -> Result<(), Fault> {
        let release = Release { arena: ready.arena, generation: ready.generation, slot: ready.slot };
        ClientRecord::Release(vec![release]).write(&mut self.out);
        send(&self.socket, &self.out)
    }

    /// Goes on at another row, as SEEK number `sequence` of this session.
    ///
    /// # Errors
    /// Unavailable where the daemon is gone.
    pub fn seek(&mut self, sequence: u32, epoch: u64, position: u64, credits: u32) -> Result<(), Fault> {
        ClientRecord::Seek { sequence, epoch, position, credits }.write(&mut self.out);
        send(&self.socket, &self.out)
    }

    /// The bytes of tensor number `index` of a batch that is not released yet.
    ///
    /// # Errors
    /// Internal: the batch lies in another arena, or has no such tensor.
    pub fn tensor(&self, ready: &Ready, index: usize) -> Result<Vec<u8>, Fault> {
        let known = ready.arena == self.arena_id;
        let tensor = ready.tensors.get(index).filter(|_| known);
        let tensor = tensor.ok_or_else(|| Fault::internal(format!("no tensor {index} in this batch")))?;
        let mut bytes = vec![0; tensor.len_bytes as usize];
        let start = u64::from(ready.slot) * self.slot_bytes + tensor.offset_bytes;
        self.arena
            .read_exact_at(&mut bytes, start)
            .map_err(|error| Fault::from_error(Kind::Internal, &error).context("read the arena"))?;
        Ok(bytes)
    }
}

/// The error that a record carries, where it is a FAULT.
fn fault_in(record: &[u8]) -> Option<Fault> {
    let header = Header::read(record).ok()?;
    if header.kind != RecordKind::Fault as u8 || record.len() < FAULT_HEAD_BYTES {
        return None;
    }
    let error = serde_json::from_slice(&record[FAULT_HEAD_BYTES..]);
    Some(error.map_or_else(|_| Fault::internal("a FAULT that is no forebay/v1 error"), fault_of))
}

fn fault_of(error: v1::Error) -> Fault {
    let kind = match error.kind() {
        v1::ErrorKind::Invalid => Kind::Invalid,
        v1::ErrorKind::NotFound => Kind::NotFound,
        v1::ErrorKind::Unavailable => Kind::Unavailable,
        v1::ErrorKind::Corrupt => Kind::Corrupt,
        v1::ErrorKind::Internal | v1::ErrorKind::Unspecified => Kind::Internal,
        v1::ErrorKind::Unimplemented => Kind::Unimplemented,
        v1::ErrorKind::Denied => Kind::Denied,
        v1::ErrorKind::Changed => Kind::Changed,
    };
    let some = |text: String| (!text.is_empty()).then_some(text);
    let (hint, object) = (some(error.hint), some(error.object));
    Fault { kind, message: error.message, causes: error.causes, hint, object }
}

fn unexpected(result: &reply::Result) -> Fault {
    Fault::internal(format!("an answer to another question: {result:?}"))
}

fn socket_fault(error: &io::Error) -> Fault {
    Fault::from_error(Kind::Unavailable, error).context("talk to the daemon")
}

/// Sends, waiting while the socket is full.
fn send(socket: &OwnedFd, record: &[u8]) -> Result<(), Fault> {
    loop {
        match send_now(socket, record, None) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(socket, PollFlags::OUT)], None);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(|error| socket_fault(&error)),
        }
    }
}

/// Waits for a record; the end of the connection is an error here.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Received, Fault> {
    loop {
        match receive_now(socket, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(received) if received.len_bytes == 0 => {
                return Err(Fault::new(Kind::Unavailable, "the daemon closed the connection"));
            }
            other => return other.map_err(|error| socket_fault(&error)),
        }
    }
}
