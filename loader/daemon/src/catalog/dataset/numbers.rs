//! Numbers that were measured of samples -> a joined file, by key.

use super::{Change, Dataset, KEY, Manifest};
use crate::catalog::bytes::ByteStrings;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::snapshot::Snapshot;
use crate::catalog::table::Table;
use crate::error::Fault;

/// One column of numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Whole ones.
    Ints(Vec<i64>),
    /// Others.
    Floats(Vec<f32>),
}

impl Dataset {
    /// Lays columns of numbers over the samples of these keys, with one commit.
    ///
    /// * `keys`: each once.
    /// * `columns`: name and as many numbers as there are keys.
    ///
    /// # Errors
    /// Invalid: a column of that name holds something else. Else what the storage says.
    pub fn lay_numbers(
        &self,
        keys: &[Vec<u8>],
        columns: Vec<(&str, Numbers)>,
        change: &Change,
    ) -> Result<Manifest, Fault> {
        let mut made = vec![key_column(keys)];
        made.extend(columns.into_iter().map(|(name, numbers)| {
            let (kind, values) = match numbers {
                Numbers::Ints(ints) => (ColumnKind::Int, Values::Ints(ints)),
                Numbers::Floats(floats) => (ColumnKind::Float, Values::Floats(floats)),
            };
            Column { name: name.to_owned(), kind, values }
        }));
        let admitted = Table::of_columns(made[1..].to_vec());
        let unique = |_, _, _: &[u8]| unreachable!("each key is there once");
        let snapshot = Snapshot::assemble(made, None, None, unique).map_err(|error| super::fault(&error))?;
        self.commit(|head| {
            let mut next = head.clone();
            next.admit_columns(&admitted)?;
            next.joined.push(self.put(&snapshot)?);
            next.change = change.clone();
            Ok(Some(next))
        })
    }
}

/// Keys as text, or as paths where one of them is no UTF-8.
fn key_column(keys: &[Vec<u8>]) -> Column {
    let mut strings = ByteStrings::default();
    keys.iter().for_each(|key| strings.push(key));
    let is_text = keys.iter().all(|key| str::from_utf8(key).is_ok());
    let kind = if is_text { ColumnKind::Text } else { ColumnKind::Path };
    Column { name: KEY.to_owned(), kind, values: Values::Bytes(strings) }
}
