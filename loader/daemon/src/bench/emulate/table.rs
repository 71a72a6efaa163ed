//! An emulation's report as a person reads it.

use std::fmt::{self, Display, Formatter};

use super::super::table::thousands;
use super::report::{EmulateReport, Trial};

impl Display for EmulateReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        head(self, f)?;
        if let Some(search) = &self.search {
            columns(f)?;
            search.trials.iter().try_for_each(|trial| row(trial, f))?;
            writeln!(f)?;
        } else if let Some(trial) = &self.result {
            columns(f)?;
            row(trial, f)?;
            writeln!(f)?;
        }
        answer(self, f)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

fn head(report: &EmulateReport, f: &mut Formatter<'_>) -> fmt::Result {
    let (workload, data, settings) = (&report.workload, &report.data, &report.settings);
    let (model, accelerator) = (workload.model.name(), workload.accelerator.name());
    writeln!(f, "forebay {} bench --emulate {model} on {accelerator}: {}", report.forebay, report.label)?;
    writeln!(f, "({})\n", report.disclaimer)?;
    writeln!(
        f,
        "data: {}, {:.2} GB, {} samples of {} bytes in {} files ({})",
        data.path,
        data.bytes as f64 / 1e9,
        thousands(data.samples as f64),
        thousands(workload.sample_bytes as f64),
        thousands(data.files as f64),
        workload.container
    )?;
    writeln!(
        f,
        "one {accelerator}: batches of {}, {} ms a step: {} samples/s, {:.3} GB/s; to be at work {:.0} % of the time",
        workload.batch,
        ms(workload.step_s),
        rate(workload.samples_per_s),
        workload.gb_per_s,
        100.0 * workload.utilisation_floor
    )?;
    writeln!(
        f,
        "runs of {} s after a warm-up; {} processors, {} pool threads, {} read threads, depth {}\n",
        settings.seconds, report.machine.processors, settings.threads, settings.read_threads, settings.depth
    )
}

fn columns(f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{:>12}  {:<28}{:>11}{:>9}{:>14}{:>14}  holds",
        "accelerators", "utilisation", "samples/s", "GB/s", "CPU s / 1000", "from storage"
    )
}

fn row(trial: &Trial, f: &mut Formatter<'_>) -> fmt::Result {
    let percent = |share: f64| 100.0 * share;
    let used = trial.utilisation;
    let used = match trial.runs.len() {
        1 => format!("{:.1} %", percent(used.median)),
        _ => format!("{:.1} % ({:.1} to {:.1})", percent(used.median), percent(used.low), percent(used.high)),
    };
    writeln!(
        f,
        "{:>12}  {used:<28}{:>11}{:>9.3}{:>14.3}{:>14}  {} ({} of {} runs)",
        trial.accelerators,
        rate(trial.samples_per_s.median),
        trial.gb_per_s,
        trial.cpu_s_per_1000,
        trial.from_storage.map_or("unknown".to_owned(), |share| format!("{:.0} %", percent(share))),
        if trial.holds { "yes" } else { "no" },
        trial.runs_held,
        trial.runs.len()
    )
}

/// Milliseconds to the microsecond, without trailing zeros.
fn ms(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

/// Few samples a second are worth a digit more.
fn rate(per_s: f64) -> String {
    if per_s < 1000.0 { format!("{per_s:.1}") } else { thousands(per_s) }
}

fn answer(report: &EmulateReport, f: &mut Formatter<'_>) -> fmt::Result {
    let workload = &report.workload;
    let (what, floor) = (workload.accelerator.name(), 100.0 * workload.utilisation_floor);
    if let Some(search) = &report.search {
        match (search.most, search.limited_by) {
            (0, _) => writeln!(f, "not one {what} is kept at work for {floor:.0} % of the time")?,
            (most, Some(by)) => {
                writeln!(
                    f,
                    "at least {most} {what} are kept at work for {floor:.0} % of the time: no more were tried, {by} for {most}"
                )?;
            }
            (most, None) => writeln!(f, "{most} {what} are kept at work for {floor:.0} % of the time")?,
        }
    }
    let Some(trial) = report.result.as_ref().or_else(|| report.search.as_ref()?.trials.last()) else {
        return Ok(());
    };
    let (wait, percent) = (trial.wait, |share: f64| 100.0 * share);
    writeln!(
        f,
        "the accelerators waited {:.1} % of the time, for: storage {:.0} %, copying {:.0} %, a free slot {:.0} %, the rest {:.0} %\n",
        percent(wait.waited),
        percent(wait.storage),
        percent(wait.compute),
        percent(wait.slot),
        percent(wait.other)
    )
}
