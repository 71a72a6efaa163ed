"""FFCV over its own `.beton` files: decoded pixels, half of them decoded, or JPEGs shrunk once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .settings import IMAGENET_ROWS, MEAN, RATIO, SCALE, SIDE, STD, Batch, Conversion, Install, Peer, Settings

FILE = "photos.beton"


def batches(settings: Settings) -> Iterator[Batch]:
    """Give batches from threads whose pipeline numba has compiled; the file stays in the page cache."""
    import numpy as np
    from ffcv.fields.decoders import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.reader import Reader
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, Squeeze, ToTensor, ToTorchImage

    path = f"{settings.data}/{FILE}"
    image: list[Any] = [RandomResizedCropRGBImageDecoder((SIDE, SIDE), scale=SCALE, ratio=RATIO)]
    image.append(RandomHorizontalFlip())
    if settings.dtype == "float32":
        mean, deviation = (255 * np.array(values, np.float32) for values in (MEAN, STD))
        image.append(NormalizeImage(mean, deviation, np.float32))
    image += [ToTensor(), ToTorchImage()]
    rows = int(Reader(path).num_samples)
    loader = Loader(
        path,
        batch_size=settings.batch,
        num_workers=settings.workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        # Every row many times an epoch, so that an epoch begins as seldom as ImageNet's.
        indices=np.tile(np.arange(rows), -(-IMAGENET_ROWS // rows)),
        pipelines={"image": image, "label": [IntDecoder(), ToTensor(), Squeeze()]},
    )
    while True:
        for images, labels in loader:
            yield Batch(images, labels)


def convert_to(mode: str, side: int, **options: Any) -> Callable[[Conversion], None]:
    """Give the peer's `convert`: images in `mode`, at most `side` pixels wide and high."""
    return partial(_convert, mode=mode, side=side, options=options)


def _convert(conversion: Conversion, mode: str, side: int, options: dict[str, Any]) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"image": RGBImageField(write_mode=mode, max_resolution=side, **options), "label": IntField()}
    writer = DatasetWriter(str(conversion.target / FILE), fields, num_workers=conversion.workers)
    writer.from_indexed_dataset(_Photos(conversion.samples()))


class _Photos:
    """What FFCV's writer takes: an indexed collection of (Pillow image, label)."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        path, label = self.samples[index]
        return Image.open(path).convert("RGB"), label


INSTALL = Install(
    ("ffcv==1.0.2", "numba==0.68.1", "opencv-python==5.0.0.93"),
    megabytes=430,
    minutes=1,
    debian=(
        ("program g++", "g++"),
        ("program pkg-config", "pkg-config"),
        ("header Python.h", "python3-dev"),
        ("library opencv4", "libopencv-dev"),
        ("library libturbojpeg", "libturbojpeg0-dev"),
    ),
)
PEERS = (
    Peer("ffcv-raw-400", "pixels of at most 400 x 400, area resize; threads", batches, convert_to("raw", 400), 3.1),
    Peer(
        "ffcv-half-raw-500",
        "half of them pixels, half JPEG q90, of at most 500 x 500; threads",
        batches,
        convert_to("proportion", 500, compress_probability=0.5, jpeg_quality=90),
        2.7,
    ),
    Peer(
        "ffcv-jpeg-500",
        "JPEG q90 of at most 500 x 500: lossy; threads",
        batches,
        convert_to("jpg", 500, jpeg_quality=90),
        0.6,
    ),
)
