"""The data sets that are made of photographs, and the rows of several numbers of cores."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from peers import datasets, variants
from peers.__main__ import cores_of
from peers.comparison import row_name
from peers.convert import Photos
from peers.envs import REPO
from peers.settings import PHOTOS

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: no data sets are made")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(5):
        path = tmp_path / "photos" / f"class{index % 2}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.linear_gradient("L").resize((90 + index, 70)).rotate(40 * index)
        Image.merge("RGB", (image, image.rotate(90), image.rotate(180))).save(path)
    return tmp_path / "photos"


def make(photos: Path, target: Path, kind: str, files: int) -> dict[str, str]:
    command = [sys.executable, "-m", "peers.variants", str(photos), str(target), kind, str(files)]
    subprocess.run(command, cwd=REPO / "benches", check=True, capture_output=True)
    found = sorted(target.glob("*/*.jpg"))
    return {str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.mark.parametrize(("kind", "files", "size"), [("12mp", 4, (4000, 3000)), ("small32", 12, (32, 32))])
def test_a_set_has_its_files_in_the_classes_of_their_photographs_and_is_the_same_twice(
    photos: Path, tmp_path: Path, kind: str, files: int, size: tuple[int, int]
):
    first = make(photos, tmp_path / "a", kind, files)
    assert len(set(first.values())) == files
    assert {Path(name).parent.name for name in first} == {"class0", "class1"}
    assert all(Image.open(tmp_path / "a" / name).size == size for name in first)
    assert make(photos, tmp_path / "b", kind, files) == first


def test_a_progressive_file_is_its_photograph_in_scans(photos: Path, tmp_path: Path):
    made = make(photos, tmp_path / "a", "progressive", 4000)
    assert len(made) == 5, "a photograph each"
    for photo in photos.glob("*/*"):
        (path,) = (tmp_path / "a" / photo.parent.name).glob(f"{photo.stem}-*.jpg")
        of_photo = Image.open(path)
        assert of_photo.info.get("progressive")
        assert of_photo.size == Image.open(photo).size
        assert of_photo.quantization == Image.open(photo).quantization


def test_what_is_made_is_made_once_and_again_for_other_photographs(photos: Path, tmp_path: Path):
    few = datasets.DataSet("small32", "few", 3, 2, 1, 1)
    train = datasets.made(tmp_path, few, Photos.read(photos), Path(sys.executable))
    before = {path: path.stat().st_mtime_ns for path in train.glob("*/*")}
    assert len(before) == 3
    assert datasets.made(tmp_path, few, Photos.read(photos), Path(sys.executable)) == train
    assert {path: path.stat().st_mtime_ns for path in train.glob("*/*")} == before
    next(photos.glob("*/*")).write_bytes(next(photos.glob("*/1.jpg")).read_bytes())
    assert datasets.made(tmp_path, few, Photos.read(photos), Path(sys.executable)) != train


def test_every_set_but_the_photographs_can_be_made():
    of_photographs = {name for name, each in datasets.SETS.items() if each.task is PHOTOS}
    assert of_photographs == {"photos", *variants.KINDS}


def test_several_numbers_of_cores_are_rows_of_their_own_beside_the_most():
    assert cores_of("", 8) == [8]
    assert cores_of("2,1,2", 8) == [1, 2]
    assert cores_of("1,two", 8) == []
    assert [row_name("forebay", cores, 4) for cores in (1, 2, 4)] == [
        "forebay on 1 core",
        "forebay on 2 cores",
        "forebay",
    ]
