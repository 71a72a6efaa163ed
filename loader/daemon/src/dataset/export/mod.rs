//! `forebay dataset export`: a selection as tar shards or files, which carry the recipe to make them again.
//!
//! Output is a function of the recipe: samples in the order of the data set, times and owners of zero, one thread's work
//! put where its number says. A shard is there whole or not at all, so a stopped export goes on with the next one.

pub mod options;
mod picture;
mod recipe;
mod shards;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;

use serde_json::json;

use self::options::{ExportArgs, Format};
use self::picture::{Painter, Pipeline};
use self::recipe::{Recipe, failed};
use self::shards::{Names, Sample};
use super::common::{absolute, check_own_files};
use crate::catalog::dataset::Dataset;
use crate::catalog::{Column, ColumnKind, Snapshot};
use crate::error::{Fault, Kind};
use crate::progress::Bar;

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
        let export = Export { recipe: &recipe, snapshot: &snapshot, out: &out, threads: threads(args) };
        export.run()?;
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
    check_own_files(snapshot.columns().iter(), "export")?;
    let column = path_column(&snapshot, args.column.as_deref())?.name().to_owned();
    let root = match &args.root {
        Some(root) => absolute(&root.to_string_lossy())?,
        None => manifest.root.clone(),
    };
    let digest = snapshot.digest();
    Ok((Recipe::of(args, dataset.place(), manifest.number, digest, root, column), snapshot))
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

fn path_column<'a>(snapshot: &'a Snapshot, name: Option<&str>) -> Result<&'a Column, Fault> {
    let is_path = |column: &&Column| column.kind() == ColumnKind::Path;
    let found = match name {
        Some(name) => snapshot.column(name).filter(is_path),
        None => snapshot.columns().iter().find(is_path),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = snapshot.columns().iter().map(Column::name).collect();
        Fault::invalid(format!("no column of files {}", name.unwrap_or_default()))
            .hint(format!("the columns are {}; name one that holds paths with --column", names.join(", ")))
    })
}

struct Export<'a> {
    recipe: &'a Recipe,
    snapshot: &'a Snapshot,
    out: &'a Path,
    threads: usize,
}

impl Export<'_> {
    fn run(&self) -> Result<(), Fault> {
        let suffix = self.recipe.pipeline.as_ref().map(Pipeline::suffix);
        let names = Names::of(self.snapshot, path_column(self.snapshot, Some(&self.recipe.column))?, suffix);
        let mut bar = Bar::new("exporting", "samples");
        let (total, step) = (self.snapshot.len(), self.recipe.shard_samples);
        for (number, first) in (0..total).step_by(step as usize).enumerate() {
            let rows = first..total.min(first + step);
            match self.recipe.format {
                Format::Webdataset => {
                    let file = self.out.join(format!("shard-{number:06}.tar"));
                    if !file.exists() {
                        shards::tar(&file, |shard| {
                            self.each(
                                rows,
                                |row, bytes| shard.add(&self.sample(&names, row), &bytes),
                                &mut bar,
                            )
                        })?;
                    }
                }
                Format::Files => self.each(rows, |row, bytes| self.file(&names, row, &bytes), &mut bar)?,
            }
        }
        bar.clear();
        if self.recipe.format == Format::Files {
            let samples = (0..total).map(|row| self.sample(&names, row));
            shards::list(&self.out.join("samples.csv"), self.snapshot, samples)?;
        }
        Ok(())
    }

    fn sample<'s>(&'s self, names: &'s Names, row: u64) -> Sample<'s> {
        Sample { name: names.of_row(row), snapshot: self.snapshot, row, column: &self.recipe.column }
    }

    fn file(&self, names: &Names, row: u64, bytes: &[u8]) -> Result<(), Fault> {
        let file = self.out.join(names.of_row(row).file());
        let failed = |error: std::io::Error| failed(&file, &error);
        if file.exists() {
            return Ok(());
        }
        fs::create_dir_all(file.parent().unwrap_or(self.out)).map_err(failed)?;
        recipe::whole(&file, bytes).map_err(failed)
    }

    /// Makes samples on all threads, and gives them to `taken` in order.
    fn each(
        &self,
        rows: std::ops::Range<u64>,
        mut taken: impl FnMut(u64, Vec<u8>) -> Result<(), Fault>,
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
                    let mut painter = Painter::new();
                    while let Ok(row) = asked.recv() {
                        if tell.send((row, self.make(&mut painter, row))).is_err() {
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
                while let Some(bytes) = early.remove(&next) {
                    taken(next, bytes)?;
                    next += 1;
                    bar.show(next, self.snapshot.len());
                }
            }
            Ok(())
        })
    }

    fn make(&self, painter: &mut Painter, row: u64) -> Result<Vec<u8>, Fault> {
        let column = self.snapshot.column(&self.recipe.column).expect("it was found before");
        let key = || String::from_utf8_lossy(&self.snapshot.key(row)).into_owned();
        let path = Path::new(&self.recipe.root).join(std::ffi::OsStr::from_bytes(column.path(row)));
        let bytes = fs::read(&path).map_err(|error| {
            Fault::from_error(Kind::Unavailable, &error)
                .context(format!("read sample {}", path.display()))
                .object(key())
                .hint("mount the data, or say where it is with --root; a sample that is gone for good: forebay dataset remove")
        })?;
        match &self.recipe.pipeline {
            None => Ok(bytes),
            Some(pipeline) => painter.paint(pipeline, &bytes).map_err(|fault| {
                fault.context(format!("sample {}", path.display())).object(key()).hint(
                    "forebay dataset verify puts what is corrupt into quarantine, so that it is in no selection",
                )
            }),
        }
    }
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
