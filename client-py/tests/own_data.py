"""Data sets as people write them, for workers to import."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Table:
    """Rows of numbers with a class, as of a CSV file that was read."""

    def __init__(self, rows: int = 200, columns: int = 16) -> None:
        self.x = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
        self.y = np.arange(rows) % 7

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.x[index], int(self.y[index])


class Drawing(Table):
    """Rows that draw from all three generators that one may have."""

    def __getitem__(self, index: int) -> Any:
        return {"index": index, "draws": np.array([random.random(), np.random.rand()]), "x": self.x[index]}


class SometimesDrawing(Table):
    """Only a few rows draw, none of them the first."""

    def __getitem__(self, index: int) -> Any:
        drawn = random.random() if index % 50 == 49 else 0.0
        return {"index": index, "drawn": drawn}


class Clips:
    """Sounds with their texts."""

    def __init__(self, rows: int = 120, even: bool = True) -> None:
        self.rows, self.even = rows, even

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        length = 400 if self.even else 200 + 37 * (index % 11)
        audio = np.sin(np.arange(length, dtype=np.float32) * (index + 1) / 50)
        gain = np.float32(1 + random.random() / 2)
        return {"audio": audio * gain, "text": f"clip {index}", "rate": 16_000, "pair": (index, index / 2)}


class ZippedPhotos:
    """Photographs in one zip file, opened where they are read."""

    def __init__(self, path: str | Path, transform: Any = None) -> None:
        self.path, self.transform = str(path), transform
        with zipfile.ZipFile(self.path) as file:
            self.names = sorted(file.namelist())
        self._file: zipfile.ZipFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        if self._file is None:
            self._file = zipfile.ZipFile(self.path)
        image = Image.open(io.BytesIO(self._file.read(self.names[index]))).convert("RGB")
        return (image if self.transform is None else self.transform(image)), index


def flipped(image: Any) -> Any:
    """Turn an image into an array, mirrored by chance."""
    pixels = np.asarray(image)
    return pixels[:, ::-1] if random.random() < 0.5 else pixels


class Failing(Table):
    """Raises at one sample."""

    def __getitem__(self, index: int) -> Any:
        if index == 23:
            raise KeyError(f"no sample {index}")
        return super().__getitem__(index)


class Stopping(Table):
    """Raises what would end a for loop."""

    def __getitem__(self, index: int) -> Any:
        if index == 5:
            raise StopIteration
        return super().__getitem__(index)


class OddError(Exception):
    """Cannot be made again from its pickle."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class Odd(Table):
    """Raises what cannot be pickled."""

    def __getitem__(self, index: int) -> Any:
        raise OddError(1, 2)


class Uneven(Table):
    """One sample has another shape."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return (x[:-1] if index == 17 else x), y


class Dying(Table):
    """Ends its process at one sample, as often as the files in `folder` say."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__()
        self.folder, self.times = str(folder), times

    def __getitem__(self, index: int) -> Any:
        if index == 23 and len(os.listdir(self.folder)) < self.times:
            open(os.path.join(self.folder, str(time.monotonic_ns())), "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Slow(Table):
    """Takes its time."""

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.02)
        return super().__getitem__(index)


class Batched(Table):
    """Gives whole batches."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        assert isinstance(indices, list)
        return [(self.x[index], int(self.y[index])) for index in indices]


class Named:
    """What it is made with comes out of each sample."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> str:
        return self.word


class Pids(Named):
    """Which process makes a sample, and whether torch is loaded there."""

    def __getitem__(self, index: int) -> Any:
        return os.getpid(), "torch" in sys.modules


class Boxes:
    """Images with any number of boxes."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        count = index % 4
        boxes = np.full((count, 4), index, np.float32)
        return np.full((3, 8, 8), index, np.uint8), {"boxes": boxes, "labels": np.arange(count), "id": index}


def summed(samples: list[Any]) -> dict[str, Any]:
    """Collate by hand."""
    return {"x": np.stack([x for x, _ in samples]), "rows": len(samples), "names": [str(y) for _, y in samples]}


def drawn_collate(samples: list[Any]) -> Any:
    """Draw in the collate function, as MixUp does."""
    return random.random(), np.stack([x for x, _ in samples])


class Init:
    """A worker_init_fn that leaves a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __call__(self, number: int) -> None:
        open(os.path.join(self.folder, str(number)), "w").close()
