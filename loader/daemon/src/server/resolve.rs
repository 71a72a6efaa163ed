//! A spec as a client sent it -> the job over its data: listed now, told by another process, or pinned.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use forebay_plan::orders::SOURCES_MAX;
use forebay_proto::v1;

use super::catalogued::{self, check_unselected, set_of};
use super::{Kept, Peer, Service};
use crate::catalog::dataset::fault;
use crate::catalog::{self, CatalogError, CatalogLimits, Snapshot, SourceSpec};
use crate::error::Fault;
use crate::job::{self, Job};
use crate::metrics;
use crate::pins::{StateRoot, When};
use crate::storage::Root;

/// What snapshots told to a client may have together: base64 and JSON make them a third larger.
const TOLD_BYTES_MAX: usize = 32 << 20;

/// A job, and what it is pinned for, if it is.
pub(super) struct Resolved {
    pub(super) job: Arc<Job>,
    pub(super) pin: Option<(When, Arc<StateRoot>)>,
}

impl Service {
    /// Opens the data that a spec names, and names the job; or tells of a job that is known.
    ///
    /// # Errors
    /// What is wrong with the spec, the data, or the caller's rights.
    pub async fn resolve(
        self: &Arc<Self>,
        peer: Peer,
        request: v1::ResolveRequest,
    ) -> Result<v1::ResolveReply, Fault> {
        if let (None, Some(job)) = (&request.spec, &request.job) {
            let job = self.job(peer, &job.order_digest, &job.content_digest)?;
            let (told, wanted) = (Arc::clone(&job), request.want_snapshots);
            let snapshots = if wanted { blocking(move || tell(&told)).await? } else { Vec::new() };
            return Ok(v1::ResolveReply { job: Some(job.to_proto()), snapshots });
        }
        if request.spec.is_none() && !request.job_id.is_empty() {
            let job = self.named(peer, &request.job_id, request.epoch)?;
            return Ok(v1::ResolveReply { job: Some(job.to_proto()), snapshots: Vec::new() });
        }
        let request = Arc::new(request);
        if request.pin.as_ref().is_some_and(|pin| pin.wait_ms > 0) {
            // Before its turn: whoever decides may be waiting for one.
            let (service, request) = (Arc::clone(self), Arc::clone(&request));
            blocking(move || service.await_pin(peer, &request)).await?;
        }
        let _turn = self.resolving.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
        let started = Instant::now();
        let (service, asked) = (Arc::clone(self), Arc::clone(&request));
        // Listing a folder blocks: off the runtime's threads.
        let resolved = blocking(move || {
            let resolved = service.resolve_now(peer, &asked)?;
            let told = if asked.want_snapshots { tell(&resolved.job)? } else { Vec::new() };
            Ok((resolved, told))
        })
        .await;
        metrics::job_resolved(started.elapsed(), resolved.is_ok());
        let (Resolved { job, pin }, snapshots) = resolved?;
        let took_ms = started.elapsed().as_millis() as u64;
        tracing::info!(job = %job.id, %peer, rows = job.rows, pinned = pin.is_some(), took_ms, "job opened");
        let mut told = job.to_proto();
        let (when, root) = pin.unzip();
        let epoch = when.and_then(When::epoch);
        (told.pinned, told.epoch_pinned, told.epoch) = (when.is_some(), epoch.is_some(), epoch.unwrap_or(0));
        if told.pinned {
            // Whether this daemon listed the data or read the pin's snapshot, the run is told the same.
            told.commits.clear();
        }
        let mut paths: Vec<_> = request.spec.iter().flat_map(|spec| &spec.sources).flat_map(paths).collect();
        // A data set says itself where its data is.
        let roots = job.sources.iter().filter_map(|source| source.snapshot.root());
        paths.extend(roots.filter_map(|root| root.path().to_str().map(str::to_owned)));
        self.keep(Kept { job, paths, epoch, root });
        Ok(v1::ResolveReply { job: Some(told), snapshots })
    }

    fn resolve_now(&self, peer: Peer, request: &v1::ResolveRequest) -> Result<Resolved, Fault> {
        let spec = request.spec.as_ref().ok_or_else(|| Fault::invalid("resolve without a spec"))?;
        if spec.sources.len() > SOURCES_MAX {
            return Err(Fault::invalid(format!("{} sources, at most {SOURCES_MAX}", spec.sources.len()))
                .hint("join the smallest into one"));
        }
        match (&request.pin, request.snapshots.is_empty()) {
            (Some(pin), true) => self.resolve_pinned(peer, spec, pin),
            (Some(_), false) => Err(Fault::invalid("both a pin and snapshots")
                .hint("a pin already leads to its snapshots: leave them out")),
            (None, is_listed) => {
                let snapshots = if is_listed {
                    self.list(peer, spec)?
                } else {
                    self.told(peer, spec, &request.snapshots)?
                };
                Ok(Resolved { job: job::resolve_all(spec, snapshots).map(Arc::new)?, pin: None })
            }
        }
    }

    /// Looks at the data of each source.
    pub(super) fn list(&self, peer: Peer, spec: &v1::JobSpec) -> Result<Vec<Arc<Snapshot>>, Fault> {
        let listed = spec.sources.iter().map(|source| {
            let snapshot = match set_of(source) {
                Some(set) => self.catalogued(peer, spec, source, set),
                None => self.source(peer, spec, source).and_then(|source| self.snapshot(&source)),
            };
            snapshot.map_err(|fault| naming(source, fault))
        });
        listed.collect()
    }

    /// Reads what a source names; a folder as far as it has changed since it was listed.
    fn snapshot(&self, source: &SourceSpec) -> Result<Arc<Snapshot>, Fault> {
        let limits = CatalogLimits::default();
        let opened = match source {
            SourceSpec::Folder { root, extensions } => {
                self.listings.open(root, extensions.as_deref(), &limits)
            }
            SourceSpec::Shards(shards) => self.listings.open_shards(shards, &limits),
            _ => catalog::open(source, &limits).map(Arc::new),
        };
        opened.map_err(|error| fault(&error))
    }

    /// The directory of each source, without a look at what is in it.
    pub(super) fn data_roots(&self, peer: Peer, spec: &v1::JobSpec) -> Result<Vec<Option<Arc<Root>>>, Fault> {
        let opened = spec.sources.iter().map(|source| {
            if let Some(set) = set_of(source) {
                return self.root_of_set(peer, set).map(Some).map_err(|fault| naming(source, fault));
            }
            let root = self.source(peer, spec, source).and_then(|source| {
                let root = data_root(&source).map(Root::open).transpose();
                root.map_err(|error| fault(&CatalogError::from(error)))
            });
            root.map_err(|fault| naming(source, fault))
        });
        opened.collect()
    }

    /// The snapshots that another process was told, over the directories of this one.
    fn told(&self, peer: Peer, spec: &v1::JobSpec, told: &[Vec<u8>]) -> Result<Vec<Arc<Snapshot>>, Fault> {
        let roots = self.data_roots(peer, spec)?;
        if told.len() != roots.len() {
            return Err(Fault::invalid(format!("{} snapshots for {} sources", told.len(), roots.len())));
        }
        let read = told.iter().zip(roots).enumerate().map(|(index, (bytes, root))| {
            let (file, bytes) = (format!("snapshot {index}"), bytes.clone());
            let snapshot = Snapshot::from_parquet(&file, bytes.into(), None, root, &CatalogLimits::default());
            snapshot.map(Arc::new).map_err(|error| fault(&error))
        });
        read.collect()
    }

    /// A source as the catalogue reads it, where the caller may.
    fn source(&self, peer: Peer, spec: &v1::JobSpec, source: &v1::Source) -> Result<SourceSpec, Fault> {
        check_unselected(source)?;
        match &source.origin {
            None => Err(Fault::invalid("a source without an origin")),
            Some(v1::source::Origin::Dataset(_)) => Err(Fault::internal("a data set is opened by itself")),
            Some(v1::source::Origin::Folder(folder)) => {
                let root = self.roots.check(peer, &folder.path)?;
                let extensions = (!folder.extensions.is_empty()).then(|| folder.extensions.clone());
                Ok(SourceSpec::Folder { root, extensions })
            }
            Some(v1::source::Origin::Frames(frames)) => {
                let root = self.roots.check(peer, &frames.path)?;
                let extensions = (!frames.extensions.is_empty()).then(|| frames.extensions.clone());
                Ok(SourceSpec::Frames { root, extensions, classes: !frames.no_classes })
            }
            Some(v1::source::Origin::List(list)) => {
                let file = self.roots.check(peer, &list.path)?;
                let root = match list.root.as_str() {
                    "" => file.parent().unwrap_or(&file).to_owned(),
                    root => self.roots.check(peer, root)?,
                };
                Ok(SourceSpec::List {
                    file,
                    root,
                    format: list_format(list.format()),
                    columns: columns(&list.columns)?,
                })
            }
            Some(v1::source::Origin::Records(records)) => {
                let root =
                    if records.root.is_empty() { None } else { Some(self.roots.check(peer, &records.root)?) };
                let json_lines = records.json_lines.clone().into_bytes();
                Ok(SourceSpec::Records { root, json_lines, columns: columns(&records.columns)? })
            }
            Some(v1::source::Origin::Shards(shards)) => self.shards(peer, spec, shards),
            Some(v1::source::Origin::Range(range)) => {
                Ok(SourceSpec::Range { rows: range.rows, identity: range.identity.clone() })
            }
        }
    }
}

impl Service {
    /// Shards, all of which lie beneath one folder that the caller may read.
    fn shards(&self, peer: Peer, spec: &v1::JobSpec, shards: &v1::Shards) -> Result<SourceSpec, Fault> {
        let root = catalog::root_of(&shards.paths).map_err(|error| fault(&error))?;
        let root = self.roots.check(peer, root.to_str().unwrap_or_default())?;
        let format = match shards.format() {
            v1::ShardFormat::Unspecified => None,
            v1::ShardFormat::Tar => Some(catalog::ShardFormat::Tar),
            v1::ShardFormat::Tfrecord => Some(catalog::ShardFormat::TfRecord),
            v1::ShardFormat::Parquet => Some(catalog::ShardFormat::Parquet),
        };
        let columns = catalogued::columns(spec);
        Ok(SourceSpec::Shards(catalog::Shards { root, patterns: shards.paths.clone(), format, columns }))
    }
}

/// Runs what blocks off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Fault::internal(format!("resolve: {error}"))).and_then(|done| done)
}

/// The snapshots of a job as Parquet, or none where they are too large for a message.
fn tell(job: &Job) -> Result<Vec<Vec<u8>>, Fault> {
    let mut told = Vec::new();
    for source in &job.sources {
        told.push(source.snapshot.to_parquet().map_err(|error| fault(&error))?);
        if told.iter().map(Vec::len).sum::<usize>() > TOLD_BYTES_MAX {
            return Ok(Vec::new());
        }
    }
    Ok(told)
}

fn naming(source: &v1::Source, fault: Fault) -> Fault {
    match source.name.as_str() {
        "" => fault,
        name => fault.context(format!("source {name}")),
    }
}

/// The directory that a source's paths lie in.
fn data_root(source: &SourceSpec) -> Option<&PathBuf> {
    match source {
        SourceSpec::Folder { root, .. } | SourceSpec::Frames { root, .. } | SourceSpec::List { root, .. } => {
            Some(root)
        }
        SourceSpec::Records { root, .. } => root.as_ref(),
        SourceSpec::Shards(shards) => Some(&shards.root),
        SourceSpec::Range { .. } => None,
    }
}

/// The paths of a source as the client gave them.
fn paths(source: &v1::Source) -> Vec<String> {
    let given = match &source.origin {
        Some(v1::source::Origin::Folder(folder)) => vec![&folder.path],
        Some(v1::source::Origin::Frames(frames)) => vec![&frames.path],
        Some(v1::source::Origin::List(list)) => vec![&list.path, &list.root],
        Some(v1::source::Origin::Records(records)) => vec![&records.root],
        Some(v1::source::Origin::Dataset(set)) => catalogued::paths(set),
        // The folder that they lie beneath is told by the snapshot.
        Some(v1::source::Origin::Shards(_) | v1::source::Origin::Range(_)) | None => Vec::new(),
    };
    given.into_iter().filter(|path| !path.is_empty()).cloned().collect()
}

fn list_format(format: v1::ListFormat) -> Option<catalog::Format> {
    match format {
        v1::ListFormat::Unspecified => None,
        v1::ListFormat::Csv => Some(catalog::Format::Csv),
        v1::ListFormat::Jsonl => Some(catalog::Format::Jsonl),
        v1::ListFormat::Tsv => Some(catalog::Format::Tsv),
        v1::ListFormat::Parquet => Some(catalog::Format::Parquet),
    }
}

fn columns(columns: &[v1::Column]) -> Result<Vec<catalog::ColumnSpec>, Fault> {
    columns.iter().map(column).collect()
}

fn column(column: &v1::Column) -> Result<catalog::ColumnSpec, Fault> {
    use catalog::ColumnKind;
    let size = column.size;
    let kind = match column.kind() {
        v1::ColumnKind::Unspecified => {
            let hint = "name the kind, or give no columns at all to have all inferred";
            return Err(Fault::invalid(format!("column {:?} without a kind", column.name)).hint(hint));
        }
        v1::ColumnKind::Path => ColumnKind::Path,
        v1::ColumnKind::Int => ColumnKind::Int,
        v1::ColumnKind::Float => ColumnKind::Float,
        v1::ColumnKind::FloatVector => ColumnKind::FloatVector { len: (size > 0).then_some(size) },
        v1::ColumnKind::MultiHot if size > 0 => ColumnKind::MultiHot { classes: size },
        v1::ColumnKind::MultiHot => {
            return Err(Fault::invalid(format!(
                "multi-hot column {:?} without the number of classes",
                column.name
            )));
        }
        v1::ColumnKind::Weight => ColumnKind::Weight,
        v1::ColumnKind::Text => ColumnKind::Text,
        v1::ColumnKind::Tokens => ColumnKind::Tokens,
    };
    Ok(catalog::ColumnSpec { name: column.name.clone(), kind })
}
