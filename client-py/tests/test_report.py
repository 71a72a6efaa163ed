"""Reports before they leave the process: what is checked, copied, kept and sent, and what is never waited for."""

from __future__ import annotations

import base64
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CROP, Fake

from forebay import _report
from forebay._job import Job
from forebay._report import Delivered, Reporter, Run, one_a_sample
from forebay.errors import ConnectionLostError, InvalidError, UnimplementedError
from forebay.numpy import DataLoader

RUN = Run(Job("j", "s", "o", "c", 100, 0, (), (), {}, {}), "run-7", 1)


def batch(first_row: int, rows: int = 3) -> Delivered:
    return Delivered(0, first_row, first_row, rows)


class Connection:
    """What a reporter needs of one."""

    features = frozenset(["losses"])

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.takes = True
        self.errors: list[Any] = []

    def tell(self, call: str, body: dict[str, Any]) -> bool:
        assert call == "report"
        if self.takes:
            self.told.append(body)
        return self.takes

    def request(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        assert call == "report"
        self.asked.append(body)
        return {}

    def refusals(self) -> list[Any]:
        errors, self.errors = self.errors, []
        return errors


class Daemon:
    def __init__(self) -> None:
        self.now: Connection | None = Connection()

    def connection(self) -> Connection | None:
        return self.now

    current = connection


def numbers(request: dict[str, Any]) -> list[list[float]]:
    texts = (base64.b64decode(batch["losses"]) for batch in request["batches"])
    return [list(struct.unpack(f"<{len(text) // 4}f", text)) for text in texts]


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def reporter(daemon: Daemon) -> Any:
    made = Reporter(daemon)  # pyright: ignore
    yield made
    made.forget()


def test_losses_of_any_kind_become_the_same_float32_numbers() -> None:
    expected = struct.pack("<3f", 1, 2.5, 3)
    for losses in ([1, 2.5, 3], (1, 2.5, 3), np.array([1, 2.5, 3]), np.array([1, 2.5, 3], ">f4")[::1]):
        assert one_a_sample(losses, 3) == expected
    assert one_a_sample([float("nan"), 1e300], 2)[4:] == struct.pack("<f", float("inf"))


def test_tensors_of_torch_are_detached_whatever_their_dtype() -> None:
    torch = pytest.importorskip("torch")
    expected = struct.pack("<2f", 1, 2.5)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert one_a_sample(torch.tensor([1, 2.5], dtype=dtype, requires_grad=True), 2) == expected


@pytest.mark.parametrize("losses", [1.0, [1, 2], [[1], [2], [3]], np.zeros(4), [], "abc", None, ["a", "b", "c"]])
def test_other_than_one_number_a_sample_is_refused_with_the_cure(losses: Any) -> None:
    with pytest.raises(InvalidError, match=r'reduction="none"'):
        one_a_sample(losses, 3)


def test_a_report_is_a_copy_and_many_travel_in_one_record(daemon: Daemon, reporter: Reporter) -> None:
    losses = np.zeros(2048, np.float32)
    for number in range(4):
        assert daemon.now is not None
        assert daemon.now.told == []
        losses[:] = number
        reporter.add(RUN, batch(number, 2048), losses)
    assert daemon.now is not None
    (request,) = daemon.now.told
    assert request["job"] == {"order_digest": "o", "content_digest": "c"}
    assert (request["job_id"], request["rank"], request["save"]) == ("run-7", 1, False)
    assert [entry["first_row"] for entry in request["batches"]] == [0, 1, 2, 3]
    assert [set(values) for values in numbers(request)] == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_a_second_is_long_enough(daemon: Daemon, reporter: Reporter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert daemon.now is not None
    reporter.add(RUN, batch(0), [1, 2, 3])
    assert daemon.now.told == []
    monkeypatch.setattr(_report, "_KEPT_SECONDS", 0.0)
    reporter.add(RUN, batch(3), [4, 5, 6])
    assert numbers(daemon.now.told[0]) == [[1, 2, 3], [4, 5, 6]]


def test_what_a_busy_daemon_does_not_take_is_kept_and_then_the_oldest_goes(
    daemon: Daemon, reporter: Reporter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert daemon.now is not None
    monkeypatch.setattr(_report, "_KEPT_LOSSES", 1)
    monkeypatch.setattr(_report, "_KEPT_LOSSES_MAX", 7)
    daemon.now.takes = False
    for number in range(4):
        reporter.add(RUN, batch(number), [number] * 3)
    assert (reporter.lost, daemon.now.told) == (6, [])
    daemon.now.takes = True
    reporter.add(RUN, batch(9), [9] * 3)
    assert [values[0] for values in numbers(daemon.now.told[0])] == [2, 3, 9]
    assert capsys.readouterr().err.count("losses that were reported are not kept") == 1


def test_losses_of_two_orders_travel_apart(daemon: Daemon, reporter: Reporter) -> None:
    assert daemon.now is not None
    other = RUN._replace(job=Job("j", "s", "o2", "c", 100, 0, (), (), {}, {}))
    reporter.add(RUN, batch(0), [1, 2, 3])
    reporter.add(other, batch(0), [4, 5, 6])
    reporter.flush(save=True)
    assert [request["job"]["order_digest"] for request in daemon.now.asked] == ["o", "o2"]
    assert all(request["save"] for request in daemon.now.asked)


def test_what_the_daemon_refuses_is_said_once_and_stops_nothing(
    daemon: Daemon, reporter: Reporter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert daemon.now is not None
    monkeypatch.setattr(_report, "_KEPT_LOSSES", 1)
    for _ in range(3):
        daemon.now.errors = [InvalidError("losses of another batch")]
        reporter.add(RUN, batch(0), [1, 2, 3])
    daemon.now = None
    reporter.add(RUN, batch(0), [1, 2, 3])
    reporter.flush()
    assert (capsys.readouterr().err.count("losses of another batch"), reporter.lost) == (1, 3)


def test_a_report_waits_for_no_other_threads_request(fake: Fake, folder: Path) -> None:
    fake.misbehave({"resolve_delay_ms": 1500})
    loader = DataLoader(str(folder), transform=CROP)
    connection = loader._daemon.connection()
    opening = threading.Thread(target=lambda: loader.job)
    opening.start()
    while not connection._lock.locked():
        pass
    assert not connection.tell("report", {})
    assert opening.is_alive()
    opening.join()
    assert connection.tell("stats", {})
    assert connection.request("stats", {}) is not None
    loader.close()


def test_what_was_told_and_refused_is_heard_with_the_next_call(fake: Fake, folder: Path) -> None:
    with DataLoader(str(folder), transform=CROP) as loader:
        assert loader.job
        connection = loader._daemon.connection()
        assert connection.tell("open", {"job": {"order_digest": "none", "content_digest": "none"}})
        connection.request("stats", {})
        assert [error.kind for error in connection.refusals()] == ["not_found"]
        assert connection.refusals() == []
        connection._records.hang_up()
        with pytest.raises(ConnectionLostError):
            connection.tell("stats", {})


def test_a_daemon_that_keeps_no_losses_is_named(fake: Fake, folder: Path) -> None:
    with DataLoader(str(folder), batch_size=4, transform=CROP) as loader:
        with pytest.raises(InvalidError, match="no batch was taken yet"):
            loader.report([1, 2, 3, 4])
        next(iter(loader))
        with pytest.raises(UnimplementedError, match="this daemon keeps no losses"):
            loader.report([1, 2, 3, 4])
        with pytest.raises(InvalidError, match=r"iterator\.delivered"):
            loader.report([1, 2, 3, 4], batch=(0, 4))  # pyright: ignore
        with pytest.raises(InvalidError, match="by='worst'"):
            loader.loss_weights(by="worst")
