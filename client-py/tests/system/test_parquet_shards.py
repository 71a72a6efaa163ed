"""Images in the cells of Parquet files through the real daemon: as if they were plain files, in any order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_png

import forebay
from forebay.errors import InvalidError
from forebay.numpy import DataLoader
from forebay.transforms import RandomResizedCrop

from .batches import stream

FIXTURES = Path(__file__).parents[3] / "loader/daemon/src/container/parquet/fixtures"
CROP = [RandomResizedCrop((8, 8))]
FIELDS = {"image": forebay.Image(transform=CROP), "label": forebay.Value()}


def loader_of(source: Any, **arguments: Any) -> DataLoader:
    return DataLoader(source, 5, shuffle=True, seed=5, **arguments)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Give a list of the images of the fixtures as files."""
    rows = []
    for index in range(24):
        write_png(tmp_path / f"{index:02}.png", index)
        rows.append(json.dumps({"image": f"{index:02}.png", "label": index % 7}))
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    return tmp_path / "list.jsonl"


@pytest.mark.parametrize("name", ["images", "images-plain"])
def test_images_in_cells_give_the_stream_of_the_same_images_as_files(name: str, plain: Path) -> None:
    pattern = str(FIXTURES / f"{name}-{{0..1}}.parquet")
    with loader_of(plain, fields=FIELDS) as files, loader_of(pattern, fields=FIELDS) as cells:
        due = [(np.array(b["image"]), b["label"].tolist()) for _ in range(2) for b in files]
        found = [(np.array(b["image"]), b["label"].tolist()) for _ in range(2) for b in cells]
    assert [labels for _, labels in found] == [labels for _, labels in due]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(found, due))
    both = [str(FIXTURES / f"{name}-{index}.parquet") for index in range(2)]
    with loader_of(forebay.Shards(both), transform=CROP) as listed:
        images, labels = next(iter(listed))
    assert np.array_equal(images, due[0][0])
    assert labels.tolist() == due[0][1]


def test_a_run_over_cells_goes_on_in_the_middle(plain: Path) -> None:
    pattern = str(FIXTURES / "images-?.parquet")
    with loader_of(pattern, fields=FIELDS) as loader:
        whole = stream(loader, 8)
    with loader_of(pattern, fields=FIELDS) as loader:
        first = stream(loader, 3)
        state = loader.state_dict()
    with loader_of(pattern, fields=FIELDS) as loader:
        loader.load_state_dict(state)
        assert first + stream(loader, 5) == whole


def test_cells_come_as_they_are_whatever_wrote_them() -> None:
    due = {bytes([row]) * (row * 7 % 40) + str(row).encode() for row in range(40)}
    fields = {"x": forebay.Raw("image", capacity=64), "n": forebay.Length(), "y": forebay.Value("label")}
    for name in ("arrow-plain", "arrow-dictionary", "arrow-snappy", "duckdb-plain", "duckdb-snappy", "hugging-face"):
        with DataLoader(forebay.Shards(FIXTURES / f"{name}.parquet"), 40, shuffle=True, fields=fields) as loader:
            batch = next(iter(loader))
        found = {row[:count].tobytes() for row, count in zip(batch["x"], batch["n"])}
        assert found == due, name
        assert sorted(batch["y"].tolist()) == sorted(row % 3 for row in range(40))


def test_images_of_large_pages_come_out_of_their_blocks_alone() -> None:
    due = {bytes([row]) * 9000 + bytes([row]) * (row * 7 % 40) + str(row).encode() for row in range(40)}
    fields = {"x": forebay.Raw("image", capacity=10_000), "n": forebay.Length()}
    for name in ("arrow-snappy-large", "arrow-snappy-large-dictionary", "duckdb-snappy-large"):
        with DataLoader(forebay.Shards(FIXTURES / f"{name}.parquet"), 40, shuffle=True, fields=fields) as loader:
            batch = next(iter(loader))
        assert {row[:count].tobytes() for row, count in zip(batch["x"], batch["n"])} == due, name


def test_what_cannot_be_read_is_named_with_the_cure() -> None:
    for name, says in (("arrow-delta", "encoding 7"), ("arrow-gzip", "GZIP")):
        fields = {"x": forebay.Raw("image", capacity=64)}
        shard, match = forebay.Shards(FIXTURES / f"{name}.parquet"), rf"(?s){says}.*write the file again"
        with DataLoader(shard, 4, fields=fields) as loader, pytest.raises(InvalidError, match=match):
            next(iter(loader))
