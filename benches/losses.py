"""Ask whether a network trains as well on forebay's batches as on torch's, over several seeds.

    PYTHONPATH=client-py/src python benches/losses.py [--seeds 5] [--arms torch,forebay,auto,control] [--out FOLDER]
        [--reuse FILE] [--json]

The script is examples/reference/train.py on made images of ten shapes: once as it is, once with the import of
`DataLoader` changed, with `auto` under `forebay run --auto`; `control` is torch again, without TrivialAugment, to see
that the tests would notice a difference. Each seed gives the network's first weights, the order and all augmentations;
the arms take turns. Two measures of a run: the mean loss of its last epoch, and the mean over all steps, which is the
area under its curve. Beside them, told but not tested, the last test loss and accuracy.

Two tests of each measure, both exact, over all ways to deal the runs out to the two arms:
- difference: the two-sided permutation test of the means. Arms differ where p < 0.05.
- equivalence: that the mean lies within MARGIN of torch's, twice the one-sided permutation test, of runs shifted by the
  margin. Arms are equivalent where the larger p is < 0.05.
Exit status 0 where each arm is equivalent to torch and not shown to differ, and the control is shown to.
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
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parent.parent / "examples" / "reference"
TORCHS = "from torch.utils.data import DataLoader\n"
OURS = "from forebay.torch import DataLoader\n"
OUR = "forebay:"  # what it says starts so
MEASURES = ("last_epoch_loss", "area_loss")
ALPHA = 0.05
MARGIN = 0.05


def difference_p(one: Sequence[float], other: Sequence[float]) -> float:
    """Give the share of all ways to deal the values out whose means lie at least as far apart, in either direction."""
    far = abs(_apart(one, other))
    return _share(one, other, lambda apart: abs(apart) >= far)


def equivalence_p(one: Sequence[float], other: Sequence[float], margin: float) -> float:
    """Give the larger p of two one-sided tests: that `other`'s mean lies no further below or above than `margin`."""
    raised = [value + margin for value in other]
    lowered = [value - margin for value in other]
    above, below = _apart(one, raised), _apart(one, lowered)
    return max(
        _share(one, raised, lambda apart: apart >= above),  # not further below
        _share(one, lowered, lambda apart: apart <= below),  # not further above
    )


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    return statistics.fmean(other) - statistics.fmean(one)


def _share(one: Sequence[float], other: Sequence[float], counts: Any) -> float:
    values = [*one, *other]
    tolerance = 1e-12 * max(1.0, max(map(abs, values)))
    whole, hits, ways = sum(values), 0, 0
    for chosen in itertools.combinations(values, len(other)):
        apart = sum(chosen) / len(other) - (whole - sum(chosen)) / len(one)
        hits += counts(apart) or counts(apart + tolerance) or counts(apart - tolerance)
        ways += 1
    return hits / ways


def variant(folder: Path, arm: str) -> Path:
    """Copy the script, with the import changed for forebay's arm, and nothing else."""
    text = (REFERENCE / "train.py").read_text()
    if text.count(TORCHS) != 1:
        raise SystemExit(f"error: {REFERENCE / 'train.py'} does not import DataLoader in a line of its own")
    (folder / arm).mkdir(exist_ok=True)
    (folder / arm / "presets.py").write_text((REFERENCE / "presets.py").read_text())
    script = folder / arm / "train.py"
    script.write_text(text.replace(TORCHS, OURS) if arm == "forebay" else text)
    return script


def train(script: Path, arm: str, data: Path, seed: int, options: Sequence[str]) -> dict[str, Any]:
    """Run one training to its end; give its measures and its curve by epoch."""
    output = script.parent / f"{seed}.json"
    command = [sys.executable, str(script), str(data), f"--seed={seed}", f"--output={output}", *options]
    if arm == "control":
        command.append("--no-auto-augment")
    if arm == "auto":
        command = [os.environ.get("FOREBAY_BINARY") or "forebay", "run", "--auto", "--", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"error: {arm}, seed {seed}: status {done.returncode}\n{done.stderr[-3000:]}")
    epochs = json.loads(output.read_text())
    losses = [loss for epoch in epochs for loss in epoch["losses"]]
    return {
        "seed": seed,
        "last_epoch_loss": statistics.fmean(epochs[-1]["losses"]),
        "area_loss": statistics.fmean(losses),
        "test_loss": epochs[-1]["test_loss"],
        "accuracy": epochs[-1]["accuracy"],
        "curve": [round(statistics.fmean(epoch["losses"]), 4) for epoch in epochs],
        "said": sorted({line for line in done.stderr.replace(str(data), "DATA").splitlines() if line.startswith(OUR)}),
    }


def reused(file: Path, seeds: int, options: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Take torch's and the control's runs from an earlier report: with equal seeds and versions they are the same."""
    report = json.loads(file.read_text())
    if [report[word] for word in ("seeds", "options", *versions())] != [seeds, list(options), *versions().values()]:
        raise SystemExit(f"error: {file} is of other seeds, options or versions")
    return {arm: runs for arm, runs in report["runs"].items() if arm in ("torch", "control")}


def versions() -> dict[str, str]:
    """Tell what runs hang on besides their seeds."""
    return {name: metadata.version(name) for name in ("torch", "torchvision")} | {"python": platform.python_version()}


def compared(runs: dict[str, list[dict[str, Any]]], arm: str) -> dict[str, Any]:
    """Test each measure of an arm against torch's."""
    found: dict[str, Any] = {}
    for measure in MEASURES:
        theirs, ours = ([run[measure] for run in runs[name]] for name in ("torch", arm))
        margin = MARGIN * statistics.fmean(theirs)
        found[measure] = {
            "ratio_of_means": statistics.fmean(ours) / statistics.fmean(theirs),
            "difference_p": difference_p(theirs, ours),
            "equivalence_p": equivalence_p(theirs, ours, margin),
        }
    return found


def is_as_wanted(arm: str, found: dict[str, Any]) -> bool:
    """Whether an arm is torch's equal by both measures; the control must not be, by either."""
    if arm == "control":
        return all(test["difference_p"] < ALPHA <= test["equivalence_p"] for test in found.values())
    return all(test["equivalence_p"] < ALPHA <= test["difference_p"] for test in found.values())


def show(runs: dict[str, list[dict[str, Any]]], tests: dict[str, dict[str, Any]]) -> None:
    """Print the measures of all runs, and what the tests say."""
    words = ("last_epoch_loss", "area_loss", "test_loss", "accuracy")
    print(f"{len(runs['torch'])} seeds: mean, and standard deviation over the seeds\n")
    print(f"{'':9}" + "".join(f"{word.replace('_', ' '):>20}" for word in words))
    for arm, mine in runs.items():
        columns = [[run[word] for run in mine] for word in words]
        cells = [f"{statistics.fmean(column):.4f} ({statistics.stdev(column):.4f})" for column in columns]
        print(f"{arm:9}" + "".join(f"{cell:>20}" for cell in cells))
    print(f"\nagainst torch (margin of equivalence: {MARGIN:.0%} of torch's mean)")
    for arm, found in tests.items():
        for measure, test in found.items():
            print(
                f"{arm:9}{measure.replace('_', ' '):18}ratio {test['ratio_of_means']:.4f}   "
                f"difference p = {test['difference_p']:.3f}   equivalence p = {test['equivalence_p']:.3f}"
            )


def main() -> int:
    """Make the data, train in turns, test, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="runs of each arm; at least 4 (default: %(default)s)")
    arms = "torch,forebay,auto,control"
    parser.add_argument("--arms", default=arms, help="torch is always one (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a folder for losses.json")
    parser.add_argument("--reuse", type=Path, metavar="FILE", help="take torch's and the control's runs from there")
    parser.add_argument("--json", action="store_true", help="print that instead of a table")
    parser.add_argument("options", nargs="*", help="for the script, behind --")
    args = parser.parse_args()
    arms = list(dict.fromkeys(["torch", *args.arms.split(",")]))
    if unknown := set(arms) - {"torch", "forebay", "auto", "control"}:
        parser.error(f"unknown arm {', '.join(sorted(unknown))}")
    if args.seeds < 4:
        parser.error("with fewer than 4 seeds no p can be below 0.05")  # of 3 and 3 the smallest is 2 / 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, str(REFERENCE / "shapes.py"), str(folder / "data")], check=True, stdout=2)
        scripts = {arm: variant(folder, arm) for arm in arms}
        runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
        runs |= reused(args.reuse, args.seeds, args.options) if args.reuse else {}
        left = [arm for arm in arms if not runs[arm]]
        for seed in range(args.seeds):
            for arm in left if seed % 2 == 0 else reversed(left):
                runs[arm].append(train(scripts[arm], arm, folder / "data", seed, args.options))
                print(f"seed {seed}, {arm}: loss {runs[arm][-1]['last_epoch_loss']:.4f}", file=sys.stderr, flush=True)
    tests = {arm: compared(runs, arm) for arm in arms if arm != "torch"}
    equal = {arm: is_as_wanted(arm, found) for arm, found in tests.items()}
    report = {**versions(), "seeds": args.seeds, "options": args.options, "margin": MARGIN, "alpha": ALPHA}
    report |= {"as_wanted": equal, "tests": tests, "runs": runs}
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "losses.json").write_text(json.dumps(report, indent=1) + "\n")
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        show(runs, tests)
    return 0 if all(equal.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
