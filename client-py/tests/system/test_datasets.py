"""Jobs over data sets that grow: what runs stays, what follows takes in what is new, nothing held out leaks."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import CROP, REAL, write_folder, write_png

import forebay
from forebay.errors import InvalidError, NotFoundError, UnimplementedError
from forebay.numpy import DataLoader

from .test_pins import first_pixels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """100 images in four classes, each with a first pixel of its own, catalogued and split."""
    data = write_folder(tmp_path / "data", per_class=25, classes="bdfh")
    command("index", data)
    command("dataset", "split", data, "main", "--holdout", "val=0.3", "--salt", "0123456789abcdef0123456789abcdef")
    command("dataset", "freeze", data, "eval", "--split", "val")
    return data


def command(*words: Any) -> str:
    done = subprocess.run([REAL, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def grow(data: Path) -> None:
    """Add a tenth, of a new class that sorts before all others too, and commit it."""
    (data / "a").mkdir()
    for index in range(5):
        write_png(data / "a" / f"new{index}.png", 100 + index)
        write_png(data / "f" / f"new{index}.png", 105 + index)
    command("index", data)


def loader_of(data: Path, split: str, **arguments: Any) -> DataLoader:
    return DataLoader(forebay.Dataset(data, split=split), 5, transform=CROP, seed=3, tail="drop", **arguments)


def taken(loader: DataLoader, keys: dict[int, str], batches: int | None = None) -> dict[str, int]:
    """Give the label of each sample of an epoch, or of its first batches, in order."""
    found = dict[str, int]()
    for number, (images, labels) in enumerate(loader):
        if number == batches:
            break
        found |= {keys[int(image[0, 0, 0])]: int(label) for image, label in zip(images, labels)}
    return found


def test_what_is_appended_in_mid_epoch_changes_no_epoch_that_runs_and_comes_with_the_next(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    run = {"shuffle": True, "state_root": tmp_path / "state", "follow": "epoch"}
    keys = first_pixels(data)
    with loader_of(data, "train", **run, job_id="whole") as loader:
        undisturbed = taken(loader, keys)
    with loader_of(data, "eval") as loader:
        frozen = taken(loader, keys)
    assert not set(undisturbed) & set(frozen)
    assert len(undisturbed) + len(frozen) > 90, "all but what fills no batch"

    with loader_of(data, "train", **run, job_id="followed") as loader:
        iterator = iter(loader)
        first = [next(iterator) for _ in range(3)]
        grow(data)
        keys = first_pixels(data)
        rest = list(iterator)
        seen = {keys[int(image[0, 0, 0])]: int(label) for batch in first + rest for image, label in zip(*batch)}
        assert list(seen.items()) == list(undisturbed.items()), "the epoch that ran is what it was"
        following = taken(loader, keys)
    with loader_of(data, "eval") as loader:
        assert list(taken(loader, keys).items()) == list(frozen.items())
    new = {key for key in following if "new" in key}
    assert new
    assert not set(following) & set(frozen)
    assert {key: following[key] for key in following if key in undisturbed}.items() <= undisturbed.items()
    assert {following[key] for key in new if key.startswith("a/")} <= {4}, "the new class has the next label"
    assert {following[key] for key in new if key.startswith("f/")} <= {2}


def test_a_commit_is_trained_on_by_its_number_whatever_came_since(data: Path) -> None:
    keys = first_pixels(data)
    for at in (1, 3):
        with DataLoader(forebay.Dataset(data, at=at), 5, transform=CROP) as loader:
            before = (loader.job.snapshot, taken(loader, keys))
        command("dataset", "remove", data, next(iter(before[1])), "--reason", "law")
        with DataLoader(forebay.Dataset(data, at=at), 5, transform=CROP) as loader:
            assert (loader.job.snapshot, taken(loader, keys)) == before
    with DataLoader(forebay.Dataset(data, split="all"), 5, transform=CROP) as loader:
        assert len(taken(loader, keys)) == 98


def test_a_data_set_that_was_made_anew_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    for left in (30, 29):
        command("index", data)
        with DataLoader(forebay.Dataset(data, at=1), 1, transform=CROP) as loader:
            assert len(loader) == left
        shutil.rmtree(tmp_path / "data.forebay")
        next(data.glob("*/*.png")).unlink()


def test_a_split_and_a_condition_are_one_selection_and_parts_lie_inside_each_other(data: Path) -> None:
    command("index", data, "--measure")
    keys = first_pixels(data)

    def samples(**selection: Any) -> set[str]:
        with DataLoader(forebay.Dataset(data, **selection), 1, transform=CROP) as loader:
            return set(taken(loader, keys))

    train = samples(split="train")
    assert samples(split="train", where="image like 'b/%' and width = 16") == {key for key in train if key[0] == "b"}
    tenth, half = samples(split="train", fraction=0.1), samples(split="train", fraction=0.5)
    assert tenth < half < train
    assert len(samples(split="train", limit=7)) == 7
    assert samples() == train, "what is frozen is in no selection that does not name it"


def test_what_a_job_cannot_have_is_said_with_what_there_is(data: Path, tmp_path: Path) -> None:
    for selection, error, says in (
        ({"split": "trian"}, (InvalidError, NotFoundError), "train"),
        ({"where": "widht > 3"}, InvalidError, "label"),
        ({"where": "label ="}, InvalidError, "label ="),
        ({"at": 77}, NotFoundError, "dataset log"),
        ({"split": "train", "where": "label > 100"}, InvalidError, "no sample"),
    ):
        with (
            pytest.raises(error) as refused,
            DataLoader(forebay.Dataset(data, **selection), 5, transform=CROP) as loader,
        ):
            len(loader)
        assert says in str(refused.value), (selection, str(refused.value))
    (tmp_path / "none").mkdir()
    with (
        pytest.raises(NotFoundError, match="forebay index"),
        DataLoader(forebay.Dataset(tmp_path / "none"), 5) as loader,
    ):
        len(loader)


def test_samples_that_lie_in_a_bucket_are_said_to_be_unreadable_as_yet_unless_they_are_mounted(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    command("index", data)
    manifests = tmp_path / "data.forebay" / "manifests"
    manifest = json.loads((manifests / "00000001.json").read_text())
    moved = {**manifest, "number": 2, "root": "s3://bucket/data"}
    (manifests / "00000002.json").write_text(json.dumps(moved))
    with (
        DataLoader(forebay.Dataset(data), 1, transform=CROP) as loader,
        pytest.raises(UnimplementedError, match=r"(?s)lie in s3://bucket/data; .*forebay ingest s3://.*root="),
    ):
        len(loader)
    with DataLoader(forebay.Dataset(data, root=data), 1, transform=CROP) as loader:
        assert len(loader) == 30
