"""What a field may ask of its pixels, through the real daemon and beside Pillow and torch: filters, types, EXIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay
from forebay.errors import InvalidError
from forebay.numpy import DataLoader
from forebay.transforms import CenterCrop, Normalize, Resize, ToDtype

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
ImageOps = pytest.importorskip("PIL.ImageOps", reason="Pillow is not installed")

ORIENTATION = 0x0112


def scene(height: int, width: int) -> np.ndarray:
    """Ramps and an edge: smooth and hard parts, nothing symmetric."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 5 % 256, y * 7 % 256, np.where(x + 2 * y < 40, 30, 220)], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One class with a JPEG a value of EXIF's orientation, and a PNG with one."""
    folder = tmp_path_factory.mktemp("pixels")
    (folder / "all").mkdir()
    for value in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = value
        options: dict[str, Any] = {"exif": exif, "quality": 90, "subsampling": value % 3}
        Image.fromarray(scene(61, 83)).save(folder / "all" / f"{value}.jpg", **options)
        if value == 6:
            Image.fromarray(scene(61, 83)).save(folder / "all" / "9.png", exif=exif)
    return folder


def images(folder: Path, transform: Any, **arguments: Any) -> np.ndarray:
    with DataLoader(folder, 9, transform=transform, **arguments) as loader:
        ((batch, _),) = list(loader)
        return batch.copy()


def stored(folder: Path) -> list[Any]:
    return [Image.open(file) for file in sorted((folder / "all").iterdir())]


def test_images_are_turned_as_pillow_turns_them_and_only_where_that_is_asked_for(folder: Path) -> None:
    # Larger than any side: all of every image, with its padding.
    whole = [CenterCrop((90, 90))]
    turned = images(folder, whole, apply_exif_orientation=True)
    plain = images(folder, whole)
    for got, as_stored, image in zip(turned, plain, stored(folder)):
        for batch, picture in [(got, ImageOps.exif_transpose(image)), (as_stored, image)]:
            pixels = np.asarray(picture.convert("RGB"))
            height, width = pixels.shape[:2]
            top, left = (90 - height) // 2, (90 - width) // 2
            assert np.array_equal(batch[top : top + height, left : left + width], pixels)
            assert not batch[: top or None].any() or top == 0


def test_a_turned_batch_is_shown_with_crops_of_the_upright_image(folder: Path) -> None:
    with DataLoader(folder, 9, transform=[CenterCrop((20, 70))], apply_exif_orientation=True) as loader:
        shown = loader.show(9)
        assert "turned by EXIF" in str(shown)
        assert {image.size for row in shown.rows for image in row.images} == {(61, 83), (83, 61)}


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_are_torchs_rounding_of_the_float_batch(folder: Path, name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from forebay.torch import DataLoader as TorchLoader

    dtype = getattr(torch, name)
    for chain in ([Normalize()], []):
        steps = [Resize((24, 20)), *chain]
        with TorchLoader(folder, 9, transform=[*steps, ToDtype("float32")]) as loader:
            ((floats, _),) = list(loader)
        with TorchLoader(folder, 9, transform=steps, dtype=dtype) as loader:
            ((halves, _),) = list(loader)
        assert halves.dtype == dtype
        assert halves.shape == (9, 3, 24, 20)
        assert halves.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(halves.view(torch.int16), floats.to(dtype).view(torch.int16))


def test_numpy_has_float16_and_says_that_it_has_no_bfloat16(folder: Path) -> None:
    floats = images(folder, [Resize((24, 20)), Normalize()])
    halves = images(folder, [Resize((24, 20)), Normalize()], dtype="float16")
    assert halves.dtype == np.float16
    assert np.array_equal(halves, floats.astype(np.float16))
    with pytest.raises(InvalidError, match="numpy has no bfloat16") as refused:
        DataLoader(folder, 9, transform=[Resize((24, 20))], dtype="bfloat16")
    assert "forebay.torch" in str(refused.value)


@pytest.mark.parametrize("by", ["bilinear", "bicubic", "nearest", "nearest-exact"])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_filter_is_torchvisions_on_the_same_image(folder: Path, by: str, antialias: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    v2 = pytest.importorskip("torchvision.transforms.v2", reason="torchvision is not installed")
    mode = v2.InterpolationMode(by)
    got = images(folder, [Resize((24, 20), interpolation=mode, antialias=antialias)])
    resize = v2.Resize((24, 20), interpolation=mode, antialias=antialias)
    for mine, image in zip(got, stored(folder)):
        tensor = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
        theirs = resize(tensor).permute(1, 2, 0).numpy()
        gap = np.abs(mine.astype(np.int16) - theirs.astype(np.int16))
        assert gap.max() <= (0 if by.startswith("nearest") else 1)
        assert gap.mean() < 0.1


def test_other_filters_are_another_content_and_resuming_says_which(folder: Path) -> None:
    def loader(**filter_: Any) -> DataLoader:
        return DataLoader(folder, 9, transform=[Resize((24, 20), **filter_)])

    with loader() as plain, loader(interpolation="bilinear", antialias=True) as aloud, loader(antialias=False) as other:
        assert plain.job.content_digest == aloud.job.content_digest
        next(iter(plain))
        state = plain.state_dict()
        with pytest.raises(forebay.errors.StateError, match=r"antialias=False"):
            other.load_state_dict(state)


def test_large_images_are_decoded_smaller_where_that_is_asked_for_and_look_the_same(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    y, x = np.mgrid[:300, :400]
    waves = [np.sin(x / 30), np.cos(y / 25), np.sin((x + y) / 40)]
    pixels = (128 + 90 * np.stack(waves, -1)).astype(np.uint8)
    for index, subsampling in enumerate((0, 1, 2)):
        Image.fromarray(pixels).save(tmp_path / "all" / f"{index}.jpg", quality=95, subsampling=subsampling)
    steps = [Resize(40), CenterCrop(32)]
    with (
        DataLoader(tmp_path, 3, transform=steps, decode_scale="auto") as scaled,
        DataLoader(tmp_path, 3, transform=steps, decode_scale="full") as full,
        DataLoader(tmp_path, 3, transform=steps) as plain,
    ):
        assert full.job.content_digest == plain.job.content_digest != scaled.job.content_digest
        ((small, _),), ((whole, _),) = list(scaled), list(plain)
        gap = np.abs(small.astype(np.int16) - whole.astype(np.int16))
        assert 0 < gap.max() <= 6
        assert gap.mean() < 1
    with pytest.raises(InvalidError, match="neither 'full' nor 'auto'"):
        forebay.Image(decode_scale="half")
    with pytest.raises(InvalidError, match="decode_scale needs a Resize or RandomResizedCrop with antialias"):
        DataLoader(tmp_path, 3, transform=[CenterCrop(32)], decode_scale="auto").job  # noqa: B018 - asks the daemon
