"""Filter and balance: keeps the confident pseudo labels, the same number for every class (docs/release.md, section 9).

    files of a shard -> confidences -> two histograms -> thresholds -> plan -> balanced shard -> stats.json

It is an Apache Beam pipeline whose elements are shards, never records. Each output shard holds the copies of one input shard's
images. What is kept, and in which order, follows from the inputs, the settings and the seed alone, so the bytes are the same
for every runner and every number of workers. `stats.json` is written last: if it is newer than all inputs, the stage is done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from data.records.shards import contents_of
from pseudo_label.balance import beam
from pseudo_label.balance import plan as balance_plan
from pseudo_label.balance.inputs import OUTPUT_PREFIX, ShardFiles, data_dir, find_shards, is_newer, newest_input
from pseudo_label.balance.plan import (
    REPORT_EDGES,
    Confidences,
    Overview,
    Plan,
    copies,
    count_ranked,
    find_thresholds,
    fine_histogram,
    make_plan,
    merge,
    merge_overviews,
    union,
)
from pseudo_label.balance.shards import read_confidences, write_balanced, writing
from pseudo_label.config import BalanceConfig
from pseudo_label.made_with import CONTENTS, SETTINGS_FILE, check_begun_with, check_not_foreign, first_other
from runtime.errors import UserError
from runtime.files import is_temporary, matching, remove_unfinished, write_text
from runtime.places import one_spelling
from runtime.work_dir import STATS_FILE

_IN_STATS = ("settings", "only_get_stats", "num_records", "num_unique", "classes")
# These change how the work is done, where it goes or how it is shown, not what comes out.
_WITHOUT_EFFECT = ("title", "output_dir", "only_get_stats", "beam_args", "label_names")


def balance(config: BalanceConfig) -> dict[str, Any]:
    """Writes the filtered and balanced shards and `stats.json`, and returns the statistics.

    A candidate of class c is an image whose argmax class is c, with min_threshold <= confidence <= max_prob (in float32). Every
    class that has a candidate gets exactly `num_image` records: the most confident ones, ties in the order of (shard, record);
    where there are fewer, each of them num_image/candidates times, rounded down or up, the extra ones drawn by seed.

    Interrupted, it goes on with the shards that are missing; finished, it only reads `stats.json`. An output that is older
    than any of the inputs is stale and is written again, as make would.

    Raises:
      UserError: inputs that are missing, unreadable or do not fit together; no candidate at all; an output_dir begun with other
        settings. Names flag, file and record.
    """
    shards = find_shards(config)
    _check_settings(config)
    newest = newest_input(shards)
    stats = _finished_stats(config, newest)
    if stats is not None:
        print(f"{config.title}: {config.output_dir} is balanced already with these settings, nothing to do")
        return stats
    if not config.only_get_stats:
        _begin(config)
        shards = [dataclasses.replace(files, finished=is_newer(files.output, newest)) for files in shards]
    beam.run(lambda root: _pipeline(root, shards, config), shards, newest, config)
    stats = _read_json(_path(config, STATS_FILE))
    print(_in_words(stats, config))
    return stats


def _in_words(stats: dict[str, Any], config: BalanceConfig) -> str:
    """What `stats.json` says, in a line: how many records, and which classes have none."""
    written = " would be written" if stats["only_get_stats"] else ""
    line = f"{config.title}: {stats['num_records']} records of {stats['num_unique']} images{written}"
    empty = [config.name_of(one["label"]) for one in stats["classes"] if not one["candidates"]]
    if not empty:
        return line
    named = ", ".join(empty[:20]) + (", ..." if len(empty) > 20 else "")
    return f"{line}; {len(empty)} of {len(stats['classes'])} classes have no candidate and so no record: {named}"


def _pipeline(root: Any, shards: list[ShardFiles], config: BalanceConfig) -> None:
    import apache_beam as beam
    from apache_beam.pvalue import AsSingleton

    # `Create` spreads its elements over the workers.
    read = root | "shards" >> beam.Create(shards) | "read confidences" >> beam.Map(_read, config)
    overview = (
        read
        | "overview of a shard" >> beam.Map(_of_confidences, balance_plan.overview, config)
        | "overview" >> beam.CombineGlobally(merge_overviews).without_defaults()
    )
    fine = (
        read
        | "near the thresholds" >> beam.Map(_of_confidences, fine_histogram, AsSingleton(overview), config)
        | "near all thresholds" >> beam.CombineGlobally(merge).without_defaults()
    )
    thresholds = fine | "thresholds" >> beam.Map(find_thresholds, AsSingleton(overview), config)
    plan = (
        read
        | "ties of a shard" >> beam.Map(_of_confidences, count_ranked, AsSingleton(thresholds), config)
        | "ties" >> beam.CombineGlobally(union).without_defaults()
        | "plan" >> beam.Map(make_plan, AsSingleton(thresholds), config)
    )
    work = _count if config.only_get_stats else _write
    _ = (
        read
        | "write shards" >> beam.Map(work, AsSingleton(plan), config)
        | "wait for all shards" >> beam.combiners.ToList()
        | "check counts" >> beam.Map(_checked, AsSingleton(plan), AsSingleton(overview), len(shards), config)
        | "write statistics" >> beam.Map(_write_stats, AsSingleton(plan), AsSingleton(overview), config)
    )


def _read(files: ShardFiles, config: BalanceConfig) -> tuple[ShardFiles, Confidences]:
    return files, read_confidences(files, config)


def _of_confidences(read: tuple[ShardFiles, Confidences], function: Any, *arguments: Any) -> Any:
    # A second PCollection without the files would be held in memory as well.
    return function(read[1], *arguments)


class _Done(NamedTuple):
    """What was done with one shard: its predictions, and the records that were written of it."""

    shard: int
    predictions: int
    records: int


def _write(read: tuple[ShardFiles, Confidences], plan: Plan, config: BalanceConfig) -> _Done:
    return _Done(read[0].shard, len(read[1].labels), write_balanced(*read, plan, config))


def _count(read: tuple[ShardFiles, Confidences], plan: Plan, config: BalanceConfig) -> _Done:
    return _Done(read[0].shard, len(read[1].labels), int(copies(read[1], plan, config).sum()))


def _checked(done: Sequence[_Done], plan: Plan, overview: Overview, num_shards: int, config: BalanceConfig) -> int:
    """The number of records; raises UserError if the runner gave a shard, or what was counted of it, twice or not at all."""
    expected = num_shards, int(overview.report.sum()), int(plan.records.sum())
    got = len({one.shard for one in done}), sum(one.predictions for one in done), sum(one.records for one in done)
    if got == expected and len(done) == num_shards:
        return got[2]
    runner = shlex.join(config.beam_args) or "the direct runner"
    raise UserError(
        f"--beam_args: {runner} lost elements or counted some twice: got {len(done)} shards ({got[0]} different), {got[1]} "
        f"predictions and {got[2]} records, expected {expected[0]}, {expected[1]} and {expected[2]}; the shards in "
        f"{data_dir(config)} are not to be used: run balance into another --output_dir with another runner"
    )


def _write_stats(num_records: int, plan: Plan, overview: Overview, config: BalanceConfig) -> None:
    stats = {
        "settings": _settings(config),
        "only_get_stats": config.only_get_stats,
        "num_image": config.num_image,
        "min_threshold": config.min_threshold,
        "num_predictions": int(overview.report.sum()),
        "num_records": num_records,
        "num_unique": int(plan.kept.sum()),
        "classes": [
            {
                "label": label,
                "candidates": int(plan.thresholds.candidates[label]),
                "threshold": float(threshold) if plan.kept[label] else None,
                "kept_unique": int(plan.kept[label]),
                "records": int(plan.records[label]),
            }
            for label, threshold in enumerate(plan.thresholds.bits.view(np.float32))
        ],
        "confidence_histogram": {"edges": REPORT_EDGES.tolist(), "per_class": overview.report.tolist()},
    }
    _write_json(_path(config, STATS_FILE), stats)


def _finished_stats(config: BalanceConfig, newest: int) -> Optional[dict[str, Any]]:
    path = _path(config, STATS_FILE)
    if not is_newer(path, newest):
        return None
    stats = _read_json(path)
    complete = config.only_get_stats or not stats["only_get_stats"]
    return stats if complete and not first_other(stats["settings"], _settings(config)) else None


def _begin(config: BalanceConfig) -> None:
    """Notes the settings that the shards will be made with, and removes what a killed run left half written."""
    with writing(data_dir(config)):
        tf.io.gfile.makedirs(data_dir(config))
        for folder in (config.output_dir, data_dir(config)):
            remove_unfinished(folder)
    _write_json(_path(config, SETTINGS_FILE), _settings(config))


def _check_settings(config: BalanceConfig) -> None:
    path, wanted = _path(config, SETTINGS_FILE), _settings(config)
    check_not_foreign(_path(config, STATS_FILE), dict.fromkeys(_IN_STATS))
    if all(is_temporary(shard) for shard in matching(data_dir(config), rf"{OUTPUT_PREFIX}-.*")):
        check_not_foreign(path, wanted)
        return  # nothing was made with those settings: they may have been what was wrong
    if not tf.io.gfile.exists(path):
        raise UserError(
            f"--output_dir: {data_dir(config)} holds shards but {path} is missing; name another --output_dir"
        )
    check_begun_with(path, config.output_dir, wanted)


def _settings(config: BalanceConfig) -> dict[str, Any]:
    """What the records follow from: folders in one spelling, and what lies there."""
    folders = {name: one_spelling(getattr(config, name)) for name in ("input_dir", "prediction_dir")}
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in _WITHOUT_EFFECT}
    return {**settings, **folders, CONTENTS: {name: contents_of(folder) for name, folder in folders.items()}}


def _path(config: BalanceConfig, name: str) -> str:
    return os.path.join(config.output_dir, name)


def _write_json(path: str, values: dict[str, Any]) -> None:
    with writing(path):
        write_text(path, json.dumps(values, indent=1) + "\n")


def _read_json(path: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(path) as file:
        return json.loads(file.read())
