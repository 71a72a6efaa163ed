//! The samples of all shards -> the columns of one snapshot: which fields there are, under which names, and which samples
//! lack one of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::sheet::{Indexed, LENGTH, Left, NAME, OFFSET, ROW, Unfit};
use super::walk::{NUMBERS, utf8};
use super::{RECORD, SHARD_BYTES, ShardFormat};
use crate::catalog::bytes::ByteStrings;
use crate::catalog::class_map::ClassMap;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::error::CatalogError;
use crate::catalog::fault::Unit;
use crate::catalog::folder::{IMAGE, IMG_EXTENSIONS};
use crate::catalog::list::{Naming, Table as Loaded};
use crate::catalog::relabel::LABEL;
use crate::catalog::snapshot::{KEY_COLUMN, Snapshot};
use crate::catalog::table::{Cells, Table};
use crate::storage::Root;

/// The extension of a sample's class, as WebDataset has it.
const CLASS: &str = "cls";
/// What TensorFlow's own data sets call an image and its class.
const TENSORFLOW: [(&str, &str); 2] = [(IMAGE, "image/encoded"), (LABEL, "image/class/label")];
/// One sample in so many may lack a field, or have one twice; more are no accident.
const LEFT_ONE_IN: u64 = 10;

/// One shard's part.
pub(super) struct Shard {
    pub(super) path: Vec<u8>,
    pub(super) bytes: u64,
    pub(super) indexed: Indexed,
}

/// All shards' samples in one table.
struct All {
    table: Table,
    places: Vec<String>,
    unfit: Vec<(String, Unfit)>,
    left: Left,
    /// Each shard's path and size, and behind how many rows it ends.
    shards: Vec<(Vec<u8>, u64, usize)>,
    format: ShardFormat,
    /// In messages.
    named: String,
}

/// A column that the snapshot gets, and the fields that it is made of: a sample has one of them.
struct Chosen {
    name: String,
    fields: Vec<String>,
}

/// Puts the shards' samples together.
///
/// * `wanted`: the columns that a job is after; all of them where absent, as far as half of the samples have them.
/// * `named`: the source in messages.
pub(super) fn snapshot(
    shards: Vec<Shard>,
    wanted: Option<&[String]>,
    format: ShardFormat,
    root: &Arc<Root>,
    named: &str,
) -> Result<Snapshot, CatalogError> {
    let mut all = All::of(shards, format, named)?;
    if all.table.is_empty() {
        return Err(CatalogError::Empty { file: all.named });
    }
    let chosen = match wanted {
        Some(wanted) => all.asked_for(wanted)?,
        None => all.usual(),
    };
    all.check_fit(&chosen)?;
    all.leave_out_incomplete(&chosen)?;
    all.assemble(&chosen, root)
}

impl All {
    fn of(shards: Vec<Shard>, format: ShardFormat, named: &str) -> Result<Self, CatalogError> {
        let mut all = Self {
            table: Table::default(),
            places: Vec::new(),
            unfit: Vec::new(),
            left: Left::default(),
            shards: Vec::new(),
            format,
            named: named.to_owned(),
        };
        for Shard { path, bytes, indexed } in shards {
            let Indexed { table, places, left, unfit } = indexed;
            let shown = utf8(&path);
            let differ = |source| CatalogError::ShardsDiffer { file: shown.clone(), source };
            if !table.is_empty() {
                all.table.append(table).map_err(differ)?;
            }
            for field in places {
                if !all.places.contains(&field) {
                    all.places.push(field);
                }
            }
            let named = left.named.iter().map(|why| format!("{shown}/{why}")).collect();
            all.left.join(Left { named, ..left });
            all.unfit.extend(unfit.into_iter().map(|unfit| (shown.clone(), unfit)));
            all.shards.push((path, bytes, all.table.len()));
        }
        Ok(all)
    }

    /// The fields that samples have, sorted; but for one that is called as a column of ours.
    fn fields(&self) -> Vec<String> {
        let is_part = |name: &str| {
            self.places.iter().any(|field| {
                name.strip_prefix(field.as_str()).is_some_and(|end| [OFFSET, LENGTH, ROW].contains(&end))
            })
        };
        let columns = self.table.columns().iter().map(|cells| cells.column().name());
        let values = columns.filter(|&name| name != NAME && !is_part(name)).map(str::to_owned);
        let mut fields: Vec<_> = self
            .places
            .iter()
            .cloned()
            .chain(values)
            .filter(|field| ![RECORD, KEY_COLUMN, SHARD_BYTES].contains(&field.as_str()))
            .collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// The column that tells which samples have a field.
    fn marks(&self, field: &str) -> Option<&Cells> {
        let has_places = self.places.iter().any(|name| name == field);
        if has_places { self.table.column(&format!("{field}{OFFSET}")) } else { self.cells(field) }
    }

    /// How many samples have a field.
    fn count(&self, field: &str) -> usize {
        self.marks(field).map_or(0, |cells| self.table.len() - cells.missing())
    }

    /// A field's values.
    fn cells(&self, field: &str) -> Option<&Cells> {
        self.table.column(field)
    }

    /// What the column `image` or `label` is made of, where no field is called so.
    fn alias(&self, name: &str) -> Vec<String> {
        let fields = self.fields();
        match (self.format, name) {
            (ShardFormat::Tar, IMAGE) => fields.into_iter().filter(|field| is_image(field)).collect(),
            (ShardFormat::Tar, LABEL) => fields.into_iter().filter(|field| field == CLASS).collect(),
            (ShardFormat::TfRecord, _) => {
                let known = TENSORFLOW.iter().find(|(alias, _)| *alias == name).map(|(_, field)| *field);
                fields.into_iter().filter(|field| Some(field.as_str()) == known).collect()
            }
            (ShardFormat::Tar | ShardFormat::Parquet, _) => Vec::new(),
        }
    }

    /// The columns that a job names.
    fn asked_for(&self, wanted: &[String]) -> Result<Vec<Chosen>, CatalogError> {
        let mut chosen: Vec<Chosen> = Vec::new();
        for name in wanted {
            let field = [OFFSET, LENGTH, ROW].iter().find_map(|end| name.strip_suffix(end));
            let name = field.filter(|field| self.places.iter().any(|place| place == field)).unwrap_or(name);
            if [KEY_COLUMN, SHARD_BYTES].contains(&name) || chosen.iter().any(|chosen| chosen.name == name) {
                continue;
            }
            let own = self.fields().into_iter().filter(|field| field == name).collect::<Vec<_>>();
            let fields = if own.is_empty() { self.alias(name) } else { own };
            if fields.is_empty() {
                self.check_fit(&[Chosen { name: name.to_owned(), fields: vec![name.to_owned()] }])?;
                let aliases = [IMAGE, LABEL].into_iter().filter(|alias| !self.alias(alias).is_empty());
                let mut present = self.fields();
                present.extend(aliases.map(str::to_owned));
                present.sort_unstable();
                present.dedup();
                return Err(CatalogError::MissingColumn {
                    file: self.named.clone(),
                    column: name.to_owned(),
                    present,
                });
            }
            chosen.push(Chosen { name: name.to_owned(), fields });
        }
        Ok(chosen)
    }

    /// The fields that at least half of the samples have and a column can hold: images as one column, whatever their
    /// formats.
    fn usual(&self) -> Vec<Chosen> {
        let mut chosen = Vec::new();
        let mut taken = Vec::new();
        for alias in [IMAGE, LABEL] {
            let fields = self.alias(alias);
            let marks: Vec<_> = fields.iter().filter_map(|field| self.marks(field)).collect();
            let several = (0..self.table.len()).any(|row| having(&marks, row) > 1);
            let count: usize = fields.iter().map(|field| self.count(field)).sum();
            if !several && count * 2 >= self.table.len() && !self.fields().iter().any(|field| field == alias)
            {
                taken.extend(fields.iter().cloned());
                chosen.push(Chosen { name: alias.to_owned(), fields });
            }
        }
        let rest = self.fields().into_iter().filter(|field| !taken.contains(field));
        let fits = |field: &String| self.unfit.iter().all(|(_, unfit)| unfit.field != *field);
        let common = rest.filter(|field| fits(field) && self.count(field) * 2 >= self.table.len());
        chosen.extend(common.map(|field| Chosen { name: field.clone(), fields: vec![field] }));
        let left: BTreeSet<_> = self.unfit.iter().map(|(_, unfit)| unfit.field.as_str()).collect();
        if !left.is_empty() {
            tracing::warn!(source = %self.named, fields = ?left, "fields that no column can hold are left out");
        }
        chosen
    }

    /// A field that is wanted has no value that cannot be read.
    fn check_fit(&self, chosen: &[Chosen]) -> Result<(), CatalogError> {
        let wanted = |field: &String| chosen.iter().any(|chosen| chosen.fields.contains(field));
        match self.unfit.iter().find(|(_, unfit)| wanted(&unfit.field)) {
            None => Ok(()),
            Some((shard, unfit)) => Err(CatalogError::Unfit {
                sample: format!("{shard}/{}", unfit.sample),
                field: unfit.field.clone(),
                why: unfit.why.clone(),
            }),
        }
    }

    /// Leaves out the samples that lack a column, and tells which; too many of them are an error.
    fn leave_out_incomplete(&mut self, chosen: &[Chosen]) -> Result<(), CatalogError> {
        let (mut left, mut kept) = (std::mem::take(&mut self.left), Vec::with_capacity(self.table.len()));
        let total = self.table.len() as u64 + left.count;
        let (before, mut shards) = (std::mem::take(&mut self.shards), Vec::new());
        let marks: Vec<Vec<_>> = chosen
            .iter()
            .map(|chosen| chosen.fields.iter().filter_map(|field| self.marks(field)).collect())
            .collect();
        let mut row = 0;
        for (path, bytes, end) in before {
            for row in row..end {
                let odd = chosen.iter().zip(&marks).find_map(|(column, marks)| match having(marks, row) {
                    0 => Some(("has no", column)),
                    1 => None,
                    _ => Some(("has several of", column)),
                });
                let name = || self.table.columns()[0].column().text(row as u64);
                match odd {
                    Some((how, column)) => {
                        left.add(|| format!("{}/{} {how} {}", utf8(&path), name(), column.words()));
                    }
                    None => kept.push(row),
                }
            }
            row = end;
            shards.push((path, bytes, kept.len()));
        }
        self.shards = shards;
        if left.count * LEFT_ONE_IN > total {
            return Err(CatalogError::Incomplete {
                file: self.named.clone(),
                left: left.count,
                total,
                named: left.named,
            });
        }
        if left.count > 0 {
            let named = left.named.join("; ");
            tracing::warn!(source = %self.named, left_out = left.count, of = total, named, "samples are not whole and are left out");
        }
        if kept.len() < self.table.len() {
            self.table = self.table.gather(&kept);
        }
        Ok(())
    }

    fn assemble(self, chosen: &[Chosen], root: &Arc<Root>) -> Result<Snapshot, CatalogError> {
        let (mut columns, mut classes) = (vec![self.keys()], None);
        let mut any_place = false;
        for column in chosen {
            let made = self.values(column, &mut classes)?;
            any_place |= made.len() > 1;
            columns.extend(made);
        }
        if any_place {
            columns.push(ints(SHARD_BYTES, self.by_shard(|_, bytes| bytes as i64)));
            if self.format == ShardFormat::TfRecord {
                columns.extend(self.places_of(RECORD, &[RECORD.to_owned()]));
            }
        }
        let naming = Naming { source: self.named.clone(), unit: Unit::Row };
        Loaded { columns, numbers: Vec::new() }.snapshot(naming, classes, Some(Arc::clone(root)))
    }

    /// `<shard>/<name>`: where samples were found.
    fn keys(&self) -> Column {
        let mut keys = ByteStrings::default();
        let (names, mut row) = (self.table.columns()[0].column(), 0);
        for (path, _, end) in &self.shards {
            let path = utf8(path);
            for row in row..*end {
                keys.push_joined(&[path.as_bytes(), b"/", names.text(row as u64).as_bytes()]);
            }
            row = *end;
        }
        keys.shrink();
        Column { name: KEY_COLUMN.to_owned(), kind: ColumnKind::Text, values: Values::Bytes(keys) }
    }

    /// One number a sample, the same for all of a shard.
    fn by_shard(&self, number: impl Fn(&[u8], u64) -> i64) -> Vec<i64> {
        let (mut made, mut row) = (Vec::with_capacity(self.table.len()), 0);
        for (path, bytes, end) in &self.shards {
            made.extend(std::iter::repeat_n(number(path, *bytes), end - row));
            row = *end;
        }
        made
    }

    /// A column as values, or as paths with places beside them.
    fn values(&self, chosen: &Chosen, classes: &mut Option<ClassMap>) -> Result<Vec<Column>, CatalogError> {
        let Chosen { name, fields } = chosen;
        let is_place = fields.iter().any(|field| self.places.contains(field));
        let whole = self.cells(&fields[0]).filter(|cells| fields.len() == 1 && cells.missing() == 0);
        match whole {
            Some(cells) if self.format == ShardFormat::Tar && NUMBERS.contains(&fields[0].as_str()) => {
                Ok(vec![numbers(name, cells.column(), classes)])
            }
            Some(cells) => Ok(vec![cells.clone().named(name).column().clone()]),
            None if is_place => {
                let mut paths = ByteStrings::default();
                let mut row = 0;
                for (path, _, end) in &self.shards {
                    (row..*end).for_each(|_| paths.push(path));
                    row = *end;
                }
                paths.shrink();
                let path =
                    Column { name: name.clone(), kind: ColumnKind::Path, values: Values::Bytes(paths) };
                Ok(std::iter::once(path).chain(self.places_of(name, fields)).collect())
            }
            None => Err(CatalogError::UnsupportedColumn {
                file: self.named.clone(),
                column: name.clone(),
                found: "values of several kinds".to_owned(),
            }),
        }
    }

    /// Offsets and lengths of the one of these fields that each sample has, and their places in pages where some are in
    /// such.
    fn places_of(&self, name: &str, fields: &[String]) -> Vec<Column> {
        let ends = [(OFFSET, 0), (LENGTH, 0), (ROW, -1)].into_iter();
        let made = ends.filter_map(|(end, nothing)| {
            let cells: Vec<_> =
                fields.iter().filter_map(|field| self.table.column(&format!("{field}{end}"))).collect();
            let of = |row: usize| {
                let cells = cells.iter().find(|cells| cells.has(row));
                cells.map_or(nothing, |cells| cells.column().int(row as u64))
            };
            let column = || ints(&format!("{name}{end}"), (0..self.table.len()).map(of).collect());
            (!cells.is_empty()).then(column)
        });
        made.collect()
    }
}

impl Chosen {
    /// As a person would name it.
    fn words(&self) -> String {
        if self.fields.len() == 1 {
            self.fields[0].clone()
        } else {
            format!("{} ({})", self.name, self.fields.join(", "))
        }
    }
}

/// How many of these fields a sample has.
fn having(marks: &[&Cells], row: usize) -> usize {
    marks.iter().filter(|cells| cells.has(row)).count()
}

/// An extension of one part that images have.
fn is_image(field: &str) -> bool {
    IMG_EXTENSIONS.iter().any(|extension| extension.strip_prefix('.') == Some(field))
}

fn ints(name: &str, ints: Vec<i64>) -> Column {
    Column { name: name.to_owned(), kind: ColumnKind::Int, values: Values::Ints(ints) }
}

/// Texts as numbers where all of them are; the column of the classes as labels where they are names.
fn numbers(name: &str, texts: &Column, classes: &mut Option<ClassMap>) -> Column {
    let rows = 0..texts.len() as u64;
    let all = || rows.clone().map(|row| texts.text(row).trim());
    if let Ok(numbers) = all().map(str::parse).collect::<Result<Vec<i64>, _>>() {
        return ints(name, numbers);
    }
    // `parse` takes `inf` and `nan` for floats, which may as well be names.
    let float = |text: &str| text.parse::<f32>().ok().filter(|value| value.is_finite());
    if let Some(floats) = all().map(float).collect::<Option<Vec<f32>>>() {
        return Column { name: name.to_owned(), kind: ColumnKind::Float, values: Values::Floats(floats) };
    }
    if name != LABEL {
        return Cells::spread(texts.clone(), None).named(name).column().clone();
    }
    let mut names: Vec<_> = all().map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    let labels: HashMap<_, _> =
        names.iter().enumerate().map(|(label, name)| (name.as_str(), label as i64)).collect();
    let column = ints(name, all().map(|text| labels[text]).collect());
    *classes = Some(ClassMap::new(names));
    column
}
