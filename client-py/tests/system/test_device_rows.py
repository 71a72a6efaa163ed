"""Rows that are left for a device, through the real daemon: always the same ones, and their numbers say what to do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL

import forebay
from forebay.errors import CorruptError, InvalidError, StateError
from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop

from .batches import stream

pillow = pytest.importorskip("PIL.Image", reason="needs Pillow to write JPEGs and to read them back")

ROWS = 60
SIDES = (20, 24)
FIELDS = {
    "image": forebay.Image("path", transform=[RandomResizedCrop(SIDES), RandomHorizontalFlip()]),
    "index": forebay.Value(),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images, every fifth a PNG and the others JPEGs: grey ones, progressive ones and plain ones."""
    root = tmp_path_factory.mktemp("device")
    steps = np.arange(90 * 70).reshape(70, 90)
    with (root / "list.jsonl").open("w") as lines:
        for index in range(ROWS):
            waves = np.sin(steps[..., None] / (7 + index + np.arange(3))) + np.cos(steps[..., None] / (911 + index))
            pixels = (128 + 60 * waves).astype(np.uint8)
            image = pillow.fromarray(pixels)
            name = f"{index:03}.{'jpg' if index % 5 else 'png'}"
            if index % 5 == 1:
                image = image.convert("L")
            image.save(root / name, **({"quality": 92, "progressive": index % 5 == 2} if index % 5 else {}))
            lines.write(json.dumps({"path": name, "index": index}) + "\n")
    return root / "list.jsonl"


def make_loader(data: Path, ratio: Any, max_bytes: int = 20_000, **arguments: Any) -> DataLoader:
    loader = DataLoader(data, fields=FIELDS, **{"batch_size": 8, "shuffle": True, "seed": 5, **arguments})
    if ratio is not None:
        loader._spec["fields"][0]["device_decode"] = {"ratio": ratio, "max_bytes": max_bytes}
    return loader


def rows_of(data: Path, ratio: float | None, **arguments: Any) -> list[dict[str, Any]]:
    with make_loader(data, ratio, **arguments) as loader:
        return [
            {name: part[row].copy() for name, part in batch.items()}
            for batch in loader
            for row in range(len(batch["index"]))
        ]


def test_a_devices_row_is_its_file_and_the_numbers_make_it_the_plain_row(data: Path) -> None:
    plain, rows = rows_of(data, None), rows_of(data, 1.0)
    assert [row["index"] for row in rows] == [row["index"] for row in plain]
    for row, wanted in zip(rows, plain):
        numbers, index = row["image.decode"].tolist(), int(row["index"])
        assert row["image"].shape == (20_032,)
        assert len(numbers) == 16
        if index % 5 == 0:
            pixels = row["image"][: numbers[1]].reshape(*SIDES, 3)
            assert numbers == [0, 20 * 24 * 3, *[0] * 14]
            assert np.array_equal(pixels, wanted["image"])
            continue
        file = data.parent / f"{index:03}.jpg"
        assert row["image"][: numbers[1]].tobytes() == file.read_bytes()
        assert not row["image"][numbers[1] :].any()
        assert numbers[:5] == [1, file.stat().st_size, 90, 70, 1]
        assert numbers[9:13] == [*SIDES, 0, 0]
        assert numbers[14:] == [3, 1 if index % 5 == 1 else 3]
        left, top, width, height = numbers[5:9]
        part = pillow.open(file).convert("RGB").crop((left, top, left + width, top + height))
        done = np.asarray(part.resize((24, 20), pillow.Resampling.BILINEAR)).astype(int)
        done = done[:, ::-1] if numbers[13] else done
        assert np.abs(done - wanted["image"]).max() <= 2, "Pillow rounds otherwise"


@pytest.mark.parametrize(
    "arguments",
    [{"prefetch": 1}, {"prefetch": 16}, {"max_leases": 1}, {"rolling": False}, {"batch_size": 7}, {"digest": True}],
    ids=str,
)
def test_the_same_rows_are_left_however_they_are_asked_for(data: Path, arguments: dict[str, Any]) -> None:
    def told(rows: list[dict[str, Any]]) -> list[bytes]:
        return [row["image"].tobytes() + row["image.decode"].tobytes() + row["index"].tobytes() for row in rows]

    wanted = rows_of(data, 0.4)
    assert 10 <= sum(int(row["image.decode"][0]) for row in wanted) <= 35
    assert told(rows_of(data, 0.4, **arguments)) == told(wanted)


def test_a_run_goes_on_with_the_same_rows_and_not_with_another_ratio(data: Path) -> None:
    with make_loader(data, 0.4) as loader:
        wanted = stream(loader, 18)
    with make_loader(data, 0.4) as loader:
        assert stream(loader, 5) == wanted[:5]
        state = loader.state_dict()
    with make_loader(data, 0.4) as loader:
        loader.load_state_dict(state)
        assert stream(loader, 13) == wanted[5:]
    for other in [0.5, None]:
        with make_loader(data, other) as loader:
            expected = stream(loader, 18)[5:]
        with make_loader(data, other) as loader:
            with pytest.raises(StateError, match=r"device_decode=0\.4 of up to 20000 bytes"):
                loader.load_state_dict(state)
            loader.load_state_dict(state, allow_changed="field image")
            assert stream(loader, 13) == expected


def test_the_digest_is_that_of_the_rows_however_they_were_cut(data: Path, tmp_path: Path) -> None:
    def digest(world: int, **arguments: Any) -> Any:
        loaders = [
            make_loader(data, 0.4, digest=True, rank=rank, world_size=world, **arguments) for rank in range(world)
        ]
        for loader in loaders:
            for _ in loader:
                pass
        digests = forebay.combine_digests(loader.digest() for loader in loaders)
        for loader in loaders:
            loader.close()
        return digests

    whole = digest(1)
    assert whole == digest(2, batch_size=5) == digest(3, batch_size=4, prefetch=7)
    (tmp_path / "job.json").write_text(json.dumps(make_loader(data, 0.4)._spec))
    words = [REAL, "show", "--spec", str(tmp_path / "job.json"), "--digest", "--content", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50)
    assert json.loads(done.stdout)["content"] == whole[0]["content"], done.stderr


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.5, "NaN", "Infinity"])
def test_a_ratio_that_is_none_is_refused(data: Path, ratio: Any) -> None:
    with pytest.raises(InvalidError, match="device_decode with ratio"), make_loader(data, ratio) as loader:
        next(iter(loader))


def test_what_a_corrupt_file_ends_with_is_what_it_ends_with_without_a_device(tmp_path: Path, data: Path) -> None:
    whole = (data.parent / "003.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "cut.jpg", "index": 0}) + "\n")
    words: list[str] = []
    for ratio in [None, 1.0]:
        with (
            make_loader(tmp_path / "list.jsonl", ratio) as loader,
            pytest.raises(CorruptError) as raised,
        ):
            next(iter(loader))
        words.append(str(raised.value).split("\n")[0])
    assert words[0] == words[1]
    assert "truncated JPEG" in words[0]
