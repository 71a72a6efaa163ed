"""Adding up the digests of ranks and of parts of a run: what fits together, and what is refused."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from forebay import combine_digests
from forebay._digest import Digests
from forebay._wire import Ready, Tally
from forebay.errors import InvalidError

MOST = (1 << 256) - 1


def part(start: int, end: int, rows: int, order: int = 1, content: int = 2) -> dict[str, Any]:
    return {"from_row": start, "to_row": end, "rows": rows, "order": f"{order:064x}", "content": f"{content:064x}"}


def ready(epoch: int, position: int, end: int, rows: int, order: int = 1, content: int = 2) -> Ready:
    tally = Tally(end, rows, order, content)
    return Ready(4, 0, 1, 0, rows, 1, epoch, position, position, epoch, end, rows, 0, 0, 0, 0, (), tally)


def test_ranks_and_parts_add_up_in_any_order_and_behind_json() -> None:
    parts = [{3: part(0, 40, 10, MOST, rank)} for rank in range(4)] + [{3: part(40, 90, 25)}, {3: part(40, 90, 25)}]
    whole = combine_digests(parts)
    assert whole == {3: part(0, 90, 90, MOST - 1, 10)}  # four times -1, and 2
    random.Random(1).shuffle(parts)
    assert combine_digests(parts) == whole
    assert combine_digests([json.loads(json.dumps(part)) for part in parts]) == whole
    first, second = combine_digests(parts[:3]), combine_digests(parts[3:])
    assert set(first) == set(second) == {3}


def test_what_was_added_up_can_be_added_to_the_next_part() -> None:
    ranks = combine_digests([{0: part(0, 10, 5)}, {0: part(0, 10, 5)}])
    assert combine_digests([{0: part(10, 30, 20)}, ranks]) == {0: part(0, 30, 30, 3, 6)}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([part(0, 40, 20), part(0, 50, 25)], "overlap"),
        ([part(0, 40, 40), part(30, 60, 30)], "overlap"),
        ([part(0, 40, 40), part(50, 60, 10)], "missing"),
        ([part(0, 40, 40), part(0, 40, 40)], "given twice"),
        ([part(0, 40, 20), part(0, 40, 20), part(0, 40, 20)], "given twice"),
        ([part(0, 40, 20) | {"order": "no digits"}], "64 hex digits"),
    ],
)
def test_parts_that_are_no_runs_are_refused(parts: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        combine_digests({2: digest} for digest in parts)


def test_epochs_are_apart_and_nothing_adds_up_to_nothing() -> None:
    assert combine_digests([]) == {}
    assert list(combine_digests([{5: part(0, 4, 4)}, {1: part(2, 4, 2)}])) == [1, 5]


def test_a_loader_counts_the_newest_unbroken_part_of_each_epoch() -> None:
    digests = Digests()
    digests.add(ready(0, 0, 8, 8))
    digests.add(ready(0, 8, 16, 8))
    digests.add(ready(1, 0, 8, 8))
    assert digests.by_epoch() == {0: part(0, 16, 16, 2, 4), 1: part(0, 8, 8)}
    digests.add(ready(0, 32, 40, 8))
    digests.add(ready(0, 40, 44, 4))
    assert digests.by_epoch()[0] == part(32, 44, 12, 2, 4)
    digests.add(ready(0, 0, 8, 8))
    assert digests.by_epoch()[0] == part(0, 8, 8)
