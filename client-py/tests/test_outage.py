"""When the daemon dies, misbehaves or is not there: the same rows go on, or a clear error."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from conftest import CROP, Fake, forget_daemons
from test_loader import batch_bytes, epochs

from forebay.errors import ChangedError, DaemonError, DeniedError, ForebayError, NotFoundError, ProtocolError
from forebay.numpy import DataLoader


def loader_of(folder: Path, **arguments: object) -> DataLoader:
    return DataLoader(folder, batch_size=3, shuffle=True, prefetch=3, transform=CROP, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def wanted(folder: Path, alone: None) -> list[list[bytes]]:
    with loader_of(folder) as loader:
        made = epochs(loader, 3)
    forget_daemons()
    return made


MOMENTS = [{moment: call} for moment in ("die_before", "die_after") for call in ("resolve", "open", "attach", "arena")]


@pytest.mark.parametrize("moment", [*MOMENTS, {"die_after": "hello"}], ids=str)
def test_a_death_between_any_two_records_changes_nothing(
    moment: dict[str, str], folder: Path, fake: Fake, wanted: list[list[bytes]]
) -> None:
    if "hello" in moment.values() or "resolve" in moment.values():
        fake.misbehave({"die_after_batches": 5}, moment, {})
    else:
        fake.misbehave(moment, moment, {})
    with loader_of(folder) as loader:
        assert epochs(loader, 3) == wanted
    assert fake.starts == 3


@pytest.mark.parametrize("count", range(1, 13))
def test_a_death_after_any_batch_changes_nothing(
    count: int, folder: Path, fake: Fake, wanted: list[list[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    fake.misbehave({"die_after_batches": count})
    with loader_of(folder) as loader:
        assert epochs(loader, 2) == wanted[:2]
        assert loader.stats()["restarts"] >= 20 // (count + 3)
    assert capfd.readouterr().err.count("going on at epoch") == 1


def test_a_daemon_killed_at_random_moments_changes_nothing(
    daemon: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    from forebay import _daemon

    with loader_of(folder) as loader:
        wanted = epochs(loader, 6)
        loader.set_epoch(0)
        stop = threading.Event()

        def kill() -> None:
            while not stop.wait(random.uniform(0.3, 1.2)):
                pid = _daemon._private and _daemon._private.pid
                if pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            got = []
            for _ in range(6):
                got.append([])
                for batch in loader:
                    got[-1].append(batch_bytes(batch))
                    time.sleep(0.06)
        finally:
            stop.set()
            killer.join()
        assert got == wanted
        assert loader.stats()["restarts"] > 0


def test_several_loaders_go_on_with_one_new_daemon(folder: Path, fake: Fake, wanted: list[list[bytes]]) -> None:
    fake.misbehave({"die_after_batches": 9}, {})
    with loader_of(folder) as one, loader_of(folder) as two:
        pairs = [(batch_bytes(a), batch_bytes(b)) for a, b in zip(one, two)]
    assert pairs == [(batch, batch) for batch in wanted[0]]
    assert fake.starts == 2


def test_a_session_closed_by_the_daemon_is_opened_again(folder: Path, fake: Fake, wanted: list[list[bytes]]) -> None:
    fake.misbehave({"close_after_batches": 4})
    with loader_of(folder) as loader:
        assert epochs(loader, 1) == wanted[:1]
    assert fake.starts == 1


def test_held_batches_outlive_their_daemon(folder: Path, fake: Fake, wanted: list[list[bytes]]) -> None:
    fake.misbehave({"die_after_batches": 4}, {})
    with loader_of(folder, max_leases=20) as loader:
        held = list(loader)
        assert [batch_bytes(batch) for batch in held] == wanted[0]


def test_rubbish_from_the_daemon_is_an_error_and_the_next_call_goes_on(
    folder: Path, fake: Fake, wanted: list[list[bytes]]
) -> None:
    fake.misbehave({"rubbish_after_batches": 4})
    with loader_of(folder) as loader:
        iterator, got = iter(loader), []
        while len(got) < 10:
            try:
                got.append(batch_bytes(next(iterator)))
            except ProtocolError:
                got.append(b"")
        assert [batch for batch in got if batch] == wanted[0][: len([b for b in got if b])]
        assert got[4] == b""


def test_a_daemon_that_always_dies_ends_in_a_clear_error(folder: Path, fake: Fake) -> None:
    fake.misbehave({"die_before": "arena"})
    with pytest.raises(DaemonError, match=r"(?s)without one batch.*hint: "):
        next(iter(loader_of(folder)))


def test_data_that_changed_meanwhile_is_an_error(folder: Path, fake: Fake) -> None:
    fake.misbehave({"die_after_batches": 4}, {"content": "other"})
    with loader_of(folder) as loader, pytest.raises(ChangedError, match="changed while the daemon was away"):
        list(loader)


def test_a_daemon_that_cannot_start_is_a_clear_error(
    folder: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake.misbehave({"die_before": "hello"})
    with pytest.raises(DaemonError, match="ended at its start with status -9"):
        len(loader_of(folder))
    fake.misbehave({"hello_version": 7})
    with pytest.raises(ForebayError, match="7 is spoken"):
        len(loader_of(folder))
    monkeypatch.setenv("FOREBAY_BINARY", str(tmp_path / "none"))
    with pytest.raises(NotFoundError, match="not an executable file"):
        len(loader_of(folder))
    (tmp_path / "broken").write_text("#!/nonexistent\n")
    (tmp_path / "broken").chmod(0o755)
    monkeypatch.setenv("FOREBAY_BINARY", str(tmp_path / "broken"))
    with pytest.raises(NotFoundError, match=r"start .*broken"):
        len(loader_of(folder))
    monkeypatch.setenv("FOREBAY_BINARY", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(NotFoundError, match="pip install forebay"):
        len(loader_of(folder))


def test_the_nodes_daemon_is_joined_and_its_upgrade_survived(
    folder: Path, fake: Fake, wanted: list[list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_SOCKET", fake.listen())
    with loader_of(folder) as loader:
        iterator = iter(loader)
        got = [batch_bytes(next(iterator)) for _ in range(3)]
        fake.stop()
        timer = threading.Timer(0.5, fake.listen)
        timer.start()
        got += [batch_bytes(batch) for batch in iterator]
        timer.join()
        assert [got, *epochs(loader, 2)] == wanted


def test_a_node_daemon_that_stays_away_is_an_error_after_its_time(
    folder: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_RECONNECT_SECONDS", "0.3")
    with DataLoader(folder, batch_size=1, daemon=fake.listen()) as loader:
        iterator = iter(loader)
        next(iterator)
        fake.stop()
        with pytest.raises(DaemonError, match="did not answer for 0 s"):
            list(iterator)


def test_a_socket_that_cannot_be_joined_names_cause_and_cure(folder: Path, fake: Fake, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.sock")
    with pytest.raises(DaemonError, match=r"(?s)missing.sock: No such file.*hint: start it with `forebay serve`"):
        len(DataLoader(folder, daemon=missing))
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(missing)
    with pytest.raises(DaemonError, match=r"(?s)Connection refused.*nobody listens"):
        len(DataLoader(folder, daemon=missing))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(str(tmp_path / "stream.sock"))
        stream.listen()
        with pytest.raises(DaemonError, match="SEQPACKET"):
            len(DataLoader(folder, daemon=str(tmp_path / "stream.sock")))
    if os.getuid():
        os.chmod(missing, 0)
        with pytest.raises(DeniedError, match="0660"):
            len(DataLoader(folder, daemon=missing))
