//! What an export was made of: enough to make it anew, and to tell that it would be the same.

use std::fs;
use std::path::{Path, PathBuf};

use forebay_plan::Digest;
use serde::{Deserialize, Serialize};

use super::options::{ExportArgs, Format};
use super::picture::Pipeline;
use crate::catalog::dataset::{Part, Selection};
use crate::crash;
use crate::error::{Fault, Kind};

/// The layout of [`Recipe`]; another one is refused.
const VERSION: u32 = 1;

/// Where an export that is whole says what it was made of.
pub const FILE: &str = "recipe.json";
/// The same of one that is not whole yet.
const UNFINISHED: &str = "recipe.json.part";
/// Tells backup programs that everything in here can be had again. Source: <https://bford.info/cachedir/>.
const TAG: &[u8] =
    b"Signature: 8a477f597d28d172789f06886806bc55\n# Made by forebay dataset export; see recipe.json.\n";

/// What an export is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    version: u32,
    /// The program's version, for people: the bytes depend on its encoders.
    pub forebay: String,
    /// The data set's place.
    pub dataset: String,
    /// Its commit.
    pub commit: u64,
    /// The samples and columns that were selected, by content.
    pub snapshot: Digest,
    /// The directory that their paths resolve beneath.
    pub root: String,
    /// How they were selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fraction: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(default)]
    balanced: bool,
    /// What is made.
    pub format: Format,
    /// Samples of a shard.
    pub shard_samples: u64,
    /// The column of the files, or the first of several.
    column: String,
    /// The others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    further_columns: Vec<String>,
    /// What becomes of every image; absent: files are taken as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Pipeline>,
}

impl Recipe {
    /// What was asked for, over what it was asked of.
    pub fn of(
        args: &ExportArgs,
        place: &str,
        commit: u64,
        snapshot: Digest,
        root: String,
        columns: Vec<String>,
    ) -> Self {
        let mut columns = columns.into_iter();
        let pipeline = (args.resize.is_some() || args.crop.is_some()).then(|| Pipeline {
            resize: args.resize,
            crop: args.crop,
            encode: args.encode,
            quality: (args.encode == super::options::Coding::Jpeg).then_some(args.quality),
            columns: args.change.clone(),
        });
        let Selection { split, filter, part } = args.selection();
        Self {
            version: VERSION,
            forebay: env!("CARGO_PKG_VERSION").to_owned(),
            dataset: place.to_owned(),
            commit,
            snapshot,
            root,
            split,
            filter,
            fraction: part.fraction,
            limit: part.limit,
            balanced: part.balanced,
            format: args.format,
            shard_samples: args.shard_samples,
            column: columns.next().unwrap_or_default(),
            further_columns: columns.collect(),
            pipeline,
        }
    }

    /// How its samples were selected.
    pub fn selection(&self) -> Selection {
        let part = Part { fraction: self.fraction, limit: self.limit, balanced: self.balanced };
        Selection { split: self.split.clone(), filter: self.filter.clone(), part }
    }

    /// The columns that are exported, the first of them first.
    pub fn columns(&self) -> Vec<String> {
        std::iter::once(&self.column).chain(&self.further_columns).cloned().collect()
    }

    /// Reads the recipe of an export that is whole.
    ///
    /// # Errors
    /// NotFound: there is none. Corrupt: it makes no sense.
    pub fn read(folder: &Path) -> Result<Self, Fault> {
        let file = folder.join(FILE);
        let text = fs::read(&file).map_err(|error| {
            Fault::from_error(Kind::NotFound, &error)
                .context(format!("read {}", file.display()))
                .hint("--again takes the folder of an export that was finished")
        })?;
        let recipe: Self = serde_json::from_slice(&text).map_err(|error| {
            Fault::from_error(Kind::Corrupt, &error).context(format!("{} is no recipe", file.display()))
        })?;
        if recipe.version != VERSION {
            let message =
                format!("{} is of version {}, this build reads {VERSION}", file.display(), recipe.version);
            return Err(Fault::new(Kind::Corrupt, message));
        }
        Ok(recipe)
    }

    /// Makes the folder, or goes on in one where the same export was stopped; tells whether it is whole already.
    ///
    /// # Errors
    /// Invalid: something else lies there. What the file system says.
    pub fn begin(&self, out: &Path) -> Result<bool, Fault> {
        let failed = |error: std::io::Error| failed(out, &error);
        fs::create_dir_all(out).map_err(failed)?;
        if out.join(FILE).exists() {
            return if Self::read(out)? == *self { Ok(true) } else { Err(other(out)) };
        }
        let text = serde_json::to_vec_pretty(self).expect("names and numbers are JSON");
        match fs::read(out.join(UNFINISHED)) {
            Ok(there) if there == text => {}
            Ok(_) => return Err(other(out)),
            Err(_) => {
                check_empty(out)?;
                whole(&out.join(UNFINISHED), &text).map_err(failed)?;
            }
        }
        // Behind the recipe: a folder with a tag alone would be somebody else's to the next run.
        let tag = out.join("CACHEDIR.TAG");
        if fs::read(&tag).map_or(true, |there| there != TAG) {
            crash::place();
            fs::write(tag, TAG).map_err(failed)?;
        }
        Ok(false)
    }

    /// Marks the export as whole.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(out: &Path) -> Result<(), Fault> {
        crash::place();
        fs::rename(out.join(UNFINISHED), out.join(FILE)).map_err(|error| failed(out, &error))
    }
}

/// What a file that is not whole yet is called behind its name.
const PART: &str = "part";

/// Writes a file that is there whole or not at all.
pub fn whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = PathBuf::from(format!("{}.{PART}", file.display()));
    crash::place();
    fs::write(&part, bytes)?;
    crash::place();
    fs::rename(&part, file)
}

/// Nothing is there but what a run left that was stopped before its recipe was whole.
fn check_empty(out: &Path) -> Result<(), Fault> {
    let left = format!("{UNFINISHED}.{PART}");
    for entry in fs::read_dir(out).map_err(|error| failed(out, &error))? {
        if entry.map_err(|error| failed(out, &error))?.file_name() != *left {
            return Err(other(out));
        }
    }
    Ok(())
}

/// The error of a write.
pub fn failed(path: &Path, error: &std::io::Error) -> Fault {
    Fault::from_error(Kind::Unavailable, error).context(format!("write {}", path.display())).hint(
        "make room, or mend the permissions, and run the same command again: it goes on where it stopped",
    )
}

fn other(out: &Path) -> Fault {
    Fault::invalid(format!("{} holds something else", out.display())).hint("export to a folder of its own")
}
