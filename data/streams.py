"""Shards to batches: the labeled stream, the unlabeled stream, both joined, and the evaluation stream.

A training stream is cut into segments of a fixed number of steps. Everything random in a segment (file order, shuffle,
crops, augmentation) follows from (seed, segment, position), so that a run that continues at any step sees exactly the
batches that an uninterrupted one would have seen. Each segment reads its files from their beginning, so it is long enough to
read them through (`_steps_of_a_segment`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf

import machine
from data import preprocessing, records, soft_labels, unreadable
from data.config import AugmentConfig, DataConfig
from data.unreadable import Unreadable
from errors import UserError, about_files, about_memory, reason

LABELED_PATTERN = "train-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"
FILTERED_PATTERN = "train-[0-9]*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"
UNLABELED_PATTERN = "*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"

CACHE_LIMIT = 1 << 30  # bytes of encoded records that a stream keeps in memory
SHUFFLE_BYTES = 256 << 20  # bytes that a shuffle buffer may hold
MAX_SHUFFLE = 100_000
READ_CYCLE = 16  # files that are read in turn
PASSES_OF_A_SEGMENT = 2  # a last pass that the segment's end cuts short shows the first records of its files once more
CYCLES_OF_A_SEGMENT = 4  # enough where there are more files, of which every segment takes others
SAMPLED_FILES, SAMPLED_RECORDS = 8, 32  # whose sizes tell how many records there are
STARTED_OF_A_CORE = 4  # images that are started for each core: with fewer, cores wait for an image that takes longer
_OF_TEACHER = 0x1F3D5B79A2C4  # makes a noised teacher's seed of an image's

Record = dict[str, tf.Tensor]
Parse = Callable[[Record], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """This process's share of every global batch: pipeline `index` of `count`."""

    index: int = 0
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Segments:
    """How a training stream is cut.

    Attributes:
      first_step: the step at which the stream starts.
      steps: steps of a segment (the distance between checkpoints), or as many times that as it takes to see all the data.
    """

    first_step: int
    steps: int


# --- errors that name file and record -------------------------------------------------------------------------------

OPEN, CLOSE = "<<", ">>"
# What a broken record raises; to find it, all files are read.
_MAYBE_A_RECORD = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)


def check(condition: tf.Tensor, message: Callable[[], tf.Tensor]) -> tf.Operation:
    """Stops the pipeline with a message made only on failure; `explain` finds it in the error."""
    return tf.cond(
        condition,
        lambda: True,
        lambda: _fail(tf.strings.join([OPEN, message(), CLOSE])),
    )


def _fail(message: tf.Tensor) -> bool:
    with tf.control_dependencies([tf.debugging.Assert(False, [message], summarize=1)]):
        return tf.identity(True)


def _sentence(*parts: Any) -> tf.Tensor:
    return tf.strings.join(
        [part if isinstance(part, str) or part.dtype == tf.string else tf.strings.as_string(part) for part in parts]
    )


def _where(record: Record) -> tuple[Any, ...]:
    return record["file"], ": record ", record["number"]


def explain(error: tf.errors.OpError, files: list[str]) -> UserError:
    """The one line for an error that a stream raised: what `check` said, or the first record that cannot be read."""
    text = str(error)
    if OPEN in text and CLOSE in text:
        return UserError(text[text.index(OPEN) + len(OPEN) : text.index(CLOSE)])
    no_memory = about_memory(error)
    if no_memory:
        return UserError(no_memory)
    if not isinstance(error, _MAYBE_A_RECORD):
        missing = next((path for path in files if not tf.io.gfile.exists(path)), None)
        if missing is None:
            return UserError(about_files(error) or _reading_failed(error, files))
        return UserError(f"{missing}: the file is gone; put it back and run the same command again")
    for path in files:
        try:
            found = unreadable.scan([path])
        except UserError as gone:
            return gone
        if found and found[0].first() == found[0].cut_at:
            return records.corrupt_record(path, found[0].first(), records.offset_of(path, found[0].first()))
        if found:
            return UserError(
                f"{path}: record {found[0].first()} holds an image that cannot be decoded (JPEG, PNG, GIF and BMP can); "
                "write the file again without it, or pass --skip_corrupt_records to leave such records out"
            )
    return UserError(_reading_failed(error, files))


def _reading_failed(error: tf.errors.OpError, files: list[str]) -> str:
    return f"reading {files[0]} and the {len(files) - 1} files after it failed: {reason(error)}"


# --- parsing --------------------------------------------------------------------------------------------------------


def parse_labeled(record: Record, num_classes: int) -> dict[str, tf.Tensor]:
    """{"encoded" string, "label" int32 0-based}; the stored label is 1-based."""
    features = tf.io.parse_single_example(
        record["example"],
        {
            records.IMAGE: tf.io.FixedLenFeature([], tf.string),
            records.CLASS_LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
        },
    )
    label = features[records.CLASS_LABEL]
    in_range = check(
        (label >= 1) & (label <= num_classes),
        lambda: _sentence(
            *_where(record),
            f" has {records.CLASS_LABEL} ",
            label,
            f", expected 1 to {num_classes}; write the file again",
            tf.where(label > num_classes, ", or give the task whose classes they are (--data_dir, --task_name)", ""),
        ),
    )
    with tf.control_dependencies([in_range]):
        return {"encoded": features[records.IMAGE], "label": tf.cast(label - 1, tf.int32)}


def parse_filtered(record: Record, num_classes: int) -> dict[str, tf.Tensor]:
    """{"encoded" string, "probabilities" float32 [C], "label" int32 0-based}; a sparse soft label is spread out."""
    features = tf.io.parse_single_example(
        record["example"],
        {
            records.IMAGE: tf.io.FixedLenFeature([], tf.string),
            records.PROBABILITIES: tf.io.VarLenFeature(tf.float32),
            records.TOP: tf.io.FixedLenFeature([], tf.string, default_value=""),
            records.LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
        },
    )
    sparse = features[records.TOP]
    known = check(
        soft_labels.in_range(sparse, num_classes),
        lambda: _sentence(
            *_where(record),
            f" has a sparse soft label of other classes, expected {num_classes} (the classes of the task); predict and "
            "balance again with the same task",
        ),
    )
    with tf.control_dependencies([known]):
        probabilities = tf.cond(
            tf.equal(sparse, ""),
            lambda: tf.sparse.to_dense(features[records.PROBABILITIES]),
            lambda: soft_labels.spread_tensor(sparse, num_classes),
        )
    label = features[records.LABEL]
    right_length = check(
        tf.size(probabilities) == num_classes,
        lambda: _sentence(
            *_where(record),
            " has ",
            tf.size(probabilities),
            f" probabilities, expected {num_classes} (the classes of the task); predict and balance again with the same task",
        ),
    )
    in_range = check(
        (label >= 0) & (label < num_classes),
        lambda: _sentence(
            *_where(record), " has label ", label, f", expected 0 to {num_classes - 1}; predict and balance again"
        ),
    )
    with tf.control_dependencies([right_length, in_range]):
        return {
            "encoded": features[records.IMAGE],
            "probabilities": tf.ensure_shape(probabilities, [num_classes]),
            "label": tf.cast(label, tf.int32),
        }


def parse_unlabeled(record: Record) -> dict[str, tf.Tensor]:
    """{"encoded" string}."""
    features = tf.io.parse_single_example(record["example"], {records.IMAGE: tf.io.FixedLenFeature([], tf.string)})
    return {"encoded": features[records.IMAGE]}


# --- reading --------------------------------------------------------------------------------------------------------


def _read_file(path: tf.Tensor, to_its_end: bool) -> tf.data.Dataset:
    dataset = tf.data.TFRecordDataset(path, buffer_size=8 << 20)
    if not to_its_end:
        dataset = dataset.ignore_errors()
    numbers = tf.data.Dataset.range(tf.int64.max)
    return tf.data.Dataset.zip({"example": dataset, "file": _always(path), "number": numbers})


def _always(value: tf.Tensor) -> tf.data.Dataset:
    """To be zipped with others: to map a function costs 15 microseconds an element more, which small images would notice."""
    return tf.data.Dataset.from_tensors(value).repeat()


def read_records(files: tf.data.Dataset, skipped: Sequence[Unreadable] = ()) -> tf.data.Dataset:
    """Records of all files, `READ_CYCLE` files in turn, in an order that depends on the files' order alone.

    Args:
      files: string paths.
      skipped: what `unreadable.scan` found, to be left out.
    """
    dataset = files.interleave(
        functools.partial(_read_file, to_its_end=not skipped),
        cycle_length=READ_CYCLE,
        num_parallel_calls=min(machine.cores(), READ_CYCLE),
        deterministic=True,
    )
    if not any(shard.images for shard in skipped):
        return dataset
    names = tf.constant([f"{shard.path}:{number}" for shard in skipped for number in shard.images])

    def is_readable(record: Record) -> tf.Tensor:
        name = tf.strings.join([record["file"], ":", tf.strings.as_string(record["number"])])
        return tf.logical_not(tf.reduce_any(tf.equal(names, name)))

    return dataset.filter(is_readable)


def unreadable_records(files: list[str], skip: bool) -> list[Unreadable]:
    """With --skip_corrupt_records: scans the files, prints what is left out, and returns it; nothing otherwise."""
    found = unreadable.scan(files) if skip else []
    if found:
        print(unreadable.describe(found))
    return found


def mix_seed(*values: Any) -> tf.Tensor:
    """Folds integers into one non-negative int64 seed."""
    state = tf.zeros([2], tf.int64)
    for value in values:
        state = tf.random.stateless_uniform(
            [2], tf.stack([state[0], tf.cast(value, tf.int64)]), maxval=tf.int64.max, dtype=tf.int64
        )
    return state[0]


def count_records(files: list[str], skipped: Sequence[Unreadable]) -> int:
    """Records of the files up to where they are cut; those whose image cannot be decoded are among them.

    Raises:
      UserError: a file that is cut short and not among `skipped`.
    """
    cuts = unreadable.cuts(skipped)
    return sum(cuts[path] if path in cuts else records.count_records(path) for path in files)


def count_up_to(enough: int, files: Sequence[str]) -> int:
    """Records of the files, as far as they can be read, or `enough` where there are more."""
    count = 0
    for path in files:
        with contextlib.suppress(UserError, tf.errors.OpError):  # which says so when its turn comes
            for _ in records.offsets(path):
                count += 1
                if count == enough:
                    return count
    return count


def _record_sizes(files: list[str]) -> list[int]:
    """Bytes of some records of a stream, at least one."""
    apart = -(-len(files) // SAMPLED_FILES)
    heads = [tf.data.TFRecordDataset(path).take(SAMPLED_RECORDS).ignore_errors() for path in files[::apart]]
    return [len(record) + 16 for head in heads for record in head.as_numpy_iterator()] or [16]


def _shuffle_buffer(sizes: list[int]) -> int:
    """How many records of about these sizes a shuffle holds."""
    return int(min(MAX_SHUFFLE, max(1024, SHUFFLE_BYTES // statistics.mean(sizes))))


def _steps_of_a_segment(
    steps: int, batch: int, lengths: list[int], sizes: list[int], buffer: int, shuffled: bool
) -> int:
    """The least multiple of `steps` in which every record of the files has its chance.

    A segment draws from its shuffle's buffer and from what it reads meanwhile, from the files' beginnings on. Where that is not
    all, as many records have to be read as `PASSES_OF_A_SEGMENT` passes have, or where segments take the files in different
    orders, `CYCLES_OF_A_SEGMENT` times `READ_CYCLE` files.

    Args:
      steps, batch: steps of a segment that are asked for, and records of a step.
      lengths: bytes of each file.
      sizes: bytes of some records.
      buffer: records that the shuffle holds.
      shuffled: whether every segment has an order of files of its own.
    """
    size = statistics.median(sizes)
    if sum(lengths) / size <= buffer / PASSES_OF_A_SEGMENT:
        return steps
    to_read = PASSES_OF_A_SEGMENT * sum(lengths)
    if shuffled:
        to_read = min(to_read, CYCLES_OF_A_SEGMENT * READ_CYCLE * math.ceil(statistics.mean(lengths)))
    return steps * math.ceil(to_read / size / (steps * batch))


@dataclasses.dataclass(frozen=True)
class Shards:
    """The files of one stream and how they are read."""

    files: list[str]
    stream_id: int
    seed: int
    cache: bool
    skipped: Sequence[Unreadable] = ()


def _positions(shards: Shards, batch: int, segments: Segments, pipeline: Pipeline) -> tf.data.Dataset:
    """Endless records of this pipeline's share of every batch, as (seed, (position, record)): seed and position int64 []."""
    by_file = pipeline.count > 1 and len(shards.files) % pipeline.count == 0
    files = shards.files[pipeline.index :: pipeline.count] if by_file else shards.files
    share = batch // pipeline.count
    sizes, lengths = _record_sizes(files), [tf.io.gfile.stat(path).length for path in files]
    buffer = _shuffle_buffer(sizes)
    drawn = share if by_file else batch
    paths = tf.data.Dataset.from_tensor_slices(files)
    cached = read_records(paths, shards.skipped).cache() if shards.cache and sum(lengths) <= CACHE_LIMIT else None
    steps = _steps_of_a_segment(segments.steps, drawn, lengths, sizes, buffer, shuffled=cached is None)
    first = segments.first_step // steps

    def segment_records(segment: tf.Tensor) -> tf.data.Dataset:
        seed = mix_seed(shards.seed, shards.stream_id, segment, pipeline.index if by_file else 0)
        if cached is None:
            read = read_records(paths.shuffle(len(files), seed=seed), shards.skipped)
        else:
            read = cached
        dataset = read.shuffle(buffer, seed=seed).repeat().take(steps * drawn).enumerate()
        done = tf.where(segment == first, tf.constant(segments.first_step % steps, tf.int64), 0)
        dataset = dataset.skip(done * drawn)
        if pipeline.count > 1 and not by_file:
            dataset = dataset.filter(lambda position, _: (position % batch) // share == pipeline.index)
        return tf.data.Dataset.zip((_always(seed), dataset))

    return tf.data.Dataset.range(first, tf.int64.max).flat_map(segment_records)


# --- streams --------------------------------------------------------------------------------------------------------


def training_files(data: DataConfig, online_teacher: bool) -> tuple[list[str], list[str]]:
    """Labeled and unlabeled shards of a training.

    Raises:
      UserError: a directory holds none (names pattern and flag).
    """
    labeled = records.find_shards(data.label_data_dir, LABELED_PATTERN, "label_data_dir")
    if data.num_train_shards is not None:
        labeled = labeled[: data.num_train_shards]
    if not data.unlabel_data_dir:
        return labeled, []
    pattern = UNLABELED_PATTERN if online_teacher else FILTERED_PATTERN
    try:
        return labeled, records.find_shards(data.unlabel_data_dir, pattern, "unlabel_data_dir")
    except UserError:
        _check_labels_exist(data.unlabel_data_dir)
        raise


def _check_labels_exist(directories: str) -> None:
    for directory in directories.split(";"):
        images = tf.io.gfile.glob(os.path.join(directory, UNLABELED_PATTERN))
        if images and not tf.io.gfile.glob(os.path.join(directory, FILTERED_PATTERN)):
            raise UserError(
                f"--unlabel_data_dir: {min(images)} and its neighbours have no pseudo labels; make them with --mode=predict and "
                "--mode=balance, or give the teacher that labels them in training (--teacher_model_name, --teacher_model_path)"
            )


@tf.autograph.experimental.do_not_convert
def training_stream(
    data: DataConfig,
    labeled_batch: int,
    unlabeled_batch: int,
    replicas: int,
    segments: Segments,
    pipeline: Pipeline = Pipeline(),
    *,
    online_teacher: bool = False,
    skipped: Sequence[Unreadable] = (),
) -> tf.data.Dataset:
    """Endless joined batches, one element a replica and step.

    Args:
      data: files and preprocessing.
      labeled_batch, unlabeled_batch: images of a step over all replicas; multiples of `replicas`. 0: none of that kind.
      replicas: replicas over all pipelines; an element has batch / replicas images.
      segments: where the stream starts and how it is cut.
      pipeline: this process's share.
      online_teacher: unlabeled images come without labels and with a second copy for the teacher.
      skipped: records to leave out (see `unreadable_records`).

    Returns:
      {"labeled": {"image" float32 [B, H, W, 3] in 0..255, "label" int32 [B]}, "unlabeled": {"image" [U, H, W, 3],
      "probabilities" float32 [U, C], "label" int32 [U], or with an online teacher "teacher_image" [U, T, T, 3]}};
      without the kind whose batch is 0.
    """
    labeled_files, unlabeled_files = training_files(data, online_teacher)
    num_classes = data.task.num_classes
    joined = {}
    if labeled_batch:
        joined["labeled"] = _images(
            Shards(labeled_files, 0, data.seed, data.use_cache, skipped),
            lambda record: parse_labeled(record, num_classes),
            data,
            data.augment,
            (labeled_batch, replicas, segments, pipeline),
        )
    if unlabeled_batch:
        joined["unlabeled"] = _images(
            Shards(unlabeled_files, 1, data.seed, data.use_cache, skipped),
            parse_unlabeled if online_teacher else lambda record: parse_filtered(record, num_classes),
            data,
            data.unlabeled_augment,
            (unlabeled_batch, replicas, segments, pipeline),
            teacher_image_size=data.teacher_image_size if online_teacher else None,
        )
    # Only the next step's batches wait as float32, which takes four times the memory.
    batches = tf.data.Dataset.zip(joined).map(
        _as_float32, num_parallel_calls=replicas // pipeline.count, deterministic=True
    )
    return batches.with_options(parallel_options())


def _as_float32(batches: dict[str, dict[str, tf.Tensor]]) -> dict[str, dict[str, tf.Tensor]]:
    return tf.nest.map_structure(lambda part: tf.cast(part, tf.float32) if part.dtype == tf.uint8 else part, batches)


def read_ahead(batches: tf.data.Dataset, replicas: int, pipeline: Pipeline) -> tf.data.Dataset:
    """Has the next step's batches ready, one for each of this pipeline's replicas.

    Not `AUTOTUNE`, which doubles its buffer each time that it has been full and then empty, and never makes it smaller.
    """
    return batches.prefetch(replicas // pipeline.count)


def parallel_options() -> tf.data.Options:
    """For streams that prepare images in parallel."""
    options = tf.data.Options()
    # To split the work on each image as well only costs time.
    options.threading.max_intra_op_parallelism = 1
    # A compiled function works in a thread of its own, and the one that called it waits.
    options.threading.private_threadpool_size = machine.cores() + _finished_at_once()
    # To look for a better number than that of the cores takes time, and at a stream's end its thread may sleep on: 10 seconds,
    # 20, 41, before anything else happens.
    options.autotune.enabled = False
    # The first batches are made while the step is still traced.
    options.experimental_warm_start = True
    return options


def _images(
    shards: Shards,
    parse: Parse,
    data: DataConfig,
    augment: AugmentConfig,
    shape: tuple[int, int, Segments, Pipeline],
    teacher_image_size: Optional[int] = None,
) -> tf.data.Dataset:
    batch, replicas, segments, pipeline = shape

    options = preprocessing.TrainingOptions(
        data.image_size, data.small_image_model, data.task.flip, augment, data.remove_aug
    )
    begun: dict[str, preprocessing.TrainingOptions] = {"image": options}
    if teacher_image_size is not None and data.noise_teacher:
        begun["teacher_image"] = dataclasses.replace(options, image_size=teacher_image_size, augment=data.augment)

    def begin(seed: tf.Tensor, positioned: tuple[tf.Tensor, Record]) -> dict[str, Any]:
        position, record = positioned
        features = parse(record)
        encoded = features.pop("encoded")
        if teacher_image_size is not None and not data.noise_teacher:
            features["teacher_image"] = preprocessing.evaluation_image(
                encoded, teacher_image_size, data.small_image_model
            )
        for name, options in begun.items():
            own = 0 if name == "image" else _OF_TEACHER
            image_seed = tf.bitwise.bitwise_xor(tf.stack([seed, position]), tf.constant(own, tf.int64))
            features[name] = preprocessing.begin_training_image(encoded, image_seed, options)
        return features

    def of_all(step: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
        def done(features: dict[str, Any]) -> dict[str, Any]:
            return {**features, **{name: step(features[name], options) for name, options in begun.items()}}

        return done

    images = parallel_map(_positions(shards, batch, segments, pipeline), begin)
    if any(preprocessing.PACKED in images.element_spec[name] for name in begun):
        # Fused with the batch after it, the map would begin the images of several batches: at 32 a batch 115 were found waiting.
        # Where all have one size, each is copied into its batch's memory at once.
        one_by_one = tf.data.Options()
        one_by_one.experimental_optimization.map_and_batch_fusion = False
        images = images.with_options(one_by_one)
    batches = images.batch(batch // replicas, drop_remainder=True)
    # Each reads ahead, so that images are begun while a batch is joined and others are finished.
    join, finish = of_all(preprocessing.join_training_images), of_all(preprocessing.finish_training_images)
    batches = batches.map(join, num_parallel_calls=_joined_at_once(), deterministic=True)
    return batches.map(finish, num_parallel_calls=_finished_at_once(), deterministic=True)


def parallel_map(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Maps on all cores; the order stays."""
    return dataset.map(function, num_parallel_calls=STARTED_OF_A_CORE * machine.cores(), deterministic=True)


def _finished_at_once() -> int:
    """Batches that are finished at a time, which takes two fifths of the work."""
    return 1 + machine.cores() // 2


def _joined_at_once() -> int:
    """Batches that are joined at a time, which takes a twentieth of the work."""
    return max(1, machine.cores() // 4)


@tf.autograph.experimental.do_not_convert
def evaluation_stream(
    files: list[str],
    num_classes: int,
    image_size: int,
    small_image_model: bool,
    batch: int,
    replicas: int = 1,
    pipeline: Pipeline = Pipeline(),
    limit: Optional[int] = None,
    skipped: Sequence[Unreadable] = (),
) -> tf.data.Dataset:
    """Every labeled image once; batches have one static size and are filled up with images of weight 0.

    Args:
      files, num_classes, image_size, small_image_model: what is read, and how it is prepared.
      batch: images of one replica's batch.
      replicas: replicas over all pipelines; every pipeline gives the same number of batches.
      pipeline: this process's share.
      limit: the first so many images alone, over all pipelines; None for all.
      skipped: records to leave out (see `unreadable_records`).

    Returns:
      {"image" float32 [batch, H, W, 3] in 0..255, "label" int32 [batch], "weight" float32 [batch] (0 for filling)}.
    """

    def prepare(record: Record) -> dict[str, tf.Tensor]:
        features = parse_labeled(record, num_classes)
        image = preprocessing.evaluation_image(features["encoded"], image_size, small_image_model)
        return {"image": image, "label": features["label"], "weight": tf.constant(1.0)}

    dataset = read_records(tf.data.Dataset.from_tensor_slices(files), skipped).take(-1 if limit is None else limit)
    dataset = dataset.shard(pipeline.count, pipeline.index)
    dataset = parallel_map(dataset, prepare)
    total = None
    if replicas > 1:
        total = count_records(files, skipped) - sum(len(shard.images) for shard in skipped)
    if total is not None and limit is not None:
        total = min(total, limit)
    steps = None if total is None else -(-total // (batch * replicas))
    local = replicas // pipeline.count
    batches = pad_batches(dataset, batch, None if steps is None else steps * local)
    return read_ahead(batches, replicas, pipeline).with_options(parallel_options())


def pad_batches(dataset: tf.data.Dataset, batch: int, count: Optional[int] = None) -> tf.data.Dataset:
    """Batches of one static size, filled up with zeros (so "weight" is 0 there); `count` of them where given."""
    zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), dataset.element_spec)
    filling = tf.data.Dataset.from_tensors(zeros)
    if count is not None:
        padded = dataset.concatenate(filling.repeat()).take(count * batch)
    else:
        # One batch less one of filling completes the last batch; drop_remainder then removes what is left of it.
        padded = dataset.concatenate(filling.repeat(batch - 1))
    return padded.batch(batch, drop_remainder=True)


@tf.autograph.experimental.do_not_convert
def count_labels(files: list[str], num_classes: int, skipped: Sequence[Unreadable] = ()) -> list[int]:
    """Labeled images of each class.

    Raises:
      UserError: a label outside the classes, or a file that cannot be read.
    """
    dataset = read_records(tf.data.Dataset.from_tensor_slices(files), skipped)
    dataset = parallel_map(dataset, lambda record: parse_labeled(record, num_classes)["label"])
    counts = [0] * num_classes
    try:
        for labels in dataset.batch(4096).with_options(parallel_options()).as_numpy_iterator():
            for label in labels:
                counts[label] += 1
    except tf.errors.OpError as error:
        raise explain(error, files) from error
    return counts
