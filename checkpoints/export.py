"""A checkpoint becomes files that other programs read (`--mode=export`): SavedModel, Keras `.h5`, TensorFlow 1 checkpoint."""

from __future__ import annotations

import json
import os
import tempfile

import tensorflow as tf

from checkpoints import description, reading, writing
from checkpoints.config import ExportConfig
from checkpoints.convert import tensors_of
from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from checkpoints.reading import Reader, load_weights
from data.images import decoding
from efficientnet.model import EfficientNet
from runtime.errors import UserError, first_line
from runtime.files import read_text, remove_unfinished, temporary_beside, whole_file, write_text

SAVED_MODEL = "saved_model"
SOURCE_FILE = "export.json"
WEIGHTS_FILE = "weights.h5"
CHECKPOINT_FLAG = "predict_ckpt_path"
OUTPUT_FLAG = "output_dir"


def export(config: ExportConfig) -> dict[str, str]:
    """Writes a checkpoint's network for other programs; each output appears only when whole.

    `saved_model/`: signature `serving_default`, JPEG bytes (string [B]) -> `probabilities` float32 [B, C] and `classes`
    int64 [B], through the evaluation preprocessing. `weights.h5`: Keras's format, for `EfficientNet(...).load_weights`.
    With `tf1_checkpoint`: `model.ckpt`, which `tf.compat.v1.train.Saver` restores by the release's names. Beside them
    `model.json` (network, image size, names of the classes) and `export.json`, which checkpoint it was: an
    export of the same one goes on with the outputs that are missing.

    Returns:
      path of each output, by "saved_model", "weights" and "checkpoint".

    Raises:
      UserError: missing, corrupt, or another network's checkpoint; outputs of another export, or that cannot be written.
    """
    outputs = {
        "saved_model": os.path.join(config.output_dir, SAVED_MODEL),
        "weights": os.path.join(config.output_dir, WEIGHTS_FILE),
    }
    if config.tf1_checkpoint:
        outputs["checkpoint"] = os.path.join(config.output_dir, writing.PREFIX)
    model = EfficientNet(config.model)
    prefix = load_weights(model, config.checkpoint, CHECKPOINT_FLAG, use_averages=config.use_averages)
    try:
        _begin(config, prefix, outputs)
        if not tf.io.gfile.exists(outputs["saved_model"]):
            _write_saved_model(outputs["saved_model"], model, config.image_size, config.task.fit)
        if not tf.io.gfile.exists(outputs["weights"]):
            _write_weights(outputs["weights"], model)
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
    write_text(path, text)


def make_serving(model: EfficientNet, image_size: int, fit: str = "crop") -> tf.Module:
    """What the SavedModel holds: a network, its weights loaded, with the evaluation preprocessing before it.

    Its `serve` takes JPEG bytes (PNG, GIF and BMP too; turned as they are stored, transparency dropped, where classify heeds EXIF
    and lays on white), string [B], and gives `probabilities` float32 [B, C] and `classes` int64 [B], the most
    probable one. The module holds the variables, not the Keras model, whose every layer would be traced and saved too.
    """
    shape = [image_size, image_size, 3]

    def prepare(jpeg: tf.Tensor) -> tf.Tensor:
        image = decoding.evaluation_image(jpeg, image_size, model.config.small_image_model, fit)
        return tf.ensure_shape(image, shape)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="jpegs")], autograph=False)
    def serve(jpegs: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(prepare, jpegs, fn_output_signature=tf.TensorSpec(shape, tf.float32))
        probabilities = tf.nn.softmax(model(images))
        return {"probabilities": probabilities, "classes": tf.argmax(probabilities, -1)}

    serving = tf.Module(name="serving")
    serving.weights = list(model.named_variables().values())
    serving.serve = serve
    return serving


def _write_saved_model(path: str, model: EfficientNet, image_size: int, fit: str) -> None:
    serving = make_serving(model, image_size, fit)
    temporary = temporary_beside(path)
    try:
        tf.saved_model.save(serving, temporary, signatures={"serving_default": serving.serve})
        tf.io.gfile.rename(temporary, path)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.rmtree(temporary)


def _write_weights(path: str, model: EfficientNet) -> None:
    with tempfile.TemporaryDirectory() as folder, whole_file(path) as temporary:
        local = os.path.join(folder, WEIGHTS_FILE)  # HDF5 needs a local file to seek in
        model.save_weights(local, save_format="h5")
        tf.io.gfile.copy(local, temporary)


def _write_released_format(prefix: str, source: str, model: EfficientNet) -> None:
    """Every tensor of the network, with an average for each variable: the release's readers ask for all of them, so
    a variable that was frozen (and has none) gives its raw value."""
    tensors = tensors_of(Reader(source, CHECKPOINT_FLAG), model)
    for name in model.named_variables():
        tensors.setdefault(name + AVERAGE_SUFFIX, tensors[name])
    tensors.setdefault(STEP_NAME, tf.constant(0, tf.int64))
    writing.write(prefix, tensors, OUTPUT_FLAG)
