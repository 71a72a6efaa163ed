//! The report as a person reads it.

use std::fmt::{self, Display, Formatter};

use super::figures::Spread;
use super::report::{ConsumerReport, Report, StageReport};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.stages.is_empty() {
            stages(self, f)?;
        }
        if let Some(storage) = &self.storage {
            let gap = if self.stages.is_empty() { "" } else { "\n" };
            write!(f, "{gap}{storage}")?;
        }
        self.comparison.as_ref().map_or(Ok(()), |comparison| write!(f, "\n{comparison}"))
    }
}

fn stages(report: &Report, f: &mut Formatter<'_>) -> fmt::Result {
    head(report, f)?;
    writeln!(
        f,
        "{:<9}{:>12}{:>12}   {:<20}{:>16}{:>16}",
        "stage", "forebay", "bare", "forebay / bare", "CPU s / 1000", "bare"
    )?;
    report.stages.iter().try_for_each(|stage| row(stage, f))?;
    writeln!(f)?;
    for stage in &report.stages {
        writeln!(f, "{:<9}{}; bare: {}", stage.stage, stage.measures, stage.beside)?;
    }
    writeln!(f)?;
    bytes(report, f)?;
    if let Some(consumer) = &report.consumer {
        consumed(consumer, f)?;
    }
    writeln!(f, "peak memory {:.0} MiB", report.peak_memory_bytes as f64 / f64::from(1 << 20))?;
    if let Some(substituted) = report.data.as_ref().map(|data| data.substituted).filter(|count| *count > 0) {
        writeln!(f, "{substituted} corrupt samples were substituted")?;
    }
    let Some(verdict) = &report.verdict else { return Ok(()) };
    writeln!(
        f,
        "\nwhat binds: {}, at most {} samples/s; the whole path reaches {:.0} % of that",
        verdict.binds,
        thousands(verdict.ceiling_per_s),
        100.0 * verdict.reached
    )?;
    writeln!(f, "change first: {}", verdict.advice)
}

fn head(report: &Report, f: &mut Formatter<'_>) -> fmt::Result {
    let settings = &report.settings;
    let (path, samples) = report.data.as_ref().map_or(("", 0), |data| (data.path.as_str(), data.samples));
    writeln!(f, "forebay {} bench {path}: {} samples", report.forebay, thousands(samples as f64))?;
    let transform = format!("{:?} {:?}", settings.transform, settings.dtype).to_lowercase();
    writeln!(
        f,
        "batches of {}, {transform}, {} decode threads on {} processors, {}, {}, {}\n",
        settings.batch,
        settings.threads,
        report.machine.processors,
        counted(settings.consumers, "consumer"),
        counted(settings.rounds, "round"),
        report.page_cache()
    )
}

impl Report {
    /// Whether the files were read into the page cache before.
    pub fn page_cache(&self) -> String {
        match &self.data {
            Some(data) if data.warmed >= data.samples => "page cache warm".to_owned(),
            Some(data) if data.warmed > 0 => format!("page cache warm for {} samples", data.warmed),
            _ => "page cache as found".to_owned(),
        }
    }
}

fn counted(count: u32, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn row(stage: &StageReport, f: &mut Formatter<'_>) -> fmt::Result {
    let rate = |spread: &Spread| match stage.unit {
        "batches" if spread.median > 0.0 => format!("{:.1} us", 1e6 / spread.median),
        _ => format!("{}/s", thousands(spread.median)),
    };
    let Spread { median, low, high } = stage.ratio;
    writeln!(
        f,
        "{:<9}{:>12}{:>12}   {:<20}{:>16.3}{:>16.3}",
        stage.stage,
        rate(&stage.forebay.per_second),
        rate(&stage.bare.per_second),
        format!("{median:.2} ({low:.2} to {high:.2})"),
        stage.forebay.cpu_s_per_1000.median,
        stage.bare.cpu_s_per_1000.median
    )
}

fn bytes(report: &Report, f: &mut Formatter<'_>) -> fmt::Result {
    let Some(stage) = report.stages.last().filter(|stage| stage.unit == "samples") else { return Ok(()) };
    write!(f, "{:.3} GB/s encoded", stage.forebay.encoded_gb_per_s)?;
    if stage.forebay.batch_gb_per_s > 0.0 {
        write!(f, ", {:.3} GB/s of batches", stage.forebay.batch_gb_per_s)?;
    }
    writeln!(f)
}

fn consumed(consumer: &ConsumerReport, f: &mut Formatter<'_>) -> fmt::Result {
    let ms = |us: f64| us / 1000.0;
    let times = consumer.batch_time;
    writeln!(
        f,
        "between batches: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms",
        ms(times.p50_us),
        ms(times.p90_us),
        ms(times.p99_us)
    )?;
    if consumer.consumers > 1 {
        writeln!(
            f,
            "{} consumers at once: the slowest {} samples/s, the fastest {}",
            consumer.consumers,
            thousands(consumer.slowest_per_second.median),
            thousands(consumer.fastest_per_second.median)
        )?;
    }
    let wait = consumer.wait;
    let percent = |share: f64| 100.0 * share;
    writeln!(
        f,
        "the consumer takes at once and waited {:.0} % of the time, for: decoding {:.0} %, storage {:.0} %, a free slot \
         {:.0} %, the rest {:.0} %",
        percent(wait.waited),
        percent(wait.compute),
        percent(wait.storage),
        percent(wait.slot),
        percent(wait.other)
    )
}

/// A whole number with commas.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_where_they_help() {
        let shown = [0.4, 999.0, 1000.0, 1_234_567.0].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
