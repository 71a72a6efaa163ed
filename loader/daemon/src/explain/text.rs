//! Findings as a page for people: the one thing to change first, then where the time went, then names.

use std::fmt::Write as _;

use super::advice::{size, time};
use super::{Findings, SlowObject, StepCost};

/// Columns of a line of prose.
const LINE: usize = 100;
/// Columns of a full bar.
const BAR: usize = 32;
/// Lines of each list of slow things.
const LINES: usize = 5;

/// All sessions, a page each.
pub fn page(findings: &[Findings]) -> String {
    if findings.is_empty() {
        return "no session is open: there is nothing to explain yet\n".to_owned();
    }
    findings.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// One session.
fn one(findings: &Findings) -> String {
    let mut out = String::new();
    title(&mut out, findings);
    let cause = findings.cause.map_or("nothing yet", super::Cause::name);
    out.push('\n');
    paragraph(&mut out, &format!("change first: {}", findings.advice));
    paragraph(&mut out, &format!("because ({cause}): {}", findings.detail));
    if findings.cause.is_none() {
        return out;
    }
    shares(&mut out, findings);
    steps(&mut out, &findings.slowest_steps);
    objects(&mut out, "slowest reads", &findings.slowest_reads);
    objects(&mut out, "slowest to decode and transform", &findings.slowest_decodes);
    out
}

/// Words in lines of a width that reads well, the further ones set in.
fn paragraph(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        if column == 0 {
            out.push_str("  ");
            column = 2;
        } else if column + 1 + word.chars().count() > LINE {
            out.push_str("\n      ");
            column = 6;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out.push('\n');
}

fn title(out: &mut String, findings: &Findings) {
    let consumer = &findings.consumer;
    let replica =
        if consumer.replica.is_empty() { String::new() } else { format!(" ({})", consumer.replica) };
    let _ = writeln!(
        out,
        "rank {} of {}{replica}, session {}, job {}, {}",
        consumer.rank,
        consumer.size.max(1),
        consumer.session,
        consumer.job_id,
        consumer.client
    );
}

fn shares(out: &mut String, findings: &Findings) {
    let _ = writeln!(
        out,
        "\n  where the time of the last {} steps went, {} in all; {} were announced since it was opened",
        findings.steps,
        time(findings.window_us as f64),
        findings.steps_seen
    );
    for (cause, us) in &findings.shares {
        let share = findings.share(*cause);
        if share < 0.005 {
            continue;
        }
        let _ = writeln!(
            out,
            "    {:<11}{:>4.0} %  {:>8}  {}",
            cause.name(),
            share * 100.0,
            time(*us as f64),
            bar(share)
        );
    }
}

/// A bar of eighths of a column.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn steps(out: &mut String, steps: &[StepCost]) {
    let waited: Vec<_> = steps.iter().filter(|step| step.wait_us > 0).take(LINES).collect();
    if waited.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n  steps that kept the trainer longest");
    for step in waited {
        let causes = step
            .shares
            .iter()
            .filter(|(cause, us)| *cause != super::Cause::Trainer && us * 20 >= step.wait_us);
        let causes: Vec<_> =
            causes.map(|(cause, us)| format!("{} {}", cause.name(), time(*us as f64))).collect();
        let _ = writeln!(
            out,
            "    {:>8}  epoch {} row {:<9} {}",
            time(step.wait_us as f64),
            step.epoch,
            step.position,
            causes.join(", ")
        );
    }
}

fn objects(out: &mut String, title: &str, objects: &[SlowObject]) {
    if objects.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n  {title}");
    for object in objects.iter().take(LINES) {
        let _ = writeln!(
            out,
            "    {:>8}  {:>7}  {}  (epoch {} row {})",
            time(object.us as f64),
            size(object.bytes as f64),
            object.key,
            object.epoch,
            object.position
        );
    }
}
