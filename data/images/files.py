"""Turns anyone's image file into the bytes of a record. Only Pillow is imported, so worker processes start quickly.

For every task:
- The content decides the format, never the name (but for TGA, whose content does not say what it is). What Pillow reads is read;
  of an animation, the first frame.
- A JPEG in RGB that needs no change is stored byte for byte. Everything else becomes RGB: a JPEG of quality 95 without chroma
  subsampling if the source is lossy (another JPEG, WebP, AVIF), else a PNG.
- Transparent parts become white.
- 16 bits a channel become 8.
- What any viewer shows is used: metadata are never parsed (`metadata.py`), and a file that ends too early is used if nearly all
  of the picture is there.
- Size is looked at before anything is decoded.

`Rules` holds what differs between tasks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import warnings
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile

from data.images import foreign, metadata

# Only what can be told by its first bytes, and what runs no other program (Pillow gives EPS to Ghostscript).
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "CUR", "ICNS", "PSD", "QOI", "SGI", "DDS",
    "PCX", "XBM", "XPM",
)  # fmt: skip
NAMED_FORMATS = {"TGA": (".tga", ".icb", ".vda", ".vst")}  # whose name alone says what they are
LOSSY = ("JPEG", "WEBP", "AVIF")
# What is left of these after an early end is the rows that come first, and the rest has one colour.
ROW_BY_ROW = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TGA")
LAST_ROW_FIRST = ("BMP", "TGA")
MAX_MISSING = 1 / 16  # of a picture
GREY = 128
MAX_SCANS = 100  # of a progressive JPEG: each is a pass over all pixels
DIGEST_ROWS = 64
HARDLY_SEEN = "hardly anything to be seen"
SMALL_RANGE = 32  # of 256: a picture whose channels vary less may be one of 16 bits that were not all used
QUALITY = 95
# One pixel would leave nothing after the centre crop of evaluation.
MIN_SIDE = 2
# A decoded image takes up to 12 bytes a pixel on its way: 1.2 GB in one process at most.
MAX_DECODED_PIXELS = 100_000_000
MAX_FILE_BYTES = 256 << 20
WHITE = (255, 255, 255, 255)
_BITS_PER_SAMPLE = 258
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Item(NamedTuple):
    """One image to be read.

    Attributes:
      path: a file, or an archive that holds the image uncompressed.
      size: bytes of the image; -1 where it is not a file that can be read (a broken link, a pipe).
      label: 1-based; 0 where unlabeled.
      offset: where the image starts in the file.
    """

    path: str
    size: int
    label: int = 0
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Rules:
    """What depends on the task.

    Attributes:
      max_side: longer images are scaled down to it; None leaves them.
      kept_modes: Pillow modes in which a JPEG is stored byte for byte.
      upright: turn images as their EXIF orientation says (such a JPEG is encoded again; TensorFlow ignores EXIF).
      always_jpeg: encode lossless sources as JPEG, too.
      statistics: look at the pixels, as a set of unknown pictures needs (all of `Loaded` below `may_pass`); needs `kept_modes` to
        be RGB.
      store: False only looks at the pixels, and leaves `encoded` empty.
    """

    max_side: Optional[int] = 2048
    kept_modes: tuple[str, ...] = ("RGB",)
    upright: bool = True
    always_jpeg: bool = False
    statistics: bool = False
    store: bool = True


class Loaded(NamedTuple):
    """One image that was read.

    Attributes:
      encoded: JPEG or PNG; empty where the image cannot be used.
      problem: why it cannot be used; "" where it can.
      may_pass: the problem is the file system's (no permission, input/output error), so another run may read the image.
      mean, mean_square: per channel, of the pixels / 255.
      digest: of the pixels: equal pictures have equal ones, whatever their files are.
      elongation: the longer side, divided by the shorter one.
      remark: what is odd about an image that can be used; "" for nothing.
    """

    encoded: bytes
    problem: str = ""
    may_pass: bool = False
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    mean_square: tuple[float, ...] = (0.0, 0.0, 0.0)
    digest: bytes = b""
    elongation: float = 1.0
    remark: str = ""


class Unusable(Exception):
    """An image that is left out; the text says why."""


def load(item: Item, rules: Rules) -> Loaded:
    """Reads one image; what cannot be used comes back as a problem, never as an exception."""
    try:
        return encode(read_bytes(item), rules, item.path)
    except Unusable as error:
        return Loaded(b"", str(error))
    except MemoryError:
        return Loaded(b"", "does not fit into memory")
    except Exception as error:  # every codec has its own types for broken data
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, OSError) and error.errno is not None:
            return Loaded(b"", error.strerror or reason, may_pass=True)
        return Loaded(b"", reason)


def read_bytes(item: Item) -> bytes:
    """The item's bytes; raises Unusable where they are not those of an image."""
    if item.size < 0:
        raise Unusable("not a regular file (a broken link?)")
    if item.size == 0:
        raise Unusable("an empty file")
    if item.size > MAX_FILE_BYTES:
        raise Unusable(f"a file of {item.size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    with open(item.path, "rb") as file:
        file.seek(item.offset)
        content = file.read(item.size)
    if len(content) < item.size:
        raise Unusable("the file ends inside the image")
    return content


def encode(content: bytes, rules: Rules, name: str = "") -> Loaded:
    """Encoded image bytes to what is stored; raises Unusable or whatever the codec raises. `name` is the file's."""
    with _quiet_pillow(content):
        try:
            return _encode(content, rules, name)
        except OSError as error:
            if "truncated" not in str(error):
                raise
        return _encode(content, rules, name, cut_short=True)


def _encode(content: bytes, rules: Rules, name: str, cut_short: bool = False) -> Loaded:
    """As `encode`; with `cut_short`, of a file that ends inside the image: most of it must be there."""
    parts = metadata.plain(content)
    cut_short |= not parts.whole
    image = _opened(parts.content, content, name)
    source_format, size, mode = image.format, image.size, image.mode
    _check_size(image, parts.content)
    turn = _turn(image, parts.exif) if rules.upright else None
    max_side = rules.max_side or max(size)
    scaled = max(size) > max_side
    kept = (
        source_format == "JPEG"
        and parts.usual
        and mode in rules.kept_modes
        and turn is None
        and not (scaled or cut_short)
    )
    if kept:
        if not rules.statistics:
            image.draft(None, (1, 1))  # an eighth of the pixels costs less and still meets every byte of the file
        image.load()
        return _loaded(content, image, rules)
    if scaled:
        # A square's draft keeps the most of a long image; where that is too much to decode, the very size that is wanted.
        vast = size[0] * size[1] > MAX_DECODED_PIXELS
        width, height = (max(1, side * max_side // max(size)) if vast else max_side for side in size)
        image.draft(None, (width, height))
    _check_pixels(image, size)
    remark = _load_cut_short(image) if cut_short else ""
    rgb = to_rgb(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    if scaled:
        rgb.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        if min(rgb.size) < MIN_SIDE:
            raise Unusable(f"{size[0]} x {size[1]} pixels, too narrow to be scaled to {max_side}")
    if not rules.store:
        return _loaded(b"", rgb, rules, remark)
    as_jpeg = rules.always_jpeg or source_format in LOSSY
    return _loaded(to_jpeg(rgb) if as_jpeg else to_png(rgb), rgb, rules, remark)


def _opened(plain: bytes, content: bytes, name: str) -> Image.Image:
    """The image of `plain`, not yet decoded; `content` is the whole file, for the message.

    Raises:
      Unusable: it is none that is read here.
    """
    Image.init()
    by_name = [form for form, suffixes in NAMED_FORMATS.items() if name.lower().endswith(suffixes)]
    formats = [form for form in (*FORMATS, *by_name) if form in Image.OPEN]
    try:
        image: Image.Image = Image.open(io.BytesIO(plain), formats=formats)
    except Image.DecompressionBombError as error:
        raise Unusable(f"more than the {MAX_DECODED_PIXELS:,} pixels that are decoded; shrink it") from error
    except Image.UnidentifiedImageError as error:
        raise Unusable(foreign.why_not(content, name, formats)) from error
    if image.format == "TIFF" and foreign.is_raw(image, name):
        raise Unusable(foreign.RAW)
    return image


def _turn(image: Image.Image, exif: bytes) -> Optional[Image.Transpose]:
    """What makes the picture upright; None where nothing is to be done. Pillow turns a TIFF when it is decoded."""
    if image.format == "AVIF":
        exif = image.info.get("exif", b"")  # Pillow says there how the container has it turned
    return _TURNS.get(metadata.orientation(exif))


def _load_cut_short(image: Image.Image) -> str:
    """Decodes a file that ends inside the image, or is damaged from somewhere on; returns a remark.

    Raises:
      Unusable: too much is missing, or nobody knows how much.
    """
    if image.format not in ROW_BY_ROW or _is_interlaced(image):
        raise Unusable("the file is truncated: it ends inside the image")
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    pixels = np.asarray(image)
    missing = _missing(pixels.reshape(*pixels.shape[:2], -1), image.format)
    said = f"the file is truncated or damaged: {missing:.0%} of the picture is missing"
    if missing > MAX_MISSING:
        raise Unusable(said)
    return said if missing else "the file is truncated or damaged near its end"


def _missing(pixels: np.ndarray, form: str) -> float:
    """The share of a picture that its decoder filled up: a JPEG's missing blocks are grey, others' rows have one colour."""
    if form == "JPEG":
        return float((pixels == GREY).all(axis=-1).mean())
    missing = max(_same_rows(pixels[::-1]), _same_rows(pixels) if form in LAST_ROW_FIRST else 0)
    return missing / len(pixels)


def _is_interlaced(image: Image.Image) -> bool:
    if isinstance(image, GifImageFile):  # Pillow tells its decoder alone
        arguments = image.tile[0].args
        return isinstance(arguments, tuple) and bool(arguments[1])
    return bool(image.info.get("interlace"))


def _same_rows(pixels: np.ndarray) -> int:
    """How many rows from the first on hold one colour alone, that of the first pixel."""
    differs = (pixels != pixels[0, 0]).any(axis=(1, 2))
    return int(differs.argmax()) if differs.any() else len(pixels)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB of eight bits, whatever is transparent on white.

    Raises:
      Unusable: numbers whose range nobody knows.
    """
    if image.mode == "F":
        raise Unusable("pixels are floating-point numbers of an unknown range; write it with 8 bits")
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image), _bits(image))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
    return image.convert("RGB")


def _bits(image: Image.Image) -> int:
    """Bits of a pixel whose mode has room for 16: a TIFF says so, and may say 12."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    return bits if 8 < bits < 16 else 16


def _eight_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    lowest, highest = int(pixels.min()), int(pixels.max())
    if lowest < 0 or highest >= 1 << 16:
        raise Unusable(f"pixels from {lowest} to {highest}, whole numbers of an unknown range; write it with 8 bits")
    return (pixels >> (bits - 8)).clip(0, 255).astype(np.uint8)


def to_png(image: Image.Image) -> bytes:
    """PNG of an image."""
    return _saved(image, format="PNG")


def to_jpeg(image: Image.Image) -> bytes:
    """JPEG of an RGB image."""
    return _saved(image, format="JPEG", quality=QUALITY, subsampling=0)


def _saved(image: Image.Image, **options: object) -> bytes:
    image.info.clear()  # EXIF, colour profiles and comments would be written along
    file = io.BytesIO()
    image.save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _check_size(image: Image.Image, content: bytes) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise Unusable(f"{width} x {height} pixels, fewer than {MIN_SIDE} x {MIN_SIDE}")
    # Its coefficients are all kept in memory, however small it is decoded.
    if image.format != "JPEG" or image.info.get("progressive"):
        _check_pixels(image, image.size)
    scans = content.count(b"\xff\xda") if image.format == "JPEG" else 0
    if scans > MAX_SCANS:
        raise Unusable(f"a JPEG of {scans:,} scans, more than the {MAX_SCANS} that are decoded; save it again")


def _check_pixels(image: Image.Image, size: tuple[int, int]) -> None:
    if image.size[0] * image.size[1] > MAX_DECODED_PIXELS:
        raise Unusable(
            f"{size[0]} x {size[1]} pixels, more than the {MAX_DECODED_PIXELS:,} that are decoded; shrink it"
        )


def _loaded(encoded: bytes, image: Image.Image, rules: Rules, remark: str = "") -> Loaded:
    if not rules.statistics:
        return Loaded(encoded, remark=remark)
    counts = np.array(image.histogram(), np.int64).reshape(3, 256)
    values = np.arange(256)
    pixels = image.size[0] * image.size[1]
    mean, square = counts @ values / pixels / 255.0, counts @ values**2 / pixels / 255.0**2
    return Loaded(
        encoded,
        mean=tuple(mean.tolist()),
        mean_square=tuple(square.tolist()),
        digest=_digest(image, counts),
        elongation=max(image.size) / min(image.size),
        remark="; ".join(filter(None, (remark, _blankness(counts)))),
    )


def _digest(image: Image.Image, counts: np.ndarray) -> bytes:
    """Of the pixels: how often each value is there, and rows all over the picture.

    To pack and hash every pixel would take as long as to decode them.
    """
    width, height = image.size
    digest = hashlib.blake2b(counts.tobytes(), digest_size=16, key=b"%d x %d" % image.size)
    for row in range(0, height, -(-height // DIGEST_ROWS)):
        digest.update(image.crop((0, row, width, row + 1)).tobytes())
    return digest.digest()


def _blankness(counts: np.ndarray) -> str:
    """Says that there is little to be seen, as happens to 16 bits of which few are used; of a histogram [3, 256]."""
    used = [np.flatnonzero(channel) for channel in counts]
    if all(len(values) == 1 for values in used):
        return f"every pixel has the one colour {tuple(int(values[0]) for values in used)}"
    # A few odd pixels, hot ones of a camera, do not make a range: a thousandth on either side is left out.
    shares = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    lowest, highest = (shares > 0.001).argmax(axis=1), (shares >= 0.999).argmax(axis=1)
    widest = int((highest - lowest).argmax())
    low, high = int(lowest[widest]), int(highest[widest])
    if high - low >= SMALL_RANGE:
        return ""
    return f"{HARDLY_SEEN}: nearly all values lie between {low} and {high} of 255"


@contextlib.contextmanager
def _quiet_pillow(content: bytes) -> Iterator[None]:
    """Lifts Pillow's own limit on pixels (ours holds, after a JPEG is reduced) and its warnings.

    Not the limit on icons, which Pillow decodes as soon as it opens them; it allows twice the number.
    """
    icon = content.startswith((b"\0\0\1\0", b"\0\0\2\0", b"icns"))
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_DECODED_PIXELS // 2 if icon else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
