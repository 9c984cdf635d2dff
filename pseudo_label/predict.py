"""Soft labels for unlabeled shards (docs/release.md, section 8).

One network labels all shards. Results go straight to disk, and a shard gets its name when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from data import preprocessing, records, streams, unreadable
from data.streams import Pipeline
from data.unreadable import Unreadable
from efficientnet.cpu_inference import MANY_IMAGES
from efficientnet.layers import ForwardPass
from efficientnet.model import EfficientNet, takes_parts
from errors import UserError
from flags.config import PredictConfig, TeacherNoise
from pseudo_label.settings import SETTINGS_FILE, check_begun_with
from reporting.progress import progress
from training import checkpoints
from training import strategy as strategies

Batch = dict[str, Any]

OUTPUT_FLAG = "output_dir"
CHECKPOINT_FLAG = "predict_ckpt_path"
ALONE = Pipeline()
FILLING = -1  # number of a record that is none
# On a CPU: each batch leaves cores idle for a moment at every small operation, which another batch fills.
BATCHES_IN_FLIGHT = 2
EXACT_COUNT_LIMIT = 1 << 30  # bytes of shards whose records are counted beforehand; more are estimated


@dataclasses.dataclass(frozen=True)
class Shard:
    """One input shard and the files that its predictions become; `finished_before` as in `prediction_stream`."""

    source: str
    output: str
    count_file: str
    finished_before: int = 0


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


def run(config: PredictConfig) -> Summary:
    """`predict` in a process that does nothing else."""
    operations_on_one_core(config)
    return predict(config)


def operations_on_one_core(config: PredictConfig) -> None:
    """Has each operation of this process done by one core, where each core has images of its own: a fifth less time.

    To be called before TensorFlow has done anything.
    """
    size = config.image_size
    takes = takes_parts(config.model, [config.batch_size, size, size, 3])
    if takes and not tf.config.list_physical_devices("GPU"):
        tf.config.threading.set_intra_op_parallelism_threads(1)


def predict(config: PredictConfig) -> Summary:
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
    pending = _pending(shards)
    summary = Summary(skipped_shards=len(shards) - len(pending))
    if pending:
        strategy = strategies.make_strategy(config.device, local=True)
        with strategy.scope():
            model = EfficientNet(config.model, bfloat16=strategies.uses_bfloat16(config.device, strategy))
            checkpoints.load_weights(model, config.checkpoint, CHECKPOINT_FLAG, use_averages=config.use_averages)
        # Of all shards, whatever of them is left to do, and for whom: a continued run must compute the same.
        model.expect_inference_of(streams.count_up_to(MANY_IMAGES, [shard.source for shard in every]))
        Prediction(config, strategy, model, Samples(config, every), summary).run(pending)
    summary.seconds = time.monotonic() - started
    print(summary.line(config.title))
    return summary


def _check_settings(config: PredictConfig) -> None:
    """Notes what the labels are made with, and raises UserError where some were made with something else."""
    folder = config.info_dir or config.output_dir
    path, wanted = os.path.join(folder, SETTINGS_FILE), _settings(config)
    if tf.io.gfile.exists(path) and tf.io.gfile.glob(os.path.join(folder, "info-*.txt")):
        check_begun_with(path, config.output_dir, wanted)
        return
    with records.writing(path, OUTPUT_FLAG):
        records.write_text(path, json.dumps(wanted, indent=1) + "\n")


def _settings(config: PredictConfig) -> dict[str, Any]:
    """What the labels follow from, beside the images, as JSON-able values."""
    settings = {
        CHECKPOINT_FLAG: checkpoints.identity(checkpoints.resolve(config.checkpoint, CHECKPOINT_FLAG)),
        "use_averages": config.use_averages,
        "input_image_size": config.image_size,
        "store_top_k": config.store_top_k,
        "total_replicas": config.total_replicas,
        "noise": config.noise and dataclasses.asdict(config.noise),
    }
    return json.loads(json.dumps(settings))


def _pending(shards: Sequence[Shard]) -> list[Shard]:
    """The shards that are not finished, each with the images of the finished ones since the last of them.

    Raises:
      UserError: a count file that holds no count.
    """
    pending, finished = list[Shard](), list[Shard]()
    for shard in shards:
        if tf.io.gfile.exists(shard.count_file):
            finished.append(shard)
        else:
            pending.append(dataclasses.replace(shard, finished_before=sum(map(_images_of, finished))))
            finished = []
    return pending


def _images_of(shard: Shard) -> int:
    """Images of a finished shard."""
    with tf.io.gfile.GFile(shard.count_file, "rb") as file:
        text = file.read()
    try:
        return int(json.loads(text)["image_num"])
    except (ValueError, KeyError, TypeError) as error:
        got = text[:50].decode(errors="replace")
        raise UserError(
            f'{shard.count_file}: got {got!r}, expected {{"image_num": n}}; remove it, then its shard is predicted again'
        ) from error


def find_shards(config: PredictConfig) -> list[Shard]:
    """This worker's input shards and their outputs, in order.

    Raises:
      UserError: a shard that does not exist (says what was looked for).
    """
    if config.reassign_label:
        sources = records.find_shards(config.input_dir, streams.FILTERED_PATTERN, config.input_flag)
        _check_none_twice(sources, config)
        ids = config.shard_ids if config.shard_ids is not None else range(len(sources))
        chosen = [sources[shard_id] for shard_id in ids if shard_id < len(sources)]
        folder = os.path.join(config.output_dir, "data")
        return [Shard(path, os.path.join(folder, os.path.basename(path)), _count_file(config, path)) for path in chosen]
    ids = config.shard_ids if config.shard_ids is not None else tuple(range(config.num_shards))
    return [_input_shard(config, shard_id) for shard_id in ids]


def _count_file(config: PredictConfig, path: str) -> str:
    return os.path.join(config.info_dir or config.output_dir, f"info-{os.path.basename(path)}.txt")


def _input_shard(config: PredictConfig, shard_id: int) -> Shard:
    name = records.shard_name(config.file_prefix, shard_id, config.num_shards)
    candidates = [os.path.join(directory, name) for directory in config.input_dir.split(";")]
    found = [path for path in candidates if tf.io.gfile.exists(path)]
    if not found:
        raise UserError(
            f"--{config.input_flag}: no file {' or '.join(candidates)}; check --num_shards (got {config.num_shards}), "
            f"--shard_id and --file_prefix (got {config.file_prefix!r})"
        )
    _check_none_twice(found, config)
    output = records.prediction_name(config.file_prefix, shard_id, config.num_shards, config.worker_id)
    count = records.prediction_count_name(shard_id, config.num_shards, config.worker_id)
    return Shard(
        found[0], os.path.join(config.output_dir, output), os.path.join(config.info_dir or config.output_dir, count)
    )


def _check_none_twice(paths: Sequence[str], config: PredictConfig) -> None:
    """Raises UserError where two directories hold the same shard, because one's predictions would replace the other's."""
    first: dict[str, str] = {}
    for path in paths:
        other = first.setdefault(os.path.basename(path), path)
        if other != path:
            raise UserError(
                f"--{config.input_flag}: {path} and {other} are the same shard; name only one of the directories"
            )


class Prediction:
    """A network that predicts shards; it is compiled with the first of them."""

    def __init__(
        self,
        config: PredictConfig,
        strategy: tf.distribute.Strategy,
        model: EfficientNet,
        samples: Samples,
        summary: Summary,
    ):
        self.config = config
        self.strategy = strategy
        self.summary = summary
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
            raise streams.explain(error, files) from error

    def _run(self, pending: list[Shard]) -> None:
        skipped = streams.unreadable_records([shard.source for shard in pending], self.config.skip_corrupt_records)
        with progress(self.config.title, total=_expected(self.config, pending, skipped), unit="images") as bar:
            predictions = _ByFile(self._predictions(pending, skipped, bar))
            for index, shard in enumerate(pending):
                self._write_shard(shard, predictions.part(index))

    def _write_shard(self, shard: Shard, predictions: Iterator[tuple[int, np.ndarray]]) -> None:
        """Writes one shard's predictions as they come, then its count: the mark that it is finished."""
        config = self.config
        count = 0
        sources = _share(shard.source, config) if config.reassign_label else None
        samples = self.samples.of(shard)
        _remove_unfinished(shard.output)
        with records.shard_writer(shard.output, OUTPUT_FLAG) as write:
            for number, probabilities in predictions:
                left_out = not probabilities.any()
                if sources is None:
                    write(records.prediction_example(probabilities, config.store_top_k))
                else:
                    source = next(sources)
                    if not left_out:
                        write(records.filtered_example(records.image_of(source), probabilities, config.store_top_k))
                if left_out:
                    self.summary.left_out += 1
                else:
                    self.summary.images += 1
                    samples.consider(number, probabilities)
                count += 1
        with records.writing(os.path.dirname(shard.count_file), OUTPUT_FLAG):
            samples.save()
            records.write_text(shard.count_file, json.dumps({"image_num": count}) + "\n")

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


@tf.autograph.experimental.do_not_convert
def prediction_stream(
    files: list[str],
    image_size: int,
    small_image_model: bool,
    batch: int,
    share: tuple[int, int],
    skipped: Sequence[Unreadable] = (),
    replicas: int = 1,
    pipeline: Pipeline = ALONE,
    noise: Optional[TeacherNoise] = None,
    num_draws: int = 0,
    finished_before: Sequence[int] = (),
) -> tf.data.Dataset:
    """Batches of one static size over all files in order, one a replica and step.

    Where an image stands in its batch shows in the last bits of what is computed of it (a vector's remainder is computed
    otherwise), so in a continuation each image stands where it would have stood.

    Args:
      files: shards.
      image_size, small_image_model: evaluation preprocessing.
      batch: images of one replica's batch.
      share: (worker, workers): every `workers`-th record of each file from `worker` on.
      skipped: records whose image is left out (weight -1, an image of zeros), so that numbers stay those of the file; and
        where files are cut short.
      replicas: replicas over all pipelines.
      pipeline: this host's share: its replicas' batches of every step.
      noise: the training's preprocessing instead of the evaluation's; None for the latter.
      num_draws: D, how many numbers the network's noise needs for an image; only with `noise`.
      finished_before: for each file how many images of finished files come between it and the file before it; none where
        it is empty.

    Returns:
      {"image" float32 [batch, H, W, 3], "file" int64 [batch] (position in `files`), "number" int64 [batch] (record in the
      file), "weight" float32 [batch] (0 for filling, -1 for a record left out), and with `noise` "draws" float32 [batch, D]}.
    """
    worker, workers = share
    pairs = [[files.index(shard.path), number] for shard in skipped for number in shard.images]
    undecodable = tf.constant(pairs or np.zeros([0, 2]), tf.int64)
    cuts = unreadable.cuts(skipped)
    lengths = tf.constant([cuts.get(path, -1) for path in files], tf.int64)
    empty = tf.constant([count % (batch * replicas) for count in finished_before or [0] * len(files)], tf.int64)

    def read(position: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
        examples = tf.data.TFRecordDataset(path, buffer_size=8 << 20).take(lengths[position])
        numbered = examples.enumerate().shard(workers, worker)
        images = numbered.map(lambda number, example: {"file": position, "number": number, "example": example})
        return _filling().repeat(empty[position]).concatenate(images)

    def prepare(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        def inputs() -> dict[str, tf.Tensor]:
            encoded = streams.parse_unlabeled(record)["encoded"]
            if noise is None:
                return {"image": preprocessing.evaluation_image(encoded, image_size, small_image_model)}
            return noised_inputs(encoded, noise, image_size, small_image_model, num_draws)

        def zeros() -> dict[str, tf.Tensor]:
            own = {} if noise is None else {"draws": tf.zeros([num_draws])}
            return {**own, "image": tf.zeros([image_size, image_size, 3])}

        here = tf.stack([record["file"], record["number"]])
        left_out = tf.reduce_any(tf.reduce_all(tf.equal(undecodable, here), -1))
        filling = record["number"] == FILLING
        return {
            **tf.cond(left_out | filling, zeros, inputs),
            "file": record["file"],
            "number": record["number"],
            "weight": tf.where(filling, 0.0, tf.where(left_out, -1.0, 1.0)),
        }

    dataset = tf.data.Dataset.from_tensor_slices(files).enumerate().flat_map(read)
    dataset = _whole_steps(dataset, batch, replicas, pipeline)
    dataset = streams.parallel_map(dataset, prepare)
    batches = streams.read_ahead(dataset.batch(batch, drop_remainder=True), replicas, pipeline)
    return batches.with_options(streams.parallel_options())


def noised_inputs(
    encoded: tf.Tensor, noise: TeacherNoise, image_size: int, small_image_model: bool, num_draws: int
) -> dict[str, tf.Tensor]:
    """An image as a noised teacher sees it, and its draws for the network: a function of the arguments alone, so that it does
    not matter in which shard, worker or batch the image comes.

    Returns:
      {"image" float32 [image_size, image_size, 3], "draws" float32 [num_draws]}.
    """
    of_image = tf.strings.to_hash_bucket_strong(encoded, tf.int64.max, key=[noise.seed, 0])
    seed = tf.stack([streams.mix_seed(noise.seed), of_image])
    options = preprocessing.TrainingOptions(image_size, small_image_model, noise.flip, noise.augment)
    image = preprocessing.training_image(encoded, seed, options)
    # Not the very seed that the crop is drawn from.
    return {"image": image, "draws": tf.random.stateless_uniform([num_draws], seed + 1, alg="philox")}


def _filling() -> tf.data.Dataset:
    """One record that is none."""
    record = {"file": tf.constant(0, tf.int64), "number": tf.constant(FILLING, tf.int64), "example": tf.constant("")}
    return tf.data.Dataset.from_tensors(record)


def _whole_steps(dataset: tf.data.Dataset, batch: int, replicas: int, pipeline: Pipeline) -> tf.data.Dataset:
    """Fills the records up to whole steps of all replicas and leaves this pipeline its replicas' records, still encoded."""
    step = batch * replicas
    # One step less one of filling completes the last step; drop_remainder then removes what is left of it.
    dataset = dataset.concatenate(_filling().repeat(step - 1))
    dataset = dataset.batch(step, drop_remainder=True).unbatch()
    if pipeline.count == 1:
        return dataset
    own = step // pipeline.count
    numbered = dataset.enumerate().filter(lambda position, _: position % step // own == pipeline.index)
    return numbered.map(lambda _, record: record)


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


def _expected(config: PredictConfig, pending: list[Shard], skipped: Sequence[Unreadable]) -> int:
    """How many images are to come: exact for small inputs, estimated from the first shard's record size otherwise."""
    files = [shard.source for shard in pending]
    sizes = [tf.io.gfile.stat(path).length for path in files]
    if sum(sizes) <= EXACT_COUNT_LIMIT:
        total = streams.count_records(files, skipped)
    else:
        total = int(streams.count_records(files[:1], skipped) * sum(sizes) / max(sizes[0], 1))
    return total // config.total_replicas


def _share(path: str, config: PredictConfig) -> Iterator[bytes]:
    for number, record in enumerate(records.read_shard(path)):
        if number % config.total_replicas == config.worker_id:
            yield record


def _remove_unfinished(path: str) -> None:
    """Removes what a killed run left of the file that is about to be written."""
    for leftover in tf.io.gfile.glob(path + ".writing-*"):
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(leftover)


class Samples:
    """About `samples_per_class` images a class as JPEGs to look at, named with their confidence.

    Every shard has its own quota, so that what is saved does not depend on which shards an earlier run had finished.
    """

    def __init__(self, config: PredictConfig, shards: list[Shard]):
        limit = config.samples_per_class
        self._quota = {
            shard.source: limit // len(shards) + (position < limit % len(shards))
            for position, shard in enumerate(shards)
        }
        self._folder = os.path.join(config.output_dir, "samples")
        self._names = config.class_names
        self._width = len(str(config.model.num_classes - 1))

    def of(self, shard: Shard) -> ShardSamples:
        """Collects the samples of one shard."""
        return ShardSamples(shard.source, self._quota[shard.source], self._class_folder)

    def _class_folder(self, label: int) -> str:
        name = f"_{self._names[label]}" if self._names and self._names[label] != str(label) else ""
        return os.path.join(self._folder, f"{label:0{self._width}d}{name.replace('/', '_')}")


class ShardSamples:
    """The first `quota` images of every predicted class of one shard."""

    def __init__(self, path: str, quota: int, folder: Callable[[int], str]):
        self._path = path
        self._quota = quota
        self._folder = folder
        self._per_class: Counter[int] = Counter()
        self._chosen: dict[int, tuple[int, float]] = {}

    def consider(self, number: int, probabilities: np.ndarray) -> None:
        """Notes record `number` if its class has too few samples."""
        label = int(np.argmax(probabilities))
        if self._per_class[label] < self._quota:
            self._per_class[label] += 1
            self._chosen[number] = (label, float(probabilities[label]))

    def save(self) -> None:
        """Writes the noted samples."""
        if not self._chosen:
            return
        last = max(self._chosen)
        for number, record in enumerate(records.read_shard(self._path)):
            if number in self._chosen:
                label, confidence = self._chosen[number]
                name = f"{confidence:.4f}_{os.path.basename(self._path)}_{number:07d}.jpg"
                tf.io.gfile.makedirs(self._folder(label))
                with tf.io.gfile.GFile(os.path.join(self._folder(label), name), "wb") as file:
                    file.write(as_jpeg(records.image_of(record)))
            if number == last:
                return


def as_jpeg(encoded: bytes) -> bytes:
    """The image as JPEG bytes; a JPEG stays as it is."""
    if encoded[:2] == b"\xff\xd8":
        return encoded
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(encoded)).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
