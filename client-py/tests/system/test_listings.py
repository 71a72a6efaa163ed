"""Opening a plain folder again lists nothing, and many processes that open it at once list it once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from conftest import REAL

OPEN = """
import sys
from forebay.numpy import DataLoader
from forebay.transforms import Resize
with DataLoader(sys.argv[1], batch_size=4, transform=(Resize((8, 8)),)) as loader:
    print(sum(len(labels) for _, labels in loader))
"""


def opened(folder: Path, cache: Path | str, count: int = 1) -> list[str]:
    """Open a folder in `count` processes at once, and give what their daemons logged of listings."""
    environment = os.environ | {
        "FOREBAY_BINARY": REAL,
        "FOREBAY_LOG": "info",
        "FOREBAY_CACHE_DIR": str(cache),
        "FOREBAY_CPU_THREADS": "1",
    }
    command = [sys.executable, "-c", OPEN, str(folder)]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    logged = list[str]()
    for process in running:
        out, err = process.communicate()
        assert (process.returncode, out) == (0, "40\n"), err
        logged += [line for line in err.splitlines() if "folder listed" in line]
    return logged


def test_sixteen_processes_that_open_a_cold_folder_cause_one_scan(folder: Path, tmp_path: Path) -> None:
    """Each has a daemon of its own; the cache they share is made once, and kept."""
    time.sleep(2.1)  # what was changed within two seconds before it is listed is listed again
    cache = tmp_path / "cache"
    before = sorted(folder.rglob("*"))
    logged = opened(folder, cache, 16)
    assert len(logged) == 1, logged
    assert "samples=40" in logged[0], logged
    assert "read=4 " in logged[0], logged
    assert opened(folder, cache) == []
    (folder / "a" / "new.png").write_bytes((folder / "a" / "000.png").read_bytes())
    (folder / "a" / "000.png").unlink()
    logged = opened(folder, cache)
    assert len(logged) == 1, logged
    assert "read=1 " in logged[0], logged
    (folder / "a" / "new.png").rename(folder / "a" / "000.png")
    assert sorted(folder.rglob("*")) == before, "nothing was written among the data"


def test_without_a_place_to_keep_it_a_listing_is_made_by_each(folder: Path, tmp_path: Path) -> None:
    """An empty FOREBAY_CACHE_DIR turns the cache off; one that cannot be written is a warning."""
    (tmp_path / "file").write_text("")
    for cache in ("", tmp_path / "file" / "cache"):
        assert len(opened(folder, cache)) == 1
