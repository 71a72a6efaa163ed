"""Installs the loaders that docs/migrate moves from, each in a venv of its own beside the torch of this Python.

    PYTHONPATH=benches python client-py/tests/migrate/install.py FOLDER

In the versions that `./dev bench peers` measures. What cannot be installed is told, and its tests are skipped.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from peers import catalogue
from peers.envs import Pythons, say
from peers.rounds import PeerFailedError

FAMILIES = ("webdataset", "ffcv", "dali", "mosaic")


def main() -> None:
    """Install one after the other."""
    folder = Path(sys.argv[1]).resolve()
    pythons = Pythons(folder, folder / "logs", Path(sys.executable))
    for family in FAMILIES:
        entry = catalogue.entries((family,))[0]
        try:
            # The programs train with torch, which the harness's consumer of DALI does without.
            pythons.python_for(replace(entry, install=replace(entry.install, torch=True)))
        except PeerFailedError as failed:
            say(f"{family}: {failed}")


if __name__ == "__main__":
    main()
