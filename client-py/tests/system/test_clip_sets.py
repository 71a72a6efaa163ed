"""Data sets of clips: verified frame by frame, cleaned of copies, exported as folders that open as the same clips."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL

import forebay
from forebay.numpy import DataLoader
from forebay.transforms import Resize

from .test_clips import pixels, write_clip, write_frame
from .test_datasets import command
from .test_shard_sets import files_beneath, verified

LENGTHS = [4, 5, 6, 7, 8, 9]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Six clips of 4 to 9 frames in three classes, in a data set beside them."""
    root = tmp_path / "videos"
    for clip, frames in enumerate(LENGTHS):
        write_clip(root / "abc"[clip // 2] / f"clip{clip}", clip, frames)
    command("index", root, "--frames", "--measure")
    return root


def rows_of(source: Any, rows: int = len(LENGTHS), side: int = 16) -> dict[str, Any]:
    """Give the first frames of all clips, how many each has, and its label."""
    clip = forebay.Clip(frames=4, start="first", transform=[Resize((side, side))])
    fields = {"clip": clip, "label": forebay.Value()}
    with DataLoader(source, rows, fields=fields) as loader:
        return {name: part.copy() for name, part in next(iter(loader)).items()}


def reasons(found: dict[str, Any], kind: str) -> dict[str, str]:
    return {entry["key"]: entry["reason"] for entry in found[kind]}


def refused(*words: Any) -> str:
    done = subprocess.run([REAL, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    return done.stderr


# Verifying


def test_every_frame_of_every_clip_is_decoded_and_bad_clips_leave_the_data_set(videos: Path) -> None:
    for clip, frame in ((0, 1), (1, 3), (2, 6)):
        file = videos / "abc"[clip // 2] / f"clip{clip}" / f"{frame:06}.png"
        file.write_bytes(file.read_bytes()[:-20])
    (videos / "b/clip3/000002.png").unlink()
    write_frame(videos / "c/clip4/000009.png", pixels(4, 8))
    found = verified(videos, "--dedup")
    bad = reasons(found, "corrupt")
    assert bad.pop("b/clip3") == "1 of 7 frames gone: frame 1 (000002.png)"
    for key, where in {"a/clip0": "0 (000001.png)", "a/clip1": "2 (000003.png)", "b/clip2": "5 (000006.png)"}.items():
        assert bad.pop(key).startswith(f"frame {where}: "), found
    assert not bad
    assert reasons(found, "gained") == {"c/clip4": "1 more: 000009.png"}
    assert found["files"] == {"PNG": 8 + 9}
    # What is left trains; what is mended comes back.
    left = rows_of(forebay.Dataset(videos), 2)
    assert left["label"].tolist() == [2, 2]
    assert np.array_equal(left["clip"][1, 3], pixels(5, 3))
    write_frame(videos / "b/clip3/000002.png", pixels(3, 1))
    command("dataset", "release", videos, "b/clip3")
    assert verified(videos)["sound"] == 1
    assert rows_of(forebay.Dataset(videos), 3)["label"].tolist() == [1, 2, 2]


def test_frames_that_came_are_taken_in_by_a_joined_column_and_verified_again(videos: Path, tmp_path: Path) -> None:
    verified(videos)
    write_frame(videos / "a/clip0/000005.png", pixels(0, 4))
    assert not verified(videos)["gained"], "a clip that is known is not looked at"
    assert reasons(verified(videos, "--again"), "gained") == {"a/clip0": "1 more: 000005.png"}
    (tmp_path / "more.csv").write_text("key,clip.frames\na/clip0,{000001..000005}.png\n")
    command("dataset", "join", videos, "--columns", tmp_path / "more.csv")
    again = verified(videos, "--again")
    assert (again["gained"], again["changed"]) == ([], ["a/clip0"])
    clip = forebay.Clip(frames=5, start="first", transform=[Resize((16, 16))])
    with DataLoader(forebay.Dataset(videos), 1, fields={"clip": clip}) as loader:
        assert np.array_equal(next(iter(loader))["clip"][0, 4], pixels(0, 4))


def test_clips_of_equal_frames_in_the_same_order_are_one_group(videos: Path) -> None:
    shutil.copytree(videos / "a/clip0", videos / "c/copy")
    # The same frames in another order, and all but the last of them.
    shutil.copytree(videos / "a/clip0", videos / "c/turned")
    (videos / "c/turned/000001.png").rename(videos / "c/turned/000009.png")
    shutil.copytree(videos / "a/clip0", videos / "c/shorter")
    (videos / "c/shorter/000004.png").unlink()
    command("index", videos)
    copies = verified(videos, "--dedup", "--quarantine-copies")["copies"]
    assert copies["groups"] == [["a/clip0", "c/copy"]]
    assert command("dataset", "release", videos).strip() == "c/copy: copy of a/clip0"


def test_a_folder_that_is_not_mounted_is_no_reason_to_drop_its_clip(videos: Path) -> None:
    for clip in ("a/clip0", "a/clip1"):
        (videos / clip).rename(videos / f"{clip}-away")
    (videos / "a/clip1").mkdir()
    found = verified(videos)
    assert not found["corrupt"]
    unavailable = reasons(found, "unavailable")
    assert set(unavailable) == {"a/clip0", "a/clip1"}
    assert "holds none of the clip's 5 frames: is it mounted?" in unavailable["a/clip1"]


# Exporting


@pytest.mark.parametrize("resize", [None, 8])
def test_exported_clips_open_as_a_list_and_as_folders_and_are_the_same_again(
    videos: Path, tmp_path: Path, resize: int | None
) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    words = ["--resize", str(resize), "--encode", "png"] if resize else []
    command("dataset", "export", videos, out, "--format", "files", "--where", "frames > 4", "--jobs", "3", *words)
    due = rows_of(forebay.Dataset(videos, where="frames > 4"), 5, resize or 16)
    assert set(map(str, out.glob("*"))) == {
        str(out / name) for name in ("a", "b", "c", "samples.csv", "recipe.json", "CACHEDIR.TAG")
    }
    if not resize:
        own = {name: part for name, part in files_beneath(videos).items() if not name.startswith("a/clip0")}
        assert {name: part for name, part in files_beneath(out).items() if "/" in name} == own
    command("index", out, "--frames", "--dataset", tmp_path / "folders.forebay")
    command("index", out / "samples.csv", "--dataset", tmp_path / "list.forebay")
    for source in (
        forebay.Frames(out),
        forebay.Dataset(tmp_path / "folders.forebay"),
        forebay.Dataset(tmp_path / "list.forebay"),
    ):
        batch = rows_of(source, 5, resize or 16)
        assert all(np.array_equal(batch[name], due[name]) for name in due)
    assert verified(tmp_path / "list.forebay")["sound"] == 5
    # Stopped in the middle of a clip, and gone on with by another number of threads.
    shutil.copytree(out, again)
    for name in ("b/clip2/000003.png", "c/clip5/000001.png", "samples.csv"):
        (again / name).unlink()
    (again / "b/clip2/000003.png.part").write_bytes(b"half")
    (again / "recipe.json").rename(again / "recipe.json.part")
    command("dataset", "export", "--again", out, again, "--jobs", "1")
    assert files_beneath(again) == files_beneath(out)


def test_parts_of_a_video_and_two_fields_of_clips_are_folders_of_their_own(videos: Path, tmp_path: Path) -> None:
    names = ("{000001..000004}.png", "{000005..000008}.png")
    rows = [
        {"key": f"part{n}", "rgb": "c/clip4", "rgb.frames": names[n], "flow": "c/clip5", "flow.frames": names[1 - n],
         "txt": f"words {n}", "label": n}
        for n in range(2)
    ]  # fmt: skip
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    place, out = tmp_path / "parts.forebay", tmp_path / "out"
    command("index", tmp_path / "list.jsonl", "--root", videos, "--dataset", place)
    found = verified(place, "--dedup")
    assert (found["sound"], found["gained"], found["copies"]["groups"]) == (2, [], [])
    words = ("--column", "rgb,flow", "--change", "flow", "--resize", "8", "--encode", "png")
    command("dataset", "export", place, out, "--format", "files", *words)
    assert "content_blake3" not in (out / "samples.csv").read_text(), "these are other bytes"
    for columns, is_told in (("rgb,flow", True), ("rgb", False)):
        plain = tmp_path / columns
        command("dataset", "export", place, plain, "--format", "files", "--column", columns)
        told = "content_blake3" in (plain / "samples.csv").read_text()
        assert told == is_told, "the hash of a sample is that of all its files"
    fields: dict[str, Any] = {
        name: forebay.Clip(frames=4, start="first", transform=[Resize((8, 8))]) for name in ("rgb", "flow")
    }
    fields |= {"label": forebay.Value(), "txt": forebay.Value()}
    batches = []
    for source in (forebay.Dataset(place), out / "samples.csv"):
        with DataLoader(source, 2, fields=fields) as loader:
            batches.append({name: part.copy() for name, part in next(iter(loader)).items()})
    assert all(np.array_equal(batches[0][name], batches[1][name]) for name in fields)
    assert (out / "part1/000005.png").read_bytes() == (videos / "c/clip4/000005.png").read_bytes()
    assert (out / "part0.flow/000005.png").read_bytes() != (videos / "c/clip5/000005.png").read_bytes()


def test_clips_are_not_written_into_tar_shards_and_a_bad_frame_ends_an_export_by_name(
    videos: Path, tmp_path: Path
) -> None:
    said = refused("dataset", "export", videos, tmp_path / "shards")
    assert "column clip holds clips" in said
    assert "--format files" in said
    assert not (tmp_path / "shards").exists()
    (videos / "b/clip2/000003.png").write_bytes(b"no image")
    said = refused("dataset", "export", videos, tmp_path / "out", "--format", "files", "--resize", "8")
    assert "export sample b/clip2: frame 2 (000003.png)" in said
    assert "forebay dataset verify" in said
    assert not (tmp_path / "out/recipe.json").exists()
    for words, hint in (
        (("--change", "clip"), "add --resize or --crop"),
        (("--change", "label", "--crop", "8"), "--column names those that are exported"),
    ):
        assert hint in refused("dataset", "export", videos, tmp_path / "no", "--format", "files", *words)
