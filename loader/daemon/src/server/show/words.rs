//! A batch in words: what all of it is, what stands below a sample, and the table of its rows.

use forebay_plan::BatchRange;
use forebay_proto::v1::{self, RowState};

use super::picture::Looks;
use crate::job::{FieldMaker, Job};
use crate::sheet::{Ink, shortened};
use crate::transform::ImageOp;

/// Widest columns of the table, in characters.
const KEY_CHARS: usize = 44;
const NOTE_CHARS: usize = 100;
/// Values that are told below a sample.
const VALUES_BELOW: usize = 3;
/// Views of which the crop is told below a sample.
const VIEWS_BELOW: usize = 3;
/// Documents of a packed row that are told.
const PARTS_TOLD: usize = 12;

/// Which rows of what they are.
pub fn head(job: &Job, range: BatchRange, epoch_rows: u64) -> Vec<String> {
    let last = range.first_row.saturating_add(u64::from(range.rows) - 1);
    let order = match job.order.name() {
        "sequential" => "in order".to_owned(),
        name => format!("{name} by seed {}", job.order.seed()),
    };
    let (id, epoch, first) = (&job.id, range.epoch, range.first_row);
    vec![format!("job {id} · epoch {epoch} · rows {first} to {last} of {epoch_rows}, {order}")]
}

/// What stands on the sheet, or why there is none.
pub fn pictured(job: &Job, looks: Option<&Looks>) -> Vec<String> {
    match looks {
        Some(looks) => pipeline(job, looks).into(),
        None if (0..job.fields.len()).any(|field| super::pipeline(job, field).is_some()) => Vec::new(),
        None => vec!["no field of this job is an image: there is nothing to draw".to_owned()],
    }
}

/// What is done to the images, and what they are.
fn pipeline(job: &Job, looks: &Looks) -> [String; 2] {
    let field = &job.fields[looks.field];
    let pipeline = super::pipeline(job, looks.field).expect("an image field was chosen");
    let ops: Vec<_> = pipeline.ops().iter().map(ToString::to_string).collect();
    let normalised = pipeline.ops().iter().any(|op| matches!(op, ImageOp::Normalize { .. }));
    let views = match (&field.makers[0], field.pictures()) {
        (FieldMaker::Clip { .. }, frames) => format!("{frames} frames of "),
        (_, 1) => String::new(),
        (_, views) => format!("{views} views of "),
    };
    let dtype = field.spec.dtype.as_str();
    let mut facts = vec![format!("{views}{dtype} {}×{}×3", pipeline.height(), pipeline.width())];
    facts.extend(pipeline.applies_exif_orientation().then(|| "turned by EXIF".to_owned()));
    facts.extend(pipeline.decodes_smaller().then(|| "large ones decoded smaller".to_owned()));
    if let FieldMaker::Image { device: Some(device), .. } = &field.makers[0] {
        facts.push(format!("a device decodes {} of the rows, shown as the CPU does", device.ratio));
    }
    let shown = super::picture::shown(job, looks.field);
    facts.extend((shown < field.pictures()).then(|| format!("{shown} of them shown")));
    facts.extend(normalised.then(|| "normalised, shown de-normalised".to_owned()));
    facts.extend(looks.scale.in_words());
    [format!("{}: {}", field.spec.name, ops.join(" · ")), facts.join(" · ")]
}

/// What stands below a sample.
pub fn below(row: &v1::RowReport, field: &str) -> Vec<(String, Ink)> {
    let views: Vec<_> = row.images.iter().filter(|image| image.field == field).collect();
    let flipped = if matches!(views[..], [one] if one.flip) { " · flipped" } else { "" };
    let mut lines = vec![(format!("row {}{flipped}", row.position), Ink::Faint)];
    if !row.class_name.is_empty() {
        lines.push((row.class_name.clone(), Ink::Plain));
    }
    let told = row.values.iter().filter(|value| row.class_name.is_empty() || value.name != "label");
    lines.extend(told.take(VALUES_BELOW).map(|value| (format!("{} {}", value.name, value.text), Ink::Plain)));
    lines.push((row.key.clone(), Ink::Plain));
    lines.extend(crops(&views).into_iter().map(|line| (line, Ink::Faint)));
    lines.extend(note(row).map(|note| (note, ink(row.state()).unwrap_or(Ink::Plain))));
    lines
}

/// The colour of what is not as it should be.
pub fn ink(state: RowState) -> Option<Ink> {
    match state {
        RowState::Unspecified | RowState::Ok | RowState::Planned => None,
        RowState::Substituted => Some(Ink::Amber),
        RowState::Masked | RowState::Failed => Some(Ink::Red),
        RowState::Repeated => Some(Ink::Blue),
    }
}

/// A line a view, where it has several with its number and whether it is flipped; of many, the first ones.
fn crops(views: &[&v1::ImageReport]) -> Vec<String> {
    if let [one] = views {
        return vec![crop(one)];
    }
    let line = |image: &&v1::ImageReport| {
        let flipped = if image.flip { " · flipped" } else { "" };
        format!("{}: {}{flipped}", image.view, crop(image))
    };
    let mut lines: Vec<_> = views.iter().take(VIEWS_BELOW).map(line).collect();
    let more = views.len() - lines.len();
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}

/// The part of the image, which is the stored one, or that turned upright.
fn crop(image: &v1::ImageReport) -> String {
    let stored = format!("{}×{}", image.width, image.height);
    match image.crop {
        Some(crop) if (crop.width, crop.height) != (image.width, image.height) => {
            format!("{}×{} at {},{} of {stored}", crop.width, crop.height, crop.left, crop.top)
        }
        _ => format!("all of {stored}"),
    }
}

/// What happened to a row that is not its own sample's.
fn note(row: &v1::RowReport) -> Option<String> {
    let first = row.bad.first();
    let reason = || row.bad.last().map(|bad| bad.reason.as_str()).unwrap_or_default();
    let own = || first.map(|bad| format!("{}: {}", bad.key, bad.reason)).unwrap_or_default();
    match row.state() {
        RowState::Unspecified | RowState::Ok | RowState::Planned => None,
        RowState::Substituted => Some(format!("substitute {} for {}", row.attempt, own())),
        RowState::Masked => Some(format!("masked, valid 0: {}", reason())),
        RowState::Failed => Some(format!("a session ends here: {}", reason())),
        RowState::Repeated => Some("repeated to fill the batch, valid 0".to_owned()),
    }
}

/// The rows as a table for people, below `head`.
pub fn table(head: &[String], rows: &[v1::RowReport]) -> String {
    let mut columns = vec!["row".to_owned(), "key".to_owned()];
    let has_class = rows.iter().any(|row| !row.class_name.is_empty());
    columns.extend(has_class.then(|| "class".to_owned()));
    let values = names(rows, |row| row.values.iter().map(|value| value.name.clone()).collect());
    columns.extend(values.iter().cloned());
    let images =
        names(rows, |row| row.images.iter().map(|image| (image.field.clone(), image.view)).collect());
    for image in &images {
        columns.extend([crop_column(image, &images), "flip".to_owned()]);
    }
    let mut lines = vec![columns];
    for row in rows {
        let mut cells = vec![row.position.to_string(), shortened(&what_stands(row), KEY_CHARS)];
        cells.extend(has_class.then(|| shortened(&row.class_name, KEY_CHARS)));
        for name in &values {
            let text = row.values.iter().find(|value| value.name == *name).map(|value| &value.text);
            cells.push(text.map_or_else(String::new, |text| told(text)));
        }
        for (field, view) in &images {
            let image = row.images.iter().find(|image| (&image.field, image.view) == (field, *view));
            cells.push(image.map(crop).unwrap_or_default());
            cells.push(if image.is_some_and(|image| image.flip) {
                "flipped".to_owned()
            } else {
                String::new()
            });
        }
        let notes: Vec<_> =
            note(row).into_iter().chain(Some(row.note.clone()).filter(|note| !note.is_empty())).collect();
        cells.extend((!notes.is_empty()).then(|| shortened(&notes.join("; "), NOTE_CHARS)));
        lines.push(cells);
    }
    let mut text: String = head.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let mut lines = aligned(&lines).into_iter();
    text.extend(lines.next());
    for (row, line) in rows.iter().zip(lines) {
        text.push_str(&line);
        text.extend(parts(row));
    }
    text
}

/// What heads the crops of one view of one image, told apart from the others as far as there are any.
fn crop_column((field, view): &(String, u32), all: &[(String, u32)]) -> String {
    let has_views = all.iter().filter(|(other, _)| other == field).count() > 1;
    let has_others = all.iter().any(|(other, _)| other != field);
    let number = if has_views { format!(" {view}") } else { String::new() };
    let name = if has_others { format!(" of {field}") } else { String::new() };
    format!("crop{number}{name}")
}

/// The sample of a row, or how many documents are packed into it.
fn what_stands(row: &v1::RowReport) -> String {
    match row.parts.len() {
        0 => row.key.clone(),
        1 => "1 document".to_owned(),
        count => format!("{count} documents"),
    }
}

/// A line a document of a packed row: which tokens of the row it has, and from where in it they are.
fn parts(row: &v1::RowReport) -> Vec<String> {
    let mut at = 0;
    let mut lines = Vec::new();
    for part in row.parts.iter().take(PARTS_TOLD) {
        let from = if part.start > 0 { format!(", from token {} on", part.start) } else { String::new() };
        lines.push(format!("{:>14}..{:<8} {}{from}\n", at, at + part.count, shortened(&part.key, KEY_CHARS)));
        at += part.count;
    }
    let more = row.parts.len() - lines.len();
    lines.extend((more > 0).then(|| format!("{:>14} and {more} more\n", "")));
    lines
}

/// The names of what rows have, where one of them has any.
fn names<T>(rows: &[v1::RowReport], of: impl Fn(&v1::RowReport) -> Vec<T>) -> Vec<T> {
    rows.iter().map(of).max_by_key(Vec::len).unwrap_or_default()
}

/// A value in a cell: no line break in it, and not too long.
fn told(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shortened(&plain, KEY_CHARS)
}

/// Columns as wide as their widest cell, two spaces between; the last column of a line, a note, as it is.
fn aligned(lines: &[Vec<String>]) -> Vec<String> {
    let count = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..count).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| match widths.get(column) {
            Some(&width) if column == 0 => format!("{cell:>width$}"),
            Some(&width) => format!("{cell:<width$}"),
            None => cell.clone(),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: RowState) -> v1::RowReport {
        let reason = "no image".to_owned();
        let bad = v1::BadSample { key: "ant/1.jpg".to_owned(), reason, ..Default::default() };
        let crop = Some(v1::Rect { left: 182, top: 57, width: 318, height: 211 });
        let image = v1::ImageReport {
            field: "image".to_owned(),
            width: 500,
            height: 375,
            crop,
            flip: true,
            ..Default::default()
        };
        v1::RowReport {
            position: 12,
            state: state.into(),
            key: "ant/2.jpg".to_owned(),
            attempt: u32::from(state == RowState::Substituted),
            images: vec![image],
            class_name: "ant".to_owned(),
            values: vec![v1::ValueReport { name: "label".to_owned(), text: "0".to_owned() }],
            bad: if state == RowState::Ok { Vec::new() } else { vec![bad] },
            ..Default::default()
        }
    }

    #[test]
    fn a_sample_is_told_by_row_class_key_and_crop() {
        let lines: Vec<_> = below(&row(RowState::Ok), "image").into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, ["row 12 · flipped", "ant", "ant/2.jpg", "318×211 at 182,57 of 500×375"]);
    }

    #[test]
    fn each_view_is_told_by_its_number_and_of_many_the_first_ones() {
        let mut row = row(RowState::Ok);
        let second = v1::ImageReport { view: 1, flip: false, crop: None, ..row.images[0].clone() };
        row.images.push(second);
        let told = |row: &v1::RowReport| {
            let lines = below(row, "image").into_iter().map(|(line, _)| line).skip(3);
            lines.collect::<Vec<_>>()
        };
        let two = ["0: 318×211 at 182,57 of 500×375 · flipped", "1: all of 500×375"];
        assert_eq!(told(&row), two);
        assert_eq!(below(&row, "image")[0].0, "row 12");
        let heads =
            |row: &v1::RowReport| table(&[], std::slice::from_ref(row)).lines().next().map(str::to_owned);
        let columns: Vec<_> =
            heads(&row).iter().flat_map(|head| head.split_whitespace()).map(str::to_owned).collect();
        assert_eq!(columns.join(" "), "row key class label crop 0 flip crop 1 flip");
        row.images.extend([2, 3].map(|view| v1::ImageReport { view, ..row.images[1].clone() }));
        assert_eq!(told(&row), [two[0], two[1], "2: all of 500×375", "and 1 more"]);
        row.images.push(v1::ImageReport { field: "mask".to_owned(), view: 0, ..row.images[1].clone() });
        assert!(
            heads(&row).is_some_and(|head| head.contains("crop 2 of image") && head.contains("crop of mask"))
        );
    }

    #[test]
    fn what_is_no_ordinary_row_is_said_in_its_colour() {
        for (state, said, colour) in [
            (RowState::Substituted, "substitute 1 for ant/1.jpg: no image", Ink::Amber),
            (RowState::Masked, "masked, valid 0: no image", Ink::Red),
            (RowState::Failed, "a session ends here: no image", Ink::Red),
            (RowState::Repeated, "repeated to fill the batch, valid 0", Ink::Blue),
        ] {
            let lines = below(&row(state), "image");
            assert_eq!(lines.last(), Some(&(said.to_owned(), colour)));
            assert!(table(&[], &[row(state)]).trim_end().ends_with(said));
        }
    }

    #[test]
    fn a_packed_row_tells_its_documents_and_where_they_lie() {
        let part = |key: &str, start, count| v1::PartReport { key: key.to_owned(), start, count };
        let parts = vec![part("a.bin", 0, 300), part("b.bin", 512, 212)];
        let mut row = v1::RowReport { images: Vec::new(), parts, ..row(RowState::Ok) };
        let text = table(&[], std::slice::from_ref(&row));
        let told: Vec<_> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(told, ["12 2 documents ant 0", "0..300 a.bin", "300..512 b.bin, from token 512 on"]);
        row.parts = (0..14).map(|number| part(&number.to_string(), 0, 1)).collect();
        assert!(table(&[], &[row]).trim_end().ends_with("11..12       11\n               and 2 more"));
    }

    #[test]
    fn the_table_has_a_line_a_row_and_its_columns_stand_below_each_other() {
        let text = table(&["about".to_owned()], &[row(RowState::Ok), row(RowState::Masked)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1].find("crop"), lines[2].find("318×211"));
    }
}
