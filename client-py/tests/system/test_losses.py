"""The ledger of losses against plain numpy: ranks, tails, corrupt samples, restarts, rubbish; weights of it."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL

import forebay
from forebay._daemon import Connection
from forebay.errors import ForebayError, InvalidError, NotFoundError
from forebay.numpy import DataLoader

from .support import NOBODY, SMALL, Node, client, public, wait_until, write_indexed
from .test_monitoring import scrape

FIELDS = {"image": forebay.Image("path", transform=SMALL), "index": forebay.Value()}
Sums = dict[int, list[float]]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REAL, "dataset", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )


def told(*arguments: str | Path) -> dict[str, Any]:
    done = command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_index(*arguments: str | Path) -> dict[int, dict[str, Any]]:
    """Give the figures of every sample by its number, which its file's name says."""
    samples = told("top", "--by", "count", "-n", "100000", *arguments)["samples"]
    return {int(Path(sample["key"]).stem): sample for sample in samples}


def train(loader: DataLoader, epochs: int, sums: Sums, loss: Callable[[Any, int], Any]) -> None:
    """Report `loss(index, epoch)` of every sample, and note in `sums` what the ledger has to say."""
    for epoch in range(epochs):
        for batch in loader:
            losses = np.asarray(loss(batch["index"], epoch), np.float32)
            loader.report(losses)
            for index, value, valid in zip(batch["index"], losses, loader.valid):
                if valid:
                    sums.setdefault(int(index), []).append(float(value))


def check(found: dict[int, dict[str, Any]], sums: Sums) -> None:
    assert found.keys() == sums.keys()
    for index, losses in sums.items():
        finite = [loss for loss in losses if np.isfinite(loss)]
        sample = found[index]
        assert (sample["count"], sample["nan"]) == (len(finite), len(losses) - len(finite)), sample
        if finite:
            assert sample["mean"] == pytest.approx(np.mean(finite), rel=1e-6)
            assert sample["max"] == pytest.approx(max(finite), rel=1e-6)
        assert sample["last"] == (pytest.approx(losses[-1], rel=1e-6) if np.isfinite(losses[-1]) else None)


def noisy(index: Any, epoch: int) -> Any:
    return 1 + 0.01 * np.asarray(index) + 0.1 * epoch


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return write_indexed(tmp_path / "data", 50)


@pytest.mark.parametrize("tail", ["partial", "pad"])
def test_the_ledger_of_two_ranks_is_what_numpy_makes_of_their_losses(node: Node, listed: Path, tail: str) -> None:
    sums: Sums = {}
    loaders = [
        DataLoader(str(listed), 7, shuffle=True, fields=FIELDS, tail=tail, rank=rank, world_size=2,
                   daemon=node.socket, job_id="two")
        for rank in (0, 1)
    ]  # fmt: skip
    for epoch in range(3):
        for loader in loaders:
            train(loader, 1, sums, lambda index, _, epoch=epoch: noisy(index, epoch))
    for loader in loaders:
        loader.close()
    assert all(len(losses) == 3 for losses in sums.values())
    assert len(sums) == 50
    check(by_index("--socket", node.socket), sums)
    text = command("top", "--socket", node.socket, "-n", "2").stdout.splitlines()
    assert text[0] == "job two: 150 losses of 50 of 50 samples"
    assert [line.split()[-1] for line in text[2:]] == ["images/00049.png", "images/00048.png"]


@pytest.mark.parametrize("policy", ["substitute", "mask"])
def test_a_loss_belongs_to_the_sample_that_was_really_delivered(node: Node, listed: Path, policy: str) -> None:
    for index in (3, 11, 12, 13, 14, 15):
        (listed.parent / "images" / f"{index:05}.png").write_bytes(b"no image")
    sums: Sums = {}
    with DataLoader(str(listed), 8, shuffle=True, fields=FIELDS, on_bad_sample=policy, daemon=node.socket) as loader:
        train(loader, 3, sums, noisy)
        assert int(loader.stats()["daemon"]["sessions"][0]["substituted" if policy == "substitute" else "masked"]) > 0
    assert len(sums) == 44, "none of the six was delivered"
    check(by_index("--socket", node.socket), sums)


def test_losses_that_are_not_finite_are_counted_apart_and_their_steps_come_first(
    make_node: Callable[[], Node], listed: Path, tmp_path: Path
) -> None:
    node = make_node().configure(tmp_path, metrics_listen=f"unix:{tmp_path}/metrics.sock").start()

    def loss(index: Any, epoch: int) -> Any:
        losses = noisy(index, epoch)
        losses[index == 7] = [np.nan, 2.0, np.inf][epoch]
        return losses

    sums: Sums = {}
    with DataLoader(str(listed), 10, shuffle=True, fields=FIELDS, daemon=node.socket) as loader:
        train(loader, 3, sums, loss)
    check(by_index("--socket", node.socket), sums)
    counted = scrape(tmp_path / "metrics.sock")
    assert [counted[f'forebay_losses_total{{finite="{finite}"}}'] for finite in ("yes", "no")] == [148, 2]
    (sample,) = told("top", "--by", "nan", "--socket", node.socket)["samples"]
    assert (Path(sample["key"]).stem, sample["nan"], sample["count"]) == ("00007", 2, 1)
    spikes = told("spikes", "--socket", node.socket)
    assert [(step["epoch"], step["nan"]) for step in spikes["steps"]] == [(0, 1), (2, 1)]
    assert all(Path(step["worst"][0]["key"]).stem == "00007" for step in spikes["steps"])
    text = command("spikes", "--socket", node.socket).stdout
    assert "1 of 10 losses not finite" in text
    assert "nan  images/00007.png" in text
    lines = list(csv.DictReader(io.StringIO(command("spikes", "--socket", node.socket, "--csv").stdout)))
    assert [line["key"] for line in lines[:6:5]] == ["images/00007.png"] * 2


def test_losses_may_come_behind_the_next_batch(node: Node, listed: Path) -> None:
    sums: Sums = {}
    with DataLoader(str(listed), 8, shuffle=True, fields=FIELDS, daemon=node.socket) as loader:
        batches = iter(loader)
        ahead: list[Any] = []
        for batch in batches:
            ahead.append((batches.delivered, batch["index"].copy()))
        for delivered, index in reversed(ahead):
            with pytest.raises(InvalidError, match="for a batch of"):
                loader.report(np.zeros(len(index) + 1), batch=delivered)
            loader.report(noisy(index, 0), batch=delivered)
            sums.update({int(number): [float(np.float32(noisy(number, 0)))] for number in index})
    check(by_index("--socket", node.socket), sums)


def test_weights_of_losses_are_a_later_orders_input_and_nothing_else(node: Node, listed: Path, tmp_path: Path) -> None:
    keywords: dict[str, Any] = {"fields": FIELDS, "shuffle": True, "daemon": node.socket, "job_id": "w"}
    with DataLoader(str(listed), 8, **keywords) as loader:
        with pytest.raises(NotFoundError, match="no losses were reported"):
            loader.loss_weights()
        before = [batch["index"].tolist() for batch in loader]
        loader.set_epoch(0)
        train(loader, 1, {}, lambda index, _: 1.0 + index)
        weights = loader.loss_weights(temperature=2, clip=(0.5, 1.2))
        assert weights == pytest.approx(np.clip(np.sqrt((1 + np.arange(50)) / 25.5), 0.5, 1.2), rel=1e-6)
        loader.set_epoch(0)
        assert [batch["index"].tolist() for batch in loader] == before, "a report changes no order"
        with pytest.raises(InvalidError, match="temperature -1"):
            loader.loss_weights(temperature=-1)
    file = tmp_path / "weights.npy"
    options = ("--temperature", "2", "--clip", "0.5,1.2", "--socket", node.socket, "--job", "w", "-o", file)
    done = command("weights", *options)
    assert done.returncode == 0, done.stderr
    assert "50 weights from 0.500 to 1.200" in done.stdout
    assert np.array_equal(np.load(file), weights)
    again = command("weights", *options)
    assert again.returncode == 1
    assert "--force writes over it" in again.stderr
    other = command("weights", "--clip", "3,1", "-o", tmp_path / "other.npy")
    assert other.returncode == 2
    assert "the lower first" in other.stderr


def test_a_killed_daemon_loses_what_was_not_written_and_nothing_else(
    make_node: Callable[[], Node], listed: Path, tmp_path: Path
) -> None:
    ledgers = tmp_path / "ledgers"
    node = make_node().configure(tmp_path, ledger_dir=str(ledgers), ledger_every="100ms").start()

    def stored() -> dict[str, Any]:
        done = command("top", "--ledgers", ledgers, "--json")
        return json.loads(done.stdout)["about"] if done.returncode == 0 else {"losses": 0, "ledgers": 0}

    loader = DataLoader(str(listed), 10, shuffle=True, fields=FIELDS, daemon=node.socket, job_id="killed")
    reporter: Any = None
    for life in range(3):
        losses = stored()["losses"]
        train(loader, 2, {}, noisy)
        reporter = loader._reporter
        reporter.flush()
        train(loader, 1, {}, noisy)  # some of these may get lost
        wait_until(lambda losses=losses: stored()["losses"] >= losses + 100, "two epochs are written")
        node.kill()
        assert 100 * (life + 1) <= stored()["losses"] <= 150 * (life + 1)
        node.start()
    train(loader, 1, {}, noisy)
    loader.close()
    wait_until(lambda: stored()["ledgers"] == 4, "closing a loader has its ledger written")
    assert stored()["losses"] <= 150 * 3 + 50
    assert not [path for path in ledgers.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    means = [sample["mean"] for sample in by_index("--ledgers", ledgers, "--job", "killed").values()]
    assert len(means) == 50
    assert all(1 <= mean < 2 for mean in means)


def test_a_process_that_just_ends_leaves_its_ledger(listed: Path, tmp_path: Path) -> None:
    ledgers = tmp_path / "ledgers"
    with client("report_and_end", listed, environment={"FOREBAY_LEDGER_DIR": str(ledgers)}) as trainer:
        assert trainer.result() == 30
    wait_until(lambda: list(ledgers.rglob("*.parquet")), "the private daemon wrote it when it ended")
    assert told("top", "--ledgers", ledgers)["about"]["losses"] == 30


def test_a_stored_ledger_is_an_ordinary_parquet_file(
    make_node: Callable[[], Node], listed: Path, tmp_path: Path
) -> None:
    node = make_node().configure(tmp_path, ledger_dir=str(tmp_path / "ledgers")).start()
    sums: Sums = {}
    with DataLoader(str(listed), 10, fields=FIELDS, daemon=node.socket, job_id="p") as loader:
        train(loader, 2, sums, noisy)
    assert node.stop() == 0
    (file,) = (tmp_path / "ledgers" / "jobs" / "p" / "losses").iterdir()
    columns = {name: forebay.Value() for name in ("key", "sample", "count", "mean", "max", "epoch", "position")}
    with DataLoader(str(file), 50, fields=columns) as table:
        (rows,) = table
    assert rows["key"] == [f"images/{index:05}.png" for index in range(50)]
    assert rows["sample"].tolist() == list(range(50))
    assert rows["mean"] == pytest.approx([np.mean(sums[index]) for index in range(50)], rel=1e-6)
    assert rows["max"] == pytest.approx([max(sums[index]) for index in range(50)], rel=1e-6)
    assert set(rows["count"]) == {2}
    assert set(rows["epoch"]) == {1}
    assert rows["position"].tolist() == list(range(50))


def test_rubbish_does_not_hurt_the_daemon(node: Node, listed: Path) -> None:
    def losses(count: int) -> str:
        return base64.b64encode(bytes(4 * count)).decode()

    with DataLoader(str(listed), 10, fields=FIELDS, daemon=node.socket, job_id="r") as loader:
        loader.report(np.ones(len(next(iter(loader))["index"])))
        job = {"order_digest": loader.job.order_digest, "content_digest": loader.job.content_digest}
        connection = Connection(node.connect())
        far = {"epoch": 0, "first_row": 2**63, "losses": losses(1)}
        for body, kind in [
            ({}, "invalid"),
            ({"job": {"order_digest": "x", "content_digest": "y"}}, "invalid"),
            ({"job": {"order_digest": "0" * 64, "content_digest": "0" * 64}}, "not_found"),
            ({"job": job, "job_id": "a/../b"}, "invalid"),
            ({"job": job, "job_id": "x" * 1000}, "invalid"),
            ({"job": job, "batches": [far]}, "invalid"),
            ({"job": job, "batches": [{"epoch": 2**60, "losses": losses(1)}]}, "invalid"),
            ({"job": job, "batches": [{"epoch": 0, "losses": "AAA="}]}, "invalid"),
            ({"job": job, "batches": [{"epoch": 0}]}, "invalid"),
            ({"job": job, "batches": [{"losses": losses(1)}] * 5000}, "invalid"),
            ({"job": job, "batches": [{"losses": losses((1 << 20) + 1)}]}, "invalid"),
        ]:
            with pytest.raises(ForebayError) as refused:
                connection.request("report", body)
            assert refused.value.kind == kind, body
        reply = connection.request("report", {"job": job, "batches": [{"losses": losses(1 << 20)}]})
        assert int(reply["noted"]) == 50
        for body in [{"samples": 2**31}, {"weights": {"temperature": -3}}, {"weights": {"source": "web"}}]:
            with pytest.raises(ForebayError):
                connection.request("losses", {"job_id": loader.job.job_id, **body})
        connection.close()
    about = told("top", "--socket", node.socket, "--job", "r")["about"]
    assert about["losses"] in (10, 60), "those of the loader, and with the same job those of the reply above"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_users_are_told_of_their_own_losses_alone(make_node: Callable[[], Node], listed: Path, tmp_path: Path) -> None:
    node = make_node().configure(public(tmp_path)).start()
    os.chmod(node.socket, 0o666)
    with DataLoader(str(listed), 10, fields=FIELDS, daemon=node.socket) as loader:
        train(loader, 1, {}, noisy)
    assert told("top", "--socket", node.socket)["about"]["losses"] == 50
    with client("call", node.socket, "losses", environment={"FOREBAY_TEST_UID": str(NOBODY)}) as other:
        assert other.result()["error"] == "NotFoundError"


def test_nothing_reported_is_said_with_the_cure(node: Node, tmp_path: Path) -> None:
    done = command("top", "--socket", node.socket)
    assert done.returncode == 1
    assert "no losses were reported" in done.stderr
    assert "loader.report(losses)" in done.stderr
    missing = command("top", "--ledgers", tmp_path / "nowhere")
    assert missing.returncode == 1
    assert "look for ledgers in" in missing.stderr
