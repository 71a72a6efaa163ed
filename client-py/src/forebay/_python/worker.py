"""What runs in a worker process: tasks in, samples into their places, until the loader is gone."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import traceback
from typing import Any, cast

from .._batch import Array
from .channel import Channel, Message
from .clock import Clock, Spent
from .collate import Collated, is_rows
from .fetch import Fetcher, StoppedError
from .rest import Rest, arrays_of
from .seeds import Place, plant, seeds_of
from .shape import Layout, Node, Writer, shape_of
from .slots import mapped
from .tasks import CONTROL_BYTES, STREAMS, Done, Failed, Forget, Hello, Own, Ready, Shape, Share, Task, Void
from .whole import Room, pack, unpack

# True in the processes that a loader starts: they must start none themselves.
in_worker = False


def run(sock: socket.socket, inherited: Own | None = None) -> None:
    """Serve a loader at the other end of `sock`. `inherited`: the user's part, in a forked process."""
    global in_worker
    in_worker = True
    # Ctrl-C is for the training, which then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel = Channel(sock)
    try:
        first, *messages = channel.wait()
        worker = _begun(channel, first, inherited)
        while worker is not None:
            for message in messages:
                worker.hear(message.body, message.descriptors)
            messages = channel.wait()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the loader is gone, or wants no more
    finally:
        channel.close()


def _begun(channel: Channel, first: Message, inherited: Own | None) -> _Worker | None:
    """Take the user's part and run his start function; where that fails, say so."""
    hello = cast("Hello", first.body)
    try:
        control = mapped(first.descriptors[0], CONTROL_BYTES)
        own = inherited if inherited is not None else _own_of(hello, first.descriptors[1:])
        worker = _Worker(channel, hello, own, control)
        worker.start()
    except Exception as error:
        channel.send_all(failure(-1, -1, error))
        return None
    channel.send_all(Ready())
    return worker


def _own_of(hello: Hello, descriptors: list[int]) -> Own:
    """Unpickle the user's part over the pages that all workers share until they write to them."""
    assert hello.packed is not None
    memory = mapped(descriptors[0], hello.packed.used, private=True) if descriptors else b""
    return cast("Own", unpack(hello.packed, memory))


class _Worker:
    def __init__(self, channel: Channel, hello: Hello, own: Own, control: Array) -> None:
        self._channel, self._hello, self._own = channel, hello, own
        page = memoryview(cast("Any", control))
        self._voids, self._places = page[:STREAMS], page[STREAMS:].cast("Q")
        self._stream = 0
        self._fetcher = Fetcher(own.dataset, hello.seed, self._note)
        self._collate = Collated(hello.modes) if hello.modes is not None else None
        self._is_rows = is_rows(hello.modes)
        self._slots: dict[int, tuple[Share, Array]] = {}
        self._node: Node | None = None
        self._layout: Layout | None = None
        self._writers: dict[tuple[int, int, int], Writer] = {}
        self._knows_torch = False
        self._clock = Clock()

    def start(self) -> None:
        """Do what torch does in a new worker: seeds, one thread, `get_worker_info()`, the user's function."""
        number = self._hello.number
        plant(seeds_of(self._hello.seed, Place(0, number), b"worker"))
        self._tell_torch()
        if self._own.worker_init is not None:
            self._own.worker_init(number)
        self._tell_torch()

    def hear(self, message: Any, descriptors: list[int]) -> None:
        """Do what the loader says, and answer tasks."""
        if isinstance(message, Task):
            self._answer(message)
        elif isinstance(message, Share):
            self._slots[message.slots] = (message, mapped(descriptors[0], message.slot_bytes * message.slots_count))
        elif isinstance(message, Shape):
            self._node, self._layout = message.node, None
            self._writers.clear()
        elif isinstance(message, Forget):
            self._writers = {key: writer for key, writer in self._writers.items() if key[0] != message.slots}
            self._slots.pop(message.slots, None)

    def _note(self, place: int) -> None:
        self._places[self._hello.number] = place
        if self._voids[self._stream]:
            raise StoppedError

    def _answer(self, task: Task) -> None:
        self._stream = task.stream
        self._fetcher.draws.needed |= task.draws
        started = self._clock.now()
        try:
            done, descriptor = self._done(task)
        except StoppedError:
            self._channel.send_all(Void(task.number))
            return
        except BaseException as error:
            self._channel.send_all(failure(task.number, self._places[self._hello.number], error))
            return
        done = done._replace(spent=self._clock.now().minus(started), draws=self._fetcher.draws.needed)
        self._channel.send_all(done, () if descriptor < 0 else (descriptor,))
        if descriptor >= 0:
            os.close(descriptor)
        if not self._knows_torch:
            self._tell_torch()

    def _done(self, task: Task) -> tuple[Done, int]:
        if task.decoded is None:
            return self._made(task)
        share, memory = self._slots[task.decoded.slots]
        rest = cast("Rest", self._own.dataset)
        rest.arrays = arrays_of(task.decoded, memory, share.slot_bytes)
        try:
            return self._made(task)
        finally:
            rest.arrays = []

    def _made(self, task: Task) -> tuple[Done, int]:
        if task.kind == "probe":
            sample = self._fetcher.one(task.keys)
            return Done(task.number, Spent(), 0, node=shape_of(sample) if self._is_rows else None), -1
        if task.kind == "rows":
            return Done(task.number, Spent(), 0, beside=self._write_rows(task)), -1
        packed, descriptor = self._packed(task)
        return Done(task.number, Spent(), 0, packed=packed), descriptor

    def _write_rows(self, task: Task) -> bytes:
        writer = self._writer(task)
        first = task.keys.begin
        writer.begin(first, len(task.keys.indices))
        put = writer.put

        def take(number: int, sample: Any) -> None:
            put(first + number, sample)

        self._fetcher.each(task.keys, take if first else put)
        return pickle.dumps(writer.beside, 5) if writer.beside else b""

    def _writer(self, task: Task) -> Writer:
        key = (task.slots, task.slot, task.rows)  # another number of rows has its columns elsewhere
        writer = self._writers.get(key)
        if writer is None:
            share, memory = self._slots[task.slots]
            if self._layout is None or self._layout.rows != task.rows:
                assert self._node is not None
                self._layout = Layout(self._node, task.rows)
            arrays = self._layout.arrays(memory, task.rows, task.slot * share.slot_bytes)
            writer = self._writers[key] = Writer(self._layout, arrays)
        return writer

    def _packed(self, task: Task) -> Any:
        samples: list[Any] = [None] * len(task.keys.indices)
        self._fetcher.each(task.keys, samples.__setitem__)
        memory = None
        if task.slots:
            share, whole = self._slots[task.slots]
            memory = whole[task.slot * share.slot_bytes :][: share.slot_bytes]
        room = Room(memory)
        self._note(len(samples))
        if self._collate is not None:
            return pack(self._collate(samples, room), room)
        plant(seeds_of(self._hello.seed, task.keys.place(0), b"collate"))
        return pack(self._own.collate(samples), room)

    def _tell_torch(self) -> None:
        """Have torch know that this is a worker, once somebody has loaded it."""
        torch = sys.modules.get("torch")
        inner: Any = sys.modules.get("torch.utils.data._utils.worker")
        if torch is None or inner is None or not hasattr(inner, "WorkerInfo"):
            return
        self._knows_torch = True
        torch.set_num_threads(1)
        number = self._hello.number
        seed = seeds_of(self._hello.seed, Place(0, number), b"worker").torch & ((1 << 63) - 1)
        info: dict[str, Any] = {"id": number, "num_workers": self._hello.workers, "seed": seed}
        inner._worker_info = inner.WorkerInfo(**info, dataset=self._own.dataset)


def failure(task: int, place: int, error: BaseException) -> Failed:
    """Describe what the user's code raised, so that the loader can raise it again."""
    words = "".join(traceback.format_exception_only(type(error), error)).strip()
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Failed(task, place, _pickled(error), words, trace)


def _pickled(error: BaseException) -> bytes:
    """Pickle an exception, if it can be made again from that. A StopIteration would end the epoch without a word."""
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        return b""
    try:
        made = pickle.dumps(error, 5)
        return made if type(pickle.loads(made)) is type(error) else b""
    except Exception:
        return b""
