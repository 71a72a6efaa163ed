//! `forebay dataset export`: a selection as tar shards or files, which carry the recipe to make them again.
//!
//! Output is a function of the recipe: samples in the order of the data set, times and owners of zero, one thread's work
//! put where its number says. A shard is there whole or not at all, so a stopped export goes on with the next one.

mod fields;
mod files;
pub mod options;
mod picture;
mod recipe;
mod shards;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use self::fields::{Field, Made};
use self::options::{ExportArgs, Format};
use self::picture::{Painter, Pipeline};
use self::recipe::{Recipe, failed};
use self::shards::{Cell, Names, Sample};
use super::common::absolute;
use crate::catalog::dataset::{CONTENT, Dataset};
use crate::catalog::{Column, ColumnKind, FRAMES, Places, Snapshot, Values};
use crate::error::{Fault, Kind};
use crate::job::is_of_places;
use crate::progress::Bar;
use crate::storage::Root;

/// Samples that are in work for each thread.
const AHEAD: usize = 4;

/// How often the bar is looked at while a long clip is exported.
const TICK: Duration = Duration::from_millis(200);

/// Exports: what to print.
///
/// # Errors
/// What is wrong with the selection or the recipe; Corrupt, naming the sample; what storage and file system say.
pub fn run(args: &ExportArgs) -> Result<String, Fault> {
    let (recipe, snapshot) = if args.again { again(args)? } else { asked(args)? };
    let out = std::path::absolute(&args.out).map_err(|error| failed(&args.out, &error))?;
    if !recipe.begin(&out)? {
        Export::of(&recipe, &snapshot, &out, threads(args), &recipe.columns())?.run()?;
        Recipe::finish(&out)?;
    }
    let (samples, place) = (snapshot.len(), out.display());
    if args.json {
        let told = json!({ "out": place.to_string(), "samples": samples, "commit": recipe.commit, "snapshot": recipe.snapshot });
        return Ok(format!("{told:#}\n"));
    }
    Ok(format!(
        "{samples} samples of commit {} in {place}; {} says how to make them again\n",
        recipe.commit,
        recipe::FILE
    ))
}

fn threads(args: &ExportArgs) -> usize {
    args.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from)
}

fn asked(args: &ExportArgs) -> Result<(Recipe, Snapshot), Fault> {
    let dataset = Dataset::open(&absolute(&args.place)?)?;
    let manifest = args.at.map_or_else(|| dataset.head(), |number| dataset.at(number))?;
    let snapshot = dataset.snapshot(&manifest, &args.selection(), None, None)?;
    let columns = fields::chosen(&snapshot, &args.column)?;
    check_possible(args, &Field::all(&snapshot, &columns))?;
    let root = match &args.root {
        Some(root) => absolute(&root.to_string_lossy())?,
        None => manifest.root.clone(),
    };
    let digest = snapshot.digest();
    Ok((Recipe::of(args, dataset.place(), manifest.number, digest, root, columns), snapshot))
}

fn check_possible(args: &ExportArgs, fields: &[Field<'_>]) -> Result<(), Fault> {
    if let (Format::Webdataset, Some(clips)) = (args.format, fields.iter().find(|field| field.is_of_clips()))
    {
        let message =
            format!("column {} holds clips, folders of frames, which tar shards cannot", clips.name);
        return Err(Fault::invalid(message)
            .hint("--format files writes each clip as a folder of its frames, and samples.csv, which opens as clips"));
    }
    if !args.change.is_empty() && args.resize.is_none() && args.crop.is_none() {
        return Err(Fault::invalid("--change names columns, and nothing says how they change")
            .hint("add --resize or --crop"));
    }
    let is_file = |name: &&String| !fields.iter().any(|field| field.name == **name && field.is_of_files());
    args.change.iter().find(is_file).map_or(Ok(()), |name| {
        Err(Fault::invalid(format!("--change {name}: no column of files that is exported"))
            .hint("--column names those that are exported"))
    })
}

fn again(args: &ExportArgs) -> Result<(Recipe, Snapshot), Fault> {
    let mut recipe = Recipe::read(Path::new(&args.place))?;
    if let Some(root) = &args.root {
        recipe.root = absolute(&root.to_string_lossy())?;
    }
    let dataset = Dataset::open(&recipe.dataset)?;
    let snapshot = dataset.snapshot(&dataset.at(recipe.commit)?, &recipe.selection(), None, None)?;
    if snapshot.digest() != recipe.snapshot {
        let message =
            format!("commit {} of {} gives another selection than it did", recipe.commit, recipe.dataset);
        return Err(Fault::new(Kind::Changed, message).hint("another version of forebay made that export"));
    }
    Ok((recipe, snapshot))
}

/// What a thread reads and changes images with.
struct Means<'a> {
    painter: Painter,
    values: Values<'a>,
}

impl<'a> Means<'a> {
    fn new(root: &'a Root) -> Self {
        Self { painter: Painter::new(), values: Values::new(root) }
    }
}

struct Export<'a> {
    recipe: &'a Recipe,
    snapshot: &'a Snapshot,
    out: &'a Path,
    threads: usize,
    root: std::sync::Arc<Root>,
    columns: &'a [String],
    fields: Vec<Field<'a>>,
    names: Names,
    /// Columns that are told beside the files.
    beside: Vec<&'a Column>,
    /// How many frames there are, where samples are clips.
    frames: Option<u64>,
    /// Counts frames that are written.
    done: AtomicU64,
    /// Whether a sample could not be exported, so that nobody needs what is in work.
    stop: AtomicBool,
}

impl<'a> Export<'a> {
    fn of(
        recipe: &'a Recipe,
        snapshot: &'a Snapshot,
        out: &'a Path,
        threads: usize,
        columns: &'a [String],
    ) -> Result<Self, Fault> {
        let root = Root::open(&recipe.root).map_err(|error| {
            Fault::from_error(Kind::Unavailable, &error)
                .hint("mount the data, or say where it is with --root")
        })?;
        let fields = Field::all(snapshot, columns);
        let names = Names::of(snapshot, fields.first().expect("one at least was chosen"));
        let beside = beside(snapshot, columns, recipe.pipeline.is_some());
        let frames = frames(snapshot, &fields)?;
        let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { recipe, snapshot, out, threads, root, columns, fields, names, beside, frames, done, stop })
    }

    fn run(&self) -> Result<(), Fault> {
        let mut bar = Bar::new("exporting", if self.frames.is_some() { "frames" } else { "samples" });
        let (total, step) = (self.snapshot.len(), self.recipe.shard_samples);
        let mut files = Vec::new();
        for (number, first) in (0..total).step_by(step as usize).enumerate() {
            let rows = first..total.min(first + step);
            match self.recipe.format {
                Format::Webdataset => {
                    let file = self.out.join(format!("shard-{number:06}.tar"));
                    if !file.exists() {
                        shards::tar(&file, |shard| {
                            let make = |means: &mut Means<'_>, row| self.make(means, row);
                            let add = |row, made: Vec<Made>| shard.add(&self.sample(row), &made);
                            self.each(rows, make, add, &mut bar)
                        })?;
                    }
                }
                Format::Files => {
                    let write = |means: &mut Means<'_>, row| self.write(means, row);
                    let note = |_, written| {
                        files.push(written);
                        Ok(())
                    };
                    self.each(rows, write, note, &mut bar)?;
                }
            }
        }
        bar.clear();
        if self.recipe.format == Format::Files {
            let samples = (0..total).zip(files.iter().map(Vec::as_slice));
            shards::list(&self.out.join("samples.csv"), &self.listed(), samples)?;
        }
        Ok(())
    }

    fn sample(&self, row: u64) -> Sample<'_> {
        Sample { name: self.names.of_row(row), snapshot: self.snapshot, row, beside: &self.beside }
    }

    /// The columns of the list, and what it says in them. A text is told as it is.
    fn listed(&self) -> Vec<(&Column, Cell)> {
        let field = |name: &str| self.columns.iter().position(|column| column == name);
        let of_clips = |at: &usize| self.fields[*at].is_of_clips();
        let cell = |column: &'a Column| {
            let (own, is_text) = (field(column.name()), column.kind() == ColumnKind::Text);
            let frames = || field(column.name().strip_suffix(FRAMES)?).filter(of_clips);
            let is_beside = self.beside.iter().any(|beside| beside.name() == column.name());
            let cell = match (own, frames()) {
                (Some(at), _) if !is_text => Cell::File(at),
                (_, Some(at)) if is_text => Cell::Frames(at),
                (own, _) => return (own.is_some() || is_beside).then_some((column, Cell::Value)),
            };
            Some((column, cell))
        };
        self.snapshot.columns().iter().filter_map(cell).collect()
    }

    /// Makes samples on all threads, and gives them to `taken` in order.
    fn each<T: Send>(
        &self,
        rows: std::ops::Range<u64>,
        make: impl Fn(&mut Means<'_>, u64) -> Result<T, Fault> + Sync,
        mut taken: impl FnMut(u64, T) -> Result<(), Fault>,
        bar: &mut Bar,
    ) -> Result<(), Fault> {
        let (ask, asked) = flume::bounded::<u64>(self.threads * AHEAD);
        let (tell, told) = flume::bounded(self.threads * AHEAD);
        thread::scope(|scope| {
            // Dropped at an error too, or the threads would wait for more.
            let (ask, told) = (ask, told);
            for _ in 0..self.threads {
                let (asked, tell, make) = (asked.clone(), tell.clone(), &make);
                scope.spawn(move || {
                    let mut means = Means::new(&self.root);
                    while let Ok(row) = asked.recv() {
                        if tell.send((row, make(&mut means, row))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop((asked, tell));
            let (mut next, mut early) = (rows.start, BTreeMap::new());
            let mut waiting = rows.clone();
            while next < rows.end {
                // What is asked for and not taken yet is bounded, and so is what waits for its turn.
                while (waiting.start - next) < (self.threads * AHEAD) as u64 && ask.send_next(&mut waiting) {}
                match told.recv_timeout(TICK) {
                    Ok((row, made)) => {
                        // A clip that is in work may be long.
                        self.stop.fetch_or(made.is_err(), Ordering::Relaxed);
                        early.insert(row, made?);
                    }
                    Err(flume::RecvTimeoutError::Timeout) => {}
                    Err(_) => return Err(Fault::internal("the threads that export are gone")),
                }
                while let Some(made) = early.remove(&next) {
                    taken(next, made)?;
                    next += 1;
                }
                self.show(bar, next);
            }
            Ok(())
        })
    }

    fn show(&self, bar: &mut Bar, samples: u64) {
        match self.frames {
            Some(frames) => bar.show(self.done.load(Ordering::Relaxed), frames),
            None => bar.show(samples, self.snapshot.len()),
        }
    }

    fn make(&self, means: &mut Means<'_>, row: u64) -> Result<Vec<Made>, Fault> {
        self.fields.iter().map(|field| self.make_field(means, field, row)).collect()
    }

    fn make_field(&self, means: &mut Means<'_>, field: &Field<'_>, row: u64) -> Result<Made, Fault> {
        let mut made = field.read(&mut means.values, row).map_err(|fault| self.told(fault, row))?;
        if let Some(pipeline) = self.pipeline_of(field) {
            let painted = means.painter.paint(pipeline, &made.bytes);
            made.bytes = painted.map_err(|fault| self.told(fault, row))?;
            made.suffix = field.suffix_of_changed(pipeline.suffix());
        }
        Ok(made)
    }

    /// What becomes of the images of a field.
    fn pipeline_of(&self, field: &Field<'_>) -> Option<&Pipeline> {
        let is_first = self.columns.first().is_some_and(|first| first == field.name);
        self.recipe.pipeline.as_ref().filter(|pipeline| pipeline.changes(field.name, is_first))
    }

    /// A fault with the sample that it is of.
    fn told(&self, fault: Fault, row: u64) -> Fault {
        let key = String::from_utf8_lossy(&self.snapshot.key(row)).into_owned();
        let fault = match fault.kind {
            Kind::Corrupt => fault.hint(
                "forebay dataset verify puts what is corrupt into quarantine, so that it is in no selection",
            ),
            _ => fault,
        };
        fault.context(format!("export sample {key}")).object(key)
    }
}

/// How many frames there are in the clips of all samples; `None`: no field is of clips.
fn frames(snapshot: &Snapshot, fields: &[Field<'_>]) -> Result<Option<u64>, Fault> {
    let mut count = None;
    for field in fields.iter().filter(|field| field.is_of_clips()) {
        for row in 0..snapshot.len() {
            let key = || String::from_utf8_lossy(&snapshot.key(row)).into_owned();
            let clip = field.clip(row).map_err(|fault| fault.context(format!("export sample {}", key())))?;
            let frames = clip.map_or(0, |(_, names)| names.len());
            *count.get_or_insert(0) += frames;
        }
    }
    Ok(count)
}

/// The columns that are told beside a sample's files: all others, but for those that say where it lay in a shard, and the
/// hash of its bytes where these are others now, or not all of them.
fn beside<'a>(snapshot: &'a Snapshot, exported: &[String], is_changed: bool) -> Vec<&'a Column> {
    let is_exported = |column: &Column| exported.iter().any(|name| name == column.name());
    let lies_in_shards = |column: &Column| {
        Places::of_snapshot(snapshot, column.name()).is_some_and(|places| places.are_in_shards())
    };
    let mut files = snapshot.columns().iter().filter(|column| column.kind() == ColumnKind::Path);
    let is_hashed = !is_changed && files.all(is_exported);
    let is_told = |column: &Column| {
        let is_old_hash = column.name() == CONTENT && !is_hashed;
        let elsewhere = is_of_places(snapshot, column) || lies_in_shards(column);
        !is_exported(column) && !elsewhere && !is_old_hash
    };
    snapshot.columns().iter().filter(|column| is_told(column)).collect()
}

/// Asks for the next row, if there is one and room for it.
trait SendNext {
    fn send_next(&self, rows: &mut std::ops::Range<u64>) -> bool;
}

impl SendNext for flume::Sender<u64> {
    fn send_next(&self, rows: &mut std::ops::Range<u64>) -> bool {
        if rows.is_empty() || self.try_send(rows.start).is_err() {
            return false;
        }
        rows.start += 1;
        true
    }
}
