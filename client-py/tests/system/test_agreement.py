"""Ranks of a torch process group that has no state root take the data that the first of them found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import write_folder, write_png

from .support import client
from .test_datasets import command

pytest.importorskip("torch", reason="torch is not installed: there is no process group to agree in")


@pytest.mark.deadline(180)
def test_two_ranks_take_the_commit_that_the_first_of_them_found(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", classes="bc")
    command("index", data)
    with (
        client("ranks_of_a_group", f"{data}.forebay", tmp_path / "store", 0) as first,
        client("ranks_of_a_group", f"{data}.forebay", tmp_path / "store", 1) as second,
    ):
        assert first.line() == second.line() == {"ready": True}
        first.tell()
        found = first.line()
        write_png(data / "b" / "new.png", 77)
        command("index", data)
        second.tell()
        assert second.line() == found
        assert found["commits"] == [1]
        assert (found["rows"], found["state"]["commits"]) == (20, "1"), "and their states are equal"


@pytest.mark.deadline(180)
def test_two_ranks_see_one_snapshot_of_a_folder_that_grows_between_their_looks(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", classes="bc")
    with (
        client("ranks_of_a_group", data, tmp_path / "store", 0) as first,
        client("ranks_of_a_group", data, tmp_path / "store", 1) as second,
    ):
        assert first.line() == second.line() == {"ready": True}
        first.tell()
        found = first.line()
        (data / "a").mkdir()
        write_png(data / "a" / "new.png", 77)
        second.tell()
        seen: list[Any] = [found, second.line()]
        assert seen[0]["snapshot"] == seen[1]["snapshot"]
        assert seen[0]["rows"] == seen[1]["rows"] == 20
        first.tell(), second.tell()
        halves: list[Any] = [first.line(), second.line()]
        assert [half["steps"] for half in halves] == [5, 5]
        assert sorted(halves[0]["keys"] + halves[1]["keys"]) == sorted(
            str(path.relative_to(data)) for path in data.glob("[bc]/*.png")
        )
        first.tell(), second.tell()
        later: list[Any] = [first.result(), second.result()]
    assert later[0]["snapshot"] == later[1]["snapshot"] != found["snapshot"], json.dumps(later)
