"""What a network answered, picture by picture, in small files: a run that was killed continues, and workers share the work.

    OUTPUT_DIR/outcomes/<part>-<hash of its settings>/settings.json
    OUTPUT_DIR/outcomes/<part>-<hash of its settings>/<network>/<first>-<last>.npz

Other settings have another folder, so that no two are mixed. A file has its name only if it is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from runtime.errors import UserError
from runtime.files import whole_file, write_faults, write_text

FLAG = "output_dir"
FOLDER, SETTINGS_FILE = "outcomes", "settings.json"
ANSWERS_A_SHARD = 5000


@dataclasses.dataclass(frozen=True)
class Shard:
    """Pictures that are worked on together: the positions of some of a part's."""

    positions: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.positions[0]:08d}-{self.positions[-1]:08d}.npz"


def shards_of(num_pictures: int, every: int, shown_each: int) -> list[Shard]:
    """The shards of a part, each of about 5,000 answers of a network: what a killed run loses at most."""
    positions = range(0, num_pictures, every)
    size = max(ANSWERS_A_SHARD // shown_each, 1)
    return [Shard(tuple(positions[start : start + size])) for start in range(0, len(positions), size)]


class Outcomes:
    """The files of one part.

    Args:
      output_dir: folder of the whole run.
      part: name of the part.
      settings: what the outcomes follow from, beside the network.
    """

    def __init__(self, output_dir: str, part: str, settings: Mapping[str, Any]):
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        self._folder = os.path.join(output_dir, FOLDER, f"{part}-{digest}")
        self._settings = text

    def begin(self) -> None:
        """Writes the settings.

        Raises:
          UserError: the folder cannot be written to.
        """
        path = os.path.join(self._folder, SETTINGS_FILE)
        with write_faults(path, FLAG):
            write_text(path, self._settings)

    def _path(self, network: str, shard: Shard) -> str:
        return os.path.join(self._folder, re.sub(r"[^\w.-]+", "_", network), shard.name)

    def is_there(self, network: str, shard: Shard) -> bool:
        """Whether the network (its identity) has answered these pictures."""
        return tf.io.gfile.exists(self._path(network, shard))

    def write(self, network: str, shard: Shard, kept: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Writes what is kept of each picture of the shard.

        Raises:
          UserError: the folder cannot be written to.
        """
        path, content = self._path(network, shard), io.BytesIO()
        np.savez_compressed(content, **{name: np.stack([each[name] for each in kept]) for name in kept[0]})
        with write_faults(path, FLAG):
            tf.io.gfile.makedirs(os.path.dirname(path))
            with whole_file(path) as temporary, tf.io.gfile.GFile(temporary, "wb") as file:
                file.write(content.getvalue())

    def read(self, network: str, shards: Sequence[Shard]) -> dict[str, np.ndarray]:
        """What is kept of all pictures, [N, ...] each.

        Raises:
          UserError: a file that is damaged.
        """
        found = [self._read(self._path(network, shard), len(shard.positions)) for shard in shards]
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}

    def _read(self, path: str, count: int) -> dict[str, np.ndarray]:
        with tf.io.gfile.GFile(path, "rb") as file:
            content = file.read()
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            if any(len(values) != count for values in found.values()):
                raise ValueError(f"expected {count} pictures")
            return found
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path}: damaged ({error}); remove it and run the same command again, which makes it anew"
            ) from error
