"""torchvision's ImageFolder in forebay's loader: torchvision's pixels and labels, the rest in Python, exact resume."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from forebay._batch import arrays
from forebay._python.rest import arrays_of, source_of
from forebay._session import Batch
from forebay.errors import InvalidError

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: there is no ImageFolder")
pytest.importorskip("PIL.Image", reason="Pillow is not installed")

from image_folder import CLASSES, PER_CLASS, Brighter, Ends, Raises, Seen, mixed, write_photos  # noqa: E402
from torchvision import transforms as v1  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from forebay._auto_check import check  # noqa: E402
from forebay._python.torch import OwnTorchLoader  # noqa: E402
from forebay._recognise import NotNativeError, plan_of  # noqa: E402
from forebay._recognise_torch import NativeLoader, SplitLoader  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402

ROWS = len(CLASSES) * PER_CLASS
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMALIZE, TO_FLOAT = v1.Normalize(MEAN, STD), v2.ToDtype(torch.float32, scale=True)
MIDDLE = (v1.Resize(40), v1.CenterCrop(32))
CROPS = v1.RandomResizedCrop(32), v1.RandomHorizontalFlip()
BICUBIC = v1.InterpolationMode.BICUBIC
UNANTIALIASED = v2.Resize((32, 40), antialias=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "train")


def folder_of(root: Path, *transforms: Any) -> Any:
    return ImageFolder(root, v1.Compose(list(transforms)))


def batches(loader: Any) -> list[tuple[Any, list[int]]]:
    """Copy what an epoch gives, and be done with the loader."""
    made = [(images.clone(), labels.tolist()) for images, labels in loader]
    loader.close()
    return made


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, c) and b == d for (a, b), (c, d) in zip(one, other))


# Transforms, what a level of 255 is in their results, and how many levels may lie between.
PIXELS: dict[str, tuple[tuple[Any, ...], float, float]] = {
    "as a tensor of Pillow's": ((*MIDDLE, v1.PILToTensor()), 1.0, 1.0),
    "normalised": ((*MIDDLE, v1.ToTensor(), NORMALIZE), 1 / 255 / min(STD), 1.0),
    "bicubic": ((v1.Resize((36, 30), interpolation=BICUBIC), v1.ToTensor()), 1 / 255, 2.0),
    "only the middle": ((v1.CenterCrop(64), v1.PILToTensor()), 1.0, 0.0),
    "of a tensor": ((v2.ToImage(), v2.Resize(40), v2.CenterCrop(32), TO_FLOAT, v2.Normalize(MEAN, STD)), 0.018, 1.0),
    "of a tensor, without antialias": ((v2.ToImage(), UNANTIALIASED, v2.ToPureTensor()), 1.0, 1.0),
    "with a part in Python": ((*MIDDLE, v1.Grayscale(3), v1.ToTensor(), NORMALIZE), 1 / 255 / min(STD), 2.0),
}


@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_labels_and_layout_are_torchvisions(photos: Path, name: str, workers: int) -> None:
    transforms, level, levels = PIXELS[name]
    dataset = folder_of(photos, *transforms)
    loader = DataLoader(dataset, batch_size=8, num_workers=workers)
    assert type(loader) is (SplitLoader if "Python" in name else NativeLoader)
    assert isinstance(loader, torch.utils.data.DataLoader)
    assert (loader.dataset, len(loader), loader.classes) == (dataset, 5, list(CLASSES))
    assert loader.class_to_idx == dataset.class_to_idx
    for made, torchs in zip(loader, torch.utils.data.DataLoader(dataset, batch_size=8)):
        images, labels = made
        want, wanted_labels = torchs
        assert type(made) is type(torchs)
        assert torch.equal(labels, wanted_labels)
        assert (images.shape, images.dtype, images.stride()) == (want.shape, want.dtype, want.stride())
        gap = (images.double() - want.double()).abs().max().item()
        assert gap <= levels * level * 1.01, f"{gap / level} levels"
    loader.close()


RANDOM: dict[str, tuple[Any, ...]] = {
    "Pillow": (*CROPS, v1.ToTensor(), NORMALIZE),
    "Pillow, bicubic": (v1.RandomResizedCrop((20, 30), interpolation=BICUBIC), CROPS[1]),
    "tensors": (v2.ToImage(), v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), TO_FLOAT),
    "tensors, without antialias": (v1.PILToTensor(), v1.RandomResizedCrop(32, antialias=False)),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_crops_and_flips_have_torchvisions_pixels_for_the_same_draws(photos: Path, name: str) -> None:
    dataset = folder_of(photos, *RANDOM[name])
    agreed = check(dataset, plan_of(dataset), rows=16, shuffle=True, seed=5)
    assert agreed.rows == 16
    assert agreed.largest <= 2.01 if "bicubic" in name else 1.01


def test_a_transform_that_does_something_else_is_found_by_its_pixels(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = folder_of(photos, *CROPS, v1.ToTensor())
    monkeypatch.setattr(v1.RandomHorizontalFlip, "forward", lambda self, image: image.rotate(180))
    with pytest.raises(NotNativeError, match=r"differs by \d+ levels of 255 at most"):
        check(dataset, plan_of(dataset), rows=16, shuffle=True, seed=5)


SEEN: dict[str, tuple[Any, ...]] = {
    "Image": CROPS,
    "Tensor": (*CROPS, v1.ToTensor()),
}


@pytest.mark.parametrize("kind", SEEN)
def test_the_python_part_sees_what_torchvision_would_have_given_it(photos: Path, kind: str) -> None:
    behind = () if kind == "Tensor" else (v1.PILToTensor(),)
    assert len(batches(DataLoader(folder_of(photos, *SEEN[kind], Seen(kind), *behind), 8, num_workers=0))) == 5
    shown = v2.Compose([v2.ToImage(), v2.RandomResizedCrop(32), Seen("Image"), v2.RandomErasing(1.0)])
    images, _ = batches(DataLoader(ImageFolder(photos, shown), 8, num_workers=0))[0]
    assert (images == 0).any()


REST = (v1.TrivialAugmentWide(), v1.ToTensor(), NORMALIZE, Brighter(), v1.RandomErasing(0.5))


@pytest.mark.parametrize("collate", [None, mixed], ids=["stacked", "collate_fn"])
def test_a_resumed_run_goes_on_bit_by_bit_whatever_the_number_of_workers(photos: Path, collate: Any) -> None:
    def loader(workers: int) -> Any:
        dataset = folder_of(photos, *CROPS, *REST)
        return DataLoader(dataset, 7, shuffle=True, seed=3, num_workers=workers, collate_fn=collate)

    whole = batches(loader(2))
    first = loader(3)
    iterator = iter(first)
    before = [(images.clone(), labels.tolist()) for images, labels in (next(iterator), next(iterator))]
    state = pickle.loads(pickle.dumps(first.state_dict()))
    first.close()
    second = loader(0)
    second.load_state_dict(state)
    assert same(before + batches(second), whole)
    assert not same(whole, batches(DataLoader(folder_of(photos, *CROPS, *REST), 7, shuffle=True, seed=4)))


def test_an_in_place_transform_leaves_the_daemons_batch_as_it_is(photos: Path) -> None:
    """Rows whose generators are found out late are made twice, of the same pixels."""
    dataset = folder_of(photos, *MIDDLE, v1.ToTensor(), Brighter())
    once = batches(DataLoader(dataset, 8, num_workers=0))
    lone = batches(DataLoader(folder_of(photos, *MIDDLE, v1.ToTensor()), 8))
    added = [(images - plain)[0, 0] for (images, _), (plain, _) in zip(once, lone)]
    assert all(torch.allclose(each, each[0, 0]) and 0 < each[0, 0] < 3 for each in added)


def test_a_killed_worker_is_started_again_and_reads_the_same_rows(photos: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    whole = batches(DataLoader(folder_of(photos, *CROPS, Ends(mark), *REST), 4, seed=2, num_workers=0))
    mark.touch()
    assert same(batches(DataLoader(folder_of(photos, *CROPS, Ends(mark), *REST), 4, seed=2, num_workers=2)), whole)
    assert not mark.exists()


def test_workers_that_fall_behind_read_what_their_task_was_given_for(photos: Path) -> None:
    dataset = folder_of(photos, *CROPS, v1.ToTensor(), Brighter())
    wanted = batches(DataLoader(dataset, 2, num_workers=0))
    loader = DataLoader(dataset, 2, num_workers=2, prefetch=6)
    held = list(loader)  # more than there are slots of any kind
    assert same([(images, labels.tolist()) for images, labels in held], wanted)
    for _ in range(3):  # ended in mid-epoch, with tasks under way
        iterator = iter(loader)
        next(iterator)
        del iterator
    assert len(list(loader)) == len(wanted)
    loader.close()


def test_a_batch_that_was_copied_is_read_from_its_copy() -> None:
    whole = np.arange(200, dtype=np.uint8)
    specs = [((3, 5), np.dtype("<f4"), 0), ((3,), np.dtype("<i8"), 64)]
    made = arrays(whole, specs)
    source = source_of(Batch(cast("Any", None), made, ()))
    memory = np.frombuffer(source.held.owner, np.uint8)
    copies = arrays_of(source.decoded, memory, source.slots.slot_bytes)
    assert all(np.array_equal(copy, array) for copy, array in zip(copies, made))
    whole[:] = 0
    assert copies[1].any()


def test_an_exception_of_the_python_part_names_its_row(photos: Path) -> None:
    for workers in (0, 1):
        loader = DataLoader(folder_of(photos, *CROPS, Raises()), 4, num_workers=workers)
        with pytest.raises(ValueError, match="not this one") as caught:
            next(iter(loader))
        told = "".join(getattr(caught.value, "__notes__", [])) + str(caught.value.__cause__)
        if sys.version_info >= (3, 11) or workers:
            assert "row 0 of epoch 0" in told
        loader.close()


def test_ranks_of_a_distributed_sampler_share_an_epoch_out(photos: Path) -> None:
    dataset = folder_of(photos, *MIDDLE, v1.PILToTensor(), v2.Identity())
    seen: Counter[bytes] = Counter()
    for rank in range(3):
        sampler = torch.utils.data.DistributedSampler(dataset, 3, rank, seed=9)
        loader = DataLoader(dataset, 5, sampler=sampler, num_workers=1)
        assert (len(loader), loader.sampler) == (3, sampler)
        seen.update(image.numpy().tobytes() for images, _ in batches(loader) for image in images)
    assert len(seen) == sum(seen.values()) == ROWS


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("collate", [None, mixed])
def test_rows_that_only_fill_up_are_marked_behind_the_python_part_too(photos: Path, workers: int, collate: Any) -> None:
    dataset = folder_of(photos, *MIDDLE, v1.Grayscale(3), v1.ToTensor())
    counted: list[Any] = []
    for rank in range(2):
        shared = {"batch_size": 7, "collate_fn": collate, "num_workers": workers, "seed": 3, "tail": "pad"}
        loader: Any = DataLoader(dataset, shuffle=True, with_valid=True, rank=rank, world_size=2, **shared)
        assert type(loader) is SplitLoader
        masks = [(valid.tolist(), np.asarray(loader.valid).tolist()) for _, _, valid in loader]
        assert [len(mask) for mask, _ in masks] == [7] * -(-ROWS // 14)
        for mask, told in masks:
            assert told in (mask, 7), "loader.valid tells what the batch says"
            assert told != 7 or all(mask)
        counted += [valid for mask, _ in masks for valid in mask]
        loader.close()
    assert sum(counted) == ROWS, "each row counts once over both ranks"
    assert len(counted) > ROWS, "the last batch is filled up"


def test_any_other_sampler_is_an_order_of_its_own(photos: Path) -> None:
    dataset = folder_of(photos, *MIDDLE, v1.PILToTensor())
    order = torch.randperm(ROWS).tolist()[:20]
    made = batches(DataLoader(dataset, 6, sampler=order))
    torchs = [(images, labels.tolist()) for images, labels in torch.utils.data.DataLoader(dataset, 6, sampler=order)]
    assert [labels for _, labels in made] == [labels for _, labels in torchs]
    assert all((images.int() - want.int()).abs().max() <= 1 for (images, _), (want, _) in zip(made, torchs))


def test_one_line_says_which_part_is_native_and_where_the_rest_runs(
    photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    batches(DataLoader(folder_of(photos, *CROPS, v1.ToTensor()), 8, num_workers=4))
    batches(DataLoader(folder_of(photos, *CROPS, v1.TrivialAugmentWide(), v1.ToTensor()), 8, collate_fn=mixed))
    batches(DataLoader(folder_of(photos, v1.TrivialAugmentWide(), *CROPS, v1.ToTensor()), 8, num_workers=0))
    told = [line for line in capfd.readouterr().err.splitlines() if "ImageFolder" in line]
    native, split, *own = told
    assert native.endswith("native, in the daemon's order: decoding, RandomResizedCrop, RandomHorizontalFlip, ToTensor")
    assert "decoding, RandomResizedCrop, RandomHorizontalFlip; in " in split
    assert split.endswith("Python workers: TrivialAugmentWide, ToTensor, collate_fn")
    assert "fix no size before TrivialAugmentWide" in own[0]


def test_what_is_not_recognised_and_what_is_told_so_runs_in_python_as_before(photos: Path) -> None:
    dataset = folder_of(photos, *MIDDLE, v1.ToTensor())
    plain = DataLoader(dataset, 8, num_workers=0, recognise=False)
    assert type(plain) is OwnTorchLoader
    torchs = [(images, labels.tolist()) for images, labels in torch.utils.data.DataLoader(dataset, 8)]
    assert same(batches(plain), torchs)
    assert type(DataLoader(ImageFolder(photos, v1.ToTensor(), target_transform=int), 1)) is OwnTorchLoader
    assert type(DataLoader(dataset, None)) is OwnTorchLoader
    with pytest.raises(InvalidError, match="dtype= beside an ImageFolder"):
        DataLoader(dataset, 8, dtype="float16")


def test_a_data_set_that_is_changed_behind_its_loader_is_an_error(photos: Path, tmp_path: Path) -> None:
    for transforms in ((v1.ToTensor(),), (v1.ToTensor(), v1.RandomErasing())):
        dataset = folder_of(photos, v1.Resize(40), v1.CenterCrop(32), *transforms)
        loader = DataLoader(dataset, 8, num_workers=0)
        assert len(list(loader)) == 5
        dataset.transform.transforms[0].size = 48
        with pytest.raises(InvalidError, match="was changed after its loader was made: its transforms are others"):
            iter(loader)
        loader.close()
    moving = write_photos(tmp_path / "moving")
    dataset = folder_of(moving, *MIDDLE, v1.ToTensor())
    next(iter(moving.rglob("*.png"))).unlink()
    with pytest.raises(InvalidError, match=r"has 36 samples of 3 classes, and its folder now has 35 of 3"):
        iter(DataLoader(dataset, 8))
    with pytest.raises(InvalidError, match=r"has 36 samples of 3 classes, and its folder now has 35 of 3"):
        iter(DataLoader(dataset, 8, sampler=[5, 3]))


def test_loaders_can_be_copied_and_made_anew_by_their_type(photos: Path) -> None:
    for transforms in ((v1.ToTensor(),), (v1.ToTensor(), Brighter())):
        dataset = folder_of(photos, *CROPS, *transforms)
        loader = DataLoader(dataset, 8, shuffle=True, num_workers=0)
        next(iter(loader))
        loader.seek(0)
        copy = pickle.loads(pickle.dumps(loader))
        anew = type(loader)(dataset, batch_size=8, shuffle=True, num_workers=0)
        wanted = batches(loader)
        assert same(batches(copy), wanted)
        assert same(batches(anew), wanted)


def test_a_dead_daemon_is_replaced_under_the_workers(photos: Path) -> None:
    dataset = folder_of(photos, *CROPS, *REST)
    wanted = batches(DataLoader(dataset, 3, num_workers=0))
    loader = DataLoader(dataset, 3, num_workers=2, prefetch=2)
    made: list[Any] = []
    for step, (images, labels) in enumerate(loader):
        made.append((images.clone(), labels.tolist()))
        if step == 2:
            connection = loader._daemon.current()
            os.kill(connection.pid, signal.SIGKILL)
    loader.close()
    assert same(made, wanted)
