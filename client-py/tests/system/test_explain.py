"""Six planted bottlenecks: `explain` names each, and its first advice, applied, makes it go away.

Nothing here asserts a time, only shares of the consumer's time, and each planted cause is by far the largest.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CROP, REAL, write_folder

import forebay
from forebay._explain import Explanation
from forebay.errors import NotFoundError
from forebay.numpy import DataLoader

from .support import NOBODY, SMALL, Node, pick, public, slow_mount, wait_until

STEPS = pick(24, 96)
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
pytestmark = pytest.mark.deadline(120)


def train(loader: DataLoader, trainer_seconds: float = 0.0, hold: int = 1, steps: int = STEPS) -> Explanation:
    """Take `steps` batches over as many epochs as it takes, `hold` of them held, and ask for the judgement."""
    held: deque[Any] = deque(maxlen=hold)
    left = steps
    while left:
        for batch in loader:
            held.append(batch)
            if trainer_seconds:
                time.sleep(trainer_seconds)
            left -= 1
            if not left:
                break
    return loader.explain()


def share(explanation: Explanation, *causes: str) -> float:
    return sum(explanation.shares.get(cause, 0.0) for cause in causes)


def setting(explanation: Explanation, name: str) -> int:
    """Read what the advice says first: `set NAME = VALUE`."""
    found = re.match(rf"set {name} = (\d+) ", explanation.advice)
    assert found, f"{explanation!r}: {explanation.detail}"
    return int(found[1])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """96 small images in two classes."""
    return write_folder(tmp_path / "images", 48, "ab")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """32 JPEGs that take long to decode, and no more than that: names of one file, noise in all of its blocks."""
    pillow = pytest.importorskip("PIL.Image", reason="needs Pillow to write JPEGs")
    root, side = tmp_path / "large", 1024
    for name in "ab":
        (root / name).mkdir(parents=True)
    pixels = random.Random(1).randbytes(side * side * 3)
    pillow.frombytes("RGB", (side, side), pixels).save(root / "a" / "0.jpg", quality=90)
    for index in range(1, 32):
        os.link(root / "a" / "0.jpg", root / "ab"[index % 2] / f"{index}.jpg")
    return root


class CpuGroup:
    """A cgroup of our own, in whichever version is mounted, that goes before all its neighbours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_v2 = (folder / "cpu.max").exists()
        self._write("cpu.weight" if self.is_v2 else "cpu.shares", "10000" if self.is_v2 else "262144")

    @staticmethod
    def make() -> CpuGroup | None:
        """Make one where we may."""
        for mount in ("cpu", "cpu,cpuacct", ""):
            folder = Path("/sys/fs/cgroup", mount, f"forebay-test-{os.getpid()}")
            if not (folder.parent / "cgroup.procs").exists():
                continue
            with contextlib.suppress(OSError):
                folder.mkdir()
                if (folder / "cpu.max").exists() or (folder / "cpu.cfs_quota_us").exists():
                    return CpuGroup(folder)
                folder.rmdir()
        return None

    def limit(self, microseconds: int | None) -> None:
        """Let the group run so long in each 100 ms; None: without limit."""
        if self.is_v2:
            self._write("cpu.max", f"{microseconds or 'max'} 100000")
        else:
            self._write("cpu.cfs_quota_us", str(microseconds or -1))

    def take(self, pid: int) -> None:
        """Move a process with all its threads in."""
        self._write("cgroup.procs", str(pid))

    def remove(self) -> None:
        self.folder.rmdir()

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
def cpu_group() -> Iterator[CpuGroup | None]:
    """A cgroup for daemons whose speed must not hang on what else the machine does; None where we may make none."""
    group = CpuGroup.make() if os.getuid() == 0 else None
    yield group
    if group is not None:
        wait_until(lambda: not (group.folder / "cgroup.procs").read_text(), "the group is empty")
        group.remove()


# Slow storage


@as_root
@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse")
def test_slow_storage_is_named_and_more_reads_at_a_time_hide_it(
    make_node: Callable[[], Node], images: Path, tmp_path: Path
) -> None:
    def judged(read_threads: int) -> Explanation:
        node = make_node().configure(tmp_path, cpu_threads=2, read_threads=read_threads).start()
        with DataLoader(data, batch_size=8, transform=SMALL, daemon=node.socket) as loader:
            explanation = train(loader, 0.05)
        node.stop()
        return explanation

    with slow_mount(images, tmp_path / "slow", 40) as slow:
        data = slow.path
        before = judged(2)
        assert before.cause == "storage", before
        after = judged(setting(before, "read_threads"))
        assert share(after, "storage") < share(before, "storage") / 2, (before, after)
    assert len(before.slowest_reads) > 4
    assert all(key.endswith(".png") for key in before.slowest_reads)
    assert "reads wait" in before.detail


# Decoding


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="its advice is to use the second processor")
def test_decoding_is_named_and_the_idle_processor_is_used(
    cpu_group: CpuGroup | None, make_node: Callable[[], Node], large: Path, tmp_path: Path
) -> None:
    def judged(cpu_threads: int, trainer_seconds: float) -> Explanation:
        node = make_node().configure(tmp_path, cpu_threads=cpu_threads).start()
        if cpu_group is not None:
            cpu_group.take(node.pid)
        with DataLoader(large, batch_size=16, transform=CROP, daemon=node.socket) as loader:
            explanation = train(loader, trainer_seconds)
        node.stop()
        return explanation

    alone = judged(1, 0.0)
    assert alone.cause == "decode", alone
    # A trainer that one decode thread cannot keep up with, and two can: the machine says how fast that is.
    per_step = alone.as_dict()["window_us"] * 1e-6 / alone.as_dict()["steps"]
    before = judged(1, per_step * 0.55)
    assert before.cause == "decode", before
    after = judged(setting(before, "cpu_threads"), per_step * 0.55)
    work = ("decode", "transform", "processors")
    assert share(after, *work) < share(before, *work) * 0.7, (before, after)
    assert alone.slowest_decodes[0].endswith(".jpg")


# Slots


def test_batches_that_are_held_are_named_and_dropping_them_helps(make_node: Callable[[], Node], tmp_path: Path) -> None:
    node = make_node().configure(tmp_path, cpu_threads=2).start()
    # Sets of a few out of 100,000 classes: cheap to make, dear to copy.
    tags = forebay.Records(
        [{"tags": [row]} for row in range(256)], root=tmp_path, columns={"tags": ("multi_hot", 100_000)}
    )

    def judged(hold: int) -> Explanation:
        fields = {"tags": forebay.Value("tags", dtype="uint8")}
        with DataLoader(tags, batch_size=128, fields=fields, daemon=node.socket) as loader:
            return train(loader, 0.01, hold)

    before = judged(8)
    assert before.cause == "slots", before
    assert before.advice.startswith("drop batches before asking for the next"), before
    after = judged(1)
    assert after.cause != "slots", after
    assert share(after, "slots") < share(before, "slots") / 4, (before, after)


# The trainer


def test_a_slow_trainer_is_named_and_a_faster_one_is_not(
    make_node: Callable[[], Node], images: Path, tmp_path: Path
) -> None:
    node = make_node().configure(tmp_path).start()
    with DataLoader(images, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        before = train(loader, 0.1)
        assert before.cause == "trainer", before
        assert before.advice.startswith("nothing in the loader"), before
    with DataLoader(images, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        after = train(loader)
        assert after.cause != "trainer", after
        assert share(after, "trainer") < share(before, "trainer") / 2, (before, after)


# Python


def test_a_slow_batch_transform_is_named_and_leaving_it_out_helps(
    make_node: Callable[[], Node], images: Path, tmp_path: Path
) -> None:
    def slow(batch: Any) -> Any:
        time.sleep(0.06)
        return batch

    node = make_node().configure(tmp_path).start()
    with DataLoader(images, batch_size=16, transform=SMALL, daemon=node.socket, batch_transform=slow) as loader:
        before = train(loader)
        assert before.cause == "python", before
        assert "batch_transform" in before.advice
        assert loader.stats()["python_seconds"] > 0.06 * (STEPS - 1)
    with DataLoader(images, batch_size=16, transform=SMALL, daemon=node.socket) as loader:
        after = train(loader)
        assert after.cause != "python", after
        assert share(after, "python") < share(before, "python") / 2, (before, after)


# A quota


@as_root
def test_a_processor_quota_is_named_and_lifting_it_helps(
    cpu_group: CpuGroup | None, make_node: Callable[[], Node], large: Path, tmp_path: Path
) -> None:
    if cpu_group is None:
        pytest.skip("no cgroup with a cpu controller that we may make a group in")
    node = make_node().configure(tmp_path, cpu_threads=2).start()
    cpu_group.take(node.pid)

    def judged(limit: int | None) -> Explanation:
        cpu_group.limit(limit)
        with DataLoader(large, batch_size=4, transform=CROP, daemon=node.socket) as loader:
            return train(loader, 0.01)

    before = judged(25_000)
    assert before.cause == "throttled", before
    assert before.advice.startswith("raise the cgroup's processor quota from 0.25 to "), before
    after = judged(None)
    assert after.cause != "throttled", after
    assert share(after, "throttled") < share(before, "throttled") / 4, (before, after)
    node.stop()


# The page, and who may see it


def test_before_the_first_batch_there_is_nothing_to_explain(images: Path) -> None:
    with DataLoader(images, batch_size=4, transform=SMALL) as loader:
        assert loader.explain().cause == ""
        iterator = iter(loader)
        early = loader.explain()
        assert (early.cause, early.shares) == ("", {})
        assert "nothing" in str(early)
        next(iterator)
        assert "nothing" in str(loader.explain()), "the first batch is the session's start"
    assert loader.explain().as_dict() == {}, "its session is gone"


def test_the_page_of_a_private_daemon_names_the_variable_to_set(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_CPU_THREADS", "1")
    with DataLoader(large, batch_size=16, transform=CROP) as loader:
        told = train(loader, steps=6)
        assert loader.stats()["daemon"]["cpu_threads"] == 1
        if len(os.sched_getaffinity(0)) > 1:
            assert "FOREBAY_CPU_THREADS=" in str(told)
        lines = str(told).splitlines()
        assert lines[0].startswith("rank 0 of 1")
        assert lines[2].startswith("  change first: ")
        assert sum(told.shares.values()) == pytest.approx(1, abs=0.01)
        # The daemon may hear of the last batch behind our question.
        wait_until(lambda: loader.explain().as_dict()["steps"] == 5, "all but the first of 6 steps are known")
        whole = loader.explain().as_dict()
        assert len(whole["newest_steps"]) == 5
        json.dumps(whole)


def test_the_command_explains_every_rank_of_a_node(node: Node, images: Path) -> None:
    ranks = [
        DataLoader(images, batch_size=4, transform=SMALL, daemon=node.socket, rank=rank, world_size=2)
        for rank in range(2)
    ]
    for loader in ranks:
        train(loader, steps=6)
    text = explain(node)
    assert "rank 0 of 2, session 1" in text
    assert "rank 1 of 2, session 2" in text
    sessions = json.loads(explain(node, "--json"))["sessions"]
    assert [session["cause"].startswith("CAUSE_") for session in sessions] == [True, True]
    alone = explain(node, "--session", "2")
    assert "session 2" in alone
    assert "session 1" not in alone
    for loader in ranks:
        loader.close()
    refused = run_explain(node, "--session", "9")
    assert refused.returncode == 1
    assert "session 9 is not open" in refused.stderr


@as_root
def test_users_see_their_own_sessions_alone(make_node: Callable[[], Node], images: Path, tmp_path: Path) -> None:
    node = make_node().configure(tmp_path).start()
    public(tmp_path)
    os.chmod(node.socket, 0o666)
    with DataLoader(images, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        train(loader, steps=6)
        assert "session 1" in explain(node)
        assert "no session is open" in explain(node, uid=NOBODY)
        refused = run_explain(node, "--session", "1", uid=NOBODY)
        assert "session 1 is not open, or not yours" in refused.stderr


def test_a_session_that_ended_is_not_found(node: Node, images: Path) -> None:
    with DataLoader(images, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        train(loader, steps=2)
        connection = loader._daemon.current()
        assert connection is not None
        with pytest.raises(NotFoundError, match="session 77"):
            connection.request("explain", {"session": 77})


def run_explain(node: Node, *arguments: str, uid: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [REAL, "explain", "--socket", node.socket, *arguments]
    groups: Any = [] if uid is not None else None
    return subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, user=uid, group=uid, extra_groups=groups
    )


def explain(node: Node, *arguments: str, uid: int | None = None) -> str:
    done = run_explain(node, *arguments, uid=uid)
    assert done.returncode == 0, done.stderr
    return done.stdout
