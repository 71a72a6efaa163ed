"""A user's own data set on a device: a device of tests whose copies end late, and the real one where there is one."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import signal
import time
from collections import UserDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import REAL, wait_until  # noqa: E402
from fake_device import HastyMark, LateEngine, LostMark  # noqa: E402
from fake_driver import FakeDriver, build, needs_cc  # noqa: E402
from own_data import Clips, Failing, Table  # noqa: E402
from test_own_torch import Mixed, assert_same  # noqa: E402
from torch.utils.data import DataLoader as TorchLoader  # noqa: E402

import forebay._gpu_loader  # noqa: E402
import forebay.numpy  # noqa: E402
from forebay import _gpu_driver  # noqa: E402
from forebay._gpu_nested import changed, tensors  # noqa: E402
from forebay._gpu_torch import TorchEngine  # noqa: E402
from forebay.errors import DeviceError, InvalidError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402

pytestmark = pytest.mark.skipif(not REAL, reason="no binary")
PAGES = 1 << 12  # int64 a row: eight pages


@pytest.fixture(autouse=True)
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", REAL)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> type[LateEngine]:
    """Let `device="cuda"` be the device of tests."""
    kind: type[LateEngine] = type("Engine", (LateEngine,), {})
    monkeypatch.setattr(forebay._gpu_loader, "TorchEngine", kind)
    monkeypatch.setattr(forebay._gpu_loader, "device_of", lambda given: given and torch.device("cuda", 0))
    return kind


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    monkeypatch.setattr(forebay._gpu_loader, "_current_ordinal", lambda: 0)
    return FakeDriver(build(tmp_path / "libfake.so"), monkeypatch)


class Stamps:
    """Rows of pages that all hold their number, with the number beside."""

    def __init__(self, rows: int = 96) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return np.full(PAGES, index), index


def right(batches: Any, rows: int = 96, size: int = 4) -> bool:
    """Whether batches hold the rows of an epoch in order, in every byte: a slot refilled too soon has later ones."""
    wanted = torch.arange(rows).split(size)
    made = [(stamps.cpu(), numbers.cpu()) for stamps, numbers in batches]
    return len(made) == len(wanted) and all(
        torch.equal(numbers, rows) and torch.equal(stamps, rows[:, None].expand(-1, PAGES))
        for (stamps, numbers), rows in zip(made, wanted)
    )


def by_hand(samples: list[Any]) -> Any:
    return torch.tensor(np.stack([stamps for stamps, _ in samples])), torch.tensor([number for _, number in samples])


@pytest.mark.parametrize("collate", [None, by_hand])
def test_no_slot_is_refilled_under_a_copy(late: type[LateEngine], collate: Any) -> None:
    late.delay_seconds = 0.002
    options: dict[str, Any] = {"num_workers": 2, "prefetch": 1, "collate_fn": collate}
    with DataLoader(Stamps(), 4, device="cuda", ahead=3, **options) as loader:
        for _ in range(3):
            assert right(list(loader))  # what is read behind the last copy shows a slot that was refilled under it
        assert loader.stats()["copies"] == 0
        assert loader.stats()["device_batches"] > 60


def test_the_stress_test_notices_a_slot_that_is_given_back_early(late: type[LateEngine]) -> None:
    late.delay_seconds, late.mark = 0.02, HastyMark
    with DataLoader(Stamps(), 4, device="cuda", ahead=3, num_workers=2, prefetch=1) as loader:
        assert not right(list(loader))


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the same stress test runs on a device of tests"
)
@pytest.mark.parametrize("pinned", [True, False])
def test_no_slot_is_refilled_under_a_copy_of_a_real_device(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    class Slow(TorchEngine):
        def _mapped(self, batch: Any) -> Any:
            torch.cuda._sleep(20_000_000)  # some 10 ms
            return super()._mapped(batch)

    monkeypatch.setattr(forebay._gpu_loader, "TorchEngine", Slow)
    if not pinned:
        monkeypatch.setattr(_gpu_driver, "_LIBRARY", "libnone.so")
    with DataLoader(Stamps(), 4, device="cuda", ahead=3, num_workers=2, prefetch=1) as loader:
        for _ in range(3):
            got = list(loader)
            assert all(value.device.type == "cuda" for batch in got for value in batch)
            assert right(got)
        assert f"pinned={pinned}" in repr(loader)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the fence is tested with a driver of tests")
def test_no_pinned_slot_is_refilled_under_a_copy_of_the_trainers() -> None:
    with DataLoader(Stamps(), 4, pinned=True, num_workers=2, prefetch=1) as loader:
        there = []
        for stamps, numbers in loader:
            assert stamps.is_pinned()
            torch.cuda._sleep(20_000_000)
            there.append((stamps.to("cuda", non_blocking=True), numbers.clone()))
        assert right(there)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_any_structure_come_as_from_torch(late: type[LateEngine], workers: int) -> None:
    with DataLoader(dataset=Mixed(), batch_size=9, num_workers=workers, device="cuda") as loader:
        for ours, theirs in zip(loader, TorchLoader(Mixed(), batch_size=9), strict=True):
            assert_same(ours, theirs)


def test_every_tensor_goes_and_nothing_else() -> None:
    Pair = namedtuple("Pair", "a b")
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)])
    sparse = torch.eye(2).to_sparse()
    tokens: Any = UserDict({"ids": torch.arange(3)})
    tokens.encodings = ["kept"]
    given = {
        "pair": Pair(torch.ones(1), "text"),
        "lists": [(torch.ones(1), 5), [torch.ones(2), None]],
        "tokens": tokens,
        "packed": packed,
        "sparse": sparse,
    }
    made = changed(given, lambda tensor: tensor + 1)
    assert len(list(tensors(given))) == 4
    assert isinstance(made["pair"], Pair)
    assert made["pair"] == Pair(torch.full((1,), 2.0), "text")
    assert (type(made["lists"][0]), made["lists"][0][1]) == (tuple, 5)
    assert made["lists"][1][0].tolist() == [2, 2]
    assert (type(made["tokens"]), made["tokens"].encodings) == (UserDict, ["kept"])
    assert made["tokens"]["ids"].tolist() == [1, 2, 3]
    assert tokens["ids"].tolist() == [0, 1, 2]
    assert made["packed"] is packed  # a part of it belongs on the host: its own `to` knows
    assert made["sparse"] is sparse


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_is_that_of_what_was_delivered_and_not_of_what_is_ahead(late: type[LateEngine], workers: int) -> None:
    with DataLoader(Stamps(30), 4, True, num_workers=workers, device="cuda", ahead=3) as loader:
        wanted = [numbers.tolist() for _, numbers in loader]
        loader.set_epoch(0)
        for taken in range(1, len(wanted)):
            iterator = iter(loader)
            for index in range(taken):
                batch = next(iterator)
                assert iterator.cursor.position == min(30, 4 * (index + 1)) or iterator.is_over
                assert iterator.delivered.position == 4 * index
            assert batch[1].tolist() == wanted[taken - 1]
            state = loader.state_dict()
            del iterator
            loader.load_state_dict(state)
            assert [numbers.tolist() for _, numbers in loader] == wanted[taken:]
            loader.set_epoch(0)


def test_the_digest_is_of_what_was_delivered(late: type[LateEngine]) -> None:
    with (
        DataLoader(Stamps(), 4, True, num_workers=1, digest=True) as host,
        DataLoader(Stamps(), 4, True, num_workers=1, digest=True, device="cuda", ahead=3) as there,
    ):
        for one, other, _ in zip(iter(host), iter(there), range(5)):
            assert torch.equal(one[1], other[1])
        assert there.digest() == host.digest()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_of_a_sample_comes_in_its_turn(late: type[LateEngine], workers: int) -> None:
    with DataLoader(Failing(), 5, num_workers=workers, device="cuda", ahead=4) as loader:
        iterator = iter(loader)
        for _ in range(4):
            next(iterator)
        for _ in range(2):  # it is tried again
            with pytest.raises(KeyError, match="no sample 23"):
                next(iterator)
            assert loader.state_dict()["position"] == 20


def test_batch_transform_gets_the_batch_of_the_device_and_gets_it_again(late: type[LateEngine]) -> None:
    seen: list[int] = []

    def change(batch: Any) -> Any:
        seen.append(batch[0].data_ptr())
        if len(seen) == 1:
            raise ValueError("not yet")
        assert len(batch) == 3  # with the mask
        return batch[1].sum()

    options: dict[str, Any] = {"num_workers": 1, "with_valid": True, "tail": "pad", "batch_transform": change}
    with DataLoader(Stamps(10), 4, device="cuda", **options) as loader:
        iterator = iter(loader)
        with pytest.raises(ValueError, match="not yet"):
            next(iterator)
        assert [total.item() for total in iterator] == [6, 22, 18]
        assert loader.valid.tolist() == [True, True, False, False]
        assert seen[0] == seen[1]


def test_a_worker_that_dies_under_copies_costs_nothing(late: type[LateEngine]) -> None:
    late.delay_seconds = 0.002
    with DataLoader(Stamps(), 4, num_workers=2, device="cuda", ahead=3) as loader:
        got = []
        for batch in loader:
            got.append(batch)
            if len(got) == 3:
                os.kill(loader.worker_pids()[0], signal.SIGKILL)
        assert right(got)


def test_memory_that_runs_out_ends_the_iterator_alone_and_the_state_goes_on(late: type[LateEngine]) -> None:
    late.fail_at = 4
    with DataLoader(Stamps(24), 4, num_workers=2, device="cuda", ahead=1) as loader:
        iterator, got = iter(loader), []
        got += [next(iterator) for _ in range(3)]
        with pytest.raises(DeviceError, match="has no room for a batch"):
            next(iterator)
        with pytest.raises(InvalidError, match="cannot go on"):
            next(iterator)
        assert loader.state_dict()["position"] == 12
        loader.load_state_dict(loader.state_dict())
        late.fail_at = 0
        assert right(got + list(loader), 24)


def test_a_device_that_is_lost_is_told(late: type[LateEngine]) -> None:
    late.mark = LostMark
    with DataLoader(Stamps(), 4, num_workers=1, device="cuda") as loader:
        iterator = iter(loader)
        next(iterator)
        with pytest.raises(DeviceError, match="device lost"):
            next(iterator)
        assert loader.state_dict()["position"] == 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["upload", "deliver"])
def test_an_interrupt_anywhere_loses_no_batch(
    late: type[LateEngine], monkeypatch: pytest.MonkeyPatch, name: str, workers: int
) -> None:
    calls: list[int] = []
    inner = getattr(LateEngine, name)

    def interrupted(engine: Any, *args: Any) -> Any:
        calls.append(0)
        made = inner(engine, *args)
        if len(calls) in (2, 5):
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(late, name, interrupted)
    with DataLoader(Stamps(40), 4, num_workers=workers, device="cuda", ahead=1) as loader:
        iterator, got = iter(loader), []
        while not iterator.is_over:
            try:
                got.append(next(iterator))
            except KeyboardInterrupt:
                assert loader.state_dict()["position"] == 4 * len(got)
        assert len(calls) > len(got)
    assert right(got, 40)


@needs_cc
def test_slots_are_registered_once_and_until_they_are_unmapped(late: type[LateEngine], cuda: FakeDriver) -> None:
    with DataLoader(Stamps(), 4, num_workers=2, device="cuda") as loader:
        assert cuda.registrations == 0
        assert "pinned=None" in repr(loader)
        for _ in range(3):
            assert right(list(loader))
        assert (cuda.registrations, cuda.registered) == (1, 1)  # and nothing of the daemon's
        assert "pinned=True" in repr(loader)
        assert "pinned" in str(loader.stats())
    del loader
    gc.collect()
    assert (cuda.registered, cuda.unmapped_first, cuda.pushed) == (0, 0, 0)


@pytest.mark.parametrize("framework", [DataLoader, forebay.numpy.DataLoader])
@needs_cc
def test_a_pinned_slot_is_not_refilled_while_a_device_may_copy_from_it(cuda: FakeDriver, framework: Any) -> None:
    with framework(Stamps(), 4, num_workers=2, prefetch=1, max_leases=2, pinned=True) as loader:
        # Addresses are read when the views are gone: what is given back, workers write over.
        cuda.passed = cuda.recorded
        iterator = iter(loader)
        dropped = [_dropped(next(iterator)) for _ in range(4)]
        assert all(map(_is_whole, dropped))
        cuda.passed = 1 << 60
        dropped += [_dropped(next(iterator)) for _ in range(16)]
        assert wait_until(lambda: not all(map(_is_whole, dropped)))
        assert "pinned=True" in repr(loader)


def _dropped(batch: Any) -> tuple[int, int]:
    stamps = np.asarray(batch[0])
    return stamps.ctypes.data, int(batch[1][0])


def _is_whole(dropped: tuple[int, int]) -> bool:
    address, first = dropped
    return ctypes.c_int64.from_address(address).value == first


@needs_cc
def test_a_device_that_never_comes_on_costs_copies_and_no_hang(
    cuda: FakeDriver, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay._python.iterator._SETTLE_SECONDS", 0.001)
    cuda.passed = 0
    with DataLoader(Stamps(), 4, num_workers=2, prefetch=1, max_leases=1, pinned=True) as loader:
        for _ in range(2):
            assert right(list(loader))
        assert loader.stats()["copies"] > 24
    assert "copied to ordinary memory" in capfd.readouterr().err


@needs_cc
def test_a_limit_on_locked_memory_is_told_once_and_served(
    late: type[LateEngine], cuda: FakeDriver, capfd: pytest.CaptureFixture[str]
) -> None:
    cuda.register_result = 2
    for options in ({"device": "cuda"}, {"pinned": True}):
        with DataLoader(Stamps(), 4, num_workers=2, **options) as loader:
            assert right(list(loader))
            assert "pinned=False" in repr(loader)
    told = capfd.readouterr().err
    assert told.count("batches are not pinned") == 1
    assert "ulimit -l" in told


@needs_cc
def test_batches_of_this_process_are_not_pinned_which_is_told(
    cuda: FakeDriver, capfd: pytest.CaptureFixture[str]
) -> None:
    with DataLoader(Table(), 4, num_workers=0, pinned=True) as loader:
        list(loader)
        assert "pinned=False" in repr(loader)
    assert "with num_workers=0 batches lie in the ordinary memory" in capfd.readouterr().err
    assert cuda.registrations == 0


def test_an_iterator_that_goes_leaves_no_slot_behind(late: type[LateEngine]) -> None:
    late.delay_seconds = 0.005
    with DataLoader(Stamps(), 4, num_workers=2, device="cuda", ahead=3) as loader:
        for _ in range(3):
            iterator = iter(loader)
            next(iterator)
            del iterator
        gc.collect()
        assert len(list(loader)) == 24
        (slots,) = loader._idle
        assert slots.on_loan == 0


def test_a_forked_child_is_told_and_disturbs_nobody(late: type[LateEngine]) -> None:
    with DataLoader(Stamps(), 4, num_workers=2, device="cuda") as loader:
        iterator = iter(loader)
        first = next(iterator)
        pid = os.fork()
        if not pid:
            try:
                next(iterator)
            except InvalidError as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert right([first, *iterator])


def test_batches_of_every_collate_mode_go_to_the_device(late: type[LateEngine]) -> None:
    for collate in ("ragged", "pad", "list", {"audio": "pad", "text": "list"}):
        dataset = Clips(even=False)
        with (
            DataLoader(dataset, 8, num_workers=2, collate_fn=collate) as host,
            DataLoader(dataset, 8, num_workers=2, collate_fn=collate, device="cuda") as there,
        ):
            for one, other in zip(host, there, strict=True):
                assert_same(one, other)


def test_an_image_folder_with_python_transforms_goes_to_the_device(late: type[LateEngine], folder: Path) -> None:
    pytest.importorskip("torchvision")
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    chain = [transforms.CenterCrop(12), transforms.ToTensor(), transforms.RandomErasing(p=1)]
    data = ImageFolder(folder, transforms.Compose(chain))
    with DataLoader(data, 4, True, num_workers=2) as host, DataLoader(data, 4, True, device="cuda", ahead=3) as there:
        assert type(there).__name__ == "SplitLoader"
        assert "cast" not in repr(there)
        for one, other in zip(host, there, strict=True):
            assert_same(one, other)


def test_stats_explain_and_repr_tell_of_the_copies(late: type[LateEngine]) -> None:
    with DataLoader(Stamps(), 4, num_workers=2, device="cuda", ahead=3) as loader:
        list(loader)
        assert "device='cuda:0', ahead=3" in repr(loader)
        assert loader.stats()["device_batches"] >= 20
        assert "copied to the device: 1.00 ms a batch (0.1 GB/s)" in str(loader.stats())
        assert str(loader.explain()).rstrip().splitlines()[-1].startswith("copied to the device")


def test_starting_a_copy_is_pythons_work_and_not_the_trainers(
    late: type[LateEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, slept = LateEngine.upload, []

    def slow(engine: Any, batch: Any) -> Any:
        started = time.perf_counter()
        time.sleep(0.003)
        made = upload(engine, batch)
        slept.append(time.perf_counter() - started)
        return made

    monkeypatch.setattr(late, "upload", slow)
    with DataLoader(Stamps(), 4, num_workers=2, device="cuda") as loader:
        list(loader)
        assert loader.stats()["python_seconds"] > sum(slept[:-1])


def test_a_copy_of_a_loader_sends_its_batches_the_same_way(late: type[LateEngine]) -> None:
    with DataLoader(Table(), 8, num_workers=1, device="cuda") as loader, copy.copy(loader) as other:
        assert "device='cuda:0'" in repr(other)
        for one, two in zip(loader, other, strict=True):
            assert_same(one, two)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_device_is_named_and_the_cpu_is_none() -> None:
    with pytest.raises(DeviceError, match="device='cuda'"):
        DataLoader(Table(), 4, device="cuda")
    with DataLoader(Table(), 4, num_workers=1, device="cpu", cast="daemon") as loader:
        assert len(list(loader)) == 50
    with pytest.raises(InvalidError, match="ahead"):
        DataLoader(Table(), 4, device="cpu", ahead=0)
