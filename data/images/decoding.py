"""From an encoded image to the evaluation's pixels: decoding, the centre crop, bicubic resizing (docs/release.md, section 3)."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

CROP_PADDING = 32
GREY = 128  # as RandAugment's filling
JPEG_BLOCK = 16  # columns of the widest block; a multiple of all others


# streams.explain() finds a message for people between these marks.
_OPEN, _CLOSE = "<<", ">>"


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3] of a JPEG, PNG, BMP or GIF (its first frame); grey becomes RGB, alpha is dropped.

    Raises:
      tf.errors.InvalidArgumentError: it cannot be decoded.
    """
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3),
        lambda: _decode_other(encoded),
    )


def resize_bicubic(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes [H, W, 3] (uint8 or float32) to float32 [size, size, 3] with TensorFlow 1's kernel.

    Neither half-pixel centres nor aligned corners; values may leave 0..255.
    """
    # The kernel converts uint8 each time it reads a value; converted beforehand, the image takes 30 % less time.
    images = tf.cast(image, tf.float32)[None]
    return tf.raw_ops.ResizeBicubic(images=images, size=[size, size], align_corners=False, half_pixel_centers=False)[0]


def evaluation_image(encoded: tf.Tensor, image_size: int, small_image_model: bool, fit: str = "crop") -> tf.Tensor:
    """The image for evaluation, prediction and teachers (docs/release.md, section 3).

    Args:
      encoded: string [], JPEG, PNG, GIF or BMP.
      image_size: pixels of a side.
      small_image_model: the image is used as it is stored; one of another size is fitted and scaled as a whole.
      fit: `crop` shows the middle of an image alone, as the release does; `pad` and `stretch` show the whole (`data.tasks.FITS`).

    Returns:
      float32 [image_size, image_size, 3]; 0..255, which the bicubic kernel may overshoot.
    """
    if small_image_model:
        return tf.cast(stored_image(encoded, image_size, fit), tf.float32)
    window = (lambda shape: centre(shape, image_size)) if fit == "crop" else whole
    return resize_bicubic(cut_out(encoded, window, fit), image_size)


def stored_image(encoded: tf.Tensor, size: int, fit: str = "crop") -> tf.Tensor:
    """The image as it is stored, uint8 [size, size, 3]; one of another size is fitted and scaled to that."""
    image = decode(encoded)
    is_stored = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    image = tf.cond(is_stored, lambda: image, lambda: _scaled(image, size, fit))
    return tf.ensure_shape(image, [size, size, 3])


def _scaled(image: tf.Tensor, size: int, fit: str) -> tf.Tensor:
    """uint8 [size, size, 3]: the square that `fit` makes of the image, scaled with Pillow's bicubic filter."""
    if fit == "pad":
        image = _padded(image)
    if fit == "crop":
        shape = tf.shape(image)[:2]
        side = tf.reduce_min(shape)
        top, left = tf.unstack((shape - side) // 2)
        image = image[top : top + side, left : left + side]
    scaled = tf.image.resize(image, [size, size], tf.image.ResizeMethod.BICUBIC, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(scaled), 0.0, 255.0), tf.uint8)


def cut_out(encoded: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor], fit: str) -> tf.Tensor:
    """uint8 [h, w, 3]: what `window` chooses (see `decode_crop`) of an image, once it is fitted to a square.

    With `pad` the window is chosen on a grey square in whose middle the image lies; with `stretch` on the square that the image
    is stretched to, of which h and w are then as large as in the image itself; with `crop` on the image.
    """
    if fit == "stretch":
        return decode_crop(encoded, lambda shape: _unstretched(window, shape))
    if fit == "crop":
        return decode_crop(encoded, window)
    square = _padded(decode(encoded))
    top, left, height, width = tf.unstack(window(tf.shape(square)))
    return square[top : top + height, left : left + width]


def whole(shape: tf.Tensor) -> tf.Tensor:
    """The window that is the image itself."""
    return tf.stack([0, 0, shape[0], shape[1]])


def _unstretched(window: Callable[[tf.Tensor], tf.Tensor], shape: tf.Tensor) -> tf.Tensor:
    """The part of an image that lies under a window of the square that it is stretched to; at least a pixel high and wide."""
    side = tf.reduce_max(shape[:2])
    box = window(tf.stack([side, side, 3]))
    begin = box[:2] * shape[:2] // side
    end = -(-(box[:2] + box[2:]) * shape[:2] // side)
    return tf.concat([begin, end - begin], 0)


def _padded(image: tf.Tensor) -> tf.Tensor:
    """uint8 [L, L, 3]: the image in the middle of a grey square."""
    shape = tf.shape(image)[:2]
    missing = tf.reduce_max(shape) - shape
    before = missing // 2
    margins = tf.concat([tf.stack([before, missing - before], axis=1), [[0, 0]]], 0)
    return tf.ensure_shape(tf.pad(image, margins, constant_values=GREY), [None, None, 3])


def decode_crop(encoded: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """uint8 [h, w, 3]: the part of an image that `window` chooses from its shape (int32 [3]); of a JPEG little else is decoded.

    `window` returns int32 [4]: top, left, height, width.
    """

    def from_jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(encoded)
        top, left, height, width = tf.unstack(window(shape))
        # Colour is stored at half the resolution, and the decoder blends neighbours: without the columns beside the crop
        # its first and last ones would differ from those of the whole image. It decodes whole blocks; a row that does not begin
        # with one is copied once more.
        start = tf.maximum(left - 1, 0) // JPEG_BLOCK * JPEG_BLOCK
        stop = tf.minimum(left + width + 1, shape[1])
        around = tf.image.decode_and_crop_jpeg(encoded, tf.stack([top, start, height, stop - start]), channels=3)
        return around[:, left - start : left - start + width]

    def from_other() -> tf.Tensor:
        image = _decode_other(encoded)
        top, left, height, width = tf.unstack(window(tf.shape(image)))
        return image[top : top + height, left : left + width]

    return tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other)


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    # Not channels=3, which BMP refuses for grey and alpha.
    image = tf.io.decode_image(encoded, expand_animations=False)
    channels = tf.where(tf.shape(image)[2] < 3, [0, 0, 0], [0, 1, 2])
    return tf.ensure_shape(tf.gather(image, channels, axis=2), [None, None, 3])


def centre(shape: tf.Tensor, image_size: int) -> tf.Tensor:
    """The centred square whose side is the share size / (size + 32) of the shorter side."""
    share = image_size / (image_size + CROP_PADDING)
    side = tf.cast(share * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32), tf.int32)
    side = tf.maximum(side, 1)
    return tf.stack([(shape[0] - side + 1) // 2, (shape[1] - side + 1) // 2, side, side])
