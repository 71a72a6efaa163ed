"""Bytes as they are through the real daemon: folders of any files, parts of one file, what is too long."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import forebay
from forebay.errors import CorruptError, InvalidError
from forebay.numpy import DataLoader

from .test_datasets import command

CAPACITY = 4096


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 files of up to 4 KiB in the classes a and b; one of them is empty and one is full."""
    root, draw = tmp_path_factory.mktemp("blobs"), random.Random(7)
    for index in range(40):
        size = {0: 0, 1: CAPACITY}.get(index, draw.randrange(1, CAPACITY))
        file = root / "ab"[index % 2] / f"{index:03}.{'BIN' if index % 3 else 'dat'}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(draw.randbytes(size))
    return root


def test_a_folder_of_any_files_comes_as_it_is(blobs: Path) -> None:
    folder = forebay.Folder(blobs, extensions=[".bin", ".dat"])
    fields = {"x": forebay.Raw("image", capacity=CAPACITY), "n": forebay.Length(), "y": forebay.Value("label")}
    due = sorted((path.parent.name == "b", path.read_bytes()) for path in blobs.rglob("*.*"))
    found = []
    with DataLoader(folder, 16, shuffle=True, fields=fields) as loader:
        assert loader.classes == ["a", "b"]
        for batch in loader:
            assert batch["x"].shape[1:] == (CAPACITY,)
            assert (batch["x"].dtype, batch["n"].dtype) == (np.uint8, np.int32)
            for row, count, label in zip(batch["x"], batch["n"], batch["y"]):
                assert not row[count:].any(), "zeros behind the file's bytes"
                found.append((bool(label), row[:count].tobytes()))
    assert sorted(found) == due
    with DataLoader(forebay.Folder(blobs, extensions=(".dat",)), 16, fields=fields) as loader:
        assert len(loader.dataset) == len(list(blobs.rglob("*.dat")))


def test_a_list_of_parts_of_one_file_needs_no_capacity(tmp_path: Path) -> None:
    (tmp_path / "all.bin").write_bytes(bytes(range(200)))
    spans = [(0, 10), (190, 10), (50, 0), (100, 33)]
    rows = [
        {"path": "all.bin", "path.offset": start, "path.length": length, "key": str(start)} for start, length in spans
    ]
    records = forebay.Records(rows, root=tmp_path, columns={
        "path": "path", "path.offset": "int", "path.length": "int", "key": "text"
    })  # fmt: skip
    with DataLoader(records, 4, fields={"x": forebay.Raw("path"), "n": forebay.Length()}) as loader:
        batch = next(iter(loader))
    assert batch["x"].shape == (4, 33)
    for row, count, (start, length) in zip(batch["x"], batch["n"], spans):
        assert (count, row[:count].tolist()) == (length, list(range(start, start + length)))


def test_a_longer_file_is_named_and_never_cut(blobs: Path) -> None:
    folder = forebay.Folder(blobs, extensions=[".bin", ".dat"])
    fields = {"x": forebay.Raw("image", capacity=CAPACITY - 1)}
    with DataLoader(folder, 8, fields=fields) as loader:
        with pytest.raises(CorruptError, match="4096 bytes, the field takes 4095") as info:
            list(loader)
        assert "b/001.BIN" in str(info.value)
    with DataLoader(folder, 40, fields=fields, on_bad_sample="mask") as loader:
        valid = next(iter(loader))["valid"]
    assert valid.sum() == 39
    fields = {"x": forebay.Raw("image")}
    with DataLoader(folder, 8, fields=fields) as loader, pytest.raises(InvalidError, match="not known before they"):
        next(iter(loader))


def test_an_indexed_folder_knows_how_long_its_files_are(blobs: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(blobs, data)
    command("index", data, "--extensions", "bin,dat", "--column", "path", "--stat")
    fields = {"x": forebay.Raw("path"), "y": forebay.Value("label")}
    with DataLoader(forebay.Dataset(data), 40, fields=fields) as loader:
        batch = next(iter(loader))
    assert batch["x"].shape == (40, CAPACITY)
    assert batch["y"].sum() == 20


def test_what_is_no_capacity_or_no_list_of_extensions_is_refused_before_anything_is_asked() -> None:
    for wrong in (0, -1, 1 << 31, 1.5, True, "8"):
        with pytest.raises(InvalidError, match="capacity="):
            forebay.Raw(capacity=wrong)  # type: ignore[arg-type]
    for wrong in (".bin", [1]):
        with pytest.raises(InvalidError, match=r"extensions=.*\['.bin'\]"):
            forebay.Folder("/data", extensions=wrong)  # type: ignore[arg-type]
