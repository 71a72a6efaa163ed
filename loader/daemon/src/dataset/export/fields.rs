//! The fields of a sample that are exported: their bytes wherever they lie, and what the file of each ends in.

use std::path::Path;

use crate::catalog::{
    Column, ColumnKind, FrameNames, IMG_EXTENSIONS, Location, Places, Snapshot, ValueError, Values,
    names_column,
};
use crate::decode::{self, DecodeError, ImageFormat};
use crate::error::{Fault, Kind};
use crate::storage::StorageErrorKind;

/// Columns of texts whose names are what their members end in.
const TEXTS: [&str; 5] = ["txt", "text", "transcript", "json", "jsn"];

/// The column of images of any format.
const IMAGE: &str = "image";

/// One that is exported, of all samples.
pub struct Field<'a> {
    /// Its column.
    pub name: &'a str,
    values: Stored<'a>,
    /// Whether it is the first: what it ends in says what it is, and not which field.
    is_first: bool,
}

enum Stored<'a> {
    Files(Places<'a>),
    /// Folders, and the names of the frames in each.
    Clips(Places<'a>, &'a Column),
    Texts(&'a Column),
}

/// What was made of a field of one sample.
pub struct Made {
    /// What its file ends in, without the dot; may be empty.
    pub suffix: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The columns that are exported: those that were asked for, or where none was, the first of files, and of samples that lie in
/// shards all their members.
///
/// # Errors
/// Invalid: no such column, or one that holds neither files nor texts.
pub fn chosen(snapshot: &Snapshot, asked: &[String]) -> Result<Vec<String>, Fault> {
    let of_kind = |kind| move |column: &&Column| column.kind() == kind;
    let columns = || snapshot.columns().iter();
    let names: Vec<_> = columns().map(Column::name).collect();
    let none = |wanted: &str| {
        Fault::invalid(format!("no column of files {wanted}"))
            .hint(format!("the columns are {}; name those of files or texts with --column", names.join(", ")))
    };
    if !asked.is_empty() {
        let is = |name: &&String| Field::of(snapshot, name, false).is_none();
        return asked.iter().find(is).map_or_else(|| Ok(asked.to_vec()), |missing| Err(none(missing)));
    }
    let first = columns().find(of_kind(ColumnKind::Path)).ok_or_else(|| none(""))?;
    let in_shards = |column: &&Column| {
        Places::of_snapshot(snapshot, column.name()).is_some_and(|places| places.are_in_shards())
    };
    if !in_shards(&first) {
        return Ok(vec![first.name().to_owned()]);
    }
    // What an image is called tells what it is; what else is in the sample stands in the order of its columns.
    let mut files: Vec<_> = columns().filter(in_shards).map(|column| column.name().to_owned()).collect();
    files.sort_by_key(|name| name != IMAGE);
    let texts = columns().filter(of_kind(ColumnKind::Text)).map(Column::name);
    files.extend(texts.filter(|name| TEXTS.contains(name)).map(str::to_owned));
    Ok(files)
}

impl<'a> Field<'a> {
    /// These columns.
    pub fn all(snapshot: &'a Snapshot, names: &'a [String]) -> Vec<Self> {
        let field = |(at, name): (usize, &'a String)| Self::of(snapshot, name, at == 0);
        names.iter().enumerate().filter_map(field).collect()
    }

    fn of(snapshot: &'a Snapshot, name: &'a str, is_first: bool) -> Option<Self> {
        let number = snapshot.columns().iter().position(|column| column.name() == name)?;
        let names = names_column(snapshot, number).map(|names| &snapshot.columns()[names]);
        let values = match (Places::of_snapshot(snapshot, name), names) {
            (Some(places), Some(names)) => Stored::Clips(places, names),
            (Some(places), None) => Stored::Files(places),
            (None, _) => {
                Stored::Texts(snapshot.column(name).filter(|column| column.kind() == ColumnKind::Text)?)
            }
        };
        Some(Self { name, values, is_first })
    }

    /// Where a sample's file is its own: its path.
    pub fn own_path(&self, row: u64) -> Option<&'a [u8]> {
        let place = self.place(row)?;
        place.read_extent().is_none().then_some(place.path)
    }

    /// Whether its samples are clips.
    pub fn is_of_clips(&self) -> bool {
        matches!(self.values, Stored::Clips(..))
    }

    /// Whether it has bytes on storage, and is no column of texts.
    pub fn is_of_files(&self) -> bool {
        !matches!(self.values, Stored::Texts(_))
    }

    /// The folder of a clip and its frames; `None`: this is no field of clips.
    ///
    /// # Errors
    /// Invalid: the data set names them so that nobody can read it.
    pub fn clip(&self, row: u64) -> Result<Option<(&'a [u8], FrameNames<'a>)>, Fault> {
        let Stored::Clips(places, names) = &self.values else { return Ok(None) };
        let folder = places.of(row as usize).expect("a snapshot has no gaps").path;
        let names = FrameNames::parse(names.text(row)).map_err(|error| {
            Fault::from_error(Kind::Invalid, &error)
                .hint("name frames as {000001..000120}.jpg, several pieces with a slash between them")
        })?;
        Ok(Some((folder, names)))
    }

    fn place(&self, row: u64) -> Option<Location<'a>> {
        match &self.values {
            Stored::Files(places) => places.of(row as usize),
            Stored::Clips(..) | Stored::Texts(_) => None,
        }
    }

    /// A sample's bytes, which is no clip.
    ///
    /// # Errors
    /// Unavailable and Changed: they did not arrive. Corrupt: the record or page that they lie in is damaged.
    pub fn read(&self, values: &mut Values<'_>, row: u64) -> Result<Made, Fault> {
        let place = match &self.values {
            Stored::Files(places) | Stored::Clips(places, _) => {
                places.of(row as usize).expect("a snapshot has no gaps")
            }
            Stored::Texts(column) => {
                let bytes = column.text(row).as_bytes().to_vec();
                return Ok(Made { suffix: self.suffix_of_text(), bytes });
            }
        };
        let bytes = values.get(&place, u64::MAX).map_err(|error| fault(&error))?.to_vec();
        let suffix = match place.read_extent() {
            None => self.suffix_of_file(place.path),
            Some(_) => self.suffix_of_part(place.path, &bytes),
        };
        Ok(Made { suffix, bytes })
    }

    /// What the folder of a clip ends in.
    pub fn suffix_of_clip(&self) -> String {
        if self.is_first { String::new() } else { plain(self.name) }
    }

    /// What an image ends in that is stored anew.
    pub fn suffix_of_changed(&self, suffix: &str) -> String {
        if self.is_first {
            return suffix.to_owned();
        }
        // `seg.png` of an archive says what it was stored as.
        let name = plain(self.name);
        let stem = IMG_EXTENSIONS.iter().find_map(|ending| name.strip_suffix(ending));
        format!("{}.{suffix}", stem.filter(|stem| !stem.is_empty()).unwrap_or(&name))
    }

    fn suffix_of_text(&self) -> String {
        let name = plain(self.name);
        if TEXTS.contains(&self.name) { name } else { format!("{name}.txt") }
    }

    fn suffix_of_file(&self, path: &[u8]) -> String {
        let path = String::from_utf8_lossy(path);
        let own = Path::new(path.as_ref()).extension().map(|own| own.to_string_lossy().into_owned());
        match (self.is_first, own) {
            (true, own) => own.unwrap_or_default(),
            (false, None) => plain(self.name),
            (false, Some(own)) => format!("{}.{own}", plain(self.name)),
        }
    }

    fn suffix_of_part(&self, shard: &[u8], bytes: &[u8]) -> String {
        let is_tar = shard.to_ascii_lowercase().ends_with(b".tar");
        match () {
            // A column of an archive is called by what its members end in.
            () if is_tar && self.name != IMAGE => plain(self.name),
            () if is_tar || self.is_first => ending(bytes).to_owned(),
            () => format!("{}.{}", plain(self.name), ending(bytes)),
        }
    }
}

/// As a part of a file's name.
fn plain(name: &str) -> String {
    name.replace('/', "_")
}

/// What a file with these bytes ends in.
fn ending(bytes: &[u8]) -> &'static str {
    const KNOWN: [(&str, &str); 9] = [
        ("WebP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
        ("BigTIFF", "tif"),
        ("AVIF", "avif"),
        ("HEIF", "heic"),
        ("PGM", "pgm"),
        ("PPM", "ppm"),
    ];
    match decode::sniff(bytes) {
        Ok(ImageFormat::Jpeg) => "jpg",
        Ok(ImageFormat::Png) => "png",
        Err(DecodeError::UnsupportedFormat { format }) => {
            KNOWN.iter().find(|(name, _)| *name == format).map_or("bin", |(_, ending)| ending)
        }
        Err(_) if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE") => "wav",
        Err(_) if bytes.starts_with(b"fLaC") => "flac",
        Err(_) if bytes.starts_with(b"OggS") => "ogg",
        Err(_) if bytes.starts_with(b"\x93NUMPY") => "npy",
        Err(_) => "bin",
    }
}

/// What is to be done about bytes that did not arrive, or not as they were.
pub fn fault(error: &ValueError) -> Fault {
    let kind = match error {
        ValueError::Storage(storage) if storage.kind() == StorageErrorKind::Changed => Kind::Changed,
        ValueError::Storage(_) => Kind::Unavailable,
        ValueError::Record(_) | ValueError::Page(_) => Kind::Corrupt,
    };
    let hint = match kind {
        Kind::Corrupt => {
            "forebay dataset verify puts what is corrupt into quarantine, so that it is in no selection"
        }
        Kind::Changed => {
            "the shard is not the one that was indexed: put that back, or index it under another name"
        }
        _ => {
            "mount the data, or say where it is with --root; a sample that is gone for good: forebay dataset remove"
        }
    };
    Fault::from_error(kind, error).hint(hint)
}
