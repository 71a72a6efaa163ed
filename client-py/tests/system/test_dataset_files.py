"""What other programs read of a data set: DuckDB where it lies, pandas as one file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import REAL


def forebay(*words: str | Path) -> str:
    run = subprocess.run([REAL, *map(str, words)], capture_output=True, text=True, timeout=50, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs; one got its score twice."""
    photos = tmp_path / "photos"
    for path in ("cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"):
        (photos / path).parent.mkdir(parents=True, exist_ok=True)
        (photos / path).touch()
    forebay("index", photos)
    (tmp_path / "a.csv").write_text("image,score\ncats/1.jpg,0.25\ncats/2.jpg,0.5\n")
    (tmp_path / "b.csv").write_text("image,score\ncats/2.jpg,0.75\n")
    for name in ("a.csv", "b.csv"):
        forebay("dataset", "join", photos, "--columns", tmp_path / name)
    return photos


EXPECTED = [("cats/1.jpg", 0, 0.25), ("cats/2.jpg", 0, 0.75), ("dogs/1.jpg", 1, None)]


def test_duckdb_reads_a_commit_where_it_lies(photos: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    query = forebay("dataset", "files", photos, "--sql")
    rows = duckdb.sql(f"SELECT image, label, score FROM ({query}) ORDER BY image").fetchall()
    assert rows == EXPECTED


def test_pandas_reads_a_selection_as_one_file(photos: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pandas reads Parquet with pyarrow")
    forebay("dataset", "files", photos, "--parquet", tmp_path / "all.parquet")
    table = pandas.read_parquet(tmp_path / "all.parquet")
    assert table[["image", "label"]].values.tolist() == [[image, label] for image, label, _ in EXPECTED]
    assert table["score"].tolist()[:2] == [0.25, 0.75]
    assert table["score"].isna().tolist() == [False, False, True]


def test_what_pandas_wrote_is_added(photos: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pandas writes Parquet with pyarrow")
    new = pandas.DataFrame({"image": ["birds/1.jpg", "cats/1.jpg"], "label": ["birds", "cats"], "score": [None, 1.0]})
    new.to_parquet(tmp_path / "new.parquet")
    said = forebay("dataset", "add", photos, tmp_path / "new.parquet")
    assert said.startswith("1 sample added, 1 known\nnew classes: birds\n")
    assert forebay("dataset", "files", photos, "--keys").splitlines()[-1] == "birds/1.jpg"
