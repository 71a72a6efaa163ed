"""A process that has imported what the workers need and forks one whenever the loader asks.

It is started with a clean interpreter, so that workers inherit neither CUDA nor threads nor locks of the training, and
imports once what `multiprocessing`'s spawn would import in each of them. It runs in a session of its own: Ctrl-C in a
terminal is for the training. When the loader goes, however it goes, the socket ends and all workers are ended.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing.spawn
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from typing import Any, NamedTuple, cast

from . import worker
from .channel import Channel, Message

_GRACE_SECONDS = 0.3


class Prepare(NamedTuple):
    """What program to import, as `multiprocessing.spawn` is told."""

    main: dict[str, Any]


class Surroundings(NamedTuple):
    """What the program has around it at the moment, which it may have changed since it started the process."""

    folder: str
    paths: tuple[str, ...]
    environment: dict[str, str]

    @classmethod
    def here(cls) -> Surroundings:
        """Take those of this process."""
        paths = tuple(path for path in sys.path if isinstance(cast("object", path), str))
        return cls(os.getcwd(), paths, dict(os.environ))

    def enter(self) -> None:
        """Make them this process's, as far as they differ."""
        sys.path[:] = self.paths
        with contextlib.suppress(OSError):  # it was taken away, also for the program
            os.chdir(self.folder)
        for name in os.environ.keys() - self.environment.keys():
            del os.environ[name]
        for name, value in self.environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


class Import(NamedTuple):
    """Import these modules, as far as they are there: workers that need them are going to be asked for."""

    modules: tuple[str, ...]


class Fork(NamedTuple):
    """Start a worker; its end of a socket comes beside. `modules`: to import before, as far as they are there."""

    token: int
    modules: tuple[str, ...]
    around: Surroundings


class End(NamedTuple):
    """End these workers, whose sockets have ended: at once, or where they are busy in a moment."""

    tokens: tuple[int, ...]


class Started(NamedTuple):
    """A worker was started."""

    token: int
    pid: int


class Ended(NamedTuple):
    """A worker ended, with a status as `os.waitpid` gives it."""

    token: int
    status: int


class Refused(NamedTuple):
    """What was to be imported raised."""

    words: str
    trace: str


def main(descriptor: int) -> None:
    """Serve the loader at the other end of the socket `descriptor`."""
    channel = Channel(socket.socket(fileno=descriptor))
    worker.in_worker = True
    try:
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            first, *rest = channel.wait()
            if _prepared(channel, cast("Prepare", first.body)):
                _Zygote(channel).serve(rest)
    finally:
        channel.close()
        sys.stdout.flush()
        sys.stderr.flush()


def _prepared(channel: Channel, prepare: Prepare) -> bool:
    try:
        multiprocessing.spawn.prepare(prepare.main)
    except (Exception, SystemExit) as error:
        words = "".join(traceback.format_exception_only(type(error), error)).strip()
        channel.send_all(Refused(words, traceback.format_exc()))
        return False
    return True


def _import(modules: tuple[str, ...]) -> None:
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # whoever needs it says so better
                importlib.import_module(name)


def _woken(_number: int, _frame: object) -> None:
    """Do nothing: the wakeup descriptor has the news."""


class _Zygote:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tokens: dict[int, int] = {}
        self._doomed: list[tuple[float, int]] = []
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.signal(signal.SIGCHLD, _woken)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def serve(self, messages: list[Message]) -> None:
        """Fork until the loader is gone; then end what is left."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                while messages:
                    message = messages.pop(0)
                    if isinstance(message.body, End):
                        tokens, deadline = message.body.tokens, time.monotonic() + _GRACE_SECONDS
                        self._doomed += [(deadline, pid) for pid, token in self._tokens.items() if token in tokens]
                    elif isinstance(message.body, Import):
                        _import(message.body.modules)
                    else:
                        self._fork(cast("Fork", message.body), message.descriptors[0], messages)
                poll.poll(self._patience_ms())
                self._reap()
                self._kill_doomed()
                messages = self._channel.receive()
        finally:
            self._end()

    def _patience_ms(self) -> float | None:
        """Give how long to wait before somebody is to be killed."""
        return max(1.0, (self._doomed[0][0] - time.monotonic()) * 1000) if self._doomed else None

    def _kill_doomed(self) -> None:
        now = time.monotonic()
        for deadline, pid in self._doomed:
            if deadline <= now and pid in self._tokens:
                os.kill(pid, signal.SIGKILL)
        self._doomed = [(deadline, pid) for deadline, pid in self._doomed if deadline > now and pid in self._tokens]

    def _fork(self, fork: Fork, descriptor: int, others: list[Message]) -> None:
        fork.around.enter()
        _import(fork.modules)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a module that was imported may have threads
            pid = os.fork()
        if pid == 0:
            for other in others:  # a socket ends when nobody holds its other end
                for each in other.descriptors:
                    os.close(each)
            self._become_worker(descriptor)
        os.close(descriptor)
        self._tokens[pid] = fork.token
        self._channel.send(Started(fork.token, pid))

    def _become_worker(self, descriptor: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._channel.close()
            os.close(self._wake)
            os.close(self._waker)
            worker.run(socket.socket(fileno=descriptor))
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while self._tokens:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            token = self._tokens.pop(pid, None)
            if token is not None:
                self._channel.send(Ended(token, status))

    def _end(self) -> None:
        """Give workers a moment to see that their sockets have ended; then kill them."""
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._tokens and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self._reap()
            time.sleep(0.005)
        for pid in self._tokens:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._tokens:
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0)
