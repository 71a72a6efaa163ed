//! The fixed binary records of `docs/wire.md`, to and from bytes. Pure.

use forebay_plan::{RowSum, Tally};
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
/// READY's flag: what its rows add to the digests of the epoch follows the tensors.
pub const FLAG_TALLY: u8 = 4;
/// CREDIT's flag: what the batches taken since the last one cost the consumer follows.
pub const FLAG_SPENT: u8 = 1;
/// FAULT's flag: the daemon closes the session.
pub const FLAG_FATAL: u8 = 1;

const READY_BYTES: usize = 96;
const TENSOR_BYTES: usize = 56;
const TALLY_BYTES: usize = 80;
const RELEASE_ENTRY_BYTES: usize = 24;
const RELEASES_MAX: usize = 64;
const SPENT_BYTES: usize = 16;

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
    pub tally: Option<StepTally>,
}

/// What a batch adds to the digests of its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTally {
    /// The row behind the last one of the whole step: all ranks together take `position` to here.
    pub end_row: u64,
    /// This rank's rows.
    pub tally: Tally,
}

impl Ready {
    /// Writes the record over `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let count = self.tensors.len() as u16;
        let flags = self.flags | if self.tally.is_some() { FLAG_TALLY } else { 0 };
        Header { kind: RecordKind::Ready as u8, flags, count, sequence: self.sequence }.write(out);
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
        if let Some(StepTally { end_row, tally }) = &self.tally {
            put_u64(out, *end_row);
            put_u64(out, tally.rows);
            out.extend_from_slice(&tally.order.to_bytes());
            out.extend_from_slice(&tally.content.to_bytes());
        }
    }

    /// Reads a READY.
    ///
    /// # Errors
    /// [`RecordError`] where it is none.
    pub fn read(record: &[u8]) -> Result<Self, RecordError> {
        let has_tally = Header::read(record)?.flags & FLAG_TALLY != 0;
        let tally_bytes = if has_tally { TALLY_BYTES } else { 0 };
        let header =
            expect(record, RecordKind::Ready, |count| READY_BYTES + count * TENSOR_BYTES + tally_bytes)?;
        let (tensors, tally) = record[READY_BYTES..].split_at(record.len() - READY_BYTES - tally_bytes);
        let tensors = tensors.chunks_exact(TENSOR_BYTES).map(ReadyTensor::read).collect();
        Ok(Self {
            flags: header.flags & !FLAG_TALLY,
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
            tally: has_tally.then(|| StepTally::read(tally)),
        })
    }
}

impl StepTally {
    fn read(bytes: &[u8]) -> Self {
        let sum = |at: usize| RowSum::from_bytes(bytes[at..at + 32].try_into().expect("32 bytes"));
        let tally = Tally { rows: u64_at(bytes, 8), order: sum(16), content: sum(48) };
        Self { end_row: u64_at(bytes, 0), tally }
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

/// What a consumer's time went into since it last said so, microseconds; at most 71 minutes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/wire.md names each")]
pub struct Spent {
    pub waited_us: u32,
    pub trainer_us: u32,
    pub python_us: u32,
    pub copied_us: u32,
}

/// What a client says on a session socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/wire.md names each")]
pub enum ClientRecord {
    Credit { credits: u32, spent: Option<Spent> },
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
                let says = header.flags & FLAG_SPENT != 0;
                expect(record, RecordKind::Credit, |_| {
                    HEADER_BYTES + 8 + if says { SPENT_BYTES } else { 0 }
                })?;
                let spent = says.then(|| Spent::read(&record[HEADER_BYTES + 8..]));
                Ok(Self::Credit { credits: u32_at(record, 8), spent })
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
            Self::Credit { credits, spent } => {
                let flags = if spent.is_some() { FLAG_SPENT } else { 0 };
                Header { kind: RecordKind::Credit as u8, flags, count: 0, sequence: 0 }.write(out);
                put_u32(out, *credits);
                put_u32(out, 0);
                spent.iter().for_each(|spent| spent.write(out));
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

impl Spent {
    fn read(entry: &[u8]) -> Self {
        let [waited_us, trainer_us, python_us, copied_us] = [0, 4, 8, 12].map(|at| u32_at(entry, at));
        Self { waited_us, trainer_us, python_us, copied_us }
    }

    fn write(self, out: &mut Vec<u8>) {
        for value in [self.waited_us, self.trainer_us, self.python_us, self.copied_us] {
            put_u32(out, value);
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
mod tests;
