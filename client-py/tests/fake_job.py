"""What the fake daemon makes rows of: a spec over a folder, a list or records, and a pattern for each row."""

from __future__ import annotations

import array
import csv
import hashlib
import json
import random
from pathlib import Path
from typing import Any, Protocol

SIZES = {"UINT8": 1, "BOOL": 1, "UTF8": 1, "INT32": 4, "FLOAT32": 4, "INT64": 8, "FLOAT64": 8}
CODES = {"INT32": "i", "FLOAT32": "f", "INT64": "q", "FLOAT64": "d"}


class Script(Protocol):
    """How this instance misbehaves."""

    def __getitem__(self, name: str) -> Any: ...


class RefusedError(Exception):
    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.error = {"kind": f"ERROR_KIND_{kind}", "message": message, "hint": hint, "causes": ["fake"]}


class Job:
    """A resolved spec: a list of samples (dicts) and what becomes of their columns."""

    def __init__(self, spec: dict[str, Any], script: Script) -> None:
        self.spec, self.script = spec, script
        self.samples, self.classes = read_source(spec["sources"][0])
        if not self.samples:
            raise RefusedError("NOT_FOUND", "the data set is empty", "point it to a folder of class folders")
        order = spec.get("order", {})
        self.seed = int(order.get("seed", 0))
        self.shuffled = order.get("sampler") == "SAMPLER_SHUFFLED"
        self.fields = spec.get("fields") or [{"name": name, "column": name} for name in self.samples[0]]
        self.asked = self.fields
        self.tensors = [self.tensor(field) for field in self.fields]
        self.send_encoded()
        self.snapshot = digest([self.samples])
        self.order_digest = digest([self.snapshot, order])
        self.content_digest = digest([self.snapshot, self.fields, spec.get("on_bad_sample"), script["content"]])
        self.orders: dict[int, list[int]] = {}

    def tensor(self, field: dict[str, Any]) -> dict[str, Any]:
        column = field.get("column") or field["name"]
        values = [sample.get(column) for sample in self.samples]
        if values[0] is None:
            raise RefusedError("NOT_FOUND", f"no column {column}")
        name = field["name"]
        if field.get("decode") == "DECODE_IMAGE" or (column in ("image", "path") and isinstance(values[0], str)):
            side = [8, 8]
            for transform in field.get("transforms", []):
                for parameters in transform.values():
                    side = (parameters["size"] * 2)[:2] if "size" in parameters else side
            order = field.get("memory_order") or "MEMORY_ORDER_CHANNELS_LAST"
            return {
                "name": name,
                "dtype": field.get("dtype", "DTYPE_UINT8"),
                "dims": [3, *side],
                "memoryOrder": order,
                "image": True,
            }
        if isinstance(values[0], int):
            return {"name": name, "dtype": field.get("dtype", "DTYPE_INT64"), "dims": []}
        if isinstance(values[0], float):
            return {"name": name, "dtype": field.get("dtype", "DTYPE_FLOAT32"), "dims": []}
        if isinstance(values[0], list):
            return {"name": name, "dtype": "DTYPE_FLOAT32", "dims": [len(values[0])]}
        return {
            "name": name,
            "dtype": "DTYPE_UTF8",
            "dims": [max(len(str(value).encode()) for value in values)],
        }

    def send_encoded(self) -> None:
        """Make rows of room for a JPEG of images that a device decodes, and put the numbers of each behind them."""
        pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for field, tensor in zip(self.fields, self.tensors):
            pairs.append((field, tensor))
            if "device_decode" in field:
                sides, name = tensor["dims"][1:], tensor["name"]
                length = 3 * sides[0] * sides[1]
                most = field["device_decode"].get("max_bytes") or length
                rows = -(-max(length, most) // 64) * 64
                encoded = {"name": name, "dtype": "DTYPE_UINT8", "dims": [rows], "sides": sides, "max_bytes": most}
                numbers = {"name": f"{name}.decode", "dtype": "DTYPE_INT32", "dims": [16], "of": encoded}
                pairs[-1:] = [(field, encoded), (field, numbers)]
        self.fields, self.tensors = [field for field, _ in pairs], [tensor for _, tensor in pairs]

    def jpeg(self, epoch: int, row: int, field: dict[str, Any], tensor: dict[str, Any]) -> bytes | None:
        """The bytes that the device is to decode, of the rows whose turn it is."""
        path = Path(self.samples[self.sample(epoch, row)][field.get("column") or field["name"]])
        drawn = int(digest([self.seed, epoch, row, "DEVICE_DECODE"])[:8], 16) / 2**32
        if path.suffix != ".jpg" or drawn >= field["device_decode"]["ratio"]:
            return None
        data = path.read_bytes()
        return data if len(data) <= tensor["max_bytes"] else None

    def encoded_cell(self, epoch: int, row: int, index: int) -> bytes:
        """A row of room for a JPEG, or the numbers behind it: the whole image, resized to the batch's sides."""
        tensor, field = self.tensors[index], self.fields[index]
        data = self.jpeg(epoch, row, field, tensor.get("of", tensor))
        if "of" not in tensor:
            block = hashlib.blake2b(f"{self.seed}/{epoch}/{self.sample(epoch, row)}".encode()).digest() * 1000
            return (data or block[: 3 * tensor["sides"][0] * tensor["sides"][1]]).ljust(tensor["dims"][0], b"\xa5")
        numbers = [0] * 16
        if data is not None:
            width, height = sides_of(data)
            numbers = [1, len(data), width, height, 1, 0, 0, width, height, *tensor["of"]["sides"], 0, 0, 0, 3, 3]
        return array.array("i", numbers).tobytes()

    def sample(self, epoch: int, row: int) -> int:
        if epoch not in self.orders:
            indices = list(range(len(self.samples)))
            if self.shuffled:
                random.Random(f"{self.seed}/{epoch}").shuffle(indices)
            self.orders = {epoch: indices}
        return self.orders[epoch][row]

    def cell(self, epoch: int, row: int, index: int) -> bytes:
        """One row of one tensor: a pure function of (seed, epoch, sample, field)."""
        tensor, field = self.tensors[index], self.fields[index]
        sample = self.sample(epoch, row)
        length, kind = row_bytes(tensor), tensor["dtype"][6:]
        if "sides" in tensor or "of" in tensor:
            return self.encoded_cell(epoch, row, index)
        if tensor.get("image"):
            block = hashlib.blake2b(f"{self.seed}/{epoch}/{sample}/{tensor['name']}".encode()).digest()
            if kind == "FLOAT32":
                block = array.array("f", [byte / 255 for byte in block]).tobytes()
            return (block * (length // len(block) + 1))[:length]
        value = self.samples[sample][field.get("column") or field["name"]]
        if kind == "UTF8":
            return str(value).encode().ljust(length, b"\0")
        values = value if isinstance(value, list) else [value]
        return array.array(CODES[kind], [float(v) if CODES[kind] in "fd" else int(v) for v in values]).tobytes()

    def reply(self) -> dict[str, Any]:
        told = {} if self.script["parts"] is False else self.parts()
        return {
            **told,
            "jobId": self.spec.get("job_id") or "job-" + self.order_digest[:8],
            "snapshot": self.snapshot,
            "orderDigest": self.order_digest,
            "contentDigest": self.content_digest,
            "rows": str(len(self.samples)),
            "seed": str(self.seed),
            "orderVersion": 1,
            "tensors": [public(tensor) for tensor in self.tensors],
            "classes": self.classes,
        }

    def parts(self) -> dict[str, Any]:
        return {
            "orderParts": [part("sampler", "shuffled" if self.shuffled else "sequential")],
            "contentParts": [
                *(part(f"field {field['name']}", pieces(field)) for field in self.asked),
                part("on_bad_sample", str(self.spec.get("on_bad_sample", {}).get("policy"))),
            ],
        }


def sides_of(jpeg: bytes) -> tuple[int, int]:
    """Width and height, of the frame's header."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")


def part(name: str, text: str) -> dict[str, str]:
    return {"name": name, "value": f"{digest(text)[:8]} {text}"}


def pieces(field: dict[str, Any]) -> str:
    steps = [f"{name}({parameters.get('size')})" for t in field.get("transforms", []) for name, parameters in t.items()]
    steps += [f"device_decode({field['device_decode']})"] if "device_decode" in field else []
    return "; ".join([*steps, field.get("dtype", "value"), field.get("memory_order", "")])


def public(tensor: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tensor.items() if key not in ("image", "sides", "max_bytes", "of")}


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def row_bytes(tensor: dict[str, Any]) -> int:
    size = SIZES[tensor["dtype"][6:]]
    for dim in tensor["dims"]:
        size *= dim
    return size


def read_source(source: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    if "folder" in source:
        root = Path(source["folder"]["path"])
        if not root.is_dir():
            raise RefusedError("NOT_FOUND", f"list {root}", "check the path")
        classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        return [
            {"image": str(path), "label": label}
            for label, name in enumerate(classes)
            for path in sorted((root / name).iterdir())
        ], classes
    if "list" in source:
        path = Path(source["list"]["path"])
        if not path.exists():
            raise RefusedError("NOT_FOUND", f"open {path}", "check the path")
        if source["list"]["format"] == "LIST_FORMAT_CSV":
            return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(path.open())], []
        return [json.loads(line) for line in path.read_text().splitlines()], []
    if "records" in source:
        return [json.loads(line) for line in source["records"]["json_lines"].splitlines()], []
    raise RefusedError("UNIMPLEMENTED", "this source is not served")


def number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
