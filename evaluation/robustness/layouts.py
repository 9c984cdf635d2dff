"""How the published robustness sets lie on disk, as their archives unpack."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Callable, Optional

from evaluation.robustness.alexnet import CORRUPTIONS, PERTURBATIONS, SEVERITIES
from evaluation.robustness.trees import Folder

EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
NOISE_DIFFICULTIES = tuple(f"{noise}_noise_{d}" for noise in ("gaussian", "shot", "speckle") for d in (2, 3))
EXTRA_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "spatter", "shear", *NOISE_DIFFICULTIES)
VARIANTS = ("matched-frequency", "threshold0.7", "top-images")
SIDES = (224, 299)
COMPRESSED = (".tar.gz", ".tgz", ".tar.xz", ".zip")
ARCHIVES = (".tar", *COMPRESSED)
PICTURES, VIDEOS = (".jpeg", ".jpg", ".png"), (".mp4",)

_WNID = re.compile(r"n\d{8}")
_VARIANT = re.compile(r"imagenet[-_]?v2-(matched-?frequency|threshold-?0\.7|top-?images)(-format-val)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one set lies on disk, and how large it is.

    Attributes:
      title: its name, for people.
      named: what its folder or archive may be called, without `.tar`; case does not matter.
      inside: what is expected in there, for messages.
      cell_of: the cell that a folder is, from the names on the way to it (never empty) and those of its subfolders; None if it
        is none.
      num_pictures: pictures of a cell as published.
      num_classes: classes of the set; None if all.
      parts: what may be asked for, the first `num_default` of them by default; () if the set is one.
      suffixes: endings of its files.
      same_pictures: whether every cell shows the same pictures; they then have one size, too, of `SIDES`.
    """

    title: str
    named: str
    inside: str
    cell_of: Callable[[Folder, Sequence[str]], Optional[str]]
    num_pictures: int
    num_classes: Optional[int] = None
    parts: tuple[str, ...] = ()
    num_default: int = 0
    suffixes: tuple[str, ...] = PICTURES
    same_pictures: bool = False


def named(name: str) -> Optional[str]:
    """The set that a folder or archive of this name is, as a key of `LAYOUTS`; None if the name tells nothing."""
    stem = re.sub(f"({'|'.join(map(re.escape, ARCHIVES))})$", "", name, flags=re.IGNORECASE)
    matching = (key for key, layout in LAYOUTS.items() if re.fullmatch(layout.named, stem, re.IGNORECASE))
    return next(matching, None)


def is_wnid(name: str) -> bool:
    """Whether a folder is called as a class of WordNet is (n01440764)."""
    return _WNID.fullmatch(name) is not None


def _corruption(path: Folder, _: Sequence[str]) -> Optional[str]:
    return f"{path[-2]}/{path[-1]}" if len(path) > 1 and path[-1] in map(str, SEVERITIES) else None


def _perturbation(path: Folder, _: Sequence[str]) -> Optional[str]:
    return path[-1] if path[-1] in (*PERTURBATIONS, *EXTRA_PERTURBATIONS) else None


def _variant(path: Folder, children: Sequence[str]) -> Optional[str]:
    match = _VARIANT.fullmatch(path[-1]) if any(child.isdigit() or is_wnid(child) for child in children) else None
    return next(variant for variant in VARIANTS if variant[:3] == match[1][:3].lower()) if match else None


def _whole(_: Folder, children: Sequence[str]) -> Optional[str]:
    return "" if any(map(is_wnid, children)) else None


LAYOUTS = {
    "c": Layout(
        title="ImageNet-C",
        named=r"imagenet[-_]?c",
        inside="<corruption>/<severity>/<wnid>/*.JPEG",
        cell_of=_corruption,
        num_pictures=50_000,
        parts=(*CORRUPTIONS, *EXTRA_CORRUPTIONS),
        num_default=len(CORRUPTIONS),
        same_pictures=True,
    ),
    "p": Layout(
        title="ImageNet-P",
        named=r"imagenet[-_]?p",
        inside="<perturbation>/<wnid>/*.mp4",
        cell_of=_perturbation,
        num_pictures=50_000,
        parts=(*PERTURBATIONS, *EXTRA_PERTURBATIONS),
        num_default=len(PERTURBATIONS),
        suffixes=VIDEOS,
        same_pictures=True,
    ),
    "a": Layout(
        "ImageNet-A", r"imagenet[-_]?a", "imagenet-a/<wnid>/*.jpg", _whole, num_pictures=7_500, num_classes=200
    ),
    "r": Layout(
        "ImageNet-R", r"imagenet[-_]?r", "imagenet-r/<wnid>/*.jpg", _whole, num_pictures=30_000, num_classes=200
    ),
    "o": Layout(
        "ImageNet-O", r"imagenet[-_]?o", "imagenet-o/<wnid>/*.jpg", _whole, num_pictures=2_000, num_classes=200
    ),
    "v2": Layout(
        title="ImageNet-V2",
        named=r"imagenet[-_]?v2.*",
        inside="imagenetv2-<variant>-format-val/<0..999>/*.jpeg",
        cell_of=_variant,
        num_pictures=10_000,
        parts=VARIANTS,
    ),
    "sketch": Layout("ImageNet-Sketch", r"(imagenet[-_]?)?sketch", "sketch/<wnid>/*.JPEG", _whole, num_pictures=50_889),
}
