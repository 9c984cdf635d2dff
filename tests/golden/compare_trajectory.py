"""Replays a training run of the release with our own trainer and compares it step by step.

What a file holds: `flags` (JSON list, the release's command line), `batch/<i>/...` (step t uses batch t modulo their
number), `init/<variable>`, `final/<variable>`, `history/<metric>` with one value a step, `eval/raw_logits` and
`eval/ema_logits` (inference on batch 0 with the final weights and averages). Beside it may lie `<run>/final.ckpt` and
`<run>/teacher.ckpt`, the release's checkpoints. A file that `tests.golden.reduce` made holds `sampled/...` in place of
`final/<variable>`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from absl import flags as absl_flags

from checkpoints import writing
from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from checkpoints.reading import load_weights
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from flags import build, command_line
from runtime.errors import UserError
from tests.golden.checks import Checks
from training import saving
from training.config import TrainConfig
from training.state import TrainingState
from training.trainer import Trainer

LOSS_TOLERANCE = 1e-4  # relative
LEARNING_RATE_TOLERANCE = 1e-6  # relative
FINAL_RELATIVE, FINAL_ABSOLUTE = 1e-3, 1e-4  # of each variable's largest value, or absolute
LOGITS_TOLERANCE = 1e-4  # absolute
SAMPLES = 16  # elements of each final variable in a reduced file

HISTORIES = {"labeled_loss": "lab/loss", "unlabeled_loss": "ext/loss", "data_loss": "train/data_loss"}
TEACHER = "teacher_model/"

Arrays = dict[str, np.ndarray]


def compare_trajectory(arrays: Arrays, folder: str) -> dict[str, Any]:
    """Compares one run.

    Args:
      arrays: the file's content.
      folder: where its checkpoints would lie.

    Returns:
      see `Checks.report`.

    Raises:
      UserError: something needed is not in the file.
    """
    _require(arrays, ["flags", "batch/0/image", "batch/0/label", "history/train/lr"])
    checks = Checks()
    with tempfile.TemporaryDirectory() as scratch:
        config = train_config(arrays, folder, scratch)
        trainer = Trainer(config, tf.distribute.get_strategy())
        set_state(trainer.state, arrays)
        if config.teacher:
            check_teacher(arrays, config, checks)
        replay(trainer, arrays, checks)
    inference = Inference(config.model, arrays["batch/0/image"])
    check_logits(arrays, inference, checks)
    if os.path.exists(os.path.join(folder, "final.ckpt.index")):
        check_import(arrays, inference, os.path.join(folder, "final.ckpt"), checks)
    return checks.report()


# --- from the file to a training ------------------------------------------------------------------------------------


def train_config(arrays: Arrays, folder: str, scratch: str) -> TrainConfig:
    """The config that `--mode=train` would have from the file's flags; folders that only a real run has are `scratch`.

    A teacher whose checkpoint is not in `folder` is written to `scratch` from the file's arrays.
    """
    given = [str(flag) for flag in json.loads(str(arrays["flags"]))]
    added = ["mode=train", f"model_dir={scratch}/model", f"label_data_dir={scratch}", "init_model=False"]
    added += ["init_model_path=", "reset_head=False"]
    if "batch/0/unl_probs" in arrays:
        added.append(f"unlabel_data_dir={scratch}")
    if any(flag.lstrip("-").startswith("teacher_model_name=") for flag in given):
        added.append(f"teacher_model_path={_teacher_checkpoint(arrays, folder, scratch)}")
    values = command_line.define(absl_flags.FlagValues())
    try:
        values(["compare", *given, *(f"--{flag}" for flag in added)])
    except absl_flags.Error as error:
        raise UserError(f"flags of the file: {' '.join(str(error).split())}") from error
    return dataclasses.replace(build.train_config(values), evaluation=None)


def _teacher_checkpoint(arrays: Arrays, folder: str, scratch: str) -> str:
    prefix = os.path.join(folder, "teacher.ckpt")
    if os.path.exists(prefix + writing.INDEX_SUFFIX):
        return prefix
    weights = _teacher_weights(arrays)
    if not weights:
        raise UserError(
            f"neither init/{TEACHER}... in the file nor {prefix}.index beside it, and the flags name a teacher"
        )
    prefix = os.path.join(scratch, "teacher.ckpt")
    averages = {name + AVERAGE_SUFFIX: value for name, value in weights.items()}
    writing.write(prefix, {**weights, **averages})
    return prefix


def _teacher_weights(arrays: Arrays) -> Arrays:
    """The online teacher's weights as the release's step saw them: the averages of its checkpoint."""
    root = f"init/{TEACHER}"
    return {
        name[len(root) :]: value
        for name, value in arrays.items()
        if name.startswith(root) and not name.endswith(AVERAGE_SUFFIX)
    }


def set_state(state: TrainingState, arrays: Arrays) -> None:
    """Puts a training where the run started; averages and slots that the file leaves out start afresh."""
    weights = state.model.named_variables()
    _require(arrays, [f"init/{name}" for name in weights])
    for name, variable in weights.items():
        _assign(variable, arrays[f"init/{name}"], name)
    state.restart_from_weights()
    for name, variable in state.named_variables().items():
        if f"init/{name}" in arrays:
            _assign(variable, arrays[f"init/{name}"], name)


def _assign(variable: tf.Variable, value: np.ndarray, name: str) -> None:
    if variable.shape.as_list() != list(value.shape):
        raise UserError(
            f"{name}: got shape {list(value.shape)}, the network of the flags has {variable.shape.as_list()}"
        )
    variable.assign(value)


def make_batches(arrays: Arrays, config: TrainConfig) -> Iterator[Any]:
    """The file's batches in turn, for ever, in the form of `data.streams.training`."""
    count = _count_batches(arrays)
    batches = [_batch(arrays, index, config) for index in range(count)]
    stacked = tf.nest.map_structure(lambda *parts: np.stack(parts), *batches)
    return iter(tf.data.Dataset.from_tensor_slices(stacked).repeat())


def _count_batches(arrays: Arrays) -> int:
    count = 0
    while f"batch/{count}/image" in arrays:
        count += 1
    return count


def _batch(arrays: Arrays, index: int, config: TrainConfig) -> dict[str, Any]:
    part = {key.split("/", 2)[2]: value for key, value in arrays.items() if key.startswith(f"batch/{index}/")}
    labeled, images, labels = config.optimizer.train_batch_size, part["image"], part["label"].astype(np.int32)
    batch = {"labeled": {"image": images[:labeled].astype(np.float32), "label": labels[:labeled]}}
    if not config.optimizer.unlabel_ratio:
        return batch
    count = len(images) - labeled
    probabilities = part.get("unl_probs", np.zeros([count, config.model.num_classes])).astype(np.float32)
    unlabeled = {
        "image": images[labeled:].astype(np.float32),
        "label": labels[labeled:] if len(labels) > labeled else np.argmax(probabilities, -1).astype(np.int32),
        "probabilities": probabilities[-count:],
    }
    if config.teacher:
        unlabeled["teacher_image"] = part["teacher_image"][-count:].astype(np.float32)
    return {**batch, "unlabeled": unlabeled}


# --- the comparisons ------------------------------------------------------------------------------------------------


def replay(trainer: Trainer, arrays: Arrays, checks: Checks) -> None:
    """Takes as many steps as the file has, by the trainer's own compiled loop, and compares each and the final state."""
    noise = _noise_of(trainer.config)
    if noise:
        checks.not_compared.append(f"losses and final variables: the run drew noise of its own ({noise})")
    loop = trainer._compile(trainer.config.optimizer)
    batches = make_batches(arrays, trainer.config)
    history = []
    for _ in range(len(arrays["history/train/lr"])):
        metrics = loop(batches, tf.constant(1))
        history.append({name: float(value) for name, value in metrics.items()})
    compare_history(history, arrays, checks, noise=bool(noise), teacher=trainer.config.teacher is not None)
    if not noise:
        averaged = trainer.config.optimizer.moving_average_decay > 0
        compare_final(trainer.state, arrays, checks, averaged)


def _noise_of(config: TrainConfig) -> str:
    """The flags that make a run random, which no replay can follow."""
    parts = [
        ("dropout_rate", config.model.variant.dropout_rate > 0),
        ("stochastic_depth_rate", config.model.depth_drop_rate > 0),
        ("label_data_sample_prob", config.optimizer.label_data_sample_prob < 1),
    ]
    return ", ".join(name for name, noisy in parts if noisy)


def compare_history(
    history: list[dict[str, float]], arrays: Arrays, checks: Checks, *, noise: bool, teacher: bool
) -> None:
    """Compares what each step reported. With an online teacher the release's `train/loss` also counts the teacher's
    weights, which do not change: there the difference must be the same at every step."""
    for step, metrics in enumerate(history):
        expected = arrays["history/train/lr"][step]
        checks.relative("learning_rate", metrics["learning_rate"], expected, LEARNING_RATE_TOLERANCE, f"step {step}")
    if noise:
        return
    for ours, theirs in HISTORIES.items():
        for step, expected in enumerate(arrays.get(f"history/{theirs}", [])):
            if ours not in history[step]:
                raise UserError(f"the file has history/{theirs}, but its flags ask for no unlabeled loss")
            checks.relative(ours, history[step][ours], expected, LOSS_TOLERANCE, f"step {step}")
    totals = np.asarray(arrays.get("history/train/loss", []), np.float64)
    offsets = totals - [metrics["loss"] for metrics in history[: len(totals)]]
    offset = np.mean(offsets) if teacher and len(totals) else 0.0
    for step, expected in enumerate(totals):
        checks.relative("loss", history[step]["loss"] + offset, expected, LOSS_TOLERANCE, f"step {step}")


def compare_final(state: TrainingState, arrays: Arrays, checks: Checks, averaged: bool = True) -> None:
    """Compares weights, averages and slots after the last step; names must be the same on both sides."""
    ours = {name: variable.numpy() for name, variable in state.named_variables().items()}
    if not averaged:
        ours = {name: value for name, value in ours.items() if not name.endswith(AVERAGE_SUFFIX)}
    if "sampled/names" in arrays:
        compare_sampled(ours, arrays, checks)
        return
    theirs = {name[len("final/") :]: value for name, value in arrays.items() if name.startswith("final/")}
    theirs = {name: value for name, value in theirs.items() if not name.startswith(TEACHER)}
    for name, expected in theirs.items():
        value = ours.get(name, _frozen(name, ours))
        if value is None:
            checks.missing("final", f"{name} is not in ours")
        elif name == STEP_NAME:
            checks.absolute("step", value, expected, 0.0, name)
        else:
            checks.absolute(_quantity(name), value, expected, final_tolerance(np.max(np.abs(expected))), name)
    for name in ours:
        if name not in theirs:
            checks.missing("final", f"{name} is ours alone")


def _frozen(name: str, ours: Arrays) -> Optional[np.ndarray]:
    """A frozen variable has no average with us; where the release kept one, it is the value that never moves."""
    weight = name[: -len(AVERAGE_SUFFIX)] if name.endswith(AVERAGE_SUFFIX) else ""
    return ours.get(weight)


def final_tolerance(largest: float) -> float:
    """How far a variable may be whose largest element is that."""
    return max(FINAL_ABSOLUTE, FINAL_RELATIVE * float(largest))


def _quantity(name: str) -> str:
    if name.endswith(AVERAGE_SUFFIX):
        return "final_averages"
    return "final_slots" if "/RMSProp" in name else "final_weights"


def sample(values: np.ndarray) -> np.ndarray:
    """`SAMPLES` elements at even distances, float32; all of them, repeated, where there are fewer."""
    flat = np.asarray(values, np.float32).ravel()
    return flat[np.linspace(0, flat.size - 1, SAMPLES).astype(np.int64)]


def compare_sampled(ours: Arrays, arrays: Arrays, checks: Checks) -> None:
    """Compares the final variables with the elements that a reduced file kept."""
    theirs = {str(name): index for index, name in enumerate(arrays["sampled/names"])}
    for name in sorted(set(theirs) ^ set(ours)):
        checks.missing("final", f"{name} is {'ours alone' if name in ours else 'not in ours'}")
    for name in sorted(set(theirs) & set(ours)):
        tolerance = final_tolerance(arrays["sampled/largest"][theirs[name]])
        checks.absolute(_quantity(name), sample(ours[name]), arrays["sampled/values"][theirs[name]], tolerance, name)


class Inference:
    """A network on a run's batch 0, traced once for whatever weights it is given in turn."""

    def __init__(self, model: ModelConfig, images: np.ndarray):
        self.model = model
        self.images = tf.constant(images, tf.float32)

    @functools.cached_property
    def network(self) -> EfficientNet:
        """The network whose weights count."""
        return EfficientNet(self.model)

    def logits(self) -> np.ndarray:
        """Logits of the batch by the weights that the network has now: float32 [B, classes]."""
        return self._traced(self.images).numpy()

    @functools.cached_property
    def _traced(self) -> Any:
        # Called without a graph, each operation that XLA compiles would be traced anew for each of its shapes.
        return tf.function(self.network, autograph=False).get_concrete_function(self.images)


def check_logits(arrays: Arrays, inference: Inference, checks: Checks) -> None:
    """Inference on batch 0 with the file's final weights and averages."""
    weights = {name[len("final/") :]: value for name, value in arrays.items() if name.startswith("final/")}
    if not weights:
        return
    for quantity, suffix in (("raw_logits", ""), ("ema_logits", AVERAGE_SUFFIX)):
        for name, variable in inference.network.named_variables().items():
            _assign(variable, weights.get(name + suffix, weights[name]), name)
        _check_logits(quantity, inference, arrays, checks, "weights of the file")


def _check_logits(quantity: str, inference: Inference, arrays: Arrays, checks: Checks, where: str) -> None:
    expected = arrays.get(f"eval/{quantity}")
    if expected is not None:
        checks.absolute(quantity, inference.logits(), expected, LOGITS_TOLERANCE, where)


def check_import(arrays: Arrays, inference: Inference, prefix: str, checks: Checks) -> None:
    """Reads the release's final checkpoint by `restore` and by `load_weights`: bit for bit, and its logits."""
    state = TrainingState(EfficientNet(inference.model))
    saving.restore(state, prefix)
    for name, variable in state.named_variables().items():
        if f"final/{name}" in arrays:
            checks.absolute("import", variable.numpy(), arrays[f"final/{name}"], 0.0, name)
    for quantity, suffix in (("raw_logits", ""), ("ema_logits", AVERAGE_SUFFIX)):
        load_weights(inference.network, prefix, "predict_ckpt_path", use_averages=bool(suffix))
        _check_weights(inference.network, arrays, "final/", suffix, checks)
        _check_logits(quantity, inference, arrays, checks, os.path.basename(prefix))


def check_teacher(arrays: Arrays, config: TrainConfig, checks: Checks) -> None:
    """Reads the teacher's checkpoint as training does: bit for bit what the release's step saw."""
    assert config.teacher is not None
    network = EfficientNet(config.teacher)
    load_weights(network, config.teacher_path, "teacher_model_path")
    _check_weights(network, arrays, f"init/{TEACHER}", "", checks)


def _check_weights(network: EfficientNet, arrays: Arrays, root: str, suffix: str, checks: Checks) -> None:
    for name, variable in network.named_variables().items():
        key = f"{root}{name}{suffix}" if f"{root}{name}{suffix}" in arrays else f"{root}{name}"
        if key in arrays:
            checks.absolute("import", variable.numpy(), arrays[key], 0.0, key)


def _require(arrays: Arrays, names: list[str]) -> None:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise UserError(f"a trajectory without {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
