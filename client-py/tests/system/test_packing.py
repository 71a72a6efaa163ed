"""Packed rows, buckets and budgets of tokens through the real daemon: every token once, wherever a run goes on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay
from forebay.errors import InvalidError, StateError, UnavailableError
from forebay.numpy import DataLoader

from .batches import stream

LENGTHS = [1 + 37 * i % 190 for i in range(300)]
IDS = {
    "places": forebay.PositionIds(),
    "segments": forebay.SegmentIds(),
    "ends": forebay.Boundaries(),
    "length": forebay.Length(),
}
STORED = forebay.Tokens("path", stored="uint32", offset="offset", length="count")


def documents(first: int = 0) -> list[list[int]]:
    """Give documents whose tokens say which they are: 256 times the document, and its place."""
    return [[(first + i) * 256 + place for place in range(count)] for i, count in enumerate(LENGTHS)]


def in_one_file(folder: Path, name: str, texts: list[list[int]]) -> Path:
    """Write documents end to end, and the list of where they lie."""
    np.concatenate([np.array(text, "<u4") for text in texts]).tofile(folder / f"{name}.bin")
    rows, offset = [], 0
    for text in texts:
        rows.append(json.dumps({"path": f"{name}.bin", "offset": offset, "count": len(text)}))
        offset += len(text)
    (folder / f"{name}.jsonl").write_text("\n".join(rows))
    return folder / f"{name}.jsonl"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 documents in one file."""
    return in_one_file(tmp_path_factory.mktemp("packing"), "all", documents())


def loader_of(data: Any, **arguments: Any) -> DataLoader:
    given = {"batch_size": 4, "shuffle": True, "fields": {"tokens": STORED, **IDS}, "packed": 256}
    return DataLoader(data, **{**given, **arguments})


def tokens_of(batches: Any) -> Counter[int]:
    """Count the tokens of packed batches, and check what each row says of itself."""
    found: Counter[int] = Counter()
    for batch in batches:
        for row in range(len(batch["tokens"])):
            if not batch["valid"][row]:
                continue
            ends, count = batch["ends"][row], int(batch["length"][row])
            for segment, (start, end) in enumerate(zip(ends, ends[1:])):
                part = batch["tokens"][row, start:end]
                assert (np.diff(part) == 1).all(), "one document in its order"
                assert (batch["segments"][row, start:end] == segment).all()
                assert (batch["places"][row, start:end] == np.arange(end - start)).all()
                found.update(part.tolist())
            assert ends[-1] == count
            assert (batch["segments"][row, count:] == -1).all()
            assert not batch["tokens"][row, count:].any()
    return found


def test_an_epoch_of_packed_rows_has_every_token_once_over_any_ranks(data: Path) -> None:
    due = Counter(token for text in documents() for token in text)
    with loader_of(data) as loader:
        rows = len(loader.dataset)
        assert rows * 256 < 1.1 * sum(LENGTHS), "hardly any padding"
        assert tokens_of(loader) == due
        assert tokens_of(loader) == due
    ranks = [loader_of(data, rank=rank, world_size=3, batch_size=5) for rank in range(3)]
    assert sum((tokens_of(loader) for loader in ranks), Counter()) == due
    assert len({len(loader) for loader in ranks}) == 1
    for loader in ranks:
        loader.close()


def test_lists_of_tokens_need_no_files_and_no_column_of_lengths() -> None:
    rows = [{"text": text, "kind": i % 7} for i, text in enumerate(documents())]
    records = forebay.Records(rows, columns={"text": "tokens", "kind": "int"})
    fields = {"tokens": forebay.Tokens("text"), **IDS}
    with DataLoader(records, 4, shuffle=True, fields=fields, packed=256) as loader:
        assert tokens_of(loader) == Counter(token for text in documents() for token in text)
    samples = {"tokens": forebay.Tokens("text", pad=-1), "length": forebay.Length(), "kind": forebay.Value()}
    with DataLoader(records, 7, fields=samples) as loader:
        batch = next(iter(loader))
        assert batch["tokens"].shape == (7, max(LENGTHS))
        for row in range(7):
            count = batch["length"][row]
            assert batch["tokens"][row, :count].tolist() == documents()[row]
            assert (batch["tokens"][row, count:] == -1).all()


def test_a_run_goes_on_in_the_middle_under_other_ranks_with_the_same_rows(data: Path) -> None:
    shapes: dict[str, dict[str, Any]] = {
        "packed": {"packed": 256},
        "buckets": {
            "packed": None,
            "bucket_by": forebay.Buckets("count", rows=12, window_rows=96),
            "fields": {"tokens": forebay.Tokens("path", stored="uint32", offset="offset", length="count", pad=-7)},
        },
    }
    for shape, asked in shapes.items():
        with loader_of(data, batch_size=12, **asked) as loader:
            whole = rows_of(loader)
        with loader_of(data, batch_size=12, **asked) as loader:
            rows = [row.tolist() for row in next(iter(loader))["tokens"]]
            state = loader.state_dict()
        ranks = []
        for rank in range(2):
            with loader_of(data, batch_size=3, rank=rank, world_size=2, **asked) as loader:
                loader.load_state_dict(state)
                ranks.append([batch["tokens"][batch["valid"]].tolist() for batch in loader])
        for step in zip(*ranks):
            rows += [row for part in step for row in part]
        assert rows == whole, shape


def rows_of(loader: DataLoader) -> list[list[int]]:
    """Give the tokens of an epoch's rows."""
    return [row.tolist() for batch in loader for row in batch["tokens"][batch["valid"]]]


def test_a_packing_of_another_size_is_another_order(data: Path) -> None:
    with loader_of(data) as loader:
        next(iter(loader))
        state = loader.state_dict()
    with loader_of(data, packed=128) as loader, pytest.raises(StateError) as refused:
        loader.load_state_dict(state)
    assert "packed to 256 by count is now shuffled, packed to 128 by count" in str(refused.value)


def test_a_budget_of_tokens_holds_with_its_padding_and_shows_no_more_than_that(data: Path) -> None:
    fields = {
        "tokens": forebay.Tokens("path", stored="uint32", offset="offset", length="count", trim=True),
        "length": forebay.Length(),
    }
    seen: Counter[int] = Counter()
    with DataLoader(data, shuffle=True, fields=fields, token_budget=forebay.TokenBudget(1024, 32)) as loader:
        assert loader.batch_size is None
        for batch in loader:
            samples, longest = batch["tokens"].shape
            assert samples <= 32
            assert samples * longest <= 1024
            assert longest == batch["length"].max()
            seen.update(int(row[0]) // 256 for row in batch["tokens"])
    assert seen == Counter(range(300))


def test_buckets_of_neighbours_are_of_similar_length(data: Path) -> None:
    fields = {"count": forebay.Value()}
    spread: dict[str, float] = {}
    for name, asked in (("shuffled", {}), ("buckets", {"bucket_by": "count"})):
        with DataLoader(data, 30, shuffle=True, fields=fields, **asked) as loader:
            spread[name] = sum(float(np.ptp(batch["count"])) for batch in loader)
    assert spread["buckets"] < spread["shuffled"] / 4


@pytest.mark.parametrize("grouping", [{"packed": 256}, {"token_budget": forebay.TokenBudget(1024, 32)}])
def test_a_mixture_has_as_many_rows_as_its_epoch_gives_and_resumes_in_later_ones(
    tmp_path: Path, grouping: dict[str, Any]
) -> None:
    sources = {
        "web": in_one_file(tmp_path, "web", documents()),
        "code": in_one_file(tmp_path, "code", documents(1000)[:90]),
    }
    mixture = forebay.Mixture(sources, shares={"web": 3, "code": 1})
    fields = {"tokens": STORED, "length": forebay.Length()}

    def loader_at(batch_size: int = 4) -> DataLoader:
        sizes = {"batch_size": batch_size} if "packed" in grouping else {}
        return DataLoader(mixture, shuffle=None, fields=fields, **sizes, **grouping)

    with loader_at() as loader:
        counts = []
        for epoch in range(4):
            loader.set_epoch(epoch)
            due = len(loader)
            counts.append(sum(1 for _ in loader))
            assert counts[-1] == due, f"epoch {epoch}"
        loader.set_epoch(3)
        iterator = iter(loader)
        for _ in range(counts[3] - 2):
            next(iterator)
        state = loader.state_dict()
        rest = stream(loader_from(loader_at(), state), 2)
    with loader_at() as loader:
        loader.set_epoch(3)
        assert stream(loader, counts[3])[-2:] == rest


def loader_from(loader: DataLoader, state: dict[str, Any]) -> DataLoader:
    loader.load_state_dict(state)
    return loader


def test_a_file_that_was_cut_is_named_and_a_row_with_it_is_masked_where_it_is_asked_for(tmp_path: Path) -> None:
    texts = documents()[:40]
    rows = []
    for i, text in enumerate(texts):
        np.array(text, "<u4").tofile(tmp_path / f"{i}.bin")
        rows.append({"path": f"{i}.bin", "count": len(text)})
    (tmp_path / "7.bin").write_bytes(b"\0" * 6)
    records = forebay.Records(rows, tmp_path)
    arguments: Any = {
        "batch_size": 4,
        "fields": {"tokens": forebay.Tokens("path", stored="uint32"), **IDS},
        "packed": forebay.Packed(256, "count"),
    }
    with DataLoader(records, **arguments) as loader, pytest.raises(forebay.ForebayError, match=r"7\.bin") as error:
        list(loader)
    assert "6 bytes are no whole number of tokens of 4 bytes" in str(error.value)
    assert not isinstance(error.value, UnavailableError)
    with DataLoader(records, on_bad_sample="mask", **arguments) as loader:
        kept = tokens_of(loader)
    with DataLoader(records, on_bad_sample="mask", tail="drop", **{**arguments, "batch_size": 1}) as loader:
        masked = sum(int((~batch["valid"]).sum()) for batch in loader)
    assert masked == 1
    assert sum(kept.values()) < sum(map(len, texts))
    assert not any(token // 256 == 7 for token in kept)
    with pytest.raises(InvalidError, match="substitute"):
        len(DataLoader(records, on_bad_sample="substitute", **arguments))


@pytest.mark.parametrize("shape", ["packed", "buckets", "budget", "lists"])
def test_the_digests_of_an_epoch_are_those_of_any_ranks_and_hashing_changes_no_byte(data: Path, shape: str) -> None:
    trimmed = {
        "tokens": forebay.Tokens("path", stored="uint32", offset="offset", length="count"),
        "length": forebay.Length(),
    }
    lists = forebay.Records([{"text": text} for text in documents()], columns={"text": "tokens"})
    asked: dict[str, Any] = {
        "packed": {"packed": 256},
        "buckets": {"packed": None, "fields": trimmed, "bucket_by": forebay.Buckets("count", rows=12, window_rows=96)},
        "budget": {"packed": None, "fields": trimmed, "token_budget": forebay.TokenBudget(1024, 32)},
        "lists": {"packed": 256, "fields": {"tokens": forebay.Tokens("text"), **IDS}},
    }[shape]
    source = lists if shape == "lists" else data
    sizes = [1, 1, 1] if shape == "budget" else [12, 4, 5]
    whole, parts = [], []
    for world, rows in zip((1, 3, 2), sizes):
        digests = []
        for rank in range(world):
            with loader_of(
                source, rank=rank, world_size=world, tail="pad", digest=True, **{**asked, "batch_size": rows}
            ) as loader:
                made = stream(loader, len(loader))
                digests.append(loader.digest())
            if world == 1:
                with loader_of(source, tail="pad", **{**asked, "batch_size": rows}) as plain:
                    assert stream(plain, len(plain)) == made
        (whole if world == 1 else parts).append(forebay.combine_digests(digests)[0])
    for part in parts:
        assert (part["order"], part["content"], part["rows"]) == tuple(
            whole[0][name] for name in ("order", "content", "rows")
        )


def test_a_packed_row_is_shown_with_its_documents(data: Path) -> None:
    with loader_of(data) as loader:
        sheet = loader.show(2)
        batch = next(iter(loader))
    for row, shown in enumerate(sheet.rows):
        parts = [part.count for part in shown.parts]
        ends = batch["ends"][row]
        assert np.cumsum([0, *parts]).tolist() == ends[: len(parts) + 1].tolist()
        assert all(part.key.startswith("all.bin@") for part in shown.parts)
    assert f"{len(sheet.rows[0].parts)} documents" in str(sheet)


def test_torch_gets_packed_rows_too(data: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from forebay.torch import DataLoader as TorchLoader

    fields = {"tokens": STORED, "segments": forebay.SegmentIds(), "length": forebay.Length()}
    with TorchLoader(data, 4, shuffle=True, fields=fields, packed=256) as loader:
        batch = next(iter(loader))
        assert (batch["tokens"].dtype, batch["segments"].dtype) == (torch.int64, torch.int32)
        segments = batch["segments"]
        assert torch.equal((segments >= 0).sum(1), batch["length"].long())
