"""CPU seconds of processes, and of a PostgreSQL server with its ended backends. Linux: read from /proc."""

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def server_cpu(postmaster: int) -> float:
    """CPU seconds that the server and its children have used so far."""
    total = sum(_fields(postmaster)[11:15])  # own, and of children that were waited for
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = _fields(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[1] == postmaster:
                total += sum(fields[11:13])
    return total / _TICK


def process_cpu(pid: int) -> float:
    """CPU seconds of one process, all its threads."""
    return sum(_fields(pid)[11:13]) / _TICK


def _fields(pid: int) -> list[int]:
    """The numbers after the name and the state: parent at 1, times from 11."""
    text = Path(f"/proc/{pid}/stat").read_text()
    numbers = text.rpartition(")")[2].split()[1:]
    return [0, *(int(number) for number in numbers)]
