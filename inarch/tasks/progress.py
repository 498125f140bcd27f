"""The progress bar of transcription."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import keras


def progress_bar(verbose: Any, count: int) -> Callable[[int, float], None]:
    """Return a function that shows the share done of a sound, by its index among `count`."""
    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() else 0
    if not verbose or not count:
        return lambda place, share: None
    bar = keras.utils.Progbar(count, unit_name="sound")
    return lambda place, share: bar.update(place + share, finalize=place + share >= count)
