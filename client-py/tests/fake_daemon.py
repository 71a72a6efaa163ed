#!/usr/bin/env python3
"""A small daemon in pure Python that speaks docs/wire.md, so that the client's tests need no binary.

Its rows are patterns: a hash of (seed, epoch, sample, field), so that equal rows are equal bytes. Freed slots
are overwritten, so that a slot given back too early shows. FOREBAY_FAKE names a JSON file
`{"instances": [{...}, {...}]}`: how the first, second, ... daemon that starts misbehaves (the last entry also
serves all later ones); see `Script`.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import mmap
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from fake_job import Job, RefusedError, public, row_bytes

from forebay import _wire

F_ADD_SEALS, SEALS = 1033, 0x1 | 0x2 | 0x4  # SEAL, SHRINK, GROW


class Script:
    """What this instance does wrong. All are off unless named.

    die_before / die_after: "hello" | "resolve" | "open" | "attach" | "arena"; die_after_batches:
    count;
    close_after_batches, rubbish_after_batches: count; delay_ms: before each batch; resolve_delay_ms;
    hold: {file, after}: no batch is made behind the first `after` while the file is there;
    fault: {epoch, position, kind, fatal, times}; hello_version; fill: False leaves slots as they are;
    deaf_ms: reads nothing from sessions for so long after the first batch;
    content: changes the content digest; parts: False does not tell what the digests are made of;
    old: does not know device_decode;
    gpus: {address: NUMA node}: names the feature "gpu" and says where it put an arena;
    one_off_at: the batch (from 1) that comes in an arena of its own.
    """

    def __init__(self) -> None:
        path = os.environ.get("FOREBAY_FAKE", "")
        self.options: dict[str, Any] = {}
        if path:
            counter = os.open(path + ".count", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            index = os.fstat(counter).st_size
            os.write(counter, b".")
            os.close(counter)
            instances = json.loads(Path(path).read_text())["instances"]
            self.options = instances[min(index, len(instances) - 1)]
        self.batches = 0

    def __getitem__(self, name: str) -> Any:
        return self.options.get(name)

    def moment(self, when: str, what: str) -> None:
        if self.options.get(when) == what:
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Session:
    """One consumer: a cursor, slots, credit, and what waits for the socket."""

    def __init__(self, identity: int, job: Job, request: dict[str, Any], script: Script) -> None:
        self.id, self.job, self.script = identity, job, script
        self.rows = request["rows"]
        self.rank = request.get("partition", {}).get("rank", 0)
        self.size = request.get("partition", {}).get("size", 0) or 1
        self.tail = request.get("tail", "TAIL_PARTIAL")[5:]
        self.depth = request.get("depth", 0) or 2
        self.max_leases = request.get("max_leases", 0) or 3
        self.rolling = request.get("rolling", False)
        self.specs = list(job.tensors)
        policy = job.spec.get("on_bad_sample", {}).get("policy", "")
        if self.tail != "DROP" or policy.endswith("MASK"):
            self.specs.append({"name": "valid", "dtype": "DTYPE_UINT8", "dims": []})
        cursor = request.get("cursor", {})
        self.epoch, self.position = int(cursor.get("epoch", 0)), int(cursor.get("position", 0))
        if self.steps(self.position) == 0 and self.position:
            self.epoch, self.position = self.epoch + 1, 0
        self.slot_bytes = -(-sum(-(-row_bytes(t) * self.rows // 64) * 64 for t in self.specs) // 4096) * 4096
        self.slots = self.depth + self.max_leases
        self.sock: socket.socket | None = None
        self.free = list(range(self.slots))
        self.generations = [0] * self.slots
        self.leased: set[int] = set()
        self.credit = self.sequence = self.made = self.delivered = self.seeks = self.bad_releases = 0
        self.one_offs_released = 0
        self.stopped = False
        self.pending: list[tuple[bytes, int | None]] = []
        self.deaf_until = 0.0

    def steps(self, position: int) -> int:
        left, step = max(0, len(self.job.samples) - position), self.rows * self.size
        return left // step if self.tail == "DROP" else -(-left // step)

    def reply(self) -> dict[str, Any]:
        return {
            "session": str(self.id),
            "cursor": {"epoch": str(self.epoch), "position": str(self.position)},
            "steps": str(self.steps(self.position)),
            "stepsEpoch": str(self.steps(0)),
            "slotBytes": str(self.slot_bytes),
            "slots": self.slots,
            "depth": self.depth,
            "maxLeases": self.max_leases,
            "tensors": [public(tensor) for tensor in self.specs],
        }

    def attach(self, sock: socket.socket) -> None:
        self.script.moment("die_before", "arena")
        sock.setblocking(False)
        self.sock = sock
        memfd = os.memfd_create("fake-arena", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(memfd, self.slot_bytes * self.slots)
        fcntl.fcntl(memfd, F_ADD_SEALS, SEALS)
        self.memory = mmap.mmap(memfd, self.slot_bytes * self.slots)
        self.pending.append((_wire.encode_arena(0, 0, self.id, self.slot_bytes, self.slots), memfd))

    def take(self, data: bytes) -> None:
        kind = data[0]
        if kind == _wire.CREDIT:
            if _wire.decode_header(data).sequence == self.sequence:
                self.credit += _wire.decode_credit(data)[0]
        elif kind == _wire.RELEASE:
            for release in _wire.decode_releases(data):
                self.release(release)
        elif kind == _wire.SEEK:
            self.sequence, self.epoch, self.position, self.credit = _wire.decode_seek(data)
            self.stopped, self.seeks = False, self.seeks + 1
            self.pending = [(record, fd) for record, fd in self.pending if record[0] == _wire.ARENA]
        else:
            raise ValueError(f"record of kind {kind}")

    def release(self, release: _wire.Release) -> None:
        slot = release.slot
        if release.arena == 1000 + self.id:
            self.one_offs_released += 1
            return
        if release.arena != self.id or slot not in self.leased or self.generations[slot] != release.generation:
            self.bad_releases += 1
            return
        self.leased.remove(slot)
        self.free.append(slot)
        if self.script["fill"] is not False:
            start = slot * self.slot_bytes
            self.memory[start : start + self.slot_bytes] = b"\xee" * self.slot_bytes

    def pump(self) -> bool:
        """Send what can be sent; give False when the session is over."""
        while True:
            while self.pending:
                record, descriptor = self.pending[0]
                ancillary = (
                    []
                    if descriptor is None
                    else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
                )
                try:
                    self.sock.sendmsg([record], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    return True
                except OSError:
                    return False
                self.pending.pop(0)
                if descriptor is not None:
                    os.close(descriptor)
                    self.script.moment("die_after", "arena")
                elif record[0] == _wire.READY and not self.after_batch():
                    return False
            if self.stopped or not self.credit or not self.free:
                return True
            if self.steps(self.position) == 0:
                self.end_of_epoch()
            else:
                self.step()

    def after_batch(self) -> bool:
        self.script.batches += 1
        if self.script["deaf_ms"] and self.script.batches == 1:
            self.deaf_until = time.monotonic() + self.script["deaf_ms"] / 1000
        if self.script["die_after_batches"] == self.script.batches:
            die()
        if self.script["rubbish_after_batches"] == self.script.batches:
            self.pending.append((os.urandom(40), None))
        return self.script["close_after_batches"] != self.script.batches

    def end_of_epoch(self) -> None:
        self.credit -= 1
        self.stopped = True
        ready = _wire.Ready(
            _wire.EMPTY, self.sequence, 0, 0, 0, 0, self.epoch, 0, self.position, self.epoch + 1, 0,
            0, 0, 0, 0, 0, (),
        )  # fmt: skip
        self.pending.append((_wire.encode_ready(ready), None))

    def one_off(self, data: bytes) -> int:
        """Announce an arena for one batch that is made of `data`."""
        memfd = os.memfd_create("fake-one-off", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.write(memfd, data)
        fcntl.fcntl(memfd, F_ADD_SEALS, SEALS)
        record = _wire.encode_arena(_wire.ONE_OFF, self.sequence, 1000 + self.id, len(data), 1)
        self.pending.append((record, memfd))
        return 1000 + self.id

    def step(self) -> None:
        fault = self.script["fault"]
        if fault and (fault["epoch"], fault["position"]) == (self.epoch, self.position) and fault["times"] > 0:
            fault["times"] -= 1
            error = {"kind": fault["kind"], "message": "decode", "object": "a/0.png", "hint": "mend it"}
            flags = _wire.FATAL if fault.get("fatal") else 0
            record = _wire.encode_fault(_wire.Fault(flags, self.sequence, self.epoch, self.position, error))
            self.pending.append((record, None))
            self.stopped = True
            return
        if self.script["delay_ms"]:
            time.sleep(self.script["delay_ms"] / 1000)
        hold = self.script["hold"]
        while hold and self.made >= hold["after"] and os.path.exists(hold["file"]):
            time.sleep(0.005)
        self.made += 1
        total, start, step = len(self.job.samples), self.position, self.rows * self.size
        rows = self.rows
        if self.tail == "PARTIAL" and start + step > total:
            rows = -(-(total - start) // self.size)
        first = start + self.rank * rows
        indices = range(first, first + rows)
        slot = self.free.pop(0)
        self.generations[slot] += 1
        self.leased.add(slot)
        tensors, offset, base = [], 0, slot * self.slot_bytes
        for index, spec in enumerate(self.specs):
            length = row_bytes(spec) * rows
            if self.script["fill"] is not False:
                if index < len(self.job.tensors):
                    data = b"".join(self.job.cell(self.epoch, row % total, index) for row in indices)
                else:
                    data = bytes(row < total for row in indices)
                self.memory[base + offset : base + offset + length] = data
            tensors.append(_wire.Tensor(offset, length, (rows, *spec["dims"])))
            offset += -(-length // 64) * 64
        arena, generation = self.id, self.generations[slot]
        if self.script["one_off_at"] == self.delivered + 1:
            arena = self.one_off(self.memory[base : base + self.slot_bytes])
            self.release(_wire.Release(self.id, generation, slot))
            slot = 0
        end = start + step
        is_last = self.steps(end) == 0
        following = (self.epoch + 1, 0) if is_last else (self.epoch, end)
        ready = _wire.Ready(
            _wire.LAST if is_last else 0, self.sequence, arena, slot, rows, generation,
            self.epoch, first, start, *following, sum(row < total for row in indices), 0, 10, 20, 0,
            tuple(tensors),
        )  # fmt: skip
        self.pending.append((_wire.encode_ready(ready), None))
        self.credit -= 1
        self.delivered += 1
        self.epoch, self.position = following
        self.stopped = is_last and not self.rolling


class Server:
    def __init__(self) -> None:
        self.script = Script()
        self.selector = selectors.DefaultSelector()
        self.jobs: dict[tuple[str, str], Job] = {}
        self.sessions: dict[int, Session] = {}
        self.attached: dict[socket.socket, Session] = {}
        self.opened = 0
        self.parts: dict[socket.socket, list[bytes]] = {}

    def control(self, sock: socket.socket, on_end: Any) -> None:
        sock.setblocking(True)
        self.parts[sock] = []
        self.selector.register(sock, selectors.EVENT_READ, lambda: self.on_control(sock, on_end))

    def on_control(self, sock: socket.socket, on_end: Any) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(sock, _wire.CONTROL_RECORD_BYTES_MAX, 4)
        except OSError:
            data, descriptors = b"", []
        if not data:
            self.selector.unregister(sock)
            sock.close()
            on_end()
            return
        header = _wire.decode_header(data)
        if header.kind == _wire.ATTACH:
            self.script.moment("die_before", "attach")
            self.attach(_wire.decode_attach(data), socket.socket(fileno=descriptors[0]))
            self.script.moment("die_after", "attach")
            return
        self.parts[sock].append(data[8:])
        if header.flags & _wire.MORE:
            return
        request = _wire.decode_control(self.parts[sock])
        self.parts[sock] = []
        call = next(key for key in request if key != "id")
        self.script.moment("die_before", call)
        try:
            reply = {call: getattr(self, call)(request[call])}
        except RefusedError as refused:
            reply = {"error": refused.error}
        for record in _wire.encode_control({"id": str(request["id"]), **reply}):
            try:
                sock.send(record, socket.MSG_NOSIGNAL)
            except OSError:
                return
        self.script.moment("die_after", call)

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        version = self.script["hello_version"] or 1
        if not request["version_min"] <= version <= request["version_max"]:
            raise RefusedError("UNIMPLEMENTED", f"versions 1 to 1 are asked for and {version} is spoken")
        features = [*(["gpu"] if self.script["gpus"] else []), *([] if self.script["old"] else ["device_decode"])]
        instance = str(os.getpid())
        return {"version": version, "daemon": "fake/0", "instance": instance, "pid": os.getpid(), "features": features}

    def resolve(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.script["resolve_delay_ms"]:
            time.sleep(self.script["resolve_delay_ms"] / 1000)
        job = Job(request["spec"], self.script)
        self.jobs[job.order_digest, job.content_digest] = job
        return {"job": job.reply()}

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self.jobs.get((request["job"]["order_digest"], request["job"]["content_digest"]))
        if job is None:
            raise RefusedError("NOT_FOUND", "this job was not resolved here")
        self.opened += 1
        session = self.sessions[self.opened] = Session(self.opened, job, request, self.script)
        node = (self.script["gpus"] or {}).get(request.get("gpu"))
        return session.reply() if node is None else {**session.reply(), "numaNode": node}

    def stats(self, _: dict[str, Any]) -> dict[str, Any]:
        sessions = [
            {
                "session": str(session.id),
                "batches": str(session.delivered),
                "slotsLeased": len(session.leased),
                "slots": session.slots,
                "seeks": session.seeks,
                "badReleases": session.bad_releases,
                "oneOffsReleased": session.one_offs_released,
            }
            for session in self.attached.values()
        ]
        cpu_us = int(time.process_time() * 1e6)
        return {
            "instance": str(os.getpid()),
            "cpuUs": str(cpu_us),
            "opened": self.opened,
            "sessions": sessions,
        }

    def attach(self, identity: int, sock: socket.socket) -> None:
        session = self.sessions.pop(identity)
        session.attach(sock)
        self.attached[sock] = session
        self.selector.register(sock, selectors.EVENT_READ, lambda: self.on_session(sock))
        self.pump(sock)

    def on_session(self, sock: socket.socket) -> None:
        session = self.attached[sock]
        if time.monotonic() < session.deaf_until:
            time.sleep(session.deaf_until - time.monotonic())
        try:
            while True:
                data = sock.recv(4096, socket.MSG_DONTWAIT)
                if not data:
                    self.end(sock)
                    return
                session.take(data)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ECONNRESET:
                raise
            self.end(sock)
            return
        self.pump(sock)

    def pump(self, sock: socket.socket) -> None:
        session = self.attached[sock]
        if not session.pump():
            self.end(sock)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if session.pending else 0)
        self.selector.modify(sock, events, lambda: self.on_session(sock))

    def end(self, sock: socket.socket) -> None:
        self.selector.unregister(sock)
        del self.attached[sock]
        sock.close()

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.fileobj in self.selector.get_map():
                    key.data()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
    server = Server()
    if "--private-fd" in options:
        server.control(socket.socket(fileno=int(options["--private-fd"])), lambda: os._exit(0))
        if "--parent-pidfd" in options:
            server.selector.register(int(options["--parent-pidfd"]), selectors.EVENT_READ, lambda: os._exit(0))
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(options["--socket"])
        listener.listen(64)
        server.selector.register(
            listener, selectors.EVENT_READ, lambda: server.control(listener.accept()[0], lambda: None)
        )
    server.run()


if __name__ == "__main__":
    main()
