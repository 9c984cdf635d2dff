"""A training's whole state, saved as a checkpoint and restored from one."""

from __future__ import annotations

import logging

from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from checkpoints.reading import Reader
from checkpoints.writing import save_tensors
from runtime.errors import UserError
from training.state import TrainingState


def save(model_dir: str, state: TrainingState, keep: int) -> str:
    """Writes the training's state as `model.ckpt-STEP`, keeps the last `keep`; returns the prefix."""
    return save_tensors(model_dir, int(state.step.numpy()), dict(state.named_variables()), keep)


def restore(state: TrainingState, path: str) -> None:
    """Continues a training: every weight, average, slot and the step.

    A converted checkpoint may lack slots or averages (some released ones do), and so may variables that were frozen
    before: those start afresh, with one line of notice.

    Raises:
      UserError: the checkpoint is another network's (names the first differing variable), has no step, is unreadable.
    """
    reader = Reader(path, "model_dir")
    weights = state.model.named_variables()
    reader.check(state.model, weights)
    if STEP_NAME not in reader.shapes:
        raise UserError(
            f"--model_dir: {reader.prefix} has no {STEP_NAME}, so a training cannot continue from it; "
            "pass it as --init_model_path, or convert it with --mode=convert"
        )
    for name, variable in weights.items():
        variable.assign(reader.tensor(name))
    state.restart_from_weights()
    derived = {name: variable for name, variable in state.named_variables().items() if name not in weights}
    fresh = [name for name in derived if name not in reader.shapes]
    for name, variable in derived.items():
        if name in reader.shapes:
            variable.assign(reader.tensor(name))
    if fresh:
        averages = sum(name.endswith(AVERAGE_SUFFIX) for name in fresh)
        logging.warning(
            "--model_dir: %s lacks %d averages and %d optimiser slots: they start afresh",
            reader.prefix,
            averages,
            len(fresh) - averages,
        )
