"""Compares files that the release produced with what this project computes.

python -m tests.golden.compare FILE...

Prints one JSON line a file: kind, ok, and of every quantity the largest deviation, its tolerance and where it is. The
kind is found from the content. Exits 1 where something is out of tolerance, 2 where a file cannot be read or is of no
known kind (one line says which).
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.signals import closed_output_ends
from tests.golden.compare_corruptions import is_corruptions
from tests.golden.robustness_metrics import compare_metrics, is_metrics

OK, DEVIATES, UNREADABLE = 0, 1, 2
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


def compare(path: str) -> dict[str, Any]:
    """Compares one file: {"file", "kind", "ok", "deviations"}.

    Raises:
      UserError: missing, corrupt, or of no known kind.
    """
    path = _trajectory_of(path)
    content = read(path)
    kind = kind_of(content)
    if kind is None:
        raise UserError(
            f"{path}: of no known kind: expected variables, learning rates, images, corruptions, attacks, robustness "
            "scores or a trajectory"
        )
    try:
        result = _compare(kind, content, os.path.splitext(path)[0])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError) as error:  # a file that is not quite what its kind should be
        raise UserError(f"{path}: is no whole {kind} file: {type(error).__name__}: {_one_line(error)}") from error
    return {"file": path, "kind": kind, **result}


def _trajectory_of(path: str) -> str:
    """A run's checkpoint (`<run>/final.ckpt.index`) is compared with its run, `<run>.npz`; other paths stay."""
    name = os.path.basename(path)
    return os.path.dirname(path) + ".npz" if ".ckpt." in name else path


def _compare(kind: str, content: Any, stem: str) -> dict[str, Any]:
    if kind == "robustness_metrics":
        return compare_metrics(content)
    # TensorFlow is imported here, so that `main` can quiet it first.
    if kind == "trajectory":
        from tests.golden.compare_trajectory import compare_trajectory

        return compare_trajectory(content, folder=stem)
    if kind in ("variables", "learning_rate"):
        from tests.golden import compare_tables

        return compare_tables.COMPARISONS[kind](content)
    if kind == "corruptions":
        from tests.golden.compare_corruptions import compare_corruptions

        return compare_corruptions(content)
    if kind == "attacks":
        from tests.golden.compare_attacks import RUN, compare_attacks

        return compare_attacks(content, read(os.path.join(os.path.dirname(stem), RUN)))
    from tests.golden import compare_images

    return {"randaugment": compare_images.compare_randaugment, "preprocess": compare_images.compare_preprocess}[kind](
        content
    )


def read(path: str) -> Any:
    """The content of a file: {name: array} of an npz, values of JSON (also gzipped).

    Raises:
      UserError: missing, neither of these, or corrupt.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        if data[:2] == b"PK":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except _UNREADABLE as error:
        raise UserError(f"{path}: cannot be read: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def kind_of(content: Any) -> str | None:
    """The kind of a file's content, None where it is unknown."""
    if isinstance(content, list):
        tables = content and all(
            isinstance(table, dict) and {"steps", "learning_rate"} <= set(table) for table in content
        )
        return "learning_rate" if tables else None
    if not isinstance(content, dict) or not content:
        return None
    if is_metrics(content):
        return "robustness_metrics"
    if all(isinstance(value, dict) and "variables" in value for value in content.values()):
        return "variables"
    first = {name.split("/")[0] for name in content}
    if {"flags", "history", "init"} <= first:
        return "trajectory"
    if {"jpeg", "eval"} <= first:
        return "preprocess"
    if is_corruptions(content):
        return "corruptions"
    if {"image", "label"} <= first and any(name.endswith("/clean/gradient") for name in content):
        return "attacks"
    return "randaugment" if "image" in first and any(name.count("/") == 3 for name in content) else None


def main(arguments: Sequence[str]) -> int:
    """Compares each file, prints its line; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return OK if arguments else UNREADABLE
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    code = OK
    for path in arguments:
        try:
            result = compare(path)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            code = UNREADABLE
            continue
        print(json.dumps(result), flush=True)
        code = code if result["ok"] else max(code, DEVIATES)
    return code


if __name__ == "__main__":
    with closed_output_ends():
        sys.exit(main(sys.argv[1:]))
