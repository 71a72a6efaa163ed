//! Members of an archive that belong together, as WebDataset has it: those with the same name up to the first dot of its
//! last part are one sample, and what is behind that dot names the field.
//!
//! As WebDataset (`base_plus_ext` and `group_by_keys` of `webdataset.tariterators`): only members that follow each other
//! make a sample; a name without a dot, or that begins with one, belongs to none; extensions are in small letters.

use super::tar::Member;

/// Where a field of a sample lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its extension in small letters, as `jpg` or `seg.png`.
    pub field: String,
    /// The member.
    pub member: Member,
}

/// Members of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their name up to the first dot, without a leading `./`.
    pub base: Vec<u8>,
    /// Its fields, in the order of the archive.
    pub parts: Vec<Part>,
    /// The first field that it has twice, if any.
    pub twice: Option<String>,
}

/// Gathers members as they come.
#[derive(Debug, Default)]
pub struct Grouper {
    open: Option<Group>,
    /// Members that belong to no sample.
    pub others: u64,
}

impl Grouper {
    /// Takes the next member; gives the sample that ended before it.
    pub fn add(&mut self, member: Member) -> Option<Group> {
        let Some((base, field)) = split(&member.name) else {
            self.others += 1;
            return None;
        };
        let (base, field) = (base.to_vec(), String::from_utf8_lossy(field).to_lowercase());
        let same = self.open.as_ref().is_some_and(|group| group.base == base);
        let ended = if same { None } else { self.open.take() };
        let group = self.open.get_or_insert_with(|| Group { base, parts: Vec::new(), twice: None });
        if group.parts.iter().any(|part| part.field == field) {
            group.twice.get_or_insert(field);
        } else {
            group.parts.push(Part { field, member });
        }
        ended
    }

    /// The last sample.
    pub fn finish(&mut self) -> Option<Group> {
        self.open.take()
    }
}

/// A name at the first dot of its last part; `None`: it belongs to no sample.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    let last = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let part = &name[last..];
    // WebDataset's own notes on a shard.
    if part.starts_with(b"__") && part.ends_with(b"__") {
        return None;
    }
    let dot = part.iter().position(|&byte| byte == b'.').filter(|&dot| dot > 0 && dot + 1 < part.len())?;
    Some((&name[..last + dot], &part[dot + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(names: &[&str]) -> (Vec<String>, u64) {
        let mut grouper = Grouper::default();
        let mut groups = Vec::new();
        for name in names {
            groups.extend(grouper.add(Member { name: name.as_bytes().to_vec(), offset: 0, len: 0 }));
        }
        groups.extend(grouper.finish());
        let words = |group: &Group| {
            let fields: Vec<_> = group.parts.iter().map(|part| part.field.as_str()).collect();
            let twice = group.twice.as_ref().map_or_else(String::new, |field| format!(" twice {field}"));
            format!("{} {}{twice}", String::from_utf8_lossy(&group.base), fields.join(","))
        };
        (groups.iter().map(words).collect(), grouper.others)
    }

    #[test]
    fn a_sample_is_what_has_one_name_up_to_the_first_dot_of_its_last_part() {
        let (found, others) =
            groups(&["a/x.1/1.jpg", "a/x.1/1.seg.PNG", "a/x.1/2.jpg", "./a/x.1/2.cls", "b/2.cls"]);
        assert_eq!(found, ["a/x.1/1 jpg,seg.png", "a/x.1/2 jpg,cls", "b/2 cls"]);
        assert_eq!(others, 0);
    }

    #[test]
    fn only_neighbours_make_a_sample() {
        assert_eq!(groups(&["1.jpg", "2.jpg", "1.cls"]).0, ["1 jpg", "2 jpg", "1 cls"]);
    }

    #[test]
    fn a_field_that_comes_twice_is_told() {
        assert_eq!(groups(&["1.jpg", "1.JPG", "1.cls"]).0, ["1 jpg,cls twice jpg"]);
    }

    #[test]
    fn names_without_a_field_are_counted() {
        let names = ["README", ".hidden", "a.b/._1.jpg", "1.", "__meta.json__", "1.jpg"];
        assert_eq!(groups(&names), (vec!["1 jpg".to_owned()], 5));
    }
}
