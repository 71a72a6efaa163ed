"""Makes the W1 data set: every photograph of SRC ten times under different names, in DST's class folders.

Copies, not links: each is a file with pages of its own in the page cache, as 4000 photographs would have.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

COPIES = 10
SUFFIXES = {".jpg", ".jpeg", ".png"}


def main() -> None:
    """Copy; a second run finds everything there."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python benches/peers/make_w1.py SRC DST")
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    photos = sorted(path for path in source.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not photos:
        raise SystemExit(f"error: no photographs in class folders of {source}\nhint: SRC/CLASS/NAME.jpg")
    made = 0
    for photo in photos:
        folder = target / photo.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(COPIES):
            path = folder / f"{photo.stem}-{copy}{photo.suffix}"
            if not path.exists() or path.stat().st_size != photo.stat().st_size:
                shutil.copyfile(photo, path)
            made += 1
    print(f"{made} files of {len(photos)} photographs in {target}")


if __name__ == "__main__":
    main()
