//! What was found in a shard, kept beside the listings of folders, so that a shard is walked once as long as it stays as it
//! is.
//!
//! One file a shard: a line of JSON, then the table as Parquet. Whatever cannot be read is as good as not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ShardFormat;
use super::sheet::{Indexed, Left, Unfit};
use super::walk::Seen;
use crate::catalog::builder::Builder;
use crate::catalog::fault::Unit;
use crate::catalog::limits::CatalogLimits;
use crate::catalog::list::{Loading, Naming};
use crate::catalog::parquet::{Tables, guarded, reader};
use crate::catalog::stamp::{Stamp, now_ns};
use crate::catalog::stored::Described;
use crate::catalog::table::Table;
use crate::error::with_causes;

/// The layout of the file, and of what is looked for in shards; another one is not read.
const VERSION: u32 = 2;

/// Shards that are kept; the oldest go.
const KEPT: usize = 100_000;

const ENDING: &str = "shard";

/// Locks that sets of shards share.
const LOCKS: u8 = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: u32,
    /// For people.
    path: String,
    bytes: u64,
    stamp: [i64; 3],
    rows: usize,
    columns: Vec<Described>,
    places: Vec<String>,
    left: Left,
    unfit: Vec<Unfit>,
}

/// The folder of what was found in shards.
pub(super) struct Folder<'a>(pub(super) &'a Path);

impl Folder<'_> {
    /// Waits until no other process walks these shards.
    pub(super) fn hold(&self, name: &[u8; 32]) -> Option<File> {
        let lock = self.0.join(format!("{:02}.lock", name[0] % LOCKS));
        let open = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.0)?;
            OpenOptions::new().create(true).append(true).mode(0o600).open(lock)
        };
        let locked = open().and_then(|file| {
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            Ok(file)
        });
        locked
            .map_err(
                |error| tracing::info!(folder = %self.0.display(), %error, "shards are walked each time"),
            )
            .ok()
    }

    /// What is known of a shard, if it is as it was.
    ///
    /// * `path`: the real one.
    pub(super) fn read(
        &self,
        path: &Path,
        seen: Seen,
        format: ShardFormat,
        limits: &CatalogLimits,
    ) -> Option<Indexed> {
        match read(&self.path(path, format), seen, limits) {
            Ok(known) => known,
            Err(error) => {
                tracing::info!(shard = %path.display(), error, "what was kept of a shard is of no use");
                None
            }
        }
    }

    /// Keeps what was found in a shard that nobody has just changed.
    pub(super) fn write(&self, path: &Path, seen: Seen, format: ShardFormat, found: &Indexed) {
        if found.table.is_empty() || !seen.dated || !seen.stamp.is_settled(now_ns()) {
            return;
        }
        if let Err(error) = self.try_write(path, seen, format, found) {
            tracing::info!(shard = %path.display(), error, "what was found in a shard is not kept");
        }
    }

    fn try_write(&self, path: &Path, seen: Seen, format: ShardFormat, found: &Indexed) -> Result<(), String> {
        let Stamp { inode, modified_ns, changed_ns } = seen.stamp;
        let about = About {
            version: VERSION,
            path: path.display().to_string(),
            bytes: seen.bytes,
            stamp: [inode, modified_ns, changed_ns],
            rows: found.table.len(),
            columns: found.table.columns().iter().map(|cells| Described::of(cells.column())).collect(),
            places: found.places.clone(),
            left: found.left.clone(),
            unfit: found.unfit.clone(),
        };
        let mut head = serde_json::to_vec(&about).map_err(|error| error.to_string())?;
        head.push(b'\n');
        let table = found.table.to_parquet("shard").map_err(|error| with_causes(&error))?;
        let kept = self.path(path, format);
        let aside = kept.with_extension(format!("new-{}", std::process::id()));
        let write = || {
            let mut file =
                OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(&head)?;
            file.write_all(&table)?;
            fs::rename(&aside, &kept)
        };
        let written = write().map_err(|error: io::Error| format!("{}: {error}", kept.display()));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }

    /// Keeps the folder small: data sets come and go, and nobody tidies a cache.
    pub(super) fn forget_oldest(&self) {
        let entries = fs::read_dir(self.0).into_iter().flatten().flatten();
        let shards = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == ENDING));
        let mut shards: Vec<_> = shards.map(|entry| entry.path()).collect();
        if shards.len() <= KEPT {
            return;
        }
        shards.sort_by_cached_key(|path| path.metadata().and_then(|found| found.modified()).ok());
        for path in shards.iter().take(shards.len() - KEPT * 3 / 4) {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, path: &Path, format: ShardFormat) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let mut hasher = blake3::Hasher::new_derive_key("forebay catalog shard 1");
        hasher.update(format.name().as_bytes()).update(b"\0").update(path.as_os_str().as_bytes());
        self.0.join(format!("{}.{ENDING}", &hasher.finalize().to_hex()[..32]))
    }
}

fn read(path: &Path, seen: Seen, limits: &CatalogLimits) -> Result<Option<Indexed>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let (mut file, mut line) = (io::BufReader::new(file), Vec::new());
    file.by_ref().take(1 << 20).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    let about: About = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
    let [inode, modified_ns, changed_ns] = about.stamp;
    let same = about.bytes == seen.bytes && Stamp { inode, modified_ns, changed_ns } == seen.stamp;
    if about.version != VERSION || !same {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let naming = Naming { source: about.path.clone(), unit: Unit::Row };
    let table = guarded(&naming, || {
        let loading = Loading { columns: &[], limits, paths: None };
        let tables = Tables {
            reader: reader(bytes::Bytes::from(bytes), &naming)?,
            naming: &naming,
            loading: &loading,
        };
        let mut cells = Vec::new();
        for described in &about.columns {
            let spec =
                described.spec().map_err(|detail| crate::catalog::parquet::damaged(&naming, &detail))?;
            let mut builder = Builder::new(&spec, limits, None).with_gaps();
            tables.read_into(&mut builder)?;
            cells.extend(builder.finish_cells());
        }
        Ok(cells)
    });
    let cells = table.map_err(|error| with_causes(&error))?;
    let whole =
        cells.len() == about.columns.len() && cells.iter().all(|cells| cells.column().len() == about.rows);
    if !whole {
        return Err("its columns are not those that it tells of".to_owned());
    }
    let table = Table::with_columns(about.rows, cells);
    Ok(Some(Indexed { table, places: about.places, left: about.left, unfit: about.unfit }))
}
