"""Decides which candidates are kept and how often: the exact top k of each class, from small summaries of shards. NumPy alone.

No process ever holds all confidences. Floats that are not negative have the order of their bit patterns, so two histograms, each
a sum over shards, give the k-th highest confidence: one of the upper 16 bits, and one of the lower 16 bits of the records in the
bin that holds it. Ties at that value are kept in the order (shard, record), for which one count a shard is enough. Every quantity
below is a sum over shards or a function of such sums, so neither the number of workers nor the order in which they finish
changes the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Optional

import numpy as np

from pseudo_label.config import BalanceConfig
from runtime.errors import UserError

REPORT_EDGES = np.linspace(0.0, 1.0, 21)
_REPORT_BINS = len(REPORT_EDGES) - 1
_HALF = 16
_LOW_BITS = (1 << _HALF) - 1
_EXTRA_STREAM, _ORDER_STREAM = 0, 1


@dataclasses.dataclass(frozen=True)
class Confidences:
    """What selection needs to know of one shard.

    Attributes:
      shard: its number.
      labels: unsigned integer [n], argmax class (0-based) of each image, in the image shard's order.
      confidences: float32 [n], the probability of that class; finite and not negative.
    """

    shard: int
    labels: np.ndarray
    confidences: np.ndarray

    @property
    def bits(self) -> np.ndarray:
        """uint32 [n], the confidences' bit patterns, which order like the confidences."""
        return self.confidences.view(np.uint32)


class Histogram(NamedTuple):
    """Sparse counts: `keys` uint64 sorted and distinct, `counts` int64 of the same length."""

    keys: np.ndarray
    counts: np.ndarray


class Overview(NamedTuple):
    """All predictions at a glance.

    Attributes:
      coarse: candidates by class and upper half of the confidence's bit pattern.
      report: int64 [C, 20], all predictions by class and REPORT_EDGES; what exceeds 1 counts as 1.
    """

    coarse: Histogram
    report: np.ndarray


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What every class keeps, ties aside; arrays over the classes.

    Attributes:
      candidates: int64 [C].
      bits: uint32 [C], bit pattern of the lowest confidence kept; 0 without candidates.
      ties_kept: int64 [C], how many candidates of exactly that confidence are kept; all of them where nothing is cut.
      cut: bool [C], whether there are more candidates than places.
    """

    candidates: np.ndarray
    bits: np.ndarray
    ties_kept: np.ndarray
    cut: np.ndarray


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that fixes how often each image of each shard is written.

    Attributes:
      thresholds: of all classes.
      kept: int64 [C], different images that are written.
      records: int64 [C], records that are written, copies included.
      base: int64 [C], copies of every kept candidate.
      extra: class -> packed bits over the class's candidates: which ones get one copy more.
      first_rank: shard -> int64 [C], how many ranked records (see `ranked`) earlier shards hold.
    """

    thresholds: Thresholds
    kept: np.ndarray
    records: np.ndarray
    base: np.ndarray
    extra: dict[int, np.ndarray]
    first_rank: dict[int, np.ndarray]


def is_candidate(part: Confidences, config: BalanceConfig) -> np.ndarray:
    """bool [n]: whether each confidence lies in the configured limits, compared in float32.

    Probabilities that are all 0 stand for an image that --skip_corrupt_records left out: never a candidate.
    """
    low, high = np.float32(config.min_threshold), np.float32(config.max_prob)
    return (part.confidences >= low) & (part.confidences <= high) & (part.confidences > 0)


def places(candidates: np.ndarray, config: BalanceConfig) -> np.ndarray:
    """int64 [C]: how many different candidates each class keeps."""
    return candidates if config.use_all else np.minimum(candidates, config.num_image)


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """Sum of histograms; the empty one for none."""
    parts = list(histograms)
    keys = np.concatenate([part.keys for part in parts] or [np.zeros(0, np.uint64)])
    counts = np.concatenate([part.counts for part in parts] or [np.zeros(0, np.int64)])
    distinct, where = np.unique(keys, return_inverse=True)
    # Weights of bincount are float64: exact for counts below 2**53.
    return Histogram(distinct, np.bincount(where, weights=counts, minlength=len(distinct)).astype(np.int64))


def overview(part: Confidences, config: BalanceConfig) -> Overview:
    """What one shard adds to the overview."""
    chosen = is_candidate(part, config)
    predicted = part.confidences > 0  # see is_candidate
    bins = np.searchsorted(REPORT_EDGES.astype(np.float32), part.confidences[predicted], side="right") - 1
    places_in_report = part.labels[predicted].astype(np.int64) * _REPORT_BINS + np.clip(bins, 0, _REPORT_BINS - 1)
    counts = np.bincount(places_in_report, minlength=config.num_classes * _REPORT_BINS)
    return Overview(
        coarse=_count(part.labels[chosen], part.bits[chosen] >> _HALF),
        report=counts.reshape(config.num_classes, _REPORT_BINS),
    )


def merge_overviews(overviews: Iterable[Overview]) -> Overview:
    """Sum of at least one overview."""
    parts = list(overviews)
    return Overview(merge(part.coarse for part in parts), np.sum([part.report for part in parts], axis=0))


def fine_histogram(part: Confidences, of_all: Overview, config: BalanceConfig) -> Histogram:
    """Candidates of one shard in their class's threshold bin, counted by class and lower half of the bit pattern."""
    bins, _ = _threshold_bins(of_all.coarse, config)
    bits = part.bits
    chosen = is_candidate(part, config) & (bits >> _HALF == bins[part.labels])
    return _count(part.labels[chosen], bits[chosen] & _LOW_BITS)


def find_thresholds(fine: Histogram, of_all: Overview, config: BalanceConfig) -> Thresholds:
    """The exact threshold of every class from both histograms, each summed over all shards.

    Raises:
      UserError: no prediction at all, or none that is a candidate, unless only statistics are wanted.
    """
    candidates = _per_class(of_all.coarse, config.num_classes)
    if not candidates.any() and not config.only_get_stats:
        raise _nothing_to_keep(of_all, config)
    bins, places_in_bin = _threshold_bins(of_all.coarse, config)
    low_bits, ties_kept = _kth_highest(fine, places_in_bin)
    return Thresholds(
        candidates=candidates,
        bits=np.where(candidates > 0, bins << _HALF | low_bits, 0).astype(np.uint32),
        ties_kept=ties_kept,
        cut=candidates > places(candidates, config),
    )


def _nothing_to_keep(of_all: Overview, config: BalanceConfig) -> UserError:
    by_confidence = of_all.report.sum(axis=0)
    if not by_confidence.any():
        return UserError(
            f"--input_dir: {config.input_dir} holds no picture that a label was predicted for: its shards are empty, or none of "
            "their records can be read; prepare unlabeled pictures and predict again"
        )
    limits = f"{config.min_threshold}..{config.max_prob}"
    filled = np.flatnonzero(by_confidence)
    lowest, highest = REPORT_EDGES[filled[0]], REPORT_EDGES[filled[-1] + 1]
    spread = f"no prediction has a confidence in {limits}; the {by_confidence.sum():,} there are lie in "
    spread += f"{lowest:.2f}..{highest:.2f}"
    if lowest >= config.max_prob:
        return UserError(f"--max_prob: {spread}; raise --max_prob")
    return UserError(f"--min_threshold: {spread}; lower --min_threshold (--only_get_stats shows how they are spread)")


def ranked(part: Confidences, thresholds: Thresholds, config: BalanceConfig) -> np.ndarray:
    """bool [n]: whether a record's copies depend on its rank within the class, in the order of (shard, record).

    Where a class is cut these are the ties at its threshold; elsewhere all its candidates, since the extra copies go by rank.
    """
    at_threshold = part.bits == thresholds.bits[part.labels]
    return is_candidate(part, config) & (at_threshold | ~thresholds.cut[part.labels])


def count_ranked(part: Confidences, thresholds: Thresholds, config: BalanceConfig) -> dict[int, np.ndarray]:
    """{shard: int64 [C]}, the number of ranked records of each class in one shard."""
    labels = part.labels[ranked(part, thresholds, config)]
    return {part.shard: np.bincount(labels, minlength=config.num_classes).astype(np.int64)}


def union(parts: Iterable[dict[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """All shards' `count_ranked` in one."""
    return {shard: counts for part in parts for shard, counts in part.items()}


def make_plan(ranked_counts: Mapping[int, np.ndarray], thresholds: Thresholds, config: BalanceConfig) -> Plan:
    """The plan from every shard's `count_ranked` and the thresholds."""
    candidates = thresholds.candidates
    kept = places(candidates, config)
    written = kept.copy()
    base = np.ones(config.num_classes, np.int64)
    extra = {}
    if config.upsample and not config.use_all:
        for label in np.flatnonzero((candidates > 0) & ~thresholds.cut).tolist():
            written[label] = config.num_image
            base[label], rest = divmod(config.num_image, int(candidates[label]))
            extra[label] = _draw(int(candidates[label]), rest, (config.seed, _EXTRA_STREAM, label))
    first_rank, total = {}, np.zeros(config.num_classes, np.int64)
    for shard in sorted(ranked_counts):
        first_rank[shard] = total
        total = total + ranked_counts[shard]
    return Plan(thresholds, kept, written, base, extra, first_rank)


def copies(part: Confidences, plan: Plan, config: BalanceConfig) -> np.ndarray:
    """int64 [n]: how often each record of one shard is written."""
    thresholds = plan.thresholds
    result = np.where(is_candidate(part, config) & (part.bits > thresholds.bits[part.labels]), 1, 0)
    rows = np.flatnonzero(ranked(part, thresholds, config))
    # A stable sort by class keeps the records of a class in their order, so that one slice is one class.
    rows = rows[np.argsort(part.labels[rows], kind="stable")]
    ends = np.cumsum(np.bincount(part.labels[rows], minlength=config.num_classes))
    for label in np.unique(part.labels[rows]).tolist():
        own = rows[(ends[label - 1] if label else 0) : ends[label]]
        ranks = np.arange(len(own)) + plan.first_rank[part.shard][label]
        if thresholds.cut[label]:
            result[own] = ranks < thresholds.ties_kept[label]
        else:
            result[own] = plan.base[label] + _is_drawn(plan.extra.get(label), ranks)
    return result


def shuffled_copies(number_of_copies: np.ndarray, seed: int, shard: int, window: int) -> np.ndarray:
    """int32 record numbers, each as often as `number_of_copies` int64 [n] says, in an order that follows from the last three."""
    order = np.repeat(np.arange(len(number_of_copies), dtype=np.int32), number_of_copies)
    np.random.default_rng((seed, _ORDER_STREAM, shard, window)).shuffle(order)
    return order


def _count(labels: np.ndarray, bins: np.ndarray) -> Histogram:
    keys = labels.astype(np.uint64) << np.uint64(_HALF) | bins.astype(np.uint64)
    return Histogram(*np.unique(keys, return_counts=True))


def _per_class(histogram: Histogram, num_classes: int) -> np.ndarray:
    labels = (histogram.keys >> np.uint64(_HALF)).astype(np.int64)
    return np.bincount(labels, weights=histogram.counts, minlength=num_classes).astype(np.int64)


def _threshold_bins(coarse: Histogram, config: BalanceConfig) -> tuple[np.ndarray, np.ndarray]:
    return _kth_highest(coarse, places(_per_class(coarse, config.num_classes), config))


def _kth_highest(histogram: Histogram, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each class the bin of its k-th highest record (-1 where k is 0) and how many of the k lie in that bin."""
    bins, in_bin = np.full(len(k), -1, np.int64), np.zeros(len(k), np.int64)
    labels = (histogram.keys >> np.uint64(_HALF)).astype(np.int64)
    low = (histogram.keys & np.uint64(_LOW_BITS)).astype(np.int64)
    ends = np.searchsorted(labels, np.arange(len(k)), side="right")
    for label in np.flatnonzero(k > 0).tolist():
        start = ends[label - 1] if label else 0
        counts = histogram.counts[start : ends[label]]
        above = counts.sum() - np.cumsum(counts)
        # Bins ascend: the wanted one is the highest with enough records from it upwards.
        found = np.flatnonzero(above + counts >= k[label])[-1]
        bins[label], in_bin[label] = low[start + found], k[label] - above[found]
    return bins, in_bin


def _draw(population: int, chosen: int, seed: tuple[int, ...]) -> np.ndarray:
    drawn = np.zeros(population, bool)
    drawn[np.random.default_rng(seed).choice(population, chosen, replace=False, shuffle=False)] = True
    return np.packbits(drawn)


def _is_drawn(packed: Optional[np.ndarray], ranks: np.ndarray) -> Any:
    return 0 if packed is None else packed[ranks >> 3] >> (7 - (ranks & 7)) & 1
