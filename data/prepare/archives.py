"""Lists the files inside a tar archive, and inside the tar archives in it, without unpacking anything."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Optional

from runtime.errors import UserError

BLOCK = 512


class Member(NamedTuple):
    """One file in an archive: its name, and its bytes' position in the outermost file."""

    name: str
    offset: int
    size: int


def members(path: str, inside: Optional[Member] = None, whole_names: bool = False) -> Iterator[Member]:
    """Yields the regular files of a tar archive, in its order; of the archive `inside` it where that is given.

    Names come without their folders, unless `whole_names`. What the archive holds besides files (links, devices) is passed
    over, and so are files whose names begin with a dot.

    Raises:
      UserError: not a tar archive, or cut short.
    """
    what = path if inside is None else f"{path}: {inside.name}"
    end = os.path.getsize(path) if inside is None else inside.offset + inside.size
    with open(path, "rb") as file:
        file.seek(0 if inside is None else inside.offset)
        reached = file.tell()
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for entry in archive:
                    reached = entry.offset_data + entry.size + -entry.size % BLOCK
                    if reached > end:
                        raise _cut_short(what, entry.name)
                    if entry.isreg() and not os.path.basename(entry.name).startswith("."):
                        name = entry.name if whole_names else os.path.basename(entry.name)
                        yield Member(name, entry.offset_data, entry.size)
                    archive.members.clear()  # type: ignore[attr-defined]  # half a kB each, and there may be a million
        except tarfile.TarError as error:
            if reached:
                raise _cut_short(what, str(error)) from error
            raise UserError(
                f"{what}: not a tar archive ({error}); is it the archive that the task is made of?"
            ) from error
        _check_end(file, reached, end, what)


def _check_end(file: BinaryIO, reached: int, end: int, what: str) -> None:
    """An archive that was cut between two files differs from a whole one only in the block of zeros after the last."""
    file.seek(reached)
    if file.read(BLOCK) != bytes(BLOCK) or reached + BLOCK > end:
        raise _cut_short(what, "it has no end mark")


def _cut_short(what: str, reason: str) -> UserError:
    return UserError(f"{what}: the archive is cut short ({reason}); get it again")
