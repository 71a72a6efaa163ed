"""Storage engines through the real daemon: each gives the same bytes, and none takes io_uring where it is forbidden."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay
from forebay import _daemon
from forebay.errors import ForebayError
from forebay.numpy import DataLoader

from .batches import stream
from .support import REAL, SMALL, Node
from .test_monitoring import scrape

KINDS = ["threads", "uring", "auto"]

# A wrapper that forbids io_uring_setup (425 on every architecture with 64 bits) to what it becomes.
FILTERED = """#!{python}
import ctypes, os, struct, sys

class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, {action}), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("=HBBI", *step) for step in steps)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no new privileges"
program = Program(len(steps), code)
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv({binary!r}, [{binary!r}, *sys.argv[1:]])
"""
EPERM = 0x00050001
KILL = 0x80000000


@pytest.fixture
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Give the daemon's command as it is where a filter answers io_uring_setup so."""

    def write(action: int) -> str:
        wrapper = tmp_path_factory.mktemp("filtered") / f"forebay-{action}"
        wrapper.write_text(FILTERED.format(python=sys.executable, action=action, binary=REAL))
        wrapper.chmod(0o755)
        return str(wrapper)

    return write


def has_io_uring() -> bool:
    """Whether the doctor finds io_uring allowed here."""
    told = subprocess.run([REAL, "doctor", "--json"], capture_output=True, text=True, check=False).stdout
    return '"found": "allowed"' in told


def documents(folder: Path) -> Path:
    """Write 200 documents end to end into one file, and the list of where they lie."""
    texts = [np.arange(1 + 37 * i % 190, dtype="<u4") + 256 * i for i in range(200)]
    np.concatenate(texts).tofile(folder / "all.bin")
    ends = np.cumsum([len(text) for text in texts])
    rows = [{"path": "all.bin", "offset": int(end) - len(text), "count": len(text)} for text, end in zip(texts, ends)]
    (folder / "all.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder / "all.jsonl"


def tokens(data: Path, **arguments: Any) -> list[Any]:
    """Give an epoch of shuffled windows of one file."""
    fields = {"tokens": forebay.Tokens("path", stored="uint32", offset="offset", length="count", capacity=256)}
    with DataLoader(data, batch_size=8, shuffle=True, seed=5, fields=fields, **arguments) as loader:
        return stream(loader, 25)


def shards(folder: Path) -> tuple[list[str], list[bytes]]:
    """Write three shards of samples with a number and with bytes, short and long; gives those bytes."""
    rng = np.random.default_rng(3)
    long = (200_000, 20_000, 60_000, 1, 17_000)
    samples = [rng.bytes(int(rng.integers(1, 900)) if number % 9 else long[number // 9 % 5]) for number in range(300)]
    paths = [folder / f"shard-{shard}.tar" for shard in range(3)]
    for shard, path in enumerate(paths):
        with tarfile.open(path, "w") as archive:
            for number in range(100 * shard, 100 * shard + 100):
                for extension, data in (("bin", samples[number]), ("cls", str(number).encode())):
                    info = tarfile.TarInfo(f"{number:06}.{extension}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return [str(path) for path in paths], samples


def images(folder: Path, **arguments: Any) -> list[Any]:
    """Give two epochs of whole files."""
    with DataLoader(folder, batch_size=6, shuffle=True, seed=5, transform=SMALL, **arguments) as loader:
        return stream(loader, 12)


@pytest.mark.parametrize("engine", KINDS)
def test_every_engine_gives_the_same_files_and_parts_of_files(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, make_node: Callable[[], Node], engine: str
) -> None:
    if engine == "uring" and not has_io_uring():
        pytest.skip("this kernel, or a filter, forbids io_uring")
    data = documents(tmp_path_factory.mktemp("parts"))
    node = make_node().configure(folder, data.parent, engine=engine, uring_depth=3).start()
    named = {"threads": "threads", "uring": "uring", "auto": "threads+uring" if has_io_uring() else "threads"}
    assert node.stats()["engine"] == named[engine]
    assert tokens(data, daemon=node.socket) == tokens(data)
    assert images(folder, daemon=node.socket) == images(folder)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("page_cache", ["1MiB", "1GiB"])
@pytest.mark.parametrize("engine", KINDS)
def test_neighbours_in_a_shard_share_reads_and_every_sample_has_its_own_bytes(
    tmp_path: Path, make_node: Callable[[], Node], engine: str, page_cache: str, shuffle: bool
) -> None:
    if engine == "uring" and not has_io_uring():
        pytest.skip("this kernel, or a filter, forbids io_uring")
    paths, samples = shards(tmp_path)
    metrics = tmp_path / "metrics.sock"
    node = make_node().configure(tmp_path, engine=engine, page_cache=page_cache, metrics_listen=f"unix:{metrics}")
    node.start()
    fields = {"x": forebay.Raw("bin", capacity=200_000), "bytes": forebay.Length("bin"), "number": forebay.Value("cls")}
    loader = DataLoader(forebay.Shards(paths), 32, shuffle=shuffle, seed=3, fields=fields, daemon=node.socket)
    with loader:
        for _ in range(2):
            numbers = []
            for batch in loader:
                for row, count, number in zip(batch["x"], batch["bytes"], batch["number"]):
                    assert row[:count].tobytes() == samples[number]
                    assert not row[count:].any()
                    numbers.append(int(number))
            assert sorted(numbers) == list(range(300))
            assert shuffle != (numbers == list(range(300)))
    told = scrape(metrics)
    assert told["forebay_reads_total"] >= 600
    # In their order nearly all do; at random those of a batch that happen to lie side by side.
    assert told["forebay_reads_shared_total"] > (20 if shuffle else 500)


@pytest.mark.parametrize(("action", "why"), [(EPERM, "EPERM"), (KILL, "signal 31")])
def test_where_io_uring_is_forbidden_the_daemon_goes_on_with_threads_and_says_why(
    folder: Path, make_node: Callable[[], Node], filtered: Callable[[int], str], action: int, why: str
) -> None:
    node = make_node().configure(folder).start(binary=filtered(action))
    assert node.stats()["engine"] == "threads"
    assert why in node.words()
    told = subprocess.run([filtered(action), "doctor", "--json"], capture_output=True, text=True, check=False).stdout
    finding = next(finding for finding in json.loads(told) if finding["id"] == "kernel.io_uring")
    assert finding["level"] == "note"
    assert "threads read everything" in finding["means"]
    assert "seccomp" in finding["do"]


@pytest.mark.parametrize("action", [EPERM, KILL])
def test_uring_that_is_asked_for_and_forbidden_is_an_error_with_the_cure(
    tmp_path: Path, filtered: Callable[[int], str], action: int
) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'socket = "{tmp_path}/f.sock"\nengine = "uring"\n[[root]]\npath = "{tmp_path}"\n')
    command = [filtered(action), "serve", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "io_uring" in ended.stderr
    assert 'hint: engine = "auto"' in ended.stderr


def test_a_private_daemon_takes_its_engine_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _daemon.shutdown()
    monkeypatch.setenv("FOREBAY_ENGINE", "treads")
    with (
        pytest.raises(ForebayError, match="ended at its start"),
        DataLoader(folder, batch_size=6, transform=SMALL) as loader,
    ):
        next(iter(loader))
    assert "[possible values: auto, threads, uring]" in capfd.readouterr().err
    monkeypatch.setenv("FOREBAY_ENGINE", "threads")
    assert len(images(folder)) == 12
    _daemon.shutdown()
