"""Makes other JPEGs of photographs: `python -m peers.variants PHOTOS TARGET KIND FILES`, in a Python with Pillow.

Each file depends on its number and on the photographs alone: the same photographs and Pillow give the same bytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from random import Random
from typing import Any

MOSAIC = 4  # photographs a side
TILE = (1000, 750)
SMALL = 32


@dataclass(frozen=True)
class Making:
    """One file to be: its number, the photographs that it is of, and where it goes.

    photos: the first gives it its class.
    """

    number: int
    photos: tuple[Path, ...]
    target: Path

    @property
    def photo(self) -> Path:
        """The first of its photographs, mostly the only one."""
        return self.photos[0]

    def save(self, image: Any, **options: Any) -> None:
        """Write it into its class's folder."""
        folder = self.target / self.photo.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{self.photo.stem}-{self.number}.jpg", "JPEG", **options)


def twelve_megapixels(making: Making) -> None:
    """Lay out 16 photographs, each enlarged about twice: the detail of a camera's file."""
    from PIL import Image

    width, height = TILE
    mosaic = Image.new("RGB", (MOSAIC * width, MOSAIC * height))
    for tile, photo in enumerate(making.photos):
        with Image.open(photo) as opened:
            image = opened.convert("RGB").resize(TILE, Image.Resampling.BICUBIC)
        mosaic.paste(image, (tile % MOSAIC * width, tile // MOSAIC * height))
    making.save(mosaic, quality=90, subsampling=2)


def progressive(making: Making) -> None:
    """Write the same photograph with the same tables, its coefficients in scans."""
    from PIL import Image, ImageFile

    ImageFile.MAXBLOCK = 1 << 24  # Pillow writes a progressive file from one buffer
    with Image.open(making.photo) as opened:
        making.save(opened, quality="keep", progressive=True)


def small(making: Making) -> None:
    """Shrink a square of the photograph."""
    from PIL import Image

    random = Random(making.number)
    with Image.open(making.photo) as opened:
        opened.draft("RGB", (5 * SMALL, 5 * SMALL))  # a quarter of the decoding, and more than is needed
        image = opened.convert("RGB")
    side = random.randint(min(image.size) // 3, min(image.size))
    left, top = random.randint(0, image.width - side), random.randint(0, image.height - side)
    square = image.crop((left, top, left + side, top + side))
    making.save(square.resize((SMALL, SMALL), Image.Resampling.LANCZOS), quality=90)


KINDS: dict[str, Callable[[Making], None]] = {
    "12mp": twelve_megapixels,
    "progressive": progressive,
    "small32": small,
}


def drawn(kind: str, number: int, photos: Sequence[Path]) -> tuple[Path, ...]:
    """Pick the photographs of a file: in turn, and beside it at random where it takes several."""
    first = photos[number % len(photos)]
    others = MOSAIC * MOSAIC - 1 if kind == "12mp" else 0
    return (first, *Random(number).choices(photos, k=others))


def main() -> None:
    """Make all files, on all processors."""
    if len(sys.argv) != 5 or sys.argv[3] not in KINDS:
        raise SystemExit(f"usage: python -m peers.variants PHOTOS TARGET {'|'.join(KINDS)} FILES")
    source, target, kind, files = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    photos = sorted(path for path in source.glob("*/*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not photos:
        raise SystemExit(f"error: no JPEGs in class folders of {source}")
    Random(0).shuffle(photos)  # so that a few files are of all classes
    # A progressive file stands for one photograph; the others are drawn from them.
    numbers = range(min(files, len(photos)) if kind == "progressive" else files)
    with Pool(len(os.sched_getaffinity(0))) as pool:
        pool.map(KINDS[kind], [Making(number, drawn(kind, number, photos), target) for number in numbers])
    print(f"made {len(numbers)} files of {len(photos)} photographs in {target}")


if __name__ == "__main__":
    main()
