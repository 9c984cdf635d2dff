"""Which devices a run uses: TPU, GPUs, several workers, or the one device there is; on TensorFlow's own engine."""

from __future__ import annotations

import json
import logging
import os
from typing import Optional

import tensorflow as tf

from runtime.config import DeviceConfig
from runtime.errors import UserError, reason
from runtime.workers import Pipeline

CLUSTER = "TF_CONFIG"
# What TensorFlow does with a graph that on a CPU changes next to nothing of a step's 3,300 operations and takes 0.3 s.
PASSES_WITHOUT_USE = ("layout_optimizer", "constant_folding", "loop_optimization")


def make_strategy(config: DeviceConfig, *, local: bool = False) -> tf.distribute.Strategy:
    """TPUStrategy with `use_tpu` where there is a TPU, MultiWorkerMirroredStrategy under TF_CONFIG, MirroredStrategy on
    several GPUs, the default strategy otherwise.

    Args:
      config: which devices.
      local: use this process's devices alone, also under TF_CONFIG, whose processes then need not wait for one another.

    Raises:
      UserError: a TPU was named (`--tpu`) and cannot be reached, a TF_CONFIG that cannot be understood.
    """
    if config.use_tpu:
        strategy = _tpu_strategy(config)
        if strategy is not None:
            return strategy
    if not local and place_in_cluster().count > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if not has_accelerator():
        tf.config.optimizer.set_experimental_options(dict.fromkeys(PASSES_WITHOUT_USE, False))
    devices = tf.config.list_logical_devices("GPU")
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def place_in_cluster() -> Pipeline:
    """Which of the processes named in TF_CONFIG this one is: chief first, then the workers; the only one without TF_CONFIG.

    Raises:
      UserError: a TF_CONFIG that is not JSON or does not say which process this is.
    """
    text = os.environ.get(CLUSTER) or "{}"
    try:
        described = json.loads(text)
        cluster, task = described.get("cluster", {}), described.get("task", {})
        processes = [(kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, [])))]
        if len(processes) <= 1:
            return Pipeline()
        return Pipeline(processes.index((task["type"], int(task["index"]))), len(processes))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{CLUSTER}: got {text}, expected {{"cluster": {{"worker": ["HOST:PORT", ...]}}, "task": {{"type": "worker", '
            '"index": N}} with one of the workers listed'
        ) from error


def lost_worker(error: tf.errors.OpError) -> Optional[UserError]:
    """The one line for an error that comes from another process of the cluster that is gone; None for any other."""
    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    if place_in_cluster().count == 1 or not isinstance(error, gone):
        return None
    return UserError(
        f"{CLUSTER}: another worker is gone ({reason(error)}); start all workers again with the same command: they continue "
        "from the newest checkpoint"
    )


def _tpu_strategy(config: DeviceConfig) -> Optional[tf.distribute.Strategy]:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=config.tpu, zone=config.tpu_zone or None, project=config.gcp_project or None
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # every way in which a TPU can be absent has its own exception type
        if config.tpu:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"--tpu: cannot reach {config.tpu!r}: {reason}; check the name, --tpu_zone and --gcp_project, or pass "
                "--use_tpu=False"
            ) from error
        logging.warning("--use_tpu: no TPU found, running on %s", _describe_devices())
        return None


def _describe_devices() -> str:
    gpus = len(tf.config.list_logical_devices("GPU"))
    return f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else "the CPU"


def has_accelerator() -> bool:
    """Whether there is a GPU or a TPU."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def kind(tpu: str = "") -> str:
    """What does the work: `tpu` (named, or of this machine), `gpu`, or `cpu`."""
    if tpu or os.environ.get("TPU_NAME") or os.path.exists("/dev/accel0"):
        return "tpu"
    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def on_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether all work of this process is done by its processor."""
    return not has_accelerator() and strategy.num_replicas_in_sync == 1


def uses_bfloat16(config: DeviceConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether activations are bfloat16: as flagged, and by default where the hardware has it (TPU, GPU)."""
    if config.use_bfloat16 is not None:
        return config.use_bfloat16
    return isinstance(strategy, tf.distribute.TPUStrategy) or bool(tf.config.list_logical_devices("GPU"))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes checkpoints and reports."""
    resolver = strategy.cluster_resolver
    if resolver is None or isinstance(strategy, tf.distribute.TPUStrategy):
        return True
    return not resolver.task_type or (resolver.task_type in ("chief", "worker") and resolver.task_id == 0)


def pipeline_of(context: Optional[tf.distribute.InputContext]) -> Pipeline:
    """This input pipeline's share of the data."""
    if context is None:
        return Pipeline()
    return Pipeline(context.input_pipeline_id, context.num_input_pipelines)
