"""Forks, spawns, threads, interrupts and exits: right data, no deadlock, nothing left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CROP, Fake, child_pids, forget_daemons, wait_until
from test_loader import batch_bytes, epochs

from forebay.numpy import DataLoader

SOURCE = str(Path(__file__).resolve().parent.parent / "src")


def in_fork(work: Any) -> str:
    """Run `work()` in a forked child and give what it returned, or its exception, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = str(work())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": SOURCE, "PYTHONWARNINGS": "error", **environment}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, timeout=60
    )


def test_a_forked_child_has_a_daemon_of_its_own_and_the_parent_goes_on(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        wanted = epochs(loader, 2)
        loader.set_epoch(0)
        iterator = iter(loader)
        got = [batch_bytes(next(iterator)) for _ in range(3)]
        assert in_fork(lambda: "InvalidError" if iterator is None else next(iterator)).startswith(
            "InvalidError: this iterator cannot go on: it belongs to process"
        )
        assert in_fork(lambda: epochs(loader, 1) == wanted[1:]) == "True"
        assert in_fork(lambda: (gc.collect(), loader.close(), len(loader))[2]) == "8"
        got += [batch_bytes(batch) for batch in iterator]
        assert got == wanted[0]


def test_batches_dropped_in_a_forked_child_stay_the_parents(folder: Path) -> None:
    with DataLoader(folder, batch_size=2, prefetch=1, max_leases=3, rolling=False, transform=CROP) as loader:
        iterator = iter(loader)
        held = [next(iterator)]
        wanted = held[0][0].copy()
        in_fork(lambda: (held.clear(), gc.collect()))
        list(iterator)
        assert np.array_equal(held[0][0], wanted)
        assert wait_until(lambda: loader.stats()["daemon"]["sessions"][0]["slots_leased"] == 1)


def work_in_spawned(folder: str, queue: Any, binary: str) -> None:
    os.environ["FOREBAY_BINARY"] = binary  # a fork server keeps the environment of its first test
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        queue.put(epochs(loader, 1))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_children_load_the_same_rows(daemon: str, folder: Path, method: str) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        wanted = epochs(loader, 1)
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=work_in_spawned, args=(str(folder), queue, os.environ["FOREBAY_BINARY"]))
        child.start()
        assert queue.get(timeout=30) == wanted
        child.join(10)
        assert child.exitcode == 0


def test_threads_share_an_iterator_and_each_batch_comes_once(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=1, shuffle=True, transform=CROP) as loader:
        wanted = sorted(epochs(loader, 1)[0])
        loader.set_epoch(0)
        iterator, got = iter(loader), []

        def take() -> None:
            for batch in iterator:
                got.append(batch_bytes(batch))

        threads = [threading.Thread(target=take) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(got) == wanted


def test_loaders_on_threads_share_one_daemon(daemon: str, folder: Path) -> None:
    before = child_pids()
    results: dict[int, Any] = {}

    def load(seed: int) -> None:
        with DataLoader(folder, batch_size=4, shuffle=True, seed=seed, transform=CROP) as loader:
            results[seed] = (epochs(loader, 2), child_pids() - before)

    threads = [threading.Thread(target=load, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert len(set.union(*(pids for _, pids in results.values()))) == 1


def interrupt_soon(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def next_interrupted(iterator: Any) -> Any:
    interrupt_soon(0.1)
    return next(iterator)


@pytest.mark.parametrize("taken", [0, 3])
def test_an_interrupt_of_a_wait_leaves_the_iterator_usable(
    folder: Path, fake: Fake, tmp_path: Path, taken: int
) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        wanted = epochs(loader, 1)[0]
    forget_daemons()
    hold = tmp_path / "hold"
    hold.touch()
    fake.misbehave({"hold": {"file": str(hold), "after": taken}})
    with DataLoader(folder, batch_size=4, shuffle=True, prefetch=1, transform=CROP) as loader:
        iterator = iter(loader)
        got = [batch_bytes(next(iterator)) for _ in range(taken)]
        for _ in range(4):
            with pytest.raises(KeyboardInterrupt):
                next_interrupted(iterator)
        hold.unlink()
        got.extend(batch_bytes(batch) for batch in iterator)
        assert got == wanted
        assert loader.stats()["restarts"] == 0
    assert fake.starts == 1


def resolve_for_ever(loader: DataLoader) -> None:
    while True:
        loader._job = None
        len(loader)


def test_an_interrupt_of_a_request_leaves_the_daemon_usable(folder: Path, fake: Fake) -> None:
    fake.misbehave({"resolve_delay_ms": 300})
    with DataLoader(folder, batch_size=4, transform=CROP) as loader:
        interrupt_soon(0.25)
        with pytest.raises(KeyboardInterrupt):
            resolve_for_ever(loader)
        assert len(list(loader)) == 8
    assert fake.starts == 1


def test_interrupts_at_any_moment_lose_and_double_nothing(folder: Path, fake: Fake) -> None:
    with DataLoader(folder, batch_size=1, shuffle=True, transform=CROP) as loader:
        stop = threading.Event()

        def interrupt() -> None:
            while not stop.wait(0.001):
                os.kill(os.getpid(), signal.SIGINT)

        # What a handler may do at any moment: raise. It counts on the flag, so that the test itself is safe.
        armed = [False]

        def handler(*_: object) -> None:
            if armed[0]:
                armed[0] = False
                raise KeyboardInterrupt

        previous = signal.signal(signal.SIGINT, handler)
        thread = threading.Thread(target=interrupt)
        thread.start()
        # None: the batch was delivered, and the interrupt came before its name was bound.
        got: list[list[bytes | None]] = []
        interrupts = 0
        try:
            # Epochs are short: where the machine gives the other thread no turn, one may pass without an interrupt.
            while len(got) < 4 or (interrupts < 10 and len(got) < 1000):
                iterator = iter(loader)
                epoch: list[bytes | None] = []
                got.append(epoch)
                while True:
                    before, batch = loader.state_dict(), None
                    try:
                        armed[0] = True
                        batch = next(iterator, None)
                        armed[0] = False
                    except KeyboardInterrupt:
                        interrupts += 1
                        if batch is not None:
                            epoch.append(batch_bytes(batch))
                        elif loader.state_dict() != before:
                            epoch.append(None)
                        continue
                    if batch is None:
                        break
                    epoch.append(batch_bytes(batch))
        finally:
            armed[0] = False
            stop.set()
            thread.join()
            signal.signal(signal.SIGINT, previous)
        assert interrupts >= 10
        loader.set_epoch(0)
        for epoch, wanted in zip(got, epochs(loader, len(got)), strict=True):
            assert len(epoch) == len(wanted)
            assert all(had in (None, want) for had, want in zip(epoch, wanted))


EXIT = """
import sys
import forebay.numpy
from forebay.transforms import CenterCrop
loader = forebay.numpy.DataLoader(sys.argv[1], batch_size=4, transform=[CenterCrop(16)])
iterator = iter(loader)
batch = next(iterator)
view = batch[0][1:]
from forebay import _daemon
print(_daemon._private.pid, flush=True)
"""


@pytest.mark.parametrize("end", ["", "raise KeyError(1)", "sys.exit(3)", "import os; os._exit(0)",
    "import os; os.kill(os.getpid(), 9)", "import gc; del loader; gc.collect()",
    "import threading; threading.Thread(target=lambda: list(iterator)).start()",
    "import os; os.fork() or __import__('time').sleep(0.2)"])  # fmt: skip
def test_the_daemon_goes_with_its_parent_however_it_ends(daemon: str, folder: Path, end: str) -> None:
    done = run(EXIT + end, str(folder))
    pid = int(done.stdout.split()[0])
    assert "Exception ignored" not in done.stderr
    assert "Warning" not in done.stderr
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_descriptors_and_mappings_stay_flat(daemon: str, folder: Path) -> None:
    def count() -> tuple[int, int]:
        gc.collect()
        maps = Path("/proc/self/maps").read_text()
        return len(os.listdir("/proc/self/fd")), maps.count("memfd")

    with DataLoader(folder, batch_size=4, transform=CROP) as loader:
        list(loader)
        start = count()
        for _ in range(20):
            one, two = iter(loader), iter(loader)
            next(one), next(two)
            del one, two
        assert count() == start
    loader.close()
    del loader
    assert count()[1] == 0


# What `import forebay` takes from Python's own library, besides what these import themselves. Each is part of the time
# that every command line and every worker waits for: some 50 ms in all, a third of them for `dataclasses`.
LIBRARY = (
    "__future__ collections collections.abc contextlib dataclasses functools importlib itertools json math os pathlib "
    "re struct sys types typing warnings"
)


def test_importing_forebay_imports_no_framework_and_little_of_pythons_library() -> None:
    code = """
import sys
for name in sys.argv[1].split():
    __import__(name)
before = set(sys.modules)
import forebay, forebay.transforms
print(sorted(name for name in set(sys.modules) - before if not name.startswith("forebay.")))
"""
    done = run(code, LIBRARY)
    assert done.stdout == "['forebay']\n", done.stderr


def test_importing_forebay_imports_only_what_describes_a_job() -> None:
    code = """
import sys, forebay, forebay.transforms
print(*sorted(name for name in sys.modules if name.startswith("forebay.")))
"""
    done = run(code)
    for part in ("numpy", "torch", "hf", "_loader", "_daemon", "_session", "_python", "_arena"):
        assert f"forebay.{part}" not in done.stdout.split(), done.stdout


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 does not list its own modules")
def test_importing_forebay_imports_its_own_modules_and_pythons_alone() -> None:
    code = """
import sys
before = set(sys.modules)
import forebay, forebay.transforms
names = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(names - sys.stdlib_module_names))
"""
    done = run(code)
    assert done.stdout == "['forebay']\n", done.stderr


def test_forebays_torch_imports_no_trainer() -> None:
    pytest.importorskip("torch")
    code = """
import sys, forebay.torch
print([name for name in ("accelerate", "lightning", "transformers", "torchvision") if name in sys.modules])
"""
    done = run(code)
    assert done.stdout == "[]\n", done.stderr


def test_the_module_runs_the_binary(tmp_path: Path) -> None:
    binary = tmp_path / "forebay"
    binary.write_text("#!/bin/sh\necho ran $*\n")
    binary.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": SOURCE, "FOREBAY_BINARY": str(binary)}
    command = [sys.executable, "-m", "forebay", "bench", "x"]
    assert subprocess.run(command, capture_output=True, text=True, env=environment).stdout == "ran bench x\n"


def test_the_partition_is_printed_once(folder: Path) -> None:
    code = """
import sys, forebay.numpy
from forebay.transforms import CenterCrop
for _ in range(2):
    loader = forebay.numpy.DataLoader(sys.argv[1], batch_size=4, transform=[CenterCrop(16)])
    for _ in range(2):
        for _ in loader:
            pass
"""
    done = run(code, str(folder), RANK="1", WORLD_SIZE="2", MASTER_ADDR="localhost", SLURM_PROCID="7")
    assert done.stderr == "forebay: rank 1 of 2 (torchrun's RANK and WORLD_SIZE)\n"
