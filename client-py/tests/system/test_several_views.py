"""Several views of an image through the real daemon: two random crops of it, for self-supervision."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_folder

import forebay
from forebay.errors import InvalidError, StateError
from forebay.numpy import DataLoader
from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop

from .batches import stream
from .support import write_indexed

CROPS = [RandomResizedCrop((6, 9)), RandomHorizontalFlip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images in three classes."""
    return write_folder(tmp_path_factory.mktemp("views") / "data")


def loader_of(folder: Path, **arguments: Any) -> DataLoader:
    return DataLoader(folder, **{"batch_size": 8, "shuffle": True, "transform": CROPS, **arguments})


@pytest.mark.parametrize("more", [{}, {"layout": "NCHW"}, {"transform": [*CROPS, Normalize()]}])
def test_a_batch_has_views_of_which_the_first_is_what_there_is_without(folder: Path, more: dict[str, Any]) -> None:
    with loader_of(folder, **more) as one, loader_of(folder, views=3, **more) as three:
        for (single, labels), (images, same) in zip(one, three):
            rows, *sides = single.shape
            assert images.shape == (rows, 3, *sides)
            assert np.array_equal(images[:, 0], single)
            assert np.array_equal(labels, same)
            for row in images:
                assert len({view.tobytes() for view in row}) == 3, "no two views of a sample are the same"


def test_torch_gets_each_view_in_channels_last_memory_and_all_of_them_as_one_batch(folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from forebay.torch import DataLoader as TorchLoader

    arguments: Any = {"batch_size": 8, "shuffle": True, "transform": CROPS}
    with TorchLoader(folder, views=2, **arguments) as loader, TorchLoader(folder, **arguments) as single:
        (images, _), (first, _) = next(iter(loader)), next(iter(single))
        assert images.shape == (8, 2, 3, 6, 9)
        a, b = images.unbind(1)
        assert torch.equal(a, first)
        assert not torch.equal(a, b)
        assert all(view.stride()[1:] == first.stride()[1:] for view in (a, b)), "channels_last"
        both = images.flatten(0, 1)
        assert both.is_contiguous(memory_format=torch.channels_last)
        assert both.data_ptr() == images.data_ptr(), "no copy"
        assert torch.equal(both[1], b[0])


def test_a_run_resumes_with_the_same_views(folder: Path) -> None:
    with loader_of(folder, views=2) as loader:
        whole = stream(loader, 8)
        loader.set_epoch(0)
        states = [loader.state_dict() for _ in range(2) for _ in loader]
    for behind in (1, 3, 5):
        with loader_of(folder, views=2) as loader:
            loader.load_state_dict(states[behind - 1])
            assert stream(loader, 8)[: 8 - behind] == whole[behind:]
    with loader_of(folder) as loader, pytest.raises(StateError, match="2 views"):
        loader.load_state_dict(states[0])


@pytest.mark.parametrize("policy", ["mask", "substitute"])
def test_a_corrupt_image_takes_all_of_its_views_with_it(tmp_path: Path, policy: str) -> None:
    data = write_indexed(tmp_path / "data", 12)
    (tmp_path / "data/images/00005.png").write_bytes(b"no image")
    fields: Any = {"image": forebay.Image("path", CROPS, views=2), "index": forebay.Value()}
    arguments: Any = {"batch_size": 12, "fields": fields, "on_bad_sample": policy}
    with DataLoader(data, **arguments) as loader:
        batch = next(iter(loader))
        images, index = batch["image"], batch["index"]
        empty = [not view.any() for view in images[5]]
        if policy == "mask":
            assert (empty, loader.valid.tolist().index(False)) == ([True, True], 5)
        else:
            assert (empty, loader.valid.all()) == ([False, False], True)
            assert index[5] != 5
            assert images[5, 0].tobytes() != images[5, 1].tobytes()
        assert all(view.any() for row in (0, 4, 6, 11) for view in images[row])


def test_show_tells_the_crop_of_each_view(folder: Path) -> None:
    with loader_of(folder, views=2) as loader:
        images, _ = next(iter(loader))
        sheet = loader.show(8, tile=19)
        for row in sheet.rows:
            assert [(image.field, image.view) for image in row.images] == [("image", 0), ("image", 1)]
            assert row.crop == row.images[0].crop
            assert (row.tile.width, row.tile.height) == (19, 6)
        assert len({image.crop for row in sheet.rows for image in row.images}) > 8
        assert "2 views of uint8 6" in str(sheet)
        pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed: the picture is not looked at")
        picture = np.asarray(pil.open(io.BytesIO(sheet.png)))
        for row, image in zip(sheet.rows, images):
            place = row.tile
            first, _, second = np.split(picture[place.top : place.top + 6, place.left : place.left + 19], [9, 10], 1)
            assert np.array_equal([first, second], image)


def test_more_views_than_there_may_be_are_refused_and_a_value_has_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="from 1 to 16"):
        loader_of(folder, views=17)
    with loader_of(folder, views=16) as loader:
        assert next(iter(loader))[0].shape == (8, 16, 6, 9, 3)
    with loader_of(folder) as loader:
        loader._spec["fields"][1]["views"] = 2
        with pytest.raises(InvalidError, match="2 views of what is no image"):
            next(iter(loader))
