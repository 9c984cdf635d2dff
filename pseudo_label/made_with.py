"""Notes the settings of a stage beside its output, so that one output_dir never mixes two kinds of work."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from runtime.errors import UserError

SETTINGS_FILE = "settings.json"


def check_not_foreign(path: str, wanted: dict[str, Any]) -> None:
    """Raises UserError where `path` is there and holds no such settings: it is somebody else's and would be written over."""
    if not tf.io.gfile.exists(path):
        return
    with tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict) or 2 * len(wanted.keys() & found.keys()) < len(wanted):
        raise UserError(
            f"--output_dir: {path} is there already and was not written here; name another --output_dir, or move it"
        )


def check_begun_with(path: str, output_dir: str, wanted: dict[str, Any]) -> None:
    """Raises UserError where the settings noted in `path` are not those `wanted`; names the first that differs."""
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    try:
        before = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); copy it again, or name another --output_dir") from error
    for name, value in wanted.items():
        if before.get(name) != value:
            raise UserError(
                f"--output_dir: {output_dir} was begun with {name}={before.get(name)!r}, got {value!r}; name another "
                "--output_dir, or remove this one yourself"
            )
