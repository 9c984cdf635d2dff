"""A checkpoint becomes files that other programs read (`--mode=export`): SavedModel, `.keras`, `.tflite`, `.h5`, TensorFlow 1."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from typing import Any, Callable

import tensorflow as tf

from checkpoints import description, reading, writing
from checkpoints.config import ExportConfig
from checkpoints.convert import tensors_of
from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from checkpoints.reading import Reader, load_weights
from checkpoints.standard import standard_model, tflite_of
from data.images import decoding
from efficientnet.model import EfficientNet
from runtime.errors import UserError, first_line
from runtime.files import read_text, remove_unfinished, temporary_beside, whole_file, write_text

SAVED_MODEL = "saved_model"
SOURCE_FILE = "export.json"
WEIGHTS_FILE = "weights.h5"
KERAS_FILE = "model.keras"
TFLITE_FILE = "model.tflite"
CLASSES_FILE = "classes.txt"
CHECKPOINT_FLAG = "predict_ckpt_path"
OUTPUT_FLAG = "output_dir"


def export(config: ExportConfig) -> dict[str, str]:
    """Writes a checkpoint's network for other programs; each output appears only when whole.

    `saved_model/`: see `make_serving`. `model.keras`: pixels float32 [B, S, S, 3] in 0..255 -> logits, of standard Keras layers;
    `tf.keras.models.load_model` opens it without this project. `model.tflite`: one picture's pixels -> probabilities.
    `weights.h5`: Keras's format, for `EfficientNet(...).load_weights`. With `tf1_checkpoint`: `model.ckpt`, which
    `tf.compat.v1.train.Saver` restores by the release's names. Beside them `classes.txt` (the names in the order of the
    outputs, one a line), `model.json` (network, image size, names of the classes) and `export.json`, which checkpoint it
    was: an export of the same one goes on with the outputs that are missing.

    Returns:
      path of each output, by "saved_model", "keras", "tflite", "weights" and "checkpoint".

    Raises:
      UserError: missing, corrupt, or another network's checkpoint; outputs of another export, or that cannot be written.
    """
    outputs = {
        "saved_model": os.path.join(config.output_dir, SAVED_MODEL),
        "keras": os.path.join(config.output_dir, KERAS_FILE),
        "tflite": os.path.join(config.output_dir, TFLITE_FILE),
        "weights": os.path.join(config.output_dir, WEIGHTS_FILE),
    }
    if config.tf1_checkpoint:
        outputs["checkpoint"] = os.path.join(config.output_dir, writing.PREFIX)
    model = EfficientNet(config.model)
    prefix = load_weights(model, config.checkpoint, CHECKPOINT_FLAG, use_averages=config.use_averages)
    try:
        _begin(config, prefix, outputs)
        if not tf.io.gfile.exists(outputs["saved_model"]):
            _write_saved_model(outputs["saved_model"], model, config)
        if not tf.io.gfile.exists(outputs["weights"]):
            _write_local(outputs["weights"], lambda path: model.save_weights(path, save_format="h5"))
        if not all(tf.io.gfile.exists(outputs[name]) for name in ("keras", "tflite")):
            standard = standard_model(model, config.image_size)
            _write_local(outputs["keras"], standard.save)
            with whole_file(outputs["tflite"]) as temporary, tf.io.gfile.GFile(temporary, "wb") as file:
                file.write(tflite_of(standard))
    except (tf.errors.OpError, OSError) as error:
        reason = first_line(error)
        raise UserError(f"--{OUTPUT_FLAG}: cannot write to {config.output_dir}: {reason}") from error
    if config.tf1_checkpoint and not tf.io.gfile.exists(outputs["checkpoint"] + writing.INDEX_SUFFIX):
        _write_released_format(outputs["checkpoint"], prefix, model)
    print(f"{config.title}: {prefix} exported to {', '.join(outputs.values())}")
    if reading.SIGNS_OF_PATTERNS.search(config.output_dir):
        print(
            f"{config.title}: TensorFlow takes [ ] * ? \\ in a SavedModel's path for a pattern and does not find it; move "
            f"{outputs['saved_model']} into a folder without them before you load it"
        )
    return outputs


def _begin(config: ExportConfig, prefix: str, outputs: dict[str, str]) -> None:
    """Notes what is exported, and removes what a killed export left half written; raises UserError where outputs of something
    else are there."""
    path = os.path.join(config.output_dir, SOURCE_FILE)
    source = {"checkpoint": reading.identity(prefix), "use_averages": config.use_averages}
    text = json.dumps({**source, "image_size": config.image_size}, indent=1) + "\n"
    if read_text(path) != text:
        for output in outputs.values():
            if tf.io.gfile.exists(output) or tf.io.gfile.exists(output + writing.INDEX_SUFFIX):
                raise UserError(f"--{OUTPUT_FLAG}: {output} exists already; give another folder, or remove it")
    tf.io.gfile.makedirs(config.output_dir)
    remove_unfinished(config.output_dir)
    description.write_description(config.output_dir, config.model, config.image_size, config.task.to_json())
    names = config.task.class_names or [str(number) for number in range(config.model.num_classes)]
    write_text(os.path.join(config.output_dir, CLASSES_FILE), "".join(f"{name}\n" for name in names))
    write_text(path, text)


def make_serving(model: EfficientNet, image_size: int, fit: str = "crop", names: Sequence[str] = ()) -> tf.Module:
    """What the SavedModel holds: a network, its weights loaded, and ways to ask it.

    - `serve`: JPEG bytes (PNG, GIF and BMP too; turned as they are stored, transparency dropped, where classify heeds EXIF and
      lays on white), string [B], through the evaluation preprocessing.
    - `serve_uint8`, `serve_float`: pixels of 0..255, [B, S, S, 3].
    - `class_names`: the names in the order of the outputs, string [C].

    The first three give `probabilities` float32 [B, C] and `classes` int64 [B], the most probable one. The module holds the
    variables, not the Keras model, whose every layer would be traced and saved too.
    """
    shape = [image_size, image_size, 3]

    def prepare(jpeg: tf.Tensor) -> tf.Tensor:
        image = decoding.evaluation_image(jpeg, image_size, model.config.small_image_model, fit)
        return tf.ensure_shape(image, shape)

    def answers(images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(model(tf.cast(images, tf.float32)))
        return {"probabilities": probabilities, "classes": tf.argmax(probabilities, -1)}

    def of_pixels(dtype: tf.DType) -> Any:
        return tf.function(answers, [tf.TensorSpec([None, *shape], dtype, name="pixels")], autograph=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="jpegs")], autograph=False)
    def serve(jpegs: tf.Tensor) -> dict[str, tf.Tensor]:
        return answers(tf.map_fn(prepare, jpegs, fn_output_signature=tf.TensorSpec(shape, tf.float32)))

    @tf.function(input_signature=[], autograph=False)
    def class_names() -> dict[str, tf.Tensor]:
        return {"names": tf.constant(list(names), tf.string)}

    serving = tf.Module(name="serving")
    serving.weights = list(model.named_variables().values())
    serving.serve, serving.class_names = serve, class_names
    serving.serve_uint8, serving.serve_float = of_pixels(tf.uint8), of_pixels(tf.float32)
    return serving


def _write_saved_model(path: str, model: EfficientNet, config: ExportConfig) -> None:
    serving = make_serving(model, config.image_size, config.task.fit, config.task.class_names)
    signatures = {
        "serving_default": serving.serve,
        "uint8_pixels": serving.serve_uint8,
        "float_pixels": serving.serve_float,
        "class_names": serving.class_names,
    }
    temporary = temporary_beside(path)
    try:
        tf.saved_model.save(serving, temporary, signatures=signatures)
        tf.io.gfile.rename(temporary, path)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.rmtree(temporary)


def _write_local(path: str, save: Callable[[str], Any]) -> None:
    """Writes with a function that needs a local file of the same ending."""
    if tf.io.gfile.exists(path):
        return
    with tempfile.TemporaryDirectory() as folder, whole_file(path) as temporary:
        local = os.path.join(folder, os.path.basename(path))
        save(local)
        tf.io.gfile.copy(local, temporary)


def _write_released_format(prefix: str, source: str, model: EfficientNet) -> None:
    """Every tensor of the network, with an average for each variable: the release's readers ask for all of them, so
    a variable that was frozen (and has none) gives its raw value."""
    tensors = tensors_of(Reader(source, CHECKPOINT_FLAG), model)
    for name in model.named_variables():
        tensors.setdefault(name + AVERAGE_SUFFIX, tensors[name])
    tensors.setdefault(STEP_NAME, tf.constant(0, tf.int64))
    writing.write(prefix, tensors, OUTPUT_FLAG)
