"""Which fonts of this machine have the letters of a text, so that a class's name in any script is drawn as it is."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any

DEFAULT = "DejaVu Sans"  # comes with matplotlib
PLACEHOLDERS = "Last Resort"  # has a box for every letter
_FROM_RIGHT_TO_LEFT = ("R", "AL", "AN")  # matplotlib would draw them the other way round, unjoined


def families(texts: Sequence[str]) -> list[str]:
    """The fonts that are needed to draw these texts, the usual one first; letters that no font has need none."""
    found = [DEFAULT]
    for letter in sorted({letter for text in texts for letter in text}):
        family = _family_of(letter)
        if family and family not in found:
            found.append(family)
    return found


def can_draw(text: str) -> bool:
    """Whether the text can be read once it is drawn."""
    return all(_family_of(letter) and unicodedata.bidirectional(letter) not in _FROM_RIGHT_TO_LEFT for letter in text)


def drawable(names: Sequence[str]) -> list[str]:
    """The names, with `#` and its number from 0 in place of each that cannot be drawn."""
    return [name if can_draw(name) else f"#{number}" for number, name in enumerate(names)]


@functools.cache
def _family_of(letter: str) -> str:
    """The first font that has a letter; "" if none has."""
    if ord(letter) in _letters_of(_default_path()):
        return DEFAULT
    return next((name for name, path in _others() if ord(letter) in _letters_of(path)), "")


def _default_path() -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(DEFAULT))


@functools.cache
def _others() -> tuple[tuple[str, str], ...]:
    """(family, file) of every upright font of this machine in an order that stays."""
    from matplotlib import font_manager

    upright = [
        font
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and not font.name.startswith(PLACEHOLDERS)
    ]
    return tuple(
        sorted({(font.name, font.fname) for font in upright if font.weight in (400, "normal", "regular", "book")})
    )


@functools.cache
def _letters_of(path: str) -> frozenset[int]:
    """Code points that a font file has outlines for; none of a file that cannot be read or has only pictures (emoji)."""
    from matplotlib import ft2font

    try:
        font: Any = ft2font.FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except Exception:  # a font file that FreeType does not know
        return frozenset()
