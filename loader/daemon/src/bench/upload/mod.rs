//! `forebay bench --host-to-device`: how fast batches go from slots to a GPU, in turns with plain pinned memory.

mod memory;
pub mod options;
mod report;

use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::figures::spread;
use super::options::{Amount, BenchArgs, Dtype};
use super::progress::Progress;
use crate::config::Config;
use crate::error::Fault;
use crate::gpu::{Context, Device, DeviceBuffer, Driver, GpuError, HostBytes, copy_laps, find};
use crate::machine::Machine;
use memory::{Batches, check};
pub use report::UploadReport;
use report::{Gpu, Rate, Settings};

/// An image of the batch that is copied.
const IMAGE_VALUES: usize = 3 * 224 * 224;
/// Batches go round until a turn has taken its time; more of them say nothing new.
const LAPS_MAX: u64 = 1 << 20;

/// Measures.
///
/// # Errors
/// Why there is no such GPU, or what CUDA answers, with the cure. Bytes that come back changed.
pub fn run(args: &BenchArgs) -> Result<UploadReport, Fault> {
    // A thread of its own: it is bound to the processors near the GPU, and its end gives the context back.
    let measured = thread::scope(|scope| scope.spawn(|| on_this_thread(args)).join());
    measured.expect("a measurement does not panic")
}

fn on_this_thread(args: &BenchArgs) -> Result<UploadReport, Fault> {
    let asked = args.upload.host_to_device.as_deref().unwrap_or("cuda:0");
    let machine = Machine::beneath("/");
    let driver = Driver::start().map_err(|error| error.fault())?;
    let version = driver.version();
    let device = find(&driver, &machine, asked).map_err(|error| error.fault())?;
    let processors = stay_near(&device, &machine);
    let context = Context::open(driver, &device).map_err(|error| error.fault())?;
    let config = Config::default();
    let settings = Settings {
        batch: args.batch,
        dtype: args.dtype,
        batch_bytes: batch_bytes(args) as u64,
        slots: config.depth + config.max_leases,
        rounds: args.rounds,
        laps: 0,
        arena_node: device.numa_node,
        processors,
    };
    let mut report = UploadReport::new(Gpu::new(&device, version, &machine), settings);
    Bench::make(&context, &device, &mut report.settings)
        .and_then(|mut bench| bench.measure(args, &mut report))
        .map_err(|error| error.fault().context(format!("copy to {} ({})", device.uuid, device.name)))?;
    Ok(report)
}

fn batch_bytes(args: &BenchArgs) -> usize {
    let value_bytes = match args.dtype {
        Dtype::Uint8 => 1,
        Dtype::Float32 => 4,
    };
    args.batch as usize * IMAGE_VALUES * value_bytes
}

/// Binds this thread to the processors of the GPU's node that it may use, as a trainer should be, so that both sides' memory
/// is near; how many. `None`: left where it was.
fn stay_near(device: &Device, machine: &Machine) -> Option<usize> {
    let near = machine.node_processors(device.numa_node?);
    let allowed = sched_getaffinity(None).ok()?;
    let mut set = CpuSet::new();
    let usable = |processor: &usize| *processor < CpuSet::MAX_CPU && allowed.is_set(*processor);
    near.into_iter().filter(usable).for_each(|processor| set.set(processor));
    let count = set.count() as usize;
    (count > 0 && sched_setaffinity(None, &set).is_ok()).then_some(count)
}

/// The sides, and where they copy to.
struct Bench {
    context: Rc<Context>,
    sides: [Batches; 3],
    targets: Vec<DeviceBuffer>,
    batch_bytes: usize,
}

impl Bench {
    /// Takes all memory, so that a lack of it shows before anything is measured.
    fn make(context: &Rc<Context>, device: &Device, settings: &mut Settings) -> Result<Self, GpuError> {
        let (batch_bytes, slots) = (settings.batch_bytes as usize, settings.slots);
        let (slots_pinned, placed) = Batches::pinned_slots(context, batch_bytes, slots, device.numa_node)?;
        settings.arena_node = placed;
        let plain = Batches::plain(context, batch_bytes, slots)?;
        let unpinned = Batches::unpinned_slots(batch_bytes, slots, device.numa_node)?;
        let targets =
            (0..slots).map(|_| DeviceBuffer::new(context, batch_bytes)).collect::<Result<_, _>>()?;
        Ok(Self { context: Rc::clone(context), sides: [slots_pinned, plain, unpinned], targets, batch_bytes })
    }

    fn copy(&mut self, side: usize, laps: u64) -> Result<Duration, GpuError> {
        let from: Vec<HostBytes> = self.sides[side].ranges(self.batch_bytes);
        copy_laps(&self.context, &mut self.targets, &from, laps)
    }

    fn measure(&mut self, args: &BenchArgs, report: &mut UploadReport) -> Result<(), GpuError> {
        let progress = Progress::start();
        progress.begin("copying to the GPU and back".to_owned(), Amount::Rows(0));
        for side in 0..self.sides.len() {
            self.copy(side, 1)?;
            check(&self.sides[side], &self.targets)?;
        }
        let laps = self.laps(args)?;
        report.settings.laps = laps;
        let lap_bytes = (self.batch_bytes * self.targets.len()) as f64;
        let mut rates = [(); 3].map(|()| Vec::new());
        for round in 0..args.rounds as usize {
            // Each side is first, second and last in turn.
            for turn in 0..self.sides.len() {
                let side = (round + turn) % self.sides.len();
                progress.begin(format!("round {}: {}", round + 1, self.sides[side].words()), Amount::Rows(0));
                let wall = self.copy(side, laps)?;
                rates[side].push(lap_bytes * laps as f64 / 1e9 / wall.as_secs_f64().max(1e-9));
            }
        }
        progress.end();
        let ratio =
            |ours: &[f64], plain: &[f64]| spread(ours.iter().zip(plain).map(|(ours, plain)| ours / plain));
        report.ratio = ratio(&rates[0], &rates[1]);
        report.unpinned_ratio = ratio(&rates[2], &rates[1]);
        let [slots, plain, unpinned] = rates.map(Rate::new);
        (report.slots, report.plain, report.unpinned) = (slots, plain, unpinned);
        Ok(())
    }

    /// As many laps as plain pinned memory fills a turn with; the other sides copy the same bytes.
    fn laps(&mut self, args: &BenchArgs) -> Result<u64, GpuError> {
        let turns = u64::from(args.rounds) * self.sides.len() as u64;
        if let Some(rows) = args.rows {
            let lap_rows = u64::from(args.batch) * self.targets.len() as u64;
            return Ok(rows.div_ceil(u64::from(args.rounds) * lap_rows).clamp(1, LAPS_MAX));
        }
        let lap = self.copy(1, 1)?.as_secs_f64().max(1e-9);
        Ok(((args.seconds / turns as f64 / lap) as u64).clamp(1, LAPS_MAX))
    }
}
