"""Files that appear under their final name only when they are whole, on any filesystem that `tf.io.gfile` knows.

TensorFlow is imported by the functions that need it, so that flags and descriptions are read without it.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Optional

from runtime.errors import UserError, reason


def is_temporary(path: str) -> bool:
    """Whether `path` is a file that is still being written."""
    return ".writing-" in os.path.basename(path)


def remove_unfinished(folder: str) -> None:
    """Removes what a killed run left half written under `folder`, of which this process must be the only writer."""
    import tensorflow as tf

    for path, _, names in tf.io.gfile.walk(folder):
        for name in filter(is_temporary, names):
            tf.io.gfile.remove(os.path.join(path, name))


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Yields a temporary path beside `path` that is renamed to it on success and removed on failure."""
    import tensorflow as tf

    temporary = f"{path}.writing-{uuid.uuid4().hex[:12]}"
    try:
        yield temporary
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError, OSError):
            tf.io.gfile.remove(temporary)
        raise


@contextlib.contextmanager
def write_faults(path: str, flag: str) -> Iterator[None]:
    """Turns what a filesystem says while `path`, of which `flag` gave the folder, is written into a UserError."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"--{flag}: cannot write {path}: {reason(error)}; make room or name another folder, and run the same command again"
        ) from error


def write_text(path: str, text: str) -> None:
    """Writes a text file that appears only when whole."""
    import tensorflow as tf

    tf.io.gfile.makedirs(os.path.dirname(path))
    with whole_file(path) as temporary, tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)


def read_text(path: str) -> Optional[str]:
    """A small text file of any filesystem; None where there is none. TensorFlow is imported for remote ones alone."""
    if "://" in path:
        import tensorflow as tf

        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path) as file:
            return file.read()
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return file.read()
