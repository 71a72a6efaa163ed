"""forebay through its Python client: `forebay.torch`, a private daemon, uint8 or normalised float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import raw
from .settings import FILE_BYTES, RATIO, SCALE, SIDE, Batch, Install, Peer, Settings


def batches_of(antialias: bool) -> Callable[[Settings], Iterator[Batch]]:
    """Give the peer's `batches`, of epoch after epoch of one loader."""

    def batches(settings: Settings) -> Iterator[Batch]:
        from forebay.torch import DataLoader
        from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop

        crop = RandomResizedCrop(SIDE, scale=SCALE, ratio=RATIO, antialias=antialias)
        transform = [crop, RandomHorizontalFlip()]
        if settings.dtype == "float32":
            transform.append(Normalize())
        loader = DataLoader(settings.data, batch_size=settings.batch, shuffle=True, drop_last=True, transform=transform)
        while True:
            for images, labels in loader:
                yield Batch(images, labels)

    return batches


def raw_batches(settings: Settings) -> Iterator[Batch]:
    """Hand files over as they are, epoch after epoch."""
    from forebay import Folder, Raw, Value
    from forebay.torch import DataLoader

    loader = DataLoader(
        Folder(settings.data, extensions=(raw.SUFFIX,)),
        batch_size=settings.batch,
        shuffle=True,
        drop_last=True,
        fields={"data": Raw("image", capacity=FILE_BYTES), "label": Value()},
    )
    while True:
        for batch in loader:
            yield Batch(batch["data"], batch["label"])


INSTALL = Install()
PEERS = (
    Peer("forebay", "files as they are; crop-only decode, antialiased; private daemon, defaults", batches_of(True)),
    Peer("forebay-no-antialias", "the same, not antialiased: the filter of tfdata", batches_of(False)),
)
RAW_PEERS = (Peer("forebay", "private daemon, defaults", raw_batches),)
