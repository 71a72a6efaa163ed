"""How workers come to be: forked by a clean process, or by a context of `multiprocessing` that the user names."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import itertools
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Generator, Sequence
from typing import Any, cast

from .._fork import forget_in_child
from .._notice import say
from ..errors import InvalidError
from . import worker
from .channel import Channel, pair
from .errors import RemoteTraceback, WorkerError
from .rest import Rest
from .tasks import Own
from .whole import Packed, Room, pack
from .zygote import End, Ended, Fork, Import, Prepare, Refused, Started, Surroundings

_PATIENCE_SECONDS = 3.0

_said: set[str] = set()


class Starter:
    """Starts workers, and knows how they ended."""

    # Whether workers have the user's part by being forked from this process.
    inherits = False

    def start(self, token: int) -> Channel:
        """Start a worker, called `token` from here on; give the channel to it."""
        raise NotImplementedError

    def hear(self) -> None:
        """Take note of what has come on `fileno()`."""

    def fileno(self) -> int:
        """Give what to poll; -1: nothing."""
        return -1

    def how_ended(self, token: int) -> str:
        """Say how a worker ended, in a few words; waits a little for it to be known."""
        raise NotImplementedError

    def pid(self, token: int) -> int | None:
        """Give a worker's process, where it is known."""
        raise NotImplementedError

    def close(self) -> None:
        """End all that were started, whose channels are closed already."""
        raise NotImplementedError

    def forget(self) -> None:
        """Leave the parent's processes alone, in a forked child."""
        raise NotImplementedError


def starter_of(context: Any, own: Own) -> Starter:
    """Choose how to start: as `multiprocessing_context=` says, else by a zygote where that can import the program.

    Raises `InvalidError` for a context that there is not.
    """
    if worker.in_worker:
        raise InvalidError(
            "a loader with workers in a process that is a worker itself",
            hint='the program is imported by its workers: put what it runs under `if __name__ == "__main__":`; '
            "a data set that has a loader inside takes num_workers=0",
        )
    if context is None:
        reason = _reason_to_fork()
        if not reason:
            return Zygote(_modules_of(own))
        _say_why_forked(reason)
        context = "fork"
    if isinstance(context, str):
        if context not in multiprocessing.get_all_start_methods():
            raise InvalidError(
                f"multiprocessing_context={context!r} is none of {', '.join(multiprocessing.get_all_start_methods())}"
            )
        context = multiprocessing.get_context(context)
    if not hasattr(context, "Process"):
        raise InvalidError(f"multiprocessing_context={context!r} is neither a name nor a context of multiprocessing")
    return Context(context, own)


def begin(context: Any, own: Own) -> None:
    """Have the clean process import the program while that goes on to its first batch, if workers will be its own.

    Nothing is raised: what is wrong is told once workers are needed.
    """
    is_named = _is_picklable(own.collate) and _is_picklable(own.worker_init)
    if context is None and is_named and not worker.in_worker and not _reason_to_fork():
        with contextlib.suppress(OSError):
            _living_process().send(Import(_modules_of(own)))


def handed_over(starter: Starter, context: Any, own: Own) -> tuple[Starter, tuple[Packed, int] | None]:
    """Pickle the user's part once for all workers; its arrays lie in one file in memory that they share.

    Functions without a name to import, as lambdas, are inherited by workers that are forked, unless `context` was
    chosen; nothing is pickled then. An open file or a lock would be shared by forked workers, and break them.
    Raises `InvalidError` that names what cannot be pickled and the cure.
    """
    if starter.inherits:
        return starter, None
    try:
        return starter, pack(own, Room(None))
    except Exception as error:
        refused = _refusal(own, error)
        if context is not None or not isinstance(error, (AttributeError, pickle.PicklingError)):
            raise refused from error
        starter.close()
        _say_why_forked(refused.message)
        return starter_of("fork", own), None


def _refusal(own: Own, error: Exception) -> InvalidError:
    names = ("the data set", "collate_fn", "worker_init_fn")
    wrong = next((name for name, part in zip(names, own) if not _is_picklable(part)), "the data set")
    return InvalidError(
        f"{wrong} cannot be pickled for the workers",
        causes=[f"{type(error).__name__}: {error}"],
        hint="open files and locks in the worker, at their first use; make a lambda a function of a module; "
        'or num_workers=0, or multiprocessing_context="fork"',
    )


def _is_picklable(part: Any) -> bool:
    try:
        pickle.dumps(part, 5)
    except Exception:
        return False
    return True


def _say_why_forked(reason: str) -> None:
    if reason not in _said:
        _said.add(reason)
        say(f'{reason}: workers are forked from this process, as by multiprocessing_context="fork"')


def _reason_to_fork() -> str:
    """Say why the user's program cannot be imported in a clean process; nothing where it can."""
    module = sys.modules["__main__"]
    path = getattr(module, "__file__", None)
    if path is None:
        return "this is no program that a clean process could import"
    if getattr(module, "__spec__", None) is not None:
        return ""  # python -m: imported under its own name
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            guarded = "__name__" in file.read()
    except OSError:
        return f"{path} cannot be read"
    return "" if guarded else f'{os.path.basename(path)} has no `if __name__ == "__main__":`'


def _modules_of(own: Own) -> tuple[str, ...]:
    """Name the modules that unpickling the user's part imports, for the zygote to import once for all workers."""
    kinds: list[Any] = [base for part in own for base in cast("type[object]", type(part)).__mro__]
    kinds += [part for part in own if callable(part)]
    if isinstance(own.dataset, Rest):  # torch takes seconds, and each worker would import it by itself
        kinds += [type(transform) for transform in own.dataset.transforms]
        kinds.append(importlib.import_module("torch").Tensor)
    names = {str(getattr(kind, "__module__", "")) for kind in kinds}
    return tuple(sorted(name for name in names if name not in ("", "builtins", "__main__", "__mp_main__")))


def _main_of() -> dict[str, Any]:
    """Tell `multiprocessing.spawn.prepare` of this program, without choosing a start method for the user's own use."""
    module = sys.modules["__main__"]
    data: dict[str, Any] = {"sys_path": list(sys.path), "sys_argv": list(sys.argv), "dir": os.getcwd()}
    name = getattr(getattr(module, "__spec__", None), "name", None)
    path = getattr(module, "__file__", None)
    if name is not None:
        data["init_main_from_name"] = name
    elif path is not None:
        data["init_main_from_path"] = os.path.normpath(os.path.join(os.getcwd(), path))
    return data


class _Process:
    """The clean process that imports once and forks the workers of all loaders. Safe to use from several threads."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.channel = Channel(ours)
        self.pids: dict[int, int] = {}
        self.ends: dict[int, str] = {}
        self.refused: Refused | None = None
        self.is_gone = False
        self._has_forked = False
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                _command(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the training
                stdin=subprocess.DEVNULL,
            )
        self.send(Prepare(_main_of()))

    def send(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Tell it something; one that has gone does not hear it."""
        with self._lock, contextlib.suppress(OSError, EOFError):
            self.channel.send(message, descriptors)

    def fork(self, token: int, modules: tuple[str, ...], descriptor: int) -> None:
        """Have it start a worker with this end of a socket."""
        self._has_forked = True
        self.send(Fork(token, modules, Surroundings.here()), (descriptor,))

    def hear(self) -> None:
        """Take note of what it says."""
        with self._lock:
            try:
                messages = self.channel.receive()
            except EOFError:
                self.is_gone = True
                return
        for message in messages:
            if isinstance(message.body, Started):
                self.pids[message.body.token] = message.body.pid
            elif isinstance(message.body, Ended):
                self.ends[message.body.token] = _end_words(os.waitstatus_to_exitcode(message.body.status))
            else:
                self.refused = cast("Refused", message.body)

    def await_end(self, token: int) -> str:
        """Wait a little for a worker's end to be known, and say how it was."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while token not in self.ends and not self.is_gone and time.monotonic() < deadline:
            self.hear()
            time.sleep(0.002)
        self.pids.pop(token, None)
        return self.ends.pop(token, "went away")

    def close(self) -> None:
        """End it and all workers; at once where it has none, since it may be in the midst of an import."""
        self.is_gone = True
        self.channel.close()
        try:
            self._process.wait(_PATIENCE_SECONDS if self._has_forked else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """Leave it to the parent, in a forked child."""
        self._lock = threading.Lock()
        self.is_gone = True
        self.channel.close()
        self._process.returncode = 0  # not ours: nothing to wait for, and no ResourceWarning


_tokens = itertools.count()
_process: _Process | None = None
_process_lock = threading.Lock()


def _living_process() -> _Process:
    global _process
    with _process_lock:
        if _process is not None and not _process.is_gone:
            _process.hear()
        # One that could not import the program is kept: it says why.
        if _process is None or (_process.is_gone and _process.refused is None):
            _process = _Process()
            forget_in_child(_process)
        return _process


def _unlock_in_child() -> None:
    global _process, _process_lock
    _process, _process_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)


@atexit.register
def _end_process() -> None:
    if _process is not None:
        _process.close()


def _command(descriptor: int) -> list[str]:
    # The same modules as here, whatever the current folder holds.
    paths = [path for path in sys.path if isinstance(cast("object", path), str)]
    given = sys._xoptions  # pyright: ignore - documented, for all its underscore
    options = [f"-X{name}={value}" if value is not True else f"-X{name}" for name, value in given.items()]
    options += [f"-W{option}" for option in sys.warnoptions]
    program = f"import sys; sys.path[:] = {paths!r}; from forebay._python.zygote import main; main({descriptor})"
    return [sys.executable, *options, "-c", program]


class Zygote(Starter):
    """A loader's share of the process that forks workers."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._modules = modules
        self._process = _living_process()
        self._tokens: dict[int, int] = {}  # by the crew's own

    def start(self, token: int) -> Channel:
        ours, theirs = pair()
        self._tokens[token] = next(_tokens)
        with theirs:
            self._process.fork(self._tokens[token], self._modules, theirs.fileno())
        return Channel(ours)

    def hear(self) -> None:
        self._process.hear()

    def fileno(self) -> int:
        return -1 if self._process.is_gone else self._process.channel.fileno()

    def how_ended(self, token: int) -> str:
        how = self._process.await_end(self._tokens.pop(token))
        refused = self._process.refused
        if refused is not None:
            raise WorkerError(
                "the workers could not import the program",
                causes=[refused.words],
                hint='put what it runs under `if __name__ == "__main__":`, or num_workers=0',
            ) from RemoteTraceback(refused.trace)
        return how

    def pid(self, token: int) -> int | None:
        self._process.hear()
        return self._process.pids.get(self._tokens[token])

    def close(self) -> None:
        tokens = tuple(self._tokens.values())
        self._process.send(End(tokens))
        for token in tokens:
            self._process.await_end(token)
        self._tokens.clear()

    def forget(self) -> None:
        self._tokens.clear()


class Context(Starter):
    """Processes of `multiprocessing`, by the context that the user chose."""

    def __init__(self, context: Any, own: Own) -> None:
        self._context = context
        self.method = str(context.get_start_method())
        self.inherits = self.method == "fork"
        self._own = own
        self._processes: dict[int, Any] = {}

    def start(self, token: int) -> Channel:
        ours, theirs = pair()
        process = self._context.Process(
            target=_forked if self.inherits else worker.run,
            args=(theirs, ours, self._own) if self.inherits else (theirs,),
            name=f"forebay-worker-{token}",
            daemon=True,
        )
        with theirs, _undisturbed(self.method):
            process.start()
        self._processes[token] = process
        return Channel(ours)

    def how_ended(self, token: int) -> str:
        process = self._processes.pop(token)
        process.join(_PATIENCE_SECONDS)
        code = process.exitcode
        if code is not None:
            process.close()
        return "went away" if code is None else _end_words(code)

    def pid(self, token: int) -> int | None:
        return self._processes[token].pid

    def close(self) -> None:
        deadline = time.monotonic() + 1.0
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()
        self._processes.clear()

    def forget(self) -> None:
        self._processes.clear()


def _forked(theirs: socket.socket, ours: socket.socket, own: Own) -> None:
    ours.close()
    worker.run(theirs, own)


@contextlib.contextmanager
def _undisturbed(method: str) -> Generator[None]:
    """Keep Ctrl-C from a worker until it can ignore it. A fork server would keep it from the user's processes too."""
    if method == "forkserver":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the user chose it
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_words(code: int) -> str:
    """Say how a process ended, by its exit code as `multiprocessing` has it."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (out of memory? the kernel's log says)" if name == "SIGKILL" else "")
