//! The findings as people read them: by topic, aligned, the worst named last, where the eye is.

use std::fmt::Write as _;

use super::finding::{Finding, Level};

const WIDTH: usize = 100;
const LABEL_WIDTH: usize = 16;
const INDENT: usize = 2 + 6 + LABEL_WIDTH + 1;

const TOPICS: [(&str, &str); 9] = [
    ("config", "configuration"),
    ("kernel", "kernel"),
    ("cpu", "processors"),
    ("memory", "memory"),
    ("limits", "limits"),
    ("numa", "numa nodes"),
    ("gpu", "gpus"),
    ("root", "roots"),
    ("daemon", "daemon"),
];

/// The findings as text, with colours or without.
pub fn text(findings: &[Finding], coloured: bool) -> String {
    let paint = Paint { coloured };
    let mut out = String::new();
    for (topic, title) in TOPICS {
        let of_topic: Vec<_> = findings.iter().filter(|finding| topic_of(finding) == topic).collect();
        if of_topic.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", paint.title(title));
        let mut subject = None;
        for finding in of_topic {
            if finding.subject.is_some() && finding.subject != subject {
                subject.clone_from(&finding.subject);
                let _ = writeln!(out, "  {}", subject.as_deref().unwrap_or_default());
            }
            one(&mut out, finding, &paint);
        }
        out.push('\n');
    }
    out + &summary(findings, &paint)
}

fn topic_of(finding: &Finding) -> &str {
    finding.id.split('.').next().unwrap_or_default()
}

fn one(out: &mut String, finding: &Finding, paint: &Paint) {
    let label = finding.id.split_once('.').map_or(finding.id, |(_, label)| label).replace('_', " ");
    let level = paint.level(finding.level, &format!("{:<4}", name(finding.level)));
    let _ = write!(out, "  {level}  {label:<LABEL_WIDTH$} {}", wrapped(&finding.found, "", ""));
    if finding.level == Level::Ok {
        let _ = writeln!(out, "{}", paint.aside(&beside(&finding.found, &finding.means)));
        return;
    }
    let _ = writeln!(out, "\n{:INDENT$}{}", "", wrapped(&finding.means, "", ""));
    if let Some(cure) = &finding.cure {
        let _ = writeln!(out, "{:INDENT$}{}", "", paint.cure(&wrapped(cure, "do: ", "    ")));
    }
}

/// What is well takes one line: its meaning stands beside it where there is room.
fn beside(found: &str, means: &str) -> String {
    let room = INDENT + found.chars().count() + means.chars().count() + 3 <= WIDTH;
    if room { format!(" ({means})") } else { String::new() }
}

/// Breaks at spaces, later lines below the first; commands are broken too, but only where a space is.
fn wrapped(text: &str, first: &str, later: &str) -> String {
    let mut out = first.to_owned();
    let mut column = INDENT + first.len();
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            let _ = write!(out, "\n{:INDENT$}{later}", "");
            column = INDENT + later.len();
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// `1 fail, 2 warn, 3 note, 20 ok`, and what is worst by name.
fn summary(findings: &[Finding], paint: &Paint) -> String {
    let levels = [Level::Fail, Level::Warn, Level::Note, Level::Ok];
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let counts: Vec<_> = levels
        .into_iter()
        .filter(|level| count(*level) > 0)
        .map(|level| paint.level(level, &format!("{} {}", count(level), name(level))))
        .collect();
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let verdict = match worst {
        Level::Ok | Level::Note => "forebay runs here".to_owned(),
        Level::Warn | Level::Fail => {
            let named: Vec<_> = findings.iter().filter(|finding| finding.level == worst).map(title).collect();
            format!("{} first: {}", if worst == Level::Fail { "mend" } else { "look at" }, named.join("; "))
        }
    };
    format!("{} | {verdict}\n", counts.join(", "))
}

fn title(finding: &Finding) -> String {
    match &finding.subject {
        Some(subject) => format!("{} of {subject}", finding.id),
        None => finding.id.to_owned(),
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warn => "warn",
        Level::Fail => "fail",
    }
}

struct Paint {
    coloured: bool,
}

impl Paint {
    fn in_colour(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn level(&self, level: Level, text: &str) -> String {
        let code = match level {
            Level::Ok => "32",
            Level::Note => "36",
            Level::Warn => "33;1",
            Level::Fail => "31;1",
        };
        self.in_colour(code, text)
    }

    fn title(&self, text: &str) -> String {
        self.in_colour("1", text)
    }

    fn cure(&self, text: &str) -> String {
        self.in_colour("36", text)
    }

    fn aside(&self, text: &str) -> String {
        self.in_colour("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("kernel.version", "6.1", "fine"),
            Finding::warn("root.file_system", "fuse.x", "slow").cure("mount it").of("/data"),
            Finding::fail("memory.memfd", "refused", "no session").cure("allow it"),
        ]
    }

    #[test]
    fn the_last_line_counts_the_worst_first_and_names_it() {
        let shown = text(&findings(), false);
        assert_eq!(shown.lines().last(), Some("1 fail, 1 warn, 1 ok | mend first: memory.memfd"));
        let warned = text(&findings()[..2], false);
        assert!(warned.ends_with("1 warn, 1 ok | look at first: root.file_system of /data\n"), "{warned}");
        assert!(text(&findings()[..1], false).ends_with("1 ok | forebay runs here\n"));
    }

    #[test]
    fn what_is_well_takes_one_line_and_what_is_not_says_what_to_do() {
        let shown = text(&findings(), false);
        assert!(shown.contains("  ok    version          6.1 (fine)\n"), "{shown}");
        assert!(
            shown.contains("  /data\n  warn  file system      fuse.x\n") && shown.contains("do: mount it\n"),
            "{shown}"
        );
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert!(text(&findings(), true).contains("\x1b[31;1mfail"));
        assert!(!text(&findings(), false).contains('\x1b'));
    }

    #[test]
    fn long_texts_break_at_spaces_and_every_topic_is_shown() {
        let long = "word ".repeat(60);
        let ids = ["config.file", "cpu.quota", "limits.threads", "numa.nodes", "gpu.driver", "daemon.user"];
        let findings: Vec<_> = ids.iter().map(|id| Finding::note(id, long.trim(), long.trim())).collect();
        let shown = text(&findings, false);
        assert!(shown.lines().all(|line| line.len() <= WIDTH), "{shown}");
        assert_eq!(shown.matches("note  ").count(), ids.len(), "{shown}");
    }
}
