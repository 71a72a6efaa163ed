"""What a person asks of the order becomes the proto's Order, or a clear error."""

from __future__ import annotations

import array
import itertools
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from forebay import Folder, Mixture, _indices
from forebay._mixture import origins_of
from forebay._order import Asked, Order, order_of
from forebay.errors import InvalidError
from forebay.numpy import DataLoader

FOLDERS = {"web": "/data/web", "code": "/data/code"}


def asked(data: Any = "/data", **changes: Any) -> Order:
    arguments: dict[str, Any] = {
        "seed": 0, "shuffle": None, "sampler": None, "batch_sampler": None, "has_batch_size": False,
        "balanced_by": None, "weights": None, "epoch_rows": None, "sampler_epochs": None, "repeats": 1,
        "repeat_window": None,
    }  # fmt: skip
    return order_of(data, Asked(**{**arguments, **changes}))


def lists_of(order: Order) -> list[list[int]]:
    """Read an explicit order's lists back, as the daemon does."""
    assert order.spec["sampler"] == "SAMPLER_EXPLICIT"
    return [
        np.frombuffer(b64decode(each.get("indices") or each["wide"]), "<u8" if "wide" in each else "<u4").tolist()
        for each in order.spec["lists"]
    ]


class Epochs:
    """A sampler whose list follows `set_epoch`."""

    def __init__(self, *lists: list[Any]) -> None:
        self.lists, self.epoch = lists, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        return iter(self.lists[self.epoch])


def test_shuffle_and_its_names_are_one_order() -> None:
    assert asked(seed=2**64 - 1).spec == {"sampler": "SAMPLER_SEQUENTIAL", "seed": "18446744073709551615"}
    assert asked(shuffle=False) == asked(sampler="sequential", shuffle=False) == asked()
    assert asked(shuffle=True) == asked(sampler="shuffled")
    assert asked(shuffle=True).spec["sampler"] == "SAMPLER_SHUFFLED"


def test_a_mixture_names_its_sources_shares_and_phases() -> None:
    mixture = Mixture(FOLDERS, shares={"code": 1, "web": 3.5}, epoch_of="web", sequential="code")
    assert [spec for _, spec in origins_of(mixture)] == [
        {"name": "web", "folder": {"path": "/data/web", "extensions": []}, "sampler": "SAMPLER_SHUFFLED"},
        {"name": "code", "folder": {"path": "/data/code", "extensions": []}, "sampler": "SAMPLER_SEQUENTIAL"},
    ]
    assert asked(mixture, shuffle=True).spec == {
        "sampler": "SAMPLER_MIXTURE",
        "seed": "0",
        "phases": [{"from_row": "0", "shares": [3.5, 1.0]}],
        "epoch_source": "web",
    }
    schedule = [(0, {"web": 1, "code": 0}), (10 * 1024, {"web": 1, "code": np.float32(2)})]
    spec = asked(Mixture(FOLDERS, schedule=schedule, epoch_rows=2048)).spec
    assert spec["phases"] == [{"from_row": "0", "shares": [1.0, 0.0]}, {"from_row": "10240", "shares": [1.0, 2.0]}]
    assert spec["epoch_rows"] == "2048"
    assert asked(Mixture(FOLDERS, schedule=dict(schedule), epoch_rows=2048)).spec == spec


EVEN = {"web": 1, "code": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"either shares= or schedule=.*\nhint: shares=\{'web': 1, 'code': 1\}"),
        ({"shares": EVEN, "schedule": [(0, EVEN)]}, "either shares= or schedule="),
        ({"shares": {"web": 1}}, "no share for 'code'.*\nhint: 0 leaves"),
        ({"shares": {**EVEN, "cod": 1}}, "'cod' is none of the sources 'web', 'code'"),
        ({"shares": [1, 1]}, "is no dict"),
        ({"shares": {"web": -1, "code": 1}}, "'web' has a share of -1"),
        ({"shares": {"web": float("nan"), "code": 1}}, "share of nan"),
        ({"shares": {**EVEN, "web": True}}, "share of True"),
        ({"shares": {"web": 0, "code": 0}}, "all shares are 0"),
        ({"shares": EVEN, "epoch_rows": 1000}, "epoch_rows=1000 is no multiple of 1024.*\nhint: .*nearest is 1024"),
        ({"shares": EVEN, "epoch_rows": 1024, "epoch_of": "web"}, "exclude each other"),
        ({"shares": EVEN, "epoch_of": "wed"}, "epoch_of: 'wed' is none"),
        ({"shares": {"web": 1, "code": 0}, "epoch_of": "code"}, "'code' has no share at row 0"),
        ({"shares": EVEN, "sequential": ["wed"]}, "sequential: 'wed' is none"),
        ({"schedule": [(0, EVEN), (1000, EVEN)]}, "row=1000 is no multiple"),
        ({"schedule": [(1024, EVEN)]}, r"rows \[1024\]"),
        ({"schedule": []}, r"rows \[\]"),
        ({"schedule": [(0, EVEN), (0, EVEN)]}, r"rows \[0, 0\]"),
        ({"schedule": [EVEN]}, "not pairs"),
        ({"schedule": [(0, {"web": 1})]}, "schedule at row 0: no share for 'code'"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused_when_it_is_made(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=f"(?s){message}"):
        Mixture(FOLDERS, **arguments)


def test_a_mixture_needs_data_and_holds_no_other(tmp_path: Any) -> None:
    for sources, message in (
        ({}, "needs its sources"),
        (["/a"], "needs its sources"),
        ({"": "/a"}, "named ''"),
        ({"a": 3}, "of type int"),
        ({"a": Mixture({"b": "/b"}, shares={"b": 1})}, "'a' is a mixture itself"),
    ):
        with pytest.raises(InvalidError, match=message):
            Mixture(sources, shares=dict.fromkeys(sources, 1))  # type: ignore[arg-type]
    mixed = Mixture({"a": Folder(tmp_path), "b": [{"x": 1}]}, shares={"a": 1, "b": 1})
    with pytest.raises(InvalidError, match="need their fields named"):
        DataLoader(mixed)


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        np.array,
        lambda i: np.array(i, np.int64),
        lambda i: np.array(i, np.uint8),
        lambda i: array.array("I", i),
        lambda i: np.array(i, ">i4"),
        lambda i: np.array([v for i in i for v in (i, 0)])[::2],
        lambda i: [np.int32(v) for v in i],
        lambda i: [np.array(v) for v in i],
    ],
)
def test_indices_may_come_in_anything_that_holds_them(make: Any) -> None:
    assert lists_of(asked(sampler=make([3, 1, 250]))) == [[3, 1, 250]]


def test_indices_of_tensors_ranges_and_beyond_32_bits() -> None:
    assert lists_of(asked(sampler=range(5, 0, -2))) == [[5, 3, 1]]
    assert lists_of(asked(sampler=[0, 1 << 32])) == lists_of(asked(sampler=np.array([0, 1 << 32]))) == [[0, 1 << 32]]
    assert "wide" in asked(sampler=[0, 1 << 32]).spec["lists"][0]
    torch = pytest.importorskip("torch")
    assert (
        lists_of(asked(sampler=torch.tensor([3, 1]))) == lists_of(asked(sampler=list(torch.tensor([3, 1])))) == [[3, 1]]
    )


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ([], "gives no index"),
        (iter(()), "gives no index"),
        ([1, -2], "entry 1 is -2.*\nhint: indices count from 0"),
        (np.array([0, -1]), "entry 1 is -1"),
        ([True, False], r"a mask of booleans.*\nhint: numpy.flatnonzero"),
        (np.ones(3, np.bool_), "a mask"),
        ([0.5], "entry 0 is 0.5"),
        (np.zeros(2), "of type float64"),
        (["a"], "entry 0 is 'a'"),
        ([[1, 2], [3, 4]], r"entry 0 is \[1, 2\]"),
        ([[1], [2, 3]], r"entry 0 is \[1\]"),
        (np.zeros((2, 2), np.int32), r"shape \(2, 2\)"),
        (3, "sampler=3 is not iterable"),
        ("random", "'random' is none of sequential"),
    ],
)
def test_what_holds_no_indices_is_refused(sampler: Any, message: str) -> None:
    with pytest.raises(InvalidError, match=f"(?s){message}"):
        asked(sampler=sampler)


def test_more_than_a_job_carries_is_refused_and_an_endless_sampler_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_indices, "INDICES_MAX", 10)
    monkeypatch.setattr(_indices, "PAYLOAD_BYTES_MAX", 40)
    assert lists_of(asked(sampler=range(10))) == [list(range(10))]
    for endless in (
        {"sampler": range(11)},
        {"sampler": itertools.count()},
        {"sampler": [1 << 40] * 6},
        {"batch_sampler": ([i] for i in itertools.count())},
        {"sampler": Epochs([1] * 6, [1] * 6), "sampler_epochs": 2},
    ):
        with pytest.raises(InvalidError, match="more than a job carries"):
            asked(**endless)
    with pytest.raises(InvalidError, match=r"weights='column'"):
        asked(sampler="weighted", weights=np.ones(6))


def test_a_sampler_is_drawn_once_or_for_so_many_epochs(capfd: pytest.CaptureFixture[str]) -> None:
    sampler = Epochs([1, 2], [4, 3], [0, 0])
    assert lists_of(asked(sampler=sampler)) == [[1, 2]]
    assert "sampler=Epochs: drew 2 indices for every epoch" in capfd.readouterr().err
    assert lists_of(asked(sampler=sampler, sampler_epochs=3)) == [[1, 2], [4, 3], [0, 0]]
    assert "drew 6 indices for 3 epochs" in capfd.readouterr().err
    assert lists_of(asked(sampler=[1, 2], sampler_epochs=2)) == [[1, 2], [1, 2]]
    assert not capfd.readouterr().err
    with pytest.raises(InvalidError, match="an iterator that was read already"):
        asked(sampler=iter([1]), sampler_epochs=2)


def test_weights_are_a_column_or_64_bit_floats() -> None:
    assert asked(sampler="weighted", weights="w", epoch_rows=7).spec == {
        "sampler": "SAMPLER_WEIGHTED", "column": "w", "epoch_rows": "7", "seed": "0",
    }  # fmt: skip
    for weights in ([1, 0, 2.5], np.array([1, 0, 2.5], np.float32), iter([1, 0, 2.5])):
        spec = asked(sampler="weighted", weights=weights).spec
        assert np.frombuffer(b64decode(spec["weights"]), "<f8").tolist() == [1, 0, 2.5]
    assert asked(sampler="balanced").spec == {"sampler": "SAMPLER_BALANCED", "column": "", "seed": "0"}
    spec = asked(sampler="balanced", balanced_by="kind", epoch_rows=2048).spec
    assert (spec["column"], spec["epoch_rows"]) == ("kind", "2048")


def test_repeats_carry_their_window_and_their_epoch() -> None:
    assert asked(shuffle=True, repeats=3).spec["repeat"] == {"times": 3}
    spec = asked(sampler="weighted", weights=[1], repeats=3, repeat_window=64, epoch_rows=100).spec
    assert spec["repeat"] == {"times": 3, "window_rows": 64, "epoch_rows": "100"}
    assert "epoch_rows" not in spec


def test_batches_of_one_size_are_an_order_and_others_are_rows() -> None:
    even = asked(batch_sampler=[[0, 1], [5, 4], [2]])
    assert (lists_of(even), even.batch_rows, even.whole_batches) == ([[0, 1, 5, 4, 2]], 2, False)
    assert "sizes" not in even.spec["lists"][0]
    assert asked(batch_sampler=np.array([[0, 1], [5, 4]])).batch_rows == 2
    for batches in ([[0], [5, 4]], [(0, 1), (2,), (3, 4)], iter([np.array([7, 8]), [1, 2, 3]])):
        uneven = asked(batch_sampler=batches)
        assert (uneven.batch_rows, uneven.whole_batches) == (1, True)
        assert len(uneven.spec["lists"][0]["sizes"]) >= 2
    epochs = asked(batch_sampler=Epochs([[0, 1]], [[1, 2, 3]]), sampler_epochs=2)
    assert [each["sizes"] for each in epochs.spec["lists"]] == [[2], [3]]
    assert lists_of(epochs) == [[0, 1], [1, 2, 3]]


def test_rows_of_each_epoch_are_known_where_lists_differ() -> None:
    assert asked(sampler=Epochs([1, 2], [3, 4]), sampler_epochs=2).lists == ()
    assert asked(sampler=Epochs([1, 2], [3]), sampler_epochs=2).lists == (2, 1)
    assert asked(sampler=Epochs([1, 2], [3]), sampler_epochs=2, repeats=3, epoch_rows=5).lists == (5, 3)
    assert asked(batch_sampler=Epochs([[1, 2], [3]], [[1], [2, 3], [4]]), sampler_epochs=2).lists == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shuffle": True, "sampler": "balanced"}, "shuffle= and sampler= exclude"),
        ({"shuffle": [1]}, r"shuffle=\[1\] is neither"),
        ({"batch_sampler": [[1]], "shuffle": True}, "batch_sampler= excludes"),
        ({"batch_sampler": [[1]], "sampler": [1]}, "excludes"),
        ({"batch_sampler": [[1]], "has_batch_size": True}, "excludes"),
        ({"batch_sampler": [1, 2]}, "gives no lists of indices"),
        ({"batch_sampler": 3}, "gives no lists"),
        ({"batch_sampler": [[1], []]}, "batch 1 is empty"),
        ({"batch_sampler": []}, "gives no index"),
        ({"batch_sampler": np.zeros(3, np.int64)}, "a batch a row"),
        ({"batch_sampler": [["a"]]}, "entry 0 is 'a'"),
        ({"batch_sampler": [[1], [2, 3]], "repeats": 2}, "repeats= beside batches"),
        ({"balanced_by": "kind"}, "balanced_by= without"),
        ({"weights": [1]}, "weights= without"),
        ({"sampler": "weighted"}, "without weights="),
        ({"sampler": "weighted", "weights": [-1, 1]}, "entry 0 is -1"),
        ({"sampler": "weighted", "weights": [0, 0]}, "all are 0"),
        ({"sampler": "weighted", "weights": [float("inf")]}, "entry 0 is inf"),
        ({"sampler": "weighted", "weights": [True]}, "type bool"),
        ({"sampler": "weighted", "weights": []}, "one number a sample"),
        ({"sampler": "weighted", "weights": [[1]]}, "one number"),
        ({"sampler": "weighted", "weights": 3}, "one number a sample"),
        ({"sampler": "balanced", "epoch_rows": 5}, "nearest is 1024"),
        ({"sampler": "weighted", "weights": [1], "epoch_rows": 0}, "epoch_rows=0"),
        ({"epoch_rows": 5}, "epoch_rows= is for"),
        ({"sampler": [1], "epoch_rows": 5}, "epoch_rows= is for"),
        ({"shuffle": True, "sampler_epochs": 2}, "sampler_epochs= is for"),
        ({"sampler": [1], "sampler_epochs": 0}, "sampler_epochs=0"),
        ({"repeats": 0}, "repeats=0"),
        ({"repeats": 1.5}, "repeats=1.5"),
        ({"repeat_window": 4}, "repeat_window= without"),
        ({"repeats": 2, "repeat_window": 0}, "repeat_window=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_cure(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        asked(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "shuffled"}, "takes no sampler"),
        ({"batch_sampler": [[1]]}, "takes no sampler"),
        ({"shuffle": False}, "mixed by chance"),
        ({"epoch_rows": 1024}, "belongs to it"),
    ],
)
def test_a_mixture_takes_no_other_order(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        asked(Mixture(FOLDERS, shares=EVEN), **changes)
