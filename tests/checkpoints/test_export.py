from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import convert, export, writing
from checkpoints.config import ConvertConfig, ExportConfig
from checkpoints.description import Description
from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from data.tasks import Task
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from runtime.errors import UserError
from runtime.files import temporary_beside
from tests.efficientnet.tiny import NUM_CLASSES, tiny
from training import saving
from training.state import TrainingState

SIZE = 16
CONFIG = tiny(fix_layer_num=0)  # the stem is frozen, so it has no averages
STEM = "efficientnet-b0/stem/conv2d/kernel"
BIAS = "efficientnet-b0/head/dense/bias"
TASK = Task("digits", NUM_CLASSES, image_size=SIZE, small_image_model=True)


@pytest.fixture(scope="module")
def state() -> TrainingState:
    """A state whose weights and averages differ."""
    state = TrainingState(EfficientNet(CONFIG, seed=1))
    for average in state.averages.values():
        average.assign(average * 1.1 + 0.01)
    for momentum in state.momenta.values():
        momentum.assign(momentum + 0.5)
    state.step.assign(42)
    return state


@pytest.fixture(scope="module")
def checkpoint(state: TrainingState, tmp_path_factory: pytest.TempPathFactory) -> str:
    """As the release would have left it: an online teacher's variables beside ours."""
    prefix = str(tmp_path_factory.mktemp("trained") / "final.ckpt")
    teacher = {"teacher_model/efficientnet-b0/stem/conv2d/kernel": np.zeros(3, np.float32)}
    writing.write(prefix, {**state.named_variables(), **teacher})
    return prefix


@pytest.fixture(scope="module")
def exported(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = str(tmp_path_factory.mktemp("exported") / "here")
    return export.export(ExportConfig("export", CONFIG, checkpoint, folder, SIZE, TASK, tf1_checkpoint=True))


def _jpegs(count: int) -> list[bytes]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
    return [tf.io.encode_jpeg(image).numpy() for image in images]


def _averaged(state: TrainingState, config: ModelConfig = CONFIG) -> EfficientNet:
    model = EfficientNet(config)
    state.copy_averages_to(model)
    return model


# --- out ------------------------------------------------------------------------------------------------------------


def test_the_saved_model_answers_as_the_averaged_network_does(exported: dict[str, str], state: TrainingState) -> None:
    jpegs = _jpegs(3)
    signature = tf.saved_model.load(exported["saved_model"]).signatures["serving_default"]
    answer = signature(jpegs=tf.constant(jpegs))
    assert set(answer) == {"probabilities", "classes"}
    images = tf.stack([tf.cast(tf.io.decode_jpeg(jpeg, 3), tf.float32) for jpeg in jpegs])
    expected = tf.nn.softmax(_averaged(state)(images)).numpy()
    assert (answer["probabilities"].dtype, answer["classes"].dtype) == (tf.float32, tf.int64)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(answer["classes"], expected.argmax(-1))
    assert signature(jpegs=tf.constant(jpegs[:1]))["classes"].shape == [1]


def test_the_saved_model_takes_pixels_and_names_its_classes(exported: dict[str, str], state: TrainingState) -> None:
    signatures = tf.saved_model.load(exported["saved_model"]).signatures
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    expected = tf.nn.softmax(_averaged(state)(pixels)).numpy()
    for name, dtype in (("uint8_pixels", tf.uint8), ("float_pixels", tf.float32)):
        answer = signatures[name](pixels=tf.cast(pixels, dtype))
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    names = [name.decode() for name in signatures["class_names"]()["names"].numpy()]
    assert names == list(TASK.class_names)
    listed = (Path(exported["keras"]).parent / "classes.txt").read_text().splitlines()
    assert listed == (names or [str(number) for number in range(NUM_CLASSES)])


def test_the_keras_file_opens_without_this_project(
    exported: dict[str, str], state: TrainingState, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    code = (
        "import importlib.util, os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
        "if importlib.util.find_spec('tf_keras'): os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
        "import sys, numpy as np, tensorflow as tf\n"
        "model = tf.keras.models.load_model(sys.argv[1])\n"
        "np.save('logits.npy', model.predict(np.load('pixels.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", code, exported["keras"]], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), _averaged(state)(pixels), atol=1e-5)


def test_the_tflite_file_answers_in_its_interpreter(exported: dict[str, str], state: TrainingState) -> None:
    pixels = np.random.default_rng(1).uniform(0, 255, (1, SIZE, SIZE, 3)).astype(np.float32)
    interpreter = tf.lite.Interpreter(exported["tflite"])
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(taken["index"], pixels)
    interpreter.invoke()
    expected = tf.nn.softmax(_averaged(state)(pixels)).numpy()
    np.testing.assert_allclose(interpreter.get_tensor(given["index"]), expected, atol=1e-5)


def test_the_h5_file_gives_a_fresh_network_the_averages(exported: dict[str, str], state: TrainingState) -> None:
    fresh = EfficientNet(tiny(), seed=5)
    fresh.load_weights(exported["weights"])
    expected = _averaged(state).named_variables()
    for name, variable in fresh.named_variables().items():
        np.testing.assert_array_equal(variable, expected[name], err_msg=name)


def test_the_h5_file_calls_its_weights_by_the_release_s_names(exported: dict[str, str]) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(exported["weights"]) as file:
        names = [name for group in file.values() for name in group.attrs.get("weight_names", [])]
    assert f"{STEM}:0" in names


def test_tensorflow_1_s_saver_restores_every_average(exported: dict[str, str], state: TrainingState) -> None:
    """A released consumer asks for the average of every variable, also of one that was frozen."""
    expected = {name: variable.numpy() for name, variable in _averaged(state).named_variables().items()}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {name: tf.compat.v1.get_variable(name, value.shape) for name, value in expected.items()}
        saver = tf.compat.v1.train.Saver({name + AVERAGE_SUFFIX: variable for name, variable in variables.items()})
        saver.restore(session, exported["checkpoint"])
        for name, value in session.run(variables).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_the_release_s_checkpoint_holds_raw_weights_slots_and_step(
    exported: dict[str, str], state: TrainingState
) -> None:
    reader = tf.train.load_checkpoint(exported["checkpoint"])
    for name, variable in state.named_variables().items():
        np.testing.assert_array_equal(reader.get_tensor(name), variable, err_msg=name)
    assert reader.get_tensor(STEP_NAME).dtype == np.int64
    assert not [name for name in reader.get_variable_to_shape_map() if name.startswith("teacher_model")]


def test_raw_weights_are_exported_on_request(checkpoint: str, state: TrainingState, tmp_path: Path) -> None:
    config = ExportConfig("export", CONFIG, checkpoint, str(tmp_path), SIZE, TASK, use_averages=False)
    outputs = export.export(config)
    fresh = EfficientNet(tiny(), seed=5)
    fresh.load_weights(outputs["weights"])
    for name, variable in state.model.named_variables().items():
        np.testing.assert_array_equal(fresh.named_variables()[name], variable, err_msg=name)
    assert sorted(os.listdir(tmp_path)) == [
        "classes.txt", "export.json", "model.json", "model.keras", "model.tflite", "saved_model", "weights.h5",
    ]  # fmt: skip


def test_a_large_image_network_crops_and_resizes() -> None:
    """The evaluation's centre crop: photographs of any size come in."""
    model = EfficientNet(tiny(small_image_model=False))
    photo = tf.io.encode_jpeg(np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8))
    answer = export.make_serving(model, 32).serve(tf.stack([photo, photo]))
    assert answer["probabilities"].shape == [2, NUM_CLASSES]
    np.testing.assert_allclose(tf.reduce_sum(answer["probabilities"], -1), [1, 1], rtol=1e-5)


def test_existing_outputs_are_left_alone(exported: dict[str, str], checkpoint: str) -> None:
    folder = os.path.dirname(exported["weights"])
    before = sorted(os.listdir(folder))
    with pytest.raises(
        UserError, match=r"^--output_dir: .*saved_model exists already; give another folder, or remove it$"
    ):
        export.export(ExportConfig("export", CONFIG, checkpoint, folder, SIZE, TASK, use_averages=False))
    assert sorted(os.listdir(folder)) == before


def test_a_killed_export_goes_on(exported: dict[str, str], checkpoint: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(os.path.dirname(exported["weights"]), folder)
    saved = (folder / "saved_model" / "saved_model.pb").read_bytes()
    (folder / "weights.h5").unlink()
    os.makedirs(temporary_beside(f"{folder}/saved_model") + "/variables")
    export.export(ExportConfig("export", CONFIG, checkpoint, str(folder), SIZE, TASK))
    assert (folder / "saved_model" / "saved_model.pb").read_bytes() == saved
    assert sorted(os.listdir(folder)) == sorted(os.listdir(os.path.dirname(exported["weights"])))


def test_what_is_exported_names_its_classes(exported: dict[str, str]) -> None:
    description = Description.beside(exported["checkpoint"])
    assert description is not None
    assert (description.model, description.image_size, description.task) == (CONFIG, SIZE, TASK)


def test_a_failed_export_leaves_nothing_half_done(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(UserError, match=r"^--output_dir: cannot write to .*: No space left on device$"):
        export.export(ExportConfig("export", CONFIG, checkpoint, str(tmp_path), SIZE, TASK))
    assert sorted(os.listdir(tmp_path)) == ["classes.txt", "export.json", "model.json"]


# --- in -------------------------------------------------------------------------------------------------------------


def _convert(checkpoint: str, folder: str, model: ModelConfig = CONFIG) -> str:
    return convert.convert(ConvertConfig("convert", model, checkpoint, folder, SIZE, TASK))


def test_a_released_checkpoint_becomes_a_model_dir(checkpoint: str, state: TrainingState, tmp_path: Path) -> None:
    folder = str(tmp_path / "model")
    assert _convert(checkpoint, folder) == os.path.join(folder, "model.ckpt-42")
    assert writing.latest(folder) == os.path.join(folder, "model.ckpt-42")
    reader = tf.train.load_checkpoint(os.path.join(folder, "model.ckpt-42"))
    named = state.named_variables()
    assert set(reader.get_variable_to_shape_map()) == set(named)
    for name, variable in named.items():
        np.testing.assert_array_equal(reader.get_tensor(name), variable, err_msg=name)
    with open(os.path.join(folder, "model.json")) as file:
        description = json.load(file)
    assert ModelConfig.from_json(description["model"]) == CONFIG
    assert (description["image_size"], description["task"]["num_classes"]) == (SIZE, NUM_CLASSES)
    assert sorted(os.listdir(folder)) == [
        "checkpoint",
        "model.ckpt-42.data-00000-of-00001",
        "model.ckpt-42.index",
        "model.json",
    ]


def test_a_training_continues_from_what_was_converted(checkpoint: str, state: TrainingState, tmp_path: Path) -> None:
    prefix = _convert(checkpoint, str(tmp_path))
    again = TrainingState(EfficientNet(CONFIG, seed=8))
    saving.restore(again, prefix)
    for name, variable in state.named_variables().items():
        np.testing.assert_array_equal(again.named_variables()[name], variable, err_msg=name)


def test_a_checkpoint_of_averages_and_weights_alone_converts_at_step_zero(state: TrainingState, tmp_path: Path) -> None:
    """Some of the official ones hold neither slots nor step."""
    named = {
        **state.model.named_variables(),
        **{name + AVERAGE_SUFFIX: value for name, value in state.averages.items()},
    }
    writing.write(str(tmp_path / "official"), named)
    prefix = _convert(str(tmp_path / "official"), str(tmp_path / "model"))
    assert os.path.basename(prefix) == "model.ckpt-0"
    again = TrainingState(EfficientNet(CONFIG, seed=8))
    saving.restore(again, prefix)
    np.testing.assert_array_equal(again.averages[BIAS], state.averages[BIAS])
    assert int(again.step) == 0


def test_another_network_s_checkpoint_is_not_converted(checkpoint: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(UserError, match=r"^--init_model_path: .* has no variable efficientnet-b1/stem/conv2d/kernel"):
        _convert(checkpoint, str(folder), tiny(name="efficientnet-b1"))
    assert not folder.exists()


def test_a_model_dir_that_holds_a_checkpoint_is_left_alone(checkpoint: str, tmp_path: Path) -> None:
    prefix = _convert(checkpoint, str(tmp_path))
    with pytest.raises(UserError, match=rf"^--model_dir: got {tmp_path}, which holds {prefix} already"):
        _convert(checkpoint, str(tmp_path))
