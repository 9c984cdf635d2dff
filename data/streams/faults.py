"""Errors of a stream that name file and record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from data.records.shards import corrupt_record, offset_of
from data.streams import unreadable
from runtime.errors import UserError, about_files, about_memory, reason

Record = dict[str, tf.Tensor]


OPEN, CLOSE = "<<", ">>"
# What a broken record raises; to find it, all files are read.
_MAYBE_A_RECORD = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)


def check(condition: tf.Tensor, message: Callable[[], tf.Tensor]) -> tf.Operation:
    """Stops the pipeline with a message made only on failure; `explain` finds it in the error."""
    return tf.cond(
        condition,
        lambda: True,
        lambda: _fail(tf.strings.join([OPEN, message(), CLOSE])),
    )


def _fail(message: tf.Tensor) -> bool:
    with tf.control_dependencies([tf.debugging.Assert(False, [message], summarize=1)]):
        return tf.identity(True)


def sentence(*parts: Any) -> tf.Tensor:
    """The parts, strings and numbers, as one string tensor."""
    return tf.strings.join(
        [part if isinstance(part, str) or part.dtype == tf.string else tf.strings.as_string(part) for part in parts]
    )


def where(record: Record) -> tuple[Any, ...]:
    """Parts of a `sentence` that say which record it is."""
    return record["file"], ": record ", record["number"]


def explain(error: tf.errors.OpError, files: list[str]) -> UserError:
    """The one line for an error that a stream raised: what `check` said, or the first record that cannot be read."""
    text = str(error)
    if OPEN in text and CLOSE in text:
        return UserError(text[text.index(OPEN) + len(OPEN) : text.index(CLOSE)])
    no_memory = about_memory(error)
    if no_memory:
        return UserError(no_memory)
    if not isinstance(error, _MAYBE_A_RECORD):
        missing = next((path for path in files if not tf.io.gfile.exists(path)), None)
        if missing is None:
            return UserError(about_files(error) or _reading_failed(error, files))
        return UserError(f"{missing}: the file is gone; put it back and run the same command again")
    for path in files:
        try:
            found = unreadable.scan([path])
        except UserError as gone:
            return gone
        if found and found[0].first() == found[0].cut_at:
            return corrupt_record(path, found[0].first(), offset_of(path, found[0].first()))
        if found:
            return UserError(
                f"{path}: record {found[0].first()} holds an image that cannot be decoded (JPEG, PNG, GIF and BMP can); "
                "write the file again without it, or pass --skip_corrupt_records to leave such records out"
            )
    return UserError(_reading_failed(error, files))


def _reading_failed(error: tf.errors.OpError, files: list[str]) -> str:
    return f"reading {files[0]} and the {len(files) - 1} files after it failed: {reason(error)}"
