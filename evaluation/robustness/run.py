"""How robust networks are (`--mode=robustness`): shows them all the same pictures and writes a page of numbers and plots."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from data.fast import Fast
from data.streams.reading import count_up_to
from evaluation.robustness.config import RobustnessConfig
from evaluation.robustness.networks import AnsweringNetwork
from evaluation.robustness.outcomes import FLAG, Outcomes, Shard, shards_of
from evaluation.robustness.own_pictures import Labeled
from evaluation.robustness.parts import Part, parts_of
from evaluation.robustness.results import Measured, collect
from evaluation.run import split_files
from reporting import robustness as page
from runtime import devices
from runtime.files import write_faults, write_text
from runtime.progress import Progress, progress

RESULTS_FILE = "robustness.json"


def run(config: RobustnessConfig, fast: Fast = Fast()) -> Optional[dict[str, Any]]:
    """`robustness` in a process that does nothing else."""
    for network in config.networks:
        size = network.image_size
        fast.before_inference(network.model, [config.batch_size, size, size, 3])
    return measure(config, fast)


def measure(config: RobustnessConfig, fast: Fast = Fast()) -> Optional[dict[str, Any]]:
    """Has every network answer what it has not answered yet; then writes and prints the results.

    The processes of TF_CONFIG share the shards, each with its own devices. The last one to end writes the page.

    Returns:
      the content of robustness.json; None if other processes are still at work.

    Raises:
      UserError: no such checkpoint or picture, another network's checkpoint, a record or picture that cannot be read.
    """
    parts = parts_of(config)
    networks = _networks(config, parts, fast)
    work = [_Work(part, config, networks) for part in parts]
    for each in work:
        each.run()
    if not all(each.is_complete() for each in work):
        print(f"{config.title}: done; other processes are still at work, and the last of them writes the page")
        return None
    results = collect(config, [each.measured() for each in work])
    _write(config, results)
    return results


def _networks(config: RobustnessConfig, parts: Sequence[Part], fast: Fast) -> list[AnsweringNetwork]:
    strategy = devices.make_strategy(config.device, local=True)
    answers = sum(part.num_pictures // config.every * part.shown_each for part in parts)
    files = split_files(config.data) if config.data else []
    with strategy.scope():
        ops = fast.inference(lambda enough: max(min(answers, enough), count_up_to(enough, files)))
    attack = config.attack if any(part.attacks for part in parts) else None
    return [
        AnsweringNetwork(network, strategy, config.device, ops, config.batch_size, config.use_averages, attack)
        for network in config.networks
    ]


class _Work:
    """One part of the suite, and how far it is done."""

    def __init__(self, part: Part, config: RobustnessConfig, networks: Sequence[AnsweringNetwork]):
        self._part, self._config, self._networks = part, config, networks
        self._outcomes = Outcomes(config.output_dir, part.name, part.settings)
        self._keys = [f"{network.identity}-{network.network.image_size}" for network in networks]
        if not config.use_averages:
            self._keys = [f"{key}-raw" for key in self._keys]
        self._shards = shards_of(part.num_pictures, config.every, part.shown_each)

    def is_complete(self) -> bool:
        """Whether every network has answered everything."""
        return all(self._outcomes.is_there(key, shard) for key in self._keys for shard in self._shards)

    def run(self) -> None:
        """Has the networks answer this process's shards."""
        self._outcomes.begin()
        place = devices.place_in_cluster()
        mine = self._shards[place.index :: place.count]
        missing = {
            shard: tuple(i for i, key in enumerate(self._keys) if not self._outcomes.is_there(key, shard))
            for shard in mine
        }
        pending = [shard for shard in mine if missing[shard]]
        if not pending:
            print(f"{self._config.title}: {self._part.name}: done before")
            return
        each = self._part.shown_each
        total, done = (each * sum(len(shard.positions) for shard in shards) for shards in (mine, mine))
        done -= each * sum(len(shard.positions) for shard in pending)
        with progress(f"{self._config.title}: {self._part.name}", total, "pictures", initial=done) as bar:
            for asked in sorted(set(missing.values()) - {()}):
                self._answer([shard for shard in pending if missing[shard] == asked], asked, bar)

    def _answer(self, shards: Sequence[Shard], asked: Sequence[int], bar: Progress) -> None:
        """Shows the pictures of these shards to the networks `asked`, and writes what is kept, shard by shard."""
        positions = [position for shard in shards for position in shard.positions]
        networks = [self._networks[index] for index in asked]
        answered = _answered(self._part, positions, networks, bar)
        for shard in shards:
            kept = [next(answered) for _ in shard.positions]
            for number, index in enumerate(asked):
                self._outcomes.write(self._keys[index], shard, [each[number] for each in kept])

    def measured(self) -> Measured:
        """What all networks answered."""
        positions = [position for shard in self._shards for position in shard.positions]
        return Measured(self._part, len(positions), [self._outcomes.read(key, self._shards) for key in self._keys])


def _answered(
    part: Part, positions: Sequence[int], networks: Sequence[AnsweringNetwork], bar: Progress
) -> Iterator[list[dict[str, np.ndarray]]]:
    """For each picture in turn what is kept of every network's answers."""
    batch = min(network.batch_size for network in networks)
    waiting: list[Labeled] = []
    answers: list[list[Any]] = [[] for _ in networks]  # of each network, a row for each picture shown
    for images, labels, numbers, finished in _batches(part.shown(positions), batch):
        waiting += finished
        for rows, network in zip(answers, networks):
            found = part.answers(network, images, labels, numbers)
            rows += [{name: values[row] for name, values in found.items()} for row in range(len(images))]
        bar.update(len(images))
        while waiting and len(answers[0]) >= part.shown_each:
            picture = waiting.pop(0)
            yield [part.kept(_first(rows, part.shown_each), picture.label) for rows in answers]


def _first(rows: list[Any], count: int) -> dict[str, np.ndarray]:
    """Takes the first rows away."""
    taken, rows[:] = rows[:count], rows[count:]
    return {name: np.stack([row[name] for row in taken]) for name in taken[0]}


def _batches(
    pictures: Iterator[Labeled], batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, list[Labeled]]]:
    """(images [n, S, S, 3], labels [n], positions [n], pictures that came in with them), n = batch but for the last."""
    images, labels, numbers, came = list[np.ndarray](), list[int](), list[int](), list[Labeled]()

    def one() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Labeled]]:
        return np.stack(images[:batch]), np.array(labels[:batch]), np.array(numbers[:batch]), came[:]

    for picture in pictures:
        came.append(picture._replace(images=picture.images[:0]))
        images += list(picture.images)
        labels += [picture.label] * len(picture.images)
        numbers += [picture.position] * len(picture.images)
        while len(images) >= batch:
            yield one()
            del images[:batch], labels[:batch], numbers[:batch], came[:]
    if images:
        yield one()


def _write(config: RobustnessConfig, results: dict[str, Any]) -> None:
    if devices.place_in_cluster().count == 1 or results:
        path = os.path.join(config.output_dir, RESULTS_FILE)
        with write_faults(path, FLAG):
            write_text(path, json.dumps(results, indent=1, sort_keys=True) + "\n")
            written = page.write(config.output_dir, results)
        print(page.table(results))
        print(f"page: {written}")
