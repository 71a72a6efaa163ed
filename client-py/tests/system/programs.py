"""Clients that run in processes of their own, `python -m system.programs NAME ...`: they print JSON lines."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from forebay import Value, _daemon
from forebay._version import version
from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, Resize

from .batches import batch_digest, cursor_of

TRANSFORM = (Resize((32, 32)), RandomHorizontalFlip())


def say(value: Any) -> None:
    """Print one line."""
    print(json.dumps(value), flush=True)


def make_loader(folder: str, **arguments: Any) -> DataLoader:
    """Make the loader that all programs use."""
    return DataLoader(folder, batch_size=4, shuffle=True, transform=TRANSFORM, prefetch=3, **arguments)


def private_pid() -> int:
    """Give the private daemon, 0 where there is none."""
    private = _daemon._private
    return (private.pid or 0) if private else 0


def train(folder: str) -> None:
    """Say who the daemon is, then train for ever."""
    loader = make_loader(folder)
    iter(loader)
    say({"daemon": private_pid()})
    held: list[Any] = []
    while True:
        for batch in loader:
            held = [*held[-1:], batch]


def train_with_children(folder: str) -> None:
    """Train for ever beside children that were forked in mid-epoch and live on."""
    loader = make_loader(folder)
    batches = iter(loader)
    kept = next(batches)
    children: list[int] = []
    for _ in range(2):
        children.append(os.fork())
        if not children[-1]:
            del kept
            time.sleep(600)
            os._exit(0)
    say({"daemon": private_pid(), "children": children})
    while True:
        for _ in loader:
            pass


def first_use_on_a_thread_that_ends(folder: str) -> None:
    """Start the daemon from a thread, let that thread end, and take an epoch from the main one."""
    loader = make_loader(folder)
    started: list[str] = []

    def start() -> None:
        started.append(batch_digest(next(iter(loader))))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    before = private_pid()
    time.sleep(0.3)
    loader.set_epoch(0)
    digests = [batch_digest(batch) for batch in loader]
    say(
        {
            "same_daemon": private_pid() == before,
            "restarts": loader.stats()["restarts"],
            "first": started[0],
            "digests": digests,
        }
    )


def fork_and_iterate(folder: str) -> None:
    """Fork in mid-epoch; both go on: the parent with its iterator, the child with the loader."""
    loader = make_loader(folder)
    batches = iter(loader)
    head = [batch_digest(next(batches)) for _ in range(3)]
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException), os.fdopen(write, "w") as out:
            refused = ""
            try:
                next(batches)
            except Exception as error:
                refused = str(error)
            loader.set_epoch(0)
            digests = [batch_digest(batch) for batch in loader]
            out.write(json.dumps({"refused": refused, "digests": digests, "daemon": private_pid()}))
            _daemon.shutdown()
        os._exit(0)
    os.close(write)
    rest = [batch_digest(batch) for batch in batches]
    with os.fdopen(read) as told:
        from_child = json.loads(told.read())
    os.waitpid(child, 0)
    rest_of_next = [batch_digest(batch) for batch in loader]
    say(
        {
            "parent": head + rest,
            "next": rest_of_next,
            "child": from_child,
            "daemon": private_pid(),
            "restarts": loader.stats()["restarts"],
        }
    )


def _worker(folder: str, queue: Any, rank: int) -> None:
    loader = make_loader(folder, rank=rank, world_size=2, seed=3)
    queue.put((rank, [batch_digest(batch) for batch in loader], private_pid()))


def spawn_workers(folder: str, method: str) -> None:
    """Have two ranks iterate in processes started by `method`, after this one has a daemon itself."""
    loader = make_loader(folder, rank=0, world_size=2, seed=3)
    mine = [batch_digest(batch) for batch in loader]
    context = multiprocessing.get_context(method)
    queue: Any = context.Queue()
    workers = [context.Process(target=_worker, args=(folder, queue, rank)) for rank in range(2)]
    for worker in workers:
        worker.start()
    results = {rank: (digests, pid) for rank, digests, pid in (queue.get(timeout=60) for _ in workers)}
    for worker in workers:
        worker.join(30)
    say(
        {
            "mine": mine,
            "ranks": [results[rank][0] for rank in range(2)],
            "daemons": [results[rank][1] for rank in range(2)],
            "daemon": private_pid(),
            "exits": [worker.exitcode for worker in workers],
        }
    )


def epoch(folder: str) -> None:
    """Take one epoch and say every batch."""
    loader = make_loader(folder)
    digests = [(batch_digest(batch), cursor_of(loader)) for batch in loader]
    say({"digests": digests, "daemon": private_pid()})


def attempt(folder: str) -> None:
    """Take one batch and say what went wrong."""
    try:
        batch_digest(next(iter(make_loader(folder))))
    except Exception as error:
        say({"error": type(error).__name__, "text": str(error)})
    else:
        say({"error": "", "text": ""})


def call(socket: str, name: str) -> None:
    """Ask a node's daemon for something and say what it answers."""
    try:
        _daemon.NodeDaemon(socket).connection().request(name, {})
    except Exception as error:
        say({"error": type(error).__name__, "text": str(error)})
    else:
        say({"error": "", "text": ""})


def report_and_end(listed: str) -> None:
    """Report the losses of some batches, close nothing and end."""
    loader = DataLoader(listed, 10, fields={"index": Value()})
    batches, reported = iter(loader), 0
    for _ in range(3):
        rows = len(next(batches)["index"])
        loader.report([1.0] * rows)
        reported += rows
    say(reported)


def pinned_epochs(folder: str, state_root: str, rank: str) -> None:
    """Say what each of three epochs is made of, and wait before the next one."""
    loader = make_loader(
        folder, job_id="run-7", state_root=state_root, follow="epoch", rank=int(rank), world_size=3, seed=3
    )
    seen: list[Any] = []
    for epoch in range(3):
        steps = sum(1 for _ in loader)
        seen.append((loader.job.snapshot, steps))
        if epoch < 2:
            say(seen[-1])
            sys.stdin.readline()
    say(seen)


def ranks_of_a_group(folder: str, store: str, rank: str) -> None:
    """Look at a folder when told to, as one of two ranks of a process group; then train, then look again."""
    import torch.distributed as dist

    from forebay.torch import DataLoader as TorchLoader

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
    say({"ready": True})
    sys.stdin.readline()
    loader = TorchLoader(folder, batch_size=2, shuffle=True, transform=TRANSFORM)
    found = {"snapshot": loader.job.snapshot, "rows": loader.job.rows}
    say({**found, "commits": list(loader.job.commits), "state": loader.state_dict()})
    sys.stdin.readline()
    steps = len(list(loader))
    keys = [row.key for step in range(steps) for row in loader.show(2, epoch=0, step=step).rows]
    say({"steps": steps, "keys": keys})
    sys.stdin.readline()
    again = TorchLoader(folder, batch_size=2, shuffle=True, transform=TRANSFORM)
    say({"snapshot": again.job.snapshot, "rows": again.job.rows})


def listen_only(_: str) -> None:
    """Stay, with nothing but an import behind us."""
    say({"daemon": private_pid()})
    sys.stdin.read()


PROGRAMS: dict[str, Callable[..., None]] = {
    program.__name__: program
    for program in (
        train,
        train_with_children,
        first_use_on_a_thread_that_ends,
        fork_and_iterate,
        spawn_workers,
        epoch,
        attempt,
        call,
        report_and_end,
        pinned_epochs,
        ranks_of_a_group,
        listen_only,
    )
}

if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the tests inherit that it is ignored
    if "FOREBAY_TEST_UID" in os.environ:  # only now: that user may not be allowed to read this Python
        version()
        uid = int(os.environ["FOREBAY_TEST_UID"])
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
