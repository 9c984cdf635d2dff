"""Compares FGSM and PGD with pictures that a plain loop, a second network and another library gave.

The network is that of `trajectory/soft_offline.npz` beside the file, after its last step. The content, of B pictures:

- `image` uint8 [B, H, W, 3] and `label` [B], the true classes, which the attacks lead away from.
- `<kind>/clean/logits` and `<kind>/clean/gradient`: of the cross entropy by the pixels.
- `<kind>/fgsm/eps<e>/image` and `.../logits`; `<kind>/pgd<steps>/eps<e>_step<s>/image` and `.../logits`: without a random start.
- `<kind>/variables/<variable>`: what this kind has in place of the network's own variables. Kind `ema` has the averages, any
  other the weights.
- `weights/<variable>`: in a file that `tests.golden.reduce_attacks` made, the network's variables.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from checkpoints.names import AVERAGE_SUFFIX
from efficientnet.model import EfficientNet
from evaluation.robustness.attacks import fgsm, in_range, loss_gradient, pgd, signs
from runtime.errors import UserError
from tests.golden.checks import Checks
from tests.golden.compare_trajectory import _assign, train_config

Arrays = Mapping[str, np.ndarray]

RUN = os.path.join("trajectory", "soft_offline.npz")
GRADIENT_TOLERANCE = 1e-4  # of the picture's largest
FGSM_SHARE = 1e-4  # of the values of all pictures
PGD_SHARE = 1e-3  # of the values of a picture
# Of the pictures, may be further away. A real gradient makes PGD chaotic: one sign that turns changes all that follow.
CHAOTIC_PICTURES = 2 / 16
LOGITS_TOLERANCE = 1e-5
CHAOTIC_LOGITS_TOLERANCE = 1e-3  # of the largest logit
_ATTACK = re.compile(r"(fgsm|pgd(?P<steps>\d+))/eps(?P<epsilon>[\d.]+)(_step(?P<step>[\d.]+))?")


def compare_attacks(content: Arrays, run: Arrays) -> dict[str, Any]:
    """Compares every attack of a file.

    Args:
      content: of the file.
      run: of `RUN`, for its flags, and for its `final/<variable>` if the file has no weights.

    Raises:
      UserError: a name that is none of these, no weights, another network's weights.
    """
    checks = Checks()
    with tempfile.TemporaryDirectory() as scratch:
        network = EfficientNet(train_config(dict(run), scratch, scratch).model)
    attacked = Attacked(network, content["image"], content["label"])
    for kind in sorted({name.split("/")[0] for name in content if name.endswith("/clean/gradient")}):
        set_weights(network, kind, content, run)
        chaotic = any(name.startswith(f"{kind}/variables/") for name in content)
        for name in [name for name in content if name.startswith(f"{kind}/") and name.endswith("/logits")]:
            _compare(attacked, content, name[: -len("/logits")], chaotic, checks)
    return checks.report()


def set_weights(network: EfficientNet, kind: str, content: Arrays, run: Arrays) -> None:
    """Gives the network a kind's weights."""
    for name, variable in network.named_variables().items():
        candidates = [content.get(f"{kind}/variables/{name}"), content.get(f"weights/{name}"), run.get(f"final/{name}")]
        if kind == "ema":
            candidates.insert(0, run.get(f"final/{name}{AVERAGE_SUFFIX}"))
        value = next((value for value in candidates if value is not None), None)
        if value is None:
            raise UserError(f"got no weights: neither weights/{name} in the file nor final/{name} in {RUN} beside it")
        _assign(variable, value, name)


class Attacked:
    """A network on a file's pictures; each function is traced once for whatever weights the network is given in turn."""

    def __init__(self, network: EfficientNet, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = in_range(tf.constant(images)), tf.constant(labels, tf.int32)
        self.logits = tf.function(network, autograph=False)
        self.gradient = tf.function(lambda: loss_gradient(network, self.images, self.labels), autograph=False)
        self._pgd = tf.function(
            lambda epsilon, step, steps: pgd(network, self.images, self.labels, epsilon, steps=steps, step_size=step)[
                0
            ],
            autograph=False,
        )

    def fgsm(self, epsilon: float) -> np.ndarray:
        """float32 [B, H, W, 3]."""
        return fgsm(self.images, signs(self.gradient())[0], tf.constant(epsilon)).numpy()

    def pgd(self, epsilon: float, step: Optional[float], steps: int) -> np.ndarray:
        """float32 [B, H, W, 3]; without a random start."""
        return self._pgd(tf.constant(epsilon), None if step is None else tf.constant(step), steps).numpy()


def _compare(attacked: Attacked, content: Arrays, key: str, chaotic: bool, checks: Checks) -> None:
    """One attack's pictures, and the logits at the stored ones."""
    kind, attack = key.split("/", 1)
    images = content["image"] if attack == "clean" else content[f"{key}/image"]
    reference = content[f"{key}/logits"]
    tolerance = CHAOTIC_LOGITS_TOLERANCE * float(np.abs(reference).max()) if chaotic else LOGITS_TOLERANCE
    logits = attacked.logits(tf.constant(images, tf.float32)).numpy()
    checks.absolute(f"{kind}: logits of {attack}", logits, reference, tolerance, key)
    if attack == "clean":
        _compare_gradient(attacked.gradient().numpy(), content[f"{key}/gradient"], f"{key}/gradient", checks)
        return
    match = _ATTACK.fullmatch(attack)
    if not match:
        raise UserError(f"got the name {key!r}, expected <kind>/fgsm/eps<e> or <kind>/pgd<steps>/eps<e>_step<s>")
    epsilon = float(match["epsilon"])
    if match["steps"] is None:
        share = np.mean(attacked.fgsm(epsilon) != images)
        checks.add(f"{kind}: FGSM: share of values", float(share), FGSM_SHARE, key)
        return
    ours = attacked.pgd(epsilon, float(match["step"]) if match["step"] else None, int(match["steps"]))
    differing = np.mean(ours != images, axis=(1, 2, 3)) > PGD_SHARE
    checks.add(f"{kind}: PGD: share of pictures", float(differing.mean()), CHAOTIC_PICTURES if chaotic else 0.0, key)


def _compare_gradient(ours: np.ndarray, reference: np.ndarray, key: str, checks: Checks) -> None:
    largest = np.abs(reference).max(axis=(1, 2, 3), keepdims=True)
    kind = key.split("/")[0]
    checks.absolute(f"{kind}: gradient", ours / largest, reference / largest, GRADIENT_TOLERANCE, key)
