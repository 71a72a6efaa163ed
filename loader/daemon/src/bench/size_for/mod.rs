//! `forebay bench --size-for`: what a node needs to feed its GPUs, from what is measured here and what is published.

mod arithmetic;
mod demand;
mod measured;
pub mod options;
mod text;

use serde::Serialize;
use serde_json::Value;

use self::arithmetic::{HEADROOM, LINK_SHARE, Need, Node, need};
use self::demand::KnownNode;
use self::measured::Measured;
use super::emulate::workload::{Accelerator, Model};
use super::options::BenchArgs;
use super::synthetic::Synthetic;
use crate::config::Config;
use crate::error::{Fault, Kind};

/// RetinaNet's input: 800 x 800 RGB.
const RETINANET_ROW_BYTES: f64 = 800.0 * 800.0 * 3.0;
/// Files this much larger or smaller than the published ones are worth a word.
const OTHER_SIZE: f64 = 1.25;
/// Runs of the emulation that is measured from.
const RUNS: u32 = 3;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct SizeReport {
    /// Of this JSON.
    pub schema: &'static str,
    /// This binary's version.
    pub forebay: &'static str,
    /// What is trained.
    pub model: Model,
    /// On what; absent where the demand was given by hand.
    pub gpu: Option<Accelerator>,
    /// On how many.
    pub gpus: u32,
    /// Rows of a batch, of one GPU.
    pub batch: u32,
    /// What was measured.
    pub measured: Measured,
    /// The cores that were judged.
    pub judged: Option<Judged>,
    /// One for each demand, the largest first.
    pub needs: Vec<Need>,
    /// What is assumed, and what a reader must know.
    pub assumed: Vec<String>,
}

/// The cores that were judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// How many.
    pub cores: u32,
    /// Whose.
    pub whose: String,
}

/// Measures where need be, and works it out. Blocks; must be called inside of a multi-threaded tokio runtime's
/// context, and on none of its threads.
///
/// # Errors
/// Invalid: no published demand, or JSON that does not fit. What the bench says.
pub fn run(args: &BenchArgs) -> Result<SizeReport, Fault> {
    let sizing = &args.sizing;
    let model = sizing.size_for.ok_or_else(|| Fault::invalid("--size-for needs a model"))?;
    let demands = demand::demands(model, sizing.gpu, sizing.samples_per_second)?;
    let measured = measure(model, args)?;
    let step = sizing.gpu.and_then(|gpu| model.step(gpu)).or_else(|| model.step(model.accelerators()[0]));
    let config = Config::default();
    let judged = judged(sizing.cores, sizing.gpu.and_then(demand::node), sizing.gpus);
    let node = Node {
        gpus: sizing.gpus,
        batch: step.map_or(args.batch, |step| step.batch),
        depth: config.depth,
        max_leases: config.max_leases,
        cores: judged.as_ref().map(|judged| judged.cores),
    };
    let needs = demands.into_iter().map(|demand| need(demand, &measured, node)).collect();
    Ok(SizeReport {
        schema: "forebay size 1",
        forebay: env!("CARGO_PKG_VERSION"),
        model,
        gpu: sizing.gpu,
        gpus: sizing.gpus,
        batch: node.batch,
        judged,
        needs,
        assumed: assumed(model, &measured),
        measured,
    })
}

fn judged(given: Option<u32>, node: Option<KnownNode>, gpus: u32) -> Option<Judged> {
    if let Some(cores) = given {
        return Some(Judged { cores, whose: "--cores".to_owned() });
    }
    let node = node.filter(|node| gpus <= node.gpus)?;
    Some(Judged { cores: node.cores, whose: format!("a {} by its data sheet", node.name) })
}

fn measure(model: Model, args: &BenchArgs) -> Result<Measured, Fault> {
    if let Some(file) = &args.sizing.from {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Fault::from_error(Kind::NotFound, &error)
                .context(format!("read {}", file.display()))
                .hint("make one with `forebay bench PATH --json > FILE`")
        })?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let found = measured::read(model, json).map_err(|fault| fault.context(file.display().to_string()))?;
        return Ok(rows(model, found));
    }
    let json = if measured::is_photographs(model) {
        serde_json::to_value(super::run(&with_photographs(args))?)
    } else {
        serde_json::to_value(super::emulate::run(&emulating(model, args))?)
    };
    let json = json.map_err(|error| Fault::internal(error.to_string()))?;
    Ok(rows(model, measured::read(model, json)?))
}

/// The data that was given, or synthetic photographs.
fn with_photographs(args: &BenchArgs) -> BenchArgs {
    let synthetic = args.synthetic.or_else(|| args.path.is_none().then_some(Synthetic::Photos));
    BenchArgs { synthetic, ..args.clone() }
}

/// RetinaNet's rows are larger than those of the bench's transform.
fn rows(model: Model, measured: Measured) -> Measured {
    match model {
        Model::RetinaNet => Measured { row_bytes: RETINANET_ROW_BYTES, ..measured },
        _ => measured,
    }
}

/// One accelerator of the kind that is sized for, or of the first that is published.
fn emulating(model: Model, args: &BenchArgs) -> BenchArgs {
    let mut args = args.clone();
    let gpu = args.sizing.gpu.filter(|gpu| model.step(*gpu).is_some());
    args.emulation.emulate = Some(model);
    args.emulation.accelerator = gpu.or_else(|| model.accelerators().first().copied());
    args.emulation.runs = RUNS;
    args
}

fn assumed(model: Model, measured: &Measured) -> Vec<String> {
    let mut notes = vec![
        format!(
            "a core of that node does what one of the {} processors of the measured machine does",
            measured.processors
        ),
        format!(
            "the loader may have {:.0} % of a core's time, and data {:.0} % of a link's",
            100.0 * HEADROOM,
            100.0 * LINK_SHARE
        ),
        "every sample is read once an epoch from shared storage: no cache on the node".to_owned(),
    ];
    let published = model.layout().sample_bytes as f64;
    let ratio = published / measured.sample_bytes;
    if measured::is_photographs(model) && !(1.0 / OTHER_SIZE..OTHER_SIZE).contains(&ratio) {
        notes.push(format!(
            "the measured files have {:.0} KB, the published ones of {} {:.0} KB: with those, GB/s are {ratio:.1} times as many, and cores about as many times",
            measured.sample_bytes / 1e3,
            model.name(),
            published / 1e3
        ));
    }
    match model {
        Model::RetinaNet => notes.push(
            "processor time is that of the bench's crops of 224 pixels; RetinaNet's own pipeline resizes whole images to 800 x 800 (the rows counted here) and costs more"
                .to_owned(),
        ),
        Model::UNet3d | Model::CosmoFlow => notes.push(format!(
            "nothing is decoded: {}'s files are made up, and what parsing and augmenting cost comes on top",
            model.name()
        )),
        Model::ResNet50 => {}
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_that_were_given_come_before_the_node_that_is_sold() {
        let dgx = demand::node(Accelerator::H100);
        assert_eq!(judged(Some(9), dgx, 8).map(|judged| judged.cores), Some(9));
        assert_eq!(judged(None, dgx, 8).map(|judged| judged.cores), Some(112));
        assert_eq!(judged(None, dgx, 9), None, "it has eight");
    }
}
