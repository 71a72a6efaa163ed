//! What was measured, out of the JSON of a bench or of an emulation, whether it ran now or long ago.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::emulate::workload::Model;
use crate::error::Fault;

/// One machine's figures for one kind of sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Where they come from, in words.
    pub from: String,
    /// Processor seconds of a sample, from storage to its batch.
    pub cpu_s: f64,
    /// Stored bytes of a sample.
    pub sample_bytes: f64,
    /// Bytes of its row in a batch.
    pub row_bytes: f64,
    /// Seconds to hand a batch over; where it was measured.
    pub hand_over_s: Option<f64>,
    /// Samples a second of this machine.
    pub per_s: f64,
    /// Its processors.
    pub processors: u32,
}

#[derive(Deserialize)]
struct BenchJson {
    machine: MachineJson,
    data: DataJson,
    settings: SettingsJson,
    stages: Vec<StageJson>,
}

#[derive(Deserialize)]
struct MachineJson {
    processors: u32,
}

#[derive(Deserialize)]
struct DataJson {
    path: String,
}

#[derive(Deserialize)]
struct SettingsJson {
    transform: String,
    dtype: String,
}

#[derive(Deserialize)]
struct StageJson {
    stage: String,
    forebay: SideJson,
}

#[derive(Deserialize)]
struct SideJson {
    per_second: MedianJson,
    cpu_s_per_1000: MedianJson,
    encoded_gb_per_s: f64,
    batch_gb_per_s: f64,
}

#[derive(Deserialize)]
struct MedianJson {
    median: f64,
}

#[derive(Deserialize)]
struct EmulateJson {
    machine: MachineJson,
    workload: WorkloadJson,
    search: Option<SearchJson>,
    result: Option<TrialJson>,
}

#[derive(Deserialize)]
struct SearchJson {
    trials: Vec<TrialJson>,
}

#[derive(Deserialize)]
struct WorkloadJson {
    model: Model,
    row_bytes: f64,
    sample_bytes: f64,
}

#[derive(Deserialize)]
struct TrialJson {
    cpu_s_per_1000: f64,
    samples_per_s: MedianJson,
    runs: Vec<RunJson>,
}

#[derive(Deserialize)]
struct RunJson {
    reads: f64,
    read_bytes: f64,
}

/// Whether a model's samples are photographs, which the bench decodes; the others are stored bytes, which the emulation
/// delivers.
pub fn is_photographs(model: Model) -> bool {
    matches!(model, Model::ResNet50 | Model::RetinaNet)
}

/// Reads a report's JSON.
///
/// # Errors
/// Invalid: not a report of ours, or one that says nothing about `model`.
pub fn read(model: Model, json: Value) -> Result<Measured, Fault> {
    let emulated = json["schema"].as_str().is_some_and(|schema| schema.starts_with("forebay emulate"));
    let misread = |error: serde_json::Error| {
        Fault::invalid(format!("not the JSON of a bench or of an emulation: {error}"))
            .hint("make one with `forebay bench PATH --json > FILE`")
    };
    match (emulated, is_photographs(model)) {
        (false, true) => bench(&serde_json::from_value(json).map_err(misread)?),
        (true, false) => emulation(model, serde_json::from_value(json).map_err(misread)?),
        (true, true) => Err(Fault::invalid(format!("an emulation decodes nothing, {} does", model.name()))
            .hint("give the JSON of `forebay bench PATH --json`")),
        (false, false) => {
            Err(Fault::invalid(format!("a bench of photographs says nothing about {}", model.name())).hint(
                format!(
                    "give the JSON of `forebay bench --emulate {} --accelerator {} --json`",
                    model.name(),
                    model.accelerators()[0].name()
                ),
            ))
        }
    }
}

fn bench(json: &BenchJson) -> Result<Measured, Fault> {
    let stage = |name: &str| json.stages.iter().find(|stage| stage.stage == name).map(|stage| &stage.forebay);
    let whole = stage("whole").filter(|whole| whole.per_second.median > 0.0).ok_or_else(|| {
        Fault::invalid("the bench did not measure the whole path")
            .hint("run it with --stage all, the default")
    })?;
    let per_s = whole.per_second.median;
    let hand_over_s = stage("deliver").map(|deliver| deliver.per_second.median).filter(|rate| *rate > 0.0);
    Ok(Measured {
        from: format!(
            "forebay bench {}, {} {}, whole path",
            json.data.path, json.settings.transform, json.settings.dtype
        ),
        cpu_s: whole.cpu_s_per_1000.median / 1000.0,
        sample_bytes: whole.encoded_gb_per_s * 1e9 / per_s,
        row_bytes: whole.batch_gb_per_s * 1e9 / per_s,
        hand_over_s: hand_over_s.map(|rate| 1.0 / rate),
        per_s,
        processors: json.machine.processors,
    })
}

fn emulation(model: Model, json: EmulateJson) -> Result<Measured, Fault> {
    if json.workload.model != model {
        let message = format!("the emulation is of {}, not of {}", json.workload.model.name(), model.name());
        return Err(Fault::invalid(message).hint("emulate the model that you size for"));
    }
    let last = json.search.and_then(|search| search.trials.into_iter().last());
    let trial = json.result.or(last).ok_or_else(|| Fault::invalid("the emulation measured nothing"))?;
    let total = |of: fn(&RunJson) -> f64| trial.runs.iter().map(of).sum::<f64>();
    // Few made-up files are larger or smaller than many; the time of reading them goes with the bytes.
    let published = json.workload.sample_bytes;
    let factor = published * total(|run| run.reads) / total(|run| run.read_bytes).max(1.0);
    Ok(Measured {
        from: format!("forebay bench --emulate {}, stored bytes into batches, nothing decoded", model.name()),
        cpu_s: trial.cpu_s_per_1000 / 1000.0 * factor,
        sample_bytes: published,
        row_bytes: json.workload.row_bytes,
        hand_over_s: None,
        per_s: trial.samples_per_s.median,
        processors: json.machine.processors,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn side(per_s: f64, cpu: f64, encoded: f64, batch: f64) -> Value {
        json!({ "per_second": { "median": per_s }, "cpu_s_per_1000": { "median": cpu }, "encoded_gb_per_s": encoded, "batch_gb_per_s": batch })
    }

    fn report(stages: &[(&str, Value)]) -> Value {
        let stages: Vec<_> =
            stages.iter().map(|(stage, side)| json!({ "stage": stage, "forebay": side })).collect();
        json!({ "machine": { "processors": 2 }, "data": { "path": "w1" }, "settings": { "transform": "train", "dtype": "uint8" }, "stages": stages })
    }

    #[test]
    fn a_bench_gives_time_bytes_and_hand_over_of_a_sample() {
        let whole = side(1000.0, 1.5, 0.1, 0.15);
        let json = report(&[("deliver", side(50_000.0, 0.01, 0.0, 0.0)), ("whole", whole)]);
        let measured = read(Model::ResNet50, json).expect("a bench");
        assert!((measured.cpu_s - 0.0015).abs() < 1e-12);
        assert_eq!((measured.sample_bytes.round(), measured.row_bytes.round()), (100_000.0, 150_000.0));
        assert_eq!((measured.hand_over_s, measured.processors), (Some(1.0 / 50_000.0), 2));
    }

    #[test]
    fn an_emulation_gives_the_time_of_a_published_sample() {
        let trial = json!({ "cpu_s_per_1000": 100.0, "samples_per_s": { "median": 20.0 }, "runs": [{ "reads": 10, "read_bytes": 1_500_000_000_u64 }] });
        let json = json!({ "schema": "forebay emulate 1", "machine": { "processors": 4 }, "workload": { "model": "unet3d", "row_bytes": 2_097_152, "sample_bytes": 300_000_000 }, "search": null, "result": trial });
        let measured = read(Model::UNet3d, json.clone()).expect("an emulation");
        assert_eq!((measured.cpu_s, measured.sample_bytes, measured.processors), (0.2, 300_000_000.0, 4));
        let other = read(Model::CosmoFlow, json.clone()).expect_err("another model");
        assert!(other.to_string().contains("of unet3d, not of cosmoflow"), "{other}");
        assert!(
            read(Model::ResNet50, json).expect_err("no decoding").to_string().contains("decodes nothing")
        );
    }

    #[test]
    fn what_says_nothing_is_refused_with_what_would() {
        let stage = read(Model::ResNet50, report(&[])).expect_err("no stage");
        assert!(stage.to_string().contains("--stage all"), "{stage}");
        let other = read(Model::UNet3d, report(&[])).expect_err("photographs");
        assert!(other.to_string().contains("--emulate unet3d --accelerator a100"), "{other}");
        assert!(read(Model::ResNet50, json!({})).expect_err("nothing").to_string().contains("not the JSON"));
    }
}
