"""Measurements in fresh processes, interleaved, so that a busy machine is unfair to none."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Probe:
    """A function of a file of probes with its arguments, run under a Keras backend."""

    file: str
    function: str
    arguments: tuple[str, ...] = ()
    backend: str = "jax"

    def run(self) -> dict[str, float]:
        """Measure in one fresh process and return its figures.

        `since_start` is added: seconds from before the process was started to the report.

        Raises:
            RuntimeError: the process failed; the end of its standard error is in the message.
        """
        command = [sys.executable, str(HERE / self.file), self.function, *self.arguments]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment())
        if done.returncode:
            raise RuntimeError(f"{self.function} failed:\n{done.stderr[-2000:]}")
        figures = json.loads(done.stdout.splitlines()[-1])
        return figures | {"since_start": figures.pop("reported") - start}

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        # Modules of installed libraries are compiled as they are installed; ours once, here.
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return kept | {
            "PYTHONPATH": path.rstrip(os.pathsep),
            "KERAS_BACKEND": self.backend,
            "HF_HUB_OFFLINE": "1",
        }


def medians(probes: Sequence[Probe], repeats: int) -> list[dict[str, float]]:
    """Return the median of each figure of each probe.

    Every probe runs once in each round. A first round that isn't counted fills the system's file
    cache for all.
    """
    rounds = [[probe.run() for probe in probes] for _ in range(repeats + 1)][1:]
    return [
        {name: statistics.median(figures[name] for figures in runs) for name in runs[0]}
        for runs in zip(*rounds, strict=True)
    ]
