"""A device for tests: memory of its own, and a thread that copies to it late, from addresses and not from views."""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

import torch

from forebay._gpu_cast import Cast
from forebay._gpu_nested import changed
from forebay._gpu_torch import Caster
from forebay.errors import DeviceError

CPU = torch.device("cpu")


class LateMark:
    """Passes when the thread has come so far."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def passed(self) -> bool:
        return self.done.is_set()

    def wait(self) -> None:
        assert self.done.wait(30)

    def seconds(self) -> float:
        return 0.001

    def decoded(self) -> tuple[int, float]:
        return 0, 0.0


class HastyMark(LateMark):
    """Says at once that the copy has passed: what must not be."""

    def passed(self) -> bool:
        return True


class LostMark(LateMark):
    """Of a device that is lost as soon as somebody asks."""

    def passed(self) -> bool:
        assert self.done.wait(30)  # such a device copies no more, and this one's thread does
        raise DeviceError("copying a batch to cuda:0 failed", causes=["device lost"])

    def wait(self) -> None:
        self.passed()


class LateEngine:
    """Copies as a DMA engine does: started at once, made `delay_seconds` later, by address alone.

    Whoever gives the memory back before the mark has passed gets what was written there since.
    """

    delay_seconds = 0.0
    fail_at = 0  # the number of the upload, from 1, that finds no memory
    mark: type[LateMark] = LateMark

    def __init__(self, device: torch.device, casts: Mapping[str, Cast], names: list[str], _sizes: Any = None) -> None:
        self.name = str(device)
        self.uploads = 0
        self._names = names
        self._casts = {name: Caster(found, CPU) for name, found in casts.items()}
        self._work: queue.Queue[tuple[list[tuple[torch.Tensor, int]], list[Any], LateMark]] = queue.Queue()
        threading.Thread(target=self._copy, daemon=True).start()

    def words(self) -> str:
        return ""

    def upload(self, batch: Any) -> tuple[Any, LateMark]:
        self.uploads += 1
        if self.uploads == self.fail_at:
            raise DeviceError(f"{self.name} has no room for a batch", hint="lower batch_size")
        copies: list[tuple[torch.Tensor, int]] = []
        casts: list[Any] = []
        named = isinstance(batch, dict)
        if not self._names:
            made = self._moved("", batch, copies, casts)
        else:
            pairs = list(batch.items()) if named else list(zip([*self._names, *[""] * len(batch)], batch))
            each = [self._moved(name, value, copies, casts) for name, value in pairs]
            made = dict(zip(batch, each)) if named else type(batch)(each)
        mark = self.mark()
        self._work.put((copies, casts, mark))
        return made, mark

    def deliver(self, made: Any, mark: LateMark) -> None:
        assert mark.done.wait(30)  # a stream would; here the test reads right behind

    def _moved(self, name: str, value: Any, copies: list[Any], casts: list[Any]) -> Any:
        there = changed(value, lambda tensor: self._sent(tensor, copies))
        caster = self._casts.get(name)
        if caster is None:
            return there
        made = torch.empty_like(caster(there, 0))
        casts.append(lambda: made.copy_(caster(there, 0)))
        return made

    def _sent(self, value: torch.Tensor, copies: list[Any]) -> torch.Tensor:
        there = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).fill_(0x5A if value.ndim > 1 else 0)
        assert there.untyped_storage().nbytes() == value.numel() * value.element_size()
        copies.append((there, value.data_ptr()))
        return there

    def _copy(self) -> None:
        while True:
            copies, casts, mark = self._work.get()
            for target, address in copies:
                length = target.numel() * target.element_size()
                first = length // 2
                time.sleep(self.delay_seconds)
                ctypes.memmove(target.data_ptr(), address, first)
                time.sleep(self.delay_seconds)
                ctypes.memmove(target.data_ptr() + first, address + first, length - first)
            for cast in casts:
                cast()
            mark.done.set()
