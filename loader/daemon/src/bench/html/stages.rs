//! The stages as plots: where the path is narrow, each stage beside its ceiling, what the consumer saw.

use std::fmt::Write as _;

use super::marks::{Plot, Point, Strip, bar, ends, escape, legend, section, short};
use crate::bench::figures::Spread;
use crate::bench::report::{ConsumerReport, Report, StageReport};
use crate::bench::table::thousands;

/// The rates of all stages on one scale, and which one binds.
pub fn narrow(report: &Report) -> Option<String> {
    let verdict = report.verdict.as_ref()?;
    let rate = |stage: &StageReport| match stage.unit {
        "batches" => stage.forebay.per_second.median * f64::from(report.settings.batch),
        _ => stage.forebay.per_second.median,
    };
    let mut rows: Vec<_> = report.stages.iter().map(|stage| (stage.stage, rate(stage))).collect();
    if verdict.binds == "processors" {
        // Read and decode share them: neither alone is what binds.
        rows.insert(rows.len() - 1, ("processors", verdict.ceiling_per_s));
    }
    let least = rows.iter().map(|row| row.1).fold(f64::INFINITY, f64::min).max(1.0);
    let greatest = rows.iter().map(|row| row.1).fold(1.0, f64::max);
    let from = 10_f64.powf(least.log10().floor() - 1.0);
    let share = |rate: f64| (rate.max(from) / from).log10() / (greatest / from).log10();
    let rows: String = rows
        .iter()
        .map(|(name, rate)| {
            let class = match *name {
                "whole" => "ours",
                name if name == verdict.binds => "binds",
                _ => "bare",
            };
            let tag = if *name == verdict.binds { " <em>binds</em>" } else { "" };
            let bar = bar(class, 0.78 * share(*rate), &format!("{}/s", thousands(*rate)));
            format!("<div class=\"row\"><span>{name}{tag}</span>{bar}</div>")
        })
        .collect::<Vec<_>>()
        .concat();
    let says = format!(
        "Samples a second of each stage alone, and of the whole path (a logarithmic scale). {} lets at most {} samples/s \
         through; the whole path reaches {:.0} % of that.",
        capital(verdict.binds),
        thousands(verdict.ceiling_per_s),
        100.0 * verdict.reached
    );
    Some(section("What binds", &says, &format!("<div class=\"rows\">{rows}</div>")))
}

/// Each stage beside its bare loop, and the rounds.
pub fn ceilings(report: &Report) -> Option<String> {
    if report.stages.is_empty() {
        return None;
    }
    let stages: String = report.stages.iter().map(beside).collect();
    let values = report.stages.iter().flat_map(ratios);
    let ends = ends(values.map(|ratio| ratio.min(3.0)));
    let strips: String = report
        .stages
        .iter()
        .map(|stage| {
            let Spread { median, low, high } = stage.ratio;
            Strip {
                name: stage.stage,
                dots: &ratios(stage),
                range: Some((low, high)),
                figure: &format!("{median:.2} ({low:.2} to {high:.2})"),
                class: "ours",
                ends,
            }
            .html()
        })
        .collect::<Vec<_>>()
        .concat();
    let says =
        "Each stage of forebay, and bare threads that do the same to the same rows without it, in turns.";
    let body = format!(
        "{}<div class=\"stages\">{stages}</div><h3>forebay over bare, every round</h3><div>{strips}</div>\
         <p class=\"note\">The line is 1: as fast as the bare loop. A dot is a round.</p>",
        legend(&[("ours", "forebay"), ("bare", "bare loop: the ceiling")])
    );
    Some(section("Each stage beside its ceiling", says, &body))
}

fn ratios(stage: &StageReport) -> Vec<f64> {
    stage.rounds.iter().map(|round| round.forebay_per_second / round.bare_per_second.max(1e-9)).collect()
}

fn beside(stage: &StageReport) -> String {
    let (ours, bare) = (stage.forebay.per_second, stage.bare.per_second);
    let greatest = ours.median.max(bare.median).max(1e-9);
    let figure = |spread: Spread| match stage.unit {
        "batches" => format!("{:.1} us a batch", 1e6 / spread.median.max(1e-9)),
        _ => format!("{}/s", thousands(spread.median)),
    };
    format!(
        "<div class=\"stage\"><h3>{}</h3>{}{}<p class=\"note\">{}; bare: {}. CPU s / 1000: {:.3}, bare {:.3}</p></div>",
        stage.stage,
        bar("ours", 0.7 * ours.median / greatest, &figure(ours)),
        bar("bare", 0.7 * bare.median / greatest, &figure(bare)),
        escape(stage.measures),
        escape(stage.beside),
        stage.forebay.cpu_s_per_1000.median,
        stage.bare.cpu_s_per_1000.median
    )
}

/// Times between batches, and what was waited for.
pub fn consumer(report: &Report) -> Option<String> {
    let consumer = report.consumer.as_ref()?;
    let who = match consumer.consumers {
        1 => "The consumer takes each batch as soon as it is there.".to_owned(),
        count => format!(
            "{count} consumers take each batch as soon as it is there: the slowest {} samples/s, the fastest {}.",
            thousands(consumer.slowest_per_second.median),
            thousands(consumer.fastest_per_second.median)
        ),
    };
    let body = format!("<div class=\"pair\">{}{}</div>", times(consumer), waits(consumer));
    Some(section("What the consumer saw", &who, &body))
}

fn times(consumer: &ConsumerReport) -> String {
    let times = &consumer.batch_time;
    let ms = |us: f64| us / 1000.0;
    let points = times.twentieths_us.iter().enumerate().map(|(twentieth, us)| Point {
        along: twentieth as f64 / 20.0,
        value: ms(*us),
        spread: None,
    });
    let along: Vec<_> =
        [0, 25, 50, 75, 100].map(|share| (f64::from(share) / 100.0, format!("{share} %"))).into();
    let mark = |share: f64, us: f64| (share, format!("p{:.0}: {:.1} ms", 100.0 * share, ms(us)));
    let plot = Plot {
        label: "times between batches, from the shortest to the longest",
        along: &along,
        along_name: "of the batches came within",
        curves: &[("ours", points.collect())],
        value: &|value| match value {
            value if value >= 1000.0 => format!("{} s", short(value / 1000.0)),
            value => format!("{} ms", short(value)),
        },
        marks: &[mark(0.5, times.p50_us)],
    };
    let figures = format!(
        "<p class=\"note\">p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms</p>",
        ms(times.p50_us),
        ms(times.p90_us),
        ms(times.p99_us)
    );
    format!("<div><h3>between one batch and the next</h3>{}{figures}</div>", plot.svg())
}

fn waits(consumer: &ConsumerReport) -> String {
    let wait = consumer.wait;
    let causes = [
        ("w1", "decoding", wait.compute),
        ("w2", "storage", wait.storage),
        ("w3", "a free slot", wait.slot),
        ("w4", "the rest", wait.other),
    ];
    let mut parts = String::new();
    let mut rows = String::new();
    for (class, name, share) in causes {
        let _ =
            write!(parts, "<i class=\"{class}\" style=\"width:{:.1}%\"></i>", 100.0 * share * wait.waited);
        let _ =
            write!(rows, "<tr><td><i class=\"{class}\"></i>{name}</td><td>{:.0} %</td></tr>", 100.0 * share);
    }
    format!(
        "<div><h3>waiting: {:.0} % of the time</h3><div class=\"stack\">{parts}</div>\
         <table class=\"causes\"><tr><th>for</th><th>of the wait</th></tr>{rows}</table>\
         <p class=\"note\">A consumer that does nothing else always waits for what binds; a training step \
         hides as much of this as it takes.</p></div>",
        100.0 * wait.waited
    )
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
