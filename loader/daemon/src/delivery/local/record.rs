//! The fixed binary records of `docs/wire.md`, to and from bytes. Pure.

use thiserror::Error;

/// Bytes of the header that every record starts with.
pub const HEADER_BYTES: usize = 8;
/// The longest record of either direction: a READY of 64 tensors is far below.
pub const RECORD_BYTES_MAX: usize = 65_536;
/// CONTROL's flag: another fragment of the message follows.
pub const FLAG_MORE: u8 = 1;
/// READY's flag: the last batch of its epoch.
pub const FLAG_LAST: u8 = 1;
/// READY's flag: no batch, the epoch has no step left.
pub const FLAG_EMPTY: u8 = 2;
/// FAULT's flag: the daemon closes the session.
pub const FLAG_FATAL: u8 = 1;

const READY_BYTES: usize = 96;
const TENSOR_BYTES: usize = 56;
const RELEASE_ENTRY_BYTES: usize = 24;
const RELEASES_MAX: usize = 64;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "docs/wire.md has one section for each")]
pub enum RecordKind {
    Control = 0x01,
    Attach = 0x02,
    Arena = 0x10,
    Ready = 0x11,
    Fault = 0x12,
    Credit = 0x20,
    Release = 0x21,
    Seek = 0x22,
}

/// Why a record of a peer can't be taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// Shorter than a header.
    #[error("record of {len_bytes} bytes is shorter than its header")]
    Short {
        /// What came.
        len_bytes: usize,
    },
    /// A kind that this version does not know, or that does not belong on this socket.
    #[error("record of unexpected kind {kind:#04x}")]
    Kind {
        /// The first byte.
        kind: u8,
    },
    /// The length does not fit the kind and count.
    #[error("record of kind {kind:#04x} has {len_bytes} bytes, expected {expected_bytes}")]
    Length {
        /// The first byte.
        kind: u8,
        /// What came.
        len_bytes: usize,
        /// What its kind and count ask for.
        expected_bytes: usize,
    },
}

/// The header of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// First byte.
    pub kind: u8,
    /// By kind.
    pub flags: u8,
    /// By kind.
    pub count: u16,
    /// SEEKs that the session has seen.
    pub sequence: u32,
}

impl Header {
    fn write(self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
    }

    /// Reads the header of a record.
    ///
    /// # Errors
    /// [`RecordError::Short`].
    pub fn read(record: &[u8]) -> Result<Self, RecordError> {
        if record.len() < HEADER_BYTES {
            return Err(RecordError::Short { len_bytes: record.len() });
        }
        Ok(Self { kind: record[0], flags: record[1], count: u16_at(record, 2), sequence: u32_at(record, 4) })
    }
}

/// Where one tensor of a batch lies in its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyTensor {
    /// From the slot's start.
    pub offset_bytes: u64,
    /// Of the rows that are there.
    pub len_bytes: u64,
    /// With the batch dimension first; at most 8.
    pub dims: Vec<u32>,
}

/// One batch, announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/wire.md names each")]
pub struct Ready {
    pub flags: u8,
    pub sequence: u32,
    pub arena: u64,
    pub slot: u32,
    pub rows: u32,
    pub generation: u64,
    pub epoch: u64,
    pub first_row: u64,
    pub position: u64,
    pub next_epoch: u64,
    pub next_position: u64,
    pub valid_rows: u32,
    pub slot_us: u32,
    pub storage_us: u32,
    pub compute_us: u32,
    pub queued_us: u32,
    pub tensors: Vec<ReadyTensor>,
}

impl Ready {
    /// Writes the record over `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let count = self.tensors.len() as u16;
        Header { kind: RecordKind::Ready as u8, flags: self.flags, count, sequence: self.sequence }
            .write(out);
        put_u64(out, self.arena);
        put_u32(out, self.slot);
        put_u32(out, self.rows);
        for value in
            [self.generation, self.epoch, self.first_row, self.position, self.next_epoch, self.next_position]
        {
            put_u64(out, value);
        }
        for value in [self.valid_rows, self.slot_us, self.storage_us, self.compute_us, self.queued_us, 0] {
            put_u32(out, value);
        }
        self.tensors.iter().for_each(|tensor| tensor.write(out));
    }

    /// Reads a READY.
    ///
    /// # Errors
    /// [`RecordError`] where it is none.
    pub fn read(record: &[u8]) -> Result<Self, RecordError> {
        let header = expect(record, RecordKind::Ready, |count| READY_BYTES + count * TENSOR_BYTES)?;
        let tensors = record[READY_BYTES..].chunks_exact(TENSOR_BYTES).map(ReadyTensor::read).collect();
        Ok(Self {
            flags: header.flags,
            sequence: header.sequence,
            arena: u64_at(record, 8),
            slot: u32_at(record, 16),
            rows: u32_at(record, 20),
            generation: u64_at(record, 24),
            epoch: u64_at(record, 32),
            first_row: u64_at(record, 40),
            position: u64_at(record, 48),
            next_epoch: u64_at(record, 56),
            next_position: u64_at(record, 64),
            valid_rows: u32_at(record, 72),
            slot_us: u32_at(record, 76),
            storage_us: u32_at(record, 80),
            compute_us: u32_at(record, 84),
            queued_us: u32_at(record, 88),
            tensors,
        })
    }
}

impl ReadyTensor {
    fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.offset_bytes);
        put_u64(out, self.len_bytes);
        put_u32(out, self.dims.len() as u32);
        put_u32(out, 0);
        for axis in 0..8 {
            put_u32(out, self.dims.get(axis).copied().unwrap_or(0));
        }
    }

    fn read(entry: &[u8]) -> Self {
        let axes = (u32_at(entry, 16) as usize).min(8);
        let dims = (0..axes).map(|axis| u32_at(entry, 24 + 4 * axis)).collect();
        Self { offset_bytes: u64_at(entry, 0), len_bytes: u64_at(entry, 8), dims }
    }
}

/// One slot that a client gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/wire.md names each")]
pub struct Release {
    pub arena: u64,
    pub generation: u64,
    pub slot: u32,
}

/// What a client says on a session socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/wire.md names each")]
pub enum ClientRecord {
    Credit { credits: u32 },
    Release(Vec<Release>),
    Seek { sequence: u32, epoch: u64, position: u64, credits: u32 },
}

impl ClientRecord {
    /// Reads what a client sent.
    ///
    /// # Errors
    /// [`RecordError`]: the peer is broken or hostile.
    pub fn read(record: &[u8]) -> Result<Self, RecordError> {
        let header = Header::read(record)?;
        match header.kind {
            kind if kind == RecordKind::Credit as u8 => {
                expect(record, RecordKind::Credit, |_| HEADER_BYTES + 8)?;
                Ok(Self::Credit { credits: u32_at(record, 8) })
            }
            kind if kind == RecordKind::Release as u8 => {
                expect(record, RecordKind::Release, |count| {
                    HEADER_BYTES + count.clamp(1, RELEASES_MAX) * RELEASE_ENTRY_BYTES
                })?;
                Ok(Self::Release(
                    record[HEADER_BYTES..].chunks_exact(RELEASE_ENTRY_BYTES).map(Release::read).collect(),
                ))
            }
            kind if kind == RecordKind::Seek as u8 => {
                expect(record, RecordKind::Seek, |_| HEADER_BYTES + 24)?;
                let (epoch, position) = (u64_at(record, 8), u64_at(record, 16));
                Ok(Self::Seek { sequence: header.sequence, epoch, position, credits: u32_at(record, 24) })
            }
            kind => Err(RecordError::Kind { kind }),
        }
    }

    /// Writes the record over `out`, as a client does.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Credit { credits } => {
                Header { kind: RecordKind::Credit as u8, flags: 0, count: 0, sequence: 0 }.write(out);
                put_u32(out, *credits);
                put_u32(out, 0);
            }
            Self::Release(entries) => {
                let count = entries.len() as u16;
                Header { kind: RecordKind::Release as u8, flags: 0, count, sequence: 0 }.write(out);
                entries.iter().for_each(|entry| entry.write(out));
            }
            Self::Seek { sequence, epoch, position, credits } => {
                Header { kind: RecordKind::Seek as u8, flags: 0, count: 0, sequence: *sequence }.write(out);
                put_u64(out, *epoch);
                put_u64(out, *position);
                put_u32(out, *credits);
                put_u32(out, 0);
            }
        }
    }
}

impl Release {
    fn read(entry: &[u8]) -> Self {
        Self { arena: u64_at(entry, 0), generation: u64_at(entry, 8), slot: u32_at(entry, 16) }
    }

    fn write(self, out: &mut Vec<u8>) {
        put_u64(out, self.arena);
        put_u64(out, self.generation);
        put_u32(out, self.slot);
        put_u32(out, 0);
    }
}

/// Writes ARENA over `out`; the memfd travels beside it.
pub fn write_arena(out: &mut Vec<u8>, arena: u64, slot_bytes: u64, slots: u32) {
    Header { kind: RecordKind::Arena as u8, flags: 0, count: 0, sequence: 0 }.write(out);
    put_u64(out, arena);
    put_u64(out, slot_bytes);
    put_u32(out, slots);
    put_u32(out, 0);
}

/// Reads ARENA: its id, bytes a slot, slots.
///
/// # Errors
/// [`RecordError`] where it is none.
pub fn read_arena(record: &[u8]) -> Result<(u64, u64, u32), RecordError> {
    expect(record, RecordKind::Arena, |_| HEADER_BYTES + 24)?;
    Ok((u64_at(record, 8), u64_at(record, 16), u32_at(record, 24)))
}

/// Writes FAULT over `out`: where, and the error as JSON.
pub fn write_fault(
    out: &mut Vec<u8>,
    fatal: bool,
    sequence: u32,
    epoch: u64,
    position: u64,
    error_json: &str,
) {
    let flags = if fatal { FLAG_FATAL } else { 0 };
    Header { kind: RecordKind::Fault as u8, flags, count: 0, sequence }.write(out);
    put_u64(out, epoch);
    put_u64(out, position);
    let room = RECORD_BYTES_MAX - out.len();
    out.extend_from_slice(&error_json.as_bytes()[..error_json.len().min(room)]);
}

/// Writes ATTACH over `out`, as a client does; its end of the socket pair travels beside it.
pub fn write_attach(out: &mut Vec<u8>, session: u64) {
    Header { kind: RecordKind::Attach as u8, flags: 0, count: 0, sequence: 0 }.write(out);
    put_u64(out, session);
}

/// Reads ATTACH: the session.
///
/// # Errors
/// [`RecordError`] where it is none.
pub fn read_attach(record: &[u8]) -> Result<u64, RecordError> {
    expect(record, RecordKind::Attach, |_| HEADER_BYTES + 8)?;
    Ok(u64_at(record, 8))
}

/// Writes one fragment of a control message over `out`.
pub fn write_control(out: &mut Vec<u8>, fragment: &[u8], more: bool) {
    let flags = if more { FLAG_MORE } else { 0 };
    Header { kind: RecordKind::Control as u8, flags, count: 0, sequence: 0 }.write(out);
    out.extend_from_slice(fragment);
}

fn expect(record: &[u8], kind: RecordKind, bytes: impl Fn(usize) -> usize) -> Result<Header, RecordError> {
    let header = Header::read(record)?;
    if header.kind != kind as u8 {
        return Err(RecordError::Kind { kind: header.kind });
    }
    let expected_bytes = bytes(header.count as usize);
    if record.len() != expected_bytes {
        return Err(RecordError::Length { kind: header.kind, len_bytes: record.len(), expected_bytes });
    }
    Ok(header)
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | (u64::from(u32_at(bytes, at + 4)) << 32)
}

#[cfg(test)]
mod tests {
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
            ClientRecord::Credit { credits: 4 },
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
        ClientRecord::Credit { credits: 1 }.write(&mut bytes);
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
        let text = include_str!("../../../../../client-py/tests/golden_wire.json");
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
}
