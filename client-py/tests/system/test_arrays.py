"""Arrays that numpy saved, through the real daemon: equal to numpy.load over types, orders, versions and archives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt
import pytest

import forebay
from forebay.errors import CorruptError, InvalidError
from forebay.numpy import DataLoader

AnyArray = npt.NDArray[Any]
DTYPES = ["bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
SHAPES: list[tuple[int, ...]] = [(), (7,), (3, 5), (40, 70), (2, 3, 4), (2, 1, 3, 2, 2, 1, 3)]


def numbers(shape: tuple[int, ...], dtype: str, start: int = 0) -> AnyArray:
    """Give an array whose elements all differ, as far as their type can."""
    count = int(np.prod(shape))
    if dtype == "bool":
        return (np.arange(start, start + count) % 3 == 0).reshape(shape)
    return np.arange(start, start + count).astype("int64").astype(dtype).reshape(shape)


def saved(array: AnyArray, version: tuple[int, int] = (1, 0)) -> bytes:
    """Give what numpy writes for an array, in any version of the format."""
    out = io.BytesIO()
    npy.write_array(out, array, version=version, allow_pickle=False)
    return out.getvalue()


def files(root: Path, contents: list[bytes], suffix: str) -> forebay.Records:
    """Write files, and give the list of them."""
    root.mkdir(exist_ok=True)
    rows = []
    for index, content in enumerate(contents):
        (root / f"{index:03}{suffix}").write_bytes(content)
        rows.append({"path": f"{index:03}{suffix}"})
    return forebay.Records(rows, root=root, columns={"path": "path"})


def taken(data: Any, field: forebay.Array, rows: int) -> AnyArray:
    """Give the one batch that there is."""
    with DataLoader(data, rows, fields={"x": field}) as loader:
        return next(iter(loader))["x"].copy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_order_version_and_archive_is_what_numpy_loads(dtype: str, tmp_path: Path) -> None:
    for number, shape in enumerate(SHAPES):
        plain = numbers(shape, dtype)
        swapped = plain.astype(plain.dtype.newbyteorder(">"))
        orders = [plain, np.array(plain, order="F"), swapped, np.array(swapped, order="F")]
        contents = [saved(array, version) for array in orders for version in ((1, 0), (2, 0), (3, 0))]
        for save in (np.savez, np.savez_compressed):
            for array in orders:
                save(tmp_path / "one.npz", array)
                contents.append((tmp_path / "one.npz").read_bytes())
        data = files(tmp_path / str(number), contents, ".any")
        loaded = np.stack([load(content) for content in contents])
        for field in (forebay.Array("path"), forebay.Array("path", shape=shape, dtype=dtype)):
            found = taken(data, field, len(contents))
            assert found.dtype == np.dtype(dtype).newbyteorder("<")
            assert found.shape == (len(contents), *shape)
            assert np.array_equal(found, loaded)


def load(content: bytes) -> AnyArray:
    """Give what numpy reads."""
    found = np.load(io.BytesIO(content))
    return found if isinstance(found, np.ndarray) else found["arr_0"]


def test_members_of_archives_come_by_name_as_several_fields(tmp_path: Path) -> None:
    scans = [numbers((4, 6, 5), "float32", 100 * index) for index in range(3)]
    masks = [numbers((4, 6, 5), "uint8", index) for index in range(3)]
    contents = []
    for scan, mask in zip(scans, masks):
        out = io.BytesIO()
        np.savez_compressed(out, x=scan, y=np.asfortranarray(mask), name="case")
        contents.append(out.getvalue())
    data = files(tmp_path, contents, ".npz")
    fields = {"scan": forebay.Array("path", member="x"), "mask": forebay.Array("path", member="y.npy")}
    with DataLoader(data, 3, fields=fields) as loader:
        batch = next(iter(loader))
        assert np.array_equal(batch["scan"], scans)
        assert np.array_equal(batch["mask"], masks)
    for member, says in (("", "several members: x, y, name"), ("z", 'no member "z"; there are x, y, name')):
        with pytest.raises(CorruptError, match=says):
            taken(data, forebay.Array("path", member=member), 3)


def test_an_array_of_200_megabytes_goes_through(tmp_path: Path) -> None:
    scan = np.arange(50_000_000, dtype="<i4").reshape(500, 400, 250)
    out = io.BytesIO()
    np.savez(out, x=scan)
    data = files(tmp_path, [out.getvalue()], ".npz")
    del out
    fields = {"x": forebay.Array("path", member="x")}
    with DataLoader(data, 1, fields=fields, prefetch=1, max_leases=1) as loader:
        assert np.array_equal(next(iter(loader))["x"][0], scan)


def test_parts_of_one_file_are_arrays_too(tmp_path: Path) -> None:
    arrays = [numbers((3,), "int64", 10 * index) for index in range(4)]
    packed = [saved(array) for array in arrays]
    (tmp_path / "all.bin").write_bytes(b"".join(packed))
    rows = [
        {"path": "all.bin", "path.offset": index * len(packed[0]), "path.length": len(packed[0]), "key": str(index)}
        for index in range(4)
    ]
    columns = {"path": "path", "path.offset": "int", "path.length": "int", "key": "text"}
    data = forebay.Records(rows, root=tmp_path, columns=columns)
    assert np.array_equal(taken(data, forebay.Array("path"), 4), arrays)


def test_another_type_or_shape_is_corrupt_and_names_both(tmp_path: Path) -> None:
    contents = [saved(numbers((2, 3), "float32")), saved(numbers((3, 2), "float32")), saved(numbers((2, 3), "float64"))]
    data = files(tmp_path, contents, ".npy")
    with pytest.raises(CorruptError, match=r"float32 \(3, 2\), the field takes float32 \(2, 3\)") as info:
        taken(data, forebay.Array("path"), 3)
    assert "001.npy" in str(info.value)
    with DataLoader(data, 3, fields={"x": forebay.Array("path")}, on_bad_sample="mask") as loader:
        batch = next(iter(loader))
    assert batch["valid"].tolist() == [1, 0, 0]
    assert not batch["x"][1:].any()


def test_nothing_that_pickle_reads_is_read(tmp_path: Path) -> None:
    for number, array in enumerate((np.array([{}, None]), np.array([(1, None)], [("a", "<i4"), ("b", object)]))):
        out = io.BytesIO()
        npy.write_array(out, array, allow_pickle=True)
        data = files(tmp_path / str(number), [out.getvalue()], ".npy")
        with pytest.raises(CorruptError, match="Python objects is refused"):
            taken(data, forebay.Array("path", shape=(2,), dtype="int64"), 1)
        with pytest.raises(CorruptError, match="Python objects is refused"):
            taken(data, forebay.Array("path"), 1)
    for number, array in enumerate((np.array(["text"]), np.array([1j]), np.array([1], "uint64"))):
        data = files(tmp_path / f"odd{number}", [saved(array)], ".npy")
        with pytest.raises(CorruptError, match="are not supported"):
            taken(data, forebay.Array("path"), 1)


def test_archives_that_are_damaged_or_compressed_in_other_ways_are_named(tmp_path: Path) -> None:
    file = saved(numbers((64,), "float32"))
    for method, says in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("x.npy", file)
        data = files(tmp_path / says, [out.getvalue()], ".npz")
        with pytest.raises(CorruptError, match=f"npz with {says} is not supported"):
            taken(data, forebay.Array("path"), 1)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.npy", file)
    changed = bytearray(out.getvalue())
    changed[changed.index(b"NUMPY") + len(file) - 40] ^= 1
    data = files(tmp_path / "changed", [bytes(changed)], ".npz")
    with pytest.raises(CorruptError, match="has not the checksum"):
        taken(data, forebay.Array("path", shape=(64,), dtype="float32"), 1)


def test_what_is_no_shape_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    for arguments, says in (
        ({"shape": (3,)}, "go together"),
        ({"dtype": "float32"}, "go together"),
        ({"shape": 3, "dtype": "float32"}, "shape=3: a tuple"),
        ({"shape": (1,) * 8, "dtype": "float32"}, "at most 7"),
        ({"shape": (0,), "dtype": "float32"}, "shape=0"),
        ({"shape": (3,), "dtype": "bfloat16"}, "bfloat16"),
        ({"shape": (3,), "dtype": "complex64"}, "complex64"),
    ):
        with pytest.raises(InvalidError, match=says):
            forebay.Array("path", **arguments)  # type: ignore[arg-type]
    data = files(tmp_path, [saved(numbers((0, 3), "float32"))], ".npy")
    with pytest.raises(InvalidError, match="none of them 0"):
        taken(data, forebay.Array("path"), 1)
