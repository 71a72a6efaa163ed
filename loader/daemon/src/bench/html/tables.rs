//! The comparison with an earlier run, and the circumstances: machine, settings, the command.

use super::marks::{Strip, ends, escape, section};
use crate::bench::compare::{Comparison, Line};
use crate::bench::report::{Report, Settings};
use crate::bench::table::thousands;

/// Rates beside an earlier run's.
pub fn comparison(comparison: &Comparison) -> String {
    let bounds = |line: &Line| [line.rate.low, Some(line.rate.value), line.rate.high];
    let values = comparison.lines.iter().flat_map(bounds).flatten();
    // An interval of two rounds can be as wide as the page; the numbers beside it tell where it ends.
    let ends = ends(values.map(|value| value.clamp(0.0, 3.0)));
    let strips: String = comparison
        .lines
        .iter()
        .map(|line| {
            let strip = Strip {
                name: &line.what,
                dots: &[line.rate.value],
                range: line.rate.low.zip(line.rate.high),
                figure: &line.rate.to_string(),
                class: class(line),
                ends,
            };
            format!(
                "{}<p class=\"note under\">{} &rarr; {} {}/s; {}{}</p>",
                strip.html(),
                thousands(line.before),
                thousands(line.now),
                escape(&line.unit),
                if line.failed { "<b class=\"bad\">failed:</b> " } else { "" },
                escape(line.verdict)
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let differs: String = comparison
        .differs
        .iter()
        .map(|differs| format!("<p class=\"advice\"><b>Not the same:</b> {}</p>", escape(differs)))
        .collect::<Vec<_>>()
        .concat();
    let says = format!(
        "Rates over those of {} (forebay {}, {}), with 95 % intervals from the rounds. The line is 1: no change.",
        escape(&comparison.file),
        escape(&comparison.forebay),
        escape(&comparison.began)
    );
    section("Beside an earlier run", &says, &format!("{differs}<div>{strips}</div>"))
}

fn class(line: &Line) -> &'static str {
    match line.rate.outside_noise() {
        Some(true) if line.rate.value < 1.0 => "worse",
        Some(true) => "better",
        _ => "bare",
    }
}

/// What the figures depend on.
pub fn circumstances(report: &Report) -> String {
    let settings = &report.settings;
    let mut rows = vec![("machine", report.machine.words())];
    if let Some(data) = &report.data {
        rows.push(("data", format!("{}: {} samples, {}", data.path, data.samples, report.page_cache())));
        let transform = format!("{:?}, {:?}", settings.transform, settings.dtype).to_lowercase();
        rows.push(("batches", format!("{} rows, {transform}", settings.batch)));
        let Settings { threads, read_threads, engine, .. } = settings;
        let threads = format!("{threads} decoding, {read_threads} reading, engine {}", engine.word());
        rows.push(("threads", threads));
        rows.push(("consumers", settings.consumers.to_string()));
        rows.push((
            "peak memory",
            format!("{:.0} MiB", report.peak_memory_bytes as f64 / f64::from(1 << 20)),
        ));
        if data.substituted > 0 {
            rows.push(("corrupt", format!("{} samples were substituted", data.substituted)));
        }
    }
    if let Some(storage) = &settings.storage {
        rows.push(("test files", format!("{} MiB in {}", storage.test_bytes >> 20, storage.directory)));
    }
    rows.push(("rounds", format!("{}, the sides in turns", settings.rounds)));
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>", escape(value)))
        .collect::<Vec<_>>()
        .concat();
    let body = format!(
        "<div class=\"wide\"><table class=\"facts\">{rows}</table></div><h3>the same again</h3><pre>{}</pre>",
        escape(&report.command)
    );
    section("Circumstances", "Figures without their machine are none.", &body)
}
