"""Names in any script are drawn without a warning (which fails a test), by a font that has them or by their number."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from reporting import fonts, plots
from reporting.samples import Sample

NAMES = [
    "cat",
    "猫",
    "いぬ",
    "고양이",
    "кот",
    "קפה",
    "قط",
    "🦊",
    "बिल्ली",
    "แมว",
    "$x_1$",
    "<b>&amp;",
    "a\\n",
    "\ue000",
    "x" * 300,
]


def balance_of(count):
    entry = {"predictions": 4, "candidates": 3, "kept_unique": 2, "records": 3}
    return {"balance": {"classes": [entry] * count, "min_threshold": 0.0}, "quality": None}


@pytest.fixture(params=["all", "usual"])
def installed(request, monkeypatch):
    """Every font of this machine, or matplotlib's own alone."""
    fonts._family_of.cache_clear()
    if request.param == "usual":
        monkeypatch.setattr(fonts, "_others", lambda: ())
    yield request.param
    fonts._family_of.cache_clear()


def picture():
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    return file.getvalue()


def test_every_name_is_drawn(installed):
    png = plots.classes(balance_of(len(NAMES)), NAMES)
    assert Image.open(io.BytesIO(png)).format == "PNG"
    mosaic = plots.mosaic({label: [Sample(0.5, picture())] for label in range(len(NAMES))}, NAMES)
    assert mosaic is not None


def test_what_no_font_has_is_shown_by_its_number(monkeypatch):
    fonts._family_of.cache_clear()
    monkeypatch.setattr(fonts, "_others", lambda: ())
    assert fonts.drawable(["cat", "猫", "кот", "قط"]) == ["cat", "#1", "кот", "#3"]
    assert fonts.families(["cat", "猫"]) == [fonts.DEFAULT]
    fonts._family_of.cache_clear()


def test_a_font_of_this_machine_that_has_the_letters_is_taken(monkeypatch):
    fonts._family_of.cache_clear()
    letters = {
        fonts._default_path(): frozenset(map(ord, "cat")),
        "a.ttf": frozenset(),
        "b.ttf": frozenset(map(ord, "猫")),
    }
    monkeypatch.setattr(fonts, "_letters_of", letters.__getitem__)
    monkeypatch.setattr(fonts, "_others", lambda: (("A", "a.ttf"), ("B", "b.ttf")))
    assert fonts.families(["cat", "猫"]) == [fonts.DEFAULT, "B"]
    assert fonts.drawable(["cat", "猫"]) == ["cat", "猫"]
    fonts._family_of.cache_clear()
