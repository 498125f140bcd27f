"""A batch of windows decoded until each answer is good enough (whisper/transcribe.py)."""

from __future__ import annotations

from typing import Any

from inarch.speech.options import Decoded, DecodingOptions, Settings
from inarch.speech.windows import WindowModel


def decode_with_fallback(
    model: WindowModel, encoded: Any, count: int, options: DecodingOptions, settings: Settings
) -> list[Decoded]:
    """What is said in each of `count` encoded windows.

    A window whose answer fails is decoded again at the next temperature, alone or with the others
    that failed; the last answer counts.
    """
    found: dict[int, Decoded] = {}
    waiting = list(range(count))
    for temperature in settings.temperatures:
        chosen = encoded if len(waiting) == count else model.take(encoded, waiting)
        results = model.decode(chosen, options.at(temperature))
        found |= dict(zip(waiting, results, strict=True))
        waiting = [row for row in waiting if settings.thresholds.failed(found[row])]
        if not waiting:
            break
    return [found[row] for row in range(count)]
