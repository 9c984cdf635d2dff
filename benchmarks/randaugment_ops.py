"""RandAugment's ops one by one: processor time of an image in microseconds, plain and compiled.

    python -m benchmarks.randaugment_ops

32 images of 224 pixels, each op at level 9, one thread; the least of several turns, in which all take part one after the other.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Callable

import numpy as np
import tensorflow as tf

from benchmarks import bench_machine, input_pipeline
from data.images import randaugment as plain
from data.images.decoding import evaluation_image
from fast_cpu import randaugment as fast

COUNT, SIZE, LEVEL, TURNS = 32, 224, 9.0, 10


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    jpegs = [tf.constant(jpeg) for jpeg in input_pipeline.make_jpegs(COUNT)]
    images = tf.stack([evaluation_image(jpeg, SIZE, small_image_model=False) for jpeg in jpegs])
    images = plain.to_uint8(images)
    ways = {"plain": _at_level(plain.randaugment), "compiled": _at_level(fast.randaugment)}
    runs = {(name, way): functools.partial(ways[way], images, _draws(name)) for name in plain.OPS for way in ways}
    times = {key: min(taken) for key, taken in _turns(runs).items()}
    print(bench_machine.in_short())
    print(f"{'':14}" + "".join(f"{way:>10}" for way in ways))
    for name in plain.OPS:
        print(f"{name:14}" + "".join(f"{times[name, way]:>10.0f}" for way in ways))
    means = [np.mean([times[name, way] for name in plain.OPS]) for way in ways]
    print(f"{'two of them':14}" + "".join(f"{2 * mean:>10.0f}" for mean in means))


def _at_level(randaugment: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    return tf.function(lambda images, draws: randaugment(images, draws, LEVEL, True), autograph=False)


def _draws(name: str) -> tf.Tensor:
    """One op for every image, with either sign."""
    draws = np.random.default_rng(0).random((COUNT, 1, 4)).astype(np.float32)
    draws[..., 0] = (plain.OPS.index(name) + 0.5) / len(plain.OPS)
    return tf.constant(draws)


def _turns(runs: Mapping[tuple[str, str], Callable[[], tf.Tensor]]) -> dict[tuple[str, str], list[float]]:
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(TURNS + 1):
        for key, run in runs.items():
            began = time.process_time()
            run()
            taken[key].append((time.process_time() - began) / COUNT * 1e6)
    return {key: turns[1:] for key, turns in taken.items()}


if __name__ == "__main__":
    main()
