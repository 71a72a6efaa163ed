//! Losses in words, as cells and as JSON.

use std::fmt::Write as _;

use forebay_proto::v1;
use serde_json::{Value, json};

use crate::error::Fault;

/// The columns of a sample, as CSV and JSON name them; those of a stored ledger too.
pub(super) const SAMPLE_COLUMNS: [&str; 11] =
    ["source", "key", "sample", "count", "mean", "max", "last", "nan", "epoch", "position", "recent"];

/// The columns of a sample in a step that stood out.
pub(super) const STEP_COLUMNS: [&str; 10] =
    ["epoch", "first_row", "rows", "rank", "loss", "usual", "z", "nan", "key", "sample_loss"];

/// What is told of, in one line.
pub(super) fn about(reply: &v1::LossesReply) -> String {
    let (mut samples, mut seen) = (0, 0);
    for source in &reply.sources {
        samples += source.samples;
        seen += source.seen;
    }
    let mut out = format!(
        "job {}: {} losses of {} of {} samples",
        reply.job_id,
        grouped(reply.losses + reply.nan),
        grouped(seen),
        grouped(samples)
    );
    if reply.nan > 0 {
        let _ = write!(out, ", {} of them not finite", grouped(reply.nan));
    }
    if reply.ledgers > 1 {
        let _ = write!(out, "; {} ledgers added up", reply.ledgers);
    }
    out + "\n"
}

/// The same for programs.
pub(super) fn about_json(reply: &v1::LossesReply) -> Value {
    let source = |source: &v1::LossSource| json!({ "name": source.name, "samples": source.samples, "seen": source.seen });
    json!({
        "job": reply.job_id,
        "ledgers": reply.ledgers,
        "losses": reply.losses,
        "nan": reply.nan,
        "sources": reply.sources.iter().map(source).collect::<Vec<_>>(),
    })
}

/// One line a sample, with the number it is sorted by where it stands in the table anyway.
pub(super) fn samples_table(samples: &[v1::SampleLoss]) -> String {
    let mut out = format!(
        "{:>10} {:>10} {:>10} {:>10} {:>7} {:>5} {:>14}  sample\n",
        "mean", "max", "recent", "last", "count", "nan", "epoch:row"
    );
    for sample in samples {
        let _ = writeln!(
            out,
            "{:>10} {:>10} {:>10} {:>10} {:>7} {:>5} {:>14}  {}",
            number(sample.mean),
            number(sample.max),
            number(sample.recent),
            last(sample),
            sample.count,
            sample.nan,
            format!("{}:{}", sample.epoch, sample.position),
            named(sample)
        );
    }
    out
}

/// One step and its worst samples.
pub(super) fn step(step: &v1::LossStep) -> String {
    let what = match (step.nan, step.loss) {
        (0, _) => format!("loss {}, {:.1} standard deviations above", number(step.loss), step.z),
        (nan, Some(_)) => {
            format!("{nan} of {} losses not finite, the others {}, where", step.rows, number(step.loss))
        }
        (nan, None) => format!("all {nan} losses not finite, where"),
    };
    let link = if step.nan == 0 { "the usual" } else { "usual is" };
    let mut out = format!(
        "epoch {}, row {}, rank {}: {what} {link} {}\n",
        step.epoch,
        step.first_row,
        step.rank,
        number(Some(step.usual))
    );
    for sample in &step.worst {
        let _ = writeln!(out, "  {:>10}  {}", last(sample), named(sample));
    }
    out
}

/// A table for programs.
///
/// # Errors
/// Internal: memory takes no line.
pub(super) fn csv<const N: usize>(
    columns: &[&str; N],
    lines: impl Iterator<Item = [String; N]>,
) -> Result<String, Fault> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut written = out.write_record(columns);
    for line in lines {
        written = written.and_then(|()| out.write_record(&line));
    }
    written.map_err(|error| Fault::internal(format!("write CSV: {error}")))?;
    let bytes = out.into_inner().map_err(|error| Fault::internal(format!("write CSV: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A sample for [`SAMPLE_COLUMNS`]; what is not there is empty.
pub(super) fn sample_cells(sample: &v1::SampleLoss) -> [String; 11] {
    let cell = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    [
        sample.source.clone(),
        sample.key.clone(),
        sample.sample.to_string(),
        sample.count.to_string(),
        cell(sample.mean),
        cell(sample.max),
        cell(sample.last),
        sample.nan.to_string(),
        sample.epoch.to_string(),
        sample.position.to_string(),
        cell(sample.recent),
    ]
}

/// The samples of a step for [`STEP_COLUMNS`], one a line.
pub(super) fn step_cells(step: &v1::LossStep) -> Vec<[String; 10]> {
    let cell = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let line = |sample: &v1::SampleLoss| {
        [
            step.epoch.to_string(),
            step.first_row.to_string(),
            step.rows.to_string(),
            step.rank.to_string(),
            cell(step.loss),
            step.usual.to_string(),
            step.z.to_string(),
            step.nan.to_string(),
            sample.key.clone(),
            cell(sample.last),
        ]
    };
    step.worst.iter().map(line).collect()
}

/// A sample for programs; what is no finite number is null.
pub(super) fn sample_json(sample: &v1::SampleLoss) -> Value {
    json!({
        "source": sample.source,
        "key": sample.key,
        "sample": sample.sample,
        "count": sample.count,
        "mean": sample.mean,
        "max": sample.max,
        "last": sample.last,
        "nan": sample.nan,
        "epoch": sample.epoch,
        "position": sample.position,
        "recent": sample.recent,
    })
}

/// A step for programs.
pub(super) fn step_json(step: &v1::LossStep) -> Value {
    let worst = |sample: &v1::SampleLoss| json!({ "key": sample.key, "loss": sample.last });
    json!({
        "epoch": step.epoch,
        "first_row": step.first_row,
        "rows": step.rows,
        "rank": step.rank,
        "loss": step.loss,
        "nan": step.nan,
        "usual": step.usual,
        "spread": step.spread,
        "z": step.z,
        "worst": step.worst.iter().map(worst).collect::<Vec<_>>(),
    })
}

/// A count with its thousands apart.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

fn named(sample: &v1::SampleLoss) -> String {
    if sample.source.is_empty() { sample.key.clone() } else { format!("{}:{}", sample.source, sample.key) }
}

fn last(sample: &v1::SampleLoss) -> String {
    sample.last.map_or_else(|| "nan".to_owned(), |loss| number(Some(loss)))
}

/// Four decimals, or as many digits where it is large or tiny.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value != 0.0 && !(1e-3..1e5).contains(&value.abs()) => format!("{value:.3e}"),
        Some(value) => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 1_281_167].map(grouped), ["0", "999", "1 000", "1 281 167"]);
    }

    #[test]
    fn numbers_are_short_whatever_their_size() {
        let shown = [Some(0.0), Some(6.90775), Some(1e-7), Some(123_456.0), None].map(number);
        assert_eq!(shown, ["0.0000", "6.9078", "1.000e-7", "1.235e5", "-"]);
    }
}
