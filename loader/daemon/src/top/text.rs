//! Figures as words: the cells of a session, the lines about the daemon, and both as one plain table.

use super::rates::{NodeRates, SessionRates};

/// The columns' names; those of [`super::state::COLUMNS`] stand first in their order.
pub const TITLES: [&str; 15] = [
    "SESSION", "JOB", "RANK", "EPOCH", "ROWS/S", "MB/S", "WAIT", "READY", "HELD", "STORAGE", "COMPUTE",
    "SLOT", "BAD", "SHARE", "CLIENT",
];

/// Columns whose text stands on the left; the others are numbers.
pub const ON_THE_LEFT: [usize; 3] = [1, 3, 14];

const BAR_CELLS: usize = 8;

/// One session, a text a column.
pub fn cells(session: &SessionRates) -> [String; 15] {
    [
        session.session.to_string(),
        shortened(&session.job),
        format!("{}/{}", session.rank, session.world_size),
        format!("{:>3} {} {:3.0}%", session.epoch, bar(session.progress), session.progress * 100.0),
        number(session.rows_per_s),
        number(session.batch_bytes_per_s / 1e6),
        percent(session.wait_share),
        percent(session.idle_share),
        format!("{}/{}", session.slots_leased, session.slots),
        percent(session.wait_storage_share),
        percent(session.wait_compute_share),
        percent(session.wait_slot_share),
        session.bad_samples.to_string(),
        share(session.weight, session.priority),
        session.client.clone(),
    ]
}

/// `3`: its weight; `3 at +5`: with a priority.
fn share(weight: u32, priority: i32) -> String {
    if priority == 0 { weight.to_string() } else { format!("{weight} at {priority:+}") }
}

/// The daemon and its processors.
pub fn about_node(node: &NodeRates, socket: &str) -> String {
    format!("{}  pid {}  up {}  {socket}", node.daemon, node.pid, time(node.uptime_s))
}

/// What it uses.
pub fn about_use(node: &NodeRates) -> String {
    format!(
        "CPU {:.2} cores   memory {}   {} decode threads {} busy   engine {} x {}   arena {} of {}",
        node.cores,
        bytes(node.rss_bytes as f64),
        node.decode_threads,
        percent(node.busy_share),
        node.engine,
        node.read_threads,
        bytes(node.arena_bytes as f64),
        bytes(node.arena_budget_bytes as f64),
    )
}

/// What it delivers.
pub fn about_flow(node: &NodeRates) -> String {
    let plural = if node.sessions.len() == 1 { "" } else { "s" };
    format!(
        "{} session{plural}   {} rows/s   {}/s of batches   {}/s read",
        node.sessions.len(),
        number(node.rows_per_s),
        bytes(node.batch_bytes_per_s),
        bytes(node.read_bytes_per_s)
    )
}

/// Everything, for where there is no terminal.
pub fn page(node: &NodeRates, socket: &str) -> String {
    let draining = if node.draining { "draining: no more sessions are taken\n" } else { "" };
    let head = format!("{}\n{}\n{}\n{draining}", about_node(node, socket), about_use(node), about_flow(node));
    if node.sessions.is_empty() {
        return head;
    }
    let rows: Vec<_> = node.sessions.iter().map(cells).collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        longest.max(TITLES[column].len())
    };
    let line = |row: &[String; 15]| {
        let cell = |(column, text): (usize, &String)| {
            let width = width(column);
            if ON_THE_LEFT.contains(&column) { format!("{text:<width$}") } else { format!("{text:>width$}") }
        };
        row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let table: String = std::iter::once(&TITLES.map(str::to_owned)).chain(&rows).map(line).collect();
    format!("{head}\n{table}")
}

/// Jobs that nobody named are named by digests, of which the first digits tell them apart.
fn shortened(job: &str) -> String {
    const KEPT: usize = 20;
    if job.chars().count() <= KEPT {
        job.to_owned()
    } else {
        job.chars().take(KEPT - 1).collect::<String>() + "…"
    }
}

fn bar(share: f64) -> String {
    let full = (share * BAR_CELLS as f64).floor() as usize;
    "█".repeat(full.min(BAR_CELLS)) + &"░".repeat(BAR_CELLS.saturating_sub(full))
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn number(value: f64) -> String {
    if 0.0 < value && value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn bytes(count: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let (unit, name) = units.into_iter().find(|(unit, _)| count >= *unit).unwrap_or((1.0, "B"));
    let value = count / unit;
    if value < 9.95 && unit > 1.0 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") }
}

fn time(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s:02} s"),
        (0, h, m, _) => format!("{h} h {m:02} min"),
        (d, h, _, _) => format!("{d} d {h:02} h"),
    }
}

#[cfg(test)]
mod tests {
    use forebay_proto::v1;

    use super::super::rates::{rates, tests::reply};
    use super::*;

    #[test]
    fn a_page_has_the_daemon_and_a_line_a_session_under_its_titles() {
        let page = page(&rates(Some(&reply(10)), &reply(14)), "/run/f.sock");
        let lines: Vec<_> = page.lines().collect();
        assert_eq!(lines.len(), 6, "{page}");
        assert_eq!(lines[0], "forebay/0.1.0  pid 7  up 14 s  /run/f.sock");
        assert!(lines[1].contains("CPU 1.50 cores") && lines[1].contains("50% busy"), "{page}");
        assert!(lines[2].contains("100 rows/s"), "{page}");
        let at = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
        assert_eq!(at(lines[4], "STORAGE"), at(&lines[5].replace(['█', '░'], "x"), "50%"), "{page}");
        assert!(lines[5].contains("25%") && lines[5].ends_with("forebay-py/0.1.0"), "{page}");
    }

    #[test]
    fn sizes_times_and_names_fit_their_columns() {
        assert_eq!(
            [0.0, 999.0, 1500.0, 42e6, 2.5e9].map(bytes),
            ["0 B", "999 B", "1.5 kB", "42 MB", "2.5 GB"]
        );
        assert_eq!([5.0, 65.0, 3700.0, 90_000.0].map(time), ["5 s", "1 min 05 s", "1 h 01 min", "1 d 01 h"]);
        assert_eq!(shortened(&"j".repeat(64)).chars().count(), 20);
        assert_eq!((bar(0.0), bar(1.0)), ("░".repeat(8), "█".repeat(8)));
    }

    #[test]
    fn a_daemon_without_sessions_has_no_table() {
        let idle = v1::StatsReply { sessions: Vec::new(), ..reply(4) };
        let page = page(&rates(None, &idle), "s");
        assert!(
            page.contains("0 sessions   0 rows/s   0 B/s of batches") && !page.contains("RANK"),
            "{page}"
        );
    }
}
