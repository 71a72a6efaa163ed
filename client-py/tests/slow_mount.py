"""A file system in user space that shows a folder and is slow: each file takes so long to open.

    python slow_mount.py SOURCE MOUNTPOINT DELAY_MS THREADS TOGETHER

Speaks the kernel's protocol on /dev/fuse (include/uapi/linux/fuse.h) itself, as much of it as reading files
needs, so that the test needs root and no library. Prints a line when it is mounted; ends when its stdin does,
and prints how many files were being opened at the same time at most.

The first ones wait until TOGETHER files are being opened, though not for ever: so it shows how many a reader asks
for at a time, however busy the machine. With 1 none waits.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
import threading
import time

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 27, 28, 29, 36, 38, 42
UNANSWERED = (FORGET, BATCH_FORGET, INTERRUPT, DESTROY)
KEPT_SECONDS = 3600
TOGETHER_SECONDS = 20
DIRECT_IO = 1
MNT_DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)


class SlowFiles:
    """The paths behind the kernel's node numbers, and an answer to each request."""

    def __init__(self, source: str, delay_seconds: float, together: int, fuse: int) -> None:
        self.delay_seconds, self.together, self.fuse = delay_seconds, together, fuse
        self.paths = {1: source}
        self.numbers = {source: 1}
        self.lock = threading.Lock()
        self.opened = threading.Condition(self.lock)
        self.opening = self.opening_most = 0

    def serve(self) -> None:
        """Answer requests until the file system is unmounted. Any number of threads may."""
        while True:
            try:
                request = os.read(self.fuse, (1 << 20) + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return
            operation, unique, node = struct.unpack_from("<4xIQQ", request)
            if operation in UNANSWERED:
                continue
            try:
                body, status = self.answer(operation, node, request[40:]), 0
            except OSError as error:
                body, status = b"", -(error.errno or errno.EIO)
            try:
                os.write(self.fuse, struct.pack("<IiQ", 16 + len(body), status, unique) + body)
            except OSError as error:
                if error.errno != errno.ENOENT:  # the request was interrupted
                    return

    def answer(self, operation: int, node: int, body: bytes) -> bytes:
        if operation == INIT:
            _, _, read_ahead = struct.unpack_from("<III", body)
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, read_ahead, 0, 64, 48, 1 << 20, 1, 0, 0, 0)
        path = self.paths[node]
        if operation == LOOKUP:
            return self.entry(os.path.join(path, os.fsdecode(body.rstrip(b"\0"))))
        if operation == GETATTR:
            return struct.pack("<QII", KEPT_SECONDS, 0, 0) + attributes(os.stat(path), node)
        if operation == OPEN:
            with self.opened:
                self.opening += 1
                self.opening_most = max(self.opening_most, self.opening)
                self.opened.notify_all()
                self.opened.wait_for(lambda: self.opening_most >= self.together, TOGETHER_SECONDS)
            time.sleep(self.delay_seconds)
            with self.lock:
                self.opening -= 1
            return struct.pack("<QII", os.open(path, os.O_RDONLY | os.O_CLOEXEC), DIRECT_IO, 0)
        if operation == OPENDIR:
            return struct.pack("<QII", 0, 0, 0)
        if operation in (READ, READDIR):
            handle, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(handle, size, offset) if operation == READ else self.entries(path, offset, size)
        if operation in (RELEASE, RELEASEDIR, FLUSH):
            if operation == RELEASE:
                os.close(struct.unpack_from("<Q", body)[0])
            return b""
        if operation == STATFS:
            return bytes(80)
        raise OSError(errno.ENOSYS, "not served")

    def number(self, path: str) -> int:
        with self.lock:
            number = self.numbers.setdefault(path, len(self.numbers) + 1)
            self.paths[number] = path
            return number

    def entry(self, path: str) -> bytes:
        stat, number = os.stat(path), self.number(path)
        return struct.pack("<QQQQII", number, 0, KEPT_SECONDS, KEPT_SECONDS, 0, 0) + attributes(stat, number)

    def entries(self, path: str, offset: int, size: int) -> bytes:
        out = b""
        for index, name in enumerate(sorted(os.listdir(path))[offset:], offset + 1):
            raw, full = os.fsencode(name), os.path.join(path, name)
            kind = 4 if os.path.isdir(full) else 8
            entry = struct.pack("<QQII", self.number(full), index, len(raw), kind) + raw
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out


def attributes(stat: os.stat_result, number: int) -> bytes:
    seconds = (int(stat.st_atime), int(stat.st_mtime), int(stat.st_ctime))
    head = struct.pack("<QQQQQQIII", number, stat.st_size, -(-stat.st_size // 512), *seconds, 0, 0, 0)
    return head + struct.pack("<IIIIIII", stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid, 0, 4096, 0)


def main() -> None:
    source, mountpoint, delay_ms, threads, together = sys.argv[1:]
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if LIBC.mount(b"forebay-slow", mountpoint.encode(), b"fuse", 1, options.encode()) != 0:  # 1: read-only
        sys.exit(f"mount {mountpoint}: {os.strerror(ctypes.get_errno())}")
    try:
        files = SlowFiles(source, float(delay_ms) / 1000, int(together), fuse)
        for _ in range(int(threads)):
            threading.Thread(target=files.serve, daemon=True).start()
        print("mounted", flush=True)
        sys.stdin.read()
        print(files.opening_most, flush=True)
    finally:
        LIBC.umount2(mountpoint.encode(), MNT_DETACH)


if __name__ == "__main__":
    main()
