"""Deviations of one comparison: of every quantity the worst against its tolerance."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Deviation:
    """How far one value is from its reference, how far it may be, and where that is."""

    largest: float
    tolerance: float
    where: str

    @property
    def ok(self) -> bool:
        """Whether it is within the tolerance; a deviation that is not a number never is."""
        return self.largest <= self.tolerance

    @property
    def badness(self) -> float:
        """Deviation in units of the tolerance."""
        if math.isnan(self.largest):
            return math.inf
        if self.tolerance == 0:
            return math.inf if self.largest else 0.0
        return self.largest / self.tolerance


class Checks:
    """Collects deviations by quantity and keeps the worst of each."""

    def __init__(self) -> None:
        self.worst: dict[str, Deviation] = {}
        self.not_compared: list[str] = []

    def add(self, quantity: str, largest: float, tolerance: float, where: str) -> None:
        """Notes one deviation."""
        deviation = Deviation(float(largest), tolerance, where)
        if quantity not in self.worst or deviation.badness > self.worst[quantity].badness:
            self.worst[quantity] = deviation

    def absolute(self, quantity: str, ours: Any, reference: Any, tolerance: float, where: str) -> None:
        """Notes the largest absolute difference of two arrays; different shapes deviate infinitely."""
        ours, reference = np.asarray(ours), np.asarray(reference)
        if ours.shape != reference.shape:
            where = f"{where}: shape {list(ours.shape)}, expected {list(reference.shape)}"
            self.add(quantity, math.inf, tolerance, where)
        elif ours.size:
            difference = np.abs(ours.astype(np.float64) - reference.astype(np.float64))
            self.add(quantity, np.max(difference), tolerance, where)

    def relative(self, quantity: str, ours: float, reference: float, tolerance: float, where: str) -> None:
        """Notes a difference relative to the reference; where that is zero, ours must be."""
        difference = abs(float(ours) - float(reference))
        self.add(quantity, difference / abs(float(reference)) if reference else difference, tolerance, where)

    def missing(self, quantity: str, where: str) -> None:
        """Notes that something is there on one side only."""
        self.add(quantity, math.inf, 0.0, where)

    def report(self) -> dict[str, Any]:
        """JSON-able: ok, deviations {quantity: {largest, tolerance, where}}, not_compared where something was not."""
        deviations = {}
        for quantity, worst in self.worst.items():
            largest = worst.largest if math.isfinite(worst.largest) else str(worst.largest)
            deviations[quantity] = {"largest": largest, "tolerance": worst.tolerance, "where": worst.where}
        result: dict[str, Any] = {"ok": all(worst.ok for worst in self.worst.values()), "deviations": deviations}
        if self.not_compared:
            result["not_compared"] = self.not_compared
        return result
