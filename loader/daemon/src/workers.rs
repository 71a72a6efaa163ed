//! The CPU pool: takes reads that came back, makes each sample in its range of the slot, and asks again where asking
//! again helps.

mod at_once;
mod board;
mod clip;
mod columns;
mod draws;
mod files;
mod flights;
mod homes;
mod image;
mod make;
mod pack;
mod seat;
mod spans;
mod tend;

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay_arena::SampleMut;
use forebay_plan::RowRng;
use forebay_plan::orders::Pick;

use crate::decode::ImageLimits;
use crate::error::{Fault, Kind};
use crate::job::{PartPlan, START_VIEW};
use crate::meter::throttle::ThrottleGauge;
use crate::meter::{PoolSums, Worked};
use crate::metrics::{self, Queue};
use crate::prefetch::{BatchWork, Gate, ReadBudget, Reserved, Share};
use crate::session::slowest::Slow;
use crate::storage::{Done, Engine, HedgeAfter, Read, ReadBuf, RetryPolicy, Root, SpareBuffers};
use board::Board;
use columns::make_without_reading;
pub use draws::Draws;
use files::{Files, Wanted, wanted};
use flights::{Flights, Place};
pub use homes::{Home, Homes};
use make::decode_loop;
use seat::Seat;
use spans::SpanLimits;

/// One sample on its way: it has its range of a slot and, once the gate let it through, its read bytes; from then on it
/// waits for no resource.
struct Task {
    work: Arc<BatchWork>,
    sample: SampleMut,
    reserved: Reserved,
    pick: Pick,
    /// 0: the row's own sample; 1..=8: a substitute.
    attempt: u32,
    /// Of a packed row: the part in hand, and how many tokens those before it have.
    part: u32,
    filled: u32,
    /// The row so far, where it is hashed before it goes to its slot.
    own: Vec<u8>,
    /// Reads of this attempt that failed, and when the first began.
    failures: u32,
    since: Instant,
    /// Since when it waits at the gate.
    waits: Instant,
    /// What is read for it, where that is more than one file.
    files: Files,
}

impl Task {
    fn new(work: &Arc<BatchWork>, sample: SampleMut) -> Self {
        Self {
            pick: work.part(sample.index()).pick,
            work: Arc::clone(work),
            sample,
            reserved: Reserved::default(),
            attempt: 0,
            part: 0,
            filled: 0,
            own: Vec::new(),
            failures: 0,
            since: work.admitted,
            waits: work.admitted,
            files: Files::default(),
        }
    }

    /// Whether it is made by copying alone: nothing is decoded, hashed or noted.
    fn is_copy(&self) -> bool {
        self.work.job.is_copy() && self.work.tally.is_none() && self.work.trace.is_none()
    }

    /// What its fields read, in their order.
    fn wanted(&self) -> impl Iterator<Item = Wanted<'_>> + Clone {
        wanted(&self.work, self.pick, self.part_in_hand(), || self.starts())
    }

    /// What the starts of its clips are drawn from: all the same, so that clips of one length stay together.
    fn starts(&self) -> RowRng {
        let position = self.work.part(self.sample.index()).position;
        self.work.epoch.draws(position, START_VIEW, self.attempt)
    }

    /// The bytes that it reads, where that is known before. `limit_bytes`: of a sample.
    fn known_bytes(&self, limit_bytes: u64) -> Option<u64> {
        let bytes = |sum: u64, want: Wanted<'_>| Some(sum.saturating_add(want.extent?.len_bytes));
        self.wanted().try_fold(0, bytes).map(|bytes| bytes.min(limit_bytes))
    }

    /// Of a packed row, the part in hand.
    fn part_in_hand(&self) -> Option<PartPlan> {
        self.work.job.order.packed_capacity().map(|_| self.planned_part())
    }

    /// What of its row is in hand.
    fn planned_part(&self) -> PartPlan {
        self.work.rows.parts(self.sample.index())[self.part as usize]
    }

    /// Turns to the next part of a packed row; false where all of them are in.
    fn next_part(&mut self) -> bool {
        let parts = self.work.rows.parts(self.sample.index());
        let Some(next) = parts.get(self.part as usize + 1) else { return false };
        self.filled += parts[self.part as usize].len;
        self.part += 1;
        self.pick = next.pick;
        self.failures = 0;
        self.since = Instant::now();
        true
    }

    /// Its sample as one that took long.
    fn slow(&self, us: u64, bytes: u64) -> Slow {
        let position = self.work.planned(self.sample.index()).position;
        Slow { us, bytes, pick: self.pick, epoch: self.work.range.epoch, position }
    }
}

/// What an engine carries for the pool: whom a read is for. The task itself stays here, out of reach of a read that hangs.
#[derive(Debug)]
pub struct Ticket {
    place: Place,
    /// Whether the sample is made by copying alone.
    is_copy: bool,
    /// Which decode threads are near where it goes.
    home: Option<usize>,
    /// What a second read of the same bytes holds of the budget. Few reads have one, and all are moved about.
    extra: Option<Box<Reserved>>,
}

/// How the pool is sized and bounded.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Decode threads.
    pub cpu_threads: usize,
    /// What may be in flight.
    pub budget: ReadBudget,
    /// A larger file is a corrupt sample.
    pub sample_bytes_max: u64,
    /// When an unreachable sample becomes the session's error.
    pub retry: RetryPolicy,
    /// When a slow read gets a second one of the same bytes.
    pub hedge_after: HedgeAfter,
    /// When a read that does not come back becomes the session's error.
    pub patience: Duration,
    /// What an image may ask of us.
    pub image_limits: ImageLimits,
    /// When decoding one image is given up, and its session fails: no verdict on the image.
    pub decode_deadline: Duration,
}

/// The decode threads, the storage engine before them and the gate before that.
pub struct Pool {
    gate: Gate<Task>,
    engine: Arc<dyn Engine<Ticket>>,
    flights: Flights<Task>,
    /// Second reads that are out.
    hedges: AtomicU32,
    options: PoolOptions,
    buffers: Arc<SpareBuffers>,
    homes: Homes,
    /// Where decode threads take their work once a session names a home; none where there are no homes.
    board: Option<Arc<Board<Done<Ticket>>>>,
    /// Of samples that read several files.
    spare_files: Mutex<Vec<Files>>,
    timer: tokio::runtime::Handle,
    no_root: Arc<Root>,
    sums: PoolSums,
    throttle: ThrottleGauge,
}

impl Pool {
    /// Starts the decode threads on what `engine` completes, wherever the kernel has them run. They end by themselves when the pool is gone and the engine
    /// has given everything back; nobody waits for them, since a read may hang in a dead file system.
    ///
    /// # Errors
    /// Unavailable: no thread could be started.
    pub fn start(
        engine: Arc<dyn Engine<Ticket>>,
        completed: &flume::Receiver<Done<Ticket>>,
        options: PoolOptions,
        timer: tokio::runtime::Handle,
    ) -> Result<Arc<Self>, Fault> {
        Self::start_at(engine, completed, options, timer, Homes::default())
    }

    /// As [`Self::start`], and with the threads at home on nodes: from the first session on whose arena lies near
    /// [one](Self::home), they run on their node's processors and make its rows first.
    ///
    /// # Errors
    /// Unavailable: no thread could be started.
    pub fn start_at(
        engine: Arc<dyn Engine<Ticket>>,
        completed: &flume::Receiver<Done<Ticket>>,
        options: PoolOptions,
        timer: tokio::runtime::Handle,
        homes: Homes,
    ) -> Result<Arc<Self>, Fault> {
        let board = || Arc::new(Board::new(homes.all().len(), completed.clone(), |done| done.read.tag.home));
        let board = (!homes.is_empty()).then(board);
        let gate = Gate::new(options.budget);
        let no_root = Root::unbacked("no files");
        let pool = Arc::new(Self {
            gate,
            engine,
            flights: Flights::default(),
            hedges: AtomicU32::new(0),
            options,
            buffers: Arc::new(SpareBuffers::new(options.budget.reads as usize, 2 * options.budget.bytes)),
            homes,
            board,
            spare_files: Mutex::default(),
            timer,
            no_root,
            sums: PoolSums::default(),
            throttle: ThrottleGauge::default(),
        });
        for index in 0..options.cpu_threads.max(1) {
            let seat = Seat::new(&pool, completed, index);
            let (pool, name) = (Arc::downgrade(&pool), format!("decode-{index}"));
            let thread =
                std::thread::Builder::new().name(name).spawn(move || decode_loop(&pool, seat, options));
            thread.map_err(|error| {
                Fault::from_error(Kind::Unavailable, &error).context("start a decode thread")
            })?;
        }
        at_once::start(&pool);
        tend::start(&pool);
        Ok(pool)
    }

    /// The storage engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// Threads of the engine that hang in a read.
    pub fn hanging(&self) -> usize {
        self.engine.hanging()
    }

    /// Decode threads.
    pub fn cpu_threads(&self) -> usize {
        self.options.cpu_threads.max(1)
    }

    /// The nodes that its threads are at home on.
    pub fn homes(&self) -> &[Home] {
        self.homes.all()
    }

    /// Which threads are near a node, for the rows of a session whose arena lies there. From then on they run there.
    pub fn home(&self, node: u32) -> Option<usize> {
        let (home, board) = (self.homes.of_node(node)?, self.board.as_ref()?);
        board.open();
        Some(home)
    }

    /// How many reads for sessions near a node its threads took, and how many others did.
    pub fn taken(&self) -> (u64, u64) {
        self.board.as_ref().map_or((0, 0), |board| board.taken())
    }

    /// What an image may ask of its threads.
    pub fn image_limits(&self) -> ImageLimits {
        self.options.image_limits
    }

    /// A larger file is a corrupt sample.
    pub fn sample_bytes_max(&self) -> u64 {
        self.options.sample_bytes_max
    }

    /// What its threads have done since the start.
    pub fn worked(&self) -> Worked {
        self.sums.now()
    }

    /// The processor quota that it works under.
    pub fn throttle(&self) -> &ThrottleGauge {
        &self.throttle
    }

    /// Reads in flight, and the bytes that they hold or are taken to need.
    pub fn in_flight(&self) -> (u32, u64) {
        self.gate.in_flight()
    }

    /// The highest priority of the sessions that are open; 0 where none is.
    pub fn priority_max(&self) -> i32 {
        self.gate.priority_max()
    }

    /// Admits a batch: its samples start as the budget allows, in order. Never waits.
    pub fn admit(&self, share: Share, work: &Arc<BatchWork>, samples: Vec<SampleMut>) {
        if work.job.reads_a_row() == 0 {
            samples.into_iter().for_each(|sample| make_without_reading(work, sample));
            return;
        }
        let tasks = samples.into_iter().map(|sample| Task::new(work, sample)).collect();
        let limits = SpanLimits::new(self.options.budget);
        let asks: Vec<_> = spans::asks(tasks, limits, self.options.sample_bytes_max).collect();
        self.gate.push(share, asks.into_iter());
        self.pump();
    }

    /// Drops what a session has waiting.
    pub fn forget(&self, session: u64) {
        self.gate.forget(session);
    }

    /// Starts reads while the budget has room.
    fn pump(&self) {
        let mut mates = Vec::new();
        while let Some((task, reserved)) = self.gate.next(&mut mates) {
            let first = self.start_reading(task, reserved);
            if mates.is_empty() {
                first.into_iter().for_each(|read| self.engine.submit(read));
                continue;
            }
            let mates = mates.drain(..).filter_map(|(task, reserved)| self.start_reading(task, reserved));
            let reads: Vec<_> = first.into_iter().chain(mates).collect();
            if !reads.is_empty() {
                self.engine.submit_near(reads);
            }
        }
    }

    /// The first read of a sample that may start now; none where nobody wants it any more.
    fn start_reading(&self, mut task: Task, reserved: Reserved) -> Option<Read<Ticket>> {
        if task.work.is_cancelled() {
            drop(task);
            self.gate.finish(reserved);
            return None;
        }
        if let Some(fault) = task.work.lost() {
            task.work.fail(task.sample.index(), fault);
            task.sample.fail();
            self.gate.finish(reserved);
            return None;
        }
        let now = Instant::now();
        metrics::queued(Queue::Admission, now - task.waits);
        if task.failures == 0 {
            task.since = now;
        }
        let buf = self.buffers.take();
        task.reserved = reserved;
        Some(self.first_read(task, buf, now))
    }

    /// The first read of the sample, or part, in hand.
    fn first_read(&self, mut task: Task, buf: ReadBuf, now: Instant) -> Read<Ticket> {
        if task.work.job.reads_a_row() > 1 {
            let mut files = std::mem::take(&mut task.files);
            if !files.is_used() {
                files = self
                    .spare_files
                    .lock()
                    .expect("no thread panics with the lock")
                    .pop()
                    .unwrap_or_default();
            }
            files.plan(&task.wanted(), self.options.sample_bytes_max);
            task.files = files;
        }
        self.departing(task, buf, now)
    }

    /// Submits the first read of the sample, or part, in hand.
    fn begin(&self, task: Task, buf: ReadBuf) {
        self.engine.submit(self.first_read(task, buf, Instant::now()));
    }

    /// Submits the next read of a sample that has several.
    fn read_next(&self, task: Task) {
        let buf = self.buffers.take();
        self.read(task, buf);
    }

    /// Submits the next read of the sample in hand.
    fn read(&self, task: Task, buf: ReadBuf) {
        self.engine.submit(self.departing(task, buf, Instant::now()));
    }

    /// The next read of the sample in hand, which waits for it among the flights.
    fn departing(&self, task: Task, buf: ReadBuf, now: Instant) -> Read<Ticket> {
        let read = self.request(&task, buf);
        let (is_copy, home) = (task.is_copy(), task.work.home);
        let place = self.flights.depart(task, now);
        read.tagged(Ticket { place, is_copy, home, extra: None })
    }

    /// What a sample reads next.
    fn request(&self, task: &Task, mut buf: ReadBuf) -> Read<()> {
        let shared = task.files.next();
        let nth = shared.map_or(0, |read| read.field);
        let want = task.wanted().nth(nth).expect("a sample reads as often as its fields ask");
        let extent = shared.map_or(want.extent, |read| read.extent);
        want.address(&mut buf);
        let room_bytes = task.reserved.room_bytes().saturating_sub(task.files.bytes_held());
        // An extent's length was known when it was admitted; a file's is known when it is opened.
        let limit_bytes =
            self.options.sample_bytes_max.min(if extent.is_some() { u64::MAX } else { room_bytes });
        let root = Arc::clone(task.work.job.snapshot(task.pick.source).root().unwrap_or(&self.no_root));
        let extent = extent.map(|extent| (extent.offset_bytes, extent.len_bytes));
        let account = task.reserved.account();
        Read { root, buf, extent, limit_bytes, account, tag: () }
    }

    /// Has a sample that turned out to need more than it holds wait for that, in its place; `file_bytes`: of the file in
    /// hand. What it held is free meanwhile, so it is in nobody's way.
    fn ask_for_more(&self, mut task: Task, buf: ReadBuf, file_bytes: u64) {
        let bytes = task.files.expected_bytes(task.files.bytes_held().saturating_add(file_bytes));
        self.buffers.put(buf);
        task.files.clear(&self.buffers);
        task.waits = Instant::now();
        let reserved = std::mem::take(&mut task.reserved);
        // One that nobody wants any more comes back and goes.
        drop(self.gate.again(task, reserved, bytes));
        self.pump();
    }

    /// Everything that a task held goes back, and the next read may start.
    fn end(&self, reserved: Reserved, buf: ReadBuf, mut files: Files) {
        self.buffers.put(buf);
        files.clear(&self.buffers);
        if files.is_used() {
            let mut spare = self.spare_files.lock().expect("no thread panics with the lock");
            if spare.len() < self.options.budget.reads as usize {
                spare.push(files);
            }
        }
        self.gate.finish(reserved);
        self.pump();
    }

    /// Asks again for a read that failed in a way that may pass.
    fn read_later(self: &Arc<Self>, task: Task, buf: ReadBuf, wait: Duration) {
        let pool = Arc::clone(self);
        self.timer.spawn(async move {
            tokio::time::sleep(wait).await;
            if task.work.is_cancelled() {
                let Task { reserved, files, .. } = task;
                pool.end(reserved, buf, files);
            } else {
                pool.read(task, buf);
            }
        });
    }
}
