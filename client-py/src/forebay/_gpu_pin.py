"""Pins a loader's arenas, so that copies to a device are asynchronous, and tells when the device has done with a slot.

An arena is registered when it is mapped and unregistered right before it is unmapped, which is when the last view of
it goes. Where pinning fails the loader goes on unpinned, and says why once.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable
from typing import Protocol

from ._gpu_driver import CudaError, Driver, driver
from ._notice import say
from .errors import DeviceError

_OUT_OF_MEMORY = 2
# What a trainer is given to hold where it names no number, and slots whose copies may not be done: a trainer that does
# not wait for its device runs a step or two ahead of it.
_HELD, _FENCED = 2, 3
_REFUSED = (800, 801)  # not permitted, not supported
_said: set[str] = set()


class Pinnable(Protocol):
    """Memory that batches lie in: an arena of the daemon's, or slots that Python workers write to."""

    @property
    def is_one_off(self) -> bool:
        """Whether it is of one batch alone."""
        ...

    @property
    def address(self) -> int:
        """Where it starts."""
        ...

    @property
    def length(self) -> int:
        """How many bytes it has."""
        ...

    def pin(self, registered: Callable[[], None]) -> None:
        """Have `registered` called right before it is unmapped."""
        ...


class Mark:
    """What a process's devices were given to do until now."""

    __slots__ = ("_driver", "_events")

    def __init__(self, driver: Driver, events: list[int]) -> None:
        self._driver, self._events = driver, events

    def passed(self) -> bool:
        """Whether all of it is done; a device that is lost copies nothing any more."""
        while self._events:
            try:
                if not self._driver.has_passed(self._events[-1]):
                    return False
                self._driver.call("cuEventDestroy_v2", self._events[-1])
            except CudaError as error:
                if error.is_capturing:
                    return False
            self._events.pop()
        return True


class Fence:
    """Makes marks: a slot that was dropped before a mark can be given back once it has passed.

    Whatever copies from a slot was started by somebody who had a view of it, on a stream that we do not know; hence a
    mark covers all streams of all devices that the process uses. That is more than is needed, and costs
    slots and not the trainer.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def mark(self) -> Mark | None:
        """Make a mark; None while a stream is being captured, when none can be made."""
        events: list[int] = []
        try:
            for ordinal in self._driver.active():
                events.append(self._driver.event(self._driver.context(ordinal)))
        except CudaError as error:
            if error.is_capturing:
                return None
        return Mark(self._driver, events)


def can_fence() -> bool:
    """Whether this process's driver can mark all that its devices are doing (CUDA 12.5 and later)."""
    with contextlib.suppress(DeviceError):
        return driver().has("cuCtxRecordEvent")
    return False


def leases_of(asked: int, pinning: Pinning | None) -> int:
    """Give how many leases to ask for, of which 0 is the daemon's choice: slots that wait for a fence are held too."""
    if pinning is None or not pinning.is_fenced:
        return asked
    return (asked or _HELD) + _FENCED


class Pinning:
    """Pins the memory of one loader's batches.

    Args:
        ordinal: gives the device in whose context they are pinned, for all devices; None: whichever the process uses.
        fenced: whether others copy from them, on streams of their own, so that slots wait for a `Fence`.

    """

    def __init__(self, ordinal: Callable[[], int | None], *, fenced: bool) -> None:
        self._ordinal, self._fenced = ordinal, fenced
        self.bytes = 0
        self.failure = ""
        # Where the daemon has put the newest session's arena; None: wherever it came to lie.
        self.numa_node: int | None = None

    @property
    def is_fenced(self) -> bool:
        """Whether slots may be copied from after their views are gone."""
        return self._fenced

    def pin(self, arena: Pinnable) -> Fence | None:
        """Pin memory; gives the fence that its slots wait for. Where it fails the memory stays as it is."""
        if arena.is_one_off:
            return None  # it would cost more than its one batch's copy
        try:
            found = driver()
            if self._fenced and not found.has("cuCtxRecordEvent"):
                raise DeviceError(
                    f"the NVIDIA driver serves CUDA {found.version()}, and cannot tell when a slot's copies are done",
                    hint="install a driver for CUDA 12.5 or later",
                )
            context = found.context(self._ordinal())
            arena.pin(_Registered(found, context, arena))
        except (CudaError, DeviceError) as error:
            self._failed(error)
            return None
        self.bytes = arena.length
        self.failure = ""
        return Fence(found) if self._fenced else None

    def leave_out(self, cause: str, hint: str) -> None:
        """Pin nothing, and say why once."""
        self._failed(DeviceError(cause, hint=hint))

    def words(self) -> str:
        """Say what of the loader's memory is pinned."""
        if self.failure:
            return f"not pinned ({self.failure})"
        node = "" if self.numa_node is None else f" on NUMA node {self.numa_node}"
        size = f"{self.bytes / 1e6:.0f} MB" if self.bytes >= 10e6 else f"{self.bytes / 1e3:.0f} kB"
        return f"{size} pinned{node}" if self.bytes else "pinned with the first batch"

    def gpu(self) -> str:
        """Name the device that batches go to, by its PCI address, for the daemon to place them near; empty: unknown."""
        with contextlib.suppress(CudaError, DeviceError):
            ordinal = self._ordinal()
            return "" if ordinal is None else driver().pci_address(ordinal)
        return ""

    def is_pinned(self) -> bool | None:
        """Whether batches lie in pinned memory; None: there is none yet."""
        return None if not self.bytes and not self.failure else not self.failure

    def _failed(self, error: CudaError | DeviceError) -> None:
        hint = _cure(error) if isinstance(error, CudaError) else error.hint
        cause = str(error) if isinstance(error, CudaError) else ": ".join((error.message, *error.causes))
        self.bytes, self.failure = 0, cause
        if cause not in _said:
            _said.add(cause)
            say(f"batches are not pinned, so that copies to a device wait for the CPU: {cause}; {hint}")


def _cure(error: CudaError) -> str:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    locked = "has no limit" if limit == resource.RLIM_INFINITY else f"is {limit / 1e6:.1f} MB"
    if error.code == _OUT_OF_MEMORY or error.code in _REFUSED:
        return (
            f"locked memory {locked} (ulimit -l): raise it (LimitMEMLOCK=infinity for systemd, --ulimit memlock=-1 for "
            "docker), or lower batch_size or prefetch"
        )
    return "nvidia-smi and the kernel's log may say more; leave pinning out to go on without this line"


class _Registered:
    """An arena's registration, which ends right before its memory is unmapped."""

    __slots__ = ("_address", "_context", "_driver", "_process")

    def __init__(self, driver: Driver, context: int, arena: Pinnable) -> None:
        self._driver, self._context, self._process = driver, context, os.getpid()
        self._address = arena.address
        driver.register(context, self._address, arena.length)

    def __call__(self) -> None:
        """Unregister; of a forked child nothing is registered. Runs in finalizers, so it raises nothing."""
        if os.getpid() == self._process:
            with contextlib.suppress(Exception):  # the driver may be gone already, at the end of the process
                self._driver.unregister(self._context, self._address)
