"""The keyword arguments of every loader, for those that pass them on; `Loader` says what each is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    from ._pack import Buckets, Packed, TokenBudget
    from ._spec import Field, StrPath

    class Options(TypedDict, total=False):
        """What `Loader` takes by name, but for `seed` and `drop_last`, which torch's loader has a word in."""

        balanced_by: str | None
        weights: str | Iterable[Any] | None
        epoch_rows: int | None
        sampler_epochs: int | None
        repeats: int
        repeat_window: int | None
        packed: int | Packed | None
        bucket_by: str | Buckets | None
        token_budget: TokenBudget | None
        transform: Sequence[Any] | None
        batch_transform: Callable[[Any], Any] | None
        fields: Mapping[str, Field] | None
        dtype: str | None
        views: int | None
        apply_exif_orientation: bool
        decode_scale: str
        global_batch_size: int | None
        tail: str | None
        on_bad_sample: str
        bad_sample_budget: int
        prefetch: int | None
        max_leases: int | None
        pinned: bool
        weight: int | None
        priority: int
        rank: int | None
        world_size: int | None
        device_mesh: Any
        with_valid: bool
        rolling: bool
        digest: bool
        start_epoch: int
        start_step: int
        daemon: str | None
        job_id: str
        state_root: StrPath | None
        follow: str
