"""What is left to do in Python behind the daemon: the rest of the transforms, on rows that it has decoded.

The daemon's batch is not copied on its way to the workers: they map its arena and read their rows there.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from .._batch import Array
from .slots import Lent, Slots
from .tasks import Decoded, Keys

if TYPE_CHECKING:
    from .._recognise import Form
    from .._session import Batch


class Rest:
    """Samples of one batch: each row through what of the transforms is not the daemon's, as `(image, label)`.

    `arrays`: the batch as the daemon made it, images `(rows, height, width, 3)`, or `(rows, 3, height, width)` where
    `form` is contiguous, and labels `(rows,)`. Rows are copied, since transforms may write in place.
    """

    def __init__(self, transforms: Sequence[Any], form: Form, length: int) -> None:
        self.transforms = tuple(transforms)
        self.form = form
        self.arrays: list[Array] = []
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> tuple[Any, int]:
        sample = _image(self.arrays[0][row], self.form)
        for transform in self.transforms:
            sample = transform(sample)
        return sample, int(self.arrays[1][row])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "arrays": []}


def _image(row: Array, form: Form) -> Any:
    """Give a row as torchvision's transform would have seen it."""
    if form.kind == "pil":
        from PIL import Image

        return Image.fromarray(row)
    import torch

    copied: Any = np.array(row)
    tensor = torch.from_numpy(copied)  # pyright: ignore[reportUnknownMemberType]
    if not form.is_contiguous:
        tensor = tensor.permute(2, 0, 1)
    if form.kind == "tensor":
        return tensor
    return cast("Any", importlib.import_module("torchvision.tv_tensors")).Image(tensor)


class RowKeys(Keys):
    """Rows of a batch that the daemon has decoded, counted from its first."""

    __slots__ = ()

    def words(self, number: int) -> str:
        """Name a row for a person; or the whole, where that is what was worked on."""
        place = self.place(min(number, len(self.indices) - 1))
        if number >= len(self.indices):
            return f"the {len(self.indices)} samples from row {self.place(0).position} of epoch {place.epoch} on"
        return f"row {place.position} of epoch {place.epoch}"


class Source(NamedTuple):
    """Where workers find a batch of the daemon's; `held` keeps it there."""

    slots: Slots | Lent
    decoded: Decoded
    held: Any


def source_of(batch: Batch) -> Source:
    """Say where workers find a batch: in the daemon's arena, or in a copy where somebody holds too many slots of it."""
    if batch.arena is None:
        return _copied(batch)
    lent = Lent.of(batch.arena)
    offsets = [tensor.offset_bytes for tensor in batch.ready.tensors]
    return Source(lent, Decoded(lent.number, batch.ready.slot, _places(batch, offsets)), batch)


def _copied(batch: Batch) -> Source:
    offsets = np.cumsum([0, *(-(-array.nbytes // 64) * 64 for array in batch.arrays)]).tolist()
    slots = Slots(offsets[-1], 1)
    slot = slots.take()
    assert slot is not None
    decoded = Decoded(slots.number, slot.index, _places(batch, offsets))
    whole: Array = np.frombuffer(cast("Any", slot.owner), np.uint8)
    for copy, array in zip(arrays_of(decoded, whole, slots.slot_bytes), batch.arrays):
        copy[...] = array
    return Source(slots, decoded, slot)


def _places(batch: Batch, offsets: Sequence[int]) -> tuple[Any, ...]:
    return tuple(
        (array.shape, str(cast("Any", array.dtype).str), offset) for array, offset in zip(batch.arrays, offsets)
    )


def arrays_of(decoded: Decoded, memory: Array, slot_bytes: int) -> list[Array]:
    """Give the arrays of a batch in the memory of all slots, without a copy."""
    start = decoded.slot * slot_bytes
    return [np.ndarray(dims, dtype, memory, start + offset) for dims, dtype, offset in decoded.places]
