"""Files that appear under their final name only when they are whole, on any filesystem that `tf.io.gfile` knows.

A path is data, never a pattern: whoever looks for files lists a folder and compares names (`matching`).

TensorFlow is imported by the functions that need it, so that flags and descriptions are read without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Collection, Iterator
from typing import Optional

from runtime.errors import UserError, reason

MAX_NAME_BYTES = 220  # with the token behind it a name stays below the 255 bytes that filesystems allow
_TEMPORARY = re.compile(r"(.+)\.writing-([0-9a-f]{8})([0-9a-f]{12})(\..*)?", re.DOTALL)


# --- names ----------------------------------------------------------------------------------------------------------


def expanded(path: str) -> str:
    """The path with `~` or `~name` at its beginning as the home folder, as a shell would have it."""
    return os.path.expanduser(path) if path.startswith("~") else path


def listed(folder: str) -> list[str]:
    """Names in a folder, sorted; none if there is no such folder."""
    if "://" in folder:
        import tensorflow as tf

        names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
        return sorted(name.rstrip("/") for name in names)
    return sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []


def matching(folder: str, pattern: str) -> list[str]:
    """Paths of what lies in `folder` under a name that the regular expression matches as a whole, sorted.

    The folder itself is taken as it is, whatever signs it has; text of the user's in `pattern` must be escaped.
    """
    return [os.path.join(folder, name) for name in listed(folder) if re.fullmatch(pattern, name)]


# --- temporary files ------------------------------------------------------------------------------------------------


def temporary_beside(path: str) -> str:
    """A new name beside `path`, for what is renamed to it when it is whole.

    It ends in a token whose second half is a digest of the rest: by it we know our own, and no file of the user's has it.
    """
    folder, name = os.path.split(path)
    stem, nonce = _stem(name), uuid.uuid4().hex[:8]
    return os.path.join(folder, f"{stem}.writing-{nonce}{_seal(stem, nonce)}")


def is_temporary(path: str) -> bool:
    """Whether `path` has a name that `temporary_beside` made, perhaps with a suffix behind it (`.index`)."""
    return _written_as(os.path.basename(path)) is not None


def remove_unfinished(folder: str, names: Optional[Collection[str]] = None) -> None:
    """Removes what a killed run left half written in `folder`, but not below it.

    Args:
      folder: where this process must be the only writer (of these names).
      names: what should have been written; None for whatever it was.
    """
    import tensorflow as tf

    wanted = None if names is None else {_stem(name) for name in names}
    for name in listed(folder):
        written_as = _written_as(name)
        if written_as is None or (wanted is not None and written_as not in wanted):
            continue
        path = os.path.join(folder, name)
        with contextlib.suppress(tf.errors.NotFoundError):
            (tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove)(path)


def _written_as(name: str) -> Optional[str]:
    """The (shortened) name that a temporary file was to get; None if it is not one of ours."""
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match and match[3] == _seal(match[1], match[2]) else None


def _stem(name: str) -> str:
    return name if len(os.fsencode(name)) <= MAX_NAME_BYTES else name[: MAX_NAME_BYTES // 4]


def _seal(stem: str, nonce: str) -> str:
    return hashlib.sha256(os.fsencode(f"noisy student writes {stem} {nonce}")).hexdigest()[:12]


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Yields a temporary path beside `path` that is renamed to it on success and removed on failure."""
    import tensorflow as tf

    temporary = temporary_beside(path)
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
    """A small text file, in UTF-8, of any filesystem; None where there is none."""
    content = read_bytes(path)
    return None if content is None else content.decode("utf-8").replace("\r\n", "\n")


def read_bytes(path: str) -> Optional[bytes]:
    """A small file of any filesystem; None where there is none. TensorFlow is imported for remote ones alone."""
    if "://" in path:
        import tensorflow as tf

        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()
