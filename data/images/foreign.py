"""Says why a file is no image that is read here, and what its owner can do. Only Pillow is imported."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

HEIC = (
    "HEIC, which is not read here; save it as JPEG (on a Mac: sips -s format jpeg FILE --out FILE.jpg; elsewhere: heif-convert "
    "FILE FILE.jpg)"
)
RAW = "a camera's raw file, which is not read here; develop it to JPEG (the camera's own program, darktable)"
JPEG_XL = "JPEG XL, which is not read here; save it as JPEG or PNG (djxl FILE FILE.png)"
FILM = "a film, not a picture; save its frames as pictures (ffmpeg -i FILE FRAME%05d.jpg)"
DRAWING = "a drawing (SVG), which has no pixels; save it as PNG"
DOCUMENT = "a document, not a picture; save its pages as pictures (pdftoppm -png FILE PAGE)"
WEB_PAGE = "a web page, not a picture: its download failed; get it again"
POINTER = "a pointer of Git LFS, not the picture itself; run `git lfs pull` where it comes from"
ARCHIVE = "an archive; unpack it"

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_RAW_NAMES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf",
    ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
_SIGNATURES = (
    (b"FUJIFILMCCD-RAW", RAW), (b"IIRO", RAW), (b"IIRS", RAW), (b"MMOR", RAW), (b"IIU\0", RAW), (b"FOVb", RAW),
    (b"\xff\x0a", JPEG_XL), (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"\x1aE\xdf\xa3", FILM), (b"\0\0\1\xba", FILM), (b"\0\0\1\xb3", FILM),
    (b"%PDF", DOCUMENT), (b"%!PS", DOCUMENT),
    (b"version https://git-lfs", POINTER),
    (b"PK\3\4", ARCHIVE), (b"Rar!", ARCHIVE), (b"7z\xbc\xaf", ARCHIVE), (b"\x1f\x8b", ARCHIVE),
)  # fmt: skip
# Tags of a TIFF: a digital negative's version, and what kind of picture the file's first one is.
_DNG_VERSION, _SUBFILE_TYPE = 50706, 254
_REDUCED = 1


def why_not(content: bytes, name: str, formats: Sequence[str]) -> str:
    """Why Pillow cannot open a file as one of these formats; `name` is the file's."""
    head = content[:32]
    if head[4:8] == b"ftyp" and head[8:12] not in _AVIF_BRANDS:
        return HEIC if head[8:12] in _HEIC_BRANDS else RAW if head[8:12] == b"crx " else FILM
    for signature, reason in _SIGNATURES:
        if head.startswith(signature):
            return reason
    text = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return WEB_PAGE
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return DRAWING
    if name.lower().endswith(_RAW_NAMES):
        return RAW
    return _damaged(content, formats) or f"not an image of a known format ({', '.join(formats)})"


def is_raw(image: Image.Image, name: str) -> bool:
    """Whether a TIFF is a camera's raw file: Pillow would take the thumbnail in it for the picture."""
    tags = getattr(image, "tag_v2", {})
    return name.lower().endswith(_RAW_NAMES) or _DNG_VERSION in tags or bool(tags.get(_SUBFILE_TYPE, 0) & _REDUCED)


def _damaged(content: bytes, formats: Sequence[str]) -> str:
    """What is wrong with a file that begins as one of the formats does; "" if it begins as none of them."""
    for form in formats:
        factory, accept = Image.OPEN[form]
        if accept is None or not accept(content[:16]):
            continue
        try:
            factory(io.BytesIO(content), "")
        except Exception as error:  # each has its own types for broken data
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            advice = "; write it with 8 bits and three bands (RGB)" if form == "TIFF" else ""
            return f"{form}, but damaged or of a kind that is not read ({reason}){advice}"
    return ""
