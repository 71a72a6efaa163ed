"""Conditions on columns select the samples that DuckDB selects by the same words."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL

duckdb = pytest.importorskip("duckdb", reason="DuckDB is the oracle: pip install duckdb")
pytestmark = pytest.mark.skipif(not REAL, reason="no forebay binary: set FOREBAY_BINARY")

Row = dict[str, Any]
TEXTS = ["", "a", "ab", "b", "é", "aé", "it's", "50%", "a_b", "Ab"]


def run(*arguments: str) -> str:
    done = subprocess.run([REAL, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_rows(draw: random.Random) -> list[Row]:
    """Give 200 samples; each lacks the values that it has none of."""
    rows: list[Row] = []
    for number in range(200):
        row: Row = {"n": draw.randint(-4, 4), "m": draw.randint(-4, 4), "f": draw.randint(-40, 40) / 10}
        row["t"] = draw.choice(TEXTS)
        kept = {name: value for name, value in row.items() if draw.random() < 0.8}
        rows.append({"key": f"s{number}", **kept})
    return rows


def index(rows: list[Row], place: Path) -> None:
    """Make a data set of them: one list for each set of columns, since a list has no gaps."""
    lists: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        lists.setdefault(tuple(row), []).append(row)
    for number, (columns, alike) in enumerate(lists.items()):
        if len(columns) > 1:
            file = place.parent / f"{number}.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in alike))
            run("index", str(file), "--dataset", str(place))


def condition(draw: random.Random, depth: int = 0) -> str:
    """Draw a condition."""
    if depth < 3 and draw.random() < 0.6:
        left, right = condition(draw, depth + 1), condition(draw, depth + 1)
        return draw.choice([f"({left} and {right})", f"({left} or {right})", f"not ({left})", f"{left} AND {right}"])
    number = draw.choice([str(draw.randint(-5, 5)), f"{draw.randint(-50, 50) / 10}", "1e2", "9007199254740993"])
    small = draw.choice([str(draw.randint(-5, 5)), f"{draw.randint(-50, 50) / 10}"])
    text = draw.choice(TEXTS).replace("'", "''")
    is_ = draw.choice(["=", "!=", "<>", "<", "<=", ">", ">="])
    no = draw.choice(["", "not "])
    column = draw.choice(["n", "m", "f"])
    return draw.choice(
        [
            f"n {is_} {number}",
            f"{small} {is_} {column}",
            f"n {is_} m",
            f"f {is_} {small}",
            f"t {is_} '{text}'",
            f"{column} {no}in ({small}, {draw.randint(-5, 5)}, 2.5)",
            f"t {no}in ('{text}', 'b')",
            f"{column} {no}between {small} and {draw.randint(-5, 5)}",
            f"{draw.choice(['n', 'f', 't'])} is {no}null",
            f"t {no}like '{draw.choice(['a%', '%b', '_', '__', '%_b%', text, '', '%'])}'",
            f"t {no}like '50!%' escape '!'",
        ]
    )


def test_a_condition_selects_what_duckdb_selects(tmp_path: Path) -> None:
    draw = random.Random(5)
    place = tmp_path / "set"
    rows = [row for row in make_rows(draw) if len(row) > 1]
    index(rows, place)
    base = duckdb.connect()
    base.execute("create table samples(key varchar, n bigint, m bigint, f float, t varchar)")
    for row in rows:
        values = [row.get(name) for name in ("key", "n", "m", "f", "t")]
        base.execute("insert into samples values (?, ?, ?, ?, ?)", values)
    selected = 0
    for _ in range(120):
        where = condition(draw)
        wanted = {key for (key,) in base.execute(f"select key from samples where {where}").fetchall()}
        found = run("dataset", "filter", str(place), f"--where={where}", "--keys").split()
        assert set(found) == wanted, where
        selected += len(wanted)
    assert 120 * 20 < selected < 120 * 180, "the conditions tell samples apart"
