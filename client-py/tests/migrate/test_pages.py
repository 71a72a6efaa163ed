"""The programs on the pages of docs/migrate do what the pages say, and what is shown is what is run."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from pathlib import Path

import pytest

from .pages import PHOTOS, programs, said, start, write_photos, write_shards

pytest.importorskip("torch")
pytest.importorskip("PIL")

from conftest import REAL

FULL = os.environ.get("FOREBAY_FULL", "") not in ("", "0")
# Where `./dev test --full` installs the loaders that one comes from, each in a venv of its own.
LOADERS = os.environ.get("FOREBAY_LOADERS", "")
BATCH = 32

pytestmark = pytest.mark.skipif(not REAL, reason="no binary")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What the programs find under /data."""
    write_photos(tmp_path / "train")
    write_shards(tmp_path / "train", tmp_path)
    return tmp_path


def epochs(output: str) -> list[tuple[int, list[int]]]:
    """Give each epoch's images and batch sizes, of a program that trained for two."""
    lines = re.findall(r"^epoch (\d): (\d+) images in batches of \[([\d, ]+)\], loss \d+\.\d+$", output, re.MULTILINE)
    assert [epoch for epoch, _, _ in lines] == ["0", "1"], output
    return [(int(images), [int(size) for size in sizes.split(", ")]) for _, images, sizes in lines]


WHOLE = [(PHOTOS, [32, 32, 32, 4])] * 2


@pytest.mark.parametrize(
    ("page", "wanted"),
    [("torch", WHOLE), ("webdataset", WHOLE), ("ffcv", [(96, [32, 32, 32])] * 2), ("dali", WHOLE), ("mosaic", WHOLE)],
)
def test_the_program_after_the_move_trains_on_each_sample_once(
    page: str, wanted: list[tuple[int, list[int]]], data: Path
) -> None:
    assert epochs(said(start(page, "after.py", data))) == wanted


def test_from_torch_one_import_changes_and_nothing_else() -> None:
    before, after = (programs("torch")[name].splitlines() for name in ("before.py", "after.py"))
    changed = [lines for lines in zip(before, after, strict=True) if lines[0] != lines[1]]
    assert changed == [("from torch.utils.data import DataLoader", "from forebay.torch import DataLoader")]


def test_the_program_before_the_move_from_torch_trains_too(data: Path) -> None:
    pytest.importorskip("torchvision")
    assert epochs(said(start("torch", "before.py", data))) == WHOLE


def test_a_program_that_is_killed_goes_on_as_if_it_had_not_been(data: Path) -> None:
    def steps(output: str) -> dict[str, str]:
        return dict(re.findall(r"^(epoch \d row \d+) (loss .*)$", output, re.MULTILINE))

    whole = steps(said(start("torch", "resume.py", data)))
    assert len(whole) == 4 * -(-PHOTOS // 8)
    (data / "run.pt").unlink()
    process = start("torch", "resume.py", data)
    assert process.stdout is not None
    before = ""
    while "epoch 1 row 32 " not in before:  # behind the checkpoint at row 24 of the second epoch
        line = process.stdout.readline()
        assert line, before
        before += line
    process.send_signal(signal.SIGKILL)
    before += process.communicate()[0]
    after = steps(said(start("torch", "resume.py", data)))
    assert next(iter(after)) not in ("epoch 0 row 8", "epoch 1 row 8")
    assert {**steps(before), **after} == whole
    for step, loss in steps(before).items():
        assert after.get(step, loss) == loss


def test_members_of_shards_come_by_name(data: Path) -> None:
    output = said(start("webdataset", "fields.py", data))
    assert output.count("torch.Size([32, 3, 64, 64])") == PHOTOS // BATCH
    assert "['a photograph of a " in output


def test_the_program_before_the_move_from_webdataset_trains_too(data: Path) -> None:
    python = python_with("webdataset", "webdataset")
    for images, sizes in epochs(said(start("webdataset", "before.py", data, python))):
        assert images == PHOTOS
        assert sorted(sizes) == [18, 18, 32, 32]  # as the page has it: each worker ends with a short one of its own


@pytest.mark.skipif(not FULL, reason="other people's loaders: `./dev test --full` installs them")
def test_the_programs_before_the_move_from_ffcv_train_too(data: Path) -> None:
    python = python_with("ffcv", "ffcv")
    said(start("ffcv", "convert.py", data, python))
    assert epochs(said(start("ffcv", "before.py", data, python))) == [(96, [32, 32, 32])] * 2


@pytest.mark.skipif(not FULL, reason="other people's loaders: `./dev test --full` installs them")
def test_the_program_before_the_move_from_dali_trains_too(data: Path) -> None:
    python = python_with("dali", "nvidia.dali")
    (first, sizes), (second, _) = epochs(said(start("dali", "before.py", data, python)))
    assert sizes == [BATCH] * 4  # filled up, as the page has it
    assert first == 4 * BATCH
    assert second in (3 * BATCH, 4 * BATCH)  # what filled up the first is missing from the second


@pytest.mark.skipif(not FULL, reason="other people's loaders: `./dev test --full` installs them")
def test_the_programs_before_the_move_from_mosaic_streaming_train_too(data: Path) -> None:
    python = python_with("mosaic", "streaming")
    said(start("mosaic", "convert.py", data, python))
    for images, _ in epochs(said(start("mosaic", "before.py", data, python))):
        assert images == PHOTOS
    said(start("mosaic", "unpack.py", data, python))
    photos = sorted(path.read_bytes() for path in (data / "train").glob("*/*"))
    for shard in data.glob("shards-*.tar"):
        shard.rename(data / shard.name.replace("shards", "train"))
    assert sorted(members(data)) == photos
    assert epochs(said(start("webdataset", "after.py", data))) == WHOLE


def members(folder: Path) -> list[bytes]:
    """Give the photographs in the shards of a folder."""
    import tarfile

    found: list[bytes] = []
    for shard in sorted(folder.glob("train-*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                found += [file.read()] if member.name.endswith(".jpg") else []
    return found


def python_with(family: str, module: str) -> str:
    """Give a Python that has another loader: this one, or the one made for it; skip where there is none."""
    import sys

    made = Path(LOADERS or "/nonexistent", family, "bin", "python")
    if made.exists():
        return str(made)
    if importlib.util.find_spec(module.split(".")[0]) is None:
        pytest.skip(f"{module} is not installed: `./dev test --full` does it where it can")
    return sys.executable
