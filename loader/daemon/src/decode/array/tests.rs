use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::zip::tests::archive;
use super::*;

/// A file of version 1.0 as numpy pads it.
fn npy(descr: &str, is_fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if is_fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let padded = format!("{text:<width$}\n", width = 117);
    [npy::MAGIC, &[1, 0], &(padded.len() as u16).to_le_bytes(), padded.as_bytes(), data].concat()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// An archive of one deflated member `x`.
fn npz(file: &[u8]) -> Vec<u8> {
    archive(&[("x.npy", 8, crc32fast::hash(file), file.len() as u64, &deflated(file))], true)
}

fn spec(dtype: DType, dims: &[u32]) -> ArraySpec {
    ArraySpec { dtype, dims: dims.to_vec(), member: String::new() }
}

fn taken(spec: &ArraySpec, encoded: &[u8]) -> Result<Vec<u8>, ArrayError> {
    let elements: u32 = spec.dims.iter().product();
    let mut target = vec![0xAA; elements as usize * spec.dtype.size_bytes() as usize];
    spec.write(encoded, &mut ArrayScratch::default(), &mut target)?;
    Ok(target)
}

fn says(outcome: Result<Vec<u8>, ArrayError>, says: &str) {
    let error = outcome.expect_err(says).to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn one_array_comes_the_same_from_a_file_and_from_both_kinds_of_member() {
    let data: Vec<u8> = (0..12_u16).flat_map(u16::to_be_bytes).collect();
    for (descr, is_fortran, expected) in [
        (">i2", false, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (">i2", true, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]),
    ] {
        let file = npy(descr, is_fortran, "(3, 4)", &data);
        let stored = archive(&[("x.npy", 0, crc32fast::hash(&file), file.len() as u64, &file)], false);
        let spec = spec(DType::I16, &[3, 4]);
        let expected: Vec<u8> = expected.into_iter().flat_map(|value: i16| value.to_le_bytes()).collect();
        for encoded in [file.clone(), stored, npz(&file)] {
            assert_eq!(taken(&spec, &encoded), Ok(expected.clone()));
            let header = header_of(&encoded, "").expect("a sound file");
            assert_eq!((header.words(), header.is_fortran), ("int16 (3, 4)".to_owned(), is_fortran));
        }
    }
}

#[test]
fn an_array_of_many_pieces_is_inflated_whole_with_one_scratch_for_all() {
    let mut scratch = ArrayScratch::default();
    for count in [1_u32, 8191, 8192, 8193, 60_000] {
        let data: Vec<u8> = (0..count).flat_map(|value| f64::from(value % 977).to_le_bytes()).collect();
        for is_fortran in [false, true] {
            let file = npy("<f8", is_fortran, &format!("({count}, 1)"), &data);
            let mut target = vec![0; data.len()];
            spec(DType::F64, &[count, 1])
                .write(&npz(&file), &mut scratch, &mut target)
                .expect("a sound member");
            assert!(target == data, "{count}, {is_fortran}");
        }
    }
}

#[test]
fn another_type_or_shape_is_named_beside_the_fields() {
    let file = npy("<f4", false, "(2, 3)", &[0; 24]);
    for encoded in [file.clone(), npz(&file)] {
        for (dtype, dims) in
            [(DType::F64, &[2, 3][..]), (DType::F32, &[3, 2]), (DType::F32, &[6]), (DType::F32, &[])]
        {
            let expected = spec(dtype, dims);
            let words = words(dtype, &dims.iter().map(|&dim| u64::from(dim)).collect::<Vec<_>>());
            says(taken(&expected, &encoded), &format!("an array of float32 (2, 3), the field takes {words}"));
        }
    }
    let scalar = npy("<f4", false, "()", &1.5_f32.to_le_bytes());
    assert_eq!(taken(&spec(DType::F32, &[]), &scalar), Ok(1.5_f32.to_le_bytes().to_vec()));
}

#[test]
fn an_array_of_more_or_fewer_bytes_than_it_announces_is_corrupt() {
    let spec = spec(DType::U8, &[5]);
    for len in [0, 4, 6, 100] {
        let file = npy("|u1", false, "(5,)", &vec![1; len]);
        let expected = ArrayError::Length { found_bytes: len as u64, expected_bytes: 5 };
        assert_eq!(taken(&spec, &file), Err(expected.clone()));
        assert_eq!(taken(&spec, &npz(&file)), Err(expected));
    }
    let sound = npy("|u1", false, "(5,)", &[1; 5]);
    (0..128).for_each(|len| assert!(taken(&spec, &sound[..len]).is_err(), "cut to {len}"));
    says(taken(&spec, b"hello"), "neither .npy nor .npz");
}

#[test]
fn a_deflated_member_that_is_not_what_its_directory_says_is_corrupt() {
    let file = npy("|u1", false, "(5,)", &[1; 5]);
    let (sum, len, bytes) = (crc32fast::hash(&file), file.len() as u64, deflated(&file));
    let of = |sum, len, bytes: &[u8]| {
        taken(&spec(DType::U8, &[5]), &archive(&[("x.npy", 8, sum, len, bytes)], false))
    };
    assert_eq!(of(sum, len, &bytes), Ok(vec![1; 5]));
    says(of(sum ^ 1, len, &bytes), "the checksum");
    says(of(sum, len + 1, &bytes), "6 bytes of elements");
    says(of(sum, len, &bytes[..bytes.len() - 3]), "ends early");
    says(of(sum, len, &deflated(&[&file[..], b"more"].concat())), "longer than the directory says");
    says(of(sum, len, &[&bytes[..], b"more"].concat()), "longer than the directory says");
    says(of(sum, len, b"\xff\xff\xff"), "is damaged");
    let stored = archive(&[("x.npy", 0, sum ^ 1, len, &file)], false);
    says(taken(&spec(DType::U8, &[5]), &stored), "the checksum");
}

#[test]
fn a_member_is_named_where_there_are_several_and_only_in_an_archive() {
    let (one, two) = (npy("|u1", false, "(1,)", &[1]), npy("|u1", false, "(1,)", &[2]));
    let entry = |name, file: &'static [u8]| (name, 0, crc32fast::hash(file), file.len() as u64, file);
    let (one, two): (&'static [u8], &'static [u8]) = (one.leak(), two.leak());
    let both = archive(&[entry("x.npy", one), entry("y.npy", two)], false);
    let named = |member: &str| ArraySpec { member: member.to_owned(), ..spec(DType::U8, &[1]) };
    assert_eq!((taken(&named("x"), &both), taken(&named("y"), &both)), (Ok(vec![1]), Ok(vec![2])));
    says(taken(&named(""), &both), "several members: x, y");
    says(taken(&named("z"), &both), "no member \"z\"; there are x, y");
    says(taken(&named("x"), one), "a .npy file has no member \"x\"");
}
