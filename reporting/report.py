"""Writes the report of an `iterate` run (report.md, results.json, plots) from the files that its stages left."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf

from reporting import fonts, numbers, plots, robustness, samples
from runtime.errors import first_line
from runtime.files import whole_file, write_text
from runtime.work_dir import REPORT_FILE, RESULTS_FILE, balanced_dir, model_dir, report_dir

# A table of more classes than this shows only the worst.
LISTED_CLASSES = 12


def write_report(
    work_dir: str,
    results: dict[str, Any],
    *,
    command: str = "",
    has_images: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes `<work_dir>/report/` and returns what results.json holds.

    Args:
      work_dir: the run's folder, whose logs and balanced images are drawn.
      results: its numbers (`pseudo_label/results.py`); what the mosaic shows is noted in them.
      command: the command line of the run, for the section on reproducing it.
      has_images: whether to draw the mosaic of pseudo-labeled images.
      seed: fixes which images the mosaic shows.
    """
    folder, class_names = report_dir(work_dir), results["class_names"]
    pictures = _training_plots(work_dir, results["networks"])
    if any(each["test"] for each in results["networks"]):
        pictures |= _drawn("accuracy.png", plots.accuracy, results["networks"])
    for pseudo in results["rounds"]:
        balanced = balanced_dir(work_dir, pseudo["round"])
        pictures |= _pseudo_label_plots(balanced, pseudo, class_names, has_images, seed)
    tf.io.gfile.makedirs(folder)
    for name, png in pictures.items():
        with (
            whole_file(os.path.join(folder, name)) as temporary,
            tf.io.gfile.GFile(temporary, "wb") as file,
        ):
            file.write(png)
    write_text(os.path.join(folder, RESULTS_FILE), json.dumps(results, indent=1, sort_keys=True) + "\n")
    write_text(os.path.join(folder, REPORT_FILE), markdown(results, set(pictures), command))
    return results


def _drawn(name: str, draw: Callable[..., Optional[bytes]], *numbers: Any) -> dict[str, bytes]:
    """{name: PNG}; nothing where there is nothing to draw, or where drawing fails, which never costs the report."""
    try:
        png = draw(*numbers)
    except Exception as error:  # matplotlib has many, and so have the fonts and pictures of a machine
        reason = f"{type(error).__name__}: {first_line(error)}"
        print(f"notice: the plot {name} could not be drawn ({reason}); the report goes without it", file=sys.stderr)
        return {}
    return {} if png is None else {name: png}


def _training_plots(work_dir: str, networks: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    pictures: dict[str, bytes] = {}
    for network in networks:
        log = numbers.training_log(model_dir(work_dir, network["round"], network["finetuned"]))
        if log:
            pictures |= _drawn(_training_name(network), plots.training, network, log)
    return pictures


def _training_name(network: dict[str, Any]) -> str:
    return f"training-{network['name'].replace(' ', '')}.png"


def _pseudo_label_plots(
    balanced: str, pseudo: dict[str, Any], class_names: Sequence[str], has_images: bool, seed: int
) -> dict[str, bytes]:
    """Plots of one round; also notes in `pseudo` which confidences the mosaic shows."""
    if pseudo["balance"] is None:
        return {}
    prefix = f"round{pseudo['round']}"
    pictures = _drawn(f"{prefix}-confidence.png", plots.confidence, pseudo)
    pictures |= _drawn(f"{prefix}-classes.png", plots.classes, pseudo, class_names)
    filled = [entry["label"] for entry in pseudo["balance"]["classes"] if entry["records"]]
    picked = samples.pick(balanced, filled, seed) if has_images and filled else {}
    pseudo["samples"] = numbers.rounded(
        [{"label": label, "confidences": [each.confidence for each in images]} for label, images in picked.items()]
    )
    return pictures | _drawn(f"{prefix}-mosaic.png", plots.mosaic, picked, class_names)


def summary_table(results: dict[str, Any]) -> str:
    """A small table for the terminal: each network's test accuracy, 95 % interval and gain over the teacher."""
    rows = _accuracy_rows(results["networks"])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    test = next((each["test"] for each in results["networks"] if each["test"]), None)
    lines.append(f"({test['num_images']:,} {test['split']} images)" if test else "(no network was evaluated)")
    return "\n".join(lines)


def _accuracy_rows(networks: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = [["network", "model", "accuracy", "95 % interval", "gain over teacher"]]
    for each in networks:
        test = each["test"]
        accuracy = _percent(test["accuracy"]) if test else "not evaluated"
        interval = f"{_percent(test['interval'][0])} to {_percent(test['interval'][1])}" if test else ""
        gain = "" if each["gain"] is None else f"{100 * each['gain']:+.1f} points"
        rows.append([each["name"], each["model"] or "", accuracy, interval, gain])
    return rows


def markdown(results: dict[str, Any], pictures: set[str], command: str) -> str:
    """The text of report.md; `pictures` are the plots that exist beside it."""
    sections = [
        _opening(results),
        _result_section(results["networks"], pictures),
        _pseudo_label_section(results["rounds"], results["class_names"], pictures),
        robustness.report_section(results.get("robustness")),
        _training_section(results["networks"], pictures),
        _reproduce_section(command),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(results: dict[str, Any]) -> str:
    task, networks = results["task"], results["networks"]
    counts = task["num_images"]
    labeled = f"{counts['train']:,} labeled images" if "train" in counts else "the labeled images"
    begins = f"learned from {labeled} alone" if networks[0]["last_logged"] else "was given, as a checkpoint"
    lines = [
        f"# Noisy Student on {task['name'] or 'one task'}",
        "",
        f"The teacher{_architecture(networks[0])} {begins}.",
    ]
    for pseudo in results["rounds"]:
        student, *finetuned = (each for each in networks if each["round"] == pseudo["round"])
        balance = pseudo["balance"]
        name = _capital(student["name"])
        if balance is None:
            lines.append(f"{name}{_architecture(student)} learned from the labels of {_the(pseudo['labeled_by'])}.")
        else:
            lines.append(
                f"{_capital(_the(pseudo['labeled_by']))} then labeled {balance['predictions']:,} images; filtered and "
                f"balanced they became {balance['records']:,} records of {balance['unique']:,} different images. "
                f"{name}{_architecture(student)} learned from these {_and_labeled(student)}, with noise."
            )
        for each in finetuned:
            lines.append(
                f"{_capital(each['name'])}{_architecture(each)} learned on from there, from the labeled images alone."
            )
    return "\n".join(lines)


def _and_labeled(student: dict[str, Any]) -> str:
    alone = "unlabeled_loss" in (student["last_logged"] or {}) and "labeled_loss" not in student["last_logged"]
    return "alone" if alone else "and the labeled images together"


def _the(name: str) -> str:
    return "the teacher" if name == "teacher" else name


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _architecture(network: dict[str, Any]) -> str:
    parts = [network["model"], f"{network['image_size']} px" if network["image_size"] else None]
    inside = ", ".join(part for part in parts if part)
    return f" ({inside})" if inside else ""


def _result_section(networks: Sequence[dict[str, Any]], pictures: set[str]) -> str:
    header, *rows = _accuracy_rows(networks)
    lines = ["## Result", "", headline(networks), "", *_table(header, rows)]
    if "accuracy.png" in pictures:
        lines += [
            "",
            "![Accuracy of each network](accuracy.png)",
            "",
            "The bar is the range in which the true accuracy lies with 95 % confidence (Wilson), given how many images were "
            "tested. All networks saw the same test images, so a difference between two of them is more certain than "
            "overlapping bars suggest.",
        ]
    return "\n".join(lines)


def headline(networks: Sequence[dict[str, Any]]) -> str:
    """The result in a sentence."""
    tested = [each for each in networks if each["test"]]
    if not tested:
        return "No network was evaluated, so there is no accuracy to report."
    last, test = tested[-1], tested[-1]["test"]
    share = f"{_percent(test['accuracy'])} of the {test['num_images']:,} {test['split']} images"
    subject = _capital(_the(last["name"]))
    sentence = f"**{subject}{_architecture(last)} classifies {share} correctly"
    if last["gain"] is not None:
        points = f"{abs(100 * last['gain']):.1f} points"
        comparison = (
            f"{points} more than" if last["gain"] > 0 else f"{points} less than" if last["gain"] < 0 else "as many as"
        )
        sentence += f", {comparison} the teacher ({_percent(networks[0]['test']['accuracy'])})"
    sentence += ".**"
    best = max(tested, key=lambda each: each["test"]["accuracy"])
    if best["test"]["accuracy"] > test["accuracy"] and best is not networks[0]:
        sentence += f" The best is {best['name']} with {_percent(best['test']['accuracy'])}."
    return sentence


def _pseudo_label_section(rounds: Sequence[dict[str, Any]], names: Sequence[str], pictures: set[str]) -> str:
    shown = [pseudo for pseudo in rounds if pseudo["balance"] is not None]
    if not shown:
        return ""
    lines = ["## Pseudo labels", ""]
    known = [pseudo for pseudo in shown if pseudo["quality"]]
    if known:
        lines += [
            "The true labels of the unlabeled images are known here. No training read them; they only serve to say how "
            'often the pseudo labels are right. "Kept" are the images that balancing chose, before it made copies.',
            "",
            *_quality_table(known),
        ]
    else:
        lines.append(
            "The true labels of the unlabeled images are not known, so the accuracy of pseudo labels is not either."
        )
    for pseudo in shown:
        lines += ["", *_round_lines(pseudo, names, pictures)]
    return "\n".join(lines)


def _quality_table(rounds: Sequence[dict[str, Any]]) -> list[str]:
    header = ["round", "labeled by", "all images", "right", "sure enough", "right", "kept", "right"]
    rows = []
    for pseudo in rounds:
        row = [str(pseudo["round"]), pseudo["labeled_by"]]
        for key in ("all", "above_threshold", "kept"):
            share = pseudo["quality"][key]
            row += [f"{share['images']:,}", _percent(share["accuracy"])]
        rows.append(row)
    return _table(header, rows)


def _round_lines(pseudo: dict[str, Any], names: Sequence[str], pictures: set[str]) -> list[str]:
    number, balance, quality = pseudo["round"], pseudo["balance"], pseudo["quality"]
    threshold = balance["min_threshold"]
    limit = f"Images below {threshold:g} (grey) are left out. " if threshold > 0 else ""
    by_truth = (
        "On the right, a curve above the diagonal means that the labels are more often right than they claim, below it that "
        "they are overconfident."
        if quality
        else ""
    )
    lines = [f"### Round {number}, labeled by {_the(pseudo['labeled_by'])}"]
    if f"round{number}-confidence.png" in pictures:
        lines += [
            "",
            f"![Confidence of the pseudo labels](round{number}-confidence.png)",
            "",
            f"How sure the labels are: the further right, the surer. {limit}{by_truth}".strip(),
        ]
    if f"round{number}-classes.png" in pictures:
        lines += ["", f"![Images of each class](round{number}-classes.png)"]
    lines += ["", _balancing(balance) + (" Below, how often the labels of each class are right." if quality else "")]
    numbered = [f"{number} {name}" for number, name in zip(fonts.drawable(names), names) if number != name]
    if numbered:
        lines += [
            "",
            f"No font of this machine has the letters of these classes, so plots show their numbers: {', '.join(numbered)}.",
        ]
    if quality:
        lines += ["", *_class_table(pseudo, names)]
    if f"round{number}-mosaic.png" in pictures:
        lines += [
            "",
            f"![Pseudo-labeled images](round{number}-mosaic.png)",
            "",
            "A random pick of what the student trains on: each row is one pseudo label, the surest on the left. An image that "
            "does not belong in its row is a wrong label.",
        ]
    return lines


def _balancing(balance: dict[str, Any]) -> str:
    """What balancing did, told from what came out of it."""
    written = {entry["records"] for entry in balance["classes"] if entry["candidates"]}
    if written == {balance["num_image"]}:
        return (
            f"Balancing gives every class that has a candidate the same number of records ({balance['num_image']:,}): the "
            "most confident where there are more candidates, copies (pale) where there are fewer."
        )
    if max(written, default=0) <= balance["num_image"]:
        return (
            f"Of each class at most {balance['num_image']:,} candidates are kept, the most confident, without copies."
        )
    return "Every candidate is kept, once."


def _class_table(pseudo: dict[str, Any], names: Sequence[str]) -> list[str]:
    entries = pseudo["quality"]["by_class"]
    lines = []
    if len(entries) > LISTED_CLASSES:
        judged = [entry for entry in entries if entry["above_threshold"]["images"]]
        entries = sorted(judged, key=lambda entry: (entry["above_threshold"]["accuracy"], entry["label"]))[
            :LISTED_CLASSES
        ]
        lines += [f"The {len(entries)} classes whose labels are least often right:", ""]
    rows = []
    for entry in entries:
        counts, share, sure = pseudo["balance"]["classes"][entry["label"]], entry["all"], entry["above_threshold"]
        rows.append(
            [
                names[entry["label"]] if names else str(entry["label"]),
                f"{entry['true_images']:,}",
                f"{share['images']:,}",
                _percent(share["accuracy"]),
                f"{sure['images']:,}",
                _percent(sure["accuracy"]),
                f"{counts['kept_unique']:,}",
                f"{counts['records']:,}",
            ]
        )
    header = ["class", "truly", "labeled so", "right", "sure enough", "right", "kept", "records"]
    return lines + _table(header, rows)


def _training_section(networks: Sequence[dict[str, Any]], pictures: set[str]) -> str:
    shown = [each for each in networks if _training_name(each) in pictures]
    if not shown:
        return ""
    lines = [
        "## Training",
        "",
        "Faint lines are the logged values, strong ones their running mean. The batch is noised (augmentation, dropout, "
        "stochastic depth) and the evaluated images are not, so that their accuracy may be above the batch's.",
    ]
    for each in shown:
        lines += ["", f"![Training of {each['name']}]({_training_name(each)})"]
    return "\n".join(lines)


def _reproduce_section(command: str) -> str:
    lines = ["## How to reproduce", ""]
    if command:
        lines += ["```", command, "```", ""]
    lines.append(
        "The same command with the same `--seed` and another `--work_dir` gives the same [results.json](results.json) on the "
        "same machine; it holds every number of this page. Run again with this `--work_dir`, it continues where it stopped. "
        "`tensorboard --logdir` on the folder shows every training in detail."
    )
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(header), _row(["---"] * len(header)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    # A class may be called anything; a bar would open a cell of its own.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _percent(share: Optional[float]) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
