"""Write golden_wire.json: records by hand, with struct formats of its own, for both sides to be tested on."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any


def tensor(offset: int, length: int, dims: list[int]) -> tuple[dict[str, Any], bytes]:
    padded = dims + [0] * (8 - len(dims))
    data = struct.pack("<QQII", offset, length, len(dims), 0) + struct.pack("<8I", *padded)
    return {"offset": offset, "len": length, "dims": dims}, data


def ready(
    flags: int,
    sequence: int,
    tensors: list[tuple[dict[str, Any], bytes]],
    *,
    tally: list[int] | None = None,
    **fields: int,
) -> dict[str, Any]:
    names = ["arena", "slot", "rows", "generation", "epoch", "first_row", "position", "next_epoch"]
    names += ["next_position", "valid_rows", "slot_us", "storage_us", "compute_us", "queued_us"]
    assert list(fields) == names
    head = struct.pack("<BBHI", 0x11, flags, len(tensors), sequence)
    body = struct.pack("<QIIQQQQQQIIIIII", *fields.values(), 0)
    data = head + body + b"".join(part for _, part in tensors)
    if tally is not None:
        end_row, rows, order, content = tally
        data += struct.pack("<QQ", end_row, rows) + order.to_bytes(32, "little") + content.to_bytes(32, "little")
    listed = [part for part, _ in tensors]
    return {
        "kind": "ready",
        "flags": flags,
        "sequence": sequence,
        **fields,
        "tensors": listed,
        "tally": tally,
        "hex": data.hex(),
    }


def record(kind: str, data: bytes, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, **fields, "hex": data.hex()}


def fault(flags: int, sequence: int, epoch: int, position: int, error: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(error, ensure_ascii=False, separators=(",", ":")).encode()
    data = struct.pack("<BBHIQQ", 0x12, flags, 0, sequence, epoch, position) + text
    return record("fault", data, flags=flags, sequence=sequence, epoch=epoch, position=position, error=error)


def release(sequence: int, entries: list[dict[str, int]]) -> dict[str, Any]:
    data = struct.pack("<BBHI", 0x21, 0, len(entries), sequence)
    data += b"".join(struct.pack("<QQII", e["arena"], e["generation"], e["slot"], 0) for e in entries)
    return record("release", data, sequence=sequence, entries=entries)


BIG = 0x1122_3344_5566_7788
IMAGES = tensor(0, 38_535_168, [256, 3, 224, 224])
LABELS = tensor(38_535_168, 2048, [256])
VALID = tensor(38_537_216, 256, [256])
GOLDEN = {
    "control": record("control", b"\x01" + bytes(7) + b'{"id":7,"stats":{}}', flags=0, fragment='{"id":7,"stats":{}}'),
    "control_more": record("control", b"\x01\x01" + bytes(6) + b'{"id":7,', flags=1, fragment='{"id":7,'),
    "attach": record("attach", struct.pack("<BBHIQ", 2, 0, 0, 0, BIG), session=BIG),
    "arena": record(
        "arena", struct.pack("<BBHIQQII", 0x10, 0, 0, 0, 3, 38_539_264, 6, 0),
        flags=0, sequence=0, arena=3, slot_bytes=38_539_264, slots=6,
    ),
    "arena_one_off": record(
        "arena", struct.pack("<BBHIQQII", 0x10, 1, 0, 2, 4, 1 << 33, 1, 0),
        flags=1, sequence=2, arena=4, slot_bytes=1 << 33, slots=1,
    ),
    "ready": ready(
        0, 0, [IMAGES, LABELS, VALID], arena=3, slot=5, rows=256, generation=BIG, epoch=1, first_row=768, position=512,
        next_epoch=1, next_position=1024, valid_rows=256, slot_us=1, storage_us=2000, compute_us=30_000, queued_us=4,
    ),
    "ready_last": ready(
        1, 2, [tensor(0, 12, [3, 4])], arena=3, slot=0, rows=3, generation=1, epoch=7, first_row=1 << 40,
        position=1 << 40, next_epoch=8, next_position=0, valid_rows=2, slot_us=0, storage_us=0, compute_us=0,
        queued_us=0xFFFF_FFFF,
    ),
    "ready_empty": ready(
        2, 9, [], arena=0, slot=0, rows=0, generation=0, epoch=7, first_row=0, position=30, next_epoch=8,
        next_position=0, valid_rows=0, slot_us=0, storage_us=0, compute_us=0, queued_us=0,
    ),
    "ready_tally": ready(
        5, 2, [tensor(0, 12, [3, 4])], tally=[30, 2, (7 << 248) + 5, (1 << 256) - 3], arena=3, slot=0, rows=3,
        generation=1, epoch=7, first_row=27, position=24, next_epoch=8, next_position=0, valid_rows=2, slot_us=0,
        storage_us=0, compute_us=0, queued_us=9,
    ),
    "fault": fault(0, 1, 2, 30, {
        "kind": "ERROR_KIND_CORRUPT", "message": "decode a/ü.jpg", "causes": ["truncated"], "hint": "mend it",
        "object": "a/ü.jpg",
    }),
    "fault_fatal": fault(1, 0, 0, 0, {"kind": "ERROR_KIND_INVALID", "message": "a record of unknown kind 0x7f"}),
    "credit": record("credit", struct.pack("<BBHIII", 0x20, 0, 0, 3, 4, 0), sequence=3, credits=4),
    "credit_spent": record(
        "credit", struct.pack("<BBHIII4I", 0x20, 1, 0, 3, 1, 0, 120_000, 45_000, 30_000, 0xFFFF_FFFF),
        sequence=3, credits=1, spent=[120_000, 45_000, 30_000, 0xFFFF_FFFF],
    ),
    "release": release(3, [{"arena": 3, "generation": BIG, "slot": 5}]),
    "release_two": release(0, [{"arena": 3, "generation": 1, "slot": 0}, {"arena": 4, "generation": 2, "slot": 1}]),
    "seek": record(
        "seek", struct.pack("<BBHIQQII", 0x22, 0, 0, 4, 2, 512, 3, 0), sequence=4, epoch=2, position=512, credits=3
    ),
}  # fmt: skip

if __name__ == "__main__":
    path = Path(__file__).with_name("golden_wire.json")
    path.write_text(json.dumps(GOLDEN, indent=1, ensure_ascii=False) + "\n")
