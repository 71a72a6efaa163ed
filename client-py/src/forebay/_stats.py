"""Where a loader's time went, counted where it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _wire

_TEXTS = frozenset(("instance", "engine", "job_id", "client", "key", "reason", "replica"))


class LoaderStats:
    """Sums over all of a loader's iterators; seconds are wall time of the thread in `next()`.

    The wait for a batch is split by walking back from its arrival through what the daemon did: it was made
    (compute and storage, which overlap, by their shares), and before that it waited for a free slot; what
    remains is `other` (start, hand-over). `explain()` judges the newest steps in more detail.
    """

    __slots__ = (
        "batches",
        "bytes",
        "copies",
        "copy_seconds",
        "device_batches",
        "device_copy_seconds",
        "device_decode_rows",
        "device_decode_seconds",
        "python_seconds",
        "ready_seconds",
        "restarts",
        "rows",
        "trainer_seconds",
        "wait_compute_seconds",
        "wait_other_seconds",
        "wait_seconds",
        "wait_slot_seconds",
        "wait_storage_seconds",
    )

    def __init__(self) -> None:
        self.batches = 0
        self.rows = 0
        self.bytes = 0
        self.copies = 0
        self.restarts = 0
        # What the trainer did between two calls, and how long batches stood ready for it at the daemon.
        self.trainer_seconds = 0.0
        # Python's own work on each batch: its tensors, and `batch_transform`.
        self.python_seconds = 0.0
        self.copy_seconds = 0.0
        # Of copies to a device, and of what became of the bytes there: by its own clock, beside the trainer's work.
        self.device_batches = 0
        self.device_copy_seconds = 0.0
        # Of images that were decoded there, which its copies do not count.
        self.device_decode_rows = 0
        self.device_decode_seconds = 0.0
        self.ready_seconds = 0.0
        self.wait_seconds = 0.0
        self.wait_slot_seconds = 0.0
        self.wait_storage_seconds = 0.0
        self.wait_compute_seconds = 0.0
        self.wait_other_seconds = 0.0

    def delivered(self, ready: _wire.Ready, waited_seconds: float) -> None:
        """Count one batch."""
        self.batches += 1
        self.rows += ready.rows
        for tensor in ready.tensors:
            self.bytes += tensor.len_bytes
        self.ready_seconds += ready.queued_us * 1e-6
        self.wait_seconds += waited_seconds
        made = (ready.compute_us + ready.storage_us) * 1e-6
        compute = min(waited_seconds, made) * (ready.compute_us * 1e-6 / made) if made else 0.0
        storage = min(waited_seconds, made) - compute
        slot = min(waited_seconds - compute - storage, ready.slot_us * 1e-6)
        self.wait_compute_seconds += compute
        self.wait_storage_seconds += storage
        self.wait_slot_seconds += slot
        self.wait_other_seconds += waited_seconds - compute - storage - slot

    def as_dict(self) -> dict[str, Any]:
        """Give all counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class StatsReport(dict[str, Any]):
    """The counters as a dict, and readable when printed."""

    def __str__(self) -> str:
        own = self["python_seconds"] + self["copy_seconds"]
        total = self["wait_seconds"] + self["trainer_seconds"] + own
        share = 100 * self["wait_seconds"] / total if total else 0.0
        causes = ", ".join(
            f"{cause} {self[f'wait_{cause}_seconds']:.2f} s" for cause in ("storage", "compute", "slot", "other")
        )
        lines = [
            f"{self['batches']} batches, {self['rows']} rows, {self['bytes'] / 1e9:.2f} GB",
            f"waited {self['wait_seconds']:.2f} s of {total:.2f} s ({share:.0f} %): {causes}",
            f"trainer {self['trainer_seconds']:.2f} s; batches stood {self['ready_seconds']:.2f} s ready",
            f"Python's own work {self['python_seconds']:.2f} s",
            f"{self['copies']} batches copied (more held than max_leases) in {self['copy_seconds']:.2f} s, "
            f"{self['restarts']} daemon losses",
        ]
        if self["device_batches"]:
            lines.append(device_words(self))
        if "pinned" in self:
            lines.append(f"memory of batches: {self['pinned']}")
        daemon = self.get("daemon")
        if daemon:
            rss = int(daemon.get("rss_bytes", 0)) / 1e6
            cpu = int(daemon.get("cpu_us", 0)) / 1e6
            lines.append(f"daemon: {cpu:.2f} s of CPU, {rss:.0f} MB, engine {daemon.get('engine', '?')}")
        return "\n".join(lines)


def device_words(stats: Mapping[str, Any]) -> str:
    """Say what copies to the device took, beside the trainer's steps."""
    batches, seconds = stats["device_batches"], stats["device_copy_seconds"]
    step = stats["trainer_seconds"] + stats["wait_seconds"] + stats["python_seconds"]
    rate = stats["bytes"] / stats["batches"] * batches / seconds / 1e9 if seconds else 0.0
    rows, decoding = stats["device_decode_rows"], stats["device_decode_seconds"]
    speed = (
        f" ({rate:.1f} GB/s)" if rate and not rows else ""
    )  # nobody counts the bytes of files, nor of batches that this process made
    share = f", {100 * (seconds + decoding) / step:.1f} % of the steps' time, beside them" if step else ""
    decoded = ""
    if rows:
        per_second = f" ({rows / decoding:.0f} images/s)" if decoding else ""
        decoded = f"; {rows} images decoded there: {1e3 * decoding / batches:.2f} ms a batch{per_second}"
    return f"copied to the device: {1e3 * seconds / batches:.2f} ms a batch{speed}{decoded}{share}"


def numbers(value: Any) -> Any:
    """Turn the 64-bit integers of the JSON mapping, which are texts, into ints."""
    if isinstance(value, dict):
        return {
            key: int(item) if isinstance(item, str) and item.isdigit() and key not in _TEXTS else numbers(item)
            for key, item in value.items()  # pyright: ignore[reportUnknownVariableType]
        }
    return [numbers(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]
