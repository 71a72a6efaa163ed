"""Which part of a job's last step a device does: u8 images cross the bus and become floats there.

The daemon is then asked for uint8 in whole pixels, which is another content than floats, and the digests say so. What
the device makes of a byte is the entry of the daemon's own table, so results are equal bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ._record import record

_FLOATS = {"DTYPE_FLOAT32": "float32", "DTYPE_FLOAT16": "float16", "DTYPE_BFLOAT16": "bfloat16"}
_PIXELS = ("DECODE_IMAGE", "DECODE_CLIP")
_UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

# What each byte becomes in each of the three channels: u32 or u16, `(3, 256)`.
Bits = npt.NDArray[Any]


@record
class Cast:
    """What becomes of one field's bytes: `(value / 255 - mean) / std` as `dtype`, in whole pixels or in planes."""

    dtype: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels_last: bool

    def bits(self) -> Bits:
        """Give the table: each step rounded to float32 as the daemon does it, then once to `dtype`."""
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = (np.array(values, np.float32)[:, None] for values in (self.mean, self.std))
        # Untyped: numpy's stubs do not know what `view` gives.
        floats: Any = ((unit - mean) / std).astype(np.float32)
        bits: Any = floats.view(np.uint32)
        if self.dtype == "float16":
            with np.errstate(over="ignore"):
                return floats.astype(np.float16).view(np.uint16)
        if self.dtype == "float32":
            return bits
        nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))  # ties to even
        return (nearest >> np.uint32(16)).astype(np.uint16)

    def words(self) -> str:
        """Say it in a few words."""
        normalized = "" if (self.mean, self.std) == _UNIT else ", normalised"
        return f"{self.dtype}{normalized}, {'channels_last' if self.channels_last else 'NCHW'}"


def moved(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Cast]]:
    """Give a `forebay.v1.JobSpec` that asks for bytes where `spec` asks for floats of pixels, and the casts by field.

    A field stays as it is where something follows its Normalize, and all do where bad samples are masked: a masked row
    is zeros in the daemon's floats, and would be a black image here.
    """
    policy = cast("Mapping[str, Any]", spec.get("on_bad_sample", {})).get("policy")
    casts: dict[str, Cast] = {}
    fields: list[Any] = []
    for field in cast("list[dict[str, Any]]", spec["fields"]):
        found = None if policy == "BAD_SAMPLE_POLICY_MASK" else _cast_of(field)
        if found is None:
            fields.append(field)
            continue
        steps = [step for step in field.get("transforms", ()) if "normalize" not in step]
        asked = {"transforms": steps, "dtype": "DTYPE_UINT8", "memory_order": "MEMORY_ORDER_CHANNELS_LAST"}
        fields.append({**field, **asked})
        casts[str(field["name"])] = found
    return {**spec, "fields": fields}, casts


def _cast_of(field: Mapping[str, Any]) -> Cast | None:
    dtype = _FLOATS.get(str(field.get("dtype", "")))
    steps = cast("list[dict[str, Any]]", field.get("transforms", []))
    if field.get("decode") not in _PIXELS or dtype is None or any("normalize" in step for step in steps[:-1]):
        return None
    mean, std = _UNIT
    if steps and "normalize" in steps[-1]:
        given = steps[-1]["normalize"]
        mean, std = (tuple(float(value) for value in given[name]) for name in ("mean", "std"))
    channels_last = str(field.get("memory_order", "")) == "MEMORY_ORDER_CHANNELS_LAST"
    return Cast(dtype, cast("Any", mean), cast("Any", std), channels_last)
