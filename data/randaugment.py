"""RandAugment exactly as the release computes it (arXiv:1909.13719; RELEASE section 4), on uint8 images.

There is no identity op: an op that is drawn is always applied. The level M counts in tenths of each op's range and may exceed
10; what uint8 arithmetic then makes of it (a threshold that wraps, a negative shift) is part of the method.

An op takes one image as uint8 [H W 3], row by row and channel by channel, and gives as many values. XLA compiles all ops and the
loop over a batch's images into one function; uncompiled they give the same, bit for bit.
"""

from __future__ import annotations

import functools
import math
from typing import Callable, NamedTuple, Optional, Union

import numpy as np
import tensorflow as tf

from compilation import compiled
from data import warp
from errors import UserError

FILL = 128
MAX_LEVEL = 10.0


class _Setting(NamedTuple):
    """What all images of a batch have in common."""

    height: int
    width: int
    level: float
    cutout_const: float
    translate_const: float

    @property
    def size(self) -> int:
        return 3 * self.height * self.width

    @property
    def fraction(self) -> float:
        return self.level / MAX_LEVEL

    @property
    def factor(self) -> float:
        return self.fraction * 1.8 + 0.1


class _Draw(NamedTuple):
    """What an image has drawn for an op: which of those that share its function, int32 []; row and column of a centre, [2]."""

    variant: tf.Tensor
    center: tf.Tensor


def randaugment(
    images: tf.Tensor,
    draws: tf.Tensor,
    magnitude: float,
    cutout: bool,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies to each image its own ops in sequence, each drawn uniformly (RELEASE section 4).

    Args:
      images: uint8 [N, H, W, 3]; N at least 1, H and W static.
      draws: float32 [N, layers, 4], of `draw`, one for each image.
      magnitude: the level M.
      cutout: whether Cutout is among the ops.
      cutout_const: half-width of Cutout at M = 10, in pixels.
      translate_const: shift of TranslateX and TranslateY at M = 10, in pixels.

    Returns:
      uint8 [N, H, W, 3].

    Raises:
      UserError: the images' size is not static.
    """
    images = tf.convert_to_tensor(images, tf.uint8)
    if draws.shape[1] == 0:
        return images
    setting = _Setting(*_static_size(images.shape[1:3]), magnitude, cutout_const, translate_const)
    op = drawn_ops(draws, len(OPS) if cutout else len(OPS) - 1)
    negated = tf.gather(tf.constant([name in GEOMETRIC for name in OPS]), op) & (draws[..., 1] < 0.5)
    variant = tf.gather(tf.constant(_VARIANT), op) + tf.cast(negated, tf.int32)
    centers = random_centers(images, draws[..., 2:])
    augmented = _loop(setting)(
        tf.reshape(images, [-1, setting.size]), tf.gather(tf.constant(_BRANCH), op), variant, centers
    )
    return tf.reshape(augmented, tf.shape(images))


@functools.cache
def _loop(setting: _Setting) -> Callable[..., tf.Tensor]:
    """The compiled function of images [N, H W 3], and branch, variant [N, layers] and center [N, layers, 2] of their ops."""

    def loop(images: tf.Tensor, branch: tf.Tensor, variant: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
        count, layers = tf.unstack(tf.shape(branch))

        def apply_next(step: tf.Tensor, array: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            number, layer = step // layers, step % layers
            pixels, drawn = array.read(number), _Draw(variant[number, layer], center[number, layer])
            ops = [functools.partial(function, pixels, setting, drawn) for function in _BRANCHES]
            return step + 1, array.write(number, tf.switch_case(branch[number, layer], ops))

        array = tf.TensorArray(tf.uint8, count, element_shape=[setting.size], clear_after_read=False)
        last = tf.while_loop(lambda step, _: step < count * layers, apply_next, [0, array.unstack(images)])[1]
        return last.stack()

    return compiled(loop)


def _static_size(shape: tf.TensorShape) -> tuple[int, int]:
    if None in shape:
        raise UserError(
            f"RandAugment: got images of {shape[0]} x {shape[1]} pixels, expected a static size; resize them first"
        )
    return shape[0], shape[1]


def draw(seed: tf.Tensor, layers: int) -> tf.Tensor:
    """The random numbers of one image, a function of `seed` (int32 or int64 [2]) alone.

    Returns:
      float32 [layers, 4]: per layer op, sign, and row and column of a centre.
    """
    return tf.random.stateless_uniform([layers, 4], seed, alg="philox")


def drawn_ops(draws: tf.Tensor, num_ops: int) -> tf.Tensor:
    """The ops that `draws` (float32 [..., layers, 4]) stand for: int32 [..., layers], indices into `OPS`."""
    return _to_index(draws[..., 0], num_ops)


def apply_op(
    name: str,
    image: tf.Tensor,
    level: float,
    negate: bool = False,
    center: Optional[tf.Tensor] = None,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies one op at level M to uint8 [H, W, 3], uncompiled.

    Args:
      name: one of `OPS`.
      image: uint8 [H, W, 3]; H and W static.
      level: M.
      negate: whether a geometric op's argument is negated; ignored by the others.
      center: int32 [2], row and column of Cutout's centre; the image's middle where None. Ignored by the others.
      cutout_const, translate_const: see `randaugment`.

    Raises:
      UserError: unknown op, or an image whose size is not static.
    """
    if name not in OPS:
        raise UserError(f"RandAugment: got op {name!r}, expected one of {', '.join(OPS)}")
    image = tf.convert_to_tensor(image, tf.uint8)
    setting = _Setting(*_static_size(image.shape[:2]), level, cutout_const, translate_const)
    middle = [setting.height // 2, setting.width // 2]
    op = OPS.index(name)
    drawn = _Draw(
        tf.constant(_VARIANT[op] + (negate and name in GEOMETRIC)),
        tf.constant(middle) if center is None else tf.convert_to_tensor(center),
    )
    return tf.reshape(_BRANCHES[_BRANCH[op]](tf.reshape(image, [-1]), setting, drawn), image.shape)


def cutout(images: tf.Tensor, half_width: int, centers: tf.Tensor) -> tf.Tensor:
    """Fills squares of side 2 * half_width around `centers` (int32 [N, 2]: row, column) with 128, clipped at the border."""

    # As [N, H, 3 W], whose last axis is long: along one of three channels the comparison would take ten times as long.
    pixels = tf.reshape(images, tf.concat([tf.shape(images)[:2], [-1]], 0))
    rows, columns = tf.range(tf.shape(images)[1]), tf.range(tf.shape(pixels)[2]) // 3
    in_rows, in_columns = _near(rows, centers[:, :1], half_width), _near(columns, centers[:, 1:], half_width)
    hole = in_rows[:, :, None] & in_columns[:, None, :]
    return tf.reshape(tf.where(hole, np.uint8(FILL), pixels), tf.shape(images))


def _near(positions: tf.Tensor, center: tf.Tensor, half_width: int) -> tf.Tensor:
    return (positions >= center - half_width) & (positions < center + half_width)


def random_centers(images: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Row and column in `images` [N, H, W, 3], int32 [..., 2], from uniform numbers in [0, 1), float32 [..., 2]."""
    return _to_index(uniform, tf.shape(images)[1:3])


def _to_index(uniform: tf.Tensor, count: Union[int, tf.Tensor]) -> tf.Tensor:
    """Maps [0, 1) to 0..count-1; the product of two float32 may round up to count itself."""
    return tf.minimum(tf.cast(uniform * tf.cast(count, tf.float32), tf.int32), count - 1)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def _rounded(product: tf.Tensor) -> tf.Tensor:
    """A product that is rounded to float32 before it is added to anything or multiplied again.

    XLA would multiply and add in one instruction, or multiply constants beforehand: other bits than the release's.
    """
    return tf.minimum(product, np.float32(1e30))


def _float(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float32)


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)


def _blend(degenerate: Union[float, tf.Tensor], pixels: tf.Tensor, factor: float) -> tf.Tensor:
    """degenerate + factor * (pixels - degenerate) as uint8; `pixels` uint8, `degenerate` float32 in 0..255."""
    if factor == 0.0:
        return tf.cast(degenerate + tf.zeros_like(pixels, tf.float32), tf.uint8)
    if factor == 1.0:
        return pixels
    return _to_uint8(degenerate + _rounded(factor * (_float(pixels) - degenerate)))


def _replace(pixels: tf.Tensor, begin: int, values: tf.Tensor) -> tf.Tensor:
    """`pixels` with `values` from `begin` on."""
    end = begin + values.shape[0]
    return tf.raw_ops.TensorStridedSliceUpdate(input=pixels, begin=[begin], end=[end], strides=[1], value=values)


def _constant(values: np.ndarray) -> tf.Tensor:
    """An argument of what is compiled, not a part of it."""
    with tf.init_scope(), tf.device("/CPU:0"):
        return tf.constant(values)


@functools.lru_cache(maxsize=8)
def _channels(size: int) -> tf.Tensor:
    """The channel of every value: uint8 [size]."""
    return _constant(np.tile(np.arange(3, dtype=np.uint8), size // 3))


@functools.lru_cache(maxsize=8)
def _positions(height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Row and column of every value: each uint16 [H W 3]."""
    rows, columns, _ = np.indices([height, width, 3], np.uint16)
    return _constant(rows.reshape(-1)), _constant(columns.reshape(-1))


@functools.lru_cache(maxsize=8)
def _inside(height: int, width: int) -> tf.Tensor:
    """Whether a value's pixel has eight neighbours: bool [H W 3]."""
    inside = np.zeros([height, width, 3], bool)
    inside[1:-1, 1:-1] = True
    return _constant(inside.reshape(-1))


@functools.lru_cache(maxsize=8)
def _sources(setting: _Setting) -> tf.Tensor:
    """Where each value comes from, -1 for outside: int32 [10, H W 3], two for each op of `GEOMETRIC`, the second negated."""
    # In float32, as the release multiplies.
    radians = float(np.float32(setting.fraction * 30.0) * np.float32(math.pi / 180.0))
    slope, pixels = setting.fraction * 0.3, setting.fraction * setting.translate_const
    warps = {
        "Rotate": (warp.rotate, radians),
        "ShearX": (warp.shear_x, slope),
        "ShearY": (warp.shear_y, slope),
        "TranslateX": (warp.translate_x, pixels),
        "TranslateY": (warp.translate_y, pixels),
    }
    signed = [(warps[name][0], sign * warps[name][1]) for name in GEOMETRIC for sign in (1, -1)]
    return _constant(np.stack([warp.sources(*one, setting.height, setting.width) for one in signed]))


# --- ops --------------------------------------------------------------------------------------------------------------


def _by_table(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    """Each value's entry in a table of its channel."""
    # As a branch the table is computed before anything is looked up: XLA would do so again for each value.
    tables = [functools.partial(table, pixels, setting) for table in (_auto_contrast, _equalize)]
    table = tf.reshape(tf.switch_case(drawn.variant, tables), [3 * 256])
    return tf.gather(table, _bins(pixels, setting))


def _bins(pixels: tf.Tensor, setting: _Setting) -> tf.Tensor:
    """Each value and its channel as a number below 3 * 256: int32 [H W 3]."""
    return tf.cast(pixels, tf.int32) + 256 * tf.cast(_channels(setting.size), tf.int32)


def _auto_contrast(pixels: tf.Tensor, setting: _Setting) -> tf.Tensor:
    """uint8 [3, 256]: every channel's values stretched to 0..255."""
    rows = tf.reshape(pixels, [setting.height, 3 * setting.width])
    low = _float(tf.reduce_min(tf.reshape(tf.reduce_min(rows, 0), [setting.width, 3]), 0))
    high = _float(tf.reduce_max(tf.reshape(tf.reduce_max(rows, 0), [setting.width, 3]), 0))
    varies = high > low
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, _rounded(-low * scale), 0.0)
    return _to_uint8(_rounded(tf.range(256.0) * scale[:, None]) + offset[:, None])


def _equalize(pixels: tf.Tensor, setting: _Setting) -> tf.Tensor:
    """uint8 [3, 256]: PIL's equalisation of every channel."""
    bins = _bins(pixels, setting)
    counts = tf.reshape(tf.math.unsorted_segment_sum(tf.ones_like(bins), bins, 3 * 256), [3, 256])
    values = tf.range(256)
    brightest = tf.reduce_max(tf.where(counts > 0, values, 0), 1, keepdims=True)
    others = tf.reduce_sum(tf.where(values < brightest, counts, 0), 1, keepdims=True)
    step = others // 255
    # A product is the fastest sum of all counts before each; they are exact in float32 up to 4096 x 4096 pixels.
    before = tf.constant(np.triu(np.ones([256, 256], np.float32), 1))
    below = tf.cast(tf.matmul(_float(counts), before), tf.int32)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    return tf.cast(tf.where(step == 0, values, table), tf.uint8)


def _invert(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del setting, drawn
    return 255 - pixels


def _posterize(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del drawn
    # The release shifts right and left by 8 - bits in uint8, where a shift that is negative (and wraps) or beyond 7 counts as 7.
    shift = min((8 - int(setting.level * 0.4)) % 256, 7)
    return tf.bitwise.bitwise_and(pixels, np.uint8(256 - 2**shift))


def _solarize(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del drawn
    return tf.where(pixels < np.uint8(int(setting.fraction * 256) % 256), pixels, 255 - pixels)


def _solarize_add(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del drawn
    added = float(int(setting.fraction * 110))
    return tf.where(pixels < 128, _to_uint8(_float(pixels) + added), pixels)


def _color(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del drawn
    first, last = pixels[:3], pixels[-3:]
    ends = [_blend(_grey(*tf.unstack(pixel)), pixel, setting.factor) for pixel in (first, last)]
    result = _replace(_replace(pixels, 0, ends[0]), setting.size - 3, ends[1])
    if setting.size <= 6:
        return result
    channels = _channels(setting.size)[3:-3]

    def of_own_pixel(channel: int) -> tf.Tensor:
        """The channel's value of every value's own pixel, which is among the next or the last two values."""
        values = [pixels[3 + offset : setting.size - 3 + offset] for offset in range(channel, channel - 3, -1)]
        return tf.where(channels == 0, values[0], tf.where(channels == 1, values[1], values[2]))

    grey = _grey(*(of_own_pixel(channel) for channel in range(3)))
    return _replace(result, 3, _blend(grey, pixels[3:-3], setting.factor))


def _grey(red: tf.Tensor, green: tf.Tensor, blue: tf.Tensor) -> tf.Tensor:
    """What tf.image.rgb_to_grayscale gives for uint8, as float32."""
    weighted = (
        _rounded(_rounded(_float(values) * np.float32(1.0 / 255.0)) * np.float32(weight))
        for values, weight in ((red, 0.2989), (green, 0.5870), (blue, 0.1140))
    )
    return tf.floor(sum(weighted) * 255.5)


def _contrast(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del drawn
    return _blend(math.floor(min(setting.height * setting.width / 256.0, 255.0)), pixels, setting.factor)


def _brightness(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del drawn
    return _to_uint8(_float(pixels) * setting.factor)


def _sharpness(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    del drawn
    if min(setting.height, setting.width) < 3:
        return pixels
    # From the first pixel with eight neighbours to the last one; the borders between them are computed in vain.
    row = 3 * setting.width
    begin = row + 3
    inner = slice(begin, setting.size - begin)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / np.float32(13)
    weights = tf.constant(kernel.reshape(-1), tf.float64)
    offsets = tf.constant([y * row + 3 * x for y, x in np.ndindex(3, 3)])
    size = setting.size - 2 * begin

    def add_neighbour(number: tf.Tensor, smooth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The release multiplies and adds in one instruction: in float64 both are exact, and the sum is rounded once.
        values = tf.cast(tf.slice(pixels, offsets[number, None], [size]), tf.float64)
        return number + 1, _float(values * weights[number] + tf.cast(smooth, tf.float64))

    # A loop, because nine additions that wait for each other take longer in one pass than in nine.
    smooth = tf.while_loop(lambda number, _: number < 9, add_neighbour, [0, tf.zeros([size])])[1]
    values = _blend(tf.floor(smooth), pixels[inner], setting.factor)
    return _replace(pixels, begin, tf.where(_inside(setting.height, setting.width)[inner], values, pixels[inner]))


def _cutout(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    half_width = int(setting.fraction * setting.cutout_const)
    positions = _positions(setting.height, setting.width)
    in_row, in_column = (
        _near(tf.cast(p, tf.int32), drawn.center[axis], half_width) for axis, p in enumerate(positions)
    )
    return tf.where(in_row & in_column, np.uint8(FILL), pixels)


def _warp(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    source = tf.gather(_sources(setting), drawn.variant)
    return tf.where(source < 0, np.uint8(FILL), tf.gather(pixels, tf.maximum(source, 0)))


_FUNCTIONS: dict[str, Callable[[tf.Tensor, _Setting, _Draw], tf.Tensor]] = {
    "AutoContrast": _by_table,
    "Equalize": _by_table,
    "Invert": _invert,
    "Rotate": _warp,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "Color": _color,
    "Contrast": _contrast,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
    "ShearX": _warp,
    "ShearY": _warp,
    "TranslateX": _warp,
    "TranslateY": _warp,
    "SolarizeAdd": _solarize_add,
    "Cutout": _cutout,
}

OPS = tuple(_FUNCTIONS)
GEOMETRIC = tuple(name for name, function in _FUNCTIONS.items() if function is _warp)

_BRANCHES = tuple(dict.fromkeys(_FUNCTIONS.values()))
# Of each op: its branch, and which of the ops it is that share that (twice as many for `GEOMETRIC`: each has two signs).
_BRANCH = tuple(_BRANCHES.index(function) for function in _FUNCTIONS.values())
_VARIANT = tuple(
    2 * GEOMETRIC.index(name) if name in GEOMETRIC else _BRANCH[:number].count(_BRANCH[number])
    for number, name in enumerate(OPS)
)
