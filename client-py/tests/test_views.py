"""A batch's memory is the consumer's for as long as anything made on it lives, and not a moment longer."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from conftest import CROP, Fake, forget_daemons, wait_until

from forebay.numpy import DataLoader
from forebay.transforms import Resize

MAKERS: dict[str, Callable[[np.ndarray], Any]] = {
    "the array": lambda a: a,
    "a slice": lambda a: a[1:, ::2],
    "a view of another dtype": lambda a: a.view(np.int8),
    "reshape": lambda a: a.reshape(-1),
    "transpose": lambda a: a.T,
    "a view of a view": lambda a: a[1:].reshape(-1)[3:],
    "memoryview": memoryview,
    "frombuffer": lambda a: np.frombuffer(a, np.uint8),
    "DLPack": np.from_dlpack,
    "an element's row": lambda a: list(a)[-1],
}


def leased(loader: DataLoader) -> int:
    (session,) = loader.stats()["daemon"]["sessions"]
    return session["slots_leased"]


@pytest.mark.parametrize("name", MAKERS)
def test_a_view_keeps_the_slot_and_its_end_frees_it(name: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=2, prefetch=1, max_leases=3, transform=[Resize((8, 8))]) as loader:
        iterator = iter(loader)
        images, _ = next(iterator)
        wanted = np.array(MAKERS[name](images))
        view = MAKERS[name](images)
        del images, _
        gc.collect()
        for _ in range(9):  # the slots go round twice, and the fake overwrites each that is given back
            newest = next(iterator)
        assert newest
        assert np.array_equal(np.array(view), wanted)
        assert wait_until(lambda: leased(loader) == 3)  # the view's, the newest batch's, one in flight
        del view
        gc.collect()
        assert wait_until(lambda: leased(loader) == 2)
        assert loader.stats()["copies"] == 0


def test_one_batch_gives_its_slot_back_once_after_its_last_tensor(folder: Path) -> None:
    with DataLoader(folder, batch_size=2, prefetch=1, rolling=False, transform=CROP) as loader:
        iterator = iter(loader)
        images, labels = next(iterator)
        assert wait_until(lambda: leased(loader) == 2)  # ours, and one in flight
        del images
        time.sleep(0.1)
        assert leased(loader) == 2
        del labels
        assert wait_until(lambda: leased(loader) == 1)
        assert loader.stats()["daemon"]["sessions"][0]["bad_releases"] == 0


def test_in_place_operations_are_harmless(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=5, shuffle=True, transform=CROP) as loader:
        wanted = [(x.copy(), y.copy()) for x, y in loader]
        loader.set_epoch(0)
        for (images, labels), (x, y) in zip(loader, wanted):
            assert np.array_equal(images, x)
            assert np.array_equal(labels, y)
            images[:] = 0
            labels += 100


def test_a_list_of_all_batches_is_right(daemon: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with DataLoader(folder, batch_size=2, shuffle=True, prefetch=2, max_leases=4, transform=CROP) as loader:
        wanted = [images.copy() for images, _ in loader]
        loader.set_epoch(0)
        held = list(loader)
        assert len(held) == 15
        assert all(np.array_equal(images, x) for (images, _), x in zip(held, wanted))
        assert loader.stats()["copies"] == 11
    assert capfd.readouterr().err.count("copied to ordinary memory") == 1


def test_a_hundred_held_batches_are_right_and_copied(folder: Path) -> None:
    with DataLoader(folder, batch_size=1, shuffle=True, max_leases=3, transform=CROP) as loader:
        held: list[tuple[Any, Any]] = []
        while len(held) < 100:
            held.extend(loader)
        loader.set_epoch(0)
        for epoch in range(3):
            for index, (images, _) in enumerate(loader):
                assert np.array_equal(held[epoch * 30 + index][0], images)


def test_zip_of_a_loader_with_itself_pairs_two_epochs(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        epochs = [[y.tolist() for _, y in loader] for _ in range(2)]
        loader.set_epoch(0)
        pairs = [(y0.tolist(), y1.tolist()) for (_, y0), (_, y1) in zip(loader, loader)]
        assert pairs == list(zip(*epochs))


def test_batches_outlive_the_loader(folder: Path) -> None:
    loader = DataLoader(folder, batch_size=4, transform=CROP)
    images, labels = next(iter(loader))
    wanted = images.copy()
    loader.close()
    del loader
    gc.collect()
    assert np.array_equal(images, wanted)
    images += 1  # still writable, still mapped
    assert labels.tolist() == [0] * 4


def test_batches_dropped_on_many_threads_while_the_daemon_is_deaf_are_all_given_back(folder: Path, fake: Fake) -> None:
    fake.misbehave({"deaf_ms": 300})
    with DataLoader(folder, batch_size=1, prefetch=20, max_leases=25, transform=CROP) as loader:
        iterator = iter(loader)
        held = [[next(iterator)] for _ in range(20)]
        threads = [threading.Thread(target=batch.clear) for batch in held]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(iterator)) == 10
        gc.collect()
        assert sum(1 for _ in loader) == 30
        assert loader.stats()["copies"] == 0
        assert loader.stats()["daemon"]["sessions"][0]["bad_releases"] == 0


def test_a_batch_in_an_arena_of_its_own_is_right_and_goes_with_its_arena(folder: Path, fake: Fake) -> None:
    with DataLoader(folder, batch_size=5, shuffle=True, transform=CROP) as loader:
        wanted = [images.copy() for images, _ in loader]
    forget_daemons()
    fake.misbehave({"one_off_at": 3})
    with DataLoader(folder, batch_size=5, shuffle=True, rolling=False, transform=CROP) as loader:
        for images, x in zip((images for images, _ in loader), wanted):
            assert np.array_equal(images, x)
        del images
        gc.collect()
        session = loader.stats()["daemon"]["sessions"][0]
        assert (session["one_offs_released"], session["bad_releases"]) == (1, 0)
        assert Path("/proc/self/maps").read_text().count("fake-one-off") == 0
