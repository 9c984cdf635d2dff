"""The work on one shard: reads the confidences of its predictions, and writes its balanced records."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from data.records import soft_labels
from data.records.batches import one_line, parse_images, read_batches, read_soft_labels
from data.records.encoding import filtered_examples
from data.records.shards import write_shard
from pseudo_label.balance.inputs import ShardFiles
from pseudo_label.balance.plan import Confidences, Plan, copies, shuffled_copies
from pseudo_label.config import BalanceConfig
from runtime.errors import UserError

BATCH, BATCH_BYTES = 1024, 16 << 20
# Kept records are held in memory by windows of so many bytes, and the order is shuffled within one. Part of the format: another
# value gives other (equally good) shards.
WINDOW_BYTES = 128 << 20


def read_confidences(files: ShardFiles, config: BalanceConfig) -> Confidences:
    """Labels and confidences of one shard, in the order of its images.

    Raises:
      UserError: an unreadable record, probabilities of another length than `num_classes` or that are not finite and >= 0, or
        workers whose numbers of records do not fit together; names file and record.
    """
    parts = [_read_worker(path, config) for path in files.predictions]
    counts = [len(labels) for labels, _ in parts]
    total, workers = sum(counts), len(parts)
    for worker, count in enumerate(counts):
        expected = len(range(worker, total, workers))
        if count != expected:
            raise UserError(
                f"{files.predictions[worker]}: got {count} predictions, expected {expected} of the shard's {total} from worker "
                f"{worker} of {workers}; run predict for this shard and worker again"
            )
    labels = np.zeros(total, np.min_scalar_type(config.num_classes - 1))
    confidences = np.zeros(total, np.float32)
    for worker, (own_labels, own_confidences) in enumerate(parts):
        labels[worker::workers], confidences[worker::workers] = own_labels, own_confidences
    return Confidences(files.shard, labels, confidences)


def write_balanced(files: ShardFiles, part: Confidences, plan: Plan, config: BalanceConfig) -> int:
    """Writes the filtered shard, whole or not at all, and returns its number of records.

    Raises:
      UserError: images that are unreadable or not as many as the predictions; names file and record.
    """
    number_of_copies = copies(part, plan, config)
    if files.finished:
        return int(number_of_copies.sum())
    with writing(files.output):
        return write_shard(files.output, _ordered(files, number_of_copies, config))


def _ordered(files: ShardFiles, number_of_copies: np.ndarray, config: BalanceConfig) -> Iterator[bytes]:
    """Yields the output's records window by window, each record as often as it is wanted and in the window's random order."""
    kept_copies = number_of_copies[number_of_copies > 0]
    start = 0
    for number, window in enumerate(_windows(_kept_records(files, number_of_copies > 0, config.num_classes))):
        order = shuffled_copies(kept_copies[start : start + len(window)], config.seed, files.shard, number)
        start += len(window)
        for index in order:
            yield window[index]


def _windows(batches: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    """Yields the same records WINDOW_BYTES (and the rest of a record) at a time, wherever the batches end."""
    window: list[bytes] = []
    room = WINDOW_BYTES
    for batch in batches:
        rest = batch
        while rest:
            ends = np.cumsum([len(example) for example in rest])
            taken = min(len(rest), int(np.searchsorted(ends, room)) + 1)
            window += rest[:taken]
            room -= int(ends[taken - 1])
            rest = rest[taken:]
            if room <= 0:
                yield window
                window, room = [], WINDOW_BYTES
    if window:
        yield window


def _kept_records(files: ShardFiles, keep: np.ndarray, num_classes: int) -> Iterator[list[bytes]]:
    """Yields the filtered records of the images whose `keep` bool [n] is set, in order, a batch at a time."""
    each = _batch_of_a_worker(files, len(keep))
    done = 0
    # What --skip_corrupt_records made prediction leave out at a shard's end is not missed here.
    all_images = read_batches(files.images, each * len(files.predictions), needed=len(keep))
    all_rows = _rows_in_order(files.predictions, each, num_classes)
    for images, rows in itertools.zip_longest(all_images, all_rows, fillvalue=()):
        chosen = keep[done : done + len(images)]
        if len(images) == len(rows) == len(chosen) and chosen.any():
            numbers = (done + np.flatnonzero(chosen)).tolist()
            encoded, names = parse_images(files.images, list(itertools.compress(images, chosen)), numbers)
            yield filtered_examples(encoded, rows[chosen], names)
        done += len(images)
    if done != len(keep):
        raise UserError(
            f"{files.images}: got {done} images and {len(keep)} predictions ({files.predictions[0]}); expected one prediction "
            "an image: run predict for this shard again"
        )


def _batch_of_a_worker(files: ShardFiles, number: int) -> int:
    """How many records of each predictor make a batch: BATCH in all, fewer where the images are large."""
    mean_bytes = tf.io.gfile.stat(files.images).length / max(1, number)
    return max(1, int(min(BATCH, BATCH_BYTES / max(1, mean_bytes))) // len(files.predictions))


def _rows_in_order(paths: tuple[str, ...], each: int, num_classes: int) -> Iterator[np.ndarray]:
    """Yields soft labels [n, ...], `each` records of every worker dealt out in turn, which is the order of the images."""
    none = np.zeros((0, num_classes), np.float32)
    for parts in itertools.zip_longest(*(read_soft_labels(path, each, num_classes) for path in paths), fillvalue=none):
        kinds = [(part.dtype, part.shape[1]) for part in parts if len(part)]
        if len(set(kinds)) > 1:
            other = next(worker for worker, kind in enumerate(kinds) if kind != kinds[0])
            raise UserError(
                f"{paths[other]}: got soft labels of another kind than in {paths[0]}, expected all classes or one number of "
                "them; predict this shard again with one --store_top_k"
            )
        rows = np.zeros((sum(map(len, parts)), kinds[0][1]), kinds[0][0])
        for worker, part in enumerate(parts):
            if len(part):
                rows[worker :: len(paths)] = part
        yield rows


def _read_worker(path: str, config: BalanceConfig) -> tuple[np.ndarray, np.ndarray]:
    labels, confidences = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    done = 0
    for rows in read_soft_labels(path, BATCH, config.num_classes):
        _check_values(path, rows, done, config)
        own_labels, own_confidences = soft_labels.best(rows)
        labels.append(own_labels)
        # Adding zero turns -0.0 into 0.0, so that equal confidences have equal bit patterns.
        confidences.append(own_confidences + np.float32(0))
        done += len(rows)
    return np.concatenate(labels), np.concatenate(confidences)


def _check_values(path: str, rows: np.ndarray, first: int, config: BalanceConfig) -> None:
    probabilities = soft_labels.split(rows)[1] if rows.dtype == np.uint8 else rows
    good = (probabilities >= 0) & (probabilities < np.inf)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        label = soft_labels.split(rows)[0][row, column] if rows.dtype == np.uint8 else column
        raise UserError(
            f"{path}: record {first + row}: got the probability {probabilities[row, column]} for class {config.name_of(label)}, "
            "expected finite values >= 0; look for NaN in the teacher and run predict again"
        )


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns what a filesystem says while `path` is written into a UserError."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"--output_dir: cannot write {path}: {one_line(error)}") from None
