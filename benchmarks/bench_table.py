"""RESULTS.md from what the benchmarks printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Callable

TITLE = """# Benchmarks

Written by `make bench` (`python -m benchmarks.bench`); the numbers behind it are in `results.json`. Machines drift: only numbers
of one table were measured together, in turns, and only their ratios say much. A value with a spread is a median. The targets are
meant for two cores.
"""


@dataclasses.dataclass(frozen=True)
class Measured:
    """One line of a table: a median over repeats, the least and the most of them, and the ratio to what it is held against."""

    name: str
    median: float
    spread: tuple[float, float] | None = None
    ratio: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """What a row's script found.

    Attributes:
      title: what was measured.
      unit: of the medians.
      ratio_to: what the ratios are held against.
      measured: ours and the peers'.
      target: in words, with its number.
      reached: whether it is.
      ours: our result in words, for the summary.
    """

    title: str
    unit: str
    ratio_to: str
    measured: Sequence[Measured]
    target: str
    reached: bool
    ours: str


def render(results: dict[str, Any]) -> str:
    """All of RESULTS.md: a summary, then a section for each row that was measured.

    Args:
      results: {row: {"date", "seconds" it took, "machine", "versions", "found": what the script printed}}.
    """
    rows = {name: row(name, results[name]) for name in ROWS if name in results}
    lines = [TITLE, "| row | ours | target | reached |", "|---|---|---|---|"]
    for name, one in rows.items():
        lines.append(f"| [{name}](#{name}) | {one.ours} | {one.target} | {'yes' if one.reached else '**no**'} |")
    for name, one in rows.items():
        lines += ["", *_section(name, one, results[name])]
    return "\n".join(lines) + "\n"


def row(name: str, entry: dict[str, Any]) -> Row:
    """A row from an entry of `results`."""
    return ROWS[name](entry["found"])


def _section(name: str, one: Row, entry: dict[str, Any]) -> list[str]:
    lines = [
        f"## {name}",
        "",
        f"{one.title}. `python -m benchmarks.{name}`, {entry['date']}, {entry['seconds']} s.",
        "",
        f"{entry['machine']}; {entry['versions']}.",
        "",
        f"| | {one.unit} | spread | {one.ratio_to} |",
        "|---|---:|---:|---:|",
    ]
    for measured in one.measured:
        spread = "" if measured.spread is None else " to ".join(map(_number, measured.spread))
        ratio = "" if measured.ratio is None else f"{measured.ratio:.2f}"
        lines.append(f"| {measured.name} | {_number(measured.median)} | {spread} | {ratio} |")
    verdict = "reached" if one.reached else "**not reached**"
    return [*lines, "", f"Target: {one.target}: {verdict} ({one.ours})."]


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


# --- rows: what each script prints --------------------------------------------------------------------------------------


def _against_a_peer(title: str) -> Callable[[dict[str, Any]], Row]:
    """A row whose script compares by `benchmarks.turns`."""

    def read(found: dict[str, Any]) -> Row:
        measured = [
            Measured(name, values["images_per_second"], tuple(values["spread"]), values["times_peer"])
            for name, values in found["rows"].items()
        ]
        peer = found["peer"]
        reached = found["ratio"] >= found["target"]
        target, ours = f"{found['target']} x {peer}", f"{found['ratio']:.2f} x"
        if "peak_gib" in found:
            reached = reached and found["peak_gib"] <= found["target_gib"]
            target += f", in at most {found['target_gib']:g} GiB resident"
            ours += f", {found['peak_gib']:.2f} GiB"
        return Row(title, "images/s", f"x {peer}", measured, target, reached, ours)

    return read


def _input_pipeline(found: dict[str, Any]) -> Row:
    from benchmarks.input_pipeline import OURS, TARGET_RATE, TARGET_RATIO, in_words, reached

    measured = [
        Measured(name, values["images_per_second"], (values["slowest"], values["fastest"]), values["of_without"])
        for name, values in found["rows"].items()
    ]
    rate, share = found["rows"][OURS]["images_per_second"], found["rows"][OURS]["of_without"]
    return Row(
        title="JPEG -> crop -> flip -> RandAugment 2x9 -> 224 pixels",
        unit="images/s",
        ratio_to="x ours without RandAugment",
        measured=measured,
        target=f"{TARGET_RATE:,} images/s and {TARGET_RATIO:.0%} of without RandAugment",
        reached=reached(found),
        ours=f"{rate:,} images/s ({in_words(found['times'])}), {share:.0%}",
    )


def _balance(found: dict[str, Any]) -> Row:
    best = max(line["records_per_second"] for line in found["rows"])
    measured = []
    for line in found["rows"]:
        slowest, fastest = (line["records"] / seconds for seconds in reversed(line["spread"]))
        name = f"ours, {line['records']:,} records"
        measured.append(Measured(name, line["records_per_second"], (slowest, fastest), line["times_the_release"]))
    return Row(
        title=f"Filter and balance, {found['classes']} classes, all of it from the start of Beam",
        unit="records/s",
        ratio_to="x the release (1,075, measured earlier)",
        measured=measured,
        target=f"{found['target']:,} records/s at the best size",
        reached=best >= found["target"],
        ours=f"{best:,} records/s",
    )


def _start(found: dict[str, Any]) -> Row:
    measured = [
        Measured(name, values["seconds"], tuple(values["spread"]), values["seconds"] / found["rows"]["ours"]["seconds"])
        for name, values in found["rows"].items()
    ]
    seconds = found["rows"]["ours"]["seconds"]
    return Row(
        title="From starting `--mode=train` of the digits preset to the end of its first step",
        unit="seconds",
        ratio_to="x ours",
        measured=measured,
        target=f"{found['target']:g} s",
        reached=seconds <= found["target"],
        ours=f"{seconds:.1f} s",
    )


def _scaling(found: dict[str, Any]) -> Row:
    measured = []
    for work, values in found["rows"].items():
        first = values["runs"][0]
        for run in values["runs"]:
            times = run["cpu_seconds"] / first["cpu_seconds"]
            measured.append(Measured(f"{work}, {run['records']:,} records", run["cpu_seconds"], None, times))
    worst = max(values["growth"] for values in found["rows"].values())
    costs = ", ".join(f"{work} {values['growth']:.2f}" for work, values in found["rows"].items())
    return Row(
        title="Processor time against 1, 2, 4 and 8 times the records, start included (the best of some runs)",
        unit="CPU seconds",
        ratio_to="x the first size",
        measured=measured,
        target=f"linear: a further record costs at most {found['target']} times as much in the end",
        reached=worst <= found["target"],
        ours=f"{costs} times",
    )


def _pipeline_memory(found: dict[str, Any]) -> Row:
    first, *_, last = found["resident_mib"]
    lines = {"at the first step": first, "at the last step": last}
    return Row(
        title=f"Resident memory of the input pipeline over {found['steps']:,} steps",
        unit="MiB",
        ratio_to="x the first",
        measured=[Measured(name, size, None, size / first) for name, size in lines.items()],
        target=f"a trend of at most {found['target_mib']:g} MiB",
        reached=found["growth_mib"] <= found["target_mib"],
        ours=f"{found['growth_mib']:+.2f} MiB",
    )


def _corruptions(found: dict[str, Any]) -> Row:
    from benchmarks.corruptions import OURS, in_words, reached, targets

    measured = [
        Measured(
            f"{name}, {side} pixels",
            row["all_ms"],
            tuple(row["spread"]),
            row["all_ms"] / values["rows"][OURS]["all_ms"],
        )
        for side, values in found["sides"].items()
        for name, row in values["rows"].items()
    ]
    return Row(
        title="All 75 variants of a picture, 15 corruptions at 5 severities, on one thread",
        unit="ms of processor time",
        ratio_to="x ours",
        measured=measured,
        target=targets(found),
        reached=reached(found),
        ours=in_words(found),
    )


def _attacks(found: dict[str, Any]) -> Row:
    from benchmarks.attacks import in_words, reached, targets

    return Row(
        title=f"PGD of 10 steps on {found['batch']} images of {found['size']} pixels, b0",
        unit="seconds",
        ratio_to="x ours",
        measured=[
            Measured(name, values["seconds"], tuple(values["spread"]), values["times_ours"])
            for name, values in found["rows"].items()
        ],
        target=targets(found),
        reached=reached(found),
        ours=in_words(found),
    )


def _generation(found: dict[str, Any]) -> Row:
    from benchmarks.generation import dearest, reached

    rows, name = found["rows"], dearest(found)
    return Row(
        title="Pictures of 224 pixels that b0 answers while each is corrupted by another process",
        unit="pictures a second",
        ratio_to="x those that are there already",
        measured=[Measured(kind, row["beside"], tuple(row["spread"]), 1 - row["cost"]) for kind, row in rows.items()],
        target=f"the cheap corruptions cost at most {100 * found['target_cost']:.0f} % of the rate",
        reached=reached(found),
        ours=f"at most {100 * rows[name]['cost']:.0f} % ({name})",
    )


ROWS: dict[str, Callable[[dict[str, Any]], Row]] = {
    "train": _against_a_peer("Training b0, 224 pixels, batch 32, the whole pipeline with RandAugment"),
    "predict": _against_a_peer("Prediction of b0, 224 pixels: JPEG records in, prediction records out"),
    "input_pipeline": _input_pipeline,
    "balance": _balance,
    "start": _start,
    "scaling": _scaling,
    "pipeline_memory": _pipeline_memory,
    "corruptions": _corruptions,
    "generation": _generation,
    "attacks": _attacks,
}
