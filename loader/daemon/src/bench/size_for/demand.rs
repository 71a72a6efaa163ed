//! What GPUs ask for: samples a second that they train on, each with where the figure comes from.

use serde::Serialize;

use super::super::emulate::workload::{Accelerator, Model};
use crate::error::Fault;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Demand {
    /// Samples a second of one GPU.
    pub per_gpu: f64,
    /// Whether it was published, or given.
    pub basis: &'static str,
    /// Where it comes from.
    pub source: String,
}

/// A node that such GPUs are sold in, and its cores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KnownNode {
    /// Its name.
    pub name: &'static str,
    /// Physical cores.
    pub cores: u32,
    /// GPUs.
    pub gpus: u32,
}

/// Published training throughput, samples a second of eight GPUs.
const TRAINED: [(Model, Accelerator, f64, &str); 3] = [
    (
        Model::ResNet50,
        Accelerator::H100,
        56_080.0,
        "eight H100 trained on 56,080 images/s in MLPerf Training 3.0",
    ),
    (
        Model::ResNet50,
        Accelerator::A100,
        26_700.0,
        "a DGX A100 trained on 26,700 images/s with MXNet and DALI (its maker)",
    ),
    (
        Model::ResNet50,
        Accelerator::A100,
        16_600.0,
        "a DGX A100 trained on 16,600 images/s with PyTorch (its maker)",
    ),
];

/// All figures for `gpu`, the largest first; or the one given by hand.
///
/// # Errors
/// Invalid: nothing is published; the hint lists what is.
pub fn demands(model: Model, gpu: Option<Accelerator>, by_hand: Option<f64>) -> Result<Vec<Demand>, Fault> {
    if let Some(per_gpu) = by_hand {
        let source = "--samples-per-second".to_owned();
        return Ok(vec![Demand { per_gpu, basis: "given", source }]);
    }
    let found = gpu.map(|gpu| published(model, gpu)).unwrap_or_default();
    if found.is_empty() {
        let what = gpu.map_or("no GPU".to_owned(), |gpu| format!("nothing is published of {}", gpu.name()));
        let message = format!("--size-for {}: {what}", model.name());
        return Err(Fault::invalid(message).hint(format!(
            "give --gpu {} or --samples-per-second X (of one GPU)",
            known(model).join(" or --gpu ")
        )));
    }
    Ok(found)
}

fn published(model: Model, gpu: Accelerator) -> Vec<Demand> {
    let trained =
        TRAINED.iter().filter(|(of, on, ..)| (*of, *on) == (model, gpu)).map(|(_, _, eight, source)| {
            Demand { per_gpu: eight / 8.0, basis: "published", source: (*source).to_owned() }
        });
    let emulated = model.step(gpu).map(|step| Demand {
        per_gpu: step.samples_per_s(),
        basis: "published",
        source: format!(
            "MLCommons' storage benchmark: batches of {} in {} ms",
            step.batch,
            (step.step_s * 1e6).round() / 1e3
        ),
    });
    trained.chain(emulated).collect()
}

/// GPUs that something is published of.
fn known(model: Model) -> Vec<&'static str> {
    [Accelerator::A100, Accelerator::H100, Accelerator::B200, Accelerator::Mi355]
        .into_iter()
        .filter(|gpu| !published(model, *gpu).is_empty())
        .map(Accelerator::name)
        .collect()
}

/// The maker's eight-GPU node, by its data sheet.
pub fn node(gpu: Accelerator) -> Option<KnownNode> {
    let (name, cores) = match gpu {
        Accelerator::A100 => ("DGX A100", 128),
        Accelerator::H100 => ("DGX H100", 112),
        Accelerator::B200 => ("DGX B200", 112),
        Accelerator::Mi355 => return None,
    };
    Some(KnownNode { name, cores, gpus: 8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_comes_before_the_storage_benchmark() {
        let rates = |model, gpu| -> Vec<f64> {
            demands(model, Some(gpu), None)
                .expect("published")
                .iter()
                .map(|one| one.per_gpu.round())
                .collect()
        };
        assert_eq!(rates(Model::ResNet50, Accelerator::H100), [7010.0, 1786.0]);
        assert_eq!(rates(Model::ResNet50, Accelerator::A100), [3338.0, 2075.0, 920.0]);
        assert_eq!(rates(Model::RetinaNet, Accelerator::B200), [505.0]);
    }

    #[test]
    fn what_is_not_published_lists_what_is() {
        let fault = demands(Model::ResNet50, Some(Accelerator::B200), None).expect_err("not published");
        assert!(
            fault.hint.as_deref().is_some_and(|hint| hint.contains("--gpu a100 or --gpu h100")),
            "{fault}"
        );
        let fault = demands(Model::CosmoFlow, None, None).expect_err("no GPU");
        assert!(fault.to_string().contains("--samples-per-second"), "{fault}");
        let given = demands(Model::ResNet50, None, Some(5.0)).expect("given");
        assert_eq!((given[0].per_gpu, given[0].basis), (5.0, "given"));
    }
}
