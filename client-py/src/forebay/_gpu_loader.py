"""A loader whose batches go to a device: what it asks of the daemon, of the arena and of the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ._checks import whole
from ._digest import Digests
from ._gpu_ahead import Batches, DeviceIterator, Engine, Plan
from ._gpu_cast import Cast, moved
from ._gpu_decode import DeviceDecode, Sizes, asked, names_of
from ._gpu_pin import Pinning
from ._gpu_torch import TorchEngine, device_of
from ._iterator import BatchIterator
from ._loader import Loader
from ._notice import say
from ._record import record
from ._session import Batch
from ._wire import Ready
from .errors import ForebayError, InvalidError

_AHEAD_MAX = 64
_said: set[str] = set()


@record
class Target:
    """Where batches go: `device`, how many ahead, whether images become floats there, and which it decodes."""

    device: torch.device
    ahead: int
    casts: bool
    decode: DeviceDecode | None = None

    @staticmethod
    def of(device: Any, ahead: int, cast: str, decode: DeviceDecode | None = None) -> Target | None:
        """Check what was asked for; None where batches stay on the host."""
        if cast not in ("device", "daemon"):
            raise InvalidError(f"cast={cast!r} is neither 'device' nor 'daemon'")
        ahead = whole("ahead", ahead, 1, _AHEAD_MAX)
        found = device_of(device)
        if found is None and decode is not None:
            raise InvalidError("device_decode= without a device", hint='pass device="cuda" too')
        return None if found is None else Target(found, ahead, cast == "device", decode)


class Sending(Loader[Any]):
    """Batches go to a device where there is a target."""

    _target: Target | None = None
    _casts: dict[str, Cast]
    # Of the images that the device decodes in part, by field.
    _sizes: Sizes
    _engine: Engine | None

    def _live(self) -> None:
        if "_casts" not in vars(self):  # a copy has the spec that was asked already
            casts: dict[str, Cast] = {}
            sizes: Sizes = {}
            if self._target is not None and self._target.casts and self._gives_arena:
                self._spec, casts = moved(self._spec)
            if self._target is not None and self._target.decode is not None:
                self._spec, sizes = asked(self._spec, self._target.decode)
            vars(self)["_casts"], vars(self)["_sizes"] = casts, sizes
        vars(self)["_engine"] = None
        super()._live()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __repr__(self) -> str:
        shown = super().__repr__()
        if self._target is None:
            return shown
        casts = self._casts_words()
        there = f", cast there: {casts}" if casts else ""
        if self._target.decode is not None:
            there = f", device_decode={self._target.decode.ratio:g}{there}"
        return f"{shown[:-1]}, device={str(self._target.device)!r}, ahead={self._target.ahead}{there})"

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
        if self._target is None or not self._gives_arena:
            return super()._iterate(convert)
        with self._lock:
            engine = self._started_engine(self._target)  # where it fails no epoch was begun
            batches: BatchIterator[Any] = super()._iterate(self._convert)
            made = self._sent(batches, engine, self._digests, is_whole=convert == self._made)
            batches.count_for(Digests())
            return made

    def _sent(self, batches: Batches, engine: Engine, digests: Digests, *, is_whole: bool) -> DeviceIterator:
        """Have batches go to the device; `is_whole`: and through what their user has named."""
        assert self._target is not None
        plan = Plan(self._target.ahead, self._called if is_whole else _as_it_is, self._key_of)
        made = DeviceIterator(batches, engine, plan, digests, self._stats)
        self._progress = made.progress
        return made

    def _started_engine(self, target: Target) -> Engine:
        if self._engine is None:
            names = names_of(self._spec, self._sizes) if self._gives_arena else []
            engine = TorchEngine(target.device, self._casts, names, self._sizes)
            self._engine = engine
            self._say_target(target, engine.words())
        return self._engine

    def _key_of(self, ready: Ready, row: int) -> str:
        """Ask the daemon for the key of a sample that the device did not decode; it may refuse to show that one."""
        known = {"order_digest": self.job.order_digest, "content_digest": self.job.content_digest}
        place = {"epoch": ready.epoch, "first_row": ready.first_row + row, "rows": 1}
        try:
            reply = self._daemon.request(
                "show", {"key": {**known, **place}, "original": False, "field": "", "tile_px": 0}
            )
        except ForebayError as error:
            return error.object
        rows = reply.get("rows", ())
        return str(rows[0].get("key", "")) if rows else ""

    def _say_target(self, target: Target, decoder: str) -> None:
        casts = self._casts_words()
        line = f"batches go to {target.device}, {target.ahead} ahead" + (f"; cast there, {casts}" if casts else "")
        if target.decode is not None:
            line += f"; {100 * target.decode.ratio:g} % of the JPEGs decoded there by {decoder}"
        if line not in _said:
            _said.add(line)
            say(line)

    def _casts_words(self) -> str:
        """Say which fields become floats on the device."""
        return "; ".join(f"{field}: uint8 -> {found.words()}" for field, found in self._casts.items())


def _current_ordinal() -> int:
    return torch.cuda.current_device()


def _as_it_is(made: Any, _: Ready) -> Any:
    return made
