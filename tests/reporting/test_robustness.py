"""The page of a robustness run, from numbers that are made up."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import pytest

from reporting import robustness


def number(value: Optional[float], spread: float = 1.0) -> dict[str, Any]:
    return {"value": value, "interval": None if value is None else [value - spread, value + spread]}


def measure(key: str, old: Optional[float], new: Optional[float], better: str, spread: float = 1.0) -> dict[str, Any]:
    difference = None if old is None or new is None else new - old
    return {
        "key": key,
        "title": key.partition("-")[2],
        "definition": f"What {key} is.",
        "unit": "%",
        "better": better,
        "num_pictures": 1234,
        "values": [number(old, spread), number(new, spread)],
        "differences": [None, number(difference, spread)],
    }


def section(key: str, *measures: dict[str, Any], details: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {
        "key": key,
        "title": f"On {key}",
        "num_pictures": 1234,
        "about": ["How it was done."],
        "measures": list(measures),
        "details": list(details),
        "curve": {"x": [0, 2], "networks": [[number(1.0), number(2.0)], [number(3.0), number(4.0)]]},
    }


def results(*sections: dict[str, Any], every: int = 1) -> dict[str, Any]:
    networks = [
        {"name": name, "model": "b0", "image_size": 32, "checkpoint": f"a|{name}"} for name in ("teacher", "student")
    ]
    return {
        "networks": networks,
        "every": every,
        "level": 0.95,
        "resamples": 10_000,
        "command": "python",
        "sections": list(sections),
    }


@pytest.mark.parametrize(
    ("old", "new", "better", "spread", "verdict"),
    [
        (50.0, 40.0, "lower", 1.0, "student is **better** than teacher."),
        (40.0, 50.0, "lower", 1.0, "student is **worse** than teacher."),
        (40.0, 50.0, "higher", 1.0, "student is **better** than teacher."),
        (50.0, 40.0, "higher", 1.0, "student is **worse** than teacher."),
        (50.0, 49.0, "lower", 2.0, "student and teacher cannot be told apart."),
    ],
)
def test_the_verdict(old: float, new: float, better: str, spread: float, verdict: str) -> None:
    (line,) = robustness.verdicts(results(section("pgd", measure("pgd-mean", old, new, better, spread))))
    difference = (
        f"difference {new - old:+.1f} points, 95 % interval {new - old - spread:+.1f} to {new - old + spread:+.1f}."
    )
    assert line == f"- On pgd: {verdict} Mean: {new:.1f} % (teacher: {old:.1f} %), {difference}"


def test_the_page() -> None:
    rows = (measure("generated-c-fog", 9.0, 8.0, "lower"), measure("generated-c-snow", 7.0, 6.0, "lower"))
    shown = results(section("generated-c", measure("generated-c-mean", 5.0, None, "lower"), details=rows), every=3)
    text = robustness.markdown(shown, {"strip.png"})
    assert "| teacher | b0 | 32 | a\\|teacher |" in text
    assert "Only every 3rd picture was shown (`--every=3`)." in text
    assert "| [c-mean](#generated-c-mean) | 5.0 [4.0, 6.0] | not defined | not defined | lower | 1,234 |" in text
    assert (
        '<a id="generated-c-mean"></a>**On generated-c: c-mean** (1,234 pictures). In percent. What generated-c-mean is.'
        in text
    )
    assert "(strip.png)" in text
    assert "severity.png" not in text
    assert text.count("](#generated-c-each)") == 1
    assert '<a id="generated-c-each"></a>' in text


def test_the_plots() -> None:
    rows = tuple(measure(f"generated-c-{name}", 9.0, 8.0, "lower") for name in ("fog", "snow"))
    shown = results(
        section("generated-c", details=rows), section("generated-p", details=rows), section("fgsm"), section("pgd")
    )
    strip = {
        "": np.zeros([1, 16, 16, 3], np.uint8),
        **{name: np.zeros([5, 16, 16, 3], np.uint8) for name in ("fog", "snow")},
    }
    plots = robustness.plots.all_of(shown, strip)
    assert set(plots) == {name for each in shown["sections"] for name, _ in robustness.plots.of_section(each)}
    assert all(png.startswith(b"\x89PNG") for png in plots.values())


def test_the_section_of_a_whole_run_s_report() -> None:
    text = robustness.report_section(results(section("pgd", measure("pgd-mean", 10.0, 30.0, "higher"))))
    assert text.startswith("## Robustness\n\n- On pgd: student is **better** than teacher.")
    assert "![Accuracy against epsilon](../robustness/pgd-epsilon.png)" in text
    assert "[All numbers, plots and definitions](../robustness/robustness.md)" in text
    assert robustness.report_section(None) == ""


def test_the_table_of_the_terminal() -> None:
    warned = section("pgd", measure("pgd-mean", 10.0, 30.0, "higher"))
    warned["warnings"] = ["teacher: no gradients"]
    lines = robustness.table(results(warned)).splitlines()
    assert lines[2].split("  ")[0] == "On pgd: mean"
    assert "+20.0 [+19.0, +21.0]" in lines[2]
    assert lines[-1] == "warning: teacher: no gradients"
