//! A source that is a catalogued data set -> the snapshot of what a job asked for of it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use forebay_proto::v1::{self, source::Origin};

use super::{Peer, Service};
use crate::catalog::dataset::{Dataset, Manifest, Part, Selection};
use crate::catalog::{CatalogError, FRAMES, RECORD, SHARD_BYTES, Snapshot, dataset};
use crate::error::Fault;
use crate::job::{CLASS_COLUMN, SIZE_COLUMN};
use crate::storage::Root;

/// What a snapshot was made of, in words, and the snapshot for as long as a job has it.
#[derive(Default)]
pub(super) struct Opened(Mutex<Vec<(String, Weak<Snapshot>)>>);

/// A data set that the caller may read, at one commit.
struct Set {
    dataset: Dataset,
    manifest: Manifest,
    root: Arc<Root>,
}

impl Service {
    /// The samples of a data set that a source asks for, with the columns that the job is after.
    ///
    /// # Errors
    /// What is wrong with the source or the data set, or with the caller's rights.
    pub(super) fn catalogued(
        &self,
        peer: Peer,
        spec: &v1::JobSpec,
        source: &v1::Source,
        set: &v1::Dataset,
    ) -> Result<Arc<Snapshot>, Fault> {
        let (selection, columns) = (selection(source), columns(spec).map(with_places));
        let set = self.set(peer, set)?;
        let place = set.dataset.place();
        // A place that was removed and made anew counts its commits from 1 again.
        let (number, written) = (set.manifest.number, set.manifest.written_unix_ms);
        let words =
            format!("{place} {number} {written} {} {selection:?} {columns:?}", set.root.path().display());
        if let Some(known) = self.opened.find(&words) {
            return Ok(known);
        }
        let root = Some(Arc::clone(&set.root));
        let snapshot = set.dataset.snapshot(&set.manifest, &selection, columns.as_deref(), root)?;
        let snapshot = Arc::new(snapshot);
        self.opened.keep(words, &snapshot);
        Ok(snapshot)
    }

    /// The directory that a data set's paths resolve beneath.
    ///
    /// # Errors
    /// As [`Service::catalogued`].
    pub(super) fn root_of_set(&self, peer: Peer, set: &v1::Dataset) -> Result<Arc<Root>, Fault> {
        self.set(peer, set).map(|set| set.root)
    }

    fn set(&self, peer: Peer, set: &v1::Dataset) -> Result<Set, Fault> {
        let place = self.place(peer, &set.path)?;
        let dataset = Dataset::open(&place)?;
        if dataset.place() != place {
            self.place(peer, dataset.place())?;
        }
        let manifest = match set.snapshot.as_str() {
            "" => dataset.head()?,
            number => dataset.at(number.parse().map_err(|_| {
                Fault::invalid(format!("{number:?} is no number of a commit"))
                    .hint("forebay dataset log lists them")
            })?)?,
        };
        let path = if set.root.is_empty() { &manifest.root } else { &set.root };
        if path.starts_with("s3://") {
            let message = format!(
                "the samples of {} lie in {path}; they are read from folders as yet",
                dataset.place()
            );
            return Err(Fault::unimplemented(message).hint(
                "copy them in: forebay ingest s3://... FOLDER; or mount the bucket and say where: \
                 forebay.Dataset(place, root=...)",
            ));
        }
        let path = self.roots.check(peer, path)?;
        let root = Root::open(path).map_err(|error| {
            dataset::fault(&CatalogError::from(error))
                .hint("mount the data there, or say where it is: forebay.Dataset(place, root=...)")
        })?;
        Ok(Set { dataset, manifest, root })
    }

    /// A data set may lie beneath a root of data, or where records are kept.
    fn place(&self, peer: Peer, place: &str) -> Result<String, Fault> {
        if place.starts_with("s3://") {
            return self.state_roots.check(peer, place);
        }
        match self.roots.check(peer, place) {
            Ok(path) => path.into_os_string().into_string().map_err(|_| {
                Fault::invalid("the data set's path is not UTF-8").hint("give its folder another name")
            }),
            Err(refused) => self.state_roots.check(peer, place).map_err(|_| refused),
        }
    }
}

impl Opened {
    fn find(&self, words: &str) -> Option<Arc<Snapshot>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == words).and_then(|(_, snapshot)| snapshot.upgrade())
    }

    fn keep(&self, words: String, snapshot: &Arc<Snapshot>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, snapshot)| *known != words && snapshot.strong_count() > 0);
        kept.push((words, Arc::downgrade(snapshot)));
    }
}

/// A source that is no data set has nothing to select from.
///
/// # Errors
/// Invalid, naming what cannot be done.
pub(super) fn check_unselected(source: &v1::Source) -> Result<(), Fault> {
    if source.split.is_empty() && source.r#where.is_empty() && source.subset.is_none() {
        return Ok(());
    }
    Err(Fault::invalid("split, where and subset are for catalogued data sets")
        .hint("make one with `forebay index FOLDER`, and name it: forebay.Dataset(FOLDER, split=...)"))
}

fn selection(source: &v1::Source) -> Selection {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let part = source.subset.unwrap_or_default();
    Selection {
        split: some(&source.split),
        filter: some(&source.r#where),
        part: Part {
            fraction: (part.fraction != 0.0).then_some(part.fraction),
            limit: (part.limit != 0).then_some(part.limit),
            balanced: part.balanced,
        },
    }
}

/// The columns that a job names; `None`: it wants all there are.
pub(super) fn columns(spec: &v1::JobSpec) -> Option<Vec<String>> {
    if spec.fields.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    let has_column = |field: &&v1::Field| !is_made(field.decode());
    for field in spec.fields.iter().filter(has_column) {
        let own = if field.column.is_empty() { &field.name } else { &field.column };
        names.extend([own, &field.offset_column, &field.length_column].map(String::clone));
        if field.decode() == v1::Decode::Raw && field.capacity == 0 {
            names.push(SIZE_COLUMN.to_owned());
        }
    }
    if let Some(order) = &spec.order {
        let is_balanced = order.sampler() == v1::Sampler::Balanced && order.column.is_empty();
        names.push(if is_balanced { CLASS_COLUMN.to_owned() } else { order.column.clone() });
        names.extend(order.windows.iter().map(|windows| windows.length_column.clone()));
    }
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    Some(names)
}

/// The same with the columns that say where in their files, or in which, the fields' bytes lie; those that are not there are not missed.
fn with_places(mut names: Vec<String>) -> Vec<String> {
    let beside = |name: &str| [".offset", ".length", ".row", FRAMES].map(|end| format!("{name}{end}"));
    let places: Vec<_> = names.iter().flat_map(|name| beside(name)).chain(beside(RECORD)).collect();
    names.extend(places);
    names.push(SHARD_BYTES.to_owned());
    names
}

/// Whether a field is made of the row and of no column. A length may name the column of its tokens, which they name too.
fn is_made(decode: v1::Decode) -> bool {
    use v1::Decode::{Boundaries, Length, PositionIds, SegmentIds, Source};
    matches!(decode, Source | Length | PositionIds | SegmentIds | Boundaries)
}

/// The places of a data set that lie in the file system, as a client gave them.
pub(super) fn paths(set: &v1::Dataset) -> Vec<&String> {
    [&set.path, &set.root].into_iter().filter(|path| !path.starts_with("s3://")).collect()
}

/// The sets among a job's sources.
pub(super) fn set_of(source: &v1::Source) -> Option<&v1::Dataset> {
    match &source.origin {
        Some(Origin::Dataset(set)) => Some(set),
        _ => None,
    }
}
