//! Demand and measurements -> cores, bytes a second, slots; every step as a line that shows its arithmetic. Pure.

use serde::Serialize;

use super::super::table::thousands;
use super::demand::Demand;
use super::measured::Measured;

/// The share of a core's time that the loader may take: the rest is for training processes and the kernel. Assumed.
pub const HEADROOM: f64 = 0.8;
/// The share of a link that data gets through in practice. Assumed.
pub const LINK_SHARE: f64 = 0.8;
/// Links are counted in these.
pub const LINK_GBIT: f64 = 100.0;

/// What is asked, and of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// GPUs.
    pub gpus: u32,
    /// Rows of a batch, of one GPU.
    pub batch: u32,
    /// Batches in flight, a session.
    pub depth: u32,
    /// Batches that a training process may hold.
    pub max_leases: u32,
    /// Cores to judge; absent: none.
    pub cores: Option<u32>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// What it gives.
    pub name: &'static str,
    /// How.
    pub arithmetic: String,
    /// The result as a person reads it.
    pub result: String,
}

/// What a node needs for one demand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Need {
    /// The demand.
    pub demand: Demand,
    /// Samples a second of all GPUs.
    pub samples_per_s: f64,
    /// Cores like the measured ones.
    pub cores: u32,
    /// 10^9 stored bytes a second.
    pub gb_per_s: f64,
    /// The same on the network, 10^9 bits.
    pub gbit_per_s: f64,
    /// Links of 100 Gbit/s.
    pub links: u32,
    /// 10^9 bytes a second that are written into batches.
    pub batch_gb_per_s: f64,
    /// Slots of all GPUs.
    pub slots: u32,
    /// Shared memory of those.
    pub shared_memory_bytes: u64,
    /// The share of one core that handing over takes; where it was measured.
    pub hand_over_cores: Option<f64>,
    /// Whether the cores to judge suffice.
    pub suffices: Option<bool>,
    /// Every step.
    pub lines: Vec<Line>,
}

/// Works it out.
pub fn need(demand: Demand, measured: &Measured, node: Node) -> Need {
    let samples_per_s = f64::from(node.gpus) * demand.per_gpu;
    let busy = samples_per_s * measured.cpu_s;
    let cores = (busy / HEADROOM).ceil().max(1.0);
    let gb_per_s = samples_per_s * measured.sample_bytes / 1e9;
    let gbit_per_s = gb_per_s * 8.0;
    let links = (gbit_per_s / LINK_SHARE / LINK_GBIT).ceil().max(1.0);
    let slots = node.gpus * (node.depth + node.max_leases);
    let batch_bytes = f64::from(node.batch) * measured.row_bytes;
    let batches_per_s = samples_per_s / f64::from(node.batch);
    let mut need = Need {
        samples_per_s,
        cores: cores as u32,
        gb_per_s,
        gbit_per_s,
        links: links as u32,
        batch_gb_per_s: samples_per_s * measured.row_bytes / 1e9,
        slots,
        shared_memory_bytes: (f64::from(slots) * batch_bytes) as u64,
        hand_over_cores: measured.hand_over_s.map(|seconds| seconds * batches_per_s),
        suffices: node.cores.map(|available| f64::from(available) * HEADROOM >= busy),
        lines: Vec::new(),
        demand,
    };
    need.lines = lines(&need, measured, node);
    need
}

fn lines(need: &Need, measured: &Measured, node: Node) -> Vec<Line> {
    let line = |name, arithmetic, result| Line { name, arithmetic, result };
    let (gpus, total) = (node.gpus, rate(need.samples_per_s));
    let cpu = time(measured.cpu_s);
    let mut lines = vec![
        line(
            "demand",
            format!("{gpus} GPUs x {}/s", rate(need.demand.per_gpu)),
            format!("{total} samples/s"),
        ),
        line("cores", format!("{total}/s x {cpu} / {HEADROOM}"), format!("{} cores", need.cores)),
        line(
            "storage",
            format!("{total}/s x {} bytes", thousands(measured.sample_bytes)),
            format!("{:.2} GB/s", need.gb_per_s),
        ),
        line(
            "network",
            format!("{:.2} GB/s x 8, {LINK_SHARE} of a link", need.gb_per_s),
            format!("{:.1} Gbit/s, {} link(s) of {LINK_GBIT} Gbit/s", need.gbit_per_s, need.links),
        ),
        line(
            "batches",
            format!("{total}/s x {} bytes", thousands(measured.row_bytes)),
            format!("{:.2} GB/s written to memory, and read again by the GPUs' copies", need.batch_gb_per_s),
        ),
        line(
            "slots",
            format!("{gpus} x ({} depth + {} leases)", node.depth, node.max_leases),
            format!("{} slots", need.slots),
        ),
        line(
            "memory",
            format!("{} x {} rows x {} bytes", need.slots, node.batch, thousands(measured.row_bytes)),
            format!("{:.2} GB of shared memory", need.shared_memory_bytes as f64 / 1e9),
        ),
    ];
    if let Some((seconds, cores)) = measured.hand_over_s.zip(need.hand_over_cores) {
        lines.push(line(
            "hand-over",
            format!("{total}/s / {} rows x {}", node.batch, time(seconds)),
            format!("{:.2} % of a core", 100.0 * cores),
        ));
    }
    if let Some(available) = node.cores {
        let fed = f64::from(available) * HEADROOM / measured.cpu_s;
        lines.push(line(
            "answer",
            format!("{available} cores x {HEADROOM} / {cpu}"),
            format!("{} samples/s, {:.0} % of the demand", rate(fed), 100.0 * fed / need.samples_per_s),
        ));
    }
    lines
}

/// Few samples a second are worth a digit more.
pub fn rate(per_s: f64) -> String {
    if per_s < 1000.0 { format!("{per_s:.1}") } else { thousands(per_s) }
}

/// A short time with its unit.
pub fn time(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.1} us", seconds * 1e6) } else { format!("{:.3} ms", seconds * 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(cores: Option<u32>) -> Need {
        let demand = Demand { per_gpu: 1000.0, basis: "given", source: String::new() };
        let measured = Measured {
            from: String::new(),
            cpu_s: 0.001,
            sample_bytes: 100_000.0,
            row_bytes: 150_000.0,
            hand_over_s: Some(25e-6),
            per_s: 2000.0,
            processors: 2,
        };
        need(demand, &measured, Node { gpus: 8, batch: 200, depth: 2, max_leases: 2, cores })
    }

    #[test]
    fn every_figure_follows_from_its_line() {
        let need = sized(Some(16));
        assert_eq!((need.samples_per_s, need.cores), (8000.0, 10));
        assert!((need.gb_per_s - 0.8).abs() < 1e-9 && (need.gbit_per_s - 6.4).abs() < 1e-9);
        assert_eq!((need.links, need.slots, need.shared_memory_bytes), (1, 32, 960_000_000));
        assert!((need.hand_over_cores.expect("measured") - 0.001).abs() < 1e-9);
        let text = |name: &str| {
            let line = need.lines.iter().find(|line| line.name == name).expect("a line");
            format!("{} = {}", line.arithmetic, line.result)
        };
        assert_eq!(text("cores"), "8,000/s x 1.000 ms / 0.8 = 10 cores");
        assert_eq!(text("answer"), "16 cores x 0.8 / 1.000 ms = 12,800 samples/s, 160 % of the demand");
    }

    #[test]
    fn cores_suffice_from_the_exact_number_on() {
        assert_eq!(
            [9, 10, 11].map(|cores| sized(Some(cores)).suffices),
            [Some(false), Some(true), Some(true)]
        );
        assert_eq!(sized(None).suffices, None);
    }
}
