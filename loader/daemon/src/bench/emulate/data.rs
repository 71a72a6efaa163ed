//! The made-up data: files of the published sizes and layout, filled with random bytes, made once and used again.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::workload::{Layout, Model};
use crate::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, Snapshot, SourceSpec};
use crate::error::{Fault, Kind};
use crate::progress::Bar;

/// Says whose folder it is, and what is in it.
const MANIFEST: &str = "forebay-emulate.json";
/// What is made where nobody says how much.
const DEFAULT_BYTES: u64 = 4_000_000_000;
/// Files of one folder; a million in one is slow to list on many file systems.
const FILES_A_FOLDER: u64 = 1000;
/// A TFRecord's length and checksum before a record, and the checksum behind it.
const HEAD_BYTES: u64 = 12;
const FRAME_BYTES: u64 = 16;
/// What a disk is taken to write, for the announcement alone.
const ANNOUNCED_BYTES_PER_S: u64 = 300_000_000;
const BLOCK_BYTES: usize = 1 << 20;

/// A data set on disk.
pub struct Data {
    /// Its folder.
    pub root: PathBuf,
    /// Files.
    pub files: u64,
    /// Bytes of all samples.
    pub bytes: u64,
    /// Bytes that this call wrote; 0 where all was there.
    pub made_bytes: u64,
    /// The samples: columns `key`, `path` and, in a container of records, `offset` and `len`.
    pub snapshot: Arc<Snapshot>,
}

/// One file to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FilePlan {
    index: u64,
    samples: u64,
    sample_bytes: u64,
    framed: bool,
}

impl FilePlan {
    fn name(&self, suffix: &str) -> String {
        format!("{:04}/{:07}.{suffix}", self.index / FILES_A_FOLDER, self.index)
    }

    fn record_bytes(&self) -> u64 {
        self.sample_bytes + if self.framed { FRAME_BYTES } else { 0 }
    }

    fn file_bytes(&self) -> u64 {
        self.samples * self.record_bytes()
    }
}

/// Whether samples are records of a framed container, and read by their byte range.
pub fn framed(layout: &Layout) -> bool {
    layout.container == "TFRecord"
}

/// Makes what is missing of the data of `model` beneath `dir`: `limit_bytes` at most, what is there already where
/// that is absent. `announce` is told before anything is written.
///
/// # Errors
/// Invalid: a folder that holds something else, or no room. Unavailable: what writing says.
pub fn make(
    model: Model,
    dir: &Path,
    limit_bytes: Option<u64>,
    announce: &mut dyn FnMut(String),
) -> Result<Data, Fault> {
    let root = dir.join(model.name());
    let known = manifest(&root)?;
    let layout = model.layout();
    let limit_bytes = limit_bytes.or(known).unwrap_or(DEFAULT_BYTES);
    room(&root, limit_bytes.saturating_sub(known.unwrap_or(0)))?;
    let plans = plan(&layout, limit_bytes);
    if plans.is_empty() {
        let message =
            format!("{:.3} GB hold no sample of {} bytes", limit_bytes as f64 / 1e9, layout.sample_bytes);
        return Err(Fault::invalid(message).hint("raise --emulate-gb"));
    }
    let missing = missing(&root, &layout, &plans);
    let made_bytes = missing.iter().map(FilePlan::file_bytes).sum();
    if made_bytes > 0 {
        write_all(&root, &layout, &missing, made_bytes, announce)?;
    }
    let text = serde_json::json!({ "forebay": "emulate 1", "model": model.name(), "bytes": limit_bytes.max(known.unwrap_or(0)) });
    fs::write(root.join(MANIFEST), text.to_string()).map_err(|error| written(&root, &error))?;
    let bytes = plans.iter().map(|plan| plan.samples * plan.sample_bytes).sum();
    let snapshot = Arc::new(snapshot(&root, &layout, &plans)?);
    Ok(Data { root, files: plans.len() as u64, bytes, made_bytes, snapshot })
}

/// The size that a folder of ours was made with.
fn manifest(root: &Path) -> Result<Option<u64>, Fault> {
    let text = fs::read_to_string(root.join(MANIFEST)).ok();
    let known =
        text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()?["bytes"].as_u64());
    let holds_something = || fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
    if known.is_none() && holds_something() {
        let message = format!("{} holds something that no emulation made", root.display());
        return Err(Fault::invalid(message).hint("name another DIR, or empty that folder"));
    }
    Ok(known)
}

/// Files whose samples make `limit_bytes` at most. Those of a smaller limit are the first of a larger one's.
fn plan(layout: &Layout, limit_bytes: u64) -> Vec<FilePlan> {
    let (mut plans, mut left) = (Vec::new(), limit_bytes);
    loop {
        let index = plans.len() as u64;
        let sample_bytes = sample_bytes(layout, index);
        let samples = layout.samples_per_file.min(left / sample_bytes);
        if samples == 0 {
            return plans;
        }
        left -= samples * sample_bytes;
        plans.push(FilePlan { index, samples, sample_bytes, framed: framed(layout) });
    }
}

/// Bytes of the samples of a file: normal, cut two deviations above the mean and as far below as they stay positive.
fn sample_bytes(layout: &Layout, file: u64) -> u64 {
    let (mean, deviation) = (layout.sample_bytes as f64, layout.sample_bytes_stdev as f64);
    let low = (mean - 2.0 * deviation).max(1.0);
    (mean + deviation * normal(file)).clamp(low, mean + 2.0 * deviation) as u64
}

/// A nearly normal number of mean 0 and deviation 1: the sum of twelve uniform ones, less six.
fn normal(file: u64) -> f64 {
    let mut bytes = [0; 48];
    random("size", file).fill(&mut bytes);
    let uniform = |four: &[u8]| f64::from(u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    bytes.chunks_exact(4).map(uniform).sum::<f64>() / f64::from(u32::MAX) - 6.0
}

fn random(purpose: &str, file: u64) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("forebay emulated data 1");
    hasher.update(purpose.as_bytes()).update(&file.to_le_bytes());
    hasher.finalize_xof()
}

/// A file that is longer than planned begins with what is planned.
fn missing(root: &Path, layout: &Layout, plans: &[FilePlan]) -> Vec<FilePlan> {
    let fits = |plan: &&FilePlan| {
        let there = fs::metadata(root.join(plan.name(layout.suffix))).map_or(0, |meta| meta.len());
        if layout.samples_per_file > 1 { there < plan.file_bytes() } else { there != plan.file_bytes() }
    };
    plans.iter().filter(fits).copied().collect()
}

fn write_all(
    root: &Path,
    layout: &Layout,
    plans: &[FilePlan],
    bytes: u64,
    announce: &mut dyn FnMut(String),
) -> Result<(), Fault> {
    fs::create_dir_all(root).map_err(|error| written(root, &error))?;
    room(root, bytes)?;
    announce(format!(
        "making {:.2} GB of random bytes in {} {} files beneath {}, once: some {:.0} s where the disk writes 0.3 GB/s",
        bytes as f64 / 1e9,
        plans.len(),
        layout.container,
        root.display(),
        (bytes / ANNOUNCED_BYTES_PER_S).max(1)
    ));
    let (mut bar, mut done) = (Bar::new("writing", "MB"), 0);
    for plan in plans {
        let path = root.join(plan.name(layout.suffix));
        write_file(plan, &path, &mut |bytes_more| {
            done += bytes_more;
            bar.show(done / 1_000_000, bytes / 1_000_000);
        })
        .map_err(|error| written(&path, &error))?;
    }
    bar.clear();
    // What waits to be written can't be dropped from the page cache, and would be written while we measure.
    let folder = fs::File::open(root).map_err(|error| written(root, &error))?;
    rustix::fs::syncfs(folder).map_err(|errno| written(root, &errno.into()))
}

fn written(path: &Path, error: &io::Error) -> Fault {
    Fault::from_error(Kind::Unavailable, error).context(format!("write {}", path.display()))
}

/// Checks that `bytes` more, and a twentieth, fit on the disk beneath a folder that may not be there yet.
fn room(root: &Path, bytes: u64) -> Result<(), Fault> {
    let there = root.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    let free = there.map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if bytes.saturating_add(bytes / 20) <= free {
        return Ok(());
    }
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let message =
        format!("{} has {:.1} GB free, the data takes {:.1} GB more", root.display(), gb(free), gb(bytes));
    Err(Fault::invalid(message).hint("lower --emulate-gb, or name a DIR on another disk"))
}

/// Writes under another name first, so that a file of the right name is a whole one.
fn write_file(plan: &FilePlan, path: &Path, wrote: &mut dyn FnMut(u64)) -> io::Result<()> {
    fs::create_dir_all(path.parent().expect("a name has a folder"))?;
    let part = path.with_extension("part");
    let mut file = BufWriter::with_capacity(BLOCK_BYTES, fs::File::create(&part)?);
    let (mut bytes, mut block) = (random("bytes", plan.index), vec![0; BLOCK_BYTES]);
    for _ in 0..plan.samples {
        if plan.framed {
            file.write_all(&plan.sample_bytes.to_le_bytes())?;
            file.write_all(&[0; 4])?;
        }
        let mut left = plan.sample_bytes;
        while left > 0 {
            let take = left.min(BLOCK_BYTES as u64) as usize;
            bytes.fill(&mut block[..take]);
            file.write_all(&block[..take])?;
            left -= take as u64;
            wrote(take as u64);
        }
        if plan.framed {
            file.write_all(&[0; 4])?;
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(part, path)
}

fn snapshot(root: &Path, layout: &Layout, plans: &[FilePlan]) -> Result<Snapshot, Fault> {
    let framed = framed(layout);
    let mut lines = Vec::new();
    let mut key = 0;
    for plan in plans {
        let name = plan.name(layout.suffix);
        for sample in 0..plan.samples {
            let _ = write!(lines, "{{\"key\":{key},\"path\":\"{name}\"");
            if framed {
                let offset = sample * plan.record_bytes() + HEAD_BYTES;
                let _ = write!(lines, ",\"offset\":{offset},\"len\":{}", plan.sample_bytes);
            }
            lines.extend_from_slice(b"}\n");
            key += 1;
        }
    }
    let column = |name: &str, kind| ColumnSpec { name: name.to_owned(), kind };
    let mut columns = vec![column("key", ColumnKind::Int), column("path", ColumnKind::Path)];
    if framed {
        columns.extend([column("offset", ColumnKind::Int), column("len", ColumnKind::Int)]);
    }
    let records = SourceSpec::Records { root: Some(root.to_owned()), json_lines: lines, columns };
    catalog::open(&records, &CatalogLimits::default())
        .map_err(|error| Fault::from_error(Kind::Invalid, &error).maybe_hint(error.hint()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(model: Model, dir: &Path, mb: u64) -> (Data, Vec<String>) {
        let mut said = Vec::new();
        let data = make(model, dir, Some(mb * 1_000_000), &mut |line| said.push(line)).expect("room");
        (data, said)
    }

    #[test]
    fn data_is_made_once_and_grows() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, said) = made(Model::RetinaNet, dir.path(), 1);
        assert_eq!((first.files, first.made_bytes, first.bytes), (3, 3 * 322_957, 3 * 322_957));
        assert!(said[0].contains("0.00 GB of random bytes in 3 JPEG files"), "{said:?}");
        let (again, said) = made(Model::RetinaNet, dir.path(), 1);
        assert_eq!((again.made_bytes, said.len()), (0, 0));
        let (more, _) = made(Model::RetinaNet, dir.path(), 2);
        assert_eq!((more.files, more.made_bytes), (6, 3 * 322_957));
        let kept = make(Model::RetinaNet, dir.path(), None, &mut |_| {}).expect("it is there");
        assert_eq!((kept.files, kept.made_bytes), (6, 0), "what was made last is the default");
    }

    #[test]
    fn records_lie_where_the_snapshot_says() {
        let dir = tempfile::tempdir().expect("a folder");
        let (data, _) = made(Model::ResNet50, dir.path(), 1);
        assert_eq!((data.files, data.snapshot.len()), (1, 8));
        let file = fs::read(data.root.join("0000/0000000.tfrecord")).expect("a file");
        assert_eq!(file.len(), 8 * (114_660 + 16));
        let column = |name: &str, row| data.snapshot.column(name).expect("a column").int(row) as usize;
        let (offset, len) = (column("offset", 7), column("len", 7));
        assert_eq!(u64::from_le_bytes(file[offset - 12..offset - 4].try_into().expect("eight")), 114_660);
        assert_eq!((offset + len + 4, len), (file.len(), 114_660));
        let (more, _) = made(Model::ResNet50, dir.path(), 2);
        assert_eq!((more.files, more.snapshot.len()), (1, 17), "a file that was cut short grows");
        let (less, said) = made(Model::ResNet50, dir.path(), 1);
        assert_eq!((less.snapshot.len(), said.len()), (8, 0), "less is the beginning of more");
    }

    #[test]
    fn sizes_are_spread_as_published() {
        let layout = Model::UNet3d.layout();
        let sizes: Vec<f64> = (0..4000).map(|file| sample_bytes(&layout, file) as f64).collect();
        let mean = sizes.iter().sum::<f64>() / 4000.0;
        let deviation = (sizes.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / 4000.0).sqrt();
        assert!((mean / 146_600_628.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((0.85..1.02).contains(&(deviation / 68_341_808.0)), "two deviations are kept: {deviation}");
        assert!(sizes.iter().all(|size| *size <= layout.sample_bytes_max() as f64));
    }

    #[test]
    fn what_cannot_work_is_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let small = make(Model::UNet3d, dir.path(), Some(1_000_000), &mut |_| {}).err().expect("too small");
        assert!(small.to_string().contains("hold no sample"), "{small}");
        let huge =
            make(Model::CosmoFlow, dir.path(), Some(1 << 54), &mut |_| {}).err().expect("no such disk");
        assert!(huge.to_string().contains("GB free") && huge.hint.is_some(), "{huge}");
        let foreign = dir.path().join("retinanet");
        fs::create_dir_all(&foreign).expect("a folder");
        fs::write(foreign.join("thesis.tex"), "x").expect("a file");
        let refused =
            make(Model::RetinaNet, dir.path(), Some(1_000_000), &mut |_| {}).err().expect("not ours");
        assert!(refused.to_string().contains("no emulation made"), "{refused}");
    }
}
