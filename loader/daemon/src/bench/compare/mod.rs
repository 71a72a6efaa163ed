//! Two runs side by side: whether a rate differs by more than the rounds do among themselves.

mod interval;

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figures::spread;
use super::options::OutputArgs;
use super::report::{Report, SCHEMA};
use super::storage::size;
use super::table::thousands;
use crate::error::{Fault, Kind};
pub use interval::Ratio;
use interval::ratio;

/// Settings that make a run longer or shorter and no figure another: their difference hinders no comparison.
const OF_LENGTH: [&str; 5] =
    ["settings.stage", "settings.rounds", "settings.seconds", "settings.rows", "settings.warmup"];
/// As above, of the storage: only what both measured is compared.
const OF_GRID: [&str; 2] = ["settings.storage.sizes", "settings.storage.depths"];
/// Of the data, what says where it lies and what happened to it, not what it is.
const OF_PLACE: [&str; 4] = ["data.path", "data.warmed", "data.substituted", "settings.storage.directory"];

/// A run as an earlier `--json` has it.
pub struct Earlier {
    file: String,
    whole: Value,
    run: Run,
}

/// What is compared of a run.
#[derive(Deserialize)]
struct Run {
    forebay: String,
    began: String,
    stages: Vec<RunStage>,
    storage: Option<Storage>,
}

#[derive(Deserialize)]
struct RunStage {
    stage: String,
    unit: String,
    rounds: Vec<Round>,
}

#[derive(Deserialize)]
struct Round {
    forebay_per_second: f64,
    bare_per_second: f64,
}

#[derive(Deserialize)]
struct Storage {
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    layout: super::storage::report::Layout,
    size_bytes: u64,
    depth: u32,
    rounds: Vec<Round>,
}

/// The runs side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The earlier run's file.
    pub file: String,
    /// Its version of forebay.
    pub forebay: String,
    /// When it began.
    pub began: String,
    /// What differs besides, where that was waived by `--force`.
    pub differs: Vec<String>,
    /// What both measured.
    pub lines: Vec<Line>,
    /// Below which share of the earlier rate a line fails.
    pub fail_below: Option<f64>,
    /// Whether one does.
    pub failed: bool,
}

/// One stage, or one combination of the storage's.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its name.
    pub what: String,
    /// `samples`, `batches` or `reads`.
    pub unit: String,
    /// A second, median of the rounds.
    pub before: f64,
    /// As above.
    pub now: f64,
    /// The rate over the earlier one.
    pub rate: Ratio,
    /// The same of the rates over their bare loops: a slower machine cancels out.
    pub beside_bare: Ratio,
    /// In words.
    pub verdict: &'static str,
    /// Below what was asked for, outside of noise, and not with the bare loop.
    pub failed: bool,
}

impl Earlier {
    /// Reads an earlier run.
    ///
    /// # Errors
    /// NotFound: the file can't be read. Invalid: it is no run of this schema.
    pub fn read(file: &Path) -> Result<Self, Fault> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            Fault::from_error(Kind::NotFound, &error)
                .context(format!("read {name}"))
                .hint("give the file that an earlier `forebay bench --json` was written to")
        })?;
        Self::parse(name, &text)
    }

    fn parse(file: String, text: &str) -> Result<Self, Fault> {
        let no_run = |why: String| {
            Fault::invalid(format!("{file} is no run of forebay bench: {why}"))
                .hint("make one with this version: forebay bench PATH --json > FILE")
        };
        let whole: Value = serde_json::from_str(text).map_err(|error| no_run(error.to_string()))?;
        match whole["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(schema) => return Err(no_run(format!("its schema is {schema:?}, this is {SCHEMA:?}"))),
            None => return Err(no_run("it has no schema".to_owned())),
        }
        let run = Run::deserialize(&whole).map_err(|error| no_run(error.to_string()))?;
        Ok(Self { file, whole, run })
    }

    /// Refuses what can't be compared, before anything is measured; `now` has its settings and data.
    ///
    /// # Errors
    /// Invalid, naming all that differs, unless `force`.
    pub fn check(&self, now: &Report, force: bool) -> Result<(), Fault> {
        let differs = self.differs(now);
        if differs.is_empty() || force {
            return Ok(());
        }
        Err(Fault::invalid(format!("{} is a run of something else: {}", self.file, differs.join("; "))).hint(
            "run with the same data and settings on the same machine, or compare all the same: --force",
        ))
    }

    /// What differs, each as "settings.batch was 256, is 128".
    fn differs(&self, now: &Report) -> Vec<String> {
        let now = serde_json::to_value(now).expect("a report has a JSON form");
        let mut found = Vec::new();
        for part in ["machine", "settings", "data"] {
            differences(part, &self.whole[part], &now[part], &mut found);
        }
        found
    }

    /// Puts what both measured side by side.
    ///
    /// # Errors
    /// Invalid: they measured nothing in common.
    pub fn compare(&self, now: &Report, options: &OutputArgs) -> Result<Comparison, Fault> {
        let value = serde_json::to_value(now).expect("a report has a JSON form");
        let run = Run::deserialize(&value).expect("a report is a run");
        let lines = lines(&self.run, &run, options.fail_below);
        if lines.is_empty() {
            return Err(Fault::invalid(format!("{} and this run measured nothing in common", self.file))
                .hint("run with the same --stage or --storage"));
        }
        Ok(Comparison {
            file: self.file.clone(),
            forebay: self.run.forebay.clone(),
            began: self.run.began.clone(),
            differs: self.differs(now),
            failed: lines.iter().any(|line| line.failed),
            lines,
            fail_below: options.fail_below,
        })
    }
}

/// Adds what differs between two values of one name; a part that one of them lacks was not measured there.
fn differences(name: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    if [&OF_LENGTH[..], &OF_GRID, &OF_PLACE].concat().contains(&name) {
        return;
    }
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (key, value) in now {
                let earlier = before.get(key).unwrap_or(&Value::Null);
                differences(&format!("{name}.{key}"), earlier, value, found);
            }
        }
        (Value::Object(_), Value::Null) | (Value::Null, Value::Object(_)) => {}
        (before, now) if before == now => {}
        (before, now) => found.push(format!("{name} was {before}, is {now}")),
    }
}

fn lines(before: &Run, now: &Run, fail_below: Option<f64>) -> Vec<Line> {
    let mut lines = Vec::new();
    for stage in &now.stages {
        if let Some(earlier) = before.stages.iter().find(|earlier| earlier.stage == stage.stage) {
            lines.push(line(stage.stage.clone(), &stage.unit, &earlier.rounds, &stage.rounds, fail_below));
        }
    }
    let cells = |run: &'_ Run| run.storage.as_ref().map_or(0, |storage| storage.cells.len());
    if cells(before) == 0 || cells(now) == 0 {
        return lines;
    }
    let key = |cell: &Cell| (cell.layout, cell.size_bytes, cell.depth);
    for cell in now.storage.iter().flat_map(|storage| &storage.cells) {
        let mut earlier = before.storage.iter().flat_map(|storage| &storage.cells);
        if let Some(earlier) = earlier.find(|earlier| key(earlier) == key(cell)) {
            let what = format!("{} {} x {}", cell.layout.short(), size(cell.size_bytes), cell.depth);
            lines.push(line(what, "reads", &earlier.rounds, &cell.rounds, fail_below));
        }
    }
    lines
}

fn line(what: String, unit: &str, before: &[Round], now: &[Round], fail_below: Option<f64>) -> Line {
    let rates = |rounds: &[Round]| rounds.iter().map(|round| round.forebay_per_second).collect::<Vec<_>>();
    let shares = |rounds: &[Round]| {
        rounds.iter().map(|round| round.forebay_per_second / round.bare_per_second).collect::<Vec<_>>()
    };
    let rate = ratio(&rates(before), &rates(now));
    let beside_bare = ratio(&shares(before), &shares(now));
    let slower = |ratio: &Ratio| ratio.value < 1.0 && ratio.outside_noise() != Some(false);
    // A check that fails when the machine is busy is soon switched off.
    let failed = fail_below.is_some_and(|least| rate.value < least && slower(&rate) && slower(&beside_bare));
    Line {
        what,
        unit: unit.to_owned(),
        before: spread(rates(before)).median,
        now: spread(rates(now)).median,
        verdict: verdict(&rate, &beside_bare),
        rate,
        beside_bare,
        failed,
    }
}

fn verdict(rate: &Ratio, beside_bare: &Ratio) -> &'static str {
    let slower = rate.value < 1.0;
    let with_bare = beside_bare.outside_noise() == Some(true) && (beside_bare.value < 1.0) == slower;
    match (rate.outside_noise(), slower) {
        (None, _) => "one round tells nothing of noise",
        (Some(false), _) => "no difference outside of noise",
        (Some(true), true) if with_bare => "slower",
        (Some(true), false) if with_bare => "faster",
        (Some(true), true) => "slower, and so is the bare loop",
        (Some(true), false) => "faster, and so is the bare loop",
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "beside {} (forebay {}, {})", self.file, self.forebay, self.began)?;
        for differs in &self.differs {
            writeln!(f, "not the same: {differs}")?;
        }
        writeln!(
            f,
            "{:<24}{:>12}{:>12}   {:<22}{:<22}",
            "", "before", "now", "now / before, 95 %", "the same beside bare"
        )?;
        for line in &self.lines {
            let mark = if line.failed { "FAILED: " } else { "" };
            writeln!(
                f,
                "{:<24}{:>12}{:>12}   {:<22}{:<22}{mark}{}",
                line.what,
                format!("{}/s", thousands(line.before)),
                format!("{}/s", thousands(line.now)),
                line.rate.to_string(),
                line.beside_bare.to_string(),
                line.verdict
            )?;
        }
        writeln!(f, "rounds of one run share its luck: let a difference that matters be seen in a second run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(rates: &[(f64, f64)]) -> Vec<Round> {
        let round = |&(forebay_per_second, bare_per_second): &(f64, f64)| Round {
            forebay_per_second,
            bare_per_second,
        };
        rates.iter().map(round).collect()
    }

    fn compared(before: &[(f64, f64)], now: &[(f64, f64)], least: Option<f64>) -> (&'static str, bool) {
        let line = line("read".to_owned(), "samples", &rounds(before), &rounds(now), least);
        (line.verdict, line.failed)
    }

    const BEFORE: [(f64, f64); 3] = [(100.0, 200.0), (101.0, 200.0), (99.0, 200.0)];

    #[test]
    fn a_difference_counts_where_it_is_greater_than_that_of_the_rounds() {
        let noisy = [(60.0, 200.0), (140.0, 200.0), (95.0, 200.0)];
        assert_eq!(compared(&BEFORE, &noisy, Some(0.99)), ("no difference outside of noise", false));
        let slower = [(80.0, 200.0), (81.0, 200.0), (79.0, 200.0)];
        assert_eq!(compared(&BEFORE, &slower, Some(0.95)), ("slower", true));
        assert_eq!(compared(&BEFORE, &slower, Some(0.7)), ("slower", false));
        assert_eq!(compared(&BEFORE, &slower, None), ("slower", false));
        assert_eq!(compared(&slower, &BEFORE, Some(0.95)), ("faster", false));
    }

    #[test]
    fn a_machine_that_became_slower_is_told_from_a_loader_that_did() {
        let both = [(80.0, 160.0), (81.0, 160.0), (79.0, 160.0)];
        assert_eq!(compared(&BEFORE, &both, Some(0.95)), ("slower, and so is the bare loop", false));
        assert_eq!(compared(&both, &BEFORE, None).0, "faster, and so is the bare loop");
    }

    #[test]
    fn one_round_has_no_noise_and_fails_by_its_ratio_alone() {
        assert_eq!(
            compared(&BEFORE[..1], &[(80.0, 200.0)], Some(0.95)),
            ("one round tells nothing of noise", true)
        );
    }

    #[test]
    fn differences_are_named_where_they_matter() {
        let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let mut found = Vec::new();
        let before =
            value(r#"{"batch": 256, "rounds": 3, "seed": 0, "storage": {"direct": false, "sizes": [1]}}"#);
        let now =
            value(r#"{"batch": 128, "rounds": 9, "seed": 0, "storage": {"direct": true, "sizes": [2]}}"#);
        differences("settings", &before, &now, &mut found);
        assert_eq!(found, ["settings.batch was 256, is 128", "settings.storage.direct was false, is true"]);
        found.clear();
        differences("data", &value("null"), &value(r#"{"samples": 3}"#), &mut found);
        assert!(found.is_empty(), "storage alone was measured: {found:?}");
    }

    #[test]
    fn a_file_that_is_no_run_says_why() {
        let why = |text: &str| Earlier::parse("old.json".to_owned(), text).err().expect("no run").message;
        assert!(why("{").contains("old.json is no run of forebay bench"));
        assert!(why("{}").contains("no schema"));
        assert!(why(r#"{"schema": "forebay bench 0"}"#).contains("bench 0\", this is \"forebay bench 2"));
        assert!(why(r#"{"schema": "forebay bench 2"}"#).contains("missing field"));
        assert!(Earlier::read(Path::new("/nowhere/old.json")).err().expect("missing").hint.is_some());
    }
}
