"""The whole life of a training set: taken in, labelled, cleaned, split, explored, trained on while it grows, judged.

    python examples/life/whole_life.py                       on made photographs and made speech, in a temporary folder
    python examples/life/whole_life.py --photos DIR --speech DIR --work DIR      on your own

Photographs lie in class folders; speech is WAV files whose names tell the speaker, as `--speaker` finds it in them:
`--speaker '_([a-z]+)_'` in 7_lucas_12.wav. Neither is changed.
Needs numpy and forebay alone. Each step is a command that is printed before it runs; what must hold is checked.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import re
import struct
import subprocess
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np

import forebay
from forebay.numpy import DataLoader
from forebay.transforms import CenterCrop, RandomHorizontalFlip, Resize

SPEAKERS = 12
SIDE = 16
SALT = "8e0f2c51a7d34b96b1e6c0d95f7a3428"  # drawn once; without it each data set draws its own


def run(*words: str, quiet: bool = False) -> str:
    """Run a forebay command as a person would, and give what it printed."""
    if not quiet:
        print(f"\n$ forebay {' '.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "forebay", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"forebay {' '.join(words)} ended with {done.returncode}")
    if not quiet:
        print(done.stdout, end="")
    return done.stdout


def keys(place: str, *words: str) -> list[str]:
    """Give the keys of a selection."""
    return run("dataset", "files", place, "--keys", *words, quiet=True).splitlines()


def check(holds: bool, what: str) -> None:
    """End where something that must hold does not."""
    if not holds:
        raise SystemExit(f"this must hold and does not: {what}")
    print(f"  checked: {what}")


def make_photographs(folder: Path, images: int, classes: int) -> None:
    """Draw photographs; those of the first classes are what there is today, the rest comes later."""
    run("synth", str(folder), "--images", str(images), "--classes", str(classes))


def make_speech(folder: Path, words: int) -> None:
    """Write tones that stand for words, of several speakers."""
    folder.mkdir(parents=True, exist_ok=True)
    for speaker in range(SPEAKERS):
        for word in range(words):
            length, pitch = 4000 + 400 * word, 110 * (1 + speaker / 4)
            tone = (int(9000 * math.sin(2 * math.pi * pitch * t / 16000)) for t in range(length))
            with wave.open(str(folder / f"s{speaker:02d}-word{word}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16000)
                file.writeframes(b"".join(struct.pack("<h", value) for value in tone))


class Model:
    """A linear classifier on small images: enough to see that training goes on."""

    def __init__(self, classes: int) -> None:
        self.weights = np.zeros((SIDE * SIDE * 3 + 1, classes))

    def grow(self, classes: int) -> None:
        """Take classes in behind those that are known; their labels are as they were."""
        new = np.zeros((self.weights.shape[0], classes - self.weights.shape[1]))
        self.weights = np.concatenate([self.weights, new], axis=1)

    def features(self, images: Any) -> Any:
        """Give a row of numbers an image."""
        flat = images.reshape(len(images), -1) / 127.5 - 1.0
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    def train(self, data: forebay.Dataset, epochs: int) -> int:
        """Train; give how many samples an epoch had."""
        transform = [Resize([SIDE, SIDE]), RandomHorizontalFlip()]
        seen = 0
        with DataLoader(data, batch_size=16, shuffle=True, transform=transform) as loader:
            for _ in range(epochs):
                seen = 0
                for images, labels in loader:
                    x = self.features(images)
                    scores = np.exp(x @ self.weights - (x @ self.weights).max(axis=1, keepdims=True))
                    wrong = scores / scores.sum(axis=1, keepdims=True)
                    wrong[np.arange(len(labels)), labels] -= 1
                    self.weights -= 0.02 * x.T @ wrong / len(labels)
                    seen += len(labels)
        return seen

    def judge(self, data: forebay.Dataset) -> tuple[float, int]:
        """Give the accuracy, and over how many samples."""
        right = count = 0
        with DataLoader(data, batch_size=16, transform=[Resize([SIDE, SIDE]), CenterCrop(SIDE)]) as loader:
            for images, labels in loader:
                right += int(((self.features(images) @ self.weights).argmax(axis=1) == labels).sum())
                count += len(labels)
        return right / count, count


def photographs(outside: Path, work: Path) -> None:
    """Walk through the life of a set of photographs."""
    photos = str(work / "photos")
    classes = sorted(path for path in outside.iterdir() if path.is_dir())
    late = classes[-1]
    first, later = work / "outside-today", work / "outside-later"
    for folder in classes:
        files = sorted(folder.iterdir())
        today = 0 if folder == late else len(files) * 9 // 10
        for place, some in ((first, files[:today]), (later, files[today:])):
            for file in some:
                (place / folder.name).mkdir(parents=True, exist_ok=True)
                (place / folder.name / file.name).symlink_to(file.resolve())

    print("\n=== Take in: copied, verified by checksum, indexed. A second time, nothing is left to do.")
    run("ingest", str(first), photos)
    run("ingest", str(first), photos)
    run("index", photos, "--measure")

    print("\n=== Labels and columns come apart from the files: who took each photograph, by key.")
    draw = random.Random(1)
    authors = work / "authors.csv"
    with authors.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["key", "author"])
        lines.writerows([key, f"author{draw.randrange(20):02d}"] for key in keys(photos))
        lines.writerow(["nobody/has-this.jpg", "author00"])
    run("dataset", "join", photos, "--columns", str(authors))

    print("\n=== Clean: two damaged files and one copy are planted; what does not decode goes into quarantine.")
    sample = keys(photos)
    for key in sample[:2]:
        damaged = work / "photos" / key
        damaged.write_bytes(damaged.read_bytes()[:200])
    twin = work / "photos" / sample[2]
    copy = twin.with_name("twin-" + twin.name)
    copy.write_bytes(twin.read_bytes())
    run("index", photos)
    more = work / "more-authors.jsonl"
    more.write_text(json.dumps({"key": str(copy.relative_to(work / "photos")), "author": "author00"}))
    run("dataset", "join", photos, "--columns", str(more))
    run("dataset", "verify", photos, "--dedup")
    check(not set(sample[:2]) & set(keys(photos)), "the damaged files are in no selection")

    print("\n=== Split by author, for ever; freeze what is judged on; explore on a nested part.")
    run("dataset", "split", photos, "main", "--holdout", "val=0.2", "--group-by", "author", "--salt", SALT)
    run("dataset", "freeze", photos, "eval-1", "--split", "val", "--group-by", "author")
    train, frozen = keys(photos, "--split", "train"), keys(photos, "--split", "eval-1")
    check(not set(train) & set(frozen), "no sample is on both sides")
    explored = forebay.Dataset(photos, split="train", fraction=0.1)
    model = Model(len(classes) - 1)
    print(f"explored on {model.train(explored, 2)} of {len(train)} samples")

    print("\n=== Train; then new photographs arrive, of a new class too, and training goes on over all of them.")
    print(f"trained on {model.train(forebay.Dataset(photos, split='train'), 4)} samples an epoch")
    accuracy, count = model.judge(forebay.Dataset(photos, split="eval-1"))
    print(f"frozen set eval-1: {accuracy:.1%} of {count}")
    before = json.loads(run("dataset", "show", photos, "--json", quiet=True))
    run("ingest", str(later), photos)
    known = {json.loads(more.read_text())["key"], *(line.split(",")[0] for line in authors.read_text().splitlines())}
    latest = work / "latest-authors.jsonl"
    new = [{"key": key, "author": f"author{draw.randrange(25):02d}"} for key in keys(photos) if key not in known]
    latest.write_text("".join(json.dumps(row) + "\n" for row in new))
    run("dataset", "join", photos, "--columns", str(latest))
    after = json.loads(run("dataset", "show", photos, "--json", quiet=True))
    old = [entry["name"] for entry in before["classes"]]
    check([entry["name"] for entry in after["classes"]][: len(old)] == old, "no old class has another label")
    check(late.name in [entry["name"] for entry in after["classes"]], f"the new class {late.name} has a label")
    check(keys(photos, "--split", "eval-1") == frozen, "the frozen set is what it was")
    check(set(train) <= set(keys(photos, "--split", "train")), "no sample changed sides")
    model.grow(len(after["classes"]))
    print(f"trained on {model.train(forebay.Dataset(photos, split='train'), 4)} samples an epoch")
    accuracy, again = model.judge(forebay.Dataset(photos, split="eval-1"))
    print(f"frozen set eval-1: {accuracy:.1%} of {again}")
    check(again == count, "both were judged on the same samples")

    print("\n=== A removal by law, an export, and what became of it all.")
    gone = keys(photos, "--split", "train")[0]
    run("dataset", "remove", photos, gone, "--reason", "asked by the author")
    run("index", photos)
    check(gone not in keys(photos), "what was removed does not come back")
    run("dataset", "export", photos, str(work / "eval-1"), "--split", "eval-1")
    run("dataset", "export", "--again", str(work / "eval-1"), str(work / "eval-1-again"))
    same = (work / "eval-1/shard-000000.tar").read_bytes() == (work / "eval-1-again/shard-000000.tar").read_bytes()
    check(same, "the export was made again byte for byte")
    run("dataset", "log", photos)
    run("dataset", "show", photos)


def speech(outside: Path, work: Path, speaker: re.Pattern[str], salt: str) -> None:
    """Walk a set of speech up to its splits; decoding audio for training is another story."""
    place = str(work / "speech.forebay")
    print("\n=== Speech: indexed where it lies, which stays as it is; measured; split by speaker.")
    before = sorted(path.name for path in outside.rglob("*"))
    run("index", str(outside), "--no-classes", "--extensions", "wav", "--measure", "--dataset", place)
    speakers = work / "speakers.jsonl"
    found = {key: speaker.search(Path(key).name) for key in keys(place)}
    nameless = [key for key, match in found.items() if match is None]
    if nameless:
        raise SystemExit(f"no speaker in the name of {nameless[0]} by --speaker {speaker.pattern!r}")
    voice = {key: match.group(1) for key, match in found.items() if match is not None}
    with speakers.open("w") as file:
        file.writelines(json.dumps({"key": key, "speaker": name}) + "\n" for key, name in voice.items())
    run("dataset", "join", place, "--columns", str(speakers))
    run("dataset", "split", place, "speakers", "--holdout", "val=0.25", "--group-by", "speaker", "--salt", salt)
    run("dataset", "filter", place, "--name", "long", "--where", "duration_s >= 0.3")
    sides = {side: keys(place, "--split", side) for side in ("train", "val")}
    voices = {side: {voice[key] for key in keys_of} for side, keys_of in sides.items()}
    print(", ".join(f"{side}: {len(sides[side])} of {len(voices[side])} speakers" for side in sides))
    check(not voices["train"] & voices["val"], "no speaker is on both sides")
    check(
        set(keys(place, "--split", "train", "--where", "long")) <= set(sides["train"]), "a selection lies in its side"
    )
    check(sorted(path.name for path in outside.rglob("*")) == before, "the folder of speech is as it was")


def main() -> None:
    """Walk through both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="class folders of images; made ones by default")
    parser.add_argument("--speech", type=Path, help="WAV files; made ones by default")
    parser.add_argument("--speaker", type=re.compile, default="^([^-]+)-", help="finds the speaker in a file's name")
    parser.add_argument("--salt", default=SALT, help="of the split by speaker: each draws others, of few maybe none")
    parser.add_argument("--work", type=Path, help="an empty folder to work in; a temporary one by default")
    parser.add_argument("--images", type=int, default=400, help="how many photographs are made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).resolve()
        if options.photos is None:
            make_photographs(work / "made", options.images, 5)
        if options.speech is None:
            make_speech(work / "made-speech", 6)
        photographs((options.photos or work / "made" / "train").resolve(), work)
        speech((options.speech or work / "made-speech").resolve(), work, options.speaker, options.salt)
    print("\nall of it holds")


if __name__ == "__main__":
    main()
