//! Guesses the kinds of columns by the rules in [`ColumnKind`].

use super::cell::{Cell, parse_f64};
use super::column::{ColumnKind, ColumnSpec};
use super::frames::FRAMES;

const PATH_NAMES: [&str; 11] = [
    "image",
    "img",
    "audio",
    "video",
    "mask",
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
];
const PATH_ENDINGS: [&str; 4] = ["_path", "_file", "_filename", "_file_name"];

/// What the values of a column had in common so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Seen {
    #[default]
    Nothing,
    Int,
    Float,
    Numbers,
    Text,
    /// Characters that are no number: they make a whole column of CSV text.
    RawText,
    Other,
}

impl Seen {
    /// Takes one more value in. Values that don't go together keep the first kind, so that loading names the odd one.
    pub(super) fn and(self, cell: &Cell<'_>) -> Self {
        match (self, Self::of(cell)) {
            (seen, Self::Nothing) | (Self::Nothing, seen) => seen,
            (Self::Int | Self::Float, Self::Float) => Self::Float,
            (_, Self::RawText) => Self::RawText,
            (seen, _) => seen,
        }
    }

    fn of(cell: &Cell<'_>) -> Self {
        match cell {
            Cell::Missing => Self::Nothing,
            Cell::Raw(raw) => Self::of_raw(raw),
            Cell::Bool(_) | Cell::Int(_) => Self::Int,
            Cell::Float(_) => Self::Float,
            Cell::Text(_) => Self::Text,
            Cell::Numbers(_) => Self::Numbers,
            Cell::Other(_) => Self::Other,
        }
    }

    fn of_raw(raw: &[u8]) -> Self {
        match str::from_utf8(raw).map(str::trim) {
            Ok("") => Self::Nothing,
            Ok(text) if text.parse::<i64>().is_ok() => Self::Int,
            Ok(text) if parse_f64(text).is_some() => Self::Float,
            _ => Self::RawText,
        }
    }

    /// The kind for a column of this name, or `None` where no kind can hold the values.
    pub(super) fn kind(self, name: &str) -> Option<ColumnKind> {
        match self {
            Self::Int => Some(ColumnKind::Int),
            Self::Float => Some(ColumnKind::Float),
            Self::Numbers => Some(ColumnKind::FloatVector { len: None }),
            Self::Nothing | Self::Text | Self::RawText => Some(kind_of_text(name)),
            Self::Other => None,
        }
    }
}

/// Whether a column of strings holds paths, judged by its name.
pub(super) fn kind_of_text(name: &str) -> ColumnKind {
    let name = name.to_lowercase();
    let is_path =
        PATH_NAMES.contains(&name.as_str()) || PATH_ENDINGS.iter().any(|ending| name.ends_with(ending));
    if is_path { ColumnKind::Path } else { ColumnKind::Text }
}

/// The same columns, where texts beside which the names of frames stand are paths of folders.
pub(super) fn with_clips(mut specs: Vec<ColumnSpec>) -> Vec<ColumnSpec> {
    let texts = specs.iter().filter(|spec| spec.kind == ColumnKind::Text);
    let clips: Vec<_> = texts.filter_map(|spec| spec.name.strip_suffix(FRAMES)).map(str::to_owned).collect();
    for spec in specs.iter_mut().filter(|spec| spec.kind == ColumnKind::Text && clips.contains(&spec.name)) {
        spec.kind = ColumnKind::Path;
    }
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, cells: &[Cell<'_>]) -> Option<ColumnKind> {
        cells.iter().fold(Seen::default(), Seen::and).kind(name)
    }

    fn csv(name: &str, cells: &[&str]) -> Option<ColumnKind> {
        let cells: Vec<_> = cells.iter().map(|cell| Cell::Raw(cell.as_bytes())).collect();
        kind(name, &cells)
    }

    #[test]
    fn folders_of_frames_are_paths_whatever_they_are_called() {
        let text = |name: &str| ColumnSpec { name: name.to_owned(), kind: ColumnKind::Text };
        let made = with_clips(vec![text("rgb"), text("rgb.frames"), text("caption"), text("flow")]);
        let kinds: Vec<_> = made.iter().map(|spec| spec.kind).collect();
        assert_eq!(kinds, [ColumnKind::Path, ColumnKind::Text, ColumnKind::Text, ColumnKind::Text]);
    }

    #[test]
    fn csv_columns_are_numbers_only_where_every_filled_cell_is_one() {
        assert_eq!(csv("label", &["1", "", " 2 "]), Some(ColumnKind::Int));
        assert_eq!(csv("score", &["1", "2.5"]), Some(ColumnKind::Float));
        assert_eq!(csv("score", &["2.5", "1", "n/a"]), Some(ColumnKind::Text));
        assert_eq!(csv("note", &["", ""]), Some(ColumnKind::Text));
        assert_eq!(csv("vector", &["[1, 2]"]), Some(ColumnKind::Text));
    }

    #[test]
    fn strings_are_paths_by_name() {
        for name in ["image", "Path", "file_name", "left_path", "mask_file", "x_file_name"] {
            assert_eq!(csv(name, &["a.jpg"]), Some(ColumnKind::Path), "{name}");
        }
        for name in ["caption", "imagery", "profile", "key"] {
            assert_eq!(csv(name, &["a.jpg"]), Some(ColumnKind::Text), "{name}");
        }
        assert_eq!(csv("image", &["7"]), Some(ColumnKind::Int));
    }

    #[test]
    fn typed_values_keep_the_first_kind_so_that_loading_names_the_odd_one() {
        assert_eq!(kind("x", &[Cell::Int(1), Cell::Text(b"a".into())]), Some(ColumnKind::Int));
        assert_eq!(kind("x", &[Cell::Bool(true), Cell::Float(0.5)]), Some(ColumnKind::Float));
        assert_eq!(kind("x", &[Cell::Numbers(vec![])]), Some(ColumnKind::FloatVector { len: None }));
        assert_eq!(kind("x", &[Cell::Missing, Cell::Other("an object")]), None);
    }
}
