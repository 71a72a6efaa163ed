"""Pinned arenas, with a driver of tests that keeps account: what is registered, and which events have passed."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Fake, forget_daemons
from fake_driver import FakeDriver, build, needs_cc
from test_views import leased

from forebay import _gpu_driver
from forebay.errors import DeviceError
from forebay.numpy import DataLoader
from forebay.transforms import CenterCrop

CROP = [CenterCrop(16)]
pytestmark = needs_cc


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return FakeDriver(build(tmp_path / "libfake.so"), monkeypatch)


def bytes_of(loader: DataLoader) -> list[bytes]:
    return [images.tobytes() for images, _ in loader]


def test_an_arena_is_registered_once_and_until_it_is_unmapped(daemon: str, folder: Path, cuda: FakeDriver) -> None:
    with DataLoader(folder, 4, transform=CROP, pinned=True) as loader:
        assert "pinned=None" in repr(loader)
        assert cuda.registrations == 0
        iterator = iter(loader)
        kept = next(iterator)[0]
        for _ in range(2):
            list(loader)
        assert cuda.registrations == 2  # two iterators at once have a session each
        assert "pinned=True" in repr(loader)
        assert "pinned" in str(loader.stats())
        assert cuda.registered_bytes > 0
    del iterator, loader
    forget_daemons()
    gc.collect()
    assert cuda.registered == 1  # a view lives, and so does its memory
    assert kept.sum() >= 0
    del kept
    gc.collect()
    assert (cuda.registered, cuda.unmapped_first, cuda.pushed) == (0, 0, 0)
    assert cuda.synchronized == 2  # nothing is copied from memory that goes


def test_nothing_is_loaded_where_nobody_asks(folder: Path, cuda: FakeDriver) -> None:
    with DataLoader(folder, 4, transform=CROP) as loader:
        list(loader)
        assert cuda.retained == 0
        assert "pinned" not in repr(loader) + str(loader.stats())


def test_a_dropped_slot_waits_until_the_devices_have_done_with_it(daemon: str, folder: Path, cuda: FakeDriver) -> None:
    with DataLoader(folder, 2, transform=CROP, prefetch=1, max_leases=3, pinned=True) as loader:
        cuda.passed = 0  # a device that does not come on
        iterator = iter(loader)
        for _ in range(3):
            next(iterator)
        assert leased(loader) >= 3  # none of those that were dropped has been given back
        assert cuda.recorded >= 2
        cuda.passed = 1 << 60
        next(iterator)
        next(iterator)
        assert leased(loader) <= 3


def test_a_slot_is_not_refilled_while_a_device_may_copy_from_it(daemon: str, folder: Path, cuda: FakeDriver) -> None:
    # The fake daemon writes over what is given back, the real one refills it: addresses are read after the views go.
    with DataLoader(folder, 2, transform=CROP, prefetch=1, max_leases=3, pinned=True) as loader:
        for passes in (False, True):
            cuda.passed = 1 << 60 if passes else cuda.recorded
            iterator = iter(loader)
            dropped = [_dropped(next(iterator)[0]) for _ in range(12 if passes else 4)]
            next(iterator)
            kept = [ctypes.string_at(address, len(stamps)) == stamps for address, stamps in dropped]
            assert all(kept) is not passes
            del iterator


def _dropped(images: Any) -> tuple[int, bytes]:
    return images.ctypes.data, images.tobytes()


def test_a_device_that_never_comes_on_costs_copies_and_no_hang(
    daemon: str, folder: Path, cuda: FakeDriver, capfd: pytest.CaptureFixture[str]
) -> None:
    with DataLoader(folder, 2, transform=CROP) as plain:
        wanted = bytes_of(plain)
    with DataLoader(folder, 2, transform=CROP, prefetch=1, max_leases=1, pinned=True) as loader:
        cuda.passed = 0
        assert bytes_of(loader) == wanted
        assert loader.stats()["copies"] > 0
    assert "copied to ordinary memory" in capfd.readouterr().err


def test_a_capture_puts_the_mark_off(folder: Path, cuda: FakeDriver) -> None:
    with DataLoader(folder, 2, transform=CROP, prefetch=1, max_leases=6, pinned=True) as loader:
        iterator = iter(loader)
        cuda.record_result = 900
        for _ in range(3):
            next(iterator)
        assert leased(loader) >= 3
        cuda.record_result = 0
        assert len(list(iterator)) == 12
        assert cuda.recorded


def test_a_device_that_is_lost_copies_nothing_and_holds_nothing(folder: Path, cuda: FakeDriver) -> None:
    with DataLoader(folder, 2, transform=CROP, prefetch=1, max_leases=2, pinned=True) as loader:
        cuda.query_result = 719
        assert len(bytes_of(loader)) == 15
        assert loader.stats()["copies"] == 0


def test_memory_that_cannot_be_pinned_is_told_once_and_served(
    daemon: str, folder: Path, cuda: FakeDriver, capfd: pytest.CaptureFixture[str]
) -> None:
    cuda.register_result = 2
    with DataLoader(folder, 4, transform=CROP) as plain, DataLoader(folder, 4, transform=CROP, pinned=True) as loader:
        wanted = bytes_of(plain)
        assert bytes_of(loader) == wanted
        iterators = [iter(loader), iter(loader)]
        assert [len(next(each)[0]) for each in iterators] == [4, 4]
        assert "pinned=False" in repr(loader)
        told = capfd.readouterr().err
    assert told.count("batches are not pinned") == 1
    assert "CUDA_ERROR_OUT_OF_MEMORY, out of memory" in told
    assert "ulimit -l" in told


def test_a_driver_that_cannot_tell_what_is_done_is_not_trusted_with_slots(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cuda = FakeDriver(build(tmp_path / "libold.so", "-DOLD_DRIVER"), monkeypatch)
    with DataLoader(folder, 4, transform=CROP, pinned=True) as loader:
        assert len(bytes_of(loader)) == 8
        assert cuda.registrations == 0
    assert "CUDA 12.5 or later" in capfd.readouterr().err


def test_no_driver_is_a_line_and_unpinned_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_gpu_driver, "_LIBRARY", "libnothing-of-this-name.so")
    with DataLoader(folder, 4, transform=CROP, pinned=True) as loader:
        assert len(bytes_of(loader)) == 8
    assert "there is no NVIDIA driver here" in capfd.readouterr().err


def test_a_driver_that_does_not_start_says_why(cuda: FakeDriver) -> None:
    cuda.init_result = 100
    with pytest.raises(DeviceError, match="CUDA_ERROR_NO_DEVICE"):
        _gpu_driver.driver()


def test_a_process_without_a_context_takes_that_of_its_rank(cuda: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda.devices = 8
    for local, context in (("3", 1103), ("11", 1103), ("", 1100)):
        monkeypatch.setenv("LOCAL_RANK", local)
        cuda.retained = 0  # no device is in use
        assert _gpu_driver.driver().context(None) == context
    assert _gpu_driver.driver().context(5) == 1105
    cuda.retained = 1
    assert _gpu_driver.driver().context(None) == 1100  # the one that is


def test_the_arena_of_the_next_daemon_is_registered_too(folder: Path, fake: Fake, cuda: FakeDriver) -> None:
    fake.misbehave({"die_after_batches": 5}, {})
    with DataLoader(folder, 2, transform=CROP, pinned=True) as loader:
        assert len(bytes_of(loader)) == 15
        assert cuda.registrations == 2
    assert fake.starts == 2


def test_a_forked_child_unregisters_nothing(folder: Path, cuda: FakeDriver) -> None:
    with DataLoader(folder, 4, transform=CROP, pinned=True) as loader:
        iterator = iter(loader)
        kept = next(iterator)
        pid = os.fork()
        if not pid:
            before = cuda.registered
            del kept, iterator, loader
            gc.collect()
            os._exit(0 if before == cuda.registered == 1 and not cuda.synchronized else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert np.array_equal(kept[1], kept[1].copy())


def test_the_daemon_is_told_which_device_batches_go_to_where_it_asks(
    folder: Path, fake: Fake, cuda: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    torch_loader = pytest.importorskip("forebay.torch")
    loaders = pytest.importorskip("forebay._gpu_loader")
    monkeypatch.setattr(loaders, "_current_ordinal", lambda: 1)
    for gpus, told in (({"0000:9A:00.0": 3}, " pinned on NUMA node 3"), ({}, " pinned")):
        forget_daemons()
        fake.misbehave({"gpus": gpus})
        cuda.devices = 2
        with torch_loader.DataLoader(folder, 4, transform=CROP, pinned=True) as loader:
            next(iter(loader))
            assert loader.stats()["pinned"].endswith(f"kB{told}")


def test_pin_memory_copies_unless_the_arena_itself_is_pinned(
    folder: Path, cuda: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    import forebay._gpu_loader
    import forebay.torch

    if torch.cuda.is_available():
        pytest.skip("a real device: its own driver would be asked to pin for the one of tests")
    monkeypatch.setattr(forebay.torch, "can_pin", lambda: True)
    monkeypatch.setattr(forebay._gpu_loader, "_current_ordinal", lambda: 0)
    with forebay.torch.DataLoader(folder, 4, transform=CROP, pin_memory=True) as loader:
        assert [name for name, _ in loader._calls] == ["pin_memory"]
        assert (cuda.registrations, "pinned" in repr(loader)) == (0, False)
    with forebay.torch.DataLoader(folder, 4, transform=CROP, pin_memory=True, pinned=True) as loader:
        assert len(list(loader)) == 8
        assert cuda.registrations >= 1
        assert "pinned=True" in repr(loader)
        assert not loader._calls
    with forebay.torch.DataLoader([1, 2, 3], 2, num_workers=0, pin_memory=True) as loader:
        assert [name for name, _ in loader._calls] == ["pin_memory"]  # its batches lie in no arena
    with forebay.torch.DataLoader(folder, 4, transform=CROP, pin_memory=True, collate_fn=len) as loader:
        assert "pinned" not in repr(loader)
        assert [name for name, _ in loader._calls] == ["collate_fn", "pin_memory"]
