"""What of an ImageFolder is native, read from torchvision's objects; no daemon is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: there is no ImageFolder")
pytest.importorskip("PIL.Image", reason="Pillow is not installed")

from image_folder import write_photos  # noqa: E402 - after the skips
from torchvision import transforms as v1  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from forebay import transforms as ours  # noqa: E402
from forebay._recognise import Form, NotNativeError, plan_of, words_of  # noqa: E402

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CROP = ours.RandomResizedCrop((32, 32), (0.2, 0.9), (0.5, 2.0))
BICUBIC = v1.InterpolationMode.BICUBIC


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "train")


def steps_of(photos: Path, *transforms: Any) -> tuple[tuple[Any, ...], Form, list[str]]:
    plan = plan_of(ImageFolder(photos, v1.Compose(list(transforms))))
    return plan.steps, plan.form, [words_of(step) for step in plan.rest]


@pytest.mark.parametrize("of", [v1, v2], ids=["v1", "v2"])
def test_transforms_of_both_versions_are_taken_with_their_parameters(photos: Path, of: Any) -> None:
    crop = of.RandomResizedCrop(32, (0.2, 0.9), (0.5, 2.0))
    flip, normalize = of.RandomHorizontalFlip(0.3), of.Normalize(MEAN, STD)
    want = (CROP, ours.RandomHorizontalFlip(0.3), ours.Normalize(MEAN, STD))
    floats = Form("tensor", True, True, True)
    assert steps_of(photos, crop, flip, of.ToTensor(), normalize) == (want, floats, [])
    assert steps_of(photos, crop, of.ToTensor(), normalize, flip) == (want, floats, [])
    resize = of.Resize((40, 50), interpolation=BICUBIC)
    want = (ours.Resize((40, 50), "bicubic"), ours.CenterCrop((20, 30)))
    assert steps_of(photos, resize, of.CenterCrop((20, 30))) == (want, Form(), [])
    want = (ours.Resize(40), ours.CenterCrop(24))
    assert steps_of(photos, of.Resize(40), of.CenterCrop(24), of.PILToTensor()) == (
        (want[0], ours.CenterCrop((24, 24))),
        Form("tensor"),
        [],
    )


def test_tensors_and_torchvisions_images_are_told_from_pillows(photos: Path) -> None:
    crop = v2.RandomResizedCrop(32, (0.2, 0.9), (0.5, 2.0), antialias=False)
    to_float = v2.ToDtype(torch.float32, scale=True)
    unsmoothed = ours.RandomResizedCrop((32, 32), (0.2, 0.9), (0.5, 2.0), "bilinear", False)
    assert steps_of(photos, v2.ToImage(), crop, to_float) == ((unsmoothed,), Form("image", True), [])
    assert steps_of(photos, crop, v2.PILToTensor()) == ((CROP,), Form("tensor"), [])  # Pillow has antialias, always
    assert steps_of(photos, v2.ToImage(), crop, v2.ToPureTensor()) == ((unsmoothed,), Form("tensor"), [])
    assert steps_of(photos, crop, v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)) == (
        (CROP,),
        Form("tensor", True),
        [],
    )


def test_nested_compositions_are_one_list(photos: Path) -> None:
    crop = v2.RandomResizedCrop(32, (0.2, 0.9), (0.5, 2.0))
    inner = torch.nn.Sequential(v2.Compose([crop]), v2.RandomHorizontalFlip())
    assert steps_of(photos, inner, v1.TrivialAugmentWide()) == (
        (CROP, ours.RandomHorizontalFlip()),
        Form(),
        ["TrivialAugmentWide"],
    )


class _Flip(v1.RandomHorizontalFlip):
    """A class of the user's own."""


def _patched() -> Any:
    flip = v1.RandomHorizontalFlip()
    flip.forward = lambda image: image
    return flip


def _hooked() -> Any:
    flip = v1.RandomHorizontalFlip()
    flip.register_forward_hook(lambda *_: None)
    return flip


CROP_V1 = v1.RandomResizedCrop(32, (0.2, 0.9), (0.5, 2.0))
AFTER: dict[str, tuple[Any, ...]] = {
    "an unknown transform": (v1.TrivialAugmentWide(),),
    "a lambda": (lambda image: image,),
    "a subclass": (_Flip(),),
    "a patched object": (_patched(),),
    "a hooked object": (_hooked(),),
    "a second crop": (v1.RandomResizedCrop(16),),
    "a resize of floats": (v1.ToTensor(), v1.Resize((16, 16))),
    "a float that is rounded otherwise": (v1.PILToTensor(), v2.ToDtype(torch.float16, scale=True)),
    "floats from 0 to 255": (v1.PILToTensor(), v2.ToDtype(torch.float32)),
    "a table of types": (v2.ToImage(), v2.ToDtype({torch.Tensor: torch.float32, "others": None}, scale=True)),
    "a second flip": (v1.RandomHorizontalFlip(), v1.RandomHorizontalFlip()),
    "a second Normalize": (v1.ToTensor(), v1.Normalize(MEAN, STD), v1.Normalize(MEAN, STD)),
    "a crop behind a flip": (v1.RandomHorizontalFlip(), v1.CenterCrop(31)),
    "a crop behind Normalize": (v1.ToTensor(), v1.Normalize(MEAN, STD), v1.CenterCrop(64)),
    "a Normalize that is no division": (v1.ToTensor(), v1.Normalize(MEAN, (0.2, 0.3, -1.0))),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_is_not_exactly_one_of_the_daemons_operations_ends_the_native_part(photos: Path, name: str) -> None:
    plan = plan_of(ImageFolder(photos, v1.Compose([CROP_V1, *AFTER[name]])))
    assert plan.steps[0] == CROP
    assert plan.rest == (AFTER[name][-1],)
    assert plan.leading == (CROP_V1, *AFTER[name][:-1])


FIRST: dict[str, Any] = {
    "it has no transform": None,
    "fix no size before TrivialAugmentWide": v1.Compose([v1.TrivialAugmentWide(), CROP_V1]),
    "do not bring the images to one size": v1.Compose([v1.Resize(40), v1.ToTensor()]),
    "fix no size before Resize, which": v1.Compose([v1.Resize(40, max_size=60), v1.CenterCrop(32)]),
    "fix no size before Resize": v1.Resize((32, 32), interpolation=v1.InterpolationMode.NEAREST),
    "fix no size before RandomResizedCrop": v1.RandomResizedCrop(32, interpolation=v1.InterpolationMode.LANCZOS),
    "fix no size before CenterCrop": v1.Compose([v1.RandomHorizontalFlip(), v1.CenterCrop(32)]),
}


@pytest.mark.parametrize("reason", FIRST)
def test_where_no_leading_part_gives_one_size_nothing_is_native(photos: Path, reason: str) -> None:
    with pytest.raises(NotNativeError, match=reason):
        plan_of(ImageFolder(photos, FIRST[reason]))


class _Own(ImageFolder):
    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)


def _changed(change: Callable[[Any], None]) -> Callable[[Path], Any]:
    def make(root: Path) -> Any:
        dataset = ImageFolder(root, CROP_V1)
        change(dataset)
        return dataset

    return make


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda dataset: setattr(dataset, name, value)


def _reversed(dataset: Any) -> None:
    dataset.samples = dataset.samples[::-1]


def _relabelled(dataset: Any) -> None:
    dataset.samples[0] = (dataset.samples[0][0], 1)


def _renamed(dataset: Any) -> None:
    dataset.samples = [(path.replace(".png", ".webp"), label) for path, label in dataset.samples]


DATASETS: dict[str, Callable[[Path], Any]] = {
    "_Own is a class of its own": lambda root: _Own(root, CROP_V1),
    "it has a loader of its own, open": lambda root: ImageFolder(root, CROP_V1, loader=open),
    "it has a target_transform": lambda root: ImageFolder(root, CROP_V1, target_transform=int),
    "it has an is_valid_file": lambda root: ImageFolder(root, CROP_V1, is_valid_file=lambda _: True),
    "its find_classes was replaced": _changed(_set("find_classes", None)),
    "its class_to_idx was changed": _changed(_set("class_to_idx", {"ant": 1, "bee": 0, "cow": 2})),
    "its samples were put in another order": _changed(_reversed),
    "its samples were changed": _changed(_relabelled),
    "is neither JPEG nor PNG": _changed(_renamed),
    "it has no samples": _changed(_set("samples", [])),
}


@pytest.mark.parametrize("reason", DATASETS)
def test_data_sets_that_are_more_than_a_plain_image_folder_are_not_native(photos: Path, reason: str) -> None:
    with pytest.raises(NotNativeError, match=reason):
        plan_of(DATASETS[reason](photos))


def test_a_class_that_was_patched_is_not_native(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ImageFolder(photos, CROP_V1)
    monkeypatch.setattr(ImageFolder, "__getitem__", lambda self, index: index, raising=False)
    with pytest.raises(NotNativeError, match="its __getitem__ was replaced"):
        plan_of(dataset)


def test_truncated_images_that_pillow_is_told_to_take_are_left_to_it(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest.importorskip("PIL.ImageFile"), "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(NotNativeError, match="LOAD_TRUNCATED_IMAGES"):
        plan_of(ImageFolder(photos, CROP_V1))


def test_recognising_imports_no_framework() -> None:
    program = "import sys, forebay._auto, forebay._recognise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
