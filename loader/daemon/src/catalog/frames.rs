//! Folders of frames: one sample is a folder of images, which one field reads in order.
//!
//! `class/clip/000001.jpg`: folders in the root are classes, as of a plain folder, and every folder beneath one that holds
//! frames is a clip, at any depth. Clips sort as torchvision's `ImageFolder` sorts paths, frames in natural order. A clip
//! keeps its path and the text of its frames' names; the names themselves are let go, folder by folder, as they are listed.

pub mod folder;
pub mod names;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::bytes::ByteStrings;
use super::class_map::ClassMap;
use super::column::{Column, ColumnKind, Values};
use super::error::CatalogError;
use super::folder::{Extensions, class_folders, find_classes};
use super::limits::CatalogLimits;
use super::order::python_order;
use super::relabel::LABEL;
use super::scan::{Entry, Job, Queue, entries, join, open_dir};
use super::snapshot::Snapshot;
use crate::storage::Root;
use names::{natural_order, text_of};

/// The column of clips' folders.
pub(super) const CLIP: &str = "clip";

/// Behind the name of a column of paths: the texts that name the frames in each of these folders.
pub const FRAMES: &str = ".frames";

/// The number of the column that names the frames of column number `path`, where there is one.
pub fn names_column(snapshot: &Snapshot, path: usize) -> Option<usize> {
    let name = format!("{}{FRAMES}", snapshot.columns()[path].name());
    let names = |column: &Column| column.name() == name && column.kind() == ColumnKind::Text;
    snapshot.columns().iter().position(names)
}

pub(super) fn open(
    root: &Path,
    extensions: Option<&[String]>,
    classes: bool,
    limits: &CatalogLimits,
) -> Result<Snapshot, CatalogError> {
    let root = Root::open(root)?;
    let extensions = Extensions::new(extensions);
    let looking =
        Looking { root: &root, extensions: &extensions, classes, found: &AtomicU64::new(0), limits };
    let clips = find(&looking, CLIP)?;
    if !clips.empty_classes.is_empty() {
        return Err(CatalogError::EmptyClasses { classes: clips.empty_classes, extensions: extensions.0 });
    }
    let class_map = classes.then(|| ClassMap::new(clips.classes));
    let unique = |_, _, _: &[u8]| unreachable!("a directory holds each name once");
    Snapshot::assemble(clips.columns, class_map, Some(root), unique)
}

/// What is looked for, and where.
pub(super) struct Looking<'a> {
    pub(super) root: &'a Arc<Root>,
    pub(super) extensions: &'a Extensions,
    /// Whether the first folder of a path is the clip's class.
    pub(super) classes: bool,
    /// Counts clips while they are found, for whoever watches.
    pub(super) found: &'a AtomicU64,
    pub(super) limits: &'a CatalogLimits,
}

/// Clips as columns, and their classes.
pub(super) struct Clips {
    pub(super) columns: Vec<Column>,
    pub(super) classes: Vec<String>,
    pub(super) empty_classes: Vec<String>,
}

/// Lists clips, several folders at once; at least one.
///
/// * `column`: what that of their folders is called.
pub(super) fn find(looking: &Looking<'_>, column: &str) -> Result<Clips, CatalogError> {
    let classes = if looking.classes { find_classes(looking.root)? } else { Vec::new() };
    let folders = if looking.classes { class_folders(&classes) } else { vec![(0, Vec::new())] };
    let jobs = folders.into_iter().rev().map(|(class, dir)| Job { class, dir }).collect();
    let parts = Scan { looking, queue: Queue::new(jobs) }.run()?;
    let mut empty: Vec<_> = parts.iter().flat_map(|part| &part.empty).collect();
    empty.sort_unstable_by(|a, b| python_order(a, b));
    if !empty.is_empty() {
        let clips = empty.into_iter().map(|dir| String::from_utf8_lossy(dir).into_owned()).collect();
        return Err(CatalogError::EmptyClips { clips, extensions: looking.extensions.0.clone() });
    }
    if parts.iter().all(|part| part.dirs.len() == 0) && !looking.classes {
        let root = looking.root.path().display().to_string();
        return Err(CatalogError::NoSamples { root, extensions: looking.extensions.0.clone() });
    }
    let empty_classes = if looking.classes { without_clips(&classes, &parts) } else { Vec::new() };
    let columns = columns(column, &parts, looking.classes);
    Ok(Clips { columns, classes, empty_classes })
}

/// The classes that no clip is of.
fn without_clips(classes: &[String], parts: &[Part]) -> Vec<String> {
    let mut filled = vec![false; classes.len()];
    parts.iter().flat_map(|part| &part.classes).for_each(|&class| filled[class as usize] = true);
    classes.iter().zip(filled).filter(|(_, filled)| !filled).map(|(class, _)| class.clone()).collect()
}

/// What one thread has found.
#[derive(Default)]
struct Part {
    dirs: ByteStrings,
    names: ByteStrings,
    classes: Vec<u32>,
    /// Folders in which nothing is.
    empty: Vec<Vec<u8>>,
}

struct Scan<'a> {
    looking: &'a Looking<'a>,
    queue: Queue,
}

impl Scan<'_> {
    fn run(&self) -> Result<Vec<Part>, CatalogError> {
        thread::scope(|scope| {
            let threads = self.looking.limits.scan_threads.get();
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.work())).collect();
            let own = self.work();
            let joined = workers.into_iter().map(|worker| worker.join().expect("listing does not panic"));
            joined.chain([own]).collect()
        })
    }

    fn work(&self) -> Result<Part, CatalogError> {
        let mut part = Part::default();
        while let Some(job) = self.queue.take() {
            match self.list(&job, &mut part) {
                Ok(folders) => self.queue.finish(folders),
                Err(error) => {
                    self.queue.stop();
                    return Err(error);
                }
            }
        }
        Ok(part)
    }

    /// Lists one folder: a clip where it holds frames; and the folders in it.
    fn list(&self, job: &Job, part: &mut Part) -> Result<Vec<Job>, CatalogError> {
        let Looking { root, extensions, classes, .. } = *self.looking;
        let (mut folders, mut frames) = (Vec::new(), ByteStrings::default());
        let opened = open_dir(root, &job.dir)?;
        entries(root, &job.dir, &opened.fd, &mut |name, entry| {
            match entry {
                Entry::Folder => folders.push(Job { class: job.class, dir: join(&job.dir, name) }),
                Entry::File if extensions.fit(name) => frames.push(name),
                Entry::File => {}
            }
            Ok(())
        })?;
        let holds_clips = if classes { !job.dir.contains(&b'/') } else { job.dir.is_empty() };
        match frames.len() {
            0 if folders.is_empty() && !holds_clips => part.empty.push(job.dir.clone()),
            0 => {}
            _ if holds_clips => {
                let folder = root.display(if job.dir.is_empty() { b"." } else { &job.dir });
                let frame = String::from_utf8_lossy(frames.get(0)).into_owned();
                return Err(CatalogError::LooseFrames { folder, frame });
            }
            _ => self.add(job, &frames, part)?,
        }
        Ok(folders)
    }

    /// Adds a clip.
    fn add(&self, job: &Job, frames: &ByteStrings, part: &mut Part) -> Result<(), CatalogError> {
        let Looking { root, limits, found, .. } = *self.looking;
        let mut names = Vec::with_capacity(frames.len());
        for frame in (0..frames.len()).map(|index| frames.get(index)) {
            let not_utf8 = |_| CatalogError::FrameName { path: root.display(&join(&job.dir, frame)) };
            names.push(str::from_utf8(frame).map_err(not_utf8)?);
        }
        names.sort_unstable_by(|a, b| natural_order(a.as_bytes(), b.as_bytes()));
        let text = text_of(names);
        let (bytes, bytes_max) = (text.len(), limits.text_bytes_max);
        if bytes > bytes_max {
            return Err(CatalogError::LongClip { clip: root.display(&job.dir), bytes, bytes_max });
        }
        part.dirs.push(&job.dir);
        part.names.push(text.as_bytes());
        part.classes.push(job.class as u32);
        let (clips, rows_max) = (found.fetch_add(1, Ordering::Relaxed) + 1, limits.rows_max);
        if clips > rows_max {
            return Err(CatalogError::TooManyRows { file: root.path().display().to_string(), rows_max });
        }
        Ok(())
    }
}

/// Joins what the threads found, in torchvision's order of paths.
fn columns(column: &str, parts: &[Part], labels: bool) -> Vec<Column> {
    let mut order: Vec<(u32, u32)> = Vec::new();
    for (number, part) in (0..).zip(parts) {
        order.extend((0..part.dirs.len() as u32).map(|index| (number, index)));
    }
    let class = |(part, index): (u32, u32)| parts[part as usize].classes[index as usize];
    let dir = |(part, index): (u32, u32)| parts[part as usize].dirs.get(index as usize);
    order.sort_unstable_by(|&a, &b| class(a).cmp(&class(b)).then_with(|| python_order(dir(a), dir(b))));
    let joined = |of: fn(&Part) -> &ByteStrings| {
        let bytes = parts.iter().map(|part| of(part).parts().0.len()).sum();
        let mut strings = ByteStrings::with_capacity(order.len(), bytes);
        order.iter().for_each(|&(part, index)| strings.push(of(&parts[part as usize]).get(index as usize)));
        Values::Bytes(strings)
    };
    let column_of = |name: String, kind, values| Column { name, kind, values };
    let mut columns = vec![
        column_of(column.to_owned(), ColumnKind::Path, joined(|part| &part.dirs)),
        column_of(format!("{column}{FRAMES}"), ColumnKind::Text, joined(|part| &part.names)),
    ];
    if labels {
        let classes = order.iter().map(|&clip| i64::from(class(clip))).collect();
        columns.push(column_of(LABEL.to_owned(), ColumnKind::Int, Values::Ints(classes)));
    }
    columns
}
