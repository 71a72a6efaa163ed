//! The storage as plots: rates over depths, one plot a size, and the table of all figures.

use super::marks::{Plot, Point, escape, legend, short};
use crate::bench::figures::Spread;
use crate::bench::storage::report::{CellReport, EngineLine, Layout, Side, StorageReport};
use crate::bench::storage::{size, time};
use crate::bench::table::thousands;
use crate::config::EngineName;

/// One layout: a plot a size.
fn layout_plots(storage: &StorageReport, layout: Layout, title: &str) -> String {
    let mut sizes: Vec<u64> = Vec::new();
    for cell in storage.cells.iter().filter(|cell| cell.layout == layout) {
        if !sizes.contains(&cell.size_bytes) {
            sizes.push(cell.size_bytes);
        }
    }
    let plots: String = sizes.iter().map(|size_bytes| plot(storage, layout, *size_bytes)).collect();
    format!("<h3>{title}</h3><div class=\"plots\">{plots}</div>")
}

/// Everything about the storage.
pub fn section(storage: &StorageReport) -> String {
    let mut entries = vec![("ours", ours(storage.engine))];
    if storage.cells.iter().any(|cell| cell.uring.is_some()) {
        entries.push(("uring", ours(EngineName::Uring)));
    }
    entries.push(("bare", "bare threads"));
    if let (None, Some(version)) = (&storage.fio.missing, &storage.fio.version) {
        entries.push(("fio", version));
    }
    let missing =
        storage.fio.missing.as_ref().map_or_else(String::new, |why| {
            format!("<p class=\"note\">No figures of fio: {}</p>", escape(why))
        });
    let advice = match storage.advice.as_str() {
        "" => String::new(),
        advice => format!("<p class=\"advice\"><b>Set:</b> {}</p>", escape(advice)),
    };
    let body = format!(
        "{advice}{}{missing}{}{}{}",
        legend(&entries),
        layout_plots(storage, Layout::SmallFiles, "small files: open, read whole, close; reads a second"),
        layout_plots(storage, Layout::LargeFile, "random pieces of one large file; reads a second"),
        table(storage)
    );
    let says = format!("{}: {}.", escape(storage.kind()), escape(&storage.cache_words()));
    super::marks::section("Storage", &says, &body)
}

fn ours(engine: EngineName) -> &'static str {
    match engine {
        EngineName::Auto => "forebay (engine auto)",
        EngineName::Threads => "forebay (engine threads)",
        EngineName::Uring => "forebay (engine uring)",
    }
}

fn plot(storage: &StorageReport, layout: Layout, size_bytes: u64) -> String {
    let mut cells: Vec<_> =
        storage.cells.iter().filter(|cell| cell.layout == layout && cell.size_bytes == size_bytes).collect();
    cells.sort_by_key(|cell| cell.depth);
    let step = 1.0 / (cells.len().max(2) - 1) as f64;
    let along: Vec<_> = cells
        .iter()
        .enumerate()
        .map(|(number, cell)| (number as f64 * step, cell.depth.to_string()))
        .collect();
    let curve = |side: &dyn Fn(&CellReport) -> Option<Side>| -> Vec<Point> {
        let points = cells.iter().enumerate().filter_map(|(number, cell)| {
            let Spread { median, low, high } = side(cell)?.per_second;
            Some(Point { along: number as f64 * step, value: median, spread: Some((low, high)) })
        });
        points.collect()
    };
    let curves = [
        ("bare", curve(&|cell| Some(cell.bare))),
        ("fio", curve(&|cell| cell.fio.map(|fio| fio.0))),
        ("uring", curve(&|cell| cell.uring)),
        ("ours", curve(&|cell| Some(cell.forebay))),
    ];
    let title = size(size_bytes);
    let label = format!("reads a second of {title} over the number of reads at a time");
    let plot = Plot {
        label: &label,
        along: &along,
        along_name: "reads at a time",
        curves: &curves,
        value: &short,
        marks: &[],
    };
    format!("<figure><figcaption>{title}</figcaption>{}</figure>", plot.svg())
}

fn table(storage: &StorageReport) -> String {
    let lines =
        storage.cells.iter().flat_map(|cell| cell.engines(storage.engine).map(move |line| (cell, line)));
    let rows: String = lines.map(|(cell, line)| row(cell, &line)).collect();
    format!(
        "<details open><summary>All figures</summary><div class=\"wide\"><table><tr><th>read</th><th>depth</th>\
         <th>engine</th><th>rate</th><th>GB/s</th><th>p50</th><th>p99</th><th>bare</th><th>fio</th><th>/ fio</th>\
         <th>/ bare</th></tr>{rows}</table></div><p class=\"note\">Times are from a read's being asked for until its bytes \
         are there, open included.</p></details>"
    )
}

fn row(cell: &CellReport, line: &EngineLine) -> String {
    let rate = |side: &Side| format!("{}/s", thousands(side.per_second.median));
    let dash = || "&ndash;".to_owned();
    let ratio = |spread: Spread| format!("{:.2} ({:.2} to {:.2})", spread.median, spread.low, spread.high);
    format!(
        "<tr><td>{} {}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{:.2}</td></tr>",
        size(cell.size_bytes),
        cell.layout.short(),
        cell.depth,
        line.engine.word(),
        rate(&line.side),
        line.side.gb_per_s,
        time(line.side.p50_us),
        time(line.side.p99_us),
        rate(&cell.bare),
        cell.fio.map_or_else(dash, |fio| rate(&fio.0)),
        line.to_fio.map_or_else(dash, ratio),
        line.to_bare.median
    )
}
