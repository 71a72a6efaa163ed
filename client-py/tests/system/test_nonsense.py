"""A client that sends nonsense: it is told so and cut off, others are served on, and memory stays flat."""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import random
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay import _wire
from forebay._daemon import Connection
from forebay._socket import socket_pair
from forebay.errors import ForebayError, InvalidError, UnimplementedError
from forebay.numpy import DataLoader

from .batches import batch_digest
from .support import SMALL, Node, is_alive, pick, rss_bytes, wait_until

U64 = 2**64 - 1
U32 = 2**32 - 1


@pytest.fixture
def served(folder: Path, node: Node) -> Iterator[Node]:
    """Have a well-behaved client train beside the test, and check its data and the daemon in the end."""
    with DataLoader(folder, batch_size=4, shuffle=True, transform=SMALL, daemon=node.socket) as loader:
        wanted = [batch_digest(batch) for batch in loader]
        loader.set_epoch(0)
        other = iter(loader)
        got = [batch_digest(next(other)) for _ in range(3)]
        yield node
        got += [batch_digest(batch) for batch in other]
        assert got == wanted
        assert loader.stats()["restarts"] == 0
    with DataLoader(folder, batch_size=4, shuffle=True, transform=SMALL, daemon=node.socket) as loader:
        assert [batch_digest(batch) for batch in loader] == wanted
    assert is_alive(node.pid)
    assert "panicked" not in node.words(), node.words()
    wait_until(lambda: not node.sessions(), "no session is left")


class Raw:
    """A client that says what it is told to."""

    def __init__(self, node: Node, folder: Path, **opening: Any) -> None:
        self.connection = Connection(node.connect())
        with DataLoader(folder, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
            spec = loader._spec
        self.job = self.connection.request("resolve", {"spec": spec})["job"]
        self.reply = self.open(**opening)
        self.socket = self.connection.attach(int(self.reply["session"]))
        self.socket.settimeout(10)

    def open(self, **changes: Any) -> dict[str, Any]:
        """Open a session of small batches."""
        digests = {name: self.job[name] for name in ("order_digest", "content_digest")}
        return self.connection.request("open", {"job": digests, "rows": 4, "delivery": "DELIVERY_LOCAL", **changes})

    def send(self, record: bytes, *fds: int) -> None:
        """Send one record, waiting up to 10 s."""
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([record], beside)

    def receive(self) -> bytes:
        """Receive one record; its descriptors are closed."""
        data, fds, _, _ = socket.recv_fds(self.socket, 65536, 4)
        for fd in fds:
            os.close(fd)
        return data

    def until(self, kind: int) -> bytes:
        """Receive until a record of this kind; empty where the socket ended first."""
        while True:
            data = self.receive()
            if not data or data[0] == kind:
                return data

    def close(self) -> None:
        """Leave."""
        self.socket.close()
        self.connection.close()


@pytest.fixture
def raw(served: Node, folder: Path) -> Iterator[Raw]:
    made = Raw(served, folder)
    yield made
    made.close()


def random_records(draw: random.Random, count: int) -> Iterator[bytes]:
    """Draw records of random kinds, lengths and contents, some of them almost right."""
    kinds = [0x01, 0x02, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x00, 0xFF]
    for _ in range(count):
        size = draw.choice([1, 7, 8, 9, 15, 16, 24, 31, 32, 33, 40, 96, 200, 2000, 5000])
        record = bytearray(draw.randbytes(size))
        if draw.random() < 0.8:
            record[0] = draw.choice(kinds)
        yield bytes(record)


# The control socket


def test_random_records_on_the_control_socket(served: Node) -> None:
    draw = random.Random(5)
    for record in random_records(draw, pick(300, 5000)):
        with served.connect() as sock, contextlib.suppress(OSError):
            if draw.random() < 0.5:
                hello = {"id": 1, "hello": {"version_min": 1, "version_max": 1, "client": "x"}}
                sock.send(_wire.encode_control(hello)[0])
                sock.recv(65536)
            sock.send(record)


@pytest.mark.parametrize(("body", "word"), [
    ("", "EOF"),
    ("nonsense", "expected"),
    ("[]", "request"),
    ("{}", "without a call"),
    ('{"id": 1, "hello": {"version_min": 7, "version_max": 9}}', "7 to 9"),
    ('{"id": 1, "stats": {}}', "must be hello"),
    ('{"id": 1, "helo": {}}', "helo"),
    ('{"id": 1, "hello": {"colour": 1}}', "colour"),
    ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "request"),
    ('{"open":' + "[" * 5000, "request"),
])  # fmt: skip
def test_a_wrong_request_is_answered_with_what_is_wrong(served: Node, body: str, word: str) -> None:
    with served.connect() as sock:
        sock.settimeout(10)
        sock.send(struct.pack("<BBHI", _wire.CONTROL, 0, 0, 0) + body.encode("latin-1"))
        reply = json.loads(sock.recv(65536)[8:])
    assert word in reply["error"]["message"]
    assert reply["error"]["kind"] == "ERROR_KIND_INVALID"


@pytest.mark.parametrize(
    "record", [b"\x01", b"\x01\0\0\0\0\0\0", b"\x77" * 20, b"\x11" + b"\0" * 95, b"\x02" + b"\0" * 7]
)
def test_a_broken_control_record_is_answered_and_ends_the_connection(served: Node, record: bytes) -> None:
    with served.connect() as sock:
        sock.settimeout(10)
        sock.send(record)
        reply = json.loads(sock.recv(65536)[8:])
        assert "docs/wire.md" in reply["error"]["hint"]
        assert sock.recv(65536) == b""


def test_a_message_over_64_mib_is_refused_and_its_memory_given_back(served: Node) -> None:
    before = rss_bytes(served.pid)
    fragment = struct.pack("<BBHI", _wire.CONTROL, _wire.MORE, 0, 0) + b" " * 65_528
    for _ in range(pick(1, 5)):
        with served.connect() as sock:
            sock.settimeout(20)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(65 * 16 + 1):
                    sock.send(fragment)
            reply = json.loads(sock.recv(65536)[8:])
            assert "67108864 bytes" in reply["error"]["message"]
            assert "file" in reply["error"]["hint"]
            assert sock.recv(65536) == b""
    wait_until(lambda: rss_bytes(served.pid) < before + (24 << 20), "the memory is given back")


def test_a_record_longer_than_any_ends_the_connection(served: Node) -> None:
    with served.connect() as sock:
        sock.settimeout(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.send(b"\x01" + b"\0" * 100_000)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(65536) == b""


def test_too_many_descriptors_are_closed(served: Node) -> None:
    time.sleep(0.2)
    before = served.holdings()
    with open("/dev/null") as null, served.connect() as sock:
        beside = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 200))
        for _ in range(20):
            with contextlib.suppress(OSError):
                sock.sendmsg([_wire.encode_attach(1)], [beside])
    wait_until(lambda: served.holdings() == before, f"descriptors are {before} again")


def test_a_session_attached_to_something_that_is_no_socket(served: Node, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    read, write = os.pipe()
    things = [
        os.open(tmp_path / "file", os.O_RDWR),
        os.open(tmp_path, os.O_RDONLY),
        os.open("/dev/null", os.O_RDWR),
        os.memfd_create("x"),
        read,
        write,
    ]
    for thing in things:
        client = Raw(served, folder)
        session = int(client.open()["session"])
        record = _wire.encode_attach(session)
        beside = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [thing]))
        client.connection._records.sock.sendmsg([record], [beside])
        client.close()
        os.close(thing)


def test_a_session_attached_twice_or_of_another_connection_is_refused(served: Node, raw: Raw, folder: Path) -> None:
    stranger = Raw(served, folder)
    for session in (int(raw.reply["session"]), 0, U64):
        with stranger.connection.attach(session) as sock:
            sock.settimeout(10)
            fault = _wire.decode_fault(sock.recv(65536))
            assert "is not open" in fault.error["message"]
            assert sock.recv(100) == b""
    stranger.close()


@pytest.mark.parametrize("changes", [
    {"rows": 0}, {"rows": U32}, {"depth": U32}, {"max_leases": U32}, {"weight": U32},
    {"cursor": {"epoch": 0, "position": str(U64)}},
    {"cursor": {"epoch": str(U64), "position": "0"}},
    {"partition": {"rank": 5, "size": 2}},
    {"partition": {"rank": 0, "size": U32}, "rows": 1 << 20},
    {"job": {"order_digest": "x", "content_digest": "y"}},
    {"job": {"order_digest": "0" * 64, "content_digest": "0" * 64}},
    {"stage": "STAGE_ENCODED"}, {"delivery": "DELIVERY_REMOTE"},
], ids=str)  # fmt: skip
def test_an_absurd_open_is_refused_or_served_but_never_fatal(raw: Raw, changes: dict[str, Any]) -> None:
    opened: dict[str, Any] = {}
    refused: ForebayError | None = None
    try:
        opened = raw.open(**changes)
    except ForebayError as error:
        refused = error
    if refused:
        assert refused.kind in ("invalid", "not_found", "unimplemented", "unavailable")
        return
    with raw.connection.attach(int(opened["session"])) as sock:
        sock.settimeout(10)
        sock.send(_wire.encode_credit(0, 3))
        while (data := sock.recv(65536))[0] == _wire.ARENA:
            continue
        assert data[0] in (_wire.READY, _wire.FAULT)


def test_calls_that_are_not_served_answer_unimplemented_by_name(raw: Raw) -> None:
    for call in ("fetch", "stream"):
        with pytest.raises(UnimplementedError, match=call):
            raw.connection.request(call, {})


# The session socket


def test_random_records_on_the_session_socket(served: Node, folder: Path) -> None:
    draw = random.Random(6)
    client: Raw | None = None
    for record in random_records(draw, pick(150, 3000)):
        client = client or Raw(served, folder)
        try:
            client.send(record)
            if draw.random() < 0.3:
                client.send(_wire.encode_credit(0, 1))
        except OSError:
            client.close()
            client = None
    if client:
        client.close()


@pytest.mark.parametrize(("record", "word"), [
    (b"\x20" + b"\0" * 3, "shorter than its header"),
    (b"\x20" + b"\0" * 16, "17 bytes"),
    (b"\x99" + b"\0" * 15, "0x99"),
    (b"\x11" + b"\0" * 95, "0x11"),
    (struct.pack("<BBHI", _wire.RELEASE, 0, 0, 0), ""),
    (struct.pack("<BBHI", _wire.RELEASE, 0, 65, 0) + b"\0" * 24 * 65, ""),
    (struct.pack("<BBHI", _wire.RELEASE, 0, 2, 0) + b"\0" * 24, ""),
    (_wire.encode_seek(5, 0, 0, 1), "sequence 5, expected 1"),
    (_wire.encode_seek(0, 0, 0, 1), "sequence 0, expected 1"),
])  # fmt: skip
def test_a_broken_session_record_is_a_fatal_fault_that_says_why(raw: Raw, record: bytes, word: str) -> None:
    raw.send(record)
    fault = _wire.decode_fault(raw.until(_wire.FAULT))
    assert fault.flags & _wire.FATAL
    assert word in fault.error["message"]
    assert "docs/wire.md" in fault.error["hint"]
    assert raw.receive() == b""


def test_a_descriptor_beside_a_session_record_is_a_fatal_fault(raw: Raw) -> None:
    with open("/dev/null") as null:
        raw.send(_wire.encode_credit(0, 1), null.fileno())
    fault = _wire.decode_fault(raw.until(_wire.FAULT))
    assert fault.flags & _wire.FATAL
    assert "descriptor" in fault.error["message"]


def test_releases_of_what_is_not_held_are_ignored(raw: Raw, node: Node) -> None:
    raw.send(_wire.encode_credit(0, 1))
    ready = _wire.decode_ready(raw.until(_wire.READY))
    for arena in (0, ready.arena, ready.arena + 1, U64):
        for slot in (0, ready.slot, ready.slot + 1, U32):
            for generation in (0, ready.generation - 1, ready.generation + 1, U64):
                if (arena, slot, generation) != (ready.arena, ready.slot, ready.generation):
                    raw.send(_wire.encode_release(0, arena, generation & U64, slot))
    raw.send(_wire.encode_credit(0, 1))
    again = _wire.decode_ready(raw.until(_wire.READY))
    assert (again.position, again.slot != ready.slot) == (ready.next_position, True)
    for _ in range(3):
        raw.send(_wire.encode_release(0, ready.arena, ready.generation, ready.slot))
    raw.send(_wire.encode_credit(0, 1))
    assert _wire.decode_ready(raw.until(_wire.READY)).position == again.next_position


def test_absurd_credit_gives_no_more_batches_than_there_are_slots(raw: Raw) -> None:
    for _ in range(5):
        raw.send(_wire.encode_credit(0, U32))
    raw.socket.settimeout(1)
    taken = 0
    with contextlib.suppress(TimeoutError):
        while raw.until(_wire.READY):
            taken += 1
    assert taken == int(raw.reply["slots"])


@pytest.mark.parametrize("cursor", [(0, U64), (U64, 0), (U64, U64), (2**63, 40), (0, 41), (0, 40)], ids=str)
def test_a_seek_to_nowhere_is_answered_and_the_next_one_served(raw: Raw, cursor: tuple[int, int]) -> None:
    raw.send(_wire.encode_seek(1, *cursor, 2))
    while (data := raw.receive())[0] == _wire.ARENA:
        continue
    if data[0] == _wire.FAULT:
        fault = _wire.decode_fault(data)
        assert fault.error["kind"] == "ERROR_KIND_INVALID"
        if fault.flags & _wire.FATAL:
            return
    raw.send(_wire.encode_seek(2, 3, 8, 1))
    while True:
        ready = _wire.decode_ready(raw.until(_wire.READY))
        if ready.sequence == 2:
            break
    assert (ready.epoch, ready.position) == (3, 8)


def test_thousands_of_seeks_leave_a_working_session(raw: Raw, node: Node) -> None:
    draw, before = random.Random(8), rss_bytes(node.pid)
    for sequence in range(1, pick(500, 20_000)):
        target = draw.randrange(10), draw.randrange(10) * 4
        raw.send(_wire.encode_seek(sequence, *target, draw.choice([0, 1, 4])))
        if draw.random() < 0.2:
            raw.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    data = raw.receive()
                    if data[0] == _wire.READY:
                        ready = _wire.decode_ready(data)
                        raw.send(_wire.encode_release(0, ready.arena, ready.generation, ready.slot))
            raw.socket.settimeout(10)
    assert rss_bytes(node.pid) - before < 24 << 20


def test_a_client_that_truncates_and_scribbles_over_its_arena_harms_itself_only(raw: Raw) -> None:
    import mmap

    data, fds, _, _ = socket.recv_fds(raw.socket, 65536, 4)
    announced = _wire.decode_arena(data)
    (memfd,) = fds
    for length in (0, 4096, announced.slot_bytes * announced.slots * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(memfd, length)
    with mmap.mmap(memfd, announced.slot_bytes * announced.slots) as mapping:
        raw.send(_wire.encode_credit(0, 2))
        for _ in range(200):
            mapping[:] = os.urandom(4096) * (len(mapping) // 4096)
    os.close(memfd)
    assert _wire.decode_ready(raw.until(_wire.READY)).rows == 4


# Too much of everything


def test_a_client_that_never_reads_holds_up_nobody(served: Node, folder: Path) -> None:
    silent = [Raw(served, folder) for _ in range(8)]
    for client in silent:
        client.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            for _ in range(5000):
                client.send(_wire.encode_credit(0, 1000))
    for client in silent:  # and one that asks and never reads the answers
        sock = client.connection._records.sock
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(_wire.encode_control({"id": 1, "open": {}})[0])
    assert len(served.sessions()) == 9
    for client in silent:
        client.close()


@pytest.mark.deadline(120)
def test_sessions_beyond_64_are_refused_by_name_and_cost_nothing_after(served: Node, folder: Path) -> None:
    before = rss_bytes(served.pid)
    client = Raw(served, folder)
    attached = [client.socket]
    while len(attached) < 64:
        attached.append(client.connection.attach(int(client.open()["session"])))
    for _ in range(1000):
        with pytest.raises(InvalidError, match="more than 64 open sessions"):
            client.open()
    attached.pop().close()
    wait_until(lambda: len(served.sessions()) == 64, "one is gone")
    attached.append(client.connection.attach(int(client.open()["session"])))
    for sock in attached:
        sock.close()
    client.close()
    wait_until(lambda: len(served.sessions()) == 1, "they are all gone")
    assert rss_bytes(served.pid) - before < 24 << 20


@pytest.mark.deadline(240)
def test_a_thousand_connections_with_a_session_each_end_in_a_clear_error_and_nothing_stays(
    served: Node, folder: Path
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 5000:
        pytest.skip("needs 5000 descriptors")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, hard))
    Raw(served, folder).close()  # a job that is resolved keeps its folder open
    wait_until(lambda: len(served.sessions()) == 1, "it is gone")
    time.sleep(0.2)
    before, memory = served.holdings(), rss_bytes(served.pid)
    clients: list[Raw] = []
    refused = 0
    try:
        for _ in range(pick(300, 1000)):
            try:
                clients.append(Raw(served, folder, depth=1, max_leases=1))
            except (ForebayError, OSError):
                refused += 1
                break
    finally:
        print(f"{len(clients)} sessions at once, {refused} refused")
        for client in clients:
            client.close()
        clients.clear()
        gc.collect()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: len(served.sessions()) == 1, "they are all gone")
    wait_until(lambda: served.holdings() == before, f"descriptors are {before} again")
    assert rss_bytes(served.pid) - memory < 48 << 20


def test_sessions_that_are_never_attached_go_with_their_connection(served: Node, folder: Path) -> None:
    client = Raw(served, folder)
    for _ in range(20):
        client.open()
    assert len(served.sessions()) == 22
    client.close()
    wait_until(lambda: len(served.sessions()) == 1, "they are gone")


def test_a_socket_pair_that_is_closed_at_once(served: Node, folder: Path) -> None:
    client = Raw(served, folder)
    for _ in range(50):
        session = int(client.open()["session"])
        ours, theirs = socket_pair()
        ours.close()
        client.connection._records.send(_wire.encode_attach(session), theirs.fileno())
        theirs.close()
    wait_until(lambda: len(served.sessions()) == 2, "they are gone")
    client.close()


@pytest.fixture
def node(make_node: Callable[[], Node], tmp_path: Path) -> Node:
    """Run a daemon on two threads, so that the figures hold on any machine."""
    return make_node().configure(tmp_path, cpu_threads=2).start()
