"""The records of docs/wire.md as bytes: pure functions both ways, no sockets.

The fixed records are named tuples, not dataclasses: READY is made once a batch, and a tuple costs a tenth.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Union, cast

from .errors import ProtocolError

VERSION_MIN = 1
VERSION_MAX = 1

CONTROL = 0x01
ATTACH = 0x02
ARENA = 0x10
READY = 0x11
FAULT = 0x12
CREDIT = 0x20
RELEASE = 0x21
SEEK = 0x22

# CONTROL's flag, ARENA's, READY's three, FAULT's, CREDIT's.
MORE = 1
ONE_OFF = 1
LAST = 1
EMPTY = 2
TALLY = 4
FATAL = 1
SPENT = 1

HEADER_BYTES = 8
CONTROL_RECORD_BYTES_MAX = 65_536
SESSION_RECORD_BYTES_MAX = 65_536
RELEASES_MAX = 64
TENSORS_MAX = 64

# What Hello answers where an older daemon leaves it out.
CONTROL_BYTES_MAX = 64 << 20

_HEADER = struct.Struct("<BBHI")
_ATTACH = struct.Struct("<BBHIQ")
_ARENA = struct.Struct("<BBHIQQII")
_READY = struct.Struct("<BBHIQIIQQQQQQIIIIII")
_TENSOR = struct.Struct("<QQII8I")
_TALLY = struct.Struct("<QQ32s32s")
_FAULT = struct.Struct("<BBHIQQ")
_CREDIT = struct.Struct("<BBHIII")
_CREDIT_SPENT = struct.Struct("<BBHIIIIIII")
_RELEASE_ENTRY = struct.Struct("<QQII")
_RELEASE_ONE = struct.Struct("<BBHIQQII")
_SEEK = struct.Struct("<BBHIQQII")

Buffer = Union[bytes, bytearray, memoryview]


class Header(NamedTuple):
    """The first 8 bytes of every record; `tally` is the wire's `count`, which a tuple has as a method."""

    kind: int
    flags: int
    tally: int
    sequence: int


class Arena(NamedTuple):
    """A memfd of `slots` slots of `slot_bytes` each, which came beside the record."""

    flags: int
    sequence: int
    arena: int
    slot_bytes: int
    slots: int


class Tensor(NamedTuple):
    """One tensor of a batch: `len_bytes` at `offset_bytes` from its slot's start, batch dimension first."""

    offset_bytes: int
    len_bytes: int
    dims: tuple[int, ...]


class Tally(NamedTuple):
    """What a batch's `rows` add to the digests of the epoch; all ranks together took the rows up to `end_row`."""

    end_row: int
    rows: int
    order: int
    content: int


class Ready(NamedTuple):
    """One batch, which is the client's until it sends RELEASE; or, with `EMPTY`, none."""

    flags: int
    sequence: int
    arena: int
    slot: int
    rows: int
    generation: int
    epoch: int
    first_row: int
    position: int
    next_epoch: int
    next_position: int
    valid_rows: int
    slot_us: int
    storage_us: int
    compute_us: int
    queued_us: int
    tensors: tuple[Tensor, ...]
    tally: Tally | None = None


class Fault(NamedTuple):
    """The session stopped at a cursor, and why (a `forebay.v1.Error` in JSON)."""

    flags: int
    sequence: int
    epoch: int
    position: int
    error: dict[str, Any]


class Spent(NamedTuple):
    """What a consumer's time went into since it last said so, microseconds."""

    waited_us: int
    trainer_us: int
    python_us: int
    copied_us: int


class Release(NamedTuple):
    """A lease given back."""

    arena: int
    generation: int
    slot: int


def encode_control(message: Mapping[str, Any]) -> list[bytes]:
    """Give the records of one control message, each at most 65,536 bytes."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    step = CONTROL_RECORD_BYTES_MAX - HEADER_BYTES
    parts = [text[start : start + step] for start in range(0, len(text), step)] or [b""]
    flags = [MORE] * (len(parts) - 1) + [0]
    return [_HEADER.pack(CONTROL, flag, 0, 0) + part for flag, part in zip(flags, parts)]


def decode_control(parts: Iterable[Buffer]) -> dict[str, Any]:
    """Join the fragments of a message (without their headers) and parse its JSON object."""
    return _json_object(b"".join(bytes(part) for part in parts))


def encode_attach(session: int) -> bytes:
    """Give the record that carries a session's socket."""
    return _ATTACH.pack(ATTACH, 0, 0, 0, session)


def encode_credit(sequence: int, credits: int, spent: Spent | None = None) -> bytes:
    """Let the daemon send `credits` batches more, and say what those taken cost."""
    if spent is None:
        return _CREDIT.pack(CREDIT, 0, 0, sequence, credits, 0)
    return _CREDIT_SPENT.pack(CREDIT, SPENT, 0, sequence, credits, 0, *spent)


def encode_release(sequence: int, arena: int, generation: int, slot: int) -> bytes:
    """Give one lease back: the common case, one pack and no loop."""
    return _RELEASE_ONE.pack(RELEASE, 0, 1, sequence, arena, generation, slot, 0)


def encode_releases(sequence: int, releases: Iterable[Release]) -> bytes:
    """Give 1 to 64 leases back."""
    entries = [_RELEASE_ENTRY.pack(*release, 0) for release in releases]
    return _HEADER.pack(RELEASE, 0, len(entries), sequence) + b"".join(entries)


def encode_seek(sequence: int, epoch: int, position: int, credits: int) -> bytes:
    """Let the session go on at a cursor; the credit becomes exactly `credits`."""
    return _SEEK.pack(SEEK, 0, 0, sequence, epoch, position, credits, 0)


def encode_arena(flags: int, sequence: int, arena: int, slot_bytes: int, slots: int) -> bytes:
    """Daemon's side, for tests: announce an arena."""
    return _ARENA.pack(ARENA, flags, 0, sequence, arena, slot_bytes, slots, 0)


def encode_ready(ready: Ready) -> bytes:
    """Daemon's side, for tests: announce a batch."""
    (flags, sequence, arena, slot, rows, generation, *rest, tensors, tally) = ready
    head = _READY.pack(READY, flags, len(tensors), sequence, arena, slot, rows, generation, *rest, 0)
    entries = (
        _TENSOR.pack(offset, size, len(dims), 0, *dims, *(0,) * (8 - len(dims))) for offset, size, dims in tensors
    )
    if tally is None:
        return head + b"".join(entries)
    end_row, count, *sums = tally
    return head + b"".join(entries) + _TALLY.pack(end_row, count, *(number.to_bytes(32, "little") for number in sums))


def encode_fault(fault: Fault) -> bytes:
    """Daemon's side, for tests: say why a session stopped."""
    text = json.dumps(fault.error, ensure_ascii=False, separators=(",", ":")).encode()
    return _FAULT.pack(FAULT, fault.flags, 0, fault.sequence, fault.epoch, fault.position) + text


def decode_header(data: Buffer) -> Header:
    """Read a record's first 8 bytes."""
    if len(data) < HEADER_BYTES:
        raise ProtocolError(f"a record of {len(data)} bytes is shorter than its header")
    return Header._make(_HEADER.unpack_from(data))


def decode_attach(data: Buffer) -> int:
    """Give the session's id."""
    return _exactly(_ATTACH, data, "ATTACH")[4]


def decode_arena(data: Buffer) -> Arena:
    """Read an ARENA."""
    _, flags, _, sequence, arena, slot_bytes, slots, _ = _exactly(_ARENA, data, "ARENA")
    return Arena(flags, sequence, arena, slot_bytes, slots)


def decode_ready(data: Buffer) -> Ready:
    """Read a READY with all of its tensors."""
    if len(data) < _READY.size:
        raise ProtocolError(f"a READY of {len(data)} bytes is shorter than 96")
    (_, flags, count, *fields, _) = _READY.unpack_from(data)
    end = _READY.size + count * _TENSOR.size
    if len(data) != end + (_TALLY.size if flags & TALLY else 0):
        raise ProtocolError(f"a READY of {count} tensors has {len(data)} bytes")
    tally = _tally(data[end:]) if flags & TALLY else None
    return Ready._make((flags, *fields, _tensors(bytes(data[_READY.size : end])), tally))


def _tally(data: Buffer) -> Tally:
    end_row, rows, order, content = _TALLY.unpack(data)
    return Tally(end_row, rows, int.from_bytes(order, "little"), int.from_bytes(content, "little"))


@lru_cache(maxsize=64)
def _tensors(entries: bytes) -> tuple[Tensor, ...]:
    """Read the tensor entries; those of all batches of a size are equal, and read once."""
    return tuple(
        Tensor(offset, size, tuple(dims[:ndim])) for offset, size, ndim, _, *dims in _TENSOR.iter_unpack(entries)
    )


def decode_fault(data: Buffer) -> Fault:
    """Read a FAULT and its error."""
    if len(data) < _FAULT.size:
        raise ProtocolError(f"a FAULT of {len(data)} bytes is shorter than {_FAULT.size}")
    _, flags, _, sequence, epoch, position = _FAULT.unpack_from(data)
    return Fault(flags, sequence, epoch, position, _json_object(bytes(data[_FAULT.size :])))


def decode_credit(data: Buffer) -> tuple[int, Spent | None]:
    """Daemon's side, for tests: the credits granted, and what the batches taken cost."""
    if decode_header(data).flags & SPENT:
        fields = _exactly(_CREDIT_SPENT, data, "CREDIT")
        return fields[4], Spent(*fields[6:])
    return _exactly(_CREDIT, data, "CREDIT")[4], None


def decode_releases(data: Buffer) -> list[Release]:
    """Daemon's side, for tests: the leases given back."""
    header = decode_header(data)
    if len(data) != HEADER_BYTES + header.tally * _RELEASE_ENTRY.size or not header.tally:
        raise ProtocolError(f"a RELEASE of {header.tally} entries has {len(data)} bytes")
    body = memoryview(data)[HEADER_BYTES:]
    return [Release(*entry[:3]) for entry in _RELEASE_ENTRY.iter_unpack(body)]


def decode_seek(data: Buffer) -> tuple[int, int, int, int]:
    """Daemon's side, for tests: sequence, epoch, position, credits."""
    _, _, _, sequence, epoch, position, credits, _ = _exactly(_SEEK, data, "SEEK")
    return sequence, epoch, position, credits


def snake_keys(value: Any) -> Any:
    """Turn the lowerCamelCase keys of the JSON mapping into the proto's own names, all the way down."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {"".join(_snake(key)): snake_keys(item) for key, item in pairs}
    if isinstance(value, list):
        return [snake_keys(item) for item in cast("list[Any]", value)]
    return value


def _snake(key: str) -> Iterator[str]:
    for letter in key:
        yield f"_{letter.lower()}" if letter.isupper() else letter


def _exactly(layout: struct.Struct, data: Buffer, name: str) -> tuple[Any, ...]:
    if len(data) != layout.size:
        raise ProtocolError(f"{name} has {len(data)} bytes and not {layout.size}")
    return layout.unpack(data)


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ProtocolError("a control message is not JSON", causes=[str(error)]) from error
    if not isinstance(value, dict):
        raise ProtocolError("a control message is not a JSON object")
    return snake_keys(value)
