//! Columns that grow, are gathered and laid over each other, and know which of their cells have a value.

use std::borrow::Cow;

use super::bytes::ByteStrings;
use super::column::{Column, ColumnKind, Values};
use super::snapshot::{Key, key_column};

/// A column some of whose samples may lack a value.
#[derive(Debug, Clone)]
pub struct Cells {
    pub(super) column: Column,
    /// Which samples have one; all of them where absent.
    present: Option<Vec<bool>>,
}

/// Samples and what is known of each. Unlike a [`Snapshot`](super::Snapshot), it may be empty and may have gaps.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: usize,
    columns: Vec<Cells>,
}

/// Two columns of one name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {name} holds {first} there and {second} here")]
pub struct KindsDiffer {
    /// The column.
    pub name: String,
    /// What is there.
    pub first: String,
    /// What was to be added.
    pub second: String,
}

impl Cells {
    /// The values; what stands where there is none means nothing.
    pub fn column(&self) -> &Column {
        &self.column
    }

    /// Whether a sample has a value.
    pub fn has(&self, row: usize) -> bool {
        self.present.as_ref().is_none_or(|present| present[row])
    }

    /// Samples without a value.
    pub fn missing(&self) -> usize {
        self.present.as_ref().map_or(0, |present| present.iter().filter(|&&present| !present).count())
    }

    /// Values that stand one after the other, spread over the rows that have one.
    pub(super) fn spread(column: Column, present: Option<Vec<bool>>) -> Self {
        let whole = Self { column, present: None };
        let Some(present) = present.filter(|present| present.contains(&false)) else { return whole };
        let mut next = 0;
        let rows = present.iter().map(|&present| {
            next += usize::from(present);
            present.then(|| next - 1)
        });
        whole.gather(rows)
    }

    /// Whether a sample has what one of another column of the same kind has, nothing included.
    pub(super) fn is_same(&self, row: usize, other: &Self, other_row: usize) -> bool {
        match (self.has(row), other.has(other_row)) {
            (true, true) => self.column.is_same(row, &other.column, other_row),
            (own, theirs) => own == theirs,
        }
    }

    /// The same values under another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.column.name);
        self
    }

    /// Other values for the same samples.
    pub(super) fn with_column(&self, column: Column) -> Self {
        assert_eq!(column.len(), self.column.len(), "a value a sample");
        Self { column, present: self.present.clone() }
    }

    /// Which samples have a value; `None`: all of them.
    pub(super) fn present(&self) -> Option<&[bool]> {
        self.present.as_deref()
    }

    /// A column of these rows of it, in their order; `None`: no value.
    pub(super) fn gather(&self, rows: impl ExactSizeIterator<Item = Option<usize>>) -> Self {
        let mut made = Self { column: self.column.emptied(), present: Some(Vec::with_capacity(rows.len())) };
        for row in rows {
            made.push(row.filter(|&row| self.has(row)).map(|row| (&self.column, row)));
        }
        made.settled()
    }

    fn push(&mut self, value: Option<(&Column, usize)>) {
        if let Some(present) = &mut self.present {
            present.push(value.is_some());
        }
        match value {
            Some((column, row)) => self.column.push_of(column, row),
            None => self.column.push_nothing(),
        }
    }

    /// Without marks where every sample has a value.
    fn settled(mut self) -> Self {
        self.present = self.present.filter(|present| present.contains(&false));
        self
    }
}

impl Table {
    /// The samples of a snapshot.
    pub fn of(snapshot: &super::Snapshot) -> Self {
        let columns = snapshot.columns().iter().map(|column| Cells { column: column.clone(), present: None });
        Self { rows: snapshot.len() as usize, columns: columns.collect() }
    }

    /// Columns of equal length in which every sample has a value.
    pub(super) fn of_columns(columns: Vec<Column>) -> Self {
        let rows = columns.first().map_or(0, Column::len);
        let columns = columns.into_iter().map(|column| Cells { column, present: None });
        Self { rows, columns: columns.collect() }
    }

    /// So many samples with these columns, each as long.
    pub(super) fn with_columns(rows: usize, columns: Vec<Cells>) -> Self {
        assert!(columns.iter().all(|cells| cells.column.len() == rows), "a value a sample");
        Self { rows, columns }
    }

    /// The names of the columns that samples are called by; none where they are called by their number.
    pub fn called_by(&self) -> Vec<&str> {
        let columns = self.key_rule().map_or_else(Vec::new, Key::columns);
        columns.into_iter().map(|index| self.columns[index].column.name()).collect()
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// All columns.
    pub fn columns(&self) -> &[Cells] {
        &self.columns
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&Cells> {
        self.columns.iter().find(|cells| cells.column.name == name)
    }

    /// What a sample is called; see [`Snapshot::key`](super::Snapshot::key).
    pub fn key(&self, row: usize) -> Cow<'_, [u8]> {
        match self.key_rule() {
            Some(key) => key.of_by(|index| &self.columns[index].column, row),
            None => Cow::Owned(row.to_string().into_bytes()),
        }
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let key = self.key_rule();
        (0..self.rows).map(move |row| match key {
            Some(key) => key.of_by(|index| &self.columns[index].column, row),
            None => Cow::Owned(row.to_string().into_bytes()),
        })
    }

    fn key_rule(&self) -> Option<Key> {
        key_column(&self.columns.iter().map(|cells| &cells.column))
    }

    /// Adds samples behind those that are there. A column that one side lacks has gaps there.
    ///
    /// # Errors
    /// [`KindsDiffer`]: a column of one name and two kinds.
    pub fn append(&mut self, other: Self) -> Result<(), KindsDiffer> {
        if self.columns.is_empty() && self.rows == 0 {
            *self = other;
            return Ok(());
        }
        let rows = self.rows + other.rows;
        for cells in &mut self.columns {
            match other.columns.iter().find(|added| added.column.name == cells.column.name) {
                Some(added) => cells.extend(added, other.rows)?,
                None => cells.extend_with_nothing(other.rows),
            }
        }
        for added in &other.columns {
            if self.column(added.column.name()).is_none() {
                let before = (0..self.rows).map(|_| None).chain((0..other.rows).map(Some));
                let rows: Vec<_> = before.collect();
                self.columns.push(added.gather(rows.into_iter()));
            }
        }
        self.rows = rows;
        Ok(())
    }

    /// Keeps these samples, in this order.
    #[must_use]
    pub fn gather(&self, rows: &[usize]) -> Self {
        let columns = self.columns.iter().map(|cells| cells.gather(rows.iter().map(|&row| Some(row))));
        Self { rows: rows.len(), columns: columns.collect() }
    }

    /// Lays a column over the samples: `from[row]` is the row of `cells` that a sample takes its value of. Where it
    /// takes none, it keeps the value that it has in a column of that name.
    ///
    /// # Errors
    /// [`KindsDiffer`]: that column is of another kind.
    pub fn lay_over(&mut self, cells: &Cells, from: &[Option<usize>]) -> Result<(), KindsDiffer> {
        let Some(index) = self.columns.iter().position(|own| own.column.name == cells.column.name) else {
            self.columns.push(cells.gather(from.iter().copied()));
            return Ok(());
        };
        let own = &self.columns[index];
        own.column.fits(&cells.column)?;
        let mut made = Cells { column: own.column.emptied(), present: Some(Vec::with_capacity(self.rows)) };
        for (row, from) in from.iter().enumerate() {
            let new = from.filter(|&from| cells.has(from)).map(|from| (&cells.column, from));
            made.push(new.or_else(|| own.has(row).then_some((&own.column, row))));
        }
        self.columns[index] = made.settled();
        Ok(())
    }

    /// Adds a whole number a sample; one of that name goes.
    pub fn set_ints(&mut self, name: &str, ints: Vec<i64>) {
        assert_eq!(ints.len(), self.rows, "a value a sample");
        let column = Column { name: name.to_owned(), kind: ColumnKind::Int, values: Values::Ints(ints) };
        self.columns.retain(|cells| cells.column.name != name);
        self.columns.push(Cells { column, present: None });
    }

    /// Gives the samples that lack a value in a column of whole numbers this one.
    pub(super) fn fill_ints(&mut self, name: &str, number: i64) {
        for cells in self.columns.iter_mut().filter(|cells| cells.column.name == name) {
            let (Values::Ints(ints), Some(present)) = (&mut cells.column.values, cells.present.take()) else {
                continue;
            };
            ints.iter_mut().zip(present).filter(|(_, present)| !present).for_each(|(int, _)| *int = number);
        }
    }

    /// Adds a text a sample; `None`: no value. One of that name goes.
    pub fn set_texts<'a>(&mut self, name: &str, texts: impl Iterator<Item = Option<&'a str>>) {
        let (mut strings, mut present) = (ByteStrings::default(), Vec::with_capacity(self.rows));
        for text in texts {
            strings.push(text.unwrap_or("").as_bytes());
            present.push(text.is_some());
        }
        assert_eq!(present.len(), self.rows, "a value a sample");
        let column = Column { name: name.to_owned(), kind: ColumnKind::Text, values: Values::Bytes(strings) };
        self.columns.retain(|cells| cells.column.name != name);
        self.columns.push(Cells { column, present: Some(present) }.settled());
    }

    /// Leaves out the columns that `keep` does not want and that samples are not called by.
    pub fn retain_key_and(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let called_by = self.key_rule().map_or_else(Vec::new, Key::columns);
        let mut index = 0;
        self.columns.retain(|cells| {
            index += 1;
            called_by.contains(&(index - 1)) || keep(&cells.column.name)
        });
    }

    /// Leaves out the columns that `keep` does not want, whatever samples are called by.
    pub fn retain_only(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.columns.retain(|cells| keep(&cells.column.name));
    }

    /// The columns in which every sample has a value, and the names of the others.
    pub(super) fn into_whole_columns(self) -> (Vec<Column>, Vec<String>) {
        let (whole, gaps): (Vec<_>, Vec<_>) =
            self.columns.into_iter().partition(|cells| cells.present.is_none());
        (
            whole.into_iter().map(|cells| cells.column).collect(),
            gaps.into_iter().map(|cells| cells.column.name).collect(),
        )
    }
}

impl Cells {
    fn extend(&mut self, added: &Self, rows: usize) -> Result<(), KindsDiffer> {
        self.column.fits(&added.column)?;
        if self.present.is_none() && added.present.is_some() {
            self.present = Some(vec![true; self.column.len()]);
        }
        for row in 0..rows {
            if let Some(present) = &mut self.present {
                present.push(added.has(row));
            }
            self.column.push_of(&added.column, row);
        }
        Ok(())
    }

    fn extend_with_nothing(&mut self, rows: usize) {
        let mut present = self.present.take().unwrap_or_else(|| vec![true; self.column.len()]);
        present.extend(std::iter::repeat_n(false, rows));
        (0..rows).for_each(|_| self.column.push_nothing());
        self.present = Some(present).filter(|present| present.contains(&false));
    }
}

impl Column {
    /// One of the same name and kind, with nothing in it.
    pub(super) fn emptied(&self) -> Self {
        let values = match &self.values {
            Values::Bytes(_) => Values::Bytes(ByteStrings::default()),
            Values::Ints(_) | Values::Count(_) => Values::Ints(Vec::new()),
            Values::Floats(_) => Values::Floats(Vec::new()),
            Values::Vectors { len, .. } => Values::Vectors { len: *len, numbers: Vec::new() },
            Values::MultiHot { .. } => Values::MultiHot { ends: Vec::new(), indexes: Vec::new() },
            Values::Tokens { .. } => Values::Tokens { ends: Vec::new(), tokens: Vec::new() },
        };
        Self { name: self.name.clone(), kind: self.kind, values }
    }

    /// Whether the other's values can stand among its own.
    pub(super) fn fits(&self, other: &Self) -> Result<(), KindsDiffer> {
        let words = |kind: ColumnKind| match kind {
            ColumnKind::FloatVector { len: Some(len) } => format!("float vectors of {len}"),
            ColumnKind::MultiHot { classes } => format!("multi-hot of {classes} classes"),
            kind => kind.name().to_owned(),
        };
        if self.kind == other.kind {
            return Ok(());
        }
        let (first, second) = (words(self.kind), words(other.kind));
        Err(KindsDiffer { name: self.name.clone(), first, second })
    }

    /// Whether two values are the same, floats by their bits.
    fn is_same(&self, row: usize, other: &Self, other_row: usize) -> bool {
        let floats = |own: &[f32], other: &[f32]| {
            own.iter().map(|float| float.to_bits()).eq(other.iter().map(|float| float.to_bits()))
        };
        let (at, other_at) = (row as u64, other_row as u64);
        match (&self.values, &other.values) {
            (Values::Bytes(own), Values::Bytes(other)) => own.get(row) == other.get(other_row),
            (Values::Ints(_) | Values::Count(_), Values::Ints(_) | Values::Count(_)) => {
                self.int(at) == other.int(other_at)
            }
            (Values::Floats(own), Values::Floats(other)) => {
                floats(&own[row..=row], &other[other_row..=other_row])
            }
            (Values::Vectors { .. }, Values::Vectors { .. }) => {
                floats(self.vector(at), other.vector(other_at))
            }
            (Values::MultiHot { .. }, Values::MultiHot { .. }) => self.classes(at) == other.classes(other_at),
            (Values::Tokens { .. }, Values::Tokens { .. }) => self.tokens(at) == other.tokens(other_at),
            _ => false,
        }
    }

    /// Adds the value of a row of another column of the same kind.
    fn push_of(&mut self, other: &Self, row: usize) {
        match (&mut self.values, &other.values) {
            (Values::Bytes(own), Values::Bytes(other)) => own.push(other.get(row)),
            (Values::Ints(own), Values::Ints(_) | Values::Count(_)) => own.push(other.int(row as u64)),
            (Values::Floats(own), Values::Floats(other)) => own.push(other[row]),
            (Values::Vectors { numbers, .. }, Values::Vectors { .. }) => {
                numbers.extend_from_slice(other.vector(row as u64));
            }
            (Values::MultiHot { ends, indexes }, Values::MultiHot { .. }) => {
                indexes.extend_from_slice(other.classes(row as u64));
                ends.push(indexes.len() as u64);
            }
            (Values::Tokens { ends, tokens }, Values::Tokens { .. }) => {
                tokens.extend_from_slice(other.tokens(row as u64));
                ends.push(tokens.len() as u64);
            }
            _ => unreachable!("kinds were compared"),
        }
    }

    /// Adds a value that means nothing.
    fn push_nothing(&mut self) {
        match &mut self.values {
            Values::Bytes(strings) => strings.push(b""),
            Values::Ints(ints) => ints.push(0),
            Values::Count(_) => unreachable!("a table's whole numbers are kept"),
            Values::Floats(floats) => floats.push(f32::NAN),
            Values::Vectors { len, numbers } => numbers.extend(std::iter::repeat_n(f32::NAN, *len)),
            Values::MultiHot { ends, .. } | Values::Tokens { ends, .. } => {
                let end = ends.last().copied().unwrap_or(0);
                ends.push(end);
            }
        }
    }
}
