"""Functions shared by the files of probes: measurements within one process."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MIB = 2**20


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `work` and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def memory(field: str) -> float:
    """Return a figure of this process in MiB, not a number where the system has none.

    `VmHWM` is the peak since the program began; `ru_maxrss` would count the parent's too.
    Mapped pages of a file count, as long as they are in memory.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024 / MIB


def median_seconds(
    programs: dict[str, Callable[[], Any]],
    rounds: int = 9,
    first: int = 2,
    clock: Callable[[Callable[[], Any]], tuple[Any, float]] = timed,
) -> dict[str, float]:
    """Run the programs in turns and return the median seconds of each, its first runs aside."""
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(first + rounds):
        for name, program in programs.items():
            found[name].append(clock(program)[1])
    return {name: statistics.median(seconds[first:]) for name, seconds in found.items()}


def report(probes: Mapping[str, Any]) -> None:
    """Run the probe that the command line names, with its arguments, and print its figures."""
    figures = probes[sys.argv[1]](*sys.argv[2:])
    # The clock is the same for all processes of a system.
    print(json.dumps(figures | {"reported": time.monotonic()}), flush=True)
