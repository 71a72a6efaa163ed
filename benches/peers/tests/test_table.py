"""Runs to rows, tables and the drawing."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from peers import plot, table
from peers.rounds import Outcome, Run

SVG = "{http://www.w3.org/2000/svg}"


def run(peer: str, round_: int, rate: float, case: str = "uint8") -> Run:
    return {
        "peer": peer,
        "case": case,
        "round": round_,
        "rows_per_second": rate,
        "cpu_s_per_1000": 1000 / rate,
        "pss_mb": 500.0 + round_,
        "pss_file_mb": 100.0,
        "first_batch_seconds": 1.5,
    }


RUNS = [run(peer, round_, rate * round_) for round_ in (1, 2, 3) for peer, rate in (("slow", 50.0), ("forebay", 100.0))]


def cells(text: str, peer: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith((f"| {peer} ", f"| **{peer}** ")))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def drawn(outcome: Outcome, conversions: dict[str, dict[str, float]] | None = None) -> str:
    rows = table.summarise(outcome.runs)
    return table.markdown(rows, outcome, ["uint8", "float32"], {"slow": "a|b"}, conversions or {})


def test_the_fastest_stands_first_and_the_ratio_is_taken_within_rounds():
    rows = table.summarise(RUNS)
    assert [row.peer for row in rows] == ["forebay", "slow"]
    ratio = rows[1].ratio
    assert ratio is not None
    # The rates of the rounds differ by a factor of three, those of each round by exactly two.
    assert (ratio.low, ratio.middle, ratio.high) == pytest.approx((2, 2, 2))
    assert rows[0].rate.high > 3 * rows[0].rate.low
    assert rows[0].ratio is None
    assert rows[0].pss_mb == 502


def test_a_case_is_compared_with_its_own_rounds_of_forebay():
    runs = [*RUNS, run("slow", 1, 10.0, "float32")]
    (row,) = [row for row in table.summarise(runs) if row.case == "float32"]
    assert row.ratio is None


def test_the_table_has_every_figure_with_its_interval():
    text = drawn(Outcome(RUNS), {"slow": {"seconds": 30.4, "share": 3.14}})
    found = cells(text, "slow")
    assert found[1].startswith("91 (")
    assert found[2] == "2.00 (2.00 to 2.00)"
    assert found[4:7] == ["502 (100)", "1.5", "30 s, 3.1 x the bytes"]
    assert found[7] == "a\\|b"
    assert cells(text, "forebay")[2] == ""


def test_one_round_has_no_interval():
    found = cells(drawn(Outcome([run("forebay", 1, 100.0)])), "forebay")
    assert found[1] == "100"


def test_a_peer_that_failed_stands_in_the_table_with_its_reason():
    text = drawn(Outcome(RUNS, {("gone", "uint8"): "not installed: no\nwheel | here"}))
    head, row = (next(line for line in text.splitlines() if line.startswith(start)) for start in ("| peer", "| gone"))
    assert cells(text, "gone")[1] == "**failed**"
    assert "not installed: no wheel \\| here" in text
    # As many cells; the reason's own bar, escaped, ends none.
    assert row.replace("\\|", "").count("|") == head.count("|")
    uint8, float32 = text.split("### float32")
    assert "gone" in uint8
    assert "gone" not in float32


def test_the_record_keeps_bounds_and_says_null_where_there_are_none():
    entry = next(entry for entry in table.record(table.summarise(RUNS)) if entry["peer"] == "slow")
    assert entry["forebay_over_peer"] == pytest.approx([2, 2, 2])
    assert entry["rounds"] == 3
    (single,) = table.record(table.summarise([run("forebay", 1, 100.0)]))
    assert single["rows_per_second"] == [100.0, None, None]
    assert single["forebay_over_peer"] is None


def test_the_drawing_has_a_bar_a_figure_in_proportion_and_names_who_failed():
    runs = [run("forebay", 1, 100.0), run("half & half", 1, 50.0)]
    text = plot.svg(table.summarise(runs), ["uint8"], {"half & half"}, {("gone", "uint8"): "why"}, "t", ["s"])
    root = ElementTree.fromstring(text)
    height = str(plot._BAR)
    bars = [rect for rect in root.iter(f"{SVG}rect") if rect.get("height") == height]
    rates, seconds = bars[::2], bars[1::2]
    assert [bar.get("fill") for bar in rates] == [plot._OURS, plot._CONVERTED]
    assert float(rates[0].get("width", 0)) == pytest.approx(2 * float(rates[1].get("width", 0)), abs=0.2)
    assert float(seconds[1].get("width", 0)) == pytest.approx(2 * float(seconds[0].get("width", 0)), abs=0.2)
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert "half & half" in words
    assert "failed: gone" in words


def test_everything_drawn_lies_on_the_page():
    runs = [run("forebay", round_, 100.0 * round_**2) for round_ in (1, 2, 3)]
    root = ElementTree.fromstring(plot.svg(table.summarise(runs), ["uint8"], {}, {}, "t", ["s", "s"]))
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.get("width", 0)) <= plot._WIDTH
        assert float(rect.get("y", 0)) + float(rect.get("height", 0)) <= float(root.get("height", 0))
