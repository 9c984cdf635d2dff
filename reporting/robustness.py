"""The page of a robustness run: robustness.md with its plots, and the table for the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from reporting import robustness_plots as plots
from runtime.files import whole_file, write_text
from runtime.text import padded, width

PAGE_FILE = "robustness.md"


def write(folder: str, results: dict[str, Any], strip: Optional[Any] = None) -> str:
    """Writes the page and its plots into `folder`; returns the page's path.

    Args:
      folder: where to.
      results: the content of robustness.json.
      strip: {corruption: uint8 [5, S, S, 3]}, a picture at each severity, with "" the clean one alone; None for no strip.
    """
    pictures = plots.all_of(results, strip)
    tf.io.gfile.makedirs(folder)
    for name, png in pictures.items():
        with whole_file(os.path.join(folder, name)) as temporary, tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(png)
    path = os.path.join(folder, PAGE_FILE)
    write_text(path, markdown(results, set(pictures)))
    return path


def table(results: dict[str, Any]) -> str:
    """The main measures for the terminal."""
    rows = [["", *(network["name"] for network in results["networks"]), *_difference_heads(results), "pictures"]]
    for section in results["sections"]:
        for measure in section["measures"]:
            rows.append([f"{section['title']}: {measure['title']}", *_cells(measure), f"{measure['num_pictures']:,}"])
    widths = [max(map(width, column)) for column in zip(*rows)]
    lines = ["  ".join(map(padded, row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * columns for columns in widths))
    warnings = [warning for section in results["sections"] for warning in section.get("warnings", ())]
    return "\n".join(
        [*lines, f"([ ]: {100 * results['level']:.0f} % intervals)", *(f"warning: {one}" for one in warnings)]
    )


def report_section(results: Optional[dict[str, Any]], folder: str = "../robustness") -> str:
    """The section of a whole run's report, whose page on robustness lies in `folder`; "" if nothing was measured."""
    if results is None:
        return ""
    rows = [
        [section["title"], measure["title"], *_cells(measure), measure["better"], f"{measure['num_pictures']:,}"]
        for section in results["sections"]
        for measure in section["measures"]
        if "epsilon" not in measure["title"]  # the plots show these
    ]
    names = [network["name"] for network in results["networks"]]
    header = ["on", "measure", *names, *_difference_heads(results), "better", "pictures"]
    lines = ["## Robustness", "", *verdicts(results), "", *_table(header, rows), "", _in_brackets(results)]
    for section in results["sections"]:
        name, text = plots.of_section(section)[0]
        lines += ["", f"![{text}]({folder}/{name})"]
    return "\n".join([*lines, "", f"[All numbers, plots and definitions]({folder}/{PAGE_FILE})"])


def verdicts(results: dict[str, Any]) -> list[str]:
    """Whether the last network is more robust than the first: a line of a list for each section."""
    first, last = results["networks"][0]["name"], results["networks"][-1]["name"]
    if len(results["networks"]) < 2:
        return []
    return [f"- {_verdict(section, first, last, results['level'])}" for section in results["sections"]]


HEADLINES = {"generated-c": "mean", "generated-p": "flips", "fgsm": "mean", "pgd": "mean"}


def _verdict(section: dict[str, Any], first: str, last: str, level: float) -> str:
    wanted = f"{section['key']}-{HEADLINES.get(section['key'])}"
    measure = next((each for each in section["measures"] if each["key"] == wanted), section["measures"][0])
    old, new, difference = measure["values"][0], measure["values"][-1], measure["differences"][-1]
    values = f"{_plain(new, measure['unit'])} ({first}: {_plain(old, measure['unit'])})"
    if difference["interval"] is None:
        return f"{section['title']}: {measure['title']} of {last} {values}."
    low, high = difference["interval"]
    gain = difference["value"] if measure["better"] == "higher" else -difference["value"]
    subject = f"{last} is **{'better' if gain > 0 else 'worse'}** than {first}"
    if low <= 0 <= high:
        subject = f"{last} and {first} cannot be told apart"
    return (
        f"{section['title']}: {subject}. {measure['title'].capitalize()}: {values}, difference {difference['value']:+.1f} "
        f"points, {100 * level:.0f} % interval {low:+.1f} to {high:+.1f}."
    )


def _plain(number: dict[str, Any], unit: str) -> str:
    return "not defined" if number["value"] is None else f"{number['value']:.1f}{' %' if unit == '%' else ''}"


def _in_brackets(results: dict[str, Any]) -> str:
    return (
        f"In brackets: the {100 * results['level']:.0f} % interval (bootstrap, {results['resamples']:,} resamples of the "
        "pictures, each with all its variants). All networks saw the same pictures, and differences are paired: if the interval "
        "of a difference does not hold 0, the networks differ."
    )


def markdown(results: dict[str, Any], pictures: set[str]) -> str:
    """The text of robustness.md; `pictures` are the plots that exist beside it."""
    parts = [_opening(results), _summary(results)]
    parts += [_section(section, results, pictures) for section in results["sections"]]
    parts += [_definitions(results), _how(results)]
    return "\n\n".join(parts) + "\n"


def _opening(results: dict[str, Any]) -> str:
    header = ["network", "architecture", "pixels", "checkpoint"]
    rows = [
        [network["name"], network["model"], str(network["image_size"]), network["checkpoint"]]
        for network in results["networks"]
    ]
    lines = ["# Robustness", "", *_table(header, rows)]
    if results["every"] > 1:
        lines += ["", f"Only every {_ordinal(results['every'])} picture was shown (`--every={results['every']}`)."]
    return "\n".join(lines)


def _ordinal(count: int) -> str:
    ending = "th" if 10 <= count % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}"


def _summary(results: dict[str, Any]) -> str:
    rows = [
        [section["title"], _linked(measure), *_cells(measure), measure["better"], f"{measure['num_pictures']:,}"]
        for section in results["sections"]
        for measure in section["measures"]
    ]
    names = [network["name"] for network in results["networks"]]
    header = ["on", "measure", *names, *_difference_heads(results), "better", "pictures"]
    note = f"{_in_brackets(results)} Click a measure for its definition."
    return "\n".join(["## Summary", "", *verdicts(results), "", *_table(header, rows), "", note])


def _difference_heads(results: dict[str, Any]) -> list[str]:
    first, *others = (network["name"] for network in results["networks"])
    return [f"{name} - {first}" for name in others]


def _cells(measure: dict[str, Any]) -> list[str]:
    differences = [_number(each, measure["unit"], sign="+") for each in measure["differences"][1:]]
    return [*(_number(each, measure["unit"]) for each in measure["values"]), *differences]


def _number(number: dict[str, Any], unit: str, sign: str = "") -> str:
    if number["value"] is None:
        return "not defined"
    digits = ".1f" if unit == "%" else ".2f"
    text = f"{number['value']:{sign}{digits}}"
    if number["interval"] is not None and number["interval"] != [number["value"]] * 2:
        low, high = (f"{end:{sign}{digits}}" for end in number["interval"])
        text += f" [{low}, {high}]"
    return text


def _linked(measure: dict[str, Any]) -> str:
    return f"[{measure['title']}](#{measure['key']})"


def _section(section: dict[str, Any], results: dict[str, Any], pictures: set[str]) -> str:
    lines = [f"## {section['title']}", "", *section["about"]]
    for warning in section.get("warnings", ()):
        lines += ["", f"**Warning:** {warning}."]
    for name, text in plots.of_section(section):
        if name in pictures:
            lines += ["", f"![{text}]({name})"]
    if section["details"]:
        names = [network["name"] for network in results["networks"]]
        header = [f"[in %](#{section['key']}-each)", *names, *_difference_heads(results)]
        rows = [[measure["title"], *_cells(measure)] for measure in section["details"]]
        if "ce" in section["details"][0]:
            header.append(f"CE: {' / '.join(names)}")
            for row, measure in zip(rows, section["details"]):
                row.append(" / ".join("–" if ce is None else f"{ce:.0f}" for ce in measure["ce"]))
        lines += ["", *_table(header, rows)]
    return "\n".join(lines)


def _definitions(results: dict[str, Any]) -> str:
    lines = ["## Definitions", ""]
    for section in results["sections"]:
        for measure in section["measures"]:
            lines.append(_defined(measure["key"], f"{section['title']}: {measure['title']}", measure))
        if section["details"]:
            lines.append(_defined(f"{section['key']}-each", f"{section['title']}: each", section["details"][0]))
    return "\n".join(lines)


def _defined(key: str, title: str, measure: dict[str, Any]) -> str:
    unit = "In percent. " if measure["unit"] == "%" else ""
    counted = f"{measure['num_pictures']:,} pictures"
    return f'- <a id="{key}"></a>**{title}** ({counted}). {unit}{measure["definition"]}'


def _how(results: dict[str, Any]) -> str:
    lines = ["## How to reproduce", ""]
    if results["command"]:
        lines += ["```", results["command"], "```", ""]
    lines.append(
        "[robustness.json](robustness.json) holds every number of this page. Run again, the command reads the answers that are "
        "there (`outcomes/`) and has the networks answer only what is missing."
    )
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(header), _row(["---"] * len(header)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    # A checkpoint may be called anything; a bar would open a cell of its own.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
