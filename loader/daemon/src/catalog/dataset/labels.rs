//! Class names -> labels, by the data set's class map, which only grows.

use std::collections::{BTreeSet, HashMap};

use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::table::Cells;
use crate::error::Fault;

/// What the values of a column of labels are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LabelsAre {
    /// Texts are class names, whole numbers are class indexes.
    #[default]
    Auto,
    /// Class names, also where they look like numbers.
    Names,
    /// Class indexes.
    Indexes,
}

/// Labels of these names or indexes; new names go to the end of `classes`, sorted among themselves.
///
/// # Errors
/// Invalid: an index outside of the classes, an empty name, a column of another kind, numbers that may be either.
pub(super) fn labels(cells: &Cells, are: LabelsAre, classes: &mut Vec<String>) -> Result<Cells, Fault> {
    let column = cells.column();
    match column.kind() {
        ColumnKind::Text => by_name(cells, classes),
        ColumnKind::Int if are == LabelsAre::Names => by_name(&as_names(cells), classes),
        ColumnKind::Int => {
            if are == LabelsAre::Auto {
                check_names_are_no_numbers(classes)?;
            }
            check_indexes(cells, classes.len())?;
            Ok(cells.clone())
        }
        kind => Err(Fault::invalid(format!("column {} holds {}, no labels", column.name(), kind.name()))
            .hint("labels are class names or class indexes; join other values with --columns")),
    }
}

fn by_name(cells: &Cells, classes: &mut Vec<String>) -> Result<Cells, Fault> {
    let column = cells.column();
    let rows = 0..column.len();
    let names: BTreeSet<_> =
        rows.clone().filter(|&row| cells.has(row)).map(|row| column.text(row as u64)).collect();
    if names.contains("") {
        return Err(Fault::invalid(format!("column {} has an empty class name", column.name()))
            .hint("leave the value out, or write null"));
    }
    let known: BTreeSet<_> = classes.iter().cloned().collect();
    classes.extend(names.into_iter().filter(|name| !known.contains(*name)).map(str::to_owned));
    let labels: HashMap<_, _> =
        classes.iter().enumerate().map(|(label, name)| (name.as_str(), label as i64)).collect();
    let ints = rows.map(|row| if cells.has(row) { labels[column.text(row as u64)] } else { 0 });
    let values = Values::Ints(ints.collect());
    Ok(cells.with_column(Column { name: column.name().to_owned(), kind: ColumnKind::Int, values }))
}

fn as_names(cells: &Cells) -> Cells {
    let column = cells.column();
    let mut strings = crate::catalog::bytes::ByteStrings::default();
    (0..column.len()).for_each(|row| strings.push(column.int(row as u64).to_string().as_bytes()));
    let values = Values::Bytes(strings);
    cells.with_column(Column { name: column.name().to_owned(), kind: ColumnKind::Text, values })
}

/// `3` may be the class that is called so or the fourth one: where that differs, somebody must say which.
fn check_names_are_no_numbers(classes: &[String]) -> Result<(), Fault> {
    let differs =
        |(index, name): &(usize, &String)| name.parse::<i64>().is_ok_and(|number| number != *index as i64);
    match classes.iter().enumerate().find(differs) {
        None => Ok(()),
        Some((index, name)) => {
            let message = format!("labels are numbers, and the class called {name} has the index {index}");
            Err(Fault::invalid(message)
                .hint("say which they are: --labels-are names, or --labels-are indexes"))
        }
    }
}

fn check_indexes(cells: &Cells, classes: usize) -> Result<(), Fault> {
    let column = cells.column();
    let outside = |&row: &usize| {
        let fits = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
        cells.has(row) && !fits(column.int(row as u64))
    };
    match (0..column.len()).find(outside) {
        Some(row) if classes > 0 => {
            let message = format!("the label {} and {classes} classes", column.int(row as u64));
            Err(Fault::invalid(message)
                .hint("write class names to add classes, or keep other numbers in a column of their own: --columns FILE --as NAME"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(values: &[i64]) -> Cells {
        let values = Values::Ints(values.to_vec());
        Cells::spread(Column { name: "label".to_owned(), kind: ColumnKind::Int, values }, None)
    }

    #[test]
    fn new_classes_come_behind_the_old_ones_sorted_among_themselves() {
        let mut classes = vec!["dog".to_owned(), "cat".to_owned()];
        let names = as_names(&ints(&[20, 10, 10]));
        let made = labels(&names, LabelsAre::Auto, &mut classes).unwrap();
        assert_eq!(classes, ["dog", "cat", "10", "20"]);
        assert_eq!([0, 1, 2].map(|row| made.column().int(row)), [3, 2, 2]);
    }

    #[test]
    fn indexes_lie_inside_the_classes_and_numbers_that_may_be_names_are_asked_about() {
        let mut classes = vec!["cat".to_owned(), "dog".to_owned()];
        assert!(labels(&ints(&[1, 0]), LabelsAre::Auto, &mut classes).is_ok());
        let error = labels(&ints(&[0, 2]), LabelsAre::Auto, &mut classes).unwrap_err();
        assert_eq!(error.message, "the label 2 and 2 classes");
        let mut classes = vec!["0".to_owned(), "10".to_owned()];
        let error = labels(&ints(&[1]), LabelsAre::Auto, &mut classes).unwrap_err();
        assert_eq!(error.message, "labels are numbers, and the class called 10 has the index 1");
        let made = labels(&ints(&[10]), LabelsAre::Names, &mut classes).unwrap();
        assert_eq!((made.column().int(0), classes.len()), (1, 2));
        assert_eq!(labels(&ints(&[1]), LabelsAre::Indexes, &mut classes).unwrap().column().int(0), 1);
        assert!(labels(&ints(&[77]), LabelsAre::Auto, &mut Vec::new()).is_ok());
    }
}
