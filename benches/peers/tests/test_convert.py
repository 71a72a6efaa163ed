"""Conversions are made once, and are whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peers.convert import Photos, converted, place
from peers.rounds import PeerFailedError
from peers.settings import Conversion
from peers.tests.peer_fake import PEERS

PEER = PEERS[0]


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        (tmp_path / "photos" / label / "1.jpg").write_bytes(b"12345")
    return Photos.read(tmp_path / "photos")


def test_it_is_made_once_and_its_cost_is_remembered(tmp_path: Path, photos: Photos):
    made: list[Path] = []

    def run(target: Path) -> dict[str, Any]:
        made.append(target)
        return {"seconds": 2.0, "cpu_seconds": 1.0, "bytes": 30}

    first = converted(PEER, photos, tmp_path / "kept", run)
    assert first == {"seconds": 2.0, "cpu_seconds": 1.0, "bytes": 30, "share": 3.0}
    assert converted(PEER, photos, tmp_path / "kept", run) == first
    assert made == [place(tmp_path / "kept", PEER, photos)]


def test_one_that_failed_or_was_cut_short_is_made_anew(tmp_path: Path, photos: Photos):
    def fail(target: Path) -> dict[str, Any]:
        (target / "half").write_text("of it")
        raise PeerFailedError("disk full")

    with pytest.raises(PeerFailedError):
        converted(PEER, photos, tmp_path, fail)
    target = place(tmp_path, PEER, photos)
    assert not target.exists()
    target.mkdir(parents=True)
    (target / "half").write_text("left by a run that was killed")

    def run(target: Path) -> dict[str, Any]:
        assert list(target.iterdir()) == []
        return {"seconds": 1.0, "cpu_seconds": 1.0, "bytes": 10}

    assert converted(PEER, photos, tmp_path, run)["share"] == 1.0


def test_other_photographs_have_another_place(tmp_path: Path, photos: Photos):
    before = place(tmp_path, PEER, photos)
    (photos.folder / "cat" / "1.jpg").write_bytes(b"123456")
    again = Photos.read(photos.folder)
    assert (again.files, again.bytes) == (2, 11)
    assert place(tmp_path, PEER, again) != before


def test_samples_are_numbered_by_sorted_class_and_come_mixed_in_the_same_order(tmp_path: Path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(50):
            (tmp_path / label / f"{index}.jpg").touch()
    samples = Conversion(tmp_path, tmp_path, 1).samples()
    assert samples == Conversion(tmp_path, tmp_path, 1).samples()
    assert len(set(samples)) == 100
    assert all(path.parent.name == "ab"[label] for path, label in samples)
    assert {label for _, label in samples[:20]} == {0, 1}
