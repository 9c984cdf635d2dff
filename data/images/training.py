"""From an encoded image to what a network trains on: a random crop, RandAugment, a flip (docs/release.md, section 3).

Everything random follows from the seed: the same (encoded, seed) gives the same image.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Optional

import tensorflow as tf

from data.config import AugmentConfig
from data.images import randaugment
from data.images.decoding import centre, cut_out, evaluation_image, resize_bicubic, stored_image

SMALL_IMAGE_PADDING = 4

# What makes a seed of its own out of an image's, for each random choice.
_FLIP, _AUGMENT, _CUTOUT, _SHIFT = 0x5DEECE66D, 0x2545F4914F6C, 0x369DEA0F31A5, 0x27BB2EE687B0

Augmenter = Callable[..., tf.Tensor]  # as `randaugment.randaugment`


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How images are prepared for training.

    Attributes:
      image_size: S, pixels of a side.
      small_image_model: an image enters as it is stored (`decoding.stored_image`), without a random crop.
      flip: whether a mirrored image keeps its class.
      augment: RandAugment.
      fit: how an image that is no square becomes one (`data.tasks.FITS`).
      remove_aug: evaluation preprocessing instead of all of this.
    """

    image_size: int
    small_image_model: bool
    flip: bool
    augment: AugmentConfig
    remove_aug: bool = False
    fit: str = "crop"


def training_image(
    encoded: tf.Tensor, seed: tf.Tensor, options: TrainingOptions, augmenter: Augmenter = randaugment.randaugment
) -> tf.Tensor:
    """The image for training (docs/release.md, section 3); a function of its arguments alone.

    Args:
      encoded: string [], JPEG, PNG, GIF or BMP.
      seed: int64 or int32 [2].
      options: how.
      augmenter: computes RandAugment.

    Returns:
      float32 [S, S, 3] in 0..255; without RandAugment the bicubic kernel may overshoot.
    """
    drawn = crop_and_draw(encoded, seed, options)
    batch = {name: part[tf.newaxis] for name, part in drawn.items()}
    return tf.cast(augmented(batch, options, augmenter)[0], tf.float32)


def crop_and_draw(encoded: tf.Tensor, seed: tf.Tensor, options: TrainingOptions) -> dict[str, tf.Tensor]:
    """The part of `training_image` that is done image by image: decoding, the crop, the flip, and all drawing.

    Returns:
      what `augmented` takes, of one image: "image", uint8 [S, S, 3] (float32 if it is resized but not augmented), and draws.
    """
    size, augment = options.image_size, options.augment
    if options.remove_aug:
        return {"image": evaluation_image(encoded, size, options.small_image_model, options.fit)}
    seed = tf.cast(seed, tf.int64)
    draws = {"draws": randaugment.draw(_own(seed, _AUGMENT), augment.layers)} if augment.enabled else {}
    if options.small_image_model:
        return {"image": stored_image(encoded, size, options.fit), **draws, **_small_image_draws(seed, options)}
    image = resize_bicubic(cut_out(encoded, lambda shape: _sampled(shape, seed, size, options.fit), options.fit), size)
    if augment.enabled:
        image = tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)
    if options.flip:
        image = tf.cond(_flipped(seed), lambda: tf.reverse(image, [1]), lambda: image)
    return {"image": image, **draws}


def _small_image_draws(seed: tf.Tensor, options: TrainingOptions) -> dict[str, tf.Tensor]:
    draws = {"flipped": _flipped(seed)} if options.flip else {}
    if options.augment.enabled:
        draws["hole"] = tf.random.stateless_uniform([2], _own(seed, _CUTOUT), alg="philox")
    draws["shift"] = tf.random.stateless_uniform(
        [2], _own(seed, _SHIFT), minval=0, maxval=2 * SMALL_IMAGE_PADDING + 1, dtype=tf.int32, alg="philox"
    )
    return draws


def augmented(batch: dict[str, tf.Tensor], options: TrainingOptions, augmenter: Augmenter) -> tf.Tensor:
    """The part of `training_image` that is done for many images at once.

    Args:
      batch: of `crop_and_draw`, each part with N as its first axis.
      options: the same.
      augmenter: computes RandAugment.

    Returns:
      uint8 [N, S, S, 3] (float32 if images are resized but not augmented).
    """
    images, size, augment = batch["image"], options.image_size, options.augment
    if "draws" in batch:
        constants = {"cutout_const": size // 8, "translate_const": size // 8} if options.small_image_model else {}
        images = augmenter(images, batch["draws"], augment.magnitude, augment.cutout, **constants)
    if "hole" in batch:
        images = randaugment.cutout(images, size // 4, randaugment.random_centers(images, batch["hole"]))
    if "shift" in batch:
        images = _shifted(images, batch["shift"], batch.get("flipped"))
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


def _sampled(shape: tf.Tensor, seed: tf.Tensor, image_size: int, fit: str = "crop") -> tf.Tensor:
    """A sampled distorted box; the evaluation's window where it is the whole image."""
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
    box = tf.concat([begin[:2], size[:2]], 0)
    if fit != "crop":
        return box
    is_whole = tf.reduce_all(tf.equal(size[:2], shape[:2]))
    return tf.where(is_whole, centre(shape, image_size), box)
