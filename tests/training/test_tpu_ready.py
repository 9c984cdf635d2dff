"""What a TPU asks of a step: XLA compiles it, shapes are static, nothing calls the host, and a run traces it once.

Every variant is lowered at a tenth of its width and with one stage of two blocks; NOISY_STUDENT_DEPTH=1 lowers all of their
blocks (minutes). Lowering is what rejects an operation; the machine code behind it is made for one variant only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

import numpy as np
import pytest
import tensorflow as tf

from data.config import AugmentConfig, DataConfig, SplitConfig, TeacherNoise
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.shards import find_shards
from data.streams import prediction, segments
from data.streams.evaluation import evaluation_stream
from data.streams.training import LABELED_PATTERN, UNLABELED_PATTERN, training_stream
from data.tasks import load_task
from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet
from efficientnet.variants import VARIANTS, ModelConfig
from evaluation.accuracy import Evaluator
from pseudo_label.config import PredictConfig
from pseudo_label.predict import run
from runtime.config import DeviceConfig
from training import trainer
from training.config import OptimizerConfig, TrainConfig
from training.state import TrainingState
from training.step import TrainingStep

WIDTH = 0.1
DEPTH = os.environ.get("NOISY_STUDENT_DEPTH", "")
TWO_BLOCKS = 0.26  # the least depth at which a stage, of four blocks with b0, has a second one
PIXELS, TEACHER_PIXELS, CLASSES, BATCH, UNLABELED = 32, 40, 10, 2, 3
# Parts of operations' names that need the host, Python, or a shape that is known only when it runs.
FORBIDDEN = (
    "PyFunc", "Print", "Assert", "String", "Decode", "Encode", "Summary", "Iterator", "TensorArray", "File", "Unique",
    "NonZero", "Where", "RandomUniformInt", "HostCompute", "OutsideCompilation",
)  # fmt: skip
STATELESS = "Stateless"


class Kind(NamedTuple):
    """A training: where its unlabeled images' labels come from, and at which temperature."""

    online: bool
    ratio: float
    temperature: float
    ablated: bool = False  # unlabeled images without noise, a teacher with it


KINDS = {
    "supervised": Kind(False, 0.0, -1.0),
    "offline": Kind(False, 1.5, 0.5),
    "online": Kind(True, 1.5, -1.0),
    "ablated": Kind(True, 1.5, -1.0, ablated=True),
}


def small(name: str) -> ModelConfig:
    """The variant with its own dropout and stochastic depth, and proportions of its own."""
    variant = VARIANTS[name]
    depth = float(DEPTH) * variant.depth if DEPTH else TWO_BLOCKS
    return ModelConfig(name, CLASSES, width_coefficient=WIDTH * variant.width, depth_coefficient=depth)


def training_step(config: ModelConfig, kind: Kind) -> TrainingStep:
    teacher: Optional[EfficientNet] = None
    if kind.online:
        teacher = EfficientNet(config)
        teacher.trainable = False
    optimizer = OptimizerConfig(
        10, BATCH, 20, unlabel_ratio=kind.ratio, teacher_softmax_temp=kind.temperature, label_data_sample_prob=0.9
    )
    return TrainingStep(
        TrainingState(EfficientNet(config)),
        optimizer,
        teacher=teacher,
        unlabeled_dropout=not kind.ablated,
        unlabeled_stochastic_depth=not kind.ablated,
        noise_teacher=kind.ablated,
    )


def training_batch(kind: Kind) -> dict[str, dict[str, tf.Tensor]]:
    generator = np.random.default_rng(0)

    def images(count: int, pixels: int) -> tf.Tensor:
        return tf.constant(generator.integers(0, 256, [count, pixels, pixels, 3]).astype(np.float32))

    labels = tf.constant(generator.integers(0, CLASSES, [BATCH]), tf.int32)
    batch = {"labeled": {"image": images(BATCH, PIXELS), "label": labels}}
    if kind.ratio:
        unlabeled = {"image": images(UNLABELED, PIXELS)}
        if kind.online:
            unlabeled["teacher_image"] = images(UNLABELED, TEACHER_PIXELS)
        else:
            unlabeled["probabilities"] = tf.fill([UNLABELED, CLASSES], 1.0 / CLASSES)
            unlabeled["label"] = tf.constant(generator.integers(0, CLASSES, [UNLABELED]), tf.int32)
        batch["unlabeled"] = unlabeled
    return batch


def compiled(function: Any) -> Any:
    return tf.function(function, autograph=False, jit_compile=True)


def operations(function: tf.types.experimental.ConcreteFunction) -> Iterator[Any]:
    """Every operation of a function and of the functions that it calls."""
    yield from function.graph.get_operations()
    for definition in function.graph.as_graph_def().library.function:
        yield from definition.node_def


def is_scratch(tensor: tf.Tensor) -> bool:
    """Whether it is what a fused batch norm keeps for its gradient on a GPU, or that one's own gradient; empty elsewhere."""
    if tensor.op.type == "ZerosLike":
        tensor = tensor.op.inputs[0]
    return tensor.op.type == "FusedBatchNormV3" and tensor.value_index == 5


def check(function: Any, *arguments: Any) -> None:
    """Static shapes, no host operation, and XLA lowers it."""
    concrete = function.get_concrete_function(*arguments)
    for operation in concrete.graph.get_operations():
        for output in operation.outputs:
            assert output.dtype == tf.resource or output.shape.is_fully_defined() or is_scratch(output), operation
    kinds = {getattr(operation, "type", None) or operation.op for operation in operations(concrete)}
    found = sorted(kind for kind in kinds if STATELESS not in kind and any(part in kind for part in FORBIDDEN))
    assert not found
    hlo = function.experimental_get_compiler_ir(*arguments)(stage="hlo")
    assert hlo.startswith("HloModule")
    assert "custom-call" not in hlo


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_lowers(name):
    step = training_step(small(name), KINDS["offline"])
    check(compiled(step.__call__), training_batch(KINDS["offline"]))
    model = step.state.model
    images = tf.zeros([BATCH, PIXELS, PIXELS, 3])
    check(compiled(lambda batch: tf.nn.softmax(model(batch))), images)
    evaluation = {"image": images, "label": tf.zeros([BATCH], tf.int32), "weight": tf.ones([BATCH])}
    check(compiled(Evaluator(model, tf.distribute.get_strategy())._distributed_step), evaluation)


@pytest.mark.parametrize("kind", ["supervised", "online", "ablated"])
def test_every_kind_of_training_step_lowers(kind):
    check(compiled(training_step(small("efficientnet-b0"), KINDS[kind]).__call__), training_batch(KINDS[kind]))


def test_a_noised_prediction_lowers():
    model = EfficientNet(small("efficientnet-b0"))

    def predicted(batch: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(model(batch, forward=ForwardPass(draws=draws, moving_statistics=True)))

    check(compiled(predicted), tf.zeros([BATCH, PIXELS, PIXELS, 3]), tf.zeros([BATCH, model.num_draws]))


def test_xla_compiles_a_step_and_it_trains():
    kind = KINDS["online"]
    step = training_step(small("efficientnet-b0"), kind)
    function = compiled(step.__call__)
    for _ in range(2):
        metrics = function(training_batch(kind))
    assert sorted(metrics) == sorted(step.metric_names)
    assert all(np.isfinite(value.numpy()) for value in metrics.values())
    assert int(step.state.step) == 2
    assert function.experimental_get_tracing_count() == 1


def test_xla_computes_what_the_other_engine_computes():
    model = EfficientNet(small("efficientnet-b0"))
    images = training_batch(KINDS["supervised"])["labeled"]["image"]
    np.testing.assert_allclose(compiled(model)(images), model(images), rtol=1e-4, atol=1e-5)


# --- a whole run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("digits"))
    prepare(PrepareConfig("digits", folder, 20, num_test_images=21, num_shards=2))
    return folder


def training_config(data_dir: str, model_dir: str) -> TrainConfig:
    task = load_task("digits", data_dir)
    data = DataConfig(
        task, os.path.join(data_dir, "labeled"), image_size=16, small_image_model=True, augment=AugmentConfig(False)
    )
    model = ModelConfig("efficientnet-b0", 10, task.mean, task.std, True, width_coefficient=0.1, depth_coefficient=0.1)
    return TrainConfig(
        "traced",
        model,
        data,
        OptimizerConfig(8, 8, 20, base_learning_rate=0.1),
        model_dir,
        DeviceConfig(use_tpu=False),
        evaluation=SplitConfig(task, data.label_data_dir),
        steps_per_eval=4,
        save_checkpoints_steps=3,
        log_step_count_steps=2,
    )


class Counter:
    """Counts the calls of a method, each of which is a trace when only compiled code calls it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str):
        self.calls = 0
        method = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            return method(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)


def test_a_run_traces_each_step_once(data_dir, tmp_path, monkeypatch):
    config = training_config(data_dir, str(tmp_path / "model"))
    steps = Counter(monkeypatch, TrainingStep, "__call__")
    evaluations = Counter(monkeypatch, Evaluator, "_count")
    result = trainer.train(config)
    assert result is not None
    assert result["num_images"] == 21  # in batches of 8, so that the last one is short
    assert (steps.calls, evaluations.calls) == (1, 1)
    networks = []
    call = EfficientNet.call

    def counted(self: EfficientNet, images: tf.Tensor, forward: Any = None) -> tf.Tensor:  # Keras reads the signature
        networks.append(self)
        return call(self, images, forward)

    monkeypatch.setattr(EfficientNet, "call", counted)
    predicting = PredictConfig(
        "traced",
        config.model,
        config.model_dir,
        os.path.join(data_dir, "unlabeled"),
        str(tmp_path / "predictions"),
        16,
        num_shards=2,
        shard_ids=None,
        batch_size=7,
        samples_per_class=0,
        device=DeviceConfig(use_tpu=False),
    )
    summary = run.predict(predicting)
    assert summary.images % 7
    assert len(networks) == 1


def test_every_stream_has_static_shapes(data_dir):
    data = training_config(data_dir, "").data
    labeled = find_shards(data.label_data_dir, LABELED_PATTERN, "label_data_dir")
    unlabeled = find_shards(os.path.join(data_dir, "unlabeled"), UNLABELED_PATTERN, "unlabel_data_dir")
    found = [
        training_stream(data, 8, 0, 1, segments.Segments(0, 3)),
        evaluation_stream(labeled, 10, 16, True, 8),
        prediction.prediction_stream(unlabeled, 16, True, 8, (0, 1)),
        prediction.prediction_stream(
            unlabeled, 16, True, 8, (0, 1), noise=TeacherNoise(AugmentConfig(), True, 0), num_draws=5
        ),
    ]
    for stream in found:
        for spec in tf.nest.flatten(stream.element_spec):
            assert spec.shape.is_fully_defined(), spec
