"""What the release's ops make of five images: `randaugment_images.npz` and digests of 1,050 results."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib

import numpy as np

from data.images import randaugment

_FOLDER = pathlib.Path(__file__).parent


@functools.lru_cache(maxsize=1)
def digests() -> dict[str, str]:
    """Of every result, by `<Op>/<level>/<pos or neg>/<image>`; Cutout's centre is (height // 3, width // 2)."""
    return json.loads((_FOLDER / "randaugment_digests.json").read_text())


@functools.lru_cache(maxsize=1)
def images() -> dict[str, np.ndarray]:
    with np.load(_FOLDER / "randaugment_images.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def digest(array: np.ndarray) -> str:
    """First 16 hex digits of the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def cases(level: str) -> list[str]:
    """All `<Op>/<level>/<pos or neg>` of a level."""
    every = sorted({key.rsplit("/", 1)[0] for key in digests()})
    return [case for case in every if case.split("/")[1] == level]


def levels() -> list[str]:
    return sorted({key.split("/")[1] for key in digests()}, key=float)


def draws_of(case: str, height: int, width: int) -> list[float]:
    """The random numbers that stand for `<Op>/<level>/<pos or neg>` with Cutout at (height // 3, width // 2)."""
    name, _, sign = case.split("/")
    op = (randaugment.OPS.index(name) + 0.5) / len(randaugment.OPS)
    return [op, 0.25 if sign == "neg" else 0.75, (height // 3 + 0.5) / height, (width // 2 + 0.5) / width]


def copies(image: str, level: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A copy of an image for every case of a level, the draws that apply it, and the digests of the results."""
    pixels, names = images()[image], cases(level)
    draws = np.array([[draws_of(name, *pixels.shape[:2])] for name in names], np.float32)
    return np.repeat(pixels[None], len(names), axis=0), draws, [digests()[f"{name}/{image}"] for name in names]
