//! A bench's report as one page: no network, no scripts, light and dark as the reader's system is.

mod marks;
mod stages;
mod storage;
mod tables;

use std::path::Path;

use super::report::Report;
use super::table::thousands;
use crate::error::{Fault, Kind};
use marks::escape;

const STYLE: &str = include_str!("style.css");

/// Writes the page.
///
/// # Errors
/// Unavailable: the file can't be written.
pub fn write(report: &Report, file: &Path) -> Result<(), Fault> {
    std::fs::write(file, page(report)).map_err(|error| {
        Fault::from_error(Kind::Unavailable, &error)
            .context(format!("write the report {}", file.display()))
            .hint("name a file in a folder that exists and may be written (--html FILE)")
    })
}

/// The whole page.
fn page(report: &Report) -> String {
    let title = title(report);
    let mut body = format!(
        "<header><p class=\"kicker\">forebay {} &middot; bench &middot; {}</p><h1>{title}</h1>{}</header>",
        report.forebay,
        escape(&report.began),
        lead(report),
    );
    let comparison = report.comparison.as_ref().map(tables::comparison);
    let storage = report.storage.as_ref().map(storage::section);
    let parts = [
        comparison,
        stages::narrow(report),
        stages::ceilings(report),
        stages::consumer(report),
        storage,
        Some(tables::circumstances(report)),
    ];
    parts.into_iter().flatten().for_each(|part| body.push_str(&part));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>forebay bench: {title}</title>\
         <style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
}

fn title(report: &Report) -> String {
    let storage = report.settings.storage.as_ref().map(|settings| settings.directory.as_str());
    match (&report.data, storage) {
        (Some(data), _) => escape(&data.path),
        (None, Some(directory)) => escape(directory.rsplit_once('/').map_or(directory, |(folder, _)| folder)),
        (None, None) => "nothing".to_owned(),
    }
}

/// What the run comes to, in large letters.
fn lead(report: &Report) -> String {
    let mut tiles = Vec::new();
    if let Some(whole) = report.stages.iter().find(|stage| stage.stage == "whole") {
        tiles.push((format!("{}/s", thousands(whole.forebay.per_second.median)), "samples at the consumer"));
        tiles.push((format!("{:.2}", whole.ratio.median), "of a bare decode loop"));
    }
    if let Some(verdict) = &report.verdict {
        tiles.push((verdict.binds.to_owned(), "binds"));
    } else if let [stage] = &report.stages[..] {
        tiles.push((format!("{}/s", thousands(stage.forebay.per_second.median)), stage.unit));
        tiles.push((format!("{:.2}", stage.ratio.median), "of the bare loop"));
    }
    if let Some(storage) = &report.storage {
        tiles.push((format!("{}/s", thousands(storage.best_reads())), "reads from storage, at best"));
        tiles.push((format!("{:.2} GB/s", storage.best_gb()), "from storage, at best"));
    }
    let tiles: String = tiles
        .iter()
        .map(|(figure, what)| format!("<div><b>{figure}</b><span>{what}</span></div>"))
        .collect::<Vec<_>>()
        .concat();
    let advice = report.verdict.as_ref().map_or_else(String::new, |verdict| {
        format!("<p class=\"advice\"><b>Change first:</b> {}</p>", escape(&verdict.advice))
    });
    format!("<div class=\"tiles\">{tiles}</div>{advice}")
}

#[cfg(test)]
mod tests {
    use super::super::options::Stage;
    use super::super::report::Data;
    use super::*;
    use crate::config::Config;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        bench: super::super::options::BenchArgs,
    }

    #[test]
    fn names_from_outside_are_text_and_nothing_is_fetched() {
        use clap::Parser as _;
        let args = Line::parse_from(["bench", "/data"]).bench;
        let mut report = Report::new(&args, &Config::default());
        report.data = Some(Data {
            path: "<script>x</script>".to_owned(),
            snapshot: String::new(),
            samples: 1,
            warmed: 0,
            substituted: 0,
        });
        report.settings.stage = Some(Stage::Read);
        let page = page(&report);
        assert!(page.contains("&lt;script&gt;x") && !page.contains("<script"), "{page}");
        for fetched in ["http:", "https:", "url(", "@import", "src=", "<link"] {
            assert!(!page.contains(fetched), "{fetched}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn a_page_that_cannot_be_written_names_its_file_and_the_cure() {
        use clap::Parser as _;
        let args = Line::parse_from(["bench", "/data"]).bench;
        let report = Report::new(&args, &Config::default());
        let fault = write(&report, Path::new("/nowhere/a.html")).expect_err("no such folder");
        assert!(fault.to_string().contains("/nowhere/a.html") && fault.hint.is_some());
    }
}
