"""States of every version, waivers by name, seeking, and what is no state."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CROP, Fake

import forebay
from forebay._difference import differences
from forebay._job import Cursor, cursor_of_step
from forebay._state import State
from forebay.errors import InvalidError, StateError
from forebay.numpy import DataLoader
from forebay.transforms import CenterCrop, RandomHorizontalFlip, Resize

FIELDS: Any = {"image": forebay.Image(transform=[CenterCrop(8)]), "label": forebay.Value()}


def batch_bytes(batch: Any) -> bytes:
    return b"".join(part.tobytes() for part in (batch.values() if isinstance(batch, dict) else batch))


def make_state() -> dict[str, Any]:
    return {
        "version": 2,
        "job_id": "run-7",
        "snapshot": "01" * 32,
        "order_digest": "02" * 32,
        "content_digest": "03" * 32,
        "seed": 2**64 - 1,
        "epoch": 1,
        "position": 96,
        "rows": 480,
        "order_parts": {"sampler": "1a2b3c4d shuffled"},
        "content_parts": {"field image": "1a2b3c4e CenterCrop(8); uint8", "others": "1a2b3c4f"},
    }


def first_version(state: dict[str, Any]) -> dict[str, Any]:
    old = {name: value for name, value in state.items() if name not in ("rows", "order_parts", "content_parts")}
    return {**old, "version": 1}


# What may be another, and what may not


def test_a_state_of_another_order_is_refused_with_the_difference(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        state = loader.state_dict()
        loader.load_state_dict(state)
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"seed": 1}, r"(?s)seed 0 is now 1\n.*hint: .*seed="),
        ({"shuffle": False}, r"sampler: shuffled is now sequential"),
    ]
    for change, words in refusals:
        arguments = {"shuffle": True, "transform": CROP, **change}
        with DataLoader(folder, **arguments) as other, pytest.raises(StateError, match=words):
            other.load_state_dict(state, allow_changed="content")
    (folder / "c" / "009.png").unlink()
    fewer = r"snapshot \w{12} with 30 rows is now \w{12} with 29 rows"
    with DataLoader(folder, shuffle=True, transform=CROP) as other, pytest.raises(StateError, match=fewer):
        other.load_state_dict(state)


def test_other_contents_are_named_and_accepted_by_that_name(
    daemon: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, fields=FIELDS) as loader:
        list(loader)
        state = loader.state_dict()
    other = {**FIELDS, "image": forebay.Image(transform=[CenterCrop(12)])}
    with DataLoader(folder, batch_size=4, shuffle=True, fields=other, on_bad_sample="mask") as loader:
        with pytest.raises(StateError) as info:
            loader.load_state_dict(state)
        text = str(info.value)
        assert "field image: " in text
        assert "CenterCrop(8)" in text.replace("center_crop([8])", "CenterCrop(8)")
        assert 'load_state_dict(state, allow_changed=["field image", "on_bad_sample"])' in text
        for too_few in ("field image", ["field image", "field label"], [], "order"):
            with pytest.raises(StateError, match="on_bad_sample: "):
                loader.load_state_dict(state, allow_changed=too_few)
        assert "going on with other contents" not in capfd.readouterr().err
        for enough in ("content", ["on_bad_sample", "field image", "numerics"]):
            loader.load_state_dict(state, allow_changed=enough)
            assert "going on with other contents than the saved state's: field image: " in capfd.readouterr().err
        batch = next(iter(loader))
        assert batch["image"].shape == (4, 12, 12, 3)
        assert loader.state_dict()["epoch"] == 1
        assert loader.state_dict()["content_digest"] == loader.job.content_digest != state["content_digest"]
        loader.load_state_dict(loader.state_dict())


def test_a_waiver_moves_no_row(daemon: str, folder: Path) -> None:
    def labels(crop: int, state: dict[str, Any] | None) -> tuple[list[int], dict[str, Any]]:
        fields = {**FIELDS, "image": forebay.Image(transform=[Resize((crop, crop)), RandomHorizontalFlip()])}
        with DataLoader(folder, batch_size=6, shuffle=True, fields=fields) as loader:
            if state:
                loader.load_state_dict(state, allow_changed="field image")
            taken = []
            for batch in loader:
                taken += batch["label"].tolist()
                if len(taken) == 12 and state is None:
                    break
            return taken, loader.state_dict()

    with DataLoader(folder, batch_size=30, shuffle=True, fields=FIELDS) as loader:
        whole = next(iter(loader))["label"].tolist()
    first, state = labels(8, None)
    rest, _ = labels(12, state)
    assert first + rest == whole


@pytest.mark.parametrize("wrong", [True, 3, ["content", 3], {"content": 1}.values()])
def test_a_waiver_is_a_name_or_several(folder: Path, wrong: Any) -> None:
    with (
        DataLoader(folder, transform=CROP) as loader,
        pytest.raises(InvalidError, match=r"allow_changed=.*field image"),
    ):
        loader.load_state_dict(loader.state_dict(), allow_changed=wrong)


def test_a_state_of_version_1_loads_and_says_what_it_can(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        next(iter(loader))
        state = loader.state_dict()
        wanted = [batch_bytes(batch) for batch in resumed(loader, state)]
        assert [batch_bytes(batch) for batch in resumed(loader, first_version(state))] == wanted
        loader.load_state_dict(first_version(state))
        assert loader.state_dict() == state
    with DataLoader(folder, batch_size=4, shuffle=True, transform=[Resize((4, 4))]) as loader:
        words = r'a detail that the state does not keep\nhint: .*allow_changed="content"'
        with pytest.raises(StateError, match=words):
            loader.load_state_dict(first_version(state))
        loader.load_state_dict(first_version(state), allow_changed="content")
    other = DataLoader(folder, shuffle=False, transform=CROP)
    with other, pytest.raises(StateError, match="shuffle=, or a detail"):
        other.load_state_dict(first_version(state))


def resumed(loader: DataLoader, state: dict[str, Any]) -> DataLoader:
    loader.load_state_dict(state)
    return loader


def test_a_daemon_that_tells_no_parts_is_still_told_apart(folder: Path, fake: Fake) -> None:
    fake.misbehave({"parts": False}, {"parts": False, "content": "another"})
    with DataLoader(folder, transform=CROP) as loader:
        state = loader.state_dict()
        assert state["content_parts"] == {}
    forebay._daemon.shutdown()
    with DataLoader(folder, transform=CROP) as loader, pytest.raises(StateError, match="a detail that the state"):
        loader.load_state_dict(state)


@pytest.mark.parametrize(("saved", "now", "words"), [
    ("a; b; c", "a; x; c", "b is now x"),
    ("a; b; c", "a; c", "b was dropped"),
    ("a; c", "a; b; c", "b was added"),
    ("a; a", "a; a; a", "a was added"),
    ("a", "a", "differs in a detail that the state does not keep"),
    ("", "a", "is not what it was; the state has no room for how"),
])  # fmt: skip
def test_two_parts_are_told_apart_by_their_pieces(saved: str, now: str, words: str) -> None:
    assert differences({"x": f"1a2b3c4d {saved}".rstrip()}, {"x": f"9a2b3c4d {now}"}) == {"x": words}
    assert differences({"x": "1a2b3c4d same digits"}, {"x": "1a2b3c4d other words"}) == {}
    assert differences({"x": "1a2b3c4d"}, {"y": "1a2b3c4d"}) == {"x": "was there and is not now", "y": "is new"}
    assert differences({"x": "1a2b3c4d"}, {"others": "1a2b3c4d"}) == {}


# Starting at a step


@pytest.mark.parametrize("tail", ["drop", "partial", "pad"])
@pytest.mark.parametrize("world", [1, 2])
def test_starting_at_a_step_equals_stepping_there(daemon: str, folder: Path, tail: str, world: int) -> None:
    arguments: dict[str, Any] = {
        "batch_size": 4, "shuffle": True, "transform": CROP, "tail": tail, "rank": world - 1, "world_size": world
    }  # fmt: skip
    with DataLoader(folder, **arguments) as loader:
        epochs = [[batch_bytes(batch) for batch in loader] for _ in range(3)]
        steps = len(loader)
        loader.set_epoch(1)
        states = [{**loader.state_dict(), "epoch": 1, "position": 0}]
        for _ in loader:
            states.append(loader.state_dict())
        with DataLoader(folder, **arguments) as other:
            for step in range(steps + 1):
                other.seek(1, step)
                assert other.state_dict() == states[step]
                assert [batch_bytes(batch) for batch in other] == (epochs[1][step:] or epochs[2]), f"step {step}"
    with DataLoader(folder, **arguments, start_epoch=1, start_step=2) as loader:
        assert loader.state_dict() == states[2]
        assert [batch_bytes(batch) for batch in loader] == epochs[1][2:]
        assert [batch_bytes(batch) for batch in loader] == epochs[2]


def test_seeking_every_row_equals_the_uninterrupted_stream(daemon: str, folder: Path) -> None:
    arguments: dict[str, Any] = {"shuffle": True, "seed": 5, "fields": FIELDS}
    with DataLoader(folder, batch_size=1, **arguments) as loader:
        whole = [batch_bytes(batch) for batch in loader]
    with (
        DataLoader(folder, batch_size=1, **arguments) as single,
        DataLoader(folder, batch_size=7, **arguments) as other,
    ):
        for row in range(30):
            single.seek(0, row)
            assert batch_bytes(next(iter(single))) == whole[row]
            single.seek(0, row)
            other.load_state_dict(single.state_dict())
            taken = [image for batch in other for image in batch["image"]]
            assert [image.tobytes() for image in taken] == [row_bytes[: 8 * 8 * 3] for row_bytes in whole[row:]]


def test_set_epoch_keeps_the_step_of_that_epoch_and_drops_any_other(folder: Path) -> None:
    with DataLoader(folder, batch_size=4, transform=CROP, start_epoch=3, start_step=6) as loader:
        loader.set_epoch(3)
        assert len(list(loader)) == 2
        assert loader.state_dict()["epoch"] == 4
        loader.seek(3, 6)
        loader.set_epoch(5)
        assert len(list(loader)) == 8
        assert loader.state_dict()["epoch"] == 6
        assert len(list(loader)) == 8


def test_a_loaded_state_goes_before_a_step_and_a_seek_before_a_state(folder: Path) -> None:
    with DataLoader(folder, batch_size=4, transform=CROP) as loader:
        next(iter(loader))
        state = loader.state_dict()
    with DataLoader(folder, batch_size=4, transform=CROP, start_epoch=3, start_step=6) as loader:
        loader.load_state_dict(state)
        assert loader.state_dict() == state
        assert len(list(loader)) == 7
        loader.load_state_dict(state)
        loader.seek(2, 3)
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (2, 12)
        assert len(list(loader)) == 5


def test_a_step_that_is_not_there_is_refused_with_the_number_of_steps(folder: Path) -> None:
    words = r"step 20 of epoch 0: an epoch has 8 steps of 4 rows\nhint: .* epoch 2, step 4$"
    with DataLoader(folder, batch_size=4, transform=CROP) as loader:
        with pytest.raises(InvalidError, match=words):
            loader.seek(0, 20)
        assert len(list(loader)) == 8
    with DataLoader(folder, batch_size=4, transform=CROP, start_step=20) as loader:
        with pytest.raises(InvalidError, match=words):
            iter(loader)
        with pytest.raises(InvalidError, match=words):
            loader.state_dict()
    loader = DataLoader(folder, batch_size=31, drop_last=True, transform=CROP)
    with loader, pytest.raises(InvalidError, match="an epoch has 0 steps of 31 rows"):
        loader.seek(0, 1)
    for arguments in ({"start_step": -1}, {"start_epoch": 1.5}, {"start_step": True}):
        with pytest.raises(InvalidError, match=next(iter(arguments))):
            DataLoader(folder, **arguments)
    with pytest.raises(InvalidError, match="this loader was closed"):
        loader.seek(0)


def test_a_step_counts_whole_batches_of_all_ranks() -> None:
    assert cursor_of_step(3, 2, 100, 40, "drop") == Cursor(4, 0)
    assert cursor_of_step(3, 2, 100, 40, "partial") == Cursor(3, 80)
    assert cursor_of_step(3, 3, 100, 40, "pad") == Cursor(4, 0)


# What is no state

_NO_COMMITS: list[Any] = ["", "0", "0,0", "1,", "01", "-1", "1, 2", str(2**64), "1," * 100 + "1", 3, [3], None]


@pytest.mark.parametrize(("change", "words"), [
    ({"version": 4}, "version 4, where this forebay reads 1 to 3"),
    ({"version": 0}, "version 0"),
    ({"version": True}, "version True"),
    ({"version": "2"}, "version '2'"),
    ({"version": 10**400}, "a number of 1329 bits"),
    ({"extra": 1}, r"unknown keys \['extra'\]"),
    ({3: 1}, r"unknown keys \[3\]"),
    ({"position": -1}, "position=-1"),
    ({"position": 1.0}, "position=1.0"),
    ({"position": 2**64}, "position=a number of 65 bits"),
    ({"seed": "0"}, "seed='0'"),
    ({"epoch": None}, "epoch=None"),
    ({"epoch": False}, "epoch=False"),
    ({"snapshot": "01" * 31}, "snapshot='0101"),
    ({"order_digest": b"02" * 32}, "order_digest=b'0202"),
    ({"job_id": ""}, "job_id=''"),
    ({"job_id": "x" * 10_000}, r"job_id='xxx.*\.\.\."),
    ({"content_parts": []}, r"content_parts=\[\]"),
    ({"content_parts": {"a": 1}}, "content_parts={'a': 1}"),
    ({"order_parts": {"a": "no digits"}}, "order_parts="),
    ({"version": 3}, r"missing keys \['commits'\]"),
    ({"commits": "1"}, r"unknown keys \['commits'\]"),
    *(({"version": 3, "commits": commits}, "commits=") for commits in _NO_COMMITS),
])  # fmt: skip
def test_a_state_with_a_wrong_value_is_refused_by_name(change: dict[Any, Any], words: str) -> None:
    with pytest.raises(StateError, match=words) as info:
        State.from_dict({**make_state(), **change})
    assert info.value.hint
    assert len(str(info.value)) < 400


def test_what_is_no_dict_lacks_keys_or_is_a_whole_checkpoint_is_refused() -> None:
    for thing in (None, [], "state", 3, [("version", 2)]):
        with pytest.raises(StateError, match="and no dict"):
            State.from_dict(thing)  # pyright: ignore
    with pytest.raises(StateError, match="without a version"):
        State.from_dict({"model": {}, "loader": make_state()})
    for name in make_state():
        with pytest.raises(StateError, match="version" if name == "version" else rf"missing keys \['{name}'\]"):
            State.from_dict({key: value for key, value in make_state().items() if key != name})
    with pytest.raises(StateError, match=r"unknown keys \['rows'"):
        State.from_dict({**make_state(), "version": 1})


def test_a_state_reads_back_with_the_numbers_of_numpy_too() -> None:
    state = make_state()
    assert State.from_dict(json.loads(json.dumps(state))).to_dict() == state
    foreign = {**state, "epoch": np.int64(1), "position": np.array(96), "seed": np.uint64(2**64 - 1)}
    assert State.from_dict(foreign).to_dict() == state
    assert json.loads(json.dumps(State.from_dict(foreign).to_dict())) == state
    over_data_sets = {**state, "version": 3, "commits": "3,0,12"}
    assert State.from_dict(over_data_sets).commits == (3, 0, 12)
    assert State.from_dict(over_data_sets).to_dict() == over_data_sets


def test_ten_thousand_broken_states_are_read_or_refused_and_nothing_else() -> None:
    draw = random.Random(7)
    odd: list[Any] = [
        None, True, -1, 2**64, 10**300, 1.5, float("nan"), "", "x", "é" * 70, "0" * 64, [], {}, b"", {"a": {}}, object()
    ]  # fmt: skip
    read = refused = 0
    for _ in range(10_000):
        state: dict[Any, Any] = make_state()
        for _ in range(draw.randrange(1, 4)):
            name = draw.choice(sorted(make_state()))
            how = draw.randrange(5)
            if how == 0:
                state.pop(name, None)
            elif how == 1:
                state[draw.choice([*odd[:10], name])] = draw.choice(odd)
            elif how == 2 and isinstance(state.get(name), str):
                state[name] = state[name][: draw.randrange(66)]
            elif how == 3 and isinstance(state.get(name), int):
                state[name] ^= 1 << draw.randrange(80)
            else:
                state[name] = draw.choice(odd)
        try:
            State.from_dict(state).to_dict()
            read += 1
        except StateError as error:
            refused += len(str(error)) < 1000
    assert read + refused == 10_000
    assert read > 100
    assert refused > 5000
