"""Where a mode reads and writes, and which shards, as the flags say. No TensorFlow here but for remote folders."""

from __future__ import annotations

import os
import re
from typing import Any, Optional

from absl.flags import FlagValues

from runtime.errors import UserError
from runtime.files import listed


def needed(values: FlagValues, flag: str, what: str) -> Any:
    """The flag's value; raises UserError, with `what` it is, if it was not given."""
    if not values[flag].value:
        raise UserError(f"--{flag} is missing: --mode={values.mode} needs it, {what}")
    return values[flag].value


def in_data_dir(values: FlagValues, folder: str, flag: str, what: str) -> str:
    """`<data_dir>/<folder>`, in place of `flag`; raises UserError if neither was given."""
    if not values.data_dir:
        raise UserError(f"--{flag} is missing: --mode={values.mode} needs it, {what}; or give --data_dir")
    return os.path.join(values.data_dir, folder)


def images_dir(values: FlagValues) -> tuple[str, str]:
    """What predict reads, and the flag that says so; the release took it from --label_data_dir.

    Raises:
      UserError: no flag says it.
    """
    for flag in ("unlabel_data_dir", "label_data_dir"):
        given = values[flag].value
        if given:
            return str(given), flag
    if values.reassign_label:
        raise UserError("--unlabel_data_dir is missing: --reassign_label needs it, the balanced records")
    return in_data_dir(values, "unlabeled", "unlabel_data_dir", "the images to predict on"), "data_dir"


def file_prefix(values: FlagValues, directory: str) -> str:
    """What the names of the unlabeled shards begin with: as flagged, else `extra` if a prepared folder (--data_dir) holds
    such shards alone, as that of svhn does, else the flag's default."""
    if not values["file_prefix"].present and values.data_dir:
        found = {
            name.split("-")[0] for name in listed(directory) if re.fullmatch(r"(train|extra)-\d{5}-of-\d{5}", name)
        }
        if found == {"extra"}:
            return "extra"
    return values.file_prefix


def count_shards(values: FlagValues, directory: str) -> int:
    """Shards of a set: as flagged, else what a prepared folder (--data_dir) holds, else the flag's default.

    Raises:
      UserError: `directory` holds several sets, of different numbers.
    """
    if values["num_shards"].present or not values.data_dir:
        return values.num_shards
    pattern = re.compile(rf"{re.escape(file_prefix(values, directory))}-\d{{5}}-of-(\d{{5}})")
    found = {int(match.group(1)) for match in map(pattern.fullmatch, listed(directory)) if match}
    if len(found) > 1:
        raise UserError(
            f"--num_shards is missing: {directory} holds sets of {' and '.join(map(str, sorted(found)))} shards"
        )
    return found.pop() if found else values.num_shards


def parse_shard_ids(text: str, num_shards: int) -> Optional[tuple[int, ...]]:
    """Numbers of the shards in `--shard_id`; None for all.

    Raises:
      UserError: no such shard.
    """
    if text == "all":
        return None
    parts = text.split(",")
    for part in parts:
        if not part.strip().isdigit() or int(part) >= num_shards:
            raise UserError(
                f"--shard_id: got {text!r}, expected numbers from 0 to {num_shards - 1} (as --num_shards says), separated by "
                "commas, or all"
            )
    return tuple(dict.fromkeys(int(part) for part in parts))
