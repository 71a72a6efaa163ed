//! What the copies came to, for people and for programs.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::super::figures::{Spread, spread};
use super::super::machine::Machine as Host;
use super::super::options::Dtype;
use super::super::report::command_line;
use crate::gpu::{CudaVersion, Device};
use crate::machine::Machine;

/// Raised whenever a program that reads the JSON would have to change.
const SCHEMA: &str = "forebay bench host-to-device 1";

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct UploadReport {
    /// Of this JSON.
    pub schema: &'static str,
    /// This binary's version.
    pub forebay: &'static str,
    /// When it began, as HTTP writes dates.
    pub began: String,
    /// The command that repeats it.
    pub command: String,
    /// Where it ran.
    pub machine: Host,
    /// To which GPU.
    pub gpu: Gpu,
    /// How.
    pub settings: Settings,
    /// From the slots of an arena that is registered with the driver, as a session's is.
    pub slots: Rate,
    /// From plain pinned memory of the same size.
    pub plain: Rate,
    /// From slots that are not pinned: what a refused limit costs.
    pub unpinned: Rate,
    /// Slots over plain pinned memory, round by round.
    pub ratio: Spread,
    /// Slots that are not pinned over it.
    pub unpinned_ratio: Spread,
}

/// A GPU and its place.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "as the doctor names them")]
pub struct Gpu {
    pub uuid: String,
    pub name: String,
    pub pci: String,
    /// Its link as it ran before the copies; idle links may be slower.
    pub link: Option<String>,
    pub numa_node: Option<u32>,
    pub memory_bytes: u64,
    /// The newest CUDA that the driver speaks.
    pub cuda: String,
    /// The driver's own words for itself.
    pub driver: Option<String>,
}

/// How.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Images of a batch.
    pub batch: u32,
    /// Their values.
    pub dtype: Dtype,
    /// A copy.
    pub batch_bytes: u64,
    /// Batches that go round, of each side.
    pub slots: u32,
    /// Turns of each side.
    pub rounds: u32,
    /// How often each turn copies all slots.
    pub laps: u64,
    /// The NUMA node that arenas were placed on; none where the machine does not tell it or forbids it.
    pub arena_node: Option<u32>,
    /// Processors near the GPU that the copying thread was bound to; none where it was not.
    pub processors: Option<usize>,
}

/// How fast one side was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rate {
    /// 10^9 bytes a second, over the rounds.
    pub gb_per_s: Spread,
    /// In each.
    pub rounds: Vec<f64>,
}

impl Rate {
    /// From a rate a round.
    pub fn new(rounds: Vec<f64>) -> Self {
        Self { gb_per_s: spread(rounds.iter().copied()), rounds }
    }
}

impl Gpu {
    /// Of a device on this machine.
    pub fn new(device: &Device, version: CudaVersion, machine: &Machine) -> Self {
        Self {
            uuid: device.uuid.clone(),
            name: device.name.clone(),
            pci: device.pci.to_string(),
            link: device.pci.link(machine),
            numa_node: device.numa_node,
            memory_bytes: device.memory_bytes,
            cuda: version.to_string(),
            driver: machine.field("/proc/driver/nvidia/version", "NVRM version"),
        }
    }
}

impl UploadReport {
    /// Before anything is measured.
    pub fn new(gpu: Gpu, settings: Settings) -> Self {
        Self {
            schema: SCHEMA,
            forebay: env!("CARGO_PKG_VERSION"),
            began: httpdate::fmt_http_date(std::time::SystemTime::now()),
            command: command_line(std::env::args().skip(1)),
            machine: Host::here(),
            gpu,
            settings,
            slots: Rate::default(),
            plain: Rate::default(),
            unpinned: Rate::default(),
            ratio: Spread::default(),
            unpinned_ratio: Spread::default(),
        }
    }
}

impl Display for UploadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (gpu, settings) = (&self.gpu, &self.settings);
        let node = |node: Option<u32>| node.map_or("unknown".to_owned(), |node| node.to_string());
        writeln!(f, "forebay {} bench --host-to-device: {}, {}", self.forebay, gpu.name, gpu.uuid)?;
        writeln!(f, "\nmachine    {}", self.machine.words())?;
        let link = gpu.link.as_deref().unwrap_or("link unknown");
        writeln!(
            f,
            "GPU        at {}, {link}, NUMA node {}, CUDA {}",
            gpu.pci,
            node(gpu.numa_node),
            gpu.cuda
        )?;
        writeln!(
            f,
            "copies     {:.1} MB each, {} slots round and round, {} laps a turn, {} rounds in turns",
            settings.batch_bytes as f64 / 1e6,
            settings.slots,
            settings.laps,
            settings.rounds
        )?;
        let placed = settings.arena_node.map_or("anywhere".to_owned(), |node| format!("on NUMA node {node}"));
        let bound = settings
            .processors
            .map_or("not bound".to_owned(), |count| format!("bound to {count} processors near the GPU"));
        writeln!(f, "           arenas lie {placed}, the copying thread is {bound}")?;
        writeln!(f, "\n{:<22}{:>8}  {:<16}  beside plain pinned", "from", "GB/s", "least..greatest")?;
        side(f, "slots, pinned", &self.slots, Some(self.ratio))?;
        side(f, "plain pinned memory", &self.plain, None)?;
        side(f, "slots, not pinned", &self.unpinned, Some(self.unpinned_ratio))?;
        writeln!(f, "\nA lap of each side was copied back before and is equal, byte for byte.")
    }
}

fn side(f: &mut Formatter<'_>, name: &str, rate: &Rate, ratio: Option<Spread>) -> fmt::Result {
    let Spread { median, low, high } = rate.gb_per_s;
    let range = format!("{low:.2}..{high:.2}");
    let beside = ratio
        .map_or(String::new(), |ratio| format!("{:.3} ({:.3}..{:.3})", ratio.median, ratio.low, ratio.high));
    writeln!(f, "{}", format!("{name:<22}{median:>8.2}  {range:<16}  {beside}").trim_end())
}
