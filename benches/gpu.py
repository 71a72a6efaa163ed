"""Ask how fast batches reach a GPU, and whether it ever waits for them.

    python benches/gpu.py [--data FOLDER] [--batch 256] [--steps 60] [--turns 5] [--workers N] [--out FILE]
    python benches/gpu.py --rehearse

Four questions, all sources of a question in turns within one run:
- transfer: bytes a second from a slot of the daemon's arena, beside memory that torch pinned and memory that is not;
  the ratio slot to pinned counts, turn by turn, and its median.
- decode: JPEGs a second that the device decodes, a batch of the same files a call: by forebay's nvJPEG from pinned
  memory, alone and with the resize behind it, beside torchvision's `decode_jpeg(device="cuda")`.
- feed: images a second that each loader brings to the device where nothing is trained: the ceiling of what follows.
- train: ResNet-50 in bfloat16 and channels_last, fed by one batch that stays on the device, by forebay
  (`device="cuda"`, uint8 over the bus), and by torch's DataLoader over torchvision's ImageFolder with the same
  transforms. What the GPU waits is what a step takes beyond that of the resident batch.

Without --data, photographs are made by `forebay synth`. Needs torch, torchvision and the client package with its
binary. Without a CUDA device it says so and exits with 2; --rehearse goes through all of it on the CPU with tiny sizes,
to see that the script works, and measures nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from forebay import __version__ as forebay_version
from forebay._daemon import find_binary
from forebay._gpu_driver import driver
from forebay._gpu_nvjpeg import Image
from forebay._gpu_rows import Decoding
from forebay._gpu_torch import device_of
from forebay.errors import DeviceError
from forebay.torch import DataLoader
from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COPIES = 20


class Sizes(NamedTuple):
    """How much of everything."""

    batch: int
    side: int
    steps: int
    turns: int
    workers: int
    network: str

    @property
    def warm_steps(self) -> int:
        """Steps that are not timed: as many as torch's workers had ready while others took their turn, and some."""
        return 2 * self.workers + 8


class Place(NamedTuple):
    """The device, or the CPU of a rehearsal."""

    device: torch.device

    @property
    def is_real(self) -> bool:
        """Whether it is a CUDA device."""
        return self.device.type == "cuda"

    def timed(self, work: Callable[[], Any]) -> float:
        """Give the seconds until the device has done what `work` asks of it."""
        self.finish()
        started = time.perf_counter()
        work()
        self.finish()
        return time.perf_counter() - started

    def finish(self) -> None:
        """Wait until the device has done everything."""
        if self.is_real:
            torch.cuda.synchronize(self.device)


def in_turns(turns: int, arms: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Ask each arm once a turn, another one first in each."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for turn in range(turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(arms[name]())
    return found


def ratios(one: list[float], other: list[float]) -> dict[str, float]:
    """Give the median, least and largest of the turns' ratios."""
    each = [a / b for a, b in zip(one, other)]
    return {"median": statistics.median(each), "least": min(each), "most": max(each)}


def transfer(data: Path, place: Place, sizes: Sizes) -> dict[str, Any]:
    """Copy the same bytes from a slot, from memory that torch pinned, and from memory that is not."""
    crop = [RandomResizedCrop(sizes.side)]
    with DataLoader(data, sizes.batch, shuffle=True, transform=crop, pinned=place.is_real) as loader:
        slot = next(iter(loader))[0].permute(0, 2, 3, 1)  # held to the end: nothing refills it
        ordinary = slot.clone()
        sources = {"slot": slot, "pinned": ordinary.pin_memory() if place.is_real else ordinary, "pageable": ordinary}
        target = torch.empty_like(ordinary, device=place.device)

        def rate(name: str) -> Callable[[], float]:
            def copy() -> None:
                for _ in range(COPIES):
                    target.copy_(sources[name], non_blocking=True)

            return lambda: COPIES * slot.nbytes / place.timed(copy) / 1e9

        arms = {name: rate(name) for name in sources}
        in_turns(1, arms)
        found = in_turns(sizes.turns, arms)
        told = loader.stats().get("pinned", "")
        is_pinned = slot.is_pinned()
    return {
        "batch_bytes": slot.nbytes,
        "gigabytes_per_second": {name: statistics.median(rates) for name, rates in found.items()},
        "turns": found,
        "slot_to_pinned": ratios(found["slot"], found["pinned"]),
        "slot_is_pinned": is_pinned,
        "memory": told,
    }


def decode(data: Path, place: Place, sizes: Sizes) -> dict[str, Any]:
    """Decode one batch of files again and again. A rehearsal decodes on the CPU in each arm's place."""
    import torchvision

    files = sorted(data.rglob("*.jpg"))[: sizes.batch]
    encoded: Any = [torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8) for file in files]
    read: Any = torchvision.io.decode_jpeg
    rgb: Any = torchvision.io.ImageReadMode.RGB
    arms: dict[str, Callable[[], Any]] = {"torchvision": lambda: read(encoded, mode=rgb, device=place.device.type)}
    words = "a rehearsal"
    if place.is_real:
        library, ours = decoders(encoded, place, sizes)
        arms.update(ours)
        words = library
    else:
        arms.update(dict.fromkeys(("forebay", "forebay, resized"), arms["torchvision"]))
    rates = {name: (lambda work=work: len(files) / place.timed(work)) for name, work in arms.items()}
    in_turns(2, rates)
    found = in_turns(sizes.turns * 4, rates)
    return {
        "library": words,
        "files": len(files),
        "mean_file_bytes": sum(len(data) for data in encoded) / len(files),
        "images_per_second": {name: statistics.median(rates) for name, rates in found.items()},
        "turns": found,
        "forebay_to_torchvision": ratios(found["forebay"], found["torchvision"]),
    }


def decoders(encoded: list[torch.Tensor], place: Place, sizes: Sizes) -> tuple[str, dict[str, Callable[[], Any]]]:
    """Give forebay's two arms: the decoder into one block of the device's memory, and a whole field of a batch."""
    from torchvision.io import decode_jpeg

    row_bytes = max(3 * sizes.side**2, *map(len, encoded))
    raw = torch.zeros(len(encoded), row_bytes, dtype=torch.uint8).pin_memory()
    table = torch.zeros(len(encoded), 16, dtype=torch.int32)
    for row, data in enumerate(encoded):
        raw[row, : len(data)] = data
        height, width = decode_jpeg(data).shape[1:]
        whole = [1, len(data), width, height, 1, 0, 0, width, height, sizes.side, sizes.side, 0, 0, 0, 3, 3]
        table[row] = torch.tensor(whole)
    stream: Any = torch.cuda.Stream(place.device)
    field = Decoding(place.device, {"image": (sizes.side, sizes.side)}, stream)
    lengths = table[:, 2].long() * table[:, 3] * 3
    pixels = torch.empty(int(lengths.sum()), dtype=torch.uint8, device=place.device)
    begins = (lengths.cumsum(0) - lengths).tolist()
    images = [
        Image(raw.data_ptr() + row * row_bytes, *table[row, 1:4].tolist(), pixels.data_ptr() + begin)
        for row, begin in enumerate(begins)
    ]

    def alone() -> None:
        field.decoder(images, field.side)

    def whole_field() -> None:
        with torch.cuda.stream(stream):
            field("image", raw, table)

    return field.words(), {"forebay": alone, "forebay, resized": whole_field}


def endless(batches: Any) -> Iterator[Any]:
    """Give epoch after epoch."""
    while True:
        yield from batches


def from_forebay(data: Path, place: Place, sizes: Sizes) -> Any:
    """Make forebay's loader: floats on the device, bytes over the bus."""
    chain = [RandomResizedCrop(sizes.side), RandomHorizontalFlip(), Normalize(MEAN, STD)]
    where = {"device": place.device} if place.is_real else {}
    options: dict[str, Any] = {"dtype": "bfloat16", "drop_last": True, **where}
    return DataLoader(data, sizes.batch, shuffle=True, transform=chain, **options)


def from_torch(data: Path, place: Place, sizes: Sizes) -> Iterator[Any]:
    """Give the batches of torch's loader, on the device in the same form."""
    from torch.utils.data import DataLoader as TorchLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(sizes.side, antialias=True), v2.RandomHorizontalFlip(), v2.ToImage()]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    loader: Any = TorchLoader(
        ImageFolder(str(data), v2.Compose(steps)),
        sizes.batch,
        shuffle=True,
        drop_last=True,
        num_workers=sizes.workers,
        pin_memory=place.is_real,
        persistent_workers=sizes.workers > 0,
    )
    for images, labels in endless(loader):
        there = images.to(place.device, non_blocking=True)
        there = there.to(torch.bfloat16, memory_format=torch.channels_last)
        yield there, labels.to(place.device, non_blocking=True)


def train(data: Path, place: Place, sizes: Sizes) -> dict[str, Any]:
    """Feed the network by each loader and by a batch that stays, with and without training."""
    import torchvision

    torch.manual_seed(0)
    network: Any = getattr(torchvision.models, sizes.network)(num_classes=1000)
    network = network.to(place.device, dtype=torch.bfloat16, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    loader = from_forebay(data, place, sizes)
    feeds = {"forebay": endless(loader), "torch": from_torch(data, place, sizes)}
    feeds["resident"] = itertools.repeat(tuple(value.clone() for value in next(feeds["forebay"])))

    def learn(batch: Any) -> None:
        images, labels = batch
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def step_seconds(feed: Iterator[Any], use: Callable[[Any], Any]) -> Callable[[], float]:
        def work() -> None:
            for batch in itertools.islice(feed, sizes.steps):
                use(batch)

        def arm() -> float:
            for batch in itertools.islice(feed, sizes.warm_steps):
                use(batch)
            return place.timed(work) / sizes.steps

        return arm

    drained = {name: step_seconds(feed, lambda _: None) for name, feed in feeds.items() if name != "resident"}
    fed = in_turns(sizes.turns, drained)
    taught = in_turns(sizes.turns, {name: step_seconds(feed, learn) for name, feed in feeds.items()})
    resident = taught["resident"]
    stats = {name: value for name, value in loader.stats().items() if name != "daemon"}
    return {
        "feed_images_per_second": {name: sizes.batch / statistics.median(found) for name, found in fed.items()},
        "train_images_per_second": {name: sizes.batch / statistics.median(found) for name, found in taught.items()},
        "gpu_waits_percent": {
            name: 100 * (1 - ratios(resident, found)["median"]) for name, found in taught.items() if name != "resident"
        },
        "step_seconds": taught,
        "feed_step_seconds": fed,
        "loader": repr(loader),
        "stats": stats,
    }


def machine(place: Place) -> dict[str, Any]:
    """Say what it ran on: processor, cores, memory, kernel, GPU, and versions."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    found: dict[str, Any] = {
        "processor": cpus[0].partition(": ")[2] if cpus else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "forebay": forebay_version,
        **{name: metadata.version(name) for name in ("torch", "torchvision")},
    }
    if place.is_real:
        found["gpu"] = torch.cuda.get_device_name(place.device)
        found["cuda_of_torch"], found["cuda_of_driver"] = torch.version.cuda, driver().version()
    return found


def show(found: dict[str, Any]) -> None:
    """Print the answers."""
    moved, read, taught = found["transfer"], found["decode"], found["train"]
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in moved["gigabytes_per_second"].items())
    ratio = moved["slot_to_pinned"]
    print(f"transfer, GB/s: {rates}; slot / pinned {ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})")
    rates, ratio = (
        ", ".join(f"{n} {r:.0f}" for n, r in read["images_per_second"].items()),
        read["forebay_to_torchvision"],
    )
    print(f"decode, images/s: {rates}; forebay / torchvision {ratio['median']:.2f} ({read['library']})")
    print("feed alone, images/s: " + ", ".join(f"{n} {r:.0f}" for n, r in taught["feed_images_per_second"].items()))
    print(f"{'train':<10}{'images/s':>10}{'GPU waits':>12}")
    for name, rate in taught["train_images_per_second"].items():
        waits = taught["gpu_waits_percent"].get(name)
        print(f"{name:<10}{rate:>10.0f}{'' if waits is None else f'{waits:.1f} %':>12}")


def made(folder: Path, images: int) -> Path:
    """Make photographs."""
    command = [find_binary(), "synth", str(folder), "--classes", "10", "--images", str(images)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return folder / "train"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of class folders (default: photographs that are made)")
    parser.add_argument("--images", type=int, default=8000, help="how many to make (default 8000)")
    parser.add_argument("--device", default="cuda", help="default cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=60, help="timed steps of a turn (default 60)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, help="of torch's loader (default: one a core)")
    parser.add_argument("--out", type=Path, help="write all of it here, as JSON")
    parser.add_argument("--rehearse", action="store_true", help="only see that the script works, on the CPU")
    return parser.parse_args()


def main() -> int:
    """Measure, print, and write what was found."""
    args = arguments()
    cores = len(os.sched_getaffinity(0))
    sizes = Sizes(args.batch, 224, args.steps, args.turns, cores if args.workers is None else args.workers, "resnet50")
    place, images = Place(torch.device("cpu")), args.images
    if args.rehearse:
        sizes, images = Sizes(4, 32, 2, 2, 0, "resnet18"), 60
    else:
        try:
            place = Place(device_of(args.device) or torch.device("cpu"))
        except DeviceError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        if not place.is_real:
            print(f"error: --device {args.device} is no CUDA device\nhint: --rehearse needs none", file=sys.stderr)
            return 2
        torch.cuda.set_device(place.device)
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or made(Path(folder) / "photographs", images)
        found = {
            "machine": machine(place),
            "sizes": sizes._asdict(),
            "rehearsal": args.rehearse,
            "transfer": transfer(data, place, sizes),
            "decode": decode(data, place, sizes),
            "train": train(data, place, sizes),
        }
    if args.rehearse:
        print("a rehearsal on the CPU: nothing below is a measurement")
    show(found)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
