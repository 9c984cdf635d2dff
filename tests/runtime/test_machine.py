"""What is known of the machine."""

from __future__ import annotations

from runtime import machine


def test_memory_is_at_least_what_this_process_has() -> None:
    assert machine.memory() == 0 or machine.memory() > 1 << 28
