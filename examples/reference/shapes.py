"""Makes a folder of class folders of JPEGs: ten light shapes at any place, size and turn, on a dark ground.

python examples/reference/shapes.py .demo/shapes [--train 1600] [--val 400] [--seed 0]
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

from PIL import Image, ImageDraw

# Twice as large as the picture to be, so that edges are smooth.
SIDE = 96
Point = tuple[float, float]


def polygon(corners: int, ratio: float = 1.0) -> list[Point]:
    """Give a regular polygon of radius 1; with a ratio, every other corner lies nearer."""
    radii = [1.0 if corner % 2 == 0 else ratio for corner in range(corners)]
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    return [(radius * math.cos(turn), radius * math.sin(turn)) for radius, turn in zip(radii, turns)]


CROSS = [(-1, -0.3), (-0.3, -0.3), (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3)]
CROSS += [(-x, -y) for x, y in CROSS]

# Corners, and whether the part is cut out of the others.
Part = tuple[list[Point], bool]


def disc(x: float, y: float, radius: float) -> list[Point]:
    """Give a disc as a polygon of many corners."""
    return [(x + radius * cos, y + radius * sin) for cos, sin in polygon(40)]


SHAPES: dict[str, list[Part]] = {
    "bar": [([(-1, -0.25), (1, -0.25), (1, 0.25), (-1, 0.25)], False)],
    "cross": [(CROSS, False)],
    "disc": [(disc(0, 0, 0.85), False)],
    "frame": [(polygon(4), False), ([(0.5 * x, 0.5 * y) for x, y in polygon(4)], True)],
    "moon": [(disc(0, 0, 1), False), (disc(0.5, 0, 0.8), True)],
    "pair": [(disc(-0.6, 0, 0.4), False), (disc(0.6, 0, 0.4), False)],
    "ring": [(disc(0, 0, 1), False), (disc(0, 0, 0.55), True)],
    "square": [(polygon(4), False)],
    "star": [(polygon(10, 0.4), False)],
    "triangle": [(polygon(3), False)],
}


def picture(parts: list[Part], draw: random.Random) -> Image.Image:
    """Draw a shape once."""
    back, fore = ((draw.randint(*span), draw.randint(*span), draw.randint(*span)) for span in ((0, 100), (130, 255)))
    size, turn = SIDE * draw.uniform(0.26, 0.36), draw.uniform(0, 2 * math.pi)
    x, y = (draw.uniform(SIDE * 0.4, SIDE * 0.6) for _ in range(2))
    image = Image.new("RGB", (SIDE, SIDE), back)
    pen = ImageDraw.Draw(image)
    sin, cos = size * math.sin(turn), size * math.cos(turn)
    for corners, is_cut in parts:
        pen.polygon(
            [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in corners], back if is_cut else fore
        )
    small = image.resize((SIDE // 2, SIDE // 2))
    noise = Image.frombytes("RGB", small.size, draw.randbytes(3 * small.width * small.height))
    return Image.blend(small, noise, 0.15)


def write(root: Path, count: int, seed: int) -> None:
    """Write so many pictures, the classes in turn."""
    draw = random.Random(seed)
    for index in range(count):
        name = list(SHAPES)[index % len(SHAPES)]
        (root / name).mkdir(parents=True, exist_ok=True)
        picture(SHAPES[name], draw).save(root / name / f"{index:05}.jpg", quality=90)


def main() -> None:
    """Make both sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--train", type=int, default=1600)
    parser.add_argument("--val", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write(args.root / "train", args.train, 2 * args.seed)
    write(args.root / "val", args.val, 2 * args.seed + 1)
    print(f"{args.train} + {args.val} images of {len(SHAPES)} shapes in {args.root}")


if __name__ == "__main__":
    main()
