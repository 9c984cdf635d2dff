from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import reading, writing
from checkpoints.names import AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX, STEP_NAME
from checkpoints.reading import HEAD, load_weights
from efficientnet.model import EfficientNet
from runtime.errors import UserError
from tests.efficientnet.tiny import NUM_CLASSES, tiny
from training import saving
from training.state import TrainingState

ROOT = "efficientnet-b0/"
STEM = ROOT + "stem/conv2d/kernel"
DATA, INDEX = writing.DATA_SUFFIX, writing.INDEX_SUFFIX


def _scrambled(state: TrainingState, step: int) -> TrainingState:
    """Gives every variable values of its own."""
    generator = np.random.default_rng(step)
    for name, variable in state.named_variables().items():
        variable.assign(step if name == STEP_NAME else generator.random(variable.shape))
    return state


@pytest.fixture(scope="module")
def state() -> TrainingState:
    return _scrambled(TrainingState(EfficientNet(tiny(), seed=1)), 7)


@pytest.fixture(scope="module")
def model() -> EfficientNet:
    return EfficientNet(tiny(), seed=2)


@pytest.fixture
def saved(state: TrainingState, tmp_path: Path) -> str:
    return saving.save(str(tmp_path / "model"), state, keep=5)


def _tensors(state: TrainingState) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in state.named_variables().items()}


def _write(tmp_path: Path, tensors: dict[str, np.ndarray]) -> str:
    prefix = str(tmp_path / "changed")
    writing.write(prefix, tensors)
    return prefix


def _refusal(model: EfficientNet, path: str, flag: str = "predict_ckpt_path") -> str:
    with pytest.raises(UserError) as caught:
        load_weights(model, path, flag)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"--{flag}: ")
    return message


# --- whole and right ------------------------------------------------------------------------------------------------


def test_what_is_saved_is_restored_bit_for_bit(state: TrainingState, saved: str) -> None:
    other = TrainingState(EfficientNet(tiny(), seed=3))
    saving.restore(other, saved)
    for name, variable in state.named_variables().items():
        np.testing.assert_array_equal(variable, other.named_variables()[name], err_msg=name)


def test_the_names_are_the_release_s(saved: str) -> None:
    shapes = tf.train.load_checkpoint(saved).get_variable_to_shape_map()
    assert {STEP_NAME, STEM, STEM + AVERAGE_SUFFIX, STEM + SQUARES_SUFFIX, STEM + MOMENTUM_SUFFIX} <= set(shapes)
    assert {name.split("/")[0] for name in shapes} == {"efficientnet-b0", STEP_NAME}


def test_tensorflow_1_s_saver_reads_it(state: TrainingState, saved: str) -> None:
    names = [STEM, STEM + AVERAGE_SUFFIX, ROOT + "head/tpu_batch_normalization/moving_variance"]
    expected = _tensors(state)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.get_variable(name, expected[name].shape) for name in names]
        tf.compat.v1.train.Saver(variables).restore(session, saved)
        for name, value in zip(names, session.run(variables)):
            np.testing.assert_array_equal(value, expected[name])


def test_averages_are_read_by_default_and_raw_weights_on_request(
    state: TrainingState, model: EfficientNet, saved: str
) -> None:
    for use_averages in (True, False):
        assert load_weights(model, saved, "predict_ckpt_path", use_averages=use_averages) == saved
        for name, variable in model.named_variables().items():
            expected = state.averages[name] if use_averages else state.named_variables()[name]
            np.testing.assert_array_equal(variable, expected, err_msg=name)


def test_a_variable_that_was_frozen_gives_its_raw_value(model: EfficientNet, tmp_path: Path) -> None:
    frozen = _scrambled(TrainingState(EfficientNet(tiny(fix_layer_num=0), seed=1)), 3)
    prefix = saving.save(str(tmp_path), frozen, keep=1)
    load_weights(model, prefix, "predict_ckpt_path")
    assert STEM not in frozen.averages
    np.testing.assert_array_equal(model.named_variables()[STEM], frozen.named_variables()[STEM])
    bias = ROOT + "head/dense/bias"
    np.testing.assert_array_equal(model.named_variables()[bias], frozen.averages[bias])


def test_an_online_teacher_s_variables_are_no_left_overs(
    state: TrainingState, model: EfficientNet, tmp_path: Path
) -> None:
    extra = {f"teacher_model/efficientnet-b1/{name}": value for name, value in _tensors(state).items()}
    prefix = _write(tmp_path, {**_tensors(state), **extra})
    load_weights(model, prefix, "predict_ckpt_path")
    saving.restore(TrainingState(model), prefix)


def test_reset_head_takes_all_but_the_classifier(state: TrainingState, saved: str) -> None:
    other = EfficientNet(tiny(num_classes=NUM_CLASSES + 2), seed=4)
    fresh = {name: variable.numpy() for name, variable in other.named_variables().items() if HEAD in name}
    load_weights(other, saved, "init_model_path", reset_head=True)
    named = other.named_variables()
    assert len(fresh) == 2
    assert all(np.array_equal(named[name], value) for name, value in fresh.items())
    assert all(np.array_equal(named[name], state.averages[name]) for name in named if name not in fresh)


def test_only_the_last_ones_are_kept_and_the_newest_is_found(state: TrainingState, tmp_path: Path) -> None:
    folder = str(tmp_path)
    for step in (1, 2, 3, 10):
        state.step.assign(step)
        saving.save(folder, state, keep=2)
    state.step.assign(7)
    assert writing.list_own(folder) == [3, 10]
    assert writing.latest(folder) == reading.resolve(folder, "model_dir") == os.path.join(folder, "model.ckpt-10")
    assert tf.train.latest_checkpoint(folder) == os.path.join(folder, "model.ckpt-10")
    assert sorted(os.listdir(folder)) == sorted(
        ["checkpoint", *(f"model.ckpt-{step}{suffix}" for step in (3, 10) for suffix in (DATA, INDEX))]
    )


def test_zero_keeps_all(state: TrainingState, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        state.step.assign(step)
        saving.save(str(tmp_path), state, keep=0)
    state.step.assign(7)
    assert writing.list_own(str(tmp_path)) == [1, 2, 3]


def test_a_checkpoint_without_its_index_or_data_does_not_count(state: TrainingState, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        state.step.assign(step)
        saving.save(str(tmp_path), state, keep=0)
    state.step.assign(7)
    (tmp_path / f"model.ckpt-3{INDEX}").unlink()
    (tmp_path / f"model.ckpt-2{DATA}").unlink()
    assert writing.latest(str(tmp_path)) == str(tmp_path / "model.ckpt-1")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io.gfile, "rename", fail)
    with pytest.raises(UserError, match=r"^--model_dir: cannot write .*model\.ckpt-1: No space left on device$"):
        writing.write(str(tmp_path / "model.ckpt-1"), {"a": np.zeros(3)})
    assert os.listdir(tmp_path) == []


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [INDEX, DATA, ".meta", ".data-00001-of-00002"])
def test_a_suffix_is_named_and_left_out(saved: str, model: EfficientNet, suffix: str) -> None:
    expected = f"got {saved}{suffix}, expected the checkpoint's prefix; leave {suffix} out: {saved}"
    assert expected in _refusal(model, saved + suffix)


def test_a_missing_checkpoint_is_named(tmp_path: Path, model: EfficientNet) -> None:
    path = str(tmp_path / "nothing")
    assert f"no checkpoint {path} (looked for {path}.index)" in _refusal(model, path, "teacher_model_path")


def test_an_empty_folder_is_named(tmp_path: Path, model: EfficientNet) -> None:
    expected = f"{tmp_path} is a folder without a checkpoint; give a checkpoint's prefix or a model_dir"
    assert expected in _refusal(model, str(tmp_path))


def test_a_downloaded_folder_s_only_checkpoint_is_found(saved: str, tmp_path: Path) -> None:
    """The `checkpoint` file of the official ones names a path on another machine."""
    (tmp_path / "official").mkdir()
    for suffix in (DATA, INDEX):
        shutil.copy(saved + suffix, tmp_path / "official" / f"model.ckpt{suffix}")
    (tmp_path / "official" / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt"\n')
    assert reading.resolve(str(tmp_path / "official"), "init_model_path") == str(tmp_path / "official" / "model.ckpt")


def test_a_folder_of_several_foreign_checkpoints_asks_for_one(saved: str, tmp_path: Path, model: EfficientNet) -> None:
    for name in ("one", "two"):
        for suffix in (DATA, INDEX):
            (tmp_path / "several").mkdir(exist_ok=True)
            shutil.copy(saved + suffix, tmp_path / "several" / (name + suffix))
    assert "holds 2 checkpoints (one.index, ...); name one" in _refusal(model, str(tmp_path / "several"))


@pytest.mark.parametrize(("gone", "there"), [(DATA, ".index"), (INDEX, ".data-*")])
def test_a_half_copied_checkpoint_is_named(saved: str, model: EfficientNet, gone: str, there: str) -> None:
    os.remove(saved + gone)
    message = _refusal(model, saved)
    assert f"{saved}{there} is there but no {saved}" in message
    assert message.endswith("beside it; copy the whole checkpoint")


# --- content --------------------------------------------------------------------------------------------------------


def _cut(path: str, size: int) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("suffix", [DATA, INDEX])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(saved: str, model: EfficientNet, suffix: str, share: float) -> None:
    _cut(saved + suffix, int(share * os.path.getsize(saved + suffix)))
    message = _refusal(model, saved)
    assert f"the checkpoint {saved} is corrupt or cut short (" in message
    assert message.endswith("); copy it again")


@pytest.mark.parametrize("suffix", [DATA, INDEX])
def test_flipped_bytes_are_noticed(saved: str, model: EfficientNet, suffix: str) -> None:
    content = bytearray(Path(saved + suffix).read_bytes())
    for position in range(100, len(content), 1000):
        content[position] ^= 0xFF
    Path(saved + suffix).write_bytes(content)
    assert f"the checkpoint {saved} is corrupt or cut short (" in _refusal(model, saved)


def test_something_else_is_no_checkpoint(tmp_path: Path, model: EfficientNet) -> None:
    for suffix in (DATA, INDEX):
        (tmp_path / f"text{suffix}").write_text("not a checkpoint at all\n" * 10)
    assert "is corrupt or cut short (" in _refusal(model, str(tmp_path / "text"))


def test_a_checkpoint_without_averages_says_what_to_pass(
    state: TrainingState, tmp_path: Path, model: EfficientNet
) -> None:
    raw = {name: value for name, value in _tensors(state).items() if not name.endswith(AVERAGE_SUFFIX)}
    prefix = _write(tmp_path, raw)
    expected = f"{prefix} holds no moving averages; pass --use_averages=False to take the raw weights"
    assert expected in _refusal(model, prefix)
    load_weights(model, prefix, "predict_ckpt_path", use_averages=False)


def test_a_missing_variable_is_named(state: TrainingState, tmp_path: Path, model: EfficientNet) -> None:
    tensors = _tensors(state)
    del tensors[STEM]
    expected = f"has no variable {STEM}, which efficientnet-b0 needs; check --model_name and the coefficients"
    assert expected in _refusal(model, _write(tmp_path, tensors))


def test_a_left_over_variable_is_named(state: TrainingState, tmp_path: Path, model: EfficientNet) -> None:
    prefix = _write(tmp_path, {**_tensors(state), ROOT + "blocks_7/conv2d/kernel": np.zeros(3, np.float32)})
    expected = (
        f"has the variable {ROOT}blocks_7/conv2d/kernel left over, which efficientnet-b0 of these flags does not have"
    )
    assert expected in _refusal(model, prefix)


def test_another_variant_is_named(saved: str) -> None:
    other = EfficientNet(tiny(name="efficientnet-b1"))
    message = _refusal(other, saved, "teacher_model_path")
    assert "has no variable efficientnet-b1/stem/conv2d/kernel (it holds efficientnet-b0)" in message
    assert "check --teacher_model_name" in message


def test_another_width_is_named_by_its_first_variable(saved: str) -> None:
    message = _refusal(EfficientNet(tiny(width_coefficient=0.6)), saved)
    assert re.search(r"has \S+ of shape \[.*\], expected \[.*\]; check --model_name and --width_coefficient$", message)


def test_another_number_of_classes_is_named(saved: str) -> None:
    other = EfficientNet(tiny(num_classes=3))
    message = _refusal(other, saved)
    assert re.search(r"head/dense/kernel of shape \[\d+, 5\], expected \[\d+, 3\]; check --num_label_classes$", message)
    assert "--num_label_classes, or start a new classifier with --reset_head" in _refusal(
        other, saved, "init_model_path"
    )


# --- continuing -----------------------------------------------------------------------------------------------------


def test_missing_slots_start_afresh_with_one_line(
    state: TrainingState, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some of the official checkpoints hold none."""
    prefix = _write(tmp_path, {name: value for name, value in _tensors(state).items() if "/RMSProp" not in name})
    other = _scrambled(TrainingState(EfficientNet(tiny(), seed=3)), 5)
    with caplog.at_level(logging.WARNING):
        saving.restore(other, prefix)
    count = 2 * len(state.trainable)
    assert [record.getMessage() for record in caplog.records] == [
        f"--model_dir: {prefix} lacks 0 averages and {count} optimiser slots: they start afresh"
    ]
    assert int(other.step) == 7
    assert all(np.all(squares.numpy() == 1) for squares in other.squares.values())
    assert not any(momentum.numpy().any() for momentum in other.momenta.values())
    np.testing.assert_array_equal(other.averages[STEM], state.averages[STEM])


def test_a_variable_that_was_frozen_before_starts_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frozen = _scrambled(TrainingState(EfficientNet(tiny(fix_layer_num=0), seed=1)), 3)
    prefix = saving.save(str(tmp_path), frozen, keep=1)
    other = TrainingState(EfficientNet(tiny(), seed=4))
    with caplog.at_level(logging.WARNING):
        saving.restore(other, prefix)
    assert "lacks 5 averages and 6 optimiser slots" in caplog.text
    np.testing.assert_array_equal(other.averages[STEM], frozen.named_variables()[STEM])
    bias = ROOT + "head/dense/bias"
    np.testing.assert_array_equal(other.momenta[bias], frozen.momenta[bias])


def test_a_whole_checkpoint_is_restored_without_a_word(
    saved: str, model: EfficientNet, caplog: pytest.LogCaptureFixture
) -> None:
    saving.restore(TrainingState(model), saved)
    assert not caplog.records


def test_a_training_does_not_continue_from_a_checkpoint_without_a_step(
    state: TrainingState, tmp_path: Path, model: EfficientNet
) -> None:
    tensors = _tensors(state)
    del tensors[STEP_NAME]
    prefix = _write(tmp_path, tensors)
    with pytest.raises(UserError, match=r"^--model_dir: .* has no global_step, so a training cannot continue from it"):
        saving.restore(TrainingState(model), prefix)
