//! The whole path: the daemon of this process, the real local wire, consumers that give batches back at once.

use forebay_proto::v1;
use tokio::sync::watch;

use super::bare::Bare;
use super::options::{Amount, BenchArgs};
use super::pass::{Pass, Stage};
use super::progress::Progress;
use super::source::Source;
use super::take::take_all;
use crate::delivery::local::client::{Client, Consumer};
use crate::delivery::local::socket::pair;
use crate::error::{Fault, Kind};
use crate::run::Daemon;
use crate::server::Peer;

/// A connection to a daemon of this process, as its private client.
pub struct Connection {
    /// To call.
    pub client: Client,
    /// Dropping it would tell the daemon that this process has ended.
    _alive: watch::Sender<bool>,
}

/// Connects.
///
/// # Errors
/// Unavailable: no descriptors left.
pub fn connect(daemon: &Daemon) -> Result<Connection, Fault> {
    let context =
        |error: std::io::Error| Fault::from_error(Kind::Unavailable, &error).context("connect to the daemon");
    let (ours, theirs) = pair().map_err(context)?;
    let (alive, gone) = watch::channel(false);
    daemon.connect(theirs, Peer::Parent, gone).map_err(context)?;
    let client = Client::hello(ours, concat!("forebay-bench/", env!("CARGO_PKG_VERSION")))?;
    Ok(Connection { client, _alive: alive })
}

/// The daemon's sessions and the bare loop.
pub struct Whole {
    connection: Connection,
    consumers: Vec<Consumer>,
    epoch_rows: u64,
    bare: Bare,
}

impl Whole {
    /// Opens a session for each consumer.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn open(daemon: &Daemon, source: &Source, args: &BenchArgs, bare: Bare) -> Result<Self, Fault> {
        let mut connection = connect(daemon)?;
        let job = connection.client.resolve(source.spec.clone())?;
        if job.content_digest != source.job.content_digest.to_string()
            || job.order_digest != source.job.order_digest.to_string()
        {
            return Err(Fault::new(Kind::Changed, "the data changed while it was opened")
                .hint("run it again when nobody writes there"));
        }
        let epoch_rows = source.job.rows;
        let step = u64::from(args.batch) * u64::from(args.consumers);
        // Whole batches alone, so that their times can be compared; but all there is, where it fills none.
        let tail = if epoch_rows >= step { v1::Tail::Drop } else { v1::Tail::Partial };
        let mut consumers = Vec::new();
        for rank in 0..args.consumers {
            let request = v1::OpenRequest {
                job: Some(v1::JobRef {
                    order_digest: job.order_digest.clone(),
                    content_digest: job.content_digest.clone(),
                }),
                partition: Some(v1::Partition { rank, size: args.consumers, replica: String::new() }),
                rows: args.batch,
                tail: tail.into(),
                rolling: true,
                ..Default::default()
            };
            let mut consumer = connection.client.open(request)?;
            let depth = consumer.opened().depth;
            consumer.credit(depth)?;
            consumers.push(consumer);
        }
        Ok(Self { connection, consumers, epoch_rows, bare })
    }

    /// The daemon's sums over all of its sessions.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn stats(&mut self) -> Result<v1::StatsReply, Fault> {
        self.connection.client.stats()
    }

    fn encoded_bytes_mean(&mut self) -> Result<f64, Fault> {
        let sessions = self.stats()?.sessions;
        let bytes: u64 = sessions.iter().map(|session| session.read_bytes).sum();
        let reads: u64 = sessions.iter().map(|session| session.reads).sum();
        Ok(bytes as f64 / reads.max(1) as f64)
    }
}

impl Stage for Whole {
    fn name(&self) -> &'static str {
        "whole"
    }

    fn forebay(&mut self, amount: Amount, progress: &Progress) -> Result<Pass, Fault> {
        let mut pass = take_all(&mut self.consumers, amount, self.epoch_rows, progress)?;
        pass.encoded_bytes = (self.encoded_bytes_mean()? * pass.items as f64) as u64;
        Ok(pass)
    }

    fn bare(&mut self, ours: &Pass, progress: &Progress) -> Result<Pass, Fault> {
        self.bare.repeat(ours, progress)
    }
}
