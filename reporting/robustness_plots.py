"""The plots of a robustness run."""

from __future__ import annotations

from typing import Any, Optional


def of_section(section: dict[str, Any]) -> list[tuple[str, str]]:
    """(file, what it shows) of the plots that a section may have."""
    return []


def all_of(results: dict[str, Any], strip: Optional[Any] = None) -> dict[str, bytes]:
    """{file: PNG} of all plots."""
    return {}
