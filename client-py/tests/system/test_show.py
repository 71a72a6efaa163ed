"""`loader.show()`: what is seen is what is trained on, and looking changes nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL, write_folder, write_png

from forebay import Image, Records, Value
from forebay.errors import InvalidError, UnimplementedError
from forebay.numpy import DataLoader
from forebay.transforms import CenterCrop, Normalize, RandomHorizontalFlip, RandomResizedCrop, Resize

from .batches import batch_digest
from .support import Node

TRANSFORM = (RandomResizedCrop((24, 20)), RandomHorizontalFlip())


def make_loader(folder: Path, **arguments: Any) -> DataLoader:
    arguments = {"batch_size": 4, "shuffle": True, "transform": TRANSFORM, **arguments}
    return DataLoader(folder, **arguments)


def tiles(sheet: Any) -> list[np.ndarray]:
    """Cut the samples out of the picture: uint8 (height, width, 3) each."""
    pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed: the picture is not looked at")
    picture = np.asarray(pil.open(io.BytesIO(sheet.png)))
    places = [row.tile for row in sheet.rows]
    return [picture[p.top : p.top + p.height, p.left : p.left + p.width] for p in places]


def test_the_newest_batch_is_shown_with_its_own_pixels_labels_and_keys(folder: Path) -> None:
    with make_loader(folder) as loader:
        for step, (images, labels) in enumerate(loader):
            sheet = loader.show(4, tile=24)
            assert [row.position for row in sheet.rows] == [4 * step + row for row in range(len(labels))]
            assert [row.label for row in sheet.rows] == labels.tolist()
            assert [row.key.split("/")[0] for row in sheet.rows] == [loader.classes[label] for label in labels]
            assert [row.class_name for row in sheet.rows] == [loader.classes[label] for label in labels]
            for tile, image in zip(tiles(sheet), images):
                assert np.array_equal(tile, image)


def test_looking_between_batches_changes_no_byte_no_order_and_no_state(folder: Path) -> None:
    with make_loader(folder, rolling=True) as loader:
        plain = [(batch_digest(batch), loader.state_dict()) for _ in range(2) for batch in loader]
    with make_loader(folder) as loader:
        loader.show()
        looked: list[Any] = []
        for _ in range(2):
            for batch in loader:
                loader.show(2, original=True)
                loader.show(3, epoch=7, step=1)
                looked.append((batch_digest(batch), loader.state_dict()))
        assert looked == plain
        assert loader.stats()["batches"] == len(plain)


def test_before_any_batch_the_next_ones_rows_are_shown(folder: Path) -> None:
    with make_loader(folder) as loader:
        first = loader.show(4)
        loader.set_epoch(2)
        assert (first.rows[0].epoch, loader.show().rows[0].epoch) == (0, 2)
        batches = iter(loader)
        assert [row.key for row in loader.show().rows] == [row.key for row in loader.show(epoch=2, step=0).rows]
        next(batches)
        next(batches)
        state = loader.state_dict()
    with make_loader(folder) as loader:
        loader.load_state_dict(state)
        assert (loader.show().rows[0].epoch, loader.show().rows[0].position) == (2, 8)
        assert loader.state_dict() == state


@pytest.mark.parametrize("tail", ["partial", "pad", "drop"])
def test_any_step_of_any_rank_is_the_batch_that_this_rank_gets(folder: Path, tail: str) -> None:
    cut: dict[str, Any] = {"batch_size": None, "global_batch_size": 8, "tail": tail, "world_size": 2}
    ranks = [make_loader(folder, rank=rank, **cut) for rank in range(2)]
    for rank, loader in enumerate(ranks):
        for step, batch in enumerate(loader):
            valid = loader.valid
            sheet = ranks[0].show(256, epoch=0, step=step, rank=rank)
            assert [row.label for row in sheet.rows] == batch[1].tolist()
            assert [row.valid for row in sheet.rows] == valid.tolist()
            assert [row.state for row in sheet.rows] == ["ok" if good else "repeated" for good in valid]
            assert [row.position for row in sheet.rows] == [row.position for row in loader.show(256).rows]
    for loader in ranks:
        loader.close()


def test_looking_before_the_rank_is_known_does_not_settle_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make_loader(folder) as loader:
        loader.show(1)
        for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "here")):
            monkeypatch.setenv(name, value)
        _, labels = next(iter(loader))
        assert [row.position for row in loader.show(256).rows] == [4, 5, 6, 7]
        assert [row.label for row in loader.show(256).rows] == labels.tolist()


def test_what_is_beyond_the_end_says_how_many_there_are(folder: Path) -> None:
    with make_loader(folder) as loader:
        rows, steps = loader.job.rows, len(loader)
        told = f"no step {steps}: an epoch of {rows} rows has {steps}, of 4 rows each"
        with pytest.raises(InvalidError, match=told):
            loader.show(step=steps)
        assert loader.show(step=steps - 1).rows[0].position == 4 * (steps - 1)
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"rows": 0}, "rows=0"),
            ({"rows": 257}, "rows=257"),
            ({"rank": 1}, "rank=1"),
            ({"step": -1}, "step=-1"),
            ({"tile": 513}, "tile=513"),
            ({"field": "mask"}, "its images are image"),
        ]
        for arguments, said in wrong:
            with pytest.raises(InvalidError, match=said):
                loader.show(**arguments)
    with make_loader(folder, batch_size=1000, drop_last=True) as loader, pytest.raises(InvalidError, match="has 0"):
        loader.show()
    with pytest.raises(InvalidError, match="was closed"):
        loader.show()


def test_a_dict_of_fields_shows_any_of_its_images_and_its_values(folder: Path) -> None:
    files = sorted(folder.glob("*/*.png"))
    rows = [{"left_path": str(file), "right_path": str(file), "words": f"a photo {n}", "box": [n, 1.5]}
            for n, file in enumerate(files)]  # fmt: skip
    fields = {
        "left": Image("left_path", transform=TRANSFORM),
        "right": Image("right_path", transform=[Resize(20), CenterCrop((24, 20)), RandomHorizontalFlip(), Normalize()]),
        "words": Value(),
        "box": Value(),
    }
    with DataLoader(Records(rows, root=folder), batch_size=4, fields=fields) as loader:
        batch = next(iter(loader))
        sheet = loader.show(field="right", tile=24)
        for tile, image in zip(tiles(loader.show(tile=24)), batch["left"]):
            assert np.array_equal(tile, image)
        std, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
        for tile, image in zip(tiles(sheet), batch["right"]):
            assert np.array_equal(tile, np.round((image * std + mean) * 255).astype(np.uint8))
        row = sheet.rows[3]
        assert row.values == {"words": "a photo 3", "box": "[3, 1.5]"}
        assert [image.field for image in row.images] == ["left", "right"]
        assert row.images[1].resized == (20, 20)
        assert (row.images[1].start, row.images[1].crop.width) == ((0, -2), 16)


def test_a_job_without_images_is_a_table(tmp_path: Path) -> None:
    with DataLoader([{"age": age, "name": f"no {age}"} for age in range(9)], batch_size=3) as loader:
        sheet = loader.show()
        assert sheet.png == b""
        assert sheet._repr_png_() is None
        assert "nothing to draw" in str(sheet)
        assert [row.values["age"] for row in sheet.rows] == ["0", "1", "2"]
        assert "no 2" in repr(sheet)
        with pytest.raises(InvalidError, match="no field of this job is an image"):
            sheet.save(tmp_path / "sheet.png")


def test_grey_and_odd_images_and_bad_ones_are_shown_as_they_are_delivered(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    folder = write_folder(tmp_path / "odd", per_class=2, classes="ab")
    for number, mode in enumerate(("L", "LA", "P", "RGBA", "I;16", "1")):
        shape = (7 + number, 300) if number % 2 else (300, 1 + number)
        pil.new(mode, shape).save(folder / "a" / f"odd{number}.png")
    pil.new("CMYK", (33, 44), (9, 80, 200, 10)).save(folder / "b" / "cmyk.jpg")
    (folder / "b" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    for policy, state in (("substitute", "substituted"), ("mask", "masked"), ("fail", "failed")):
        with make_loader(folder, batch_size=12, on_bad_sample=policy) as loader:
            batch = next(iter(loader)) if policy != "fail" else None
            sheet = loader.show(12, original=True, tile=24)
            (bad,) = [row for row in sheet.rows if row.state != "ok"]
            assert (bad.state, bad.bad[0].key, bad.valid) == (state, "b/bad.jpg", state == "substituted")
            assert bad.bad[0].reason in str(sheet)
            if batch is not None:
                assert all(np.array_equal(tile, image) for tile, image in zip(tiles(sheet), batch[0]))


def test_the_crop_that_is_told_gives_torchvisions_very_sample(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    from torchvision.transforms.v2 import functional as F  # noqa: N812 - its usual name

    (tmp_path / "a").mkdir()
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (9 + number, 12, 3), np.uint8)
        pil.fromarray(noise).resize((200 + 9 * number, 160), pil.Resampling.BICUBIC).save(tmp_path / f"a/{number}.png")
    for transform in (TRANSFORM, (Resize(40), CenterCrop((24, 20)), RandomHorizontalFlip())):
        with make_loader(tmp_path, batch_size=12, transform=transform) as loader:
            sheet = loader.show(12, tile=24)
            for row, tile in zip(sheet.rows, tiles(sheet)):
                image, (taken, (left, top)) = row.images[0], (row.images[0].taken, row.images[0].start)
                stored = torch.from_numpy(np.asarray(pil.open(tmp_path / row.key)).copy()).permute(2, 0, 1)
                assert image.size == (stored.shape[2], stored.shape[1])
                whole = F.resized_crop(
                    stored, taken.top, taken.left, taken.height, taken.width, list(image.resized[::-1]), antialias=True
                )
                sample = whole[:, top : top + 24, left : left + 20]
                sample = (F.horizontal_flip(sample) if image.flip else sample).permute(1, 2, 0).numpy()
                assert np.abs(sample.astype(int) - tile).max() <= 1, row


def test_a_nodes_daemon_shows_a_job_that_it_has_forgotten(folder: Path, node: Node) -> None:
    with make_loader(folder, daemon=node.socket) as loader:
        first = loader.show()
        node.kill()
        node.start()
        again = loader.show()
        assert (again.png, again.rows) == (first.png, first.rows)
        folder.joinpath("a", "new.png").write_bytes(folder.joinpath("a", "000.png").read_bytes())
        node.kill()
        node.start()
        with pytest.raises(Exception, match="the data changed"):
            loader.show()


def test_an_older_daemon_is_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REAL
    monkeypatch.setenv("FOREBAY_BINARY", str(Path(__file__).resolve().parents[1] / "fake_daemon.py"))
    with (
        DataLoader(folder, batch_size=4, transform=(CenterCrop(16),)) as loader,
        pytest.raises(UnimplementedError, match="cannot show"),
    ):
        loader.show()


def test_a_saved_sheet_is_the_png(folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "other.png", 1)
    with make_loader(folder) as loader:
        sheet = loader.show(3)
        sheet.save(tmp_path / "sheet.png")
        assert (tmp_path / "sheet.png").read_bytes() == sheet.png == sheet._repr_png_()
        assert sheet.png.startswith(b"\x89PNG")
        assert len(sheet) == 3
        assert str(sheet).count(".png") == 3
