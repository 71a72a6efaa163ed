"""Torch tensors on the same memory: shapes, strides, lifetimes."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import wait_until  # noqa: E402
from test_views import leased  # noqa: E402

from forebay.errors import InvalidError  # noqa: E402
from forebay.numpy import DataLoader as NumpyLoader  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402
from forebay.transforms import Normalize, RandomResizedCrop, ToDtype  # noqa: E402

CROP = [RandomResizedCrop((8, 12))]


def test_images_are_nchw_in_channels_last_memory(daemon: str, folder: Path) -> None:
    for chain, dtype in ((CROP, torch.uint8), ([*CROP, Normalize()], torch.float32)):
        with DataLoader(folder, batch_size=4, transform=chain) as loader:
            images, labels = next(iter(loader))
            assert images.shape == (4, 3, 8, 12)
            assert images.dtype == dtype
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert labels.dtype == torch.int64
            assert loader.valid.dtype == torch.bool


def test_torch_and_numpy_get_the_same_bytes(daemon: str, folder: Path) -> None:
    with (
        DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as ours,
        NumpyLoader(folder, batch_size=4, shuffle=True, transform=CROP) as theirs,
    ):
        for (images, labels), (arrays, numbers) in zip(ours, theirs):
            assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), arrays)
            assert labels.tolist() == numbers.tolist()
        state = ours.state_dict()
        theirs.load_state_dict(state)


@pytest.mark.parametrize("name", ["tensor", "slice", "unbind", "numpy", "DLPack", "view", "detach"])
def test_whatever_is_made_on_a_tensor_keeps_the_slot(folder: Path, name: str) -> None:
    makers = {
        "tensor": lambda x: x,
        "slice": lambda x: x[1:, :, ::2],
        "unbind": lambda x: x.unbind()[1],
        "numpy": lambda x: x.numpy(),
        "DLPack": lambda x: torch.from_dlpack(x),
        "view": lambda x: x.permute(0, 2, 3, 1).reshape(-1),
        "detach": lambda x: x.detach().requires_grad_(False),
    }
    with DataLoader(folder, batch_size=2, prefetch=1, max_leases=3, transform=CROP) as loader:
        iterator = iter(loader)
        images, labels = next(iterator)
        view = makers[name](images)
        wanted = np.asarray(view).copy()
        del images, labels
        gc.collect()
        for _ in range(9):
            newest = next(iterator)
        assert newest
        assert np.array_equal(np.asarray(view), wanted)
        assert wait_until(lambda: leased(loader) == 3)  # the view's, the newest batch's, one in flight
        del view
        gc.collect()
        assert wait_until(lambda: leased(loader) == 2)


def test_in_place_training_steps_are_harmless(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=5, shuffle=True, transform=[*CROP, Normalize()]) as loader:
        sums = [float(images.sum()) for images, _ in loader]
        loader.set_epoch(0)
        for (images, labels), wanted in zip(loader, sums):
            assert float(images.sum()) == wanted
            images.mul_(0).add_(7)
            labels.zero_()


def test_torch_dtypes_name_dtypes(folder: Path) -> None:
    with DataLoader(folder, batch_size=4, transform=[ToDtype(torch.float32, scale=True)]) as loader:
        assert next(iter(loader))[0].dtype == torch.float32
    with DataLoader(folder, batch_size=4, dtype=torch.float32) as loader:  # type: ignore[arg-type]
        assert next(iter(loader))[0].dtype == torch.float32
    with pytest.raises(InvalidError, match=r"an image cannot be int16"):
        DataLoader(folder, dtype=torch.int16)  # type: ignore[arg-type]
    with pytest.raises(InvalidError, match=r"dtype torch\.complex64"):
        DataLoader(folder, dtype=torch.complex64)  # type: ignore[arg-type]


def test_an_initialised_process_group_names_the_rank(folder: Path, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with DataLoader(folder, batch_size=4) as loader:
            next(iter(loader))
            assert loader._partition().origin == "torch.distributed"
    finally:
        torch.distributed.destroy_process_group()
