"""Batches on a device, copied ahead: a device of tests whose copies end late, and the real one where there is one."""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from conftest import Fake, forget_daemons, wait_until  # noqa: E402
from fake_device import HastyMark, LateEngine, LostMark  # noqa: E402
from test_views import leased  # noqa: E402

import forebay._gpu_loader  # noqa: E402
from forebay import _gpu_driver  # noqa: E402
from forebay._gpu_torch import TorchEngine  # noqa: E402
from forebay.errors import CorruptError, DeviceError, InvalidError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402
from forebay.transforms import CenterCrop, Normalize  # noqa: E402

CROP = [CenterCrop(16)]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> type[LateEngine]:
    """Let `device="cuda"` be the device of tests."""
    kind: type[LateEngine] = type("Engine", (LateEngine,), {})
    monkeypatch.setattr(forebay._gpu_loader, "TorchEngine", kind)
    monkeypatch.setattr(forebay._gpu_loader, "device_of", lambda given: given and torch.device("cuda", 0))
    return kind


def host_batches(folder: Path, **options: Any) -> list[list[Any]]:
    with DataLoader(folder, transform=CROP, shuffle=True, **options) as loader:
        return [[value.clone() for value in batch] for batch in loader]


def same(batch: Any, wanted: Any) -> bool:
    return all(torch.equal(one.cpu(), other) for one, other in zip(batch, wanted))


def test_a_slot_is_never_refilled_under_a_copy(daemon: str, folder: Path, late: type[LateEngine]) -> None:
    wanted = host_batches(folder, batch_size=2)
    late.delay_seconds = 0.002
    with DataLoader(folder, 2, True, transform=CROP, prefetch=1, device="cuda", ahead=3) as loader:
        for _ in range(3):
            loader.set_epoch(0)
            got = list(loader)  # what is read behind the last copy shows a slot that was refilled under it
            assert len(got) == len(wanted)
            assert all(same(batch, stamps) for batch, stamps in zip(got, wanted))
        assert loader.stats()["copies"] == 0


def test_the_stress_test_notices_a_slot_that_is_given_back_early(
    daemon: str, folder: Path, late: type[LateEngine]
) -> None:
    wanted = host_batches(folder, batch_size=2)
    late.delay_seconds, late.mark = 0.02, HastyMark
    with DataLoader(folder, 2, True, transform=CROP, prefetch=1, device="cuda", ahead=3) as loader:
        assert not all(same(batch, stamps) for batch, stamps in zip(list(loader), wanted))


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the same stress test runs on a device of tests"
)
@pytest.mark.parametrize("pinned", [True, False])
def test_no_slot_is_refilled_under_a_copy_of_a_real_device(
    daemon: str, folder: Path, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    class Slow(TorchEngine):
        def _mapped(self, batch: Any) -> Any:
            torch.cuda._sleep(20_000_000)  # some 10 ms
            return super()._mapped(batch)

    monkeypatch.setattr(forebay._gpu_loader, "TorchEngine", Slow)
    if not pinned:
        monkeypatch.setattr(_gpu_driver, "_LIBRARY", "libnone.so")
    wanted = host_batches(folder, batch_size=2)
    with DataLoader(folder, 2, True, transform=CROP, prefetch=1, device="cuda", ahead=3) as loader:
        for _ in range(3):
            loader.set_epoch(0)
            got = list(loader)
            assert all(batch[0].device.type == "cuda" for batch in got)
            assert all(same(batch, stamps) for batch, stamps in zip(got, wanted))
        assert f"pinned={pinned}" in repr(loader)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the kernel's source is tested as plain C")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_real_device_makes_the_daemons_floats(daemon: str, folder: Path, dtype: str) -> None:
    chain = [CenterCrop(15), Normalize()]
    for crop in (CROP, [CenterCrop((16, 10))], chain[:1]):
        with (
            DataLoader(folder, 4, transform=[*crop, Normalize()], dtype=dtype) as host,
            DataLoader(folder, 4, transform=[*crop, Normalize()], dtype=dtype, device="cuda") as there,
        ):
            for (images, labels), (made, numbers) in zip(host, there):
                assert made.stride() == images.stride()
                assert torch.equal(made.cpu().view(torch.uint8), images.view(torch.uint8))
                assert torch.equal(numbers.cpu(), labels)


def test_the_state_is_that_of_what_was_delivered_and_not_of_what_is_ahead(
    daemon: str, folder: Path, late: type[LateEngine]
) -> None:
    wanted = host_batches(folder, batch_size=4)
    with DataLoader(folder, 4, True, transform=CROP, device="cuda", ahead=3, prefetch=4) as loader:
        for taken in range(1, len(wanted)):
            iterator = iter(loader)
            for index in range(taken):
                batch = next(iterator)
                assert iterator.cursor.position == min(30, 4 * (index + 1)) or iterator.is_over
                assert iterator.delivered.position == 4 * index
            assert same(batch, wanted[taken - 1])
            state = loader.state_dict()
            del iterator
            loader.load_state_dict(state)
            assert all(same(batch, stamps) for batch, stamps in zip(loader, wanted[taken:]))
            loader.set_epoch(0)


def test_the_digest_and_the_losses_are_of_what_was_delivered(
    folder: Path, late: type[LateEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", _real())
    with (
        DataLoader(folder, 4, True, transform=CROP, digest=True) as host,
        DataLoader(folder, 4, True, transform=CROP, digest=True, device="cuda", prefetch=4, ahead=3) as there,
    ):
        for one, other, _ in zip(iter(host), iter(there), range(3)):
            assert torch.equal(one[1], other[1])
            there.report([0.5] * 4)
        assert there.digest() == host.digest()


def test_rows_valid_and_texts_come_as_without_a_device(daemon: str, tmp_path: Path, late: type[LateEngine]) -> None:
    rows = [{"number": index, "vector": [index, 2.5], "text": "a" * index} for index in range(7)]
    options: dict[str, Any] = {"batch_size": 4, "tail": "pad", "with_valid": True}
    with DataLoader(rows, **options) as host, DataLoader(rows, device="cuda", **options) as there:
        for one, other in zip(host, there):
            assert list(one) == list(other)
            assert one["text"] == other["text"]
            assert all(torch.equal(one[name], other[name]) for name in ("number", "vector", "valid"))
            assert torch.equal(host.valid, there.valid)
        host.set_epoch(0)
        there.set_epoch(0)
        assert [row["number"].item() for row in there.rows()] == [row["number"].item() for row in host.rows()]


def test_batch_transform_gets_the_batch_of_the_device_and_gets_it_again(folder: Path, late: type[LateEngine]) -> None:
    seen: list[int] = []

    def change(batch: Any) -> Any:
        seen.append(batch[0].data_ptr())
        if len(seen) == 1:
            raise ValueError("not yet")
        return batch[0].float().sum()

    wanted = [images.float().sum() for images, _ in host_batches(folder, batch_size=4)]
    with DataLoader(folder, 4, True, transform=CROP, device="cuda", batch_transform=change) as loader:
        iterator = iter(loader)
        with pytest.raises(ValueError, match="not yet"):
            next(iterator)
        assert torch.equal(torch.stack(list(iterator)), torch.stack(wanted))
        assert seen[0] == seen[1]


def test_a_bad_sample_ahead_is_told_in_its_turn(folder: Path, fake: Fake, late: type[LateEngine]) -> None:
    fault = {"epoch": 0, "position": 12, "kind": "ERROR_KIND_CORRUPT", "times": 1}
    fake.misbehave({"fault": fault})
    with DataLoader(folder, 4, transform=CROP, device="cuda", ahead=4, prefetch=4) as loader:
        iterator = iter(loader)
        got = [next(iterator) for _ in range(3)]
        with pytest.raises(CorruptError, match="row 12"):
            next(iterator)
        assert loader.state_dict()["position"] == 12
        assert len(got) + len(list(iterator)) == 8


def test_a_daemon_that_dies_under_copies_costs_nothing(folder: Path, fake: Fake, late: type[LateEngine]) -> None:
    wanted = host_batches(folder, batch_size=2)
    forget_daemons()
    late.delay_seconds = 0.002
    fake.misbehave({"die_after_batches": 6}, {})
    with DataLoader(folder, 2, True, transform=CROP, device="cuda", ahead=3) as loader:
        assert all(same(batch, stamps) for batch, stamps in zip(list(loader), wanted))
        assert fake.starts == 2


def test_memory_that_runs_out_ends_the_session_alone_and_the_state_goes_on(
    daemon: str, folder: Path, late: type[LateEngine]
) -> None:
    wanted = host_batches(folder, batch_size=4)
    late.fail_at = 4
    with (
        DataLoader(folder, 4, True, transform=CROP) as other,
        DataLoader(folder, 4, True, transform=CROP, device="cuda", ahead=1) as loader,
    ):
        beside = iter(other)
        assert same(next(beside), wanted[0])
        iterator, got = iter(loader), []
        with pytest.raises(DeviceError, match="cuda:0 has no room for a batch"):
            got.extend(iterator)
        with pytest.raises(InvalidError, match="cuda:0 failed"):
            next(iterator)
        del iterator
        assert same(next(beside), wanted[1])  # the daemon serves the others
        loader.load_state_dict(loader.state_dict())
        got += list(loader)
        assert all(same(batch, stamps) for batch, stamps in zip(got, wanted))
        assert len(got) == len(wanted)


def test_a_device_that_is_lost_ends_the_session_alone(daemon: str, folder: Path, late: type[LateEngine]) -> None:
    wanted = host_batches(folder, batch_size=4)
    late.mark = LostMark
    with (
        DataLoader(folder, 4, True, transform=CROP) as other,
        DataLoader(folder, 4, True, transform=CROP, device="cuda") as loader,
    ):
        beside, iterator = iter(other), iter(loader)
        assert same(next(iterator), wanted[0])
        with pytest.raises(DeviceError, match="device lost"):
            next(iterator)
        with pytest.raises(InvalidError, match="start the process again"):
            next(iterator)
        assert loader.state_dict()["position"] == 4
        assert all(same(batch, stamps) for batch, stamps in zip(beside, wanted))


def test_an_interrupt_anywhere_loses_no_batch(
    daemon: str, folder: Path, late: type[LateEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = host_batches(folder, batch_size=4)
    for name in ("upload", "deliver"):
        calls: list[int] = []
        real = getattr(LateEngine, name)

        def interrupted(engine: Any, *args: Any, real: Any = real, calls: list[int] = calls) -> Any:
            calls.append(0)
            made = real(engine, *args)
            if len(calls) in (2, 5):
                raise KeyboardInterrupt
            return made

        monkeypatch.setattr(late, name, interrupted)
        with DataLoader(folder, 4, True, transform=CROP, device="cuda", ahead=1) as loader:
            iterator, got = iter(loader), []
            while not iterator.is_over:
                try:
                    got.append(next(iterator))
                except KeyboardInterrupt:
                    assert loader.state_dict()["position"] == 4 * len(got)
            assert len(calls) > len(got)
        assert len(got) == len(wanted)
        assert all(same(batch, stamps) for batch, stamps in zip(got, wanted))


def test_an_iterator_that_goes_leaves_no_slot_behind(daemon: str, folder: Path, late: type[LateEngine]) -> None:
    late.delay_seconds = 0.01
    with DataLoader(folder, 2, transform=CROP, device="cuda", ahead=3) as loader:
        iterator = iter(loader)
        next(iterator)
        del iterator
        gc.collect()
        assert [len(batch[1]) for batch in loader] == [2] * 15
        assert wait_until(lambda: leased(loader) <= 2)  # in flight for the next epoch


def test_a_forked_child_is_told_and_disturbs_nobody(folder: Path, late: type[LateEngine]) -> None:
    with DataLoader(folder, 2, transform=CROP, device="cuda") as loader:
        iterator = iter(loader)
        next(iterator)
        pid = os.fork()
        if not pid:
            try:
                next(iterator)
            except InvalidError as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(list(iterator)) == 14


def test_batches_whose_copies_pass_after_the_end_of_their_epoch_count_too(
    folder: Path, late: type[LateEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", _real())
    late.delay_seconds = 0.03
    with DataLoader(folder, 4, transform=CROP, device="cuda") as loader:
        for epoch in (1, 2):
            for _ in loader:
                pass
            assert loader.stats()["device_batches"] == epoch * len(loader)


def test_stats_and_explain_tell_what_the_copies_took(
    folder: Path, late: type[LateEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", _real())
    with DataLoader(folder, 4, transform=CROP, device="cuda") as loader:
        for _ in loader:
            pass
        next(iter(loader))
        stats = loader.stats()
        assert stats["device_batches"] >= 7
        assert "copied to the device: 1.00 ms a batch" in str(stats)
        assert str(loader.explain()).rstrip().splitlines()[-1].startswith("copied to the device")


def test_where_images_become_floats_is_told(
    folder: Path, late: type[LateEngine], capfd: pytest.CaptureFixture[str]
) -> None:
    forebay._gpu_loader._said.clear()
    chain = [*CROP, Normalize()]
    with DataLoader(folder, 4, transform=chain, device="cuda") as loader:
        next(iter(loader))
        assert "ahead=2, cast there: image: uint8 -> float32, normalised, channels_last" in repr(loader)
    assert "batches go to cuda:0, 2 ahead; cast there, image: uint8 -> float32" in capfd.readouterr().err
    with DataLoader(folder, 4, transform=chain, device="cuda", cast="daemon") as loader:
        next(iter(loader))
        assert "cast" not in repr(loader)


def test_a_copy_of_a_loader_sends_its_batches_the_same_way(folder: Path, late: type[LateEngine]) -> None:
    with (
        DataLoader(folder, 4, transform=[*CROP, Normalize()], device="cuda", ahead=3) as loader,
        pickle.loads(pickle.dumps(loader)) as other,
        DataLoader(loader.dataset, 4) as third,
    ):
        assert repr(loader).partition("device=")[2] == repr(other).partition("device=")[2]
        for one, two, three in zip(loader, other, third):
            assert one[0].dtype == torch.float32
            assert same(one, two)
            assert same(one, three)
        with pytest.raises(InvalidError, match="device= over"):
            DataLoader(loader.dataset, 4, device="cuda")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda", "ahead": 0}, "ahead"),
        ({"device": "cuda", "cast": "gpu"}, "cast='gpu'"),
        ({"device": "nonsense"}, "no device"),
        ({"device": "meta"}, "CUDA devices"),
    ],
)
def test_what_makes_no_sense_is_refused(
    folder: Path, options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if options["device"] == "cuda":
        monkeypatch.setattr(forebay._gpu_loader, "device_of", lambda _: torch.device("cuda", 0))
    with pytest.raises(InvalidError, match=words):
        DataLoader(folder, 4, transform=CROP, **options)


def test_the_cpu_is_no_device(folder: Path) -> None:
    with DataLoader(folder, 4, transform=CROP, device="cpu") as loader:
        assert len(next(iter(loader))[0]) == 4


@pytest.fixture(autouse=True)
def no_thread_of_mine() -> Iterator[None]:
    yield
    gc.collect()


def _real() -> str:
    from conftest import REAL

    return REAL or pytest.skip("no binary")
