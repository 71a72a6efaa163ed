"""Clips through the real daemon: folders of frames, which of them a row has, and one draw for all of a clip's."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay
from forebay.errors import CorruptError, InvalidError, StateError, UnavailableError
from forebay.numpy import DataLoader
from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop, Resize

from .batches import batch_digest, stream
from .support import REAL, Node

CROPS = [RandomResizedCrop((6, 9)), RandomHorizontalFlip()]
WHOLE = [Resize((16, 16))]
# How many frames clip n has.
LENGTHS = [20 + index % 7 for index in range(24)]


def pixels(clip: int, frame: int, side: int = 16) -> Any:
    """Make a frame, `(side, side, 3)` uint8, unlike every other."""
    y, x, c = np.mgrid[:side, :side, :3]
    made = ((clip * 31 + frame * 7 + x * 5 + y * 3 + c * 50) % 256).astype(np.uint8)
    made[0, 0] = clip, frame, 0
    return made


def write_frame(path: Path, made: Any) -> None:
    """Write it as a PNG."""
    height, width, _ = made.shape
    rows = b"".join(b"\0" + row.tobytes() for row in made)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts))


def write_clip(folder: Path, clip: int, frames: int) -> None:
    folder.mkdir(parents=True)
    for frame in range(frames):
        write_frame(folder / f"{frame + 1:06}.png", pixels(clip, frame))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """24 clips of 20 to 26 frames in three classes; clip n is number n in their order."""
    for clip, frames in enumerate(LENGTHS):
        write_clip(tmp_path / "videos" / "abc"[clip // 8] / f"clip{clip:02}", clip, frames)
    return tmp_path / "videos"


def fields_of(transform: Any = CROPS, frames: int = 4, **settings: Any) -> dict[str, Any]:
    return {"clip": forebay.Clip(frames=frames, transform=transform, **settings), "label": forebay.Value()}


def loader_of(videos: Path, fields: dict[str, Any] | None = None, **arguments: Any) -> DataLoader:
    settings: dict[str, Any] = {"batch_size": 6, "shuffle": True, "seed": 3, "fields": fields or fields_of()}
    return DataLoader(forebay.Frames(videos), **{**settings, **arguments})


def starts_of(videos: Path, start: str, stride: int = 3, **arguments: Any) -> list[tuple[int, int]]:
    """Check every frame of an epoch; give each row's clip and its first frame."""
    known = {pixels(clip, frame).tobytes(): (clip, frame) for clip, n in enumerate(LENGTHS) for frame in range(n)}
    taken: list[tuple[int, int]] = []
    with loader_of(videos, fields_of(WHOLE, start=start, stride=stride), **arguments) as loader:
        for batch in loader:
            assert batch["clip"].shape == (len(batch["label"]), 4, 16, 16, 3)
            for row, label in zip(batch["clip"], batch["label"]):
                found = [known[frame.tobytes()] for frame in row]
                clip, first = found[0]
                assert found == [(clip, first + stride * nth) for nth in range(4)]
                assert label == clip // 8
                taken.append((clip, first))
    return taken


def test_a_row_is_frames_a_stride_apart_of_a_clip_and_its_class(videos: Path) -> None:
    first = starts_of(videos, "first")
    assert sorted(first) == [(clip, 0) for clip in range(24)]
    assert sorted(starts_of(videos, "center")) == [(clip, (n - 10) // 2) for clip, n in enumerate(LENGTHS)]
    drawn = starts_of(videos, "random")
    assert [clip for clip, _ in drawn] == [clip for clip, _ in first], "the order is that of the clips"
    assert len({start for _, start in drawn}) > 5
    assert starts_of(videos, "random") == drawn
    assert starts_of(videos, "random", seed=4) != drawn


def test_torch_gets_frames_channels_and_sides_and_a_loader_knows_its_classes(videos: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from forebay.torch import DataLoader as TorchLoader

    fields = fields_of([*CROPS, Normalize()])
    with TorchLoader(forebay.Frames(videos), batch_size=6, shuffle=True, fields=fields) as loader:
        clips = next(iter(loader))["clip"]
        assert (clips.shape, clips.dtype, loader.classes) == ((6, 4, 3, 6, 9), torch.float32, ["a", "b", "c"])
        assert clips.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_every_frame_of_a_clip_has_torchvisions_pixels_with_the_same_parameters(videos: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    functional = pytest.importorskip(
        "torchvision.transforms.v2.functional", reason="torchvision is not installed: parity is not checked"
    )
    rows = [
        {"clip": f"{'abc'[n // 8]}/clip{n:02}", "clip.frames": f"{{000001..{LENGTHS[n]:06}}}.png", "number": n}
        for n in range(24)
    ]
    for row in rows:
        row["first_path"] = f"{row['clip']}/000001.png"
    # An image of the same sample shares the draw, and says what it was.
    fields: dict[str, Any] = {
        "clip": forebay.Clip(frames=4, stride=2, start="first", transform=CROPS),
        "image": forebay.Image("first_path", transform=CROPS),
        "number": forebay.Value(),
    }
    flips = set()
    with DataLoader(forebay.Records(rows, root=videos), batch_size=24, shuffle=True, seed=3, fields=fields) as loader:
        batch = next(iter(loader))
        drawn = [row.images[0] for row in loader.show(24, epoch=0).rows]
    for clip, image, number, cut in zip(batch["clip"], batch["image"], batch["number"], drawn):
        assert np.array_equal(clip[0], image)
        flips.add(cut.flip)
        for nth, got in enumerate(clip):
            frame = torch.from_numpy(pixels(int(number), 2 * nth)).permute(2, 0, 1)
            left, top, width, height = cut.taken.left, cut.taken.top, cut.taken.width, cut.taken.height
            want = functional.resized_crop(frame, top, left, height, width, [6, 9], antialias=True)
            want = functional.horizontal_flip(want) if cut.flip else want
            gap = np.abs(got.astype(int) - want.permute(1, 2, 0).numpy().astype(int))
            assert gap.max() <= 1, "the stated tolerance of the resize, in levels of 255"
    assert flips == {True, False}


def test_a_short_clip_repeats_its_last_frame_or_is_corrupt(videos: Path) -> None:
    write_clip(videos / "b" / "clip99", 99, 3)
    with loader_of(videos, fields_of(WHOLE, 4, stride=2), batch_size=25, shuffle=False) as loader:
        short = next(iter(loader))["clip"][16]
    assert [frame.tobytes() for frame in short] == [pixels(99, frame).tobytes() for frame in (0, 2, 2, 2)]
    strict = fields_of(WHOLE, 4, on_short="error")
    with loader_of(videos, strict, batch_size=25, on_bad_sample="mask") as loader:
        batch = next(iter(loader))
        assert [row.any() for row in batch["clip"]] == loader.valid.astype(bool).tolist()
        assert loader.valid.sum() == 24
    with loader_of(videos, strict, batch_size=25) as loader, pytest.raises(CorruptError) as info:
        list(loader)
    assert "b/clip99" in str(info.value)
    assert "the clip has 3 frames, a row takes 4" in str(info.value)


@pytest.mark.parametrize("policy", ["fail", "mask", "substitute"])
def test_a_corrupt_frame_makes_its_clip_what_the_policy_says(videos: Path, policy: str) -> None:
    (videos / "a" / "clip05" / "000003.png").write_bytes(b"no image")
    fields = fields_of(WHOLE, start="first")
    with loader_of(videos, fields, batch_size=24, shuffle=False, on_bad_sample=policy) as loader:
        if policy == "fail":
            with pytest.raises(CorruptError) as info:
                next(iter(loader))
            assert "a/clip05" in str(info.value)
            assert "frame 000003.png" in str(info.value)
            return
        clip = next(iter(loader))["clip"]
        if policy == "mask":
            assert (clip[5].any(), loader.valid.tolist().index(0)) == (False, 5)
        else:
            others = {pixels(other, 0).tobytes() for other in range(24) if other != 5}
            assert loader.valid.all()
            assert clip[5][0].tobytes() in others
        assert np.array_equal(clip[4][0], pixels(4, 0))


def test_frames_of_several_sizes_are_no_clip(videos: Path) -> None:
    write_frame(videos / "a" / "clip00" / "000002.png", pixels(0, 1, side=20))
    with loader_of(videos, fields_of(WHOLE, start="first")) as loader, pytest.raises(CorruptError) as info:
        list(loader)
    assert "frame 000002.png" in str(info.value)
    assert "20 x 20 pixels, the first of the row 16 x 16" in str(info.value)


@pytest.mark.parametrize("policy", ["fail", "substitute"])
def test_a_frame_that_is_gone_is_unavailable_whatever_the_policy(
    videos: Path, make_node: Callable[[], Node], policy: str
) -> None:
    node = make_node().configure(videos, retry_deadline="100ms").start()
    with loader_of(videos, fields_of(start="first"), on_bad_sample=policy, daemon=node.socket) as loader:
        assert len(loader) == 4
        (videos / "c" / "clip20" / "000004.png").unlink()
        with pytest.raises(UnavailableError, match=r"c/clip20/000004\.png"):
            list(loader)


@pytest.mark.parametrize("behind", [1, 2, 5])
def test_a_run_resumes_in_mid_epoch_with_the_same_frames(videos: Path, behind: int) -> None:
    with loader_of(videos) as loader:
        whole = stream(loader, 8)
        loader.set_epoch(0)
        states = [loader.state_dict() for _ in range(2) for _ in loader]
    with loader_of(videos) as loader:
        loader.load_state_dict(json.loads(json.dumps(states[behind - 1])))
        assert stream(loader, 8 - behind) == whole[behind:]
    with loader_of(videos, fields_of(stride=2)) as loader, pytest.raises(StateError, match="4 frames, stride 1"):
        loader.load_state_dict(states[0])


def test_any_number_of_ranks_sees_the_rows_of_one(videos: Path) -> None:
    def rows(batch: Any) -> list[bytes]:
        return [clip.tobytes() for clip in batch["clip"]]

    with loader_of(videos, batch_size=12) as loader:
        whole = [row for batch in loader for row in rows(batch)]
    assert len(set(whole)) == 24
    for world in (2, 3, 4):
        loaders = [loader_of(videos, batch_size=12 // world, rank=rank, world_size=world) for rank in range(world)]
        steps = zip(*loaders)
        assert [row for step in steps for batch in step for row in rows(batch)] == whole
        for loader in loaders:
            loader.close()


@pytest.mark.parametrize("engine", ["threads", "uring"])
def test_every_engine_gives_the_same_clips(videos: Path, make_node: Callable[[], Node], engine: str) -> None:
    told = subprocess.run([REAL, "doctor", "--json"], capture_output=True, text=True, check=False).stdout
    if engine == "uring" and '"found": "allowed"' not in told:
        pytest.skip("this kernel, or a filter, forbids io_uring")
    node = make_node().configure(videos, engine=engine, uring_depth=3).start()
    with loader_of(videos, daemon=node.socket) as loader, loader_of(videos) as private:
        assert stream(loader, 8) == stream(private, 8)


def test_clips_larger_than_their_share_of_the_budget_come_whole(videos: Path, make_node: Callable[[], Node]) -> None:
    node = make_node().configure(videos, read_budget="64KiB", cpu_threads=2).start()
    fields = fields_of(frames=20)
    with loader_of(videos, fields, daemon=node.socket) as loader, loader_of(videos, fields) as private:
        assert stream(loader, 8) == stream(private, 8)


def test_a_list_names_frames_itself_and_fields_of_clips_share_their_start(videos: Path) -> None:
    both = ("{000001..000020}.png", "{000001..000019..2}.png/{000002..000020..2}.png")
    same = {"rgb": "a/clip00", "rgb.frames": both[0], "flow": "a/clip01"}
    rows = [{"key": str(number), **same, "flow.frames": names} for number, names in enumerate(both)]
    fields: Any = {name: forebay.Clip(frames=2, transform=WHOLE) for name in ("rgb", "flow")}
    starts = set()
    with DataLoader(forebay.Records(rows, root=videos), batch_size=2, fields=fields) as loader:
        for _ in range(8):
            for batch in loader:
                start = next(n for n in range(20) if np.array_equal(batch["rgb"][0, 0], pixels(0, n)))
                assert np.array_equal(batch["flow"][0, 0], pixels(1, start))
                second = next(n for n in range(20) if np.array_equal(batch["rgb"][1, 0], pixels(0, n)))
                odd_first = [*range(0, 20, 2), *range(1, 20, 2)]
                assert np.array_equal(batch["flow"][1, 0], pixels(1, odd_first[second]))
                starts.add(start)
    assert len(starts) > 2


def test_what_cannot_be_clips_is_refused_with_the_cure(videos: Path, tmp_path: Path) -> None:
    (videos / "b" / "empty").mkdir()
    with loader_of(videos) as loader, pytest.raises(InvalidError, match="found no frame in b/empty") as info:
        list(loader)
    assert "extract their videos again" in (info.value.hint or "")
    (videos / "b" / "empty").rmdir()
    with pytest.raises(InvalidError, match="clips need their fields named"):
        DataLoader(forebay.Frames(videos), batch_size=2)
    with pytest.raises(InvalidError, match="how many frames"):
        forebay.Clip()
    for wrong in (
        {"frames": 1025},
        {"frames": 2, "stride": 0},
        {"frames": 2, "start": "end"},
        {"frames": 2, "on_short": "pad"},
    ):
        with pytest.raises(InvalidError):
            forebay.Clip(**wrong)
    with (
        loader_of(videos, {"clip": forebay.Image("clip", WHOLE)}) as loader,
        pytest.raises(InvalidError, match="holds folders of frames") as info,
    ):
        list(loader)
    assert "forebay.Clip(frames=16)" in (info.value.hint or "")
    fields = {"x": forebay.Clip("path", frames=2, transform=WHOLE)}
    with (
        DataLoader([{"path": "a/clip00"}], batch_size=1, fields=fields) as loader,
        pytest.raises(InvalidError, match=r"no column of texts path\.frames"),
    ):
        list(loader)
    rows = [{"path": "a/clip00", "path.frames": "{9..1}.png"}]
    with DataLoader(rows, batch_size=1, fields=fields) as loader, pytest.raises(InvalidError) as info:
        list(loader)
    assert "numbers in braces rise" in str(info.value)


def test_clips_without_classes_lie_at_any_depth(videos: Path) -> None:
    fields = {"clip": forebay.Clip(frames=2, start="first", transform=WHOLE)}
    with DataLoader(forebay.Frames(videos, classes=False), batch_size=24, fields=fields) as loader:
        batch = next(iter(loader))
        assert np.array_equal(batch["clip"][23, 1], pixels(23, 1))
        assert batch_digest(batch) == batch_digest(next(iter(loader)))


def test_a_data_set_of_clips_is_indexed_once_and_filtered_by_what_was_measured(videos: Path) -> None:
    command = [REAL, "index", str(videos), "--frames", "--measure", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (told["counts"]["added"], told["measured"]["read"]) == (24, 24)
    long = [clip for clip, frames in enumerate(LENGTHS) if frames >= 25]
    data = forebay.Dataset(videos, where="frames >= 25 and width = 16")
    fields = {**fields_of(WHOLE, start="first"), "frames": forebay.Value()}
    with DataLoader(data, batch_size=24, fields=fields) as loader:
        batch = next(iter(loader))
    assert batch["frames"].tolist() == [LENGTHS[clip] for clip in long]
    assert all(np.array_equal(row[0], pixels(clip, 0)) for clip, row in zip(long, batch["clip"]))


def test_show_draws_the_frames_of_a_clip_and_names_the_first_and_the_last(videos: Path) -> None:
    with loader_of(videos, fields_of(CROPS, stride=3, start="first")) as loader:
        clip = next(iter(loader))["clip"]
        sheet = loader.show(6, tile=19)
        assert "4 frames of uint8 6" in str(sheet)
        for row in sheet.rows:
            assert row.values["clip"] == "000001.png to 000010.png"
            assert [image.size for image in row.images] == [(16, 16)]
            assert (row.tile.width, row.tile.height) == (19, 13)
        pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed: the picture is not looked at")
        picture = np.asarray(pil.open(io.BytesIO(sheet.png)))
        for row, frames in zip(sheet.rows, clip):
            place = row.tile
            tile = picture[place.top : place.top + 13, place.left : place.left + 19]
            shown = [tile[y : y + 6, x : x + 9] for y in (0, 7) for x in (0, 10)]
            assert np.array_equal(shown, frames)
