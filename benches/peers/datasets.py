"""The data sets that loaders are compared on: photographs, and what `variants.py` makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import raw
from .convert import Photos
from .envs import REPO
from .settings import PHOTOS, RAW, Task

MARKER = "made"


@dataclass(frozen=True)
class DataSet:
    """One kind of files.

    words: what they are, after their number, in the table's first line.
    files: how many are made; of a folder that was named as photographs, all there are.
    batch: images, where the command line does not say: a batch of large images takes long enough with fewer.
    task: what is asked for of them.
    megabytes, minutes: on disk and on the clock of two cores, measured once, for the announcement.
    """

    name: str
    words: str
    files: int
    batch: int
    megabytes: int
    minutes: int
    task: Task = PHOTOS


SETS = {
    each.name: each
    for each in (
        DataSet("photos", "photographs", 4000, 256, 510, 2),
        DataSet("12mp", "photographs of 12 megapixels, mosaics of 16", 256, 32, 800, 2),
        DataSet("progressive", "photographs, progressive", 4000, 256, 480, 1),
        DataSet("small32", "JPEGs of 32 x 32", 20_000, 256, 80, 1),
        DataSet("raw50k", "files of 50 KiB", 20_000, 256, 1024, 1, RAW),
    )
}


def folder_of(work: Path, data_set: DataSet, photos: Photos) -> Path:
    """Name where what is made of `photos` lies."""
    return work / "sets" / f"{data_set.name}-{photos.fingerprint}"


def raw_folder(work: Path, data_set: DataSet) -> Path:
    """Name where files that are of no photographs lie."""
    return work / "sets" / data_set.name


def is_raw_made(folder: Path, data_set: DataSet) -> bool:
    """Tell whether all of them are there."""
    return sum(1 for _ in folder.glob(f"*/*{raw.SUFFIX}")) >= data_set.files


def made(work: Path, data_set: DataSet, photos: Photos, python: Path) -> Path:
    """Give the class folders of a data set, made where they are not there.

    python: one with Pillow; the same version gives the same bytes.
    """
    target = folder_of(work, data_set, photos)
    if not (target / MARKER).exists():
        shutil.rmtree(target, ignore_errors=True)
        command = [str(python), "-m", f"{__package__}.variants", str(photos.folder), str(target / "train")]
        env = {**os.environ, "PYTHONPATH": str(REPO / "benches")}
        options = [data_set.name, str(data_set.files)]
        if subprocess.run([*command, *options], stdout=sys.stderr, env=env, check=False).returncode != 0:
            raise SystemExit(f"error: could not make the data set {data_set.name}\nhint: the lines above say why")
        # Last of all: what has a marker is whole.
        (target / MARKER).touch()
    return target / "train"
