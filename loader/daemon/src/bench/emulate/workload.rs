//! The published workloads: how samples lie in files, how large a batch is, and how long an accelerator works on one.
//!
//! Source: the training configurations of MLCommons' storage benchmark (`configs/dlio/workload/*.yaml`: record length
//! and its deviation, samples a file, batch size, computation time, utilisation floor). Its row length (what a record is
//! cut to once it is read) is ours too.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A model whose input pipeline has published figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Model {
    /// Photographs, 1251 records a TFRecord file.
    ResNet50,
    /// Photographs, a JPEG file each.
    RetinaNet,
    /// Medical volumes of 147 MB, an npz file each.
    UNet3d,
    /// Simulated universes of 2.8 MB, a TFRecord file each.
    CosmoFlow,
}

/// An accelerator with published step times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Accelerator {
    /// NVIDIA A100.
    A100,
    /// NVIDIA H100.
    H100,
    /// NVIDIA B200.
    B200,
    /// AMD MI355.
    Mi355,
}

/// How samples lie in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The container that the bytes stand in for.
    pub container: &'static str,
    /// The ending of its files.
    pub suffix: &'static str,
    /// Samples of one file.
    pub samples_per_file: u64,
    /// Mean bytes of a sample.
    pub sample_bytes: u64,
    /// Its standard deviation.
    pub sample_bytes_stdev: u64,
    /// Bytes of a delivered row; absent: the largest sample.
    pub row_bytes: Option<u32>,
}

/// What one accelerator does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Rows of a batch.
    pub batch: u32,
    /// How long it computes on one.
    pub step_s: f64,
}

/// A step's figures, which accelerators have none, and the share of the time that they must compute.
struct Entry {
    model: Model,
    accelerator: Accelerator,
    step: Step,
}

const fn entry(model: Model, accelerator: Accelerator, batch: u32, step_s: f64) -> Entry {
    Entry { model, accelerator, step: Step { batch, step_s } }
}

const PUBLISHED: [Entry; 9] = [
    entry(Model::ResNet50, Accelerator::A100, 400, 0.435),
    entry(Model::ResNet50, Accelerator::H100, 400, 0.224),
    entry(Model::RetinaNet, Accelerator::B200, 24, 0.047_55),
    entry(Model::RetinaNet, Accelerator::Mi355, 32, 0.063_4),
    entry(Model::UNet3d, Accelerator::A100, 7, 0.636),
    entry(Model::UNet3d, Accelerator::H100, 7, 0.323),
    entry(Model::UNet3d, Accelerator::B200, 7, 0.162),
    entry(Model::CosmoFlow, Accelerator::A100, 1, 0.005_51),
    entry(Model::CosmoFlow, Accelerator::H100, 1, 0.003_50),
];

impl Model {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResNet50 => "resnet50",
            Self::RetinaNet => "retinanet",
            Self::UNet3d => "unet3d",
            Self::CosmoFlow => "cosmoflow",
        }
    }

    /// How its samples are stored.
    pub const fn layout(self) -> Layout {
        match self {
            Self::ResNet50 => Layout {
                container: "TFRecord",
                suffix: "tfrecord",
                samples_per_file: 1251,
                sample_bytes: 114_660,
                sample_bytes_stdev: 0,
                row_bytes: Some(150_528),
            },
            Self::RetinaNet => Layout {
                container: "JPEG",
                suffix: "jpg",
                samples_per_file: 1,
                sample_bytes: 322_957,
                sample_bytes_stdev: 0,
                row_bytes: None,
            },
            Self::UNet3d => Layout {
                container: "npz",
                suffix: "npz",
                samples_per_file: 1,
                sample_bytes: 146_600_628,
                sample_bytes_stdev: 68_341_808,
                row_bytes: Some(2 << 20),
            },
            Self::CosmoFlow => Layout {
                container: "TFRecord",
                suffix: "tfrecord",
                samples_per_file: 1,
                sample_bytes: 2_828_486,
                sample_bytes_stdev: 71_311,
                row_bytes: None,
            },
        }
    }

    /// The least share of the time that its accelerators must compute.
    pub const fn floor(self) -> f64 {
        match self {
            Self::ResNet50 | Self::UNet3d => 0.90,
            Self::RetinaNet => 0.85,
            Self::CosmoFlow => 0.70,
        }
    }

    /// Batch and step time on `accelerator`, where they are published.
    pub fn step(self, accelerator: Accelerator) -> Option<Step> {
        let same = |entry: &&Entry| entry.model == self && entry.accelerator == accelerator;
        PUBLISHED.iter().find(same).map(|entry| entry.step)
    }

    /// The accelerators that it has a step time on.
    pub fn accelerators(self) -> Vec<Accelerator> {
        PUBLISHED.iter().filter(|entry| entry.model == self).map(|entry| entry.accelerator).collect()
    }
}

impl Accelerator {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A100 => "a100",
            Self::H100 => "h100",
            Self::B200 => "b200",
            Self::Mi355 => "mi355",
        }
    }
}

impl Step {
    /// Samples a second that keep one accelerator at work all the time.
    pub fn samples_per_s(&self) -> f64 {
        f64::from(self.batch) / self.step_s
    }
}

impl Layout {
    /// The largest sample: two deviations above the mean, where the made-up sizes end.
    pub const fn sample_bytes_max(&self) -> u64 {
        self.sample_bytes + 2 * self.sample_bytes_stdev
    }

    /// Bytes of a row in a batch.
    pub fn delivered_bytes(&self) -> u32 {
        self.row_bytes.unwrap_or(self.sample_bytes_max() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(model: Model, accelerator: Accelerator) -> (f64, f64) {
        let per_s = model.step(accelerator).expect("published").samples_per_s();
        ((per_s * 10.0).round() / 10.0, (per_s * model.layout().sample_bytes as f64 / 1e6).round())
    }

    #[test]
    fn the_rates_are_the_published_ones() {
        assert_eq!(rate(Model::ResNet50, Accelerator::A100), (919.5, 105.0));
        assert_eq!(rate(Model::ResNet50, Accelerator::H100), (1785.7, 205.0));
        assert_eq!(rate(Model::UNet3d, Accelerator::A100), (11.0, 1614.0));
        assert_eq!(rate(Model::UNet3d, Accelerator::H100), (21.7, 3177.0));
        assert_eq!(rate(Model::UNet3d, Accelerator::B200), (43.2, 6335.0));
        assert_eq!(rate(Model::CosmoFlow, Accelerator::A100), (181.5, 513.0));
        assert_eq!(rate(Model::CosmoFlow, Accelerator::H100), (285.7, 808.0));
        assert_eq!(rate(Model::RetinaNet, Accelerator::B200), (504.7, 163.0));
        assert_eq!(rate(Model::RetinaNet, Accelerator::Mi355), (504.7, 163.0));
    }

    #[test]
    fn what_is_not_published_is_absent() {
        assert_eq!(Model::ResNet50.step(Accelerator::B200), None);
        assert_eq!(Model::RetinaNet.accelerators(), [Accelerator::B200, Accelerator::Mi355]);
    }
}
