"""Bytes that become floats on a device: the same bits as the daemon's, by torch's gather and by the kernel's source.

Without a device the kernel is compiled as plain C, and launched by the driver of tests with a device's arguments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import REAL, write_pixels  # noqa: E402
from fake_driver import FakeDriver, build, kernel_flags, needs_cc  # noqa: E402

from forebay import Image, Value, _gpu_driver, _gpu_kernel  # noqa: E402
from forebay._gpu_cast import Cast, moved  # noqa: E402
from forebay._gpu_kernel import Kernel, compiled, options  # noqa: E402
from forebay._gpu_torch import Caster  # noqa: E402
from forebay._spec import Folder  # noqa: E402
from forebay._spec import build as build_spec  # noqa: E402
from forebay.errors import DeviceError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402
from forebay.transforms import CenterCrop, Normalize, RandomHorizontalFlip, ToDtype  # noqa: E402

CPU = torch.device("cpu")
DTYPES = ("float32", "float16", "bfloat16")
NORMALIZE = Normalize()
needs_daemon = pytest.mark.skipif(not REAL, reason="no binary: FOREBAY_BINARY names none, nor is one on PATH")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six images of 16 x 16, in which each channel has each value."""
    random = np.random.default_rng(9)
    (tmp_path / "images" / "a").mkdir(parents=True)
    for index in range(6):
        planes = [random.permutation(256).astype(np.uint8).reshape(16, 16) for _ in range(3)]
        write_pixels(tmp_path / "images" / "a" / f"{index}.png", np.stack(planes, -1))
    return tmp_path / "images"


def both(images: Path, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> tuple[torch.Tensor, torch.Tensor, Cast]:
    """Give a batch in the daemon's bytes and in its floats, and the cast between them."""
    monkeypatch.setenv("FOREBAY_BINARY", REAL)
    order = asked.pop("memory_order", "MEMORY_ORDER_CHANNELS_LAST")
    field = Image(**asked)

    class Rowed(DataLoader):
        _memory_order = order

    class Asked(Rowed):
        def _live(self) -> None:
            if "casts" not in vars(self):
                self._spec, vars(self)["casts"] = moved(self._spec)
            super()._live()

    with (
        Asked(images, 6, fields={"image": field}, seed=3) as bytes_of,
        Rowed(images, 6, fields={"image": field}, seed=3) as floats_of,
    ):
        (found,) = vars(bytes_of)["casts"].values()
        return next(iter(bytes_of))["image"].clone(), next(iter(floats_of))["image"].clone(), found


def equal_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    kind = torch.int32 if one.dtype == torch.float32 else torch.int16
    return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one.view(kind), other.view(kind))


CASES = [
    {"dtype": dtype, "transform": [*steps, *normalize], "views": views, "memory_order": order}
    for dtype, normalize, (steps, views), order in product(
        DTYPES,
        [[NORMALIZE], [], [Normalize((0.1, 0.2, 0.3), (1.7, 0.01, 3.0))]],
        [
            ([CenterCrop(16)], 1),
            ([CenterCrop((15, 7)), RandomHorizontalFlip()], 1),
            ([CenterCrop(5), RandomHorizontalFlip()], 3),
        ],
        ["MEMORY_ORDER_CHANNELS_LAST", "MEMORY_ORDER_ROW_MAJOR"],
    )
]


@needs_daemon
def test_the_gather_makes_the_daemons_bits(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in CASES:
        pixels, floats, found = both(images, monkeypatch, **dict(asked))
        assert pixels.dtype == torch.uint8
        assert equal_bits(Caster(found, CPU)(pixels, 0), floats), asked


@needs_cc
@needs_daemon
@pytest.mark.parametrize("element_bytes", [4, 2])
@pytest.mark.parametrize("planes", [False, True])
def test_the_kernels_source_makes_the_daemons_bits(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, element_bytes: int, planes: bool
) -> None:
    flags = kernel_flags(options(element_bytes, planes))
    cuda = FakeDriver(build(tmp_path / "libkernel.so", *flags), monkeypatch)
    monkeypatch.setattr(_gpu_kernel, "compiled", lambda architecture, defined: architecture.encode())
    order = "MEMORY_ORDER_ROW_MAJOR" if planes else "MEMORY_ORDER_CHANNELS_LAST"
    for asked in CASES:
        if (asked["dtype"] == "float32") != (element_bytes == 4) or asked["memory_order"] != order:
            continue
        pixels, floats, found = both(images, monkeypatch, **dict(asked))
        caster = Caster(found, CPU)
        caster._kernel = Kernel(_gpu_driver.driver(), 0, element_bytes, planes)
        before = cuda.launches
        assert equal_bits(caster(pixels, 7), floats), asked
        assert cuda.launches == before + 1
    assert cuda.pushed == 0


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_the_kernel_for_data_centre_devices(architecture: str) -> None:
    try:
        _gpu_kernel._nvrtc()
    except DeviceError:
        pytest.skip("no libnvrtc: torch's CUDA builds bring one")
    for element_bytes, planes in product((4, 2), (False, True)):
        image = compiled(architecture, options(element_bytes, planes))
        assert image[:4] == b"\x7fELF"
        assert b".text.forebay_cast" in image
    with pytest.raises(DeviceError, match="does not compile"):
        compiled(architecture, ["-DELEMENT=nonsense", "-DPLANES=0"])


def test_nvrtc_is_found_beside_torch_where_nothing_has_loaded_it() -> None:
    if not _gpu_kernel._of_wheels():
        pytest.skip("no wheel of NVRTC: torch's CUDA builds bring one")
    program = "import sys, forebay._gpu_kernel as k; k._nvrtc(); sys.exit('torch' in sys.modules)"
    path = str(Path(_gpu_kernel.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}).returncode == 0


def test_the_table_is_torchs_arithmetic() -> None:
    value = torch.arange(256, dtype=torch.uint8).float().div(255)
    for dtype in DTYPES:
        found = Cast(dtype, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), True)
        wanted = torch.stack([value.sub(mean).div(std) for mean, std in zip(found.mean, found.std)])
        wanted = wanted.to(getattr(torch, dtype))
        kind = torch.int32 if dtype == "float32" else torch.int16
        assert np.array_equal(found.bits().view(f"i{found.bits().itemsize}"), wanted.view(kind).numpy())


def spec_of(**asked: Any) -> dict[str, Any]:
    policy = asked.pop("on_bad_sample", "fail")
    fields = {"image": Image(**asked), "label": Value()}
    origin = Folder("/data")
    spec, _ = build_spec(
        [(origin, origin.to_spec())], fields=fields, transform=None, dtype=None, views=None, order={},
        memory_order="MEMORY_ORDER_CHANNELS_LAST", on_bad_sample=policy, bad_sample_budget=0, job_id="",
    )  # fmt: skip
    return spec


def test_the_daemon_is_asked_for_bytes_where_floats_of_pixels_were_meant() -> None:
    spec = spec_of(transform=[CenterCrop(8), NORMALIZE], dtype="bfloat16")
    asked, casts = moved(spec)
    assert asked["fields"][0]["dtype"] == "DTYPE_UINT8"
    assert asked["fields"][0]["transforms"] == [CenterCrop(8).to_spec()]
    assert asked["fields"][1] == spec["fields"][1]
    assert list(casts) == ["image"]
    assert spec["fields"][0]["dtype"] == "DTYPE_BFLOAT16"  # what was given is left as it is


def test_what_cannot_be_moved_stays_with_the_daemon() -> None:
    for spec in (
        spec_of(transform=[CenterCrop(8)]),
        spec_of(transform=[NORMALIZE, CenterCrop(8)]),
        spec_of(transform=[CenterCrop(8), ToDtype("uint8")]),
        spec_of(transform=[NORMALIZE], on_bad_sample="mask"),
    ):
        assert moved(spec) == (spec, {})


@needs_daemon
def test_contents_that_are_cast_there_have_the_digest_of_bytes(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_device import LateEngine

    import forebay._gpu_loader

    monkeypatch.setenv("FOREBAY_BINARY", REAL)
    monkeypatch.setattr(forebay._gpu_loader, "TorchEngine", LateEngine)
    monkeypatch.setattr(forebay._gpu_loader, "device_of", lambda given: given and torch.device("cuda", 0))
    chain = [CenterCrop(8), NORMALIZE]
    with (
        DataLoader(images, 2, transform=chain) as floats,
        DataLoader(images, 2, transform=chain[:1]) as pixels,
        DataLoader(images, 2, transform=chain, device="cuda") as there,
        DataLoader(images, 2, transform=chain, device="cuda", cast="daemon") as here,
    ):
        assert there.job.content_digest == pixels.job.content_digest != floats.job.content_digest
        assert here.job.content_digest == floats.job.content_digest
        for wanted, *others in zip(floats, there, here):
            assert all(equal_bits(wanted[0], other[0]) for other in others)
        with pytest.raises(Exception, match="field image"):
            there.load_state_dict(floats.state_dict())
        there.load_state_dict(floats.state_dict(), allow_changed="field image")
