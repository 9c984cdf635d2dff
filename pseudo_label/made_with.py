"""Notes the settings of a stage beside its output, so that one output_dir never mixes two kinds of work."""

from __future__ import annotations

import json
from typing import Any, Optional

import tensorflow as tf

from runtime.errors import UserError
from runtime.places import one_spelling

SETTINGS_FILE = "settings.json"
CONTENTS = "contents"  # {setting that is a folder: digest of the shards there}


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
    different = first_other(before, wanted)
    if different:
        raise UserError(
            f"--output_dir: {output_dir} was begun with {different}={before.get(different)!r}, got {wanted[different]!r}; name "
            "another --output_dir, or remove this one yourself"
        )


def first_other(before: dict[str, Any], wanted: dict[str, Any]) -> Optional[str]:
    """The first of the settings `wanted` that differs; a folder is the same by another spelling, or with the same shards."""
    for name, value in wanted.items():
        if name == CONTENTS or before.get(name) == value:
            continue
        if name.endswith("_dir") and isinstance(before.get(name), str) and _same_folder(name, before, wanted):
            continue
        return name
    return None


def _same_folder(name: str, before: dict[str, Any], wanted: dict[str, Any]) -> bool:
    if one_spelling(before[name]) == wanted[name]:
        return True
    old, new = (settings.get(CONTENTS, {}).get(name) for settings in (before, wanted))
    return bool(new) and old == new
