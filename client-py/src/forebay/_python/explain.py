"""Where the newest steps of a data set in Python spent their time, and the first thing to change.

The words are those of the daemon's `explain`, beside one of our own: `workers`, for what Python workers compute.
"""

from __future__ import annotations

import contextlib
import textwrap
import time
from collections import defaultdict, deque
from collections.abc import Generator
from typing import Any, NamedTuple

from .._explain import Explanation
from .clock import Spent

_STEPS = 128
# From this share of their time on, workers count as busy: the rest lies between two tasks.
_BUSY_FROM = 0.8
_LINE, _BAR = 100, 32
# What the daemon says of its own part; the rest of its causes are ours to know.
_DAEMONS = ("storage", "decode", "transform", "throttled", "processors")


class Waits:
    """What `next()` waited for since it was last asked, in seconds; `made`: samples made in this process."""

    __slots__ = ("copied", "daemon", "made", "workers")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin a step."""
        self.daemon = self.workers = self.copied = self.made = 0.0

    @contextlib.contextmanager
    def counting(self, name: str) -> Generator[None]:
        """Count what happens meanwhile."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - started)


class Step(NamedTuple):
    """Seconds of one step: the trainer's, and those in `next()`. `spent`, `rows`: of all workers until then."""

    trainer: float
    daemon: float
    workers: float
    copied: float
    python: float
    rest: float
    spent: Spent
    rows: int


class Facts(NamedTuple):
    """What advice hangs on. `samples`: what makes them, in words; `beside_bytes`: objects that are pickled, a row."""

    title: str
    workers: int
    processors: int
    ahead: int
    max_leases: int
    samples: str
    beside_bytes: float


class Steps:
    """The newest steps of a loader, but for its first, which starts processes."""

    def __init__(self) -> None:
        self._newest: deque[Step] = deque(maxlen=_STEPS + 1)

    def add(self, step: Step) -> None:
        """Take note of a step."""
        if self._newest and step.rows < self._newest[-1].rows:  # other workers, who count from the beginning
            self._newest.clear()
        self._newest.append(step)

    def explained(self, facts: Facts, daemons: Explanation, copies: str = "") -> Explanation:
        """Judge them. `daemons`: what the daemon says of its own part; `copies`: what is said of those to a device."""
        steps = list(self._newest)
        return _Judge(steps[0], steps[1:], facts, daemons).explanation(copies) if len(steps) > 1 else Explanation({})


class _Judge:
    def __init__(self, first: Step, steps: list[Step], facts: Facts, daemons: Explanation) -> None:
        self._facts, self._daemons, self._count = facts, daemons, len(steps)
        self._spent = steps[-1].spent.minus(first.spent)
        self._rows = steps[-1].rows - first.rows
        self._sums = {name: sum(getattr(step, name) for step in steps) for name in Step._fields[:6]}
        self._total = max(sum(self._sums.values()), 1e-9)
        # How much of the workers' time they had a task in hand.
        self._busy = self._spent.seconds / (facts.workers * self._total) if facts.workers else 0.0
        self._of_daemon: defaultdict[str, float] = defaultdict(float)
        self._seconds = self._by_cause()

    def _by_cause(self) -> dict[str, float]:
        sums = self._sums
        made: defaultdict[str, float] = defaultdict(float)
        made.update(trainer=sums["trainer"], python=sums["python"], slots=sums["copied"], hand_over=sums["rest"])
        computing, queued, asleep = self._parts_of_work()
        made["workers"] += sums["workers"] * computing
        made["processors"] += sums["workers"] * queued
        made["storage"] += sums["workers"] * asleep
        shares = {cause: share for cause, share in self._daemons.shares.items() if cause in _DAEMONS}
        whole = sum(shares.values())
        for cause, share in shares.items():
            self._of_daemon[cause] = sums["daemon"] * share / whole if whole else 0.0
            made[cause] += self._of_daemon[cause]
        made["hand_over"] += 0.0 if whole else sums["daemon"]
        return {cause: seconds for cause, seconds in sorted(made.items(), key=lambda item: -item[1]) if seconds > 0}

    def _parts_of_work(self) -> tuple[float, float, float]:
        """Give the shares of the workers' time on a processor, in the queue for one, and asleep."""
        seconds, on_processor, in_queue = self._spent
        if seconds <= 0:
            return 1.0, 0.0, 0.0
        computing, queued = min(1.0, on_processor / seconds), min(1.0, in_queue / seconds)
        queued = min(queued, 1.0 - computing)
        return computing, queued, 1.0 - computing - queued

    def explanation(self, copies: str) -> Explanation:
        cause = next(iter(self._seconds))
        if self._of_daemon[cause] > self._seconds[cause] / 2 and self._daemons.cause in _DAEMONS:
            cause, advice, detail = self._daemons.cause, self._daemons.advice, self._daemons.detail
        else:
            advice, detail = self._advice(cause), self._detail()
        shares = [
            {"cause": name, "share": seconds / self._total, "us": round(seconds * 1e6)}
            for name, seconds in self._seconds.items()
        ]
        found: dict[str, Any] = {"cause": cause, "advice": advice, "detail": detail, "steps": self._count}
        found.update(window_us=round(self._total * 1e6), shares=shares)
        return Explanation({"text": self._page(found), "sessions": [found]}, copies)

    def _advice(self, cause: str) -> str:
        known = {
            "trainer": self._trainer,
            "workers": self._workers,
            "processors": self._processors,
            "storage": self._storage,
            "slots": self._slots,
            "python": self._python,
        }
        return known.get(cause, self._hand_over)()

    def _trainer(self) -> str:
        return "nothing in the loader: batches stand ready, and the trainer is the limit"

    def _workers(self) -> str:
        facts = self._facts
        if self._busy < _BUSY_FROM and facts.workers > 1:
            return (
                f"pass prefetch={2 * facts.ahead} to the loader (it is {facts.ahead}): some workers stand idle while "
                "others make the next batch"
            )
        if facts.workers < facts.processors:
            return (
                f"pass num_workers={facts.processors} to the loader (it is {facts.workers}): its workers are busy, and "
                f"the program may run on {facts.processors} processors"
            )
        return (
            f"make {facts.samples} cheaper: {facts.workers} workers are busy with it, on {facts.processors} processors"
        )

    def _processors(self) -> str:
        return (
            "free processors for the workers: fewer threads in the trainer (torch.set_num_threads, OMP_NUM_THREADS), "
            "fewer workers, or other jobs elsewhere"
        )

    def _storage(self) -> str:
        workers = self._facts.workers
        return (
            f"pass num_workers={2 * workers} to the loader (it is {workers}): workers sleep rather than compute, on "
            f"files, a network or a lock in {self._facts.samples}"
        )

    def _slots(self) -> str:
        leases = self._facts.max_leases
        return (
            f"drop batches earlier, or pass max_leases={2 * leases} to the loader (it is {leases}): others are copied"
        )

    def _python(self) -> str:
        if not self._facts.workers:
            return f"pass num_workers={self._facts.processors} to the loader: samples are made in the training process"
        return "make cheaper what is done to each batch in the training process: batch_transform, pin_memory"

    def _hand_over(self) -> str:
        if self._facts.beside_bytes > 256:
            return (
                "give arrays or tensors instead of other objects, which are pickled: "
                f"{self._facts.beside_bytes:.0f} bytes a row"
            )
        return "use larger batches: what is left is the same for each, whatever its size"

    def _detail(self) -> str:
        step_ms = self._total / self._count * 1e3
        said = [
            f"a step takes {step_ms:.1f} ms, {self._sums['trainer'] / self._count * 1e3:.1f} ms of it the trainer's"
        ]
        if self._facts.workers and self._rows:
            each = [share * self._spent.seconds / self._rows for share in self._parts_of_work()]
            computing, queued, asleep = map(_time, each)
            said.append(
                f"a sample takes a worker {computing} of computing, {queued} of waiting to compute, {asleep} of sleep"
            )
            said.append(f"the workers have something to do {100 * min(1.0, self._busy):.0f} % of the time")
        return "; ".join(said)

    def _page(self, found: dict[str, Any]) -> str:
        lines = [self._facts.title, ""]
        for words in (f"change first: {found['advice']}", f"because ({found['cause']}): {found['detail']}"):
            lines += textwrap.wrap(words, _LINE, initial_indent="  ", subsequent_indent="      ")
        lines += ["", f"  where the time of the last {self._count} steps went, {self._total:.3g} s in all"]
        for share in found["shares"]:
            if share["share"] >= 0.005:
                each, bar = _time(share["us"] * 1e-6 / self._count), "█" * round(share["share"] * _BAR)
                words = f"    {share['cause']:<11}{100 * share['share']:>4.0f} %  {each:>9} a step  {bar}"
                lines.append(words.rstrip())
        return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"
