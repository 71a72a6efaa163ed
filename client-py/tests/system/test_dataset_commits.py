"""A job over a data set keeps the commit that it began with, whatever dies and whatever is committed meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CROP, write_folder

import forebay
from forebay.errors import StateError
from forebay.numpy import DataLoader

from .batches import batch_digest, cursor_of, stream
from .support import Node, private_pid
from .test_datasets import command, grow, taken
from .test_pins import first_pixels

BATCHES = 40


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make 100 images in four classes and index them: commit 1; half of them held out: commit 2."""
    data = write_folder(tmp_path / "data", per_class=25, classes="bdfh")
    command("index", data)
    command("dataset", "split", data, "main", "--holdout", "val=0.5", "--salt", "0123456789abcdef0123456789abcdef")
    return data


def loader_of(data: Path, **arguments: Any) -> DataLoader:
    wanted = forebay.Dataset(data, split="train", at=arguments.pop("at", None))
    return DataLoader(wanted, 5, shuffle=True, transform=CROP, seed=3, **arguments)


def killed_after_commits(loader: DataLoader, data: Path, kill: Callable[[], None]) -> list[tuple[str, Any]]:
    """Take the stream of `batches.stream`; commit growth, a removal and the daemon's death on its way."""
    seen: list[tuple[str, Any]] = []
    while len(seen) < BATCHES:
        for batch in loader:
            seen.append((batch_digest(batch), cursor_of(loader)))
            if len(seen) == 3:
                grow(data)
                kill()
            elif len(seen) == 17:
                command("dataset", "remove", data, "b/003.png", "b/004.png", "--reason", "consent withdrawn")
                kill()
            elif len(seen) == BATCHES:
                break
    return seen


def test_a_private_daemon_killed_after_commits_goes_on_with_the_jobs_own(data: Path) -> None:
    with loader_of(data) as loader:
        wanted = stream(loader, BATCHES)
        assert loader.job.commits == (2,)
    with loader_of(data) as loader:
        assert killed_after_commits(loader, data, lambda: os.kill(private_pid(), signal.SIGKILL)) == wanted
        assert loader.stats()["restarts"] >= 2
    with loader_of(data) as loader:
        assert loader.job.commits == (4,), "a new loader takes the newest"
        assert stream(loader, BATCHES) != wanted


def test_a_node_daemon_killed_after_commits_goes_on_with_the_jobs_own(data: Path, node: Node) -> None:
    def kill() -> None:
        node.kill()
        node.start()

    with loader_of(data, daemon=node.socket) as loader:
        wanted = stream(loader, BATCHES)
    with loader_of(data, daemon=node.socket) as loader:
        assert killed_after_commits(loader, data, kill) == wanted


def test_a_run_resumes_over_the_commit_of_its_state_and_removed_samples_stay_in_it(data: Path) -> None:
    with loader_of(data) as loader:
        whole = stream(loader, BATCHES)
        keys = first_pixels(data)
        loader.set_epoch(0)
        began_with = taken(loader, keys)
    gone = next(iter(began_with))
    with loader_of(data) as loader:
        stream(loader, 7)
        state = json.loads(json.dumps(loader.state_dict()))
    assert (state["version"], state["commits"]) == (3, "2")
    grow(data)
    command("dataset", "remove", data, gone, "--reason", "consent withdrawn")
    keys = first_pixels(data)
    forebay._daemon.shutdown()
    with loader_of(data) as loader:
        loader.load_state_dict(state)
        assert stream(loader, BATCHES - 7) == whole[7:]
        assert loader.state_dict()["commits"] == "2", "and what it saves is of that commit again"
        loader.set_epoch(0)
        assert taken(loader, keys) == began_with, "what was removed since stays in a run that goes on"
    with loader_of(data) as loader:
        anew = taken(loader, keys)
        assert gone not in anew
        assert any("new" in key for key in anew)
        loader.load_state_dict(state)
        assert stream(loader, BATCHES - 7) == whole[7:], "also where the loader has looked at the newest"


def test_a_state_says_its_commit(data: Path, tmp_path: Path) -> None:
    with loader_of(data) as loader:
        (tmp_path / "state.json").write_text(json.dumps(loader.state_dict()))
    page = command("state", "show", tmp_path / "state.json")
    assert "\ncommit " in page
    assert page.split("\ncommit ")[1].split("\n")[0].strip() == "2"
    with DataLoader(data, 5, transform=CROP) as loader:
        state = loader.state_dict()
    assert (state["version"], "commits" in state) == (2, False), "a folder's states are what they were"


def test_a_mixture_keeps_the_commit_of_each_source(data: Path, tmp_path: Path) -> None:
    plain = write_folder(tmp_path / "plain", per_class=10)
    other = write_folder(tmp_path / "other", per_class=10, classes="xyz")
    command("index", other)

    def mixed() -> DataLoader:
        sources = {"set": forebay.Dataset(data, split="train"), "folder": plain, "other": forebay.Dataset(other)}
        mixture = forebay.Mixture(sources, shares={"set": 2, "folder": 1, "other": 1})
        return DataLoader(mixture, 64, transform=CROP, seed=3)

    with mixed() as loader:
        whole = stream(loader, 9)
    with mixed() as loader:
        stream(loader, 4)
        state = loader.state_dict()
    assert state["commits"] == "2,0,1"
    grow(data)
    with mixed() as loader:
        loader.load_state_dict(state)
        assert stream(loader, 5) == whole[4:]


def test_a_commit_that_the_loader_names_goes_before_the_states(data: Path) -> None:
    with loader_of(data) as loader:
        state = loader.state_dict()
    grow(data)
    with loader_of(data, at=2) as loader:
        loader.load_state_dict(state)
    with loader_of(data, at=3) as loader, pytest.raises(StateError, match="commit 2 is now 3"):
        loader.load_state_dict(state)


def test_a_commit_that_is_gone_is_named_and_its_state_refused(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with loader_of(data) as loader:
        state = loader.state_dict()
    grow(data)
    (data.parent / "data.forebay" / "manifests" / "00000002.json").unlink()
    with loader_of(data) as loader, pytest.raises(StateError, match="commit 2 is now 3"):
        loader.load_state_dict(state)
    assert "has no commit 2" in capfd.readouterr().err
