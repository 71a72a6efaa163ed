//! PATH and options -> a job, opened here and described for the daemon: both name the same rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_proto::v1::{self, transform::Op};

use super::options::{BenchArgs, Dtype, Stage, Transform};
use crate::catalog::{
    self, CatalogError, CatalogErrorKind, CatalogLimits, Column, ColumnKind, Snapshot, SourceSpec,
};
use crate::error::{Fault, Kind};
use crate::job::{self, Job};

/// Pixels of the shorter side before `eval`'s crop, and of the result.
const EVAL_SIDE: u32 = 256;
const SIDE: u32 = 224;

/// What is measured: the spec as it goes to the daemon, and the job that it means.
pub struct Source {
    /// For Resolve.
    pub spec: v1::JobSpec,
    /// For the bare loops and the stages without a daemon.
    pub job: Arc<Job>,
    /// The column of the images' paths.
    pub path_column: usize,
}

/// Opens the data set at PATH, for `stage`. Reading alone takes any folder of files.
///
/// # Errors
/// NotFound or Invalid, naming the cure.
pub fn open(path: &Path, stage: Stage, args: &BenchArgs) -> Result<Source, Fault> {
    let (local, origin) = origin(path)?;
    let snapshot = match (catalog::open(&local, &CatalogLimits::default()), local) {
        (Ok(snapshot), _) => snapshot,
        (
            Err(CatalogError::NoClasses { .. } | CatalogError::EmptyClasses { .. }),
            SourceSpec::Folder { root, .. },
        ) if matches!(stage, Stage::Read | Stage::ReadFloor) => return raw(&root, args),
        (Err(error @ CatalogError::NoClasses { .. }), _) => {
            let hint = error.hint().unwrap_or_default();
            return Err(fault(&error).hint(format!("{hint}; --stage read takes any folder of files")));
        }
        (Err(error), _) => return Err(fault(&error)),
    };
    let path_column = path_column(&snapshot).ok_or_else(|| no_path_column(&snapshot, path))?;
    let spec = v1::JobSpec {
        sources: vec![v1::Source { origin: Some(origin), ..Default::default() }],
        fields: fields(&snapshot, Some(path_column), &transforms(args.transform, args.dtype)),
        ..spec_of(args)
    };
    let job = Arc::new(job::resolve(&spec, Arc::new(snapshot))?);
    Ok(Source { spec, job, path_column })
}

/// Every file beneath a folder, whatever it is; for reading alone, since nothing says how to decode it.
fn raw(root: &Path, args: &BenchArgs) -> Result<Source, Fault> {
    let mut paths = Vec::new();
    list_files(root, Path::new(""), &mut paths)?;
    if paths.is_empty() {
        return Err(Fault::invalid(format!("{} holds no file", root.display()))
            .hint("give a folder with files in it, or in its folders"));
    }
    paths.sort_unstable();
    let job = subset(args, root, &paths)?;
    Ok(Source { spec: v1::JobSpec::default(), job, path_column: 0 })
}

/// Adds the files beneath `root/folder`, relative to `root`. Links are not followed.
fn list_files(root: &Path, folder: &Path, paths: &mut Vec<String>) -> Result<(), Fault> {
    let at = root.join(folder);
    let failed = |error: std::io::Error| {
        Fault::from_error(Kind::Unavailable, &error).context(format!("list {}", at.display()))
    };
    for entry in std::fs::read_dir(&at).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (folder.join(entry.file_name()), entry.file_type().map_err(failed)?);
        if kind.is_dir() {
            list_files(root, &path, paths)?;
        } else if kind.is_file() {
            let text = path.to_str().ok_or_else(|| {
                Fault::invalid(format!("{} is not UTF-8", path.display())).hint("rename it, or give a list")
            })?;
            paths.push(text.to_owned());
        }
    }
    Ok(())
}

/// A job over `paths` alone, images only: for stages that keep their files in memory.
///
/// # Errors
/// What is wrong with the paths.
pub fn subset(args: &BenchArgs, root: &Path, paths: &[String]) -> Result<Arc<Job>, Fault> {
    let lines: Vec<_> = paths.iter().map(|path| serde_json::json!({ "image": path }).to_string()).collect();
    let columns = vec![catalog::ColumnSpec { name: "image".to_owned(), kind: ColumnKind::Path }];
    let json_lines = lines.join("\n").into_bytes();
    let local = SourceSpec::Records { root: Some(root.to_owned()), json_lines, columns };
    let snapshot = catalog::open(&local, &CatalogLimits::default()).map_err(|error| fault(&error))?;
    let transforms = transforms(args.transform, args.dtype);
    let spec = v1::JobSpec { fields: fields(&snapshot, Some(0), &transforms), ..spec_of(args) };
    job::resolve(&spec, Arc::new(snapshot)).map(Arc::new)
}

fn spec_of(args: &BenchArgs) -> v1::JobSpec {
    let order = v1::Order { sampler: v1::Sampler::Shuffled.into(), seed: args.seed, ..Default::default() };
    // A bad file among a million is no reason to measure nothing; substitutes are counted and reported.
    let policy = v1::BadSamplePolicy::Substitute.into();
    let on_bad_sample = Some(v1::OnBadSample { policy, budget_count: 0 });
    v1::JobSpec { order: Some(order), on_bad_sample, ..Default::default() }
}

/// Opens what PATH names: as a daemon is told of it, and as it is.
///
/// # Errors
/// NotFound or Invalid, naming the cure.
pub(crate) fn look(path: &Path) -> Result<(v1::source::Origin, Snapshot), Fault> {
    let (local, origin) = origin(path)?;
    let snapshot = catalog::open(&local, &CatalogLimits::default()).map_err(|error| fault(&error))?;
    Ok((origin, snapshot))
}

fn origin(given: &Path) -> Result<(SourceSpec, v1::source::Origin), Fault> {
    if let Some(pattern) = given.to_str().filter(|text| catalog::are_shards(text) && !given.is_dir()) {
        return shards(pattern);
    }
    let path = std::fs::canonicalize(given).map_err(|error| {
        Fault::from_error(Kind::NotFound, &error)
            .context(format!("open {}", given.display()))
            .hint("check the spelling, and that it is mounted here")
    })?;
    let text = path.to_str().ok_or_else(|| {
        Fault::invalid(format!("{} is not UTF-8", path.display())).hint("rename it, or link to it")
    })?;
    if path.is_dir() {
        let folder = v1::Folder { path: text.to_owned(), extensions: Vec::new() };
        let local = SourceSpec::Folder { root: path.clone(), extensions: None };
        return Ok((local, v1::source::Origin::Folder(folder)));
    }
    let root: PathBuf = path.parent().unwrap_or(&path).to_owned();
    let list = v1::List { path: text.to_owned(), ..Default::default() };
    let local = SourceSpec::List { file: path, root, format: None, columns: Vec::new() };
    Ok((local, v1::source::Origin::List(list)))
}

/// Tar archives or TFRecord files, by one path or pattern.
fn shards(given: &str) -> Result<(SourceSpec, v1::source::Origin), Fault> {
    let absolute = std::path::absolute(given).map_err(|error| Fault::from_error(Kind::NotFound, &error))?;
    let patterns = vec![absolute.to_string_lossy().into_owned()];
    let root = catalog::root_of(&patterns).map_err(|error| fault(&error))?;
    let origin = v1::Shards { paths: patterns.clone(), ..Default::default() };
    let local = catalog::Shards { root, patterns, format: None, columns: None };
    Ok((SourceSpec::Shards(local), v1::source::Origin::Shards(origin)))
}

fn fault(error: &CatalogError) -> Fault {
    let kind = match error.kind() {
        CatalogErrorKind::Invalid => Kind::Invalid,
        CatalogErrorKind::NotFound => Kind::NotFound,
        CatalogErrorKind::Unavailable => Kind::Unavailable,
    };
    Fault::from_error(kind, error).maybe_hint(error.hint())
}

/// The column of the images, else the first one of files.
pub(crate) fn path_column(snapshot: &Snapshot) -> Option<usize> {
    let files =
        || snapshot.columns().iter().enumerate().filter(|(_, column)| column.kind() == ColumnKind::Path);
    let image = files().find(|(_, column)| column.name() == "image");
    image.or_else(|| files().next()).map(|(index, _)| index)
}

fn no_path_column(snapshot: &Snapshot, given: &Path) -> Fault {
    let names: Vec<_> = snapshot.columns().iter().map(Column::name).collect();
    Fault::invalid(format!("{} has no path column among {}", given.display(), names.join(", ")))
        .hint("call the column of the files `image` or `path`, or end its name in `_path`")
}

/// Column number `image` as an image, and the other columns that hold no files as they are.
pub(crate) fn fields(
    snapshot: &Snapshot,
    image: Option<usize>,
    transforms: &[v1::Transform],
) -> Vec<v1::Field> {
    let kept = |(index, column): &(usize, &Column)| {
        let is_value = column.kind() != ColumnKind::Path && column.name() != job::VALID;
        Some(*index) == image || is_value && !job::is_of_places(snapshot, column)
    };
    let field = |(index, column): (usize, &Column)| {
        let name = column.name().to_owned();
        let transforms = if Some(index) == image { transforms.to_vec() } else { Vec::new() };
        v1::Field { name, transforms, ..Default::default() }
    };
    snapshot.columns().iter().enumerate().filter(kept).map(field).collect()
}

/// What happens to the images.
pub(crate) fn transforms(transform: Transform, dtype: Dtype) -> Vec<v1::Transform> {
    let mut ops = match transform {
        Transform::Train => vec![
            Op::RandomResizedCrop(v1::RandomResizedCrop { size: vec![SIDE], ..Default::default() }),
            Op::RandomHorizontalFlip(v1::RandomHorizontalFlip::default()),
        ],
        Transform::Eval => vec![
            Op::Resize(v1::Resize { size: vec![EVAL_SIDE], ..Default::default() }),
            Op::CenterCrop(v1::CenterCrop { size: vec![SIDE] }),
        ],
    };
    if dtype == Dtype::Float32 {
        ops.push(Op::Normalize(v1::Normalize::default()));
    }
    ops.into_iter().map(|op| v1::Transform { op: Some(op) }).collect()
}
