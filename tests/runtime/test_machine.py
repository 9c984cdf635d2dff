"""What is known of the machine, and of the limits of a container."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime import machine, startup

CORES, MEMORY = 16, 32 << 30
UNLIMITED = {"2": ("max 100000", "max"), "1": ("-1", str((1 << 63) - 4096))}


def test_memory_is_at_least_what_this_process_has() -> None:
    assert machine.memory() == 0 or machine.memory() > 1 << 28


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine without limits, whose control groups lie in the folder that is returned."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_PROCESS", tmp_path / "process")
    monkeypatch.setattr(machine, "schedulable", lambda: CORES)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": MEMORY >> 12, "SC_PAGE_SIZE": 1 << 12}.get)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def limit(groups, version, group, processors=None, memory=None):
    """Writes a group's limits as the kernel shows them; None for no limit."""
    quota, most = UNLIMITED[version]
    if version == "2":
        folder = groups / "cgroup" / group
        write(folder / "cpu.max", quota if processors is None else f"{int(processors * 100_000)} 100000")
        write(folder / "memory.max", most if memory is None else memory)
        return
    for controller in ("cpu,cpuacct", "memory"):
        folder = groups / "cgroup" / controller / group
        write(folder / "cpu.cfs_quota_us", quota if processors is None else int(processors * 100_000))
        write(folder / "cpu.cfs_period_us", 100_000)
        write(folder / "memory.limit_in_bytes", most if memory is None else memory)


def process_in(groups, version, path):
    write(
        groups / "process",
        f"0::{path}" if version == "2" else f"4:memory:{path}\n3:cpu,cpuacct:{path}\n1:name=systemd:/",
    )


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("path", ["/", "/a/b", "/docker/of/the/host"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits=st.lists(st.tuples(*[st.none() | st.integers(1, 64)] * 2), min_size=3, max_size=3))
def test_the_tightest_limit_of_all_groups_above_counts(groups, version, path, limits):
    named = ["", "a", "a/b"]
    for group, (processors, gigabytes) in zip(named, limits):
        limit(groups, version, group, processors, gigabytes and gigabytes << 30)
    process_in(groups, version, path)
    above = limits if path == "/a/b" else limits[:1]
    assert machine.cores() == min([CORES, *(processors for processors, _ in above if processors)])
    assert machine.memory() == min([MEMORY, *(gigabytes << 30 for _, gigabytes in above if gigabytes)])


@pytest.mark.parametrize(("processors", "cores"), [(0.1, 1), (1, 1), (1.5, 2), (2, 2), (100, CORES)])
def test_a_part_of_a_core_counts_as_one(groups, processors, cores):
    limit(groups, "2", "", processors)
    process_in(groups, "2", "/")
    assert machine.cores() == cores


@pytest.mark.parametrize("text", ["", "max", "nonsense", "1 0", "-5 100000", "\0"])
def test_what_is_not_understood_limits_nothing(groups, text):
    write(groups / "cgroup" / "cpu.max", text)
    write(groups / "cgroup" / "memory.max", text)
    process_in(groups, "2", "/")
    assert (machine.cores(), machine.memory()) == (CORES, MEMORY)


def test_no_control_groups(groups):
    assert (machine.cores(), machine.memory()) == (CORES, MEMORY)


@pytest.mark.parametrize("processors", [2, None])
def test_tensorflow_starts_no_more_threads_than_there_is_time_for(groups, monkeypatch, processors):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "7")  # the user's own
    limit(groups, "2", "", processors)
    process_in(groups, "2", "/")
    startup._limit_threads()
    assert os.environ.get("TF_NUM_INTRAOP_THREADS") == (processors and str(processors))
    assert os.environ["TF_NUM_INTEROP_THREADS"] == "7"
    os.environ.pop("TF_NUM_INTRAOP_THREADS", None)
