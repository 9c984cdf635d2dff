"""Everything that a training changes: weights, averages, optimiser slots, and the number of updates done."""

from __future__ import annotations

import tensorflow as tf

from checkpoints.names import AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX, STEP_NAME
from efficientnet.model import EfficientNet


class TrainingState:
    """The variables of one training, each known by the release's name.

    Attributes:
      model: the network that trains.
      step: int64 scalar, updates done.
      squares, momenta: RMSProp's slots by the name of their trainable variable; squares start at one.
      averages: moving averages by the name of their variable: every trainable one and every batch-norm statistic that
        moves. A variable that is frozen has none (docs/release.md, section 2).
    """

    def __init__(self, model: EfficientNet):
        self.model = model
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name=STEP_NAME)
        named = model.named_variables()
        trainable = {variable_id(variable) for variable in model.trainable_variables}
        moving = self._moving_ids()
        self.trainable = {name: variable for name, variable in named.items() if variable_id(variable) in trainable}
        self.statistics = {name: variable for name, variable in named.items() if variable_id(variable) in moving}
        self.squares = {name: _slot(tf.ones_like(variable)) for name, variable in self.trainable.items()}
        self.momenta = {name: _slot(tf.zeros_like(variable)) for name, variable in self.trainable.items()}
        self.averages = {
            name: _slot(variable.read_value()) for name, variable in {**self.trainable, **self.statistics}.items()
        }

    def _moving_ids(self) -> set[int]:
        moving: set[int] = set()
        for norm in self.model.batch_norms():
            if norm.trainable:
                moving |= {variable_id(norm.moving_mean), variable_id(norm.moving_variance)}
        return moving

    def decayed(self) -> list[tf.Variable]:
        """Variables under weight decay: trainable ones that are not batch norms'."""
        return [variable for name, variable in self.trainable.items() if decays(name)]

    def named_variables(self) -> dict[str, tf.Variable]:
        """Everything that a checkpoint holds, by the release's names."""
        named = {**self.model.named_variables(), STEP_NAME: self.step}
        for suffix, group in (
            (AVERAGE_SUFFIX, self.averages),
            (SQUARES_SUFFIX, self.squares),
            (MOMENTUM_SUFFIX, self.momenta),
        ):
            named.update((name + suffix, variable) for name, variable in group.items())
        return named

    def restart_from_weights(self) -> None:
        """After the weights were set from elsewhere: averages equal them again, slots are fresh."""
        named = self.model.named_variables()
        for name, average in self.averages.items():
            average.assign(named[name])
        for squares in self.squares.values():
            squares.assign(tf.ones_like(squares))
        for momentum in self.momenta.values():
            momentum.assign(tf.zeros_like(momentum))

    def copy_averages_to(self, model: EfficientNet) -> None:
        """Gives `model`, a network of the same config, the averages (raw values where a variable has none)."""
        targets = model.named_variables()
        for name, variable in self.model.named_variables().items():
            targets[name].assign(self.averages.get(name, variable))


def decays(name: str) -> bool:
    """Whether weight decay applies to the variable of that name."""
    return "batch_normalization" not in name


def variable_id(variable: tf.Variable) -> int:
    """Identity of a variable, also behind Keras's mixed-precision wrapper."""
    return id(getattr(variable, "_variable", variable))


def _slot(initial: tf.Tensor) -> tf.Variable:
    # All of one name: TensorFlow makes a variable of a new name in 1 ms, one whose name and shape it knows in 0.3.
    return tf.Variable(initial, trainable=False, dtype=tf.float32, name="slot")
