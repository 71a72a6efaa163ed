//! `forebay dataset export`: a selection as tar shards or files, which carry the recipe to make them again.
//!
//! Output is a function of the recipe: samples in the order of the data set, times and owners of zero, one thread's work
//! put where its number says. A shard is there whole or not at all, so a stopped export goes on with the next one.

mod fields;
pub mod options;
mod picture;
mod recipe;
mod shards;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use serde_json::json;

use self::fields::{Field, Made};
use self::options::{ExportArgs, Format};
use self::picture::Painter;
use self::recipe::{Recipe, failed};
use self::shards::{Names, Sample};
use super::common::absolute;
use crate::catalog::dataset::Dataset;
use crate::catalog::{Column, ColumnKind, Places, Snapshot, Values};
use crate::error::{Fault, Kind};
use crate::job::is_of_places;
use crate::progress::Bar;
use crate::storage::Root;

/// Samples that are in work for each thread.
const AHEAD: usize = 4;

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
    let root = match &args.root {
        Some(root) => absolute(&root.to_string_lossy())?,
        None => manifest.root.clone(),
    };
    let digest = snapshot.digest();
    Ok((Recipe::of(args, dataset.place(), manifest.number, digest, root, columns), snapshot))
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
        let beside = beside(snapshot, columns);
        Ok(Self { recipe, snapshot, out, threads, root, columns, fields, names, beside })
    }

    fn run(&self) -> Result<(), Fault> {
        let mut bar = Bar::new("exporting", "samples");
        let (total, step) = (self.snapshot.len(), self.recipe.shard_samples);
        let mut files = Vec::new();
        for (number, first) in (0..total).step_by(step as usize).enumerate() {
            let rows = first..total.min(first + step);
            match self.recipe.format {
                Format::Webdataset => {
                    let file = self.out.join(format!("shard-{number:06}.tar"));
                    if !file.exists() {
                        shards::tar(&file, |shard| {
                            self.each(rows, |row, made| shard.add(&self.sample(row), &made), &mut bar)
                        })?;
                    }
                }
                Format::Files => {
                    let mut write =
                        |row, made: Vec<Made>| self.write(row, &made).map(|names| files.push(names));
                    self.each(rows, &mut write, &mut bar)?;
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

    /// The columns of the list, and which of a sample's files is that of a column of files. A text is told as it is.
    fn listed(&self) -> Vec<(&Column, Option<usize>)> {
        let is_beside = |name: &str| self.beside.iter().any(|column| column.name() == name);
        let file = |column: &'a Column| {
            let field = self.columns.iter().position(|name| name == column.name());
            let is_text = column.kind() == ColumnKind::Text;
            (field.is_some() || is_beside(column.name())).then_some((column, field.filter(|_| !is_text)))
        };
        self.snapshot.columns().iter().filter_map(file).collect()
    }

    /// Writes the files of a sample, unless they are there; tells their names.
    fn write(&self, row: u64, made: &[Made]) -> Result<Vec<String>, Fault> {
        let mut files = Vec::with_capacity(made.len());
        for Made { suffix, bytes } in made {
            let name = self.names.of_row(row).file(suffix);
            let file = self.out.join(&name);
            let failed = |error: std::io::Error| failed(&file, &error);
            if !file.exists() {
                fs::create_dir_all(file.parent().unwrap_or(self.out)).map_err(failed)?;
                recipe::whole(&file, bytes).map_err(failed)?;
            }
            files.push(name);
        }
        Ok(files)
    }

    /// Makes samples on all threads, and gives them to `taken` in order.
    fn each(
        &self,
        rows: std::ops::Range<u64>,
        mut taken: impl FnMut(u64, Vec<Made>) -> Result<(), Fault>,
        bar: &mut Bar,
    ) -> Result<(), Fault> {
        let (ask, asked) = flume::bounded::<u64>(self.threads * AHEAD);
        let (tell, told) = flume::bounded(self.threads * AHEAD);
        thread::scope(|scope| {
            // Dropped at an error too, or the threads would wait for more.
            let (ask, told) = (ask, told);
            for _ in 0..self.threads {
                let (asked, tell) = (asked.clone(), tell.clone());
                scope.spawn(move || {
                    let mut means = (Painter::new(), Values::new(&self.root));
                    while let Ok(row) = asked.recv() {
                        if tell.send((row, self.make(&mut means, row))).is_err() {
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
                let (row, made) =
                    told.recv().map_err(|_| Fault::internal("the threads that export are gone"))?;
                early.insert(row, made?);
                while let Some(made) = early.remove(&next) {
                    taken(next, made)?;
                    next += 1;
                    bar.show(next, self.snapshot.len());
                }
            }
            Ok(())
        })
    }

    fn make(&self, (painter, values): &mut (Painter, Values<'_>), row: u64) -> Result<Vec<Made>, Fault> {
        let key = || String::from_utf8_lossy(&self.snapshot.key(row)).into_owned();
        let told = |fault: Fault| fault.context(format!("export sample {}", key())).object(key());
        let mut all = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let mut made = field.read(values, row).map_err(told)?;
            // The first alone: masks and the like are not to be resized as photographs are.
            if let Some(pipeline) = self.recipe.pipeline.as_ref().filter(|_| all.is_empty()) {
                made.bytes = painter.paint(pipeline, &made.bytes).map_err(|fault| {
                    told(fault).hint(
                        "forebay dataset verify puts what is corrupt into quarantine, so that it is in no selection",
                    )
                })?;
                pipeline.suffix().clone_into(&mut made.suffix);
            }
            all.push(made);
        }
        Ok(all)
    }
}

/// The columns that are told beside a sample's files: all others, but for those that say where it lay in a shard.
fn beside<'a>(snapshot: &'a Snapshot, exported: &[String]) -> Vec<&'a Column> {
    let lies_in_shards = |column: &Column| {
        Places::of_snapshot(snapshot, column.name()).is_some_and(|places| places.are_in_shards())
    };
    let is_beside = |column: &&Column| {
        !exported.iter().any(|name| name == column.name())
            && !is_of_places(snapshot, column)
            && !lies_in_shards(column)
    };
    snapshot.columns().iter().filter(is_beside).collect()
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
