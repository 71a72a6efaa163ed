"""What a person writes becomes the proto's JobSpec, or a clear error."""

from __future__ import annotations

import enum
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay
from forebay import transforms as t
from forebay._mixture import origins_of
from forebay._spec import as_source, build
from forebay.errors import ForebayError, InvalidError, from_wire


def spec_of(data: Any, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "fields": None, "transform": None, "dtype": None, "views": None,
        "memory_order": "MEMORY_ORDER_CHANNELS_LAST",
        "order": {"sampler": "SAMPLER_SHUFFLED", "seed": str(2**63)}, "on_bad_sample": "mask",
        "bad_sample_budget": 3, "job_id": "run-1",
    }  # fmt: skip
    return build(origins_of(data), **{**arguments, **changes})[0]


def test_a_folder_becomes_image_and_label(tmp_path: Path) -> None:
    assert spec_of(tmp_path, transform=[t.RandomResizedCrop(224), t.Normalize()]) == {
        "job_id": "run-1",
        "sources": [{"folder": {"path": str(tmp_path), "extensions": []}}],
        "fields": [
            {
                "name": "image",
                "column": "image",
                "decode": "DECODE_IMAGE",
                "transforms": [
                    {"random_resized_crop": {"size": [224], "scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3]}},
                    {"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
                ],
                "dtype": "DTYPE_FLOAT32",
                "memory_order": "MEMORY_ORDER_CHANNELS_LAST",
            },
            {"name": "label", "column": "label", "decode": "DECODE_VALUE"},
        ],
        "order": {"sampler": "SAMPLER_SHUFFLED", "seed": "9223372036854775808"},
        "on_bad_sample": {"policy": "BAD_SAMPLE_POLICY_MASK", "budget_count": "3"},
    }


def test_views_belong_to_an_image_or_to_a_folders_images(tmp_path: Path) -> None:
    crop = [t.RandomResizedCrop(8)]
    assert spec_of(tmp_path, transform=crop, views=2)["fields"][0]["views"] == 2
    assert spec_of(tmp_path, transform=crop, views=1) == spec_of(tmp_path, transform=crop)
    fields = {"image": forebay.Image("path", crop, views=16), "label": forebay.Value()}
    assert spec_of(tmp_path / "x.csv", fields=fields)["fields"][0]["views"] == 16
    for wrong in (0, 17, -1, 1.5, True, "2"):
        for make in (lambda views: forebay.Image(views=views), lambda views: spec_of(tmp_path, views=views)):
            with pytest.raises(InvalidError, match=r"views=.*from 1 to 16"):
                make(wrong)
    with pytest.raises(InvalidError, match=r"views=.*belong to the fields"):
        spec_of(tmp_path, fields=fields, views=2)
    with pytest.raises(InvalidError, match=r"views=.*need to know .*\n.*fields=\{'image': forebay.Image"):
        spec_of(tmp_path / "x.csv", views=2)
    with pytest.raises(TypeError, match="views"):
        forebay.Value(views=2)  # type: ignore[call-arg]


def test_sources_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "list.csv").touch()
    (tmp_path / "other.txt").touch()
    assert isinstance(as_source(str(tmp_path)), forebay.Folder)
    assert isinstance(as_source(tmp_path / "list.csv"), forebay.List)
    assert isinstance(as_source(tmp_path / "list.parquet"), forebay.List)
    assert isinstance(as_source([{"a": 1}]), forebay.Records)
    for wrong, message in (
        (tmp_path / "other.txt", "is a file"),
        (3, "of type int"),
        ([1, 2], "of type list"),
        ({"a": "/data/a", "b": "/data/b"}, r"forebay.Mixture\("),
    ):
        with pytest.raises(InvalidError, match=message):
            as_source(wrong)
    with pytest.raises(InvalidError, match="the list of records is empty"):
        spec_of([])


def test_lists_name_their_columns(tmp_path: Path) -> None:
    columns: Any = {"path": "path", "tags": ("multi_hot", 80), "w": forebay.Column("weight")}
    listed = forebay.List(tmp_path / "x.jsonl", root="/data", columns=columns).to_spec()["list"]
    assert listed == {
        "path": str(tmp_path / "x.jsonl"),
        "format": "LIST_FORMAT_JSONL",
        "root": "/data",
        "columns": [
            {"name": "path", "kind": "COLUMN_KIND_PATH", "size": 0},
            {"name": "tags", "kind": "COLUMN_KIND_MULTI_HOT", "size": 80},
            {"name": "w", "kind": "COLUMN_KIND_WEIGHT", "size": 0},
        ],
    }
    assert forebay.List("x.dat", format="csv").to_spec()["list"]["format"] == "LIST_FORMAT_CSV"
    with pytest.raises(InvalidError, match="CSV, JSON Lines or Parquet"):
        forebay.List("x.dat").to_spec()
    with pytest.raises(InvalidError, match="column kind 'number'"):
        forebay.Column("number")


def test_records_may_hold_paths_and_numpy_values() -> None:
    rows = [{"path": Path("a.png"), "n": np.int64(3), "v": np.ones(2, np.float32), "t": "é"}]
    lines = forebay.Records(rows, root="/r").to_spec()["records"]["json_lines"]
    assert json.loads(lines) == {"path": "a.png", "n": 3, "v": [1.0, 1.0], "t": "é"}
    for wrong in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(InvalidError, match="record 1 cannot be sent"):
            spec_of([{"x": 1}, wrong])


def test_a_transform_of_a_list_needs_its_field(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"fields=\{'image': forebay.Image\(column='path'"):
        spec_of(tmp_path / "x.csv", transform=[t.Resize(8)])


@pytest.mark.parametrize(("chain", "dtype", "wanted"), [
    ([], None, "UINT8"), ([t.ToTensor()], None, "FLOAT32"),
    ([t.ToDtype("float32"), t.Normalize()], None, "FLOAT32"),
    ([t.Normalize()], None, "FLOAT32"), ([t.ToDtype("uint8")], None, "UINT8"), ([], "float32", "FLOAT32"),
    ([t.ToDtype("bfloat16"), t.Normalize()], None, "BFLOAT16"), ([t.Normalize()], "float16", "FLOAT16"),
    (t.Resize(8), np.float16, "FLOAT16"), ([], "torch.bfloat16", "BFLOAT16"),
    (t.Resize(8), np.float32, "FLOAT32"), ([t.ToDtype("uint8"), t.Normalize()], None, "FLOAT32"),
])  # fmt: skip
def test_the_dtype_follows_the_transforms(tmp_path: Path, chain: Any, dtype: Any, wanted: str) -> None:
    assert spec_of(tmp_path, transform=chain, dtype=dtype)["fields"][0]["dtype"] == f"DTYPE_{wanted}"


@pytest.mark.parametrize(("make", "message"), [
    (lambda: t.Resize(0), "Resize"), (lambda: t.Resize((1, 2, 3)), "Resize"),
    (lambda: t.Resize("8"), "Resize"),
    (lambda: t.CenterCrop(2.5), "CenterCrop"), (lambda: t.CenterCrop(True), "CenterCrop"),
    (lambda: t.CenterCrop(70_000), "65535"), (lambda: t.RandomResizedCrop(8, scale=(0.5, 0.1)), "scale="),
    (lambda: t.RandomResizedCrop(8, scale=(0.5, 2)), "<= 1"),
    (lambda: t.RandomResizedCrop(8, ratio=3), "ratio="),
    (lambda: t.RandomHorizontalFlip(1.5), "probability"), (lambda: t.RandomHorizontalFlip("x"), "p='x'"),
    (lambda: t.Normalize(mean=[0.5]), "mean="), (lambda: t.Normalize(std=(0, 1, 1)), "greater than 0"),
    (lambda: t.Normalize(mean=0.5), "mean="), (lambda: t.ToDtype("int64"), "uint8 or float32"),
    (lambda: t.ToDtype("float32", scale=False), "scale=True"),
    (lambda: t.ToDtype("float16", scale=False), "scale=True"),
])  # fmt: skip
def test_a_wrong_transform_is_refused_when_it_is_made(make: Any, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        make()


class Mode(enum.Enum):
    """As torchvision's InterpolationMode."""

    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


def test_a_filter_is_told_where_it_is_not_the_default() -> None:
    assert t.Resize(8, interpolation="bilinear", antialias=True).to_spec() == t.Resize(8).to_spec()
    assert t.Resize(8).to_spec() == {"resize": {"size": [8]}}
    cubic = {"size": [8], "interpolation": "INTERPOLATION_BICUBIC", "antialias": False}
    assert t.Resize(8, Mode.BICUBIC, False).to_spec() == {"resize": cubic}
    assert t.Resize(8, Mode.BICUBIC) == t.Resize(8, interpolation="bicubic")
    crop = t.RandomResizedCrop(8, interpolation="nearest-exact", antialias=False)
    assert crop.to_spec()["random_resized_crop"]["interpolation"] == "INTERPOLATION_NEAREST_EXACT"
    assert "antialias" not in crop.to_spec()["random_resized_crop"]
    with pytest.raises(InvalidError, match=r"Resize\(interpolation='lanczos'\) is not served") as refused:
        t.Resize(8, Mode.LANCZOS)
    assert "nearest-exact" in str(refused.value)
    with pytest.raises(InvalidError, match="True or False"):
        t.RandomResizedCrop(8, antialias="warn")


def test_transforms_are_values() -> None:
    assert t.Resize([8, 9]) == t.Resize((8, 9))
    assert hash(t.Normalize()) == hash(t.Normalize())
    with pytest.raises(AttributeError):
        t.Resize(8).size = 9  # type: ignore[misc]
    assert t.RandomHorizontalFlip(0).to_spec() == {"random_horizontal_flip": {"p": 0.0}}


KINDS = {"INVALID": ValueError, "NOT_FOUND": FileNotFoundError, "UNAVAILABLE": ConnectionError,
         "CORRUPT": ValueError, "INTERNAL": RuntimeError, "UNIMPLEMENTED": NotImplementedError,
         "DENIED": PermissionError, "CHANGED": RuntimeError, "SOMETHING_NEW": RuntimeError}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_errors_have_a_natural_class_and_print_message_causes_and_hint(kind: str) -> None:
    wire = {
        "kind": f"ERROR_KIND_{kind}",
        "message": "open /d",
        "causes": ["a", "b"],
        "hint": "do",
        "object": "x.jpg",
    }
    error = from_wire(wire)
    assert isinstance(error, (ForebayError, KINDS[kind]))
    assert isinstance(error, KINDS[kind])
    assert str(error) == "open /d: a: b [x.jpg]\nhint: do"
    assert error.kind == (kind.lower() if kind != "SOMETHING_NEW" else "internal")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


def test_paths_that_end_as_shards_become_shards(tmp_path: Path) -> None:
    pattern = str(tmp_path / "x-{000..127}.tar")
    assert as_source(pattern).to_spec() == {"shards": {"paths": [pattern]}}
    assert as_source(Path(pattern)).to_spec() == {"shards": {"paths": [pattern]}}
    records = [str(tmp_path / "a.tfrecord"), tmp_path / "b.TFRECORDS"]
    assert as_source(records).to_spec() == {"shards": {"paths": [str(path) for path in records]}}
    named = forebay.Shards(tmp_path / "x-*-of-01024", format="tfrecord")
    assert as_source(named).to_spec()["shards"]["format"] == "SHARD_FORMAT_TFRECORD"
    # Sent on, so that the daemon can say what is wrong with it.
    assert as_source(str(tmp_path / "x.tar.gz")).to_spec()["shards"]["format"] == "SHARD_FORMAT_TAR"
    spec = spec_of(pattern, transform=[t.CenterCrop(8)])
    assert [field["name"] for field in spec["fields"]] == ["image", "label"]
    (tmp_path / "folder.tar").mkdir()
    assert isinstance(as_source(tmp_path / "folder.tar"), forebay.Folder)
    wrong: Any
    for wrong in ([], [3], [pattern, 3]):
        with pytest.raises(InvalidError, match="one path or a list of paths"):
            forebay.Shards(wrong)
    with pytest.raises(InvalidError, match="format='zip'"):
        forebay.Shards(pattern, format="zip")
