"""Measures loaders side by side on this machine: one process a peer and round, the peers in turns.

    python benches/peers/run.py --peers forebay,torchvision,dali --data DIR --rounds 3 --seconds 20

The Markdown table goes to standard output, every run to --out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import envs
import table
from settings import Peer

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
MODULES = {
    "forebay": ["peer_forebay"],
    "torchvision": ["peer_torchvision_tensor", "peer_torchvision_pil"],
    "dali": ["peer_dali"],
}


def main() -> None:
    """Install, measure in turns, tell."""
    args = arguments()
    modules = [module for name in args.peers.split(",") for module in MODULES[name]]
    peers = {module: peer_of(module) for module in modules}
    base = envs.base_python(args.venvs)
    pythons = {module: envs.python_for(peer, base, args.venvs) for module, peer in peers.items()}
    runs: list[dict[str, Any]] = []
    for round_ in range(1, args.rounds + 1):
        for dtype in args.dtypes.split(","):
            for module, peer in peers.items():
                envs.say(f"round {round_} of {args.rounds}: {peer.name} {dtype}")
                figures = measure(pythons[module], module, dtype, args)
                envs.say(f"  {figures['rows_per_second']:.0f} images/s")
                runs.append({"peer": peer.name, "dtype": dtype, "round": round_, **figures})
    summary = table.summarise(runs)
    print(table.markdown(summary, {peer.name: peer.note for peer in peers.values()}))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"machine": machine(base), "settings": settings(args), "summary": summary, "runs": runs}
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Parse the command line and check it whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(MODULES), help=f"a choice of {', '.join(MODULES)}")
    parser.add_argument("--data", type=Path, required=True, help="a folder of class folders of JPEGs")
    parser.add_argument("--dtypes", default="u8,f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured seconds of one run")
    parser.add_argument("--warmup", type=float, default=5.0, help="seconds after the first batch, not measured")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="of each peer")
    parser.add_argument("--binary", type=Path, help="the forebay command (default: target/release, then PATH)")
    parser.add_argument("--venvs", type=Path, default=envs.default_folder())
    parser.add_argument("--out", type=Path, help="a file for every run, as JSON")
    args = parser.parse_args()
    unknown = set(args.peers.split(",")) - set(MODULES) | set(args.dtypes.split(",")) - {"u8", "f32"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; peers are {', '.join(MODULES)}, dtypes u8 and f32")
    if not args.data.is_dir():
        parser.error(f"{args.data} is no folder; `python benches/peers/make_w1.py SRC DST` makes one")
    args.data = args.data.resolve()
    return args


def peer_of(module: str) -> Peer:
    """Import what describes a peer; its framework is imported only in its own process."""
    return importlib.import_module(module).PEER


def measure(python: str, module: str, dtype: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run one peer once in a process of its own."""
    command = [
        python,
        str(HERE / "worker.py"),
        "--module",
        module,
        "--data",
        str(args.data),
        "--dtype",
        dtype,
    ]
    for name in ("batch", "workers", "warmup", "seconds"):
        command += [f"--{name}", str(getattr(args, name))]
    done = subprocess.run(command, env=environment(args), capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise SystemExit(f"error: {module} ended with {done.returncode}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Let the workers find the client of this tree, and its binary."""
    found = args.binary or REPO / "target" / "release" / "forebay"
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([str(REPO / "client-py" / "src"), env.get("PYTHONPATH", "")])
    if args.binary or found.exists():
        env["FOREBAY_BINARY"] = str(found.resolve())
    env.pop("FOREBAY_SOCKET", None)
    return env


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """Tell what was asked for; the data by name and size, since a path means nothing elsewhere."""
    names = ("rounds", "seconds", "warmup", "batch", "workers")
    files = [path for path in args.data.glob("*/*") if path.is_file()]
    data = {"name": args.data.name, "files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    return {name: getattr(args, name) for name in names} | {"data": data}


def machine(python: str) -> dict[str, Any]:
    """Tell what a figure means nothing without."""
    code = "import torch, torchvision; print(torch.__version__, torchvision.__version__)"
    torch = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch, torchvision": torch,
    }


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
