//! `forebay state`: what a loader's saved state says, whether a job goes on from it, and the same elsewhere.

pub mod options;
pub mod read;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use forebay_plan::{Cursor, Differences, State};
use serde_json::json;

use crate::error::{Fault, Kind};
use options::{DiffArgs, FindArgs, SeekArgs, ShowArgs, StateArgs, StateVerb};

/// How `forebay state diff` exits where the job goes on only with a waiver; 1 is any error's and 2 a wrong command's.
const WITH_WAIVER: u8 = 3;

/// Runs the verb: what to print, and how to exit.
///
/// # Errors
/// NotFound, Denied or Invalid, naming the file.
pub fn run(args: &StateArgs) -> Result<(String, u8), Fault> {
    match &args.verb {
        StateVerb::Show(args) => show(args).map(|text| (text, 0)),
        StateVerb::Diff(args) => diff(args),
        StateVerb::Seek(args) => seek(args).map(|text| (text, 0)),
    }
}

fn show(args: &ShowArgs) -> Result<String, Fault> {
    let state = read::read(&args.file, &name(&args.file, &args.find), &args.find)?;
    if args.json { Ok(record(&state)? + "\n") } else { page(&state) }
}

fn diff(args: &DiffArgs) -> Result<(String, u8), Fault> {
    let names = [name(&args.saved, &args.find), name(&args.now, &args.find)];
    let saved = read::read(&args.saved, &names[0], &args.find)?;
    let now = read::read(&args.now, &names[1], &args.find)?;
    let found = saved.differences(&now);
    let (verdict, code) = match (&found.order[..], &found.content[..]) {
        ([], []) => ("yes", 0),
        ([], _) => ("if_waived", WITH_WAIVER),
        _ => ("no", 1),
    };
    if args.json {
        let cursor = |state: &State| json!({ "epoch": state.epoch, "position": state.position });
        let reply = json!({
            "resumes": verdict,
            "order": found.order,
            "content": found.content,
            "saved": cursor(&saved),
            "now": cursor(&now),
        });
        return Ok((format!("{reply:#}\n"), code));
    }
    let mut out = String::new();
    for (name, state) in names.iter().zip([&saved, &now]) {
        let _ = writeln!(out, "{name}: {}, job {}", place(state), state.job_id);
    }
    Ok((out + &judgement(&found), code))
}

fn seek(args: &SeekArgs) -> Result<String, Fault> {
    let name = name(&args.file, &args.find);
    let state = read::read(&args.file, &name, &args.find)?;
    let there = state.clone().at(target(&state, args)?);
    let record = record(&there)? + "\n";
    if args.output == Path::new("-") {
        return Ok(record);
    }
    let output = args.output.display();
    write(&args.output, record.as_bytes(), args.force).map_err(|error| {
        let fault = Fault::from_error(Kind::Invalid, &error).context(format!("write {output}"));
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        fault.maybe_hint(exists.then(|| "--force writes over it".to_owned()))
    })?;
    Ok(format!("{output}: {}, where {name} stands at {}\n", place(&there), place(&state)))
}

/// Where to go: at most to the end of the epoch, which is the start of the next one.
fn target(state: &State, args: &SeekArgs) -> Result<Cursor, Fault> {
    let epoch = args.epoch.unwrap_or(state.epoch);
    let step_rows = args.global_batch_size.map_or(1, u64::from);
    let row = match args.step {
        Some(step) => step.checked_mul(step_rows),
        None => Some(args.row.unwrap_or(0)),
    };
    // A state of version 1 does not know its rows; the loader checks when it loads.
    let rows = state.rows.unwrap_or(forebay_plan::ROWS_MAX);
    let last = rows.div_ceil(step_rows).saturating_mul(step_rows);
    match row {
        Some(row) if row < rows => Ok(Cursor { epoch, position: row }),
        Some(row) if row <= last => {
            let epoch =
                epoch.checked_add(1).ok_or_else(|| Fault::invalid("there is no epoch after this one"))?;
            Ok(Cursor { epoch, position: 0 })
        }
        _ => Err(beyond(args, rows, step_rows)),
    }
}

fn beyond(args: &SeekArgs, rows: u64, step_rows: u64) -> Fault {
    let Some(step) = args.step else {
        let row = args.row.unwrap_or(0);
        return Fault::invalid(format!("--row {row}: an epoch has {rows} rows"));
    };
    let steps = rows.div_ceil(step_rows);
    let message = format!("--step {step}: an epoch has {steps} steps of {step_rows} rows");
    let (epoch, rest) = (step / steps, step % steps);
    Fault::invalid(message).hint(format!(
        "counted over all epochs it is --epoch {epoch} --step {rest}, where the batch never changed"
    ))
}

/// Writes it beside and moves it there, so that no half of a state is ever there.
fn write(path: &Path, bytes: &[u8], force: bool) -> io::Result<()> {
    if !force && path.try_exists()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside = path.with_file_name(name);
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn name(file: &Path, find: &FindArgs) -> String {
    let path = file.display().to_string();
    let called = |pair: &String| pair.strip_prefix(&path)?.strip_prefix('=').map(str::to_owned);
    let own = if path == "-" { "standard input".to_owned() } else { path.clone() };
    find.shown_as.iter().find_map(called).unwrap_or(own)
}

fn record(state: &State) -> Result<String, Fault> {
    state.to_json().map_err(|error| Fault::from_error(Kind::Invalid, &error))
}

fn place(state: &State) -> String {
    let rows = state.rows.map_or_else(String::new, |rows| format!(" of {rows}"));
    format!("epoch {}, row {}{rows}", state.epoch, state.position)
}

fn page(state: &State) -> Result<String, Fault> {
    let line = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let mut lines = vec![
        line("job", &state.job_id),
        line("stands at", &place(state)),
        line("seed", &state.seed.to_string()),
        line("snapshot", &state.snapshot.to_string()),
    ];
    lines.extend(state.commits.as_deref().map(commits));
    for (name, digest, parts) in
        [("order", state.order, &state.order_parts), ("content", state.content, &state.content_parts)]
    {
        lines.push(line(name, &digest.to_string()));
        for (part, text) in parts.iter().flat_map(forebay_plan::Parts::iter) {
            lines
                .push(line(&format!("  {part}"), if text.is_empty() { "(no room for words)" } else { text }));
        }
    }
    lines.push(line("record", &format!("version {}, {} bytes", state.version, record(state)?.len())));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, text) in lines {
        let _ = writeln!(out, "{name:<width$}  {text}");
    }
    Ok(out)
}

/// The commits of a run's data sets, by the number of the source where there are several.
fn commits(text: &str) -> (String, String) {
    if !text.contains(',') {
        return ("commit".to_owned(), text.to_owned());
    }
    let named = text.split(',').enumerate().filter(|(_, commit)| *commit != "0");
    let named: Vec<_> = named.map(|(source, commit)| format!("{commit} of source {source}")).collect();
    ("commits".to_owned(), named.join(", "))
}

fn judgement(found: &Differences) -> String {
    let mut out = String::new();
    for words in &found.order {
        let _ = writeln!(out, "order differs: {words}");
    }
    for difference in &found.content {
        let _ = writeln!(out, "content differs: {}: {}", difference.part, difference.words);
    }
    let names: Vec<_> = found.content.iter().map(|difference| format!("{:?}", difference.part)).collect();
    out + &match (&found.order[..], &names[..]) {
        ([], []) => "the job goes on from the saved state\n".to_owned(),
        ([], [one]) => format!("the job goes on with load_state_dict(state, allow_changed={one})\n"),
        ([], names) => {
            format!("the job goes on with load_state_dict(state, allow_changed=[{}])\n", names.join(", "))
        }
        _ => "the job cannot go on from the saved state: its rows are other samples\n".to_owned(),
    }
}
