"""`forebay run --auto`: a training script of torch's alone goes through the daemon, or is left as it was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL

from .support import TESTS, Node

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: there is no ImageFolder")
pytest.importorskip("PIL.Image", reason="Pillow is not installed")

from image_folder import CLASSES, PER_CLASS, write_photos  # noqa: E402
from torch.utils import data  # noqa: E402
from torchvision import transforms as v1  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402

from forebay import _auto  # noqa: E402

ROWS = len(CLASSES) * PER_CLASS
SCRIPT = Path(__file__).with_name("auto_script.py")
OURS, TORCHS = "forebay._recognise_torch", "torch.utils.data.dataloader"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "train")


def run(
    command: list[str], before: tuple[str, ...] = (REAL, "run", "--auto", "--"), **more: str
) -> tuple[list[Any], str]:
    """Run a job; give what it printed, and what was said on stderr."""
    paths = os.pathsep.join(filter(None, (more.pop("first", ""), str(TESTS.parent / "src"), str(TESTS))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more, "PYTHONPATH": paths}
    done = subprocess.run([*before, *command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


def script(photos: Path, kind: str) -> list[str]:
    return [sys.executable, str(SCRIPT), str(photos), kind]


def told(words: str) -> list[str]:
    return [line for line in words.splitlines() if line.startswith("forebay: auto: ")]


@pytest.fixture(scope="module")
def torchs_own(photos: Path) -> list[Any]:
    """Give what the script prints without --auto."""
    printed, words = run(script(photos, "plain"), ())
    assert not told(words)
    return printed


@pytest.mark.deadline(120)
@pytest.mark.parametrize("kind", ["plain", "split"])
def test_a_script_with_nothing_changed_goes_through_the_daemon(photos: Path, kind: str, torchs_own: list[Any]) -> None:
    (start, *epochs, end), words = run(script(photos, kind))
    torchs_start, *torchs_epochs, torchs_end = torchs_own
    assert (end["loaders"], torchs_end["loaders"]) == ([OURS, "__main__", OURS], [TORCHS, "__main__", TORCHS])
    assert end["is_torchs"]
    assert start == torchs_start, "the check has drawn from the script's own generator"
    for made, torchs in zip(epochs, torchs_epochs):
        assert Counter(label for label, _ in made["rows"]) == Counter(label for label, _ in torchs["rows"])
    assert [mark for _, mark in epochs[0]["rows"]] != [mark for _, mark in epochs[1]["rows"]]
    (line,) = told(words)
    assert "native, in the daemon's order: decoding, RandomResizedCrop, RandomHorizontalFlip" in line
    assert ("in 1 Python worker: TrivialAugmentWide, ToTensor, Normalize" in line) == (kind == "split")
    assert "(6 images agree: at most " in line
    if kind == "split":
        again, _ = run(script(photos, kind))
        assert again == [start, *epochs, end], "torch.manual_seed settles the order and the draws"


@pytest.mark.deadline(120)
def test_a_transform_that_disagrees_leaves_torch_alone_and_says_why(photos: Path) -> None:
    made, words = run(script(photos, "patched"))
    torchs, _ = run(script(photos, "patched"), ())
    assert made == torchs, "the script saw something else than without --auto"
    (line,) = told(words)
    assert f"torch's own DataLoader reads ImageFolder {photos}: " in line
    assert "levels of 255 at most" in line


@pytest.mark.deadline(120)
def test_two_ranks_of_torchrun_share_every_epoch_out(photos: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    printed, words = run([*torchrun, *script(photos, "plain")[1:]])
    epochs = [line for line in printed if "epoch" in line]
    for number in range(2):
        marks = [mark for line in epochs if line["epoch"] == number for _, mark in line["rows"]]
        assert len(marks) == len(set(marks)) == ROWS
    assert all(line["steps"] == 3 for line in printed if "steps" in line)
    assert len(told(words)) == 2, "each rank says it once"


@pytest.mark.deadline(120)
def test_python_m_and_spawned_processes_are_reached_and_the_next_sitecustomize_runs(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['SEEN'] = 'theirs'\n")
    module = [sys.executable, "-m", "system.auto_script", str(photos), "plain"]
    for command in (module, script(photos, "spawn")):
        printed, _ = run(command, first=str(tmp_path))
        assert printed[-1]["loaders"][0] == OURS
        assert printed[-1]["sitecustomize"] == "theirs"


def test_a_python_without_forebay_is_told_so_once_it_imports_torch(tmp_path: Path) -> None:
    (tmp_path / "forebay").mkdir()
    (tmp_path / "forebay" / "__init__.py").write_text("raise ImportError('there is none here')\n")
    _, words = run([sys.executable, "-c", "import json"], first=str(tmp_path))
    assert not told(words)
    _, words = run([sys.executable, "-c", "import torch.utils.data"], first=str(tmp_path))
    (line,) = told(words)
    assert "cannot use forebay (there is none here)" in line


def test_a_job_that_joins_a_daemon_is_looked_after_too(photos: Path, make_node: Callable[[], Node]) -> None:
    node = make_node().configure(photos).start()
    program = "import os, sys; print('{}'); print(os.environ['PYTHONPATH'].split(':')[0], file=sys.stderr)"
    _, words = run([sys.executable, "-c", program], FOREBAY_SOCKET=str(node.socket))
    hook = Path(words.splitlines()[-1])
    assert "forebay-auto-" in hook.name
    assert not hook.exists(), "what --auto wrote is left behind"


@pytest.fixture
def installed() -> Iterator[Any]:
    """Have torch's DataLoader look at its data in this process, for one test."""
    _auto.install()
    _auto._is_busy = False
    yield data.DataLoader
    _auto._is_busy = True  # inert from here on: CPython does not quite forget a `__new__` that was deleted
    _auto._said.clear()


def test_nothing_but_the_making_of_a_loader_changes(photos: Path, installed: Any) -> None:
    dataset = ImageFolder(photos, v1.Compose([v1.RandomResizedCrop(32), v1.ToTensor()]))
    assert installed is data.dataloader.DataLoader
    loader = installed(dataset, 6)
    assert isinstance(loader, installed)
    assert type(loader).__module__ == OURS

    class Theirs(installed):
        def __new__(cls, *_: Any, **__: Any) -> Any:
            return super().__new__(cls)

    assert type(Theirs(dataset, 6)) is Theirs
    with pytest.raises(TypeError):
        installed(dataset, 6, no_such_argument=1)


ORDERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "RandomSampler has an order": lambda d: {"sampler": data.RandomSampler(d, generator=torch.Generator())},
    "SubsetRandomSampler has an order": lambda d: {"sampler": data.SubsetRandomSampler([1, 2])},
    "list has an order": lambda d: {"sampler": [1, 2]},
    "batch_sampler=list has an order": lambda d: {"batch_sampler": [[1, 2]]},
    "gives samples one by one": lambda d: {"batch_size": None},
    r"drop_last=True\) leaves 1": lambda d: {"sampler": data.DistributedSampler(d, 5, 0, drop_last=True)},
}


@pytest.mark.parametrize("reason", ORDERS)
def test_an_order_that_would_not_be_the_scripts_own_is_left_to_torch(
    photos: Path, installed: Any, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = ImageFolder(photos, v1.Compose([v1.RandomResizedCrop(32), v1.ToTensor()]))
    loader = installed(dataset, **ORDERS[reason](dataset))
    assert type(loader) is installed
    (line,) = told(capfd.readouterr().err)
    assert re.search(reason, line), line


def test_processes_without_a_distributed_sampler_are_left_to_torch(
    photos: Path, installed: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = ImageFolder(photos, v1.Compose([v1.RandomResizedCrop(32), v1.ToTensor()]))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert type(installed(dataset, 6)) is installed
    assert "no DistributedSampler in a job of 2 processes" in capfd.readouterr().err
    monkeypatch.delenv("WORLD_SIZE")
    torchs = data.DataLoader(data.TensorDataset(torch.zeros(4)), 2)
    assert (type(torchs), len(list(torchs))) == (installed, 2)
    assert "torch's own DataLoader reads TensorDataset" in capfd.readouterr().err


@pytest.mark.parametrize("sampler", [data.SequentialSampler, data.RandomSampler])
def test_plain_samplers_of_torch_are_orders_of_the_daemons(photos: Path, installed: Any, sampler: Any) -> None:
    dataset = ImageFolder(photos, v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor()]))
    batches = data.BatchSampler(sampler(dataset), 7, drop_last=True)
    loader = installed(dataset, batch_sampler=batches)
    assert type(loader).__module__ == OURS
    labels = [label for _, labels in loader for label in labels.tolist()]
    assert len(labels) == ROWS // 7 * 7
    assert (labels == sorted(labels)) == (sampler is data.SequentialSampler)
