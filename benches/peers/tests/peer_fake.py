"""Peers that behave and misbehave, for the tests of the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import numpy as np

from peers import raw
from peers.settings import SIDE, Batch, Conversion, Install, Peer, Settings


def good(settings: Settings) -> Iterator[Batch]:
    labels = np.arange(settings.batch) % 3
    for seed in count():
        noise = np.random.default_rng(seed).random((settings.batch, 3, SIDE, SIDE), np.float32)
        yield Batch((noise * 255).astype(np.uint8) if settings.dtype == "uint8" else 4 * noise - 2, labels)


def short(settings: Settings) -> Iterator[Batch]:
    for batch in good(settings):
        yield Batch(batch.images[:-1], batch.labels)


def crashes(settings: Settings) -> Iterator[Batch]:
    raise RuntimeError("no such | codec")


def hangs(settings: Settings) -> Iterator[Batch]:
    """Wait for ever, beside a child in a session of its own, whose number is left in the data folder."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    # Whole or not there at all: the test reads it as soon as it is.
    with open(f"{settings.data}/child.part", "w") as file:
        file.write(str(child.pid))
    os.rename(f"{settings.data}/child.part", f"{settings.data}/child")
    time.sleep(600)
    yield from ()


def copies(conversion: Conversion) -> None:
    for index, (path, _) in enumerate(conversion.samples()):
        (conversion.target / str(index)).write_bytes(path.read_bytes())


def whole_files(settings: Settings) -> Iterator[Batch]:
    paths, labels = raw.listed(settings.data)
    for epoch in count():
        order = np.random.default_rng(epoch).permutation(len(paths))
        for start in range(0, len(order) - settings.batch + 1, settings.batch):
            chosen = order[start : start + settings.batch]
            yield Batch(np.stack([np.fromfile(paths[at], np.uint8) for at in chosen]), np.array(labels)[chosen])


def mislabelled(settings: Settings) -> Iterator[Batch]:
    for batch in whole_files(settings):
        yield Batch(batch.images, (batch.labels + 1) % raw.CLASSES)


INSTALL = Install(packages=("numpy==0",), torch=False)
PEERS = (
    Peer("good", "", good, copies, 1.0),
    Peer("short", "", short),
    Peer("crashes", "", crashes),
    Peer("hangs", "", hangs),
)
RAW_PEERS = (Peer("whole", "", whole_files), Peer("mislabelled", "", mislabelled))
