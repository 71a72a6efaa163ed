"""forebay through its Python client: `forebay.torch`, a private daemon, uint8 or normalised float32."""

from __future__ import annotations

from collections.abc import Iterator

from .settings import RATIO, SCALE, SIDE, Batch, Install, Peer, Settings


def batches(settings: Settings) -> Iterator[Batch]:
    """Give epoch after epoch of one loader."""
    from forebay.torch import DataLoader
    from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop

    transform = [RandomResizedCrop(SIDE, scale=SCALE, ratio=RATIO), RandomHorizontalFlip()]
    if settings.dtype == "float32":
        transform.append(Normalize())
    loader = DataLoader(settings.data, batch_size=settings.batch, shuffle=True, drop_last=True, transform=transform)
    while True:
        for images, labels in loader:
            yield Batch(images, labels)


INSTALL = Install()
PEERS = (Peer("forebay", "files as they are; crop-only decode, antialiased; private daemon, defaults", batches),)
