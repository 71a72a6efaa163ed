"""What a person writes about tokens and lengths becomes fields and windows of the spec, or a clear error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import forebay
from forebay._order import Order
from forebay._pack import grouped, grouping_of
from forebay._tokens import trim, trims_of
from forebay.errors import InvalidError

SHUFFLED = Order({"sampler": "SAMPLER_SHUFFLED", "seed": "7"}, drops_last=True, samples=9, lists=(3, 4))
TEXT = {"tokens": forebay.Tokens("text")}


def windows(fields: Any = None, order: Order = SHUFFLED, **asked: Any) -> Order:
    given = {"packed": None, "bucket_by": None, "token_budget": None, **asked}
    has_batch_size = given.pop("has_batch_size", False)
    grouping = grouping_of(**given)
    fields = TEXT if fields is None else fields
    return grouped(order, grouping, fields, has_batch_size=has_batch_size, bucket_rows=lambda: 96)


def test_packing_is_windows_over_any_order_by_the_lengths_that_the_tokens_go_by() -> None:
    order = windows(packed=2048)
    assert order.spec == {
        "sampler": "SAMPLER_SHUFFLED",
        "seed": "7",
        "windows": {"length_column": "text", "packed": {"capacity": 2048}},
    }
    assert (order.batch_rows, order.whole_batches, order.drops_last, order.samples, order.lists) == (
        None, False, True, None, (),
    )  # fmt: skip
    extents = {"tokens": forebay.Tokens("path", stored="uint16", offset="at", length="n")}
    assert windows(extents, packed=8).spec["windows"]["length_column"] == "n"
    long = forebay.Packed(8, "m", long="fail", documents_max=4, window_rows=100)
    assert windows(packed=long).spec["windows"] == {
        "length_column": "m",
        "packed": {"capacity": 8, "fail_on_long": True, "documents_max": 4},
        "window_rows": 100,
    }


def test_buckets_are_of_a_step_of_all_ranks_unless_it_is_said() -> None:
    order = windows(bucket_by="duration")
    assert order.spec["windows"] == {"length_column": "duration", "bucketed": {"batch_rows": 96}}
    assert (order.samples, order.lists) == (9, (3, 4)), "as many rows as before"
    said = windows(bucket_by=forebay.Buckets("duration", rows=512, window_rows=2048)).spec["windows"]
    assert (said["bucketed"], said["window_rows"]) == ({"batch_rows": 512}, 2048)


def test_a_budget_makes_each_row_a_batch() -> None:
    order = windows(token_budget=forebay.TokenBudget(16384, 128))
    assert order.spec["windows"] == {
        "length_column": "text",
        "budgeted": {"tokens": 16384, "samples_max": 128},
    }
    assert (order.batch_rows, order.whole_batches) == (1, True)


def test_an_order_that_is_not_shuffled_is_kept() -> None:
    for sampler, kept in (("SEQUENTIAL", True), ("EXPLICIT", True), ("SHUFFLED", False), ("MIXTURE", False)):
        order = Order({"sampler": f"SAMPLER_{sampler}", "seed": "7"})
        assert windows(order=order, packed=8).spec["windows"].get("keep_order", False) is kept
    assert windows() is SHUFFLED


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"packed": 8, "bucket_by": "n"}, "packed= and bucket_by= exclude each other"),
        ({"packed": 0}, "capacity=0"),
        ({"packed": "2048"}, "capacity='2048'"),
        ({"packed": 8, "order": Order(SHUFFLED.spec, 4)}, "batch_sampler="),
        ({"token_budget": forebay.TokenBudget(9, 9), "has_batch_size": True}, "excludes batch_size="),
        ({"token_budget": 4096}, "token_budget=4096 is no forebay.TokenBudget"),
        ({"bucket_by": 4}, "bucket_by=4 is no forebay.Buckets"),
        ({"packed": 8, "fields": {}}, "Packed needs to know the lengths.*\nhint: .*n_tokens"),
        ({"packed": 8, "fields": {"t": forebay.Tokens("p", stored="uint16")}}, "needs to know the lengths"),
        ({"packed": 8, "fields": {"a": forebay.Tokens(), "b": forebay.Tokens()}}, "needs to know the lengths"),
    ],
)
def test_what_cannot_be_is_said(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        windows(**asked)


def test_fields_of_tokens_say_what_is_stored_and_what_comes() -> None:
    def spec(field: Any) -> dict[str, Any]:
        return field.to_spec("x", "MEMORY_ORDER_CHANNELS_LAST")

    assert spec(forebay.Tokens()) == {
        "name": "x", "column": "x", "decode": "DECODE_TOKENS", "dtype": "DTYPE_INT64", "pad": "0",
    }  # fmt: skip
    files = forebay.Tokens(
        "path", stored="uint16", offset="at", length="n", capacity=9, long="fail", pad=-100, dtype=np.int32
    )
    assert spec(files) == {
        "name": "x", "column": "path", "decode": "DECODE_TOKENS", "dtype": "DTYPE_INT32", "pad": "-100",
        "stored_dtype": "DTYPE_UINT16", "offset_column": "at", "length_column": "n", "capacity": 9,
        "fail_on_long": True,
    }  # fmt: skip
    assert spec(forebay.Length()) == {"name": "x", "decode": "DECODE_LENGTH"}
    assert spec(forebay.Length("path"))["column"] == "path"
    assert spec(forebay.PositionIds("int32"))["dtype"] == "DTYPE_INT32"
    assert spec(forebay.SegmentIds())["decode"] == "DECODE_SEGMENT_IDS"
    assert spec(forebay.Boundaries())["decode"] == "DECODE_BOUNDARIES"


@pytest.mark.parametrize(
    "wrong",
    [
        {"stored": "float32"},
        {"stored": "uint16", "offset": "at"},
        {"offset": "at", "length": "n"},
        {"capacity": 0},
        {"long": "split"},
        {"dtype": "float32"},
        {"pad": 0.5},
    ],
)
def test_a_wrong_field_of_tokens_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        forebay.Tokens("text", **wrong)


def test_trimming_shows_what_the_longest_row_fills_and_copies_nothing() -> None:
    fields = {"tokens": forebay.Tokens("text", trim=True), "other": forebay.Tokens("o"), "n": forebay.Length("text")}
    trims = trims_of(fields)
    assert trims == {"tokens": "n"}
    tokens = np.arange(12).reshape(2, 6)
    named = {"tokens": tokens, "n": np.array([2, 4]), "other": tokens}
    trim(named, trims)
    assert named["tokens"].shape == (2, 4)
    assert np.shares_memory(named["tokens"], tokens)
    assert named["other"] is tokens
    trim(named := {"tokens": tokens, "n": np.array([0, 0])}, trims)
    assert named["tokens"].shape == (2, 1)
    for lengths in ({}, {"n": forebay.Length("o")}):
        with pytest.raises(InvalidError, match="how long rows are"):
            trims_of({"tokens": forebay.Tokens("text", trim=True), **lengths})
