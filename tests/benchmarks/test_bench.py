"""RESULTS.md from made-up results, and which runs count."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks import bench, bench_machine, bench_table, scaling
from benchmarks.generation import CHEAP
from evaluation.robustness.corruptions import CORRUPTIONS

MACHINE = {"machine": "A processor, 2 cores, 8 GiB, Linux x86_64", "versions": "Python 3.11.7, tensorflow 2.15.1"}


def turns(ratio, peer="keras.applications"):
    return {
        "machine": "x86_64",
        "peer": peer,
        "ratio": ratio,
        "target": 1.3,
        "rows": {
            "ours": {"images_per_second": 20.0, "spread": [18.25, 22.0], "turns": [20.0], "times_peer": ratio},
            peer: {"images_per_second": 14.0, "spread": [13.0, 15.0], "turns": [14.0], "times_peer": 1.0},
        },
    }


def balance(rate):
    line = {"records": 2 * rate, "spread": [1.6, 2.5], "records_per_second": rate, "times_the_release": 93.0}
    return {"machine": "", "classes": 10, "image_bytes": 500, "target": 100_000, "rows": [line]}


def pipeline(rate, share):
    row = {"images_per_second": rate, "slowest": rate - 9, "fastest": rate + 9, "of_without": share}
    rows = {"ours": row, "ours without RandAugment": {**row, "of_without": 1.0}}
    return {"machine": "", "rows": rows, "times": {"tf.data without RandAugment": 0.85, "timm": 2.7}}


def runs(*seconds):
    return [
        {"records": 100 * 2**power, "seconds": value + power % 2, "cpu_seconds": value}
        for power, value in enumerate(seconds)
    ]


def memory(growth):
    return {
        "steps": 2000,
        "resident_mib": [600.0, 600.0 + growth],
        "growth_mib": growth,
        "target_mib": 8.0,
    }


def start(seconds):
    return {"target": 8, "rows": {"ours": {"seconds": seconds, "spread": [seconds - 1, seconds + 1]}}}


def corruptions(large, small, ratio=None):
    def side(ms, target, target_ratio):
        rows = {"ours": {"all_ms": ms, "spread": [ms - 1, ms + 1]}}
        if ratio is None:
            return {"target_ms": target, "rows": rows}
        rows["imagecorruptions-imaug"] = {"all_ms": ratio * ms, "spread": [ms, 9 * ms]}
        return {"target_ms": target, "rows": rows, "target_ratio": target_ratio, "ratio": ratio}

    return {"sides": {"224": side(large, 400.0, 3.0), "32": side(small, 22.0, 4.0)}}


def generation(cost):
    rows = {name: {"alone": 20.0, "beside": 19.0, "spread": [18.0, 20.0], "cost": 0.9} for name in CORRUPTIONS}
    rows |= {name: {**rows[name], "cost": cost} for name in CHEAP}
    return {"target_cost": 0.2, "rows": rows}


def attacks(of_training, **peers):
    def row(times):
        return {"seconds": 2 * times, "spread": [times, 3 * times], "times_ours": times}

    rows = {"ours": row(1.0), "training, forward and backward": row(1 / of_training)}
    rows |= {name: row(times) for name, times in peers.items()}
    return {"machine": "", "batch": 8, "size": 224, "rows": rows}


def entry(found):
    return {"date": "2024-05-06 07:08 UTC", "seconds": 9, **MACHINE, "found": found}


def test_every_row_has_its_table_with_machine_versions_date_and_verdict():
    text = bench_table.render({"train": entry(turns(1.43)), "balance": entry(balance(99_000))})
    assert "| [train](#train) | 1.43 x | 1.3 x keras.applications | yes |" in text
    assert "| [balance](#balance) | 99,000 records/s | 100,000 records/s at the best size | **no** |" in text
    assert "[predict]" not in text
    train, balanced = text.split("\n## ")[1:]
    assert "`python -m benchmarks.train`, 2024-05-06 07:08 UTC, 9 s." in train
    assert f"{MACHINE['machine']}; {MACHINE['versions']}." in train
    assert "| | images/s | spread | x keras.applications |" in train
    assert "| ours | 20.0 | 18.2 to 22.0 | 1.43 |" in train
    assert "| keras.applications | 14.0 | 13.0 to 15.0 | 1.00 |" in train
    assert train.rstrip().endswith("Target: 1.3 x keras.applications: reached (1.43 x).")
    assert "| ours, 198,000 records | 99,000 | 79,200 to 123,750 | 93.00 |" in balanced
    assert balanced.endswith("Target: 100,000 records/s at the best size: **not reached** (99,000 records/s).\n")


@pytest.mark.parametrize(
    ("name", "found", "reached"),
    [
        ("train", turns(1.3), True),
        ("predict", turns(1.29), False),
        ("train", {**turns(1.3), "peak_gib": 3.0, "target_gib": 3.0}, True),
        ("train", {**turns(1.3), "peak_gib": 3.01, "target_gib": 3.0}, False),
        ("balance", balance(100_000), True),
        ("input_pipeline", pipeline(1400, 0.8), True),
        ("input_pipeline", pipeline(1399, 0.9), False),
        ("input_pipeline", pipeline(1500, 0.79), False),
        ("start", start(8.0), True),
        ("start", start(8.1), False),
        ("pipeline_memory", memory(8.0), True),
        ("pipeline_memory", memory(8.1), False),
        ("scaling", {"target": 1.25, "rows": {"predict": {"growth": 1.25, "runs": runs(1, 2, 4)}}}, True),
        ("attacks", attacks(1.1), True),
        ("attacks", attacks(1.2), False),
        ("attacks", attacks(0.8, foolbox=4.0, ART=4.5), True),
        ("attacks", attacks(0.8, foolbox=4.0, ART=3.9), False),
        ("generation", generation(0.2), True),
        ("generation", generation(0.21), False),
        ("corruptions", corruptions(400.0, 22.0), True),
        ("corruptions", corruptions(401.0, 22.0), False),
        ("corruptions", corruptions(400.0, 23.0), False),
        ("corruptions", corruptions(200.0, 11.0, ratio=4.0), True),
        ("corruptions", corruptions(200.0, 11.0, ratio=3.9), False),
        ("scaling", {"target": 1.25, "rows": {"predict": {"growth": 1.26, "runs": runs(1, 2, 4)}}}, False),
    ],
)
def test_targets(name, found, reached):
    assert bench_table.row(name, entry(found)).reached is reached
    assert ("**not reached**" in bench_table.render({name: entry(found)})) is not reached


def test_the_table_is_that_of_the_results():
    with open(os.path.join(os.path.dirname(bench.RESULTS), "RESULTS.md")) as file:
        assert file.read() == bench_table.render(bench.load(bench.RESULTS))


def test_the_pipelines_rate_stands_beside_its_peers():
    text = bench_table.render({"input_pipeline": entry(pipeline(988, 0.86))})
    assert "988 images/s (0.85 x tf.data without RandAugment, 2.70 x timm), 86%" in text


def test_corruptions_say_both_sizes_and_the_peer_where_it_took_part():
    text = bench_table.render({"corruptions": entry(corruptions(180.0, 11.5, ratio=4.5))})
    assert "| 180.0 ms (4.50 x) at 224; 11.5 ms (4.50 x) at 32 |" in text
    assert (
        "| 400 ms and 3 x imagecorruptions-imaug at 224 pixels; 22 ms and 4 x imagecorruptions-imaug at 32 pixels | yes |"
        in text
    )
    assert "| imagecorruptions-imaug, 224 pixels | 810.0 | 180.0 to 1,620 | 4.50 |" in text
    alone = bench_table.render({"corruptions": entry(corruptions(180.0, 11.5))})
    assert "| 180.0 ms at 224; 11.5 ms at 32 | 400 ms at 224 pixels; 22 ms at 32 pixels | yes |" in alone


def test_attacks_say_the_peers_that_took_part():
    text = bench_table.render({"attacks": entry(attacks(0.8, ART=4.5))})
    assert "| 0.80 of training's time, 4.50 x ART | at most 1.1 of training's time, 4 x ART | yes |" in text
    assert "| ART | 9.00 | 4.50 to 13.5 | 4.50 |" in text


def test_the_time_is_linear_where_further_records_cost_the_same():
    assert scaling.growth(runs(5 + 1, 5 + 2, 5 + 4, 5 + 8)) == 1.0
    assert scaling.growth(runs(1, 4, 16, 64)) > 2
    text = scaling.table({"machine": "m", "target": 1.25, "rows": {"balance": {"growth": 1.0, "runs": runs(6, 7)}}})
    assert "| 100 | 6.00 | 6.00 | 60000.0 |\n| 200 | 8.00 | 7.00 | 35000.0 |" in text


@pytest.fixture
def scripts(monkeypatch):
    """Stands for the scripts: {module: (exit status, what it prints)}; what is not named prints nothing."""
    found: dict[str, tuple[int, str]] = {}

    def run(command, **_):
        assert command[:2] == [sys.executable, "-m"]
        assert command[3:] == ["--json"]
        return subprocess.CompletedProcess(command, *found.get(command[2], (0, "")), stderr="its last words")

    monkeypatch.setattr(bench.subprocess, "run", run)
    return found


def run_main(monkeypatch, tmp_path, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench", f"--results={tmp_path}/results.json", *arguments])
    return bench.main()


def test_rows_are_kept_until_they_are_measured_again(tmp_path, monkeypatch, scripts, capsys):
    (tmp_path / "results.json").write_text(json.dumps({"train": entry(turns(1.43)), "balance": entry(balance(99_000))}))
    scripts["benchmarks.balance"] = (0, "a line on something else\n" + json.dumps(balance(123_456), indent=1))
    assert run_main(monkeypatch, tmp_path, "--only=balance", "--check") == 0
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["train"] == entry(turns(1.43))
    assert kept["balance"]["machine"] == bench_machine.describe()["machine"]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| [train](#train) | 1.43 x | 1.3 x keras.applications | yes |" in text
    assert "| [balance](#balance) | 123,456 records/s | 100,000 records/s at the best size | yes |" in text
    assert "benchmarks.balance ... 0 s: 123,456 records/s" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["RESULTS.md", "results.json"]


def test_check_fails_below_the_target_and_a_script_that_fails_always_does(tmp_path, monkeypatch, scripts, capsys):
    scripts["benchmarks.balance"] = (0, json.dumps(balance(50_000)))
    assert run_main(monkeypatch, tmp_path, "--only=balance") == 0
    assert run_main(monkeypatch, tmp_path, "--only=balance", "--check") == 1
    assert "below its target: balance" in capsys.readouterr().out
    before = (tmp_path / "results.json").read_text()
    for status, printed in ((1, json.dumps(balance(200_000))), (0, "{not JSON")):
        scripts["benchmarks.balance"] = (status, printed)
        assert run_main(monkeypatch, tmp_path, "--only=balance") == 1
        assert f"benchmarks.balance ... failed with status {status}" in capsys.readouterr().out
        assert (tmp_path / "results.json").read_text() == before


def test_json_of_another_kind_is_not_kept(tmp_path, monkeypatch, scripts, capsys):
    scripts["benchmarks.start"] = (0, '{"took": 9}')
    assert run_main(monkeypatch, tmp_path, "--only=start") == 1
    assert "printed JSON without 'rows', which benchmarks/bench_table.py expects of it" in capsys.readouterr().out
    assert not (tmp_path / "results.json").exists()


def test_rows_that_do_not_exist(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_main(monkeypatch, tmp_path, "--only=balance,speed")
    assert (
        "argument --only: got 'speed', expected some of train,predict,input_pipeline,balance" in capsys.readouterr().err
    )


def test_the_machine_is_described():
    described = bench_machine.describe()
    assert " cores, " in described["machine"]
    assert "tensorflow 2." in described["versions"]
