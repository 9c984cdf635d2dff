"""How robust networks are (`--mode=robustness`): shows them all the same pictures and writes a page of numbers and plots."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from data.fast import Fast
from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.config import RobustnessConfig
from evaluation.robustness.corruptions import CORRUPTIONS
from evaluation.robustness.networks import AnsweringNetwork
from evaluation.robustness.outcomes import FLAG, Outcomes, Shard, shards_of
from evaluation.robustness.own_pictures import Labeled
from evaluation.robustness.parts import Part, own_parts
from evaluation.robustness.published import published_parts
from evaluation.robustness.results import collect
from evaluation.robustness.sections import Measured
from reporting import robustness as page
from runtime import devices
from runtime.files import write_faults, write_text
from runtime.progress import Progress, progress
from runtime.work_dir import ROBUSTNESS_FILE


def run(config: RobustnessConfig, fast: Fast = Fast()) -> Optional[dict[str, Any]]:
    """`robustness` in a process that does nothing else."""
    for network in config.networks:
        size = network.image_size
        fast.before_inference(network.model, [config.eval_batch_size, size, size, 3])
    return measure(config, fast)


def measure(config: RobustnessConfig, fast: Fast = Fast()) -> Optional[dict[str, Any]]:
    """Has every network answer what it has not answered yet; then writes and prints the results.

    The processes of TF_CONFIG share the shards, each with its own devices. The last one to end writes the page.

    Returns:
      the content of robustness.json; None if other processes are still at work.

    Raises:
      UserError: no such checkpoint or picture, another network's checkpoint, a record or picture that cannot be read.
    """
    parts = [*own_parts(config), *published_parts(config)]
    networks = _networks(config, parts, fast)
    work = [_Work(part, config, networks) for part in parts]
    for each in work:
        each.run()
    if not all(each.is_complete() for each in work):
        print(f"{config.title}: done; other processes are still at work, and the last of them writes the page")
        return None
    print(f"{config.title}: intervals and plots")
    results = collect(config, {each.part.name: each.measured() for each in work})
    _write(config, results, strip_of(config, parts))
    return results


def _networks(config: RobustnessConfig, parts: Sequence[Part], fast: Fast) -> list[AnsweringNetwork]:
    strategy = devices.make_strategy(config.device, local=True)
    answers = sum(part.num_pictures // config.every * part.shown_each for part in parts)
    with strategy.scope():
        ops = fast.inference(lambda enough: min(answers, enough))
    attack = config.attack if any(part.attacks for part in parts) else None
    return [
        AnsweringNetwork(network, strategy, config.device, ops, config.eval_batch_size, config.use_averages, attack)
        for network in config.networks
    ]


class _Work:
    """One part of the suite, and how far it is done."""

    def __init__(self, part: Part, config: RobustnessConfig, networks: Sequence[AnsweringNetwork]):
        self.part, self._config, self._networks = part, config, networks
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
            print(f"{self._config.title}: {self.part.name}: done before")
            return
        done = sum(self._answers(shard, len(self._keys) - len(missing[shard])) for shard in mine)
        total = sum(self._answers(shard, len(self._keys)) for shard in mine)
        with progress(f"{self._config.title}: {self.part.name}", total, "answers", initial=done) as bar:
            for asked in sorted(set(missing.values()) - {()}):
                shards = [shard for shard in pending if missing[shard] == asked]
                for together in self._shown_together(asked):
                    self._answer(shards, together, bar)

    def _answers(self, shard: Shard, networks: int) -> int:
        """Answers of so many networks to a shard."""
        return networks * len(shard.positions) * self.part.shown_each

    def _shown_together(self, asked: Sequence[int]) -> list[list[int]]:
        """The networks, those together that are shown the same pictures."""
        if not self.part.sized:
            return [list(asked)]
        sizes = [self._networks[index].network.image_size for index in asked]
        return [[index for index, own in zip(asked, sizes) if own == size] for size in dict.fromkeys(sizes)]

    def _answer(self, shards: Sequence[Shard], asked: Sequence[int], bar: Progress) -> None:
        """Shows the pictures of these shards to the networks `asked`, and writes what is kept, shard by shard."""
        positions = [position for shard in shards for position in shard.positions]
        networks = [self._networks[index] for index in asked]
        answered = _answered(self.part, positions, networks)
        for shard in shards:
            kept = []
            for _ in shard.positions:
                kept.append(next(answered))
                bar.update(self.part.shown_each * len(asked))
            for number, index in enumerate(asked):
                self._outcomes.write(self._keys[index], shard, [each[number] for each in kept])

    def measured(self) -> Measured:
        """What all networks answered."""
        positions = [position for shard in self._shards for position in shard.positions]
        return Measured(self.part, len(positions), [self._outcomes.read(key, self._shards) for key in self._keys])


def _answered(
    part: Part, positions: Sequence[int], networks: Sequence[AnsweringNetwork]
) -> Iterator[list[dict[str, np.ndarray]]]:
    """For each picture in turn what is kept of every network's answers."""
    batch = min(network.batch_size for network in networks)
    waiting: list[Labeled] = []
    answers: list[list[Any]] = [[] for _ in networks]  # of each network, a row for each picture shown
    for images, labels, numbers, finished in _batches(part.shown(positions, networks[0].network.image_size), batch):
        waiting += finished
        for rows, network in zip(answers, networks):
            found = part.answers(network, images, labels, numbers)
            rows += [{name: values[row] for name, values in found.items()} for row in range(len(images))]
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


def strip_of(config: RobustnessConfig, parts: Sequence[Part]) -> Optional[dict[str, np.ndarray]]:
    """{corruption: uint8 [5, S, S, 3]} of the first picture, and the clean one under "", uint8 [1, S, S, 3]; None if no
    corruptions were generated."""
    for part in parts:
        if part.name == "generated-c":
            images = next(iter(part.shown([0], config.image_size))).images
            rows = images[1:].reshape(len(CORRUPTIONS), len(SEVERITIES), *images.shape[1:])
            return {"": images[:1], **dict(zip(CORRUPTIONS, rows))}
    return None


def _write(config: RobustnessConfig, results: dict[str, Any], strip: Optional[dict[str, np.ndarray]]) -> None:
    path = os.path.join(config.output_dir, ROBUSTNESS_FILE)
    with write_faults(path, FLAG):
        written = page.write(config.output_dir, results, strip)
        write_text(path, json.dumps(results, indent=1, sort_keys=True) + "\n")  # last: the mark that the page is whole
    print(page.table(results))
    print(f"page: {written}")
