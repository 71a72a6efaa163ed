//! Reading alone: the storage engine of the daemon beside bare open, pread and close.

use std::sync::Arc;

use super::bare::Bare;
use super::options::Amount;
use super::pass::{Pass, Stage};
use super::progress::Progress;
use super::rows::Rows;
use super::usage::Mark;
use crate::config::Config;
use crate::error::{Fault, Kind};
use crate::storage::{self, Account, Done, Engine, EngineName, Read, ReadBuf, Root};

/// Reads in flight for each of its threads: none ever waits for work, and the buffers stay in the processor's cache.
const READS_A_THREAD: u32 = 4;

/// The engine, fed by one thread that does nothing with the bytes.
pub struct Reading {
    engine: Arc<dyn Engine<()>>,
    done: flume::Receiver<Done<()>>,
    root: Arc<Root>,
    rows: Rows,
    next_row: u64,
    in_flight_max: u32,
    limit_bytes: u64,
    buffers: Vec<ReadBuf>,
    bare: Bare,
}

impl Reading {
    /// Starts the engine as the daemon would.
    ///
    /// # Errors
    /// Unavailable: no threads left, or io_uring is asked for and not there.
    pub fn start(config: &Config, rows: Rows, root: Arc<Root>, bare: Bare) -> Result<Self, Fault> {
        let (sender, done) = flume::unbounded();
        let options = config.engine_options();
        let engine = storage::start(&options, &sender)?.engine;
        let threads_take = options.read_threads.get() as u32 * READS_A_THREAD;
        let at_a_time = match config.engine {
            EngineName::Uring => options.rings.threads.get() as u32 * options.rings.depth.get(),
            EngineName::Auto | EngineName::Threads => threads_take,
        };
        let in_flight_max = config.reads_in_flight.min(at_a_time);
        let limit_bytes = config.sample_max.0;
        let (next_row, buffers) = (0, Vec::new());
        Ok(Self { engine, done, root, rows, next_row, in_flight_max, limit_bytes, buffers, bare })
    }

    fn submit(&mut self) {
        let row = self.rows.row(self.next_row);
        let mut buf = self.buffers.pop().unwrap_or_default();
        buf.set_path(self.rows.path(row.sample));
        let (root, limit_bytes) = (Arc::clone(&self.root), self.limit_bytes);
        let extent = self.rows.extent(row.sample);
        self.engine.submit(Read { root, buf, extent, limit_bytes, account: Account::ONLY, tag: () });
        self.next_row += 1;
    }
}

impl Stage for Reading {
    fn name(&self) -> &'static str {
        "read"
    }

    fn forebay(&mut self, amount: Amount, progress: &Progress) -> Result<Pass, Fault> {
        let start = Mark::now();
        let mut pass = Pass { first_row: self.next_row, ..Pass::default() };
        let more = |asked: u64| match amount {
            Amount::Rows(rows) => asked < rows,
            Amount::Seconds(seconds) => start.at.elapsed().as_secs_f64() < seconds,
        };
        let mut asked = 0;
        while pass.items < asked || more(asked) {
            while asked - pass.items < u64::from(self.in_flight_max) && more(asked) {
                self.submit();
                asked += 1;
            }
            if pass.items == asked {
                continue;
            }
            let Done { read, result, .. } = self.done.recv().expect("the engine holds the sender");
            result.map_err(|error| {
                Fault::from_error(Kind::Unavailable, &error).hint("look at the storage and its permissions")
            })?;
            pass.items += 1;
            pass.encoded_bytes += read.buf.bytes.len() as u64;
            self.buffers.push(read.buf);
            progress.add(1);
        }
        (pass.wall, pass.cpu) = start.elapsed();
        Ok(pass)
    }

    fn bare(&mut self, ours: &Pass, progress: &Progress) -> Result<Pass, Fault> {
        self.bare.repeat(ours, progress)
    }
}
