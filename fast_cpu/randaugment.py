"""RandAugment exactly as the release computes it (arXiv:1909.13719; docs/release.md, section 4), on uint8 images.

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
from tensorflow.compiler.tf2xla.python import xla

from data.images import warp as images_warp
from data.images.warp import rotate, shear_x, shear_y, shifted_rows, translate_x, translate_y
from fast_cpu.xla import compiled, rounded
from runtime.errors import UserError

FILL = 128
MAX_LEVEL = 10.0


class _Setting(NamedTuple):
    """What all images of a batch have in common, and whether XLA compiles what is done to them."""

    height: int
    width: int
    level: float
    cutout_const: float
    translate_const: float
    compiled: bool

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
    """What an image has drawn for an op: an index into `_WARPS`, int32 []; row and column of a centre, int32 [2]."""

    warp: tf.Tensor
    center: tf.Tensor


_Op = Callable[[tf.Tensor, _Setting, _Draw], tf.Tensor]


def randaugment(
    images: tf.Tensor,
    draws: tf.Tensor,
    magnitude: float,
    cutout: bool,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies to each image its own ops in sequence, each drawn uniformly (docs/release.md, section 4).

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
    setting = _Setting(*_static_size(images.shape[1:3]), magnitude, cutout_const, translate_const, compiled=True)
    op = drawn_ops(draws, len(OPS) if cutout else len(OPS) - 1)
    signed = 2 * op + tf.cast(draws[..., 1] < 0.5, tf.int32)
    branch = tf.gather(tf.constant(_branches(setting)[1]), signed)
    centers = random_centers(images, draws[..., 2:])
    augmented = _loop(setting)(
        tf.reshape(images, [-1, setting.size]), branch, tf.gather(tf.constant(_WARP), signed), centers
    )
    return tf.reshape(augmented, tf.shape(images))


@functools.cache
def _loop(setting: _Setting) -> Callable[..., tf.Tensor]:
    """The compiled function of images [N, H W 3], and branch, warp [N, layers] and center [N, layers, 2] of their ops."""

    def loop(images: tf.Tensor, branch: tf.Tensor, warped: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
        count, layers = tf.unstack(tf.shape(branch))

        def apply_next(step: tf.Tensor, array: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            number, layer = step // layers, step % layers
            pixels, drawn = array.read(number), _Draw(warped[number, layer], center[number, layer])
            ops = [functools.partial(function, pixels, setting, drawn) for function in _branches(setting)[0]]
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
    setting = _Setting(*_static_size(image.shape[:2]), level, cutout_const, translate_const, compiled=False)
    middle = [setting.height // 2, setting.width // 2]
    drawn = _Draw(
        tf.constant(_WARP[2 * OPS.index(name) + negate]),
        tf.constant(middle) if center is None else tf.convert_to_tensor(center),
    )
    return tf.reshape(_FUNCTIONS[name](tf.reshape(image, [-1]), setting, drawn), image.shape)


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
    return _to_uint8(degenerate + rounded(factor * (_float(pixels) - degenerate)))


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


class _Warps(NamedTuple):
    """All warps of a setting, in the order of `_WARPS`.

    Attributes:
      sources: where each value comes from, -1 for outside; int32 [10, H W 3].
      by_row: whether `rows` is enough.
      rows: of those, `warp.shifted_rows`, zeros for others; int32 [10, H, 4].
      margin: columns to the side from which a row is read, at most.
    """

    sources: tf.Tensor
    by_row: tuple[bool, ...]
    rows: tf.Tensor
    margin: int


@functools.lru_cache(maxsize=8)
def _warps(setting: _Setting) -> _Warps:
    # In float32, as the release multiplies.
    radians = float(np.float32(setting.fraction * 30.0) * np.float32(math.pi / 180.0))
    slope, pixels = setting.fraction * 0.3, setting.fraction * setting.translate_const
    warps = {
        "Rotate": (rotate, radians),
        "ShearX": (shear_x, slope),
        "ShearY": (shear_y, slope),
        "TranslateX": (translate_x, pixels),
        "TranslateY": (translate_y, pixels),
    }
    signed = [(warps[name][0], sign * warps[name][1]) for name, sign in _WARPS]
    sources = [images_warp.sources(*one, setting.height, setting.width) for one in signed]
    found = [shifted_rows(one, setting.height, setting.width) for one in sources]
    rows = np.stack([np.zeros([setting.height, 4], np.int32) if one is None else one for one in found])
    by_row = tuple(one is not None for one in found)
    return _Warps(_constant(np.stack(sources)), by_row, _constant(rows), int(np.abs(rows[..., 1:3]).max()))


@functools.lru_cache(maxsize=8)
def _branches(setting: _Setting) -> tuple[list[_Op], list[int]]:
    """The different functions of all ops, and which of them is each op's, without and with its argument negated."""
    by_row = _warps(setting).by_row
    functions = [
        _shift_rows if name in GEOMETRIC and by_row[_WARP[2 * number + negated]] else _FUNCTIONS[name]
        for number, name in enumerate(OPS)
        for negated in (0, 1)
    ]
    different = list(dict.fromkeys(functions))
    return different, [different.index(function) for function in functions]


# --- ops --------------------------------------------------------------------------------------------------------------


def _auto_contrast(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    """Every channel's values stretched to 0..255."""
    del drawn
    low, high = (_float(values) for values in _extremes(pixels, setting))
    varies = high > low
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, rounded(-low * scale), 0.0)
    scales, offsets = _to_channels(scale, setting), _to_channels(offset, setting)
    return _to_uint8(rounded(_float(pixels) * scales) + offsets)


def _extremes(pixels: tf.Tensor, setting: _Setting) -> list[tf.Tensor]:
    """The least and the greatest value of each channel: uint8 [3] each."""
    # XLA reduces long stretches of values by vector instructions as long as there are no more than 32.
    count = max(divisor for divisor in range(1, 33) if setting.height % divisor == 0)
    stretches = tf.reshape(pixels, [count, -1])
    return [reduce(tf.reshape(reduce(stretches, 0), [-1, 3]), 0) for reduce in (tf.reduce_min, tf.reduce_max)]


def _to_channels(values: tf.Tensor, setting: _Setting) -> tf.Tensor:
    """The one of three `values` that belongs to each value's channel: [H W 3]."""
    channels = _channels(setting.size)
    return tf.where(channels == 0, values[0], tf.where(channels == 1, values[1], values[2]))


def _equalize(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    """PIL's equalisation of every channel."""
    del drawn
    counts = _counts(pixels, setting)
    values = tf.range(256)
    brightest = tf.reduce_max(tf.where(counts > 0, values, 0), 1, keepdims=True)
    others = tf.reduce_sum(tf.where(values < brightest, counts, 0), 1, keepdims=True)
    step = others // 255

    def equalized() -> tf.Tensor:
        # A product is the fastest sum of all counts before each; they are exact in float32 up to 4096 x 4096 pixels.
        before = tf.constant(np.triu(np.ones([256, 256], np.float32), 1))
        below = tf.cast(tf.matmul(_float(counts), before), tf.int32)
        table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
        return tf.reshape(tf.where(step == 0, values, table), [3 * 256])

    # As a branch the table is computed before anything is looked up: XLA would do so again for each value. Looking up int32
    # takes half as long as uint8.
    table = tf.cond(tf.reduce_any(step > 0), equalized, lambda: tf.tile(values, [3]))
    return tf.cast(tf.gather(table, _bins(pixels, setting)), tf.uint8)


def _counts(pixels: tf.Tensor, setting: _Setting) -> tf.Tensor:
    """How often each channel has each value: int32 [3, 256]."""
    if not setting.compiled:
        bins = _bins(pixels, setting)
        return tf.reshape(tf.math.unsorted_segment_sum(tf.ones_like(bins), bins, 3 * 256), [3, 256])

    # XLA makes a loop of that sum as well, which takes twice as long.
    def count_pixel(number: tf.Tensor, counts: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        pixel = tf.cast(tf.slice(pixels, [3 * number], [3]), tf.int32)
        one = tf.ones([1], tf.int32)
        return number + 1, [tf.tensor_scatter_nd_add(counts[i], pixel[i, None, None], one) for i in range(3)]

    nothing = [tf.zeros([256], tf.int32)] * 3
    return tf.stack(tf.while_loop(lambda number, _: number < setting.size // 3, count_pixel, [0, nothing])[1])


def _bins(pixels: tf.Tensor, setting: _Setting) -> tf.Tensor:
    """Each value and its channel as a number below 3 * 256: int32 [H W 3]."""
    return tf.cast(pixels, tf.int32) + 256 * tf.cast(_channels(setting.size), tf.int32)


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
        rounded(rounded(_float(values) * np.float32(1.0 / 255.0)) * np.float32(weight))
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
    begin = 3 * setting.width + 3
    inner = slice(begin, setting.size - begin)
    fused = setting.compiled and _fuses()
    values = _blend(tf.floor(_smooth(pixels, setting.width, fused)), pixels[inner], setting.factor)
    return _replace(pixels, begin, tf.where(_inside(setting.height, setting.width)[inner], values, pixels[inner]))


def _smooth(pixels: tf.Tensor, width: int, fused: bool) -> tf.Tensor:
    """Weighted means of 3 x 3 pixels, float32, from the first pixel with eight neighbours to the last one.

    The release multiplies and adds in one instruction, which rounds once. So does XLA where `_fuses` says so; elsewhere float64
    does the same, in which product and sum are exact.
    """
    weights = (np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / np.float32(13)).reshape(-1)
    offsets = [3 * (y * width + x) for y, x in np.ndindex(3, 3)]
    size = pixels.shape[0] - offsets[-1]
    if fused:
        products = [_float(pixels[offset : offset + size]) * weight for offset, weight in zip(offsets, weights)]
        return functools.reduce(lambda smooth, product: product + smooth, products[1:], rounded(products[0]))
    begins, exact = tf.constant(offsets), tf.constant(weights, tf.float64)

    def add_neighbour(number: tf.Tensor, smooth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values = tf.cast(tf.slice(pixels, begins[number, None], [size]), tf.float64)
        return number + 1, _float(values * exact[number] + tf.cast(smooth, tf.float64))

    # A loop, because nine additions that wait for each other take longer in one pass than in nine.
    return tf.while_loop(lambda number, _: number < 9, add_neighbour, [0, tf.zeros([size])])[1]


@functools.cache
def _fuses() -> bool:
    """Whether XLA multiplies and adds in one instruction on this processor, seen from a small image."""
    with tf.init_scope(), tf.device("/CPU:0"):
        pixels = tf.constant(np.random.default_rng(0).integers(0, 256, 3 * 32 * 32).astype(np.uint8))
        fused = compiled(functools.partial(_smooth, width=32, fused=True))(pixels)
        return bool(tf.reduce_all(fused == _smooth(pixels, 32, fused=False)))


def _cutout(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    half_width = int(setting.fraction * setting.cutout_const)
    positions = _positions(setting.height, setting.width)
    in_row, in_column = (
        _near(tf.cast(p, tf.int32), drawn.center[axis], half_width) for axis, p in enumerate(positions)
    )
    return tf.where(in_row & in_column, np.uint8(FILL), pixels)


def _warp(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    source = tf.gather(_warps(setting).sources, drawn.warp)
    return tf.where(source < 0, np.uint8(FILL), tf.gather(pixels, tf.maximum(source, 0)))


def _shift_rows(pixels: tf.Tensor, setting: _Setting, drawn: _Draw) -> tf.Tensor:
    """Compiled, what `_warp` does where each row is read from one row of the image, in less than half the time."""
    length, warps = 3 * setting.width, _warps(setting)
    sides = [3 * warps.margin, 3 * warps.margin]
    image = tf.pad(tf.reshape(pixels, [setting.height, length]), [[0, 1], sides], constant_values=np.uint8(FILL))
    rows, positions = tf.gather(warps.rows, drawn.warp), tf.range(length)

    def shift(number: tf.Tensor, array: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        row, left, right, middle = tf.unstack(tf.gather(rows, number))
        begins = [3 * (warps.margin + shift) for shift in (left, right)]
        # Not tf.slice: for each place that it begins at, XLA would compile everything again.
        read = [xla.dynamic_slice(image, [row, begin], [1, length])[0] for begin in begins]
        return number + 1, array.write(number, tf.where(positions < 3 * middle, *read))

    array = tf.TensorArray(tf.uint8, setting.height, element_shape=[length])
    shifted = tf.while_loop(lambda number, _: number < setting.height, shift, [0, array])[1].stack()
    return tf.reshape(shifted, [setting.size])


_FUNCTIONS: dict[str, _Op] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
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

_WARPS = tuple((name, sign) for name in GEOMETRIC for sign in (1, -1))
# Of each op, without and with its argument negated: which of `_WARPS` it is.
_WARP = tuple(_WARPS.index((name, sign)) if name in GEOMETRIC else 0 for name in OPS for sign in (1, -1))
