"""Data sets made of shards: measured, verified, cleaned of copies and exported as if their samples were plain files."""

from __future__ import annotations

import json
import shutil
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_png

import forebay
from forebay.errors import InvalidError
from forebay.numpy import DataLoader
from forebay.transforms import Resize

from .test_datasets import command
from .test_parquet_shards import FIXTURES
from .test_shards import SAMPLES, SHARDS, add, masked, message, varint, write_records

TOKENS = 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """48 images of 16 to 63 pixels a side, with labels, in a folder that holds nothing else yet."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    with (root / "list.jsonl").open("w") as lines:
        for index in range(SAMPLES):
            write_png(root / "images" / f"{index:03}.png", index, 16 + index)
            row = {"image": f"images/{index:03}.png", "label": index % 7, "txt": f"caption {index}"}
            lines.write(json.dumps(row) + "\n")
    return root


def image_of(root: Path, index: int) -> bytes:
    """Give a PNG whose side tells its number."""
    return (root / "images" / f"{index:03}.png").read_bytes()


def write_members(root: Path, images: dict[int, bytes] | None = None) -> str:
    """Put each image into an archive with a class, a caption, tokens, a mask and words of its own."""
    for shard in range(SHARDS):
        with tarfile.open(root / f"train-{shard}.tar", "w") as archive:
            for index in range(shard * SAMPLES // SHARDS, (shard + 1) * SAMPLES // SHARDS):
                for ending, content in members_of(root, index).items():
                    content = (images or {}).get(index, content) if ending == "png" else content
                    add(archive, f"s/{index:03}.{ending}", content)
    return str(root / "train-*.tar")


def members_of(root: Path, index: int) -> dict[str, bytes]:
    return {
        "png": image_of(root, index),
        "cls": str(index % 7).encode(),
        "txt": f"caption {index} é".encode(),
        "tok": struct.pack(f"<{TOKENS + index}H", *range(TOKENS + index)),
        "seg.png": image_of(root, (index + 1) % SAMPLES),
        "json": json.dumps({"number": index}).encode(),
    }


def index_set(pattern: str, place: Path, *words: str) -> dict[str, Any]:
    return json.loads(command("index", pattern, "--dataset", place, "--json", *words))


def keys(place: Path, *words: str) -> list[str]:
    return command("dataset", "files", place, "--keys", *words).splitlines()


def shown(place: Path) -> set[str]:
    return {column["name"] for column in json.loads(command("dataset", "show", place, "--json"))["columns"]}


def values_of(place: Path, *columns: str) -> list[tuple[Any, ...]]:
    fields = {name: forebay.Value(name) for name in columns}
    with DataLoader(forebay.Dataset(place), SAMPLES, tail="partial", fields=fields) as loader:
        batch = next(iter(loader))
    return list(zip(*(batch[name].tolist() for name in columns)))


def verified(place: Path, *words: str) -> dict[str, Any]:
    return json.loads(command("dataset", "verify", place, "--json", *words))


# Measuring


def test_members_are_measured_by_their_headers_and_again_only_what_is_new(data: Path, tmp_path: Path) -> None:
    write_members(data)
    place = tmp_path / "set.forebay"
    two = index_set(str(data / "train-{0,1}.tar"), place, "--measure")["measured"]
    assert (two["read"], two["known"], two["unreadable"]) == (SAMPLES * 2 // 3, 0, 0)
    third = index_set(str(data / "train-*.tar"), place, "--measure")["measured"]
    assert (third["read"], third["known"], third["unreadable"]) == (SAMPLES // 3, SAMPLES * 2 // 3, 0)
    assert values_of(place, "width", "height") == [(16 + index, 16 + index) for index in range(SAMPLES)]


def test_captions_and_tokens_are_measured_where_they_are_named(data: Path, tmp_path: Path) -> None:
    pattern = write_members(data)
    place, tokens = tmp_path / "set.forebay", tmp_path / "tokens.forebay"
    index_set(pattern, place, "--measure", "--column", "txt")
    index_set(pattern, tokens, "--measure", "--column", "tok", "--tokens", "uint16")
    assert values_of(place, "text_bytes") == [(len(f"caption {index} é".encode()),) for index in range(SAMPLES)]
    assert values_of(tokens, "tokens") == [(TOKENS + index,) for index in range(SAMPLES)]


def test_records_are_measured_as_files_are(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "set.forebay"
    index_set(write_records(data), place, "--measure")
    assert values_of(place, "width", "label") == [(16 + index, index % 7) for index in range(SAMPLES)]


@pytest.mark.parametrize("name", ["images-?", "images-plain-?", "images-checked"])
def test_cells_are_measured_verified_and_read_by_a_job(name: str, tmp_path: Path) -> None:
    for fixture in FIXTURES.glob(f"{name}.parquet"):
        shutil.copy(fixture, tmp_path)
    place = tmp_path / "set.forebay"
    count = index_set(str(tmp_path / "*.parquet"), place, "--measure")["measured"]["read"]
    assert set(values_of(place, "width", "height")) == {(16, 16)}
    found = verified(place)
    assert (found["sound"], found["files"]) == (count, {"PNG": count})
    write_png(tmp_path / "plain.png", 5)
    (tmp_path / "list.jsonl").write_text('{"image": "plain.png", "label": 5}')
    fields = {"image": forebay.Image(transform=[Resize((8, 8))]), "label": forebay.Value()}
    with DataLoader(tmp_path / "list.jsonl", 1, fields=fields) as loader:
        due = next(iter(loader))["image"][0].copy()
    with DataLoader(forebay.Dataset(place), count, fields=fields) as loader:
        batch = next(iter(loader))
        assert np.array_equal(batch["image"][5], due)


def test_a_list_in_parquet_is_a_list_and_its_files_are_measured(data: Path, tmp_path: Path) -> None:
    first, place, table = tmp_path / "a.forebay", tmp_path / "b.forebay", data / "list.parquet"
    index_set(str(data / "list.jsonl"), first)
    command("dataset", "files", first, "--parquet", table)
    assert index_set(str(table), place, "--measure")["measured"]["read"] == SAMPLES
    assert keys(place) == keys(first)


# Verifying


def test_damage_in_members_is_found_by_key_and_a_shard_that_is_cut_loses_nothing(data: Path, tmp_path: Path) -> None:
    pixels = bytearray(image_of(data, 3))
    pixels[-30] ^= 0xFF
    bad = {3: bytes(pixels), 5: image_of(data, 5)[:-60], 7: b"<html>404", 9: b""}
    pattern = write_members(data, bad)
    place, cut = tmp_path / "set.forebay", data / "train-2.tar"
    index_set(pattern, place)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    found = verified(place)
    assert [entry["key"] for entry in found["corrupt"]] == [f"train-0.tar/s/{index:03}" for index in bad]
    reasons = " ".join(entry["reason"] for entry in found["corrupt"])
    assert all(words in reasons for words in ("image: ", "named as an image, and none", "<html>404", "it is empty"))
    assert {entry["key"] for entry in found["unavailable"]} == set(keys(place, "--where", "key like 'train-2.tar/%'"))
    assert all("when it was indexed" in entry["reason"] for entry in found["unavailable"])
    assert len(keys(place)) == SAMPLES - len(bad), "what is unavailable stays"
    cut.write_bytes(whole)
    again = verified(place)
    assert (again["sound"], again["verified_before"]) == (SAMPLES // 3, SAMPLES * 2 // 3 - len(bad))
    assert verified(place)["commit"] is None, "nothing is looked at twice"
    released = command("dataset", "release", place)
    assert "train-0.tar/s/007" in released


def test_a_record_with_another_checksum_is_corrupt_wherever_the_damage_is(data: Path, tmp_path: Path) -> None:
    pattern, place = write_records(data), tmp_path / "set.forebay"
    index_set(pattern, place)
    shard = data / "train-1.tfrecord"
    whole = bytearray(shard.read_bytes())
    whole[whole.index(b"caption 20")] ^= 0x20
    shard.write_bytes(whole)
    found = verified(place)
    assert [(entry["key"], "checksum" in entry["reason"]) for entry in found["corrupt"]] == [
        ("train-1.tfrecord/4", True)
    ]
    assert (found["sound"], found["unavailable"]) == (SAMPLES - 1, [])


def test_a_page_with_another_checksum_makes_all_of_its_cells_corrupt(tmp_path: Path) -> None:
    """A cell that is not compressed is read without its page, so nothing in the cell itself need be wrong."""
    shutil.copy(FIXTURES / "images-checked.parquet", tmp_path)
    shard, place = tmp_path / "images-checked.parquet", tmp_path / "set.forebay"
    index_set(str(shard), place)
    whole = bytearray(shard.read_bytes())
    write_png(tmp_path / "second.png", 1)
    image = (tmp_path / "second.png").read_bytes()
    assert whole.count(image) == 1, "and not among the statistics"
    whole[whole.index(image) - 2] ^= 1  # in the length before it: no cell's own bytes are others now
    shard.write_bytes(whole)
    found = verified(place)
    bad = [entry["key"] for entry in found["corrupt"]]
    assert 0 < len(bad) < 12
    assert bad == [f"images-checked.parquet/{row}" for row in range(len(bad))]
    assert all("checksum" in entry["reason"] for entry in found["corrupt"])


def test_members_named_as_images_that_are_none_are_corrupt_though_all_are(data: Path, tmp_path: Path) -> None:
    pattern = write_members(data, dict.fromkeys(range(SAMPLES), b"<html>404"))
    place = tmp_path / "set.forebay"
    index_set(pattern, place)
    found = verified(place)
    assert (found["sound"], len(found["corrupt"])) == (0, SAMPLES)
    assert all("named as an image, and none" in entry["reason"] for entry in found["corrupt"])


def mixed(root: Path, place: Path) -> None:
    """Index the same images out of archives with nothing else in them, out of records, out of files."""
    for shard in range(2):
        with tarfile.open(root / f"only-{shard}.tar", "w") as archive:
            for index in range(shard, 10, 2):
                add(archive, f"{index:03}.png", image_of(root, index))
                add(archive, f"{index:03}.cls", str(index % 7).encode())
    framed = b""
    for index in range(10):
        entries = {
            "image": message(1, message(1, image_of(root, index))),
            "label": message(3, message(1, varint(index % 7))),
        }
        pairs = (message(1, message(1, name.encode()) + message(2, values)) for name, values in entries.items())
        record = message(1, b"".join(pairs))
        length = struct.pack("<Q", len(record))
        framed += length + masked(length) + record + masked(record)
    (root / "only.tfrecord").write_bytes(framed)
    rows = [{"key": f"file-{i}", "image": f"images/{i:03}.png", "label": i % 7} for i in range(10)]
    (root / "keyed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for source in ("only-*.tar", "only.tfrecord", "keyed.jsonl"):
        index_set(str(root / source), place, "--measure")


def test_equal_bytes_are_copies_across_archives_records_and_files(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "set.forebay"
    mixed(data, place)
    assert len(keys(place, "--where", "width = height and width < 26")) == 30
    groups = verified(place, "--dedup")["copies"]["groups"]
    due = [{f"only-{i % 2}.tar/{i:03}", f"only.tfrecord/{i}", f"file-{i}"} for i in range(10)]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, due))


def test_samples_in_shards_and_in_files_are_read_a_kind_at_a_time(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "set.forebay"
    mixed(data, place)
    fields = {"image": forebay.Image(transform=[Resize((4, 4))]), "label": forebay.Value()}

    def loader(where: str | None) -> DataLoader:
        return DataLoader(forebay.Dataset(place, where=where), 10, fields=fields)

    with loader(None) as all_kinds, pytest.raises(InvalidError, match=r"(?s)in shards and others.*image.offset"):
        next(iter(all_kinds))
    kinds = ('"tfrecord.offset" is not null', '"tfrecord.offset" is null and "image.offset" is not null',
             '"image.offset" is null')  # fmt: skip
    seen = []
    for where in kinds:
        with loader(where) as one:
            batch = next(iter(one))
            order = np.argsort(batch["image"].sum(axis=(1, 2, 3)), kind="stable")
            seen.append((batch["image"][order].copy(), batch["label"][order].tolist()))
    for images, labels in seen[1:]:
        assert np.array_equal(images, seen[0][0])
        assert labels == seen[0][1]


# Exporting


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def files_beneath(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_members_of_a_selection_are_exported_and_again_byte_for_byte(data: Path, tmp_path: Path) -> None:
    pattern = write_members(data)
    place, out, again = tmp_path / "set.forebay", tmp_path / "out", tmp_path / "again"
    index_set(pattern, place)
    command("dataset", "export", place, out, "--where", "label = 3", "--shard-samples", "4")
    chosen = [index for index in range(SAMPLES) if index % 7 == 3]
    found: dict[str, bytes] = {}
    for shard in sorted(out.glob("*.tar")):
        found |= members(shard)
    for index in chosen:
        due, stem = members_of(data, index), f"train-{index * SHARDS // SAMPLES}/s/{index:03}"
        told = json.loads(found.pop(f"{stem}.columns.json"))
        assert told == {"key": f"train-{index * SHARDS // SAMPLES}.tar/s/{index:03}", "label": 3}
        assert {ending: found.pop(f"{stem}.{ending}") for ending in due} == due
    assert not found
    command("dataset", "export", "--again", out, again)
    assert files_beneath(again) == files_beneath(out)
    # What was exported is indexed and verified like what it came from.
    index_set(str(out / "*.tar"), tmp_path / "second.forebay", "--measure")
    assert values_of(tmp_path / "second.forebay", "width") == [(16 + index,) for index in chosen]


def test_fields_that_are_asked_for_are_exported_alone_and_the_first_is_resized(data: Path, tmp_path: Path) -> None:
    pattern = write_members(data)
    place, out = tmp_path / "set.forebay", tmp_path / "out"
    index_set(pattern, place)
    words = ["--limit", "5", "--column", "image,seg.png,txt", "--resize", "8", "--encode", "png"]
    command("dataset", "export", place, out, *words)
    found = members(out / "shard-000000.tar")
    endings = {name.split("/")[-1].split(".", 1)[1] for name in found}
    assert endings == {"png", "seg.png", "txt", "cls", "json"}
    for name, content in found.items():
        number = int(name.split("/")[-1].split(".")[0])
        if name.endswith(".seg.png"):
            assert content == members_of(data, number)["seg.png"]
        elif name.endswith(".png"):
            assert struct.unpack(">II", content[16:24]) == (8, 8)
    # Both images, by name.
    command("dataset", "export", place, tmp_path / "both", *words, "--change", "image,seg.png")
    both = members(tmp_path / "both" / "shard-000000.tar")
    sizes = {name: struct.unpack(">II", part[16:24]) for name, part in both.items() if name.endswith(".png")}
    assert len(sizes) == 10
    assert set(sizes.values()) == {(8, 8)}


def test_records_and_cells_become_files_with_a_list_that_opens(data: Path, tmp_path: Path) -> None:
    for fixture in FIXTURES.glob("images-?.parquet"):
        shutil.copy(fixture, tmp_path)
    sources = {"records": write_records(data), "cells": str(tmp_path / "images-?.parquet")}
    for name, pattern in sources.items():
        place, out = tmp_path / f"{name}.forebay", tmp_path / name
        index_set(pattern, place)
        command("dataset", "export", place, out, "--format", "files")
        fields = {"image": forebay.Image(transform=[Resize((4, 4))]), "label": forebay.Value()}
        with DataLoader(out / "samples.csv", 12, fields=fields) as listed:
            due = {name: part.copy() for name, part in next(iter(listed)).items()}
        with DataLoader(forebay.Dataset(place), 12, fields=fields) as stored:
            batch = next(iter(stored))
            assert all(np.array_equal(batch[name], due[name]) for name in fields)
        again = tmp_path / f"{name}-again"
        command("dataset", "export", "--again", out, again)
        assert files_beneath(again) == files_beneath(out)


# The other verbs


def test_every_verb_takes_a_set_of_shards(data: Path, tmp_path: Path) -> None:
    pattern, place = write_members(data), tmp_path / "set.forebay"
    index_set(pattern, place, "--measure")
    command("dataset", "filter", place, "--name", "big", "--where", "width >= 40")
    command("dataset", "split", place, "main", "--holdout", "val=0.25")
    sides = [keys(place, "--split", side) for side in ("train", "val")]
    assert sorted(sides[0] + sides[1]) == sorted(keys(place))
    command("dataset", "freeze", place, "exam", "--where", "width = 63")
    assert keys(place, "--split", "exam") == ["train-2.tar/s/047"]
    assert keys(place, "--where", "big") == [f"train-{i * SHARDS // SAMPLES}.tar/s/{i:03}" for i in range(24, 48)]
    command("dataset", "remove", place, "train-0.tar/s/000", "--reason", "asked for")
    told = json.loads(command("dataset", "diff", place, 1, 6, "--json"))
    assert "train-0.tar/s/000" in json.dumps(told)
    assert {"image", "image.offset", "seg.png", "width", "txt"} <= shown(place)
