"""Takes the metadata out of an encoded image, because damage or sheer size in there must not cost the picture.

Colour profiles, comments and previews do not matter to a network, so they are never parsed. Of a JPEG, PNG or WebP only what its
pixels are made of is left, with right lengths and checksums; EXIF, which says how the picture is turned, comes back apart.
No pixel is decoded here. Only Pillow is imported.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

ORIENTATION = 0x0112
MAX_EXIF_BYTES = 1 << 20

_JPEG, _PNG, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PIXELS_OF_WEBP = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_FLAGS = 0x20 | 0x08 | 0x04  # of VP8X: there is a colour profile, EXIF, XMP
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_HUFFMAN_CODED = (0xC0, 0xC1, 0xC2)


class Plain(NamedTuple):
    """An encoded image apart from its metadata.

    Attributes:
      content: the image, in its own format.
      exif: as it stood in the file, perhaps damaged; empty if there is none.
      usual: whether every JPEG decoder reads it: Huffman codes, baseline or progressive. True for other formats.
      whole: whether a JPEG's scans are free of markers that only damage puts there. (Some decoders go on, grey.) True for others.
    """

    content: bytes
    exif: bytes = b""
    usual: bool = True
    whole: bool = True


def plain(content: bytes) -> Plain:
    """The image without its metadata; of a format that is not known here, the content as it is."""
    if content.startswith(_JPEG):
        return _plain_jpeg(content)
    if content.startswith(_PNG):
        return _plain_png(content)
    if content.startswith(_RIFF) and content[8:12] == b"WEBP":
        return _plain_webp(content)
    if content[4:8] == b"ftyp":
        # In an AVIF (as in HEIF) EXIF never says how the picture is turned. Under another name the decoder passes over it.
        head, mark, pixels = content.partition(b"mdat")
        return Plain(head.replace(b"Exif", b"skip") + mark + pixels)
    return Plain(content)


def orientation(exif: bytes) -> int:
    """How to turn a picture, 1 to 8 as EXIF counts; 1, upright, where that is unknown or damaged."""
    if not exif:
        return 1
    found = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.load(exif)
            value = found.get(ORIENTATION, 1)
    except Exception:  # whatever a damaged file makes of Pillow's parser
        return 1
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


# --- JPEG -----------------------------------------------------------------------------------------------------------


def _plain_jpeg(content: bytes) -> Plain:
    kept, exif, frame = [content[:2]], b"", b"\xff\xc0"
    position = 2
    for marker, start, end in _segments(content):
        payload = content[start + 4 : end]
        if marker == 0xE1 and payload.startswith(b"Exif\0\0") and not exif:
            exif = payload
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = content[start:end]
        if _of_pixels(marker, payload):
            kept.append(content[start:end])
        position = end
    scans = content[position:]
    return Plain(b"".join(kept) + scans, exif, frame[1] in _HUFFMAN_CODED, _no_stray_marker(frame, scans))


def _no_stray_marker(frame: bytes, scans: bytes) -> bool:
    """Whether nothing interrupts the scans but what belongs there: restarts, and tables if there are several scans."""
    several = frame[1] == 0xC2 or scans[4:5] != frame[9:10]  # progressive, or fewer components than the frame has
    for marker in re.finditer(rb"\xff([^\x00\xff\xd0-\xd7])", scans[2:]):
        if marker[1] == b"\xd9":
            return True
        if not several or marker[1] not in (b"\xda", b"\xc4", b"\xdb", b"\xdd"):
            return False
    return True  # an early end is noticed by the decoder


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments before the first scan, as far as they are whole."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # filling before a marker
            position += 1
            continue
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker in (_START_OF_SCAN, _END_OF_IMAGE) or end < position + 4 or end > len(content):
            return
        yield marker, position, end
        position = end


def _of_pixels(marker: int, payload: bytes) -> bool:
    """Whether a segment matters to the pixels: tables and frames, and the two headers that say how colour is stored."""
    if marker == 0xE0:
        return payload.startswith(b"JFIF\0") and len(payload) >= 14
    if marker == 0xEE:
        return payload.startswith(b"Adobe") and len(payload) >= 12
    return marker != 0xFE and not 0xE0 <= marker <= 0xEF


# --- PNG ------------------------------------------------------------------------------------------------------------


def _plain_png(content: bytes) -> Plain:
    kept, exif = [_PNG], b""
    for kind, data in _chunks(content):
        if kind in _PIXEL_CHUNKS:
            kept.append(_chunk(kind, data))
        elif kind == b"eXIf":
            exif = data
        elif kind in (b"tEXt", b"zTXt") and data.startswith(b"Raw profile type exif\0"):
            exif = exif or _raw_profile(kind, data)
    return Plain(b"".join([*kept, _chunk(b"IEND", b"")]), exif)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of every chunk up to the end mark; the last one may be cut short."""
    position = len(_PNG)
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if not kind.isalpha() or kind == b"IEND":
            return
        yield kind, content[position + 8 : position + 8 + length]
        position += 12 + length


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _raw_profile(kind: bytes, data: bytes) -> bytes:
    """EXIF as ImageMagick writes it: text that holds a name, a length and hexadecimal digits; empty if it is damaged."""
    text = data.split(b"\0", 1)[1]
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], MAX_EXIF_BYTES)
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except (ValueError, zlib.error):
        return b""


# --- WebP -----------------------------------------------------------------------------------------------------------


def _plain_webp(content: bytes) -> Plain:
    kept, exif = [], b""
    position = 12
    while position + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, position)
        data = content[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
        if kind == b"EXIF":
            exif = data
        if kind == b"VP8X" and data:
            data = bytes((data[0] & ~_WEBP_FLAGS,)) + data[1:]
        if kind in _PIXELS_OF_WEBP:
            kept.append(kind + struct.pack("<I", length) + data + b"\0" * (length % 2))
    body = b"WEBP" + b"".join(kept)
    return Plain(_RIFF + struct.pack("<I", len(body)) + body, exif)
