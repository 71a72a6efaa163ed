//! Makes a data set of photograph-like JPEGs in class folders, for the demo, the benchmark and the tests.
//!
//! The pictures have the sizes and the bytes per pixel of ImageNet's (a mean of about 110 KB and 0.20 megapixel), so
//! that what is measured on them holds for real ones, and their class can be learned. A picture is a function of
//! the seed, the class and its number: thread count, order and resumption change no byte.

mod encode;
mod noise;
mod scene;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use serde::{Deserialize, Serialize};

use self::noise::SplitMix64;

/// What to make, and where.
#[derive(Debug, Clone)]
pub struct SynthOptions {
    /// The folder that gets `train/`, `val/` and `SYNTH.json`.
    pub directory: PathBuf,
    /// Number of classes, 1..=1000.
    pub classes: u32,
    /// Number of pictures over all classes; every fifth of a class goes to `val/`.
    pub images: u32,
    /// Names the whole set: the same seed gives the same bytes.
    pub seed: u64,
    /// How large the pictures are.
    pub size: SynthSize,
    /// Threads that draw; `None` takes one a core.
    pub threads: Option<usize>,
}

/// How large the pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SynthSize {
    /// ImageNet's distribution: most sides near 500 pixels, a few of a megapixel, some thumbnails.
    Photo,
    /// Every side at most 64 pixels, for tests.
    Tiny,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynthReport {
    /// Pictures in `train/`.
    pub train_images: u32,
    /// Pictures in `val/`.
    pub val_images: u32,
    /// Pictures that this call drew; the others were there already.
    pub drawn_images: u32,
    /// Bytes of all pictures.
    pub bytes: u64,
}

/// Why a data set could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// The folder holds something that is no synthetic data set.
    #[error("{directory} is not empty and holds no synthetic data set")]
    NotEmpty {
        /// The folder.
        directory: PathBuf,
    },
    /// The folder holds a synthetic data set of another recipe.
    #[error("{directory} holds another synthetic data set: {found}; asked for: {wanted}")]
    OtherRecipe {
        /// The folder.
        directory: PathBuf,
        /// The recipe it holds, as JSON.
        found: String,
        /// The recipe asked for, as JSON.
        wanted: String,
    },
    /// A number that makes no data set.
    #[error("{what} is {value}, must be {wanted}")]
    Option {
        /// The option's name.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        wanted: String,
    },
    /// The disk is full; what was written whole stays.
    #[error("no space left for {path}")]
    DiskFull {
        /// The file that did not fit.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be made or read.
    #[error("{action} {path}")]
    File {
        /// `create`, `write`, `list` or `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SynthError {
    /// What the caller can do about it, in one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotEmpty { .. } => "name a new or an empty folder",
            Self::OtherRecipe { .. } => {
                "name another folder, remove this one, or ask for the recipe it holds"
            }
            Self::Option { .. } => "`forebay help synth` lists the options and their ranges",
            Self::DiskFull { .. } => {
                "free some space (ten thousand pictures take 1.1 GB) and run the same command: it goes on"
            }
            Self::File { .. } => {
                "check that the folder may be written by this user, and run the same command: it goes on"
            }
        }
    }

    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned(), source }
            }
            _ => Self::File { action, path: path.to_owned(), source },
        }
    }
}

/// Makes the data set, or what is missing of it, on all cores; `progress` gets (done, total) pictures.
///
/// Files appear whole under their names or not at all, so a call that was interrupted can be repeated.
///
/// # Errors
/// [`SynthError::NotEmpty`] and [`SynthError::OtherRecipe`] before anything is touched; [`SynthError::DiskFull`]
/// and [`SynthError::File`] from the first file that could not be written.
pub fn synth(options: &SynthOptions, progress: impl FnMut(usize, usize)) -> Result<SynthReport, SynthError> {
    check(options)?;
    let recipe = Recipe::of(options);
    claim_directory(&options.directory, &recipe)?;
    let pictures = pictures_of(options);
    make_folders(&options.directory, &pictures)?;
    let drawn = draw_missing(options, &pictures, progress)?;
    report(&options.directory, &pictures, drawn)
}

/// What decides every byte of the set; kept beside `train/` and `val/`, where no folder reader takes it for a class.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recipe {
    version: u32,
    generator: String,
    classes: u32,
    images: u32,
    seed: u64,
    size: SynthSize,
}

/// Raised whenever the same options would give other bytes.
const RECIPE_VERSION: u32 = 1;
const RECIPE_NAME: &str = "SYNTH.json";
/// A file being written, beside `train/` and `val/`; renamed into place when whole.
const PARTIAL_PREFIX: &str = ".partial-";
const CLASSES_MAX: u32 = 1000;

impl Recipe {
    fn of(options: &SynthOptions) -> Self {
        let SynthOptions { classes, images, seed, size, .. } = *options;
        Self { version: RECIPE_VERSION, generator: "splitmix64".into(), classes, images, seed, size }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of numbers and names has a JSON form")
    }
}

fn check(options: &SynthOptions) -> Result<(), SynthError> {
    let SynthOptions { classes, images, .. } = *options;
    if !(1..=CLASSES_MAX).contains(&classes) {
        return Err(SynthError::Option {
            what: "classes",
            value: classes.into(),
            wanted: format!("1 to {CLASSES_MAX}"),
        });
    }
    let images_min = classes * VAL_EVERY;
    if images < images_min {
        let wanted = format!("at least {images_min}, so that every class has one in val");
        return Err(SynthError::Option { what: "images", value: images.into(), wanted });
    }
    Ok(())
}

/// Makes the folder this recipe's own, or says whose it is.
fn claim_directory(directory: &Path, recipe: &Recipe) -> Result<(), SynthError> {
    fs::create_dir_all(directory).map_err(SynthError::file("create", directory))?;
    let path = directory.join(RECIPE_NAME);
    match fs::read_to_string(&path) {
        Ok(found) => same_recipe(directory, &found, recipe),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(directory).map_err(SynthError::file("list", directory))?;
            if entries.any(|entry| entry.is_ok_and(|entry| !is_partial(&entry))) {
                return Err(SynthError::NotEmpty { directory: directory.to_owned() });
            }
            write_whole(directory, &path, recipe.to_json().as_bytes(), 0)
        }
        Err(error) => Err(SynthError::file("read", &path)(error)),
    }
}

fn is_partial(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX)
}

fn same_recipe(directory: &Path, found: &str, wanted: &Recipe) -> Result<(), SynthError> {
    if serde_json::from_str::<Recipe>(found).is_ok_and(|found| found == *wanted) {
        return Ok(());
    }
    Err(SynthError::OtherRecipe {
        directory: directory.to_owned(),
        found: found.trim().to_owned(),
        wanted: wanted.to_json(),
    })
}

/// One picture of the set: its class, and its number within the class.
#[derive(Debug, Clone, Copy)]
struct PictureName {
    class: u32,
    number: u32,
}

/// Every fifth picture of a class is for validation.
const VAL_EVERY: u32 = 5;

impl PictureName {
    fn is_val(self) -> bool {
        self.number % VAL_EVERY == VAL_EVERY - 1
    }

    fn folder(self, directory: &Path) -> PathBuf {
        let split = if self.is_val() { "val" } else { "train" };
        directory.join(split).join(format!("class{:03}", self.class))
    }

    fn path(self, directory: &Path) -> PathBuf {
        self.folder(directory).join(format!("{:06}.jpg", self.number))
    }
}

/// All pictures, the classes in turn, so that a set cut short still holds every class.
fn pictures_of(options: &SynthOptions) -> Vec<PictureName> {
    let classes = options.classes;
    (0..options.images).map(|i| PictureName { class: i % classes, number: i / classes }).collect()
}

fn make_folders(directory: &Path, pictures: &[PictureName]) -> Result<(), SynthError> {
    let mut folders: Vec<_> = pictures.iter().map(|picture| picture.folder(directory)).collect();
    folders.sort_unstable();
    folders.dedup();
    folders
        .iter()
        .try_for_each(|folder| fs::create_dir_all(folder).map_err(SynthError::file("create", folder)))
}

/// Draws what is not there yet; returns how many that was.
fn draw_missing(
    options: &SynthOptions,
    pictures: &[PictureName],
    mut progress: impl FnMut(usize, usize),
) -> Result<u32, SynthError> {
    let threads = options.threads.unwrap_or_else(cores).clamp(1, pictures.len());
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (next, stop, sender) = (&next, &stop, sender.clone());
            scope.spawn(move || {
                while let Some(picture) = pictures.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = draw_one(options, *picture, thread);
                    if stop.load(Ordering::Relaxed) || sender.send(result).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut drawn = 0;
        for (done, result) in receiver.iter().enumerate() {
            drawn += result.inspect_err(|_| stop.store(true, Ordering::Relaxed))? as u32;
            progress(done + 1, pictures.len());
        }
        Ok(drawn)
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Draws one picture unless it is there; says whether it drew.
fn draw_one(options: &SynthOptions, picture: PictureName, thread: usize) -> Result<bool, SynthError> {
    let path = picture.path(&options.directory);
    if path.exists() {
        return Ok(false);
    }
    let numbers = [options.seed, picture.class.into(), picture.number.into()];
    let mut draw = SplitMix64::for_purpose("picture", &numbers);
    let size = encode::draw_size(options.size, &mut draw);
    let drawn = scene::draw_picture(picture.class, options.classes, size, &mut draw);
    let jpeg = encode::encode(&drawn, encode::Coding::draw(&mut draw));
    write_whole(&options.directory, &path, &jpeg, thread)?;
    Ok(true)
}

/// Writes a file under another name first, so that its own name only ever shows it whole.
fn write_whole(directory: &Path, path: &Path, bytes: &[u8], thread: usize) -> Result<(), SynthError> {
    let partial = directory.join(format!("{PARTIAL_PREFIX}{}-{thread}", std::process::id()));
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // The first error is the one to tell; a partial file that stays is ignored by every reader.
        drop(fs::remove_file(&partial));
        SynthError::file("write", path)(error)
    })
}

fn report(directory: &Path, pictures: &[PictureName], drawn: u32) -> Result<SynthReport, SynthError> {
    let val = pictures.iter().filter(|picture| picture.is_val()).count() as u32;
    let mut bytes = 0;
    for picture in pictures {
        let path = picture.path(directory);
        bytes += fs::metadata(&path).map_err(SynthError::file("read", &path))?.len();
    }
    Ok(SynthReport { train_images: pictures.len() as u32 - val, val_images: val, drawn_images: drawn, bytes })
}
