"""RandAugment of a whole batch as one function that XLA compiles: the bits of `data.images.randaugment`, sooner.

Most ops are the plain ones. XLA vectorises what treats each value of an image alone or reads it at a constant distance, but no
loop over three channels. So some ops are written anew, on an image as one row of values.

Two ops of an image of 224 pixels take 190 microseconds of processor time, the plain ones 1,430 (`python -m
benchmarks.randaugment_ops`). The input pipeline makes 90 % of the images a second that it makes without RandAugment, with the
plain ops 38 % (`python -m benchmarks.input_pipeline`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Callable, Union

import numpy as np
import tensorflow as tf

from data.images import randaugment as plain
from fast_cpu.xla import compiled, rounded

_Shape = tuple[int, ...]
_OpsAt = Callable[..., dict[str, tuple[Any, ...]]]


def randaugment(
    images: tf.Tensor,
    draws: tf.Tensor,
    magnitude: float,
    cutout: bool,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """The same as `data.images.randaugment.randaugment`; N is at least 1."""
    images = tf.convert_to_tensor(images, tf.uint8)
    plain.check_static(images.shape[1:3])
    if draws.shape[1] == 0:
        return images
    op = plain.drawn_ops(draws, len(plain.OPS) if cutout else len(plain.OPS) - 1)
    shape = tuple(images.shape[1:])
    loop = _loop(shape, magnitude, cutout_const, translate_const)
    values = loop(
        tf.reshape(images, [-1, math.prod(shape)]),
        op,
        plain.drawn_signs(draws),
        plain.random_centers(images, draws[..., 2:]),
    )
    return tf.reshape(values, tf.shape(images))


@functools.cache
def _loop(shape: _Shape, level: float, cutout_const: float, translate_const: float) -> Callable[..., tf.Tensor]:
    """The compiled function of images [N, H W 3], and op, sign [N, layers] and center [N, layers, 2]."""
    ops_at = functools.partial(plain.ops_at, level, cutout_const=cutout_const, translate_const=translate_const)
    functions = [_function(name, shape, ops_at) for name in plain.OPS]

    def loop(images: tf.Tensor, op: tf.Tensor, sign: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
        count, layers = tf.unstack(tf.shape(op))

        def augment_next(number: tf.Tensor, array: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            def apply_next(layer: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                drawn = values, sign[number, layer], center[number, layer]
                branches = [functools.partial(function, *drawn) for function in functions]
                return layer + 1, tf.switch_case(op[number, layer], branches)

            values = tf.while_loop(lambda layer, _: layer < layers, apply_next, [0, array.read(number)])[1]
            return number + 1, array.write(number, values)

        array = tf.TensorArray(tf.uint8, count, element_shape=images.shape[1:], clear_after_read=False)
        return tf.while_loop(lambda number, _: number < count, augment_next, [0, array.unstack(images)])[1].stack()

    return compiled(loop)


def _function(name: str, shape: _Shape, ops_at: _OpsAt) -> Callable[..., tf.Tensor]:
    """An op as a function of values, sign and center."""
    if name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"):
        return functools.partial(_warp, _sources(name, shape, ops_at))

    def apply(values: tf.Tensor, sign: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
        function, *arguments = ops_at(sign, center)[name]
        if name in _FASTER:
            return _FASTER[name](values, shape, *arguments)
        return tf.reshape(function(tf.reshape(values, shape), *arguments), values.shape)

    return apply


def _constant(function: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Computed now, as an argument of what is compiled and not a part of it."""
    with tf.init_scope(), tf.device("/CPU:0"):
        return function()


def _sources(name: str, shape: _Shape, ops_at: _OpsAt) -> tf.Tensor:
    """Where a geometric op takes each value from, -1 for outside, with sign 1 and -1: int32 [2, H W 3].

    XLA has no such op. The plain one tells, if its image holds the numbers of values.
    """

    def sources(sign: float) -> tf.Tensor:
        function, argument = ops_at(tf.constant(sign))[name]
        return tf.reshape(function(tf.reshape(tf.range(math.prod(shape)), shape), argument, fill=-1.0), [-1])

    return _constant(lambda: tf.stack([sources(1.0), sources(-1.0)]))


def _warp(sources: tf.Tensor, values: tf.Tensor, sign: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    del center
    source = tf.gather(sources, tf.cast(sign < 0, tf.int32))
    return tf.where(source < 0, np.uint8(plain.FILL), tf.gather(values, tf.maximum(source, 0)))


# --- ops on values, uint8 [H W 3] -------------------------------------------------------------------------------------


def _auto_contrast(values: tf.Tensor, shape: _Shape) -> tf.Tensor:
    # XLA reduces up to 32 stretches ten times as fast as 224 rows.
    stretches = tf.reshape(values, [max(count for count in range(1, 33) if shape[0] % count == 0), -1])
    least, greatest = (tf.reshape(reduce(stretches, 0), [-1, 3]) for reduce in (tf.reduce_min, tf.reduce_max))
    low, high = _float(tf.reduce_min(least, 0)), _float(tf.reduce_max(greatest, 0))
    varies = high > low
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, rounded(low * scale), 0.0)
    return plain.to_uint8(rounded(_float(values) * _of_channel(scale, shape)) - _of_channel(offset, shape))


def _equalize(values: tf.Tensor, shape: _Shape) -> tf.Tensor:
    one = tf.ones([1], tf.int32)

    # A loop over pixels takes half the time of XLA's own for `unsorted_segment_sum`, which is over values.
    def count(number: tf.Tensor, counts: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        pixel = tf.cast(tf.slice(values, [3 * number], [3]), tf.int32)
        return number + 1, [tf.tensor_scatter_nd_add(counts[i], pixel[i, None, None], one) for i in range(3)]

    nothing = [tf.zeros([256], tf.int32)] * 3
    counts = tf.while_loop(lambda number, _: number < shape[0] * shape[1], count, [0, nothing])[1]
    # As a branch the table is computed once. Otherwise XLA would compute an entry for each value that looks it up.
    table = tf.cond(
        counts[0][0] >= 0,
        lambda: tf.concat([plain.equalizing_table(of_channel) for of_channel in counts], 0),
        lambda: tf.zeros([3 * 256], tf.int32),
    )
    return tf.cast(tf.gather(table, tf.cast(values, tf.int32) + 256 * tf.cast(_channels(shape), tf.int32)), tf.uint8)


def _color(values: tf.Tensor, shape: _Shape, factor: float) -> tf.Tensor:
    grey = tf.zeros(values.shape)
    for channel, weight in enumerate((0.2989, 0.5870, 0.1140)):
        own = _of_channel([tf.roll(values, place - channel, 0) for place in range(3)], shape)
        grey += rounded(rounded(_float(own) * np.float32(1.0 / 255.0)) * np.float32(weight))
    return _blend(tf.floor(grey * 255.5), values, factor)


def _contrast(values: tf.Tensor, shape: _Shape, factor: float) -> tf.Tensor:
    return _blend(float(min(shape[0] * shape[1] // 256, 255)), values, factor)


def _sharpness(values: tf.Tensor, shape: _Shape, factor: float) -> tf.Tensor:
    if min(shape[:2]) < 3:
        return values
    border = [[1, 1], [1, 1], [0, 0]]
    inner = _constant(lambda: tf.reshape(tf.pad(tf.ones([shape[0] - 2, shape[1] - 2, 3], tf.bool), border), [-1]))
    mean = _mean(values, shape[1], tf.float32 if _fuses() else tf.float64)
    return tf.where(inner, _blend(tf.floor(mean), values, factor), values)


def _mean(values: tf.Tensor, width: int, dtype: tf.DType) -> tf.Tensor:
    """The mean of each value's 3 x 3 pixels, float32. float64 is right everywhere; float32 too, and twice as fast, if XLA
    multiplies and adds in one instruction.
    """
    mean = tf.zeros(values.shape)
    for (y, x), weight in np.ndenumerate(plain.SMOOTH):
        neighbour = tf.cast(tf.roll(values, 3 * (width * (1 - y) + 1 - x), 0), dtype)
        mean = _float(neighbour * tf.constant(weight, dtype) + tf.cast(mean, dtype))
    return mean


@functools.cache
def _fuses() -> bool:
    """Whether XLA multiplies and adds in one instruction on this processor, seen from a small image."""

    def equal() -> tf.Tensor:
        values = tf.constant(np.random.default_rng(0).integers(0, 256, 32 * 32 * 3).astype(np.uint8))
        one, two = (
            compiled(functools.partial(_mean, width=32, dtype=dtype))(values) for dtype in (tf.float32, tf.float64)
        )
        return tf.reduce_all(one == two)

    return bool(_constant(equal))


_FASTER: dict[str, Callable[..., tf.Tensor]] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
}


def _float(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float32)


def _blend(degenerate: Union[float, tf.Tensor], values: tf.Tensor, factor: float) -> tf.Tensor:
    return plain.to_uint8(degenerate + rounded(factor * (_float(values) - degenerate)))


@functools.lru_cache(maxsize=8)
def _channels(shape: _Shape) -> tf.Tensor:
    """The channel of each value: uint8 [H W 3]."""
    return _constant(lambda: tf.tile(tf.constant([0, 1, 2], tf.uint8), [shape[0] * shape[1]]))


def _of_channel(three: Union[tf.Tensor, Sequence[tf.Tensor]], shape: _Shape) -> tf.Tensor:
    """Of each value the one of `three` that belongs to its channel: [H W 3]."""
    channels = _channels(shape)
    return tf.where(channels == 0, three[0], tf.where(channels == 1, three[1], three[2]))
