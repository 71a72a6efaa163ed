"""Compares forebay's decoding and transforms with Pillow and torchvision v2, pixel by pixel, on the same parameters.

Needs torch, torchvision and Pillow, and the example program that runs one image through the Rust code:
``cargo build --release --example pixels`` and ``FOREBAY_PIXELS=target/release/examples/pixels``.
``pytest -s`` prints the measured differences.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="numpy is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed: parity with torchvision is not checked")
pytest.importorskip("torchvision", reason="torchvision is not installed: parity is not checked")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
pytest.importorskip("PIL.ImageFile").MAXBLOCK = 1 << 20  # or Pillow cannot write a progressive file of noise

from torchvision.transforms import v2  # noqa: E402 - after the skips
from torchvision.transforms.v2 import functional as F  # noqa: E402, N812 - its usual name

PIXELS = os.environ.get("FOREBAY_PIXELS", "")
pytestmark = pytest.mark.skipif(
    not (PIXELS and os.access(PIXELS, os.X_OK)),
    reason="FOREBAY_PIXELS names no program: cargo build --release --example pixels",
)

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# Stated tolerances of the antialiased bilinear resize, in levels of 255.
RESIZE_MAX, RESIZE_MEAN = 1, 0.1


def natural(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise with a photograph's 1/f spectrum, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    planes = []
    shared = rng.standard_normal((height, width))
    for _ in range(3):
        noise = 0.8 * shared + 0.4 * rng.standard_normal((height, width))
        plane = np.fft.irfft2(np.fft.rfft2(noise) * falloff, s=(height, width))
        planes.append(plane / plane.std())
    return np.clip(np.stack(planes, -1) * 50 + 120, 0, 255).astype(np.uint8)


def checkerboard(height: int, width: int) -> np.ndarray:
    """Adversarial for a filter: full contrast at the highest frequency, each channel out of step."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(x + y) % 2, x % 2, y % 2], -1).astype(np.uint8) * 255


def gradient(height: int, width: int) -> np.ndarray:
    """Synthetic: smooth ramps, where rounding shows."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)


def extremes(height: int, width: int) -> np.ndarray:
    """Adversarial for rounding: random 0 and 255 only."""
    return np.random.default_rng(1).integers(0, 2, (height, width, 3)).astype(np.uint8) * 255


SCENES = {"natural": natural, "checkerboard": checkerboard, "gradient": gradient, "extremes": extremes}


def run(file: Path, shape: tuple[int, ...], **request: object) -> np.ndarray:
    """What the Rust code makes of ``file``, as an array of ``shape``."""
    out = subprocess.run([PIXELS, str(file), json.dumps(request)], capture_output=True, check=False)
    assert out.returncode == 0, out.stderr.decode()
    halves = request.get("f16") or request.get("bf16")
    dtype = np.float32 if request.get("f32") else np.int16 if halves else np.uint8
    return np.frombuffer(out.stdout, dtype).reshape(shape)


def save(folder: Path, pixels: np.ndarray, **options: object) -> Path:
    """Writes ``pixels`` as a JPEG where there are JPEG options, else as a lossless PNG."""
    file = folder / ("image.jpg" if options else "image.png")
    Image.fromarray(pixels).save(file, **options)
    return file


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (height, width, 3) as torchvision has it: (3, height, width) in channels_last memory."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def difference(got: np.ndarray, want: np.ndarray, what: str) -> tuple[int, float]:
    """The largest and the mean difference, in levels."""
    gap = np.abs(got.astype(np.int16) - want.astype(np.int16))
    print(f"{what}: max {gap.max()}, mean {gap.mean():.5f}, differing {np.mean(gap > 0):.5%}")
    return int(gap.max()), float(gap.mean())


def check_resize(got: np.ndarray, want: np.ndarray, what: str) -> None:
    """Within the stated tolerances."""
    largest, mean = difference(got, want, what)
    assert largest <= RESIZE_MAX, what
    assert mean < RESIZE_MEAN, what


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("scene", SCENES)
def test_jpeg_decodes_to_pillows_pixels(tmp_path: Path, scene: str, subsampling: str, progressive: bool) -> None:
    pixels = SCENES[scene](183, 241)
    file = save(tmp_path, pixels, quality=90, subsampling=subsampling, progressive=progressive)
    want = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(run(file, want.shape), want)


def test_a_crop_of_a_jpeg_has_pillows_pixels(tmp_path: Path) -> None:
    file = save(tmp_path, natural(183, 241), quality=90, subsampling="4:2:0")
    whole = np.asarray(Image.open(file).convert("RGB"))
    for left, top, width, height in [(37, 41, 90, 70), (1, 1, 3, 3), (200, 150, 41, 33), (0, 182, 241, 1)]:
        want = whole[top : top + height, left : left + width]
        got = run(file, want.shape, size=[height, width], crop=[left, top, width, height])
        assert np.array_equal(got, want)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_convert_as_pillow_does(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "image.jpg"
    Image.fromarray(natural(99, 130)).convert(mode).save(file, quality=92)
    want = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(run(file, want.shape), want)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pngs_convert_as_pillow_does(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(natural(99, 130))
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(natural(99, 130, 1)[..., 0]))
    file = tmp_path / "image.png"
    picture.convert(mode).save(file)
    want = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(run(file, want.shape), want)


CROPS = [
    (0, 0, 400, 300),
    (37, 41, 290, 217),
    (5, 9, 100, 100),
    (120, 70, 224, 224),
    (10, 20, 51, 37),
    (3, 7, 224, 90),
]


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("crop", CROPS)
def test_resized_crop_matches_torchvision(tmp_path: Path, scene: str, crop: tuple[int, int, int, int]) -> None:
    pixels = SCENES[scene](300, 400)
    file = save(tmp_path, pixels)
    left, top, width, height = crop
    got = run(file, (224, 224, 3), size=[224, 224], crop=crop)
    want = F.resized_crop(tensor(pixels), top, left, height, width, [224, 224], antialias=True)
    check_resize(got, want.permute(1, 2, 0).numpy(), f"resized_crop {scene} {crop}, tensor")
    pillow = F.resized_crop(Image.fromarray(pixels), top, left, height, width, [224, 224])
    check_resize(got, np.asarray(pillow), f"resized_crop {scene} {crop}, Pillow")


# Beside torchvision on a uint8 tensor and beside Pillow, each: the largest and the mean difference, in levels of 255,
# over the scenes and crops above and below. None: Pillow has no filter without antialias and no corner's nearest.
FILTERS = {
    "bilinear": ("bilinear", True, (1, 0.1), (1, 0.1)),
    "bilinear, no antialias": ("bilinear", False, (1, 0.1), None),
    "bicubic": ("bicubic", True, (1, 0.1), (2, 0.1)),
    "bicubic, no antialias": ("bicubic", False, (1, 0.1), None),
    "nearest": ("nearest", True, (0, 0.0), None),
    "nearest-exact": ("nearest-exact", True, (0, 0.0), (0, 0.0)),
}


def within(got: np.ndarray, want: np.ndarray, stated: tuple[int, float], what: str) -> None:
    """Within what is stated of a filter."""
    largest, mean = difference(got, want, what)
    assert largest <= stated[0], what
    assert mean <= stated[1], what


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_matches_torchvision(tmp_path: Path, name: str, scene: str) -> None:
    by, antialias, tensors, pillows = FILTERS[name]
    mode = v2.InterpolationMode(by)
    pixels = SCENES[scene](300, 400)
    file = save(tmp_path, pixels)
    for left, top, width, height in CROPS:
        what = f"{name} {scene} {(left, top, width, height)}"
        crop = [left, top, width, height]
        got = run(file, (224, 224, 3), size=[224, 224], crop=crop, interpolation=by, antialias=antialias)
        box = (top, left, height, width, [224, 224])
        want = F.resized_crop(tensor(pixels), *box, interpolation=mode, antialias=antialias)
        within(got, want.permute(1, 2, 0).numpy(), tensors, f"{what}, tensor")
        if pillows:
            by_pillow = v2.InterpolationMode.NEAREST if by == "nearest-exact" else mode
            want = F.resized_crop(Image.fromarray(pixels), *box, interpolation=by_pillow)
            within(got, np.asarray(want), pillows, f"{what}, Pillow")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(300, 400), (517, 389), (100, 150), (256, 256), (227, 1001)])
def test_every_filter_matches_torchvision_where_only_the_middle_is_made(
    tmp_path: Path, name: str, shape: tuple[int, int]
) -> None:
    by, antialias, tensors, _ = FILTERS[name]
    file = save(tmp_path, natural(*shape))
    request = {"shorter_side": 256, "center_crop": True, "interpolation": by, "antialias": antialias}
    got = run(file, (224, 224, 3), size=[224, 224], **request)
    resize = v2.Resize(256, interpolation=v2.InterpolationMode(by), antialias=antialias)
    want = v2.Compose([resize, v2.CenterCrop(224)])(tensor(natural(*shape)))
    within(got, want.permute(1, 2, 0).numpy(), tensors, f"{name}, Resize(256), CenterCrop(224) {shape}")


def test_resized_crop_of_a_jpeg_decodes_only_the_crop_and_matches(tmp_path: Path) -> None:
    for subsampling in ["4:4:4", "4:2:0"]:
        file = save(tmp_path, natural(375, 500), quality=92, subsampling=subsampling)
        whole = np.asarray(Image.open(file).convert("RGB"))
        for left, top, width, height in [(37, 41, 290, 217), (250, 100, 249, 270), (10, 20, 51, 37)]:
            got = run(file, (224, 224, 3), size=[224, 224], crop=[left, top, width, height])
            want = F.resized_crop(tensor(whole), top, left, height, width, [224, 224], antialias=True)
            check_resize(got, want.permute(1, 2, 0).numpy(), f"JPEG {subsampling}")


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (517, 389), (100, 150), (256, 256), (227, 1001)])
def test_resize_then_center_crop_matches_torchvision(tmp_path: Path, scene: str, shape: tuple[int, int]) -> None:
    pixels = SCENES[scene](*shape)
    file = save(tmp_path, pixels)
    got = run(file, (224, 224, 3), size=[224, 224], shorter_side=256, center_crop=True)
    want = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])(tensor(pixels))
    check_resize(got, want.permute(1, 2, 0).numpy(), f"Resize(256), CenterCrop(224) {scene} {shape}")


@pytest.mark.parametrize("shape", [(300, 400), (225, 227), (100, 301), (90, 81), (224, 224)])
def test_center_crop_is_torchvisions_with_its_padding(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = natural(*shape)
    file = save(tmp_path, pixels)
    got = run(file, (224, 224, 3), size=[224, 224], center_crop=True)
    assert np.array_equal(got, v2.CenterCrop(224)(tensor(pixels)).permute(1, 2, 0).numpy())


def test_flip_is_torchvisions_of_the_same_resize(tmp_path: Path) -> None:
    file = save(tmp_path, natural(300, 400))
    plain = run(file, (224, 224, 3), size=[224, 224])
    flipped = run(file, (224, 224, 3), size=[224, 224], flip=True)
    assert np.array_equal(flipped, F.horizontal_flip(tensor(plain)).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("flip", [False, True])
def test_floats_have_the_bits_of_to_tensor_and_normalize(tmp_path: Path, flip: bool) -> None:
    file = save(tmp_path, natural(300, 400))
    sample = tensor(run(file, (224, 224, 3), size=[224, 224], flip=flip))
    unit = sample.to(torch.float32).div(255)
    normalized = F.normalize(unit, MEAN, STD)
    for want, extra in [(unit, {}), (normalized, {"mean": MEAN, "std": STD})]:
        planes = run(file, (3, 224, 224), size=[224, 224], flip=flip, f32=True, chw=True, **extra)
        rows = run(file, (224, 224, 3), size=[224, 224], flip=flip, f32=True, **extra)
        assert np.array_equal(planes.view(np.uint32), want.numpy().view(np.uint32))
        assert np.array_equal(rows, want.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("chw", [False, True])
def test_halves_have_the_bits_of_the_float_result_rounded_by_torch(tmp_path: Path, chw: bool) -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)  # every byte in every channel
    file = save(tmp_path, levels)
    shape = (3, 16, 16) if chw else (16, 16, 3)
    for extra in ({}, {"mean": MEAN, "std": STD}):
        floats = torch.from_numpy(run(file, shape, f32=True, chw=chw, **extra).copy())
        for key, dtype in [("f16", torch.float16), ("bf16", torch.bfloat16)]:
            want = floats.to(dtype).view(torch.int16).numpy()
            assert np.array_equal(run(file, shape, chw=chw, **{key: True}, **extra), want)


def test_to_dtype_differs_from_to_tensor_by_one_rounding_only() -> None:
    """v2.ToDtype multiplies by 1/255 where ToTensor divides: forebay divides; this is all that lies between them."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    multiplied = F.to_dtype(levels, torch.float32, scale=True)
    divided = levels.to(torch.float32).div(255)
    assert torch.allclose(multiplied, divided, rtol=2**-23, atol=0)


def test_a_normalized_batch_of_torchvision_is_within_the_resize_tolerance(tmp_path: Path) -> None:
    pixels = natural(300, 400)
    file = save(tmp_path, pixels)
    got = run(file, (3, 224, 224), size=[224, 224], f32=True, chw=True, mean=MEAN, std=STD)
    ops = [
        v2.Resize([224, 224], antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    want = v2.Compose(ops)(tensor(pixels)).numpy()
    level = 1 / 255 / min(STD)
    gap = np.abs(got - want)
    print(f"normalised: max {gap.max() / level:.3f} levels, mean {gap.mean() / level:.5f} levels")
    assert gap.max() <= RESIZE_MAX * level * 1.001
    assert gap.mean() < RESIZE_MEAN * level


def test_a_cut_jpeg_is_refused_with_a_reason(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(natural(183, 241)).save(buffer, "JPEG", quality=90)
    file = tmp_path / "cut.jpg"
    file.write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    request = json.dumps({"size": [8, 8], "crop": [0, 0, 8, 8]})
    out = subprocess.run([PIXELS, str(file), request], capture_output=True, check=False)
    assert out.returncode != 0
    assert b"truncated" in out.stderr.lower()
