"""The plots of a robustness run. Each takes plain numbers (the content of robustness.json) and returns the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from reporting.plots import DOTS_PER_INCH, INK, MAIN, QUIET, SECOND, THIRD, WIDTH, png_canvas

# The first network is what the others are compared with.
COLORS = (INK, MAIN, SECOND, THIRD, "#8b5fbf", QUIET)
STRIP_FILE = "strip.png"
_CORRUPTIONS = ("generated-c", "c")
_PERTURBATIONS = ("generated-p", "p")
_ATTACKS = ("fgsm", "pgd")


def of_section(section: dict[str, Any]) -> list[tuple[str, str]]:
    """(file, what it shows) of the plots that a section may have."""
    key = section["key"]
    if key in _CORRUPTIONS:
        return [
            (f"{key}-severity.png", "Error against severity"),
            (f"{key}-corruptions.png", "Error by corruption"),
            (STRIP_FILE, "A picture under each corruption"),
        ]
    if key in _PERTURBATIONS:
        return [(f"{key}-flips.png", "Flips by perturbation")]
    return [(f"{key}-epsilon.png", "Accuracy against epsilon")] if key in _ATTACKS else []


def all_of(results: dict[str, Any], strip: Optional[Mapping[str, np.ndarray]] = None) -> dict[str, bytes]:
    """{file: PNG} of all plots; `strip` as in `robustness.write`."""
    names, pictures = [network["name"] for network in results["networks"]], dict[str, bytes]()
    for section in results["sections"]:
        key, on = section["key"], f"{section['num_pictures']:,} pictures, {section['title']}"
        if key in _CORRUPTIONS:
            pictures[f"{key}-severity.png"] = curves(section, names, "severity (0: clean)", "error, in %", on)
            pictures[f"{key}-corruptions.png"] = bars(section, names, f"Error by corruption, in % ({on})")
        elif key in _PERTURBATIONS:
            pictures[f"{key}-flips.png"] = bars(section, names, f"Flip probability by perturbation, in % ({on})")
        elif key in _ATTACKS:
            pictures[f"{key}-epsilon.png"] = curves(section, names, "epsilon, in levels of 255", "accuracy, in %", on)
    if strip:
        pictures[STRIP_FILE] = pictures_of_corruptions(strip)
    return pictures


def curves(section: dict[str, Any], names: Sequence[str], x: str, y: str, on: str) -> bytes:
    """A line for each network with its interval as a band."""
    with png_canvas(3.3) as drawn:
        axes = drawn.figure.add_subplot()
        places = section["curve"]["x"]
        for color, name, points in zip(COLORS, names, section["curve"]["networks"]):
            values = [point["value"] for point in points]
            low, high = zip(*(point["interval"] for point in points))
            axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
            axes.plot(places, values, "o-", color=color, markersize=4, label=name)
        axes.set_xticks(places)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(0, max(5, min(100, 1.05 * axes.get_ylim()[1])))
        axes.set_title(f"{on}; the band is the 95 % interval")
        axes.legend()
    return drawn.png


def bars(section: dict[str, Any], names: Sequence[str], title: str) -> bytes:
    """A group of bars for each row of the section's second table, a bar for each network, with its interval."""
    rows = section["details"]
    with png_canvas(1.2 + len(rows) * (0.12 + 0.14 * len(names))) as drawn:
        axes = drawn.figure.add_subplot()
        height = 0.8 / len(names)
        for number, (color, name) in enumerate(zip(COLORS, names)):
            values = [row["values"][number] for row in rows]
            places = np.arange(len(rows)) + (number - (len(names) - 1) / 2) * height
            middle = np.array([each["value"] for each in values])
            low, high = np.array([each["interval"] for each in values]).T
            axes.barh(places, middle, 0.9 * height, color=color, alpha=0.75, label=name)
            axes.hlines(places, low, high, color="#1a202c", linewidth=1)
        axes.set_yticks(range(len(rows)), [row["title"].replace("_", " ") for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.set_title(title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawn.png


def pictures_of_corruptions(strip: Mapping[str, np.ndarray]) -> bytes:
    """A row for each corruption: one picture at severity 1 to 5, the clean one at the left of each row.

    Args:
      strip: {corruption: uint8 [5, S, S, 3]}, and the clean picture, uint8 [1, S, S, 3], under "".
    """
    names, half = [name for name in strip if name], -(-(len(strip) - 1) // 2)
    side, gap, left, top = 80, 6, 125, 62
    columns = 1 + next(len(images) for name, images in strip.items() if name)
    block = left + columns * (side + gap) + 20
    sheet = np.full([half * (side + gap), 2 * block, 3], 255, np.uint8)
    texts = list[tuple[float, float, str]]()
    for number, name in enumerate(names):
        x, y = number // half * block, number % half * (side + gap)
        texts.append((x + left - 8, y + side / 2, name.replace("_", "\n")))
        for column, image in enumerate((strip[""][0], *strip[name])):
            start = x + left + column * (side + gap)
            sheet[y : y + side, start : start + side] = _enlarged(image, side)
    height, width = sheet.shape[0] + top, sheet.shape[1]
    scale = WIDTH * DOTS_PER_INCH / width
    with png_canvas(height * scale / DOTS_PER_INCH, layout=None) as drawn:
        axes = drawn.figure.add_axes((0, 0, 1, sheet.shape[0] / height))
        axes.imshow(sheet, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        for right, middle, text in texts:
            axes.text(right, middle, text, ha="right", va="center", fontsize=8)
        for offset in (0, block):
            for column, text in enumerate(("clean", *map(str, range(1, columns)))):
                middle = offset + left + column * (side + gap) + side / 2
                axes.text(middle, -6, text, ha="center", va="bottom", fontsize=8)
        drawn.figure.text(
            0.01, 0.985, "One picture under each corruption, severity 1 to 5", va="top", fontweight="bold"
        )
    return drawn.png


def _enlarged(image: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    way = Image.Resampling.NEAREST if len(image) < side else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize((side, side), way))
