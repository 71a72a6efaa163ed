"""A user's own data set: the order of native data, equal contents by any number of workers, exact resume."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL, write_png
from own_data import (
    Batched,
    Boxes,
    Clips,
    Drawing,
    Dying,
    Failing,
    Init,
    Named,
    Odd,
    Pids,
    Slow,
    SometimesDrawing,
    Stopping,
    Table,
    Uneven,
    ZippedPhotos,
    drawn_collate,
    flipped,
    summed,
)
from system.support import arenas, descriptors, pick, rss_bytes, wait_until

import forebay
from forebay._python import start
from forebay._python.errors import WorkerError
from forebay.errors import InvalidError, StateError
from forebay.numpy import DataLoader

pytestmark = pytest.mark.skipif(not REAL, reason="no binary")


@pytest.fixture(autouse=True)
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", REAL)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A zip file of 60 small images."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for index in range(60):
            write_png(tmp_path / "one.png", index)
            file.write(tmp_path / "one.png", f"{index:03}.png")
    return tmp_path / "photos.zip"


def datasets(photos: Path) -> dict[str, Any]:
    return {"zip": ZippedPhotos(photos, flipped), "table": Table(), "clips": Clips(), "drawing": Drawing()}


def plain(value: Any) -> Any:
    """Give a batch as lists, to compare."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def epoch_of(dataset: Any, **how: Any) -> list[Any]:
    with DataLoader(dataset, **{"batch_size": 7, "shuffle": True, **how}) as loader:
        return [plain(batch) for batch in loader]


@pytest.mark.parametrize("kind", ["zip", "table", "clips", "drawing"])
def test_contents_are_the_same_by_any_number_of_workers(photos: Path, kind: str) -> None:
    dataset = datasets(photos)[kind]
    alone = epoch_of(dataset, num_workers=0)
    assert sum(len(next(iter(batch.values())) if isinstance(batch, dict) else batch[1]) for batch in alone) == len(
        dataset
    )
    for workers in (1, 3):
        assert epoch_of(dataset, num_workers=workers) == alone
    assert epoch_of(dataset, num_workers=2, seed=1) != alone


@pytest.mark.parametrize("kind", ["zip", "table", "clips"])
@pytest.mark.parametrize("stop", [1, 4, 8])
def test_a_resumed_epoch_goes_on_where_the_last_delivered_batch_ended(photos: Path, kind: str, stop: int) -> None:
    dataset = datasets(photos)[kind]
    whole = epoch_of(dataset, num_workers=2)
    with DataLoader(dataset, batch_size=7, shuffle=True, num_workers=2) as loader:
        iterator = iter(loader)
        before = [plain(next(iterator)) for _ in range(stop)]
        state = loader.state_dict()
    with DataLoader(dataset, batch_size=7, shuffle=True, num_workers=1) as loader:
        loader.load_state_dict(state)
        after = [plain(batch) for batch in loader]
    assert before + after == whole


def test_the_order_is_the_one_of_native_data() -> None:
    with DataLoader(forebay.Range(200, "Table"), batch_size=7, shuffle=True) as native:
        indices = [batch["index"].tolist() for batch in native]
        with DataLoader(Table(), batch_size=7, shuffle=True, num_workers=2) as loader:
            assert [(x[:, 0] / 16).astype(int).tolist() for x, _ in loader] == indices
            assert loader.state_dict()["snapshot"] == native.state_dict()["snapshot"]


def test_ranks_share_an_epoch_and_say_which_rows_count() -> None:
    seen: list[int] = []
    for rank in range(2):
        with DataLoader(Table(), 8, num_workers=1, rank=rank, world_size=2, shuffle=True, with_valid=True) as loader:
            for x, _, valid in loader:
                seen += (x[valid, 0] / 16).astype(int).tolist()
    assert sorted(seen) == list(range(200))


def test_a_state_is_of_its_data_set() -> None:
    with DataLoader(Table(), 8, num_workers=0) as loader:
        next(iter(loader))
        state = loader.state_dict()
    for other, name in ((Table(100), None), (Clips(200), None), (Table(), "Other")):
        with DataLoader(other, 8, num_workers=0, data_name=name) as loader, pytest.raises(StateError, match="snapshot"):
            loader.load_state_dict(state)
    with DataLoader(Clips(200), 8, num_workers=0, data_name="Table") as loader:
        loader.load_state_dict(state)


def test_a_row_that_draws_where_the_others_do_not_is_seeded_too() -> None:
    alone = epoch_of(SometimesDrawing(), num_workers=0, batch_size=1)
    drawn = {batch["index"][0]: batch["drawn"][0] for batch in alone}
    assert sum(value > 0 for value in drawn.values()) == 4
    for how in ({"num_workers": 0, "batch_size": 50}, {"num_workers": 2, "batch_size": 64}):
        for batch in epoch_of(SometimesDrawing(), **how):
            assert dict(zip(batch["index"], batch["drawn"])) == {index: drawn[index] for index in batch["index"]}


def test_the_draws_of_an_epoch_are_not_those_of_the_last() -> None:
    with DataLoader(Drawing(), 200, num_workers=1) as loader:
        first, second = (next(iter(loader))["draws"].copy() for _ in range(2))
    assert not np.isin(first, second).any()


def test_the_training_keeps_its_own_generators() -> None:
    random.seed(3)
    np.random.seed(3)
    wanted = random.random(), np.random.rand()
    random.seed(3)
    np.random.seed(3)
    epoch_of(Drawing(), num_workers=0)
    assert (random.random(), np.random.rand()) == wanted


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_have_the_structure_of_samples(workers: int) -> None:
    with DataLoader(Clips(), 10, num_workers=workers) as loader:
        batch = next(iter(loader))
    assert list(batch) == ["audio", "text", "rate", "pair"]
    assert (batch["audio"].shape, batch["audio"].dtype) == ((10, 400), np.float32)
    assert batch["text"] == [f"clip {index}" for index in range(10)]
    assert (batch["rate"].dtype, batch["rate"].tolist()) == (np.int64, [16_000] * 10)
    assert batch["pair"][1].tolist() == [index / 2 for index in range(10)]


@pytest.mark.parametrize("workers", [0, 2])
def test_boxes_come_ragged_padded_and_as_lists(workers: int) -> None:
    modes: Any = ("stack", {"boxes": "ragged", "labels": "pad"})
    with DataLoader(Boxes(), 6, num_workers=workers, collate_fn=modes) as loader:
        for images, targets in loader:
            assert images.shape == (6, 3, 8, 8)
            values, offsets = targets["boxes"]
            counts = [int(index) % 4 for index in targets["id"]]
            assert np.diff(offsets).tolist() == counts
            for place, index in enumerate(targets["id"]):
                assert (values[offsets[place] : offsets[place + 1]] == index).all()
            labels, lengths = targets["labels"]
            assert (labels.shape, lengths.tolist()) == ((6, max(counts)), counts)
            assert all(row[:count].tolist() == list(range(count)) for row, count in zip(labels, counts))
    with DataLoader(Boxes(), 6, num_workers=workers, collate_fn="list") as loader:
        for images, targets in loader:
            assert [image.shape for image in images] == [(3, 8, 8)] * 6
            assert all((target["boxes"] == target["id"]).all() for target in targets)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_collate_function_makes_the_batch(workers: int) -> None:
    with DataLoader(Table(), 64, num_workers=workers, collate_fn=summed) as loader:
        sizes = [batch["rows"] for batch in loader]
        assert sizes == [64, 64, 64, 8]
        loader.set_epoch(0)
        for step, batch in enumerate(loader):
            assert batch["x"][0, 0] == step * 64 * 16
            assert batch["names"][:2] == [str(step * 64 % 7), str((step * 64 + 1) % 7)]


def test_a_collate_function_draws_the_same_after_a_resume() -> None:
    whole = epoch_of(Table(), num_workers=0, collate_fn=drawn_collate, batch_size=32)
    assert len({draw for draw, _ in whole}) == len(whole)
    assert epoch_of(Table(), num_workers=2, collate_fn=drawn_collate, batch_size=32) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_may_give_whole_batches_or_samples_alone(workers: int) -> None:
    assert epoch_of(Batched(), num_workers=workers) == epoch_of(Table(), num_workers=0)
    with DataLoader(Table(), None, num_workers=workers) as loader:
        x, y = next(iter(loader))
        assert (x.shape, y) == ((16,), 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_several_sizes(workers: int) -> None:
    batches = [[3, 1, 4], [1, 5], [9, 2, 6, 5, 3]]
    with DataLoader(Drawing(), batch_sampler=batches, num_workers=workers) as loader:
        first = [plain(batch) for batch in loader]
        assert [batch["index"] for batch in first] == batches
        assert len({tuple(draw) for batch in first for draw in batch["draws"]}) == 10
        loader.set_epoch(0)
        assert [plain(batch) for batch in loader] == first


def test_a_slot_that_is_used_again_for_more_rows_or_fewer_has_its_columns_where_they_are_read() -> None:
    for sizes in ([1, 2, 5, 1, 2, 5], [5, 2, 1]):
        batches = [list(range(size)) for size in sizes]
        with DataLoader(Drawing(), batch_sampler=batches, num_workers=1, prefetch=1, max_leases=1) as loader:
            for _ in range(3):  # with the slots of the epoch before
                assert [batch["index"].tolist() for batch in loader] == batches


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_keeps_its_type_and_names_the_sample(workers: int) -> None:
    with DataLoader(Failing(), 10, num_workers=workers) as loader:
        iterator = iter(loader)
        assert [len(next(iterator)[1]) for _ in range(2)] == [10, 10]
        for _ in range(2):  # the next call tries again
            with pytest.raises(KeyError, match="no sample 23") as caught:
                next(iterator)
        assert loader.state_dict()["position"] == 20
    if workers:
        told = str(caught.value.__cause__)
        assert "sample 23 (row 23 of epoch 0), in worker" in told
        assert "in __getitem__" in told


def test_no_exception_ends_an_epoch_without_a_word() -> None:
    for workers in (0, 1):
        with DataLoader(Stopping(), 10, num_workers=workers) as loader, pytest.raises(RuntimeError, match="sample 5"):
            list(loader)
    with DataLoader(Odd(), 10, num_workers=1) as loader, pytest.raises(WorkerError, match="OddError: 1 and 2"):
        next(iter(loader))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_of_another_shape_is_named_with_both(workers: int) -> None:
    wanted = r"sample\[0\] is float32\[15\], where the first sample's was float32\[16\]"
    with DataLoader(Uneven(), 10, num_workers=workers) as loader, pytest.raises(InvalidError, match=wanted) as caught:
        list(loader)
    assert "[sample 17 (row 17 of epoch 0)" in str(caught.value)


def test_images_of_pillow_are_refused_with_the_cure(photos: Path) -> None:
    for workers in (0, 1):
        with (
            DataLoader(ZippedPhotos(photos), 4, num_workers=workers) as loader,
            pytest.raises(InvalidError, match="ToTensor"),
        ):
            next(iter(loader))
        with DataLoader(ZippedPhotos(photos), 4, num_workers=workers, collate_fn="list") as loader:
            images, _ = next(iter(loader))
            assert images[0].size == (16, 16)


def test_what_cannot_be_shared_is_named_with_the_cure() -> None:
    dataset = Table()
    dataset.lock = threading.Lock()  # type: ignore[attr-defined]
    with (
        DataLoader(dataset, num_workers=1) as loader,
        pytest.raises(InvalidError, match="the data set cannot be pickled"),
    ):
        iter(loader)


def test_functions_without_a_name_to_import_are_inherited(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_said", set())
    dataset = Table()
    dataset.local = lambda: None  # type: ignore[attr-defined]
    wanted = epoch_of(Table(), num_workers=0)
    assert epoch_of(dataset, num_workers=2) == wanted
    assert "the data set cannot be pickled for the workers: workers are forked" in capfd.readouterr().err
    with DataLoader(Table(), 50, num_workers=1, collate_fn=lambda samples: len(samples)) as loader:
        assert [list(loader), list(loader)] == [[50] * 4] * 2
    assert "collate_fn cannot be pickled for the workers: workers are forked" in capfd.readouterr().err
    for context in ("spawn", "forkserver"):
        with (
            DataLoader(dataset, num_workers=1, multiprocessing_context=context) as loader,
            pytest.raises(InvalidError, match="the data set cannot be pickled"),
        ):
            iter(loader)


@pytest.mark.parametrize("context", ["spawn", "forkserver", "fork"])
def test_workers_may_be_started_by_a_context(context: str, tmp_path: Path) -> None:
    wanted = epoch_of(Drawing(), num_workers=0)
    made = epoch_of(Drawing(), num_workers=2, multiprocessing_context=context, worker_init_fn=Init(tmp_path))
    assert made == wanted
    assert sorted(os.listdir(tmp_path)) == ["0", "1"]


def test_a_killed_worker_is_started_again_and_its_rows_are_done_again(
    photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for dataset in (ZippedPhotos(photos, flipped), Table(), Clips()):
        whole = epoch_of(dataset, num_workers=0)
        with DataLoader(dataset, batch_size=7, shuffle=True, num_workers=2) as loader:
            made: list[Any] = []
            for step, batch in enumerate(loader):
                made.append(plain(batch))
                if step in (1, 4):
                    pids = wait_until(lambda: len(loader.worker_pids()) == 2 and loader.worker_pids(), "two workers")
                    os.kill(pids[step % 2], signal.SIGKILL)
            assert made == whole
    assert "was killed by SIGKILL" in capfd.readouterr().err


def test_a_sample_that_ends_its_worker_is_tried_three_times(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for times in (2, 3):
        (tmp_path / str(times)).mkdir()
    with DataLoader(Dying(tmp_path / "2", 2), 10, num_workers=2) as loader:
        assert sum(len(y) for _, y in loader) == 200
    assert "at sample 23 (row 23 of epoch 0); a new one does its" in capfd.readouterr().err
    with (
        DataLoader(Dying(tmp_path / "3", 3), 10, num_workers=2) as loader,
        pytest.raises(WorkerError, match=r"3 workers in turn were lost at sample 23 .* was killed by SIGKILL"),
    ):
        list(loader)


def test_a_batch_is_its_own_as_long_as_a_view_of_it_lives() -> None:
    with DataLoader(Table(), 5, num_workers=2, prefetch=2, max_leases=2) as loader:
        iterator = iter(loader)
        view = next(iterator)[0][1:3, ::2]
        wanted = view.copy()
        rest = list(iterator)  # more than max_leases: copied
        assert np.array_equal(view, wanted)
        assert [int(x[0, 0]) // 16 for x, _ in rest] == list(range(5, 200, 5))
        assert loader._counts.copies > 30  # type: ignore[attr-defined]


def test_several_iterators_and_early_ends_do_not_disturb_each_other() -> None:
    with DataLoader(Table(), 10, shuffle=True, num_workers=2) as loader:
        whole = [plain(batch) for batch in loader]
        for _ in range(10):
            loader.set_epoch(0)
            for step, batch in enumerate(loader):
                assert plain(batch) == whole[step]
                if step == 2:
                    break
        loader.set_epoch(0)
        first = iter(loader)
        loader.set_epoch(0)
        second = iter(loader)
        for wanted in whole:
            assert plain(next(first)) == wanted
            assert plain(next(second)) == wanted


def test_epochs_reuse_the_workers_and_see_a_changed_data_set() -> None:
    dataset = Named("one")
    with DataLoader(dataset, 8, num_workers=1) as loader:
        assert next(iter(loader)) == ["one"] * 8
        pids = wait_until(loader.worker_pids, "a worker")
        assert next(iter(loader)) == ["one"] * 8
        assert loader.worker_pids() == pids
        dataset.word = "two"
        assert next(iter(loader)) == ["two"] * 8
        assert loader.worker_pids() != pids
    with DataLoader(Named("one"), 8, num_workers=1, persistent_workers=True) as loader:
        assert next(iter(loader)) == ["one"] * 8
        loader.dataset.word = "two"
        assert next(iter(loader)) == ["one"] * 8


def test_workers_load_no_torch_that_the_data_set_does_not() -> None:
    start._end_process()  # it may have loaded torch for other tests
    with DataLoader(Pids(""), 8, num_workers=2) as loader:
        pids, has_torch = next(iter(loader))
        assert os.getpid() not in pids
        assert not has_torch.any()


def test_nothing_is_left_of_a_closed_loader() -> None:
    def used() -> None:
        with DataLoader(Clips(), 8, num_workers=2, collate_fn=summed_clips) as loader:
            for _ in zip(range(3), loader):
                pass

    used()
    gc.collect()
    before = len(descriptors(os.getpid())), arenas(os.getpid()), all_children()
    for _ in range(3):
        used()
    gc.collect()
    assert (len(descriptors(os.getpid())), arenas(os.getpid()), all_children()) == before


def all_children() -> list[int]:
    """Give the children of this process, with those that nobody has waited for."""
    tasks = Path("/proc/self/task").iterdir()
    return sorted(int(pid) for task in tasks for pid in (task / "children").read_text().split())


def summed_clips(samples: list[Any]) -> Any:
    return {"audio": np.stack([sample["audio"] for sample in samples]), "rows": len(samples)}


def test_memory_stays_level_over_thousands_of_batches() -> None:
    batches = pick(3000, 10_000)
    with DataLoader(Table(2 * batches), 2, num_workers=2) as loader:
        iterator = iter(loader)
        for _ in range(1000):
            next(iterator)
        before = rss_bytes(os.getpid())
        assert sum(1 for _ in iterator) == batches - 1000
        assert rss_bytes(os.getpid()) - before < 8 << 20


def test_a_forked_child_has_workers_of_its_own() -> None:
    with DataLoader(Table(), 10, num_workers=1) as loader:
        iterator = iter(loader)
        next(iterator)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with pytest.raises(InvalidError, match="process"):
                    next(iterator)
                loader.set_epoch(0)
                status = 0 if sum(len(y) for _, y in loader) == 200 else 2
                loader.close()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert sum(len(y) for _, y in iterator) == 190


def test_what_only_the_daemon_does_is_refused_by_name() -> None:
    with pytest.raises(InvalidError, match="transform= is for data that the daemon reads"):
        DataLoader(Table(), transform=[])
    with pytest.raises(InvalidError, match="only 'fail' so far"):
        DataLoader(Table(), on_bad_sample="mask")
    with pytest.raises(InvalidError, match="is empty"):
        DataLoader(Table(0))
    with pytest.raises(InvalidError, match="none of stack, list, ragged, pad"):
        DataLoader(Table(), collate_fn="heap")


def test_a_batch_that_does_not_come_is_an_error_after_the_timeout() -> None:
    with (
        DataLoader(Slow(), 200, num_workers=1, timeout=0.2) as loader,
        pytest.raises(RuntimeError, match=r"no batch within timeout=0\.2 seconds"),
    ):
        next(iter(loader))


def test_a_loader_says_what_runs_where(capfd: pytest.CaptureFixture[str]) -> None:
    with DataLoader(Table(), 10, num_workers=2) as loader:
        next(iter(loader))
        next(iter(loader))
        assert repr(loader).startswith("forebay.numpy.DataLoader(batch_size=10, ")
        assert repr(loader).endswith("dataset=Table of 200 in 2 workers, collate=stack)")
        assert loader.stats()["bytes"] == 2 * 10 * (16 * 4 + 8)
    said = capfd.readouterr().err
    assert said.count("Table: order, resume and hand-over are native; samples and collate run in 2 Python workers") == 1
