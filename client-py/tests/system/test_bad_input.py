"""Bad input, end to end: each is a clear error with cause and cure, and the daemon goes on."""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL, write_folder, write_png

import forebay
from forebay.errors import (
    CorruptError,
    DaemonError,
    DeniedError,
    ForebayError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from forebay.numpy import DataLoader
from forebay.transforms import Resize

from .batches import batch_digest
from .support import NOBODY, SMALL, Node, client, descriptors, public, serve, wait_until

NOBODYS = {"FOREBAY_TEST_UID": str(NOBODY)}
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as another user")


def refused(kind: type[ForebayError], data: Any, *words: str, **arguments: Any) -> ForebayError:
    """Make sure that taking an epoch raises `kind`, says all `words` and names a cure."""
    arguments = {"transform": SMALL, **arguments}
    with DataLoader(data, batch_size=4, **arguments) as loader, pytest.raises(kind) as info:
        list(loader)
    said = str(info.value)
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"
    assert info.value.hint, f"no cure: {said}"
    return info.value


def jpeg(side: int = 64) -> bytes:
    """Give a JPEG of some detail."""
    image = pytest.importorskip("PIL.Image", reason="needs pillow to make a JPEG")
    made = image.effect_noise((side, side), 60).convert("RGB")
    out = io.BytesIO()
    made.save(out, "JPEG", quality=90)
    return out.getvalue()


# What lies in the folder


def test_a_missing_folder(tmp_path: Path) -> None:
    refused(NotFoundError, tmp_path / "nowhere", str(tmp_path / "nowhere"), "o such file")


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(InvalidError, tmp_path, str(tmp_path))


def test_a_folder_of_empty_class_folders(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    refused(InvalidError, tmp_path, "cat")


def test_a_folder_without_class_folders(tmp_path: Path) -> None:
    write_png(tmp_path / "one.png", 1)
    refused(InvalidError, tmp_path, str(tmp_path))


def test_a_truncated_jpeg(folder: Path) -> None:
    (folder / "b" / "cut.jpg").write_bytes(jpeg()[:900])
    error = refused(CorruptError, folder, "b/cut.jpg", "truncated JPEG", "900 bytes")
    assert "on_bad_sample" in error.hint or "mend" in error.hint


def test_a_text_file_named_jpg(folder: Path) -> None:
    (folder / "b" / "readme.jpg").write_text("this is no picture\n" * 50)
    refused(CorruptError, folder, "b/readme.jpg", "not an image")


def test_an_empty_file_named_jpg(folder: Path) -> None:
    (folder / "b" / "empty.jpg").write_bytes(b"")
    refused(CorruptError, folder, "b/empty.jpg")


def test_a_png_named_jpg_and_a_jpeg_named_png_are_what_their_bytes_say(folder: Path) -> None:
    with DataLoader(folder, batch_size=10, transform=SMALL) as loader:
        before = next(iter(loader))[0].copy()
    os.rename(folder / "a" / "000.png", folder / "a" / "000.jpg")
    (folder / "d" / "zzz.png").write_bytes(jpeg())
    with DataLoader(folder, batch_size=10, transform=SMALL) as loader:
        batches = [images.copy() for images, _ in loader]
    assert (batches[0] == before).all()
    assert sum(map(len, batches)) == 41


@pytest.mark.parametrize("side", [30_000, 2_000_000_000])
def test_a_header_of_huge_dimensions(folder: Path, side: int) -> None:
    path = folder / "b" / "bomb.png"
    write_png(path, 1)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    refused(CorruptError, folder, "b/bomb.png", f"{side} x {side} pixels", "pixels_max")


def test_bad_samples_can_be_substituted_or_masked(folder: Path) -> None:
    (folder / "b" / "readme.jpg").write_text("this is no picture\n" * 50)
    for policy, valid in (("substitute", 41), ("mask", 40)):
        with DataLoader(
            folder, batch_size=41, transform=SMALL, on_bad_sample=policy, with_valid=True, tail="partial"
        ) as loader:
            ((images, _, mask),) = loader
            assert (len(images), int(mask.sum())) == (41, valid)
            line = loader.stats()["daemon"]["sessions"][0]["bad_samples"][0]
            assert line["key"] == "b/readme.jpg"
            assert "not an image" in line["reason"]


def test_a_file_that_goes_away_after_the_snapshot(folder: Path, make_node: Callable[[], Node]) -> None:
    node = make_node().configure(folder, retry_deadline="300ms").start()
    with DataLoader(folder, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        assert len(loader) == 10
        (folder / "a" / "003.png").unlink()
        with pytest.raises(ForebayError, match=r"a/003\.png") as info:
            list(loader)
        assert info.value.kind == "unavailable"
        assert info.value.hint


def test_images_of_many_sizes_without_a_resize(folder: Path) -> None:
    with DataLoader(folder, batch_size=4) as loader, pytest.raises(InvalidError) as info:
        len(loader)
    assert "own sizes" in str(info.value)
    assert "add CenterCrop(224) or Resize([224, 224])" in str(info.value)


def test_a_list_that_names_a_missing_file_and_a_wrong_column(
    folder: Path, tmp_path: Path, make_node: Callable[[], Node]
) -> None:
    node = make_node().configure(tmp_path, retry_deadline="300ms").start()
    (tmp_path / "list.csv").write_text("path,label\ndata/a/000.png,0\ndata/a/none.png,1\n")
    fields = {"image": forebay.Image("path", transform=[Resize((8, 8))]), "label": forebay.Value()}
    refused(
        ForebayError,
        tmp_path / "list.csv",
        "data/a/none.png",
        fields=fields,
        transform=None,
        daemon=node.socket,
    )
    fields = {"image": forebay.Image("picture", transform=[Resize((8, 8))])}
    refused(InvalidError, tmp_path / "list.csv", "picture", fields=fields, transform=None)


def test_a_list_that_is_broken_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"x": 1}\n{"x": 2\n')
    refused(InvalidError, tmp_path / "list.jsonl", "2", transform=None)


@pytest.fixture
def nobodys_binary(tmp_path: Path) -> str:
    """Give a copy of the binary that every user can reach."""
    copy = tmp_path / "forebay"
    shutil.copy2(REAL, copy)
    public(copy).chmod(0o755)
    return str(copy)


@as_root
def test_a_file_that_the_daemons_user_may_not_read(
    folder: Path, make_node: Callable[[], Node], nobodys_binary: str
) -> None:
    public(folder)
    (folder / "b" / "000.png").chmod(0)
    node = make_node().configure(folder, retry_deadline="300ms")
    public(node.folder).chmod(0o777)
    node.start(binary=nobodys_binary, uid=NOBODY)
    error = refused(UnavailableError, folder, "b/000.png", "ermission denied", daemon=node.socket)
    assert "permissions" in error.hint


@as_root
def test_a_folder_that_the_user_may_not_read(folder: Path, nobodys_binary: str) -> None:
    public(folder)
    (folder / "b").chmod(0)
    with client("attempt", folder, environment={**NOBODYS, "FOREBAY_BINARY": nobodys_binary}) as trainer:
        told = trainer.result()
    assert told["error"] in ("DeniedError", "UnavailableError"), told
    assert f"{folder}/b" in told["text"]
    assert "ermission denied" in told["text"]
    assert "hint: " in told["text"]


# The daemon's configuration


@pytest.mark.parametrize(("text", "words"), [
    ("cpu_treads = 3\n", ["cpu_treads", "--help"]),
    ('read_budget = "64MB"\n', ["64MB", "MiB"]),
    ('retry_deadline = "30"\n', ['"30"', "30s"]),
    ("depth = 0\n", ["depth must be at least 1"]),
    ('[[root]]\npath = "data"\n', ["data", "absolute"]),
    ('[[root]]\npath = "/data"\nalow = {}\n', ["alow"]),
    ("depth = \n", ["line 1"]),
    ("", ["[[root]]", "path ="]),
])  # fmt: skip
def test_a_wrong_configuration_names_the_key_and_the_cure(tmp_path: Path, text: str, words: list[str]) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'socket = "{tmp_path}/s"\n{text}' if "line 1" not in words else text)
    done = serve("--config", str(config))
    assert done.returncode == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert "panicked" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_missing_configuration(tmp_path: Path) -> None:
    done = serve("--config", str(tmp_path / "none.toml"))
    assert done.returncode == 1
    assert "none.toml" in done.stderr
    assert "hint: " in done.stderr


def test_no_configuration_at_all_says_that_no_root_is_named(tmp_path: Path) -> None:
    done = serve("--socket", str(tmp_path / "s"))
    assert done.returncode == 1
    assert "[[root]]" in done.stderr
    assert "hint: " in done.stderr


# Sockets


def test_a_live_socket_is_left_to_its_daemon(folder: Path, node: Node) -> None:
    done = serve("--config", str(node.config))
    assert done.returncode == 1
    assert "in use by another daemon" in done.stderr
    assert "hint: " in done.stderr
    with DataLoader(folder, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        assert len(list(loader)) == 10


def test_a_stale_socket_is_taken_over(folder: Path, node: Node) -> None:
    node.kill()
    assert os.path.exists(node.socket)
    node.start()
    with DataLoader(folder, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        assert len(list(loader)) == 10
    assert node.stop() == 0
    assert not os.path.exists(node.socket), "a daemon that ends takes its socket along"


@pytest.mark.parametrize("which", ["socket", "grpc_socket"])
def test_a_plain_file_in_the_sockets_place_stays_as_it_is(
    tmp_path: Path, make_node: Callable[[], Node], which: str
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("thesis")
    node = make_node().configure(tmp_path, **{which: str(precious)})
    done = serve("--config", str(node.config))
    assert done.returncode == 1
    assert f"{precious} exists and is no socket" in done.stderr
    assert "hint: " in done.stderr
    assert precious.read_text() == "thesis"


def test_a_live_operators_socket_is_left_to_its_daemon(tmp_path: Path, make_node: Callable[[], Node]) -> None:
    operators = tmp_path / "op.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(operators))
        other.listen()
        node = make_node().configure(tmp_path, grpc_socket=str(operators))
        done = serve("--config", str(node.config))
        assert done.returncode == 1
        assert "in use by another daemon" in done.stderr
        assert operators.exists(), "it is not ours to remove"
        assert not os.path.exists(node.socket)


def test_a_socket_whose_folder_is_missing_or_whose_path_is_long(tmp_path: Path, make_node: Callable[[], Node]) -> None:
    for path in (tmp_path / "none" / "s", tmp_path / ("x" * 120)):
        done = serve("--config", str(make_node().configure(tmp_path, socket=str(path)).config))
        assert done.returncode == 1
        assert str(path) in done.stderr
        assert "hint: " in done.stderr


def test_the_socket_is_for_its_user_and_group_only(node: Node) -> None:
    assert os.stat(node.socket).st_mode & 0o777 == 0o660


@as_root
def test_a_user_outside_of_the_sockets_group_is_told_so(folder: Path, node: Node) -> None:
    public(folder)
    public(node.folder)
    with client("attempt", folder, environment={**NOBODYS, "FOREBAY_SOCKET": node.socket}) as trainer:
        told = trainer.result()
    assert told["error"] == "DeniedError"
    assert "0660" in told["text"]


@as_root
def test_a_root_that_allows_other_users_only_is_refused_by_uid(folder: Path, make_node: Callable[[], Node]) -> None:
    public(folder)
    root = f'path = "{folder}"\nallow = {{ uids = [4711], gids = [4712] }}'
    node = make_node().configure(root).start()
    public(node.folder)
    os.chown(node.socket, 0, NOBODY)
    with client("attempt", folder, environment={**NOBODYS, "FOREBAY_SOCKET": node.socket}) as trainer:
        told = trainer.result()
    assert told["error"] == "DeniedError"
    assert f"uid {NOBODY}" in told["text"]
    assert "`allow`" in told["text"]
    node.stop()
    node.configure(root.replace("4712", f"4712, {NOBODY}")).start()
    os.chown(node.socket, 0, NOBODY)
    with client("attempt", folder, environment={**NOBODYS, "FOREBAY_SOCKET": node.socket}) as trainer:
        assert trainer.result() == {"error": "", "text": ""}


@as_root
def test_stats_and_drain_are_for_the_daemons_user_and_root_only(folder: Path, node: Node) -> None:
    public(node.folder)
    os.chown(node.socket, 0, NOBODY)
    for call in ("stats", "drain"):
        with client("call", node.socket, call, environment=NOBODYS) as caller:
            told = caller.result()
        assert told["error"] == "DeniedError"
        assert call in told["text"]
    assert node.sessions() == []


def test_a_path_outside_of_the_roots(folder: Path, tmp_path: Path, make_node: Callable[[], Node]) -> None:
    node = make_node().configure(folder).start()
    other = write_folder(tmp_path / "other")
    error = refused(DeniedError, other, str(other), "outside", daemon=node.socket)
    assert str(folder) in error.hint
    sideways = f"{folder}/../other"
    with pytest.raises(DeniedError):
        ask_resolve(node, sideways)
    with pytest.raises(DeniedError):
        ask_resolve(node, "/root/.ssh")


def ask_resolve(node: Node, path: str) -> Any:
    """Resolve a path as it is typed; the loader would tidy it up."""
    from forebay._daemon import Connection

    connection = Connection(node.connect())
    source = {"folder": {"path": path}}
    return connection.request("resolve", {"spec": {"sources": [source]}})


def test_links_that_leave_the_root_show_nothing_of_what_lies_outside(
    tmp_path: Path, make_node: Callable[[], Node]
) -> None:
    root, secret = (
        write_folder(tmp_path / "root", classes="ab"),
        write_folder(tmp_path / "secret", classes="ab"),
    )
    node = make_node().configure(root).start()
    os.symlink(secret, root / "way-out")
    refused(DeniedError, root / "way-out", "outside", daemon=node.socket)
    (root / "way-out").unlink()
    os.symlink(secret / "a" / "000.png", root / "a" / "stolen.png")
    refused(ForebayError, root, "a/stolen.png", daemon=node.socket)
    (root / "a" / "stolen.png").unlink()
    os.symlink(secret / "b", root / "c")
    refused(ForebayError, root, "/c links to something outside the root", daemon=node.socket)
    (root / "c").unlink()
    with DataLoader(root, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        before = [batch_digest(batch) for batch in loader]
        # And a file that becomes a link after the snapshot.
        os.replace(root / "a" / "001.png", root / "saved")
        os.symlink(secret / "a" / "001.png", root / "a" / "001.png")
        loader.set_epoch(0)
        with pytest.raises(ForebayError, match=r"a/001\.png"):
            list(loader)
    assert before


# Space


def test_a_session_over_the_arena_budget(folder: Path, make_node: Callable[[], Node]) -> None:
    node = make_node().configure(folder, arena_budget="1MiB").start()
    error = refused(ForebayError, folder, "arena budget", "MiB", daemon=node.socket, transform=(Resize((512, 512)),))
    assert error.kind == "unavailable"
    assert "batch_size" in error.hint
    assert "arena_budget" in error.hint
    with DataLoader(folder, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        assert len(list(loader)) == 10


def test_a_daemon_without_descriptors_says_so_and_serves_on(folder: Path, node: Node) -> None:
    import resource

    held = len(descriptors(node.pid))
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (40, 40))
    connections = []
    loaders = [DataLoader(folder, batch_size=4, transform=SMALL, daemon=node.socket) for _ in range(30)]
    failed: list[ForebayError] = []
    for loader in loaders:
        try:
            connections.append(iter(loader))
        except ForebayError as error:
            failed.append(error)
            break
    assert failed
    assert "oo many open files" in str(failed[0]), str(failed[0])
    for loader in loaders:
        loader.close()
    connections.clear()
    # Our own control connection stays, and the root of a job that the daemon remembers.
    wait_until(lambda: len(descriptors(node.pid)) <= held + 3, "the daemon has closed the sessions' descriptors")
    with DataLoader(folder, batch_size=4, transform=SMALL, daemon=node.socket) as loader:
        assert len(list(loader)) == 10


@as_root
def test_a_socket_on_a_full_disk(tmp_path: Path, make_node: Callable[[], Node]) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "none", str(full)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs mount: {mounted.stderr.decode().strip()}")
    try:
        done = serve("--config", str(make_node().configure(tmp_path, socket=str(full / "s")).config))
        assert done.returncode == 1
        assert "o space left" in done.stderr
        assert str(full / "s") in done.stderr
        assert "hint: " in done.stderr
    finally:
        subprocess.run(["umount", str(full)], check=True)


@as_root
def test_a_client_needs_no_disk_at_all(folder: Path, tmp_path: Path) -> None:
    """Batches live in memfds, so that a full /tmp, /dev/shm and home stop nobody."""
    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "none", str(full)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs mount: {mounted.stderr.decode().strip()}")
    try:
        places = {name: str(full) for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME")}
        with client("attempt", folder, environment=places) as trainer:
            assert trainer.result() == {"error": "", "text": ""}
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_a_binary_that_is_no_daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", "/bin/false")
    refused(DaemonError, folder, "ended at its start with status 1", "/bin/false")
