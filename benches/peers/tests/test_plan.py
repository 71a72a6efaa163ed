"""What is said before a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from peers import plan
from peers.__main__ import steps_of
from peers.catalogue import Entry, chosen, entries
from peers.convert import MARKER, Photos, place
from peers.datasets import SETS
from peers.envs import Pythons


def options(tmp_path: Path, peers: list[Entry]) -> argparse.Namespace:
    photo = tmp_path / "photos" / "cat" / "1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(bytes(10_000_000))
    return argparse.Namespace(
        peers=peers,
        work=tmp_path,
        data=photo.parent.parent,
        synthetic=None,
        cases=["uint8"],
        rounds=3,
        seconds=15.0,
        warmup=5.0,
        cores=[2],
        set=SETS["photos"],
    )


def test_installations_conversions_and_minutes_are_announced_once_and_not_again_when_done(tmp_path: Path):
    args = options(tmp_path, chosen("ffcv,webdataset", entries()))
    pythons = Pythons(tmp_path / "venvs", tmp_path, tmp_path / "venvs" / "torch" / "bin" / "python")
    steps = steps_of(args, pythons)
    said = [(step.megabytes, step.text.split(",")[0]) for step in steps]
    assert said[0] == (5600, "install torch==2.15.0")
    assert sum("torch==" in text for _, text in said) == 1
    assert (31, "convert the photographs for ffcv-raw-400") in said
    assert (11, "convert the photographs for webdataset") in said
    assert said[-1] == (0, "measure 4 peers")

    for entry in args.peers:
        target = place(tmp_path / "converted", entry.peer, Photos.read(args.data))
        target.mkdir(parents=True)
        (target / MARKER).touch()
    pythons = Pythons(tmp_path / "venvs", tmp_path, Path(sys.executable))
    again = [step.text.split("==")[0] for step in steps_of(args, pythons)]
    assert again[:2] == ["install ffcv", "install webdataset"]
    assert len(again) == 3


def test_the_time_of_measuring_counts_every_run_and_rounds_up():
    step = plan.measuring(peers=4, cases=2, rounds=3, seconds=15, warmup=5)
    assert 4 * 2 * 3 * 20 / 60 <= step.minutes <= 4 * 2 * 3 * 40 / 60
    assert plan.told([plan.Step(70, 0.1, "install x y")]) == "70 1 install x y"
    assert "0.1 GB    1 min  in all" in plan.shown([plan.Step(70, 0.1, "install x y")])
