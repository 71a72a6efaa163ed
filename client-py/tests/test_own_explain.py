"""`explain()` of a data set that runs in Python: each planted bottleneck is named, with the cure; nothing is timed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from conftest import REAL
from own_data import Slow, Table

from forebay._explain import Explanation
from forebay._python.clock import Clock, Spent
from forebay._python.explain import Facts, Step, Steps
from forebay.numpy import DataLoader

FACTS = Facts("Own of 9 samples", 2, 4, 4, 4, "Own.__getitem__", 0.0)
NOTHING = Explanation({})
STORAGE = {"cause": "CAUSE_STORAGE", "advice": "set reads_in_flight = 64", "detail": "reads are slow"}
DAEMONS = Explanation({"sessions": [{**STORAGE, "shares": [{"cause": "CAUSE_STORAGE", "share": 0.3}]}]})


def explained(facts: Facts = FACTS, daemons: Explanation = NOTHING, steps: int = 5, **each: Any) -> Explanation:
    """Judge equal steps; `spent`: of all workers a step."""
    spent, rows = Spent(*each.pop("spent", (0.0, 0.0, 0.0))), each.pop("rows", 10)
    parts = {**dict.fromkeys(Step._fields[:6], 0.0), **each}
    newest, sums = Steps(), Spent()
    for step in range(steps):
        newest.add(Step(**parts, spent=sums, rows=step * rows))
        sums = sums.plus(spent)
    return newest.explained(facts, daemons)


BUSY = {"workers": 1.0, "spent": (1.9, 1.8, 0.1)}


@pytest.mark.parametrize(
    ("each", "facts", "cause", "advice"),
    [
        ({"trainer": 1.0, "workers": 0.1}, FACTS, "trainer", "nothing in the loader"),
        (BUSY, FACTS, "workers", "pass num_workers=4 to the loader (it is 2)"),
        (BUSY, FACTS._replace(processors=2), "workers", "make Own.__getitem__ cheaper"),
        ({**BUSY, "spent": (1.0, 1.0, 0.0)}, FACTS, "workers", "pass prefetch=8 to the loader (it is 4)"),
        ({**BUSY, "spent": (1.9, 0.1, 1.7)}, FACTS, "processors", "free processors for the workers"),
        (
            {**BUSY, "spent": (1.9, 0.1, 0.0)},
            FACTS,
            "storage",
            "pass num_workers=4 to the loader (it is 2): workers sl",
        ),
        ({"copied": 1.0, "workers": 0.1}, FACTS, "slots", "drop batches earlier, or pass max_leases=8"),
        ({"python": 1.0}, FACTS, "python", "make cheaper what is done to each batch"),
        ({"python": 1.0}, FACTS._replace(workers=0), "python", "pass num_workers=4 to the loader: samples are made in"),
        ({"rest": 1.0}, FACTS, "hand_over", "use larger batches"),
        ({"rest": 1.0}, FACTS._replace(beside_bytes=900.0), "hand_over", "give arrays or tensors instead"),
        ({"daemon": 1.0}, FACTS, "hand_over", "use larger batches"),
    ],
)
def test_the_largest_share_is_named_with_what_to_change(
    each: dict[str, Any], facts: Facts, cause: str, advice: str
) -> None:
    found = explained(facts, **each)
    assert found.cause == cause, str(found)
    assert found.advice.startswith(advice), found.advice
    assert next(iter(found.shares)) == cause
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.as_dict()["steps"] == 4
    assert str(found).splitlines()[:3] == [facts.title, "", *str(found).splitlines()[2:3]]
    assert f"because ({cause})" in str(found)


def test_waiting_for_the_daemon_is_its_own_to_explain() -> None:
    found = explained(daemons=DAEMONS, daemon=1.0, workers=0.2, spent=(0.2, 0.2, 0.0))
    assert (found.cause, found.advice, found.detail) == ("storage", STORAGE["advice"], STORAGE["detail"])
    asleep = explained(daemons=DAEMONS, daemon=0.1, workers=1.0, spent=(1.9, 0.0, 0.0))
    assert asleep.cause == "storage"
    assert asleep.advice.startswith("pass num_workers="), "the workers' own sleep is not the daemon's"


def test_nothing_is_judged_before_there_are_steps_and_others_workers_begin_anew() -> None:
    assert explained(steps=1, trainer=1.0).cause == ""
    newest = Steps()
    for rows in (100, 200, 0, 10):
        newest.add(Step(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, Spent(rows, rows, 0.0), rows))
    assert newest.explained(FACTS, Explanation({})).as_dict()["steps"] == 1


def test_the_clock_tells_sleep_from_work() -> None:
    clock = Clock()
    before = clock.now()
    time.sleep(0.05)
    asleep = clock.now().minus(before)
    assert asleep.seconds >= 0.05
    assert asleep.seconds - asleep.on_processor - asleep.in_queue > 0.04
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    worked = clock.now().minus(before).minus(asleep)
    assert worked.on_processor >= 0.05
    assert abs(worked.seconds - worked.on_processor - worked.in_queue) < 0.25 * worked.seconds


@pytest.mark.skipif(not REAL, reason="no binary")
@pytest.mark.parametrize(("workers", "cause"), [(2, "storage"), (0, "python")])
def test_samples_that_sleep_are_found_where_they_are_made(
    workers: int, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", REAL)
    with DataLoader(Slow(), 5, num_workers=workers, prefetch=2) as loader:
        assert loader.explain().cause == ""
        batches = iter(loader)
        for _ in range(4):
            next(batches)
        found = loader.explain()
    assert found.cause == cause, str(found)
    assert found.shares[cause] > 0.5
    assert "Slow of" in str(found)


@pytest.mark.skipif(not REAL, reason="no binary")
def test_a_slow_trainer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", REAL)
    with DataLoader(Table(), 20, num_workers=2) as loader:
        for batch in loader:
            assert isinstance(batch[0], np.ndarray)
            time.sleep(0.3)
        found = loader.explain()
    assert found.cause == "trainer", str(found)
