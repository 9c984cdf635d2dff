"""One command on pictures in folders, over several seeds: `python -m benchmarks.own_pictures digits` prints the table of
docs/own_pictures.md. A run that is there already is not run again.

  digits    scikit-learn's handwritten digits as PNGs of 8 pixels: 4 labeled of each class, 500 to test
  shapes    drawn here, 96 pixels, in colour: eight shapes of any size, place, angle and colour on grounds of any pattern;
            20 labeled of each class, 1,200 unlabeled, 400 to test
  FOLDER    pictures/labeled, unlabeled and test of yours; {seed} in its name stands for the seed

Beside it stands a support-vector machine on gradient histograms of the same labeled pictures.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.seeds import accuracies

SHAPES = ("arrow", "circle", "cross", "moon", "ring", "square", "star", "triangle")
SIDE = 96


def make_digits(folder: str, seed: int) -> None:
    """Writes the digits as PNGs."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images, labels = (found.images * 255 / 16).round().astype(np.uint8), found.target
    left = dict.fromkeys(range(10), 4)
    for place, index in enumerate(np.random.RandomState(seed).permutation(len(labels)).tolist()):
        label = int(labels[index])
        part = f"test/{label}" if place < 500 else f"labeled/{label}" if left[label] else "unlabeled"
        left[label] -= part.startswith("labeled")
        _save(Image.fromarray(images[index]), folder, part, f"{index:04d}.png")


def make_shapes(folder: str, seed: int) -> None:
    """Draws the shapes."""
    random = np.random.default_rng(seed)
    for part, number in (("labeled", 20), ("test", 50), ("unlabeled", 150)):
        for name in SHAPES:
            for index in range(number):
                inside = part if part == "unlabeled" else f"{part}/{name}"
                file = f"{random.integers(1 << 40):011x}.png" if part == "unlabeled" else f"{index:03d}.png"
                _save(draw_shape(name, random), folder, inside, file)


def draw_shape(name: str, random: np.random.Generator) -> Image.Image:
    """One picture: a shape of any colour, size, place and angle on a ground of waves and noise."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    ground = np.zeros((SIDE, SIDE, 3))
    for channel in range(3):
        fast, angle, phase = random.uniform(0.02, 0.5), random.uniform(0, math.pi), random.uniform(0, 6)
        wave = np.sin((rows * math.sin(angle) + columns * math.cos(angle)) * fast + phase)
        ground[..., channel] = random.uniform(40, 215) + random.uniform(0, 40) * wave
    picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    mask = Image.new("L", (4 * SIDE, 4 * SIDE))
    radius = 4 * SIDE * random.uniform(0.14, 0.3)
    center = random.uniform(radius, 4 * SIDE - radius, 2)
    _draw(name, ImageDraw.Draw(mask), center, radius, random.uniform(0, 2 * math.pi))
    mask = mask.resize((SIDE, SIDE), Image.Resampling.BOX)
    behind = ground[np.asarray(mask) > 127].mean(axis=0)
    color = (behind + random.uniform(80, 140, 3) * random.choice([-1, 1], 3)) % 256
    picture.paste(tuple(int(value) for value in color), mask=mask)
    noisy = np.asarray(picture, np.float64) + random.normal(0, random.uniform(2, 20), (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _draw(name: str, pen: ImageDraw.ImageDraw, center: np.ndarray, radius: float, turn: float) -> None:
    def at(angle: float, distance: float = 1.0) -> tuple[float, float]:
        return (
            float(center[0] + radius * distance * math.cos(turn + angle)),
            float(center[1] + radius * distance * math.sin(turn + angle)),
        )

    def disc(place: tuple[float, float], share: float, fill: int) -> None:
        size = radius * share
        pen.ellipse([place[0] - size, place[1] - size, place[0] + size, place[1] + size], fill=fill)

    def polygon(corners: list[tuple[float, float]]) -> None:
        pen.polygon(corners, fill=255)

    if name in ("circle", "ring", "moon"):
        disc(at(0, 0), 1.0, 255)
        if name != "circle":
            disc(at(0, 0.0 if name == "ring" else 0.5), 0.6 if name == "ring" else 0.85, 0)
    elif name in ("square", "triangle"):
        corners = 4 if name == "square" else 3
        polygon([at(2 * math.pi * corner / corners) for corner in range(corners)])
    elif name == "star":
        polygon([at(math.pi * corner / 5, 0.4 if corner % 2 else 1.0) for corner in range(10)])
    elif name == "cross":
        for angle in (0.0, math.pi / 2):
            polygon([at(angle + side) for side in (-0.25, 0.25, math.pi - 0.25, math.pi + 0.25)])
    else:
        polygon([at(0), at(1.9, 0.8), at(math.pi, 0.2), at(-1.9, 0.8)])


def _save(image: Image.Image, *path: str) -> None:
    os.makedirs(os.path.join(*path[:-1]), exist_ok=True)
    image.save(os.path.join(*path))


MADE: dict[str, Callable[[str, int], None]] = {"digits": make_digits, "shapes": make_shapes}


# --- the yardstick --------------------------------------------------------------------------------------------------


def machine_accuracy(folder: str) -> float:
    """Percent of test/ that a support-vector machine has right, trained on gradient histograms of labeled/ alone."""
    from sklearn.svm import SVC

    (known, classes), (asked, truth) = (_histograms(os.path.join(folder, part)) for part in ("labeled", "test"))
    return 100 * float((SVC(C=10).fit(known, classes).predict(asked) == truth).mean())


def _histograms(folder: str, cells: int = 4, bins: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Of each picture: how strong the gradients of each direction are in each of cells x cells parts."""
    found, classes = [], []
    for path in sorted(Path(folder).rglob("*.png")):
        with Image.open(path) as image:
            picture = np.asarray(image.convert("L"), np.float64)
        rows, columns = np.gradient((picture - picture.mean()) / (picture.std() + 1e-6))
        turn = np.minimum(np.arctan2(rows, columns) % np.pi / np.pi * bins, bins - 1).astype(int)
        place = np.minimum(np.mgrid[: picture.shape[0], : picture.shape[1]] * cells // min(picture.shape), cells - 1)
        index = (place[0] * cells + place[1]) * bins + turn
        counts = np.bincount(index.ravel(), np.hypot(rows, columns).ravel(), cells * cells * bins)
        found.append(counts / (np.linalg.norm(counts) + 1e-12))
        classes.append(path.parent.name)
    return np.array(found), np.array(classes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", help="digits, shapes, or a folder")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--dir", default="runs/own_pictures")
    arguments, more = parser.parse_known_args()
    rows = []
    for seed in map(int, arguments.seeds.split(",")):
        name = arguments.pictures
        source = name.format(seed=seed)
        if name in MADE:
            source = os.path.join(arguments.dir, f"{name}{seed}", "pictures")
            if not os.path.isdir(source):
                MADE[name](source, seed)
        title = name if name in MADE else os.path.basename(os.path.normpath(name)).replace("{seed}", "")
        work_dir = os.path.join(arguments.dir, f"{title}{seed}", "run")
        command = [sys.executable, "main.py", "--mode=iterate", "--task_name=folder", f"--source_dir={source}"]
        began = time.monotonic()
        subprocess.run([*command, f"--work_dir={work_dir}", f"--seed={seed}", *more], check=True)
        rows.append((seed, machine_accuracy(source), accuracies(work_dir), (time.monotonic() - began) / 60))
    print("\n| seed | machine % | teacher % | students % | gain, points | minutes |\n|---|---|---|---|---|---|")
    for seed, machine, values, minutes in rows:
        students = ", ".join(f"{value:.1f}" for value in values[1:])
        print(
            f"| {seed} | {machine:.1f} | {values[0]:.1f} | {students} | {values[-1] - values[0]:+.1f} | {minutes:.1f} |"
        )
    gains = [values[-1] - values[0] for _, _, values, _ in rows]
    machine, first, last = (
        sum(column) / len(rows) for column in zip(*[(machine, values[0], values[-1]) for _, machine, values, _ in rows])
    )
    print(f"| mean | {machine:.1f} | {first:.1f} | {last:.1f} | {sum(gains) / len(gains):+.1f} | |")
    print(f"\nthe last student beats its teacher in {sum(gain > 0 for gain in gains)} of {len(gains)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
