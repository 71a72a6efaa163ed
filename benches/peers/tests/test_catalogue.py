"""Which peers there are, and what their files promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from peers import catalogue, table
from peers.settings import TASKS, Task

HERE = Path(catalogue.__file__).parent


def test_every_peer_file_is_a_family_and_the_other_way_round():
    assert {path.stem for path in HERE.glob("peer_*.py")} == set(map(catalogue.module_of, catalogue.FAMILIES))


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_names_are_unique_and_every_package_is_pinned(task: Task):
    entries = catalogue.entries(task=task)
    assert table.OURS in {entry.peer.name for entry in entries}
    names = [entry.peer.name for entry in entries]
    assert len(set(names)) == len(names)
    for entry in entries:
        assert entry.peer.note
        assert all("==" in package for package in entry.install.packages)
        # What is installed is announced with its size and time.
        assert bool(entry.install.packages) == bool(entry.install.megabytes) == bool(entry.install.minutes)
        assert bool(entry.peer.convert) == bool(entry.peer.converted_share)


def test_describing_the_peers_imports_none_of_them():
    code = "from peers import catalogue; import sys; catalogue.entries(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "peers.peer_ffcv" in loaded
    assert not loaded & {"torch", "numpy", "tensorflow", "nvidia", "spdl", "ffcv", "litdata", "streaming", "grain"}


def test_a_choice_takes_families_and_peers_in_the_tables_order():
    entries = catalogue.entries()
    names = [entry.peer.name for entry in catalogue.chosen("ffcv-raw-400, dali,forebay", entries)]
    assert names == ["forebay", "forebay-no-antialias", "dali-cpu", "dali-cpu-noaa", "ffcv-raw-400"]
    assert catalogue.chosen("", entries) == entries


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(catalogue.UnknownPeerError, match=r"unknown peer dalli; there are .*dali-cpu"):
        catalogue.chosen("dalli,forebay", catalogue.entries())
