"""A whole comparison: installations that fail are told, and what is left is measured, drawn and kept."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from peers import envs
from peers.catalogue import Entry
from peers.comparison import Comparison
from peers.datasets import SETS
from peers.envs import Pythons
from peers.rounds import PeerFailedError
from peers.settings import Install
from peers.tests import peer_fake

PROOFS = (("library no-such-library", "libnone-dev"), ("program sh", "dash"))
FROM_SOURCE = Install(("fake==1",), torch=False, debian=PROOFS)


def entry(name: str, install: Install) -> Entry:
    return Entry("fake", next(peer for peer in peer_fake.PEERS if peer.name == name), install)


@pytest.fixture
def comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    monkeypatch.setattr("peers.catalogue.module_of", lambda family: f"tests.peer_{family}")
    photo = tmp_path / "photos" / "cat" / "1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"12345")
    args = argparse.Namespace(
        peers=[entry("good", Install()), entry("crashes", Install()), entry("short", FROM_SOURCE)],
        work=tmp_path / "work",
        out=tmp_path / "out",
        data=photo.parent.parent,
        synthetic=None,
        binary=None,
        cases=["uint8"],
        rounds=2,
        seconds=0.05,
        warmup=0.0,
        batch=8,
        cores=[1],
        set=SETS["photos"],
    )
    return Comparison(args, Pythons(tmp_path / "venvs", tmp_path / "logs", Path(sys.executable)))


def test_whoever_fails_is_told_and_the_others_are_measured(comparison: Comparison, capsys: pytest.CaptureFixture[str]):
    comparison.prepare()
    comparison.run()
    comparison.tell()
    kept = json.loads((comparison.args.out / "peers.json").read_text())
    assert [(run["peer"], run["round"]) for run in kept["runs"]] == [("good", 1), ("good", 2)]
    reasons = {failure["peer"]: failure["reason"] for failure in kept["failures"]}
    assert reasons["short"] == "not installed: it is built from source and needs libnone-dev"
    assert "no such | codec" in reasons["crashes"]
    assert kept["conversions"]["good"]["share"] == 1.0
    text = capsys.readouterr().out
    assert text == (comparison.args.out / "peers.md").read_text()
    assert "| crashes | **failed** |" in text
    assert "| short | **failed** |" in text
    assert "failed: short, crashes" in (comparison.args.out / "peers.svg").read_text()


def test_nothing_that_is_kept_names_a_folder_of_this_machine(comparison: Comparison, tmp_path: Path):
    comparison.prepare()
    comparison.run()
    comparison.tell()
    for path in comparison.args.out.iterdir():
        assert str(tmp_path) not in path.read_text()


def test_a_failed_pip_gives_its_error_line_as_the_reason(tmp_path: Path):
    says = "print('looking'); print('ERROR: No matching distribution for x==9'); print('[notice] new pip'); exit(1)"
    expected = r"not installed: ERROR: No matching .* \(log: install-x.log\)"
    with (tmp_path / "install-x.log").open("w") as log, pytest.raises(PeerFailedError, match=expected):
        envs._run([sys.executable, "-c", says], log)


def test_what_a_build_misses_is_found_by_program_header_and_library():
    there = (("program sh", "a"), ("program no-such-program", "b"), ("header no-such.h", "c"), ("library none", "d"))
    assert envs.missing_debian(Install(debian=there)) == ["b", "c", "d"]


def test_a_venv_of_other_pins_is_made_again(tmp_path: Path):
    pythons = Pythons(tmp_path, tmp_path, Path(sys.executable))
    install = Install(("x==1",), torch=False, megabytes=1, minutes=1)
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "installed").write_text(pythons._stamp(install))
    assert pythons.missing(entry("good", install)) == []
    newer = Install(("x==2",), torch=False, megabytes=1, minutes=1)
    assert pythons.missing(entry("good", newer)) == [("fake", newer)]
