"""Shards through the real daemon: the samples of archives as if they were plain files, in any order."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL, write_png

import forebay
from forebay.errors import ForebayError
from forebay.numpy import DataLoader
from forebay.transforms import RandomResizedCrop, Resize

from .batches import batch_digest, stream
from .support import Node

SAMPLES = 48
SHARDS = 3
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def write_files(root: Path) -> Path:
    """48 images with labels and captions, and a list of them in the order of the shards."""
    (root / "images").mkdir(parents=True)
    with (root / "list.jsonl").open("w") as lines:
        for index in range(SAMPLES):
            write_png(root / "images" / f"{index:03}.png", index, 16)
            row = {"image": f"images/{index:03}.png", "label": index % 7, "txt": f"caption {index}"}
            lines.write(json.dumps(row) + "\n")
    return root


def write_shards(root: Path, form: int = tarfile.PAX_FORMAT) -> str:
    """Put the same samples into three archives, in the same order; give their pattern."""
    rows = [json.loads(line) for line in (root / "list.jsonl").read_text().splitlines()]
    for shard in range(SHARDS):
        with tarfile.open(root / f"train-{shard:03}.tar", "w", format=form) as archive:
            for row in rows[shard * SAMPLES // SHARDS : (shard + 1) * SAMPLES // SHARDS]:
                base = f"{'deep/' * 30}{Path(row['image']).stem}"
                add(archive, f"{base}.png", (root / row["image"]).read_bytes())
                add(archive, f"{base}.cls", str(row["label"]).encode())
                add(archive, f"{base}.txt", row["txt"].encode())
    return str(root / f"train-{{000..{SHARDS - 1:03}}}.tar")


FIELDS = {
    "image": forebay.Image(transform=[RandomResizedCrop((8, 8))]),
    "label": forebay.Value(),
    "txt": forebay.Value(),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_files(tmp_path / "data")


def make_loader(source: Any, **arguments: Any) -> DataLoader:
    settings: dict[str, Any] = {"batch_size": 10, "shuffle": True, "seed": 5, "fields": FIELDS, **arguments}
    return DataLoader(source, **settings)


@pytest.mark.parametrize("form", FORMATS)
def test_shards_give_the_stream_of_the_same_samples_as_plain_files(data: Path, form: str) -> None:
    pattern = write_shards(data, FORMATS[form])
    with make_loader(data / "list.jsonl") as files, make_loader(pattern) as shards:
        assert [batch_digest(batch) for _ in range(2) for batch in shards] == [
            batch_digest(batch) for _ in range(2) for batch in files
        ]


def test_an_image_and_its_class_come_as_a_tuple_as_from_a_folder(data: Path) -> None:
    pattern = write_shards(data)
    paths = [str(path) for path in sorted(data.glob("train-*.tar"))]
    seen = []
    for source in (pattern, paths, str(data / "train-*.tar"), forebay.Shards(pattern, format="tar")):
        with DataLoader(source, batch_size=SAMPLES, transform=[Resize((8, 8))]) as loader:
            images, labels = next(iter(loader))
            assert images.shape == (SAMPLES, 8, 8, 3)
            assert labels.tolist() == [index % 7 for index in range(SAMPLES)]
            seen.append(images.copy())
    assert all(np.array_equal(seen[0], other) for other in seen[1:])


def test_a_global_shuffle_goes_through_all_shards_at_once(data: Path) -> None:
    pattern = write_shards(data)
    with make_loader(pattern, batch_size=16, fields={"txt": forebay.Value()}) as loader:
        first = next(iter(loader))["txt"]
    numbers = [int(str(text).split()[1]) for text in first]
    assert {number * SHARDS // SAMPLES for number in numbers} == set(range(SHARDS))


def test_a_run_over_shards_resumes_behind_every_batch(data: Path) -> None:
    pattern = write_shards(data)
    with make_loader(pattern) as loader:
        whole = stream(loader, 9)
        loader.set_epoch(0)
        states = []
        for _ in range(2):
            for _ in loader:
                states.append(json.loads(json.dumps(loader.state_dict())))
    for index in (0, 3, 4, 7):
        with make_loader(pattern) as loader:
            loader.load_state_dict(states[index])
            assert stream(loader, 8 - index) == whole[index + 1 :]


def test_shards_behind_a_node_lie_beneath_its_roots(data: Path, make_node: Callable[[], Node], tmp_path: Path) -> None:
    pattern = write_shards(data)
    (tmp_path / "other").mkdir()
    node = make_node().configure(data).start()
    with make_loader(pattern) as own, make_loader(pattern, daemon=node.socket) as served:
        assert stream(own, 5) == stream(served, 5)
    outside = shutil.copy(data / "train-000.tar", tmp_path / "other" / "train-000.tar")
    with pytest.raises(ForebayError, match="outside of the daemon's roots"):
        next(iter(make_loader(outside, daemon=node.socket)))


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda whole: whole[: len(whole) // 2], "it is cut"),
    "header": (lambda whole: whole.replace(b"017.png", b"018.png", 1), "checksum"),
    "gzip": (lambda whole: b"\x1f\x8b\x08\0" + whole, r"compressed \(gzip\)"),
    "empty": (lambda whole: b"", "empty"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shard_that_cannot_be_read_is_named(data: Path, damage: str) -> None:
    pattern = write_shards(data, tarfile.USTAR_FORMAT)
    change, words = DAMAGES[damage]
    shard = data / "train-001.tar"
    shard.write_bytes(change(shard.read_bytes()))
    with pytest.raises(ForebayError, match=rf"(?s)train-001\.tar.*{words}"):
        next(iter(make_loader(pattern)))


def test_a_shard_that_grew_is_changed_and_never_a_bad_sample(data: Path, make_node: Callable[[], Node]) -> None:
    """Its samples lie elsewhere now: what stands where they were must not be taken for a corrupt image."""
    pattern = write_shards(data)
    node = make_node().configure(data, retry_deadline="300ms").start()
    with make_loader(pattern, batch_size=4, prefetch=1, on_bad_sample="substitute", daemon=node.socket) as loader:
        batches = iter(loader)
        next(batches)
        for shard in data.glob("train-*.tar"):
            shard.write_bytes(b"\0" * 512 + shard.read_bytes() + b"\0" * 10240)
        with pytest.raises(ForebayError, match="changed"):
            for _ in batches:
                pass


def test_a_data_set_of_shards_gives_the_samples_of_its_split(data: Path) -> None:
    pattern, place = write_shards(data), str(data / "set.forebay")
    for words in (["index", pattern, "--dataset", place], ["dataset", "split", place, "main", "--holdout", "val=0.25"]):
        subprocess.run([REAL, *words], check=True, capture_output=True)
    seen: list[str] = []
    for split in ("train", "val"):
        with make_loader(forebay.Dataset(place, split=split), shuffle=False) as loader:
            texts = [str(text) for batch in loader for text in batch["txt"]]
        assert 0 < len(texts) < SAMPLES
        seen += texts
    with make_loader(pattern, shuffle=False) as loader:
        assert sorted(seen) == sorted(str(text) for batch in loader for text in batch["txt"])


# TFRecord files, written by hand: TensorFlow is no requirement of these tests.


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def masked(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_records(data: Path) -> str:
    for shard in range(SHARDS):
        framed = b""
        rows = (data / "list.jsonl").read_text().splitlines()
        for row in map(json.loads, rows[shard * SAMPLES // SHARDS : (shard + 1) * SAMPLES // SHARDS]):
            features = {
                "image/encoded": message(1, message(1, (data / row["image"]).read_bytes())),
                "image/class/label": message(3, message(1, varint(row["label"]))),
                "txt": message(1, message(1, row["txt"].encode())),
            }
            entries = (message(1, message(1, name.encode()) + message(2, values)) for name, values in features.items())
            record = message(1, b"".join(entries))
            length = struct.pack("<Q", len(record))
            framed += length + masked(length) + record + masked(record)
        (data / f"train-{shard}.tfrecord").write_bytes(framed)
    return str(data / "train-*.tfrecord")


def test_tfrecords_give_the_stream_of_the_same_samples_as_plain_files(data: Path) -> None:
    with make_loader(data / "list.jsonl") as files, make_loader(write_records(data)) as records:
        assert [batch_digest(batch) for batch in records] == [batch_digest(batch) for batch in files]


def test_a_record_whose_checksum_is_wrong_is_a_corrupt_sample_by_name(data: Path) -> None:
    """Also where the byte that changed is none of the image's pixels."""
    pattern = write_records(data)
    shard = data / "train-1.tfrecord"
    whole = bytearray(shard.read_bytes())
    at = whole.index(b"caption 16")
    whole[at] ^= 0x20
    shard.write_bytes(whole)
    with pytest.raises(ForebayError, match=r"train-1.tfrecord/0"):
        for _ in make_loader(pattern):
            pass
    with make_loader(pattern, on_bad_sample="mask", batch_size=SAMPLES) as loader:
        batch = next(iter(loader))
        assert int(np.sum(batch["valid"] == 0)) == 1
