"""The records of docs/wire.md, byte for byte: golden_wire.json is tested by the daemon too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forebay import _wire
from forebay.errors import ProtocolError

GOLDEN: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("golden_wire.json").read_text())


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(g, bytes.fromhex(g["hex"]), id=name) for name, g in GOLDEN.items() if g["kind"] == kind]


@pytest.mark.parametrize(("golden", "data"), of_kind("ready"))
def test_ready_is_read_and_written_byte_for_byte(golden: dict[str, Any], data: bytes) -> None:
    ready = _wire.decode_ready(data)
    for name, value in ready._asdict().items():
        if name == "tally":
            assert golden[name] == (value if value is None else list(value))
        elif name != "tensors":
            assert value == golden[name], name
    listed = [{"offset": t.offset_bytes, "len": t.len_bytes, "dims": list(t.dims)} for t in ready.tensors]
    assert listed == golden["tensors"]
    assert _wire.encode_ready(ready) == data


@pytest.mark.parametrize(("golden", "data"), of_kind("fault"))
def test_fault_is_read_and_written_byte_for_byte(golden: dict[str, Any], data: bytes) -> None:
    fault = _wire.decode_fault(data)
    assert fault == (
        golden["flags"],
        golden["sequence"],
        golden["epoch"],
        golden["position"],
        golden["error"],
    )
    assert _wire.encode_fault(fault) == data


@pytest.mark.parametrize(("golden", "data"), of_kind("arena"))
def test_arena_is_read_and_written_byte_for_byte(golden: dict[str, Any], data: bytes) -> None:
    arena = _wire.decode_arena(data)
    assert arena == tuple(golden[name] for name in ("flags", "sequence", "arena", "slot_bytes", "slots"))
    assert _wire.encode_arena(*arena) == data


@pytest.mark.parametrize(("golden", "data"), of_kind("release"))
def test_release_is_read_and_written_byte_for_byte(golden: dict[str, Any], data: bytes) -> None:
    releases = _wire.decode_releases(data)
    assert [release._asdict() for release in releases] == golden["entries"]
    assert _wire.encode_releases(golden["sequence"], releases) == data
    if len(releases) == 1:
        assert _wire.encode_release(golden["sequence"], *releases[0]) == data


def test_credit_seek_and_attach_are_read_and_written_byte_for_byte() -> None:
    credit, seek, attach = GOLDEN["credit"], GOLDEN["seek"], GOLDEN["attach"]
    assert _wire.encode_credit(credit["sequence"], credit["credits"]).hex() == credit["hex"]
    assert _wire.decode_credit(bytes.fromhex(credit["hex"])) == (credit["credits"], None)
    told = GOLDEN["credit_spent"]
    spent = _wire.Spent(*told["spent"])
    assert _wire.encode_credit(told["sequence"], told["credits"], spent).hex() == told["hex"]
    assert _wire.decode_credit(bytes.fromhex(told["hex"])) == (told["credits"], spent)
    fields = tuple(seek[name] for name in ("sequence", "epoch", "position", "credits"))
    assert _wire.encode_seek(*fields).hex() == seek["hex"]
    assert _wire.decode_seek(bytes.fromhex(seek["hex"])) == fields
    assert _wire.encode_attach(attach["session"]).hex() == attach["hex"]
    assert _wire.decode_attach(bytes.fromhex(attach["hex"])) == attach["session"]


def test_control_messages_are_cut_into_fragments_and_joined() -> None:
    (short,) = _wire.encode_control({"id": 7, "stats": {}})
    assert short.hex() == GOLDEN["control"]["hex"]
    message = {"id": 1, "resolve": {"lines": "ü" * 100_000}}
    records = _wire.encode_control(message)
    assert [record[1] for record in records] == [_wire.MORE] * (len(records) - 1) + [0]
    assert len(records) > 3
    assert max(map(len, records)) == _wire.CONTROL_RECORD_BYTES_MAX
    assert _wire.decode_control([record[8:] for record in records]) == message


def test_json_names_come_in_either_case() -> None:
    text = b'{"slotBytes":"4096","tensors":[{"memoryOrder":"X"}],"max_leases":2}'
    assert _wire.decode_control([text]) == {
        "slot_bytes": "4096",
        "tensors": [{"memory_order": "X"}],
        "max_leases": 2,
    }


@pytest.mark.parametrize("name", [name for name in GOLDEN if not name.startswith("control")])
@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_a_record_of_the_wrong_length_is_refused(name: str, change: str) -> None:
    kind = GOLDEN[name]["kind"] + ("s" if GOLDEN[name]["kind"] == "release" else "")
    data = bytes.fromhex(GOLDEN[name]["hex"])
    with pytest.raises(ProtocolError):
        getattr(_wire, f"decode_{kind}")(data[:-1] if change == "shorter" else data + b"x")


@pytest.mark.parametrize("data", [b"", b"\x11", bytes(7), b"\x11" * 50])
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        _wire.decode_ready(data)
    with pytest.raises(ProtocolError):
        _wire.decode_fault(data[:20])
    with pytest.raises(ProtocolError):
        _wire.decode_control([data])
