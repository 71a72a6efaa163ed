"""Takes the programs out of the pages of docs/migrate, makes the data that they read, and runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
from conftest import REAL

PROJECT = Path(__file__).resolve().parents[3]
PAGES = PROJECT / "docs" / "migrate"
CLASSES = ("ash", "birch", "cedar", "fir")
PHOTOS = 100  # four classes of 25: no multiple of the batches on the pages
SHARDS = 4

_PROGRAM = re.compile(r"^```python\n# (?P<name>\w+\.py)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(page: str) -> dict[str, str]:
    """Give the programs of a page by the names in their first lines."""
    text = (PAGES / f"{page}.md").read_text()
    found = {match["name"]: match["text"] for match in _PROGRAM.finditer(text)}
    assert len(found) == text.count("```python"), f"a program of {page}.md has no name, or one that is there already"
    return found


def start(page: str, name: str, data: Path, python: str = sys.executable) -> subprocess.Popen[str]:
    """Start a program of a page, with `data` in the place of /data; that is all that differs from what is shown."""
    program = data / name
    program.write_text(programs(page)[name].replace('"/data/', f'"{data}/'))
    return subprocess.Popen(
        [python, str(program)],
        env={**os.environ, "FOREBAY_BINARY": REAL, "PYTHONPATH": str(PROJECT / "client-py" / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=data,
    )


def said(process: subprocess.Popen[str]) -> str:
    """Wait for a program that must do what it does, and give what it printed."""
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    return output


def write_photos(root: Path) -> None:
    """Make a folder of class folders of JPEGs, each class in a colour of its own."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index in range(PHOTOS // len(CLASSES)):
            colour = draw.integers(0, 256, (6, 8, 3)) // 2 + (np.array([40, 80, 120]) * (label + 1)) // 4
            image = Image.fromarray(colour.astype(np.uint8)).resize((112, 84))
            image.save(root / name / f"{index:03}.jpg", quality=90)


def write_shards(photos: Path, to: Path) -> None:
    """Put the photographs into tar archives as WebDataset has them, classes mixed: `.jpg`, `.cls` and `.txt`."""
    paths = sorted(photos.glob("*/*.jpg"), key=lambda path: path.name)
    (to / "members").mkdir()
    for shard in range(SHARDS):
        with tarfile.open(to / f"train-{shard:03}.tar", "w") as archive:
            for index in range(shard, len(paths), SHARDS):
                name = paths[index].parent.name
                class_, text = to / "members" / "cls", to / "members" / "txt"
                class_.write_text(str(CLASSES.index(name)))
                text.write_text(f"a photograph of a {name}")
                for ending, file in (("jpg", paths[index]), ("cls", class_), ("txt", text)):
                    archive.add(file, f"{index:05}.{ending}")
