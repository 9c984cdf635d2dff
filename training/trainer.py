"""Training, and evaluation as it goes on: `--mode=train`, `train_and_eval`, and every network of `iterate`."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

import tensorflow as tf

from checkpoints import description, writing
from checkpoints.reading import load_weights
from data.config import SplitConfig
from data.fast import Fast
from data.streams import faults, one_colour
from data.streams.evaluation import count_labels
from data.streams.reading import unreadable_records
from data.streams.segments import CACHE_LIMIT, Segments
from data.streams.training import training_files, training_stream
from data.streams.unreadable import Unreadable
from efficientnet.model import EfficientNet
from evaluation.run import SplitAccuracy, in_words, split_files, split_ops, write_evaluation
from runtime import devices as strategies
from runtime import signals
from runtime.errors import UserError
from runtime.files import remove_unfinished, write_faults
from runtime.progress import progress
from training import batch_norm_groups, profiling, saving
from training import loop as loops
from training import step as training_step
from training.config import TrainConfig
from training.metrics import MetricsLog
from training.state import TrainingState
from training.step import TrainingStep


def train(
    config: TrainConfig, fast: Fast = Fast(), paced: Callable[[float], None] = lambda seconds: None
) -> Optional[dict[str, Any]]:
    """Trains, and evaluates as it goes on if `config` says so; continues from the model_dir's newest checkpoint.

    Args:
      config: what to do.
      fast: the fast ways, if they are there.
      paced: is told, once, how many seconds a step takes.

    Returns:
      the last evaluation (see `SplitAccuracy`); None without one.

    Raises:
      UserError: bad data, a checkpoint of another network, a loss that is not a number.
    """
    strategy = strategies.make_strategy(config.device)
    with strategy.scope():
        trainer = Trainer(config, strategy, fast, paced)
    trainer.train()
    return trainer.last_evaluation


class Trainer:
    """One network's training on one strategy. Make it inside the strategy's scope."""

    def __init__(
        self,
        config: TrainConfig,
        strategy: tf.distribute.Strategy,
        fast: Fast = Fast(),
        paced: Callable[[float], None] = lambda seconds: None,
    ):
        self.config = config
        self._paced = paced
        self.fast = fast
        self.strategy = strategy
        self.chief = strategies.is_chief(strategy)
        self.bfloat16 = strategies.uses_bfloat16(config.device, strategy)
        self.model = EfficientNet(config.model, seed=config.data.seed, bfloat16=self.bfloat16, ops=fast.training())
        self.state = TrainingState(self.model)
        self._skipped: list[Unreadable] = []
        self._class_counts: Optional[list[int]] = None
        self.last_evaluation: Optional[dict[str, Any]] = None
        self._accuracy: Optional[SplitAccuracy] = None
        self._start()

    # --- starting -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        config = self.config
        newest = writing.latest(config.model_dir)
        if newest:
            saving.restore(self.state, newest)
        elif config.init_path:
            load_weights(
                self.model,
                config.init_path,
                "init_model_path",
                use_averages=config.use_averages,
                reset_head=config.reset_head,
            )
            self.state.restart_from_weights()

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.state.step.numpy())

    # --- training -------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Trains up to the last step; says so and does nothing where that is reached already."""
        config, last = self.config, self.config.optimizer.steps_to_train
        if self.step >= last:
            print(f"{config.title}: {config.model_dir} has all {last} steps already, nothing to train")
            if config.evaluation:
                self.evaluate(config.evaluation)
            return
        if config.evaluation:
            split_files(config.evaluation)  # must be there before hours are spent
        optimizer = self._count_train_images()
        if self.chief:
            with write_faults(config.model_dir, "model_dir"):
                remove_unfinished(config.model_dir)
                if self.step:
                    description.check_classes(config.model_dir, config.data.task)
                description.write_description(
                    config.model_dir, config.model, config.data.image_size, config.data.task.to_json()
                )
        with write_faults(config.model_dir, "model_dir"):
            log = MetricsLog(config.model_dir, self.step) if self.chief else None
        loop = self._compile(optimizer)
        iterator = iter(self._distribute())
        labeled_files, unlabeled_files = training_files(config.data, config.teacher is not None)
        files = [*labeled_files, *unlabeled_files]
        with (
            signals.deferred() as signal,
            progress(config.title, total=last, unit="steps", initial=self.step) as bar,
            profiling.profile(config.model_dir, config.profile_steps if self.chief else None) as profile,
        ):
            for number, count in enumerate(self._chunks(last)):
                profile(self.step)
                began = time.monotonic()
                try:
                    metrics = {name: float(value) for name, value in loop(iterator, tf.constant(count)).items()}
                except tf.errors.OpError as error:
                    raise strategies.lost_worker(error) or faults.explain(error, files) from error
                if number == 1:  # the first steps are compiled
                    self._paced((time.monotonic() - began) / count)
                self._check_finite(metrics, files)
                profile(self.step)
                bar.update(count, loss=metrics[training_step.LOSS])
                if log:
                    with write_faults(config.model_dir, "model_dir"):
                        log.add(self.step, metrics)
                self._boundary(last, log)
                if signal.requested and self.step < last:
                    self._leave(signal.requested, log)

    def _leave(self, signal: int, log: Optional[MetricsLog]) -> None:
        if log:
            self._save(log)
        print(f"{self.config.title}: {signals.name_of(signal)} at step {self.step}, saved; the same command continues")
        raise SystemExit(signals.exit_code(signal))

    def _boundary(self, last: int, log: Optional[MetricsLog]) -> None:
        config, step = self.config, self.step
        if config.evaluation and (step % config.steps_per_eval == 0 or step == last):
            result = self.evaluate(config.evaluation)
            if log:
                log.add_evaluation(step, result)
        if log and (step % config.save_checkpoints_steps == 0 or step == last):
            self._save(log)

    def _save(self, log: MetricsLog) -> None:
        with write_faults(self.config.model_dir, "model_dir"):
            log.write()
        saving.save(self.config.model_dir, self.state, self.config.keep_checkpoint_max)

    def _chunks(self, last: int) -> Iterator[int]:
        """How many steps to take at a time: never across a log line, a checkpoint, an evaluation or an edge of a profile."""
        config = self.config
        periods = [config.log_step_count_steps, config.save_checkpoints_steps, config.iterations_per_loop]
        periods += [config.steps_per_eval] if config.evaluation else []
        while self.step < last:
            step = self.step
            edges = profiling.steps_until_change(step, config.profile_steps)
            yield min([last - step] + [period - step % period for period in periods] + edges)

    def _check_finite(self, metrics: dict[str, float], files: list[str]) -> None:
        if math.isfinite(metrics[training_step.LOSS]):
            return
        newest = writing.latest(self.config.model_dir)
        looked_at, blank = one_colour.count(files)
        advice = "lower --base_learning_rate or look at the data"
        if 2 * blank > looked_at:
            advice = f"{blank} of {looked_at} pictures looked at have one colour alone; replace them and prepare again"
        raise UserError(
            f"{self.config.title}: the loss is {metrics[training_step.LOSS]} at step {self.step}; nothing of it was saved "
            f"(the newest checkpoint is {newest or 'none'}): {advice}"
        )

    def _count_train_images(self) -> Any:
        """The optimiser's config with the number of labeled images filled in; checks that no class is empty."""
        config = self.config
        files, unlabeled = training_files(config.data, config.teacher is not None)
        self._skipped = unreadable_records(files + unlabeled, config.data.skip_corrupt_records)
        known = config.optimizer.num_train_images
        large = sum(tf.io.gfile.stat(path).length for path in files) > CACHE_LIMIT
        if large and known and not config.data.even_classes:
            return config.optimizer
        counts = count_labels(files, config.data.task.num_classes, self._skipped)
        empty = [label for label, count in enumerate(counts) if not count]
        if empty:
            names = config.data.task.class_names
            shown = ", ".join(f"{label + 1}" + (f" ({names[label]})" if names else "") for label in empty[:5])
            raise UserError(
                f"--label_data_dir: {len(empty)} of {len(counts)} classes have no labeled image in {files[0]} and its "
                f"neighbours, the first with label {shown}; add images, or give the task whose "
                "classes they are (--data_dir, --task_name)"
            )
        self._class_counts = counts if config.data.even_classes and len(set(counts)) > 1 else None
        return dataclasses.replace(config.optimizer, num_train_images=known or sum(counts))

    def _batch_sizes(self) -> tuple[int, int]:
        optimizer, replicas = self.config.optimizer, self.strategy.num_replicas_in_sync
        labeled = optimizer.train_batch_size
        if labeled % replicas:
            raise UserError(f"--train_batch_size: got {labeled}, expected a multiple of the {replicas} replicas")
        if not optimizer.unlabel_ratio:
            return labeled, 0
        unlabeled = math.ceil(labeled * optimizer.label_data_sample_prob * optimizer.unlabel_ratio)
        return 0 if optimizer.unlabeled_only else labeled, math.ceil(unlabeled / replicas) * replicas

    def _distribute(self) -> Any:
        config = self.config
        labeled, unlabeled = self._batch_sizes()
        segments = Segments(self.step, config.save_checkpoints_steps)

        def make(context: Optional[tf.distribute.InputContext]) -> tf.data.Dataset:
            return training_stream(
                config.data,
                labeled,
                unlabeled,
                self.strategy.num_replicas_in_sync,
                segments,
                strategies.pipeline_of(context),
                online_teacher=config.teacher is not None,
                skipped=self._skipped,
                augmenter=self.fast.augmenter,
                class_counts=self._class_counts,
            )

        return self.strategy.distribute_datasets_from_function(make)

    def _compile(self, optimizer: Any) -> loops.Loop:
        """What takes the steps, compiled."""
        config, strategy = self.config, self.strategy
        with strategy.scope():
            teacher = self._teacher()
            group = batch_norm_groups.group_size(config.device.num_shards_per_group, strategy.num_replicas_in_sync)
            step = TrainingStep(
                self.state,
                optimizer,
                seed=config.data.seed,
                teacher=teacher,
                cross_replica_mean=batch_norm_groups.cross_replica_mean(strategy, group),
                rematerialise=config.rematerialise,
                unlabeled_dropout=config.unlabeled_dropout,
                unlabeled_stochastic_depth=config.unlabeled_stochastic_depth,
                noise_teacher=config.data.noise_teacher,
            )

        def take_step(iterator: Any) -> loops.Metrics:
            metrics = strategy.run(step, args=(next(iterator),))
            return {
                name: strategy.reduce(tf.distribute.ReduceOp.MEAN, metrics[name], axis=None)
                for name in step.metric_names
            }

        return (loops.calls if strategies.on_cpu(strategy) else loops.compiled_loop)(take_step, step.metric_names)

    def _teacher(self) -> Optional[EfficientNet]:
        config = self.config
        if config.teacher is None:
            return None
        ops = self.fast.inference(lambda enough: enough)
        teacher = EfficientNet(config.teacher, bfloat16=self.bfloat16, ops=ops)
        teacher.trainable = False
        load_weights(teacher, config.teacher_path, "teacher_model_path", use_averages=config.use_averages)
        return teacher

    # --- evaluation -----------------------------------------------------------------------------------------------

    def evaluate(self, split: SplitConfig) -> dict[str, Any]:
        """Accuracy of the averages (or of the raw weights) on the split; prints it and writes evaluation.json."""
        if self._accuracy is None:
            self._accuracy = self._measure_on(split)
        measured = self._accuracy.model
        if measured is not self.model:
            self.state.copy_averages_to(measured)
        self.last_evaluation = result = self._accuracy(self.step)
        print(in_words(result, self.config.title))
        if self.chief:
            write_evaluation(self.config.model_dir, result)
        return result

    def _measure_on(self, split: SplitConfig) -> SplitAccuracy:
        config, model = self.config, self.model
        with self.strategy.scope():
            if config.use_averages:
                model = EfficientNet(config.model, bfloat16=self.bfloat16, ops=split_ops(split, self.fast))
            return SplitAccuracy(model, self.strategy, split, config.data.image_size)
