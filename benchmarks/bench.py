"""All benchmarks, one after another, and what they found: `make bench`, or

    python -m benchmarks.bench                          # every row; writes benchmarks/RESULTS.md
    python -m benchmarks.bench --only=balance,predict   # these rows anew, the others as they were

Each row is a script of its own, `python -m benchmarks.ROW --json`, run alone in a fresh process. `results.json` beside the
table holds what the scripts printed, each with its date, machine and versions, so that rows can be measured at different times.
With `--check` the exit status is 1 where a row is below its target. A row that fails is said, keeps its earlier result, and
always makes the exit status 1.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks import bench_machine, bench_table

SECONDS_OF_A_ROW = 600
RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results.json")


def main() -> int:
    arguments = _arguments()
    os.makedirs(os.path.dirname(arguments.results) or ".", exist_ok=True)
    failed = [name for name in arguments.only if not measure(name, arguments.results)]
    results = load(arguments.results)
    table = os.path.join(os.path.dirname(arguments.results) or ".", "RESULTS.md")
    _write(table, bench_table.render(results))
    print(f"{table} written")
    below = [name for name in arguments.only if name in results and not bench_table.row(name, results[name]).reached]
    for name in below:
        print(f"below its target: {name}")
    return 1 if failed or (arguments.check and below) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_names, default=list(bench_table.ROWS), help="rows, by comma")
    parser.add_argument("--results", default=RESULTS, help="where results are kept; RESULTS.md is written beside it")
    parser.add_argument("--check", action="store_true", help="exit 1 where a row is below its target")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in bench_table.ROWS:
            raise argparse.ArgumentTypeError(f"got {name!r}, expected some of {','.join(bench_table.ROWS)}")
    return names


def measure(name: str, results: str) -> bool:
    """Runs one row's script and keeps what it printed in the file `results`; False where it failed, which is printed."""
    module = f"benchmarks.{name}"
    print(f"{module} ...", end="", flush=True)
    started = time.monotonic()
    command = [sys.executable, "-m", module, "--json"]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS_OF_A_ROW)
    except subprocess.TimeoutExpired:
        print(f" took more than {SECONDS_OF_A_ROW} s and was stopped")
        return False
    seconds = round(time.monotonic() - started)
    found = parse(done.stdout) if done.returncode == 0 else None
    if found is None:
        print(f" failed with status {done.returncode} after {seconds} s\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
        return False
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    entry = {"date": now, "seconds": seconds, **bench_machine.describe(), "found": found}
    try:
        ours = bench_table.row(name, entry).ours
    except KeyError as missing:
        print(f" printed JSON without {missing}, which benchmarks/bench_table.py expects of it")
        return False
    _write(results, json.dumps({**load(results), name: entry}, indent=1) + "\n")
    print(f" {seconds} s: {ours}")
    return True


def parse(printed: str) -> dict[str, Any] | None:
    """The JSON object that a script printed last; what a library says before it is skipped."""
    lines = printed.splitlines(keepends=True)
    for start in (number for number, line in enumerate(lines) if line.startswith("{")):
        try:
            return json.loads("".join(lines[start:]))
        except json.JSONDecodeError:
            continue
    return None


def load(path: str) -> dict[str, Any]:
    """What is kept of earlier runs."""
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def _write(path: str, text: str) -> None:
    temporary = f"{path}.writing-{os.getpid()}"
    with open(temporary, "w") as file:
        file.write(text)
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main())
