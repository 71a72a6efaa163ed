//! One member of a zip archive that lies in memory: found by the directory at its end, and given as it is stored.
//!
//! Source: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3. numpy writes archives through Python's `zipfile`, with zip64
//! headers before each member. A directory costs one look at each of its bytes, whatever it says of itself.

use super::error::ArrayError;

/// What a file of at least one member begins with, and what an empty archive does.
const STARTS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
const LOCAL: &[u8] = b"PK\x03\x04";
const ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const LOCAL_BYTES: usize = 30;
const ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END_64_BYTES: usize = 56;
const LOCATOR_64_BYTES: usize = 20;
/// Behind the end there is at most such a comment.
const COMMENT_BYTES_MAX: usize = 0xFFFF;
const EXTRA_64: u16 = 1;
/// In a field of 32 bits: the extra field of 64 bits has it.
const ELSEWHERE: u64 = 0xFFFF_FFFF;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Encrypted, or a patch; sizes behind the data are no matter, since the directory has them.
const FLAGS_REFUSED: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;
/// How many members a message names.
const MEMBERS_TOLD: usize = 8;

/// A member, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its bytes in the archive.
    pub stored: &'a [u8],
    /// Whether they are deflated.
    pub is_deflated: bool,
    /// Of the member itself.
    pub len_bytes: u64,
    /// CRC-32 of the member itself.
    pub checksum: u32,
}

/// Whether bytes begin as an archive does.
pub fn is_archive(bytes: &[u8]) -> bool {
    STARTS.iter().any(|start| bytes.starts_with(start))
}

/// The member `wanted.npy`, or `wanted`; the only one that ends in `.npy` where `wanted` is empty.
///
/// # Errors
/// There is none, or several, or the archive breaks its rules or uses what we do not read.
pub fn member<'a>(archive: &'a [u8], wanted: &str) -> Result<Member<'a>, ArrayError> {
    let is_it = |name: &[u8]| {
        let stem = name.strip_suffix(b".npy");
        if wanted.is_empty() {
            stem.is_some()
        } else {
            name == wanted.as_bytes() || stem == Some(wanted.as_bytes())
        }
    };
    let mut found = None;
    let mut directory = directory(archive)?;
    while let Some((entry, rest)) = entry(directory)? {
        directory = rest;
        if is_it(entry.name) && found.replace(entry).is_some() {
            let members = told(archive)?;
            return Err(match wanted {
                "" => ArrayError::WhichMember { members },
                _ => broken("two members of one name"),
            });
        }
    }
    match found {
        Some(entry) => entry.member(archive),
        None => Err(ArrayError::NoMember { member: wanted.to_owned(), members: told(archive)? }),
    }
}

/// An entry of the directory.
struct Entry<'a> {
    name: &'a [u8],
    flags: u16,
    method: u16,
    checksum: u32,
    stored_bytes: u64,
    len_bytes: u64,
    offset: u64,
}

/// The entries, up to the end of the directory.
fn directory(archive: &[u8]) -> Result<&[u8], ArrayError> {
    let first = archive.len().saturating_sub(END_BYTES + COMMENT_BYTES_MAX);
    let is_end = |&at: &usize| {
        let comment = u16_at(&archive[at..], 20).map(usize::from);
        archive[at..].starts_with(END)
            && comment.is_some_and(|comment| at + END_BYTES + comment == archive.len())
    };
    let at = (first..=archive.len().saturating_sub(END_BYTES)).rev().find(is_end);
    let at = at.ok_or(broken("it has no end: it may be cut"))?;
    let end = &archive[at..];
    let (mut len, mut offset) = (u64::from(u32_in(end, 12)), u64::from(u32_in(end, 16)));
    let mut directory_end = at;
    if let Some((at_64, end_64)) = end_64(archive, at)? {
        (len, offset, directory_end) = (u64_in(end_64, 40), u64_in(end_64, 48), at_64);
    } else if end[4..8] != [0; 4] {
        return Err(ArrayError::Feature { feature: "several volumes" });
    }
    let whole = offset.checked_add(len) == Some(directory_end as u64);
    if !whole {
        return Err(broken("its directory does not lie before its end"));
    }
    Ok(&archive[offset as usize..directory_end])
}

/// The end of 64 bits and its place, where the one at `end` has one before it.
fn end_64(archive: &[u8], end: usize) -> Result<Option<(usize, &[u8])>, ArrayError> {
    let Some(locator) = end.checked_sub(LOCATOR_64_BYTES).map(|at| &archive[at..end]) else {
        return Ok(None);
    };
    if !locator.starts_with(LOCATOR_64) {
        return Ok(None);
    }
    let at = u64_in(locator, 8);
    let record = usize::try_from(at).ok().and_then(|at| archive.get(at..end - LOCATOR_64_BYTES));
    match record {
        Some(record) if record.starts_with(END_64) && record.len() >= END_64_BYTES => {
            Ok(Some((at as usize, record)))
        }
        _ => Err(broken("its 64-bit end is not where it should be")),
    }
}

/// The first entry of a directory, and what lies behind it.
fn entry(directory: &[u8]) -> Result<Option<(Entry<'_>, &[u8])>, ArrayError> {
    if directory.is_empty() {
        return Ok(None);
    }
    if !directory.starts_with(ENTRY) || directory.len() < ENTRY_BYTES {
        return Err(broken("an entry of its directory is none"));
    }
    let len = |at| usize::from(u16_at(directory, at).expect("an entry is longer"));
    let (name, extra, comment) = (len(28), len(30), len(32));
    let (fixed, behind) = directory.split_at(ENTRY_BYTES);
    let (Some(name_bytes), Some(extra), Some(rest)) =
        (behind.get(..name), behind.get(name..name + extra), behind.get(name + extra + comment..))
    else {
        return Err(broken("its directory ends inside of an entry"));
    };
    let mut entry = Entry {
        name: name_bytes,
        flags: len(8) as u16,
        method: len(10) as u16,
        checksum: u32_in(fixed, 16),
        stored_bytes: u32_in(fixed, 20).into(),
        len_bytes: u32_in(fixed, 24).into(),
        offset: u32_in(fixed, 42).into(),
    };
    entry.widen(extra)?;
    Ok(Some((entry, rest)))
}

impl<'a> Entry<'a> {
    /// Takes sizes and offset from the extra field of 64 bits, as far as they are there: in this order, each only where
    /// its own field is full.
    fn widen(&mut self, mut extra: &[u8]) -> Result<(), ArrayError> {
        let short = broken("an extra field ends early");
        while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
            let field = extra.get(4..4 + usize::from(len)).ok_or_else(|| short.clone())?;
            extra = &extra[4 + field.len()..];
            if id != EXTRA_64 {
                continue;
            }
            let (words, _) = field.as_chunks::<8>();
            let mut words = words.iter().map(|&word| u64::from_le_bytes(word));
            for value in [&mut self.len_bytes, &mut self.stored_bytes, &mut self.offset] {
                if *value == ELSEWHERE {
                    *value = words.next().ok_or_else(|| short.clone())?;
                }
            }
        }
        Ok(())
    }

    /// The bytes behind the header that stands before them.
    fn member(&self, archive: &'a [u8]) -> Result<Member<'a>, ArrayError> {
        if self.flags & FLAGS_REFUSED != 0 {
            return Err(ArrayError::Feature { feature: "encryption" });
        }
        let is_deflated = match self.method {
            STORED => false,
            DEFLATED => true,
            9 => return Err(ArrayError::Feature { feature: "Deflate64" }),
            12 => return Err(ArrayError::Feature { feature: "bzip2" }),
            14 => return Err(ArrayError::Feature { feature: "LZMA" }),
            93 => return Err(ArrayError::Feature { feature: "Zstandard" }),
            _ => return Err(ArrayError::Feature { feature: "an unknown compression" }),
        };
        let outside = || broken("a member lies outside of it");
        let local = usize::try_from(self.offset).ok().and_then(|at| archive.get(at..)).ok_or_else(outside)?;
        let (Some(name), Some(extra), true) =
            (u16_at(local, 26), u16_at(local, 28), local.starts_with(LOCAL))
        else {
            return Err(broken("a member without its header"));
        };
        let name_end = LOCAL_BYTES + usize::from(name);
        if local.get(LOCAL_BYTES..name_end) != Some(self.name) {
            return Err(broken("a member's header has another name than the directory"));
        }
        let stored = local.get(name_end + usize::from(extra)..).ok_or_else(outside)?;
        let stored = usize::try_from(self.stored_bytes).ok().and_then(|len| stored.get(..len));
        let stored = stored.ok_or_else(outside)?;
        if !is_deflated && self.stored_bytes != self.len_bytes {
            return Err(broken("a stored member of two lengths"));
        }
        Ok(Member { stored, is_deflated, len_bytes: self.len_bytes, checksum: self.checksum })
    }
}

/// The names of the first members, for a message.
fn told(archive: &[u8]) -> Result<String, ArrayError> {
    let (mut directory, mut names) = (directory(archive)?, Vec::new());
    while let Some((entry, rest)) = entry(directory)? {
        if names.len() == MEMBERS_TOLD {
            names.push("...".to_owned());
            break;
        }
        let name = entry.name.strip_suffix(b".npy").unwrap_or(entry.name);
        names.push(String::from_utf8_lossy(name).chars().take(64).collect());
        directory = rest;
    }
    Ok(if names.is_empty() { "none".to_owned() } else { names.join(", ") })
}

fn broken(detail: &'static str) -> ArrayError {
    ArrayError::Archive { detail }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Of a record whose length was looked at.
fn u32_in(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"))
}

fn u64_in(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An archive as `zipfile` writes it, with members that are stored as they are given.
    pub fn archive(members: &[(&str, u16, u32, u64, &[u8])], is_64: bool) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for &(name, method, checksum, len_bytes, stored) in members {
            let sizes = |wide: bool| -> Vec<u8> {
                let of = |len: u64| if wide { u32::MAX } else { len as u32 }.to_le_bytes();
                [of(stored.len() as u64), of(len_bytes)].concat()
            };
            let extra = [&1_u16.to_le_bytes()[..], &16_u16.to_le_bytes(), &len_bytes.to_le_bytes()].concat();
            let extra = [&extra[..], &(stored.len() as u64).to_le_bytes()].concat();
            let extra = if is_64 { &extra[..] } else { &[] };
            let lens = [(name.len() as u16).to_le_bytes(), (extra.len() as u16).to_le_bytes()].concat();
            let common =
                [&[20, 0, 0, 0][..], &method.to_le_bytes(), &[0; 4], &checksum.to_le_bytes()].concat();
            let offset = (out.len() as u32).to_le_bytes();
            out.extend([LOCAL, &common, &sizes(is_64), &lens, name.as_bytes(), extra, stored].concat());
            let head = [ENTRY, &[20, 0], &common, &sizes(is_64), &lens, &[0; 10], &offset].concat();
            directory.extend([&head, name.as_bytes(), extra].concat());
        }
        let (offset, len, count) = (out.len(), directory.len(), members.len() as u16);
        out.extend(&directory);
        if is_64 {
            let at = out.len() as u64;
            let counts =
                [u64::from(count), u64::from(count), len as u64, offset as u64].map(u64::to_le_bytes);
            out.extend([END_64, &44_u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8], &counts.concat()].concat());
            out.extend([LOCATOR_64, &[0; 4], &at.to_le_bytes(), &1_u32.to_le_bytes()].concat());
        }
        let of = |value: usize| if is_64 { u32::MAX } else { value as u32 }.to_le_bytes();
        let counts = [count.to_le_bytes(); 2].concat();
        out.extend([END, &[0; 4], &counts, &of(len), &of(offset), &2_u16.to_le_bytes(), b"hi"].concat());
        out
    }

    fn stored(name: &str) -> (&str, u16, u32, u64, &'static [u8]) {
        (name, STORED, 7, 5, b"bytes")
    }

    #[test]
    fn a_member_is_found_by_its_name_and_the_only_array_without_one() {
        for is_64 in [false, true] {
            let two =
                archive(&[stored("x.npy"), ("y.npy", DEFLATED, 9, 99, b"less"), stored("note.txt")], is_64);
            let x = Member { stored: b"bytes", is_deflated: false, len_bytes: 5, checksum: 7 };
            let y = Member { stored: b"less", is_deflated: true, len_bytes: 99, checksum: 9 };
            assert_eq!((member(&two, "x"), member(&two, "x.npy"), member(&two, "y")), (Ok(x), Ok(x), Ok(y)));
            assert_eq!(member(&two, "note.txt"), Ok(x));
            let members = "x, y, note.txt".to_owned();
            assert_eq!(member(&two, ""), Err(ArrayError::WhichMember { members: members.clone() }));
            let wanted = "z".to_owned();
            assert_eq!(member(&two, "z"), Err(ArrayError::NoMember { member: wanted, members }));
            assert_eq!(member(&archive(&[stored("a/b.npy"), stored("note")], is_64), ""), Ok(x));
            let none = archive(&[], is_64);
            assert!(member(&none, "").expect_err("empty").to_string().contains("there are none"));
        }
    }

    #[test]
    fn what_breaks_the_rules_or_is_not_read_is_named() {
        let says = |archive: &[u8], says: &str| {
            let error = member(archive, "x").expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        };
        let sound = archive(&[stored("x.npy")], false);
        says(&sound[..sound.len() - 1], "it may be cut");
        says(b"PK\x03\x04", "it may be cut");
        says(&archive(&[stored("x.npy"), stored("x.npy")], false), "two members of one name");
        says(&archive(&[("x.npy", 14, 0, 5, b"bytes")], false), "LZMA");
        says(&archive(&[("x.npy", 77, 0, 5, b"bytes")], true), "an unknown compression");
        says(&archive(&[("x.npy", STORED, 0, 6, b"bytes")], true), "two lengths");
        let change = |at: usize, byte: u8| {
            let mut changed = sound.clone();
            changed[at] = byte;
            changed
        };
        let (entry, end) = (LOCAL_BYTES + 10, LOCAL_BYTES + 10 + ENTRY_BYTES + 5);
        says(&change(0, b'Q'), "without its header");
        says(&change(LOCAL_BYTES, b'y'), "another name");
        says(&change(entry, b'Q'), "an entry of its directory is none");
        says(&change(entry + 8, 1), "encryption");
        says(&change(entry + 20, 200), "outside of it");
        says(&change(entry + 24, 6), "two lengths");
        says(&change(entry + 28, 200), "ends inside of an entry");
        says(&change(entry + 42, 200), "outside of it");
        says(&change(end + 4, 1), "several volumes");
        says(&change(end + 12, 1), "does not lie before its end");
        let wide = archive(&[stored("x.npy")], true);
        let locator = wide.len() - 2 - END_BYTES - LOCATOR_64_BYTES;
        let mut lost = wide.clone();
        lost[locator + 8] = 1;
        says(&lost, "64-bit end");
    }

    #[test]
    fn no_changed_byte_makes_it_panic() {
        for sound in [archive(&[stored("x.npy"), stored("y")], false), archive(&[stored("x.npy")], true)] {
            for at in 0..sound.len() {
                for byte in [0, 1, 0x7F, 0xFF] {
                    let mut changed = sound.clone();
                    changed[at] = byte;
                    let _ = member(&changed, "x");
                    let _ = member(&changed[..at], "");
                }
            }
        }
    }
}
