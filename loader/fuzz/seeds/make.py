"""Writes the seeds that are no text: `python make.py`, with Pillow. The others are written by hand.

JPEGs that Pillow does not write (4:1:1, 4:4:0, 4:4:1, arithmetic coding, YCCK, RGB with Adobe's marker, 12 bits, lossless) are
what `Written::encode` of `loader/daemon/tests/turbojpeg/` gives.

A seed's name says what its parser must answer: `ok-` accepted, `bad-` refused, `any-` as the build's decoder likes.
"""

from __future__ import annotations

import json
import shutil
import struct
import tarfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def picture(mode: str, width: int, height: int) -> Image.Image:
    """Slopes and an edge in every channel."""
    image = Image.new("RGB", (width, height))
    pixels = [((x * 7) % 256, (y * 5) % 256, 255 * ((x + y) % 9 < 4)) for y in range(height) for x in range(width)]
    image.putdata(pixels)
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Give the image's file."""
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpegs() -> dict[str, bytes]:
    """Give JPEGs of every sampling that is common, and broken ones."""
    colour = picture("RGB", 41, 27)
    sound = {
        "444": encoded(colour, "JPEG", subsampling=0),
        "422": encoded(colour, "JPEG", subsampling=1),
        "420": encoded(colour, "JPEG", subsampling=2),
        "grey": encoded(picture("L", 19, 33), "JPEG"),
        "cmyk": encoded(picture("CMYK", 17, 9), "JPEG"),
        "restarts": encoded(colour, "JPEG", subsampling=2, restart_marker_blocks=1),
        "progressive": encoded(colour, "JPEG", progressive=True),
        "own-tables": encoded(colour, "JPEG", optimize=True, comment=b"a comment"),
    }
    cut = sound["420"]
    return {
        **{f"{'any' if name == 'cmyk' else 'ok'}-{name}": data for name, data in sound.items()},
        "any-no-end-marker": cut[:-2],
        "bad-cut": cut[: len(cut) * 2 // 3],
        "bad-progressive-cut": sound["progressive"][:-40],
        "bad-header-alone": cut[:30],
    }


def chunk(name: bytes, data: bytes) -> bytes:
    """Frame data as a PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """Build a PNG by hand: types and filters that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def pngs() -> dict[str, bytes]:
    """Give PNGs of the colour types and depths, and broken ones."""
    sound = {f"{mode.lower()}-8x5": encoded(picture(mode, 8, 5), "PNG") for mode in ("L", "LA", "RGBA", "P", "1")}
    rows16 = b"".join(b"\0" + bytes(range(6 * 4)) for _ in range(3))
    sound["rgb16-4x3"] = png(4, 3, 16, 2, rows16)
    sound["filters-3x5"] = png(3, 5, 8, 2, b"".join(bytes([kind]) + bytes(range(9)) for kind in range(5)))
    palette = [chunk(b"PLTE", bytes(range(12))), chunk(b"tRNS", b"\0\x80")]
    sound["palette-2-bit-5x2"] = png(5, 2, 2, 3, b"\0\x1b\x00\0\xe4\xc0", *palette)
    sound["interlaced-9x9"] = interlaced()
    sound["rgb-3x2"] = encoded(picture("RGB", 3, 2), "PNG")
    sound["grey-1x64"] = encoded(picture("L", 1, 64), "PNG")
    whole = sound["filters-3x5"]
    return {
        **{f"ok-{name}": data for name, data in sound.items()},
        "bad-cut": whole[:-20],
        "bad-sides": whole[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + whole[24:],
        "bad-checksum": whole[:30] + b"\0\0" + whole[32:],
    }


def interlaced() -> bytes:
    """Build an Adam7 image: seven passes of 9 x 9 grey pixels, all of one value."""
    starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, across, down in starts:
        width, height = -(-(9 - left) // across), -(-(9 - top) // down)
        rows += (b"\0" + b"\x55" * width) * height
    header = struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def records() -> dict[str, bytes]:
    """Give the records that both sides of the wire are tested on; a control message is none of a session's."""
    golden = json.loads((ROOT / "client-py/tests/golden_wire.json").read_text())
    known = ("attach", "arena", "ready", "credit", "release", "seek")
    name = {key: ("ok-" if record["kind"] in known else "bad-") + key for key, record in golden.items()}
    return {name[key]: bytes.fromhex(record["hex"]) for key, record in golden.items()}


def field(number: int, data: bytes) -> bytes:
    """Encode a protobuf field of bytes, shorter than 128."""
    return bytes([number << 3 | 2, len(data)]) + data


def specs() -> dict[str, bytes]:
    """Give job specs in protobuf."""
    crop = field(3, field(1, b"\x08"))
    image = field(1, b"image") + field(2, b"path") + field(4, crop) + field(4, field(4, b""))
    label = field(1, b"label")
    seeded = b"\x08\x02\x10\x2a"
    return {
        "ok-protobuf": field(1, b"job-1")
        + field(3, image)
        + field(3, label)
        + field(4, seeded)
        + field(5, b"\x08\x02"),
        "bad-protobuf-cut": field(3, image)[:-3],
        "bad-protobuf-unknown-sampler": field(3, label) + field(4, b"\x08\x63"),
    }


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    """Give what numpy writes for an array."""
    out = BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def npys() -> dict[str, bytes]:
    """Give arrays of several types, orders and versions, and what is refused."""
    table = np.arange(6).reshape(2, 3)
    sound = npy(table.astype("<f4"))
    return {
        "ok-f4-2x3": sound,
        "ok-i2-big-endian-fortran": npy(np.asfortranarray(table.astype(">i2")), (2, 0)),
        "ok-bool-scalar": npy(np.array(True), (3, 0)),
        "ok-f8-empty": npy(np.zeros((0, 3))),
        "ok-u1-4-dims": npy(np.asfortranarray(np.arange(24, dtype="u1").reshape(2, 3, 2, 2))),
        "bad-cut": sound[:-1],
        "bad-behind": sound + b"\0",
        "bad-objects": npy(np.array([None])),
        "bad-fields": npy(np.zeros(2, [("a", "<f4")])),
        "bad-text": npy(np.array(["text"])),
        "bad-call": sound.replace(b"'<f4'", b"f( 4)"),
    }


def npzs() -> dict[str, bytes]:
    """Give archives, stored and deflated, and broken ones."""
    table = np.arange(200, dtype="<i4").reshape(20, 10)
    made = {}
    for name, save, arrays in [
        ("ok-stored", np.savez, {"x": table}),
        ("ok-deflated", np.savez_compressed, {"x": table}),
        ("ok-deflated-fortran", np.savez_compressed, {"x": np.asfortranarray(table)}),
        ("ok-two", np.savez_compressed, {"x": table, "y": table[:2]}),
        ("bad-no-x", np.savez, {"a": table, "b": table}),
        ("bad-nothing", np.savez, {}),
    ]:
        out = BytesIO()
        save(out, **arrays)
        made[name] = out.getvalue()
    deflated = made["ok-deflated"]
    changed = bytearray(deflated)
    changed[120] ^= 0x10
    bzip2 = BytesIO()
    with zipfile.ZipFile(bzip2, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", npy(table))
    return {
        **made,
        "bad-cut": deflated[:-1],
        "bad-changed": bytes(changed),
        "bad-bzip2": bzip2.getvalue(),
    }


def tar(members: dict[str, bytes], form: int = tarfile.USTAR_FORMAT, headers: dict[str, str] | None = None) -> bytes:
    """Give an archive of one program's kind, with `headers` for all members."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=headers) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
    data = out.getvalue().rstrip(b"\0")  # programs fill up to 10 KiB; two empty blocks are enough of an end
    return data + bytes(-len(data) % 512 + 1024)


def tars() -> dict[str, bytes]:
    """Give archives with samples, and broken ones."""
    sample = {"a/1.jpg": b"\xff\xd8 image", "a/1.cls": b"3", "a/1.txt": "größer".encode()}
    both = {**sample, "a/2.PNG": b"\x89PNG", "a/2.cls": b"4", "a/2.txt": b""}
    long = {f"{'long/' * 30}{name}": data for name, data in sample.items()}
    plain = tar(both)
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "a/1.jpg"
    sparse = bytearray(plain)
    sparse[156] = ord("S")
    sparse[148:156] = b"%06o\0 " % (sum(sparse[:148]) + 8 * 32 + sum(sparse[156:512]))
    return {
        "ok-ustar": plain,
        "ok-gnu-long": tar(long, tarfile.GNU_FORMAT),
        "ok-pax-long": tar(long, tarfile.PAX_FORMAT),
        "ok-pax-global": tar(both, tarfile.PAX_FORMAT, {"comment": "by hand"}),
        "ok-links": link.tobuf(tarfile.USTAR_FORMAT) + plain,
        "ok-names-as-classes": tar({"1.jpg": b"", "1.cls": b"dog", "2.jpg": b"", "2.cls": b"cat"}),
        "bad-cut": plain[: len(plain) // 2],
        "bad-no-end": plain[:-1024],
        "bad-checksum": plain[:5] + b"x" + plain[6:],
        "bad-gzip": zlib.compress(plain, wbits=31),
        "bad-joined": plain + plain,
        "bad-sparse": bytes(sparse),
        "bad-same-key": tar({"1.jpg": b"", "2.jpg": b""})[:1024] + tar({"1.jpg": b""}),
        "bad-no-samples": tar({"README": b"nothing"}),
    }


def crc32c(data: bytes) -> int:
    """Give TensorFlow's masked checksum, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def tfrecord(*datas: bytes) -> bytes:
    """Frame records."""
    framed = b""
    for data in datas:
        length = struct.pack("<Q", len(data))
        framed += length + struct.pack("<I", crc32c(length)) + data + struct.pack("<I", crc32c(data))
    return framed


def example(**lists: bytes) -> bytes:
    """Encode a tf.train.Example: name -> its list, in short."""
    return field(1, b"".join(field(1, field(1, name.encode()) + field(2, values)) for name, values in lists.items()))


def tfrecords() -> dict[str, bytes]:
    """Give files of examples, and broken ones."""
    image, label = field(1, field(1, b"\xff\xd8 image")), field(3, field(1, b"\x07"))
    number, box = field(2, field(1, struct.pack("<f", 0.5))), field(2, field(1, struct.pack("<4f", 0, 1, 2, 3)))
    whole = example(image=image, label=label, score=number, box=box, name=field(1, field(1, b"one")))
    return {
        "ok-every-list": tfrecord(whole, whole),
        "ok-not-packed": tfrecord(example(label=field(3, b"\x08\x07"), score=field(2, b"\x0d\0\0\0\x3f"))),
        "ok-nothing-in-it": tfrecord(b""),
        "bad-cut": tfrecord(whole, whole)[:-5],
        "bad-length": b"\x01" + tfrecord(whole)[1:],
        "bad-sequence": tfrecord(whole + field(2, b"")),
        "bad-message": tfrecord(whole[:-3]),
        "bad-gzip": zlib.compress(tfrecord(whole), wbits=31),
    }


def pages(name: str) -> bytes:
    """Give the pages of a fixture's first row group, and before them what its footer says of them."""
    file = ROOT / f"loader/daemon/src/container/parquet/fixtures/{name}.parquet"
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    first = column.dictionary_page_offset or column.data_page_offset
    codec = ["UNCOMPRESSED", "SNAPPY", "ZSTD"].index(column.compression)
    has_no_nulls = bool(column.statistics and column.statistics.null_count == 0)
    rows = 40 if name.startswith("duckdb") else 25
    return bytes([codec, 1, rows, has_no_nulls]) + file.read_bytes()[first : first + column.total_compressed_size]


def parquet_pages() -> dict[str, bytes]:
    """Give pages of every way to store them that is read, and broken ones."""
    names = ["arrow-plain", "arrow-dictionary", "arrow-snappy", "arrow-snappy-nulls", "duckdb-plain", "duckdb-snappy"]
    names += ["arrow-plain-v2-nulls", "arrow-zstd-v2-nulls"]
    sound = {name: pages(name) for name in names}
    snappy, plain = sound["arrow-snappy-nulls"], sound["arrow-plain"]
    return {
        **{f"ok-{name}": data for name, data in sound.items()},
        "bad-cut": snappy[:-1],
        "bad-too-many-rows": plain[:2] + b"\x03" + plain[3:],
        "bad-other-codec": b"\x02" + snappy[1:],
        "bad-no-dictionary": b"\0\x01\x19\x01" + pages("arrow-dictionary")[900:],
    }


def write(folder: str, seeds: dict[str, bytes], suffix: str) -> None:
    """Write seeds into their target's folder."""
    for name, data in seeds.items():
        (HERE / folder / f"{name}{suffix}").write_bytes(data)


write("jpeg", jpegs(), ".jpg")
write("png", pngs(), ".png")
write("npy", npys(), ".npy")
write("npz", npzs(), ".npz")
write("parquet_pages", parquet_pages(), ".bin")
write("record", records(), ".bin")
write("spec", specs(), ".pb")
write("tar", tars(), ".tar")
write("tfrecord", tfrecords(), ".tfrecord")
fixtures = ROOT / "loader/daemon/src/catalog/tests/fixtures"
for accepted, name in [
    ("ok", "pandas"),
    ("bad", "ragged"),
    ("bad", "odd"),
    ("bad", "null_inside"),
    ("bad", "unsigned"),
    ("bad", "empty"),
]:
    shutil.copy(fixtures / f"{name}.parquet", HERE / "parquet" / f"{accepted}-{name}.parquet")
