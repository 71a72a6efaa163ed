//! The hand-over alone: batches of one row of one integer, which cost nothing to make, from the daemon to a consumer,
//! beside two threads that exchange records of the same sizes over a bare socket pair.

use std::os::fd::OwnedFd;

use forebay_proto::v1;

use super::options::Amount;
use super::pass::{Pass, Stage};
use super::progress::Progress;
use super::take::take_all;
use super::usage::{Mark, thread_cpu};
use super::whole::{Connection, connect};
use crate::delivery::local::client::Consumer;
use crate::delivery::local::record::{ClientRecord, Ready, ReadyTensor, Release};
use crate::delivery::local::socket::{pair, receive_now, send_now};
use crate::error::{Fault, Kind};
use crate::run::Daemon;

const ROWS: u64 = 4096;
/// Batches of one turn, at most: enough for a steady figure, and few enough for a short one.
const BATCHES_MAX: u64 = 100_000;

/// A session of one-row batches.
pub struct Delivering {
    consumers: Vec<Consumer>,
    depth: u32,
    _connection: Connection,
}

impl Delivering {
    /// Opens the session.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn open(daemon: &Daemon) -> Result<Self, Fault> {
        let mut connection = connect(daemon)?;
        let lines: Vec<_> = (0..ROWS).map(|number| format!("{{\"number\":{number}}}")).collect();
        let columns = vec![v1::Column {
            name: "number".to_owned(),
            kind: v1::ColumnKind::Int.into(),
            ..Default::default()
        }];
        let records = v1::Records { json_lines: lines.join("\n"), columns, ..Default::default() };
        let source = v1::Source { origin: Some(v1::source::Origin::Records(records)), ..Default::default() };
        let job = connection.client.resolve(v1::JobSpec { sources: vec![source], ..Default::default() })?;
        let reference = v1::JobRef { order_digest: job.order_digest, content_digest: job.content_digest };
        let request = v1::OpenRequest {
            job: Some(reference),
            rows: 1,
            tail: v1::Tail::Drop.into(),
            rolling: true,
            ..Default::default()
        };
        let mut consumer = connection.client.open(request)?;
        let depth = consumer.opened().depth;
        consumer.credit(depth)?;
        Ok(Self { consumers: vec![consumer], depth, _connection: connection })
    }
}

impl Stage for Delivering {
    fn name(&self) -> &'static str {
        "deliver"
    }

    fn forebay(&mut self, amount: Amount, progress: &Progress) -> Result<Pass, Fault> {
        let amount = match amount {
            Amount::Rows(rows) => Amount::Rows(rows.min(BATCHES_MAX)),
            seconds @ Amount::Seconds(_) => seconds,
        };
        take_all(&mut self.consumers, amount, ROWS, progress)
    }

    fn bare(&mut self, ours: &Pass, progress: &Progress) -> Result<Pass, Fault> {
        exchange(ours.items, self.depth)
            .inspect(|pass| progress.add(pass.items))
            .map_err(|error| Fault::from_error(Kind::Unavailable, &error).context("exchange records"))
    }
}

/// Sends `batches` records of a READY's size one way, each answered by a RELEASE and a CREDIT, `depth` at a time.
fn exchange(batches: u64, depth: u32) -> std::io::Result<Pass> {
    let (daemon, consumer) = pair()?;
    let start = Mark::now();
    let own_cpu = std::thread::scope(|scope| {
        let taker = scope.spawn(|| answer(&consumer, batches));
        let announced = announce(&daemon, batches, u64::from(depth));
        announced.and(taker.join().expect("an exchange of records does not panic"))
    })?;
    let (wall, cpu) = start.elapsed();
    Ok(Pass { items: batches, wall, cpu: cpu.saturating_sub(own_cpu), ..Pass::default() })
}

fn announce(socket: &OwnedFd, batches: u64, depth: u64) -> std::io::Result<()> {
    let tensor = ReadyTensor { offset_bytes: 0, len_bytes: 8, dims: vec![1] };
    let (mut record, mut buffer) = (Vec::new(), [0; 2048]);
    Ready { rows: 1, tensors: vec![tensor], ..Ready::default() }.write(&mut record);
    let (mut sent, mut credits, mut answers) = (0, depth, 0);
    while answers < 2 * batches {
        while sent < batches && credits > 0 {
            send_now(socket, &record, None)?;
            (sent, credits) = (sent + 1, credits - 1);
        }
        receive_now(socket, &mut buffer)?;
        answers += 1;
        credits += u64::from(answers % 2 == 0);
    }
    Ok(())
}

/// The consumer's end; its processor time, which is no part of a daemon's.
fn answer(socket: &OwnedFd, batches: u64) -> std::io::Result<std::time::Duration> {
    let before = thread_cpu();
    let (mut out, mut buffer) = (Vec::new(), [0; 2048]);
    for _ in 0..batches {
        receive_now(socket, &mut buffer)?;
        ClientRecord::Release(vec![Release { arena: 1, generation: 1, slot: 0 }]).write(&mut out);
        send_now(socket, &out, None)?;
        ClientRecord::Credit { credits: 1, spent: None }.write(&mut out);
        send_now(socket, &out, None)?;
    }
    Ok(thread_cpu().saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_exchange_ends_for_any_number_of_batches_and_any_depth() {
        for (batches, depth) in [(1, 1), (7, 2), (3, 8)] {
            assert_eq!(exchange(batches, depth).expect("a pair").items, batches);
        }
    }
}
