//! What a shard holds, while it is walked: its samples by name, and for each field the places or values of those that have
//! it.

use std::collections::HashMap;

use super::walk::NUMBERS;
use crate::catalog::bytes::ByteStrings;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::error::CatalogError;
use crate::catalog::limits::CatalogLimits;
use crate::catalog::table::{Cells, Table};
use crate::container::ContainerError;

/// The column of the samples' names in a table of one shard; no field is called so.
pub(super) const NAME: &str = "name in the shard";
/// Behind a field's name: where its bytes begin, and how many they are.
pub(super) const OFFSET: &str = ".offset";
pub(super) const LENGTH: &str = ".length";
/// Where these bytes are a page: which of its values is the field's, as [`Cell`](crate::container::parquet::Cell) has it.
pub(super) const ROW: &str = ".row";

/// So many samples are named where several are left out.
const NAMED: usize = 5;

/// Samples that are no samples of the data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Left {
    pub(super) count: u64,
    /// The first of them, and why.
    pub(super) named: Vec<String>,
}

impl Left {
    pub(super) fn add(&mut self, why: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(why());
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.count += other.count;
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }
}

/// A value that its field cannot be made of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Unfit {
    pub(super) field: String,
    pub(super) sample: String,
    pub(super) why: String,
}

/// One shard's samples.
#[derive(Debug)]
pub(super) struct Indexed {
    /// [`NAME`], and of each field the columns of places, of values, or both.
    pub(super) table: Table,
    /// Fields with places.
    pub(super) places: Vec<String>,
    pub(super) left: Left,
    /// The first value of each field that does not fit.
    pub(super) unfit: Vec<Unfit>,
}

impl Indexed {
    /// Forgets the texts that nobody is after, before all shards are in memory; their places stay.
    pub(super) fn keep_texts(&mut self, wanted: Option<&[String]>) {
        let Some(wanted) = wanted else { return };
        let texts =
            self.table.columns().iter().map(Cells::column).filter(|column| column.kind() == ColumnKind::Text);
        let is_idle = |name: &str| {
            name != NAME && !NUMBERS.contains(&name) && !wanted.iter().any(|wanted| wanted == name)
        };
        let idle: Vec<_> = texts.map(Column::name).filter(|name| is_idle(name)).map(str::to_owned).collect();
        self.table.retain_only(|name| !idle.iter().any(|idle| idle == name));
    }
}

/// A shard that is being walked.
pub(super) struct Sheet<'a> {
    file: &'a str,
    limits: &'a CatalogLimits,
    names: ByteStrings,
    columns: Vec<Sparse>,
    by_name: HashMap<String, usize>,
    places: Vec<(String, usize)>,
    pub(super) left: Left,
    unfit: Vec<Unfit>,
}

/// Values one after the other, and the rows that have them.
struct Sparse {
    column: Column,
    rows: Vec<u32>,
}

impl<'a> Sheet<'a> {
    /// * `file`: the shard, in errors.
    pub(super) fn new(file: &'a str, limits: &'a CatalogLimits) -> Self {
        Self {
            file,
            limits,
            names: ByteStrings::default(),
            columns: Vec::new(),
            by_name: HashMap::new(),
            places: Vec::new(),
            left: Left::default(),
            unfit: Vec::new(),
        }
    }

    /// Begins the next sample; what is set is set of it.
    pub(super) fn begin(&mut self, name: &str) -> Result<(), CatalogError> {
        let rows_max = self.limits.rows_max.min(u64::from(u32::MAX));
        if self.names.len() as u64 >= rows_max {
            return Err(CatalogError::TooManyRows { file: self.file.to_owned(), rows_max });
        }
        self.names.push(name.as_bytes());
        Ok(())
    }

    /// How many samples have begun.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Where a field's bytes lie in the shard.
    pub(super) fn place(&mut self, field: &str, offset: u64, len: u64) -> Result<(), CatalogError> {
        let known = self.places.iter().find(|(name, _)| name == field).map(|&(_, column)| column);
        let column = if let Some(column) = known {
            column
        } else {
            let column = self.column(&format!("{field}{OFFSET}"), ColumnKind::Int)?;
            let behind = self.column(&format!("{field}{LENGTH}"), ColumnKind::Int)?;
            if behind != column + 1 {
                return Err(self.mixed(field));
            }
            self.places.push((field.to_owned(), column));
            column
        };
        if self.columns[column].rows.last() == Some(&self.row()) {
            return Err(self.mixed(field));
        }
        self.put_int(column, offset as i64);
        self.put_int(column + 1, len as i64);
        Ok(())
    }

    /// A field's text.
    pub(super) fn text(&mut self, field: &str, text: &str) -> Result<(), CatalogError> {
        let column = self.column(field, ColumnKind::Text)?;
        let row = self.row();
        let Sparse { column, rows } = &mut self.columns[column];
        let Values::Bytes(strings) = &mut column.values else { unreachable!("kind and values agree") };
        strings.push(text.as_bytes());
        rows.push(row);
        Ok(())
    }

    /// A field's whole number.
    pub(super) fn int(&mut self, field: &str, value: i64) -> Result<(), CatalogError> {
        let column = self.column(field, ColumnKind::Int)?;
        self.put_int(column, value);
        Ok(())
    }

    /// A field's floats: as a number where there is one, else as a vector, whose length each sample must have. With a NaN
    /// among them there is no value.
    pub(super) fn floats(&mut self, field: &str, values: &[f32]) -> Result<(), CatalogError> {
        let kind = match values.len() {
            1 => ColumnKind::Float,
            len => ColumnKind::FloatVector { len: Some(len as u32) },
        };
        // As in lists, a number that is none is no value.
        if values.iter().any(|value| value.is_nan()) {
            return Ok(());
        }
        let differs = self.by_name.get(field).is_some_and(|&column| self.columns[column].column.kind != kind);
        if differs || values.len() > self.limits.vector_len_max as usize {
            self.unfit(field, || format!("it has {} numbers, and others have another count", values.len()));
            return Ok(());
        }
        let column = self.column(field, kind)?;
        let row = self.row();
        let Sparse { column, rows } = &mut self.columns[column];
        match &mut column.values {
            Values::Floats(floats) => floats.extend_from_slice(values),
            Values::Vectors { numbers, .. } => numbers.extend_from_slice(values),
            _ => unreachable!("kind and values agree"),
        }
        rows.push(row);
        Ok(())
    }

    /// Notes that the sample's field cannot be read; it has none then.
    pub(super) fn unfit(&mut self, field: &str, why: impl FnOnce() -> String) {
        if self.unfit.iter().any(|unfit| unfit.field == field) {
            return;
        }
        let sample = self.names.len().checked_sub(1).map_or(&[][..], |last| self.names.get(last));
        let sample = String::from_utf8_lossy(sample).into_owned();
        self.unfit.push(Unfit { field: field.to_owned(), sample, why: why() });
    }

    /// Names the shard in what is wrong with it.
    pub(super) fn refuse(&self, source: ContainerError) -> CatalogError {
        CatalogError::Container { file: self.file.to_owned(), source }
    }

    /// All that was found.
    pub(super) fn finish(self) -> Indexed {
        let rows = self.names.len();
        let mut names = self.names;
        names.shrink();
        let names = Column { name: NAME.to_owned(), kind: ColumnKind::Text, values: Values::Bytes(names) };
        let mut cells = vec![Cells::spread(names, None)];
        cells.extend(self.columns.into_iter().map(|sparse| {
            let mut present = vec![false; rows];
            sparse.rows.iter().for_each(|&row| present[row as usize] = true);
            Cells::spread(sparse.column, Some(present))
        }));
        let places = self.places.into_iter().map(|(field, _)| field).collect();
        Indexed { table: Table::with_columns(rows, cells), places, left: self.left, unfit: self.unfit }
    }

    fn row(&self) -> u32 {
        (self.names.len() - 1) as u32
    }

    fn put_int(&mut self, column: usize, value: i64) {
        let row = self.row();
        let Sparse { column, rows } = &mut self.columns[column];
        let Values::Ints(ints) = &mut column.values else { unreachable!("kind and values agree") };
        ints.push(value);
        rows.push(row);
    }

    /// The number of a column, which is made where there is none yet.
    fn column(&mut self, name: &str, kind: ColumnKind) -> Result<usize, CatalogError> {
        if let Some(&known) = self.by_name.get(name) {
            let fits = self.columns[known].column.kind == kind;
            let is_new = self.columns[known].rows.last().is_none_or(|&last| last < self.row());
            return if fits && is_new { Ok(known) } else { Err(self.mixed(name)) };
        }
        let (columns, columns_max) = (self.columns.len() + 1, self.limits.columns_max);
        if columns > columns_max || name == NAME {
            return Err(if name == NAME { self.mixed(name) } else { self.too_many(columns) });
        }
        let values = match kind {
            ColumnKind::Text => Values::Bytes(ByteStrings::default()),
            ColumnKind::Int => Values::Ints(Vec::new()),
            ColumnKind::FloatVector { len } => {
                Values::Vectors { len: len.unwrap_or(0) as usize, numbers: Vec::new() }
            }
            _ => Values::Floats(Vec::new()),
        };
        self.columns
            .push(Sparse { column: Column { name: name.to_owned(), kind, values }, rows: Vec::new() });
        self.by_name.insert(name.to_owned(), columns - 1);
        Ok(columns - 1)
    }

    fn too_many(&self, columns: usize) -> CatalogError {
        let columns_max = self.limits.columns_max;
        CatalogError::TooManyColumns { file: self.file.to_owned(), columns, columns_max }
    }

    fn mixed(&self, field: &str) -> CatalogError {
        CatalogError::UnsupportedColumn {
            file: self.file.to_owned(),
            column: field.to_owned(),
            found: "values of several kinds".to_owned(),
        }
    }
}
