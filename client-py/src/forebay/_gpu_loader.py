"""A loader whose batches go to a device: what it asks of the daemon, of the arena and of the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ._checks import whole
from ._digest import Digests
from ._gpu_ahead import DeviceIterator, Engine, Plan
from ._gpu_cast import Cast, moved
from ._gpu_pin import Pinning
from ._gpu_torch import TorchEngine, device_of
from ._iterator import BatchIterator, Progress
from ._job import Job
from ._loader import Loader
from ._notice import say
from ._record import record
from ._session import Batch
from ._stats import LoaderStats
from ._wire import Ready
from .errors import InvalidError

_AHEAD_MAX = 64
_said: set[str] = set()


@record
class Target:
    """Where batches go: `device`, how many ahead, and whether images become floats there."""

    device: torch.device
    ahead: int
    casts: bool

    @staticmethod
    def of(device: Any, ahead: int, cast: str) -> Target | None:
        """Check what was asked for; None where batches stay on the host."""
        if cast not in ("device", "daemon"):
            raise InvalidError(f"cast={cast!r} is neither 'device' nor 'daemon'")
        ahead = whole("ahead", ahead, 1, _AHEAD_MAX)
        found = device_of(device)
        return None if found is None else Target(found, ahead, cast == "device")


class Sending(Loader[Any]):
    """Batches go to a device where there is a target."""

    _target: Target | None = None
    _casts: dict[str, Cast]
    _engine: Engine | None
    _digests: Digests
    _progress: Progress | None
    _stats: LoaderStats

    @property
    def job(self) -> Job:
        """The data set as the daemon found it: of images that become floats on a device, their bytes."""
        return super().job

    def _live(self) -> None:
        if "_casts" not in vars(self):  # a copy has the spec that was asked already
            casts: dict[str, Cast] = {}
            if self._target is not None and self._target.casts:
                self._spec, casts = moved(self._spec)
            vars(self)["_casts"] = casts
        vars(self)["_engine"] = None
        super()._live()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __repr__(self) -> str:
        shown = super().__repr__()
        return shown if self._target is None else f"{shown[:-1]}, {self._words('=')})"

    def _pinning_of(self) -> Pinning | None:
        if self._target is not None:
            ordinal = self._target.device.index
            return Pinning(lambda: ordinal, fenced=False)
        return Pinning(_current_ordinal, fenced=True) if self._pinned else None

    def _leases(self) -> int:
        if self._target is None:
            return super()._leases()
        # Those that are ahead, one whose copy ends while the trainer has it, and one that is being taken.
        return max(self._max_leases, self._target.ahead + 2)

    def _iterate(self, convert: Callable[[Batch], tuple[Any, Any]]) -> Any:
        if self._target is None:
            return super()._iterate(convert)
        with self._lock:
            batches: BatchIterator[Any] = super()._iterate(self._convert)
            engine = self._engine
            if engine is None:
                engine = TorchEngine(self._target.device, self._casts, [spec.name for spec in self.job.tensors])
                self._engine = engine
                self._say_target()
            finish = self._called if convert == self._made else _as_it_is
            made = DeviceIterator(batches, engine, Plan(self._target.ahead, finish), self._digests, self._stats)
            batches.count_for(Digests())
            self._progress = made.progress
            return made

    def _say_target(self) -> None:
        line = f"batches go {self._words(' ')}"
        if line not in _said:
            _said.add(line)
            say(line)

    def _words(self, between: str) -> str:
        """Say where batches go and where images become floats: `=` as arguments, else as a sentence."""
        assert self._target is not None
        name, ahead = str(self._target.device), self._target.ahead
        casts = "; ".join(f"{field}: uint8 -> {found.words()}" for field, found in self._casts.items())
        if between == "=":
            return f"device={name!r}, ahead={ahead}" + (f", cast there: {casts}" if casts else "")
        return f"to {name}, {ahead} ahead" + (f"; cast there, {casts}" if casts else "")


def _current_ordinal() -> int:
    return torch.cuda.current_device()


def _as_it_is(made: Any, _: Ready) -> Any:
    return made
