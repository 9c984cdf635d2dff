"""Soft labels for unlabeled shards (docs/release.md, section 8).

One network labels all shards. Results go straight to disk, and a shard gets its name when it is whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from checkpoints import reading
from checkpoints.reading import load_weights
from data.fast import Fast
from data.records.examples import filtered_example, image_of, name_of, prediction_example
from data.records.shards import shard_writer
from data.streams import faults
from data.streams.prediction import prediction_stream
from data.streams.reading import count_up_to, unreadable_records
from data.streams.unreadable import Unreadable
from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet
from pseudo_label.config import PredictConfig
from pseudo_label.made_with import SETTINGS_FILE, check_begun_with, check_not_foreign
from pseudo_label.predict.samples import Samples
from pseudo_label.predict.shards import (
    Shard,
    expected_images,
    find_shards,
    pending_shards,
    remove_unfinished_shards,
    share_of_records,
)
from runtime import devices as strategies
from runtime.files import matching, write_faults, write_text
from runtime.progress import progress

Batch = dict[str, Any]

OUTPUT_FLAG = "output_dir"
CHECKPOINT_FLAG = "predict_ckpt_path"


# On a CPU: each batch leaves cores idle for a moment at every small operation, which another batch fills.
BATCHES_IN_FLIGHT = 2


@dataclasses.dataclass
class Summary:
    """What a run did: images predicted and left out, seconds in all, and seconds that the network waited for input."""

    images: int = 0
    left_out: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skipped_shards: int = 0

    def line(self, title: str) -> str:
        """One line for people."""
        rate = self.images / self.seconds if self.seconds else 0.0
        line = f"{title}: {self.images} images, {rate:.1f} images/s, {self.waited:.1f} of {self.seconds:.1f} s lost to input"
        line += f" ({self.left_out} images were left out)" if self.left_out else ""
        return line + (f" ({self.skipped_shards} shards were finished before)" if self.skipped_shards else "")


def run(config: PredictConfig, fast: Fast = Fast()) -> Summary:
    """`predict` in a process that does nothing else."""
    fast.before_inference(config.model, [config.batch_size, config.image_size, config.image_size, 3])
    return predict(config, fast)


def predict(config: PredictConfig, fast: Fast = Fast()) -> Summary:
    """Writes one prediction record per image; finished shards are skipped, a partial one is redone.

    The processes of TF_CONFIG share the shards, each with its own devices, so that none waits for another.

    Raises:
      UserError: no such shard or checkpoint, another network's checkpoint, an image or record that cannot be read, an output_dir
        begun with another checkpoint or other settings.
    """
    started = time.monotonic()
    every = find_shards(config)
    _check_settings(config)
    place = strategies.place_in_cluster()
    shards = every[place.index :: place.count]
    pending = pending_shards(shards)
    summary = Summary(skipped_shards=len(shards) - len(pending))
    if pending:
        strategy = strategies.make_strategy(config.device, local=True)
        with strategy.scope():
            # Counted over all shards, whatever of them is left to do, and for whom: a continued run must compute the same.
            sources = [shard.source for shard in every]
            ops = fast.inference(lambda enough: count_up_to(enough, sources))
            model = EfficientNet(config.model, bfloat16=strategies.uses_bfloat16(config.device, strategy), ops=ops)
            load_weights(model, config.checkpoint, CHECKPOINT_FLAG, use_averages=config.use_averages)
        Prediction(config, strategy, model, Samples(config, every), summary, fast).run(pending)
    summary.seconds = time.monotonic() - started
    print(summary.line(config.title))
    return summary


def _check_settings(config: PredictConfig) -> None:
    """Notes what the labels are made with, and raises UserError where some were made with something else."""
    folder = config.info_dir or config.output_dir
    path, wanted = os.path.join(folder, SETTINGS_FILE), _settings(config)
    if tf.io.gfile.exists(path) and matching(folder, r"info-.*\.txt"):
        check_begun_with(path, config.output_dir, wanted)
        return
    check_not_foreign(path, wanted)
    with write_faults(path, OUTPUT_FLAG):
        write_text(path, json.dumps(wanted, indent=1) + "\n")


def _settings(config: PredictConfig) -> dict[str, Any]:
    """What the labels follow from, beside the images, as JSON-able values."""
    settings = {
        CHECKPOINT_FLAG: reading.identity(reading.resolve(config.checkpoint, CHECKPOINT_FLAG)),
        "use_averages": config.use_averages,
        "input_image_size": config.image_size,
        "store_top_k": config.store_top_k,
        "total_replicas": config.total_replicas,
        "noise": config.noise and dataclasses.asdict(config.noise),
    }
    if config.fit != "crop":  # an earlier version knew nothing else, and noted nothing
        settings["fit"] = config.fit
    return json.loads(json.dumps(settings))


class Prediction:
    """A network that predicts shards; it is compiled with the first of them."""

    def __init__(
        self,
        config: PredictConfig,
        strategy: tf.distribute.Strategy,
        model: EfficientNet,
        samples: Samples,
        summary: Summary,
        fast: Fast = Fast(),
    ):
        self.config = config
        self.strategy = strategy
        self.summary = summary
        self.fast = fast
        self.num_draws = 0 if config.noise is None else model.num_draws

        def probabilities(images: tf.Tensor, draws: Optional[tf.Tensor]) -> tf.Tensor:
            noised = None if draws is None else ForwardPass(draws=draws, moving_statistics=True)
            return tf.nn.softmax(model(images, forward=noised))

        self.step = tf.function(
            lambda batch: strategy.run(probabilities, args=(batch["image"], batch.get("draws"))), autograph=False
        )
        self.samples = samples
        self.in_flight = BATCHES_IN_FLIGHT if strategies.on_cpu(strategy) else 1

    def run(self, pending: list[Shard]) -> None:
        """Writes the predictions of these shards.

        Raises:
          UserError: an image or record that cannot be read.
        """
        files = [shard.source for shard in pending]
        try:
            self._run(pending)
        except tf.errors.OpError as error:
            raise faults.explain(error, files) from error

    def _run(self, pending: list[Shard]) -> None:
        remove_unfinished_shards(pending)
        skipped = unreadable_records([shard.source for shard in pending], self.config.skip_corrupt_records)
        with progress(self.config.title, total=expected_images(self.config, pending, skipped), unit="images") as bar:
            predictions = _ByFile(self._predictions(pending, skipped, bar))
            for index, shard in enumerate(pending):
                self._write_shard(shard, predictions.part(index))

    def _write_shard(self, shard: Shard, predictions: Iterator[tuple[int, np.ndarray]]) -> None:
        """Writes one shard's predictions as they come, then its count: the mark that it is finished."""
        config = self.config
        count = 0
        sources = share_of_records(shard.source, config) if config.reassign_label else None
        samples = self.samples.of(shard)
        with shard_writer(shard.output, OUTPUT_FLAG) as write:
            for number, probabilities in predictions:
                left_out = not probabilities.any()
                if sources is None:
                    write(prediction_example(probabilities, config.store_top_k))
                else:
                    source = next(sources)
                    if not left_out:
                        write(filtered_example(image_of(source), probabilities, config.store_top_k, name_of(source)))
                if left_out:
                    self.summary.left_out += 1
                else:
                    self.summary.images += 1
                    samples.consider(number, probabilities)
                count += 1
        with write_faults(os.path.dirname(shard.count_file), OUTPUT_FLAG):
            samples.save()
            write_text(shard.count_file, json.dumps({"image_num": count}) + "\n")

    def _predictions(
        self, pending: list[Shard], skipped: Sequence[Unreadable], bar: Any
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """(position in `pending`, record number in the file, probabilities float32 [C]) of every image in order."""
        config, files = self.config, [shard.source for shard in pending]

        def make(context: Optional[tf.distribute.InputContext]) -> tf.data.Dataset:
            return prediction_stream(
                files,
                config.image_size,
                config.model.small_image_model,
                config.batch_size,
                (config.worker_id, config.total_replicas),
                skipped,
                self.strategy.num_replicas_in_sync,
                strategies.pipeline_of(context),
                config.noise,
                self.num_draws,
                [shard.finished_before for shard in pending],
                self.fast.augmenter,
                config.fit,
            )

        for batch, outputs in self._answers(iter(self.strategy.distribute_datasets_from_function(make))):
            positions, numbers = self._local(batch["file"]), self._local(batch["number"])
            weights = self._local(batch["weight"])
            outputs[weights < 0] = 0.0  # no class: balance passes such a record over
            real = weights != 0
            for position, number, probabilities in zip(positions[real], numbers[real], outputs[real]):
                yield int(position), int(number), probabilities
            bar.update(int(real.sum()))

    def _answers(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
        """Each batch with its probabilities, in order, with up to `in_flight` of them computed at a time."""
        running = deque[tuple[Batch, Future]]()
        with ThreadPoolExecutor(self.in_flight) as pool:
            while True:
                idle, waiting = all(answer.done() for _, answer in running), time.monotonic()
                batch = next(batches, None)
                self.summary.waited += time.monotonic() - waiting if idle else 0.0
                if batch is not None:
                    running.append((batch, pool.submit(self._answer, batch)))
                while running and (batch is None or len(running) > self.in_flight):
                    earliest, answer = running.popleft()
                    yield earliest, answer.result()
                if batch is None:
                    return

    def _answer(self, batch: Batch) -> np.ndarray:
        return self._local(self.step({name: batch[name] for name in ("image", "draws") if name in batch}))

    def _local(self, value: Any) -> np.ndarray:
        return np.concatenate([part.numpy() for part in self.strategy.experimental_local_results(value)])


class _ByFile:
    """Splits the one stream of predictions into the files' parts; a file without records gives an empty part."""

    def __init__(self, predictions: Iterator[tuple[int, int, np.ndarray]]):
        self._predictions = predictions
        self._next = next(predictions, None)

    def part(self, index: int) -> Iterator[tuple[int, np.ndarray]]:
        """(record number, probabilities) of the file at position `index`; ask for the parts in order."""
        while self._next is not None and self._next[0] == index:
            _, number, probabilities = self._next
            self._next = next(self._predictions, None)
            yield number, probabilities
