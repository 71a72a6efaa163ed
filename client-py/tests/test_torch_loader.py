"""forebay's loader is one of torch's: its arguments, its attributes, its samplers, its copies."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from conftest import CROP  # noqa: E402
from torch.utils import data  # noqa: E402

import forebay  # noqa: E402
from forebay import _loader, _torch_arguments  # noqa: E402
from forebay.errors import InvalidError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402

FIELDS = {"label": forebay.Value()}


@pytest.fixture(autouse=True)
def silent_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test hear what is said once a process."""
    monkeypatch.setattr(_torch_arguments, "_said", set())
    monkeypatch.setattr(_loader, "_announced", set())


def images_of(loader: Any) -> list[Any]:
    """Give an epoch's images as one tensor a batch."""
    return [images.clone() for images, _ in loader]


def same(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(torch.equal(one, other) for one, other in zip(ones, others))


def test_it_is_one_of_torchs_with_every_attribute_of_one(folder: Path) -> None:
    class Numbers(data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(3))

    with DataLoader(folder, 4, transform=CROP) as loader:
        assert isinstance(loader, data.DataLoader)
        assert isinstance(loader.dataset, data.IterableDataset)
        assert isinstance(loader.sampler, data.Sampler)
        assert isinstance(loader.batch_sampler, data.BatchSampler)
        shown = [name for name in dir(data.DataLoader(Numbers())) if not name.startswith("__")]
        assert [name for name in shown if not hasattr(loader, name)] == []
        assert (len(loader), len(loader.sampler), len(loader.batch_sampler), len(loader.dataset)) == (8, 30, 8, 30)
        assert (loader.batch_sampler.batch_size, loader.batch_sampler.drop_last) == (4, False)
        with pytest.raises(InvalidError, match="show"):
            next(iter(loader.sampler))


def test_torchs_arguments_are_taken_and_those_without_effect_are_named_once(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with DataLoader(folder, 8, transform=CROP) as plain:
        wanted = images_of(plain)
    capfd.readouterr()
    for _ in range(2):
        arguments: dict[str, Any] = {"num_workers": 4, "prefetch_factor": 2, "persistent_workers": True, "timeout": 30}
        with DataLoader(dataset=folder, batch_size=8, transform=CROP, **arguments) as loader:
            assert same(images_of(loader), wanted)
            assert {name: getattr(loader, name) for name in arguments} == arguments
    said = [line for line in capfd.readouterr().err.splitlines() if "without effect" in line]
    assert len(said) == 1
    assert said[0].startswith("forebay: num_workers=4, timeout=30, prefetch_factor=2, persistent_workers=True: ")


def test_what_torch_refuses_is_refused(folder: Path) -> None:
    for arguments in ({"num_workers": -1}, {"timeout": -1}, {"prefetch_factor": 2}, {"persistent_workers": True}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            DataLoader(folder, 4, transform=CROP, **arguments)
    with pytest.raises(InvalidError, match="no data set"):
        DataLoader(batch_size=4)
    with pytest.raises(InvalidError, match="given twice"):
        DataLoader(folder, dataset=folder)


def test_the_batch_size_can_be_set_without_effect_and_the_rest_not_at_all(folder: Path) -> None:
    with DataLoader(folder, 4, transform=CROP) as loader:
        loader.batch_size = 7
        assert loader.batch_size == 4
        for name in ("sampler", "batch_sampler", "drop_last", "dataset"):
            with pytest.raises(ValueError, match=name):
                setattr(loader, name, None)


def test_a_collate_fn_gets_the_samples_and_its_batch_goes_on(daemon: str, folder: Path) -> None:
    def collate(samples: list[Any]) -> tuple[Any, int]:
        images, labels = data.default_collate(samples)
        assert labels.dtype == torch.int64
        return images.flip(0), len(samples)

    with DataLoader(folder, 8, transform=CROP) as plain:
        wanted = [images.flip(0) for images in images_of(plain)]
    transform = lambda batch: (batch[0].flip(0), batch[1] * 10)  # noqa: E731
    with DataLoader(folder, 8, transform=CROP, collate_fn=collate) as loader:
        assert same(images_of(loader), wanted)
    with DataLoader(folder, 8, transform=CROP, collate_fn=collate, batch_transform=transform) as loader:
        batches = list(loader)
        assert same([images.flip(0) for images, _ in batches], wanted)
        assert [count for _, count in batches] == [80, 80, 80, 60]
    with DataLoader(folder, 8, fields=FIELDS, collate_fn=lambda rows: [row["label"].item() for row in rows]) as loader:
        assert [label for batch in loader for label in batch] == [0] * 10 + [1] * 10 + [2] * 10


def test_an_error_of_a_collate_fn_names_it_and_the_batch_comes_again(folder: Path) -> None:
    failures = [True]

    def collate(samples: list[Any]) -> int:
        if failures.pop():
            failures.append(False)
            raise ValueError("odd")
        return len(samples)

    with DataLoader(folder, 8, transform=CROP, collate_fn=collate) as loader:
        batches = iter(loader)
        with pytest.raises(ValueError, match="odd") as raised:
            next(batches)
        if hasattr(raised.value, "__notes__"):
            assert raised.value.__notes__ == ["in collate_fn of the batch at epoch 0, row 0"]
        failures[:] = [False]
        assert next(batches) == 8


def test_a_generators_seed_is_the_seed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(7)
    with (
        DataLoader(folder, 8, shuffle=True, transform=CROP, generator=generator) as one,
        DataLoader(folder, 8, shuffle=True, transform=CROP, seed=7) as other,
    ):
        assert "seed=7" in capfd.readouterr().err
        assert one.generator is generator
        assert same(images_of(one), images_of(other))
        assert one.state_dict()["seed"] == 7
    with pytest.raises(InvalidError, match="both say how to shuffle"):
        DataLoader(folder, 8, shuffle=True, generator=generator, seed=1)


def test_pin_memory_without_a_device_is_a_warning_as_torchs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="pin_memory=True without an accelerator"):
        loader = DataLoader(folder, 8, transform=CROP, pin_memory=True)
    assert loader.pin_memory
    assert len(images_of(loader)) == 4
    loader.close()


def test_its_data_set_gives_the_rows_that_count_and_torchs_loader_makes_the_same_batches(
    daemon: str, folder: Path
) -> None:
    arguments: dict[str, Any] = {"transform": CROP, "shuffle": True, "rank": 3, "world_size": 4}
    with DataLoader(folder, 4, **arguments) as loader:
        wanted = [images[valid] for images, _, valid in DataLoader(folder, 4, with_valid=True, **arguments)]
        assert sum(map(len, wanted)) < len(loader.sampler)  # one of its rows only fills up
        assert same(images_of(data.DataLoader(loader.dataset, loader.batch_size)), wanted)
        assert loader.dataset.classes == ["a", "b", "c"]
    with DataLoader(folder, 4, fields=FIELDS, collate_fn=len) as loader:
        assert [row["label"].item() for row in loader.rows()] == [0] * 10 + [1] * 10 + [2] * 10


def test_a_loader_over_its_data_set_is_a_copy_of_it(folder: Path) -> None:
    with DataLoader(folder, 4, shuffle=True, seed=3, transform=CROP) as loader:
        wanted = images_of(loader)
        with DataLoader(loader.dataset, batch_size=8, num_workers=2) as again:
            assert again.num_workers == 2
            again.set_epoch(0)
            assert torch.equal(torch.cat(images_of(again)), torch.cat(wanted))
            assert again.batch_size == 8
        with pytest.raises(InvalidError, match="shuffle= over the `dataset` of another loader"):
            DataLoader(loader.dataset, shuffle=False)
        with pytest.raises(InvalidError, match="transform= over"):
            DataLoader(loader.dataset, transform=CROP)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_copy_is_a_loader_of_its_own_that_begins_where_the_next_epoch_does(folder: Path, copied: Any) -> None:
    with DataLoader(folder, 4, shuffle=True, transform=CROP, num_workers=1) as loader:
        epochs = [images_of(loader) for _ in range(2)]
        loader.set_epoch(0)
        batches = iter(loader)
        next(batches)
        with copied(loader) as other:
            assert other.num_workers == 1
            assert other.sampler is not loader.sampler
            assert same(images_of(other), epochs[1])
            other.load_state_dict(loader.state_dict())
            assert same(images_of(other), epochs[0][1:])
        assert same([images for images, _ in batches], epochs[0][1:])


def test_a_loader_goes_with_its_last_reference(folder: Path) -> None:
    loader = DataLoader(folder, 4, transform=CROP)
    gone = weakref.ref(loader)
    del loader
    assert gone() is None, "a cycle keeps it alive"


def test_wrappers_that_take_over_its_attributes_find_them(folder: Path) -> None:
    class Wrapper:  # as Fabric's
        def __init__(self, loader: Any) -> None:
            self.__dict__.update(loader.__dict__)
            self.loader = loader

    with DataLoader(folder, 4, transform=CROP, drop_last=True) as loader:
        wrapper: Any = Wrapper(loader)
        assert (len(wrapper.dataset), wrapper.batch_size, wrapper.drop_last) == (30, 4, True)
        wrapper.batch_sampler.sampler.set_epoch(3)
        assert loader.state_dict()["epoch"] == 3


def labels_of(loader: Any) -> list[list[int]]:
    return [batch["label"].tolist() for batch in loader]


@pytest.mark.parametrize("batched", [False, True])
def test_a_distributed_sampler_names_rank_shuffle_and_seed(
    daemon: str, folder: Path, batched: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    taken = []
    for rank in range(2):
        sampler = data.DistributedSampler(range(30), num_replicas=2, rank=rank, shuffle=True, seed=5)
        arguments: dict[str, Any] = {"batch_size": 4, "sampler": sampler}
        if batched:
            arguments = {"batch_sampler": data.BatchSampler(sampler, 4, drop_last=False)}
        with DataLoader(folder, fields=FIELDS, **arguments) as loader:
            assert loader.sampler is loader.batch_sampler.sampler is sampler
            assert len(loader) == len(data.BatchSampler(sampler, 4, drop_last=False))
            assert loader.state_dict()["seed"] == 5
            taken.append(labels_of(loader))
    assert "forebay shuffles in its place, by seed=5" in capfd.readouterr().err
    with DataLoader(folder, 8, fields=FIELDS, shuffle=True, seed=5) as alone:
        assert [one + other for one, other in zip(*taken)] == labels_of(alone)


def test_set_epoch_of_a_distributed_sampler_is_heeded_and_without_it_epochs_follow(folder: Path) -> None:
    with DataLoader(folder, 4, fields=FIELDS, shuffle=True) as plain:
        epochs = [labels_of(plain) for _ in range(6)]
    sampler = data.DistributedSampler(range(30), num_replicas=1, rank=0)
    with DataLoader(folder, 4, fields=FIELDS, sampler=sampler) as loader:
        assert [labels_of(loader) for _ in range(2)] == epochs[:2]
        sampler.set_epoch(5)
        assert labels_of(loader) == epochs[5]
        for epoch in range(3):
            sampler.set_epoch(epoch)
            assert labels_of(loader) == epochs[epoch]


def test_a_distributed_sampler_without_shuffle_keeps_the_order_of_the_data(folder: Path) -> None:
    sampler = data.DistributedSampler(range(30), num_replicas=1, rank=0, shuffle=False, seed=9)
    with DataLoader(folder, 10, fields=FIELDS, sampler=sampler) as loader:
        assert labels_of(loader) == [[0] * 10, [1] * 10, [2] * 10]


def test_what_contradicts_a_distributed_sampler_is_refused_with_the_cure(folder: Path) -> None:
    def sampler(**changes: Any) -> Any:
        return data.DistributedSampler(range(30), **{"num_replicas": 4, "rank": 1, **changes})

    class Own(data.DistributedSampler):
        pass

    for arguments, message in (
        ({"sampler": sampler(), "rank": 0, "world_size": 4}, "rank=0 and world_size=4 contradict"),
        ({"sampler": sampler(seed=3), "seed": 4}, "seed=4 of the loader and seed=3"),
        ({"sampler": sampler(), "device_mesh": object()}, "both choose the part"),
        ({"sampler": sampler(drop_last=True)}, "leaves 2 of 30 samples out"),
        ({"sampler": Own(range(30), 4, 1)}, "cuts the order into ranks itself"),
        ({"sampler": sampler(), "shuffle": True}, "exclude each other"),
    ):
        with pytest.raises(InvalidError, match=message):
            DataLoader(folder, 4, fields=FIELDS, **arguments)
    with DataLoader(folder, 4, fields=FIELDS, sampler=sampler(drop_last=True), drop_last=True) as loader:
        assert len(loader) == 1
    with (
        DataLoader(folder, 4, fields=FIELDS, sampler=data.DistributedSampler(range(29), 1, 0)) as loader,
        pytest.raises(InvalidError, match="over 29 samples and the data set has 30"),
    ):
        len(loader)


def test_a_resumed_run_goes_on_where_a_trainer_counts_from_zero_again(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with DataLoader(folder, 4, fields=FIELDS, shuffle=True) as loader:
        epochs = [labels_of(loader) for _ in range(5)]
        loader.set_epoch(2)
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        state = loader.state_dict()
    for named in (True, False):  # by the loader's own sampler, and by a DistributedSampler
        sampler = None if named else data.DistributedSampler(range(30), 1, 0)
        arguments: dict[str, Any] = {"shuffle": True} if named else {"sampler": sampler}
        with DataLoader(folder, 4, fields=FIELDS, **arguments) as loader:
            loader.load_state_dict(state)
            seen = []
            for epoch in range(3):
                loader.batch_sampler.sampler.set_epoch(epoch)
                seen.append(labels_of(loader))
            assert seen == [epochs[2][3:], epochs[3], epochs[4]]
            loader.set_epoch(1)  # asked of the loader itself, it holds
            assert labels_of(loader) == epochs[1]
    assert capfd.readouterr().err.count("it goes on from there") == 1


def test_a_trainer_that_counts_on_from_the_loaded_epoch_is_followed(folder: Path) -> None:
    with DataLoader(folder, 4, fields=FIELDS, shuffle=True) as loader:
        epochs = [labels_of(loader) for _ in range(5)]
        loader.set_epoch(1)
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
        loader.load_state_dict(state)
        loader.sampler.set_epoch(1)
        assert labels_of(loader) == epochs[1][1:]
        loader.sampler.set_epoch(4)
        assert labels_of(loader) == epochs[4]


def test_marked_as_prepared_it_needs_no_accelerate(folder: Path) -> None:
    with DataLoader(folder, 4, fields=FIELDS) as loader:
        assert loader._is_accelerate_prepared
        loader._is_accelerate_prepared = True
        assert len(labels_of(loader)) == 8
        assert (loader.total_batch_size, loader.total_dataset_length) == (4, 30)


def test_the_options_that_are_passed_on_are_those_of_every_loader() -> None:
    source = Path(forebay.__file__).with_name("_options.py").read_text()
    (options,) = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    named = [node.target.id for node in options.body if isinstance(node, ast.AnnAssign)]
    taken = inspect.signature(_loader.Loader.__init__).parameters.values()
    keywords = [each.name for each in taken if each.kind is each.KEYWORD_ONLY]
    assert named == [name for name in keywords if name not in ("drop_last", "seed")]
