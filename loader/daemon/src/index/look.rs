//! The column of a data set that is measured, and the header of each of its samples: of files, of members of shards, or of
//! texts that the data set holds itself.

use std::thread;
use std::time::Instant;

use super::header::{Header, Headers, Unread, is_recording, text};
use crate::catalog::dataset::Manifest;
use crate::catalog::{
    Cells, ColumnKind, FRAMES, FrameNames, IMG_EXTENSIONS, Location, Places, Table, ValueError, Values,
};
use crate::decode::tokens::{StoredToken, TokenError};
use crate::error::{Fault, Kind, with_causes};
use crate::storage::{Head, RetryPolicy, Root, StorageError, StorageErrorKind};

/// What is read first of a file, and then, where its header is longer: large EXIF and ICC profiles come before it.
const STEPS_BYTES: [u64; 4] = [4 << 10, 64 << 10, 1 << 20, 16 << 20];

/// Columns of texts that are measured where there is no file, the first of them.
const TEXTS: [&str; 3] = ["txt", "text", "transcript"];

/// What is measured of each sample.
pub struct Column<'a> {
    /// What a value is called where its file is a shard: a name whose ending says what it is.
    name: String,
    values: Stored<'a>,
}

enum Stored<'a> {
    Files(Places<'a>),
    /// Folders of frames, and the frames' names.
    Clips(Places<'a>, &'a Cells),
    Texts(&'a Cells),
}

impl<'a> Column<'a> {
    /// The column of that name; where none is named, the one that samples are called by, else images, else recordings, else
    /// the first of files, else texts.
    ///
    /// # Errors
    /// Invalid: there is none, or it holds something else.
    pub fn of(head: &Manifest, table: &'a Table, name: Option<&str>) -> Result<Self, Fault> {
        if table.column("offset").is_some() {
            return Err(Fault::invalid(
                "the samples of this data set are parts of files that have no header of their own",
            )
            .hint("join what you know of them: forebay dataset join"));
        }
        if let Some(missing) = name.filter(|name| table.column(name).is_none()) {
            let there: Vec<_> = table.columns().iter().map(|cells| cells.column().name()).collect();
            return Err(Fault::invalid(format!("the data set has no column {missing}"))
                .hint(format!("its columns are {}", there.join(", "))));
        }
        let name = name.map(str::to_owned);
        let Some(name) = name.or_else(|| head.path_column()).or_else(|| usual(table)) else {
            return Err(Fault::invalid(
                "this data set has no column of files or texts: there is nothing to measure",
            )
            .hint("join what you know of its samples: forebay dataset join"));
        };
        let cells = table.column(&name);
        let values = match Places::of_table(table, &name) {
            Some(places) => Some(match table.column(&format!("{name}{FRAMES}")) {
                Some(names) => Stored::Clips(places, names),
                None => Stored::Files(places),
            }),
            None => cells.filter(|cells| cells.column().kind() == ColumnKind::Text).map(Stored::Texts),
        };
        let values = values.ok_or_else(|| {
            Fault::invalid(format!("the column {name} holds neither files nor texts"))
                .hint("name one of files or texts: --column; forebay dataset show lists them")
        })?;
        // What a shard's column is called is what its members ended in; `image` stands for any picture.
        let name = if name == "image" { ".jpg".to_owned() } else { format!(".{name}") };
        Ok(Self { name, values })
    }

    /// Whether a sample was measured before.
    pub fn is_known(&self, table: &Table, row: usize) -> bool {
        let has = |name: &str| table.column(name).is_some_and(|cells| cells.has(row));
        let of_files = ["width", "duration_s", "tokens"].into_iter().any(has);
        match self.values {
            Stored::Texts(_) => has("text_bytes"),
            // Where texts are a column beside it, text_bytes is theirs.
            Stored::Clips(..) => of_files,
            Stored::Files(_) => of_files || has("text_bytes") && text_column(table).is_none(),
        }
    }
}

fn usual(table: &Table) -> Option<String> {
    let of_kind = |kind: ColumnKind| {
        let columns = table.columns().iter().map(Cells::column).filter(move |column| column.kind() == kind);
        columns.map(crate::catalog::Column::name)
    };
    let is_image = |name: &&str| *name == "image" || IMG_EXTENSIONS.iter().any(|ext| ext[1..] == **name);
    let is_sound = |name: &&str| *name == "audio" || is_recording(format!(".{name}").as_bytes());
    let files = || of_kind(ColumnKind::Path);
    let found = files().find(is_image).or_else(|| files().find(is_sound)).or_else(|| files().next());
    found.or_else(|| text_column(table)).map(str::to_owned)
}

fn text_column(table: &Table) -> Option<&'static str> {
    let is_text =
        |name: &&str| table.column(name).is_some_and(|cells| cells.column().kind() == ColumnKind::Text);
    TEXTS.into_iter().find(is_text)
}

/// One thread's means.
pub struct Looking<'a> {
    column: &'a Column<'a>,
    tokens: Option<StoredToken>,
    headers: Headers,
    values: Values<'a>,
    retry: RetryPolicy,
}

impl<'a> Looking<'a> {
    /// * `tokens`: what files hold, where they are stored tokens.
    pub fn new(root: &'a Root, column: &'a Column<'a>, tokens: Option<StoredToken>) -> Self {
        let (headers, values) = (Headers::new(), Values::new(root));
        Self { column, tokens, headers, values, retry: RetryPolicy::default() }
    }

    /// The header of one sample; the inner error is about this sample alone.
    ///
    /// # Errors
    /// Unavailable: a storage that does not answer.
    pub fn header(&mut self, row: usize) -> Result<Result<Header, String>, Fault> {
        let places = match &self.column.values {
            Stored::Texts(cells) if cells.has(row) => {
                return Ok(Ok(Header::Text { bytes: cells.column().text(row as u64).len() as i64 }));
            }
            Stored::Texts(_) => return Ok(Err("it has no text".to_owned())),
            Stored::Clips(places, names) => return self.clip(places, names, row),
            Stored::Files(places) => places,
        };
        let Some(place) = places.of(row) else { return Ok(Err("it has no file".to_owned())) };
        self.header_at(&place)
    }

    /// How many frames a clip has, and the size of the first.
    fn clip(
        &mut self,
        places: &Places<'_>,
        names: &Cells,
        row: usize,
    ) -> Result<Result<Header, String>, Fault> {
        let place = places.of(row).filter(|_| names.has(row));
        let Some(place) = place else { return Ok(Err("it has no frames".to_owned())) };
        let names = match FrameNames::parse(names.column().text(row as u64)) {
            Ok(names) => names,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut first = [place.path, b"/"].concat();
        names.push(0, &mut first);
        let clip = |header| match header {
            Header::Image { width, height } => Ok(Header::Clip { frames: names.len() as i64, width, height }),
            _ => Err("its first frame is no JPEG or PNG".to_owned()),
        };
        Ok(self.header_at(&Location::own_file(&first))?.and_then(clip))
    }

    fn header_at(&mut self, place: &Location<'_>) -> Result<Result<Header, String>, Fault> {
        let name = if place.read_extent().is_some() { self.column.name.as_bytes() } else { place.path };
        let steps = if self.tokens.is_some() { &STEPS_BYTES[..1] } else { &STEPS_BYTES[..] };
        for &len_max in steps {
            let start = match self.start(place, len_max) {
                Ok(start) => start,
                Err(error) if is_of_this_value(&error) => return Ok(Err(with_causes(&error))),
                Err(error) => {
                    return Err(Fault::from_error(Kind::Unavailable, &error)
                        .hint("what was committed stays: run it again once the storage answers"));
                }
            };
            if let Some(stored) = self.tokens {
                return Ok(tokens_of(stored, start.file_bytes));
            }
            match self.headers.read(&start.bytes, start.file_bytes) {
                Ok(header) => return Ok(Ok(header)),
                Err(Unread::Bad(why)) => return Ok(text(name, &start.bytes, start.file_bytes).ok_or(why)),
                Err(Unread::More) => {}
            }
        }
        Ok(Err(format!("no header in its first {} MiB", STEPS_BYTES[3] >> 20)))
    }

    /// Reads, and asks again while the storage has a problem that may pass.
    fn start(&mut self, place: &Location<'_>, len_max: u64) -> Result<Head, ValueError> {
        let started = Instant::now();
        for attempt in 1.. {
            let error = match self.values.start(place, len_max) {
                Ok(start) => return Ok(start),
                Err(error) if is_of_this_value(&error) => return Err(error),
                Err(error) => error,
            };
            match self.retry.next(attempt, started.elapsed()) {
                Some(wait) => thread::sleep(wait),
                None => return Err(error),
            }
        }
        unreachable!("the deadline comes before 2^32 attempts")
    }
}

fn tokens_of(stored: StoredToken, file_bytes: u64) -> Result<Header, String> {
    let token_bytes = stored.size_bytes();
    if file_bytes.is_multiple_of(token_bytes) {
        return Ok(Header::Tokens { tokens: (file_bytes / token_bytes) as i64 });
    }
    Err(TokenError::CutToken { len_bytes: file_bytes, token_bytes }.to_string())
}

/// Whether it is no sign that the storage has a problem: a file that has gone, may not be read or is not the shard that was
/// indexed is told and left, and so is a damaged page.
fn is_of_this_value(error: &ValueError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match error {
        ValueError::Record(_)
        | ValueError::Page(_)
        | ValueError::Storage(StorageError::OtherSize { .. } | StorageError::PastEnd { .. }) => true,
        ValueError::Storage(StorageError::Io { source, .. }) => {
            matches!(source.kind(), NotFound | PermissionDenied | NotADirectory)
        }
        ValueError::Storage(other) => {
            matches!(other.kind(), StorageErrorKind::Invalid | StorageErrorKind::TooLarge)
        }
    }
}
