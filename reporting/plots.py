"""The plots of the report. Each function takes plain numbers (see `numbers.py`) and returns the bytes of a PNG.

A plot is 9 inches wide at 150 dots an inch, so it is sharp at twice the density of a README column (about 900 pixels).
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Optional

import numpy as np

from reporting import fonts
from reporting.samples import Sample, tile
from runtime.text import shortened, width

WIDTH = 9.0
DOTS_PER_INCH = 150
# One colour a meaning, in every plot.
MAIN, SECOND, THIRD, QUIET, INK = "#2b6cb0", "#dd7a26", "#3a8f5c", "#b8c0ca", "#2d3440"
# More classes than this get no name each.
NAMED_CLASSES = 30
STYLE: dict[Any, Any] = {
    "font.family": fonts.DEFAULT,
    "font.size": 9,
    "text.parse_math": False,  # a class's name with dollars is no formula
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a94a0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


class Canvas:
    """A figure of the report's width and, once drawn, its PNG."""

    def __init__(self, height: float, layout: Optional[Literal["constrained"]]):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, layout=layout)
        FigureCanvasAgg(self.figure)
        self.png = b""

    def draw(self) -> None:
        """Makes the PNG."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
        self.png = file.getvalue()


@contextlib.contextmanager
def png_canvas(
    height: float, layout: Optional[Literal["constrained"]] = "constrained", names: Sequence[str] = ()
) -> Iterator[Canvas]:
    """A canvas to draw on, `height` inches high, on which `names` can be written, in whatever script; its PNG is there when the
    `with` block ends."""
    import matplotlib

    # A font that is there for a few letters often has no bold ones; the usual weight will do.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context({**STYLE, "font.family": fonts.families(names)}):
        canvas = Canvas(height, layout)
        yield canvas
        canvas.draw()


def accuracy(networks: Sequence[dict[str, Any]]) -> bytes:
    """Test accuracy of every network that was evaluated, with its 95 % interval."""
    tested = [each for each in networks if each["test"]]
    with png_canvas(1.15 + 0.5 * len(tested)) as canvas:
        axes = canvas.figure.add_subplot()
        for row, each in enumerate(tested):
            test = each["test"]
            middle, low, high = (100 * value for value in (test["accuracy"], *test["interval"]))
            color = QUIET if each["name"] == "teacher" else MAIN
            axes.plot([low, high], [row, row], color=color, linewidth=7, alpha=0.45, solid_capstyle="butt")
            axes.plot(middle, row, "o", color=INK if each["name"] == "teacher" else MAIN, markersize=7)
            gain = "" if each["gain"] is None else f"  ({100 * each['gain']:+.1f})"
            axes.annotate(
                f"{middle:.1f} %{gain}", (high, row), xytext=(8, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.set_yticks(range(len(tested)), [described(each) for each in tested])
        axes.set_ylim(len(tested) - 0.4, -0.6)
        low, high = axes.get_xlim()
        axes.set_xlim(max(-1, low - 1), high + 0.22 * (high - low))
        axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= 100])
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"accuracy on {tested[-1]['test']['num_images']:,} {tested[-1]['test']['split']} images, in %")
        axes.set_title("Accuracy of each network (dot) and its 95 % interval (bar)")
    return canvas.png


def described(network: dict[str, Any]) -> str:
    """`student 1 (efficientnet-b0)`."""
    return f"{network['name']} ({network['model']})" if network["model"] else network["name"]


def training(network: dict[str, Any], log: Sequence[dict[str, Any]]) -> bytes:
    """Losses, accuracy and learning rate of one training, over its steps."""
    with png_canvas(5.2) as canvas:
        canvas.figure.suptitle(f"Training of {described(network)}", x=0.01, ha="left", fontsize=11, fontweight="bold")
        (parts, total), (accuracies, rates) = canvas.figure.subplots(2, 2)
        _curve(parts, log, "labeled_loss", "labeled images", MAIN)
        _curve(parts, log, "unlabeled_loss", "unlabeled images", SECOND)
        parts.set_title("Cross entropy")
        parts.set_ylabel("nats")
        _curve(total, log, "loss", "", MAIN)
        total.set_title("Total loss, weighted, with weight decay")
        total.set_ylabel("nats")

        _curve(accuracies, log, "labeled_accuracy", "labeled batch, noised", MAIN, scale=100)
        if network["history"]:
            steps = [each["step"] for each in network["history"]]
            values = [100 * each["accuracy"] for each in network["history"]]
            split = network["history"][-1]["split"]
            accuracies.plot(steps, values, "o-", color=SECOND, markersize=4, label=f"{split} images")
        accuracies.set_title("Accuracy")
        accuracies.set_ylabel("images right, in %")

        _curve(rates, log, "learning_rate", "", THIRD, smooth=False)
        rates.set_title("Learning rate")
        rates.set_ylabel("step size")
        rates.ticklabel_format(axis="y", style="plain")
        for axes in (parts, total, accuracies, rates):
            axes.set_xlabel("step")
            axes.set_xlim(left=0)
            axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
            axes.xaxis.set_major_locator(_few_integers())
        accuracies.set_ylim(0, 120)
        accuracies.set_yticks(range(0, 101, 20))
        for axes in (parts, accuracies):
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper center", ncols=2)
    return canvas.png


def _few_integers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=True)


def _curve(
    axes: Any, log: Sequence[dict[str, Any]], key: str, label: str, color: str, scale: float = 1.0, smooth: bool = True
) -> None:
    """One logged number over the steps; where noisy and long, faint with its running mean on top."""
    points = [(line["step"], scale * line[key]) for line in log if line.get(key) is not None]
    if not points:
        return
    steps, values = (np.asarray(column, np.float64) for column in zip(*points))
    window = len(steps) // 20
    if not smooth or window < 2:
        # A single point would draw no line at all.
        axes.plot(steps, values, "o-" if len(steps) == 1 else "-", color=color, label=label)
        return
    axes.plot(steps, values, color=color, alpha=0.25, linewidth=1)
    kernel = np.ones(window)
    mean = np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")
    axes.plot(steps, mean, color=color, label=label)


def confidence(pseudo: dict[str, Any]) -> bytes:
    """How sure the predictions are, and, where true labels are known, how often they are right when that sure."""
    balance, quality = pseudo["balance"], pseudo["quality"]
    edges = np.asarray(balance["confidence_histogram"]["edges"])
    counts = np.asarray(balance["confidence_histogram"]["counts"])
    with png_canvas(3.4) as canvas:
        panels = canvas.figure.subplots(1, 2 if quality else 1, squeeze=False)[0]
        axes, widths = panels[0], np.diff(edges)
        if quality:
            right = np.asarray(quality["by_confidence"]["correct"])
            wrong = np.asarray(quality["by_confidence"]["images"]) - right
            axes.bar(
                edges[:-1], right, widths, align="edge", color=MAIN, edgecolor="white", linewidth=0.5, label="right"
            )
            axes.bar(
                edges[:-1],
                wrong,
                widths,
                right,
                align="edge",
                color=SECOND,
                edgecolor="white",
                linewidth=0.5,
                label="wrong",
            )
        else:
            axes.bar(edges[:-1], counts, widths, align="edge", color=MAIN, edgecolor="white", linewidth=0.5)
        if balance["min_threshold"] > 0:
            axes.axvspan(
                0,
                balance["min_threshold"],
                color=QUIET,
                alpha=0.3,
                linewidth=0,
                zorder=0,
                label="left out, not sure enough",
            )
        axes.set_xlim(0, 1)
        axes.set_xlabel("confidence (largest probability)")
        axes.set_ylabel("unlabeled images")
        axes.set_title(f"Confidence of {balance['predictions']:,} pseudo labels")
        if axes.get_legend_handles_labels()[0]:
            axes.set_ylim(0, 1.18 * axes.get_ylim()[1])
            axes.legend(loc="upper center", ncols=3)
        if quality:
            _reliability(panels[1], quality["by_confidence"])
    return canvas.png


def _reliability(axes: Any, bins: dict[str, Any]) -> None:
    edges, filled = np.asarray(bins["edges"]), np.asarray(bins["images"]) > 0
    middles = ((edges[:-1] + edges[1:]) / 2)[filled]
    shares = np.asarray(bins["accuracy"], np.float64)[filled]
    intervals = np.asarray(bins["interval"])[filled]
    axes.plot([0, 1], [0, 100], "--", color=QUIET, linewidth=1.4, label="right as often as sure")
    axes.vlines(middles, *(100 * intervals.T), color=MAIN, alpha=0.4, linewidth=3)
    axes.plot(middles, 100 * shares, "o-", color=MAIN, markersize=4, label="pseudo labels")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 102)
    axes.set_xlabel("confidence (largest probability)")
    axes.set_ylabel("pseudo labels right, in %")
    axes.set_title("Accuracy by confidence (bars: 95 %)")
    axes.legend(loc="best")


def classes(pseudo: dict[str, Any], class_names: Sequence[str]) -> bytes:
    """Images of each class before and after balancing and, where true labels are known, how many are right."""
    entries, quality = pseudo["balance"]["classes"], pseudo["quality"]
    many = len(entries) > NAMED_CLASSES
    order = (
        sorted(range(len(entries)), key=lambda label: -entries[label]["candidates"]) if many else range(len(entries))
    )
    ordered = [entries[label] for label in order]
    drawn = fonts.drawable(class_names)
    with png_canvas(5.6 if quality else 3.4, names=() if many else drawn) as canvas:
        panels = canvas.figure.subplots(2 if quality else 1, 1, squeeze=False, sharex=True)[:, 0]
        _class_counts(panels[0], ordered, many, pseudo["balance"]["min_threshold"])
        if quality:
            _class_accuracy(panels[1], [quality["by_class"][label] for label in order], many)
        bottom = panels[-1]
        if many:
            bottom.set_xlabel(f"the {len(entries)} classes, those with most candidates first")
        else:
            names = [_short(drawn[label], 40) if drawn else str(label) for label in order]
            slanted = max(map(width, names)) > 60 // len(names)
            bottom.set_xticks(
                range(len(names)), names, rotation=40 if slanted else 0, ha="right" if slanted else "center"
            )
            bottom.set_xlabel("class")
            for axes in panels:
                axes.grid(visible=False, axis="x")
        bottom.set_xlim(-0.7, len(entries) - 0.3)
    return canvas.png


def _class_counts(axes: Any, entries: Sequence[dict[str, Any]], many: bool, threshold: float) -> None:
    places = np.arange(len(entries))
    columns = {
        key: np.asarray([entry[key] for entry in entries])
        for key in ("predictions", "candidates", "kept_unique", "records")
    }
    copies = columns["records"] - columns["kept_unique"]
    before, after = "before: predicted", "after: different images"
    sure = f"before: confidence ≥ {threshold:g}"
    if many:
        axes.step(places, columns["predictions"], where="mid", color="#8a94a0", linewidth=1.4, zorder=3, label=before)
        axes.step(places, columns["candidates"], where="mid", color=INK, linewidth=1.4, zorder=3, label=sure)
        axes.bar(places, columns["kept_unique"], 1, color=MAIN, label=after)
        axes.bar(places, copies, 1, columns["kept_unique"], color=MAIN, alpha=0.4, label="after: copies")
    else:
        axes.bar(places - 0.27, columns["predictions"], 0.25, color=QUIET, label=before)
        axes.bar(places, columns["candidates"], 0.25, color="#6b7683", label=sure)
        axes.bar(places + 0.27, columns["kept_unique"], 0.25, color=MAIN, label=after)
        axes.bar(places + 0.27, copies, 0.25, columns["kept_unique"], color=MAIN, alpha=0.4, label="after: copies")
    axes.set_ylabel("images")
    axes.set_ylim(0, 1.28 * max(1, *(columns["predictions"]), *(columns["records"])))
    axes.set_title("Images of each class before and after balancing")
    axes.legend(loc="upper center", ncols=4)


def _class_accuracy(axes: Any, entries: Sequence[dict[str, Any]], many: bool) -> None:
    for key, color, label in (("all", "#8a94a0", "all"), ("above_threshold", MAIN, "sure enough to be candidates")):
        places = np.asarray([place for place, entry in enumerate(entries) if entry[key]["images"]])
        shares = [100 * entry[key]["accuracy"] for entry in entries if entry[key]["images"]]
        if many:
            axes.plot(places, shares, "o", color=color, markersize=4, alpha=0.8, label=label)
        else:
            shift = -0.17 if key == "all" else 0.17
            axes.bar(places + shift, shares, 0.3, color=color, label=label)
    axes.set_ylabel("pseudo labels right, in %")
    axes.set_ylim(0, 120)
    axes.set_yticks(range(0, 101, 20))
    axes.set_title("How often a pseudo label of the class is right")
    axes.legend(loc="upper center", ncols=2)


def mosaic(samples: dict[int, list[Sample]], class_names: Sequence[str]) -> Optional[bytes]:
    """A row of images for each class, the most confident first, each with its confidence; None without samples."""
    if not samples:
        return None
    drawn = fonts.drawable(class_names)
    names = [_short(drawn[label] if drawn else str(label)) for label in samples]
    columns = max(map(len, samples.values()))
    # Everything in whole pixels, so that enlarged pixels stay square and sharp.
    left, top, gap, caption = 40 + 13 * max(map(width, names)), 58, 14, 36
    side = min(112, (round(WIDTH * DOTS_PER_INCH) - left) // columns - gap)
    sheet = np.full([len(samples) * (side + caption), columns * (side + gap), 3], 255, np.uint8)
    for row, images in enumerate(samples.values()):
        for column, sample in enumerate(images):
            y, x = row * (side + caption), column * (side + gap)
            sheet[y : y + side, x : x + side] = tile(sample.encoded, side)
    height, across = sheet.shape[0] + top, round(WIDTH * DOTS_PER_INCH)
    with png_canvas(height / DOTS_PER_INCH, layout=None, names=names) as canvas:
        axes = canvas.figure.add_axes((left / across, 0, sheet.shape[1] / across, sheet.shape[0] / height))
        axes.imshow(sheet, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        for row, (name, images) in enumerate(zip(names, samples.values())):
            down = row * (side + caption)
            axes.text(-12, down + side / 2, name, ha="right", va="center", fontweight="bold")
            for column, sample in enumerate(images):
                middle = column * (side + gap) + side / 2
                axes.text(middle, down + side + 3, f"{sample.confidence:.2f}", ha="center", va="top", fontsize=7.5)
        axes.set_title("Pseudo-labeled images by class, with the confidence of their label")
    return canvas.png


def _short(name: str, longest: int = 18) -> str:
    return shortened(name, longest)


def arms(rows: Sequence[tuple[str, Sequence[float]]]) -> bytes:
    """Of every arm of a study: its mean accuracy, and a dot for each seed.

    Args:
      rows: each arm's name and its accuracies, shares of 1.
    """
    with png_canvas(0.8 + 0.34 * len(rows)) as canvas:
        axes = canvas.figure.subplots()
        for number, (_, accuracies) in enumerate(rows):
            values = 100 * np.asarray(accuracies, np.float64)
            if len(values):
                axes.plot(values, np.full(len(values), number), "o", color=MAIN, alpha=0.45, markersize=5)
                axes.plot([values.mean()] * 2, [number - 0.3, number + 0.3], color=SECOND, linewidth=2.4)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("right answers to test pictures, % (dots: seeds, line: mean)")
        axes.grid(visible=False, axis="y")
    return canvas.png
