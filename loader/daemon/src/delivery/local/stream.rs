//! A session's socket: sends what the session has, takes what the client says, until either side goes.

use std::io;
use std::time::Duration;

use forebay_plan::Cursor;
use forebay_proto::v1;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::record::{ClientRecord, RECORD_BYTES_MAX, write_arena, write_fault};
use super::socket::SeqPacket;
use crate::error::Fault;
use crate::metrics::{self, End};
use crate::session::table::Entry;
use crate::session::{EPOCH_MAX, Outgoing, Session};

/// A daemon that is killed loses so much of the ledger.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Runs a session on its socket until the client closes it, dies (`gone`) or breaks the protocol.
pub async fn serve(session: Session, entry: Entry, socket: SeqPacket, gone: watch::Receiver<bool>) {
    let span = session.span();
    run(session, entry, socket, gone).instrument(span).await;
}

async fn run(mut session: Session, entry: Entry, socket: SeqPacket, mut gone: watch::Receiver<bool>) {
    let ended = tokio::select! {
        ended = exchange(&mut session, &socket) => ended,
        _ = gone.wait_for(|gone| *gone) => Ok(End::ClientDied),
        ended = keep_saving(&entry) => ended,
    };
    let end = ended.unwrap_or_else(|error| {
        tracing::info!(%error, "the session's socket failed");
        End::SocketFailed
    });
    metrics::session_ended(end);
    if let Some(listed) = entry.listed() {
        tell_sums(end, &listed.stats());
        tokio::task::spawn_blocking(move || listed.save());
    }
    // The arena's memory goes before the session is taken off the list that the budget is computed from.
    drop(session);
    drop(entry);
}

/// Saves now and then what the run keeps of its sessions; never ends.
async fn keep_saving(entry: &Entry) -> io::Result<End> {
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        if let Some(listed) = entry.listed().filter(|listed| listed.journal.is_some()) {
            let _ = tokio::task::spawn_blocking(move || listed.save()).await;
        }
    }
}

fn tell_sums(end: End, sums: &v1::SessionStats) {
    let seconds = |us: u64| us as f64 / 1e6;
    tracing::info!(
        ?end,
        batches = sums.batches,
        rows = sums.rows,
        bytes = sums.batch_bytes,
        read_bytes = sums.read_bytes,
        waited_s = seconds(sums.feed_wait_us),
        slot_wait_s = seconds(sums.slot_wait_us),
        idle_s = seconds(sums.idle_us),
        open_s = sums.open_ms as f64 / 1e3,
        retries = sums.retries,
        substituted = sums.substituted,
        masked = sums.masked,
        "session ended"
    );
}

async fn exchange(session: &mut Session, socket: &SeqPacket) -> io::Result<End> {
    let mut out = Vec::new();
    let mut buffer = [0; 2048];
    let geometry = session.arena().geometry();
    write_arena(&mut out, session.arena().id(), geometry.slot_bytes, geometry.slots);
    socket.send(&out, Some(session.arena().fd())).await?;
    let wake = session.wake();
    loop {
        while let Some(outgoing) = session.advance() {
            if let Outgoing::Fault { cursor: Cursor { epoch, position }, fault } = &outgoing {
                metrics::faulted(fault.kind);
                tracing::info!(
                    epoch,
                    position,
                    kind = fault.kind.name(),
                    error = fault.line(),
                    "the stream stopped"
                );
            }
            encode(&outgoing, session.sequence(), &mut out);
            socket.send(&out, None).await?;
        }
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received?,
            () = wake.notified() => continue,
        };
        if received.len_bytes == 0 {
            return Ok(End::Closed);
        }
        let alone = match received.fds.len() {
            0 => Ok(()),
            count => Err(format!("{count} descriptors beside a record of a session")),
        };
        let understood = alone.and_then(|()| {
            ClientRecord::read(&buffer[..received.len_bytes]).map_err(|error| error.to_string())
        });
        if let Err(error) = understood.and_then(|record| apply(session, record)) {
            let fault = Fault::invalid(error).hint("the client does not speak docs/wire.md; upgrade it");
            write_fault(&mut out, true, session.sequence(), 0, 0, &error_json(&fault));
            socket.send(&out, None).await?;
            tracing::info!(error = fault.line(), "the client broke the protocol");
            return Ok(End::Broken);
        }
    }
}

fn apply(session: &mut Session, record: ClientRecord) -> Result<(), String> {
    match record {
        ClientRecord::Credit { credits, spent } => {
            session.credit(credits);
            session.taken(credits, spent);
        }
        ClientRecord::Release(releases) => session.release(&releases),
        ClientRecord::Seek { sequence, epoch, position, credits } => {
            if epoch > EPOCH_MAX {
                return Err(format!("seek to epoch {epoch}, the last is {EPOCH_MAX}"));
            }
            session.seek(sequence, Cursor { epoch, position }, credits).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn encode(outgoing: &Outgoing, sequence: u32, out: &mut Vec<u8>) {
    match outgoing {
        Outgoing::Ready(ready) => ready.write(out),
        Outgoing::Fault { cursor, fault } => {
            write_fault(out, false, sequence, cursor.epoch, cursor.position, &error_json(fault));
        }
    }
}

/// An error as JSON that fits a record: long causes and objects are cut, the kind never.
fn error_json(fault: &Fault) -> String {
    let mut error = fault.to_proto();
    let cut = |text: &mut String| {
        if text.len() > 2048 {
            *text = text.chars().take(2000).collect::<String>() + " …";
        }
    };
    cut(&mut error.message);
    cut(&mut error.hint);
    cut(&mut error.object);
    error.causes.truncate(8);
    error.causes.iter_mut().for_each(cut);
    let json = serde_json::to_string(&error).expect("every message has a JSON mapping");
    debug_assert!(json.len() + 64 < RECORD_BYTES_MAX, "eleven texts of 2 kB");
    json
}
