"""TensorFlow 1's bicubic kernel for many crops at once, compiled by XLA: half the time, the bits of `tf.raw_ops.ResizeBicubic`.

Neither half-pixel centres nor aligned corners; Keys' cubic with a = -0.75, read from a table of 1,024 steps. What a training
crop needs after it is done at the same time: it is mirrored, clipped and made uint8.
"""

from __future__ import annotations

import functools
from typing import Callable, Optional

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from fast_cpu.xla import compiled, rounded

STEPS = 1024  # of the table, from one pixel to the next
CHUNK = 512  # values of a row that are computed at once
LIMIT = 2**30  # bytes of images that are joined, which int32 counts
SIZES = 7  # of joined images: what the largest ones take, half of it, a quarter and so on
_ANY = [-1]


def fits(shape: tf.Tensor, size: int) -> tf.Tensor:
    """Whether `pack` takes an image of `shape` (int32 [3]): bool []. Others would take more memory than the result."""
    return (3 * shape[0] * shape[1] <= _largest(size)) & (shape[1] <= _widest(size))


def _largest(size: int) -> int:
    """Bytes of the largest image: those of a float32 result."""
    return 12 * size * size


def _widest(size: int) -> int:
    return 3 * size


def pack(image: tf.Tensor) -> tf.Tensor:
    """An image, uint8 [h, w, 3], as a variant [], of which images of different sizes make a batch."""
    return _one(tf.reshape(image, [-1]))


def _one(values: tf.Tensor) -> tf.Tensor:
    nothing = tf.raw_ops.EmptyTensorList(element_shape=_ANY, max_num_elements=-1, element_dtype=tf.uint8)
    return tf.raw_ops.TensorListPushBack(input_handle=nothing, tensor=values)


def _joined(lists: list[tf.Tensor]) -> tf.Tensor:
    """All values one after the other: uint8 [...]. Ragged tensors do the same a hundred times as slowly."""
    while len(lists) > 1:
        pairs = [
            tf.raw_ops.TensorListConcatLists(input_a=first, input_b=second, element_dtype=tf.uint8)
            for first, second in zip(lists[::2], lists[1::2])
        ]
        lists = pairs + lists[2 * len(pairs) :]
    leading = tf.constant([], tf.int64)
    return tf.raw_ops.TensorListConcatV2(
        input_handle=lists[0], element_shape=_ANY, leading_dims=leading, element_dtype=tf.uint8
    ).tensor


def window(image: tf.Tensor, left: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """What tells which columns of a packed image, uint8 [h, w, 3], are the crop, and how long it is: int32 [4]."""
    shape = tf.shape(image)
    return tf.stack([shape[0], width, left, shape[1]])


def join(images: tf.Tensor, windows: tf.Tensor, size: int) -> tuple[tf.Tensor, ...]:
    """Images one after the other, filled up to one of few lengths: what is freed is used again, and XLA compiles for each length.

    Args:
      images: variant [N], each of `pack`, whose `fits` is true; N at least 1.
      windows: int32 [N, 4], each of `window`.
      size: what they are resized to, pixels of a side.

    Returns:
      uint8 [...], or as many of them as it takes where one would be longer than `LIMIT`.
    """
    lists, joined = tf.unstack(images), []
    for part in _parts(len(lists), size):
        here = lists[part]
        used = tf.reduce_sum(_lengths(windows[part]))
        rest = _capacity(used, len(here) * _largest(size)) - used
        joined.append(_joined([*here, _one(tf.zeros([rest], tf.uint8))]))
    return tuple(joined)


def resize_crops(
    joined: tuple[tf.Tensor, ...], windows: tf.Tensor, mirrored: Optional[tf.Tensor], size: int
) -> tf.Tensor:
    """Resizes, mirrors, clips to 0..255 and truncates.

    Args:
      joined: N images, of `join` for the same `size`.
      windows: int32 [N, 4], each of `window`: the crop of each image.
      mirrored: bool [N], which ones are mirrored; None for none.
      size: S, pixels of a side.

    Returns:
      uint8 [N, S, S, 3].
    """
    if mirrored is None:
        mirrored = tf.zeros(tf.shape(windows)[:1], tf.bool)
    resized = []
    for values, part in zip(joined, _parts(windows.shape[0], size)):
        # Not in what is compiled: XLA would multiply by the reciprocal.
        scales = tf.cast(windows[part, :2], tf.float32) / float(size)
        begins = tf.cumsum(_lengths(windows[part]), exclusive=True)
        resized.append(_loop(size)(values, begins, windows[part], scales, mirrored[part]))
    return tf.reshape(tf.concat(resized, 0) if len(resized) > 1 else resized[0], [-1, size, size, 3])


def _parts(count: int, size: int) -> list[slice]:
    """Which of `count` images are joined."""
    at_once = max(1, LIMIT // _largest(size))
    return [slice(begin, begin + at_once) for begin in range(0, count, at_once)]


def _lengths(windows: tf.Tensor) -> tf.Tensor:
    return 3 * windows[:, 0] * windows[:, 3]


def _capacity(count: tf.Tensor, most: int) -> tf.Tensor:
    """The least of `SIZES` lengths with room for `count` values, of which there are at most `most`, and a chunk.

    A last chunk may read past the last row.
    """
    lengths = tf.constant([*(most >> halved for halved in range(SIZES - 1, 0, -1)), most + CHUNK])
    return lengths[tf.searchsorted(lengths, [count + CHUNK])[0]]


@functools.cache
def _loop(size: int) -> Callable[..., tf.Tensor]:
    """The compiled function of values, and begin, window, scales and mirrored of every crop: uint8 [N, S S 3]."""
    pixels, channels = np.indices([size, 3], np.int32).reshape(2, -1)

    def loop(
        values: tf.Tensor, begins: tf.Tensor, windows: tf.Tensor, scales: tf.Tensor, mirrored: tf.Tensor
    ) -> tf.Tensor:
        def resize_next(number: tf.Tensor, images: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            height, width, left, stride = tf.unstack(tf.gather(windows, number))
            scale = tf.gather(scales, number)
            rows, row_weights = _neighbours(height, scale[0], size)
            columns, column_weights = _neighbours(width, scale[1], size)
            order = tf.where(tf.gather(mirrored, number), size - 1 - pixels, pixels)
            sources = 3 * tf.gather(columns, order, axis=1) + channels
            weights = tf.gather(column_weights, order, axis=1)
            firsts = tf.gather(begins, number) + 3 * (stride * rows + left)
            chunks = (3 * width + CHUNK - 1) // CHUNK

            def resize_row(row: tf.Tensor, image: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
                line = _between_rows(
                    values, tf.gather(firsts, row, axis=1), tf.gather(row_weights, row, axis=1), chunks, size
                )
                result = _weighted([tf.gather(line, sources[k]) for k in range(4)], tf.unstack(weights))
                return row + 1, image.write(row, tf.cast(tf.clip_by_value(result, 0.0, 255.0), tf.uint8))

            image = tf.TensorArray(tf.uint8, size, element_shape=[3 * size])
            image = tf.while_loop(lambda row, _: row < size, resize_row, [0, image])[1].stack()
            return number + 1, images.write(number, tf.reshape(image, [-1]))

        count = tf.shape(windows)[0]
        images = tf.TensorArray(tf.uint8, count, element_shape=[3 * size * size])
        return tf.while_loop(lambda number, _: number < count, resize_next, [0, images])[1].stack()

    return compiled(loop)


def _between_rows(values: tf.Tensor, firsts: tf.Tensor, weights: tf.Tensor, chunks: tf.Tensor, size: int) -> tf.Tensor:
    """The weighted sum of four rows that begin at `firsts` (int32 [4]): float32, as long as the widest crop's row."""

    def add_chunk(chunk: tf.Tensor, line: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        begin = CHUNK * chunk
        # Not tf.slice: for each place that it begins at, XLA would compile everything again.
        rows = [tf.cast(xla.dynamic_slice(values, [firsts[k] + begin], [CHUNK]), tf.float32) for k in range(4)]
        return chunk + 1, xla.dynamic_update_slice(line, _weighted(rows, tf.unstack(weights)), [begin])

    line = tf.zeros([-(-3 * _widest(size) // CHUNK) * CHUNK])
    return tf.while_loop(lambda chunk, _: chunk < chunks, add_chunk, [0, line])[1]


def _weighted(values: list[tf.Tensor], weights: list[tf.Tensor]) -> tf.Tensor:
    """The kernel's sum of four products, each rounded before it is added."""
    return functools.reduce(tf.add, [rounded(value * weight) for value, weight in zip(values, weights)])


def _neighbours(length: tf.Tensor, scale: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Of each of `size` results along an axis of `length` pixels: its four pixels, int32 [4, S], and weights, float32 [4, S]."""
    place = rounded(tf.range(float(size)) * scale)
    pixel = tf.cast(place, tf.int32)
    step = tf.cast(tf.round(rounded((place - tf.cast(pixel, tf.float32)) * float(STEPS))), tf.int32)
    near, far = _table()
    weights = [tf.gather(far, step), tf.gather(near, step), tf.gather(near, STEPS - step), tf.gather(far, STEPS - step)]
    return tf.clip_by_value(pixel + tf.range(-1, 3)[:, None], 0, length - 1), tf.stack(weights)


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """The cubic at 0 to 1 and at 1 to 2 pixels' distance: float32 [1025] each."""
    a, near = -0.75, (np.arange(STEPS + 1) / STEPS).astype(np.float32)
    far = (near + np.float32(1)).astype(np.float64)
    near = near.astype(np.float64)
    at_near = ((a + 2) * near - (a + 3)) * near * near + 1
    at_far = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    return at_near.astype(np.float32), at_far.astype(np.float32)
