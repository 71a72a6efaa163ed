//! The records against the client's own bytes, and rubbish.

use super::*;
use proptest::prelude::*;

#[test]
fn ready_reads_back_what_it_wrote() {
    let tensor = ReadyTensor { offset_bytes: 4096, len_bytes: 24, dims: vec![2, 3, 4] };
    let ready = Ready {
        flags: FLAG_LAST,
        sequence: 7,
        slot: 3,
        generation: 1 << 40,
        next_position: 9,
        queued_us: 5,
        tensors: vec![tensor],
        ..Ready::default()
    };
    let mut bytes = Vec::new();
    ready.write(&mut bytes);
    assert_eq!(bytes.len(), READY_BYTES + TENSOR_BYTES);
    assert_eq!(Ready::read(&bytes), Ok(ready));
}

#[test]
fn client_records_read_back_what_they_wrote() {
    let release = Release { arena: 1, generation: 2, slot: 3 };
    let records = [
        ClientRecord::Credit { credits: 4, spent: None },
        ClientRecord::Credit {
            credits: 1,
            spent: Some(Spent { waited_us: 1, trainer_us: 2, python_us: 3, copied_us: u32::MAX }),
        },
        ClientRecord::Release(vec![release; 64]),
        ClientRecord::Seek { sequence: 1, epoch: 2, position: 3, credits: 4 },
    ];
    let mut bytes = Vec::new();
    for record in records {
        record.write(&mut bytes);
        assert_eq!(ClientRecord::read(&bytes), Ok(record));
    }
}

#[test]
fn a_wrong_length_and_an_unknown_kind_are_named() {
    let mut bytes = Vec::new();
    ClientRecord::Credit { credits: 1, spent: None }.write(&mut bytes);
    bytes.push(0);
    assert_eq!(
        ClientRecord::read(&bytes),
        Err(RecordError::Length { kind: 0x20, len_bytes: 17, expected_bytes: 16 })
    );
    assert_eq!(ClientRecord::read(&[0x7f; 8]), Err(RecordError::Kind { kind: 0x7f }));
    assert_eq!(ClientRecord::read(&[0x20]), Err(RecordError::Short { len_bytes: 1 }));
    bytes[0] = RecordKind::Release as u8;
    assert!(ClientRecord::read(&bytes).is_err(), "a release without entries");
}

/// The same file as `client-py/tests/test_wire.py` reads, so that both sides mean the same bytes.
fn golden() -> serde_json::Map<String, serde_json::Value> {
    let text = include_str!("../../../../../../client-py/tests/golden_wire.json");
    serde_json::from_str(text).expect("JSON")
}

fn bytes(record: &serde_json::Value) -> Vec<u8> {
    let hex = record["hex"].as_str().expect("hex");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn the_golden_records_of_the_client_read_and_write_byte_for_byte() {
    let mut seen = 0;
    for (name, record) in golden() {
        let (hex, mut out) = (bytes(&record), Vec::new());
        match record["kind"].as_str().expect("kind") {
            "ready" => Ready::read(&hex).expect(&name).write(&mut out),
            "credit" | "release" | "seek" => ClientRecord::read(&hex).expect(&name).write(&mut out),
            "attach" => write_attach(&mut out, read_attach(&hex).expect(&name)),
            "control" => {
                let more = record["flags"].as_u64() == Some(u64::from(FLAG_MORE));
                write_control(&mut out, record["fragment"].as_str().expect("fragment").as_bytes(), more);
            }
            "fault" => {
                let (header, number) = (Header::read(&hex).expect(&name), |at| u64_at(&hex, at));
                let json = std::str::from_utf8(&hex[24..]).expect("JSON");
                write_fault(
                    &mut out,
                    header.flags == FLAG_FATAL,
                    header.sequence,
                    number(8),
                    number(16),
                    json,
                );
            }
            "arena" => {
                let (arena, slot_bytes, slots) = read_arena(&hex).expect(&name);
                write_arena(&mut out, arena, slot_bytes, slots);
                out[1] = hex[1]; // ONE_OFF, which this version does not send
            }
            other => panic!("{name}: a kind {other} that this test does not know"),
        }
        if record["kind"] != "seek" && record["kind"] != "ready" {
            out[4..8].copy_from_slice(&hex[4..8]); // the sequence, which only these two act on
        }
        assert_eq!(out, hex, "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "the file holds every kind of record");
}

proptest! {
    #[test]
    fn rubbish_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ClientRecord::read(&bytes);
        let _ = Ready::read(&bytes);
        let _ = read_arena(&bytes);
        let _ = read_attach(&bytes);
    }
}
