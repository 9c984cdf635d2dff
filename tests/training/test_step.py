from __future__ import annotations

import os
from typing import Any, Optional

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.layers import BatchNormalization
from efficientnet.model import EfficientNet
from tests.efficientnet.tiny import NUM_CLASSES, images, tiny
from tests.golden.compare import compare
from training.config import OptimizerConfig
from training.state import TrainingState
from training.step import TrainingStep

RUNS = os.path.join(os.path.dirname(__file__), os.pardir, "golden", "trajectory")
LABELED, UNLABELED = 4, 6


@pytest.mark.parametrize("run", ["hard_offline", "soft_offline", "online_teacher"])
def test_a_run_of_the_release_is_replayed(run: str) -> None:
    """Twenty steps of the release: losses, rates, final weights, averages and slots."""
    result = compare(os.path.join(RUNS, f"{run}.npz"))
    assert result["ok"], result
    assert {"learning_rate", "labeled_loss", "unlabeled_loss", "data_loss", "loss"} <= set(result["deviations"])
    assert {"final_weights", "final_averages", "final_slots"} <= set(result["deviations"])
    assert "not_compared" not in result


# --- one step of a tiny network -------------------------------------------------------------------------------------


def _config(**changes: Any) -> OptimizerConfig:
    values: dict[str, Any] = {"train_steps": 100, "train_batch_size": LABELED, "num_train_images": LABELED, **changes}
    return OptimizerConfig(**{"base_learning_rate": 0.5, **values})


def _batch(unlabeled: bool = True) -> dict[str, dict[str, Any]]:
    generator = np.random.default_rng(1)
    batch = {"labeled": {"image": images(LABELED), "label": np.arange(LABELED, dtype=np.int32)}}
    if unlabeled:
        probabilities = generator.dirichlet(np.ones(NUM_CLASSES), UNLABELED).astype(np.float32)
        batch["unlabeled"] = {
            "image": images(UNLABELED, seed=1),
            "label": np.argmax(probabilities, -1).astype(np.int32),
            "probabilities": probabilities,
            "teacher_image": images(UNLABELED, size=24, seed=2),
        }
    return tf.nest.map_structure(tf.constant, batch)


def _step(
    config: OptimizerConfig,
    *,
    seed: int = 0,
    teacher: Optional[EfficientNet] = None,
    bfloat16: bool = False,
    switches: Optional[dict[str, Any]] = None,
    **overrides: Any,
) -> tuple[TrainingStep, TrainingState]:
    quiet = {"dropout_rate": 0.0, "stochastic_depth_rate": 0.0}
    state = TrainingState(EfficientNet(tiny(**{**quiet, **overrides}), bfloat16=bfloat16))
    state.step.assign(6)  # behind the warm-up, so that weights move
    return TrainingStep(state, config, seed=seed, teacher=teacher, **(switches or {})), state


def _metrics(step: TrainingStep, batch: dict[str, Any]) -> dict[str, float]:
    """One step's metrics; eager, which takes less time than compiling."""
    return {name: float(value) for name, value in step(batch).items()}


def test_a_step_compiles_with_xla() -> None:
    """What a TPU asks for: static shapes and XLA's own ops throughout, all noise on. As far as XLA's own language: making
    machine code of it takes a CPU a minute."""
    step, _ = _step(
        _config(unlabel_ratio=1.5, teacher_softmax_temp=1.0, label_data_sample_prob=0.9),
        bfloat16=True,
        dropout_rate=0.3,
        stochastic_depth_rate=0.5,
    )
    compiled = tf.function(step, jit_compile=True, autograph=False)
    text = compiled.experimental_get_compiler_ir(_batch())(stage="hlo")
    assert "bf16[10,8,8,8]" in text
    assert "<=" not in text  # a dynamic dimension


def test_a_bfloat16_step_keeps_float32_variables_and_metrics() -> None:
    step, state = _step(_config(unlabel_ratio=1.5, teacher_softmax_temp=1.0), bfloat16=True)
    exact, _ = _step(_config(unlabel_ratio=1.5, teacher_softmax_temp=1.0))
    metrics, expected = step(_batch()), exact(_batch())
    assert all(value.dtype == tf.float32 for value in metrics.values())
    assert float(metrics["data_loss"]) == pytest.approx(float(expected["data_loss"]), rel=0.05)
    assert {variable.dtype for variable in state.named_variables().values()} == {tf.float32, tf.int64}
    assert int(state.step) == 7


def test_the_parts_of_the_loss_add_up() -> None:
    config = _config(unlabel_ratio=1.5, weight_decay=0.01)
    step, state = _step(config)
    weights = [value.numpy() for value in state.decayed()]
    metrics = _metrics(step, _batch())
    assert metrics["data_loss"] == pytest.approx(metrics["labeled_loss"] + 1.5 * metrics["unlabeled_loss"], rel=1e-6)
    decay = 0.01 * sum(np.sum(np.square(value, dtype=np.float64)) / 2 for value in weights)
    assert metrics["loss"] == pytest.approx(metrics["data_loss"] + decay, rel=1e-5)


def test_without_unlabeled_images_the_labeled_loss_is_the_loss() -> None:
    step, _ = _step(_config(weight_decay=0.0))
    metrics = _metrics(step, _batch(unlabeled=False))
    assert metrics["loss"] == metrics["data_loss"] == metrics["labeled_loss"]
    assert set(metrics) == set(step.metric_names)
    assert "unlabeled_loss" not in metrics


@pytest.mark.parametrize("temperature", [-1.0, 0.5])
def test_an_online_teacher_is_worth_its_stored_predictions(temperature: float) -> None:
    """The offline loss with the teacher's own soft labels, its images evaluated at its own size, is the online one."""
    config = _config(unlabel_ratio=1.5, teacher_softmax_temp=temperature)
    teacher = EfficientNet(tiny(name="efficientnet-b1"), seed=9)
    teacher.named_variables()["efficientnet-b1/head/dense/kernel"].assign(
        10 * teacher.named_variables()["efficientnet-b1/head/dense/kernel"]
    )
    batch = _batch()
    predictions = tf.nn.softmax(teacher(batch["unlabeled"]["teacher_image"]))
    stored = {**batch["unlabeled"], "probabilities": predictions, "label": tf.argmax(predictions, -1, tf.int32)}
    online, _ = _step(config, teacher=teacher)
    offline, _ = _step(config)
    ignored = {
        **batch["unlabeled"],
        "probabilities": tf.zeros_like(predictions),
        "label": tf.zeros([UNLABELED], tf.int32),
    }
    expected = _metrics(offline, {**batch, "unlabeled": stored})
    assert _metrics(online, {**batch, "unlabeled": ignored}) == pytest.approx(expected, rel=1e-5)
    assert len(set(np.argmax(predictions, -1))) > 1


def test_a_step_moves_everything_but_what_is_frozen() -> None:
    step, state = _step(_config(), fix_layer_num=2)
    before = {name: variable.numpy() for name, variable in state.named_variables().items()}
    step(_batch(unlabeled=False))
    changed = {name for name, variable in state.named_variables().items() if np.any(variable.numpy() != before[name])}
    root = "efficientnet-b0/"
    frozen = (root + "stem/", root + "blocks_0/", root + "blocks_1/")
    assert not [name for name in changed if name.startswith(frozen)]
    weights = [name for name in state.model.named_variables() if not name.startswith(frozen)]
    assert [name for name in weights if name not in changed] == []


def test_batch_statistics_are_of_labeled_and_unlabeled_images_together() -> None:
    """At the stem, whose kernel has not moved yet: the moving mean takes a hundredth of the joint batch's mean."""
    step, state = _step(_config(unlabel_ratio=1.5))
    batch = _batch()
    joint = tf.concat([batch["labeled"]["image"], batch["unlabeled"]["image"]], 0)
    mean = np.array(state.model.config.mean) * 255
    std = np.array(state.model.config.std) * 255
    features = state.model.stem.convolution(((joint - mean) / std).numpy().astype(np.float32)).numpy()
    step(batch)
    moving = state.model.named_variables()["efficientnet-b0/stem/tpu_batch_normalization/moving_mean"]
    np.testing.assert_allclose(moving, 0.01 * features.mean((0, 1, 2)), atol=1e-5)


def test_noise_follows_from_seed_and_step() -> None:
    def losses(seed: int) -> list[float]:
        step, state = _step(_config(base_learning_rate=1e-9), seed=seed, dropout_rate=0.5, stochastic_depth_rate=0.9)
        first, second = (_metrics(step, _batch(unlabeled=False))["labeled_loss"] for _ in range(2))
        state.step.assign(6)
        return [first, second, _metrics(step, _batch(unlabeled=False))["labeled_loss"]]

    first, second, again = losses(3)
    assert first != second
    assert again == pytest.approx(first, rel=1e-4)
    assert losses(4)[0] != pytest.approx(first, rel=1e-4)


def test_masked_labels_leave_some_of_the_loss_out() -> None:
    """Over many steps each example counts about as often as `label_data_sample_prob` says: the mean loss stays."""
    whole, _ = _step(_config(base_learning_rate=1e-9))
    expected = _metrics(whole, _batch(unlabeled=False))["labeled_loss"]
    masked, _ = _step(_config(base_learning_rate=1e-9, label_data_sample_prob=0.5))
    compiled = tf.function(masked, autograph=False)
    values = [float(compiled(_batch(unlabeled=False))["labeled_loss"]) for _ in range(30)]
    assert len({round(value, 3) for value in values}) > 3
    assert np.mean(values) == pytest.approx(expected, rel=0.3)


# --- whose noise ----------------------------------------------------------------------------------------------------

NOISY = {"depth_coefficient": 0.5, "dropout_rate": 0.0, "stochastic_depth_rate": 0.0}


def _logits(monkeypatch: pytest.MonkeyPatch, seed: int, switches: dict[str, Any], **noise: Any) -> np.ndarray:
    """What one step's forward pass gives, its batch norms frozen so that no row sees another's noise."""
    monkeypatch.setattr(BatchNormalization, "trainable", False)
    step, _ = _step(
        _config(unlabel_ratio=1.5, teacher_softmax_temp=1.0), seed=seed, switches=switches, **{**NOISY, **noise}
    )
    found: list[np.ndarray] = []
    losses_of = step._losses

    def losses_and_logits(logits: tf.Tensor, *rest: Any) -> Any:
        found.append(logits.numpy())
        return losses_of(logits, *rest)

    monkeypatch.setattr(step, "_losses", losses_and_logits)
    with monkeypatch.context() as patch:
        patch.setattr("training.step.apply_update", lambda *_: None)
        step(_batch())
    return found[0]


@pytest.mark.parametrize(
    ("switch", "noise"),
    [("unlabeled_dropout", {"dropout_rate": 0.5}), ("unlabeled_stochastic_depth", {"stochastic_depth_rate": 0.9})],
)
def test_a_noise_is_taken_from_the_unlabeled_images_alone(
    monkeypatch: pytest.MonkeyPatch, switch: str, noise: dict[str, float]
) -> None:
    """Without it an unlabeled row is what it is without any noise, whatever the seed; a labeled row follows the seed."""
    quiet = _logits(monkeypatch, 0, {})
    noised = np.stack([_logits(monkeypatch, seed, {}, **noise) for seed in range(4)])
    spared = np.stack([_logits(monkeypatch, seed, {switch: False}, **noise) for seed in range(4)])
    np.testing.assert_allclose(
        spared[:, LABELED:], np.broadcast_to(quiet[LABELED:], spared[:, LABELED:].shape), rtol=1e-5
    )
    np.testing.assert_allclose(spared[:, :LABELED], noised[:, :LABELED], rtol=1e-5)
    assert np.all(noised.std(0).max(-1) > 1e-4)
    other = {"unlabeled_dropout", "unlabeled_stochastic_depth"} - {switch}
    np.testing.assert_array_equal(_logits(monkeypatch, 3, dict.fromkeys(other, False), **noise), noised[3])


def test_an_online_teacher_is_noised_on_request_anew_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny(depth_coefficient=0.5, dropout_rate=0.5, stochastic_depth_rate=0.9)
    teacher = EfficientNet(network, seed=5)
    teacher.trainable = False
    batch = _batch()
    quiet = teacher(batch["unlabeled"]["teacher_image"]).numpy()

    def labels(step_number: int, noise_teacher: bool) -> np.ndarray:
        step, state = _step(_config(unlabel_ratio=1.5), teacher=teacher, switches={"noise_teacher": noise_teacher})
        state.step.assign(step_number)
        found: list[np.ndarray] = []
        monkeypatch.setattr(step, "_losses", lambda _, __, teacher_logits, ___: found.append(teacher_logits.numpy()))
        with pytest.raises(TypeError):  # no losses, no step
            step(batch)
        return found[0]

    np.testing.assert_array_equal(labels(6, False), quiet)
    first, second = labels(6, True), labels(7, True)
    assert np.all(np.abs(first - quiet).max(-1) > 1e-4)
    assert np.all(np.abs(first - second).max(-1) > 1e-4)
    np.testing.assert_array_equal(labels(6, True), first)
    assert teacher.trainable_variables == []
