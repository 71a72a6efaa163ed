//! One shard, opened and walked: its samples with the places of their bytes, and small texts as they are.

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustix::fs::{Advice, FileType, OFlags};

use super::ShardFormat;
use super::parquet::parquet;
use super::sheet::{Indexed, Sheet};
use crate::catalog::error::CatalogError;
use crate::catalog::limits::CatalogLimits;
use crate::catalog::stamp::{Stamp, keeps_times};
use crate::container::tar::Tar;
use crate::container::tfrecord::Records;
use crate::container::webdataset::{Group, Grouper};
use crate::container::{ContainerError, Example, Feature, ReadAt, Window};
use crate::storage::Root;

/// Fields of a tar shard that are texts by their extension, as in WebDataset; they are kept in memory.
pub(super) const TEXTS: [&str; 5] = ["txt", "text", "transcript", "json", "jsn"];
/// Those that are numbers, where all of them are.
pub(super) const NUMBERS: [&str; 7] = ["cls", "cls2", "class", "count", "index", "inx", "id"];

/// A longer text belongs in a file of its own.
const TEXT_BYTES_MAX: u64 = 64 << 10;

/// A shard's file as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: u64,
    pub(super) stamp: Stamp,
    /// Whether its file system says when it was changed.
    pub(super) dated: bool,
}

/// Opens a shard, and tells how it is.
pub(super) fn open(root: &Arc<Root>, path: &[u8]) -> Result<(File, Seen), CatalogError> {
    let failed = |action, errno: rustix::io::Errno| CatalogError::Io {
        action,
        path: root.display(path),
        source: errno.into(),
    };
    // NONBLOCK, so that a pipe among the shards holds nobody.
    let opened = root.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
    let opened = opened.map_err(|errno| match errno {
        rustix::io::Errno::XDEV => CatalogError::LinkLeaves { path: root.display(path) },
        _ => failed("open", errno),
    })?;
    let stat = rustix::fs::fstat(&opened).map_err(|errno| failed("stat", errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(CatalogError::Pattern { pattern: root.display(path), detail: "is no regular file" });
    }
    let dated = rustix::fs::fstatfs(&opened).is_ok_and(|found| keeps_times(found.f_type as u64));
    Ok((File::from(opened), Seen { bytes: stat.st_size as u64, stamp: Stamp::of(&stat), dated }))
}

/// Walks an opened shard. One that changed meanwhile is an error.
pub(super) fn walk(
    root: &Arc<Root>,
    path: &[u8],
    (file, seen): (File, Seen),
    format: ShardFormat,
    limits: &CatalogLimits,
) -> Result<Indexed, CatalogError> {
    let shown = root.display(path);
    // Headers are read here and there: the kernel's own reading ahead would fetch the samples too.
    let _ = rustix::fs::fadvise(file.as_fd(), 0, None, Advice::Random);
    let again = file.try_clone();
    let walked = match format {
        ShardFormat::Tar => tar(file, seen.bytes, &shown, limits),
        ShardFormat::TfRecord => tfrecord(file, seen.bytes, &shown, limits),
        ShardFormat::Parquet => parquet(file, seen.bytes, &shown, limits),
    };
    let after = again.ok().and_then(|file| rustix::fs::fstat(&file).ok());
    let same = after.is_some_and(|stat| stat.st_size as u64 == seen.bytes && Stamp::of(&stat) == seen.stamp);
    if same { walked } else { Err(CatalogError::ShardChanged { file: shown }) }
}

fn refused(file: &str) -> impl Fn(ContainerError) -> CatalogError {
    move |source| CatalogError::Container { file: file.to_owned(), source }
}

/// Samples of a tar archive, as WebDataset has it.
pub(super) fn tar<R: ReadAt>(
    source: R,
    bytes: u64,
    file: &str,
    limits: &CatalogLimits,
) -> Result<Indexed, CatalogError> {
    let (mut tar, mut grouper, mut sheet) =
        (Tar::new(source, bytes), Grouper::default(), Sheet::new(file, limits));
    while let Some(member) = tar.next_member().map_err(refused(file))? {
        if let Some(group) = grouper.add(member) {
            add_group(&mut sheet, &mut tar, group)?;
        }
    }
    if let Some(group) = grouper.finish() {
        add_group(&mut sheet, &mut tar, group)?;
    }
    let (passed, others) = (tar.passed(), grouper.others);
    if passed.links + passed.devices + others > 0 {
        let (links, devices) = (passed.links, passed.devices);
        tracing::info!(
            shard = file,
            links,
            devices,
            others,
            "members of the archive that belong to no sample"
        );
    }
    Ok(sheet.finish())
}

fn add_group<R: ReadAt>(sheet: &mut Sheet<'_>, tar: &mut Tar<R>, group: Group) -> Result<(), CatalogError> {
    let name = utf8(&group.base);
    if let Some(field) = group.twice {
        sheet.left.add(|| format!("{name} has two members .{field}"));
        return Ok(());
    }
    sheet.begin(&name)?;
    for part in group.parts {
        let field = part.field.as_str();
        sheet.place(field, part.member.offset, part.member.len)?;
        if !TEXTS.contains(&field) && !NUMBERS.contains(&field) {
            continue;
        }
        if part.member.len > TEXT_BYTES_MAX {
            sheet.unfit(field, || format!("it has {} bytes, the limit is {TEXT_BYTES_MAX}", part.member.len));
            continue;
        }
        let bytes =
            tar.bytes_of(&part.member, TEXT_BYTES_MAX as usize).map_err(|source| sheet.refuse(source))?;
        match str::from_utf8(bytes) {
            Ok(text) => sheet.text(field, text)?,
            Err(_) => sheet.unfit(field, || "it is not UTF-8".to_owned()),
        }
    }
    Ok(())
}

/// Features of the examples in a TFRecord file.
pub(super) fn tfrecord<R: ReadAt>(
    source: R,
    bytes: u64,
    file: &str,
    limits: &CatalogLimits,
) -> Result<Indexed, CatalogError> {
    let (mut records, mut sheet) = (Records::new(source, bytes), Sheet::new(file, limits));
    while let Some(record) = records.next_record().map_err(refused(file))? {
        let example = Example::read(records.window(), record).map_err(refused(file))?;
        sheet.begin(&sheet.len().to_string())?;
        sheet.place(super::RECORD, record.offset, record.len)?;
        for (name, feature) in &example.features {
            add_feature(&mut sheet, records.window(), name, feature)?;
        }
    }
    Ok(sheet.finish())
}

fn add_feature<R: ReadAt>(
    sheet: &mut Sheet<'_>,
    window: &mut Window<R>,
    name: &str,
    feature: &Feature,
) -> Result<(), CatalogError> {
    let count = match feature {
        Feature::Floats(values) => return sheet.floats(name, values),
        Feature::Ints(values) => match values[..] {
            [value] => return sheet.int(name, value),
            _ => values.len(),
        },
        Feature::Bytes(values) => match values[..] {
            [(offset, len)] => {
                sheet.place(name, offset, len)?;
                let text = text(window, offset, len).map_err(|source| sheet.refuse(source))?;
                return text.map_or(Ok(()), |text| sheet.text(name, &text));
            }
            _ => values.len(),
        },
    };
    sheet.unfit(name, || format!("it has {count} values, and only floats may have several"));
    Ok(())
}

/// A value that is text and short. An image is told by its first bytes, without the rest.
fn text<R: ReadAt>(window: &mut Window<R>, offset: u64, len: u64) -> Result<Option<String>, ContainerError> {
    const FIRST: usize = 16;
    if len > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let first = str::from_utf8(window.get(offset, FIRST.min(len as usize))?);
    // Where the first bytes end inside of a letter, the rest decides.
    if first.is_err_and(|error| error.error_len().is_some()) {
        return Ok(None);
    }
    let bytes = window.get(offset, len as usize)?;
    Ok(str::from_utf8(bytes).ok().map(str::to_owned))
}

/// A name as text: bytes that are no UTF-8 as `\xff`.
pub(super) fn utf8(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| write!(text, "\\x{byte:02x}").expect("a string takes all"));
    }
    text
}
