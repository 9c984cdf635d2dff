"""What preparing any task needs: spread items over shards, write them with progress, check what was written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Callable, TypeVar

import tensorflow as tf

from data.records.examples import shard_name
from data.records.shards import count_records, write_shard
from runtime.errors import UserError
from runtime.progress import Progress, progress

Item = TypeVar("Item")


def spread(items: Sequence[Item], num_shards: int) -> list[Sequence[Item]]:
    """Deals items out like cards: shard s has items s, s + num_shards, ..."""
    return [items[shard::num_shards] for shard in range(num_shards)]


def in_pieces(items: Sequence[Item], num_shards: int) -> list[Sequence[Item]]:
    """Cuts items into pieces that follow one another, of one length or of one more."""
    ends = [len(items) * shard // num_shards for shard in range(num_shards + 1)]
    return [items[begin:end] for begin, end in zip(ends, ends[1:])]


def write_shards(
    data_dir: str, prefix: str, items: Sequence[Sequence[Item]], serialize: Callable[[Item], bytes]
) -> dict[str, int]:
    """Writes `<prefix>-SSSSS-of-NNNNN` below `data_dir`, leaving out what an interrupted run already wrote.

    Args:
      data_dir: the task's folder.
      prefix: folder and name of the shards, e.g. `labeled/train`.
      items: for each shard whatever `serialize` turns into one serialised example each, e.g. by `spread`.
      serialize: makes the example.

    Returns:
      {path of a shard below data_dir: number of records}.
    """
    written: dict[str, int] = {}
    with progress(f"writing {prefix}", sum(map(len, items)), "images") as bar:
        for shard, shard_items in enumerate(items):
            name = shard_name(prefix, shard, len(items))
            path = os.path.join(data_dir, name)
            if _is_whole(path, len(shard_items)):
                bar.update(len(shard_items))
            else:
                write_shard(path, _counted(map(serialize, shard_items), bar))
            written[name] = len(shard_items)
    return written


def _counted(examples: Iterable[bytes], bar: Progress) -> Iterator[bytes]:
    for example in examples:
        yield example
        bar.update(1)


def _is_whole(path: str, count: int) -> bool:
    return tf.io.gfile.exists(path) and count_records(path) == count


def all_there(data_dir: str, names: Iterable[str]) -> bool:
    """Whether every file still exists."""
    return all(tf.io.gfile.exists(os.path.join(data_dir, name)) for name in names)


def verify(data_dir: str, written: dict[str, int]) -> None:
    """Counts the records of every shard again.

    Raises:
      UserError: another number than was written, or a truncated shard.
    """
    for name, expected in written.items():
        path = os.path.join(data_dir, name)
        count = count_records(path)
        if count != expected:
            raise UserError(f"{path}: got {count} records, expected {expected}; remove the file and prepare again")


@contextlib.contextmanager
def writing_to(data_dir: str) -> Iterator[None]:
    """Turns a failure to write (no permission, no space, not a folder) into one line.

    Raises:
      UserError: instead of the operating system's or TensorFlow's error.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = error.message if isinstance(error, tf.errors.OpError) else str(error)
        raise UserError(f"--data_dir: cannot write to {data_dir}: {reason}; choose a writable folder") from error
