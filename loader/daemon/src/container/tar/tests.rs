//! Archives made by hand, entry by entry; those of real programs are in `loader/daemon/tests/archives.rs`.

use super::*;

/// An entry: its header with the right checksum, its data, filled up.
fn entry(name: &[u8], kind: u8, size: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let mut entry = summed(block).to_vec();
    entry.extend_from_slice(data);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn summed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn file(name: &[u8], data: &[u8]) -> Vec<u8> {
    entry(name, b'0', format!("{:011o}\0", data.len()).as_bytes(), data)
}

fn extension(kind: u8, data: &[u8]) -> Vec<u8> {
    entry(b"././@x", kind, format!("{:011o}\0", data.len()).as_bytes(), data)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Names and contents of all members.
fn walk(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ContainerError> {
    let mut tar = Tar::new(bytes, bytes.len() as u64);
    let mut members = Vec::new();
    while let Some(Member { name, offset, len }) = tar.next_member()? {
        let data = bytes[offset as usize..][..len as usize].to_vec();
        members.push((String::from_utf8_lossy(&name).into_owned(), data));
    }
    Ok(members)
}

fn named(names: &[&str]) -> Vec<(String, Vec<u8>)> {
    names.iter().map(|name| ((*name).to_owned(), b"data".to_vec())).collect()
}

fn fails(bytes: &[u8]) -> ContainerError {
    walk(bytes).expect_err("it must be refused")
}

#[test]
fn names_come_from_the_header_its_prefix_gnu_and_pax_in_that_order() {
    let mut prefixed = [0; 512];
    prefixed.copy_from_slice(&file(b"b.jpg", b"")[..512]);
    prefixed[345..350].copy_from_slice(b"a/dir");
    prefixed[124..135].copy_from_slice(b"00000000004");
    let prefixed = [&summed(prefixed)[..], b"data", &[0; 508]].concat();
    let long = "l".repeat(300);
    let entries = [
        file(b"plain.jpg", b"data"),
        prefixed,
        extension(b'L', format!("{long}\0").as_bytes()),
        file(b"cut", b"data"),
        extension(b'x', b"16 path=pax.jpg\n"),
        file(b"other", b"data"),
        file(b"last", b"data"),
    ];
    assert_eq!(
        walk(&archive(&entries)).unwrap(),
        named(&["plain.jpg", "a/dir/b.jpg", &long, "pax.jpg", "last"])
    );
}

#[test]
fn a_global_header_holds_for_all_that_follow_and_an_own_one_for_the_next() {
    let entries = [
        extension(b'g', b"9 size=4\n13 comment=x\n"),
        entry(b"a", b'0', b"00000000000\0", b"data"),
        entry(b"b", b'0', b"00000000000\0", b"data"),
        extension(b'x', b"9 size=2\n"),
        entry(b"c", b'0', b"00000000000\0", b"da"),
    ];
    let mut expected = named(&["a", "b", "c"]);
    expected[2].1.truncate(2);
    assert_eq!(walk(&archive(&entries)).unwrap(), expected);
}

#[test]
fn what_has_no_bytes_is_passed_over_and_counted() {
    let none = b"00000000000\0";
    let entries = [
        entry(b"dir/", b'5', none, b""),
        entry(b"old/", 0, none, b""),
        entry(b"hard", b'1', b"00000000004\0", b""),
        entry(b"soft", b'2', none, b""),
        entry(b"pipe", b'6', none, b""),
        extension(b'K', b"a long target\0"),
        entry(b"soft2", b'2', none, b""),
        entry(b"old", 0, b"00000000004\0", b"data"),
        entry(b"new", b'7', b"00000000004\0", b"data"),
    ];
    let bytes = archive(&entries);
    assert_eq!(walk(&bytes).unwrap(), named(&["old", "new"]));
    let mut tar = Tar::new(&bytes[..], bytes.len() as u64);
    while tar.next_member().unwrap().is_some() {}
    assert_eq!(tar.passed(), Passed { links: 3, devices: 1 });
}

#[test]
fn what_does_not_lie_in_one_piece_is_refused_by_name() {
    let sparse = [extension(b'x', b"22 GNU.sparse.major=1\n"), file(b"holes.bin", b"data")];
    for entries in [
        &[entry(b"holes.bin", b'S', b"00000000004\0", b"data")][..],
        &[entry(b"holes.bin", b'M', b"00000000004\0", b"data")],
        &[entry(b"holes.bin", b'~', b"00000000004\0", b"data")],
        &sparse,
    ] {
        let error = fails(&archive(entries));
        assert!(matches!(&error, ContainerError::Unreadable { name, .. } if name == "holes.bin"), "{error}");
    }
}

#[test]
fn an_archive_cut_anywhere_is_refused() {
    let whole = archive(&[file(b"a", &[1; 700]), extension(b'L', b"name\0"), file(b"b", b"data")]);
    let members = walk(&whole).unwrap().len();
    assert_eq!(members, 2);
    // One of the two empty blocks is enough of an end.
    for len in 0..whole.len() - 1024 + 512 {
        let error = fails(&whole[..len]);
        assert!(error.hint().is_some(), "{len}: {error}");
    }
    assert_eq!(walk(&whole[..whole.len() - 512]).unwrap().len(), 2);
}

#[test]
fn a_changed_byte_of_a_header_is_found_by_its_checksum() {
    let whole = archive(&[file(b"a", b"data"), file(b"b", b"data")]);
    for at in 1024..1536 {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        // The checksum itself may be spelled otherwise: a space for a zero byte.
        let same = walk(&damaged).is_ok_and(|members| members == walk(&whole).unwrap());
        assert!(same || matches!(fails(&damaged), ContainerError::Header { at: 1024, .. }), "{at}");
        assert!(!same || (1024 + 148..1024 + 156).contains(&at), "{at}");
    }
}

#[test]
fn what_is_no_archive_is_named() {
    assert!(matches!(fails(b""), ContainerError::Empty));
    let gzip = fails(b"\x1f\x8b\x08 and more");
    assert_eq!(gzip.to_string(), "it is compressed (gzip)");
    assert!(gzip.hint().unwrap().contains("decompress"), "{gzip}");
    let zstd = [&b"\x28\xb5\x2f\xfd"[..], &[3; 600]].concat();
    assert!(matches!(fails(&zstd), ContainerError::Compressed { how: "zstd" }));
    for bytes in [&b"PK\x03\x04"[..], &[7; 4096]] {
        assert!(matches!(fails(bytes), ContainerError::Unknown { .. }));
    }
    assert_eq!(walk(&[0; 10_240]).unwrap(), []);
}

#[test]
fn archives_that_were_joined_are_refused_instead_of_ending_with_the_first() {
    let one = archive(&[file(b"a", b"data")]);
    let error = fails(&[&one[..], &one].concat());
    assert!(matches!(error, ContainerError::BehindEnd { end: 1024, at: 2048 }), "{error}");
}

#[test]
fn sizes_that_lie_are_refused() {
    for size in [&b"77777777777\0"[..], b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"] {
        let error = fails(&archive(&[entry(b"a", b'0', size, b"data")]));
        assert!(matches!(error, ContainerError::Cut { .. }), "{error}");
    }
    for kind in [b'L', b'x', b'g'] {
        let error = fails(&archive(&[entry(b"a", kind, b"00040000000\0", b"data"), vec![0; 8 << 20]]));
        assert!(matches!(error, ContainerError::TooMuch { .. }), "{error}");
    }
    assert!(matches!(
        fails(&archive(&[extension(b'x', b"16 path=pax.jpg\n")])),
        ContainerError::Header { .. }
    ));
}
