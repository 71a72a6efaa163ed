"""Pins: a run sees the data that it agreed on, whoever asks, wherever it goes on, and however the folder grows."""

from __future__ import annotations

import json
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CROP, REAL, forget_daemons, write_folder, write_png

import forebay
from forebay.errors import DeniedError, InvalidError, StateError
from forebay.numpy import DataLoader

from .batches import cursor_of
from .support import Node, client, private_pid

FIELDS = {"image": forebay.Image(transform=CROP), "label": forebay.Value()}
GLOBAL_ROWS = 24


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """120 images in four classes, each with a first pixel of its own."""
    return write_folder(tmp_path / "data", per_class=30, classes="bdfh")


@pytest.fixture
def state_root(tmp_path: Path) -> Path:
    """A folder that all processes share."""
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def loader_of(data: Path, place: Path | None, **arguments: Any) -> DataLoader:
    if place is not None:
        arguments = {"job_id": "run-7", "state_root": place, **arguments}
    return DataLoader(data, shuffle=True, fields=FIELDS, **{"seed": 5, **arguments})


def grow(data: Path, name: str, count: int = 6) -> None:
    """Add images, some of a class that is new and sorts before all others."""
    (data / "a").mkdir(exist_ok=True)
    seed = sum(1 for _ in data.glob("*/*.png"))
    for index in range(count):
        write_png(data / "a" / f"{name}{index}.png", seed + index)
        write_png(data / "f" / f"{name}{index}.png", seed + count + index)


def first_byte(png: bytes) -> int:
    """Give the red of the upper left pixel of what `write_png` wrote, which has no filter."""
    start = png.index(b"IDAT") + 4
    length = int.from_bytes(png[start - 8 : start - 4], "big")
    return zlib.decompress(png[start : start + length])[1]


def first_pixels(data: Path) -> dict[int, str]:
    """Give the key of each image by its first pixel's red, which `write_png` makes of its seed."""
    found = {first_byte(path.read_bytes()): str(path.relative_to(data)) for path in data.glob("*/*.png")}
    assert len(found) == sum(1 for _ in data.glob("*/*.png")), "two images begin with the same pixel"
    return found


def replay(state_root: Path, *arguments: str) -> list[Any]:
    """Run `forebay replay` in a process of its own, which knows nothing but the state root."""
    command = [REAL, "replay", "--state-root", str(state_root), "--job", "run-7", "--json", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Recorder:
    """What a run that is stopped and started again got: first pixels and labels by epoch, in order."""

    def __init__(self) -> None:
        self.rows: dict[int, list[tuple[int, int]]] = {}

    def take(self, epoch: int, batches: list[Any]) -> None:
        """Note one step: the batches of all ranks, in their order."""
        for batch in batches:
            pixels, labels = batch["image"][:, 0, 0, 0].tolist(), batch["label"].tolist()
            self.rows.setdefault(epoch, []).extend(zip(pixels, labels))


def train(
    data: Path, state_root: Path, size: int, state: dict[str, Any] | None, steps: int, recorder: Recorder
) -> dict[str, Any]:
    """Take so many steps on `size` ranks, from `state` on; the folder grows at the end of each epoch."""
    forget_daemons()  # a new process would have a daemon of its own
    shared: dict[str, Any] = {"global_batch_size": GLOBAL_ROWS, "world_size": size, "follow": "epoch", "tail": "drop"}
    loaders = [loader_of(data, state_root, rank=rank, **shared) for rank in range(size)]
    for loader in loaders:
        if state is not None:
            loader.load_state_dict(json.loads(json.dumps(state)))
    iterators = [iter(loader) for loader in loaders]
    while steps:
        epoch = cursor_of(loaders[0])[0]
        batches = [next(iterator, None) for iterator in iterators]
        if None in [batch and 1 for batch in batches]:
            assert not any(batches), "all ranks end an epoch at the same step"
            iterators = [iter(loader) for loader in loaders]
            continue
        recorder.take(epoch, batches)
        steps -= 1
        if cursor_of(loaders[0])[0] > epoch:
            grow(data, f"after{epoch}-")
    states = [loader.state_dict() for loader in loaders]
    assert all(other == states[0] for other in states), "a state is equal on every rank"
    for loader in loaders:
        loader.close()
    return states[0]


def test_a_run_stopped_ten_times_under_other_ranks_while_its_folder_grows_is_recomputed_from_its_pins_alone(
    data: Path, state_root: Path
) -> None:
    recorder = Recorder()
    state: dict[str, Any] | None = None
    for stop, size in enumerate([1, 2, 3, 4, 6, 8, 12, 24, 1, 3, 2]):
        state = train(data, state_root, size, state, 2 + stop % 2, recorder)
    pins, keys = replay(state_root)[1:], first_pixels(data)
    assert len(pins) == len(recorder.rows) >= 4, "too few epochs to tell anything"
    sizes = [pin["snapshots"][0]["rows"] for pin in pins]
    assert sizes == sorted(set(sizes)), "each epoch took what was new"
    labels: dict[str, set[int]] = {}
    for epoch, rows in recorder.rows.items():
        again = [row["keys"][0] for row in replay(state_root, "--epoch", str(epoch))]
        assert [keys[pixel] for pixel, _ in rows] == again[: len(rows)], f"epoch {epoch}"
        if epoch < max(recorder.rows):
            assert len(rows) == sizes[epoch] // GLOBAL_ROWS * GLOBAL_ROWS, f"epoch {epoch} is whole"
        for pixel, label in rows:
            labels.setdefault(keys[pixel].split("/")[0], set()).add(label)
    assert labels == {"b": {0}, "d": {1}, "f": {2}, "h": {3}, "a": {4}}, "labels stay, a new class gets the next one"


def test_a_run_sees_the_data_that_it_began_with_after_the_folder_has_grown(data: Path, state_root: Path) -> None:
    with loader_of(data, state_root, batch_size=30) as loader:
        whole = [batch["image"].tobytes() for _ in range(2) for batch in loader]
        assert loader.job.pinned
    grow(data, "later")
    forget_daemons()
    with loader_of(data, state_root, batch_size=30) as loader:
        assert [batch["image"].tobytes() for _ in range(2) for batch in loader] == whole
    with loader_of(data, None, batch_size=30) as loader:
        assert loader.job.rows == 132
        assert not loader.job.pinned


def test_a_state_between_two_epochs_loads_before_and_after_the_next_one_is_begun(data: Path, state_root: Path) -> None:
    with loader_of(data, state_root, batch_size=40, follow="epoch") as loader:
        assert sum(1 for _ in loader) == 3
        state = loader.state_dict()
        assert (state["epoch"], state["position"]) == (1, 0)
    assert not (state_root / "jobs/run-7/epochs/1.json").exists(), "a checkpoint decides nothing"
    grow(data, "next")
    for _ in range(2):
        forget_daemons()
        with loader_of(data, state_root, batch_size=44, follow="epoch") as loader:
            loader.load_state_dict(state)
            assert sum(len(batch["label"]) for batch in loader) == 132
            later = loader.state_dict()
    with loader_of(data, state_root, batch_size=44, follow="epoch") as loader:
        loader.load_state_dict(later)
        assert len(next(iter(loader))["label"]) == 44


def test_a_state_in_mid_epoch_goes_on_in_its_own_epochs_data(data: Path, state_root: Path) -> None:
    with loader_of(data, state_root, batch_size=24, follow="epoch") as loader:
        whole = [batch["image"].tobytes() for batch in loader]
        loader.set_epoch(0)
        batches = iter(loader)
        next(batches), next(batches)
        state = loader.state_dict()
    grow(data, "meanwhile")
    forget_daemons()
    with loader_of(data, state_root, batch_size=24, follow="epoch") as loader:
        loader.load_state_dict(state)
        assert [batch["image"].tobytes() for batch in loader] == whole[2:]
        assert sum(len(batch["label"]) for batch in loader) == 132
    (state_root / "jobs/run-7/epochs/0.json").unlink()
    with (
        loader_of(data, state_root, batch_size=24, follow="epoch") as loader,
        pytest.raises(StateError, match=r"snapshot \w+ with 120 rows is now \w+ with 132 rows"),
    ):
        loader.load_state_dict(state)


def test_the_daemon_dies_in_an_epoch_whose_folder_has_grown_and_the_epoch_goes_on(data: Path, state_root: Path) -> None:
    with loader_of(data, state_root, batch_size=24, follow="epoch") as loader:
        whole = [batch["image"].tobytes() for batch in loader]
        loader.set_epoch(0)
        batches = iter(loader)
        head = [next(batches)["image"].tobytes()]
        grow(data, "meanwhile")
        os.kill(private_pid(), 9)
        assert head + [batch["image"].tobytes() for batch in batches] == whole


def test_looking_at_an_epoch_that_nobody_has_begun_decides_nothing(data: Path, state_root: Path) -> None:
    with loader_of(data, state_root, batch_size=24, follow="epoch") as loader:
        next(iter(loader))
        with pytest.raises(InvalidError, match="nobody has begun epoch 5"):
            loader.show(4, epoch=5)
        assert sorted(path.name for path in (state_root / "jobs/run-7/epochs").iterdir()) == ["0.json"]


def test_what_cannot_be_agreed_on_is_refused_with_the_cure(data: Path, state_root: Path, tmp_path: Path) -> None:
    def refused(match: str, cure: str, **arguments: Any) -> None:
        with pytest.raises(InvalidError, match=match) as caught, loader_of(data, None, **arguments) as loader:
            next(iter(loader))
        assert cure in str(caught.value), caught.value

    inside = data / "b" / "state"
    inside.mkdir()
    refused("lies inside of the folder of classes", "beside the data", job_id="r", state_root=inside)
    missing = tmp_path / "missing"
    refused("open the state root", "make the folder yourself", job_id="r", state_root=missing)
    assert not missing.exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "jobs").write_text("a file")
    refused(
        "run.json: Not a directory", "let the user that the daemon runs as", job_id="r", state_root=tmp_path / "taken"
    )
    refused("without job_id", 'job_id="run-7"', state_root=state_root)
    refused('follow="epoch" without', "state_root=", follow="epoch", job_id="r")
    refused("neither 'run' nor 'epoch'", "", follow="always")
    inside.rmdir()
    with loader_of(data, state_root, batch_size=8) as loader:
        next(iter(loader))
    refused('was begun with follow="run"', "a job_id of its own", job_id="run-7", state_root=state_root, follow="epoch")
    with (
        pytest.raises(InvalidError, match="pinned with another order"),
        loader_of(data, state_root, seed=6) as loader,
    ):
        next(iter(loader))


def test_the_environment_names_the_state_root_of_loaders_with_a_job_id(
    data: Path, state_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_STATE_ROOT", str(state_root))
    with loader_of(data, None, batch_size=8) as loader:
        assert not loader.job.pinned
    with loader_of(data, None, batch_size=8, job_id="named") as loader:
        assert loader.job.pinned
    assert (state_root / "jobs/named/run.json").exists()


def test_a_nodes_daemon_keeps_records_only_where_its_configuration_says(
    data: Path, state_root: Path, make_node: Callable[[], Node], tmp_path: Path
) -> None:
    closed = make_node().configure(data).start()
    with (
        pytest.raises(DeniedError, match=r"lies outside of the daemon's state roots[^$]*\[\[state_root\]\]"),
        loader_of(data, state_root, batch_size=8, daemon=closed.socket) as loader,
    ):
        next(iter(loader))
    open_ = make_node().configure(data)
    open_.config.write_text(open_.config.read_text() + f'[[state_root]]\npath = "{tmp_path}"\n')
    open_.start()
    with loader_of(data, state_root, batch_size=8, daemon=open_.socket, follow="epoch") as loader:
        assert len(next(iter(loader))["label"]) == 8
        assert loader.job.epoch == 0


def test_processes_of_a_run_agree_without_being_asked_to_wait_for_one_another(data: Path, state_root: Path) -> None:
    clients = [client("pinned_epochs", data, state_root, rank) for rank in range(3)]
    started = [context.__enter__() for context in clients]
    try:
        for name in ("one", "two"):
            assert {tuple(process.line()) for process in started} != set()
            grow(data, name)
            for process in started:
                process.tell()
        results = [process.result() for process in started]
    finally:
        for context in clients:
            context.__exit__(None, None, None)
    assert results[0] == results[1] == results[2]
    assert len({snapshot for snapshot, _ in results[0]}) == 3, "each epoch took what was new"
