"""Which of a job's images a device decodes: what the daemon is asked for, and what a sample that fails is called.

The daemon then sends the bytes of a share of the JPEGs as they are stored, drawn by the row's place in the order, and
finishes the other rows as ever. That is another content, since a device's decoder rounds in its own way, and the
digests say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ._checks import whole
from ._record import record
from .errors import CorruptError, InvalidError

FEATURE = "device_decode"
# The field of numbers that stands behind each field whose rows may be encoded.
SUFFIX = ".decode"
_OFF = "or leave device_decode= out"


class RefusedRowError(Exception):
    """A row that the device does not decode: `row` of the batch, and why."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(why)
        self.row, self.why = row, why


@record
class DeviceDecode:
    """The share of rows whose JPEGs a device decodes, and the longest JPEG that goes there (None: by the pixels)."""

    ratio: float
    max_bytes: int | None = None

    @staticmethod
    def of(ratio: Any, max_bytes: Any) -> DeviceDecode | None:
        """Check what was asked for; None where the CPU decodes all."""
        if ratio is None or (not isinstance(ratio, bool) and ratio == 0):
            if max_bytes is not None:
                raise InvalidError("device_decode_max_bytes= without device_decode=")
            return None
        is_number = not isinstance(ratio, (bool, str)) and hasattr(ratio, "__float__")
        if not is_number or not 0.0 < float(ratio) <= 1.0:
            raise InvalidError(
                f"device_decode={ratio!r}: the share of rows that the device decodes is needed, above 0 and up to 1",
                hint="device_decode=0.5 has it decode half of them",
            )
        longest = None if max_bytes is None else whole("device_decode_max_bytes", max_bytes, 1, (1 << 32) - 1)
        return DeviceDecode(float(ratio), longest)

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.DeviceDecode`."""
        return {"ratio": self.ratio, **({} if self.max_bytes is None else {"max_bytes": self.max_bytes})}


# Height and width of results, by field.
Sizes = dict[str, tuple[int, int]]


def asked(spec: Mapping[str, Any], wanted: DeviceDecode) -> tuple[dict[str, Any], Sizes]:
    """Give a `forebay.v1.JobSpec` whose images a device decodes in part, and their sizes.

    Raises `InvalidError` where that cannot be, with what to change.
    """
    policy = cast("Mapping[str, Any]", spec.get("on_bad_sample", {})).get("policy", "BAD_SAMPLE_POLICY_FAIL")
    if policy != "BAD_SAMPLE_POLICY_FAIL":
        raise InvalidError(
            "device_decode= needs on_bad_sample='fail': no row takes another's place once the device has it", hint=_OFF
        )
    sizes: Sizes = {}
    fields: list[Any] = []
    for field in cast("list[dict[str, Any]]", spec["fields"]):
        if field.get("decode") == "DECODE_IMAGE":
            sizes[str(field["name"])] = _size_of(field)
            field = {**field, "device_decode": wanted.to_spec()}
        fields.append(field)
    if not sizes:
        raise InvalidError("device_decode= without a field of images", hint=f"name one, as forebay.Image(); {_OFF}")
    return {**spec, "fields": fields}, sizes


def is_asked(spec: Mapping[str, Any]) -> bool:
    """Whether a `forebay.v1.JobSpec` has images that a device decodes."""
    return any("device_decode" in field for field in cast("list[dict[str, Any]]", spec.get("fields", ())))


def names_of(spec: Mapping[str, Any], sizes: Sizes) -> list[str]:
    """Give the names of a tuple's parts as the daemon sends them."""
    names = [str(field["name"]) for field in spec["fields"]]
    return [part for name in names for part in ((name, name + SUFFIX) if name in sizes else (name,))]


def _size_of(field: Mapping[str, Any]) -> tuple[int, int]:
    name = field["name"]
    if field.get("views", 1) != 1:
        raise InvalidError(f"device_decode= with several views: field {name} has {field['views']}", hint=_OFF)
    if field.get("dtype", "DTYPE_UINT8") not in ("", "DTYPE_UINT8"):
        raise InvalidError(
            f"device_decode= needs uint8 of the daemon, and field {name} is to have floats from there",
            hint="leave cast='daemon' out, and put Normalize last: the device makes the floats",
        )
    for step in reversed(cast("list[dict[str, Any]]", field.get("transforms", ()))):
        for kind in ("center_crop", "random_resized_crop", "resize"):
            size = list(step.get(kind, {}).get("size", ()))
            if len(size) == 2 or (size and kind != "resize"):
                return int(size[0]), int(size[-1])
    raise InvalidError(
        f"device_decode= needs images of one size, and the transforms of field {name} say none",
        hint="end them with CenterCrop(224), RandomResizedCrop(224) or Resize([224, 224])",
    )


def undecoded(device: str, why: str, epoch: int, row: int, key: str) -> CorruptError:
    """Say which sample a device did not decode. `row`: its place in the epoch; `key`: empty where nobody knows."""
    return CorruptError(
        f"{device} does not decode a sample",
        causes=[why, f"at epoch {epoch}, row {row}"],
        hint="mend the file, or leave it out; without device_decode= the CPU's decoder judges it",
        object=key,
    )
