"""Files as they are: what is made, what counts as read, and what a cold run is."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from peers import cold, comparison, raw
from peers.catalogue import Entry
from peers.children import ask_worker, environment
from peers.comparison import Comparison
from peers.datasets import SETS, is_raw_made
from peers.envs import Pythons
from peers.rounds import PeerFailedError
from peers.settings import FILE_BYTES, Install
from peers.tests import peer_fake

FILES = 48


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    raw.make(tmp_path / "files", FILES)
    return tmp_path / "files"


def test_each_file_is_another_and_tells_whether_it_is_whole(folder: Path):
    paths, labels = raw.listed(str(folder))
    held = [Path(path).read_bytes() for path in paths]
    assert {len(one) for one in held} == {FILE_BYTES}
    assert len(set(held)) == FILES
    assert [raw.wrong(one, label) for one, label in zip(held, labels)] == [None] * FILES
    assert raw.wrong(held[0][:-1], labels[0]) == "gives bytes that are no whole file"
    assert raw.wrong(held[0][:-1] + bytes([held[0][-1] ^ 1]), labels[0]) == "gives bytes that are no whole file"
    assert "label" in (raw.wrong(held[0], labels[0] + 1) or "")


def test_what_is_made_is_known_to_be(folder: Path):
    assert not is_raw_made(folder, SETS["raw50k"])
    few = SETS["raw50k"].__class__("few", "files", FILES, 2, 1, 1, SETS["raw50k"].task)
    assert is_raw_made(folder, few)


def test_what_was_just_read_is_resident_and_what_was_dropped_is_not(folder: Path):
    paths, _ = raw.listed(str(folder))
    comparison.warm(folder)
    assert raw.resident(paths) == 1.0
    raw.forget(paths)
    if raw.resident(paths) == 1.0:
        pytest.skip("this file system keeps its files in memory: nothing can be dropped")
    assert raw.resident(paths) < 1.0


def test_files_that_stay_in_memory_are_not_called_cold(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(raw, "forget", lambda paths: None)
    comparison.warm(folder)
    with pytest.raises(PeerFailedError, match="kept 100 % of the files' pages"):
        comparison.chill(folder, inodes=False)


@pytest.mark.parametrize(("files", "batch"), [(20_000, 256), (48, 4), (40, 10)])
def test_a_cold_window_lies_within_one_epoch(files: int, batch: int):
    first, last = cold.window(files, batch)
    assert 2 <= first < last < files // batch


def test_too_few_files_for_a_cold_window_are_refused():
    with pytest.raises(ValueError, match="too few"):
        cold.window(1000, 256)


@pytest.mark.parametrize("case", ["warm", "cold"])
def test_a_run_counts_files_and_what_came_from_the_device(tmp_path: Path, folder: Path, case: str):
    told = ask(tmp_path, folder, "whole", case)
    assert told["rows"] > 0
    assert told["rows"] % 4 == 0
    assert ("from_device" in told) == (case == "cold")
    with pytest.raises(PeerFailedError, match="the label"):
        ask(tmp_path, folder, "mislabelled", case)


def ask(tmp_path: Path, folder: Path, peer: str, case: str) -> dict[str, float]:
    arguments = ["--module", "tests.peer_fake", "--peer", peer, "--data", str(folder), "--cores", "1"]
    arguments += ["--task", "raw", "--case", case, "--batch", "4", "--warmup", "0", "--seconds", "0.05"]
    return ask_worker(Path(sys.executable), arguments, environment(None), tmp_path / "log", 120.0)


def test_the_table_counts_files_and_tells_what_came_from_the_device(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("peers.catalogue.module_of", lambda family: f"tests.peer_{family}")
    monkeypatch.setattr(comparison, "chill", lambda data, *, inodes: None)
    monkeypatch.setattr(comparison.datasets, "is_raw_made", lambda data, data_set: True)
    args = Namespace(
        peers=[Entry("fake", peer, Install()) for peer in peer_fake.RAW_PEERS],
        work=tmp_path / "work",
        out=tmp_path / "out",
        data=folder,
        synthetic=None,
        binary=None,
        cases=["warm", "cold"],
        rounds=1,
        seconds=0.05,
        warmup=0.0,
        batch=4,
        cores=[1],
        set=SETS["raw50k"],
        drop_inodes=False,
    )
    compared = Comparison(args, Pythons(tmp_path / "venvs", tmp_path / "logs", Path(sys.executable)))
    compared.prepare()
    compared.run()
    compared.tell()
    text = capsys.readouterr().out
    warm, cold_ = text.split("### cold")
    assert "| peer | files/s | forebay / peer | CPU us / file |" in warm
    assert "| mislabelled | **failed** |" in warm
    row = next(line for line in cold_.splitlines() if line.startswith("| whole |"))
    assert "%" in row
    kept = json.loads((args.out / "peers.json").read_text())
    assert [(run["peer"], run["case"]) for run in kept["runs"]] == [("whole", "warm"), ("whole", "cold")]
