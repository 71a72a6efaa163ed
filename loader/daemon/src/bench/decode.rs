//! Decoding alone: the pool, the slots and the session's bookkeeping over files in memory, with no socket.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, atomic::Ordering};
use std::time::Duration;

use forebay_plan::{Cursor, Cut, Partition, Tail};
use tokio::runtime::Handle;

use super::bare::{Bare, Files};
use super::options::{Amount, BenchArgs};
use super::pass::{Pass, Stage};
use super::progress::Progress;
use super::rows::Rows;
use super::source::{Source, subset};
use super::usage::Mark;
use crate::config::Config;
use crate::delivery::local::record::{Ready, Release};
use crate::error::{Fault, Kind};
use crate::job::Job;
use crate::session::{Counters, Outgoing, Session, SessionSpec};
use crate::storage::{ByteBuf, MemoryEngine};
use crate::workers::Pool;

/// So much of the data set is kept in memory.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// Files by path.
type Kept = HashMap<Vec<u8>, Arc<[u8]>>;

/// A session that nobody is connected to.
pub struct Decoding {
    session: Session,
    counters: Arc<Counters>,
    runtime: Handle,
    slots: u32,
    epoch_rows: u64,
    bare: Bare,
}

impl Decoding {
    /// Reads the first rows' files into memory and starts a pool over them.
    ///
    /// # Errors
    /// What the files, or the job over them, say.
    pub fn start(config: &Config, source: &Source, root: &Path, args: &BenchArgs) -> Result<Self, Fault> {
        let mut rows = Rows::new(Arc::clone(&source.job), source.path_column);
        let (paths, files) = keep(&mut rows, &Files::disk(root)?)?;
        let job = subset(args, root, &paths)?;
        let (done, completed) = flume::unbounded();
        let engine = MemoryEngine::new(files.iter().map(|(path, bytes)| (path.clone(), bytes.clone())), done);
        let options = config.pool_options();
        let runtime = Handle::current();
        let pool = Pool::start(Arc::new(engine), &completed, options, runtime.clone())?;
        let counters = Arc::new(Counters::default());
        let spec = session_spec(config, &job, args)?;
        let (slots, epoch_rows, depth) = (spec.depth + spec.max_leases, job.rows, spec.depth);
        let mut session = Session::new(spec, pool, Arc::clone(&counters))?;
        session.credit(depth);
        let bare = Bare {
            rows: Rows::new(job, 0),
            files: Files::Memory(Arc::new(files)),
            threads: options.cpu_threads,
            decode: true,
            buffers: 1,
            limits: options.image_limits,
        };
        Ok(Self { session, counters, runtime, slots, epoch_rows, bare })
    }

    /// Waits for a batch and gives it back.
    async fn next(&mut self) -> Result<Ready, Fault> {
        let wake = self.session.wake();
        loop {
            match self.session.advance() {
                Some(Outgoing::Ready(ready)) => {
                    let Ready { arena, generation, slot, .. } = ready;
                    self.session.release(&[Release { arena, generation, slot }]);
                    self.session.credit(1);
                    return Ok(ready);
                }
                Some(Outgoing::Fault { fault, .. }) => return Err(fault),
                None => wake.notified().await,
            }
        }
    }

    async fn take(&mut self, amount: Amount, progress: &Progress) -> Result<Pass, Fault> {
        for _ in 0..self.slots {
            self.next().await?;
        }
        let (start, mut pass) = (Mark::now(), Pass::default());
        loop {
            let ready = self.next().await?;
            if pass.items == 0 {
                pass.first_row = ready.epoch * self.epoch_rows + ready.position;
            }
            pass.items += u64::from(ready.valid_rows);
            pass.batch_bytes += ready.tensors.iter().map(|tensor| tensor.len_bytes).sum::<u64>();
            progress.add(u64::from(ready.valid_rows));
            (pass.wall, pass.cpu) = start.elapsed();
            if match amount {
                Amount::Rows(rows) => pass.items >= rows,
                Amount::Seconds(seconds) => pass.wall >= Duration::from_secs_f64(seconds),
            } {
                return Ok(pass);
            }
        }
    }
}

impl Stage for Decoding {
    fn name(&self) -> &'static str {
        "decode"
    }

    fn forebay(&mut self, amount: Amount, progress: &Progress) -> Result<Pass, Fault> {
        let runtime = self.runtime.clone();
        let mut pass = runtime.block_on(self.take(amount, progress))?;
        let (bytes, reads) =
            (self.counters.read_bytes.load(Ordering::Relaxed), self.counters.reads.load(Ordering::Relaxed));
        pass.encoded_bytes = (bytes as f64 / reads.max(1) as f64 * pass.items as f64) as u64;
        Ok(pass)
    }

    fn bare(&mut self, ours: &Pass, progress: &Progress) -> Result<Pass, Fault> {
        self.bare.repeat(ours, progress)
    }
}

/// Samples of the first rows, as many as fit; their names in the order of the rows.
fn keep(rows: &mut Rows, files: &Files) -> Result<(Vec<String>, Kept), Fault> {
    let (mut paths, mut kept, mut bytes) = (Vec::new(), Kept::new(), 0);
    let mut buf = ByteBuf::default();
    for row in 0..rows.job.rows {
        let sample = rows.row(row).sample;
        let (path, extent) = (rows.path(sample), rows.extent(sample));
        let Ok(text) = std::str::from_utf8(path) else { continue };
        // Samples of one file are files of their own here.
        let name = extent.map_or_else(|| text.to_owned(), |(offset, _)| format!("{text}@{offset}"));
        if kept.contains_key(name.as_bytes()) {
            continue;
        }
        files.read(path, extent, &mut buf)?;
        bytes += buf.len();
        if bytes > KEPT_BYTES_MAX && !paths.is_empty() {
            break;
        }
        kept.insert(name.as_bytes().to_vec(), Arc::from(&buf[..]));
        paths.push(name);
    }
    if paths.is_empty() {
        return Err(Fault::new(Kind::Invalid, "no path of the data is UTF-8")
            .hint("measure the other stages: --stage read"));
    }
    Ok((paths, kept))
}

fn session_spec(config: &Config, job: &Arc<Job>, args: &BenchArgs) -> Result<SessionSpec, Fault> {
    let plan = |error: forebay_plan::PlanError| Fault::invalid(error.to_string());
    let tail = if job.rows >= u64::from(args.batch) { Tail::Drop } else { Tail::Partial };
    let has_valid = tail != Tail::Drop;
    Ok(SessionSpec {
        id: 1,
        cut: Cut::new(job.rows, Partition::new(0, 1).map_err(plan)?, args.batch, tail).map_err(plan)?,
        cursor: Cursor { epoch: 0, position: 0 },
        layout: Arc::new(job.layout(args.batch, has_valid)?),
        job: Arc::clone(job),
        has_valid,
        depth: config.depth,
        max_leases: config.max_leases,
        weight: 1,
        priority: 0,
        rolling: true,
        digest: false,
        numa_node: None,
        client: "forebay-bench".to_owned(),
        partition: forebay_proto::v1::Partition::default(),
    })
}
