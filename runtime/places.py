"""Places that a person names: one spelling for each, and what lies there, so that a run knows its data again.

A run may go on from another folder, with `~`, through a link, or after everything was moved.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from runtime.files import expanded

BEGINNING = 4096  # bytes of a file that tell it from others of its name and size: a shard's first record lies there


def one_spelling(paths: str) -> str:
    """A path, or several with `;` between them, as every spelling of it becomes: absolute, without links or a slash at the end.

    A remote path (`gs://...`) only loses the slash; nothing stays nothing.
    """
    return ";".join(map(_one_spelling, paths.split(";")))


def _one_spelling(path: str) -> str:
    if not path:
        return path
    if "://" in path:
        return path.rstrip("/")
    return os.path.realpath(expanded(path))


def inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it, both in `one_spelling`."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def contents(files: Sequence[str]) -> str:
    """A digest of local files by their names, sizes and beginnings, wherever they lie; "" for none, and for remote ones.

    Raises:
      OSError: a file that cannot be read.
    """
    if not files or any("://" in path for path in files):
        return ""
    digest = hashlib.sha256()
    for path in sorted(files, key=os.path.basename):
        with open(path, "rb") as file:
            head = file.read(BEGINNING)
        name = os.fsencode(os.path.basename(path))
        digest.update(b"%d %s %d %s" % (len(name), name, os.path.getsize(path), hashlib.sha256(head).digest()))
    return digest.hexdigest()[:16]
