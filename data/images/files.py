"""Turns anyone's image file into the bytes of a record. Only Pillow is imported, so worker processes start quickly.

For every task:
- The content decides the format, never the name. JPEG, PNG, WebP, GIF, BMP and TIFF are read; of an animation, the first frame.
- A JPEG in RGB that needs no change is stored byte for byte. Everything else becomes RGB: a JPEG of quality 95 without chroma
  subsampling if the source is lossy (another JPEG, WebP), else a PNG.
- Transparent parts become white.
- 16 bits a channel become 8.

`Rules` holds what differs between tasks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
LOSSY = ("JPEG", "MPO", "WEBP")
JPEG_FORMATS = ("JPEG", "MPO")  # MPO: a JPEG with further pictures after it, as some cameras write
QUALITY = 95
# One pixel would leave nothing after the centre crop of evaluation.
MIN_SIDE = 2
# A decoded image takes up to 12 bytes a pixel on its way: 1.2 GB in one process at most.
MAX_DECODED_PIXELS = 100_000_000
MAX_FILE_BYTES = 256 << 20
ORIENTATION = 0x0112
WHITE = (255, 255, 255, 255)


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
      statistics: sum up the pixels; needs `kept_modes` to be RGB.
    """

    max_side: Optional[int] = 2048
    kept_modes: tuple[str, ...] = ("RGB",)
    upright: bool = True
    always_jpeg: bool = False
    statistics: bool = False


class Loaded(NamedTuple):
    """One image that was read.

    Attributes:
      encoded: JPEG or PNG; empty where the image cannot be used.
      problem: why it cannot be used; "" where it can.
      may_pass: the problem is the file system's (no permission, input/output error), so another run may read the image.
      mean, mean_square: per channel, of the pixels / 255; zeros without `Rules.statistics`.
    """

    encoded: bytes
    problem: str = ""
    may_pass: bool = False
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    mean_square: tuple[float, ...] = (0.0, 0.0, 0.0)


class Unusable(Exception):
    """An image that is left out; the text says why."""


def load(item: Item, rules: Rules) -> Loaded:
    """Reads one image; what cannot be used comes back as a problem, never as an exception."""
    try:
        content = read_bytes(item)
        with _quiet_pillow():
            return encode(content, rules)
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


def encode(content: bytes, rules: Rules) -> Loaded:
    """Encoded image bytes to what is stored; raises Unusable or whatever the codec raises."""
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise Unusable(f"not an image of a known format ({', '.join(FORMATS)})") from error
    source_format, size, mode = image.format, image.size, image.mode
    _check_size(image)
    turned = rules.upright and image.getexif().get(ORIENTATION, 1) in range(2, 9)
    max_side = rules.max_side or max(size)
    scaled = max(size) > max_side
    if source_format in JPEG_FORMATS and mode in rules.kept_modes and not turned and not scaled:
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
    rgb = to_rgb(ImageOps.exif_transpose(image) if turned else image)
    if scaled:
        rgb.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        if min(rgb.size) < MIN_SIDE:
            raise Unusable(f"{size[0]} x {size[1]} pixels, too narrow to be scaled to {max_side}")
    as_jpeg = rules.always_jpeg or source_format in LOSSY
    return _loaded(to_jpeg(rgb) if as_jpeg else to_png(rgb), rgb, rules)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB of eight bits, whatever is transparent on white."""
    if image.mode == "F":
        raise Unusable("pixels are floating-point numbers of an unknown range")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
    return image.convert("RGB")


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


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise Unusable(f"{width} x {height} pixels, fewer than {MIN_SIDE} x {MIN_SIDE}")
    # Its coefficients are all kept in memory, however small it is decoded.
    if image.format not in JPEG_FORMATS or image.info.get("progressive"):
        _check_pixels(image, image.size)


def _check_pixels(image: Image.Image, size: tuple[int, int]) -> None:
    if image.size[0] * image.size[1] > MAX_DECODED_PIXELS:
        raise Unusable(
            f"{size[0]} x {size[1]} pixels, more than the {MAX_DECODED_PIXELS:,} that are decoded; shrink it"
        )


def _loaded(encoded: bytes, image: Image.Image, rules: Rules) -> Loaded:
    if not rules.statistics:
        return Loaded(encoded)
    counts = np.array(image.histogram(), np.int64).reshape(3, 256)
    values = np.arange(256)
    pixels = image.size[0] * image.size[1]
    mean, square = counts @ values / pixels / 255.0, counts @ values**2 / pixels / 255.0**2
    return Loaded(encoded, mean=tuple(mean.tolist()), mean_square=tuple(square.tolist()))


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Lifts Pillow's own limit on pixels (ours holds, after a JPEG is reduced) and its warnings about odd metadata."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
