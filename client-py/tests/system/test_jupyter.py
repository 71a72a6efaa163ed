"""A notebook as people use it: a real kernel, a cell that is run again and again, and interrupts."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.numpy import DataLoader

from .batches import batch_digest
from .programs import TRANSFORM
from .support import TESTS, arenas, children_of, descriptors, is_alive, pick, rss_bytes, wait_until

jupyter_client = pytest.importorskip("jupyter_client", reason="needs jupyter_client (the extra `dev`)")
pytest.importorskip("ipykernel", reason="needs ipykernel (the extra `dev`)")

MAKE = """
import json, os, time
from system.batches import batch_digest
from system.programs import make_loader, private_pid
loader = make_loader({folder!r})
"""
TRAIN = """
digests = []
for images, labels in loader:
    digests.append(batch_digest((images, labels)))
    time.sleep({pause})
print(json.dumps(digests))
"""
LOOK = "print(json.dumps({'daemon': private_pid(), 'pid': os.getpid(), 'epoch': loader.state_dict()['epoch']}))"


class Notebook:
    """A running kernel, and cells run on it."""

    def __init__(self, client: Any, manager: Any) -> None:
        self.client = client
        self.manager = manager

    def send(self, code: str) -> str:
        """Start a cell."""
        return self.client.execute(code)

    def end(self, cell: str, seconds: float = 30.0) -> tuple[str, str]:
        """Wait for a cell's end: what it printed, and the name of the exception that ended it."""
        printed, raised = "", ""
        while True:
            message = self.client.get_iopub_msg(timeout=seconds)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content, kind = message["content"], message["msg_type"]
            if kind == "stream" and content["name"] == "stdout":
                printed += content["text"]
            elif kind == "error":
                raised = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return printed, raised

    def run(self, code: str) -> Any:
        """Run a cell that must not fail, and give what it printed last."""
        printed, raised = self.end(self.send(code))
        assert not raised, f"{raised} in {code}"
        return json.loads(printed.splitlines()[-1]) if printed.strip() else None


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Notebook]:
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    manager, client = jupyter_client.manager.start_new_kernel(startup_timeout=60, kernel_name="python3")
    try:
        yield Notebook(client, manager)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def epochs_of(folder: Path, count: int) -> list[list[str]]:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=TRANSFORM, prefetch=3) as loader:
        return [[batch_digest(batch) for batch in loader] for _ in range(count)]


def daemon_children(pid: int) -> set[int]:
    """Give the kernel's children that run our binary."""
    commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(pid)}
    return {child for child, command in commands.items() if b"--private-fd" in command}


def marks(pid: int, daemon: int) -> tuple[int, int, int, int, int]:
    """Give descriptors and arenas of both, and the kernel's memory; IPython's history is not ours to count."""
    kernels = [link for link in descriptors(pid) if "history.sqlite" not in link]
    return (len(kernels), len(descriptors(daemon)), arenas(pid), arenas(daemon), rss_bytes(pid))


def assert_flat(seen: list[tuple[int, int, int, int, int]], settled: int) -> None:
    """Make sure that nothing grew since then; the kernel's own sockets come and go by one."""
    assert seen[-1][0] <= seen[settled][0] + 1, f"the kernel's descriptors grew: {seen}"
    assert seen[-1][1:4] == seen[settled][1:4], f"the daemon's descriptors, or arenas, grew: {seen}"


@pytest.mark.deadline(240)
def test_a_training_cell_run_20_times_gives_20_epochs_of_one_daemon(folder: Path, notebook: Notebook) -> None:
    wanted = epochs_of(folder, 20)
    notebook.run(MAKE.format(folder=str(folder)))
    seen: list[tuple[int, int, int, int, int]] = []
    for epoch in range(20):
        assert notebook.run(TRAIN.format(pause=0)) == wanted[epoch]
        told = notebook.run(LOOK)
        assert daemon_children(told["pid"]) == {told["daemon"]}
        seen.append(marks(told["pid"], told["daemon"]))
    assert_flat(seen, 5)
    assert seen[-1][4] - seen[5][4] < 8 << 20, f"memory grew: {seen}"
    print(
        "notebook, 20 runs of a cell (descriptors, the daemon's, arenas, the daemon's, bytes):",
        seen[5],
        seen[-1],
    )


@pytest.mark.deadline(300)
def test_interrupts_in_the_middle_of_a_cell_lose_no_batch_and_hang_nothing(folder: Path, notebook: Notebook) -> None:
    wanted = epochs_of(folder, 2 * pick(8, 30) + 2)
    notebook.run(MAKE.format(folder=str(folder)))
    notebook.run(TRAIN.format(pause=0))
    first = notebook.run(LOOK)
    seen: list[tuple[int, int, int, int, int]] = []
    interrupted = 0
    for moment in range(pick(8, 30)):
        cell = notebook.send(TRAIN.format(pause=0.03))
        time.sleep(0.02 + moment * 0.037 % 0.3)
        notebook.manager.interrupt_kernel()
        printed, raised = notebook.end(cell)
        assert raised in ("", "KeyboardInterrupt"), f"{raised}: {printed}"
        interrupted += raised != ""
        # What had been taken is the head of that epoch.
        taken = notebook.run("print(json.dumps([digests, loader.state_dict()['epoch']]))")
        if raised and taken[0]:
            epoch = next(number for number, epoch in enumerate(wanted) if epoch[0] == taken[0][0])
            assert taken[0] == wanted[epoch][: len(taken[0])]
        # And the next run of the cell is a whole epoch.
        whole = notebook.run(TRAIN.format(pause=0))
        assert whole in wanted
        told = notebook.run(LOOK)
        assert told["daemon"] == first["daemon"], "the daemon lives on"
        assert daemon_children(told["pid"]) == {told["daemon"]}
        seen.append(marks(told["pid"], told["daemon"]))
    assert interrupted >= pick(8, 30) // 2
    assert seen[-1][0] <= seen[len(seen) // 2][0] + 2, f"descriptors grew: {seen}"
    assert seen[-1][1] <= seen[len(seen) // 2][1] + 4, f"the daemon's descriptors grew: {seen}"


@pytest.mark.deadline(240)
def test_a_loader_made_again_and_again_in_a_notebook_leaves_nothing(folder: Path, notebook: Notebook) -> None:
    wanted = epochs_of(folder, 1)[0]
    seen: list[tuple[int, int, int, int, int]] = []
    for _ in range(pick(8, 20)):
        notebook.run(MAKE.format(folder=str(folder)))
        assert notebook.run(TRAIN.format(pause=0)) == wanted
        told = notebook.run(LOOK)
        assert daemon_children(told["pid"]) == {told["daemon"]}
        seen.append(marks(told["pid"], told["daemon"]))
    assert_flat(seen, 3)


@pytest.mark.deadline(120)
def test_a_kernel_that_is_restarted_takes_its_daemon_along(folder: Path, notebook: Notebook) -> None:
    notebook.run(MAKE.format(folder=str(folder)))
    notebook.run(TRAIN.format(pause=0))
    told = notebook.run(LOOK)
    notebook.manager.restart_kernel(now=True)
    wait_until(lambda: not is_alive(told["daemon"]), "the daemon of the killed kernel is gone")
    notebook.client.wait_for_ready(timeout=60)
    notebook.run(MAKE.format(folder=str(folder)))
    notebook.run(TRAIN.format(pause=0))


@pytest.mark.deadline(120)
def test_a_cell_that_ends_with_show_has_the_picture_and_the_table_as_its_result(
    folder: Path, notebook: Notebook
) -> None:
    notebook.run(MAKE.format(folder=str(folder)))
    cell = notebook.send("loader.show(3)")
    data: dict[str, str] = {}
    while not data:
        message = notebook.client.get_iopub_msg(timeout=30)
        assert message["msg_type"] != "error", message["content"]
        if message["parent_header"].get("msg_id") == cell and message["msg_type"] == "execute_result":
            data = message["content"]["data"]
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"].count(".png") == 3
    notebook.run(TRAIN.format(pause=0))
