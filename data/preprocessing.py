"""From an encoded image to what a network sees: float32 [size, size, 3] in 0..255 (RELEASE section 3).

Everything random follows from the seed: the same (encoded, seed) gives the same image.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional

import tensorflow as tf

from data import bicubic
from data import randaugment as fast
from data.config import AugmentConfig
from data.images import randaugment

CROP_PADDING = 32
JPEG_BLOCK = 16  # columns of the widest block; a multiple of all others
SMALL_IMAGE_PADDING = 4

# What makes a seed of its own out of an image's, for each random choice.
_FLIP, _AUGMENT, _CUTOUT, _SHIFT = 0x5DEECE66D, 0x2545F4914F6C, 0x369DEA0F31A5, 0x27BB2EE687B0

IMAGE, PACKED = "image", "packed"

# streams.explain() finds a message for people between these marks.
_OPEN, _CLOSE = "<<", ">>"


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How images are prepared for training.

    Attributes:
      image_size: S, pixels of a side.
      small_image_model: an image enters as stored; its size must be `image_size`.
      flip: whether a mirrored image keeps its class.
      augment: RandAugment.
      remove_aug: evaluation preprocessing instead of all of this.
    """

    image_size: int
    small_image_model: bool
    flip: bool
    augment: AugmentConfig
    remove_aug: bool = False


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


def evaluation_image(encoded: tf.Tensor, image_size: int, small_image_model: bool) -> tf.Tensor:
    """The image for evaluation, prediction and teachers (RELEASE section 3).

    Args:
      encoded: string [], JPEG, PNG, GIF or BMP.
      image_size: pixels of a side.
      small_image_model: the image is used as stored, whose size must be `image_size`.

    Returns:
      float32 [image_size, image_size, 3]; 0..255, which the bicubic kernel may overshoot.
    """
    if small_image_model:
        return tf.cast(_stored(encoded, image_size), tf.float32)
    return resize_bicubic(_decode_crop(encoded, lambda shape: _centre(shape, image_size)), image_size)


def training_image(encoded: tf.Tensor, seed: tf.Tensor, options: TrainingOptions) -> tf.Tensor:
    """The image for training (RELEASE section 3); a function of its arguments alone.

    Args:
      encoded: string [], JPEG, PNG, GIF or BMP.
      seed: int64 or int32 [2].
      options: how.

    Returns:
      float32 [S, S, 3]; 0..255, which the bicubic kernel may overshoot where RandAugment is off.
    """
    begun = begin_training_image(encoded, seed, options)
    joined = join_training_images({name: part[None] for name, part in begun.items()}, options)
    return tf.cast(finish_training_images(joined, options)[0], tf.float32)


def begin_training_image(encoded: tf.Tensor, seed: tf.Tensor, options: TrainingOptions) -> dict[str, tf.Tensor]:
    """The part of `training_image` that is done image by image: all decoding and drawing.

    Returns:
      what `join_training_images` takes, of one image: "image", uint8 or float32 [S, S, 3], or "packed" and "window", and draws.
    """
    size, augment = options.image_size, options.augment
    if options.remove_aug:
        return {IMAGE: evaluation_image(encoded, size, options.small_image_model)}
    seed = tf.cast(seed, tf.int64)
    draws = {"draws": randaugment.draw(_own(seed, _AUGMENT), augment.layers)} if augment.enabled else {}
    if options.flip:
        draws["flipped"] = _flipped(seed)
    if options.small_image_model:
        return {IMAGE: _stored(encoded, size), **draws, **_small_image_draws(seed, augment.enabled)}
    around, left, width = _decode_around_crop(encoded, lambda shape: _sampled(shape, seed, size))
    if augment.enabled:

        def resized() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return _to_uint8(resize_bicubic(around[:, left : left + width], size)), tf.constant(0), tf.constant(size)

        around, left, width = tf.cond(bicubic.fits(tf.shape(around), size), lambda: (around, left, width), resized)
        return {PACKED: bicubic.pack(around), "window": bicubic.window(around, left, width), **draws}
    image = resize_bicubic(around[:, left : left + width], size)
    if options.flip:
        image = tf.cond(draws["flipped"], lambda: tf.reverse(image, [1]), lambda: image)
    return {IMAGE: image}


def _small_image_draws(seed: tf.Tensor, augmented: bool) -> dict[str, tf.Tensor]:
    draws = {}
    if augmented:
        draws["hole"] = tf.random.stateless_uniform([2], _own(seed, _CUTOUT), alg="philox")
    draws["shift"] = tf.random.stateless_uniform(
        [2], _own(seed, _SHIFT), minval=0, maxval=2 * SMALL_IMAGE_PADDING + 1, dtype=tf.int32, alg="philox"
    )
    return draws


def _to_uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)


def join_training_images(begun: dict[str, tf.Tensor], options: TrainingOptions) -> dict[str, Any]:
    """Puts images of different sizes into one tensor, to be done as soon as a batch is complete: many tensors of all sizes that
    wait for long leave memory in pieces.

    Args:
      begun: of `begin_training_image`, each part with N as its first axis.
      options: the same.

    Returns:
      what `finish_training_images` takes.
    """
    if PACKED not in begun:
        return begun
    return {**begun, PACKED: bicubic.join(begun[PACKED], begun["window"], options.image_size)}


def finish_training_images(joined: dict[str, Any], options: TrainingOptions) -> tf.Tensor:
    """The part of `training_image` that is done for many images at once.

    Args:
      joined: of `join_training_images`.
      options: the same.

    Returns:
      uint8 [N, S, S, 3]; where RandAugment is off and images are resized, float32, which the kernel may have taken beyond 0..255.
    """
    size, augment = options.image_size, options.augment
    if PACKED in joined:
        images = bicubic.resize_crops(joined[PACKED], joined["window"], joined.get("flipped"), size)
    else:
        images = joined[IMAGE]
    if "draws" in joined:
        constants = {"cutout_const": size // 8, "translate_const": size // 8} if options.small_image_model else {}
        images = fast.randaugment(images, joined["draws"], augment.magnitude, augment.cutout, **constants)
    if "hole" in joined:
        images = randaugment.cutout(images, size // 4, randaugment.random_centers(images, joined["hole"]))
    if "shift" in joined:
        images = _shifted(images, joined["shift"], joined.get("flipped"))
    return images


def _own(seed: tf.Tensor, purpose: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(seed, tf.constant(purpose, tf.int64))


def _flipped(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([], _own(seed, _FLIP), alg="philox") < 0.5


def _shifted(images: tf.Tensor, shift: tf.Tensor, flipped: Optional[tf.Tensor]) -> tf.Tensor:
    """Pads by reflection, crops back to the same size at `shift` (int32 [N, 2]), and mirrors where `flipped` (bool [N])."""

    def reflected(axis: int) -> tf.Tensor:
        last = images.shape[1 + axis] - 1
        source = tf.range(last + 1) + shift[:, axis, None] - SMALL_IMAGE_PADDING
        return last - tf.abs(last - tf.abs(source))

    rows, columns = reflected(0), reflected(1)
    if flipped is not None:
        columns = tf.where(flipped[:, None], columns[:, ::-1], columns)
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _stored(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """The image as it is stored, uint8 [size, size, 3]."""
    image = decode(encoded)
    shape = tf.shape(image)
    height, width = tf.strings.as_string(shape[0]), tf.strings.as_string(shape[1])
    advice = (
        f" pixels (height x width) but --input_image_size is {size}: set it to the stored size, "
        "or leave out --small_image_model so that images are resized"
    )
    message = tf.strings.join([_OPEN, "an image is stored with ", height, "x", width, advice, _CLOSE])
    check = tf.debugging.Assert(tf.reduce_all(tf.equal(shape[:2], size)), [message], summarize=1)
    with tf.control_dependencies([check] if check is not None else []):
        return tf.ensure_shape(tf.identity(image), [size, size, 3])


# --- crops: int32 [4] of top, left, height, width --------------------------------------------------------------------


def _decode_crop(encoded: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """uint8 [h, w, 3]: the part of an image that `window` chooses from its shape (int32 [3])."""
    around, left, width = _decode_around_crop(encoded, window)
    return around[:, left : left + width]


def _decode_around_crop(
    encoded: tf.Tensor, window: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The rows of the crop, uint8 [h, W, 3], its first column and its width: of a JPEG little else is decoded."""

    def from_jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        shape = tf.image.extract_jpeg_shape(encoded)
        top, left, height, width = tf.unstack(window(shape))
        # Colour is stored at half the resolution, and the decoder blends neighbours: without the columns beside the crop
        # its first and last ones would differ from those of the whole image. It decodes whole blocks; a row that does not begin
        # with one is copied once more.
        start = tf.maximum(left - 1, 0) // JPEG_BLOCK * JPEG_BLOCK
        stop = tf.minimum(left + width + 1, shape[1])
        around = tf.image.decode_and_crop_jpeg(encoded, tf.stack([top, start, height, stop - start]), channels=3)
        return around, left - start, width

    def from_other() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = _decode_other(encoded)
        top, left, height, width = tf.unstack(window(tf.shape(image)))
        return image[top : top + height, left : left + width], tf.constant(0), width

    return tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other)


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    # Not channels=3, which BMP refuses for grey and alpha.
    image = tf.io.decode_image(encoded, expand_animations=False)
    channels = tf.where(tf.shape(image)[2] < 3, [0, 0, 0], [0, 1, 2])
    return tf.ensure_shape(tf.gather(image, channels, axis=2), [None, None, 3])


def _centre(shape: tf.Tensor, image_size: int) -> tf.Tensor:
    """The centred square whose side is the share size / (size + 32) of the shorter side."""
    share = image_size / (image_size + CROP_PADDING)
    side = tf.cast(share * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32), tf.int32)
    side = tf.maximum(side, 1)
    return tf.stack([(shape[0] - side + 1) // 2, (shape[1] - side + 1) // 2, side, side])


def _sampled(shape: tf.Tensor, seed: tf.Tensor, image_size: int) -> tf.Tensor:
    """A sampled distorted box; the centred square where it is the whole image."""
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros([0, 0, 4]),
        seed,
        min_object_covered=0.1,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    whole = tf.reduce_all(tf.equal(size[:2], shape[:2]))
    return tf.where(whole, _centre(shape, image_size), tf.concat([begin[:2], size[:2]], 0))
