"""The daemon as this process sees it: a private child, or the node's, and the control connection to either.

One private child serves all loaders of a process. It lives on an inherited socketpair, watches our pidfd, and
is started again when it dies; a session then goes on at its next row (`_session`).
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from . import _wire
from ._fork import forget_in_child
from ._notice import say
from ._socket import RecordSocket, socket_pair
from ._version import version
from .errors import (
    ConnectionLostError,
    DaemonError,
    DeniedError,
    ForebayError,
    InvalidError,
    NotFoundError,
    ProtocolError,
    from_wire,
)

T = TypeVar("T")

_RECONNECT_SECONDS = 60.0
# A private child lost this often without one batch in between dies of what it is asked to do. (A death counts
# once or twice: on the session's socket, and where that was seen first, on the control socket.)
_LOSSES_MAX = 10
_GOODBYE_SECONDS = 2.0
# As long as a private child may take to write its ledger of losses, where it has a folder for it.
_LEDGER_SECONDS = 60.0


class Connection:
    """One control socket behind Hello: one request at a time; replies to interrupted ones are dropped."""

    def __init__(self, sock: socket.socket) -> None:
        self._records = RecordSocket(sock, _wire.CONTROL_RECORD_BYTES_MAX)
        self._lock = threading.Lock()
        self._id = 0
        self._sending = False
        self._parts: list[bytes] = []
        # Requests whose reply nobody waits for, and what was answered to those that were refused.
        self._told: set[int] = set()
        self._refusals: list[ForebayError] = []
        self._control_bytes_max = _wire.CONTROL_BYTES_MAX
        forget_in_child(self)
        hello = self.request(
            "hello",
            {
                "version_min": _wire.VERSION_MIN,
                "version_max": _wire.VERSION_MAX,
                "client": f"forebay-py/{version()}",
            },
        )
        if not _wire.VERSION_MIN <= int(hello.get("version", 0)) <= _wire.VERSION_MAX:
            raise ProtocolError(f"the daemon chose wire version {hello.get('version')}, which we do not speak")
        self.features = frozenset(str(name) for name in hello.get("features", ()))
        self.instance = str(hello.get("instance", ""))
        self.pid = int(hello.get("pid", 0))
        self.features = frozenset(map(str, hello.get("features", ())))
        self._control_bytes_max = int(hello.get("control_bytes_max", 0)) or _wire.CONTROL_BYTES_MAX

    @property
    def alive(self) -> bool:
        """Whether nobody has closed it yet; a dead peer shows at the next request."""
        return not self._records.closed

    def request(self, call: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and give the reply of the same name.

        Raises the exception of the error's kind; `ConnectionLostError` where the daemon went away, and then
        the connection is closed.
        """
        with self._lock:
            try:
                reply = self._exchange(call, body)
            except (ConnectionLostError, ProtocolError):
                self._records.hang_up()
                raise
        if "error" in reply:
            raise from_wire(reply["error"])
        return reply.get(call, {})

    def tell(self, call: str, body: Mapping[str, Any]) -> bool:
        """Ask without waiting for the reply: `refusals()` has it, if it is an error. False: not now, nothing was sent.

        Another thread's request, or a daemon that is slow to read, is no reason to wait either.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._hear()
            self._id += 1
            first, *rest = self._encoded({"id": self._id, call: body})
            self._sending = bool(rest)
            if not self._records.try_send(first):
                self._sending = False
                return False
            self._told.add(self._id)
            for record in rest:
                self._records.send(record)
            self._sending = False
            return True
        except (ConnectionLostError, ProtocolError) as error:
            self._records.hang_up()
            raise ConnectionLostError("the control connection was cut short", causes=[str(error)]) from error
        finally:
            self._lock.release()

    def refusals(self) -> list[ForebayError]:
        """Give the errors that told requests were answered with since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def attach(self, session: int) -> socket.socket:
        """Give the session a socket of its own; the caller owns our end."""
        ours, theirs = socket_pair()
        with theirs, self._lock:
            try:
                self._records.send(_wire.encode_attach(session), theirs.fileno())
            except ConnectionLostError:
                ours.close()
                self._records.hang_up()
                raise
        return ours

    def close(self) -> None:
        """End the connection."""
        self._records.hang_up()

    def forget(self) -> None:
        """Close the forked child's copy."""
        self._records.forget()
        self._lock = threading.Lock()

    def _exchange(self, call: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._records.closed or self._sending or self._parts:
            raise ConnectionLostError("the control connection was cut short")
        self._id += 1
        self._send({"id": self._id, call: body})
        while True:
            reply = self._receive()
            answered = int(reply.get("id", 0))
            if answered == self._id:
                return reply
            self._note_told(answered, reply)
            if answered == 0 and "error" in reply:
                raise ProtocolError("the daemon refused a record", causes=[str(from_wire(reply["error"]))])

    def _hear(self) -> None:
        """Take the replies that have come to told requests."""
        if self._records.closed or self._sending or self._parts:
            raise ConnectionLostError("the control connection was cut short")
        while self._told and self._records.has_record():
            reply = self._receive()
            self._note_told(int(reply.get("id", 0)), reply)

    def _note_told(self, answered: int, reply: Mapping[str, Any]) -> None:
        if answered in self._told:
            self._told.discard(answered)
            if "error" in reply:
                self._refusals.append(from_wire(reply["error"]))

    def _encoded(self, message: Mapping[str, Any]) -> list[bytes]:
        records = _wire.encode_control(message)
        if sum(map(len, records)) > self._control_bytes_max:
            raise InvalidError(
                f"the request has more than {self._control_bytes_max} bytes (control_bytes_max)",
                hint="write the records to a CSV, JSON Lines or Parquet file and pass its path",
            )
        return records

    def _send(self, message: Mapping[str, Any]) -> None:
        records = self._encoded(message)
        self._sending = True
        for record in records:
            self._records.send(record)
        self._sending = False

    def _receive(self) -> dict[str, Any]:
        while True:
            data = self._records.receive()
            self._records.close_descriptors()
            header = _wire.decode_header(data)
            if header.kind != _wire.CONTROL:
                raise ProtocolError(f"a record of kind {header.kind:#x} on the control socket")
            self._parts.append(bytes(data[_wire.HEADER_BYTES :]))
            self._records.done()
            if not header.flags & _wire.MORE:
                message = _wire.decode_control(self._parts)
                self._parts = []
                return message


class Daemon:
    """Gives a live connection, a new one when the last has died."""

    backoff_seconds_max = 2.0

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._connected_before = False
        self.restarts = 0
        forget_in_child(self)

    def connection(self) -> Connection:
        """Give the connection, connecting where there is none."""
        with self._lock:
            if self._connection is None or not self._connection.alive:
                self._connection = None
                connection = self._connect()
                self.restarts += self._connected_before
                self._connected_before = True
                self._connection = connection
            return self._connection

    def current(self) -> Connection | None:
        """Give the connection where there is one, and make none."""
        connection = self._connection
        return connection if connection is not None and connection.alive else None

    def run(self, action: Callable[[Connection], T], outage: Outage | None = None) -> T:
        """Run `action` on a live connection; where the daemon goes away meanwhile, again on the next one."""
        outage = outage or Outage()
        while True:
            connected_before = self._connected_before
            try:
                return action(self.connection())
            except DaemonError as error:
                if not connected_before:
                    raise
                outage.wait(self, error)
            except ConnectionLostError as error:
                outage.wait(self, error)

    def request(self, call: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask whichever daemon is there; every request is idempotent."""
        return self.run(lambda connection: connection.request(call, body))

    def close(self) -> None:
        """End the connection; the next use makes another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def forget(self) -> None:
        """Have the forked child know of no daemon."""
        self._lock = threading.RLock()
        self._connection = None
        self._connected_before = False

    def is_hopeless(self, outage: Outage) -> str:
        """Say why to stop trying, or nothing."""
        raise NotImplementedError

    def _connect(self) -> Connection:
        raise NotImplementedError


class Outage:
    """The time since the daemon was last of use, and how often it was lost in that time."""

    def __init__(self) -> None:
        self.losses = 0
        self._started: float | None = None

    def over(self) -> None:
        """Note that a batch came through."""
        self.losses = 0
        self._started = None

    def seconds(self) -> float:
        """Give how long it has lasted."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    def wait(self, daemon: Daemon, error: Exception) -> None:
        """Wait a little longer each time; raise where it is no use."""
        if self._started is None:
            self._started = time.monotonic()
        self.losses += 1
        reason = daemon.is_hopeless(self)
        if reason:
            raise DaemonError(
                f"the daemon went away and did not come back: {reason}",
                causes=[str(error)],
                hint="its last words are on stderr or in its log; `forebay doctor` checks the machine",
            ) from error
        if self.losses > 2:
            time.sleep(min(0.005 * 2**self.losses, daemon.backoff_seconds_max))


class PrivateDaemon(Daemon):
    """The bundled binary as a child of this process, gone whenever and however the process goes."""

    backoff_seconds_max = 0.25

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the child and wait until it is gone."""
        with self._lock:
            super().close()
            self._end_process(_LEDGER_SECONDS if os.environ.get("FOREBAY_LEDGER_DIR") else _GOODBYE_SECONDS)

    def forget(self) -> None:
        """Leave the parent's child alone."""
        super().forget()
        if self._process is not None:
            self._process.returncode = 0  # not ours: nothing to wait for, and no ResourceWarning
            self._process = None

    def is_hopeless(self, outage: Outage) -> str:
        """Give up after a few deaths without one batch in between."""
        return f"it was lost {outage.losses} times without one batch" if outage.losses > _LOSSES_MAX else ""

    def _connect(self) -> Connection:
        self._end_process(0.0)
        binary = find_binary()
        ours, theirs = socket_pair()
        try:
            with theirs:
                self._process = _start(binary, theirs.fileno())
            return Connection(ours)
        except BaseException as error:
            ours.close()
            if not isinstance(error, ConnectionLostError) or self._process is None:
                raise
            status = self._process.wait(_GOODBYE_SECONDS)
            raise DaemonError(
                f"the daemon ended at its start with status {status}",
                causes=[binary],
                hint="its message is on stderr; `forebay doctor` checks the machine",
            ) from error

    def _end_process(self, patience_seconds: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stop, seconds in ((process.terminate, patience_seconds), (process.kill, 1.0)):
            try:
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                stop()
        process.wait()


class NodeDaemon(Daemon):
    """The daemon that listens on a Unix socket of this node."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def is_hopeless(self, outage: Outage) -> str:
        """Give up after a minute: an upgrade takes seconds."""
        limit = float(os.environ.get("FOREBAY_RECONNECT_SECONDS", _RECONNECT_SECONDS))
        return f"{self.path} did not answer for {limit:.0f} s" if outage.seconds() > limit else ""

    def _connect(self) -> Connection:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(self.path)
        except OSError as error:
            sock.close()
            raise self._explained(error) from error
        try:
            return Connection(sock)
        except BaseException:
            sock.close()
            raise

    def _explained(self, error: OSError) -> DaemonError | DeniedError:
        cause = [error.strerror or str(error)]
        what = f"connect to the daemon at {self.path}"
        if isinstance(error, FileNotFoundError):
            hint = "start it with `forebay serve`, or unset FOREBAY_SOCKET to use a private one"
        elif isinstance(error, ConnectionRefusedError):
            hint = "nobody listens there any more: start `forebay serve` again, or unset FOREBAY_SOCKET"
        elif isinstance(error, PermissionError):
            hint = "the socket is 0660: join its group (`ls -l` shows it), or unset FOREBAY_SOCKET"
            return DeniedError(what, causes=cause, hint=hint)
        else:
            hint = "FOREBAY_SOCKET (or daemon=) names the SEQPACKET socket that `forebay serve` listens on"
        return DaemonError(what, causes=cause, hint=hint)


_registry_lock = threading.Lock()
_private: PrivateDaemon | None = None
_nodes: dict[str, NodeDaemon] = {}


def get_daemon(address: str | os.PathLike[str] | None = None) -> Daemon:
    """Give the node's daemon where `address` or FOREBAY_SOCKET names its socket, else this process's own.

    Nothing is started or connected before its first use.
    """
    global _private
    path = os.fspath(address) if address is not None else os.environ.get("FOREBAY_SOCKET", "")
    with _registry_lock:
        if path:
            return _nodes.setdefault(path, NodeDaemon(path))
        if _private is None:
            _private = PrivateDaemon()
        return _private


def find_binary() -> str:
    """Find the `forebay` command: FOREBAY_BINARY, then beside this Python, then PATH."""
    chosen = os.environ.get("FOREBAY_BINARY", "")
    if chosen:
        if not os.access(chosen, os.X_OK) or os.path.isdir(chosen):
            raise NotFoundError(
                f"FOREBAY_BINARY={chosen} is not an executable file",
                hint="unset it to use the bundled one, or point it to a built `forebay`",
            )
        return chosen
    folders = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable)]
    folders += [sysconfig.get_path("scripts", f"{os.name}_user"), os.environ.get("PATH", os.defpath)]
    found = shutil.which("forebay", path=os.pathsep.join(folders))
    if found is None:
        raise NotFoundError(
            "the `forebay` command was not found beside Python nor on PATH",
            hint="`pip install forebay` brings it; or set FOREBAY_BINARY, or FOREBAY_SOCKET to join a daemon",
        )
    return found


def share() -> list[str]:
    """Give what the binary is to know of torchrun's LOCAL_WORLD_SIZE: so many processes share the node's processors."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "")
    return ["--share-of", processes] if processes.isdigit() and int(processes) > 1 else []


def _start(binary: str, socket_fd: int) -> subprocess.Popen[bytes]:
    command = [binary, "serve", "--private-fd", str(socket_fd), *share()]
    descriptors = [socket_fd]
    try:
        descriptors.append(os.pidfd_open(os.getpid()))
        command += ["--parent-pidfd", str(descriptors[1])]
    except OSError as error:
        say(f"no pidfd here ({error}): the daemon will know our end by its socket alone")
    try:
        # Not our process group: Ctrl-C is for the training, which then tells the daemon.
        return subprocess.Popen(
            command,
            pass_fds=descriptors,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    except OSError as error:
        raise NotFoundError(
            f"start {binary}",
            causes=[error.strerror or str(error)],
            hint="is it built for this machine? FOREBAY_BINARY names another one",
        ) from error
    finally:
        for descriptor in descriptors[1:]:
            os.close(descriptor)


def _unlock_in_child() -> None:
    global _registry_lock
    _registry_lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)


@atexit.register
def shutdown() -> None:
    """Close every connection and end the private child, at the latest when Python exits."""
    for daemon in ([_private] if _private else []) + list(_nodes.values()):
        daemon.close()
