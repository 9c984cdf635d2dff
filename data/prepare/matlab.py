"""Reads one array of a MATLAB 5 file piece by piece. The SVHN files unpack to 1.6 GB, far more than one piece needs.

Format: MathWorks, "MAT-File Format". After a header of 128 bytes come elements: a tag (type and length, uint32 each) and that
many bytes. An element of type 15 holds another element, deflated. One of type 14 is an array: flags, dimensions, name and data,
each an element padded to 8 bytes; the data are column-major. MATLAB 7.3 files (HDF5) have another format.
"""

from __future__ import annotations

import dataclasses
import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from runtime.errors import UserError

MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Array:
    """Where an array lies.

    Attributes:
      path, name, shape: the file, the variable, its dimensions.
      start, compressed, order: of its element in the file; the byte order (`<` or `>`).
    """

    path: str
    name: str
    shape: tuple[int, ...]
    start: int
    compressed: bool
    order: str

    def read(self) -> np.ndarray:
        """The whole array.

        Raises:
          UserError: the file is cut short or corrupt.
        """
        flat = dataclasses.replace(self, shape=(int(np.prod(self.shape)), 1))
        return next(flat.slices()).reshape(self.shape, order="F")

    def slices(self, skip: int = 0) -> Iterator[np.ndarray]:
        """Yields [..., i] of the array for i = skip, skip + 1, ...; only one is in memory at a time.

        Raises:
          UserError: the file is cut short or corrupt.
        """
        shape = self.shape[:-1]
        with open(self.path, "rb") as file:
            reader = _Reader(self, file)
            _, _, size, kind = reader.heading()
            dtype = np.dtype(self.order + TYPES[kind])
            length = dtype.itemsize * int(np.prod(shape))
            if size != length * self.shape[-1]:
                raise _damaged(self.path, f"{self.name} has {size} bytes of data")
            for index in range(self.shape[-1]):
                content = reader.read(length)
                if index >= skip:
                    yield np.frombuffer(content, dtype).reshape(shape, order="F")
            reader.finish()


def find_arrays(path: str) -> dict[str, Array]:
    """The arrays of a file by name; their data are not read.

    Raises:
      UserError: not a MATLAB 5 file, or cut short.
    """
    found = {}
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        header = file.read(128)
        order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(header[124:128], "")
        if not order:
            raise UserError(f"{path}: not a MATLAB 5 file; is it the archive that the task is made of?")
        position = 128
        while position < size:
            file.seek(position)
            tag = file.read(8)
            kind, length = struct.unpack(order + "II", tag) if len(tag) == 8 else (0, size)
            if position + 8 + length > size:
                raise UserError(
                    f"{path}: cut short: {size:,} bytes, but an array ends at byte {position + 8 + length:,}; get it again"
                )
            if kind in (MATRIX, COMPRESSED):
                array = Array(path, "", (), position, kind == COMPRESSED, order)
                name, shape, _, _ = _Reader(array, file).heading()
                found[name] = dataclasses.replace(array, name=name, shape=shape)
            position += 8 + length
    return found


class _Reader:
    """The bytes of one array's element, inflated where they are deflated."""

    def __init__(self, array: Array, file: BinaryIO):
        self._array = array
        self._file = file
        self._inflate = zlib.decompressobj() if array.compressed else None
        self._buffer = bytearray()
        file.seek(array.start + (8 if array.compressed else 0))

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        while len(self._buffer) < count:
            self._buffer += self._next_block()
        content = bytes(self._buffer[:count])
        del self._buffer[:count]
        return content

    def finish(self) -> None:
        """Reads what is left, so that a deflated element's check sum is compared."""
        while self._inflate is not None and not self._inflate.eof:
            self._next_block()

    def _next_block(self) -> bytes:
        held = b"" if self._inflate is None else self._inflate.unconsumed_tail
        block = held or self._file.read(BLOCK)
        try:
            content = block if self._inflate is None else self._inflate.decompress(block, BLOCK)
        except zlib.error as error:
            raise _damaged(self._array.path, str(error)) from error
        if not block and not content:
            raise _damaged(self._array.path, "the file ends inside an array")
        return content

    def heading(self) -> tuple[str, tuple[int, ...], int, int]:
        """(name, shape, bytes of the data, type of the data); the data come next."""
        order = self._array.order
        kind, _ = struct.unpack(order + "II", self.read(8))
        if kind != MATRIX:
            raise _damaged(self._array.path, f"an element of type {kind} where an array was expected")
        self._element()
        dimensions, name = self._element(), self._element()
        shape = tuple(int(value) for value in np.frombuffer(dimensions, order + "i4"))
        kind, size, _ = self._tag()
        if kind not in TYPES:
            raise _damaged(self._array.path, f"data of type {kind}")
        return name.decode("latin-1"), shape, size, kind

    def _tag(self) -> tuple[int, int, int]:
        """(type, bytes, bytes of padding) of an element; a small one has its length beside its type and fills up a word."""
        (word,) = struct.unpack(self._array.order + "I", self.read(4))
        if word >> 16:
            return word & 0xFFFF, word >> 16, 4 - (word >> 16)
        (size,) = struct.unpack(self._array.order + "I", self.read(4))
        return word, size, -size % 8

    def _element(self) -> bytes:
        _, size, padding = self._tag()
        return self.read(size + padding)[:size]


def _damaged(path: str, what: str) -> UserError:
    return UserError(f"{path}: cut short or corrupt ({what}); get it again")
