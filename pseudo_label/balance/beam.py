"""Runs the pipeline of balance: picks the runner and the number of processes, shows a bar, and puts errors on one line."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import re
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional

import tensorflow as tf

from pseudo_label.balance.inputs import ShardFiles, is_newer
from pseudo_label.config import BalanceConfig
from runtime import machine
from runtime.errors import UserError
from runtime.progress import progress

# Below so many bytes of input, starting processes (each imports TensorFlow and Beam) takes longer than the work.
SMALL_INPUT_BYTES = 1 << 30
SECONDS_BETWEEN_LOOKS = 0.5

_ROOT = str(pathlib.Path(__file__).resolve().parents[2])


def run(build: Callable[[Any], None], shards: Sequence[ShardFiles], newest: int, config: BalanceConfig) -> None:
    """Builds a pipeline with `build(root)` and runs it to its end.

    `config.beam_args` name the runner, as for any Beam program; without one the pipeline runs on this machine, in this process
    or, where the input is large, in as many as there are cores.

    Args:
      shards, newest: for the bar: a shard is done when its output is there and newer than `newest` (nanoseconds).

    Raises:
      UserError: one that was raised in a worker, without what Beam wraps around it.
    """
    with _quiet():
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

        options = PipelineOptions(flags=list(config.beam_args))
        remote = options.view_as(StandardOptions).runner not in (None, "DirectRunner")
    # A remote runner's log says where the job can be watched; a local one's only repeats our errors.
    with tempfile.TemporaryDirectory() as folder, contextlib.nullcontext() if remote else _quiet():
        log = os.path.join(folder, "workers.log")
        runner = None if remote else _local_runner(options, config.beam_args, shards, log)
        try:
            pipeline = beam.Pipeline(runner=runner, options=options)
        except ValueError as error:
            raise UserError(f"--beam_args: {' '.join(str(error).split())}") from error
        build(pipeline)
        with _bar(shards, newest, config):
            try:
                pipeline.run().wait_until_finish()
            except Exception as error:
                raise _user_error(error) or RuntimeError(f"{error}\n{_text(log)}") from error


def _local_runner(options: Any, beam_args: Sequence[str], shards: Sequence[ShardFiles], log: str) -> Any:
    """Beam's own runner, in this process or in several; `DirectRunner` would first try Prism, which has to be downloaded."""
    from apache_beam.options.pipeline_options import DirectOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    direct = options.view_as(DirectOptions)
    named = {argument.split("=")[0] for argument in beam_args}
    if "--direct_num_workers" not in named:
        processes_wanted = direct.direct_running_mode == "multi_processing"
        direct.direct_num_workers = machine.cores() if processes_wanted else _default_processes(shards)
    if "--direct_running_mode" not in named and direct.direct_num_workers != 1:
        direct.direct_running_mode = "multi_processing"
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    # With a running mode Beam would choose the workers' command, and they could not import these modules from everywhere.
    direct.direct_running_mode = "in_memory"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(_worker_command(log)))


def _default_processes(shards: Sequence[ShardFiles]) -> int:
    size = 0
    for files in shards:
        size += sum(tf.io.gfile.stat(path).length for path in (files.images, *files.predictions))
        if size >= SMALL_INPUT_BYTES:
            return min(machine.cores(), len(shards))
    return 1


def _worker_command(log: str) -> str:
    """Starts a worker that finds our modules, leaves the accelerators alone and logs to a file, not to the terminal."""
    variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH")))),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    python = shlex.quote(sys.executable)
    return f"exec env {settings} {python} -m apache_beam.runners.worker.sdk_worker_main 2>>{shlex.quote(log)}"


def _text(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _user_error(error: Exception) -> Optional[UserError]:
    """The UserError in what Beam makes of it: the same class with a longer text, or an error that quotes its traceback."""
    if isinstance(error, UserError):
        text = str(error)
    else:
        found = re.search(r"^errors\.UserError: (.*)$", str(error), re.MULTILINE)
        if found is None:
            return None
        text = found[1]
    return UserError(re.sub(r" \[while running .*", "", text, flags=re.DOTALL))


@contextlib.contextmanager
def _bar(shards: Sequence[ShardFiles], newest: int, config: BalanceConfig) -> Iterator[None]:
    """Counts the shards that appear while the block runs; runners have no common way to tell how far they are."""
    if config.only_get_stats:
        yield
        return
    pending = [files.output for files in shards if not files.finished]
    stop = threading.Event()
    with progress(config.title, len(shards), "shards", initial=len(shards) - len(pending)) as bar:

        def look() -> None:
            written = [path for path in pending if is_newer(path, newest)]
            for path in written:
                pending.remove(path)
            bar.update(len(written))

        def keep_looking() -> None:
            pause = SECONDS_BETWEEN_LOOKS
            while not stop.wait(pause):
                started = time.monotonic()
                with contextlib.suppress(tf.errors.OpError, OSError):
                    look()
                # Looking at thousands of remote files takes a while: a tenth of the time at most.
                pause = max(SECONDS_BETWEEN_LOOKS, 9 * (time.monotonic() - started))

        watcher = threading.Thread(target=keep_looking, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
        look()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Switches logging off: importing Beam warns about clients that are not used here, and its runners log every failure."""
    level, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        # A first warning on the root logger installs a handler, which would repeat everybody's later messages.
        logging.root.handlers[:] = handlers
